package people

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

func isLinkError(err error) bool {
	e, ok := errors.AsType[*relay.Error](err)
	return errors.Is(err, ErrLink) && ok && e.Public != ""
}

// AC-13: bound to address and role, single use.
func TestInvitation(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		l, token, err := w.Invite(ctx, operator, relay.Link{Account: acmeID, Subuser: shopID, Email: "Bob@Example.test", Role: relay.RoleCustom, Scopes: []string{"stats.read"}})
		if err != nil || l.Kind != relay.LinkInvite || l.ExpiresAt.Sub(l.CreatedAt) != 7*24*time.Hour {
			t.Fatalf("%+v %v", l, err)
		}
		if mailed := w.link("Bob@Example.test", "invite"); mailed != token {
			t.Error("another token was mailed")
		}
		if got, err := w.LookLink(ctx, token); err != nil || got.Email != l.Email || got.Hash != l.Hash {
			t.Errorf("%+v %v", got, err)
		}
		for field, n := range map[string]Newcomer{
			"username":   {Username: "x", Password: goodPassword},
			"first_name": {Username: "bob", FirstName: "B\nob", Password: goodPassword},
			"password":   {Username: "bob", Password: "short"},
		} {
			_, _, err := w.Accept(ctx, home, token, n)
			if e, ok := errors.AsType[*relay.Error](err); !ok || e.Kind != relay.Invalid || e.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		// Two at once make one person.
		var wait sync.WaitGroup
		var mu sync.Mutex
		var sessions []relay.Session
		var tokens []secret.Redacted
		for _, name := range []string{"bob", "bobby", "robert"} {
			wait.Go(func() {
				s, session, err := w.Accept(ctx, home, token, Newcomer{Username: name, FirstName: "Bob", Password: goodPassword})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					sessions, tokens = append(sessions, session), append(tokens, s)
				} else if !isLinkError(err) {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if len(sessions) != 1 || sessions[0].Level != relay.SessionEnrol {
			t.Fatalf("sessions %+v", sessions)
		}
		u := w.open(tokens[0]).User
		if u.Email != "Bob@Example.test" || u.Role != relay.RoleCustom || !slices.Equal(u.Scopes, []string{"stats.read"}) || u.Subuser != shopID || u.Account != acmeID || u.InvitedBy != "uid 0" {
			t.Errorf("person %+v", u)
		}
		for what, err := range map[string]error{
			"look":   second(w.LookLink(ctx, token)),
			"accept": third(w.Accept(ctx, home, token, Newcomer{Username: "eve", Password: goodPassword})),
			"reset":  w.Reset(ctx, home, token, goodPassword),
			"email":  w.ConfirmEmail(ctx, home, token),
		} {
			if !isLinkError(err) {
				t.Errorf("%s with a used link: %v", what, err)
			}
		}
	})
}

func second[A any](_ A, err error) error        { return err }
func third[A, B any](_ A, _ B, err error) error { return err }

func TestInvitationsEnd(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		invite := func() (relay.Link, secret.Redacted) {
			l, token, err := w.Invite(ctx, operator, relay.Link{Account: acmeID, Email: "bob@example.test", Role: relay.RoleDeveloper})
			if err != nil {
				t.Fatal(err)
			}
			return l, token
		}
		dead := func(what string, token secret.Redacted) {
			t.Helper()
			if _, _, err := w.Accept(ctx, home, token, Newcomer{Username: "bob", Password: goodPassword}); !isLinkError(err) {
				t.Errorf("%s: %v", what, err)
			}
		}
		l, first := invite()
		_, second, err := w.Resend(ctx, operator, l)
		if err != nil {
			t.Fatal(err)
		}
		dead("replaced", first)
		if err := w.Withdraw(ctx, operator, l); err != nil {
			t.Fatal(err)
		}
		dead("withdrawn", second)
		if err := w.Withdraw(ctx, operator, l); relay.KindOf(err) != relay.NotFound {
			t.Errorf("withdrawn twice: %v", err)
		}
		_, third := invite()
		w.pass(7 * 24 * time.Hour)
		dead("after a week", third)
		_, fourth := invite()
		w.dir.account.DisabledAt = w.now()
		dead("the account is disabled", fourth)
		w.dir.account.DisabledAt = time.Time{}
		if _, _, err := w.Accept(ctx, home, fourth, Newcomer{Username: "bob", Password: goodPassword}); err != nil {
			t.Error(err)
		}
		if _, _, err := w.Invite(ctx, operator, relay.Link{Account: acmeID, Email: "BOB@example.test", Role: relay.RoleDeveloper}); relay.KindOf(err) != relay.Conflict {
			t.Errorf("somebody of the account: %v", err)
		}
		// AC-08: whether another account has the person is no business of this one.
		if _, _, err := w.Invite(ctx, operator, relay.Link{Account: globexID, Email: "bob@example.test", Role: relay.RoleDeveloper}); err != nil {
			t.Errorf("somebody of another account: %v", err)
		}
		token := w.link("bob@example.test", "invite")
		_, _, err = w.Accept(ctx, home, token, Newcomer{Username: "bob2", Password: goodPassword})
		if e, ok := errors.AsType[*relay.Error](err); !ok || e.Kind != relay.Conflict || e.Field != "email" {
			t.Errorf("an address that is somebody's: %v", err)
		}
	})
}

// A subuser's people learn nothing of who belongs to its account (AC-08), and
// withdraw none of its invitations.
func TestInvitationsOfSubusersAreApart(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		invite := func(sub relay.SubuserID, email string) (relay.Link, secret.Redacted, error) {
			return w.Invite(ctx, operator, relay.Link{Account: acmeID, Subuser: sub, Email: email, Role: relay.RoleDeveloper})
		}
		_, token, err := invite(relay.SubuserID{}, "bob@example.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Accept(ctx, home, token, Newcomer{Username: "bob", Password: goodPassword}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := invite(shopID, "bob@example.test"); err != nil {
			t.Errorf("a subuser is told that its account has the person: %v", err)
		}
		// The other way round the account sees whom it has.
		_, token, err = invite(shopID, "eve@example.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Accept(ctx, home, token, Newcomer{Username: "eve", Password: goodPassword}); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []relay.SubuserID{{}, shopID} {
			if _, _, err := invite(sub, "eve@example.test"); relay.KindOf(err) != relay.Conflict {
				t.Errorf("somebody of one's own: %v", err)
			}
		}
		_, accounts, err := invite(relay.SubuserID{}, "new@example.test")
		if err != nil {
			t.Fatal(err)
		}
		theirs, _, err := invite(shopID, "new@example.test")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Withdraw(ctx, operator, theirs); err != nil {
			t.Fatal(err)
		}
		if _, err := w.LookLink(ctx, accounts); err != nil {
			t.Errorf("a subuser has withdrawn its account's invitation: %v", err)
		}
	})
}

func TestInvitationsThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for field, l := range map[string]relay.Link{
		"email":    {Email: "bob", Role: relay.RoleOwner},
		"role":     {Email: "bob@example.test", Role: "king"},
		"scopes":   {Email: "bob@example.test", Role: relay.RoleCustom},
		"subusers": {Email: "bob@example.test", Role: relay.RoleOwner, Restricted: true},
	} {
		l.Account = acmeID
		_, _, err := w.Invite(t.Context(), operator, l)
		if e, ok := errors.AsType[*relay.Error](err); !ok || e.Kind != relay.Invalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if len(w.mem.links) != 0 || len(w.mails) != 0 {
		t.Error("a link was made")
	}
}

// Whoever may invite must not be able to flood strangers with letters.
func TestLettersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := relay.Link{Account: acmeID, Email: "bob@example.test", Role: relay.RoleDeveloper}
	for i := range 20 {
		_, _, err := w.Invite(t.Context(), operator, l)
		if i >= paceAddress && relay.KindOf(err) != relay.RateLimited || i < paceAddress && err != nil {
			t.Errorf("letter %d: %v", i, err)
		}
	}
	w.pass(paceSpan)
	if _, _, err := w.Invite(t.Context(), operator, l); err != nil {
		t.Errorf("the next day: %v", err)
	}
}

func TestWithoutURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.URL = nil })
	if _, _, err := w.Invite(t.Context(), operator, relay.Link{Account: acmeID, Email: "bob@example.test", Role: relay.RoleOwner}); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("invite: %v", err)
	}
	if _, err := w.Setup(t.Context(), operator, acmeID, "bob@example.test"); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("setup: %v", err)
	}
	if _, _, err := w.BeginPasskeyLogin(t.Context(), home, ""); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("passkey: %v", err)
	}
}

// AC-15: one-time, and the set-up closes.
func TestSetup(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		url, err := w.Setup(ctx, operator, acmeID, "owner@example.test")
		token, ok := strings.CutPrefix(url, "https://relay.example.test/setup/")
		if err != nil || !ok {
			t.Fatalf("%q %v", url, err)
		}
		newer, err := w.Setup(ctx, operator, acmeID, "owner@example.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.LookLink(ctx, secret.Redacted(token)); !isLinkError(err) {
			t.Errorf("the older one: %v", err)
		}
		token = newer[strings.LastIndexByte(newer, '/')+1:]
		session, _, err := w.Accept(ctx, home, secret.Redacted(token), Newcomer{Username: "owner", Password: goodPassword})
		if err != nil || w.open(session).User.Role != relay.RoleOwner {
			t.Fatal(err)
		}
		if _, err := w.LookLink(ctx, secret.Redacted(token)); !isLinkError(err) {
			t.Errorf("twice: %v", err)
		}
		if _, err := w.Setup(ctx, operator, acmeID, "owner@example.test"); relay.KindOf(err) != relay.Conflict {
			t.Errorf("of somebody who is there: %v", err)
		}
		if _, err := w.Setup(ctx, operator, relay.AccountID{}, "x@example.test"); relay.KindOf(err) != relay.NotFound {
			t.Errorf("of no account: %v", err)
		}
		late, err := w.Setup(ctx, operator, acmeID, "late@example.test")
		if err != nil {
			t.Fatal(err)
		}
		w.pass(24 * time.Hour)
		if _, err := w.LookLink(ctx, secret.Redacted(late[strings.LastIndexByte(late, '/')+1:])); !isLinkError(err) {
			t.Errorf("after a day: %v", err)
		}
	})
}

// AC-08: whoever is asked for, the answer is nil and nothing was looked up for it.
func TestResetTellsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.withApp("ann")
	w.withApp("off", func(u *relay.User) { u.DisabledAt = w.now() })
	sso := w.person("sso", func(u *relay.User) { u.Password = "" })
	if err := w.st.AddIssuance(ctx, operator, relay.Issuance{Issuer: "https://x.test", Subject: "1", User: sso.ID}); err != nil {
		t.Fatal(err)
	}
	clear(w.mem.asked)
	for _, name := range []string{"ann", "nobody", "off", "sso", "", strings.Repeat("x", 1000), "ann@example.test"} {
		if err := w.AskReset(ctx, home, name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if len(w.mem.asked) != 0 {
		t.Errorf("looked up before the answer: %v", w.mem.asked)
	}
	w.jobsDone()
	if len(w.mails) != 1 || w.mails[0].to != "ann@example.test" {
		t.Errorf("letters %v", w.mails)
	}
}

// AC-09 and AC-05.
func TestReset(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		session, _ := w.in("ann")
		ask := func() secret.Redacted {
			t.Helper()
			w.pass(resetEvery)
			if err := w.AskReset(ctx, Visitor{Addr: home.Addr, Host: "evil.test"}, "ann@EXAMPLE.test"); err != nil {
				t.Fatal(err)
			}
			w.jobsDone()
			return w.link(u.Email, "reset") // on the configured host, whatever the request's
		}
		first := ask()
		if err := w.AskReset(ctx, home, "ann"); err != nil {
			t.Fatal(err)
		}
		w.jobsDone()
		if n := w.told(u.Email, "Set a new password"); n != 1 {
			t.Errorf("%d letters within five minutes", n)
		}
		second := ask()
		if err := w.Reset(ctx, home, first, otherPassword); !isLinkError(err) {
			t.Errorf("the older link: %v", err)
		}
		if err := w.Reset(ctx, home, second, "short"); relay.KindOf(err) != relay.Invalid {
			t.Errorf("a bad password: %v", err)
		}
		if err := w.Reset(ctx, home, second, otherPassword); err != nil {
			t.Fatal(err)
		}
		if err := w.Reset(ctx, home, second, goodPassword); !isLinkError(err) {
			t.Errorf("twice: %v", err)
		}
		w.dead("the password was reset", session)
		if w.told(u.Email, "password was changed") != 1 {
			t.Error("the person was not told")
		}
		// AC-05: the second factor is there as before, and asked for.
		after := w.user(u.ID)
		if !after.SecondFactor() {
			t.Error("the second factor is gone")
		}
		half, s, err := w.LoginPassword(ctx, home, "ann", otherPassword)
		if err != nil || s.Level != relay.SessionPassword {
			t.Fatalf("%+v %v", s, err)
		}
		if _, err := w.BeginTOTP(ctx, w.open(half)); !errors.Is(err, ErrSession) {
			t.Errorf("a new app without the old one: %v", err)
		}
		late := ask()
		w.pass(resetLife)
		if err := w.Reset(ctx, home, late, goodPassword); !isLinkError(err) {
			t.Errorf("after 30 minutes: %v", err)
		}
	})
}

// AC-09: any change ends a reset link.
func TestResetLinkEndsWithAnyChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *world, token secret.Redacted, visit *Visit) error{
		"password": func(w *world, _ secret.Redacted, v *Visit) error {
			return w.ChangePassword(w.t.Context(), v, goodPassword, otherPassword)
		},
		"address": func(w *world, _ secret.Redacted, v *Visit) error {
			if err := w.AskEmail(w.t.Context(), v, "new@example.test"); err != nil {
				return err
			}
			return w.ConfirmEmail(w.t.Context(), home, w.link("new@example.test", "email"))
		},
		"app": func(w *world, token secret.Redacted, v *Visit) error {
			e, err := w.BeginTOTP(w.t.Context(), v)
			if err != nil {
				return err
			}
			w.pass(time.Second)
			_, _, err = w.EnableTOTP(w.t.Context(), home, token, codeOf(w.t, e, w.now()))
			return err
		},
		"disabling": func(w *world, _ secret.Redacted, v *Visit) error {
			w.mem.mu.Lock()
			defer w.mem.mu.Unlock()
			u := w.mem.users[v.User.ID]
			u.DisabledAt = w.now()
			w.mem.users[u.ID] = u
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			u := w.withApp("ann")
			token, visit := w.in("ann")
			if err := w.AskReset(t.Context(), home, "ann"); err != nil {
				t.Fatal(err)
			}
			w.jobsDone()
			link := w.link(u.Email, "reset")
			if _, err := w.LookLink(t.Context(), link); err != nil {
				t.Fatal(err)
			}
			if err := change(w, token, visit); err != nil {
				t.Fatal(err)
			}
			if _, err := w.LookLink(t.Context(), link); !isLinkError(err) {
				t.Errorf("look: %v", err)
			}
			if err := w.Reset(t.Context(), home, link, "eleven green canoes"); !isLinkError(err) {
				t.Errorf("reset: %v", err)
			}
		})
	}
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		other, _ := w.in("ann")
		token, visit := w.in("ann")
		for field, c := range map[string][2]secret.Redacted{
			"old_password": {otherPassword, otherPassword}, "password": {goodPassword, goodPassword},
		} {
			err := w.ChangePassword(ctx, visit, c[0], c[1])
			if e, ok := errors.AsType[*relay.Error](err); !ok || e.Kind != relay.Invalid || e.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
		err := w.ChangePassword(ctx, visit, goodPassword, "ann@example.test acme")
		if e, ok := errors.AsType[*relay.Error](err); !ok || e.Field != "password" || !strings.Contains(e.Public, "name that others know") {
			t.Errorf("own names: %v", err)
		}
		if err := w.ChangePassword(ctx, visit, goodPassword, otherPassword); err != nil {
			t.Fatal(err)
		}
		w.dead("the password was changed elsewhere", other)
		w.open(token)
		if w.told(u.Email, "password was changed") != 1 {
			t.Error("nobody was told")
		}
	})
}

// AC-07: the new address counts when it is proven, and the old one is told.
func TestChangeEmail(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		w.person("bob")
		_, visit := w.in("ann")
		if err := w.AskEmail(ctx, visit, "Ann@Example.test"); relay.KindOf(err) != relay.Invalid {
			t.Errorf("the same: %v", err)
		}
		if err := w.AskEmail(ctx, visit, "bob@example.test"); err != nil {
			t.Errorf("another's address tells: %v", err)
		}
		if w.told("bob@example.test", "") != 0 {
			t.Error("another person got a link")
		}
		if err := w.AskEmail(ctx, visit, "new@example.test"); err != nil {
			t.Fatal(err)
		}
		if got := w.user(u.ID); got.Email != u.Email || w.told(u.Email, "new address was asked for") != 2 {
			t.Errorf("address %q before it is proven", got.Email)
		}
		link := w.link("new@example.test", "email")
		if err := w.ConfirmEmail(ctx, home, link); err != nil {
			t.Fatal(err)
		}
		if err := w.ConfirmEmail(ctx, home, link); !isLinkError(err) {
			t.Errorf("twice: %v", err)
		}
		if got := w.user(u.ID); got.Email != "new@example.test" || w.told(u.Email, "address was changed") != 1 {
			t.Errorf("address %q", got.Email)
		}
		if err := w.SetName(ctx, visit, " Ann ", "Miller"); err != nil {
			t.Fatal(err)
		}
		if got := w.user(u.ID); got.FirstName != "Ann" || got.Email != "new@example.test" {
			t.Errorf("person %+v", got)
		}
	})
}

func TestUsernames(t *testing.T) {
	for name, want := range map[string]bool{
		"ann": true, "ann@example.test": true, "a.b_c-d+e": true, "x": false, "": false, "ann smith": false, "änn": false,
		"../etc": false, "...": false, "pending": false, "Pending": false, "a/b": false, strings.Repeat("x", 65): false, "ann\n": false,
	} {
		if goodUsername(name) != want {
			t.Errorf("%q: want %v", name, want)
		}
	}
	if _, err := newcomer(&relay.Link{Email: "ann@example.test"}, Newcomer{Username: "bob@example.test"}, time.Now()); relay.KindOf(err) != relay.Invalid {
		t.Errorf("another's address as a user name: %v", err)
	}
}

// Reset links are mailed by Run, however many are asked for; who asks for too many
// is told so, whoever they are for.
func TestResetsAreQueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.withApp("ann")
	for i := range 30 {
		err := w.AskReset(t.Context(), home, "nobody")
		if i < asksMost && err != nil || i >= asksMost && relay.KindOf(err) != relay.RateLimited {
			t.Errorf("request %d: %v", i, err)
		}
	}
	for i := range 3 * maxJobs { // from everywhere: those that there is no room for are dropped
		if err := w.AskReset(t.Context(), from(i%250), "nobody"); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
	}
	if len(w.jobs) != maxJobs {
		t.Errorf("%d wait", len(w.jobs))
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t) // of the bubble
		w.withApp("ann")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		if err := w.AskReset(t.Context(), home, "ann"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w.told(u.Email, "Set a new password") != 1 {
			t.Error("no link was mailed")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run ends with %v", err)
		}
	})
}

// A login from where somebody never was is told to them, once.
func TestStrangeLoginsAreTold(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		u := w.withApp("ann")
		token, _ := w.in("ann")
		w.pass(2 * time.Minute)
		w.open(token) // seen
		w.in("ann")
		if w.told(u.Email, "New login") != 0 {
			t.Error("told of a place that is known")
		}
		for range 2 {
			half, _, err := w.LoginPassword(t.Context(), from(1), "ann", goodPassword)
			if err != nil {
				t.Fatal(err)
			}
			if n := w.told(u.Email, "New login"); n > 1 {
				t.Errorf("told %d times", n)
			}
			if _, _, err := w.LoginTOTP(t.Context(), from(1), half, w.code()); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Minute)
		}
		if w.told(u.Email, "New login") != 1 {
			t.Errorf("told %d times", w.told(u.Email, "New login"))
		}
	})
}
