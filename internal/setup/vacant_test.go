package setup

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"postern/internal/app"
	"postern/internal/config"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/testkit/pgtest"
)

// bare is a configuration with a sealing key and no installation, as a second node
// or a hasty operator has it.
func bare(t *testing.T, url string) *config.Config {
	t.Helper()
	conf := config.Default()
	conf.Hostname, conf.DataDir, conf.Contact, conf.Store.URL = "relay.example.test", t.TempDir(), "ops@example.test", config.Secret(url)
	conf.HTTP.Listen, conf.Listen = []string{"127.0.0.1:0"}, nil
	if err := os.Chmod(conf.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := secret.WriteKeyFile(conf.SealingKeyPath(), secret.NewSealingKey()); err != nil {
		t.Fatal(err)
	}
	return conf
}

// serve tries to run a relay of conf and returns why it does not.
func serve(t *testing.T, conf *config.Config) error {
	t.Helper()
	a, err := app.New(t.Context(), app.Options{Config: conf, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_ = a.Stop(context.Background())
	}
	return err
}

// A relay that is started before there is an installation says what to do, writes
// nothing, and does not keep one from being made.
func TestServeBeforeInit(t *testing.T) {
	t.Parallel()
	conf := bare(t, "")
	before := names(t, conf.DataDir)
	if err := serve(t, conf); !errors.Is(err, store.ErrNotInstalled) || !strings.Contains(err.Error(), `"postern init"`) {
		t.Errorf("serve: %v", err)
	}
	if left := names(t, conf.DataDir); len(left) != len(before) {
		t.Errorf("serve left %q", left)
	}
}

// The same with PostgreSQL, and what else an init meets in its database.
func TestInitOfADatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.Require(t)
	for name, test := range map[string]func(*testing.T, string){
		"after a serve": serveBeforeInit, "after a serve of an earlier version": initAfterAnEarlierServe,
		"two at once": twoInitsAtOnce, "one that fails": initThatFailsLate,
	} {
		t.Run(name, func(t *testing.T) { test(t, server.Database(t)) })
	}
}

func serveBeforeInit(t *testing.T, url string) {
	if err := serve(t, bare(t, url)); !errors.Is(err, store.ErrNotInstalled) || !strings.Contains(err.Error(), `"postern init --store-url`) {
		t.Errorf("serve: %v", err)
	}
	o := options(filepath.Join(t.TempDir(), "data"))
	o.StoreURL = url
	if _, err := Init(t.Context(), o); err != nil {
		t.Errorf("init after it: %v", err)
	}
	if err := serve(t, bare(t, url)); !errors.Is(err, store.ErrSealingKey) {
		t.Errorf("serve with another key: %v", err)
	}
}

// What a serve of an earlier version left in the database is of no consequence.
func initAfterAnEarlierServe(t *testing.T, url string) {
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	st, _, err := store.Open(t.Context(), store.Config{URL: url, Sealer: sealer, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	o := options(filepath.Join(t.TempDir(), "data"))
	o.StoreURL = url
	made, err := Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(made.Config)
	if err != nil {
		t.Fatal(err)
	}
	conf.HTTP.Listen, conf.Listen = []string{"127.0.0.1:0"}, nil
	if err := serve(t, conf); err != nil {
		t.Errorf("serve: %v", err)
	}
}

// Of two that make an installation in one database at once, one does.
func twoInitsAtOnce(t *testing.T, url string) {
	var errs [2]error
	var both sync.WaitGroup
	for i := range errs {
		o := options(filepath.Join(t.TempDir(), "data"))
		o.StoreURL = url
		both.Go(func() { _, errs[i] = Init(t.Context(), o) })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("%v; %v", errs[0], errs[1])
	}
	if err := errors.Join(errs[:]...); !errors.Is(err, ErrExists) && !errors.Is(err, store.ErrLocked) {
		t.Error(err)
	}
}

// An init that fails late says what is left in the database, as it cannot be taken back.
func initThatFailsLate(t *testing.T, url string) {
	o := options(filepath.Join(t.TempDir(), "data"))
	o.StoreURL, o.Domain = url, "no domain"
	if _, err := Init(t.Context(), o); err == nil || !strings.Contains(err.Error(), "create it anew") {
		t.Error(err)
	}
}
