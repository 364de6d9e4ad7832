package people

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/password"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/totp"
)

const (
	goodPassword  = secret.Redacted("tall copper lamps hum")
	otherPassword = secret.Redacted("nine quiet ferries dock")
)

// home is where the world's people come from.
var home = Visitor{Addr: netip.MustParseAddr("192.0.2.7"), Agent: "Browser/1", TLS: "TLSv1.3 X", Listener: "https", Host: "relay.example.test"}

// from is a visitor from elsewhere: n is the number of the network.
func from(n int) Visitor {
	v := home
	v.Addr = netip.AddrFrom4([4]byte{198, 18, byte(n), 9})
	return v
}

type letter struct{ to, subject, text string }

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// directory knows one account and one subuser, and their access lists.
type directory struct {
	account relay.Account
	other   relay.Account
	subuser relay.Subuser
	access  [2]*relay.AccessList
}

func (d *directory) Key(relay.KeyID) (*relay.Key, bool)            { return nil, false }
func (d *directory) KeyByLogin(string) (*relay.Key, bool)          { return nil, false }
func (d *directory) KeysByFingerprint(string) []*relay.Key         { return nil }
func (d *directory) KeysByName(string) []*relay.Key                { return nil }
func (d *directory) TokenRevoked(relay.TokenID) bool               { return false }
func (d *directory) Fresh(context.Context, time.Time) bool         { return true }
func (d *directory) Alive(*relay.Key, time.Time) relay.LoginResult { return relay.LoginOK }
func (d *directory) KeysByClaims(string, func(string) []string) []*relay.Key {
	return nil
}

func (d *directory) AccessLists(t relay.Tenant) (account, subuser *relay.AccessList) {
	if t.Subuser.IsZero() {
		return d.access[0], nil
	}
	return d.access[0], d.access[1]
}

func (d *directory) Account(id relay.AccountID) (relay.Account, bool) {
	switch id {
	case d.account.ID:
		return d.account, true
	case d.other.ID:
		return d.other, true
	}
	return relay.Account{}, false
}

func (d *directory) Subuser(id relay.SubuserID) (relay.Subuser, bool) {
	return d.subuser, id == d.subuser.ID
}

func (d *directory) named(name string) (relay.Account, bool) {
	switch name {
	case d.account.Name:
		return d.account, true
	case d.other.Name:
		return d.other, true
	}
	return relay.Account{}, false
}

// recorder keeps login records.
type recorder struct {
	mu     sync.Mutex
	logins []relay.Login
}

func (r *recorder) RecordLogin(l relay.Login) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logins = append(r.logins, l)
}
func (r *recorder) RecordKeyUse(relay.KeyID, time.Time, netip.Addr, string, string, bool) {}

func (r *recorder) last() relay.Login {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.logins) == 0 {
		return relay.Login{}
	}
	return r.logins[len(r.logins)-1]
}

// countingHasher counts the work of checks.
type countingHasher struct {
	*password.Hasher
	mu     sync.Mutex
	checks int
}

func (h *countingHasher) Verify(ctx context.Context, stored string, pw secret.Redacted) (ok, stale bool, err error) {
	h.mu.Lock()
	h.checks++
	h.mu.Unlock()
	return h.Hasher.Verify(ctx, stored, pw)
}

// world is a Service with everything switched on.
type world struct {
	*Service
	clk    clock
	t      testing.TB
	st     Store
	mem    *memory // nil over the real store
	dir    *directory
	rec    *recorder
	guard  *auth.Guard
	door   *auth.Authenticator
	hash   *countingHasher
	mailMu sync.Mutex
	mails  []letter
	alerts []relay.Alert
}

var (
	acmeID   = relay.AccountID{ID: relay.ID{1}}
	globexID = relay.AccountID{ID: relay.ID{2}}
	shopID   = relay.SubuserID{ID: relay.ID{3}}
	operator = store.By{Who: "uid 0", From: "admin.sock"}
)

func newWorld(t testing.TB, change ...func(*Config)) *world {
	m := newMemory()
	w := buildWorld(t, m, change...)
	w.mem = m
	return w
}

func buildWorld(t testing.TB, st Store, change ...func(*Config)) *world {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, st: st, rec: &recorder{}}
	w.clk.at = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	w.dir = &directory{account: relay.Account{ID: acmeID, Name: "acme"}, other: relay.Account{ID: globexID, Name: "globex"}, subuser: relay.Subuser{ID: shopID, Account: acmeID, Name: "shop"}}
	w.guard = auth.NewGuard(auth.GuardConfig{Now: w.now, Alert: func(_ relay.Tenant, _ relay.KeyID, a relay.Alert) { w.alerts = append(w.alerts, a) }})
	w.door = auth.New(auth.Config{Directory: w.dir, Recorder: w.rec, Guard: w.guard, Sealer: sealer, Now: w.now})
	w.hash = &countingHasher{Hasher: password.New(password.Config{Params: password.Params{Memory: 64, Time: 1, Threads: 1}})}
	cfg := Config{
		Store: st, Auth: w.door, Sealer: sealer, Hasher: w.hash, Floor: -1, Now: w.now,
		URL:     func() string { return "https://relay.example.test/" },
		Account: w.dir.Account, AccountNamed: w.dir.named, Subuser: w.dir.Subuser,
		Mail: func(_ context.Context, to, subject, text string) error {
			w.mailMu.Lock()
			defer w.mailMu.Unlock()
			w.mails = append(w.mails, letter{to, subject, text})
			return nil
		},
		Alert: func(_ relay.Tenant, a relay.Alert) { w.alerts = append(w.alerts, a) },
	}
	for _, f := range change {
		f(&cfg)
	}
	if w.Service, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// realWorld is a world over the real store.
func realWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	st, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "p.db"), Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = st.Close()
	})
	w := buildWorld(t, st, change...)
	for _, a := range []relay.Account{w.dir.account, w.dir.other} {
		a.OwnerEmail, a.CreatedAt = "ops@example.test", w.now()
		if err := st.CreateAccount(t.Context(), operator, a); err != nil {
			t.Fatal(err)
		}
	}
	sub := w.dir.subuser
	sub.Email, sub.CreatedAt = "shop@example.test", w.now()
	if err := st.CreateSubuser(t.Context(), operator, sub); err != nil {
		t.Fatal(err)
	}
	return w
}

// eachStore runs a scenario over the fake store and the real one.
func eachStore(t *testing.T, scenario func(t *testing.T, w *world), change ...func(*Config)) {
	t.Run("memory", func(t *testing.T) { t.Parallel(); scenario(t, newWorld(t, change...)) })
	t.Run("store", func(t *testing.T) { t.Parallel(); scenario(t, realWorld(t, change...)) })
}

// person adds somebody with a password and, if asked for, an authenticator app.
func (w *world) person(name string, edit ...func(*relay.User)) relay.User {
	w.t.Helper()
	hash, err := w.hash.Hash(w.t.Context(), goodPassword)
	if err != nil {
		w.t.Fatal(err)
	}
	u := relay.User{
		ID: relay.UserID{ID: relay.NewID(w.now())}, Account: acmeID, Username: name, Email: name + "@example.test", Role: relay.RoleOwner,
		Password: hash, PasswordAt: w.now(), CreatedAt: w.now(),
	}
	for _, f := range edit {
		f(&u)
	}
	if err := w.st.CreateUser(w.t.Context(), operator, u); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// secretOf is the authenticator secret of every person that has one here.
var secretOf = []byte("12345678901234567890")

// withApp gives a person an authenticator app.
func (w *world) withApp(name string, edit ...func(*relay.User)) relay.User {
	w.t.Helper()
	u := w.person(name, edit...)
	sealed, err := w.Service.cfg.Sealer.Seal(secretOf, totpAAD(u.ID))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.st.SetTOTP(w.t.Context(), operator, u.ID, sealed, 0, w.now(), relay.SessionID{}); err != nil {
		w.t.Fatal(err)
	}
	return w.user(u.ID)
}

func (w *world) now() time.Time { return w.clk.now() }

func (w *world) pass(d time.Duration) { w.clk.pass(d) }

func (w *world) user(id relay.UserID) relay.User {
	w.t.Helper()
	u, err := w.st.User(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// code is what the app shows now.
func (w *world) code() string { return totp.Code(secretOf, totp.Step(w.now())) }

// wrongCode is never what the app shows around now.
func (w *world) wrongCode() string {
	at := totp.Step(w.now())
	for i := range 1000 {
		c := fmt.Sprintf("%06d", i)
		if c != totp.Code(secretOf, at-1) && c != totp.Code(secretOf, at) && c != totp.Code(secretOf, at+1) {
			return c
		}
	}
	return ""
}

// in logs somebody with an app in, all the way, and waits for the next code.
func (w *world) in(name string) (secret.Redacted, *Visit) {
	w.t.Helper()
	half, _, err := w.LoginPassword(w.t.Context(), home, name, goodPassword)
	if err != nil {
		w.t.Fatalf("log in %s: %v", name, err)
	}
	token, _, err := w.LoginTOTP(w.t.Context(), home, half, w.code())
	if err != nil {
		w.t.Fatalf("log in %s: %v", name, err)
	}
	w.pass(totp.Period)
	return token, w.open(token)
}

func (w *world) open(token secret.Redacted) *Visit {
	w.t.Helper()
	v, err := w.Open(w.t.Context(), home, token)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	return v
}

func (w *world) dead(what string, token secret.Redacted) {
	w.t.Helper()
	if _, err := w.Open(w.t.Context(), home, token); !errors.Is(err, ErrSession) {
		w.t.Errorf("%s: the session lives (%v)", what, err)
	}
}

// link is the token in the last letter to an address.
func (w *world) link(to, path string) secret.Redacted {
	w.t.Helper()
	w.mailMu.Lock()
	defer w.mailMu.Unlock()
	for _, m := range slices.Backward(w.mails) {
		if m.to != to {
			continue
		}
		if got := regexp.MustCompile(regexp.QuoteMeta("https://relay.example.test/"+path+"/") + `([\w-]+)`).FindStringSubmatch(m.text); got != nil {
			return secret.Redacted(got[1])
		}
	}
	w.t.Fatalf("no %s link was mailed to %s: %v", path, to, w.mails)
	return ""
}

// told counts the letters to an address whose subject has a text.
func (w *world) told(to, subject string) (n int) {
	w.mailMu.Lock()
	defer w.mailMu.Unlock()
	for _, m := range w.mails {
		if m.to == to && strings.Contains(m.subject, subject) {
			n++
		}
	}
	return n
}

// jobsDone does what Run would.
func (w *world) jobsDone() {
	w.t.Helper()
	for len(w.jobs) > 0 {
		if err := w.mailReset(w.t.Context(), <-w.jobs); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) recorded(what, mechanism string, result relay.LoginResult) {
	w.t.Helper()
	l := w.rec.last()
	if l.Protocol != "console" || l.Mechanism != mechanism || l.Result != result {
		w.t.Errorf("%s: recorded %s %s %s %q, want %s %s", what, l.Protocol, l.Mechanism, l.Result, l.Detail, mechanism, result)
	}
}
