package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// attempt runs one job to its end and records the outcome. It is the only
// place where a running job's lease ends.
func (q *Queue) attempt(ctx context.Context, j *job, route deliver.Route, s *site, failure error) {
	defer q.work.Done()
	begin := q.now()
	res := q.try(ctx, j, route, failure)
	q.record(ctx, j, res, begin)

	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	q.active--
	j.flow.tenant.active--
	q.drop(j)
	if s != nil {
		s.active--
		q.learn(s, res, now)
		q.siteFreed(s, now)
	}
	q.forget(j.flow)
	q.dispatch()
	if q.timers.Len() > 0 && !q.timers[0].due.After(now) {
		q.kick()
	}
}

// tried is what an attempt came to, before it is recorded.
type tried struct {
	outcomes []deliver.Outcome
	connect  deliver.Connect
	fields   []byte // signature fields made now; nil: none or unchanged
	with     []string
	back     bool   // nothing was tried: give the lease back
	damaged  bool   // the content fails its checksum
	drop     string // not to be sent any more, for this reason; nothing was tried
}

// try does the work of an attempt. Whatever happens, each recipient has an
// outcome, or back is set.
func (q *Queue) try(ctx context.Context, j *job, route deliver.Route, failure error) (res tried) {
	begun := false // something may have left
	defer func() {
		if p := recover(); p != nil {
			q.log.Error("queue: panic in an attempt", "message", j.msg.ID.String(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			res = tried{outcomes: failAll(j, smtp.R(451, 4, 3, 0, "internal error"), deliver.Deferred)}
			for i := range res.outcomes {
				res.outcomes[i].Ambiguous = begun
			}
		}
	}()
	if q.cfg.Directory.Deleted(j.msg.Tenant) {
		return tried{drop: deletedReason}
	}
	if ok, why := q.cfg.Directory.Sending(j.msg.Tenant); !ok {
		return tried{outcomes: failAll(j, smtp.R(450, 4, 7, 1, why), deliver.Deferred)}
	}
	if failure != nil {
		return tried{outcomes: routeFailed(j, failure)}
	}
	mark := q.cfg.Store.Start(ctx, j.refs())
	if q.cfg.Cautious {
		if err := mark.Wait(ctx); err != nil {
			return tried{back: true}
		}
	}
	content, err := q.content(ctx, j)
	if err != nil {
		return contentFailed(j, err)
	}
	fields, with, err := q.sign(ctx, j, content)
	if err != nil {
		if errors.Is(err, store.ErrDamaged) {
			return tried{damaged: true, outcomes: failAll(j, damagedReply, deliver.Deferred)}
		}
		q.log.Warn("queue: not signed", "message", j.msg.ID.String(), "error", err)
		return tried{outcomes: failAll(j, unsignedReply(err), deliver.Deferred)}
	}
	pool, tls := q.egress(j.msg)
	prefix := fields
	if prefix == nil {
		prefix = j.msg.Signatures
	}
	begun = true
	r := q.deliver(ctx, deliver.Request{
		Route: route, Pool: pool, TLS: tls, Message: j.msg, Recipients: j.rcpts,
		Prefix: prefix, Content: content, BeforeEnd: mark.Wait,
	})
	return tried{outcomes: r.Outcomes, connect: r.Connect, fields: fields, with: with, damaged: errors.Is(r.Content, store.ErrDamaged)}
}

// deliver makes one request of a job, or one for each recipient where the pool's
// return path names it.
func (q *Queue) deliver(ctx context.Context, r deliver.Request) deliver.Result {
	if !r.Pool.ReturnPathPerRecipient || q.cfg.ReturnPath == nil || r.Message.ReturnPath == "" {
		return q.cfg.Deliverer.Deliver(ctx, r)
	}
	sum := deliver.Result{Connect: deliver.ConnOK}
	for i := range r.Recipients {
		one, m := r, *r.Message
		m.ReturnPath = q.cfg.ReturnPath(r.Message, r.Recipients[i].N)
		one.Message, one.Recipients = &m, r.Recipients[i:i+1]
		got := q.cfg.Deliverer.Deliver(ctx, one)
		sum.Outcomes = append(sum.Outcomes, got.Outcomes...)
		switch {
		case got.Connect == deliver.Untried && i > 0: // the others say more
		case got.Connect != deliver.ConnOK, sum.Connect == deliver.Untried:
			sum.Connect = got.Connect
		}
		if got.Content != nil {
			sum.Content = got.Content
		}
	}
	return sum
}

// unsignedReply tells the owner of a message why it cannot be signed, as far as
// that can be shown.
func unsignedReply(err error) smtp.Reply {
	if e, ok := errors.AsType[*relay.Error](err); ok && e.Public != "" {
		return smtp.R(451, 4, 7, 1, "cannot be signed now: "+e.Public)
	}
	return smtp.R(451, 4, 3, 0, "cannot be signed now")
}

var damagedReply = smtp.R(451, 4, 3, 0, "stored content is damaged")

func contentFailed(j *job, err error) tried {
	if errors.Is(err, store.ErrDamaged) {
		return tried{damaged: true, outcomes: failAll(j, damagedReply, deliver.Deferred)}
	}
	return tried{outcomes: failAll(j, smtp.R(451, 4, 3, 0, "content cannot be read now"), deliver.Deferred)}
}

func (q *Queue) content(ctx context.Context, j *job) (store.Content, error) {
	if j.payload != nil {
		return j.payload.content, nil
	}
	return q.cfg.Store.Content(ctx, j.msg.ID)
}

// sign makes the signature fields unless good ones are stored. Bounded, so that
// signing leaves the accept path its share of the CPU.
func (q *Queue) sign(ctx context.Context, j *job, c store.Content) (fields []byte, with []string, err error) {
	if len(j.msg.Signatures) > 0 && q.cfg.Signer.Current(j.msg) {
		return nil, nil, nil
	}
	select {
	case q.signing <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	defer func() { <-q.signing }()
	if p := j.payload; p != nil {
		return p.sign(ctx, q.cfg.Signer, j.msg)
	}
	return q.cfg.Signer.Sign(ctx, j.msg, c)
}

// egress is the pool and TLS level in force for a message: the strongest of its
// pool's, its account's and its subuser's. The deliverer adds the destination's.
func (q *Queue) egress(m *relay.Message) (relay.Pool, relay.TLSLevel) {
	pool, ok := q.cfg.Directory.Pool(m.Pool)
	if !ok || !pool.DisabledAt.IsZero() {
		// The pool was removed or switched off while the mail waited: it leaves from
		// the tenant's default pool instead.
		pool, _ = q.cfg.Directory.DefaultPool(m.Tenant)
	}
	tls := pool.TLS
	if a, ok := q.cfg.Directory.Account(m.Account); ok {
		tls = strongest(tls, a.TLS)
	}
	if s, ok := q.cfg.Directory.Subuser(m.Subuser); ok && s.Account == m.Account {
		tls = strongest(tls, s.TLS)
	}
	return pool, tls
}

func strongest(a, b relay.TLSLevel) relay.TLSLevel {
	rank := map[relay.TLSLevel]int{relay.TLSOpportunistic: 0, relay.TLSRequired: 1, relay.TLSVerified: 2}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// failAll gives every recipient of a job the same outcome.
func failAll(j *job, r smtp.Reply, state deliver.State) []deliver.Outcome {
	out := make([]deliver.Outcome, len(j.rcpts))
	for i := range out {
		out[i] = deliver.Outcome{N: j.rcpts[i].N, State: state, Reply: r}
	}
	return out
}

func routeFailed(j *job, err error) []deliver.Outcome {
	if f, ok := errors.AsType[*deliver.Failure](err); ok {
		state := deliver.Deferred
		if f.Reply.Permanent() {
			state = deliver.Failed
		}
		return failAll(j, f.Reply, state)
	}
	return failAll(j, smtp.R(451, 4, 4, 3, "destination cannot be looked up now"), deliver.Deferred)
}

// record turns outcomes into one Finish. It does not give up while the store
// may come back: an outcome that is not recorded would be a second delivery.
func (q *Queue) record(ctx context.Context, j *job, t tried, begin time.Time) {
	// Past this point the remote may have the mail: recording must not be cut short.
	ctx = context.WithoutCancel(ctx)
	if t.back {
		q.pause(backPause) // the store marks nothing now, or the stop cut it off
		if err := q.yield(ctx, j); err != nil {
			q.log.Warn("queue: lease is given back later", "message", j.msg.ID.String(), "error", err)
		}
		return
	}
	now := q.now()
	res, due := q.result(ctx, j, t, begin, now)
	refused := 0
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := q.cfg.Store.Finish(ctx, res)
		switch {
		case err == nil:
			q.finished(j, res, due)
			if t.damaged {
				q.quarantine(ctx, j.msg.ID, "stored content is damaged")
			}
			return
		case errors.Is(err, store.ErrLeaseLost):
			q.log.Warn("queue: result came too late, another node has the lease", "message", j.msg.ID.String())
			return
		case over(err):
			// Nothing more is recorded by this process; the next one finds the in-flight mark.
			q.log.Error("queue: outcome not recorded", "message", j.msg.ID.String(), "error", err)
			q.pause(time.Minute)
			return
		}
		if !passing(err) {
			// The store does not take this result, whatever the state of the disk: that is
			// this message's trouble, and the others must not wait for it.
			if refused++; refused == plainAfter {
				res.Generated = nil // perhaps it is the notice
			}
			if refused > giveUpAfter {
				q.log.Error("queue: the store refuses an outcome", "message", j.msg.ID.String(), "error", err)
				q.quarantine(ctx, j.msg.ID, "the outcome of an attempt cannot be recorded: it may have been delivered")
				return // its in-flight mark stands, and speaks at the next start
			}
			time.Sleep(pause)
			continue
		}
		// A full disk, a database that is away: no new attempts until results can be
		// recorded again, else every retry would deliver once more.
		q.log.Warn("queue: outcome waits to be recorded", "message", j.msg.ID.String(), "error", err)
		q.pause(2 * pause)
		time.Sleep(pause)
	}
}

// passing reports trouble of the store that goes away by itself.
func passing(err error) bool {
	return errors.Is(err, store.ErrFull) || relay.KindOf(err) == relay.Unavailable
}

// A refused result is tried once more without its notices, then given up.
const (
	plainAfter  = 3
	giveUpAfter = 6
)

func (q *Queue) quarantine(ctx context.Context, id relay.MessageID, why string) {
	if err := q.cfg.Store.Quarantine(ctx, id, why); err != nil {
		q.log.Error("queue: quarantine", "message", id.String(), "error", err)
	}
}

// backPause is how long nothing is tried after a mark that could not be made.
const backPause = 5 * time.Second

// pause stops new attempts for a while.
func (q *Queue) pause(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if until := q.now().Add(d); until.After(q.pausedTil) {
		q.pausedTil = until
		q.kick() // the loop wakes when it is over
	}
}

// finished tells the scheduler what a recorded result left in the store.
func (q *Queue) finished(j *job, res store.Result, due time.Time) {
	if !due.IsZero() {
		q.Waiting(j.flow.lane.key, j.msg.Tenant, due)
	}
	q.generated(res)
}

// generated tells the scheduler of the DSNs that a result put into the store.
func (q *Queue) generated(res store.Result) {
	for _, a := range res.Generated {
		for _, r := range a.Recipients {
			q.Waiting(relay.Lane{Pool: a.Message.Pool, Site: r.Site}, a.Message.Tenant, r.DueAt)
		}
	}
}

func eventData(d relay.EventData) json.RawMessage {
	b, err := json.Marshal(d)
	if err != nil { // strings, numbers and times only: cannot happen
		return nil
	}
	return b
}
