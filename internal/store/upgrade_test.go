package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"postern/internal/relay"
)

// steps are the migrations, in the order in which they came.
var steps = func() (names []string) {
	files, err := fs.Glob(migrationFiles, "migrations/sqlite/*.sql")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		names = append(names, path.Base(f))
	}
	return names
}()

// compatibleFrom is the oldest version that may use a database of this one.
const compatibleFrom = 3

// known are the migrations of a version.
func known(t *testing.T, d dialect, version int) fs.FS {
	t.Helper()
	dir, files := "migrations/sqlite/", fstest.MapFS{}
	if d == dPostgres {
		dir = "migrations/postgres/"
	}
	for _, name := range steps[:version] {
		b, err := fs.ReadFile(migrationFiles, dir+name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: b}
	}
	return files
}

func dialectOf(cfg Config) dialect {
	if cfg.URL != "" {
		return dPostgres
	}
	return dSQLite
}

// firstVersion makes a database as the first version would have left it, and
// returns a connection to it.
func firstVersion(t *testing.T, cfg Config) (*sql.DB, dialect) {
	t.Helper()
	db, d := openRaw(t, cfg), dialectOf(cfg)
	if err := migrateFiles(context.Background(), db, d, known(t, d, 1)); err != nil {
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
	others   []relay.DomainID // in the order in which they were made
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
	o.others = fillOldDomains(exec, o.accounts, now)
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

// fillOldDomains adds domains in every state that the versions before the third
// knew, with keys.
func fillOldDomains(exec func(string, ...any), accounts []relay.AccountID, now time.Time) []relay.DomainID {
	var ids []relay.DomainID
	for i, d := range []struct {
		account    relay.AccountID
		name       string
		state      string
		returnPath string
		off        bool
	}{
		{accounts[0], "open.test", "asserted", "bounce.open.test", false},
		{accounts[1], "open.test", "pending", "", false},
		{accounts[1], "verified.test", "verified", "em.mail.verified.test", false},
		{accounts[1], "off.test", "asserted", "bounces.elsewhere.test", true},
		{accounts[0], "same.test", "asserted", "same.test", false},
	} {
		id := relay.DomainID{ID: relay.NewID(time.Now())}
		disabled := int64(0)
		if d.off {
			disabled = micros(now)
		}
		exec(`INSERT INTO domains (id, account_id, name, state, asserted_by, subdomains, return_path, system, created_at, disabled_at)
			VALUES ($1, $2, $3, $4, 'uid 0', 1, $5, 0, $6, $7)`, blob(id.ID), blob(d.account.ID), d.name, d.state, d.returnPath, micros(now)+int64(i)+1, disabled)
		ids = append(ids, id)
	}
	for _, k := range []struct {
		selector, algorithm string
		active              int64
	}{{"s1", "rsa-sha256", 1}, {"s1e", "ed25519-sha256", 0}} {
		exec(`INSERT INTO dkim_keys (domain_id, selector, algorithm, sealed, record, active, created_at, retired_at) VALUES ($1, $2, $3, $4, 'v=DKIM1; p=x', $5, $6, 0)`,
			blob(ids[0].ID), k.selector, k.algorithm, []byte("sealed"), k.active, micros(now))
	}
	return ids
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
		if err != nil || len(snap.Accounts) != 2 || len(snap.Subusers) != 2 || len(snap.Keys) != 1 || len(snap.Domains) != 6 {
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
		checkOldDomains(t, s, snap, old)
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
		if err != nil || p.Records != 4 { // three of before, and the pause
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
		if p, err := s.VerifyChanges(ctx, old.accounts[0]); err != nil || p.Records != 5 {
			t.Errorf("record goes on: %+v, %v", p, err)
		}
	})
}

// checkOldDomains: what a domain of before meant it still means, and what could not
// be asked of it then can be now.
func checkOldDomains(t *testing.T, s *Store, snap *Snapshot, old oldRows) {
	t.Helper()
	ctx := context.Background()
	at := map[relay.DomainID]relay.Domain{}
	for _, d := range snap.Domains {
		at[d.ID] = d
	}
	if d := at[old.domain]; d.Number != 1 || len(d.Subusers) != 1 || d.Subusers[0] != old.subusers[0] || d.AllSubusers || !d.Usable() {
		t.Errorf("shared domain %+v", d)
	}
	for i, want := range []struct {
		label  string
		proven bool
	}{{"bounce", false}, {"", false}, {"em.mail", true}, {"", false}, {"", false}} {
		d := at[old.others[i]]
		if d.Number != int64(i+2) || d.Label != want.label || !d.AllSubusers || d.VerifiedAt.IsZero() == want.proven || d.Token != "" || !d.Subdomains || d.AssertedBy != "uid 0" {
			t.Errorf("domain %d of before: %+v", i, d)
		}
		if own := (relay.Tenant{Account: d.Account, Subuser: old.subusers[0]}); d.Account == old.accounts[0] && !d.OpenTo(own) {
			t.Errorf("domain %d is closed to a subuser now", i)
		}
	}
	keys, err := s.DKIMKeys(ctx, old.others[0])
	if err != nil || len(keys) != 2 || keys[0].Generation != 1 || keys[0].Bits != 2048 || keys[0].ActivatedAt != keys[0].CreatedAt || len(keys[0].Sealed) == 0 ||
		keys[1].Generation != 1 || keys[1].Bits != 0 || !keys[1].ActivatedAt.IsZero() {
		t.Errorf("keys of before: %+v, %v", keys, err)
	}
	// The rules of now count for rows of before: a name is paused, and nobody else gets it.
	if _, err := s.SetDomainState(ctx, testBy, old.others[0], relay.DomainStateChange{State: relay.DomainPaused, FailingSince: time.Now()}); err != nil {
		t.Error(err)
	}
	if _, err := s.SetDomainState(ctx, testBy, old.others[1], relay.DomainStateChange{State: relay.DomainAsserted}); relay.KindOf(err) != relay.Conflict {
		t.Errorf("two accounts with one name: %v", err)
	}
	due, err := s.ClaimChecks(ctx, time.Now(), time.Now().Add(time.Hour), 100)
	if err != nil || len(due) != 5 || slices.Contains(due, old.others[3]) {
		t.Errorf("due to be looked at: %v, %v", due, err)
	}
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

// TestOlderVersionsMayNotFollow: a program of an older version refuses the
// database, and a node of it that still runs on PostgreSQL can neither write
// changes that bear no signature nor make domains without numbers, while its mail
// goes on.
func TestOlderVersionsMayNotFollow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s, _ := openTest(t, cfg)
		w := newWorld(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, d := openRaw(t, cfg), dialectOf(cfg)
		for version := 1; version < compatibleFrom; version++ {
			if err := migrateFiles(ctx, db, d, known(t, d, version)); !errors.Is(err, ErrSchema) {
				t.Errorf("version %d opens it: %v", version, err)
			}
		}
		for version := compatibleFrom; version <= len(steps); version++ {
			if err := migrateFiles(ctx, db, d, known(t, d, version)); err != nil {
				t.Errorf("version %d: %v", version, err)
			}
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
		if _, err := db.Exec(`INSERT INTO domains (id, account_id, name, state, asserted_by, subdomains, return_path, system, created_at, disabled_at)
			VALUES ($1, $2, 'old.test', 'asserted', '', 0, '', 0, 1, 0)`, blob(relay.NewID(time.Now())), blob(w.account.ID.ID)); err == nil {
			t.Error("a domain without a number was written")
		}
	})
}

// TestUpgradeFromTheSecondVersion: it goes the same way, whatever came between.
func TestUpgradeFromTheSecondVersion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		db, d := firstVersion(t, cfg)
		old := fillFirstVersion(t, db, d)
		if err := migrateFiles(context.Background(), db, d, known(t, d, 2)); err != nil {
			t.Fatal(err)
		}
		s, _ := openTest(t, cfg)
		snap, err := s.Snapshot(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		checkOldDomains(t, s, snap, old)
		if c := newClaimant(t, s); c.create(c.row(old.accounts[0], "next.test")).Number != 7 {
			t.Error("a number of before was given again")
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
