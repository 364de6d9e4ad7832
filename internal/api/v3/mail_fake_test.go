package v3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"postern/internal/api/mailsend"
	"postern/internal/credit"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
	"postern/internal/submit"
)

// fakeMail hands mail to a real submit.Service over a real store, made when the
// first message comes. Each account owns <its name>.test, and acme has the pool
// "bulk". What a test sets is set before its first request.
type fakeMail struct {
	w      *world
	mu     sync.Mutex
	opened *submit.Service
	store  *store.Store

	credits submit.Credits
	off     bool  // sending is switched off
	recheck error // of Check
	calls   int   // of CommitAll
	fail    error
	idem    []*store.Idempotency
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeMail{w: w}
		w.extra["mail"] = f
		s.MailServices = MailServices{
			Submit: f, Senders: f, Recheck: f, Batches: mailsend.NewBatches([][]byte{[]byte("batch key")}), Hostname: "relay.test", Budget: NewMailBudget(0),
		}
	})
	send := func(w *world, of relay.Tenant) ask {
		return ask{Path: "/v3/mail/send", Body: mailFrom("from@" + mailOf(w).nameOf(of.Account) + ".test")}
	}
	addFixtures(map[string]fixture{
		"POST /v3/mail/send":  {Status: 202, Make: send},
		"POST /v3/mail/batch": plain(201, "/v3/mail/batch", ""),
		// An id that is not valid is 400 as SendGrid has it; TestBatch compares foreign
		// and absent ones.
		"GET /v3/mail/batch/{batch_id}": {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			id, _ := w.services.Batches.Make(of, t0)
			return ask{Path: "/v3/mail/batch/" + id}
		}},
	})
}

func mailOf(w *world) *fakeMail { return w.extra["mail"].(*fakeMail) }

func mailFrom(from string) string {
	return `{"personalizations":[{"to":[{"email":"to@dest.test"}]}],"from":{"email":"` + from + `"},"subject":"s","content":[{"type":"text/plain","value":"v"}]}`
}

func (f *fakeMail) nameOf(id relay.AccountID) string {
	for _, a := range f.w.accounts {
		if a.ID == id {
			return a.Name
		}
	}
	return ""
}

func (f *fakeMail) service() *submit.Service {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opened != nil {
		return f.opened
	}
	t := f.w.t
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := store.Open(context.Background(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, MinFree: -1, Now: f.w.clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	f.store = s
	f.opened = submit.New(submit.Config{
		Store: s, Queue: f, Directory: f, Credits: f.credits, Now: f.w.clock, Hostname: "relay.test", ReturnPaths: submit.NewReturnPaths([][]byte{[]byte("key")}),
	})
	return f.opened
}

// The Submission.

func (f *fakeMail) Begin(ctx context.Context, p *relay.Principal, env submit.Envelope) (*submit.Incoming, error) {
	return f.service().Begin(ctx, p, env)
}

func (f *fakeMail) May(p *relay.Principal, m sender.Mail, src relay.Source) (sender.Decision, error) {
	return f.service().May(p, m, src)
}

func (f *fakeMail) CheckRecipient(p *relay.Principal, a smtp.Address) error {
	return f.service().CheckRecipient(p, a)
}

func (f *fakeMail) CommitAll(ctx context.Context, p *relay.Principal, ins []*submit.Incoming, idem *store.Idempotency) error {
	f.calls++
	f.idem = append(f.idem, idem)
	if f.fail != nil {
		for _, in := range ins {
			in.Abort(ctx)
		}
		return f.fail
	}
	if idem != nil { // of the world's own answers
		if err := f.w.services.Answers.FinishIdempotency(ctx, *idem); err != nil {
			return err
		}
	}
	return f.service().CommitAll(ctx, p, ins, nil)
}

func (f *fakeMail) Check(_ context.Context, p *relay.Principal, _ netip.Addr) (*relay.Principal, error) {
	return p, f.recheck
}

// The directory.

func (f *fakeMail) Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage) {
	d := relay.Domain{ID: relay.DomainID{ID: relay.ID{9}}, Account: t.Account, Name: name, State: relay.DomainAsserted}
	switch name {
	case f.nameOf(t.Account) + ".test":
		return d, relay.CoverUsable
	case "paused." + f.nameOf(t.Account) + ".test":
		return d, relay.CoverPaused
	}
	return relay.Domain{}, relay.CoverNone
}
func (f *fakeMail) SenderFor(relay.Tenant, string) (relay.SingleSender, bool) {
	return relay.SingleSender{}, false
}
func (f *fakeMail) Domain(relay.DomainID) (relay.Domain, bool) { return relay.Domain{}, false }
func (f *fakeMail) System() (relay.Account, relay.Domain, bool) {
	return f.w.accounts[0], relay.Domain{Name: "relay.test"}, true
}
func (f *fakeMail) DKIMKeys(relay.DomainID) []relay.DKIMKey { return nil }
func (f *fakeMail) Pool(id relay.PoolID) (relay.Pool, bool) { return relay.Pool{ID: id}, true }
func (f *fakeMail) DefaultPool(relay.Tenant) (relay.Pool, bool) {
	return relay.Pool{ID: relay.PoolID{ID: relay.ID{4}}, Name: "default"}, true
}
func (f *fakeMail) PoolNamed(a relay.AccountID, name string) (relay.Pool, bool) {
	return relay.Pool{ID: relay.PoolID{ID: relay.ID{5}}, Name: "bulk"}, name == "bulk" && a == f.w.acme.Account
}
func (f *fakeMail) Account(id relay.AccountID) (relay.Account, bool) { return f.w.Account(id) }
func (f *fakeMail) Subuser(id relay.SubuserID) (relay.Subuser, bool) { return f.w.Subuser(id) }
func (f *fakeMail) Sending(relay.Tenant) (bool, string)              { return !f.off, "off" }
func (f *fakeMail) Deleted(relay.Tenant) bool                        { return false }
func (f *fakeMail) Waiting(relay.Lane, relay.Tenant, time.Time)      {}
func (f *fakeMail) Admit(relay.Tenant, []relay.Lane, int64) (queue.Admission, bool) {
	return queue.Admission{}, false
}

// queued is what waits in the store, oldest first.
func (f *fakeMail) queued() []store.Queued {
	f.w.t.Helper()
	f.service()
	q, err := f.store.Messages(context.Background(), store.MessageFilter{Limit: 1000})
	if err != nil {
		f.w.t.Fatal(err)
	}
	return q
}

func (f *fakeMail) content(id relay.MessageID) string {
	f.w.t.Helper()
	c, err := f.store.Content(context.Background(), id)
	if err != nil {
		f.w.t.Fatal(err)
	}
	r, err := c.Open(context.Background())
	if err != nil {
		f.w.t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		f.w.t.Fatal(err)
	}
	return b.String()
}

// noCredit refuses every claim.
type noCredit struct{ until time.Time }

func (n noCredit) Reserve(context.Context, credit.Claim) (credit.Reservation, error) {
	return credit.Reservation{}, &credit.Exceeded{Limit: relay.Usage{Limit: 1, Used: 1, Window: relay.WindowHour}, ResumesAt: n.until}
}

func (n noCredit) Exhausted(context.Context, relay.Account, *relay.Subuser, *relay.Key) *credit.Exceeded {
	return nil
}
