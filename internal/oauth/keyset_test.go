package oauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"postern/internal/dns"
	"postern/internal/secret"
	"postern/internal/testkit/oidc"
)

// settle waits until no refresh is under way.
func settle(v *Verifier) { v.running.Wait() }

// AU-28: a new key is found at once, an old one is believed until the set is
// read again.
func TestRotation(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	old := is.Token(oidc.Claims{"exp": c.now().Add(24 * time.Hour).Unix()})
	if _, err := verify(t, v, old); err != nil {
		t.Fatal(err)
	}
	is.Rotate("ES256")
	c.add(refreshGap)
	if _, err := verify(t, v, is.Token(nil)); err != nil {
		t.Errorf("signed with the new key: %v", err)
	}
	if n := is.Requests(oidc.JWKS); n != 2 {
		t.Errorf("the key set was read %d times, want 2", n)
	}
	is.Withdraw("key-1")
	c.add(refreshAge + time.Second)
	_, _ = verify(t, v, old) // the set is old, so this makes it be read again, without waiting for it
	settle(v)
	c.add(provenFor) // a signature that was just found good need not be checked again
	if _, err := verify(t, v, old); !errors.Is(err, ErrToken) {
		t.Errorf("signed with a key that was withdrawn: %v", err)
	}
	if n := is.Requests(oidc.JWKS); n != 4 { // once more: its key is not in the set, and the issuer may be asked again
		t.Errorf("the key set was read %d times, want 4", n)
	}
}

// AU-28: a key that came just after the set was read is found when the issuer may
// be asked again, and not minutes later.
func TestRotationRightAfterARefresh(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	if _, err := verify(t, v, is.Token(nil)); err != nil {
		t.Fatal(err)
	}
	is.Rotate("ES256")
	token := is.Token(nil)
	if _, err := verify(t, v, token); !errors.Is(err, ErrToken) || is.Requests(oidc.JWKS) != 1 {
		t.Errorf("%v, %d requests", err, is.Requests(oidc.JWKS))
	}
	c.add(refreshGap)
	if _, err := verify(t, v, token); err != nil {
		t.Errorf("30 seconds later: %v", err)
	}
}

// AU-28: a flood of key ids that do not exist costs the issuer one request in 30
// seconds, and the holders of good tokens nothing.
func TestKidFlood(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	good := is.Token(oidc.Claims{"exp": c.now().Add(time.Hour).Unix()})
	if _, err := verify(t, v, good); err != nil {
		t.Fatal(err)
	}
	start := is.Requests("")
	const spell = 5 * time.Minute
	for i, end := 0, c.now().Add(spell); c.now().Before(end); i++ {
		var flood sync.WaitGroup
		for n := range 4 {
			token := is.Forge(oidc.Claims{"kid": fmt.Sprintf("kid-%d-%d", i, n)}, nil)
			flood.Go(func() {
				if _, err := verify(t, v, token); !errors.Is(err, ErrToken) {
					t.Errorf("an unknown key: %v", err)
				}
			})
		}
		flood.Wait()
		if _, err := verify(t, v, good); err != nil {
			t.Fatalf("the good token: %v", err)
		}
		c.add(3 * time.Second)
	}
	if n, most := is.Requests("")-start, int(spell/refreshGap); n > most || n == 0 {
		t.Errorf("%d requests in %v, at most %d", n, spell, most)
	}
}

// AU-28: an id that is not there is not looked for again for a while, and what is
// remembered of such ids is bounded.
func TestUnknownKids(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	stranger := is.Forge(oidc.Claims{"kid": "stranger"}, nil)
	if _, err := verify(t, v, stranger); !errors.Is(err, ErrToken) {
		t.Fatal(err)
	}
	c.add(refreshGap + time.Second)
	if _, err := verify(t, v, stranger); !errors.Is(err, ErrToken) || is.Requests(oidc.JWKS) != 1 {
		t.Errorf("the same id was looked for again: %v, %d requests", err, is.Requests(oidc.JWKS))
	}
	set := v.issuers[is.URL].keys
	for i := range 2 * maxUnknown {
		set.remember(fmt.Sprint(i), c.now())
	}
	if n := len(set.unknown); n > maxUnknown {
		t.Errorf("%d ids are remembered", n)
	}
	c.add(unknownLife)
	set.remember("one", c.now())
	if n := len(set.unknown); n != 1 {
		t.Errorf("%d ids are remembered after their time", n)
	}
}

// AU-28: while the issuer is away, what is known goes on working for a day.
func TestIssuerDown(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	is, v, c := issue(t, func(cfg *Config, _ *Issuer) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	long := func() string { return is.Token(nil) }
	down := func(h http.HandlerFunc) { is.Fail(oidc.Discovery, h); is.Fail(oidc.JWKS, h) }
	down(oidc.Down)
	if _, err := verify(t, v, long()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("nothing known of it: %v", err)
	}
	if n := is.Requests(""); n != 1 {
		t.Errorf("%d requests", n)
	}
	for range 20 {
		if _, err := verify(t, v, long()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("nothing known of it: %v", err)
		}
	}
	if n := is.Requests(""); n != 1 {
		t.Errorf("%d requests within the interval", n)
	}
	down(nil)
	c.add(refreshGap)
	if _, err := verify(t, v, long()); err != nil {
		t.Fatalf("it is back: %v", err)
	}
	down(oidc.Down)
	c.add(23 * time.Hour)
	if _, err := verify(t, v, long()); err != nil {
		t.Errorf("known keys, 23 hours later: %v", err)
	}
	settle(v)
	is.Rotate("RS256")
	if _, err := verify(t, v, long()); !errors.Is(err, ErrToken) {
		t.Errorf("an unknown key, the issuer away: %v", err)
	}
	is.Withdraw("key-2")
	c.add(time.Hour + time.Second)
	if _, err := verify(t, v, long()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("known keys, more than a day later: %v", err)
	}
	settle(v)
	down(nil)
	c.add(refreshGap)
	if _, err := verify(t, v, long()); err != nil {
		t.Errorf("it is back: %v", err)
	}
	settle(v)
	if got := log.String(); strings.Count(got, "not fetched") != 2 || strings.Count(got, "fetched again") != 2 {
		t.Errorf("each change is logged once:\n%s", got)
	}
}

// AU-28: an issuer that never answers holds up only who needs it, and only as long
// as they wait.
func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	is, v, c := issue(t)
	known := is.Token(oidc.Claims{"exp": c.now().Add(time.Hour).Unix()})
	if _, err := verify(t, v, known); err != nil {
		t.Fatal(err)
	}
	slow, release := oidc.Slow()
	defer release()
	is.Fail(oidc.JWKS, slow)
	is.Rotate("RS256")
	c.add(refreshGap)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.Verify(ctx, secret.Redacted(is.Token(nil)), ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("waited in vain: %v", err)
	}
	if _, err := verify(t, v, known); err != nil {
		t.Errorf("a known key while the set is being read: %v", err)
	}
	if d := v.issuers[is.URL].keys.client.http.Timeout; d != fetchTime || d > 5*time.Second {
		t.Errorf("a request may take %v", d)
	}
}

// AU-28: answers that no issuer should give, and places it should not send to.
func TestBadAnswers(t *testing.T) {
	t.Parallel()
	inner := oidc.New(t) // a service that an issuer must not be able to reach through us
	is := oidc.New(t)
	set := func(keys string) http.HandlerFunc { return oidc.Answer(`{"keys":[` + keys + `]}`) }
	doc := func(issuer, jwks string) http.HandlerFunc {
		return oidc.Answer(`{"issuer":"` + issuer + `","jwks_uri":"` + jwks + `"}`)
	}
	for name, fault := range map[string]struct {
		path string
		h    http.HandlerFunc
	}{
		"huge discovery":                 {oidc.Discovery, oidc.Huge},
		"huge key set":                   {oidc.JWKS, oidc.Huge},
		"discovery elsewhere":            {oidc.Discovery, oidc.Redirect(inner.URL + oidc.Discovery)},
		"key set elsewhere":              {oidc.JWKS, oidc.Redirect(inner.URL + oidc.JWKS)},
		"key set elsewhere, same host":   {oidc.JWKS, oidc.Redirect("/moved")},
		"key set too long":               {oidc.JWKS, oidc.Answer(`{"keys":[]}` + strings.Repeat(" ", maxAnswer))},
		"discovery too long":             {oidc.Discovery, oidc.Answer(`{"issuer":"` + is.URL + `","jwks_uri":"` + is.URL + oidc.JWKS + `"}` + strings.Repeat(" ", maxAnswer))},
		"discovery of another issuer":    {oidc.Discovery, doc(inner.URL, is.URL+oidc.JWKS)},
		"discovery with a slash more":    {oidc.Discovery, doc(is.URL+"/", is.URL+oidc.JWKS)},
		"discovery without a key set":    {oidc.Discovery, doc(is.URL, "")},
		"a key set in a file":            {oidc.Discovery, doc(is.URL, "file:///etc/passwd")},
		"discovery that is not JSON":     {oidc.Discovery, oidc.Answer("<html>")},
		"key set that is not JSON":       {oidc.JWKS, oidc.Answer("<html>")},
		"no keys":                        {oidc.JWKS, set("")},
		"a secret as key":                {oidc.JWKS, set(`{"kty":"oct","kid":"key-1","k":"c2VjcmV0"}`)},
		"a key for encryption":           {oidc.JWKS, set(`{"kty":"OKP","crv":"Ed25519","use":"enc","kid":"key-1","x":"` + strings.Repeat("A", 43) + `"}`)},
		"more keys than anyone has":      {oidc.JWKS, set(strings.Repeat(`{},`, maxKeys) + `{}`)},
		"a status that is not a success": {oidc.JWKS, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }},
	} {
		c := newClock()
		is.Now = c.now
		v := trust(t, is, c)
		is.Fail(fault.path, fault.h)
		if _, err := verify(t, v, is.Token(nil)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		is.Fail(fault.path, nil)
		c.add(discoveryRetry + time.Second)
		if _, err := verify(t, v, is.Token(nil)); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	if n := inner.Requests("") + is.Requests("/moved"); n != 0 {
		t.Errorf("the other place was asked %d times", n)
	}
}

// TestWeakKeys: a key that others could compute is never used, even if the issuer
// has it.
func TestWeakKeys(t *testing.T) {
	t.Parallel()
	is, v, _ := issue(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatalf("%v: a Go that makes no such key needs one in testdata here", err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: weak.Public(), KeyID: "key-1"}}})
	if err != nil {
		t.Fatal(err)
	}
	is.Fail(oidc.JWKS, oidc.Answer(string(set)))
	payload := must(rawURL.DecodeString(strings.Split(is.Token(nil), ".")[1]))
	if _, err := verify(t, v, is.Sign(oidc.Claims{"alg": "RS256", "kid": "key-1"}, payload, weak)); !errors.Is(err, ErrToken) {
		t.Errorf("signed with 1,024 bits: %v", err)
	}
	if rsaKey(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 16384), E: 65537}) {
		t.Error("a key of 16,384 bits: checking it would be work")
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	private := oidc.New(t).NewKey("EdDSA")
	set := func(n int, edit func(*jose.JSONWebKey)) []byte {
		k := jose.JSONWebKey{Key: private.Public(), KeyID: "k"}
		edit(&k)
		one, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return []byte(`{"keys":[` + strings.Repeat(string(one)+",", n-1) + string(one) + `]}`)
	}
	for name, tt := range map[string]struct {
		set  []byte
		want int
	}{
		"one":              {set(1, func(*jose.JSONWebKey) {}), 1},
		"for signatures":   {set(2, func(k *jose.JSONWebKey) { k.Use = "sig" }), 2},
		"for encryption":   {set(1, func(k *jose.JSONWebKey) { k.Use = "enc" }), 0},
		"private":          {set(1, func(k *jose.JSONWebKey) { k.Key = private }), 0},
		"shared secret":    {set(1, func(k *jose.JSONWebKey) { k.Key = []byte("secret") }), 0},
		"an endless id":    {set(1, func(k *jose.JSONWebKey) { k.KeyID = strings.Repeat("k", maxKid+1) }), 0},
		"as many as may":   {set(maxKeys, func(*jose.JSONWebKey) {}), maxKeys},
		"more than may be": {set(maxKeys+1, func(*jose.JSONWebKey) {}), 0},
	} {
		keys, err := parseKeys(tt.set)
		if len(keys) != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

// onInternet makes a verifier see an issuer on the open Internet: its names lead to
// public addresses, which lead to the test's server.
func onInternet(is *oidc.Issuer, dialled *sync.Map) func(*Config, *Issuer) {
	return func(cfg *Config, one *Issuer) {
		one.Private = false
		cfg.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			return map[string][]netip.Addr{
				"issuer.test":   {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("93.184.215.14")},
				"keys.test":     {netip.MustParseAddr("93.184.215.15")},
				"metadata.test": {netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("::ffff:127.0.0.1")},
			}[host], nil
		}
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled.Store(address, true)
			return (&net.Dialer{}).DialContext(ctx, network, is.Addr())
		}
	}
}

// AU-28: nothing that an issuer or the DNS says makes this relay talk to its own
// networks, unless the operator says that the issuer lives there.
func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	is, c := oidc.New(t), newClock()
	is.Now = c.now
	_, port, _ := net.SplitHostPort(is.Addr())
	is.URL = "https://issuer.test:" + port
	for _, tt := range []struct {
		jwks string
		ok   bool
	}{
		{"https://keys.test:" + port + oidc.JWKS, true}, // another host is fine: the issuer itself says so
		{"https://127.0.0.1:" + port + oidc.JWKS, false},
		{"https://[::1]:" + port + oidc.JWKS, false},
		{"https://metadata.test:" + port + oidc.JWKS, false},
		{"http://keys.test:" + port + oidc.JWKS, false},
	} {
		var dialled sync.Map
		v := trust(t, is, c, onInternet(is, &dialled))
		is.Fail(oidc.Discovery, oidc.Answer(`{"issuer":"`+is.URL+`","jwks_uri":"`+tt.jwks+`"}`))
		_, err := verify(t, v, is.Token(nil))
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", tt.jwks, err)
		}
		dialled.Range(func(a, _ any) bool {
			if host, _, _ := net.SplitHostPort(a.(string)); !dns.Public(netip.MustParseAddr(host)) {
				t.Errorf("%s: %s was dialled", tt.jwks, a)
			}
			return true
		})
	}
}

func TestMayDial(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		addr                            string
		public, private, privatePlainly bool
	}{
		{"93.184.215.14", true, true, false}, {"2606:2800::1", true, true, false}, {"::ffff:93.184.215.14", true, true, false},
		{"127.0.0.1", false, true, true}, {"::1", false, true, true}, {"10.1.2.3", false, true, true}, {"192.168.1.1", false, true, true},
		{"fd00::1", false, true, true}, {"169.254.169.254", false, true, false}, {"fe80::1", false, true, false}, {"::ffff:127.0.0.1", false, true, true},
		{"100.64.0.1", false, true, false}, {"192.0.2.1", false, true, false}, {"64:ff9b::7f00:1", false, true, false},
		{"64:ff9b::5db8:d70e", true, true, false}, {"2002:7f00:1::", false, true, false}, {"0.0.0.0", false, false, false}, {"::", false, false, false},
		{"224.0.0.1", false, false, false}, {"255.255.255.255", false, true, false}, {"168.63.129.16", false, true, false}, {"198.18.0.1", false, true, false},
	} {
		a := netip.MustParseAddr(tt.addr)
		open, own := &dialer{}, &dialer{private: true}
		if open.may(a, false) != tt.public || own.may(a, false) != tt.private || own.may(a, true) != tt.privatePlainly || open.may(a, true) {
			t.Errorf("%s: public %v, private %v, without TLS %v", a, open.may(a, false), own.may(a, false), own.may(a, true))
		}
	}
}

// TestKeySetURL: an issuer without discovery.
func TestKeySetURL(t *testing.T) {
	t.Parallel()
	is, v, _ := issue(t, func(_ *Config, i *Issuer) { i.JWKSURL = i.URL + oidc.JWKS })
	if _, err := verify(t, v, is.Token(nil)); err != nil || is.Requests(oidc.Discovery) != 0 || is.Requests(oidc.JWKS) != 1 {
		t.Errorf("%v, %d and %d requests", err, is.Requests(oidc.Discovery), is.Requests(oidc.JWKS))
	}
}

// TestClose: nothing is left running.
func TestClose(t *testing.T) {
	t.Parallel()
	is, v, _ := issue(t)
	slow, release := oidc.Slow()
	defer release()
	is.Fail(oidc.Discovery, slow)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := v.Verify(ctx, secret.Redacted(is.Token(nil)), ""); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	v.Close() // would wait for the slow answer if the request went on
}

// BenchmarkVerify is a login by a token whose key is known.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA", "RS256 again"} {
		b.Run(alg, func(b *testing.B) {
			is, v, _ := issue(b)
			name, _, again := strings.Cut(alg, " ")
			is.Rotate(name)
			token := secret.Redacted(is.Token(nil))
			b.ReportAllocs()
			for b.Loop() {
				if !again {
					v.proven.good = nil
				}
				if _, err := v.Verify(b.Context(), token, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
