package store

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestSessions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u, other := c.person(a, relay.RoleOwner), c.person(a, relay.RoleAdmin)
		v, hash := c.login(u, relay.SessionPassword)
		v.Tries, v.Pending, v.FreshUntil = 2, []byte("sealed"), c.now.Add(5*time.Minute)
		if err := s.CreateSession(ctx, v, hash); err != nil {
			t.Fatal(err)
		}
		got, who, err := s.SessionByHash(ctx, hash)
		same(t, "read", v, got, err)
		same(t, "its person", u, who, err)
		c.session(other, relay.SessionFull)
		if all, err := s.Sessions(ctx, u.ID); err != nil || len(all) != 1 {
			t.Errorf("listed %+v, %v", all, err)
		} else {
			same(t, "listed", v, all[0], nil)
		}
		// AC-10: the id and the token are new at each step; the old ones are dead.
		next, nextHash := v, [32]byte(randomBytes(32))
		next.ID, next.Level, next.Tries, next.Pending = relay.SessionID{ID: relay.NewID(time.Now())}, relay.SessionFull, 0, nil
		if err := s.ReplaceSession(ctx, v.ID, next, nextHash); err != nil {
			t.Fatal(err)
		}
		if c.open(hash) || !c.open(nextHash) {
			t.Error("the old token opens, or the new one does not")
		}
		if !who.SeenAt.IsZero() {
			t.Errorf("seen at %s, with half a login", who.SeenAt)
		}
		got, who, err = s.SessionByHash(ctx, nextHash)
		same(t, "replaced", next, got, err)
		if !who.SeenAt.Equal(next.SeenAt) || who.SeenFrom != next.Addr {
			t.Errorf("logged in at %s from %s, seen at %s from %s", next.SeenAt, next.Addr, who.SeenAt, who.SeenFrom)
		}
		stolen, _ := c.login(other, relay.SessionFull)
		for what, err := range map[string]error{
			"one that is gone":   s.ReplaceSession(ctx, v.ID, v, hash),
			"another's":          s.ReplaceSession(ctx, next.ID, stolen, hash),
			"update":             s.UpdateSession(ctx, v),
			"end":                s.EndSession(ctx, testBy, u.ID, v.ID),
			"end by another":     s.EndSession(ctx, testBy, other.ID, next.ID),
			"a token of nobody":  func() error { _, _, err := s.SessionByHash(ctx, [32]byte{}); return err }(),
			"a try that is gone": created(s.TrySession(ctx, v.ID)),
		} {
			wantKind(t, what, err, relay.NotFound, "")
		}
		wantKind(t, "a token twice", func() error { d, _ := c.login(u, relay.SessionFull); return s.CreateSession(ctx, d, nextHash) }(), relay.Conflict, "")
		next.FreshUntil, next.Pending, next.Tries = c.now.Add(time.Minute), []byte("p2"), 3
		if err := s.UpdateSession(ctx, next); err != nil {
			t.Fatal(err)
		}
		got, _, err = s.SessionByHash(ctx, nextHash)
		same(t, "updated", next, got, err)
		stale := next
		stale.Tries = 0
		if err := s.UpdateSession(ctx, stale); err != nil {
			t.Fatal(err)
		}
		if n, err := s.TrySession(ctx, next.ID); err != nil || n != 4 {
			t.Errorf("a stale update took tries back: %d, %v", n, err)
		}
		if !c.open(nextHash) {
			t.Error("gone")
		}
	})
}

// AC-04: of tries at the same time each counts, so that none gets past the limit.
func TestTriesAreCountedOneByOne(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		c := newCrowd(t, s)
		v, _ := c.session(c.person(c.account(), relay.RoleOwner), relay.SessionPassword)
		winners(t, "the fifth try", relay.Forbidden, func(int) error {
			n, err := s.TrySession(context.Background(), v.ID)
			if err == nil && n != 5 {
				err = relay.E(relay.Forbidden, "another")
			}
			return err
		})
	})
}

// AC-11: what ends sessions ends them in the same step, and no others.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		sub := c.subuser(a)
		owner := c.person(a, relay.RoleOwner)
		_, bystander := c.session(owner, relay.SessionFull)
		update := func(edit func(*relay.User)) func(relay.User, relay.SessionID) error {
			return func(u relay.User, _ relay.SessionID) error {
				edit(&u)
				return c.regrant(u)
			}
		}
		for _, v := range []struct {
			what string
			do   func(u relay.User, first relay.SessionID) error
			left int // of two
		}{
			{"logout", func(u relay.User, id relay.SessionID) error { return s.EndSession(ctx, By{}, u.ID, id) }, 1},
			{"all others", func(u relay.User, id relay.SessionID) error { return created(s.EndSessions(ctx, testBy, u.ID, id)) }, 1},
			{"all", func(u relay.User, _ relay.SessionID) error {
				return created(s.EndSessions(ctx, testBy, u.ID, relay.SessionID{}))
			}, 0},
			{"password, by the person", func(u relay.User, id relay.SessionID) error {
				return s.SetPassword(ctx, testBy, u.ID, testPassword, c.now, id)
			}, 1},
			{"password, by another", func(u relay.User, _ relay.SessionID) error {
				return s.SetPassword(ctx, testBy, u.ID, testPassword, c.now, relay.SessionID{})
			}, 0},
			{"disabled", func(u relay.User, _ relay.SessionID) error { return s.SetUserDisabled(ctx, testBy, u.ID, c.now) }, 0},
			{"deleted", func(u relay.User, _ relay.SessionID) error { return s.DeleteUser(ctx, testBy, u.ID, c.now) }, 0},
			{"factors reset", func(u relay.User, _ relay.SessionID) error { return s.ResetFactors(ctx, testBy, u.ID) }, 0},
			{"another role", update(func(u *relay.User) { u.Role = relay.RoleAuditor }), 0},
			{"other scopes", update(func(u *relay.User) { u.Scopes = []string{"mail.send"} }), 0},
			{"restricted", update(func(u *relay.User) { u.Restricted = true }), 0},
			{"restricted to some", update(func(u *relay.User) { u.Restricted, u.Subusers = true, []relay.SubuserID{sub} }), 0},
			{"another name", func(u relay.User, _ relay.SessionID) error { return s.SetUserName(ctx, testBy, u.ID, "x", "y") }, 2},
			{"another address", func(u relay.User, _ relay.SessionID) error { return c.move(u, "x"+u.Email) }, 2},
			{"the same scopes", update(func(u *relay.User) { slices.Reverse(u.Scopes) }), 2},
			{"an app", func(u relay.User, _ relay.SessionID) error {
				return s.SetTOTP(ctx, testBy, u.ID, []byte{1}, 1, c.now, relay.SessionID{})
			}, 2},
		} {
			u := c.row(a, relay.RoleCustom)
			u.Scopes = []string{"mail.send", "stats.read"}
			c.add(u)
			first, one := c.session(u, relay.SessionFull)
			_, two := c.session(u, relay.SessionPassword)
			if err := v.do(u, first.ID); err != nil {
				t.Errorf("%s: %v", v.what, err)
			}
			left := 0
			for _, hash := range [][32]byte{one, two} {
				if c.open(hash) {
					left++
				}
			}
			if left != v.left {
				t.Errorf("%s: %d sessions left, want %d", v.what, left, v.left)
			}
			if v.left == 1 && v.what != "logout" && !c.open(one) {
				t.Errorf("%s: the session to keep has ended", v.what)
			}
		}
		if !c.open(bystander) {
			t.Error("another person's session has ended")
		}
		// What is nobody's decision is no change: logouts do not fill the record.
		if changes, err := s.Changes(ctx, ChangeFilter{Account: a, Action: "session.end"}); err != nil || len(changes) != 0 {
			t.Errorf("a logout is on record: %+v, %v", changes, err)
		}
		if changes, err := s.Changes(ctx, ChangeFilter{Account: a, Action: "session.end_all"}); err != nil || len(changes) != 2 {
			t.Errorf("%d records of ended sessions, %v", len(changes), err)
		}
	})
}

// A login that is under way while the password is changed, the person disabled or
// the factors reset gets no session out of what it knew before.
func TestNoSessionOutlivesItsReason(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		c.person(a, relay.RoleOwner)
		u := c.person(a, relay.RoleAdmin)
		v, hash := c.login(u, relay.SessionPassword)
		if err := s.SetPassword(ctx, testBy, u.ID, testPassword+"2", c.now.Add(time.Microsecond), relay.SessionID{}); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "by the old password", s.CreateSession(ctx, v, hash), relay.Conflict, "")
		v.Method = "passkey"
		wantKind(t, "by a passkey that was taken away", s.CreateSession(ctx, v, hash), relay.Conflict, "")
		for _, id := range []string{"one", "two"} {
			if err := s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte(id), User: u.ID}); err != nil {
				t.Fatal(err)
			}
		}
		use := func(id string, at time.Time) {
			t.Helper()
			if err := s.UsePasskey(ctx, PasskeyUse{ID: []byte(id), Challenge: [32]byte(randomBytes(32)), Until: at.Add(time.Minute), At: at}); err != nil {
				t.Fatal(err)
			}
		}
		use("one", v.CreatedAt.Add(-time.Second))
		use("two", v.CreatedAt)
		if err := s.DeletePasskey(ctx, testBy, u.ID, []byte("two"), relay.SessionID{}, nil); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "by one of two passkeys, which was taken away since", s.CreateSession(ctx, v, hash), relay.Conflict, "")
		use("one", v.CreatedAt)
		if err := s.CreateSession(ctx, v, hash); err != nil {
			t.Errorf("without a password: %v", err)
		}
		if err := s.SetUserDisabled(ctx, testBy, u.ID, c.now); err != nil {
			t.Fatal(err)
		}
		v.ID.ID = relay.NewID(time.Now())
		wantKind(t, "disabled", s.CreateSession(ctx, v, [32]byte{1}), relay.Conflict, "")

		// All at once: whatever comes first, nothing that was there before is there after.
		for range 5 {
			u := c.person(a, relay.RoleAdmin)
			v, _ := c.session(u, relay.SessionPassword)
			var wg sync.WaitGroup
			var hashes [][32]byte
			errs := make(chan error, 16)
			for i := range 8 {
				next, hash := c.login(u, relay.SessionFull)
				hashes = append(hashes, hash)
				wg.Go(func() {
					if i%2 == 0 {
						errs <- s.ReplaceSession(ctx, v.ID, next, hash)
					} else {
						errs <- s.CreateSession(ctx, next, hash)
					}
				})
			}
			wg.Go(func() { errs <- s.SetUserDisabled(ctx, testBy, u.ID, c.now) })
			wg.Wait()
			close(errs)
			for err := range errs {
				if k := relay.KindOf(err); err != nil && k != relay.Conflict && k != relay.NotFound {
					t.Error(err)
				}
			}
			for _, hash := range hashes {
				if c.open(hash) {
					t.Fatal("a disabled person has a session")
				}
			}
		}
	})
}

// A person has at most 50 sessions; who knows a password alone throws nobody out.
func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		u := c.person(c.account(), relay.RoleOwner)
		u.PasswordAt = time.Time{}
		var full, half [][32]byte
		for i := range maxFullSessions + 3 {
			v, hash := c.login(u, relay.SessionFull)
			v.CreatedAt = c.now.Add(time.Duration(i) * time.Second)
			full = append(full, hash)
			if err := s.CreateSession(ctx, v, hash); err != nil {
				t.Fatal(err)
			}
		}
		for i := range maxHalfSessions + 5 {
			level := []relay.SessionLevel{relay.SessionPassword, relay.SessionEnrol}[i%2]
			v, hash := c.login(u, level)
			v.CreatedAt = c.now.Add(time.Duration(i) * time.Second)
			half = append(half, hash)
			if err := s.CreateSession(ctx, v, hash); err != nil {
				t.Fatal(err)
			}
		}
		if all, err := s.Sessions(ctx, u.ID); err != nil || len(all) != maxFullSessions+maxHalfSessions {
			t.Errorf("%d sessions, %v", len(all), err)
		}
		for i, hash := range full {
			if c.open(hash) != (i >= 3) {
				t.Errorf("full session %d: opens %v", i, c.open(hash))
			}
		}
		for i, hash := range half {
			if c.open(hash) != (i >= 5) {
				t.Errorf("half session %d: opens %v", i, c.open(hash))
			}
		}
		// The newest stays even where a clock says that it is old.
		v, hash := c.login(u, relay.SessionFull)
		if err := s.CreateSession(ctx, v, hash); err != nil || !c.open(hash) {
			t.Errorf("the session just made is gone: %v", err)
		}
	})
}

func TestTouchSession(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		u := c.person(c.account(), relay.RoleOwner)
		v, hash := c.session(u, relay.SessionFull)
		later := c.now.Add(time.Minute)
		for _, at := range []time.Time{later, c.now} { // a second node's clock is late
			if err := s.TouchSession(ctx, v.ID, at); err != nil {
				t.Fatal(err)
			}
		}
		got, who, err := s.SessionByHash(ctx, hash)
		if err != nil || got.SeenAt != later || who.SeenAt != later || who.SeenFrom != netip.MustParseAddr("192.0.2.4") {
			t.Errorf("%+v, %+v, %v", got, who, err)
		}
		if err := s.TouchSession(ctx, relay.SessionID{ID: relay.NewID(time.Now())}, later); err != nil {
			t.Errorf("one that has ended: %v", err)
		}
		long, hash := c.login(u, relay.SessionFull)
		long.Agent, long.Addr = strings.Repeat("\u00e9", 400)+"\x00", netip.MustParseAddr("2001:db8::1")
		if err := s.CreateSession(ctx, long, hash); err != nil {
			t.Fatal(err)
		}
		if got, _, err := s.SessionByHash(ctx, hash); err != nil || got.Agent != strings.Repeat("\u00e9", 256) || got.Addr != long.Addr {
			t.Errorf("a long name of a browser: %+v, %v", got, err)
		}
	})
}

func TestPruneSessions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		u := c.person(a, relay.RoleOwner)
		var hashes [][32]byte
		for _, life := range []time.Duration{time.Hour, 2 * time.Hour} {
			v, hash := c.login(u, relay.SessionFull)
			v.ExpiresAt = c.now.Add(life)
			hashes = append(hashes, hash)
			if err := s.CreateSession(ctx, v, hash); err != nil {
				t.Fatal(err)
			}
		}
		link := relay.Link{Hash: [32]byte{1}, Kind: relay.LinkInvite, Account: a, Email: "x@example.test", Role: relay.RoleAdmin, ExpiresAt: c.now.Add(time.Hour)}
		if err := s.CreateLink(ctx, testBy, link); err != nil {
			t.Fatal(err)
		}
		for _, v := range []struct {
			after time.Duration
			want  int64
		}{{time.Hour - time.Microsecond, 0}, {time.Hour, 1}, {time.Hour + linkKeep - time.Microsecond, 1}, {time.Hour + linkKeep, 1}, {1000 * time.Hour, 0}} {
			if n, err := s.PruneSessions(ctx, c.now.Add(v.after)); err != nil || n != v.want {
				t.Errorf("after %v: %d, %v, want %d", v.after, n, err, v.want)
			}
			if v.after == time.Hour && (c.open(hashes[0]) || !c.open(hashes[1])) {
				t.Error("the wrong session is gone")
			}
		}
		wantKind(t, "an old link", created(s.LinkByHash(ctx, link.Hash)), relay.NotFound, "")
	})
}

// A session is found by one look into an index.
func TestSessionIsFoundByIndex(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{})
	plan := ""
	err := eachRow(context.Background(), s.db, `EXPLAIN QUERY PLAN `+sessionOfHash, []any{make([]byte, 32)}, func(r *sql.Rows) error {
		var id, parent, unused int
		var detail string
		err := r.Scan(&id, &parent, &unused, &detail)
		plan += detail + "\n"
		return err
	})
	if err != nil || !strings.Contains(plan, "sessions_hash") || strings.Contains(plan, "SCAN s") || strings.Contains(plan, "SCAN u") || strings.Contains(plan, "SCAN p") {
		t.Errorf("%v:\n%s", err, plan)
	}
}

// BenchmarkSessionByHash: 2,000 people with five sessions, a passkey and ten codes
// each.
func BenchmarkSessionByHash(b *testing.B) {
	for _, engine := range []string{"sqlite", "postgres"} {
		b.Run(engine, func(b *testing.B) {
			cfg := Config{}
			if engine == "postgres" {
				cfg = Config{URL: sharedPg(b).Database(b), LeaseTime: time.Hour}
			}
			s, _ := openTest(b, cfg)
			hashes := manyPeople(b, s, 2000)
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if _, u, err := s.SessionByHash(context.Background(), hashes[i*7919%len(hashes)]); err != nil || u.RecoveryCodes != 10 {
					b.Fatal(u, err)
				}
			}
		})
	}
}

// manyPeople stores people with their sessions in one transaction.
func manyPeople(b *testing.B, s *Store, n int) (hashes [][32]byte) {
	b.Helper()
	c := newCrowd(b, s)
	a := c.account()
	ctx := context.Background()
	err := s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		for range n {
			u := c.row(a, relay.RoleAdmin)
			_, err := s.addUser(ctx, tx, u)
			for range 5 {
				v, hash := c.login(u, relay.SessionFull)
				hashes = append(hashes, hash)
				err = errors.Join(err, putSession(ctx, tx, &u, &v, hash))
			}
			for i := range 10 {
				h := [32]byte{byte(i)}
				_, codeErr := tx.ExecContext(ctx, insertCode, blob(u.ID.ID), h[:])
				err = errors.Join(err, codeErr)
			}
			_, keyErr := tx.ExecContext(ctx, insertPasskey, randomBytes(32), blob(u.ID.ID), "k", randomBytes(300), int64(1))
			if err = errors.Join(err, keyErr); err != nil {
				return note{}, err
			}
		}
		return note{}, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return hashes
}
