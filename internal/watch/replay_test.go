package watch

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/store"
)

// steadily is a key that sends to the same ten people once a day, for 45 days, and
// then: to 45 and to 200 of its people in an hour, from another network.
func steadily(t *testing.T, now time.Time) *world {
	w := newWorld(t, 1)
	w.start = now.Add(-50 * day).Truncate(day)
	p := w.program("shop", "192.0.2.7")
	send := func(at time.Time, n int, addr string) {
		a := netip.MustParseAddr(addr)
		d := relay.EventData{Source: &relay.Source{Addr: a, Protocol: "ESMTPSA", Mechanism: "PLAIN", TLS: p.TLS}}
		for i := range n {
			d.Recipients = append(d.Recipients, fmt.Sprintf("known%d@example.test", i%10))
		}
		w.login(p, at, a, relay.LoginOK)
		w.event(p, relay.EventReceived, at.Add(time.Second), "", d)
	}
	for d := range 45 {
		send(w.at(float64(d), 9), 10, "192.0.2.7")
	}
	send(w.at(46, 9), 45, "192.0.2.7")
	send(w.at(47, 9), 200, "192.0.2.7")
	w.login(p, w.at(48, 9), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	return w
}

// TestReplayOfSettings: over the stored history a replay with the settings that were
// in force finds what was found; with others what they would have found.
func TestReplayOfSettings(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	s := openStore(t, nil)
	w := steadily(t, now)
	w.record(s)
	account := w.events[0].Account
	inForce := relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchBurst: {Answer: relay.WatchHold}}}
	if err := s.SwapWatchSettings(t.Context(), store.By{Who: "ann"}, account, relay.WatchSettings{}, inForce); err != nil {
		t.Fatal(err)
	}
	r := NewRunner(RunnerConfig{Store: s, Places: testAtlas, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	for more := true; more; {
		var err error
		if more, err = r.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	live, err := s.WatchFindings(t.Context(), store.WatchFilter{})
	if err != nil {
		t.Fatal(err)
	}
	line := func(f relay.WatchFinding) string { return f.ID.String() + " " + string(f.Rule) + ": " + f.Text }
	var want []string
	for _, f := range slices.Backward(live) {
		want = append(want, line(f))
	}
	if len(want) != 2 {
		t.Fatalf("%d findings: %q", len(want), want)
	}
	replay := func(cfg ReplayConfig, rules map[relay.WatchRule]relay.WatchRuleSetting) (out []relay.WatchFinding) {
		t.Helper()
		cfg.Logs, cfg.Until, cfg.Account = s, now, account
		cfg.Engine.Places = testAtlas
		cfg.Engine.Settings = func(relay.AccountID) relay.WatchSettings { return relay.WatchSettings{Rules: rules} }
		cfg.Finding = func(f relay.WatchFinding) error { out = append(out, f); return nil }
		if _, err := Replay(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		return out
	}
	var same []string
	for _, f := range replay(ReplayConfig{}, inForce.Rules) {
		same = append(same, line(f))
	}
	if d := cmp.Diff(want, same); d != "" {
		t.Errorf("with the same settings: %s", d)
	}
	burst := func(set relay.WatchRuleSetting) map[relay.WatchRule]relay.WatchRuleSetting {
		return map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchBurst: set}
	}
	only := func(rules ...relay.WatchRule) ReplayConfig { return ReplayConfig{Engine: Config{Only: rules}} }
	for _, c := range []struct {
		name  string
		cfg   ReplayConfig
		rules map[relay.WatchRule]relay.WatchRuleSetting
		want  []string
	}{
		{"as it was", ReplayConfig{}, nil, []string{"burst on day 47", "network on day 48"}},
		{"only burst", only(relay.WatchBurst), nil, []string{"burst on day 47"}},
		{"only network", only(relay.WatchNetwork), nil, []string{"network on day 48"}},
		{"only what was not there", only(relay.WatchBounces), nil, nil},
		{"a smaller margin and floor", only(relay.WatchBurst), burst(relay.WatchRuleSetting{Margin: 0.25, Floor: 10}), []string{"burst on day 46"}},
		{"a wider margin", ReplayConfig{}, burst(relay.WatchRuleSetting{Margin: 10}), []string{"network on day 48"}},
		{"a higher floor", ReplayConfig{}, burst(relay.WatchRuleSetting{Floor: 500}), []string{"network on day 48"}},
		{"off", ReplayConfig{}, burst(relay.WatchRuleSetting{Off: true}), []string{"network on day 48"}},
		{"since the burst", ReplayConfig{Since: w.at(47.5, 0)}, nil, []string{"network on day 48"}},
	} {
		var got []string
		for _, f := range replay(c.cfg, c.rules) {
			got = append(got, fmt.Sprintf("%s on day %d", f.Rule, f.FirstAt.Sub(w.start)/day))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	after, err := s.WatchFindings(t.Context(), store.WatchFilter{})
	if d := cmp.Diff(live, after); d != "" || err != nil {
		t.Errorf("a replay left a trace: %v %s", err, d)
	}
}
