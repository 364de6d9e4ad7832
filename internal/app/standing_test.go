package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/api"
	"postern/internal/config"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/setup"
	"postern/internal/store"
	"postern/internal/testkit/pgtest"
)

// stood is a configuration with an export that has had an event to take for three
// days, and cannot. url is that of PostgreSQL; "": SQLite.
func stood(t *testing.T, url string) (*config.Config, string) {
	t.Helper()
	dir := t.TempDir()
	made, err := setup.Init(t.Context(), setup.Options{Dir: filepath.Join(dir, "data"), Hostname: "relay.example.test", Owner: "ops@example.test", StoreURL: url})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(made.Config)
	if err != nil {
		t.Fatal(err)
	}
	conf.Listen, conf.HTTP.Listen, conf.Store.MinFree = []config.Listener{{Name: "submission", Role: config.RoleSubmission, TLS: config.TLSStart, Addresses: []string{"127.0.0.1:0"}}}, nil, 0
	conf.Admin.Listen = "" // a fixed port, and the tests are parallel
	out := filepath.Join(dir, "not yet", "history.json")
	conf.Exports = []config.Export{{Name: "siem", Kind: "file", To: out, Streams: []string{"events"}}}
	sealer, err := secret.OpenSealer(conf.SealingKeyPath())
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-72 * time.Hour)
	s, _, err := store.Open(t.Context(), store.Config{Path: conf.DatabasePath(), URL: url, Sealer: sealer, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	err = s.SetConsumer(t.Context(), store.ExportConsumer("siem", "events"), store.Cursor{})
	s.RecordEvent(relay.Event{Kind: relay.EventAlert, N: -1, At: then, Data: []byte(`{}`)})
	soon(t, "the event is there", func() bool { all, _ := s.Events(ctx, store.EventFilter{}); return len(all) == 1 })
	cancel()
	if err := errors.Join(err, <-done, s.Close()); err != nil {
		t.Fatal(err)
	}
	return conf, out
}

func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// runs is a relay of a configuration, until the test ends.
func runs(t *testing.T, conf *config.Config) *App {
	t.Helper()
	a, err := New(t.Context(), Options{Config: conf, Version: "test", Logger: slog.New(slog.DiscardHandler), Resolver: &dns.Static{Fail: []string{"example.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { close(up) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-up:
	case err := <-done:
		done <- err
		t.Fatal("it does not come up")
	}
	return a
}

// An export that has taken nothing for a day is told of by mail and by an alert, once,
// and once more when it goes on; not while the relay has only just come up. Status
// knows of it at once, and why.
func TestStandingExportIsToldOf(t *testing.T) {
	t.Parallel()
	conf, out := stood(t, "")
	ctx, a := t.Context(), runs(t, conf)
	siem := func() (c api.Consumer) {
		t.Helper()
		st, err := a.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range st.Consumers {
			if c.Name == "export siem" {
				return c
			}
		}
		t.Fatalf("%+v", st.Consumers)
		return c
	}
	soon(t, "the export fails", func() bool { return siem().Error != "" })
	if c := siem(); c.Records < 1 || !c.Stands || !c.Configured || !strings.Contains(c.Error, "not yet") {
		t.Errorf("%+v", c)
	}
	told := func(what string, want ...string) {
		t.Helper()
		var texts []string
		soon(t, what, func() bool {
			all, err := a.store.Events(ctx, store.EventFilter{Kinds: []relay.EventKind{relay.EventAlert}})
			texts = nil
			for _, e := range all {
				if strings.Contains(string(e.Data), `"behind"`) {
					texts = append(texts, string(e.Data))
				}
			}
			return err == nil && len(texts) >= len(want)
		})
		letters, err := a.store.Messages(ctx, store.MessageFilter{Recipient: "ops@example.test"})
		if err != nil || len(texts) != len(want) || len(letters) != len(want) {
			t.Fatalf("%s: %q, %d letters, %v", what, texts, len(letters), err)
		}
		for i := range want {
			if !strings.Contains(texts[i], want[i]) {
				t.Errorf("%s: no %q in %s", what, want[i], texts[i])
			}
		}
	}
	look := func(now time.Time) {
		t.Helper()
		if err := a.tellStanding(ctx, now); err != nil {
			t.Fatal(err)
		}
	}
	soon(t, "the others have read what there is", func() bool {
		st, err := a.Status(ctx)
		return err == nil && !slices.ContainsFunc(st.Consumers, func(c api.Consumer) bool { return c.Name != "export siem" && c.Records > 0 })
	})
	look(time.Now())
	told("it has only just come up")
	later := time.Now().Add(standingGrace + time.Minute)
	look(later)
	look(later.Add(time.Hour))
	told("it stands", "The export siem has taken nothing for a day")
	if err := os.Mkdir(filepath.Dir(out), 0o700); err != nil {
		t.Fatal(err)
	}
	soon(t, "it goes on", func() bool { c := siem(); return c.Records == 0 && c.Error == "" })
	look(later.Add(2 * time.Hour))
	look(later.Add(3 * time.Hour))
	told("it goes on", "The export siem has taken nothing for a day", "The export siem goes on")
}

// With two nodes of which one alone has an export, what stands is told once, and once
// more when it goes on; and status of the other says who has it.
func TestStandingWithDifferentNodes(t *testing.T) {
	t.Parallel()
	conf, out := stood(t, pgtest.Require(t).Database(t))
	bare := *conf
	bare.Exports, bare.DataDir = nil, t.TempDir()
	copied := []error{os.CopyFS(bare.DataDir, os.DirFS(conf.DataDir)), os.Chmod(bare.DataDir, 0o700), os.Chmod(bare.SealingKeyPath(), 0o600)}
	if err := errors.Join(copied...); err != nil {
		t.Fatal(err)
	}
	ctx, has, other := t.Context(), runs(t, conf), runs(t, &bare)
	seen := func(by *App) (c api.Consumer) {
		t.Helper()
		all, err := by.consumers(ctx, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.Name == "export siem" {
				return c
			}
		}
		t.Fatalf("%+v", all)
		return c
	}
	soon(t, "the export fails", func() bool { return seen(has).Error != "" })
	if c := seen(has); !c.Configured || c.Elsewhere || !c.Stands {
		t.Errorf("of the node that has it: %+v", c)
	}
	if c := seen(other); c.Configured || !c.Elsewhere || !c.Stands {
		t.Errorf("of the other: %+v", c)
	}
	letters := func(want int) {
		t.Helper()
		all, err := has.store.Messages(ctx, store.MessageFilter{Recipient: "ops@example.test"})
		if err != nil || len(all) != want {
			t.Errorf("%d letters, want %d: %v", len(all), want, err)
		}
	}
	later := time.Now().Add(standingGrace + time.Minute)
	look := func() {
		t.Helper()
		for _, by := range []*App{other, has} {
			later = later.Add(time.Hour)
			if err := by.tellStanding(ctx, later); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		look()
	}
	letters(1)
	if err := os.Mkdir(filepath.Dir(out), 0o700); err != nil {
		t.Fatal(err)
	}
	soon(t, "it goes on", func() bool { return seen(other).Records == 0 })
	look()
	look()
	letters(2)
}

// What is told of whom.
func TestStandingNews(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before := now.Add(-5 * time.Hour)
	c := func(name, stream string, stands bool) api.Consumer {
		return api.Consumer{Name: name, Stream: stream, Records: 5, Oldest: before, MovedAt: before, Stands: stands, Configured: true}
	}
	stood := func(streams ...string) toldToStand {
		is := toldToStand{At: before, Seen: before, Streams: map[string]time.Time{}}
		for _, s := range streams {
			is.Streams[s] = before.Add(-time.Hour)
		}
		return is
	}
	next, news := standingNews(map[string]toldToStand{"export a": stood("changes"), "export b": stood("events"), "export gone": stood("events")}, []api.Consumer{
		c("watch", "events", true), c("watch", "logins", true), c("export a", "logins", false), c("export a", "changes", true), c("export b", "events", false), c("index", "events", false),
	}, now)
	if len(next) != 2 || !next["export a"].At.Equal(before) || !next["watch"].At.Equal(now) {
		t.Errorf("told: %v", next)
	}
	if len(news) != 2 || news[0].subject != "The export b goes on" || news[1].subject != "The watch has taken nothing for a day" {
		t.Fatalf("%+v", news)
	}
	if text := news[1].text; !strings.Contains(text, "events: 5 records wait") || !strings.Contains(text, "logins: 5 records wait") || !strings.Contains(text, "postern status") {
		t.Error(text)
	}
}

// A look at one target of exports by a node, and what it tells.
type standingLook struct {
	why     string
	after   time.Duration // since the first look
	streams []api.Consumer
	want    string
}

// Nodes look by turns, and not all of them have the same exports: what stands is told
// once, whoever looks, and that it goes on when it has taken something, not when what
// waited has gone away.
func TestStandingIsToldOnce(t *testing.T) {
	t.Parallel()
	const hour, day = time.Hour, 24 * time.Hour
	begin := time.Now()
	old, lately := begin.Add(-3*day), begin.Add(30*time.Minute)
	of := func(stream string, stands bool, moved time.Time) api.Consumer {
		return api.Consumer{Name: "export siem", Stream: stream, MovedAt: moved, Stands: stands}
	}
	has := func(c api.Consumer) api.Consumer { c.Configured = true; return c }
	knows := func(c api.Consumer) api.Consumer { c.Elsewhere = true; return c }
	one := func(c ...api.Consumer) []api.Consumer { return c }
	stuck, taken, gone := of("events", true, old), of("events", false, lately), of("events", false, old)
	logins, late := of("logins", false, lately), of("logins", true, lately)
	for name, looks := range map[string][]standingLook{
		"a node that has it not": {
			{"no word of what another node has", 0, one(knows(stuck)), ""},
			{"by the node that has it", hour, one(has(stuck)), "stands"},
			{"which is away", hour, one(stuck), ""},
			{"and is back", 2 * hour, one(has(stuck)), ""},
			{"seen from the other", 3 * hour, one(knows(stuck)), ""},
			{"again", 60 * day, one(knows(stuck)), ""},
			{"again", 61 * day, one(has(stuck)), ""},
			{"it goes on", 62 * day, one(knows(taken)), "goes on"},
			{"once", 62 * day, one(has(taken)), ""},
		},
		"it leaves the configuration": {
			{"it stands", 0, one(has(stuck)), "stands"},
			{"for a while", 29 * day, one(stuck), ""},
			{"and is back", 29 * day, one(has(stuck)), ""},
			{"for long", 58 * day, one(stuck), ""},
			{"for a month", 59 * day, one(stuck), ""},
			{"and is back", 59 * day, one(has(stuck)), "stands"},
		},
		"one stream leaves the configuration": {
			{"it stands", 0, one(has(stuck), has(logins)), "stands"},
			{"another one does", hour, one(stuck, has(late)), "stands"},
			{"again", 2 * hour, one(stuck, has(late)), ""},
		},
		"what waited is gone": {
			{"it stands", 0, one(has(stuck), has(logins)), "stands"},
			{"pruned", hour, one(has(gone), has(logins)), ""},
			{"there is more", 26 * hour, one(has(stuck), has(logins)), ""},
			{"it has taken it", 27 * hour, one(has(taken), has(logins)), "goes on"},
		},
		"a second stream stands": {
			{"the first", 0, one(has(stuck), has(logins)), "stands"},
			{"and the second", hour, one(has(stuck), has(late)), ""},
			{"one goes on", 2 * hour, one(has(taken), has(late)), ""},
			{"and stands again", 3 * hour, one(has(of("events", true, lately)), has(late)), ""},
			{"what waited is gone", 4 * hour, one(has(taken), has(logins)), ""},
			{"it goes on", 5 * hour, one(has(taken), has(of("logins", false, begin.Add(5*hour)))), "goes on"},
		},
	} {
		told := map[string]toldToStand{}
		for _, l := range looks {
			next, news := standingNews(told, l.streams, begin.Add(l.after))
			told = next
			got := ""
			for _, n := range news {
				got += map[bool]string{true: "goes on", false: "stands"}[strings.HasSuffix(n.subject, "goes on")]
			}
			if got != l.want {
				t.Errorf("%s, %s: told %q, want %q", name, l.why, got, l.want)
			}
		}
	}
}

// The metrics tell how far the watch is behind.
func TestWatchHasALag(t *testing.T) {
	t.Parallel()
	conf, _ := stood(t, "")
	a, err := New(t.Context(), Options{Config: conf, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	lags := func() map[string]float64 {
		t.Helper()
		all, err := a.metrics.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range all {
			for _, m := range f.GetMetric() {
				key := f.GetName()
				for _, l := range m.GetLabel() {
					key += " " + l.GetValue()
				}
				out[key] = m.GetGauge().GetValue()
			}
		}
		return out
	}
	a.measureWatch(t.Context(), time.Now())
	if v, ok := lags()["postern_event_lag_records watch events"]; !ok || v != 0 {
		t.Errorf("where another node runs it: %v %v", v, ok)
	}
	a.watchRuns = func() bool { return true }
	a.measureWatch(t.Context(), time.Now())
	got := lags()
	if got["postern_event_lag_records watch events"] != 1 || got["postern_event_lag_seconds watch events"] < 72*3600 {
		t.Errorf("%v", got)
	}
}
