package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"postern/internal/relay"
	"postern/internal/secret"
)

// TestCommitFaultsSQLite: a commit that failed stops the store, whether or not
// it was stored; what the caller was told holds after opening it again.
func TestCommitFaultsSQLite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point  string
		stored int
	}{{"commit", 1}, {"committed", 2}} {
		t.Run(c.point, func(t *testing.T) {
			t.Parallel()
			var f faults
			s, _ := openTest(t, Config{fault: f.hook})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			first := mail(t, s, 1, 10, false)
			accept(t, s, first)
			f.set(c.point, 1, errInjected)
			if err := s.Accept(context.Background(), mail(t, s, 1, 10, false)); !errors.Is(err, ErrStopped) {
				t.Fatalf("accept: %v", err)
			}
			for range 3 { // never again, though the fault is gone
				if err := s.Accept(context.Background(), mail(t, s, 1, 10, false)); !errors.Is(err, ErrStopped) {
					t.Fatalf("after the failure: %v", err)
				}
			}
			if err := s.SetKeyDisabled(context.Background(), By{}, relay.KeyID{}, time.Now()); !errors.Is(err, ErrStopped) {
				t.Errorf("administration after the failure: %v", err)
			}
			if err := <-done; !errors.Is(err, ErrStopped) {
				t.Errorf("run: %v", err)
			}
			if st, _ := s.Stats(context.Background()); st.Stopped == nil {
				t.Error("stats say that it works")
			}
			cfg := s.cfg
			cfg.fault = nil
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s2, rec := openTest(t, cfg)
			if rec.Clean {
				t.Error("a store that stopped counts as clean")
			}
			wantRows(t, s2, c.stored, c.stored, c.stored, 0)
			checkInvariants(t, s2)
		})
	}
}

// TestCommitAnswerLostPostgres: the outcome is read, so both variants end as
// they truly were, and nothing is stored twice.
func TestCommitAnswerLostPostgres(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"commit", "committed"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			var f faults
			s := newTest(t, Config{URL: sharedPg(t).Database(t), fault: f.hook})
			accept(t, s, mail(t, s, 1, 10, false))
			f.set(point, 1, errInjected)
			a := mail(t, s, 2, 10, true)
			accept(t, s, a)
			f.set(point, 1, errInjected)
			if err := s.Finish(context.Background(), final(a.Message.ID, a.Recipients)); err != nil {
				t.Fatal(err)
			}
			wantRows(t, s, 1, 1, 1, 0)
			if h, _ := s.MessageHistory(context.Background(), a.Message.ID); len(h) != 3 {
				t.Errorf("%d events, want 3", len(h))
			}
			checkInvariants(t, s)
		})
	}
}

// TestABadOperationHarmsNoNeighbour mixes operations that fail with those that
// do not, in the same batches.
func TestABadOperationHarmsNoNeighbour(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		taken := mail(t, s, 1, 10, false)
		accept(t, s, taken)
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				a := mail(t, s, 2, 10, true)
				if i%3 == 0 {
					a.Message.ID = taken.Message.ID
					a.Body = nil
					if err := s.Accept(context.Background(), a); relay.KindOf(err) != relay.Conflict {
						t.Errorf("same id: %v", err)
					}
					return
				}
				if err := s.Accept(context.Background(), a); err != nil {
					t.Errorf("good one: %v", err)
					return
				}
				if i%3 == 1 {
					bad := final(a.Message.ID, a.Recipients)
					bad.Recipients[1].Generation = 5
					if err := s.Finish(context.Background(), bad); !errors.Is(err, ErrLeaseLost) {
						t.Errorf("bad finish: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if n := rows(t, s, "messages"); n != 41 {
			t.Errorf("%d messages, want 41", n)
		}
		checkInvariants(t, s)
	})
}

// TestFullDisk limits the database's pages, so that SQLite itself finds no room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	ctx := context.Background()
	first := mail(t, s, 1, 1000, true)
	accept(t, s, first)
	e, ok := s.eng.(*sqliteEngine)
	if !ok {
		t.Fatal("not SQLite")
	}
	limit := func(pages int64) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, err := e.conn.ExecContext(ctx, "PRAGMA max_page_count = "+strconv.FormatInt(pages, 10)); err != nil {
			t.Fatal(err)
		}
	}
	var pages int64
	if err := s.db.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit(pages + 20)
	big := s.NewBody(relay.MessageID{ID: relay.NewID(time.Now())})
	_, err := big.Write(make([]byte, 2<<20))
	if !errors.Is(err, ErrFull) {
		t.Fatalf("2 MB into no room: %v", err)
	}
	if err := big.Discard(ctx); err != nil {
		t.Fatalf("discard: %v", err)
	}
	var full int
	for range 50 {
		if err := s.Accept(ctx, mail(t, s, 1, 20_000, false)); errors.Is(err, ErrFull) {
			full++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if full == 0 {
		t.Fatal("never full")
	}
	n := rows(t, s, "messages")
	if err := s.Finish(ctx, final(first.Message.ID, first.Recipients)); err != nil {
		t.Errorf("a result while the disk is full: %v", err)
	}
	limit(1 << 30)
	accept(t, s, mail(t, s, 1, 20_000, false)) // goes on by itself
	if got := rows(t, s, "messages"); got != n {
		t.Errorf("%d messages, want %d", got, n)
	}
	checkInvariants(t, s)
}

func TestLowSpace(t *testing.T) {
	t.Parallel()
	free := int64(100)
	s := newTest(t, Config{MinFree: 1000, freeSpace: func() (int64, error) { return free, nil }})
	ctx := context.Background()
	if err := s.Accept(ctx, mail(t, s, 1, 10, false)); !errors.Is(err, ErrFull) || !s.Full() {
		t.Fatalf("below the mark: %v", err)
	}
	if _, err := s.NewBody(relay.MessageID{ID: relay.NewID(time.Now())}).Write(make([]byte, 300_000)); !errors.Is(err, ErrFull) {
		t.Errorf("body below the mark: %v", err)
	}
	if err := s.Finish(ctx, Result{Events: []relay.Event{{At: time.Now(), Kind: relay.EventBounced}}}); err != nil {
		t.Errorf("a result: %v", err)
	}
	free = 1001 // not enough to go on: it would flap
	if err := s.checkSpace(); err != nil || !s.Full() {
		t.Errorf("flaps: %v", err)
	}
	free = 2000
	if err := s.checkSpace(); err != nil || s.Full() {
		t.Errorf("room again: %v", err)
	}
	accept(t, s, mail(t, s, 1, 10, false))
}

func TestDamagedRowsAreQuarantined(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		for name, damage := range map[string]string{
			"address":     `UPDATE recipients SET address = $1 WHERE message_id = $2`,
			"return path": `UPDATE messages SET return_path = $1 WHERE id = $2`,
			"subject":     `UPDATE messages SET subject = $1 WHERE id = $2`,
			"body key":    `UPDATE messages SET body_key = $1 WHERE id = $2`,
			"pool":        `UPDATE messages SET pool_id = $1 WHERE id = $2`,
		} {
			cfg := cfg
			if cfg.URL != "" {
				if testing.Short() || name != "address" {
					continue // one is enough to see that the engine matters not
				}
			} else {
				cfg.Path = filepath.Join(t.TempDir(), "postern.db")
			}
			s := newTest(t, cfg)
			ctx := context.Background()
			bad, good := mail(t, s, 1, 10, false), mail(t, s, 1, 10, false)
			accept(t, s, bad)
			accept(t, s, good)
			if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.Exec(damage, []byte("evil@example.test"), blob(bad.Message.ID.ID))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			jobs, err := s.Claim(ctx, testLane, testTenant, time.Now(), 10)
			if err != nil || len(jobs) != 1 || jobs[0].Message.ID != good.Message.ID {
				t.Errorf("%s: claimed %+v, %v", name, jobs, err)
			}
			q, err := s.Message(ctx, bad.Message.ID)
			if err != nil || q.Message.State != relay.MessageQuarantined {
				t.Errorf("%s: state %q, %v", name, q.Message.State, err)
			}
			h, _ := s.MessageHistory(ctx, bad.Message.ID)
			if len(h) != 2 || h[1].Kind != relay.EventQuarantined {
				t.Errorf("%s: events %+v", name, h)
			}
		}
	})
}

func TestDamagedChunks(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	ctx := context.Background()
	for name, damage := range map[string]string{
		"bit flipped": `UPDATE bodies SET chunk = CAST(substr(chunk, 1, 40) || x'00' || substr(chunk, 42) AS BLOB) WHERE message_id = $1 AND seq = 65537`,
		"cut":         `UPDATE bodies SET chunk = substr(chunk, 1, 40) WHERE message_id = $1 AND seq = 65537`,
		"empty":       `UPDATE bodies SET chunk = x'' WHERE message_id = $1 AND seq = 65537`,
		"missing":     `DELETE FROM bodies WHERE message_id = $1 AND seq = 65537`,
		"last gone":   `DELETE FROM bodies WHERE message_id = $1 AND seq = (SELECT max(seq) FROM bodies WHERE message_id = $2)`,
		"swapped":     `UPDATE bodies SET chunk = (SELECT chunk FROM bodies b WHERE b.message_id = $1 AND b.seq = 65536) WHERE message_id = $2 AND seq = 65537`,
		"other key":   `UPDATE messages SET body_key = (SELECT body_key FROM messages m WHERE m.id <> $1 LIMIT 1) WHERE id = $2`,
	} {
		a := mail(t, s, 1, 500_000, false)
		accept(t, s, mail(t, s, 1, 10, false))
		accept(t, s, a)
		readAll(t, s, a.Message.ID)
		args := []any{blob(a.Message.ID.ID), blob(a.Message.ID.ID)}[:strings.Count(damage, "$")]
		if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.Exec(damage, args...)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := readContent(s, a.Message.ID); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDamagedPage overwrites pages of the file: a clear stop, at opening or at
// the first use, and never a wrong message.
func TestDamagedPage(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{})
	stop := runTest(t, s)
	for range 50 {
		accept(t, s, mail(t, s, 3, 5000, false))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg := s.cfg
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for page := 0; page < len(whole)/8192; page += 7 {
		bad := append([]byte(nil), whole...)
		copy(bad[page*8192:], randomBytes(200))
		c := cfg
		c.Path = filepath.Join(t.TempDir(), "postern.db")
		if err := os.WriteFile(c.Path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		err := useAll(t, c)
		if err == nil {
			continue // a free page, or one that nothing read
		}
		found++
		if !errors.Is(err, ErrStopped) && !errors.Is(err, ErrDamaged) {
			if _, ok := errors.AsType[*sqlite.Error](err); !ok {
				t.Errorf("page %d: untyped error %v", page, err)
			}
		}
	}
	if found == 0 {
		t.Error("no damage was found at all")
	}
}

// useAll opens a store, reads all of it, and returns the first error. Octets that
// are read must be those that were accepted.
func useAll(t *testing.T, cfg Config) error {
	t.Helper()
	s, _, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	all, err := s.Messages(context.Background(), MessageFilter{Limit: maxMessages})
	if err != nil {
		return err
	}
	for _, q := range all {
		b, err := readContent(s, q.Message.ID)
		if err != nil {
			return err
		}
		sameOctets(t, b[len(testHead):], octetsOf(q.Message.ID, 5000))
	}
	return s.Backlog(context.Background(), func(Share) error { return nil })
}

func sqlExec(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", sqliteDSN(path, false))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "postern.db")
	s, _ := openTest(t, Config{Path: path})
	try := func(name string, cfg Config, want error) {
		t.Helper()
		if cfg.Sealer == nil {
			cfg.Sealer = testSealer
		}
		cfg.Logger = quiet
		got, _, err := Open(context.Background(), cfg)
		if got != nil {
			_ = got.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	try("second process", Config{Path: path}, ErrLocked)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	try("other sealing key", Config{Path: path, Sealer: other}, ErrSealingKey)
	sqlExec(t, path, `UPDATE schema_hashes SET sha256 = 'x'`)
	try("changed migration", Config{Path: path}, ErrSchema)
	sqlExec(t, path, `DELETE FROM schema_hashes`)
	sqlExec(t, path, `UPDATE settings SET value = '99' WHERE name = 'compatible_from'`)
	try("newer database", Config{Path: path}, ErrSchema)
	sqlExec(t, path, `UPDATE settings SET value = '1' WHERE name = 'compatible_from'`)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		try("mode "+mode.String(), Config{Path: path}, ErrUnsafePath)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	try("symbolic link", Config{Path: link}, ErrUnsafePath)
	lockLink := filepath.Join(dir, "x.db")
	if err := os.Symlink(path, lockLink+".lock"); err != nil {
		t.Fatal(err)
	}
	try("symbolic link as lock", Config{Path: lockLink}, ErrUnsafePath)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	try("directory of everyone", Config{Path: filepath.Join(open, "p.db")}, ErrUnsafePath)
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	try("not a database", Config{Path: text}, ErrStopped)
	good, rec := openTest(t, Config{Path: path})
	if !rec.Clean {
		t.Error("refusals left a mark")
	}
	checkInvariants(t, good)
}
