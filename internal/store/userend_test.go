package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"postern/internal/relay"
)

// ending is a person with everything that a way in can end: an app, a passkey,
// recovery codes, and two sessions, of which the second is somebody else's perhaps.
type ending struct {
	*crowd
	account      relay.AccountID
	sub          relay.SubuserID
	u            relay.User
	mine         relay.Session
	hash, others [32]byte
}

func newEnding(t *testing.T, c *crowd, app, passkey bool) *ending {
	t.Helper()
	e := &ending{crowd: c, account: c.account()}
	e.sub = c.subuser(e.account)
	u := c.row(e.account, relay.RoleOwner)
	u.Subuser = e.sub
	e.u = c.add(u)
	other := c.row(e.account, relay.RoleOwner) // not the last one
	other.Subuser = e.sub
	c.add(other)
	ctx, s := context.Background(), c.s
	var errs []error
	if app {
		errs = append(errs, s.SetTOTP(ctx, testBy, e.u.ID, []byte("sealed"), 1, c.now, relay.SessionID{}))
	}
	if passkey {
		errs = append(errs, s.AddPasskey(ctx, testBy, relay.Passkey{ID: e.u.ID.ID[:], User: e.u.ID, CreatedAt: c.now}))
	}
	errs = append(errs, s.SetRecoveryCodes(ctx, testBy, e.u.ID, [][32]byte{{1}, {2}}))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	e.mine, e.hash = c.session(e.u, relay.SessionFull)
	_, e.others = c.session(e.u, relay.SessionFull)
	return e
}

// AC-11, AC-05: what takes a way in away ends who came by it in the same step: a
// crash in between, or a commit that fails, leaves neither half of it.
func TestEndingsAreWhole(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		f := &faults{}
		cfg.fault = f.hook
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		type end func(e *ending) error
		for what, v := range map[string]struct {
			app, passkey bool
			end          end
			kept         bool // the session that asks goes on
			codes        int  // left
		}{
			"the only app": {app: true, kept: true, end: func(e *ending) error { return s.RemoveTOTP(ctx, testBy, e.u.ID, e.mine.ID) }},
			"another app": {app: true, kept: true, codes: 2, end: func(e *ending) error {
				return s.SetTOTP(ctx, testBy, e.u.ID, []byte("another"), 1, c.now, e.mine.ID)
			}},
			"one of two: the app": {app: true, passkey: true, kept: true, codes: 2, end: func(e *ending) error {
				return s.RemoveTOTP(ctx, testBy, e.u.ID, e.mine.ID)
			}},
			"the only passkey": {passkey: true, kept: true, end: func(e *ending) error {
				return s.DeletePasskey(ctx, testBy, e.u.ID, e.u.ID.ID[:], e.mine.ID, nil)
			}},
			"one of two: the passkey": {app: true, passkey: true, kept: true, codes: 2, end: func(e *ending) error {
				return s.DeletePasskey(ctx, testBy, e.u.ID, e.u.ID.ID[:], e.mine.ID, nil)
			}},
			"password": {app: true, kept: true, codes: 2, end: func(e *ending) error {
				return s.SetPassword(ctx, testBy, e.u.ID, testPassword, c.now, e.mine.ID)
			}},
			"switched off": {app: true, codes: 2, end: func(e *ending) error { return s.SetUserDisabled(ctx, testBy, e.u.ID, c.now) }},
			"factors":      {app: true, end: func(e *ending) error { return s.ResetFactors(ctx, testBy, e.u.ID) }},
			"subuser off":  {app: true, codes: 2, end: func(e *ending) error { return s.SetSubuserDisabled(ctx, testBy, e.sub, c.now) }},
			"account off":  {app: true, codes: 2, end: func(e *ending) error { return s.SetAccountDisabled(ctx, testBy, e.account, c.now) }},
			"console off": {app: true, codes: 2, end: func(e *ending) error {
				u, err := s.Subuser(ctx, e.sub)
				if err != nil {
					return err
				}
				off := u
				off.ConsoleDisabledAt = c.now
				return s.SwapSubuser(ctx, testBy, u, off)
			}},
		} {
			e, bystander := newEnding(t, c, v.app, v.passkey), newEnding(t, c, true, false)
			before := c.user(e.u.ID)
			f.set("transact", 1, errInjected)
			if err := v.end(e); !errors.Is(err, errInjected) {
				t.Errorf("%s: stopped half-way: %v", what, err)
			}
			if now := c.user(e.u.ID); !c.open(e.hash) || !c.open(e.others) || now.RecoveryCodes != 2 || now.Passkeys != before.Passkeys || len(now.TOTP) != len(before.TOTP) || !now.DisabledAt.IsZero() {
				t.Errorf("%s: half of it was done: %+v", what, now)
			}
			if err := v.end(e); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if c.open(e.others) || c.open(e.hash) != v.kept || c.user(e.u.ID).RecoveryCodes != v.codes {
				t.Errorf("%s: other session %v, own %v, %d codes", what, c.open(e.others), c.open(e.hash), c.user(e.u.ID).RecoveryCodes)
			}
			if !c.open(bystander.hash) || c.user(bystander.u.ID).RecoveryCodes != 2 {
				t.Errorf("%s: it ends somebody else's session", what)
			}
		}
	})
}

// A subuser that is switched on again, or edited while it is off, ends nobody's
// session; and the account's own people stay where a subuser is switched off.
func TestSwitchesEndNoOthers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newCrowd(t, s)
		e := newEnding(t, c, true, false)
		_, own := c.session(c.person(e.account, relay.RoleOwner), relay.SessionFull)
		if err := s.SetSubuserDisabled(ctx, testBy, e.sub, c.now); err != nil {
			t.Fatal(err)
		}
		_, again := c.session(e.u, relay.SessionFull) // it gets nowhere while the subuser is off
		u, err := s.Subuser(ctx, e.sub)
		if err != nil {
			t.Fatal(err)
		}
		renamed := u
		renamed.Email = "x@example.test"
		for _, err := range []error{s.SwapSubuser(ctx, testBy, u, renamed), s.SetSubuserDisabled(ctx, testBy, e.sub, time.Time{})} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if !c.open(again) || !c.open(own) || c.open(e.others) {
			t.Errorf("sessions: new %v, of the account %v, of before %v", c.open(again), c.open(own), c.open(e.others))
		}
	})
}
