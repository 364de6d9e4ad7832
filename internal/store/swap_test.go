package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// editing is one of everything that two people may edit at once.
type editing struct {
	*world
	sender  relay.SingleSender
	account relay.AccountID
}

func newEditing(t *testing.T, s *Store) *editing {
	t.Helper()
	w := newWorld(t, s)
	v, err := s.CreateSender(t.Context(), testBy, relay.SingleSender{Tenant: relay.Tenant{Account: w.account.ID}, Nickname: "n", FromEmail: "a@b.test", Address: "a@b.test", CreatedAt: w.account.CreatedAt})
	if err != nil {
		t.Fatal(err)
	}
	return &editing{w, v, w.account.ID}
}

// late is an edit by somebody who has looked before everybody else: of several of
// them, each with a value of its own, one may come through.
func (e *editing) late(t *testing.T, s *Store) map[string]func(s *Store, i int) error {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a, err := s.Account(ctx, e.account)
	must(err)
	u, err := s.Subuser(ctx, e.subuser.ID)
	must(err)
	p, err := s.Pool(ctx, e.pool.ID)
	must(err)
	d, err := s.Domain(ctx, e.domain.ID)
	must(err)
	v, err := s.Sender(ctx, e.sender.Number)
	must(err)
	w, err := s.WatchSettings(ctx, e.account)
	must(err)
	r, err := s.AuditSchedule(ctx, e.account)
	must(err)
	k, err := s.Key(ctx, e.key.ID)
	must(err)
	return map[string]func(s *Store, i int) error{
		"account": func(s *Store, i int) error {
			next := a
			next.OwnerEmail = fmt.Sprintf("%d@example.test", i)
			return s.SwapAccount(ctx, testBy, a, next)
		},
		"subuser": func(s *Store, i int) error {
			next := u
			next.Email = fmt.Sprintf("%d@example.test", i)
			return s.SwapSubuser(ctx, testBy, u, next)
		},
		"pool": func(s *Store, i int) error {
			next := p
			next.Addresses = append(slices.Clone(p.Addresses), relay.PoolAddress{Address: numbered(i), Helo: "x.example.test"})
			return s.SwapPool(ctx, testBy, p, next)
		},
		"domain": func(s *Store, i int) error {
			next := d
			next.IPs = append(slices.Clone(d.IPs), numbered(i))
			return s.SwapDomain(ctx, testBy, d, next)
		},
		"sharing": func(s *Store, i int) error {
			if i%2 == 0 && len(d.Subusers) == 0 {
				return s.SwapDomainSharing(ctx, testBy, d, []relay.SubuserID{e.subuser.ID}, d.AllSubusers)
			}
			if i%2 == 0 {
				return s.SwapDomainSharing(ctx, testBy, d, nil, d.AllSubusers)
			}
			return s.SwapDomainSharing(ctx, testBy, d, d.Subusers, !d.AllSubusers)
		},
		"sender": func(s *Store, i int) error {
			next := v
			next.Nickname = fmt.Sprint("nick ", i)
			return s.SwapSender(ctx, testBy, v, next)
		},
		"watch": func(s *Store, i int) error {
			next := w
			next.MailTo = append(slices.Clone(w.MailTo), fmt.Sprintf("%d@example.test", i))
			next.Secrets = [][]byte{{byte(i)}}
			return s.SwapWatchSettings(ctx, testBy, e.account, w, next)
		},
		"schedule": func(s *Store, i int) error {
			next := r
			next.Every, next.To = "weekly", append(slices.Clone(r.To), fmt.Sprintf("%d@example.test", i))
			return s.SwapAuditSchedule(ctx, testBy, r, next)
		},
		"switch of a key": func(s *Store, i int) error {
			return s.SwapKeyDisabled(ctx, testBy, e.key.ID, k.DisabledAt, time.UnixMicro(int64(i)+1))
		},
	}
}

func numbered(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) }

// Of several who have looked at the same, on whatever nodes, one edits it; the
// others hear that they are too late, and nothing of theirs is stored or recorded.
func TestEditsOfAnEarlierLook(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		e := newEditing(t, s)
		for round := range 2 { // of what was never set, where it can be, and of what was
			for what, edit := range e.late(t, s) {
				before := rows(t, s, "changes")
				winners(t, what, relay.Conflict, func(i int) error {
					err := edit(node(i), 100*round+i)
					if err != nil && !errors.Is(err, ErrMeanwhile) {
						t.Errorf("%s: %v is no reason to look again", what, err)
					}
					return err
				})
				if n := rows(t, s, "changes") - before; n != 1 {
					t.Errorf("%s: %d records, want 1", what, n)
				}
			}
		}
		if p, err := s.VerifyChanges(t.Context(), e.account); err != nil {
			t.Errorf("record: %+v, %v", p, err)
		}
	})
}

// Two nodes that edit different settings of one account, subuser or pool at the same
// moment lose neither edit.
func TestNoEditIsLost(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, e := context.Background(), newEditing(t, s)
		account := func(edit func(*relay.Account)) func(*Store) error {
			return func(s *Store) error {
				was, err := s.Account(ctx, e.account)
				if err != nil {
					return err
				}
				next := was
				edit(&next)
				return s.SwapAccount(ctx, testBy, was, next)
			}
		}
		subuser := func(edit func(*relay.Subuser)) func(*Store) error {
			return func(s *Store) error {
				was, err := s.Subuser(ctx, e.subuser.ID)
				if err != nil {
					return err
				}
				next := was
				edit(&next)
				return s.SwapSubuser(ctx, testBy, was, next)
			}
		}
		edits := []func(*Store) error{
			account(func(a *relay.Account) { a.OwnerEmail = "new@example.test" }),
			account(func(a *relay.Account) { a.TimeZone = "Asia/Tokyo" }),
			account(func(a *relay.Account) { a.Policy.RequireNetworks = true }),
			account(func(a *relay.Account) { a.Plan.Day = 7 }),
			subuser(func(u *relay.Subuser) { u.Email = "new@example.test" }),
			subuser(func(u *relay.Subuser) { u.TLS = relay.TLSVerified }),
			subuser(func(u *relay.Subuser) { u.Plan.Credits.Total = 9 }),
			subuser(func(u *relay.Subuser) { u.Profile.City = "Paris" }),
		}
		for i := range 6 { // six who each add one address
			edits = append(edits, func(s *Store) error {
				was, err := s.Pool(ctx, e.pool.ID)
				if err != nil {
					return err
				}
				next := was
				next.Addresses = append(slices.Clone(was.Addresses), relay.PoolAddress{Address: numbered(i), Helo: "x.example.test"})
				return s.SwapPool(ctx, testBy, was, next)
			})
		}
		var wg sync.WaitGroup
		for i, edit := range edits {
			wg.Go(func() {
				if err := Again(func() error { return edit(node(i)) }); err != nil {
					t.Errorf("edit %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		a, err := s.Account(ctx, e.account)
		if err != nil || a.OwnerEmail != "new@example.test" || a.TimeZone != "Asia/Tokyo" || !a.Policy.RequireNetworks || a.Plan.Day != 7 || a.Plan.Hour != 10 {
			t.Errorf("account %+v, %v", a, err)
		}
		u, err := s.Subuser(ctx, e.subuser.ID)
		if err != nil || u.Email != "new@example.test" || u.TLS != relay.TLSVerified || u.Plan.Credits.Total != 9 || u.Plan.Recipients != 7 || u.Profile.City != "Paris" {
			t.Errorf("subuser %+v, %v", u, err)
		}
		p, err := s.Pool(ctx, e.pool.ID)
		if err != nil || len(p.Addresses) != 2+6 {
			t.Errorf("pool %+v, %v", p, err)
		}
	})
}

// A pool that was switched off stays off, and one whose addresses have become warmer
// meanwhile may be edited all the same.
func TestPoolEditsTouchNoSwitch(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, node := nodes(t, cfg)
		ctx, w := t.Context(), newWorld(t, s)
		address, since := w.pool.Addresses[0].Address, w.pool.CreatedAt
		if err := s.StartWarmup(ctx, testBy, address, since, since); err != nil {
			t.Fatal(err)
		}
		was, err := s.Pool(ctx, w.pool.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := node(1).SetPoolDisabled(ctx, testBy, was.ID, since); err != nil {
			t.Fatal(err)
		}
		if err := node(1).StopWarmup(ctx, testBy, address); err != nil {
			t.Fatal(err)
		}
		next := was
		next.Name = "renamed " + was.Name
		if err := s.SwapPool(ctx, testBy, was, next); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Pool(ctx, was.ID); err != nil || !p.DisabledAt.Equal(since) || p.Name != next.Name || !p.Addresses[0].Warmup.IsZero() {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// Again gives up: it never spins for good.
func TestAgainEnds(t *testing.T) {
	t.Parallel()
	n := 0
	err := Again(func() error { n++; return meanwhile("The account") })
	if n != maxAgain || !errors.Is(err, ErrMeanwhile) || relay.KindOf(err) != relay.Conflict {
		t.Errorf("%d times, %v", n, err)
	}
	n = 0
	taken := relay.E(relay.Conflict, "That name is taken.")
	if err := Again(func() error { n++; return taken }); n != 1 || !errors.Is(err, taken) {
		t.Errorf("%d times, %v", n, err)
	}
}
