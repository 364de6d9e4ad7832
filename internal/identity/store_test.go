package identity

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// watched is the store, counting how often all of it was read.
type watched struct {
	*store.Store
	full int
}

func (w *watched) Snapshot(ctx context.Context, since int64) (*store.Snapshot, error) {
	s, err := w.Store.Snapshot(ctx, since)
	if err == nil && s.Full {
		w.full++
	}
	return s, err
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestFollowsStore: after each kind of change in the real store the view by
// changes is the view of a fresh reader, and nothing is read whole.
func TestFollowsStore(t *testing.T) {
	t.Parallel()
	s := &watched{Store: openStore(t)}
	log, by, ctx := slog.New(slog.DiscardHandler), store.By{Who: "test", From: "test"}, t.Context()
	now := time.Now().UTC().Truncate(time.Millisecond)
	account := relay.Account{ID: relay.AccountID{ID: relay.NewID(now)}, Name: "acme", OwnerEmail: "a@acme.test", CreatedAt: now}
	account2 := relay.Account{ID: relay.AccountID{ID: relay.NewID(now)}, Name: "other", OwnerEmail: "a@other.test", CreatedAt: now}
	user := relay.Subuser{ID: relay.SubuserID{ID: relay.NewID(now)}, Account: account.ID, Name: "shop", Email: "s@acme.test", CreatedAt: now}
	key := func(n byte, sub relay.SubuserID) relay.Key {
		return relay.Key{
			ID: relay.KeyID{ID: relay.ID{0: n, 15: n}}, Account: account.ID, Subuser: sub, Kind: relay.KeyAPI, Name: "k", Mode: relay.KeyLive, CreatedAt: now,
			Scopes: []string{relay.ScopeMailSend}, Verifier: relay.Verifier{SHA256: [32]byte{n}, SCRAMSalt: make([]byte, 16), SCRAMIterations: 10_000, SCRAMStoredKey: make([]byte, 32), SCRAMServerKey: make([]byte, 32)},
		}
	}
	own, its := key(1, relay.SubuserID{}), key(2, user.ID)
	certificate := key(3, user.ID)
	certificate.Kind, certificate.Match = relay.KeyCertificate, &relay.KeyMatch{Fingerprint: "aa"}
	pool := relay.Pool{ID: relay.PoolID{ID: relay.NewID(now)}, Name: "default", CreatedAt: now}
	domain := relay.Domain{ID: relay.DomainID{ID: relay.NewID(now)}, Account: account.ID, Name: "acme.test", State: relay.DomainAsserted, CreatedAt: now}
	rival := relay.Domain{ID: relay.DomainID{ID: relay.NewID(now)}, Account: account2.ID, Name: "acme.test", State: relay.DomainPending, Token: "rival", CreatedAt: now}
	var single relay.SingleSender
	tenant := relay.Tenant{Account: account.ID, Subuser: user.ID}
	token := relay.TokenID{ID: relay.NewID(now)}

	if err := errors.Join(s.CreateAccount(ctx, by, account), s.CreateAccount(ctx, by, account2)); err != nil {
		t.Fatal(err)
	}
	d, err := Open(ctx, s, log)
	if err != nil {
		t.Fatal(err)
	}
	s.full = 0
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"create subuser", func() error { return s.CreateSubuser(ctx, by, user) }},
		{"create key", func() error { return s.CreateKey(ctx, by, own) }},
		{"create key of subuser", func() error { return s.CreateKey(ctx, by, its) }},
		{"create certificate key", func() error { return s.CreateKey(ctx, by, certificate) }},
		{"create pool", func() error { return s.CreatePool(ctx, by, pool) }},
		{"create domain", func() error { _, err := s.CreateDomain(ctx, by, domain); return err }},
		{"add DKIM key", func() error {
			return s.AddDKIMKey(ctx, by, relay.DKIMKey{Domain: domain.ID, Selector: "s1", Algorithm: relay.DKIMEd25519, Sealed: []byte{1}, Record: "v=DKIM1", CreatedAt: now})
		}},
		{"activate DKIM key", func() error { return s.SetDKIMKeyActive(ctx, by, domain.ID, "s1", true) }},
		{"rename account", func() error {
			was, err := s.Account(ctx, account.ID)
			if err != nil {
				return err
			}
			a := was
			a.Name = "acme2"
			return s.SwapAccount(ctx, by, was, a)
		}},
		{"disable subuser", func() error { return s.SetSubuserDisabled(ctx, by, user.ID, now) }},
		{"enable subuser", func() error { return s.SetSubuserDisabled(ctx, by, user.ID, time.Time{}) }},
		{"narrow key", func() error {
			was, err := s.Key(ctx, own.ID)
			k := was
			k.Networks = nets("192.0.2.0/24")
			return errors.Join(err, s.SwapKey(ctx, by, was, k))
		}},
		{"rotate key", func() error {
			v := own.Verifier
			v.SHA256 = [32]byte{9}
			return s.RotateKey(ctx, by, own.ID, v, now, now.Add(time.Hour))
		}},
		{"set access list", func() error {
			_, err := s.SetAccessList(ctx, by, relay.AccessList{Tenant: tenant, Rules: []relay.AccessRule{{Network: netip.MustParsePrefix("192.0.2.0/24"), CreatedAt: now, UpdatedAt: now}}})
			return err
		}},
		{"empty access list", func() error { _, err := s.SetAccessList(ctx, by, relay.AccessList{Tenant: tenant}); return err }},
		{"revoke token", func() error { return s.RevokeToken(ctx, by, account.ID, token, now.Add(time.Hour)) }},
		{"revoke key", func() error { return s.RevokeKey(ctx, by, own.ID, now) }},
		{"delete subuser", func() error { return s.DeleteSubuser(ctx, by, user.ID, now) }},
		{"its name again", func() error {
			u := user
			u.ID = relay.SubuserID{ID: relay.NewID(now)}
			return s.CreateSubuser(ctx, by, u)
		}},
		{"disable pool", func() error { return s.SetPoolDisabled(ctx, by, pool.ID, now) }},
		{"rival domain", func() error { _, err := s.CreateDomain(ctx, by, rival); return err }},
		{"it is disputed", func() error { _, err := s.ProveDomain(ctx, by, rival.ID, now); return err }},
		{"share domain", func() error { return s.SwapDomainSharing(ctx, by, domain, []relay.SubuserID{user.ID}, false) }},
		{"records gone", func() error {
			_, err := s.SetDomainState(ctx, by, domain.ID, relay.DomainStateChange{State: relay.DomainPaused, FailingSince: now, Reason: "r"})
			return err
		}},
		{"rival takes over", func() error { _, err := s.ProveDomain(ctx, by, rival.ID, now); return err }},
		{"delete rival", func() error { return s.DeleteDomain(ctx, by, rival.ID, now) }},
		{"create sender", func() (err error) {
			single, err = s.CreateSender(ctx, by, relay.SingleSender{Tenant: relay.Tenant{Account: account.ID}, Address: "a@else.test", Secret: []byte{1}, ValidUntil: now.Add(time.Hour), CreatedAt: now})
			return err
		}},
		{"verify sender", func() error { _, err := s.VerifySender(ctx, by, []byte{1}, now); return err }},
		{"delete sender", func() error { return s.DeleteSender(ctx, by, single.Number, now) }},
		{"disable domain", func() error { return s.SetDomainDisabled(ctx, by, domain.ID, now) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		before := d.state.Load().revision
		if !d.Fresh(ctx, time.Now()) || d.state.Load().revision == before {
			t.Errorf("%s: not seen", step.name)
		}
		fresh, err := Open(ctx, s.Store, log)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(dump(fresh.state.Load()), dump(d.state.Load()), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty(), gocmp.AllowUnexported(claim{}, mailbox{})); diff != "" {
			t.Fatalf("%s (-full +changes):\n%s", step.name, diff)
		}
	}
	if s.full != 0 {
		t.Errorf("everything was read %d times", s.full)
	}
	if k, ok := d.Key(its.ID); !ok || d.Alive(k, now) == relay.LoginOK || len(d.KeysOf(tenant)) != 0 || !d.Deleted(tenant) || !d.TokenRevoked(token) {
		t.Error("what was deleted or revoked is not")
	}
}

// TestRevocationIsSeen: with Run going, a revoked key is dead well within a
// second of the store's answer, without anybody asking for it.
func TestRevocationIsSeen(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	by, ctx, now := store.By{Who: "test", From: "test"}, t.Context(), time.Now()
	a := relay.Account{ID: relay.AccountID{ID: relay.NewID(now)}, Name: "acme", OwnerEmail: "a@acme.test", CreatedAt: now}
	k := relay.Key{ID: relay.KeyID{ID: relay.ID{5}}, Account: a.ID, Kind: relay.KeyAPI, Name: "k", Mode: relay.KeyLive, CreatedAt: now,
		Verifier: relay.Verifier{SCRAMSalt: make([]byte, 16), SCRAMIterations: 10_000, SCRAMStoredKey: make([]byte, 32), SCRAMServerKey: make([]byte, 32)}}
	if err := errors.Join(s.CreateAccount(ctx, by, a), s.CreateKey(ctx, by, k)); err != nil {
		t.Fatal(err)
	}
	d, err := Open(ctx, s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- d.Run(running) }()
	if err := s.RevokeKey(ctx, by, k.ID, now); err != nil {
		t.Fatal(err)
	}
	limit := time.NewTimer(time.Minute) // of the test; the promise is a second
	defer limit.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	asked := time.Now()
	for {
		if got, _ := d.Key(k.ID); d.Alive(got, now) == relay.LoginRevoked {
			break
		}
		select {
		case <-limit.C:
			t.Fatal("the key is still alive")
		case <-look.C:
		}
	}
	t.Logf("dead %v after the store's answer", time.Since(asked))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
