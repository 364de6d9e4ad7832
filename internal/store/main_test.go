package store

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"postern/internal/testkit/pgtest"
)

// sharedPg is one server for all tests of the process, each with its own
// database; started by the first test that wants it.
var (
	pgMu     sync.Mutex
	pgServer *pgtest.Server
	errPg    error
)

func sharedPg(t testing.TB) *pgtest.Server {
	t.Helper()
	pgMu.Lock()
	defer pgMu.Unlock()
	if pgServer == nil && errPg == nil {
		pgServer, errPg = pgtest.New()
	}
	if errors.Is(errPg, pgtest.ErrNotInstalled) && os.Getenv("POSTERN_TEST_EXTERNAL") != "1" {
		t.Skip("no PostgreSQL server is installed (POSTERN_TEST_EXTERNAL=1 makes this a failure)")
	}
	if errPg != nil {
		t.Fatal(errPg)
	}
	return pgServer
}

func TestMain(m *testing.M) {
	code := m.Run()
	if pgServer != nil {
		pgServer.Close()
	}
	os.Exit(code)
}

// each runs a contract test on both engines, on an empty database.
func each(t *testing.T, test func(t *testing.T, cfg Config)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, Config{Path: filepath.Join(t.TempDir(), "postern.db")})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, Config{URL: sharedPg(t).Database(t), LeaseTime: time.Hour})
	})
}

// killed returns how to open the database as a kill -9 of s would leave it. s
// must be idle; it is of no use afterwards.
func killed(t testing.TB, s *Store, cfg Config) Config {
	t.Helper()
	if cfg.URL != "" {
		// The process is gone: it says nothing more, and its lease runs out.
		if _, err := s.db.Exec(`UPDATE nodes SET heartbeat_at = 0 WHERE epoch = $1`, s.epoch); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	dir := t.TempDir()
	for _, ext := range []string{"", "-wal"} {
		in, err := os.Open(cfg.Path + ext)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.OpenFile(filepath.Join(dir, "postern.db"+ext), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
		_, _ = in.Close(), out.Close()
	}
	cfg.Path = filepath.Join(dir, "postern.db")
	return cfg
}

// faults fails named points a number of times.
type faults struct {
	mu   sync.Mutex
	left map[string]int
	err  error
}

func (f *faults) set(point string, times int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == nil {
		f.left = map[string]int{}
	}
	f.left[point], f.err = times, err
}

func (f *faults) hook(point string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left[point] > 0 {
		f.left[point]--
		return f.err
	}
	return nil
}

var errInjected = errors.New("injected fault")
