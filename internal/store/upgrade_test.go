package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"postern/internal/relay"
)

// firstVersion makes a database as the first version would have left it, and
// returns a connection to it.
func firstVersion(t *testing.T, cfg Config) (*sql.DB, dialect) {
	t.Helper()
	d, dir := dSQLite, "migrations/sqlite"
	if cfg.URL != "" {
		d, dir = dPostgres, "migrations/postgres"
	}
	db := openRaw(t, cfg)
	first, err := fs.ReadFile(migrationFiles, dir+"/0001_initial.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := migrateFiles(context.Background(), db, d, fstest.MapFS{"0001_initial.sql": {Data: first}}); err != nil {
		t.Fatal(err)
	}
	return db, d
}

func openRaw(t *testing.T, cfg Config) *sql.DB {
	t.Helper()
	var db *sql.DB
	if cfg.URL != "" {
		c, err := pgx.ParseConfig(cfg.URL)
		if err != nil {
			t.Fatal(err)
		}
		db = stdlib.OpenDB(*c)
	} else {
		if err := preparePath(cfg.Path); err != nil {
			t.Fatal(err)
		}
		var err error
		if db, err = sql.Open("sqlite", sqliteDSN(cfg.Path, false)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// oldRows is what an installation of the first version holds.
type oldRows struct {
	accounts []relay.AccountID
	subusers []relay.SubuserID
	key      relay.KeyID
	domain   relay.DomainID
	day      int
}

func fillFirstVersion(t *testing.T, db *sql.DB, d dialect) oldRows {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	id := func() relay.ID { return relay.NewID(time.Now()) }
	var o oldRows
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	for i := range 2 {
		o.accounts = append(o.accounts, relay.AccountID{ID: id()})
		o.subusers = append(o.subusers, relay.SubuserID{ID: id()})
		exec(`INSERT INTO accounts (id, name, owner_email, time_zone, default_pool, tls, retry, system, created_at, disabled_at)
			VALUES ($1, $2, 'o@example.test', 'UTC', $3, '', '', 0, $4, 0)`, blob(o.accounts[i].ID), fmt.Sprint("account ", i), noBlob, micros(now)-int64(i))
		exec(`INSERT INTO subusers (id, account_id, name, email, default_pool, created_at, disabled_at) VALUES ($1, $2, $3, 's@example.test', $4, $5, 0)`,
			blob(o.subusers[i].ID), blob(o.accounts[i].ID), fmt.Sprint("subuser ", i), noBlob, micros(now))
	}
	o.key.ID, o.domain.ID = id(), id()
	exec(`INSERT INTO keys (id, account_id, subuser_id, name, scopes, sha256, scram_salt, scram_iterations, scram_stored_key, scram_server_key,
		sealed_cram, prev_sha256, prev_scram_salt, prev_scram_iterations, prev_scram_stored_key, prev_scram_server_key, prev_sealed_cram, prev_until,
		mode, networks, senders, recipient_domains, per_minute, per_hour, per_day, per_month, hours, canary, expires_at, created_at, disabled_at, revoked_at)
		VALUES ($1, $2, $3, 'old key', '["mail.send"]', $4, $5, 10000, $6, $7, $8, $9, $10, 0, $11, $12, $13, 0, 'live', '', '', '', 0, 0, 0, 0, '', 0, 0, $14, 0, 0)`,
		blob(o.key.ID), blob(o.accounts[0].ID), blob(o.subusers[0].ID), make([]byte, 32), []byte("salt"), []byte("st"), []byte("se"),
		noBlob, noBlob, noBlob, noBlob, noBlob, noBlob, micros(now))
	exec(`INSERT INTO domains (id, account_id, name, state, asserted_by, subdomains, return_path, system, created_at, disabled_at)
		VALUES ($1, $2, 'example.test', 'asserted', '', 0, '', 0, $3, 0)`, blob(o.domain.ID), blob(o.accounts[0].ID), micros(now))
	exec(`INSERT INTO domain_subusers (domain_id, subuser_id) VALUES ($1, $2)`, blob(o.domain.ID), blob(o.subusers[0].ID))
	fillOldChanges(exec, o.accounts[0], now)
	o.day = dayOf(micros(now))
	if d == dSQLite {
		exec(fmt.Sprintf(`CREATE TABLE logins_%d (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, count INTEGER NOT NULL,
			result TEXT NOT NULL, account_id BLOB NOT NULL, subuser_id BLOB NOT NULL, key_id BLOB NOT NULL,
			addr TEXT NOT NULL, protocol TEXT NOT NULL, listener TEXT NOT NULL, mechanism TEXT NOT NULL,
			tried TEXT NOT NULL, helo TEXT NOT NULL, tls TEXT NOT NULL) STRICT`, o.day))
	} else {
		start := dayStart(o.day)
		exec(fmt.Sprintf(`CREATE TABLE logins_%d PARTITION OF logins FOR VALUES FROM (%d) TO (%d)`, o.day, start, start+int64(microsPerDay)))
	}
	table := "logins"
	if d == dSQLite {
		table = fmt.Sprint("logins_", o.day)
	}
	exec(`INSERT INTO `+table+` (id, at, count, result, account_id, subuser_id, key_id, addr, protocol, listener, mechanism, tried, helo, tls)
		VALUES (1, $1, 3, 'ok', $2, $3, $4, '192.0.2.1', 'smtp', '', 'PLAIN', 'x', 'h.test', 'TLSv1.3')`, micros(now), blob(o.accounts[0].ID), noBlob, blob(o.key.ID))
	return o
}

// fillOldChanges records three changes, as the first version did: nothing signed.
func fillOldChanges(exec func(string, ...any), account relay.AccountID, now time.Time) {
	var prev []byte
	for seq := int64(1); seq <= 3; seq++ {
		c := StoredChange{Seq: seq, PrevHash: prev, Change: relay.Change{At: now, Account: account, By: "uid 0", From: "init", Action: "x", Subject: fmt.Sprint("y", seq)}}
		prev = c.Sum()
		exec(`INSERT INTO changes (account_id, seq, at, who, from_addr, action, subject, before, after, prev_hash, hash)
			VALUES ($1, $2, $3, $4, $5, $6, $7, '', '', $8, $9)`, blob(account.ID), seq, micros(now), c.By, c.From, c.Action, c.Subject, octets(string(c.PrevHash)), prev)
	}
	exec(`INSERT INTO change_heads (account_id, seq, hash) VALUES ($1, 3, $2)`, blob(account.ID), prev)
}

// TestUpgradeFromTheFirstVersion: what the first version stored is all there, is
// numbered, and its record is signed and goes on.
func TestUpgradeFromTheFirstVersion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		db, d := firstVersion(t, cfg)
		old := fillFirstVersion(t, db, d)
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		snap, err := s.Snapshot(ctx, 0)
		if err != nil || len(snap.Accounts) != 2 || len(snap.Subusers) != 2 || len(snap.Keys) != 1 || len(snap.Domains) != 1 {
			t.Fatalf("snapshot %+v, %v", snap, err)
		}
		var nums []int64
		for _, a := range snap.Accounts {
			nums = append(nums, a.Number)
		}
		for _, u := range snap.Subusers {
			nums = append(nums, u.Number)
		}
		if slices.Sort(nums); !slices.Equal(nums, []int64{1, 2, 3, 4}) {
			t.Errorf("numbers %v", nums)
		}
		if k := snap.Keys[0]; k.Kind != relay.KeyAPI || k.ID != old.key || k.Name != "old key" || !k.Allows("mail.send") || k.Verifier.SCRAMIterations != 10_000 {
			t.Errorf("key %+v", k)
		}
		if got := snap.Domains[0].Subusers; len(got) != 1 || got[0] != old.subusers[0] {
			t.Errorf("domain shared with %v", got)
		}
		w := newWorld(t, s)
		if w.account.Number != 5 || w.subuser.Number != 6 {
			t.Errorf("next numbers %d, %d", w.account.Number, w.subuser.Number)
		}
		// Only the name of a subuser that is not deleted is taken.
		again := relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(time.Now())}, Account: old.accounts[1], Name: "subuser 0", CreatedAt: time.Now()}
		if err := s.CreateSubuser(ctx, testBy, again); relay.KindOf(err) != relay.Conflict {
			t.Errorf("a name of before: %v", err)
		}
		checkOldLogins(t, s, stop, old)
		p, err := s.VerifyChanges(ctx, old.accounts[0])
		if err != nil || p.Records != 3 {
			t.Errorf("record of before: %+v, %v", p, err)
		}
		key := s.AuditKey()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = openTest(t, cfg)
		if !s.AuditKey().Equal(key) {
			t.Error("another audit key at the second start")
		}
		if err := s.SetKeyDisabled(ctx, testBy, old.key, time.Now()); err != nil {
			t.Error(err)
		}
		if p, err := s.VerifyChanges(ctx, old.accounts[0]); err != nil || p.Records != 4 {
			t.Errorf("record goes on: %+v, %v", p, err)
		}
	})
}

func checkOldLogins(t *testing.T, s *Store, stop func() error, old oldRows) {
	t.Helper()
	ctx := context.Background()
	s.RecordLogin(relay.Login{Result: relay.LoginOK, Key: old.key, Addr: netip.MustParseAddr("192.0.2.7"), Network: "192.0.2.0/24", Detail: "d", Helo: "h.test"})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	all, err := s.Logins(ctx, LoginFilter{Key: old.key})
	if err != nil || len(all) != 2 || all[0].Network != "" || all[0].Count != 3 || all[1].Network != "192.0.2.0/24" || all[1].Detail != "d" {
		t.Errorf("logins %+v, %v", all, err)
	}
	users, err := s.KeyUsers(ctx, old.key, time.Now().Add(-time.Hour))
	if err != nil || len(users) != 2 || users[1].Logins != 3 {
		t.Errorf("key users %+v, %v", users, err)
	}
}

// TestTheFirstVersionMayNotFollow: a program of the first version refuses the
// database, and a node of it that still runs on PostgreSQL cannot write changes
// that bear no signature, while its mail goes on.
func TestTheFirstVersionMayNotFollow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s, _ := openTest(t, cfg)
		w := newWorld(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db := openRaw(t, cfg)
		dir, d := "migrations/sqlite", dSQLite
		if cfg.URL != "" {
			dir, d = "migrations/postgres", dPostgres
		}
		first, err := fs.ReadFile(migrationFiles, dir+"/0001_initial.sql")
		if err != nil {
			t.Fatal(err)
		}
		if err := migrateFiles(ctx, db, d, fstest.MapFS{"0001_initial.sql": {Data: first}}); !errors.Is(err, ErrSchema) {
			t.Errorf("the first version opens it: %v", err)
		}
		if d == dSQLite {
			return
		}
		if _, err := db.Exec(`UPDATE change_heads SET seq = seq + 1 WHERE account_id = $1`, blob(w.account.ID.ID)); err != nil {
			t.Error(err)
		}
		if _, err := db.Exec(`UPDATE change_heads SET hash = $1 WHERE account_id = $2`, []byte("new"), blob(w.account.ID.ID)); err == nil {
			t.Error("a change without a signature was written")
		}
	})
}

// TestUpgradeIsCutOff: a start that dies at any of its commits is taken up by the
// next.
func TestUpgradeIsCutOff(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: testSealer, Logger: quiet}
	db, d := firstVersion(t, cfg)
	old := fillFirstVersion(t, db, d)
	cut := 0
	for ; cut < 20; cut++ {
		n := 0
		cfg.fault = func(point string) error {
			if point == "transact" {
				if n++; n > cut {
					return errInjected
				}
			}
			return nil
		}
		s, _, err := Open(context.Background(), cfg)
		if err == nil {
			if err := s.Close(); err == nil {
				break
			}
			continue
		}
		if !errors.Is(err, errInjected) {
			t.Fatalf("open: %v", err)
		}
	}
	if cut < 3 { // sealing check, audit key, day table, this run
		t.Errorf("cut off at %d commits only", cut)
	}
	cfg.fault = nil
	s, _ := openTest(t, cfg)
	stop := runTest(t, s)
	checkOldLogins(t, s, stop, old)
}
