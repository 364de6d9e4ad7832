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
)

// stood is a configuration with an export that has had an event to take for three
// days, and cannot.
func stood(t *testing.T) (*config.Config, string) {
	t.Helper()
	dir := t.TempDir()
	made, err := setup.Init(t.Context(), setup.Options{Dir: filepath.Join(dir, "data"), Hostname: "relay.example.test", Owner: "ops@example.test"})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(made.Config)
	if err != nil {
		t.Fatal(err)
	}
	conf.Listen, conf.HTTP.Listen, conf.Store.MinFree = []config.Listener{{Name: "submission", Role: config.RoleSubmission, TLS: config.TLSStart, Addresses: []string{"127.0.0.1:0"}}}, nil, 0
	out := filepath.Join(dir, "not yet", "history.json")
	conf.Exports = []config.Export{{Name: "siem", Kind: "file", To: out, Streams: []string{"events"}}}
	sealer, err := secret.OpenSealer(conf.SealingKeyPath())
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-72 * time.Hour)
	s, _, err := store.Open(t.Context(), store.Config{Path: conf.DatabasePath(), Sealer: sealer, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return then }})
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

// An export that has taken nothing for a day is told of by mail and by an alert, once,
// and once more when it goes on; not while the relay has only just come up. Status
// knows of it at once, and why.
func TestStandingExportIsToldOf(t *testing.T) {
	t.Parallel()
	conf, out := stood(t)
	a, err := New(t.Context(), Options{Config: conf, Version: "test", Logger: slog.New(slog.DiscardHandler), Resolver: &dns.Static{Fail: []string{"example.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { close(up) }) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	<-up
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

// What is told of whom.
func TestStandingNews(t *testing.T) {
	t.Parallel()
	now := time.Now()
	before := now.Add(-5 * time.Hour)
	c := func(name, stream string, stands bool) api.Consumer {
		return api.Consumer{Name: name, Stream: stream, Records: 5, Oldest: before, Stands: stands, Configured: true}
	}
	gone := c("export old", "events", true)
	gone.Configured = false
	next, news := standingNews(map[string]time.Time{"export a": before, "export b": before, "export old": before}, []api.Consumer{
		c("watch", "events", true), c("watch", "logins", true), c("export a", "logins", false), c("export a", "changes", true), c("export b", "events", false), c("index", "events", false), gone,
	}, now)
	if len(next) != 2 || !next["export a"].Equal(before) || !next["watch"].Equal(now) {
		t.Errorf("told: %v", next)
	}
	if len(news) != 2 || news[0].subject != "The export b goes on" || news[1].subject != "The watch has taken nothing for a day" {
		t.Fatalf("%+v", news)
	}
	if text := news[1].text; !strings.Contains(text, "events: 5 records wait") || !strings.Contains(text, "logins: 5 records wait") || !strings.Contains(text, "postern status") {
		t.Error(text)
	}
}

// The metrics tell how far the watch is behind.
func TestWatchHasALag(t *testing.T) {
	t.Parallel()
	conf, _ := stood(t)
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
