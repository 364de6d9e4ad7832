package people

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

func (m *memory) SetTOTP(_ context.Context, by store.By, id relay.UserID, sealed []byte, step int64, at time.Time, keep relay.SessionID, rules ...store.FactorRule) error {
	return m.edit(by, id, "SetTOTP", func(u *relay.User) error {
		if err := m.ruled(*u, len(sealed) > 0, rules); err != nil {
			return err
		}
		if len(u.TOTP) > 0 {
			m.drop(id, keep)
		}
		u.TOTP, u.TOTPStep, u.TOTPAt = sealed, step, at
		return nil
	})
}

func (m *memory) RemoveTOTP(_ context.Context, by store.By, id relay.UserID, keep relay.SessionID, rules ...store.FactorRule) error {
	return m.edit(by, id, "RemoveTOTP", func(u *relay.User) error {
		if err := m.ruled(*u, false, rules); err != nil {
			return err
		}
		u.TOTP, u.TOTPStep, u.TOTPAt = nil, 0, time.Time{}
		m.lose(*u, keep)
		return nil
	})
}

// lose ends what a factor let in that is gone.
func (m *memory) lose(u relay.User, keep relay.SessionID) {
	m.drop(u.ID, keep)
	if len(u.TOTP) == 0 && !slices.ContainsFunc(m.keys, func(p relay.Passkey) bool { return p.User == u.ID }) {
		delete(m.codes, u.ID)
	}
}

func (m *memory) UseTOTPStep(_ context.Context, id relay.UserID, step int64) error {
	return m.edit(store.By{}, id, "UseTOTPStep", func(u *relay.User) error {
		if step <= u.TOTPStep {
			return errClash
		}
		u.TOTPStep = step
		return nil
	})
}

func (m *memory) SetRecoveryCodes(_ context.Context, by store.By, id relay.UserID, hashes [][32]byte) error {
	return m.edit(by, id, "SetRecoveryCodes", func(*relay.User) error {
		m.codes[id] = map[[32]byte]bool{}
		for _, h := range hashes {
			m.codes[id][h] = true
		}
		return nil
	})
}

func (m *memory) UseRecoveryCode(_ context.Context, by store.By, id relay.UserID, hash [32]byte, _ time.Time) (left int, err error) {
	err = m.edit(by, id, "UseRecoveryCode", func(*relay.User) error {
		if !m.codes[id][hash] {
			return errNone
		}
		delete(m.codes[id], hash)
		left = len(m.codes[id])
		return nil
	})
	return left, err
}

// ruled judges a factor that comes or goes.
func (m *memory) ruled(u relay.User, comes bool, rules []store.FactorRule) error {
	u = m.whole(u)
	have := u.Passkeys
	if len(u.TOTP) > 0 {
		have++
	}
	switch {
	case comes && have > 0 && slices.Contains(rules, store.FirstFactor):
		return errClash
	case !comes && have <= 1 && slices.Contains(rules, store.NotLastFactor):
		return &relay.Error{Kind: relay.Conflict, Field: "factor", Public: "the last"}
	}
	return nil
}

func (m *memory) AddPasskey(_ context.Context, by store.By, p relay.Passkey, rules ...store.FactorRule) error {
	return m.edit(by, p.User, "AddPasskey", func(u *relay.User) error {
		if err := m.ruled(*u, true, rules); err != nil {
			return err
		}
		if slices.ContainsFunc(m.keys, func(o relay.Passkey) bool { return string(o.ID) == string(p.ID) }) {
			return errClash
		}
		m.keys = append(m.keys, p)
		return nil
	})
}

func (m *memory) Passkeys(_ context.Context, user relay.UserID) (out []relay.Passkey, _ error) {
	err := m.begin("Passkeys")
	defer m.mu.Unlock()
	for _, p := range m.keys {
		if p.User == user {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b relay.Passkey) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(string(a.ID), string(b.ID)))
	})
	return out, err
}

func (m *memory) PasskeyByID(_ context.Context, id []byte) (relay.Passkey, error) {
	err := m.begin("PasskeyByID")
	defer m.mu.Unlock()
	if err != nil {
		return relay.Passkey{}, err
	}
	for _, p := range m.keys {
		if string(p.ID) == string(id) {
			return p, nil
		}
	}
	return relay.Passkey{}, errNone
}

// key edits one passkey; user zero: whoever has it.
func (m *memory) key(call string, by store.By, user relay.UserID, id []byte, fn func(i int) error) error {
	err := m.begin(call)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if !m.goesOn(by) {
		return store.ErrSessionOver
	}
	for i, p := range m.keys {
		if string(p.ID) == string(id) && (user.IsZero() || p.User == user) {
			if err := fn(i); err != nil {
				return err
			}
			m.note(by, call)
			return nil
		}
	}
	return errNone
}

func (m *memory) UsePasskey(_ context.Context, use store.PasskeyUse) error {
	return m.key("UsePasskey", store.By{}, relay.UserID{}, use.ID, func(i int) error {
		if m.answered[use.Challenge] || string(m.keys[i].Credential) != string(use.Was) {
			return errClash
		}
		m.answered[use.Challenge] = true
		m.keys[i].Credential, m.keys[i].UsedAt = use.Credential, use.At
		return nil
	})
}

func (m *memory) RenamePasskey(_ context.Context, by store.By, user relay.UserID, id []byte, name string) error {
	return m.key("RenamePasskey", by, user, id, func(i int) error { m.keys[i].Name = name; return nil })
}

func (m *memory) DeletePasskey(_ context.Context, by store.By, user relay.UserID, id []byte, keep relay.SessionID, may store.WayIn, rules ...store.FactorRule) error {
	return m.key("DeletePasskey", by, user, id, func(i int) error {
		if err := m.ruled(m.users[user], false, rules); err != nil {
			return err
		}
		u := m.whole(m.users[user])
		if err := m.otherWay(u, may, id, "", ""); err != nil {
			return err
		}
		m.keys = slices.Delete(m.keys, i, i+1)
		m.lose(m.users[user], keep)
		return nil
	})
}

// otherWay is WayIn's left in the store.
func (m *memory) otherWay(u relay.User, may store.WayIn, lost []byte, issuer, subject string) error {
	if may == nil {
		return nil
	}
	keys := slices.DeleteFunc(slices.Clone(m.keys), func(k relay.Passkey) bool { return k.User != u.ID || bytes.Equal(k.ID, lost) })
	return may(&u, keys, slices.DeleteFunc(slices.Clone(m.issued), func(o relay.Issuance) bool {
		return o.User != u.ID || o.Issuer == issuer && o.Subject == subject
	}))
}

func (m *memory) DeleteIssuance(_ context.Context, by store.By, user relay.UserID, issuer, subject string, keep relay.SessionID, may store.WayIn) error {
	return m.edit(by, user, "DeleteIssuance", func(u *relay.User) error {
		whole := m.whole(*u)
		if err := m.otherWay(whole, may, nil, issuer, subject); err != nil {
			return err
		}
		at := slices.IndexFunc(m.issued, func(o relay.Issuance) bool {
			return o.User == user && o.Issuer == issuer && o.Subject == subject
		})
		if at < 0 {
			return errNone
		}
		m.issued = slices.Delete(m.issued, at, at+1)
		m.drop(user, keep)
		return nil
	})
}

func (m *memory) AddIssuance(_ context.Context, by store.By, n relay.Issuance) error {
	return m.edit(by, n.User, "AddIssuance", func(*relay.User) error {
		if slices.ContainsFunc(m.issued, func(o relay.Issuance) bool { return o.Issuer == n.Issuer && o.Subject == n.Subject }) {
			return errClash
		}
		m.issued = append(m.issued, n)
		return nil
	})
}

func (m *memory) IssuanceUser(_ context.Context, issuer, subject string) (relay.User, error) {
	err := m.begin("IssuanceUser")
	defer m.mu.Unlock()
	if err != nil {
		return relay.User{}, err
	}
	for _, i := range m.issued {
		if u, err := m.live(i.User); err == nil && i.Issuer == issuer && i.Subject == subject {
			return m.whole(u), nil
		}
	}
	return relay.User{}, errNone
}

func (m *memory) Issuances(_ context.Context, user relay.UserID) (out []relay.Issuance, _ error) {
	err := m.begin("Issuances")
	defer m.mu.Unlock()
	for _, i := range m.issued {
		if i.User == user {
			out = append(out, i)
		}
	}
	return out, err
}

func (m *memory) MarkBrought(_ context.Context, account relay.AccountID, was, mark string) error {
	err := m.begin("MarkBrought")
	defer m.mu.Unlock()
	for id, u := range m.users {
		if u.Account == account && u.InvitedBy == was {
			u.InvitedBy = mark
			m.users[id] = u
		}
	}
	return err
}

func (m *memory) TouchIssuance(_ context.Context, issuer, subject string, at time.Time) error {
	err := m.begin("TouchIssuance")
	defer m.mu.Unlock()
	for n, i := range m.issued {
		if i.Issuer == issuer && i.Subject == subject {
			m.issued[n].UsedAt = at
			return err
		}
	}
	return errNone
}
