package people

import (
	"errors"
	"slices"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// AC-13, AC-14: whom the account of their subuser has shut out has no way back in that
// somebody below, an older letter or an issuer opens, however their address is spelled.
func TestShutOutHaveNoWayBack(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, realWorld, nil)
	ctx, st := t.Context(), w.st.(*store.Store)
	const address = "bob@xn--bcher-kva.test"
	w.person("owner", func(u *relay.User) { u.Subuser = shopID })
	bob := w.withApp("bob", func(u *relay.User) { u.Subuser, u.Role, u.Email = shopID, relay.RoleDeveloper, address })
	session, visit := w.in("bob")
	if err := errors.Join(w.AskReset(ctx, home, "BOB@B\u00fccher.test"), w.AskEmail(ctx, visit, "new@example.test")); err != nil {
		t.Fatal(err)
	}
	w.jobsDone()
	reset, email := w.link(address, "reset"), w.link("new@example.test", "email")
	_, older, err := w.Invite(ctx, operator, relay.Link{Account: globexID, Email: "bob@bu\u0308cher.test", Role: relay.RoleOwner})
	if err != nil {
		t.Fatal(err)
	}
	above, below := operator, operator
	above.Rank, below.Rank = relay.RankAccount, relay.RankOwn
	if err := st.SetUserDisabled(ctx, above, bob.ID, w.now()); err != nil {
		t.Fatal(err)
	}
	w.dead("the session of before", session)
	for what, err := range map[string]error{
		"password":                 third(w.LoginPassword(ctx, home, "bob", goodPassword)),
		"an older reset":           w.Reset(ctx, home, reset, "another good long password of Bob"),
		"an older change":          w.ConfirmEmail(ctx, home, email),
		"an older invitation":      third(w.Accept(ctx, home, older, Newcomer{Username: "robert", Password: goodPassword})),
		"switched on from below":   st.SetUserDisabled(ctx, below, bob.ID, time.Time{}),
		"deleted from below":       w.st.DeleteUser(ctx, below, bob.ID, w.now()),
		"invited anew":             third(w.Invite(ctx, below, relay.Link{Account: acmeID, Subuser: shopID, Email: "Bob@b\u00fccher.test", Role: relay.RoleOwner})),
		"invited anew, decomposed": third(w.Invite(ctx, below, relay.Link{Account: acmeID, Subuser: shopID, Email: "bob@bu\u0308cher.test", Role: relay.RoleOwner})),
		"invited anew, in quotes":  third(w.Invite(ctx, below, relay.Link{Account: acmeID, Subuser: shopID, Email: `"bob"@b` + "\u00fccher.test", Role: relay.RoleOwner})),
		"single sign-on":           ssoError(w, p, address),
		"single sign-on, in UTF-8": ssoError(w, p, "Bob@B\u00fccher.test"),
	} {
		if err == nil {
			t.Errorf("%s opens a way", what)
		}
	}
	if u := w.user(bob.ID); u.DisabledAt.IsZero() || u.DisabledRank != relay.RankAccount || !u.DeletedAt.IsZero() {
		t.Errorf("%+v", u)
	}
	all, err := st.Users(ctx, relay.AccountID{})
	if err != nil || len(all) != 2 || slices.ContainsFunc(all, func(u relay.User) bool { return u.ID != bob.ID && u.Email == address }) {
		t.Errorf("%d people: %+v, %v", len(all), all, err)
	}
}

// ssoError is what somebody new of an issuer gets who has an address, proven there.
func ssoError(w *world, p *idp, email string) error {
	w.t.Helper()
	_, session, _, err := w.sso(p, OIDCStart{}, map[string]any{"sub": "somebody new", "email": email, "preferred_username": "bobby"})
	if session.Level != "" && err == nil {
		return nil
	}
	return err
}
