package sink

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postern/internal/dns"
)

const plain = "From: Ann <ann@acme.test>\r\nTo: bob@inbox.test\r\nSubject: hello\r\nDate: Mon, 01 Jun 2026 10:00:00 +0000\r\nMessage-ID: <1@acme.test>\r\n\r\nHello Bob.\r\n"

// keys are made once: RSA keys take long.
var keys = sync.OnceValue(func() (k struct {
	rsa    *rsa.PrivateKey
	ed     ed25519.PrivateKey
	rsaTXT string
	edTXT  string
}) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	pub, _ := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
	k.rsaTXT = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(pub)
	edPub, edKey, _ := ed25519.GenerateKey(rand.Reader)
	k.ed = edKey
	k.edTXT = "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edPub)
	return k
})

// sign puts a signature on top.
func sign(tb testing.TB, raw, domain, selector string, key crypto.Signer) string {
	tb.Helper()
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(raw), &dkim.SignOptions{
		Domain: domain, Selector: selector, Signer: key, Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID"},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

// world is the DNS of the tests here.
func world() *dns.Static {
	k := keys()
	return &dns.Static{
		TXTs: map[string][]string{
			"acme.test": {"v=spf1 a:relay.postern.test -all", "other text"}, "_dmarc.acme.test": {"v=DMARC1; p=reject"},
			"bounce.acme.test":   {"v=spf1 ip4:192.0.2.0/24 -all"},
			"relay.postern.test": {"v=spf1 a -all"},
			"soft.test":          {"v=spf1 ~all"}, "twice.test": {"v=spf1 -all", "v=spf1 +all"}, "bad.test": {"v=spf1 nonsense:x -all"},
			"loop.test": {"v=spf1 include:loop.test -all"}, "broken.test": {"v=spf1 include:down.test -all"},
			"void.test":                 {"v=spf1 a:v1.void.test a:v2.void.test a:v3.void.test +all"},
			"s1._domainkey.acme.test":   {k.rsaTXT},
			"s1e._domainkey.acme.test":  {k.edTXT},
			"gone._domainkey.acme.test": {"v=DKIM1; p="},
			"s1._domainkey.relay.test":  {k.rsaTXT},
		},
		Addrs: map[string][]netip.Addr{"relay.postern.test": {netip.MustParseAddr("192.0.2.1")}},
		Fail:  []string{"down.test", "txt down._domainkey.acme.test"},
	}
}

func TestVerifySPF(t *testing.T) {
	t.Parallel()
	v := &Verifier{Resolver: world(), Hostname: "mx.inbox.test"}
	for _, tt := range []struct{ from, helo, remote, want string }{
		{"ann@acme.test", "relay.postern.test", "192.0.2.1", "pass acme.test"},
		{"ann@acme.test", "relay.postern.test", "::ffff:192.0.2.1", "pass acme.test"},
		{"ann@acme.test", "relay.postern.test", "192.0.2.2", "fail acme.test"},
		{"b+1@bounce.acme.test", "relay.postern.test", "192.0.2.77", "pass bounce.acme.test"},
		{"b+1@bounce.acme.test", "relay.postern.test", "2001:db8::1", "fail bounce.acme.test"},
		{`"a@b"@bounce.acme.test`, "relay.postern.test", "192.0.2.77", "pass bounce.acme.test"},
		{"", "relay.postern.test", "192.0.2.1", "pass relay.postern.test"},
		{"", "Relay.Postern.Test", "192.0.2.9", "fail relay.postern.test"},
		{"", "[192.0.2.1]", "192.0.2.1", "none [192.0.2.1]"},
		{"", "localhost", "192.0.2.1", "none localhost"},
		{"x@nothing.test", "h.test", "192.0.2.1", "none nothing.test"},
		{"x@soft.test", "h.test", "192.0.2.1", "softfail soft.test"},
		{"x@twice.test", "h.test", "192.0.2.1", "permerror twice.test"},
		{"x@bad.test", "h.test", "192.0.2.1", "permerror bad.test"},
		{"x@loop.test", "h.test", "192.0.2.1", "permerror loop.test"}, // RX-13
		{"x@void.test", "h.test", "192.0.2.1", "permerror void.test"}, // RX-13
		{"x@down.test", "h.test", "192.0.2.1", "temperror down.test"},
		{"x@broken.test", "h.test", "192.0.2.1", "temperror broken.test"},
	} {
		env := Envelope{Remote: netip.MustParseAddr(tt.remote), Helo: tt.helo, MailFrom: tt.from}
		if at := strings.LastIndexByte(tt.from, '@'); at >= 0 {
			env.Domain = tt.from[at+1:]
		}
		out := v.Verify(context.Background(), env, []byte(plain))
		if got := out.SPF + " " + out.SPFDomain; got != tt.want {
			t.Errorf("%q from %s: got %s, want %s", tt.from, tt.remote, got, tt.want)
		}
	}
}

func TestVerifyDKIMAndDMARC(t *testing.T) {
	t.Parallel()
	k := keys()
	both := sign(t, sign(t, plain, "acme.test", "s1", k.rsa), "acme.test", "s1e", k.ed)
	for _, tt := range []struct {
		name, raw string
		spf       string // remote address
		want      string // dkim, dmarc, each signature
	}{
		{"RSA and Ed25519", both, "192.0.2.1", "pass pass s1e:ed25519-sha256:pass s1:rsa-sha256:pass"},
		{"forwarded: SPF fails, DKIM holds", both, "198.51.100.1", "pass pass s1e:ed25519-sha256:pass s1:rsa-sha256:pass"},
		{"SPF alone", plain, "192.0.2.1", "none pass"},
		{"neither", plain, "198.51.100.1", "none fail"},
		{"body changed", strings.Replace(both, "Hello Bob", "Hello Eve", 1), "198.51.100.1", "fail fail s1e:ed25519-sha256:fail s1:rsa-sha256:fail"},
		{"subject changed", strings.Replace(both, "hello", "hullo", 1), "198.51.100.1", "fail fail s1e:ed25519-sha256:fail s1:rsa-sha256:fail"},
		{"one spoilt, one good", strings.Replace(both, "s=s1e", "s=s1x", 1), "198.51.100.1", "pass pass s1x:ed25519-sha256:permerror s1:rsa-sha256:pass"},
		{"signed by another", sign(t, plain, "relay.test", "s1", k.rsa), "198.51.100.1", "pass fail s1:rsa-sha256:pass"},
		{"revoked key", sign(t, plain, "acme.test", "gone", k.rsa), "198.51.100.1", "permerror fail gone:rsa-sha256:permerror"},
		{"key not to be had now", sign(t, plain, "acme.test", "down", k.rsa), "198.51.100.1", "temperror temperror down:rsa-sha256:temperror"},
		{"key of another kind", sign(t, plain, "acme.test", "s1", k.ed), "198.51.100.1", "permerror fail s1:ed25519-sha256:permerror"},
		{"nonsense", "DKIM-Signature: v=1; nonsense\r\n" + plain, "198.51.100.1", "permerror fail ::permerror"},
		{"two From", "From: eve@evil.test\r\n" + plain, "192.0.2.1", "none permerror"},
		{"two mailboxes", strings.Replace(plain, "Ann <ann@acme.test>", "a@acme.test, b@evil.test", 1), "192.0.2.1", "none permerror"},
		{"no header", "\r\nbody\r\n", "192.0.2.1", "none permerror"},
		{"nothing", "", "192.0.2.1", "permerror permerror"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := &Verifier{Resolver: world(), Hostname: "mx.inbox.test"}
			env := Envelope{Remote: netip.MustParseAddr(tt.spf), Helo: "relay.postern.test", MailFrom: "ann@acme.test", Domain: "acme.test"}
			out := v.Verify(context.Background(), env, []byte(tt.raw))
			got := out.DKIM + " " + out.DMARC
			for _, s := range out.Signatures {
				got += fmt.Sprintf(" %s:%s:%s", s.Selector, s.Algorithm, s.Result)
				if (s.Reason == "") != (s.Result == "pass") {
					t.Errorf("reason %q of %s", s.Reason, s.Result)
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// RX-13: a message with a thousand signatures costs no more than one with 16.
func TestVerifyBoundsSignatures(t *testing.T) {
	t.Parallel()
	raw := strings.Repeat("DKIM-Signature: v=1; a=rsa-sha256; d=acme.test; s=s1; h=from; bh=; b=\r\n", 1000) + plain
	v := &Verifier{Resolver: world(), Hostname: "mx.inbox.test"}
	begin := time.Now()
	out := v.Verify(context.Background(), Envelope{Remote: netip.MustParseAddr("192.0.2.1")}, []byte(raw))
	if len(out.Signatures) != maxSignatures || out.DKIM == "pass" {
		t.Errorf("%d signatures, %s", len(out.Signatures), out.DKIM)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestAuthenticationResults(t *testing.T) {
	t.Parallel()
	v := &Verifier{Resolver: world(), Hostname: "mx.inbox.test"}
	for _, tt := range []struct {
		env  Envelope
		raw  string
		want string
	}{
		{Envelope{Helo: "relay.postern.test", MailFrom: "ann@acme.test", Domain: "acme.test"}, sign(t, plain, "acme.test", "s1", keys().rsa),
			"mx.inbox.test; spf=pass smtp.mailfrom=acme.test; dkim=pass header.d=acme.test header.s=s1 header.a=rsa-sha256; dmarc=pass header.from=acme.test"},
		{Envelope{Helo: "relay.postern.test"}, plain, "mx.inbox.test; spf=pass smtp.helo=relay.postern.test; dkim=none; dmarc=fail header.from=acme.test"},
		{Envelope{Helo: "x"}, "DKIM-Signature: v=1; a=x; d=evil.test spf=pass; s=\"; dmarc=pass; h=from; b=; bh=\r\n" + plain,
			"mx.inbox.test; spf=none smtp.helo=x; dkim=permerror header.d=evil.test?spf?pass header.s=? header.a=x; dmarc=fail header.from=acme.test"},
	} {
		tt.env.Remote = netip.MustParseAddr("192.0.2.1")
		got := v.AuthenticationResults(tt.env, v.Verify(context.Background(), tt.env, []byte(tt.raw)))
		if got != tt.want && !strings.Contains(tt.raw, "evil") {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		if strings.Contains(tt.raw, "evil") && (strings.Contains(got, "dmarc=pass") || strings.Contains(got, "spf=pass")) {
			t.Errorf("a signature's text forges results: %s", got)
		}
	}
}

// What a stranger sends must not bring verification down.
func FuzzVerify(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte(""))
	f.Add([]byte("DKIM-Signature: v=1; a=rsa-sha256; d=acme.test; s=s1; h=from:from; bh=x; b=y; l=1; t=9; x=1; q=dns/txt; c=a/b\r\n" + plain))
	f.Add([]byte("DKIM-Signature:\r\nFrom: \"\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v := &Verifier{Resolver: &dns.Static{TXTs: map[string][]string{"s1._domainkey.acme.test": {"p=AAAA"}}}, Hostname: "mx.inbox.test"}
		env := Envelope{Remote: netip.MustParseAddr("192.0.2.1"), Helo: "x.test"}
		out := v.Verify(context.Background(), env, raw)
		if out.DKIM == "pass" || out.DMARC == "pass" {
			t.Fatalf("passes: %+v", out)
		}
		if r := v.AuthenticationResults(env, out); strings.ContainsAny(r, "\r\n") {
			t.Fatalf("line break in %q", r)
		}
	})
}
