package event

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// opened is a store that runs until the test ends.
func opened(t *testing.T, now func() time.Time) *store.Store {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer,
		Logger: slog.New(slog.DiscardHandler), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// until waits for something that a follower does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestMailIsFound: what commits is found soon after, and counted once.
func TestMailIsFound(t *testing.T) {
	t.Parallel()
	s := opened(t, nil)
	f := Mail(s)
	f.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	tenant := relay.Tenant{Account: relay.AccountID{ID: relay.NewID(time.Now())}}
	data, err := json.Marshal(relay.EventData{From: "a@x.test", Count: 4})
	if err != nil {
		t.Fatal(err)
	}
	s.RecordEvent(relay.Event{Kind: relay.EventRefused, Tenant: tenant, N: -1, Data: data})
	until(t, "the refusal is found", func() bool {
		rows, _, err := s.FindMail(ctx, store.MailFilter{Tenant: tenant, Sender: "a@x.test"})
		return err == nil && len(rows) == 1 && rows[0].Count == 4
	})
	counts, err := s.MailCounts(ctx, store.CountFilter{Tenant: tenant})
	if err != nil || len(counts) != 1 || counts[0].Refused != 4 {
		t.Errorf("counts %+v, %v", counts, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestLoginsAreCounted once their records are settled.
func TestLoginsAreCounted(t *testing.T) {
	t.Parallel()
	s := opened(t, nil)
	f := LoginCounts(s)
	f.Logger, f.Every, f.Gather = slog.New(slog.DiscardHandler), 50*time.Millisecond, -1
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	tenant := relay.Tenant{Account: relay.AccountID{ID: relay.NewID(time.Now())}}
	old := time.Now().Add(-2 * store.LoginSettle)
	s.RecordLogin(relay.Login{At: old, Tenant: tenant, Result: relay.LoginOK, Mechanism: "PLAIN"})
	s.RecordLogin(relay.Login{Tenant: tenant, Result: relay.LoginWrong, Mechanism: "PLAIN"}) // may still rise
	until(t, "the login is counted", func() bool {
		counts, err := s.LoginCounts(ctx, store.CountFilter{Tenant: tenant})
		return err == nil && len(counts) > 0
	})
	counts, err := s.LoginCounts(ctx, store.CountFilter{Tenant: tenant})
	for _, c := range counts {
		if c.OK != 1 || c.Refused != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
