package people

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/totp"
)

// AC-12.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		w.withApp("ann")
		idle, _ := w.in("ann")
		w.pass(29 * time.Minute)
		w.open(idle)
		w.pass(29 * time.Minute)
		w.open(idle)
		watching := home
		watching.Passive = true // a page that stays open
		for range 29 {
			w.pass(time.Minute)
			if _, err := w.Open(t.Context(), watching, idle); err != nil {
				t.Fatal(err)
			}
		}
		w.pass(time.Minute)
		w.dead("30 minutes idle", idle)
		busy, _ := w.in("ann")
		for range 12*3 - 1 {
			w.pass(20 * time.Minute)
			w.open(busy)
		}
		w.pass(20 * time.Minute)
		w.dead("12 hours", busy)
		half, _, err := w.LoginPassword(t.Context(), home, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		w.pass(halfLife)
		w.dead("10 minutes without the second factor", half)
	})
}

func TestSessionTimesAreSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Idle, c.Life, c.Fresh = time.Minute, 5*time.Minute, 20*time.Second })
	w.withApp("ann")
	token, visit := w.in("ann") // which waits half a minute
	if err := w.fresh(visit); !errors.Is(err, ErrReauth) {
		t.Errorf("fresh for longer: %v", err)
	}
	for range 9 {
		w.open(token)
		w.pass(30 * time.Second)
	}
	w.dead("the end of its life", token)
	token, _ = w.in("ann")
	w.pass(time.Minute)
	w.dead("idle", token)
}

// AC-11: dead at once, whoever ends it and why.
func TestSessionsDieAtOnce(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		w.person("owner")
		token, visit := w.in("ann")
		if err := w.Logout(ctx, token); err != nil {
			t.Fatal(err)
		}
		w.dead("logged out", token)
		if err := errors.Join(w.Logout(ctx, token), w.Logout(ctx, "nonsense")); err != nil {
			t.Errorf("logged out twice: %v", err)
		}
		if _, err := w.BeginTOTP(ctx, visit); !errors.Is(err, ErrSession) {
			t.Errorf("a request under way writes to a session that ended: %v", err)
		}

		one, mine := w.in("ann")
		two, _ := w.in("ann")
		three, _ := w.in("ann")
		all, err := w.Sessions(ctx, u.ID)
		if err != nil || len(all) != 3 {
			t.Fatalf("%d sessions, %v", len(all), err)
		}
		if err := w.EndSession(ctx, mine, w.open(two).Session.ID); err != nil {
			t.Fatal(err)
		}
		w.dead("ended", two)
		if n, err := w.EndOthers(ctx, mine); err != nil || n != 1 {
			t.Errorf("%d others ended: %v", n, err)
		}
		w.dead("ended with all others", three)
		w.open(one)
		_, other := w.in("ann")
		bob := w.withApp("bob")
		_, bobs := w.in("bob")
		if err := w.EndSession(ctx, bobs, other.Session.ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("another person's session: %v", err)
		}
		_ = bob

		w.dir.account.DisabledAt = w.now()
		w.dead("the account is disabled", one)
		w.dir.account.DisabledAt = time.Time{}
	})
}

// AC-11: a role that is taken away stays away, though its person sets their own name
// all the while: what they read of themselves is older than the change.
func TestNamesSetMeanwhile(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann", func(u *relay.User) { u.Role = relay.RoleAdmin })
		_, visit := w.in("ann")
		down, err := w.cfg.Store.User(ctx, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		was, to := store.GrantOf(&down), store.Grant{Role: relay.RoleAuditor}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 8 {
					if err := w.SetName(ctx, visit, fmt.Sprintf("Ann %d %d", i, n), "Miller"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if err := w.cfg.Store.SetGrant(ctx, operator, u.ID, was, to); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if got, err := w.cfg.Store.User(ctx, u.ID); err != nil || got.Role != relay.RoleAuditor {
			t.Errorf("the role is %q again, %v", got.Role, err)
		}
	})
}

// AC-11, on the real store: what others do to a person.
func TestSessionsOfDisabledPeople(t *testing.T) {
	t.Parallel()
	w := realWorld(t)
	ctx := t.Context()
	st := w.st.(*store.Store)
	w.person("owner")
	u := w.withApp("ann")
	token, _ := w.in("ann")
	was := w.user(u.ID)
	if err := st.SetGrant(ctx, operator, u.ID, store.GrantOf(&was), store.Grant{Role: relay.RoleAuditor}); err != nil {
		t.Fatal(err)
	}
	w.dead("another role", token)
	token, visit := w.in("ann")
	if p, err := w.Principal(ctx, visit); err != nil || p.Allows("mail.send") || !p.Allows("stats.read") {
		t.Errorf("the old role counts: %v", err)
	}
	if err := st.SetUserDisabled(ctx, operator, u.ID, w.now()); err != nil {
		t.Fatal(err)
	}
	w.dead("disabled", token)
	if _, _, err := w.LoginPassword(ctx, home, "ann", goodPassword); err != ErrLogin { //nolint:errorlint // bare
		t.Errorf("disabled: %v", err)
	}
	if err := st.SetUserDisabled(ctx, operator, u.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	w.dead("enabled again", token)
	token, _ = w.in("ann")
	if err := st.ResetFactors(ctx, operator, u.ID); err != nil {
		t.Fatal(err)
	}
	w.dead("factors reset", token)
	if _, session, err := w.LoginPassword(ctx, home, "ann", goodPassword); err != nil || session.Level != relay.SessionEnrol {
		t.Errorf("after the reset of factors: %+v %v", session, err)
	}
	if err := st.DeleteUser(ctx, operator, u.ID, w.now()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.LoginPassword(ctx, home, "ann", goodPassword); err != ErrLogin { //nolint:errorlint // bare
		t.Errorf("deleted: %v", err)
	}
}

// The second factor is demanded of everybody whose account does not let it go,
// and of sessions that were there before.
func TestSecondFactorIsDemanded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.person("ann")
	w.person("shopper", func(u *relay.User) { u.Subuser = shopID })
	for _, name := range []string{"ann", "shopper"} {
		if _, session, err := w.LoginPassword(ctx, home, name, goodPassword); err != nil || session.Level != relay.SessionEnrol {
			t.Errorf("%s: %+v %v", name, session, err)
		}
	}
	w.dir.account.Policy.SecondFactorOptional = true
	token, session, err := w.LoginPassword(ctx, home, "shopper", goodPassword)
	if err != nil || session.Level != relay.SessionFull {
		t.Fatalf("optional: %+v %v", session, err)
	}
	p, err := w.Principal(ctx, w.open(token))
	if err != nil || p.SubuserName != "shop" || p.Subuser != shopID {
		t.Errorf("principal %+v %v", p, err)
	}
	w.dir.account.Policy.SecondFactorOptional = false
	visit := w.open(token)
	if visit.Session.Level != relay.SessionEnrol {
		t.Errorf("level %s of a session from before", visit.Session.Level)
	}
	if _, err := w.Principal(ctx, visit); !errors.Is(err, ErrSession) {
		t.Errorf("it keeps its scopes: %v", err)
	}
}

// AC-05: where the account lets people in with a password alone, setting up a second
// factor throws out whoever is in with a stolen password: their session must show it.
func TestSecondFactorSetUpElsewhere(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.dir.account.Policy.SecondFactorOptional = true
		w.person("ann")
		login := func() secret.Redacted {
			token, session, err := w.LoginPassword(ctx, home, "ann", goodPassword)
			if err != nil || session.Level != relay.SessionFull {
				t.Fatalf("%+v %v", session, err)
			}
			return token
		}
		thief, token := login(), login()
		e, err := w.BeginTOTP(ctx, w.open(token))
		if err != nil {
			t.Fatal(err)
		}
		token, _, err = w.EnableTOTP(ctx, home, token, codeOf(t, e, w.now()))
		if err != nil {
			t.Fatal(err)
		}
		if v := w.open(token); v.Session.Level != relay.SessionFull || v.Session.Method != "password+totp" {
			t.Errorf("the session that set it up: %s by %s", v.Session.Level, v.Session.Method)
		}
		visit := w.open(thief)
		if visit.Session.Level != relay.SessionPassword {
			t.Errorf("the other one: %s", visit.Session.Level)
		}
		if _, err := w.Principal(ctx, visit); !errors.Is(err, ErrSession) {
			t.Errorf("it keeps its scopes: %v", err)
		}
		w.pass(totp.Period)
		if _, session, err := w.LoginTOTP(ctx, home, thief, codeOf(t, e, w.now())); err != nil || session.Level != relay.SessionFull {
			t.Errorf("with the code: %+v %v", session, err)
		}
	})
}

// AC-05: who knows only the password must not set up a second factor beside, or
// in the place of, one that is there.
func TestEnrolSessionAfterEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.person("ann")
	login := func() (secret.Redacted, *Visit) {
		token, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		return token, w.open(token)
	}
	thief, theirs := login()
	stolen, err := w.BeginTOTP(ctx, theirs)
	if err != nil {
		t.Fatal(err)
	}
	token, mine := login()
	e, err := w.BeginTOTP(ctx, mine)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.EnableTOTP(ctx, home, token, codeOf(t, e, w.now())); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.EnableTOTP(ctx, home, thief, codeOf(t, stolen, w.now())); !errors.Is(err, ErrSession) {
		t.Errorf("a second app with the password alone: %v", err)
	}
	if v := w.open(thief); v.Session.Level != relay.SessionPassword {
		t.Errorf("level %s", v.Session.Level)
	}
}

// codeOf is what an app shows that was set up with an enrolment.
func codeOf(t testing.TB, e Enrolment, now time.Time) string {
	t.Helper()
	key, err := recoveryEncoding.DecodeString(strings.ToLower(strings.ReplaceAll(e.Secret, " ", "")))
	if err != nil {
		t.Fatal(err)
	}
	return totp.Code(key, totp.Step(now))
}

func TestEnrolment(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.person("ann")
		token, session, err := w.LoginPassword(ctx, home, "ann", goodPassword)
		if err != nil || session.Level != relay.SessionEnrol {
			t.Fatalf("%+v %v", session, err)
		}
		if _, _, err := w.EnableTOTP(ctx, home, token, "000000"); relay.KindOf(err) != relay.Conflict {
			t.Errorf("without a beginning: %v", err)
		}
		e, err := w.BeginTOTP(ctx, w.open(token))
		if err != nil || !strings.Contains(e.URI, "relay.example.test:ann") {
			t.Fatalf("%+v %v", e, err)
		}
		if _, _, err := w.EnableTOTP(ctx, home, token, w.wrongCode()); !errors.Is(err, ErrCode) {
			t.Errorf("a wrong code: %v", err)
		}
		code := codeOf(t, e, w.now())
		full, codes, err := w.EnableTOTP(ctx, home, token, code)
		if err != nil || len(codes) != 10 {
			t.Fatalf("%d codes, %v", len(codes), err)
		}
		w.dead("the session before", token)
		visit := w.open(full)
		if !visit.Full() || visit.Session.Method != "password+totp" || w.fresh(visit) != nil {
			t.Errorf("session %+v", visit.Session)
		}
		got := w.user(u.ID)
		if !got.SecondFactor() || got.RecoveryCodes != 10 || strings.Contains(string(got.TOTP), "12345") {
			t.Errorf("person %+v", got)
		}
		if w.told(u.Email, "authenticator app was set up") != 1 {
			t.Error("nobody was told")
		}
		// AC-03: the code that proved the app is used up by it.
		half, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.LoginTOTP(ctx, home, half, code); !errors.Is(err, ErrCode) {
			t.Errorf("the code of the enrolment: %v", err)
		}
		w.pass(totp.Period)
		if _, _, err := w.LoginTOTP(ctx, home, half, codeOf(t, e, w.now())); err != nil {
			t.Errorf("the next code: %v", err)
		}
		// Another app takes its place, and the codes stay.
		e, err = w.BeginTOTP(ctx, visit)
		if err != nil {
			t.Fatal(err)
		}
		_, codes, err = w.EnableTOTP(ctx, home, full, codeOf(t, e, w.now()))
		if err != nil || codes != nil || w.user(u.ID).RecoveryCodes != 10 {
			t.Errorf("codes %v, %v", codes, err)
		}
	})
}

// A sealed secret is its person's: in another row it does not open.
func TestTOTPSecretIsBoundToItsPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	ann := w.withApp("ann")
	bob := w.person("bob")
	if err := w.st.SetTOTP(ctx, operator, bob.ID, ann.TOTP, 0, w.now(), relay.SessionID{}); err != nil {
		t.Fatal(err)
	}
	half, _, err := w.LoginPassword(ctx, home, "bob", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.LoginTOTP(ctx, home, half, w.code()); err == nil || relay.KindOf(err) != relay.Internal {
		t.Errorf("got %v", err)
	}
}
