package store

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"postern/internal/relay"
	"postern/internal/secret"
)

func newSealer(t *testing.T) *secret.Sealer {
	t.Helper()
	s, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tablesOf counts what stands in a database, without opening it as a store.
func tablesOf(t *testing.T, cfg Config) (n int) {
	t.Helper()
	driver, source, query := "sqlite", "file:"+cfg.Path, `SELECT count(*) FROM sqlite_master`
	if cfg.URL != "" {
		driver, source, query = "pgx", cfg.URL, `SELECT count(*) FROM pg_class WHERE pg_table_is_visible(oid) AND relnamespace = 'public'::regnamespace`
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// openExpecting opens and, where that works, closes.
func openExpecting(t *testing.T, cfg Config, e Expect, sealer *secret.Sealer) error {
	t.Helper()
	cfg.Expect, cfg.Sealer, cfg.MinFree = e, sealer, -1
	s, _, err := Open(t.Context(), cfg)
	if err == nil {
		err = s.Close()
	}
	return err
}

// A database that has no installation is not written to where one is expected.
func TestNothingIsWrittenWithoutInstallation(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		if err := openExpecting(t, cfg, Installation, newSealer(t)); !errors.Is(err, ErrNotInstalled) {
			t.Fatalf("an empty database: %v", err)
		}
		if cfg.Path != "" {
			if left, err := os.ReadDir(filepath.Dir(cfg.Path)); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if err := os.WriteFile(cfg.Path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := openExpecting(t, cfg, Installation, newSealer(t)); !errors.Is(err, ErrNotInstalled) {
				t.Fatalf("an empty file: %v", err)
			}
			if info, err := os.Stat(cfg.Path); err != nil || info.Size() > 0 {
				t.Errorf("the empty file was written to: %v, %v", info, err)
			}
		}
		if n := tablesOf(t, cfg); n > 0 {
			t.Errorf("%d tables were made", n)
		}
		// A schema without an account is no installation either.
		if err := openExpecting(t, cfg, Anything, newSealer(t)); err != nil {
			t.Fatal(err)
		}
		if err := openExpecting(t, cfg, Installation, newSealer(t)); !errors.Is(err, ErrNotInstalled) {
			t.Errorf("a schema without accounts: %v", err)
		}
	})
}

// What a start before the installation has left does not keep one from being made;
// an installation does.
func TestVacancy(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		first, second := newSealer(t), newSealer(t)
		if err := openExpecting(t, cfg, Anything, first); err != nil { // as a "serve" of before wrote its check
			t.Fatal(err)
		}
		if err := openExpecting(t, cfg, Anything, second); !errors.Is(err, ErrSealingKey) {
			t.Fatalf("another key: %v", err)
		}
		took := cfg
		took.Expect, took.Sealer, took.MinFree = Vacancy, second, -1
		s, _, err := Open(t.Context(), took)
		if err != nil {
			t.Fatal(err)
		}
		if err := openExpecting(t, cfg, Vacancy, first); !errors.Is(err, ErrLocked) {
			t.Errorf("a second one at once: %v", err)
		}
		account := relay.Account{ID: relay.AccountID{ID: relay.NewID(s.cfg.Now())}, Name: "a", OwnerEmail: "o@example.test", TimeZone: "UTC", CreatedAt: s.cfg.Now()}
		if err := s.CreateAccount(t.Context(), By{Who: "test"}, account); err != nil {
			t.Fatal(err)
		}
		for _, of := range []relay.AccountID{{}, account.ID} {
			if proof, err := s.VerifyChanges(t.Context(), of); err != nil || proof.Records == 0 {
				t.Errorf("the record of changes: %+v, %v", proof, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := openExpecting(t, cfg, Vacancy, newSealer(t)); !errors.Is(err, ErrInstalled) {
			t.Errorf("a database with an account: %v", err)
		}
		if err := openExpecting(t, cfg, Installation, second); err != nil {
			t.Errorf("the installation: %v", err)
		}
	})
}
