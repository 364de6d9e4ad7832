package store

import (
	"database/sql"
	"testing"
	"time"

	"postern/internal/relay"
)

// switchedOff is what an installation of the seventh version holds besides: all of it
// is switched off, and nobody wrote down by whom.
type switchedOff struct {
	oldRows
	user relay.UserID
	pool relay.PoolID
}

// fill adds it to a database of that version.
func (o *switchedOff) fill(t *testing.T, db *sql.DB) {
	t.Helper()
	now := micros(time.Now())
	o.user.ID, o.pool.ID = relay.NewID(time.Now()), relay.NewID(time.Now())
	account := blob(o.accounts[0].ID)
	for _, q := range []struct {
		query string
		args  []any
	}{
		{`INSERT INTO users (id, account_id, subuser_id, username, email, first_name, last_name, role, scopes, restricted, subusers,
			password, password_at, totp, totp_step, totp_at, created_at, invited_by, disabled_at, deleted_at, seen_at, seen_from)
			VALUES ($1, $2, $3, 'ann', 'ann@example.test', '', '', 'admin', '', 0, '', $4, 1, $5, 0, 0, $6, '', $7, 0, 0, '')`,
			[]any{blob(o.user.ID), account, noBlob, testPassword, noBlob, now, now}},
		{`INSERT INTO user_names (name, user_id) VALUES ('ann', $1)`, []any{blob(o.user.ID)}},
		{`UPDATE keys SET disabled_at = $1 WHERE id = $2`, []any{now, blob(o.key.ID)}},
		{`UPDATE subusers SET disabled_at = $1 WHERE id = $2`, []any{now, blob(o.subusers[0].ID)}},
		{`UPDATE domains SET disabled_at = $1 WHERE id = $2`, []any{now, blob(o.domain.ID)}},
		{`INSERT INTO pools (id, account_id, name, retry, tls, return_path_per_recipient, created_at, disabled_at, rev) VALUES ($1, $2, 'old', '', '', 0, $3, 0, 1)`,
			[]any{blob(o.pool.ID), account, now}},
		{`INSERT INTO pool_addresses (pool_id, address, position, helo, disabled_at) VALUES ($1, '192.0.2.1', 0, 'a.example.test', 0)`, []any{blob(o.pool.ID)}},
		// The members stand in another order, and apart, as another version may write them.
		{`INSERT INTO watch_settings (account_id, data, secrets) VALUES ($1, '{ "no_mail": true, "mail_to": ["a@example.test"] }', $2)`, []any{account, noBlob}},
		{`INSERT INTO audit_schedules (account_id, every, recipients, options, next_at) VALUES ($1, 'weekly', '["a@example.test"]', '{ "stale_days": 7 }', $2)`, []any{account, now}},
	} {
		if _, err := db.Exec(q.query, q.args...); err != nil {
			t.Fatalf("%s: %v", q.query, err)
		}
	}
}

// TestUpgradeFromTheSeventhVersion: what was switched off before anybody wrote down by
// whom is the tenant's to switch on, as it was; from then on ranks count. What was
// never swapped can be; addresses of before are warm.
func TestUpgradeFromTheSeventhVersion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := t.Context()
		db, d := firstVersion(t, cfg)
		old := switchedOff{oldRows: fillFirstVersion(t, db, d)}
		if err := migrateFiles(ctx, db, d, known(t, d, 7)); err != nil {
			t.Fatal(err)
		}
		old.fill(t, db)
		s, _ := openTest(t, cfg)
		operator := testBy
		operator.Rank = relay.RankOperator
		c, now := newCrowd(t, s), time.Now()
		for what, set := range map[string]func(by By, at time.Time) error{
			"person":  func(by By, at time.Time) error { return s.SetUserDisabled(ctx, by, old.user, at) },
			"key":     func(by By, at time.Time) error { return s.SetKeyDisabled(ctx, by, old.key, at) },
			"subuser": func(by By, at time.Time) error { return s.SetSubuserDisabled(ctx, by, old.subusers[0], at) },
			"domain":  func(by By, at time.Time) error { return s.SetDomainDisabled(ctx, by, old.domain, at) },
		} {
			for _, err := range []error{set(testBy, time.Time{}), set(operator, now)} {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			wantKind(t, what, set(testBy, time.Time{}), relay.Forbidden, "")
		}
		if u := c.user(old.user); u.Username != "ann" || u.DisabledRank != relay.RankOperator {
			t.Errorf("%+v", u)
		}
		old.swap(t, s)
		if d == dSQLite {
			return
		}
		// A node of that version goes on beside it, and knows of no ranks.
		if _, err := db.Exec(`UPDATE users SET disabled_at = 0 WHERE id = $1`, blob(old.user.ID)); err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{now, {}} {
			if err := s.SetUserDisabled(ctx, testBy, old.user, at); err != nil {
				t.Errorf("who was switched on by an older node: %v", err)
			}
		}
	})
}

// swap edits what an older version wrote.
func (o *switchedOff) swap(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	p, err := s.Pool(ctx, o.pool)
	if err != nil || len(p.Addresses) != 1 || !p.Addresses[0].Warmup.IsZero() {
		t.Fatalf("pool %+v, %v", p, err)
	}
	renamed := p
	renamed.Name = "new"
	w, err := s.WatchSettings(ctx, o.accounts[0])
	if err != nil || !w.NoMail {
		t.Fatalf("settings %+v, %v", w, err)
	}
	loud := w
	loud.NoMail = false
	a, err := s.AuditSchedule(ctx, o.accounts[0])
	if err != nil || a.Every != "weekly" {
		t.Fatalf("schedule %+v, %v", a, err)
	}
	rare := a
	rare.Every = "monthly"
	for what, err := range map[string]error{
		"pool": s.SwapPool(ctx, testBy, p, renamed), "warm-up": s.StartWarmup(ctx, testBy, p.Addresses[0].Address, time.Now(), time.Now()),
		"settings of the watch": s.SwapWatchSettings(ctx, testBy, o.accounts[0], w, loud), "schedule": s.SwapAuditSchedule(ctx, testBy, a, rare),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if w, err := s.WatchSettings(ctx, o.accounts[0]); err != nil || w.NoMail || len(w.MailTo) != 1 {
		t.Errorf("settings %+v, %v", w, err)
	}
}
