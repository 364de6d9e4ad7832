package store

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// TestPeopleAllAtOnce: two nodes (on PostgreSQL) do everything to a few people at
// once. Nothing blocks for good, each refusal is one that callers know, and what
// must never be is not.
func TestPeopleAllAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		nodes := []*Store{s}
		if cfg.URL != "" {
			second, _ := openTest(t, cfg)
			nodes = append(nodes, second)
		}
		c := newCrowd(t, s)
		m := &melee{crowd: c, account: c.account()}
		m.sub = c.subuser(m.account)
		for i := range 6 {
			u := c.row(m.account, relay.RoleOwner)
			if i >= 4 {
				u.Subuser = m.sub
			}
			m.people = append(m.people, c.add(u))
		}
		const seed = 20261122
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				for n := range 40 {
					what, err := m.do(nodes[i%len(nodes)], r)
					if k := relay.KindOf(err); err != nil && k != relay.Conflict && k != relay.NotFound {
						t.Errorf("%s: %v", what, err)
					}
					if i == 0 && n == 30 {
						if err := s.DeleteSubuser(context.Background(), testBy, m.sub, c.now); err != nil {
							t.Errorf("delete subuser: %v", err)
						}
					}
				}
			})
		}
		wg.Wait()
		checkPeople(t, s)
		if p, err := s.VerifyChanges(context.Background(), m.account); err != nil {
			t.Errorf("record: %+v, %v", p, err)
		}
	})
}

// melee is people to whom everything is done at once.
type melee struct {
	*crowd
	account relay.AccountID
	sub     relay.SubuserID
	people  []relay.User
}

// do does something to somebody.
func (m *melee) do(s *Store, r *rand.Rand) (string, error) {
	ctx := context.Background()
	u := m.people[r.IntN(len(m.people))]
	levels := []relay.SessionLevel{relay.SessionPassword, relay.SessionEnrol, relay.SessionFull}
	switch r.IntN(14) {
	case 0:
		return "password", s.SetPassword(ctx, testBy, u.ID, testPassword, m.now, relay.SessionID{})
	case 1:
		now, err := s.User(ctx, u.ID)
		if err != nil {
			return "user", err
		}
		to := GrantOf(&now)
		to.Role = []relay.Role{relay.RoleOwner, relay.RoleAdmin}[r.IntN(2)]
		return "grant", s.SetGrant(ctx, testBy, u.ID, GrantOf(&now), to)
	case 2:
		return "disable", s.SetUserDisabled(ctx, testBy, u.ID, m.now)
	case 3:
		return "enable", s.SetUserDisabled(ctx, testBy, u.ID, time.Time{})
	case 4:
		if r.IntN(8) > 0 {
			return "factors", s.ResetFactors(ctx, testBy, u.ID)
		}
		return "delete", s.DeleteUser(ctx, testBy, u.ID, m.now)
	case 5, 6:
		v, hash := m.login(u, levels[r.IntN(3)])
		return "session", s.CreateSession(ctx, v, hash)
	case 7, 8:
		all, err := s.Sessions(ctx, u.ID)
		if err != nil || len(all) == 0 {
			return "sessions", err
		}
		v, hash := m.login(u, relay.SessionFull)
		if r.IntN(2) > 0 {
			return "touch", s.TouchSession(ctx, all[0].ID, m.now.Add(time.Duration(r.IntN(1000))*time.Second))
		}
		return "replace", s.ReplaceSession(ctx, all[r.IntN(len(all))].ID, v, hash)
	case 9:
		return "end", created(s.EndSessions(ctx, testBy, u.ID, relay.SessionID{}))
	case 10:
		return "passkey", s.AddPasskey(ctx, testBy, relay.Passkey{ID: []byte{byte(r.IntN(40))}, User: u.ID})
	case 11:
		l := m.invitation(m.account, "invited@example.test")
		if r.IntN(2) > 0 {
			l.Subuser = m.sub
		}
		return "invite", s.CreateLink(ctx, testBy, l)
	case 12:
		all, err := s.Links(ctx, m.account)
		if err != nil || len(all) == 0 {
			return "links", err
		}
		l := all[r.IntN(len(all))]
		if l.Kind == relay.LinkReset {
			return "reset", created(s.ResetByLink(ctx, testBy, l.Hash, testPassword, m.now))
		}
		guest := relay.User{ID: relay.UserID{ID: relay.NewID(time.Now())}, Username: "guest"}
		return "accept", s.AcceptLink(ctx, testBy, l.Hash, guest, m.now)
	}
	return "link", s.CreateLink(ctx, testBy, relay.Link{Hash: [32]byte(randomBytes(32)), Kind: relay.LinkReset, User: u.ID, Email: u.Email,
		CreatedAt: m.now, ExpiresAt: m.now.Add(time.Hour)})
}

// checkPeople looks for what must never be, whatever happened before.
func checkPeople(t testing.TB, s *Store) {
	t.Helper()
	ctx := context.Background()
	for what, query := range map[string]string{
		"sessions of people who may not log in": `SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.disabled_at <> 0 OR u.deleted_at <> 0`,
		"passkeys of deleted people":            `SELECT count(*) FROM passkeys p JOIN users u ON u.id = p.user_id WHERE u.deleted_at <> 0`,
		"links of deleted people":               `SELECT count(*) FROM links l JOIN users u ON u.id = l.user_id WHERE l.used_at = 0 AND u.deleted_at <> 0`,
		"people with too many sessions":         `SELECT count(*) FROM (SELECT user_id FROM sessions GROUP BY user_id HAVING count(*) > 50) AS x`,
		"people of deleted subusers":            `SELECT count(*) FROM users u JOIN subusers s ON s.id = u.subuser_id WHERE u.deleted_at = 0 AND s.deleted_at <> 0`,
		"addresses with two invitations": `SELECT count(*) FROM (SELECT address FROM links WHERE used_at = 0 AND kind = 'invite'
			GROUP BY account_id, subuser_id, address HAVING count(*) > 1) AS x`,
		"accounts without an owner": `SELECT count(*) FROM (SELECT account_id FROM users WHERE length(subuser_id) = 0 GROUP BY account_id
			HAVING count(CASE WHEN role = 'owner' AND restricted = 0 AND disabled_at = 0 AND deleted_at = 0 THEN 1 END) = 0) AS x`,
	} {
		var n int
		if err := s.db.QueryRow(query).Scan(&n); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	all, err := s.Users(ctx, relay.AccountID{})
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, u := range all {
		of := map[string]bool{strings.ToLower(u.Username): true, strings.ToLower(u.Email): true}
		names += len(of)
		for name := range of {
			if got, err := s.UserNamed(ctx, name); err != nil || got.ID != u.ID {
				t.Errorf("%q finds %+v, %v", name, got.ID, err)
			}
		}
	}
	if n := rows(t, s, "user_names"); n != names {
		t.Errorf("%d names of %d people, want %d", n, len(all), names)
	}
}
