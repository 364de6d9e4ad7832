package submit

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata"

	"postern/internal/credit"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// limits is a world with a ledger, a clock of its own, and a subuser.
type limits struct {
	*world
	now     time.Time
	account relay.Account
	subuser relay.Subuser
	failing failingStore
	mu      sync.Mutex
	alerts  []relay.AlertKind
	queue   *dueQueue
}

var news = relay.SubuserID{ID: relay.ID{6, 15: 6}}

// failingStore refuses commits when told to.
type failingStore struct {
	*store.Store
	err error
}

func (s *failingStore) Accept(ctx context.Context, a *store.Acceptance) error {
	if s.err != nil {
		return s.err
	}
	return s.Store.Accept(ctx, a)
}

func (s *failingStore) AcceptAll(ctx context.Context, as []*store.Acceptance, idem *store.Idempotency) error {
	if s.err != nil {
		return s.err
	}
	return s.Store.AcceptAll(ctx, as, idem)
}

// dueQueue remembers when it was told to look, and whether it was asked to take.
type dueQueue struct {
	mu    sync.Mutex
	asked int
	due   []time.Time
}

func (q *dueQueue) Admit(t relay.Tenant, l []relay.Lane, size int64) (queue.Admission, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked++
	return queue.Admission{}, false
}

func (q *dueQueue) Waiting(_ relay.Lane, _ relay.Tenant, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due = append(q.due, at)
}

func newLimits(t testing.TB, change func(*limits)) *limits {
	t.Helper()
	w := &limits{
		now:     time.Now().UTC().Truncate(time.Minute), // the store keeps what is not too old
		account: relay.Account{ID: acme, Name: "acme"},
		subuser: relay.Subuser{ID: news, Account: acme, Name: "news"},
		queue:   &dueQueue{},
	}
	w.world = newWorld(t, func(c *Config) {
		w.failing.Store, c.Store = c.Store.(*store.Store), &w.failing
		c.Queue = w.queue
		c.Now = func() time.Time { return w.now }
	})
	w.key.Subuser, w.key.Name = news, "build"
	if change != nil {
		change(w)
	}
	w.publish()
	w.restart()
	return w
}

// publish makes changes of account and subuser known.
func (w *limits) publish() {
	w.dir.accounts = map[relay.AccountID]relay.Account{acme: w.account}
	w.dir.subusers = map[relay.SubuserID]relay.Subuser{news: w.subuser}
}

// restart begins with a ledger that knows nothing.
func (w *limits) restart() {
	w.service.cfg.Credits = credit.New(credit.Config{
		Store: w.store, Now: func() time.Time { return w.now },
		Alert: func(_ relay.Tenant, _ relay.KeyID, a relay.Alert) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.alerts = append(w.alerts, a.Kind)
		},
	})
}

func (w *limits) principal() *relay.Principal {
	return &relay.Principal{Tenant: relay.Tenant{Account: acme, Subuser: news}, Key: &w.key}
}

func (w *limits) begin(raw string, to ...string) *Incoming {
	w.t.Helper()
	in, err := w.service.Begin(w.t.Context(), w.principal(), envelope(to...))
	if err != nil {
		w.t.Fatal(err)
	}
	in.Write(w.t.Context(), []byte(raw))
	return in
}

func (w *limits) send(to ...string) (relay.MessageID, error) {
	w.t.Helper()
	in := w.begin(plain, to...)
	return in.ID(), in.Commit(w.t.Context(), w.principal())
}

func (w *limits) sends(to ...string) relay.MessageID {
	w.t.Helper()
	id, err := w.send(to...)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// used is what the store has counted.
func (w *limits) used(id relay.ID) int64 {
	w.t.Helper()
	u, err := w.store.Used(w.t.Context(), id, 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Ever
}

// replies checks what a client is told.
func replies(t *testing.T, err error, want string) *Limited {
	t.Helper()
	r, ok := errors.AsType[smtp.Reply](err)
	if !ok || r.String() != want {
		t.Errorf("%v, want %s", err, want)
	}
	l, _ := errors.AsType[*Limited](err)
	return l
}

const overLimit = "451 4.7.1 Maximum credits exceeded"

// RX-07, AP-14: a recipient is a credit, counted in the accepting commit for the
// key, the subuser and the account; over the limit nothing is taken and nothing
// remains.
func TestCreditsAreCountedInTheCommit(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) { w.account.Plan.Hour = 4 })
	w.sends("b@one.test", "c@one.test", "B@one.test", "b@one.test") // two mailboxes and another spelling
	for name, id := range map[string]relay.ID{"account": acme.ID, "subuser": news.ID, "key": w.key.ID.ID} {
		if n := w.used(id); n != 3 {
			t.Errorf("%s: %d credits, want 3", name, n)
		}
	}
	w.restart() // the process died
	if _, err := w.send("b@one.test", "c@one.test"); err == nil {
		t.Fatal("five of four")
	} else if l := replies(t, err, overLimit); l == nil || l.Exceeded == nil || l.Until.Sub(w.now) != 61*time.Minute {
		t.Errorf("%+v", l)
	}
	if err := w.service.BeginMail(t.Context(), w.principal(), 0); err != nil {
		t.Errorf("one credit is left: %v", err)
	}
	w.sends("b@one.test")
	replies(t, w.service.BeginMail(t.Context(), w.principal(), 0), overLimit)
	w.key.ID = relay.KeyID{ID: relay.ID{77}} // AP-14: another key of the same account
	if _, err := w.send("b@one.test"); err == nil {
		t.Error("another key has the account's limit for itself")
	}
	if len(w.alerts) != 1 || w.alerts[0] != relay.AlertUsage100 {
		t.Errorf("alerts %v", w.alerts)
	}
	if n, m := w.used(acme.ID), w.queued(); n != 4 || m != 2 {
		t.Errorf("%d credits, %d messages; want 4 and 2", n, m)
	}
	w.now = w.now.Add(62 * time.Minute)
	w.sends("b@one.test", "c@one.test", "d@one.test", "e@one.test")
}

// RX-07: connections that send at the same moment get exactly what the limit
// allows.
func TestCreditsOverManyConnections(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) { w.subuser.Plan.Day, w.key.PerMinute = 30, 25 })
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 5 {
				in, err := w.service.Begin(context.Background(), w.principal(), envelope("b@one.test"))
				if err != nil {
					t.Error(err)
					return
				}
				in.Write(context.Background(), []byte(plain))
				if in.Commit(context.Background(), w.principal()) == nil {
					accepted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n, u := accepted.Load(), w.used(w.key.ID.ID); n != 25 || u != 25 {
		t.Errorf("%d accepted, %d counted; want 25", n, u)
	}
}

func TestFailedCommitGivesCreditsBack(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) { w.subuser.Plan.Day = 2 })
	w.failing.err = store.ErrFull
	for range 5 {
		if _, err := w.send("b@one.test", "c@one.test"); err != replyFull {
			t.Fatal(err)
		}
	}
	w.failing.err = nil
	if _, err := w.service.Begin(t.Context(), w.principal(), envelope()); err != nil {
		t.Fatal(err)
	}
	in := w.begin("From: x@evil.test\r\n\r\nx\r\n", "b@one.test", "c@one.test")
	if err := in.Commit(t.Context(), w.principal()); !errors.Is(err, replyIdentity) {
		t.Fatal(err)
	}
	w.sends("b@one.test", "c@one.test")
}

// RX-07: where the plan says so, what is over the limit is taken, and leaves
// when there is room; an event says why and when.
func TestOverTheLimitIsPutOff(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) {
		w.subuser.Plan = relay.Plan{Hour: 2, Over: relay.OverDefer}
		w.account.TimeZone = "Asia/Tokyo"
	})
	queueAhead := 3 * time.Second // the queue has a clock of its own
	w.service.cfg.QueueNow = func() time.Time { return w.now.Add(queueAhead) }
	w.sends("b@one.test", "c@one.test")
	asked := w.queue.asked
	id := w.sends("b@one.test", "c@two.test")
	due := w.now.Add(61 * time.Minute)
	q, err := w.store.Message(t.Context(), id)
	if err != nil || len(q.Recipients) != 2 {
		t.Fatal(q, err)
	}
	for _, r := range q.Recipients {
		if !r.DueAt.Equal(due.Add(queueAhead)) || r.Lease != 0 {
			t.Errorf("due %v, lease %d; want %v", r.DueAt, r.Lease, due.Add(queueAhead))
		}
	}
	if w.queue.asked != asked {
		t.Error("the queue was asked to send it now")
	}
	if n := len(w.queue.due); n < 2 || !w.queue.due[n-1].Equal(due.Add(queueAhead)) {
		t.Errorf("the queue looks at %v", w.queue.due)
	}
	ev := w.events(id, relay.EventDeferred)
	if len(ev) != 1 || ev[0].N != -1 {
		t.Fatalf("%+v", ev)
	}
	var d relay.EventData
	if err := json.Unmarshal(ev[0].Data, &d); err != nil || !d.NextAt.Equal(due) {
		t.Errorf("%+v %v", d, err)
	}
	want := "over the limit of 2 recipients an hour of subuser news; it goes on at " + due.In(relay.Zone("Asia/Tokyo")).Format("2006-01-02 15:04:05") + " JST, in 1h1m0s"
	if d.Reason != want {
		t.Errorf("%q, want %q", d.Reason, want)
	}
	if q.Message.Reason != want {
		t.Errorf("the queue would say %q, want %q", q.Message.Reason, want)
	}
	if u, err := w.store.Used(t.Context(), news.ID, due.Unix()/60, 0); err != nil || u.Minutes[due.Unix()/60] != 2 {
		t.Errorf("its credits are counted in %v, %v", u.Minutes, err)
	}
	if err := w.service.BeginMail(t.Context(), w.principal(), 0); err != nil {
		t.Errorf("MAIL: %v", err)
	}
}

// What would be put off for longer than mail is kept is refused.
func TestPutOffNoLongerThanItsLifetime(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) { w.subuser.Plan = relay.Plan{Hour: 1, Over: relay.OverDefer} })
	w.service.cfg.Retry.Lifetime = 4 * time.Hour
	w.sends("b@one.test")
	w.sends("b@one.test")
	w.sends("b@one.test")
	_, err := w.send("b@one.test") // 3:03 h from now would leave less than an hour for retries
	replies(t, err, overLimit)
}

// A plan bounds the recipients of a message: the client splits it.
func TestPlanRecipients(t *testing.T) {
	t.Parallel()
	const tooMany = "452 4.5.3 Too many recipients for one message"
	for name, set := range map[string]func(*limits){
		"account":                 func(w *limits) { w.account.Plan.Recipients = 2 },
		"subuser":                 func(w *limits) { w.subuser.Plan.Recipients, w.account.Plan.Recipients = 2, 5 },
		"a window that is larger": func(w *limits) { w.key.PerMinute = 2 },
	} {
		w := newLimits(t, set)
		var env Envelope
		for i, a := range []string{"a@one.test", "b@one.test", "c@one.test"} {
			err := w.service.AddRecipient(w.principal(), &env, Recipient{Address: addr(a)})
			if i < 2 && err != nil {
				t.Errorf("%s: recipient %d: %v", name, i, err)
			}
			if i == 2 {
				replies(t, err, tooMany)
			}
		}
		if len(env.Recipients) != 2 {
			t.Errorf("%s: %d recipients", name, len(env.Recipients))
		}
		_, err := w.send("a@one.test", "b@one.test", "c@one.test") // as HTTP would
		replies(t, err, tooMany)
		w.sends("a@one.test", "b@one.test", "a@one.test")
	}
}

// FR-44: a plan's size is said at MAIL, and holds for what was not declared.
func TestPlanSize(t *testing.T) {
	t.Parallel()
	for _, w := range []*limits{
		newLimits(t, func(w *limits) { w.account.Plan.Size = 1000 }),
		newLimits(t, func(w *limits) { w.account.Plan.Size, w.subuser.Plan.Size = 5000, 1000 }),
	} {
		if err := w.service.BeginMail(t.Context(), w.principal(), 1000); err != nil {
			t.Error(err)
		}
		replies(t, w.service.BeginMail(t.Context(), w.principal(), 1001), "552 5.3.4 Message size exceeds the limit")
		in := w.begin(plain+strings.Repeat("x\r\n", 1000), "b@one.test")
		replies(t, in.Commit(t.Context(), w.principal()), "552 5.3.4 Message size exceeds the limit")
		w.sends("b@one.test")
	}
}

// A key sends in its hours of the week, on the account's clock.
func TestKeyHours(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) {
		w.account.TimeZone = "Asia/Tokyo"
		w.key.Hours = "mon-fri 08-18"
	})
	for now, want := range map[string]string{
		"2026-11-02T07:59:59+09:00": "450 4.7.1 This key may not send at this hour; it may again from Mon 2 Nov 2026 08:00 JST",
		"2026-11-02T08:00:00+09:00": "",
		"2026-11-02T08:59:59Z":      "",
		"2026-11-02T09:00:00Z":      "450 4.7.1 This key may not send at this hour; it may again from Tue 3 Nov 2026 08:00 JST",
		"2026-11-06T18:00:00+09:00": "450 4.7.1 This key may not send at this hour; it may again from Mon 9 Nov 2026 08:00 JST",
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		w.now = at
		_, begin := w.service.Begin(t.Context(), w.principal(), envelope("b@one.test"))
		for _, err := range []error{w.service.BeginMail(t.Context(), w.principal(), 0), begin} {
			if want == "" {
				if err != nil {
					t.Errorf("%s: %v", now, err)
				}
				continue
			}
			if l := replies(t, err, want); l == nil || !l.Until.After(w.now) {
				t.Errorf("%s: %+v", now, l)
			}
		}
	}
	w.key.Hours = "whenever" // cannot be read: closed
	if err := w.service.BeginMail(t.Context(), w.principal(), 0); err == nil {
		t.Error("hours that cannot be read are open")
	}
}

// A key that was narrowed after RCPT does not send where it may not any more, by
// any way in.
func TestRecipientDomainsAreJudgedAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newLimits(t, nil)
	in := w.begin(plain, "b@one.test", "c@two.test")
	w.key.RecipientDomains = []string{"one.test"}
	replies(t, in.Commit(t.Context(), w.principal()), "550 5.7.1 This key may not send to that domain")
	w.sends("b@one.test")
	in = w.begin(plain, "b@localhost")
	if err := in.Commit(t.Context(), w.principal()); err == nil {
		t.Error("a name that is no destination was taken")
	}
}

// Mail in test mode and held mail cost as any other.
func TestModesCost(t *testing.T) {
	t.Parallel()
	for _, mode := range []relay.KeyMode{relay.KeyTest, relay.KeyHold, relay.KeyLive} {
		w := newLimits(t, func(w *limits) { w.subuser.Plan.Day, w.key.Mode = 2, mode })
		id := w.sends("b@one.test", "c@one.test")
		if n := w.used(w.key.ID.ID); n != 2 {
			t.Errorf("%s: %d credits", mode, n)
		}
		_, err := w.send("b@one.test")
		replies(t, err, overLimit)
		dropped, held := len(w.events(id, relay.EventDropped)), len(w.events(id, relay.EventHeld))
		if (mode == relay.KeyTest) != (dropped == 2) || (mode == relay.KeyHold) != (held == 1) {
			t.Errorf("%s: %d dropped, %d held", mode, dropped, held)
		}
		// Over the limit of a plan that puts off, test mail is still never delivered.
		w.subuser.Plan.Over = relay.OverDefer
		w.publish()
		id = w.sends("b@one.test")
		if n := len(w.events(id, relay.EventDeferred)); (n == 0) != (mode == relay.KeyTest) {
			t.Errorf("%s: %d deferred", mode, n)
		}
	}
}

// DSNs and postern's own mail cost nobody anything.
func TestOwnMailIsFree(t *testing.T) {
	t.Parallel()
	w := newLimits(t, nil)
	n := &Notifier{Directory: w.dir, Store: w.store, Hostname: "relay.test"}
	m := relay.Message{ID: relay.MessageID{ID: relay.NewID(w.now)}, Tenant: relay.Tenant{Account: acme}, EnvelopeFrom: "sender@acme.test", AcceptedAt: w.now, ExpiresAt: w.now}
	a, err := n.Compose(t.Context(), queue.Notice{Kind: queue.NoticeFailed, Message: &m, Recipients: []queue.NoticeRecipient{
		{Recipient: relay.Recipient{Address: "b@one.test"}, Reply: "550 5.1.1 no", Enhanced: "5.1.1"},
	}})
	if err != nil || a == nil || len(a.Usage) != 0 {
		t.Errorf("%+v %v", a, err)
	}
	in, _ := w.intake(nil)
	if err := in.take(t, "abuse@relay.test", "From: a@b.test\r\nSubject: x\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []relay.ID{acme.ID, system.ID} {
		if n := w.used(id); n != 0 {
			t.Errorf("%d credits", n)
		}
	}
}

func (w *limits) commitAll(idem *store.Idempotency, raws ...string) error {
	w.t.Helper()
	var ins []*Incoming
	for _, raw := range raws {
		ins = append(ins, w.begin(raw, "b@one.test", "c@two.test"))
	}
	return w.service.CommitAll(w.t.Context(), w.principal(), ins, idem)
}

// Several messages of one request are taken together or not at all.
func TestCommitAll(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) { w.subuser.Plan.Hour = 6 })
	const forged = "From: ceo@globex.test\r\n\r\nx\r\n"
	var part *PartError
	if err := w.commitAll(nil, plain, forged, plain); !errors.As(err, &part) || part.Index != 1 || !errors.Is(part.Err, replyIdentity) {
		t.Errorf("%v", err)
	}
	w.failing.err = store.ErrFull
	if err := w.commitAll(nil, plain, plain); err != replyFull {
		t.Errorf("%v", err)
	}
	w.failing.err = nil
	large := plain + strings.Repeat(strings.Repeat("z", 70)+"\r\n", 20000) // its body is stored while it comes
	err := w.commitAll(nil, large, plain, plain, plain)
	replies(t, err, overLimit)
	if n, m := w.used(news.ID), w.queued(); n != 0 || m != 0 {
		t.Fatalf("%d credits, %d messages of what was refused", n, m)
	}
	idem := &store.Idempotency{Tenant: w.principal().Tenant, Key: "k1", Route: "POST /v3/mail/send", Status: 202, CreatedAt: w.now}
	if err := w.commitAll(idem, large, plain, plain); err != nil {
		t.Fatal(err)
	}
	if n, m := w.used(news.ID), w.queued(); n != 6 || m != 3 {
		t.Errorf("%d credits, %d messages; want 6 and 3", n, m)
	}
	if found, err := w.store.ClaimIdempotency(t.Context(), *idem); err != nil || found == nil || found.Status != 202 || found.Pending {
		t.Errorf("the answer: %+v, %v", found, err)
	}
	w.now = w.now.Add(2 * time.Hour)
	if err := w.commitAll(idem, plain); relay.KindOf(err) != relay.Conflict { // answered before
		t.Errorf("%v", err)
	}
	if n := w.queued(); n != 3 {
		t.Errorf("%d messages", n)
	}
	w.sends("a@one.test", "b@one.test", "c@one.test", "d@one.test", "e@one.test", "f@one.test") // nothing was kept of it
	if err := w.service.CommitAll(t.Context(), w.principal(), nil, nil); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
}

// Of several messages each is put off by itself.
func TestCommitAllPutsOffOneByOne(t *testing.T) {
	t.Parallel()
	w := newLimits(t, func(w *limits) { w.subuser.Plan = relay.Plan{Hour: 4, Over: relay.OverDefer} })
	if err := w.commitAll(nil, plain, plain, plain, plain, plain); err != nil {
		t.Fatal(err)
	}
	qs, err := w.store.Messages(t.Context(), store.MessageFilter{})
	if err != nil {
		t.Fatal(err)
	}
	at := map[time.Duration]int{}
	for _, q := range qs {
		at[q.Recipients[0].DueAt.Sub(w.now)]++
	}
	if len(at) != 3 || at[0] != 2 || at[61*time.Minute] != 2 || at[122*time.Minute] != 1 {
		t.Errorf("due after %v", at)
	}
}

// nullStore commits nothing, at once.
type nullStore struct{ *store.Store }

func (nullStore) Accept(context.Context, *store.Acceptance) error { return nil }

// What limits add to a message: beside the store, which merges the counts of a
// batch.
func BenchmarkCommit(b *testing.B) {
	for name, set := range map[string]func(*limits){
		"not counted": nil,
		"unlimited":   func(*limits) {},
		"limited": func(w *limits) {
			w.account.Plan = relay.Plan{Hour: 1 << 40, Day: 1 << 40, Recipients: 1000, Size: 1 << 30}
			w.subuser.Plan = relay.Plan{Hour: 1 << 40, Month: 1 << 40}
			w.key.PerMinute, w.key.Hours = 1<<40, "00-24"
		},
	} {
		b.Run(name, func(b *testing.B) {
			w := newLimits(b, set)
			w.service.cfg.Store = nullStore{w.store}
			if set == nil {
				w.service.cfg.Credits = nil
			}
			p, env, raw := w.principal(), envelope("b@one.test"), []byte(plain)
			b.ReportAllocs()
			for b.Loop() {
				if err := w.service.BeginMail(b.Context(), p, 0); err != nil {
					b.Fatal(err)
				}
				in, err := w.service.Begin(b.Context(), p, env)
				if err != nil {
					b.Fatal(err)
				}
				in.Write(b.Context(), raw)
				if err := in.Commit(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
