package store

import (
	"context"
	"testing"
	"time"

	"postern/internal/relay"
)

// TestUpgradeFromTheThirdVersion: an installation that had no people gets its first
// one, and what it had is as it was. A node of that version goes on beside it.
func TestUpgradeFromTheThirdVersion(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		db, d := firstVersion(t, cfg)
		old := fillFirstVersion(t, db, d)
		if err := migrateFiles(ctx, db, d, known(t, d, 3)); err != nil {
			t.Fatal(err)
		}
		s, _ := openTest(t, cfg)
		snap, err := s.Snapshot(ctx, 0)
		if err != nil || len(snap.Accounts) != 2 || len(snap.Subusers) != 2 || len(snap.Keys) != 1 {
			t.Fatalf("snapshot %+v, %v", snap, err)
		}
		checkOldDomains(t, s, snap, old)
		c := newCrowd(t, s)
		for _, table := range []string{"users", "user_names", "sessions", "recovery_codes", "passkeys", "links", "issuances"} {
			if n := rows(t, s, table); n != 0 {
				t.Errorf("%s: %d rows", table, n)
			}
		}
		setup := c.invitation(old.accounts[0], "owner@example.test")
		setup.Kind, setup.Role = relay.LinkSetup, relay.RoleOwner
		c.link(setup)
		owner := c.row(old.accounts[0], relay.RoleOwner)
		if err := s.AcceptLink(ctx, testBy, setup.Hash, owner, c.now); err != nil {
			t.Fatal(err)
		}
		its := c.row(old.accounts[0], relay.RoleOwner)
		its.Subuser = old.subusers[0]
		c.add(its)
		_, hash := c.session(owner, relay.SessionFull)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = openTest(t, cfg)
		if _, u, err := s.SessionByHash(ctx, hash); err != nil || u.ID != owner.ID {
			t.Errorf("after the next start: %+v, %v", u, err)
		}
		if err := s.DeleteSubuser(ctx, testBy, old.subusers[0], time.Now()); err != nil {
			t.Error(err)
		}
		if p, err := s.VerifyChanges(ctx, old.accounts[0]); err != nil || p.Records < 7 {
			t.Errorf("record: %+v, %v", p, err)
		}
	})
}
