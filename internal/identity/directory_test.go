package identity

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

type fakeSource struct {
	mu      sync.Mutex
	snap    store.Snapshot
	rev     int64
	checked time.Time
	fail    error
	reads   int
	ch      chan struct{}
}

func (s *fakeSource) Snapshot(context.Context, int64) (*store.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.fail != nil {
		return nil, s.fail
	}
	c := s.snap
	c.Revision, c.Full = s.rev, true
	return &c, nil
}
func (s *fakeSource) Revision() int64 { s.mu.Lock(); defer s.mu.Unlock(); return s.rev }
func (s *fakeSource) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}
func (s *fakeSource) LastChecked() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.checked }

func (s *fakeSource) change(f func(*store.Snapshot)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.snap)
	s.rev++
	close(s.ch)
	s.ch = make(chan struct{})
}

var (
	acme  = relay.AccountID{ID: relay.ID{1}}
	other = relay.AccountID{ID: relay.ID{2}}
	sub   = relay.SubuserID{ID: relay.ID{3}}
	sub2  = relay.SubuserID{ID: relay.ID{4}}
	t0    = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
)

func source() *fakeSource {
	pool := func(n byte, account relay.AccountID, name string, at time.Time) relay.Pool {
		return relay.Pool{ID: relay.PoolID{ID: relay.ID{n}}, Account: account, Name: name, CreatedAt: at}
	}
	domain := func(n byte, a relay.AccountID, name string, st relay.DomainState) relay.Domain {
		return relay.Domain{ID: relay.DomainID{ID: relay.ID{n}}, Account: a, Name: name, State: st, AllSubusers: true}
	}
	wide := domain(3, acme, "wide.test", relay.DomainVerified)
	wide.Subdomains = true
	shared := domain(4, acme, "shared.test", relay.DomainAsserted)
	shared.Subusers, shared.AllSubusers = []relay.SubuserID{sub}, false
	shared.ReturnPath = "em.shared.test"
	system := domain(5, other, "relay.test", relay.DomainAsserted)
	system.System = true
	return &fakeSource{rev: 1, checked: t0, ch: make(chan struct{}), snap: store.Snapshot{
		Accounts: []relay.Account{{ID: acme, Name: "acme", DefaultPool: relay.PoolID{ID: relay.ID{13}}}, {ID: other, Name: "postern", System: true}},
		Subusers: []relay.Subuser{{ID: sub, Account: acme}, {ID: sub2, Account: acme, DefaultPool: relay.PoolID{ID: relay.ID{12}}}},
		Keys:     []relay.Key{{ID: relay.KeyID{ID: relay.ID{7}}, Account: acme}},
		Pools: []relay.Pool{pool(11, relay.AccountID{}, "default", t0), pool(12, relay.AccountID{}, "bulk", t0.Add(time.Hour)),
			pool(13, acme, "own", t0), pool(14, acme, "bulk", t0)},
		Domains:  []relay.Domain{domain(1, acme, "acme.test", relay.DomainAsserted), domain(2, acme, "pending.test", relay.DomainPending), wide, shared, system},
		DKIMKeys: []relay.DKIMKey{{Domain: relay.DomainID{ID: relay.ID{1}}, Selector: "s1", Active: true}, {Domain: relay.DomainID{ID: relay.ID{1}}, Selector: "s1e"}},
	}}
}

func open(t *testing.T, s *fakeSource) *Directory {
	t.Helper()
	d, err := Open(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDomainFor(t *testing.T) {
	d := open(t, source())
	main, s1, s2 := relay.Tenant{Account: acme}, relay.Tenant{Account: acme, Subuser: sub}, relay.Tenant{Account: acme, Subuser: sub2}
	tests := []struct {
		who  relay.Tenant
		name string
		want string
	}{
		{main, "acme.test", "acme.test"}, {s2, "acme.test", "acme.test"}, {main, "mail.acme.test", ""}, {main, "test", ""}, {main, "", ""},
		{main, "pending.test", ""}, {relay.Tenant{Account: other}, "acme.test", ""},
		{main, "wide.test", "wide.test"}, {main, "a.b.wide.test", "wide.test"}, {main, "notwide.test", ""},
		{main, "shared.test", "shared.test"}, {s1, "shared.test", "shared.test"}, {s2, "shared.test", ""},
	}
	for _, tt := range tests {
		got, ok := d.DomainFor(tt.who, tt.name)
		if ok != (tt.want != "") || got.Name != tt.want {
			t.Errorf("%v %q: %q %v, want %q", tt.who, tt.name, got.Name, ok, tt.want)
		}
	}
	if !d.IsReturnPath("em.shared.test") || !d.IsReturnPath("relay.test") || d.IsReturnPath("acme.test") {
		t.Error("return path hosts are wrong")
	}
	if k := d.DKIMKeys(relay.DomainID{ID: relay.ID{1}}); len(k) != 1 || k[0].Selector != "s1" {
		t.Errorf("active keys %v", k)
	}
}

func TestPools(t *testing.T) {
	d := open(t, source())
	for who, want := range map[relay.Tenant]string{
		{Account: acme}: "own", {Account: acme, Subuser: sub}: "own", {Account: acme, Subuser: sub2}: "bulk", {Account: other}: "default",
	} {
		if p, ok := d.DefaultPool(who); !ok || p.Name != want {
			t.Errorf("%v: %q, want %q", who, p.Name, want)
		}
	}
	if p, _ := d.PoolNamed(acme, "bulk"); p.ID.ID[0] != 14 {
		t.Errorf("an account's own pool does not win: %v", p)
	}
	if p, ok := d.PoolNamed(other, "own"); ok {
		t.Errorf("another account's pool was given: %v", p)
	}
}

func TestSendingAndAlive(t *testing.T) {
	s := source()
	d := open(t, s)
	k, _ := d.Key(relay.KeyID{ID: relay.ID{7}})
	if r := d.Alive(k, t0); r != relay.LoginOK {
		t.Errorf("good key: %v", r)
	}
	expiring := *k
	expiring.ExpiresAt = t0
	for name, tt := range map[string]struct {
		k    relay.Key
		want relay.LoginResult
	}{
		"expired at its very moment": {expiring, relay.LoginExpired},
		"revoked":                    {relay.Key{Account: acme, RevokedAt: t0}, relay.LoginRevoked},
		"disabled":                   {relay.Key{Account: acme, DisabledAt: t0}, relay.LoginDisabled},
		"canary":                     {relay.Key{Account: acme, Canary: true}, relay.LoginCanary},
		"account is gone":            {relay.Key{Account: relay.AccountID{ID: relay.ID{99}}}, relay.LoginDisabled},
		"subuser of another account": {relay.Key{Account: other, Subuser: sub}, relay.LoginDisabled},
	} {
		if r := d.Alive(&tt.k, t0); r != tt.want {
			t.Errorf("%s: %v, want %v", name, r, tt.want)
		}
	}
	s.change(func(sn *store.Snapshot) {
		sn.Accounts = []relay.Account{{ID: acme, DisabledAt: t0}}
	})
	if !d.Fresh(t.Context(), t0) {
		t.Error("a change makes the view stale for good")
	}
	if ok, why := d.Sending(relay.Tenant{Account: acme}); ok || why == "" {
		t.Errorf("disabled account: %v %q", ok, why)
	}
}

func TestFresh(t *testing.T) {
	s := source()
	d := open(t, s)
	if !d.Fresh(t.Context(), t0.Add(time.Second)) {
		t.Error("one second old")
	}
	if d.Fresh(t.Context(), t0.Add(time.Second+time.Millisecond)) {
		t.Error("older than a second")
	}
	s.fail = errors.New("away")
	s.change(func(*store.Snapshot) {})
	if d.Fresh(t.Context(), t0) {
		t.Error("a known change that cannot be read")
	}
}

func TestRunFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := source()
		d := open(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		s.mu.Lock()
		s.fail = errors.New("away")
		s.mu.Unlock()
		s.change(func(sn *store.Snapshot) { sn.Keys = nil })
		time.Sleep(time.Second)
		if _, ok := d.Key(relay.KeyID{ID: relay.ID{7}}); !ok {
			t.Error("the view was dropped when it could not be read")
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		time.Sleep(time.Second)
		if _, ok := d.Key(relay.KeyID{ID: relay.ID{7}}); ok {
			t.Error("a removed key is still there")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
