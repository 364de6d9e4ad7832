package people

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// memory is a Store that keeps the contract of *store.Store, and can fail.
type memory struct {
	mu       sync.Mutex
	users    map[relay.UserID]relay.User
	sessions map[[32]byte]relay.Session
	links    map[[32]byte]relay.Link
	codes    map[relay.UserID]map[[32]byte]bool
	keys     []relay.Passkey
	issued   []relay.Issuance
	answered map[[32]byte]bool
	changes  []string // who did what
	fail     map[string]error
	asked    map[string]int
}

func newMemory() *memory {
	return &memory{
		users: map[relay.UserID]relay.User{}, sessions: map[[32]byte]relay.Session{}, links: map[[32]byte]relay.Link{},
		codes: map[relay.UserID]map[[32]byte]bool{}, answered: map[[32]byte]bool{}, fail: map[string]error{}, asked: map[string]int{},
	}
}

// begin locks, counts and perhaps fails a call.
func (m *memory) begin(call string) error {
	m.mu.Lock()
	m.asked[call]++
	return m.fail[call]
}

func (m *memory) note(by store.By, what string) {
	if by != (store.By{}) {
		m.changes = append(m.changes, by.Who+": "+what)
	}
}

var (
	errNone  = relay.E(relay.NotFound, "none")
	errClash = relay.E(relay.Conflict, "clash")
)

func (m *memory) whole(u relay.User) relay.User {
	u.RecoveryCodes = len(m.codes[u.ID])
	u.Passkeys = 0
	for _, k := range m.keys {
		if k.User == u.ID {
			u.Passkeys++
		}
	}
	return u
}

func (m *memory) live(id relay.UserID) (relay.User, error) {
	u, ok := m.users[id]
	if !ok || !u.DeletedAt.IsZero() {
		return u, errNone
	}
	return u, nil
}

func (m *memory) clash(u relay.User) error {
	for _, o := range m.users {
		if o.ID == u.ID || !o.DeletedAt.IsZero() {
			continue
		}
		for field, name := range map[string]string{"username": u.Username, "email": u.Email} {
			if strings.EqualFold(o.Username, name) || strings.EqualFold(o.Email, name) {
				return &relay.Error{Kind: relay.Conflict, Field: field, Public: "taken"}
			}
		}
	}
	return nil
}

func (m *memory) CreateUser(_ context.Context, by store.By, u relay.User) error {
	err := m.begin("CreateUser")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := m.clash(u); err != nil {
		return err
	}
	m.users[u.ID] = u
	m.note(by, "user.create")
	return nil
}

func (m *memory) User(_ context.Context, id relay.UserID) (relay.User, error) {
	err := m.begin("User")
	defer m.mu.Unlock()
	u, ok := m.users[id]
	if err == nil && !ok {
		err = errNone
	}
	return m.whole(u), err
}

func (m *memory) UserNamed(_ context.Context, name string) (relay.User, error) {
	err := m.begin("UserNamed")
	defer m.mu.Unlock()
	if err != nil {
		return relay.User{}, err
	}
	for _, u := range m.users {
		if u.DeletedAt.IsZero() && (strings.EqualFold(u.Username, name) || strings.EqualFold(u.Email, name)) {
			return m.whole(u), nil
		}
	}
	return relay.User{}, errNone
}

func (m *memory) edit(by store.By, id relay.UserID, what string, fn func(*relay.User) error) error {
	err := m.begin(what)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	u, err := m.live(id)
	if err != nil {
		return err
	}
	if !m.goesOn(by) {
		return store.ErrSessionOver
	}
	if err := fn(&u); err != nil {
		return err
	}
	m.users[id] = u
	m.note(by, what)
	return nil
}

// goesOn reports whether the session goes on in which somebody makes a change.
func (m *memory) goesOn(by store.By) bool {
	for _, s := range m.sessions {
		if s.ID == by.Session {
			return true
		}
	}
	return by.Session.IsZero()
}

func (m *memory) SetGrant(_ context.Context, by store.By, id relay.UserID, was, to store.Grant) error {
	return m.edit(by, id, "SetGrant", func(u *relay.User) error {
		if !was.Equal(store.GrantOf(u)) {
			return errClash
		}
		u.Role, u.Scopes, u.Restricted, u.Subusers = to.Role, to.Scopes, to.Restricted, to.Subusers
		m.drop(id, relay.SessionID{})
		return nil
	})
}

func (m *memory) SetUserName(_ context.Context, by store.By, id relay.UserID, first, last string) error {
	return m.edit(by, id, "SetUserName", func(u *relay.User) error {
		u.FirstName, u.LastName = first, last
		return nil
	})
}

func (m *memory) DeleteUser(_ context.Context, by store.By, id relay.UserID, at time.Time, _ ...store.Grant) error {
	return m.edit(by, id, "DeleteUser", func(u *relay.User) error {
		u.DeletedAt = at
		m.drop(id, relay.SessionID{})
		return nil
	})
}

// drop ends the sessions of a person but one.
func (m *memory) drop(id relay.UserID, keep relay.SessionID) (n int) {
	for h, s := range m.sessions {
		if s.User == id && s.ID != keep {
			delete(m.sessions, h)
			n++
		}
	}
	return n
}

// dropLinks ends the unused links of a person.
func (m *memory) dropLinks(id relay.UserID) {
	for h, l := range m.links {
		if l.User == id && l.UsedAt.IsZero() {
			delete(m.links, h)
		}
	}
}

func (m *memory) SetPassword(_ context.Context, by store.By, id relay.UserID, hash string, at time.Time, keep relay.SessionID) error {
	return m.edit(by, id, "SetPassword", func(u *relay.User) error {
		u.Password, u.PasswordAt = hash, at
		m.drop(id, keep)
		m.dropLinks(id)
		return nil
	})
}

func (m *memory) RehashPassword(_ context.Context, id relay.UserID, old, hash string) error {
	return m.edit(store.By{}, id, "RehashPassword", func(u *relay.User) error {
		if u.Password != old {
			return errNone
		}
		u.Password = hash
		return nil
	})
}

func (m *memory) CreateSession(_ context.Context, s relay.Session, hash [32]byte) error {
	err := m.begin("CreateSession")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	u, err := m.live(s.User)
	switch {
	case err != nil:
		return err
	case !u.DisabledAt.IsZero(), strings.HasPrefix(s.Method, "password") && s.CreatedAt.Before(u.PasswordAt):
		return errClash
	case strings.HasPrefix(s.Method, "oidc") && !slices.ContainsFunc(m.issued, func(o relay.Issuance) bool { return o.User == s.User && !o.UsedAt.Before(s.CreatedAt) }):
		return errClash
	}
	m.sessions[hash] = s
	return nil
}

func (m *memory) SessionByHash(_ context.Context, hash [32]byte) (relay.Session, relay.User, error) {
	err := m.begin("SessionByHash")
	defer m.mu.Unlock()
	s, ok := m.sessions[hash]
	if err == nil && !ok {
		err = errNone
	}
	return s, m.whole(m.users[s.User]), err
}

func (m *memory) Sessions(_ context.Context, user relay.UserID) (out []relay.Session, _ error) {
	err := m.begin("Sessions")
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		if s.User == user {
			out = append(out, s)
		}
	}
	return out, err
}

// bySession finds a session's key.
func (m *memory) bySession(id relay.SessionID) ([32]byte, bool) {
	for h, s := range m.sessions {
		if s.ID == id {
			return h, true
		}
	}
	return [32]byte{}, false
}

func (m *memory) ReplaceSession(_ context.Context, old relay.SessionID, s relay.Session, hash [32]byte) error {
	err := m.begin("ReplaceSession")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	h, ok := m.bySession(old)
	if !ok || m.sessions[h].User != s.User {
		return errNone
	}
	delete(m.sessions, h)
	m.sessions[hash] = s
	return nil
}

func (m *memory) UpdateSession(_ context.Context, n relay.Session) error {
	err := m.begin("UpdateSession")
	defer m.mu.Unlock()
	h, ok := m.bySession(n.ID)
	switch {
	case err != nil:
		return err
	case !ok:
		return errNone
	}
	s := m.sessions[h]
	s.Level, s.FreshUntil, s.Pending, s.Tries = n.Level, n.FreshUntil, n.Pending, max(s.Tries, n.Tries)
	m.sessions[h] = s
	return nil
}

func (m *memory) TrySession(_ context.Context, id relay.SessionID) (int, error) {
	err := m.begin("TrySession")
	defer m.mu.Unlock()
	h, ok := m.bySession(id)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, errNone
	}
	s := m.sessions[h]
	s.Tries++
	m.sessions[h] = s
	return s.Tries, nil
}

func (m *memory) TouchSession(_ context.Context, id relay.SessionID, at time.Time) error {
	err := m.begin("TouchSession")
	defer m.mu.Unlock()
	if h, ok := m.bySession(id); ok {
		s := m.sessions[h]
		s.SeenAt = at
		m.sessions[h] = s
		u := m.users[s.User]
		u.SeenAt, u.SeenFrom = at, s.Addr
		m.users[u.ID] = u
	}
	return err
}

func (m *memory) EndSession(_ context.Context, by store.By, user relay.UserID, id relay.SessionID) error {
	err := m.begin("EndSession")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	h, ok := m.bySession(id)
	if !m.goesOn(by) {
		return store.ErrSessionOver
	}
	if !ok || m.sessions[h].User != user {
		return errNone
	}
	delete(m.sessions, h)
	m.note(by, "session.end")
	return nil
}

func (m *memory) EndSessions(_ context.Context, by store.By, user relay.UserID, keep relay.SessionID) (int, error) {
	err := m.begin("EndSessions")
	defer m.mu.Unlock()
	if !m.goesOn(by) {
		return 0, store.ErrSessionOver
	}
	m.note(by, "sessions.end")
	return m.drop(user, keep), err
}

func (m *memory) CreateLink(_ context.Context, by store.By, l relay.Link) error {
	err := m.begin("CreateLink")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if !m.goesOn(by) {
		return store.ErrSessionOver
	}
	for h, o := range m.links {
		alike := o.Kind == l.Kind && o.UsedAt.IsZero()
		if l.User.IsZero() {
			alike = alike && o.Account == l.Account && o.Subuser == l.Subuser && strings.EqualFold(o.Email, l.Email)
		} else {
			alike = alike && o.User == l.User
		}
		if alike {
			delete(m.links, h)
		}
	}
	m.links[l.Hash] = l
	m.note(by, "link.create")
	return nil
}

func (m *memory) LinkByHash(_ context.Context, hash [32]byte) (relay.Link, error) {
	err := m.begin("LinkByHash")
	defer m.mu.Unlock()
	l, ok := m.links[hash]
	if err == nil && !ok {
		err = errNone
	}
	return l, err
}

func (m *memory) Links(_ context.Context, account relay.AccountID, kinds ...relay.LinkKind) (out []relay.Link, _ error) {
	err := m.begin("Links")
	defer m.mu.Unlock()
	for _, l := range m.links {
		if l.Account == account && l.UsedAt.IsZero() && (len(kinds) == 0 || slices.Contains(kinds, l.Kind)) {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b relay.Link) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out, err
}

func (m *memory) DeleteLinks(_ context.Context, by store.By, of relay.Tenant, email string, kind relay.LinkKind) error {
	err := m.begin("DeleteLinks")
	defer m.mu.Unlock()
	n := 0
	for h, l := range m.links {
		if l.Account == of.Account && l.Subuser == of.Subuser && l.Kind == kind && l.UsedAt.IsZero() && strings.EqualFold(l.Email, email) {
			delete(m.links, h)
			n++
		}
	}
	m.note(by, "link.delete")
	if err == nil && n == 0 {
		err = errNone
	}
	return err
}

// take uses a link; m is locked.
func (m *memory) take(hash [32]byte, at time.Time, kinds ...relay.LinkKind) (relay.Link, error) {
	l, ok := m.links[hash]
	switch {
	case !ok || !slices.Contains(kinds, l.Kind):
		return l, errNone
	case !l.UsedAt.IsZero(), !at.Before(l.ExpiresAt):
		return l, errClash
	}
	l.UsedAt = at
	m.links[hash] = l
	return l, nil
}

func (m *memory) AcceptLink(_ context.Context, by store.By, hash [32]byte, u relay.User, at time.Time) error {
	err := m.begin("AcceptLink")
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	l, ok := m.links[hash]
	if ok && l.UsedAt.IsZero() {
		u.Email = l.Email
		if err := m.clash(u); err != nil {
			return err
		}
	}
	if l, err = m.take(hash, at, relay.LinkSetup, relay.LinkInvite); err != nil {
		return err
	}
	u.Account, u.Subuser, u.Email, u.Role, u.Scopes, u.Restricted, u.Subusers, u.InvitedBy, u.CreatedAt = l.Account, l.Subuser, l.Email, l.Role, l.Scopes, l.Restricted, l.Subusers, l.CreatedBy, at
	m.users[u.ID] = u
	m.note(by, "user.create")
	return nil
}

func (m *memory) ResetByLink(_ context.Context, by store.By, hash [32]byte, pw string, at time.Time) (relay.User, error) {
	err := m.begin("ResetByLink")
	defer m.mu.Unlock()
	if err != nil {
		return relay.User{}, err
	}
	if l := m.links[hash]; m.users[l.User].TOTPAt.After(l.CreatedAt) || m.users[l.User].PasswordAt.After(l.CreatedAt) {
		return relay.User{}, errClash
	}
	l, err := m.take(hash, at, relay.LinkReset)
	if err != nil {
		return relay.User{}, err
	}
	u, err := m.live(l.User)
	if err != nil {
		return u, err
	}
	u.Password, u.PasswordAt = pw, at
	m.users[u.ID] = u
	m.drop(u.ID, relay.SessionID{})
	m.dropLinks(u.ID)
	m.note(by, "user.password")
	return m.whole(u), nil
}

func (m *memory) ConfirmEmail(_ context.Context, by store.By, hash [32]byte, at time.Time) (relay.User, error) {
	err := m.begin("ConfirmEmail")
	defer m.mu.Unlock()
	if err != nil {
		return relay.User{}, err
	}
	before, err := m.live(m.links[hash].User)
	if err != nil {
		return before, err
	}
	u := before
	u.Email = m.links[hash].Email
	if err := m.clash(u); err != nil {
		return before, err
	}
	if _, err := m.take(hash, at, relay.LinkEmail); err != nil {
		return before, err
	}
	m.users[u.ID] = u
	m.dropLinks(u.ID)
	m.note(by, "user.email")
	return before, nil
}
