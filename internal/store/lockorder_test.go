package store

import (
	"context"
	"testing"
	"time"

	"postern/internal/relay"
)

// Who holds a person may add rows that refer to their account, and be waited for by
// whoever switches that account off: neither waits for the other for good.
func TestAccountIsHeldForOthersToReferTo(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{URL: sharedPg(t).Database(t), LeaseTime: time.Hour})
	ctx, c := context.Background(), newCrowd(t, s)
	a := c.account()
	sub := c.row(a, relay.RoleOwner)
	sub.Subuser = c.subuser(a)
	u := c.add(sub)
	_, hash := c.session(u, relay.SessionFull)
	for what, end := range map[string]func() error{
		"subuser": func() error { return s.SetSubuserDisabled(ctx, testBy, u.Subuser, c.now) },
		"account": func() error { return s.SetAccountDisabled(ctx, testBy, a, c.now) },
	} {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, lockUser, blob(u.ID.ID)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- end() }()
		waitBlocked(t, s)
		if _, err := tx.ExecContext(ctx, `SET LOCAL lock_timeout = '1s'`); err != nil {
			t.Fatal(err)
		}
		challenge := [32]byte(randomBytes(32))
		_, err = tx.ExecContext(ctx, insertChallenge, challenge[:], blob(a.ID), blob(u.Subuser.ID), blob(u.ID.ID), micros(c.now), micros(c.now), micros(c.now))
		if err != nil {
			t.Errorf("%s: a row that refers to the account: %v", what, err)
		}
		_ = tx.Commit() // fails where the statement did
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if c.open(hash) {
		t.Error("a session goes on")
	}
}

// waitBlocked returns when some transaction of a store's database waits for a lock.
func waitBlocked(t *testing.T, s *Store) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		var n int
		if err := s.db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return
		}
	}
	t.Fatal("nobody waits")
}
