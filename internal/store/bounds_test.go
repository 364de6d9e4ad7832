package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// come lets 12 come at once, to the nodes in turn, and returns how many came through.
// The others are refused with kind.
func come(t *testing.T, nodes []*Store, kind relay.Kind, fn func(s *Store, i int) error) int {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, 12)
	start := make(chan struct{})
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = fn(nodes[i%len(nodes)], i)
		})
	}
	close(start)
	wg.Wait()
	through := 0
	for _, err := range errs {
		if err == nil {
			through++
		} else if relay.KindOf(err) != kind {
			t.Errorf("refused with %v", err)
		}
	}
	return through
}

// copies adds n rows to a table that differ from the one there is in id alone. columns
// are the others.
func copies(t *testing.T, s *Store, table, id, columns string, n int) {
	t.Helper()
	next := map[string]string{"number": "number + i", "id": "randomblob(16)", "hash": "randomblob(32)"}[id]
	if s.eng.dialect() == dPostgres {
		next = strings.NewReplacer("randomblob(16)", "decode(lpad(to_hex(i), 32, '0'), 'hex')", "randomblob(32)", "decode(lpad(to_hex(i), 64, '0'), 'hex')").Replace(next)
	}
	query := fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO %s (%s, %s) SELECT %s, %s FROM %s, n`, n, table, id, columns, next, columns, table)
	if table == "single_senders" {
		query = strings.Replace(query, "SELECT "+next+", "+columns, "SELECT "+next+", "+strings.Replace(columns, "address", "address || CAST(i AS TEXT)", 1), 1)
	}
	if err := s.eng.transact(context.Background(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.Exec(query)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// Of keys that are made at once, on whatever nodes, none is one too many. Revoked ones
// do not count, nor do those of others.
func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		sub := c.subuser(a)
		key := func(of relay.SubuserID) relay.Key {
			return relay.Key{ID: relay.KeyID{ID: relay.NewID(time.Now())}, Account: a, Subuser: of, Kind: relay.KeyCertificate, CreatedAt: c.now}
		}
		revoked := key(relay.SubuserID{})
		for _, k := range []relay.Key{revoked, key(relay.SubuserID{}), key(sub)} {
			if err := s.CreateKey(ctx, testBy, k); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.RevokeKey(ctx, testBy, revoked.ID, c.now); err != nil {
			t.Fatal(err)
		}
		n := come(t, nodes, relay.Forbidden, func(s *Store, _ int) error { return s.CreateKeyWithin(ctx, testBy, key(relay.SubuserID{}), 5) })
		if n != 4 {
			t.Errorf("%d keys came beside one of 5, want 4", n)
		}
		if err := s.CreateKeyWithin(ctx, testBy, key(relay.SubuserID{}), 0); err != nil {
			t.Errorf("without a bound: %v", err)
		}
		if err := s.CreateKeyWithin(ctx, testBy, key(sub), 2); err != nil {
			t.Errorf("a subuser's: %v", err)
		}
	})
}

// Of domains that are made at once, on whatever nodes, none is one too many. Deleted
// ones do not count, nor do those of others.
func TestDomainsAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		sub := c.subuser(a)
		add := func(s *Store, of relay.SubuserID, name string, most int) error {
			id := relay.DomainID{ID: relay.NewID(time.Now())}
			_, err := s.CreateDomainWithin(ctx, testBy, relay.Domain{ID: id, Account: a, Subuser: of, Name: name, State: relay.DomainPending,
				Token: id.String(), CreatedAt: c.now}, most)
			return err
		}
		for name, of := range map[string]relay.SubuserID{"gone.test": {}, "own.test": {}, "subs.test": sub} {
			if err := add(s, of, name, 0); err != nil {
				t.Fatal(err)
			}
		}
		all, err := s.Domains(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if d.Name == "gone.test" {
				if err := s.DeleteDomain(ctx, testBy, d.ID, c.now); err != nil {
					t.Fatal(err)
				}
			}
		}
		n := come(t, nodes, relay.Conflict, func(s *Store, i int) error { return add(s, relay.SubuserID{}, fmt.Sprintf("d%d.test", i), 5) })
		if n != 4 {
			t.Errorf("%d domains came beside one of 5, want 4", n)
		}
		if err := add(s, relay.SubuserID{}, "more.test", 0); err != nil {
			t.Errorf("without a bound: %v", err)
		}
		if err := add(s, sub, "second.test", 2); err != nil {
			t.Errorf("a subuser's: %v", err)
		}
	})
}

// Of people who are invited at once, on whatever nodes, none is one too many; an
// invitation that is mailed again is none more. The operator may invite more.
func TestInvitationsAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		first := c.link(c.invitation(a, "first@example.test"))
		copies(t, s, "links", "hash", "kind, account_id, subuser_id, user_id, email, role, scopes, restricted, subusers, created_at, created_by, expires_at, used_at, address", MaxInvited-4)
		invite := func(s *Store, i int) error {
			return s.CreateLink(ctx, testBy, c.invitation(a, fmt.Sprintf("i%d@example.test", i)))
		}
		if n := come(t, nodes, relay.Forbidden, invite); n != 3 {
			t.Errorf("%d invitations beside %d of %d, want 3", n, MaxInvited-3, MaxInvited)
		}
		operator := testBy
		operator.Rank = relay.RankOperator
		if err := s.CreateLink(ctx, operator, c.invitation(a, "more@example.test")); err != nil {
			t.Errorf("the operator: %v", err)
		}
		if err := s.DeleteLinks(ctx, testBy, relay.Tenant{Account: a}, "more@example.test", relay.LinkInvite); err != nil {
			t.Fatal(err)
		}
		// All copies have the address of the first: mailed again, it takes their place.
		if err := s.CreateLink(ctx, testBy, c.invitation(a, first.Email)); err != nil {
			t.Errorf("mailed again: %v", err)
		}
	})
}

// A tenant's people are bounded with those who are invited.
func TestPeopleAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		c.person(a, relay.RoleOwner)
		copies(t, s, "users", "id", `account_id, subuser_id, username, email, first_name, last_name, role, scopes, restricted, subusers,
			password, password_at, totp, totp_step, totp_at, created_at, invited_by, disabled_at, deleted_at, seen_at, seen_from`, MaxPeople-3)
		if n := come(t, nodes, relay.Forbidden, func(s *Store, i int) error {
			return s.CreateLink(ctx, testBy, c.invitation(a, fmt.Sprintf("i%d@example.test", i)))
		}); n != 2 {
			t.Errorf("%d invitations beside %d people of %d, want 2", n, MaxPeople-2, MaxPeople)
		}
	})
}

// Of single senders that are made at once, on whatever nodes, none is one too many.
func TestSendersAreBounded(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		nodes := nodesOf(t, cfg)
		s := nodes[0]
		ctx, c := context.Background(), newCrowd(t, s)
		a := c.account()
		sender := func(s *Store, i int) error {
			address := fmt.Sprintf("s%d@example.test", i)
			return created(s.CreateSender(ctx, testBy, relay.SingleSender{Tenant: relay.Tenant{Account: a}, Address: address, FromEmail: address, CreatedAt: c.now}))
		}
		if err := sender(s, 100); err != nil {
			t.Fatal(err)
		}
		copies(t, s, "single_senders", "number", strings.TrimPrefix(senderColumns, "number, ")+", rev", MaxSenders-3)
		if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.Exec(`UPDATE settings SET value = '1000000' WHERE name = 'last_sender'`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if n := come(t, nodes, relay.Conflict, sender); n != 2 {
			t.Errorf("%d senders beside %d of %d, want 2", n, MaxSenders-2, MaxSenders)
		}
	})
}
