package people

import (
	"context"
	"errors"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// late is a store at which something happens just before a person changes what they
// log in with.
type late struct {
	Store
	before func()
}

func (l *late) now() {
	if f := l.before; f != nil {
		l.before = nil
		f()
	}
}

func (l *late) SetPassword(ctx context.Context, by store.By, id relay.UserID, hash string, at time.Time, keep relay.SessionID) error {
	l.now()
	return l.Store.SetPassword(ctx, by, id, hash, at, keep)
}

func (l *late) SetTOTP(ctx context.Context, by store.By, id relay.UserID, sealed []byte, step int64, at time.Time, keep relay.SessionID, rules ...store.FactorRule) error {
	l.now()
	return l.Store.SetTOTP(ctx, by, id, sealed, step, at, keep, rules...)
}

func (l *late) AddPasskey(ctx context.Context, by store.By, p relay.Passkey, rules ...store.FactorRule) error {
	l.now()
	return l.Store.AddPasskey(ctx, by, p, rules...)
}

func (l *late) SetRecoveryCodes(ctx context.Context, by store.By, id relay.UserID, hashes [][32]byte) error {
	l.now()
	return l.Store.SetRecoveryCodes(ctx, by, id, hashes)
}

func (l *late) RemoveTOTP(ctx context.Context, by store.By, id relay.UserID, keep relay.SessionID, rules ...store.FactorRule) error {
	l.now()
	return l.Store.RemoveTOTP(ctx, by, id, keep, rules...)
}

func (l *late) CreateLink(ctx context.Context, by store.By, v relay.Link) error {
	l.now()
	return l.Store.CreateLink(ctx, by, v)
}

func (l *late) EndSessions(ctx context.Context, by store.By, user relay.UserID, keep relay.SessionID) (int, error) {
	l.now()
	return l.Store.EndSessions(ctx, by, user, keep)
}

func (l *late) ResetByLink(ctx context.Context, by store.By, hash [32]byte, password string, at time.Time) (relay.User, error) {
	l.now()
	return l.Store.ResetByLink(ctx, by, hash, password, at)
}

// AC-11: what a thief's session has asked for does not happen when its owner ends all
// sessions while it is under way: their password would be the thief's after all, or the
// thief would keep a factor or a link of their own.
func TestEndedSessionsChangeNothing(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		st := &late{Store: w.cfg.Store}
		w.cfg.Store = st
		slow := w.node()
		u := w.withApp("ann")
		thief := func() *Visit { token, _ := w.in("ann"); return w.open(token) }
		for what, do := range map[string]func(v *Visit) error{
			"password": func(v *Visit) error { return slow.ChangePassword(ctx, v, goodPassword, otherPassword) },
			"codes":    func(v *Visit) error { _, err := slow.NewRecoveryCodes(ctx, v); return err },
			"no app":   func(v *Visit) error { return slow.DisableTOTP(ctx, v) },
			"address":  func(v *Visit) error { return slow.AskEmail(ctx, v, "thief@example.test") },
			"sessions": func(v *Visit) error { _, err := slow.EndOthers(ctx, v); return err },
			"a factor": func(v *Visit) error {
				made := relay.Passkey{ID: []byte("the thief's"), User: u.ID, Name: "x", Credential: []byte("{}"), CreatedAt: w.now()}
				return st.AddPasskey(ctx, byVisit(v), made)
			},
			"an app": func(v *Visit) error {
				return st.SetTOTP(ctx, byVisit(v), u.ID, []byte("the thief's"), 1, w.now(), v.Session.ID)
			},
		} {
			v := thief()
			before := w.user(u.ID)
			st.before = func() {
				if _, err := w.st.EndSessions(ctx, operator, u.ID, relay.SessionID{}); err != nil {
					t.Error(err)
				}
			}
			if err := do(v); !errors.Is(err, ErrSession) {
				t.Errorf("%s, of a session that has ended: %v", what, err)
			}
			after := w.user(u.ID)
			if after.Password != before.Password || string(after.TOTP) != string(before.TOTP) || after.Passkeys != before.Passkeys || after.RecoveryCodes != before.RecoveryCodes {
				t.Errorf("%s: changed to %+v", what, after)
			}
			if links, err := w.st.Links(ctx, acmeID, relay.LinkEmail); err != nil || len(links) > 0 {
				t.Errorf("%s: links %+v, %v", what, links, err)
			}
		}
	})
}

// AC-09: a reset link is judged in the step that sets the password, not only when its
// page was opened: the hashing takes its time.
func TestResetLinkEndsWhileItIsUsed(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		st := &late{Store: w.cfg.Store}
		w.cfg.Store = st
		slow := w.node()
		u := w.person("ann")
		token, hash := newToken()
		l := relay.Link{Hash: hash, Kind: relay.LinkReset, Account: acmeID, User: u.ID, Email: u.Email, CreatedAt: w.now(), ExpiresAt: w.now().Add(resetLife)}
		if err := w.st.CreateLink(ctx, operator, l); err != nil {
			t.Fatal(err)
		}
		st.before = func() {
			if err := w.st.SetTOTP(ctx, operator, u.ID, []byte("sealed"), 1, w.now().Add(time.Second), relay.SessionID{}); err != nil {
				t.Error(err)
			}
		}
		if err := slow.Reset(ctx, home, token, otherPassword); !errors.Is(err, ErrLink) {
			t.Errorf("a link from before the app was set up: %v", err)
		}
		if after := w.user(u.ID); after.Password != u.Password {
			t.Error("the password was set")
		}
	})
}
