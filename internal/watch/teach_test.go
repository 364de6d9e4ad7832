package watch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

// lesson is something that a rule finds, in a history of 80 days.
type lesson struct {
	shape  string
	atlas  bool
	happen func(w *world, p *program)
}

// lessons are one of each rule.
func lessons() map[relay.WatchRule]lesson {
	all := map[relay.WatchRule]lesson{
		relay.WatchTravel: {"steady", true, func(w *world, p *program) {
			w.login(p, w.at(80, 10), netip.MustParseAddr("192.0.2.7"), relay.LoginOK)
			w.login(p, w.at(80, 10.5), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
		}},
		relay.WatchSweep: {"office", true, func(w *world, p *program) {
			for i := range 6 {
				other := &program{Tenant: relay.Tenant{Account: relay.AccountID{ID: relay.ID{7, byte(i)}}}, Key: relay.KeyID{ID: relay.ID{8, byte(i)}}, Mech: "PLAIN"}
				w.login(other, w.at(80, 10+float64(i)/60), netip.MustParseAddr("203.0.113.9"), relay.LoginWrong)
			}
		}},
		relay.WatchDomain: {"office", false, func(w *world, p *program) {
			w.alert(&program{Tenant: p.Tenant}, w.at(80, 10), relay.Alert{Kind: relay.AlertDomain, Domain: "example.test", State: "failing", Text: "gone"})
		}},
	}
	for _, c := range incidents {
		if _, there := all[c.rule]; !there {
			all[c.rule] = lesson{c.shape, c.atlas, c.happen}
		}
	}
	return all
}

// of are the findings of a rule.
func of(rule relay.WatchRule, fs []relay.WatchFinding) (out []relay.WatchFinding) {
	for _, f := range fs {
		if f.Rule == rule {
			out = append(out, f)
		}
	}
	return out
}

// TestEveryRuleIsTaught: what a person dismissed as normal is not found again, two
// days later nor when the finding has faded, over a restart too.
func TestEveryRuleIsTaught(t *testing.T) {
	t.Parallel()
	all := lessons()
	for _, rule := range relay.WatchRules {
		c, there := all[rule]
		if !there {
			t.Errorf("no lesson about %s", rule)
			continue
		}
		t.Run(string(rule), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			p := w.program("shop", "192.0.2.7")
			w.run(p, shapes[c.shape], 0, 80)
			before := *p
			var change []func(*Config)
			if c.atlas {
				change = append(change, withAtlas)
			}
			e := w.engine(change...)
			again := func(days int) []relay.WatchFinding {
				t.Helper()
				serial := p.serial
				*p = before
				p.serial = serial // new recipients are other ones than last time
				w.start = w.start.Add(time.Duration(days) * day)
				c.happen(w, p)
				fs, err := e.Observe(t.Context(), w.events, w.logins)
				if err != nil {
					t.Fatal(err)
				}
				w.events, w.logins = nil, nil
				return of(rule, fs)
			}
			first := again(0)
			if len(first) != 1 {
				t.Fatalf("%d findings, want one", len(first))
			}
			f := first[0]
			f.State, f.Teach = relay.WatchDismissed, true
			if err := e.Decide(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if open := of(rule, e.Open()); len(open) != 0 {
				t.Errorf("%d are open", len(open))
			}
			changes, err := e.Changes()
			if err != nil {
				t.Fatal(err)
			}
			for _, days := range []int{2, 9} {
				for _, f := range again(days) {
					t.Errorf("after %d days more: %s", days, f.Text)
				}
			}
			// A new process knows it too.
			e = w.engine(change...)
			e.Restore(changes.Shared, nil)
			for id, kept := range changes.Keys {
				if err := e.Put(id, kept); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range again(1) {
				t.Errorf("after a restart: %s", f.Text)
			}
		})
	}
}

// What is normal is normal as bad as it was: a domain that comes and goes may, but
// not mail that is refused. Another canary, and the same from elsewhere, is told.
func TestTaughtUpToWhatItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p, other := w.program("decoy"), w.program("other decoy")
	e := w.engine()
	see := func() []relay.WatchFinding {
		t.Helper()
		fs, err := e.Observe(t.Context(), w.events, w.logins)
		if err != nil {
			t.Fatal(err)
		}
		w.events, w.logins = nil, nil
		return fs
	}
	teach := func(fs []relay.WatchFinding) {
		t.Helper()
		for _, f := range fs {
			f.State, f.Teach = relay.WatchDismissed, true
			if err := e.Decide(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	domain := func(days float64, name, state string) {
		w.alert(&program{Tenant: p.Tenant}, w.at(days, 1), relay.Alert{Kind: relay.AlertDomain, Domain: name, State: state, Text: "gone"})
	}
	canary := func(days float64, p *program, addr string) {
		w.login(p, w.at(days, 2), netip.MustParseAddr(addr), relay.LoginCanary)
	}
	domain(1, "a.test", "failing")
	canary(1, p, "192.0.2.1")
	teach(see())
	domain(2, "a.test", "failing")
	canary(2, p, "192.0.2.1")
	w.none(see())
	domain(3, "a.test", "paused")
	domain(3.1, "b.test", "failing")
	canary(3, p, "192.0.2.2")
	canary(3, other, "192.0.2.1")
	var subjects []string
	got := see()
	for _, f := range got {
		subjects = append(subjects, string(f.Rule)+" "+f.Subject+" "+f.KeyName)
	}
	if d := cmp.Diff([]string{"domain a.test ", "canary 192.0.2.2 decoy", "canary 192.0.2.1 other decoy", "domain b.test "}, subjects); d != "" {
		t.Error(d)
	}
	teach(got)
	domain(4, "a.test", "paused")
	domain(4, "a.test", "failing")
	w.none(see())
	for i := range 2 * maxUsual {
		e.share.makeUsual(&relay.WatchFinding{Rule: relay.WatchDomain, Subject: string(rune('a' + i))})
	}
	if len(e.share.Usual) != maxUsual {
		t.Errorf("%d are remembered", len(e.share.Usual))
	}
}
