package people

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/password"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/totp"
)

func TestLoginWithBothFactors(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		for _, name := range []string{"ann", "ANN@example.test", " ann "} {
			half, session, err := w.LoginPassword(ctx, home, name, goodPassword)
			if err != nil || session.Level != relay.SessionPassword || session.Method != "password" {
				t.Fatalf("%q: %+v %v", name, session, err)
			}
			w.recorded("the first factor", auth.PersonPassword, relay.LoginOK)
			visit := w.open(half)
			// AC-05: half a session may do nothing.
			if _, err := w.Principal(ctx, visit); !errors.Is(err, ErrSession) {
				t.Errorf("half a session has a principal: %v", err)
			}
			full, session, err := w.LoginTOTP(ctx, home, half, w.code())
			if err != nil || session.Level != relay.SessionFull || session.Method != "password+totp" {
				t.Fatalf("%q: %+v %v", name, session, err)
			}
			w.recorded("the second factor", auth.PersonTOTP, relay.LoginOK)
			// AC-10: another token and id; the old one is dead.
			if full == half || session.ID == visit.Session.ID {
				t.Error("the session kept its token or id")
			}
			w.dead("the half session", half)
			p, err := w.Principal(ctx, w.open(full))
			if err != nil || p.User.ID != u.ID || p.Account != acmeID || p.AccountName != "acme" || p.Session != session.ID || !p.Allows("mail.send") || p.Key != nil {
				t.Errorf("principal %+v %v", p, err)
			}
			if !p.FreshUntil.Equal(w.now().Add(5 * time.Minute)) {
				t.Errorf("fresh until %v", p.FreshUntil)
			}
			w.pass(totp.Period)
		}
		if l := w.rec.last(); l.Tried != "ann" || l.Account != acmeID || l.Helo != "Browser/1" || l.Addr != home.Addr || l.Network != "192.0.2.0/24" {
			t.Errorf("record %+v", l)
		}
	})
}

// AC-08: one answer and one piece of work, whoever is asked for.
func TestLoginTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	w.withApp("off", func(u *relay.User) { u.DisabledAt = w.now() })
	w.person("keyed", func(u *relay.User) { u.Password = "" })
	w.withApp("shopper", func(u *relay.User) { u.Subuser = shopID })
	guessed := w.withApp("guessed")
	for i := range 120 { // until only known places may try
		w.door.PersonDone(ctx, try(from(i), auth.PersonPassword, "", &guessed), relay.LoginWrong, "")
	}
	w.dir.subuser.ConsoleDisabledAt = w.now()
	elsewhere := func() { w.dir.access[0] = nil }
	for _, c := range []struct {
		name   string
		user   string
		pw     secret.Redacted
		result relay.LoginResult
		before func()
	}{
		{"nobody", "nobody", goodPassword, relay.LoginUnknown, nil},
		{"nobody at all", "", goodPassword, relay.LoginUnknown, nil},
		{"a long name", strings.Repeat("x", 400), goodPassword, relay.LoginUnknown, nil},
		{"a wrong password", "ann", otherPassword, relay.LoginWrong, nil},
		{"an empty password", "ann", "", relay.LoginWrong, nil},
		{"a long password", "ann", secret.Redacted(strings.Repeat("x", 5000)), relay.LoginWrong, nil},
		{"no password", "keyed", goodPassword, relay.LoginWrong, nil},
		{"a disabled person", "off", goodPassword, relay.LoginDisabled, nil},
		{"a subuser without the console", "shopper", goodPassword, relay.LoginDisabled, nil},
		{"a person who is guessed at", "guessed", goodPassword, relay.LoginThrottled, nil},
		{"another address", "ann", goodPassword, relay.LoginAccess, func() {
			w.dir.access[0] = &relay.AccessList{Rules: []relay.AccessRule{{Network: mustPrefix("203.0.113.0/24")}}}
		}},
		{"a disabled account", "ann", goodPassword, relay.LoginDisabled, func() { elsewhere(); w.dir.account.DisabledAt = w.now() }},
	} {
		if c.before != nil {
			c.before()
		}
		before, named := w.hash.checks, w.mem.asked["UserNamed"]
		token, _, err := w.LoginPassword(ctx, from(200), c.user, c.pw)
		if err != ErrLogin || token != "" { //nolint:errorlint // the very same
			t.Errorf("%s: %v", c.name, err)
		}
		if w.hash.checks != before+1 {
			t.Errorf("%s: %d hashes computed, want 1", c.name, w.hash.checks-before)
		}
		if strings.TrimSpace(c.user) != "" && len(c.user) <= maxName && w.mem.asked["UserNamed"] != named+1 {
			t.Errorf("%s: %d look-ups", c.name, w.mem.asked["UserNamed"]-named)
		}
		w.recorded(c.name, auth.PersonPassword, c.result)
		w.pass(20 * time.Minute) // keeps the address out of the throttle
	}
	if len(w.mem.sessions) != 0 {
		t.Errorf("%d sessions were made", len(w.mem.sessions))
	}
}

func mustPrefix(s string) (p netip.Prefix) {
	if err := p.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return p
}

// AC-08: a refusal takes no less than the floor, however little was to do.
func TestRefusalsTakeTheirTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Floor = 60 * time.Millisecond })
	begun := time.Now()
	if _, _, err := w.LoginPassword(t.Context(), home, "nobody", goodPassword); err != ErrLogin { //nolint:errorlint // bare
		t.Fatal(err)
	}
	if d := time.Since(begun); d < 60*time.Millisecond {
		t.Errorf("refused within %v", d)
	}
}

// AC-01: an address that fails too often is refused unseen, with the time that it
// has to wait.
func TestAddressIsThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	attacker := from(1)
	for i := range 100 {
		_, _, err := w.LoginPassword(ctx, attacker, "user"+string(rune('a'+i%26)), goodPassword)
		if relay.KindOf(err) != relay.RateLimited {
			continue
		}
		if i < 10 || i > 30 {
			t.Errorf("throttled after %d", i)
		}
		if auth.RetryAfter(err) <= 0 {
			t.Error("it does not say for how long")
		}
		checks := w.hash.checks
		if _, _, err := w.LoginPassword(ctx, attacker, "ann", goodPassword); relay.KindOf(err) != relay.RateLimited || w.hash.checks != checks {
			t.Errorf("the right password is looked at: %v", err)
		}
		w.recorded("throttled", auth.PersonPassword, relay.LoginThrottled)
		return
	}
	t.Error("a hundred failures from one address, and no refusal")
}

// AC-01: never more than a hundred wrong passwords in a row, from however many
// places and however slowly; but whoever comes from a known place gets in.
func TestPersonIsNotGuessedAtForever(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	w.in("ann")
	looked := 0
	for i := range 400 {
		w.pass(3 * time.Hour)                                                                      // slower than any half-life
		if _, _, err := w.LoginPassword(ctx, from(i%250), "ann", otherPassword); err != ErrLogin { //nolint:errorlint // bare
			t.Fatal(err)
		}
		if w.rec.last().Result == relay.LoginWrong {
			looked++
		}
	}
	if looked != 100 {
		t.Errorf("%d wrong passwords were looked at, want 100", looked)
	}
	if _, _, err := w.LoginPassword(ctx, from(251), "ann", goodPassword); err != ErrLogin { //nolint:errorlint // bare
		t.Errorf("from elsewhere after a hundred: %v", err)
	}
	if len(w.alerts) == 0 || w.alerts[len(w.alerts)-1].Kind != relay.AlertGuessing {
		t.Errorf("alerts %v", w.alerts)
	}
	// A restart forgets nothing of it.
	if err := w.guard.Load(w.guard.Save()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.LoginPassword(ctx, from(251), "ann", goodPassword); err != ErrLogin { //nolint:errorlint // bare
		t.Errorf("after a restart: %v", err)
	}
	w.in("ann") // from home, as ever
	if _, _, err := w.LoginPassword(ctx, from(251), "ann", goodPassword); err != nil {
		t.Errorf("from elsewhere after the right one: %v", err)
	}
}

// A reset by mail ends the lock-out, too.
func TestResetForgives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	for i := range 120 {
		w.pass(3 * time.Hour)
		_, _, _ = w.LoginPassword(ctx, from(i), "ann", otherPassword)
	}
	if _, _, err := w.LoginPassword(ctx, home, "ann", goodPassword); err != ErrLogin { //nolint:errorlint // bare
		t.Fatalf("not shut: %v", err)
	}
	if err := w.AskReset(ctx, home, "ann"); err != nil {
		t.Fatal(err)
	}
	w.jobsDone()
	if err := w.Reset(ctx, home, w.link("ann@example.test", "reset"), otherPassword); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.LoginPassword(ctx, home, "ann", otherPassword); err != nil {
		t.Errorf("after the reset: %v", err)
	}
}

// AC-03: a code works once: again, with an older one, and at the same moment.
func TestTOTPWorksOnce(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.withApp("ann")
		var halves []secret.Redacted
		for range 6 {
			half, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
			if err != nil {
				t.Fatal(err)
			}
			halves = append(halves, half)
		}
		code, older := w.code(), totp.Code(secretOf, totp.Step(w.now())-1)
		var wait sync.WaitGroup
		var mu sync.Mutex
		var tokens []secret.Redacted
		for _, half := range halves[:4] {
			wait.Go(func() {
				token, _, err := w.LoginTOTP(ctx, home, half, code)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					tokens = append(tokens, token)
				} else if !errors.Is(err, ErrCode) {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if len(tokens) != 1 {
			t.Fatalf("one code made %d sessions", len(tokens))
		}
		for what, c := range map[string]string{"again": code, "an older one": older} {
			if _, _, err := w.LoginTOTP(ctx, home, halves[4], c); !errors.Is(err, ErrCode) {
				t.Errorf("%s: %v", what, err)
			}
		}
		// Nor at another place: showing the factors again takes a code of its own.
		if _, _, err := w.Reauth(ctx, home, tokens[0], goodPassword, code); !errors.Is(err, ErrCode) {
			t.Errorf("for step-up: %v", err)
		}
		w.pass(totp.Period)
		if _, _, err := w.LoginTOTP(ctx, home, halves[5], w.code()); err != nil {
			t.Errorf("the next code: %v", err)
		}
	})
}

// AC-04: five tries in a session, ten in an hour.
func TestTOTPIsNotGuessedAt(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.withApp("ann")
		w.in("ann") // knows the home of ann
		attacker := from(1)
		for challenge := range 2 {
			half, _, err := w.LoginPassword(ctx, attacker, "ann", goodPassword)
			if err != nil {
				t.Fatal(err)
			}
			for try := 1; try <= 5; try++ {
				want := ErrCode
				if try == 5 {
					want = ErrSession
				}
				if _, _, err := w.LoginTOTP(ctx, attacker, half, w.wrongCode()); !errors.Is(err, want) {
					t.Errorf("challenge %d, try %d: %v", challenge, try, err)
				}
			}
			w.dead("five wrong codes", half)
		}
		half, _, err := w.LoginPassword(ctx, attacker, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.LoginTOTP(ctx, attacker, half, w.code())
		if !errors.Is(err, ErrTooMany) || relay.KindOf(err) != relay.RateLimited || auth.RetryAfter(err) < 50*time.Minute {
			t.Errorf("the eleventh within the hour: %v, again in %v", err, auth.RetryAfter(err))
		}
		// The person is not locked out by it.
		w.in("ann")
		w.pass(time.Hour)
		half, _, err = w.LoginPassword(ctx, attacker, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.LoginTOTP(ctx, attacker, half, w.code()); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// AC-04: a flood at one moment gets no more tries than one after the other.
func TestTOTPIsNotGuessedAtInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	half, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	wrong := w.wrongCode()
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			if _, _, err := w.LoginTOTP(ctx, home, half, wrong); err == nil {
				t.Error("a wrong code is right")
			}
		})
	}
	wait.Wait()
	looked := 0
	for _, l := range w.rec.logins {
		if l.Mechanism == auth.PersonTOTP && l.Result == relay.LoginWrong {
			looked++
		}
	}
	if looked > maxTries {
		t.Errorf("%d codes were looked at, want at most %d", looked, maxTries)
	}
}

// AC-06.
func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		bob := w.withApp("bob")
		_, visit := w.in("ann")
		codes, err := w.NewRecoveryCodes(ctx, visit)
		if err != nil || len(codes) != 10 {
			t.Fatalf("%d codes: %v", len(codes), err)
		}
		seen := map[string]bool{}
		for _, c := range codes {
			if seen[c] || len(strings.ReplaceAll(c, "-", "")) != 16 { // 16 × 5 bits
				t.Errorf("code %q", c)
			}
			seen[c] = true
		}
		login := func(name, code string) error {
			half, _, err := w.LoginPassword(ctx, home, name, goodPassword)
			if err != nil {
				t.Fatal(err)
			}
			_, session, err := w.LoginRecovery(ctx, home, half, code)
			if err == nil && (session.Level != relay.SessionFull || session.Method != "password+recovery") {
				t.Errorf("session %+v", session)
			}
			return err
		}
		if err := login("ann", strings.ToUpper(strings.ReplaceAll(codes[0], "-", " "))); err != nil {
			t.Errorf("typed in another way: %v", err)
		}
		w.recorded("recovery", auth.PersonRecovery, relay.LoginOK)
		if w.told(u.Email, "recovery code was used") != 1 || w.user(u.ID).RecoveryCodes != 9 {
			t.Errorf("told %d times, %d left", w.told(u.Email, "recovery code was used"), w.user(u.ID).RecoveryCodes)
		}
		if err := login("ann", codes[0]); !errors.Is(err, ErrCode) {
			t.Errorf("used twice: %v", err)
		}
		if err := login("bob", codes[1]); !errors.Is(err, ErrCode) {
			t.Errorf("another person's: %v", err)
		}
		w.pass(time.Hour)
		_, visit = w.in("ann")
		if _, err := w.NewRecoveryCodes(ctx, visit); err != nil {
			t.Fatal(err)
		}
		if err := login("ann", codes[2]); !errors.Is(err, ErrCode) {
			t.Errorf("replaced: %v", err)
		}
		_ = bob
	})
}

// AC-06: the store never has the codes, nor a token, as they are.
func TestSecretsAreStoredHashed(t *testing.T) {
	t.Parallel()
	user := relay.UserID{ID: relay.NewID(time.Now())}
	codes, hashes := newRecoveryCodes(user)
	if len(hashes) != 10 || slices.Contains(hashes, recoveryHash(relay.UserID{}, codes[0])) || !slices.Contains(hashes, recoveryHash(user, codes[0])) {
		t.Error("hashes are not of the codes and their person")
	}
	token, hash := newToken()
	if got, ok := tokenHash(token.Reveal()); !ok || got != hash || len(token) != 43 {
		t.Errorf("token of %d characters, %v", len(token), ok)
	}
	for _, bad := range []string{"", "x", token.Reveal() + "A", token.Reveal()[:42] + "=", strings.Repeat("A", 1000)} {
		if _, ok := tokenHash(bad); ok {
			t.Errorf("%q is a token", bad)
		}
	}
}

// A hash of older parameters is made anew at a login, and no session ends by it.
func TestRehash(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		u := w.withApp("ann")
		token, _ := w.in("ann")
		before := w.user(u.ID)
		w.hash.Hasher = password.New(password.Config{Params: password.Params{Memory: 128, Time: 1, Threads: 1}})
		if _, _, err := w.LoginPassword(t.Context(), home, "ann", goodPassword); err != nil {
			t.Fatal(err)
		}
		got := w.user(u.ID)
		if got.Password == before.Password || !strings.Contains(got.Password, "m=128") || !got.PasswordAt.Equal(before.PasswordAt) {
			t.Errorf("hash %q of %v", got.Password, got.PasswordAt)
		}
		w.open(token)
		// Who was too late replaces nothing.
		if err := w.st.RehashPassword(t.Context(), u.ID, before.Password, before.Password); relay.KindOf(err) != relay.NotFound {
			t.Errorf("an old hash comes back: %v", err)
		}
	})
}

func TestHasherIsBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Hasher = busyHasher{} })
	_, _, err := w.LoginPassword(t.Context(), home, "ann", goodPassword)
	if relay.KindOf(err) != relay.Unavailable {
		t.Errorf("got %v", err)
	}
}

type busyHasher struct{}

func (busyHasher) Hash(context.Context, secret.Redacted) (string, error) {
	return "", password.ErrBusy
}

func (busyHasher) Verify(context.Context, string, secret.Redacted) (bool, bool, error) {
	return false, false, password.ErrBusy
}

// The switch that the standard advises against.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Rules.MaxAge = 24 * time.Hour })
	w.withApp("ann")
	w.pass(25 * time.Hour)
	if _, _, err := w.LoginPassword(t.Context(), home, "ann", otherPassword); err != ErrLogin { //nolint:errorlint // bare
		t.Errorf("a wrong one says more: %v", err)
	}
	if _, _, err := w.LoginPassword(t.Context(), home, "ann", goodPassword); relay.KindOf(err) != relay.Forbidden {
		t.Errorf("an old one: %v", err)
	}
	w.jobsDone()
	if err := w.Reset(t.Context(), home, w.link("ann@example.test", "reset"), otherPassword); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.LoginPassword(t.Context(), home, "ann", otherPassword); err != nil {
		t.Errorf("a new one: %v", err)
	}
}
