package queue

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// result builds what one attempt leaves behind, and when the earliest deferred
// recipient is due (zero: none is left).
func (q *Queue) result(ctx context.Context, j *job, t tried, begin, now time.Time) (store.Result, time.Time) {
	b := resultBuilder{q: q, j: j, now: now, took: now.Sub(begin), retry: q.retry(j.msg), booked: make(map[int]bool, len(j.rcpts))}
	b.res = store.Result{Message: j.msg.ID}
	if t.drop != "" {
		b.drop(t.drop)
		return b.res, time.Time{}
	}
	for i := range t.outcomes {
		b.add(&t.outcomes[i])
	}
	for i := range j.rcpts { // whoever got no outcome: unknown is deferred
		b.add(&deliver.Outcome{N: j.rcpts[i].N, State: deliver.Deferred, Reply: smtp.R(451, 4, 3, 0, "no outcome"), Ambiguous: true})
	}
	if !b.due.IsZero() {
		b.res.Signatures, b.res.SignedWith = t.fields, t.with // for the next attempt
	}
	b.addNotices(ctx, t.fields)
	return b.res, b.due
}

func (q *Queue) retry(m *relay.Message) relay.Retry {
	pool, _ := q.cfg.Directory.Pool(m.Pool)
	account, _ := q.cfg.Directory.Account(m.Account)
	q.mu.Lock()
	product := q.cfg.Retry
	q.mu.Unlock()
	return schedule(pool.Retry, account.Retry, product)
}

type resultBuilder struct {
	q     *Queue
	j     *job
	now   time.Time
	took  time.Duration
	retry relay.Retry

	booked  map[int]bool // recipients with an outcome, by position
	res     store.Result
	due     time.Time
	notices map[NoticeKind][]NoticeRecipient
}

// add books one outcome.
func (b *resultBuilder) add(o *deliver.Outcome) {
	r := b.recipient(o.N)
	if r == nil || b.booked[o.N] {
		return
	}
	b.booked[o.N] = true
	rr := store.RecipientResult{
		N: r.N, Generation: r.Generation, Attempts: r.Attempts + 1,
		PossiblyDelivered: r.PossiblyDelivered || o.Ambiguous, DelayNoticed: r.DelayNoticed,
		LastReply: cut(o.Reply.String(), 512), LastHost: o.Host, LastAt: b.now,
	}
	data := relay.EventData{
		EnvelopeFrom: b.j.msg.EnvelopeFrom, Attempt: rr.Attempts, Code: o.Reply.Code, Enhanced: o.Reply.Enhanced.String(),
		Reply: rr.LastReply, Host: o.Host, TLS: o.TLS, Duplicate: r.PossiblyDelivered,
		Ambiguous: o.Ambiguous, DurationMS: b.took.Milliseconds(),
		Categories: b.j.msg.Categories, UniqueArgs: b.j.msg.UniqueArgs,
	}
	if o.IP.IsValid() {
		data.IP = o.IP.String()
	}
	if o.LocalIP.IsValid() {
		data.LocalIP = o.LocalIP.String()
	}
	kind := b.judge(r, o, &rr, &data)
	b.res.Recipients = append(b.res.Recipients, rr)
	b.event(kind, r, data)
	b.q.cfg.Observer.Attempted(string(kind), b.took)
}

// judge decides what an outcome means for the recipient: delivered, bounced, or
// another attempt and when.
func (b *resultBuilder) judge(r *relay.Recipient, o *deliver.Outcome, rr *store.RecipientResult, data *relay.EventData) relay.EventKind {
	switch {
	case o.State == deliver.Delivered:
		rr.Final = true
		if o.NoDSN && r.Notify&relay.NotifySuccess != 0 {
			b.notice(NoticeRelayed, r, o, false)
		}
		return relay.EventDelivered
	case o.State == deliver.Failed:
		rr.Final = true
		b.notice(NoticeFailed, r, o, false)
		return relay.EventBounced
	case !b.now.Before(b.j.msg.ExpiresAt):
		// RFC 3463 §3.5: X.4.7 delivery time expired. Only ever after a failed attempt.
		rr.Final = true
		data.Reason = "not delivered within its lifetime"
		data.Enhanced = "5.4.7"
		b.notice(NoticeFailed, r, o, true)
		return relay.EventBounced
	}
	rr.DueAt = nextDue(b.retry, rr.Attempts, b.now, b.j.msg.ExpiresAt)
	if !o.NextAt.IsZero() { // sooner makes no sense, and later wastes what is allowed
		rr.DueAt = earlier(later(o.NextAt, b.now.Add(leastNext)), b.j.msg.ExpiresAt)
	}
	data.NextAt = rr.DueAt
	if b.due.IsZero() || rr.DueAt.Before(b.due) {
		b.due = rr.DueAt
	}
	if r.Notify&relay.NotifyDelay != 0 && !r.DelayNoticed && b.now.Sub(b.j.msg.AcceptedAt) >= b.retry.DelayNotice {
		rr.DelayNoticed = true
		b.notice(NoticeDelayed, r, o, false)
	}
	return relay.EventDeferred
}

func (b *resultBuilder) recipient(n int) *relay.Recipient {
	for i := range b.j.rcpts {
		if b.j.rcpts[i].N == n {
			return &b.j.rcpts[i]
		}
	}
	return nil
}

func (b *resultBuilder) notice(kind NoticeKind, r *relay.Recipient, o *deliver.Outcome, expired bool) {
	if b.notices == nil {
		b.notices = map[NoticeKind][]NoticeRecipient{}
	}
	enhanced := o.Reply.Enhanced.String()
	switch {
	case expired:
		enhanced = "5.4.7"
	case enhanced == "" && kind == NoticeFailed:
		enhanced = "5.0.0"
	case enhanced == "" && kind == NoticeDelayed:
		enhanced = "4.0.0"
	}
	b.notices[kind] = append(b.notices[kind], NoticeRecipient{
		Recipient: *r, Reply: cut(o.Reply.String(), 512), Enhanced: enhanced, Remote: o.Host, Expired: expired,
	})
}

// addNotices composes the DSNs of this result, to be accepted in its commit.
func (b *resultBuilder) addNotices(ctx context.Context, fields []byte) {
	for _, kind := range []NoticeKind{NoticeFailed, NoticeDelayed, NoticeRelayed} {
		rcpts := b.notices[kind]
		if len(rcpts) == 0 {
			continue
		}
		content, err := b.q.content(ctx, b.j)
		if err != nil {
			content = nil // the DSN goes without the original's headers
		}
		n := Notice{Kind: kind, Message: b.j.msg, Content: content, Recipients: rcpts}
		a, err := b.compose(ctx, n)
		if err != nil && content != nil {
			b.q.log.Warn("queue: DSN goes without the original", "message", b.j.msg.ID.String(), "error", err)
			n.Content = nil
			a, err = b.compose(ctx, n)
		}
		if err != nil {
			b.q.log.Error("queue: DSN not composed", "message", b.j.msg.ID.String(), "error", err)
			continue
		}
		if a == nil {
			continue
		}
		b.res.Generated = append(b.res.Generated, a)
		for i := range rcpts {
			b.event(relay.EventNotified, &rcpts[i].Recipient, relay.EventData{
				Reason: string(kind) + " DSN " + a.Message.ID.String() + " to " + a.Recipients[0].Address,
			})
		}
	}
}

// compose is the notifier's work, which reads what strangers wrote: a panic there
// must not cost the result.
func (b *resultBuilder) compose(ctx context.Context, n Notice) (a *store.Acceptance, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.q.log.Error("queue: panic in a DSN", "message", n.Message.ID.String(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			a, err = nil, fmt.Errorf("compose a DSN: panic: %v", p)
		}
	}()
	return b.q.cfg.Notifier.Compose(ctx, n)
}

func (b *resultBuilder) event(kind relay.EventKind, r *relay.Recipient, d relay.EventData) {
	b.res.Events = append(b.res.Events, messageEvent(kind, b.j.msg, b.now, r.N, r.Address, d))
}

func messageEvent(kind relay.EventKind, m *relay.Message, at time.Time, n int, rcpt string, d relay.EventData) relay.Event {
	return relay.Event{At: at, Kind: kind, Tenant: m.Tenant, Key: m.Key, Message: m.ID, N: n, Recipient: rcpt, Data: eventData(d)}
}

// cut shortens a text at a rune boundary.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// returnedReply is recorded, and told to the sender, when a person bounces a message:
// somebody of the installation or of the account.
func returnedReply(reason string) smtp.Reply {
	if reason == "" {
		reason = "Cancelled before it was delivered"
	}
	return smtp.R(550, 5, 7, 1, reason)
}
