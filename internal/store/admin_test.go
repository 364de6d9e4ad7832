package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

var testBy = By{Who: "uid 0", From: "admin.sock"}

// world is one of each.
type world struct {
	account relay.Account
	subuser relay.Subuser
	key     relay.Key
	pool    relay.Pool
	domain  relay.Domain
	dkim    relay.DKIMKey
}

func newWorld(t testing.TB, s *Store) *world {
	t.Helper()
	ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
	id := func() relay.ID { return relay.NewID(time.Now()) }
	w := &world{}
	w.pool = relay.Pool{ID: relay.PoolID{ID: id()}, Name: "p " + id().String(), TLS: relay.TLSRequired, ReturnPathPerRecipient: true, CreatedAt: now,
		Retry: relay.Retry{Intervals: []time.Duration{time.Minute, time.Hour}, Lifetime: 24 * time.Hour},
		Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("2001:db8::9"), Helo: "b.example.test"},
			{Address: netip.MustParseAddr("192.0.2.1"), Helo: "a.example.test", DisabledAt: now}}}
	w.account = relay.Account{
		Policy: relay.Policy{MaxKeyLife: 90 * 24 * time.Hour, ForbidFullAccess: true, Mechanisms: []string{"SCRAM-SHA-256"}},
		Plan:   relay.Plan{Hour: 10, Over: relay.OverDefer, Credits: relay.Credits{Type: relay.CreditsRecurring, Reset: "weekly", Total: 5}}, Profile: relay.Profile{City: "K\u00f6ln"},
		ID: relay.AccountID{ID: id()}, Name: "acme " + id().String(), OwnerEmail: "o@example.test", TimeZone: "Europe/Berlin",
		DefaultPool: w.pool.ID, TLS: relay.TLSVerified, Retry: relay.Retry{DelayNotice: time.Hour}, CreatedAt: now}
	w.subuser = relay.Subuser{ID: relay.SubuserID{ID: id()}, Account: w.account.ID, Name: "sub " + id().String(), Email: "s@example.test", CreatedAt: now,
		TLS: relay.TLSRequired, Plan: relay.Plan{Recipients: 7}, Profile: relay.Profile{Company: "Acme"}, ConsoleDisabledAt: now}
	w.key = relay.Key{ID: relay.KeyID{ID: id()}, Account: w.account.ID, Subuser: w.subuser.ID, Kind: relay.KeyAppPassword, Login: "dev-" + id().String(), Name: "k",
		Match: &relay.KeyMatch{Issuer: "https://issuer.test", Claims: map[string]string{"sub": "ci*"}}, Hosts: []string{"office.example.test"}, CreatedBy: "uid 0", Scopes: []string{"mail.send"},
		Verifier: relay.Verifier{SHA256: [32]byte{1}, SCRAMSalt: []byte("salt"), SCRAMIterations: 10_000, SCRAMStoredKey: []byte("st"), SCRAMServerKey: []byte("se"), SealedCRAM: []byte("c")},
		Mode:     relay.KeyLive, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Senders: []string{"a@example.test"},
		RecipientDomains: []string{"b.test"}, PerMinute: 1, PerHour: 2, PerDay: 3, PerMonth: 4, Hours: "mon-fri 08-18", Canary: true, ExpiresAt: now.Add(time.Hour), CreatedAt: now}
	w.domain = relay.Domain{ID: relay.DomainID{ID: id()}, Account: w.account.ID, Name: "d" + fmt.Sprint(now.UnixNano()) + ".test", State: relay.DomainAsserted,
		AssertedBy: "uid 0", Reason: "r", Token: id().String(), Automatic: true, Label: "em", Selector: "org", KeyBits: 4096, Rotate: 30 * 24 * time.Hour, Reveal: true,
		CustomSPF: true, Default: true, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, Quiet: true, VerifiedAt: now, FailingSince: now,
		Subdomains: true, Subusers: []relay.SubuserID{w.subuser.ID}, ReturnPath: "bounce.example.test", CreatedAt: now}
	w.dkim = relay.DKIMKey{Domain: w.domain.ID, Selector: "s1", Algorithm: relay.DKIMRSA, Bits: 2048, Generation: 1, Sealed: []byte("sealed"), Record: "v=DKIM1; p=x",
		Active: true, Imported: true, CreatedAt: now, SeenAt: now, ActivatedAt: now}
	for _, err := range []error{
		s.CreatePool(ctx, testBy, w.pool), s.CreateAccount(ctx, testBy, w.account), s.CreateSubuser(ctx, testBy, w.subuser),
		s.CreateKey(ctx, testBy, w.key),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.CreateDomain(ctx, testBy, w.domain, w.dkim)
	if err != nil {
		t.Fatal(err)
	}
	w.domain.Number = d.Number
	same(t, "domain as created", w.domain, d, nil)
	w.account.Number, w.subuser.Number = numbers(t, s, w)
	return w
}

// numbers reads what the store has numbered.
func numbers(t testing.TB, s *Store, w *world) (account, subuser int64) {
	t.Helper()
	a, aErr := s.Account(context.Background(), w.account.ID)
	u, uErr := s.Subuser(context.Background(), w.subuser.ID)
	if err := errors.Join(aErr, uErr); err != nil || a.Number <= 0 || u.Number <= 0 || a.Number == u.Number {
		t.Fatalf("numbers %d and %d, %v", a.Number, u.Number, err)
	}
	return a.Number, u.Number
}

// created is the error of making something.
func created[T any](_ T, err error) error { return err }

// same fails when a reading differs from what was written.
func same[T any](t testing.TB, what string, want, got T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if d := cmp.Diff(want, got, sameAddr); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestAdministrationRoundTrip(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg) // not running: administration needs no writer
		ctx := context.Background()
		w := newWorld(t, s)
		other := newWorld(t, s)
		check := func() {
			t.Helper()
			a, err := s.Account(ctx, w.account.ID)
			same(t, "account", w.account, a, err)
			u, err := s.Subuser(ctx, w.subuser.ID)
			same(t, "subuser", w.subuser, u, err)
			k, err := s.Key(ctx, w.key.ID)
			same(t, "key", w.key, k, err)
			p, err := s.Pool(ctx, w.pool.ID)
			same(t, "pool", w.pool, p, err)
			d, err := s.Domain(ctx, w.domain.ID)
			same(t, "domain", w.domain, d, err)
			ks, err := s.DKIMKeys(ctx, w.domain.ID)
			same(t, "DKIM keys", []relay.DKIMKey{w.dkim}, ks, err)
			subs, err := s.Subusers(ctx, w.account.ID)
			same(t, "subusers", []relay.Subuser{w.subuser}, subs, err)
			keys, err := s.Keys(ctx, w.account.ID)
			same(t, "keys", []relay.Key{w.key}, keys, err)
			domains, err := s.Domains(ctx, w.account.ID)
			same(t, "domains", []relay.Domain{w.domain}, domains, err)
		}
		check()
		if all, err := s.Accounts(ctx); err != nil || len(all) != 2 {
			t.Errorf("accounts: %d, %v", len(all), err)
		}
		if all, err := s.Pools(ctx); err != nil || len(all) != 2 || len(all[0].Addresses) != 2 {
			t.Errorf("pools: %+v, %v", all, err)
		}
		off := time.Now().UTC().Truncate(time.Microsecond)
		w.account.OwnerEmail, w.subuser.Email, w.key.Name, w.pool.Addresses, w.domain.Rotate = "n@example.test", "n@example.test", "n", w.pool.Addresses[1:], -time.Microsecond
		for what, err := range map[string]error{
			"account": editAccount(s, w.account), "subuser": editSubuser(s, w.subuser), "key": editKey(t, s, w.key),
			"pool": editPool(s, w.pool), "domain": editDomain(s, w.domain),
		} {
			if err != nil {
				t.Errorf("update %s: %v", what, err)
			}
		}
		check()
		w.account.DisabledAt, w.subuser.DisabledAt, w.key.DisabledAt, w.pool.DisabledAt, w.domain.DisabledAt, w.dkim.Active = off, off, off, off, off, false
		for what, err := range map[string]error{
			"account": s.SetAccountDisabled(ctx, testBy, w.account.ID, off), "subuser": s.SetSubuserDisabled(ctx, testBy, w.subuser.ID, off),
			"key": s.SetKeyDisabled(ctx, testBy, w.key.ID, off), "pool": s.SetPoolDisabled(ctx, testBy, w.pool.ID, off),
			"domain": s.SetDomainDisabled(ctx, testBy, w.domain.ID, off), "dkim": s.SetDKIMKeyActive(ctx, testBy, w.domain.ID, "s1", false),
		} {
			if err != nil {
				t.Errorf("disable %s: %v", what, err)
			}
		}
		check()
		before := w.key.Verifier
		w.key.Previous, w.key.PreviousUntil, w.key.RotatedAt = &before, off.Add(time.Hour), off
		w.key.Verifier = relay.Verifier{SHA256: [32]byte{2}, SCRAMSalt: before.SCRAMSalt, SCRAMIterations: before.SCRAMIterations, SCRAMStoredKey: []byte("s2"), SCRAMServerKey: []byte("v2")}
		if err := s.RotateKey(ctx, testBy, w.key.ID, w.key.Verifier, off, off.Add(time.Hour)); err != nil {
			t.Error(err)
		}
		check()
		w.key.RevokedAt, w.key.Previous, w.key.PreviousUntil, w.dkim.RetiredAt = off, nil, time.Time{}, off
		if err := errors.Join(s.RevokeKey(ctx, testBy, w.key.ID, off), s.RetireDKIMKey(ctx, testBy, w.domain.ID, "s1", off)); err != nil {
			t.Error(err)
		}
		check()
		// The other account was never touched.
		a, err := s.Account(ctx, other.account.ID)
		same(t, "other account", other.account, a, err)
		if p, err := s.VerifyChanges(ctx, w.account.ID); err != nil || p.Records < 12 {
			t.Errorf("chain of %d, %v", p.Records, err)
		}
	})
}

func TestAdministrationErrors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx := context.Background()
		w, other := newWorld(t, s), newWorld(t, s)
		fresh := func() relay.ID { return relay.NewID(time.Now()) }
		rev := s.Revision()
		account, subuser, pool, domain, key := w.account, w.subuser, w.pool, w.domain, w.key
		account.ID.ID, subuser.ID.ID, pool.ID.ID, domain.ID.ID, key.ID.ID = fresh(), fresh(), fresh(), fresh(), fresh()
		stolen, foreign, orphan, sharing := domain, key, w.subuser, other.domain
		stolen.Account, stolen.Subusers, stolen.Token = other.account.ID, nil, "another"
		foreign.Subuser = other.subuser.ID
		orphan.ID.ID, orphan.Name, orphan.Account.ID = fresh(), "orphan", fresh()
		sharing.Subusers = []relay.SubuserID{w.subuser.ID}
		for _, c := range []struct {
			what string
			err  error
			want relay.Kind
		}{
			{"account of the same name", s.CreateAccount(ctx, testBy, account), relay.Conflict},
			{"account of the same id", s.CreateAccount(ctx, testBy, w.account), relay.Conflict},
			{"subuser of the same name", s.CreateSubuser(ctx, testBy, subuser), relay.Conflict},
			{"pool of the same name", s.CreatePool(ctx, testBy, pool), relay.Conflict},
			{"same domain again", created(s.CreateDomain(ctx, testBy, domain)), relay.Conflict},
			{"another account's usable domain", created(s.CreateDomain(ctx, testBy, stolen)), relay.Conflict},
			{"same selector", s.AddDKIMKey(ctx, testBy, w.dkim), relay.Conflict},
			{"subuser without account", s.CreateSubuser(ctx, testBy, orphan), relay.NotFound},
			{"key of another account's subuser", s.CreateKey(ctx, testBy, foreign), relay.NotFound},
			{"domain shared with another account's subuser", share(s, sharing.ID, sharing.Subusers, false), relay.NotFound},
			{"update of no account", s.SetAccountDisabled(ctx, testBy, account.ID, time.Now()), relay.NotFound},
			{"update of no key", s.RevokeKey(ctx, testBy, key.ID, time.Now()), relay.NotFound},
			{"selector of no domain", s.SetDKIMKeyActive(ctx, testBy, domain.ID, "s1", true), relay.NotFound},
			{"no selector", s.RetireDKIMKey(ctx, testBy, w.domain.ID, "s9", time.Now()), relay.NotFound},
		} {
			if relay.KindOf(c.err) != c.want {
				t.Errorf("%s: %v, want %v", c.what, c.err, c.want)
			}
			if e, ok := errors.AsType[*relay.Error](c.err); ok && e.Public == "" {
				t.Errorf("%s: no public text", c.what)
			}
		}
		if s.Revision() != rev {
			t.Error("refused changes raised the revision")
		}
		// An unproven claim keeps nobody out, and a domain that is off neither.
		stolen.State = relay.DomainPending
		if _, err := s.CreateDomain(ctx, testBy, stolen); err != nil {
			t.Errorf("claim of another's domain: %v", err)
		}
		if err := s.SetDomainDisabled(ctx, testBy, w.domain.ID, time.Now()); err != nil {
			t.Error(err)
		}
		if _, err := s.ProveDomain(ctx, testBy, stolen.ID, time.Now()); err != nil {
			t.Errorf("after the owner switched it off: %v", err)
		}
		if err := s.SetDomainDisabled(ctx, testBy, w.domain.ID, time.Time{}); relay.KindOf(err) != relay.Conflict {
			t.Errorf("switched on again: %v", err)
		}
	})
}

func TestSnapshotAndRevision(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		changed := s.Changed()
		w := newWorld(t, s)
		select {
		case <-changed:
		default:
			t.Error("no word of the change")
		}
		snap, err := s.Snapshot(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := &Snapshot{Revision: s.Revision(), Full: true, Accounts: []relay.Account{w.account}, Subusers: []relay.Subuser{w.subuser}, Keys: []relay.Key{w.key},
			Pools: []relay.Pool{w.pool}, Domains: []relay.Domain{w.domain}, DKIMKeys: []relay.DKIMKey{w.dkim}}
		same(t, "snapshot", want, snap, nil)
		changed = s.Changed()
		s.RecordKeyUse(w.key.ID, time.Now(), netip.MustParseAddr("192.0.2.5"), "PLAIN", "client.test", false)
		if err := s.SetKeyDisabled(ctx, testBy, w.key.ID, time.Now()); err != nil {
			t.Fatal(err)
		}
		<-changed
		if s.Revision() <= snap.Revision || time.Since(s.LastChecked()) > time.Second {
			t.Errorf("revision %d after %d, checked %v", s.Revision(), snap.Revision, s.LastChecked())
		}
	})
}

func TestChangesAreChained(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx := context.Background()
		w := newWorld(t, s)
		for i := range 5 {
			if err := s.SetKeyDisabled(ctx, testBy, w.key.ID, time.Unix(int64(i), 0)); err != nil {
				t.Fatal(err)
			}
		}
		all, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID})
		if err != nil || len(all) != 9 || all[0].Action != "account.create" || all[0].By != "uid 0" || all[0].From != "admin.sock" {
			t.Fatalf("changes %+v, %v", all, err)
		}
		if last, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID, Newest: true, Limit: 2}); err != nil || len(last) != 2 || last[1].Seq != 9 {
			t.Errorf("newest: %+v, %v", last, err)
		}
		if rest, err := s.Changes(ctx, ChangeFilter{After: all[6].ID, Action: "key.disable"}); err != nil || len(rest) != 2 {
			t.Errorf("after a cursor: %d, %v", len(rest), err)
		}
		tamper := func(query string) {
			t.Helper()
			if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.Exec(query, blob(w.account.ID.ID))
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		tamper(`UPDATE changes SET who = 'nobody' WHERE account_id = $1 AND seq = 4`)
		if p, err := s.VerifyChanges(ctx, w.account.ID); !errors.Is(err, ErrDamaged) || p.Records != 3 {
			t.Errorf("changed record: %d sound, %v", p.Records, err)
		}
		tamper(`UPDATE changes SET who = 'uid 0' WHERE account_id = $1 AND seq = 4`)
		if _, err := s.VerifyChanges(ctx, w.account.ID); err != nil {
			t.Error(err)
		}
		tamper(`DELETE FROM changes WHERE account_id = $1 AND seq = 9`)
		if _, err := s.VerifyChanges(ctx, w.account.ID); !errors.Is(err, ErrDamaged) {
			t.Errorf("last record gone: %v", err)
		}
	})
}
