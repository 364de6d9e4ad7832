package watch

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

// An attack that goes on is answered as the settings say now: a stricter answer is
// taken into the open finding, a milder one is not, and none of a rule that is off.
func TestStricterSettingsReachAnOpenFinding(t *testing.T) {
	t.Parallel()
	thief := netip.MustParseAddr("203.0.113.9")
	for name, c := range map[string]struct {
		rule   relay.WatchRule
		atlas  bool
		begins func(w *world, p *program)
		goesOn func(w *world, p *program)
	}{
		"a burst": {relay.WatchBurst, false, func(w *world, p *program) { w.send(p, w.at(80, 11), 400) }, func(w *world, p *program) { w.send(p, w.at(80, 11.95), 40) }},
		"a country": {relay.WatchNetwork, true, func(w *world, p *program) { w.login(p, w.at(80, 11), thief, relay.LoginOK) },
			func(w *world, p *program) { w.login(p, w.at(80, 11.95), thief.Next(), relay.LoginOK) }},
		"a network": {relay.WatchNetwork, false, func(w *world, p *program) { w.login(p, w.at(80, 11), thief, relay.LoginOK) },
			func(w *world, p *program) { w.login(p, w.at(80, 11.95), thief.Next(), relay.LoginOK) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			p := w.program("shop", "192.0.2.7")
			w.run(p, shapes["office"], 0, 80)
			set := relay.WatchRuleSetting{Answer: relay.WatchHold}
			e := w.engine(func(cfg *Config) {
				cfg.Settings = func(relay.AccountID) relay.WatchSettings {
					return relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{c.rule: set}}
				}
				if c.atlas {
					withAtlas(cfg)
				}
			})
			c.begins(w, p)
			first, err := e.Observe(t.Context(), w.events, w.logins)
			if err != nil {
				t.Fatal(err)
			}
			f := w.only(of(c.rule, first), c.rule, p.Key)
			before := f.Raised // a burst became critical with the last mails
			if f.Answer != relay.WatchHold {
				t.Fatalf("%+v", f)
			}
			sees := func(want relay.WatchAnswer, raised int64) {
				t.Helper()
				e.Saved()
				w.events, w.logins = nil, nil
				c.goesOn(w, p)
				again, err := e.Observe(t.Context(), w.events, w.logins)
				if err != nil || len(of(c.rule, again)) != 0 {
					t.Fatalf("%v, %v", again, err)
				}
				var got *relay.WatchFinding
				for _, open := range e.Open() {
					if open.ID == f.ID {
						got = &open
					}
				}
				if got == nil || got.Answer != want || got.Raised != before+raised {
					t.Errorf("settings %+v: %+v", set, got)
				}
			}
			set = relay.WatchRuleSetting{Answer: relay.WatchHold}
			sees(relay.WatchHold, 0)
			set = relay.WatchRuleSetting{Answer: relay.WatchTell}
			sees(relay.WatchHold, 0)
			set = relay.WatchRuleSetting{Answer: relay.WatchStop, Off: true}
			sees(relay.WatchHold, 0)
			set = relay.WatchRuleSetting{Answer: relay.WatchStop}
			sees(relay.WatchStop, 1)
			changes, err := e.Changes()
			if err != nil {
				t.Fatal(err)
			}
			if got := of(c.rule, changes.Findings); len(got) != 1 || got[0].Answer != relay.WatchStop {
				t.Errorf("not kept: %+v", got)
			}
			set = relay.WatchRuleSetting{Answer: relay.WatchRecord}
			sees(relay.WatchStop, 1)
		})
	}
}

// ringer is a watch over a store with a domain that fails, worse and worse.
type ringer struct {
	*decoy
	l      *letters
	answer relay.WatchAnswer
	domain relay.Domain
}

// sees is an alert about the domain, and the watch over it, which answers; the
// process is another one each time.
func (r *ringer) sees(state string) {
	r.t.Helper()
	r.alert(&program{Tenant: r.p.Tenant}, r.clock, relay.Alert{Kind: relay.AlertDomain, Domain: "a.test", State: state, Text: "gone"})
	r.s.RecordEvent(r.events[len(r.events)-1])
	r.written(r.s, len(r.events), len(r.logins))
	r.restart()
	r.after(10 * time.Minute)
	r.answers()
}

func (r *ringer) answers() {
	r.t.Helper()
	a := &Answers{Store: r.s, Mail: r.l.mail, Post: r.l.post, Now: func() time.Time { return r.clock }}
	for range 2 { // the second time there is nothing to do
		err := a.Work(r.t.Context(), func(relay.AccountID) relay.WatchSettings {
			return relay.WatchSettings{MailTo: []string{"ops@example.test"}, Webhook: "https://hooks.example.test/"}
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// set is what the account asks for from now on.
func (r *ringer) set(answer relay.WatchAnswer) {
	r.t.Helper()
	r.answer = answer
	was, err := r.s.WatchSettings(r.t.Context(), r.p.Account)
	if err != nil {
		r.t.Fatal(err)
	}
	set := relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchDomain: {Answer: answer}}}
	if err := r.s.SwapWatchSettings(r.t.Context(), ann, r.p.Account, was, set); err != nil {
		r.t.Fatal(err)
	}
}

// told are the ids of what was posted, by severity.
func (r *ringer) told() (out []string) {
	for _, p := range r.l.posts {
		_, rest, _ := strings.Cut(p, " watch_")
		id, body, _ := strings.Cut(rest, " ")
		severity := "warning"
		if strings.Contains(body, `"severity":"critical"`) {
			severity = "critical"
		}
		out = append(out, severity+id[22:]) // behind the finding's id
	}
	return out
}

func newRinger(t *testing.T) *ringer {
	t.Helper()
	r := &ringer{decoy: newDecoy(t), l: &letters{}}
	if err := r.s.CreateAccount(t.Context(), ann, relay.Account{ID: r.p.Account, Name: "acme", CreatedAt: r.clock}); err != nil {
		t.Fatal(err)
	}
	r.domain = relay.Domain{ID: relay.DomainID{ID: relay.NewID(r.clock)}, Account: r.p.Account, Name: "a.test", State: relay.DomainVerified, Token: "t", CreatedAt: r.clock}
	dkim := relay.DKIMKey{Domain: r.domain.ID, Selector: "s1", Algorithm: relay.DKIMRSA, Bits: 2048, Generation: 1, Sealed: []byte("sealed"), Record: "v=DKIM1; p=x", CreatedAt: r.clock}
	if _, err := r.s.CreateDomain(t.Context(), ann, r.domain, dkim); err != nil {
		t.Fatal(err)
	}
	return r
}

// What is read of a domain only after it was deleted is told to nobody, and the watch
// knows that it has ended.
func TestDomainThatIsDeletedBeforeItIsFound(t *testing.T) {
	t.Parallel()
	r := newRinger(t)
	if err := r.s.DeleteDomain(t.Context(), ann, r.domain.ID, r.clock); err != nil {
		t.Fatal(err)
	}
	r.sees("failing")
	r.after(time.Minute)
	if open := r.run.engine.Open(); len(open) != 0 || len(r.l.posts)+len(r.l.mails) != 0 {
		t.Errorf("open: %+v; told: %q", open, r.l.posts)
	}
}

// What becomes worse is told again, once, over restarts too; under another id, since
// a receiver drops one that it has seen.
func TestWorseIsToldAgain(t *testing.T) {
	t.Parallel()
	r := newRinger(t)
	for _, c := range []struct {
		state string
		want  []string
	}{
		{"failing", []string{"warning"}}, {"failing", []string{"warning"}}, {"paused", []string{"warning", "critical_2"}},
		{"paused", []string{"warning", "critical_2"}}, {"failing", []string{"warning", "critical_2"}},
	} {
		r.sees(c.state)
		if d := cmp.Diff(c.want, r.told()); d != "" {
			t.Fatalf("%s: %s", c.state, d)
		}
	}
	if len(r.l.mails) != 2 || strings.Contains(r.l.mails[0], "has become worse") || !strings.Contains(r.l.mails[1], "has become worse") {
		t.Errorf("%q", r.l.mails)
	}
}

// What was only recorded is told when the settings ask for it and it goes on.
func TestRecordedIsToldWhenAskedFor(t *testing.T) {
	t.Parallel()
	r := newRinger(t)
	r.set(relay.WatchRecord)
	r.sees("failing")
	r.sees("paused")
	if len(r.l.posts) != 0 {
		t.Errorf("%q", r.l.posts)
	}
	r.set(relay.WatchTell)
	r.answers()
	if len(r.l.posts) != 0 {
		t.Errorf("told before it was seen again: %q", r.l.posts)
	}
	r.sees("paused")
	r.sees("paused")
	if d := cmp.Diff([]string{"critical_2"}, r.told()); d != "" {
		t.Error(d)
	}
}

// A finding that is raised while it is answered is answered anew.
func TestRaisedWhileItIsAnswered(t *testing.T) {
	t.Parallel()
	d, l, a, _ := newDesk()
	f := d.finding(1, relay.WatchTell)
	f.Severity = relay.WatchWarning
	mail := a.Mail
	a.Mail = func(ctx context.Context, to, subject, text string) error {
		if f.Raised == 0 {
			f.Raised, f.Severity = 1, relay.WatchCritical
		}
		return mail(ctx, to, subject, text)
	}
	work(t, a)
	if !f.AnsweredAt.IsZero() {
		t.Error("the raise was swallowed")
	}
	work(t, a)
	work(t, a)
	if len(l.mails) != 2 || f.AnsweredAt.IsZero() {
		t.Errorf("%q", l.mails)
	}
}

// A failure to tell of what is milder does not count for what is worse: everybody is
// told of that.
func TestRaisedWhileNobodyCanBeTold(t *testing.T) {
	t.Parallel()
	d, l, a, now := newDesk()
	f := d.finding(1, relay.WatchTell)
	settings := func(relay.AccountID) relay.WatchSettings {
		return relay.WatchSettings{Webhook: "https://hooks.example.test/"}
	}
	l.failPost = errors.New("down")
	if err := a.Work(t.Context(), settings); err == nil {
		t.Error("a failure is none")
	}
	f.Raised, f.Severity = 1, relay.WatchCritical
	l.failPost = nil
	*now = now.Add(time.Second)
	if err := a.Work(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	if len(l.mails) != 2 || len(l.posts) != 1 || !strings.Contains(l.posts[0], " "+"watch_"+f.ID.String()+"_2 ") {
		t.Errorf("%q %q", l.mails, l.posts)
	}
}

// The stricter answer is carried out, and the undo puts back what was before the
// first one.
func TestStricterAnswerAndItsUndo(t *testing.T) {
	t.Parallel()
	for _, first := range relay.WatchBends[:2] {
		d, _, a, _ := newDesk()
		before := d.key
		f := d.finding(1, first)
		work(t, a)
		milder := d.key
		f.Answer, f.Raised, f.AnsweredAt = relay.WatchStop, 1, time.Time{}
		work(t, a)
		if d.key.DisabledAt.IsZero() || d.key.PerMinute != milder.PerMinute || d.key.Mode != milder.Mode {
			t.Errorf("%s, then stop: %+v", first, d.key)
		}
		f.State = relay.WatchDismissed
		work(t, a)
		sameKey(t, string(first), before, d.key)
	}
	// One that a person put back is stopped again when it becomes worse.
	d, _, a, _ := newDesk()
	f := d.finding(1, relay.WatchStop)
	work(t, a)
	d.set(ann, restored(d.key))
	want := d.key
	f.Raised, f.AnsweredAt = 1, time.Time{}
	work(t, a)
	if d.key.DisabledAt.IsZero() {
		t.Error("it is not stopped again")
	}
	f.State = relay.WatchDismissed
	work(t, a)
	sameKey(t, "stopped again", want, d.key)
}

// What the account does not ask for any more is not done, although the finding was
// opened when it did: not to a key that a person put back, nor when the finding becomes
// worse, nor the first time. It is told all the same.
func TestAnswerThatWasTakenBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  relay.WatchSettings
		want func(k *relay.Key) // of the key that was put back
	}{
		"stop":   {asking(relay.WatchStop), func(k *relay.Key) { k.DisabledAt = began }},
		"hold":   {asking(relay.WatchHold), func(k *relay.Key) { k.Mode = relay.KeyHold }},
		"slow":   {asking(relay.WatchSlow), func(k *relay.Key) { k.PerMinute = 10 }},
		"tell":   {asking(relay.WatchTell), func(*relay.Key) {}},
		"record": {asking(relay.WatchRecord), func(*relay.Key) {}},
		"off": {relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchPlaces: {Answer: relay.WatchStop, Off: true}}},
			func(*relay.Key) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, l, a, _ := newDesk()
			f := d.finding(1, relay.WatchStop)
			f.Severity = relay.WatchWarning
			work(t, a)
			d.set(ann, restored(d.key))
			before, want := d.key, d.key
			c.want(&want)
			f.Severity, f.Raised, f.AnsweredAt = relay.WatchCritical, 1, time.Time{}
			d.finding(2, relay.WatchStop)
			now := func(relay.AccountID) relay.WatchSettings { return c.set }
			for range 2 { // the second time there is nothing to do
				if err := a.Work(t.Context(), now); err != nil {
					t.Fatal(err)
				}
			}
			sameKey(t, "answered", want, d.key)
			if len(l.mails) != 3 || d.findings[0].AnsweredAt.IsZero() || d.findings[1].AnsweredAt.IsZero() {
				t.Errorf("told: %q", l.mails)
			}
			for i := range d.findings {
				d.findings[i].State = relay.WatchDismissed
			}
			if err := a.Work(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			sameKey(t, "dismissed", before, d.key)
		})
	}
	// More than the finding is answered with is not done either.
	d, _, a, _ := newDesk()
	d.finding(1, relay.WatchHold)
	work(t, a)
	if !d.key.DisabledAt.IsZero() || d.key.Mode != relay.KeyHold {
		t.Errorf("%+v", d.key)
	}
}

// A commit that failed, done or not, neither loses a raise nor raises twice.
func TestRaiseOverFailedCommits(t *testing.T) {
	t.Parallel()
	lost := errors.New("the disk is full")
	for name, fault := range map[string]func(f *failing1){
		"failed and not stored": func(f *failing1) { f.before = lost },
		"failed but stored":     func(f *failing1) { f.after = lost },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRinger(t)
			r.sees("failing")
			r.alert(&program{Tenant: r.p.Tenant}, r.clock, relay.Alert{Kind: relay.AlertDomain, Domain: "a.test", State: "paused", Text: "gone"})
			r.s.RecordEvent(r.events[len(r.events)-1])
			r.written(r.s, len(r.events), 0)
			r.clock = r.clock.Add(10 * time.Minute)
			fault(r.fails)
			if _, err := r.run.Step(t.Context()); !errors.Is(err, lost) {
				t.Fatal(err)
			}
			r.answers()
			r.after(time.Minute)
			r.answers()
			if d := cmp.Diff([]string{"warning", "critical_2"}, r.told()); d != "" {
				t.Error(d)
			}
		})
	}
}
