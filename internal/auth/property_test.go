package auth

import (
	"context"
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// The one invariant: whatever the state of keys, policy, lists and guard, and by
// whatever way in, a principal comes out only where the right secret, token or
// certificate of that very key went in, and the key was alive. And each attempt
// leaves exactly one record with a result.
func TestNobodyGetsInWithoutTheSecret(t *testing.T) {
	out := &issuer{tokens: map[string]OutsideToken{"good": ciToken(nil)}}
	root := newCA(t, nil, "root")
	cert, stray := root.client(t, nil), newCA(t, nil, "root").client(t, nil)
	w := newWorld(t, func(c *Config) { c.Outside = out })
	key, row := w.apiKey(t, nil)
	wrong, err := secret.NewSecret("SG", key.ID)
	if err != nil {
		t.Fatal(err)
	}
	login, device, deviceRow := w.appPassword(t, nil)
	job := w.federated(map[string]string{"repository": "acme/*"}, nil)
	machine := w.certificateKey(relay.KeyMatch{CA: root.pem(), Name: "web.acme.test"})
	stranger, _ := newWorld(t, nil).apiKey(t, nil)
	token, _, err := w.MintToken(&relay.Principal{Key: row}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	proofs := map[secret.Redacted]relay.KeyID{key.Text(): row.ID, device: deviceRow.ID, token: row.ID, "good": job.ID}
	users := []string{"", "apikey", "anna", key.IDText(), stranger.IDText(), login, job.ID.String(), machine.ID.String(), ciToken(nil).Subject}
	secrets := []secret.Redacted{key.Text(), wrong.Text(), stranger.Text(), device, "aaaaa-aaaaa-aaaaa-aaaaa", token, token + "A", "good", "forged", "", "x"}
	base := []*relay.Key{row, deviceRow, job, machine}
	rapid.Check(t, func(r *rapid.T) {
		alive := map[relay.KeyID]bool{}
		for _, k := range base {
			c := *k
			switch rapid.IntRange(0, 7).Draw(r, "state") {
			case 0:
				c.RevokedAt = t0
			case 1:
				c.ExpiresAt = t0
			case 2:
				c.DisabledAt = t0
			case 3:
				c.Canary = true
			case 4:
				c.Networks = prefixes("10.0.0.0/8")
			default:
				alive[c.ID] = true
			}
			w.dir.keys[c.ID] = &c
		}
		w.dir.stale = rapid.IntRange(0, 9).Draw(r, "stale") == 0
		w.dir.access[0] = nil
		if rapid.IntRange(0, 5).Draw(r, "list") == 0 {
			w.dir.access[0] = rules("10.0.0.0/8")
		}
		if rapid.Bool().Draw(r, "new guard") {
			w.guard(GuardConfig{Failures: 6})
		}
		for range rapid.IntRange(1, 12).Draw(r, "attempts") {
			at := w.attempt("")
			at.Addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 3).Draw(r, "from"))})
			user := rapid.SampledFrom(users).Draw(r, "user")
			pass := rapid.SampledFrom(secrets).Draw(r, "secret")
			owner, right := proofs[pass]
			before := len(w.rec.logins)
			var who *relay.Principal
			x := w.Exchange(at, func(p *relay.Principal) { who = p })
			ctx := context.Background()
			how := rapid.IntRange(0, 6).Draw(r, "how")
			switch how {
			case 0:
				_ = x.Authenticate(ctx, sasl.Credentials{Mechanism: "PLAIN", User: user, Authzid: rapid.SampledFrom([]string{"", user, "root"}).Draw(r, "authzid"), Secret: pass})
			case 1:
				_ = x.CRAM(ctx, user, func(s secret.Redacted) bool { return s == pass && s != "" })
			case 2:
				_ = x.Bearer(ctx, sasl.Bearer{Mechanism: "XOAUTH2", User: user, Token: pass})
			case 3:
				at.Certificates = []*x509.Certificate{stray}
				if rapid.Bool().Draw(r, "good certificate") {
					at.Certificates, owner, right = []*x509.Certificate{cert}, machine.ID, true
				} else {
					right = false
				}
				x = w.Exchange(at, func(p *relay.Principal) { who = p })
				_ = x.External(ctx, user)
			case 4:
				at.Protocol, at.User, at.Secret, at.Mechanism = "http", user, pass, rapid.SampledFrom([]string{"BEARER", "BASIC"}).Draw(r, "scheme")
				cancelled, cancel := context.WithCancel(ctx)
				cancel() // so that refusals are not held
				who, _ = w.Bearer(cancelled, at)
			case 5: // a proof that the mechanism did not find
				x.SCRAM(ctx, user)
				right = false
				_ = x.Proved(ctx, sasl.Proof{Mechanism: "SCRAM-SHA-256", User: user, Key: -1})
			case 6: // a proof of something that was made up, or for somebody else
				x.SCRAM(ctx, rapid.SampledFrom([]string{"", "apikey", stranger.IDText(), login}).Draw(r, "asked"))
				right = false
				_ = x.Proved(ctx, sasl.Proof{Mechanism: "SCRAM-SHA-256", User: user, Key: rapid.IntRange(0, 2).Draw(r, "n")})
			}
			if who != nil && (!right || who.Key.ID != owner || !alive[owner] || w.dir.stale || w.dir.access[0] != nil) {
				r.Fatalf("way %d: %q with %q got in as %v", how, user, pass.Reveal(), who.Key.ID)
			}
			if n := len(w.rec.logins) - before; n > 1 || n == 1 && w.rec.last().Result == "" || n == 0 && (how != 4 || pass != "") {
				r.Fatalf("way %d left %d records", how, n)
			}
			if n := len(w.rec.logins) - before; n == 1 && (w.rec.last().Result == relay.LoginOK) != (who != nil) {
				r.Fatalf("way %d: recorded %s, principal %v", how, w.rec.last().Result, who)
			}
		}
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 100).Draw(r, "pause")) * time.Second)
		if w.now.After(t0.Add(4 * time.Minute)) {
			w.now = t0 // the tokens live
		}
	})
}
