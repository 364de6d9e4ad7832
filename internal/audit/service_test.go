package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

var by = store.By{Who: "uid 0", From: "admin.sock"}

// office is a real store with two accounts: the operator's own, and acme.
type office struct {
	t       *testing.T
	s       *store.Store
	mu      sync.Mutex
	now     time.Time
	letters []Letter
	fail    error
	first   relay.Account
	acme    relay.Account
	service *Service
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, now: time.Now().UTC().Truncate(time.Second)}
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	if o.s, _, err = store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, MinFree: -1}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, o.s.Close()); err != nil {
			t.Error(err)
		}
	})
	account := func(name string, system bool, p relay.Policy) relay.Account {
		a := relay.Account{ID: relay.AccountID{ID: relay.NewID(o.now)}, Name: name, OwnerEmail: "ops@" + name + ".example", TimeZone: "Europe/Berlin", System: system, Policy: p, CreatedAt: o.now}
		o.must(o.s.CreateAccount(t.Context(), by, a))
		return a
	}
	account("system", true, relay.Policy{})
	o.first = account("main", false, relay.Policy{})
	o.acme = account("acme", false, relay.Policy{MaxKeyLife: 90 * day, ForbidFullAccess: true, RequireNetworks: true})
	o.service = New(Config{
		Store: o.s, Now: o.clock,
		Settings: func() []Setting {
			return []Setting{{Name: "tls.minimum", Value: "1.1", Recommended: "1.2", Why: "Old."}}
		},
		Components: func() []Component { return []Component{{Name: ComponentSelf, Version: "1.0", Released: o.now}} },
		Exported:   func(context.Context, relay.AccountID) (bool, error) { return true, nil },
		Mail: func(_ context.Context, l Letter) error {
			o.letters = append(o.letters, l)
			return o.fail
		},
	})
	return o
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// schedule sets when acme's report is made.
func (o *office) schedule(v Schedule) (Schedule, error) {
	return o.service.EditSchedule(o.t.Context(), by, o.acme.ID, func(s *Schedule) error { *s = v; return nil })
}

// furnish puts acme in order: what is made here has nothing to find.
func (o *office) furnish() {
	o.t.Helper()
	ctx := o.t.Context()
	_, err := o.schedule(Schedule{Every: Monthly, To: []string{"ops@acme.example"}, Options: Options{}.Filled()})
	o.must(err)
	_, err = o.s.SetAccessList(ctx, by, relay.AccessList{Tenant: relay.Tenant{Account: o.acme.ID}, Rules: []relay.AccessRule{{Network: netip.MustParsePrefix("192.0.2.0/24")}}})
	o.must(err)
}

func (o *office) key(change func(k *relay.Key)) relay.Key {
	o.t.Helper()
	k := relay.Key{
		ID: relay.KeyID{ID: relay.NewID(o.now)}, Account: o.acme.ID, Kind: relay.KeyAPI, Name: "web", Scopes: []string{relay.ScopeMailSend}, Mode: relay.KeyLive,
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Senders: []string{"acme.example"}, CreatedAt: o.now.Add(-day), ExpiresAt: o.now.Add(60 * day),
		Verifier: relay.Verifier{SHA256: [32]byte{1}, SCRAMSalt: make([]byte, 16), SCRAMIterations: 10_000, SCRAMStoredKey: make([]byte, 32), SCRAMServerKey: make([]byte, 32)},
	}
	change(&k)
	o.must(o.s.CreateKey(o.t.Context(), by, k))
	return k
}

func (o *office) report(a relay.Account) *Report {
	o.t.Helper()
	r, err := o.service.Report(o.t.Context(), a.ID)
	o.must(err)
	return r
}

// A flawed account, made in a real store by the calls that the API makes: the
// report lists exactly what was planted, and mending all of it gives the full score.
func TestFlawedAccount(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := t.Context()
	o.furnish()
	if r := o.report(o.acme); r.Score != FullScore || len(r.Findings) != 0 || r.Installation {
		t.Fatalf("in order: %d, %q", r.Score, ids(r))
	}
	never := o.key(func(k *relay.Key) { k.CreatedAt = o.now.Add(-10 * day) })
	wideOpen := o.key(func(k *relay.Key) {
		k.Networks, k.Senders, k.ExpiresAt, k.Scopes = nil, nil, time.Time{}, relay.FullAccess()
	})
	stale := o.key(func(*relay.Key) {})
	o.key(func(*relay.Key) {}) // a sound one
	person := relay.User{ID: relay.UserID{ID: relay.NewID(o.now)}, Account: o.acme.ID, Username: "ann", Email: "ann@acme.example", Role: relay.RoleOwner, Password: "$argon2id$x", CreatedAt: o.now.Add(-100 * day)}
	o.must(o.s.CreateUser(ctx, by, person))
	o.must(o.s.CreateLink(ctx, by, relay.Link{Hash: [32]byte{1}, Kind: relay.LinkInvite, Account: o.acme.ID, Email: "ben@acme.example", Role: relay.RoleAuditor,
		CreatedAt: o.now.Add(-9 * day), CreatedBy: "ann", ExpiresAt: o.now.Add(-2 * day)}))
	d, err := o.s.CreateDomain(ctx, by, relay.Domain{ID: relay.DomainID{ID: relay.NewID(o.now)}, Account: o.acme.ID, Name: "acme.example", State: relay.DomainAsserted, Token: "t", CreatedAt: o.now},
		relay.DKIMKey{Selector: "s1", Algorithm: relay.DKIMRSA, Bits: 1024, Sealed: []byte("x"), Active: true, CreatedAt: o.now})
	o.must(err)
	o.must(o.s.PutDomainCheck(ctx, relay.DomainCheck{Domain: d.ID, At: o.now, Policy: "none", SPFAligned: "relaxed", DKIMAligned: "strict"}))
	o.s.RecordLogin(relay.Login{At: o.now, Protocol: "smtp", Key: stale.ID, Tenant: relay.Tenant{Account: o.acme.ID}, Addr: netip.MustParseAddr("192.0.2.4"), Helo: "old.acme.example",
		Mechanism: "CRAM-MD5", TLS: "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Result: relay.LoginOK})
	o.must(o.service.waitForLogins(ctx, o.s, o.acme.ID, 1))
	_, err = o.s.SetAccessList(ctx, by, relay.AccessList{Tenant: relay.Tenant{Account: o.acme.ID}, Rules: []relay.AccessRule{{Network: netip.MustParsePrefix("0.0.0.0/0")}}, Monitor: true})
	o.must(err)

	want := []string{
		"key_never_used " + never.ID.String(),
		"key_networks " + wideOpen.ID.String(), "key_senders " + wideOpen.ID.String(), "key_no_expiry " + wideOpen.ID.String(), "key_full_access " + wideOpen.ID.String(),
		"client_mechanism " + stale.ID.String(), "client_stale " + stale.ID.String(),
		"owner_no_second_factor " + person.ID.String(), "person_unseen " + person.ID.String(),
		"invitation_open invite/" + o.now.Add(-9*day).Format("20060102T150405.000000Z") + "/ben@acme.example",
		"domain_asserted " + d.ID.String(), "domain_dmarc " + d.ID.String(), "dkim_short " + d.ID.String() + "/s1",
		"access_open account", "access_monitor account",
	}
	slices.Sort(want)
	r := o.report(o.acme)
	if diff := cmp.Diff(want, ids(r)); diff != "" {
		t.Errorf("findings (want, got): %s", diff)
	}
	if len(r.Senders) != 4 || len(r.People) != 1 || len(r.Clients) != 1 || len(r.Domains) != 1 || len(r.Lists) != 1 || len(r.Components) != 0 {
		t.Errorf("tables: %d keys, %d people, %d programs, %d domains, %d lists, %d parts", len(r.Senders), len(r.People), len(r.Clients), len(r.Domains), len(r.Lists), len(r.Components))
	}
	// Each key that is revoked adds the weights of its findings.
	score := r.Score
	for _, k := range []relay.Key{never, wideOpen, stale} {
		for _, v := range r.Findings {
			if v.Subject.ID == k.ID.String() {
				score += v.Weight
			}
		}
		o.must(o.s.RevokeKey(ctx, by, k.ID, o.now))
		if got := o.report(o.acme).Score; got != score {
			t.Errorf("after %s is revoked: %d, want %d", k.ID, got, score)
		}
	}
}

// waitForLogins waits until the store has written its records.
func (s *Service) waitForLogins(ctx context.Context, from *store.Store, account relay.AccountID, n int) error {
	for {
		all, err := from.Logins(ctx, store.LoginFilter{Account: account})
		if err != nil || len(all) >= n {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// The first account's report speaks of the installation; another account, made
// later, moves nobody's score, and sees nothing of the host.
func TestInstallation(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	r := o.report(o.first)
	var names []string
	for _, c := range r.Components {
		names = append(names, c.Name)
	}
	if !r.Installation || !slices.Contains(ids(r), "setting_weak tls.minimum") || !slices.Equal(names, []string{"postern", "SQLite"}) || r.Components[1].Released.IsZero() {
		t.Errorf("the first account's: %v, %q, %+v", r.Installation, ids(r), r.Components)
	}
	o.must(o.s.CreateAccount(t.Context(), by, relay.Account{ID: relay.AccountID{ID: relay.NewID(o.now)}, Name: "third", OwnerEmail: "a@b.example", TimeZone: "UTC", CreatedAt: o.now}))
	if again := o.report(o.first); again.Score != r.Score {
		t.Errorf("another account moved the score from %d to %d", r.Score, again.Score)
	}
	if r := o.report(o.acme); r.Installation || len(r.Components) > 0 || slices.ContainsFunc(r.Findings, func(v Finding) bool { return v.Section == SectionSettings || v.Section == SectionVersions }) {
		t.Errorf("acme's: %q", ids(r))
	}
	if _, err := o.service.Report(t.Context(), relay.AccountID{ID: relay.NewID(o.now)}); relay.KindOf(err) != relay.NotFound {
		t.Errorf("of nobody: %v", err)
	}
}

func TestKeepAndFind(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := t.Context()
	kept, err := o.service.Keep(ctx, by, o.acme.ID)
	o.must(err)
	list, err := o.service.Kept(ctx, o.acme.ID, 10)
	if err != nil || !slices.Equal(list, []Kept{kept}) {
		t.Errorf("kept %+v, %v; want %+v", list, err, kept)
	}
	found, err := o.service.Find(ctx, o.acme.ID, kept.ID)
	o.must(err)
	now := o.report(o.acme)
	now.ID = kept.ID
	// Keeping it is one change more in the chain.
	now.Trail.Records--
	if diff := cmp.Diff(now, found, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("kept (now, found): %s", diff)
	}
	for _, id := range []string{"x", relay.NewID(o.now).String()} {
		if _, err := o.service.Find(ctx, o.acme.ID, id); relay.KindOf(err) != relay.NotFound {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := o.service.Find(ctx, o.first.ID, kept.ID); relay.KindOf(err) != relay.NotFound {
		t.Errorf("by another account: %v", err)
	}
}

// A report that is too large is kept without the ends of its tables, and says so.
func TestPackIsBounded(t *testing.T) {
	t.Parallel()
	r := Judge(sound())
	rng := rand.NewChaCha8([32]byte{})
	noise := func(n int) string { // does not compress much
		b := make([]byte, n)
		_, _ = rng.Read(b)
		return base64.StdEncoding.EncodeToString(b)
	}
	for range 2500 {
		r.Senders = append(r.Senders, SenderRow{Name: noise(1000)})
		r.Findings = append(r.Findings, Finding{ID: noise(100), Text: noise(1500)})
	}
	n := len(r.Senders)
	body, err := pack(r)
	if err != nil || len(body) > maxPacked {
		t.Fatalf("%d octets, %v", len(body), err)
	}
	back, err := unpack(body)
	if err != nil || back.Cut != n-len(back.Senders) || back.Cut == 0 || back.Omitted+len(back.Findings) != 2500 || len(r.Senders) != n {
		t.Errorf("cut %d of %d, omitted %d, %v", back.Cut, n, back.Omitted, err)
	}
	for _, bad := range [][]byte{nil, []byte("x"), body[:len(body)/2]} {
		if _, err := unpack(bad); err == nil {
			t.Errorf("%d octets of nonsense are a report", len(bad))
		}
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		every       Every
		after, want string
	}{
		{Weekly, "2026-11-22T12:00:00Z", "2026-11-23T05:00:00Z"},  // a Sunday
		{Weekly, "2026-11-23T04:59:59Z", "2026-11-23T05:00:00Z"},  // that Monday, early
		{Weekly, "2026-11-23T05:00:00Z", "2026-11-30T05:00:00Z"},  // that Monday, made
		{Monthly, "2026-11-22T12:00:00Z", "2026-12-01T05:00:00Z"}, // over the end of a year, and summer time
		{Monthly, "2026-12-01T05:00:00Z", "2027-01-01T05:00:00Z"},
		{Monthly, "2026-06-30T23:00:00Z", "2026-07-01T04:00:00Z"},
		{Never, "2026-11-22T12:00:00Z", "0001-01-01T00:00:00Z"},
		{"", "2026-11-22T12:00:00Z", "0001-01-01T00:00:00Z"},
	} {
		after, _ := time.Parse(time.RFC3339, test.after)
		s := Schedule{Every: test.every}
		next := s.Next(after, berlin)
		if got := next.Format(time.RFC3339); got != test.want {
			t.Errorf("%s after %s: %s, want %s", test.every, test.after, got, test.want)
		}
		if s.NextAt = next; !next.IsZero() && (s.Due(next.Add(-time.Second)) || !s.Due(next)) || next.IsZero() && s.Due(after) {
			t.Errorf("%s: due at the wrong time", test.every)
		}
	}
}

func TestRunDue(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	ctx := t.Context()
	run := func(want int) {
		t.Helper()
		o.letters = nil
		err := o.service.RunDue(ctx)
		if (err != nil) != (o.fail != nil && relay.KindOf(o.fail) != relay.Invalid && want > 0) || len(o.letters) != want {
			t.Fatalf("%d letters, want %d; %v", len(o.letters), want, err)
		}
	}
	for _, bad := range []Schedule{{Every: "daily", Options: Options{}.Filled()}, {Every: Weekly, Options: Options{UnusedDays: -1}}} {
		if _, err := o.schedule(bad); relay.KindOf(err) != relay.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	run(0)
	v, err := o.schedule(Schedule{Every: Weekly, To: []string{"ops@acme.example", "ceo@acme.example"}, Options: Options{UnusedDays: 30}.Filled()})
	o.must(err)
	if v.NextAt.IsZero() || v.Options.UnusedDays != 30 {
		t.Fatalf("%+v", v)
	}
	run(0)
	o.now = v.NextAt
	run(2)
	l := o.letters[0]
	if l.To != "ops@acme.example" || !strings.HasPrefix(l.Subject, "Audit report of acme: score ") || !strings.Contains(l.Text, "[high]") || !strings.Contains(string(l.HTML), "<title>Audit report of acme") || strings.Contains(l.Text, "Since the report") {
		t.Errorf("letter %+v", l)
	}
	run(0) // made
	v, err = o.service.Schedule(ctx, o.acme.ID)
	if err != nil || !v.LastAt.Equal(o.now) || !v.NextAt.After(o.now) {
		t.Errorf("%+v, %v", v, err)
	}

	// A letter that cannot be handed in comes later; the report is kept once.
	o.now, o.fail = v.NextAt, relay.E(relay.Unavailable, "full")
	run(2)
	o.now = o.now.Add(time.Minute)
	run(0) // claimed
	o.now, o.fail = o.now.Add(claimFor), nil
	run(2)
	if !strings.Contains(o.letters[0].Text, "Since the report of ") {
		t.Errorf("the letter that came later says nothing of the report before: %.200s", o.letters[0].Text)
	}
	if kept, err := o.service.Kept(ctx, o.acme.ID, 10); len(kept) != 2 || err != nil {
		t.Errorf("kept %+v, %v", kept, err)
	}
	// One that never can be is not tried again, and the next week's says what changed.
	_, err = o.s.SetAccessList(ctx, by, relay.AccessList{Tenant: relay.Tenant{Account: o.acme.ID}, Rules: []relay.AccessRule{{Network: netip.MustParsePrefix("192.0.2.0/24")}}})
	o.must(err)
	v, err = o.service.Schedule(ctx, o.acme.ID)
	o.must(err)
	o.now, o.fail = v.NextAt, relay.E(relay.Invalid, "no such address") // an hour later than a week, where summer time ends
	run(2)
	if !strings.Contains(o.letters[0].Text, ": 1 mended, 0 new, ") || !strings.Contains(o.letters[0].Text, "(+15)") {
		t.Errorf("letter: %.300s", o.letters[0].Text)
	}
	run(0)
	// A disabled account gets none, and is not asked about every minute.
	o.must(o.s.SetAccountDisabled(ctx, by, o.acme.ID, o.now))
	o.now, o.fail = o.now.Add(8*day), nil
	run(0)
	if v, err := o.service.Schedule(ctx, o.acme.ID); err != nil || !v.NextAt.After(o.now) {
		t.Errorf("%+v, %v", v, err)
	}
}
