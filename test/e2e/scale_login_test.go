package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/credit"
	"postern/internal/identity"
	"postern/internal/oauth"
	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
	"postern/internal/store"
	"postern/internal/testkit/oidc"
)

// asked counts what is read from a store for logins.
type asked struct {
	*store.Store
	n atomic.Int64
}

func (a *asked) Snapshot(ctx context.Context, since int64) (*store.Snapshot, error) {
	a.n.Add(1)
	return a.Store.Snapshot(ctx, since)
}

func (a *asked) Used(ctx context.Context, subject relay.ID, sinceMinute, sinceDay int64) (store.Used, error) {
	a.n.Add(1)
	return a.Store.Used(ctx, subject, sinceMinute, sinceDay)
}

// budgetCPU is what a login may cost.
const budgetCPU = 50 * time.Microsecond

// TestLoginCost logs in to a large installation by every kind of credential, each
// time with another key, through the same parts that the server is made of, the
// SASL exchange included: the CPU time of a login, with the records that it
// leaves, and what it reads from the store. The client's own hashing for SCRAM is
// in the figure, too.
func TestLoginCost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	subusers, keys, full := crowdSize()
	is := oidc.New(t)
	r := crowded(t)
	must(t, r.stop(40*time.Second))
	c := fillCrowd(t, r.dir, subusers, keys, is.URL)
	a, st := c.open(t, r.dir, is)
	logins := min(8000, 8*keys)
	tokens := c.tokens(t, a, is, min(2000, keys))
	for _, way := range []struct {
		name   string
		budget time.Duration // 0: none, because the signature alone costs more
		of     int
		run    func(x sasl.Exchange, i int) error
	}{
		{"PLAIN", budgetCPU, len(c.keys), func(x sasl.Exchange, i int) error {
			return exchanged(sasl.Plain, x, "\x00apikey\x00"+c.keys[i].Text().Reveal())
		}},
		{"SCRAM-SHA-256", budgetCPU, len(c.keys), func(x sasl.Exchange, i int) error { return scramLogin(x, c.keys[i]) }},
		{"XOAUTH2, a token of postern's", budgetCPU, len(tokens.own), func(x sasl.Exchange, i int) error {
			return exchanged(sasl.XOAuth2, x, "user=apikey\x01auth=Bearer "+tokens.own[i]+"\x01\x01")
		}},
		{"XOAUTH2, an outside issuer's token, RS256", 0, len(tokens.rsa), func(x sasl.Exchange, i int) error {
			return exchanged(sasl.XOAuth2, x, "user=apikey\x01auth=Bearer "+tokens.rsa[i]+"\x01\x01")
		}},
		{"XOAUTH2, an outside issuer's token, ES256", 0, len(tokens.ecdsa), func(x sasl.Exchange, i int) error {
			return exchanged(sasl.XOAuth2, x, "user=apikey\x01auth=Bearer "+tokens.ecdsa[i]+"\x01\x01")
		}},
	} {
		login := func(n int) {
			i := n * 7919 % way.of
			at := auth.Attempt{Protocol: "smtp", Listener: "submission", Mechanism: strings.Split(way.name, ",")[0],
				Addr: netip.AddrFrom4([4]byte{127, 0, byte(i >> 8), byte(i)}), Helo: "client.example", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256"}
			in := 0
			if err := way.run(a.Exchange(at, func(*relay.Principal) { in++ }), i); err != nil || in != 1 {
				t.Fatalf("%s: %v", way.name, err)
			}
		}
		for n := range min(way.of, logins) { // what is kept of keys with limits is read at their first login
			login(n)
		}
		time.Sleep(1500 * time.Millisecond)
		reads, cpu, wall := st.n.Load(), processCPU(t), time.Now()
		for n := range logins {
			login(n)
		}
		busy := processCPU(t) - cpu
		took := time.Since(wall)
		time.Sleep(1500 * time.Millisecond) // the records are written
		all := processCPU(t) - cpu
		each := func(d time.Duration) time.Duration { return (d / time.Duration(logins)).Round(100 * time.Nanosecond) }
		t.Logf("| %s | %d | %v | %v | %v |", way.name, logins, each(busy), each(took), each(all))
		if n := st.n.Load() - reads; n != 0 {
			t.Errorf("%s: the store was read %d times", way.name, n)
		}
		if full && way.budget > 0 && each(busy) > way.budget {
			t.Errorf("%s: %v CPU", way.name, each(busy))
		}
	}
}

// open opens a stopped installation with the parts that judge logins.
func (c *crowd) open(t testing.TB, dir string, is *oidc.Issuer) (*auth.Authenticator, *asked) {
	t.Helper()
	sealer, err := secret.OpenSealer(filepath.Join(dir, "sealing.key"))
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	s, _, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "postern.db"), Sealer: sealer, Logger: log, MinFree: -1})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	st := &asked{Store: s}
	d, err := identity.Open(t.Context(), st, log)
	must(t, err)
	ledger := credit.New(credit.Config{Store: st})
	verifier := oauth.New(oauth.Config{Logger: log, Issuers: []oauth.Issuer{{URL: is.URL, Roots: is.Roots(), Private: true}}})
	return auth.New(auth.Config{
		Directory: d, Recorder: s, Activity: s, Sealer: sealer, Guard: auth.NewGuard(auth.GuardConfig{}),
		Outside: auth.OutsideFunc(func(ctx context.Context, raw secret.Redacted, hint string) (auth.OutsideToken, error) {
			token, err := verifier.Verify(ctx, raw, hint)
			return auth.OutsideToken(token), err
		}),
		Exhausted: func(ctx context.Context, p *relay.Principal) error {
			account, _ := d.Account(p.Account)
			sub, _ := d.Subuser(p.Subuser)
			if over := ledger.Exhausted(ctx, account, &sub, p.Key); over != nil {
				return over
			}
			return nil
		},
	}), st
}

// bearers are access tokens of postern's own and of the issuer.
type bearers struct{ own, rsa, ecdsa []string }

func (c *crowd) tokens(t testing.TB, a *auth.Authenticator, is *oidc.Issuer, n int) (b bearers) {
	t.Helper()
	for i := range min(n, len(c.keys)) {
		in := func(p *relay.Principal) {
			text, _, err := a.MintToken(p, nil, time.Hour)
			must(t, err)
			b.own = append(b.own, text.Reveal())
		}
		at := auth.Attempt{Protocol: "smtp", Mechanism: "PLAIN", Addr: netip.MustParseAddr("127.0.0.1")}
		must(t, exchanged(sasl.Plain, a.Exchange(at, in), "\x00apikey\x00"+c.keys[i].Text().Reveal()))
	}
	now := time.Now()
	signed := func() (all []string) {
		for i := range min(n, len(c.federated)) {
			all = append(all, is.Token(oidc.Claims{
				"sub": c.federated[i], "aud": "postern", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "repository": "customer/shop", "ref": "refs/heads/main",
			}))
		}
		return all
	}
	b.rsa = signed()
	is.Rotate("ES256")
	b.ecdsa = signed()
	return b
}

// exchanged is an exchange of one message.
func exchanged(m sasl.Mechanism, x sasl.Exchange, response string) error {
	_, done, err := m.New(x).Next(context.Background(), []byte(response))
	if err == nil && !done {
		err = fmt.Errorf("%s wants more", m.Name)
	}
	return err
}

// scramLogin is a client of SCRAM-SHA-256 that has its ClientKey.
func scramLogin(x sasl.Exchange, k secret.Key) error {
	ctx, server := context.Background(), sasl.SCRAMSHA256.New(x)
	bare := "n=" + k.IDText() + ",r=abcdefghijklmnopqrstuvwx"
	first, _, err := server.Next(ctx, []byte("n,,"+bare))
	if err != nil {
		return err
	}
	nonce, _, _ := strings.Cut(strings.TrimPrefix(string(first), "r="), ",")
	without := "c=biws,r=" + nonce
	key := scramClientKey(k)
	stored := sha256.Sum256(key[:])
	mac := hmac.New(sha256.New, stored[:])
	mac.Write([]byte(bare + "," + string(first) + "," + without))
	proof := mac.Sum(nil)
	subtle.XORBytes(proof, proof, key[:])
	if _, _, err = server.Next(ctx, []byte(without+",p="+base64.StdEncoding.EncodeToString(proof))); err != nil {
		return err
	}
	_, done, err := server.Next(ctx, []byte{})
	if err == nil && !done {
		err = fmt.Errorf("SCRAM wants more")
	}
	return err
}

// processCPU is the CPU time of this process so far.
func processCPU(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
