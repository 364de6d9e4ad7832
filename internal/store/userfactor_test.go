package store

import (
	"context"
	"testing"
	"time"

	"postern/internal/relay"
)

// AC-03: a code is used once, also when it is shown many times at once.
func TestTOTPStepIsUsedOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u, other := c.person(a, relay.RoleOwner), c.person(a, relay.RoleAdmin)
		wantKind(t, "without an app", s.UseTOTPStep(ctx, u.ID, 1), relay.Conflict, "")
		for _, id := range []relay.UserID{u.ID, other.ID} {
			if err := s.SetTOTP(ctx, testBy, id, []byte("sealed"), 100, c.now, relay.SessionID{}); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.user(u.ID); string(got.TOTP) != "sealed" || got.TOTPStep != 100 || got.TOTPAt != c.now || !got.SecondFactor() {
			t.Errorf("%+v", got)
		}
		wantKind(t, "the code that proved the app", s.UseTOTPStep(ctx, u.ID, 100), relay.Conflict, "")
		winners(t, "one code", relay.Conflict, func(int) error { return s.UseTOTPStep(ctx, u.ID, 102) })
		wantKind(t, "a code of before", s.UseTOTPStep(ctx, u.ID, 101), relay.Conflict, "")
		// Two codes at once: the later one is always used, the earlier one at most once.
		winners(t, "the later of two", relay.Conflict, func(i int) error {
			if i%2 == 0 {
				_ = s.UseTOTPStep(ctx, u.ID, 103)
				return relay.E(relay.Conflict, "not the one that is counted")
			}
			return s.UseTOTPStep(ctx, u.ID, 104)
		})
		if err := s.UseTOTPStep(ctx, other.ID, 102); err != nil {
			t.Errorf("another person's code of the same time: %v", err)
		}
		if err := s.RemoveTOTP(ctx, testBy, u.ID, relay.SessionID{}); err != nil {
			t.Fatal(err)
		}
		if got := c.user(u.ID); got.TOTP != nil || got.TOTPStep != 0 || !got.TOTPAt.IsZero() || got.SecondFactor() {
			t.Errorf("taken away: %+v", got)
		}
		wantKind(t, "of an app that is gone", s.UseTOTPStep(ctx, u.ID, 200), relay.Conflict, "")
		before := changesOf(t, s, a)
		if err := s.RemoveTOTP(ctx, testBy, u.ID, relay.SessionID{}); err != nil || changesOf(t, s, a) != before {
			t.Errorf("what changes nothing is on record: %v", err)
		}
	})
}

func changesOf(t *testing.T, s *Store, a relay.AccountID) int {
	t.Helper()
	all, err := s.Changes(context.Background(), ChangeFilter{Account: a, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// AC-06: a recovery code works once, also when it is shown many times at once.
func TestRecoveryCodeIsUsedOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u, other := c.person(a, relay.RoleOwner), c.person(a, relay.RoleAdmin)
		codes := func(n int) (hashes [][32]byte) {
			for range n {
				hashes = append(hashes, [32]byte(randomBytes(32)))
			}
			return hashes
		}
		mine, theirs := codes(10), codes(10)
		for id, hashes := range map[relay.UserID][][32]byte{u.ID: mine, other.ID: theirs} {
			if err := s.SetRecoveryCodes(ctx, testBy, id, hashes); err != nil {
				t.Fatal(err)
			}
		}
		winners(t, "one code", relay.NotFound, func(int) error {
			left, err := s.UseRecoveryCode(ctx, testBy, u.ID, mine[0], c.now)
			if err == nil && left != 9 {
				t.Errorf("%d left", left)
			}
			return err
		})
		wantKind(t, "another's code", created(s.UseRecoveryCode(ctx, testBy, u.ID, theirs[0], c.now)), relay.NotFound, "")
		// Each of several at once knows how many it has left.
		seen := make(chan int, 9)
		winners(t, "the last code", relay.Conflict, func(i int) error {
			if i+1 >= len(mine) {
				return relay.E(relay.Conflict, "no code")
			}
			left, err := s.UseRecoveryCode(ctx, testBy, u.ID, mine[i+1], c.now)
			seen <- left
			if err == nil && left > 0 {
				err = relay.E(relay.Conflict, "not the last")
			}
			return err
		})
		close(seen)
		all := map[int]bool{}
		for n := range seen {
			all[n] = true
		}
		if len(all) != 9 || c.user(u.ID).RecoveryCodes != 0 || c.user(other.ID).RecoveryCodes != 10 {
			t.Errorf("left %v, then %d and %d", all, c.user(u.ID).RecoveryCodes, c.user(other.ID).RecoveryCodes)
		}
		fresh := codes(10)
		if err := s.SetRecoveryCodes(ctx, testBy, other.ID, fresh); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "a code of the set before", created(s.UseRecoveryCode(ctx, testBy, other.ID, theirs[1], c.now)), relay.NotFound, "")
		if left, err := s.UseRecoveryCode(ctx, testBy, other.ID, fresh[1], c.now); err != nil || left != 9 {
			t.Errorf("a new one: %d, %v", left, err)
		}
		wantKind(t, "too many", s.SetRecoveryCodes(ctx, testBy, u.ID, codes(maxRecoveryCodes+1)), relay.Invalid, "")
	})
}

// A reset takes every factor, and leaves the password.
func TestResetFactors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		u := c.person(c.account(), relay.RoleOwner)
		for _, err := range []error{
			s.SetTOTP(ctx, testBy, u.ID, []byte("sealed"), 1, c.now, relay.SessionID{}), s.SetRecoveryCodes(ctx, testBy, u.ID, [][32]byte{{1}}),
			s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte{7}, User: u.ID}),
			s.CreateLink(ctx, testBy, relay.Link{Hash: [32]byte{1}, Kind: relay.LinkEmail, User: u.ID, Email: "new@example.test", ExpiresAt: c.now.Add(time.Hour)}),
			s.ResetFactors(ctx, testBy, u.ID),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		got := c.user(u.ID)
		same(t, "after it", u, got, nil)
		wantKind(t, "link", created(s.LinkByHash(ctx, [32]byte{1})), relay.NotFound, "")
	})
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		u, other := c.person(c.account(), relay.RoleOwner), c.person(c.account(), relay.RoleOwner)
		later := c.now.Add(time.Hour)
		for i, p := range []relay.User{u, other} {
			if err := s.CreateLink(ctx, testBy, relay.Link{Hash: [32]byte{byte(i + 1)}, Kind: relay.LinkReset, User: p.ID, Email: p.Email, ExpiresAt: later}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SetPassword(ctx, testBy, u.ID, testPassword+"3", later, relay.SessionID{}); err != nil {
			t.Fatal(err)
		}
		u.Password, u.PasswordAt = testPassword+"3", later
		same(t, "stored", u, c.user(u.ID), nil)
		same(t, "another's", other, c.user(other.ID), nil)
		// AC-09: a link for a new password ends with the old one.
		wantKind(t, "reset link", created(s.LinkByHash(ctx, [32]byte{1})), relay.NotFound, "")
		if _, err := s.LinkByHash(ctx, [32]byte{2}); err != nil {
			t.Errorf("another's link: %v", err)
		}
		if err := s.SetPassword(ctx, testBy, u.ID, "", later, relay.SessionID{}); err != nil || c.user(u.ID).Password != "" {
			t.Errorf("taken away: %v", err)
		}
	})
}

// A hash made anew at a login is no new password: nothing ends, and one that was
// set meanwhile stays.
func TestRehashPassword(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u := c.person(a, relay.RoleOwner)
		_, hash := c.session(u, relay.SessionFull)
		u = c.user(u.ID) // who has logged in was seen
		before := changesOf(t, s, a)
		if err := s.RehashPassword(ctx, u.ID, testPassword, testPassword+"9"); err != nil {
			t.Fatal(err)
		}
		u.Password = testPassword + "9"
		same(t, "stored", u, c.user(u.ID), nil) // PasswordAt too: logins that are under way go on
		if !c.open(hash) || changesOf(t, s, a) != before {
			t.Error("a session has ended, or it is on record")
		}
		wantKind(t, "another hash by now", s.RehashPassword(ctx, u.ID, testPassword, testPassword+"8"), relay.NotFound, "")
		wantKind(t, "nobody's", s.RehashPassword(ctx, relay.UserID{}, testPassword+"9", testPassword), relay.NotFound, "")
		if err := s.RehashPassword(ctx, u.ID, testPassword+"9", "plain"); err == nil {
			t.Error("a password was stored as it is")
		}
		if err := s.SetPassword(ctx, testBy, u.ID, "", c.now, relay.SessionID{}); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "of one who has none", s.RehashPassword(ctx, u.ID, "", testPassword), relay.NotFound, "")
		same(t, "still none", "", c.user(u.ID).Password, nil)
	})
}
