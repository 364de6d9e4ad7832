package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/store"
)

// decoy is a canary key in a store, a watch over it, and a clock.
type decoy struct {
	*world
	s     *store.Store
	p     *program
	clock time.Time
	fails *failing1
	told  []relay.WatchFinding
	run   *Runner
}

// failing1 is a store of which the next commit fails: before it is done, or after.
type failing1 struct {
	*store.Store
	before, after error
	unread        error // baselines of keys cannot be had
}

func (f *failing1) WatchBaselines(ctx context.Context, keys []relay.KeyID) (map[relay.KeyID][]byte, error) {
	if f.unread != nil && !keys[0].IsZero() {
		return nil, f.unread
	}
	return f.Store.WatchBaselines(ctx, keys)
}

func (f *failing1) PutWatch(ctx context.Context, c store.WatchCommit) error {
	before, after := f.before, f.after
	f.before, f.after = nil, nil
	if before != nil {
		return before
	}
	return errors.Join(f.Store.PutWatch(ctx, c), after)
}

func newDecoy(t *testing.T) *decoy {
	t.Helper()
	d := &decoy{world: newWorld(t, 1), clock: time.Now().UTC().Truncate(time.Second).Add(-24 * time.Hour)}
	d.s = openStore(t, nil)
	d.p = d.program("decoy")
	d.fails = &failing1{Store: d.s}
	d.restart()
	return d
}

// restart begins with what is kept, as a new process does.
func (d *decoy) restart() {
	d.run = NewRunner(RunnerConfig{
		Store: d.fails, Places: testAtlas, Key: func(id relay.KeyID) (relay.Key, bool) { k, ok := d.keys[id]; return k, ok },
		OnFinding: func(f relay.WatchFinding) { d.told = append(d.told, f) }, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return d.clock },
	})
}

// try is one attempt with the canary: a login record, and with loud the alert, a
// moment later.
func (d *decoy) try(addr string, loud bool) {
	d.t.Helper()
	d.login(d.p, d.clock, netip.MustParseAddr(addr), relay.LoginCanary)
	d.s.RecordLogin(d.logins[len(d.logins)-1].Login)
	if loud {
		d.alert(d.p, d.clock.Add(50*time.Millisecond), relay.Alert{Kind: relay.AlertCanary, Addr: addr, Text: "the canary sang"})
		d.s.RecordEvent(d.events[len(d.events)-1])
	}
	d.written(d.s, len(d.events), len(d.logins))
}

// after lets time pass and the watch look, until nothing more is there to read.
func (d *decoy) after(wait time.Duration) {
	d.t.Helper()
	d.clock = d.clock.Add(wait)
	for {
		more, err := d.run.Step(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// found are the findings that are kept, with how often each was seen; they must be
// those that were told.
func (d *decoy) found(want ...int64) []relay.WatchFinding {
	d.t.Helper()
	fs, err := d.s.WatchFindings(d.t.Context(), store.WatchFilter{})
	if err != nil {
		d.t.Fatal(err)
	}
	var got []int64
	for i := range fs {
		got = append(got, fs[len(fs)-1-i].Count)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(d.told) != len(want) {
		d.t.Fatalf("%d were told; signs of each: %s", len(d.told), diff)
	}
	return fs
}

// TestCanaryAtOnce: a canary is told seconds after it was tried, not when the logs
// have settled; once, whatever is read again and whoever is started anew.
func TestCanaryAtOnce(t *testing.T) {
	t.Parallel()
	d := newDecoy(t)
	d.after(0)
	d.try("203.0.113.9", true)
	d.after(time.Second)
	d.found() // the record and the alert of one attempt may still be on their way
	d.after(urgentSettle)
	f := d.found(2)[0]
	if f.Rule != relay.WatchCanary || f.Severity != relay.WatchCritical || !f.FirstAt.Equal(d.logins[0].At) {
		t.Errorf("%+v", f)
	}
	d.says(d.told[0], "203.0.113.9", "Lagos", "“decoy”", "nobody has a use")
	if waited := d.clock.Sub(f.FirstAt); waited > 10*time.Second {
		t.Errorf("it was told after %s", waited)
	}
	// The logs settle, and are read again for what else they say.
	for range 5 {
		d.after(time.Minute)
		d.restart()
		d.after(time.Minute)
	}
	d.found(2)
	// Another address is another finding, the same one adds to the first. Between the
	// attempt and the next look the process ends.
	d.try("198.18.1.1", false)
	d.restart()
	d.after(5 * time.Second)
	d.found(2, 1)
	d.try("203.0.113.9", true)
	d.after(5 * time.Second)
	d.restart()
	d.after(time.Hour)
	d.found(4, 1)
	// A replay finds the same, under the same ids.
	var ids, replayed []relay.WatchID
	for _, f := range d.told {
		ids = append(ids, f.ID)
	}
	_, err := Replay(t.Context(), ReplayConfig{Logs: d.s, Engine: Config{Places: testAtlas}, Until: d.clock, Finding: func(f relay.WatchFinding) error { replayed = append(replayed, f.ID); return nil }})
	if diff := cmp.Diff(ids, replayed); diff != "" || err != nil {
		t.Errorf("%v, live and replayed: %s", err, diff)
	}
}

// TestCanaryFromOneMachine: who has an IPv6 /64 has more addresses than anybody can be
// told of: all of it is one finding, and the next /64 another one.
func TestCanaryFromOneMachine(t *testing.T) {
	t.Parallel()
	d := newDecoy(t)
	d.after(0)
	for _, addr := range []string{"2001:db8:7:1::1", "2001:db8:7:1::2", "2001:db8:7:1:ffff::3", "2001:db8:7:2::1"} {
		d.try(addr, false)
		d.after(5 * time.Second)
	}
	fs := d.found(3, 1)
	d.says(fs[1], "2001:db8:7:1::1", "nobody has a use")
	if got := len(fs[1].Evidence.Places); got != 3 {
		t.Errorf("%d addresses are in the evidence", got)
	}
}

// TestCanaryFromEverywhere: a canary that the whole world tries is told a bounded number
// of times; the hosts that have a finding of their own still add to it, and what a person
// said is normal is no part of the rest.
func TestCanaryFromEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p, other := w.program("decoy", "192.0.2.7"), w.program("another", "192.0.2.7")
	try := func(p *program, days float64, form string, n int) {
		for i := range n {
			w.login(p, w.at(days, float64(i)/100), netip.MustParseAddr(fmt.Sprintf(form, i)), relay.LoginCanary)
		}
	}
	try(p, 0, "198.18.%d.7", canaryHosts+1)
	try(p, 1, "198.19.%d.7", 100)
	try(p, 2, "198.18.%d.7", 1)
	try(other, 3, "198.18.%d.7", 1)
	try(p, 9, "198.19.%d.7", 1) // another week
	all := w.watch(withAtlas)
	var counts []int64
	for _, f := range all {
		counts = append(counts, f.Count)
	}
	want := slices.Concat([]int64{2}, slices.Repeat([]int64{1}, canaryHosts-1), []int64{101, 1, 1})
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Fatal(diff)
	}
	rest := all[canaryHosts]
	w.says(rest, "“decoy”", "20 addresses", "198.18.20.7", "nobody has a use")
	if rest.Subject != allHosts || len(rest.Evidence.Places) != maxPlaces || !strings.Contains(rest.Title, "many addresses") {
		t.Errorf("%+v", rest)
	}
	e := w.engine(withAtlas)
	e.share.makeUsual(&relay.WatchFinding{Rule: relay.WatchCanary, Tenant: p.Tenant, Key: p.Key, Subject: "198.18.20.7", Severity: relay.WatchCritical})
	found, err := e.Observe(t.Context(), nil, w.logins[:canaryHosts+1])
	if err != nil || len(found) != canaryHosts {
		t.Errorf("%d with one that is normal, %v", len(found), err)
	}
}

// A commit that failed, done or not, neither loses a canary nor finds it twice.
func TestCanaryOverFailedCommits(t *testing.T) {
	t.Parallel()
	lost := errors.New("the disk is full")
	for name, fault := range map[string]func(f *failing1){
		"failed and not stored": func(f *failing1) { f.before = lost },
		"failed but stored":     func(f *failing1) { f.after = lost },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDecoy(t)
			d.after(0)
			d.try("203.0.113.9", true)
			d.clock = d.clock.Add(5 * time.Second)
			fault(d.fails)
			if _, err := d.run.Step(t.Context()); !errors.Is(err, lost) {
				t.Fatalf("%v", err)
			}
			d.after(5 * time.Second)
			d.after(time.Hour)
			fs, err := d.s.WatchFindings(t.Context(), store.WatchFilter{})
			if err != nil || len(fs) != 1 || fs[0].Count != 2 {
				t.Errorf("%d findings, %v: %+v", len(fs), err, fs)
			}
		})
	}
}

// What is wrong with the rest, here a baseline that cannot be read, does not keep a
// canary from being told.
func TestCanaryWhenTheWatchStandsStill(t *testing.T) {
	t.Parallel()
	d := newDecoy(t)
	p := d.program("shop")
	d.fails.unread = errors.New("an unreadable part of the database")
	d.login(p, d.clock.Add(-10*time.Minute), netip.MustParseAddr("192.0.2.1"), relay.LoginOK)
	d.s.RecordLogin(d.logins[0].Login)
	d.try("203.0.113.9", false)
	d.clock = d.clock.Add(5 * time.Second)
	for range 3 {
		if _, err := d.run.Step(t.Context()); !errors.Is(err, d.fails.unread) {
			t.Fatalf("baselines that cannot be had: %v", err)
		}
	}
	d.found(1)
}

// What was kept and is damaged costs what was known of that key, and no more: it
// is said, learned anew, and the watch over all the others goes on.
func TestDamagedBaseline(t *testing.T) {
	t.Parallel()
	d := newDecoy(t)
	p := d.program("shop")
	if err := d.s.PutWatch(t.Context(), store.WatchCommit{Keys: map[relay.KeyID][]byte{p.Key: []byte("{"), {}: []byte("[]")}}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d.run.cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
	d.login(p, d.clock, netip.MustParseAddr("192.0.2.1"), relay.LoginOK)
	d.s.RecordLogin(d.logins[0].Login)
	d.written(d.s, 0, 1)
	d.after(time.Hour)
	logger := d.run.cfg.Logger
	d.restart()
	d.run.cfg.Logger = logger
	d.login(p, d.clock, netip.MustParseAddr("192.0.2.1"), relay.LoginOK)
	d.s.RecordLogin(d.logins[1].Login)
	d.written(d.s, 0, 2)
	d.after(time.Hour)
	kept, err := d.s.WatchBaselines(t.Context(), []relay.KeyID{p.Key})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := decodeBaseline(kept[p.Key]); err != nil || b.Logins != 2 {
		t.Errorf("learned anew: %+v, %v", b, err)
	}
	if said := log.String(); strings.Count(said, "learned anew") != 2 || !strings.Contains(said, p.Key.String()) {
		t.Errorf("said %q", said)
	}
}

// A release that read nothing ahead found the canaries up to its place itself.
func TestCanaryAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	d := newDecoy(t)
	d.try("203.0.113.9", true)
	d.clock = d.clock.Add(time.Hour)
	// The older release: it has read all, and this finding was made and dismissed.
	s, err := nextSlice(t.Context(), d.s, position{}, d.clock, store.LoginSettle)
	if err != nil || len(s.logins) != 1 || len(s.events) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := d.s.PutWatch(t.Context(), store.WatchCommit{Read: map[string]store.Cursor{store.WatchEvents: s.next.events, store.WatchLogins: s.next.logins}}); err != nil {
		t.Fatal(err)
	}
	d.after(0)
	d.found()
	d.try("203.0.113.9", true)
	d.after(5 * time.Second)
	d.restart()
	d.after(time.Hour)
	d.found(2)
}

// A finding is answered when it is made, not at the next turn of the answers.
func TestCanaryIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	d := newDecoy(t)
	d.try("203.0.113.9", false)
	var once sync.Once
	mailed := make(chan string, 1)
	r := NewRunner(RunnerConfig{
		Store: d.s, Logger: slog.New(slog.DiscardHandler), Every: time.Hour, Now: func() time.Time { return d.clock.Add(urgentSettle + time.Second) },
		Answers: &Answers{Store: d.s, Account: func(relay.AccountID) (relay.Account, bool) {
			return relay.Account{OwnerEmail: "owner@example.test"}, true
		}, Mail: func(_ context.Context, to, subject, _ string) error {
			once.Do(func() { mailed <- to + " " + subject })
			return nil
		}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-mailed:
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
}

// Only canaries are urgent: nothing else is taken in twice.
func TestUrgent(t *testing.T) {
	t.Parallel()
	w := short(t)
	e := w.engine(withAtlas, func(c *Config) { c.Ahead = true })
	early := e.Urgent(w.events, w.logins)
	w.only(early, relay.WatchCanary, early[0].Key)
	c, err := e.Changes()
	if err != nil || len(c.Keys) != 0 || c.Shared != nil {
		t.Errorf("it learned: %+v, %v", c, err)
	}
	late, err := e.Observe(t.Context(), w.events, w.logins)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range late {
		if f.Rule == relay.WatchCanary {
			t.Errorf("twice: %s", f.Text)
		}
	}
	all := w.watch(withAtlas)
	if len(early)+len(late) != len(all) {
		t.Errorf("%d early and %d late, want %d", len(early), len(late), len(all))
	}
	for _, text := range []string{"", "{", `{"alert":null}`, `{"alert":{"kind":"domain"}}`} {
		i := item{event: &relay.Event{Kind: relay.EventAlert, Data: json.RawMessage(text)}}
		if i.urgent() {
			t.Errorf("%q is urgent", text)
		}
	}
}
