package people

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/auth"
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

// broken finds a long line with more of its paragraph in the next one.
var broken = regexp.MustCompile(`(?m)^.{73,}\n.`)

// A letter whose link leads to the relay's own machine says so; one whose link leads
// anywhere does not.
func TestLettersWithLocalLinks(t *testing.T) {
	t.Parallel()
	for base, local := range map[string]bool{"http://localhost:8025": true, "https://relay.example.test": false} {
		w := newWorld(t, func(c *Config) { c.URL, c.Product = func() string { return base }, nil })
		ctx, bob := t.Context(), w.person("bob")
		if _, _, err := w.Invite(ctx, operator, relay.Link{Account: acmeID, Email: "new@example.test", Role: relay.RoleAuditor}); err != nil {
			t.Fatal(err)
		}
		if err := w.SendReset(ctx, operator, bob.Email); err != nil {
			t.Fatal(err)
		}
		w.jobsDone()
		letters := 0
		w.mailMu.Lock()
		for _, m := range w.mails {
			if !strings.Contains(m.text, base+"/invite/") && !strings.Contains(m.text, base+"/reset/") {
				continue
			}
			letters++
			if broken.MatchString(m.text) {
				t.Errorf("a paragraph has line breaks of its own, besides those at 72 columns that a letter gets:\n%s", m.text)
			}
			if got := strings.Contains(m.text, "\n\nThe link leads to the machine of the relay itself") && strings.Contains(m.text, "ssh -L 8025:localhost:8025"); got != local {
				t.Errorf("%s: %s", base, m.text)
			}
		}
		w.mailMu.Unlock()
		if letters != 2 {
			t.Errorf("%s: %d letters", base, letters)
		}
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

// Who accepts an invitation is logged in by it: that stands in the record, and their
// next login from there is from a place that they have used.
func TestAcceptingIsALogin(t *testing.T) {
	t.Parallel()
	for _, optional := range []bool{false, true} {
		w := newWorld(t)
		ctx := t.Context()
		w.dir.account.Policy.SecondFactorOptional = optional
		_, token, err := w.Invite(ctx, operator, relay.Link{Account: acmeID, Email: "bob@example.test", Role: relay.RoleDeveloper})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Accept(ctx, home, token, Newcomer{Username: "bob", Password: goodPassword}); err != nil {
			t.Fatal(err)
		}
		w.recorded("accepted", auth.PersonPassword, relay.LoginOK)
		l := w.rec.last()
		if l.Tried != "bob" || l.Tenant.Account != acmeID || !strings.Contains(l.Detail, "an invitation was accepted") || strings.Contains(l.Detail, "second factor follows") == optional {
			t.Errorf("optional %t: recorded %+v", optional, l)
		}
		if _, _, err := w.LoginPassword(ctx, home, "bob", goodPassword); err != nil {
			t.Fatal(err)
		}
		if n := w.told("bob@example.test", "New login"); n != 0 {
			t.Errorf("optional %t: told of the place that they accepted from", optional)
		}
	}
}
