package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/smtp"
)

type fakeDirectory struct {
	keys    map[relay.KeyID]*relay.Key
	account relay.Account
	access  [2]*relay.AccessList // account's, subuser's
	revoked map[relay.TokenID]bool
	off     bool
	stale   bool
	asked   int
}

func (d *fakeDirectory) Key(id relay.KeyID) (*relay.Key, bool) {
	d.asked++
	k, ok := d.keys[id]
	return k, ok
}

func (d *fakeDirectory) Alive(k *relay.Key, now time.Time) relay.LoginResult {
	switch {
	case k.Canary:
		return relay.LoginCanary
	case !k.RevokedAt.IsZero():
		return relay.LoginRevoked
	case !k.DisabledAt.IsZero() || d.off:
		return relay.LoginDisabled
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return relay.LoginExpired
	}
	return relay.LoginOK
}
func (d *fakeDirectory) Account(relay.AccountID) (relay.Account, bool) {
	a := d.account
	a.Name = "acme"
	return a, true
}

func (d *fakeDirectory) KeyByLogin(login string) (*relay.Key, bool) {
	d.asked++
	for _, k := range d.all(func(k *relay.Key) bool { return k.Login == login && login != "" }) {
		return k, true
	}
	return nil, false
}

func (d *fakeDirectory) KeysByFingerprint(fp string) []*relay.Key {
	return d.all(func(k *relay.Key) bool { return k.Match != nil && k.Match.Fingerprint == fp })
}

func (d *fakeDirectory) KeysByName(name string) []*relay.Key {
	return d.all(func(k *relay.Key) bool { return k.Match != nil && k.Match.Name == name })
}

func (d *fakeDirectory) KeysByClaims(issuer string, _ func(string) []string) []*relay.Key {
	return d.all(func(k *relay.Key) bool { return k.Match != nil && k.Match.Issuer == issuer })
}

func (d *fakeDirectory) all(want func(*relay.Key) bool) (out []*relay.Key) {
	for _, k := range d.keys {
		if want(k) {
			out = append(out, k)
		}
	}
	return out
}

func (d *fakeDirectory) AccessLists(relay.Tenant) (account, subuser *relay.AccessList) {
	return d.access[0], d.access[1]
}
func (d *fakeDirectory) TokenRevoked(id relay.TokenID) bool            { return d.revoked[id] }
func (d *fakeDirectory) Subuser(relay.SubuserID) (relay.Subuser, bool) { return relay.Subuser{}, false }
func (d *fakeDirectory) Fresh(context.Context, time.Time) bool         { return !d.stale }

type fakeRecorder struct {
	logins   []relay.Login
	uses     int
	previous int // uses of an old secret
	seen     []relay.AccessSeen
}

func (r *fakeRecorder) RecordLogin(l relay.Login) { r.logins = append(r.logins, l) }
func (r *fakeRecorder) RecordKeyUse(_ relay.KeyID, _ time.Time, _ netip.Addr, _, _ string, previous bool) {
	r.uses++
	if previous {
		r.previous++
	}
}
func (r *fakeRecorder) RecordAccess(a relay.AccessSeen) { r.seen = append(r.seen, a) }

// last is the newest record.
func (r *fakeRecorder) last() relay.Login { return r.logins[len(r.logins)-1] }

type fixture struct {
	a   *Authenticator
	dir *fakeDirectory
	rec *fakeRecorder
	key secret.Key
	now time.Time
}

func newFixture(t *testing.T, change func(*relay.Key)) *fixture {
	t.Helper()
	k, err := secret.GenerateKey("SG")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{key: k, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), rec: &fakeRecorder{}}
	row := &relay.Key{
		ID: relay.KeyID{ID: k.ID}, Account: relay.AccountID{ID: relay.ID{1}}, Scopes: []string{relay.ScopeMailSend},
		Verifier: relay.Verifier{SHA256: k.SHA256()},
	}
	if change != nil {
		change(row)
	}
	f.dir = &fakeDirectory{keys: map[relay.KeyID]*relay.Key{row.ID: row}}
	f.a = New(Config{Directory: f.dir, Recorder: f.rec, Now: func() time.Time { return f.now }})
	return f
}

func (f *fixture) login(user string, pass secret.Redacted) (relay.LoginResult, error) {
	_, err := f.a.Login(context.Background(), Attempt{
		Protocol: "smtp", Listener: "submission", Mechanism: "PLAIN", User: user, Secret: pass,
		Addr: netip.MustParseAddr("192.0.2.7"), Helo: "client.example", TLS: "TLSv1.3 X",
	})
	return f.rec.logins[len(f.rec.logins)-1].Result, err
}

func TestLogin(t *testing.T) {
	other, _ := secret.GenerateKey("SG")
	past := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	same := func(f *fixture) (string, secret.Redacted) { return "apikey", f.key.Text() }
	tests := []struct {
		name   string
		change func(*relay.Key)
		dir    func(*fakeDirectory)
		given  func(*fixture) (string, secret.Redacted)
		want   relay.LoginResult
		reply  smtp.Reply
	}{
		{name: "right key, user apikey", given: same, want: relay.LoginOK},
		{name: "right key, user is its id", given: func(f *fixture) (string, secret.Redacted) { return f.key.IDText(), f.key.Text() }, want: relay.LoginOK},
		{name: "not a key", given: func(*fixture) (string, secret.Redacted) { return "apikey", "hunter2" }, want: relay.LoginMalformed, reply: ReplyMalformed},
		{name: "trailing space", given: func(f *fixture) (string, secret.Redacted) { return "apikey", f.key.Text() + " " }, want: relay.LoginMalformed, reply: ReplyMalformed},
		{name: "other user word", given: func(f *fixture) (string, secret.Redacted) { return "APIKEY", f.key.Text() }, want: relay.LoginMalformed, reply: ReplyMalformed},
		{name: "id of another key", given: func(f *fixture) (string, secret.Redacted) { return other.IDText(), f.key.Text() }, want: relay.LoginMalformed, reply: ReplyMalformed},
		{name: "unknown key", given: func(*fixture) (string, secret.Redacted) { return "apikey", other.Text() }, want: relay.LoginUnknown, reply: ReplyRefused},
		{name: "known id, other secret", change: func(k *relay.Key) { k.Verifier.SHA256[0] ^= 1 }, given: same, want: relay.LoginWrong, reply: ReplyRefused},
		{name: "revoked", change: func(k *relay.Key) { k.RevokedAt = past }, given: same, want: relay.LoginRevoked, reply: ReplyRefused},
		{name: "disabled", change: func(k *relay.Key) { k.DisabledAt = past }, given: same, want: relay.LoginDisabled, reply: ReplyRefused},
		{name: "account disabled", dir: func(d *fakeDirectory) { d.off = true }, given: same, want: relay.LoginDisabled, reply: ReplyRefused},
		{name: "expired", change: func(k *relay.Key) { k.ExpiresAt = past }, given: same, want: relay.LoginExpired, reply: ReplyRefused},
		{name: "canary", change: func(k *relay.Key) { k.Canary = true }, given: same, want: relay.LoginCanary, reply: ReplyRefused},
		{name: "outside its networks", change: func(k *relay.Key) { k.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, given: same, want: relay.LoginNetwork, reply: ReplyRefused},
		{name: "inside its networks", change: func(k *relay.Key) { k.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }, given: same, want: relay.LoginOK},
		{name: "no scope", change: func(k *relay.Key) { k.Scopes = []string{"stats.read"} }, given: same, want: relay.LoginScope, reply: ReplyNoScope},
		{name: "directory is stale", dir: func(d *fakeDirectory) { d.stale = true }, given: same, want: relay.LoginUnavailable, reply: ReplyUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.change)
			if tt.dir != nil {
				tt.dir(f.dir)
			}
			user, pass := tt.given(f)
			got, err := f.login(user, pass)
			if got != tt.want {
				t.Errorf("recorded %q, want %q", got, tt.want)
			}
			if tt.want == relay.LoginOK {
				if err != nil || f.rec.uses != 1 {
					t.Errorf("err %v, %d uses recorded", err, f.rec.uses)
				}
				return
			}
			if r, ok := errors.AsType[smtp.Reply](err); !ok || r != tt.reply {
				t.Errorf("reply %v, want %v", err, tt.reply)
			}
			if tt.want == relay.LoginMalformed && f.dir.asked != 0 {
				t.Error("a malformed key was looked up")
			}
			if l := fmt.Sprintf("%+v", f.rec.logins); strings.Contains(l, f.key.Text().Reveal()[26:]) {
				t.Error("the login record holds the secret")
			}
		})
	}
}

// AU-04, AU-05: an authorization identity never makes somebody of somebody else.
func TestAuthzid(t *testing.T) {
	f := newFixture(t, nil)
	for authzid, want := range map[string]relay.LoginResult{"": relay.LoginOK, "apikey": relay.LoginOK, "admin": relay.LoginMalformed, f.key.IDText(): relay.LoginMalformed} {
		_, err := f.a.Login(context.Background(), Attempt{Protocol: "smtp", User: "apikey", Authzid: authzid, Secret: f.key.Text(), Addr: netip.MustParseAddr("192.0.2.1")})
		if got := f.rec.logins[len(f.rec.logins)-1].Result; got != want {
			t.Errorf("authzid %q: %v (%v), want %v", authzid, got, err, want)
		}
	}
}

// AU-32: IPv4-mapped and zoned forms are the address that they map.
func TestNetworksSeeThroughMappedForms(t *testing.T) {
	nets := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("fe80::/10")}
	for addr, want := range map[string]bool{"192.0.2.9": true, "::ffff:192.0.2.9": true, "fe80::1%eth0": true, "192.0.3.9": false, "2001:db8::1": false} {
		if got := inNetworks(nets, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}

// A rotated key's old secret works until its overlap ends, and not a moment longer.
func TestPreviousSecretWithinItsOverlap(t *testing.T) {
	old, _ := secret.GenerateKey("SG")
	f := newFixture(t, nil)
	f.dir.keys[relay.KeyID{ID: old.ID}] = &relay.Key{
		ID: relay.KeyID{ID: old.ID}, Scopes: []string{relay.ScopeMailSend}, Verifier: relay.Verifier{SHA256: [32]byte{1}},
		Previous: &relay.Verifier{SHA256: old.SHA256()}, PreviousUntil: f.now.Add(time.Hour),
	}
	if r, err := f.login("apikey", old.Text()); r != relay.LoginOK {
		t.Errorf("within the overlap: %v %v", r, err)
	}
	f.now = f.now.Add(time.Hour)
	if r, _ := f.login("apikey", old.Text()); r != relay.LoginWrong {
		t.Errorf("after the overlap: %v", r)
	}
}

// AU-31: a session that is open when its key ends stops at the next check.
func TestCheckOfAnOpenSession(t *testing.T) {
	f := newFixture(t, nil)
	addr := netip.MustParseAddr("192.0.2.7")
	p, err := f.a.Login(context.Background(), Attempt{Protocol: "smtp", User: "apikey", Secret: f.key.Text(), Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.a.Check(context.Background(), p, addr); err != nil {
		t.Errorf("good key: %v", err)
	}
	narrowed := *p.Key
	narrowed.Senders = []string{"a@acme.test"}
	f.dir.keys[narrowed.ID] = &narrowed
	q, err := f.a.Check(context.Background(), p, addr)
	if err != nil || len(q.Key.Senders) != 1 {
		t.Errorf("a narrowed key is not seen: %v %v", q, err)
	}
	revoked := narrowed
	revoked.RevokedAt = f.now
	f.dir.keys[narrowed.ID] = &revoked
	if _, err := f.a.Check(context.Background(), p, addr); err != ReplyEnded {
		t.Errorf("revoked key: %v", err)
	}
	f.dir.keys[narrowed.ID] = &narrowed
	f.dir.stale = true
	if _, err := f.a.Check(context.Background(), p, addr); err != ReplyUnavailable {
		t.Errorf("stale directory: %v", err)
	}
}

func TestRecordsAreCleanText(t *testing.T) {
	f := newFixture(t, nil)
	f.login("evil\r\nuser\x00\x1b[31m"+strings.Repeat("x", 500), "nope")
	if got := f.rec.logins[0].Tried; strings.ContainsAny(got, "\r\n\x00\x1b") || len(got) > 64 {
		t.Errorf("tried %q", got)
	}
}
