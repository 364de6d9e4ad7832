package submit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// endQueue takes every end.
type endQueue struct{ fakeQueue }

func (w *world) intake(change func(*IntakeConfig)) (*Intake, *endQueue) {
	q := &endQueue{}
	cfg := IntakeConfig{
		Directory: w.dir, ReturnPaths: w.service.cfg.ReturnPaths, Store: w.store, Queue: q, Hostname: "relay.test", Contact: "operator@ops.test",
		Notifier: &Notifier{Directory: w.dir, Store: w.store, Hostname: "relay.test"},
	}
	if change != nil {
		change(&cfg)
	}
	return NewIntake(cfg), q
}

func TestIntakeRoutes(t *testing.T) {
	w := newWorld(t, nil)
	in, _ := w.intake(nil)
	id := relay.MessageID{ID: relay.NewID(time.Now())}
	good := w.service.cfg.ReturnPaths.Make(id, "em.acme.test")
	for to, want := range map[string]bool{
		good: true, strings.ToUpper(good): true, strings.Replace(good, "em.acme", "relay", 1): true,
		"postmaster@relay.test": true, "Abuse@relay.test": true,
		strings.Replace(good, "em.acme.test", "evil.test", 1): false,
		"b-" + strings.Repeat("a", 42) + "@em.acme.test":      false,
		"somebody@relay.test":                                 false, "b@one.test": false, "postmaster@one.test": false,
	} {
		a, err := smtp.ParseAddress(to, true)
		if err != nil {
			t.Fatal(err)
		}
		_, err = in.Route(a, 0)
		if (err == nil) != want {
			t.Errorf("%s: %v, want taken: %v", to, err, want)
		}
		if r, ok := errors.AsType[smtp.Reply](err); err != nil && (!ok || r.Code != 550 || r.Enhanced.String() != "5.7.1") {
			t.Errorf("%s: %v, want 550 5.7.1", to, err)
		}
	}
	if _, err := in.Route(addr(good), 1); err != replyOneAtATime {
		t.Errorf("second recipient: %v", err)
	}
	if pm, err := smtp.Postmaster("postmaster"); err != nil {
		t.Fatal(err)
	} else if _, err := in.Route(pm, 0); err != nil {
		t.Errorf("bare postmaster: %v", err)
	}
}

func (q *endQueue) lanes() int { return q.waiting }

// RX-18: a flood of bounces meets a limit of its own, and neither commands nor
// mail to the operator use it up.
func TestIntakeHasItsOwnRate(t *testing.T) {
	w := newWorld(t, nil)
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	in, _ := w.intake(func(c *IntakeConfig) { c.PerMinute, c.Now = 60, func() time.Time { return now } })
	begin := func(r Route) (taken int) {
		for range 1000 {
			if err := in.Mail(smtp.Address{}); err != nil {
				continue
			}
			if _, err := in.Begin(Envelope{}, []Route{r}); err == nil {
				taken++
			}
		}
		return taken
	}
	for range 1000 {
		if err := in.Mail(smtp.Address{}); err != nil {
			t.Fatalf("MAIL alone uses up the rate: %v", err)
		}
	}
	if n := begin(Route{local: "abuse"}); n != 6 {
		t.Errorf("%d messages to the operator, want a tenth of 60", n)
	}
	taken := begin(Route{bounce: true})
	now = now.Add(10 * time.Second)
	if taken += begin(Route{bounce: true}); taken != 70 {
		t.Errorf("%d messages in 10 s at 60 a minute, want 60 + 10", taken)
	}
}

const dsn = "From: mailer-daemon@mx.one.test\r\nTo: %RP%\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsorry\r\n" +
	"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.one.test\r\n\r\nFinal-Recipient: rfc822; %TO%\r\n" +
	"Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--b--\r\n"

func (in *Intake) take(t *testing.T, to, raw string) error {
	t.Helper()
	r, err := in.Route(addr(to), 0)
	if err != nil {
		t.Fatal(err)
	}
	body, err := in.Begin(Envelope{}, []Route{r})
	if err != nil {
		t.Fatal(err)
	}
	body.Write([]byte(raw))
	_, err = body.Commit(t.Context())
	return err
}

func (q *endQueue) End(context.Context, relay.MessageID, []int, []relay.Event, *store.Acceptance) error {
	return nil
}

func TestBounceEndsItsRecipientAndIsForwarded(t *testing.T) {
	w := newWorld(t, nil)
	real := queue.New(queue.Config{Store: w.store, Deliverer: nil, Directory: w.dir})
	in := NewIntake(IntakeConfig{
		Directory: w.dir, ReturnPaths: w.service.cfg.ReturnPaths, Store: w.store, Queue: real, Hostname: "relay.test",
		Notifier: &Notifier{Directory: w.dir, Store: w.store, Hostname: "relay.test"},
	})
	id, err := w.send(envelope("b@one.test", "c@one.test"), plain, 1000)
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 { // whether it was taken is not known: only then is a report believed
		w.happened(id, relay.EventDeferred, n, relay.EventData{Ambiguous: true})
	}
	rp := q.Message.ReturnPath
	raw := strings.NewReplacer("%RP%", rp, "%TO%", "B@one.test").Replace(dsn)
	// Case differs: not that mailbox, and there are two recipients.
	if err := in.take(t, rp, raw); err != nil {
		t.Fatal(err)
	}
	if ev := w.events(id, relay.EventBounced); len(ev) != 0 {
		t.Errorf("a bounce for somebody else ended %v", ev)
	}
	raw = strings.NewReplacer("%RP%", rp, "%TO%", "b@one.test").Replace(dsn)
	for range 2 { // the second one is a repetition
		if err := in.take(t, rp, raw); err != nil {
			t.Fatal(err)
		}
	}
	if ev := w.events(id, relay.EventBounced); len(ev) != 1 || ev[0].N != 0 || !strings.Contains(string(ev[0].Data), "no such user") {
		t.Errorf("bounced events %v", ev)
	}
	if q, err = w.store.Message(t.Context(), id); err != nil || len(q.Recipients) != 1 || q.Recipients[0].N != 1 || q.Recipients[0].Lease != 0 {
		t.Errorf("what is left: %+v %v", q.Recipients, err)
	}
	notices, err := w.store.Messages(t.Context(), store.MessageFilter{Account: system})
	if err != nil || len(notices) != 1 {
		t.Fatalf("%d notices %v", len(notices), err)
	}
	n := notices[0]
	if n.Recipients[0].Address != "sender@acme.test" || n.Message.ReturnPath != "" || n.Message.EnvelopeFrom != "" {
		t.Errorf("the notice goes from %q to %q", n.Message.ReturnPath, n.Recipients[0].Address)
	}
	if c := w.content(n.Message.ID); !strings.Contains(c, "Final-Recipient: rfc822; b@one.test") || !strings.Contains(c, "no such user") {
		t.Errorf("notice:\n%s", c)
	}
}

func (w *world) events(id relay.MessageID, kind relay.EventKind) []relay.Event {
	w.t.Helper()
	ev, err := w.store.Events(w.t.Context(), store.EventFilter{Message: id, Kinds: []relay.EventKind{kind}})
	if err != nil {
		w.t.Fatal(err)
	}
	return ev
}

// DL-22: no DSN ever goes to an address that the account may not use.
func TestNoBackscatter(t *testing.T) {
	w := newWorld(t, nil)
	n := &Notifier{Directory: w.dir, Store: w.store, Hostname: "relay.test"}
	m := relay.Message{ID: relay.MessageID{ID: relay.NewID(time.Now())}, Tenant: relay.Tenant{Account: acme}, AcceptedAt: time.Now(), ExpiresAt: time.Now()}
	rcpt := func(no relay.Notify) []queue.NoticeRecipient {
		return []queue.NoticeRecipient{{Recipient: relay.Recipient{Address: "b@one.test", Notify: no}, Reply: "550 5.1.1 no", Enhanced: "5.1.1", Remote: "mx.one.test"}}
	}
	tests := []struct {
		name   string
		from   string
		kind   queue.NoticeKind
		notify relay.Notify
		want   bool
	}{
		{"own address", "sender@acme.test", queue.NoticeFailed, 0, true},
		{"DL-21 null sender", "", queue.NoticeFailed, 0, false},
		{"DL-22 foreign sender", "victim@evil.test", queue.NoticeFailed, 0, false},
		{"DL-22 another tenant", "victim@globex.test", queue.NoticeFailed, 0, false},
		{"NOTIFY=NEVER", "sender@acme.test", queue.NoticeFailed, relay.NotifyNever, false},
		{"NOTIFY=SUCCESS only", "sender@acme.test", queue.NoticeFailed, relay.NotifySuccess, false},
		{"NOTIFY=FAILURE", "sender@acme.test", queue.NoticeFailed, relay.NotifyFailure, true},
		{"delay not asked for", "sender@acme.test", queue.NoticeDelayed, 0, false},
		{"NOTIFY=DELAY", "sender@acme.test", queue.NoticeDelayed, relay.NotifyDelay, true},
		{"DL-26 relayed", "sender@acme.test", queue.NoticeRelayed, relay.NotifySuccess, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := m
			m.EnvelopeFrom = tt.from
			a, err := n.Compose(t.Context(), queue.Notice{Kind: tt.kind, Message: &m, Recipients: rcpt(tt.notify)})
			if err != nil || (a != nil) != tt.want {
				t.Fatalf("%v %v, want a notice: %v", a, err, tt.want)
			}
			if a != nil && (a.Message.ReturnPath != "" || a.Recipients[0].Address != tt.from || a.Message.Account != system) {
				t.Errorf("%+v", a.Message)
			}
		})
	}
}

func TestContactMailIsWrapped(t *testing.T) {
	w := newWorld(t, nil)
	in, q := w.intake(nil)
	if err := in.take(t, "abuse@relay.test", "From: angry@else.test\r\nSubject: stop it\r\n\r\nspam!\r\n"); err != nil {
		t.Fatal(err)
	}
	all, err := w.store.Messages(t.Context(), store.MessageFilter{})
	if err != nil || len(all) != 1 || all[0].Recipients[0].Address != "operator@ops.test" || q.lanes() != 1 {
		t.Fatalf("%+v %v", all, err)
	}
	c := w.content(all[0].Message.ID)
	if !strings.Contains(c, "From: Mail Delivery System <mailer-daemon@relay.test>") && !strings.Contains(c, "mailer-daemon@relay.test") {
		t.Errorf("it is not from us:\n%s", c)
	}
	if !strings.Contains(c, "message/rfc822") || !strings.Contains(c, "Subject: stop it") {
		t.Errorf("the message is not attached:\n%s", c)
	}
	if err := in.take(t, "abuse@relay.test", "From: a@b.test\r\n\r\n"+strings.Repeat("x", 2<<20)); err != replyTooLarge {
		t.Errorf("over the limit: %v", err)
	}
}
