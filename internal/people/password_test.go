package people

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

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
		"../etc": false, "...": false, "pending": false, "Pending": false, "invite": false, "Invite": false, "invited": true, "a/b": false, strings.Repeat("x", 65): false, "ann\n": false,
	} {
		if goodUsername(name) != want {
			t.Errorf("%q: want %v", name, want)
		}
	}
	if _, err := newcomer(&relay.Link{Email: "ann@example.test"}, Newcomer{Username: "bob@example.test"}, time.Now()); relay.KindOf(err) != relay.Invalid {
		t.Errorf("another's address as a user name: %v", err)
	}
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

// AC-08: whoever asks for an address does not learn whether somebody has it: neither by
// the letter to themselves, nor by the links that there are, nor by one from before.
func TestAskedAddressTellsNobody(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		w.person("bob")
		_, visit := w.in("ann")
		var said []string
		for _, address := range []string{"bob@example.test", "free@example.test"} {
			if err := w.AskEmail(ctx, visit, "mine@example.test"); err != nil {
				t.Fatal(err)
			}
			before := w.link("mine@example.test", "email")
			if err := w.AskEmail(ctx, visit, address); err != nil {
				t.Fatal(err)
			}
			if _, err := w.LookLink(ctx, before); !isLinkError(err) {
				t.Errorf("%s: the link from before still works: %v", address, err)
			}
			links, err := w.st.Links(ctx, acmeID, relay.LinkEmail)
			if err != nil || len(links) != 1 || links[0].Email != address {
				t.Errorf("%s: %+v %v", address, links, err)
			}
			w.mailMu.Lock()
			for _, m := range slices.Backward(w.mails) {
				if m.to == u.Email {
					said = append(said, strings.ReplaceAll(m.text, address, "ADDRESS"))
					break
				}
			}
			w.mailMu.Unlock()
		}
		if len(said) != 2 || said[0] != said[1] {
			t.Errorf("told\n%s", strings.Join(said, "\nand\n"))
		}
	})
}

// Whose user name is the address that they had comes back to it.
func TestBackToTheAddressThatIsTheName(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann@example.test", func(u *relay.User) { u.Email = u.Username })
		_, visit := w.in("ann@example.test")
		for _, address := range []string{"new@example.test", "ann@example.test"} {
			if err := w.AskEmail(ctx, visit, address); err != nil {
				t.Fatal(err)
			}
			if err := w.ConfirmEmail(ctx, home, w.link(address, "email")); err != nil {
				t.Fatal(err)
			}
			if visit.User = w.user(u.ID); visit.User.Email != address {
				t.Errorf("address %q, want %q", visit.User.Email, address)
			}
		}
	})
}
