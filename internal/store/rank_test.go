package store

import (
	"testing"
	"time"

	"postern/internal/relay"
)

// What somebody above has switched off, nobody below switches on again, or takes over
// by switching it off once more: a subuser's people, keys and domains that its account
// has shut stay so, and an account's that the operator has.
func TestWhoSwitchesOnAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, w, c := t.Context(), newWorld(t, s), newCrowd(t, s)
		u := c.person(w.account.ID, relay.RoleDeveloper)
		at := c.now
		things := map[string]struct {
			set  func(by By, at time.Time) error
			read func() (time.Time, relay.Rank)
		}{
			"person": {
				func(by By, at time.Time) error { return s.SetUserDisabled(ctx, by, u.ID, at) },
				func() (time.Time, relay.Rank) { now := c.user(u.ID); return now.DisabledAt, now.DisabledRank },
			},
			"key": {
				func(by By, at time.Time) error { return s.SetKeyDisabled(ctx, by, w.key.ID, at) },
				func() (time.Time, relay.Rank) {
					k, err := s.Key(ctx, w.key.ID)
					if err != nil {
						t.Fatal(err)
					}
					return k.DisabledAt, k.DisabledRank
				},
			},
			"key that is as it was read": {
				func(by By, at time.Time) error {
					k, err := s.Key(ctx, w.key.ID)
					if err != nil {
						t.Fatal(err)
					}
					return s.SwapKeyDisabled(ctx, by, w.key.ID, k.DisabledAt, at)
				},
				func() (time.Time, relay.Rank) {
					k, err := s.Key(ctx, w.key.ID)
					if err != nil {
						t.Fatal(err)
					}
					return k.DisabledAt, k.DisabledRank
				},
			},
			"subuser": {
				func(by By, at time.Time) error { return s.SetSubuserDisabled(ctx, by, w.subuser.ID, at) },
				func() (time.Time, relay.Rank) {
					u, err := s.Subuser(ctx, w.subuser.ID)
					if err != nil {
						t.Fatal(err)
					}
					return u.DisabledAt, u.DisabledRank
				},
			},
			"domain": {
				func(by By, at time.Time) error { return s.SetDomainDisabled(ctx, by, w.domain.ID, at) },
				func() (time.Time, relay.Rank) {
					d, err := s.Domain(ctx, w.domain.ID)
					if err != nil {
						t.Fatal(err)
					}
					return d.DisabledAt, d.DisabledRank
				},
			},
		}
		own, account, operator := relay.RankOwn, relay.RankAccount, relay.RankOperator
		for what, thing := range things {
			for i, step := range []struct {
				rank    relay.Rank
				off     bool
				refused bool
				isOff   bool
				by      relay.Rank
			}{
				{rank: own, off: true, isOff: true},
				{rank: own},
				{rank: own, off: true, isOff: true},
				{rank: account, off: true, isOff: true, by: account}, // it is off already: by whom counts
				{rank: own, refused: true, isOff: true, by: account},
				{rank: own, off: true, isOff: true, by: account}, // no way to make it one's own
				{rank: own, refused: true, isOff: true, by: account},
				{rank: account},
				{rank: operator, off: true, isOff: true, by: operator},
				{rank: account, refused: true, isOff: true, by: operator},
				{rank: account, off: true, isOff: true, by: operator},
				{rank: operator},
				{rank: own}, // it is on
				{rank: account, off: true, isOff: true, by: account},
				{rank: operator},
			} {
				by, when := testBy, time.Time{}
				if by.Rank = step.rank; step.off {
					when = at
				}
				err := thing.set(by, when)
				if (relay.KindOf(err) == relay.Forbidden) != step.refused || err != nil && !step.refused {
					t.Errorf("%s, step %d: %v", what, i, err)
				}
				if since, rank := thing.read(); since.IsZero() == step.isOff || rank != step.by {
					t.Errorf("%s, step %d: off since %v by %q", what, i, since, rank)
				}
			}
		}
	})
}

// An edit of a key, subuser or domain keeps who has switched it off, and so does its snapshot.
func TestEditsKeepWhoSwitchedOff(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, w := t.Context(), newWorld(t, s)
		by := testBy
		by.Rank = relay.RankAccount
		at := w.key.CreatedAt
		for _, err := range []error{s.SetKeyDisabled(ctx, by, w.key.ID, at), s.SetDomainDisabled(ctx, by, w.domain.ID, at), s.SetSubuserDisabled(ctx, by, w.subuser.ID, at)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.key.Name, w.domain.Quiet = "renamed", !w.domain.Quiet
		if err := editKey(t, s, w.key); err != nil {
			t.Fatal(err)
		}
		if err := editDomain(s, w.domain); err != nil {
			t.Fatal(err)
		}
		sub, err := s.Subuser(ctx, w.subuser.ID)
		if err != nil {
			t.Fatal(err)
		}
		moved := sub
		moved.Email, moved.DisabledRank = "moved@example.test", relay.RankOwn
		if err := s.SwapSubuser(ctx, testBy, sub, moved); err != nil {
			t.Fatal(err)
		}
		sn, err := s.Snapshot(ctx, 0)
		if err != nil || len(sn.Keys) != 1 || len(sn.Domains) != 1 || len(sn.Subusers) != 1 {
			t.Fatalf("%+v, %v", sn, err)
		}
		if k, d := sn.Keys[0], sn.Domains[0]; k.Name != "renamed" || k.DisabledRank != relay.RankAccount || d.DisabledRank != relay.RankAccount || !d.DisabledAt.Equal(at) {
			t.Errorf("key %+v, domain %+v", k, d)
		}
		if u := sn.Subusers[0]; u.Email != moved.Email || u.DisabledRank != relay.RankAccount || !u.DisabledAt.Equal(at) {
			t.Errorf("subuser %+v", u)
		}
	})
}
