package people

import (
	"context"
	"errors"
	"testing"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/store"
)

// node is another process of the same installation: one store, one sealing key,
// nothing else in common.
func (w *world) node() *Service {
	w.t.Helper()
	s, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// What one passkey has answered is answered on all nodes: whoever recorded it
// cannot show it at another one (AC-03, for passkeys).
func TestPasskeyAnswerOnAnotherNode(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.person("ann")
		enrol, _, err := w.LoginPassword(ctx, home, "ann", goodPassword)
		if err != nil {
			t.Fatal(err)
		}
		d, _, _ := w.withPasskey(enrol, "phone")
		// A phone that keeps passkeys in a cloud counts nothing: only the challenge tells
		// one answer from another.
		d.cred.Counter = 0
		options, handle, err := w.BeginPasskeyLogin(ctx, home, "")
		if err != nil {
			t.Fatal(err)
		}
		answer := d.get(t, options)
		other := w.node()
		if _, _, err := w.LoginPasskey(ctx, home, "", handle, answer); err != nil {
			t.Fatal(err)
		}
		if _, _, err := other.LoginPasskey(ctx, home, "", handle, answer); !errors.Is(err, ErrPasskey) {
			t.Errorf("the answer once more, on another node: %v", err)
		}
		w.recorded("on another node", auth.PersonPasskey, relay.LoginWrong)
		// A new challenge of one node is good at the other.
		if options, handle, err = w.BeginPasskeyLogin(ctx, home, ""); err != nil {
			t.Fatal(err)
		}
		if _, _, err := other.LoginPasskey(ctx, home, "", handle, d.get(t, options)); err != nil {
			t.Errorf("begun here, answered there: %v", err)
		}
	})
}

// meddling is a store at which somebody does something just before a grant is set.
type meddling struct {
	Store
	before func()
}

func (m *meddling) SetGrant(ctx context.Context, by store.By, id relay.UserID, was, to store.Grant) error {
	if m.before != nil {
		m.before()
		m.before = nil
	}
	return m.Store.SetGrant(ctx, by, id, was, to)
}

// A role that an issuer's groups give does not undo what an owner does at the same
// moment: who is shut out stays so, and who was restricted stays restricted.
func TestGroupsBesideAnOwner(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, realWorld, nil)
	ctx := t.Context()
	w.person("owner")
	st := w.st.(*store.Store)
	m := &meddling{Store: w.cfg.Store}
	w.cfg.Store = m
	if _, _, _, err := w.sso(p, OIDCStart{}, nil); err != nil {
		t.Fatal(err)
	}
	u, err := st.UserNamed(ctx, "ann")
	if err != nil {
		t.Fatal(err)
	}
	restricted := store.Grant{Role: relay.RoleDeveloper, Restricted: true, Subusers: []relay.SubuserID{shopID}}
	m.before = func() {
		if err := errors.Join(st.SetUserName(ctx, operator, u.ID, "An", "Owner's choice"), st.SetGrant(ctx, operator, u.ID, store.GrantOf(&u), restricted)); err != nil {
			t.Error(err)
		}
	}
	if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"groups": "all"}); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("a role that was changed meanwhile: %v", err)
	}
	if got := w.user(u.ID); !store.GrantOf(&got).Equal(restricted) {
		t.Errorf("the owner's choice is lost: %+v", got)
	}
	m.before = func() {
		if err := st.SetUserDisabled(ctx, operator, u.ID, w.now()); err != nil {
			t.Error(err)
		}
	}
	if _, _, _, err := w.sso(p, OIDCStart{}, map[string]any{"groups": "all"}); err == nil {
		t.Error("somebody who is shut out meanwhile is let in")
	}
	if got := w.user(u.ID); got.DisabledAt.IsZero() || !got.Restricted || got.LastName != "Owner's choice" {
		t.Errorf("shut out, and in again: %+v", got)
	}
}

// The last two factors, removed at the same moment on two nodes: one stays.
func TestLastFactorsAtOnce(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		token, _ := w.in("ann")
		d, token, _ := w.withPasskey(token, "key")
		visit, other := w.open(token), w.node()
		errs := make(chan error, 2)
		go func() { errs <- w.DisableTOTP(ctx, visit) }()
		go func() { errs <- other.RemovePasskey(ctx, visit, d.cred.ID) }()
		one, two := <-errs, <-errs
		if left := w.user(u.ID); !left.SecondFactor() || (one == nil) == (two == nil) {
			t.Errorf("left %+v: %v, %v", left, one, two)
		}
		for _, err := range []error{one, two} {
			if err != nil && relay.KindOf(err) != relay.Conflict {
				t.Errorf("refused with %v", err)
			}
		}
	})
}

// The last two passkeys of somebody without a password, removed at the same moment on
// two nodes: one stays, or they could not log in any more. The app alone does not let
// them in.
func TestLastWaysInAtOnce(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		token, _ := w.in("ann")
		first, token, _ := w.withPasskey(token, "one")
		second, token, _ := w.withPasskey(token, "two")
		visit, other := w.open(token), w.node()
		if err := w.st.SetPassword(ctx, operator, u.ID, "", w.now(), visit.Session.ID); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		go func() { errs <- w.RemovePasskey(ctx, visit, first.cred.ID) }()
		go func() { errs <- other.RemovePasskey(ctx, visit, second.cred.ID) }()
		one, two := <-errs, <-errs
		if left := w.user(u.ID); left.Passkeys != 1 || (one == nil) == (two == nil) {
			t.Errorf("left %+v: %v, %v", left, one, two)
		}
		for _, err := range []error{one, two} {
			if err != nil && relay.KindOf(err) != relay.Conflict {
				t.Errorf("refused with %v", err)
			}
		}
	})
}
