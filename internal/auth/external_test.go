package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/smtp"
)

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// ca issues certificates in memory.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T, parent *ca, name string) *ca {
	t.Helper()
	c := &ca{}
	c.cert, c.key = issue(t, parent, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return c
}

func issue(t *testing.T, by *ca, tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	if tmpl.NotAfter.IsZero() {
		tmpl.NotBefore, tmpl.NotAfter = t0.Add(-time.Hour), t0.Add(time.Hour)
	}
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (c *ca) client(t *testing.T, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: "printer.acme.test"}, DNSNames: []string{"web.acme.test"}, EmailAddresses: []string{"web@acme.test"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "acme.test", Path: "/web"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(tmpl)
	}
	cert, _ := issue(t, c, tmpl)
	return cert
}

func (c *ca) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}))
}

func (w *world) certificateKey(m relay.KeyMatch) *relay.Key {
	k := &relay.Key{ID: relay.KeyID{ID: relay.NewID(t0)}, Account: acme, Kind: relay.KeyCertificate, Scopes: []string{relay.ScopeMailSend}, Match: &m}
	w.dir.keys[k.ID] = k
	return k
}

func (w *world) external(authzid string, chain ...*x509.Certificate) error {
	at := w.attempt("EXTERNAL")
	at.Certificates = chain
	return w.converse(sasl.External, sasl.NewExternalClient(authzid), at)
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// AU-26: a certificate that is known at an address comes in although the address
// is refused, whether or not the client names the key; another one does not.
func TestExternalFromARefusedAddress(t *testing.T) {
	w := newWorld(t, nil)
	w.guard(GuardConfig{})
	issuer := newCA(t, nil, "acme")
	pinned, named, stranger := issuer.client(t, nil), issuer.client(t, nil), newCA(t, nil, "any").client(t, nil)
	k := w.certificateKey(relay.KeyMatch{Fingerprint: fingerprint(pinned)})
	w.certificateKey(relay.KeyMatch{CA: issuer.pem(), Name: "web.acme.test"})
	fresh := w.certificateKey(relay.KeyMatch{Fingerprint: fingerprint(stranger)})
	fresh.Account = relay.AccountID{ID: relay.ID{9}}
	w.expect(t, "at first", w.external("", pinned), relay.LoginOK, smtp.Reply{})
	w.expect(t, "at first, by name", w.external("", named), relay.LoginOK, smtp.Reply{})
	for range 20 {
		w.plain("apikey", "nonsense")
	}
	w.expect(t, "known", w.external("", pinned), relay.LoginOK, smtp.Reply{})
	w.expect(t, "known, named", w.external(k.ID.String(), pinned), relay.LoginOK, smtp.Reply{})
	w.expect(t, "known by name", w.external("", named), relay.LoginOK, smtp.Reply{})
	w.expect(t, "known elsewhere only", w.external("", stranger), relay.LoginThrottled, ReplyThrottled)
	w.expect(t, "of nobody", w.external("", newCA(t, nil, "any").client(t, nil)), relay.LoginThrottled, ReplyThrottled)
	fresh.Canary = true
	w.alerts = nil
	if w.expect(t, "canary", w.external("", stranger), relay.LoginThrottled, ReplyThrottled); len(w.alerts) != 1 || w.alerts[0].Kind != relay.AlertCanary {
		t.Errorf("alerts %+v", w.alerts)
	}
}

func TestExternalByFingerprint(t *testing.T) {
	w := newWorld(t, nil)
	c := newCA(t, nil, "any").client(t, nil)
	k := w.certificateKey(relay.KeyMatch{Fingerprint: fingerprint(c)})
	other := w.certificateKey(relay.KeyMatch{Fingerprint: "00"})
	w.expect(t, "pinned", w.external("", c), relay.LoginOK, smtp.Reply{})
	if w.who == nil || w.who.Key != k || w.who.Mechanism != "EXTERNAL" {
		t.Errorf("principal %+v", w.who)
	}
	w.expect(t, "as its key", w.external(k.ID.String(), c), relay.LoginOK, smtp.Reply{})
	w.expect(t, "AU-04 as another key", w.external(other.ID.String(), c), relay.LoginUnknown, ReplyRefused)
	w.expect(t, "AU-04 as a person", w.external("admin", c), relay.LoginUnknown, ReplyRefused)
	w.expect(t, "AU-09 no certificate", w.external(""), relay.LoginMalformed, ReplyRefused)
	w.expect(t, "another certificate", w.external("", newCA(t, nil, "any").client(t, nil)), relay.LoginUnknown, ReplyRefused)
	k2 := w.certificateKey(relay.KeyMatch{Fingerprint: fingerprint(c)})
	w.expect(t, "two keys", w.external("", c), relay.LoginAmbiguous, ReplyRefused)
	w.expect(t, "two keys, one named", w.external(k2.ID.String(), c), relay.LoginOK, smtp.Reply{})
	delete(w.dir.keys, k2.ID)
	k.Networks = prefixes("10.0.0.0/8")
	w.expect(t, "network", w.external("", c), relay.LoginNetwork, ReplyRefused)
	k.Networks = nil
	w.now = c.NotAfter
	w.expect(t, "certificate expired", w.external("", c), relay.LoginExpired, ReplyRefused)
	w.now = t0
	key, row := w.apiKey(t, func(k *relay.Key) { k.Match = &relay.KeyMatch{Fingerprint: fingerprint(c)} })
	delete(w.dir.keys, k.ID)
	w.expect(t, "an API key is no one's by certificate", w.external(key.IDText(), c), relay.LoginUnknown, ReplyRefused)
	_ = row
}

func TestExternalByCAAndName(t *testing.T) {
	root := newCA(t, nil, "root")
	middle := newCA(t, root, "middle")
	evil := newCA(t, nil, "root") // the same name, another key
	old := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = t0.Add(-2*time.Hour), t0.Add(-time.Hour) }
	for _, tt := range []struct {
		name  string
		match string
		chain func() []*x509.Certificate
		want  relay.LoginResult
	}{
		{"DNS name", "web.acme.test", func() []*x509.Certificate { return []*x509.Certificate{root.client(t, nil)} }, relay.LoginOK},
		{"e-mail", "web@acme.test", func() []*x509.Certificate { return []*x509.Certificate{root.client(t, nil)} }, relay.LoginOK},
		{"URI", "spiffe://acme.test/web", func() []*x509.Certificate { return []*x509.Certificate{root.client(t, nil)} }, relay.LoginOK},
		{"by an intermediate", "web.acme.test", func() []*x509.Certificate { return []*x509.Certificate{middle.client(t, nil), middle.cert} }, relay.LoginOK},
		{"intermediate not sent", "web.acme.test", func() []*x509.Certificate { return []*x509.Certificate{middle.client(t, nil)} }, relay.LoginUnknown},
		{"another CA", "web.acme.test", func() []*x509.Certificate { return []*x509.Certificate{evil.client(t, nil), evil.cert} }, relay.LoginUnknown},
		{"another CA, with ours behind", "web.acme.test", func() []*x509.Certificate { return []*x509.Certificate{evil.client(t, nil), root.cert} }, relay.LoginUnknown},
		{"another name", "mail.acme.test", func() []*x509.Certificate { return []*x509.Certificate{root.client(t, nil)} }, relay.LoginUnknown},
		{"common name only", "printer.acme.test", func() []*x509.Certificate { return []*x509.Certificate{root.client(t, nil)} }, relay.LoginUnknown},
		{"wildcard is not its names", "a.acme.test", func() []*x509.Certificate {
			return []*x509.Certificate{root.client(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.acme.test"} })}
		}, relay.LoginUnknown},
		{"for servers", "web.acme.test", func() []*x509.Certificate {
			return []*x509.Certificate{root.client(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}
		}, relay.LoginUnknown},
		{"expired", "web.acme.test", func() []*x509.Certificate { return []*x509.Certificate{root.client(t, old)} }, relay.LoginExpired},
		{"self-signed with the name", "web.acme.test", func() []*x509.Certificate { return []*x509.Certificate{(*ca)(nil).client(t, nil)} }, relay.LoginUnknown},
		{"a DNS name with the form of an e-mail", "web@acme.test", func() []*x509.Certificate {
			return []*x509.Certificate{root.client(t, func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses, c.URIs = []string{"web@acme.test"}, nil, nil })}
		}, relay.LoginUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.certificateKey(relay.KeyMatch{CA: root.pem(), Name: tt.match})
			w.certificateKey(relay.KeyMatch{CA: "not PEM", Name: tt.match})
			w.expect(t, tt.name, w.external("", tt.chain()...), tt.want, ReplyRefused)
		})
	}
}

// A certificate with thousands of names, or before thousands of keys, costs little.
func TestExternalIsBounded(t *testing.T) {
	root := newCA(t, nil, "root")
	c := root.client(t, func(c *x509.Certificate) {
		for i := range 2000 {
			c.DNSNames = append(c.DNSNames, "n"+big.NewInt(int64(i)).String()+".test")
		}
	})
	if n := len(namesOf(c)); n > maxNames {
		t.Errorf("%d names are looked up", n)
	}
	w := newWorld(t, nil)
	evil := newCA(t, nil, "evil")
	for range 200 {
		w.certificateKey(relay.KeyMatch{CA: evil.pem(), Name: "web.acme.test"})
	}
	w.expect(t, "many candidates", w.external("", root.client(t, nil)), relay.LoginUnknown, ReplyRefused)
}
