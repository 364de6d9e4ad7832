package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

func openStore(t testing.TB, now func() time.Time) *store.Store {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := store.Open(context.Background(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, Logger: slog.New(slog.DiscardHandler), Now: now,
		KeepEvents: 10 * 365 * 24 * time.Hour, KeepLogins: 10 * 365 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; _ = s.Close() })
	return s
}

// record puts a history into a store, as it would have come.
func (w *world) record(s *store.Store) {
	w.t.Helper()
	var events, logins int
	for i, item := range merge(w.events, w.logins) {
		if item.event != nil {
			s.RecordEvent(*item.event)
			events++
		} else {
			s.RecordLogin(item.login.Login)
			logins++
		}
		if i%500 == 499 {
			w.written(s, events, logins)
		}
	}
	w.written(s, events, logins)
}

// written waits until the store has that many events and logins.
func (w *world) written(s *store.Store, events, logins int) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		more := s.Committed()
		e, l := 0, 0
		var c store.Cursor
		for {
			some, next, err := s.ReadEvents(w.t.Context(), c, 10_000)
			if err != nil {
				w.t.Fatal(err)
			}
			if c = next; len(some) == 0 {
				break
			}
			e += len(some)
		}
		for c = (store.Cursor{}); ; {
			some, next, err := s.ReadLogins(w.t.Context(), c, time.Now(), 10_000)
			if err != nil {
				w.t.Fatal(err)
			}
			if c = next; len(some) == 0 {
				break
			}
			l += len(some)
		}
		if e >= events && l >= logins {
			return
		}
		select {
		case <-more:
		case <-time.After(50 * time.Millisecond): // login records alone are not told of
		}
	}
	w.t.Fatal("the store has not written what was recorded")
}

// short is a history that fits into a test of the store.
func short(t testing.TB) *world {
	w := newWorld(t, 1)
	var all []*program
	for i := range 3 {
		p := w.program(fmt.Sprint("key ", i), fmt.Sprintf("192.0.%d.7", i))
		p.Known, p.Fresh = 5, 0
		for d := range 30 {
			w.login(p, w.at(float64(d), 9), w.addr(p), relay.LoginOK)
			w.event(p, relay.EventReceived, w.at(float64(d), 9.1), "", relay.EventData{Recipients: []string{"a@example.test"}, Source: &relay.Source{Addr: w.addr(p), Protocol: "ESMTPSA", Mechanism: "PLAIN", TLS: p.TLS}})
		}
		all = append(all, p)
	}
	w.login(all[0], w.at(25, 12), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	w.login(all[1], w.at(26, 12), netip.MustParseAddr("203.0.113.9"), relay.LoginCanary)
	w.alert(all[1], w.at(26, 12.001), relay.Alert{Kind: relay.AlertCanary, Addr: "203.0.113.9", Text: "sang"})
	w.alert(&program{Tenant: all[2].Tenant}, w.at(27, 1), relay.Alert{Kind: relay.AlertDomain, Domain: "example.test", State: "failing"})
	for i := range 12 {
		w.login(all[2], w.at(28, 10+float64(i)/60), netip.AddrFrom4([4]byte{100, byte(i), 1, 1}), relay.LoginWrong)
	}
	return w
}

// past is a store as it was at a moment: what came later is not in it yet.
type past struct {
	*store.Store
	now func() time.Time
}

func (p past) ReadEvents(ctx context.Context, c store.Cursor, limit int) ([]relay.Event, store.Cursor, error) {
	all, next, err := p.Store.ReadEvents(ctx, c, limit)
	for i := range all {
		if all[i].At.After(p.now()) {
			return all[:i], next.After(all[:i]), err
		}
	}
	return all, next, err
}

func (p past) ReadLogins(ctx context.Context, c store.Cursor, settled time.Time, limit int) ([]store.StoredLogin, store.Cursor, error) {
	all, next, err := p.Store.ReadLogins(ctx, c, settled, limit)
	for i := range all {
		if all[i].At.After(p.now()) {
			return all[:i], next.AfterLogins(all[:i]), err
		}
	}
	return all, next, err
}

// TestReplayIsLive: what a replay finds is what the watch found, whatever piece
// by piece, over restarts, it was shown.
func TestReplayIsLive(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	s := openStore(t, nil)
	w := short(t)
	// As if all had happened in the last month.
	begin := now.Add(-31 * 24 * time.Hour).Truncate(24 * time.Hour)
	shift := begin.Sub(w.start)
	for i := range w.events {
		w.events[i].At = w.events[i].At.Add(shift)
	}
	for i := range w.logins {
		w.logins[i].At = w.logins[i].At.Add(shift)
	}
	w.record(s)
	name := func(id relay.KeyID) (relay.Key, bool) { k, ok := w.keys[id]; return k, ok }
	clock := now.Add(-20 * 24 * time.Hour)
	at := func() time.Time { return clock }
	cfg := RunnerConfig{Store: past{s, at}, Places: testAtlas, Key: name, Logger: slog.New(slog.DiscardHandler), Now: at}
	r := NewRunner(cfg)
	for clock.Before(now.Add(time.Hour)) {
		for {
			more, err := r.Step(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
		}
		clock = clock.Add(7 * time.Hour)
		if clock.Hour()%2 == 0 {
			r = NewRunner(cfg) // the process was started anew
		}
	}
	live, err := s.WatchFindings(t.Context(), store.WatchFilter{})
	if err != nil {
		t.Fatal(err)
	}
	type line struct{ Title, Text, Fix string }
	lines := func(fs []relay.WatchFinding) map[relay.WatchID]line {
		out := map[relay.WatchID]line{}
		for _, f := range fs {
			out[f.ID] = line{f.Title, f.Text, f.Fix}
		}
		return out
	}
	var replayed []relay.WatchFinding
	last := Progress{}
	p, err := Replay(t.Context(), ReplayConfig{Logs: s, Engine: Config{Places: testAtlas, Key: name}, Until: now, Progress: func(p Progress) { last = p },
		Finding: func(f relay.WatchFinding) error { replayed = append(replayed, f); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if len(live) != 5 {
		t.Errorf("%d findings: %v", len(live), maps.Collect(maps.All(lines(live))))
	}
	if d := cmp.Diff(lines(live), lines(replayed)); d != "" {
		t.Errorf("live and replayed: %s", d)
	}
	if p.Events == 0 || p.Logins == 0 || p.Findings != len(replayed) || last != p {
		t.Errorf("progress %+v, %+v", p, last)
	}
	// Other thresholds, another account, a later beginning: fewer.
	n := 0
	count := func(relay.WatchFinding) error { n++; return nil }
	for name, c := range map[string]struct {
		cfg  ReplayConfig
		want int
	}{
		"since":   {ReplayConfig{Since: begin.Add(27*24*time.Hour + 12*time.Hour)}, 1},
		"off":     {ReplayConfig{Engine: Config{Only: []relay.WatchRule{relay.WatchCanary}}}, 1},
		"account": {ReplayConfig{Account: relay.AccountID{ID: relay.ID{7}}}, 0},
	} {
		n = 0
		c.cfg.Logs, c.cfg.Until, c.cfg.Finding = s, now, count
		c.cfg.Engine.Places = testAtlas
		if _, err := Replay(t.Context(), c.cfg); err != nil || n > c.want {
			t.Errorf("%s: %d findings, want %d at most, %v", name, n, c.want, err)
		}
	}
	// A person dismisses one: the watch hears of it, once.
	if _, err := s.DecideWatch(t.Context(), store.By{Who: "ann"}, live[0].ID, relay.WatchDismissed, true); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rest, err := s.UntakenWatch(t.Context()); err != nil || len(rest) != 0 {
		t.Errorf("not heard of: %v, %v", rest, err)
	}
}

// lame is a store whose settings cannot be read for a while.
type lame struct {
	*store.Store
	broken atomic.Bool
}

func (l *lame) AllWatchSettings(ctx context.Context) (map[relay.AccountID]relay.WatchSettings, error) {
	if l.broken.Load() {
		return nil, errors.New("out of order")
	}
	return l.Store.AllWatchSettings(ctx)
}

// TestRunnerSaysWhyItStands: who asks is told why the watch stands still, once, and
// when it goes on. Meanwhile the node still is the one that runs it.
func TestRunnerSaysWhyItStands(t *testing.T) {
	t.Parallel()
	s := &lame{Store: openStore(t, nil)}
	s.broken.Store(true)
	said := make(chan error, 10)
	r := NewRunner(RunnerConfig{Store: s, Logger: slog.New(slog.DiscardHandler), Every: time.Millisecond, OnFailure: func(err error) { said <- err }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	if err := <-said; err == nil || err.Error() != "out of order" || !r.Held() {
		t.Errorf("first %v, runs here: %t", err, r.Held())
	}
	s.broken.Store(false)
	if err := <-said; err != nil {
		t.Errorf("then %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Nothing is answered before the settings are read: who is told, and what is done to the
// key, stands in them.
func TestNothingIsAnsweredWithoutSettings(t *testing.T) {
	t.Parallel()
	d := newDecoy(t)
	if err := d.s.SwapWatchSettings(t.Context(), ann, d.p.Account, relay.WatchSettings{}, relay.WatchSettings{MailTo: []string{"ops@example.test"}}); err != nil {
		t.Fatal(err)
	}
	d.try("203.0.113.9", false)
	d.after(time.Minute)
	s, l := &lame{Store: d.s}, &letters{}
	r := NewRunner(RunnerConfig{Store: s, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return d.clock }, Answers: &Answers{Store: d.s, Mail: l.mail,
		Account: func(relay.AccountID) (relay.Account, bool) {
			return relay.Account{OwnerEmail: "owner@example.test"}, true
		}}})
	for _, broken := range []bool{true, false} {
		s.broken.Store(broken)
		if _, err := r.Step(t.Context()); broken != (err != nil) || !r.Held() {
			t.Fatal(err)
		}
		if err := r.work(t.Context()); err != nil || broken != (len(l.mails) == 0) {
			t.Errorf("settings unread %t: %q, %v", broken, l.mails, err)
		}
	}
	if len(l.mails) != 1 || !strings.HasPrefix(l.mails[0], "ops@example.test: ") {
		t.Errorf("%q", l.mails)
	}
}

// A node that loses the watch while it answers leaves the rest to who has it then: it
// answers nothing by settings that it does not have.
func TestLostWatchAnswersNothing(t *testing.T) {
	t.Parallel()
	d, l, a, _ := newDesk()
	d.finding(1, relay.WatchTell)
	d.finding(2, relay.WatchStop)
	set := asking(relay.WatchStop)
	set.NoMail, set.Webhook = true, "https://hooks.example.test/"
	account := d.findings[0].Account
	r := NewRunner(RunnerConfig{Answers: a, Logger: slog.New(slog.DiscardHandler)})
	has := func() {
		r.held.Store(true)
		r.set(map[relay.AccountID]relay.WatchSettings{account: set})
	}
	a.Post = func(ctx context.Context, url string, secrets [][]byte, id string, body []byte) error {
		r.held.Store(false)
		r.set(nil)
		return l.post(ctx, url, secrets, id, body)
	}
	has()
	if err := r.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := d.findings[1]; !f.AnsweredAt.IsZero() || !d.key.DisabledAt.IsZero() || len(l.mails) != 0 || len(l.posts) != 1 {
		t.Errorf("answered after the watch was lost: %+v, mails %q, %d posts", f, l.mails, len(l.posts))
	}
	if err := r.work(t.Context()); err != nil || len(l.posts) != 1 {
		t.Errorf("answered without the watch: %v, %d posts", err, len(l.posts))
	}
	has()
	a.Post = l.post
	if err := r.work(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := d.findings[1]; f.AnsweredAt.IsZero() || d.key.DisabledAt.IsZero() || len(l.mails) != 0 || len(l.posts) != 2 {
		t.Errorf("not answered with the watch: %+v, mails %q, %d posts", f, l.mails, len(l.posts))
	}
}
