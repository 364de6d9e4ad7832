package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"postern/internal/relay"
	"postern/internal/sasl"
)

// The most that is looked at of what a client sends with its handshake.
const (
	maxNames         = 32
	maxIntermediates = 8
	maxCandidates    = 64
)

func (x *exchange) external(ctx context.Context, authzid string) error {
	at := x.at
	at.Mechanism, at.User = sasl.External.Name, authzid
	t := x.a.begin(at)
	t.external(ctx)
	return x.end(t)
}

// external judges a client certificate: a key names it by its fingerprint, or
// names a CA that it chains to and one of its names. The authorization identity
// is empty or the key's id.
func (t *trial) external(ctx context.Context) {
	if len(t.at.Certificates) == 0 {
		if t.open(nil) {
			t.note("no client certificate")
			t.refuse(relay.LoginMalformed, ReplyRefused)
		}
		return
	}
	leaf := t.at.Certificates[0]
	sum := sha256.Sum256(leaf.Raw)
	fingerprint := hex.EncodeToString(sum[:])
	if t.tried == "" {
		t.tried = "certificate " + fingerprint[:16]
	}
	if !t.fresh(ctx) {
		return
	}
	matching := t.a.pinned(fingerprint)
	if len(matching) == 0 {
		matching = t.a.issued(t)
	}
	// Most clients name no key. AU-26: who is known good comes in from a refused
	// address all the same.
	whose := t.lookupText(t.at.User)
	if t.at.User == "" && len(matching) == 1 {
		if whose = matching[0]; whose.Canary {
			t.a.sing(whose, t)
		}
	}
	if !t.openProven(whose) {
		return
	}
	t.note("certificate " + fingerprint)
	if t.now.Before(leaf.NotBefore) || !t.now.Before(leaf.NotAfter) {
		t.note("the certificate is not valid now")
		t.refuse(relay.LoginExpired, ReplyRefused)
		return
	}
	t.choose(ctx, matching, t.at.User, func(*relay.Key) {})
	if t.result == relay.LoginToken { // no key claims it
		t.result = relay.LoginUnknown
	}
}

// pinned are the keys that name the certificate itself.
func (a *Authenticator) pinned(fingerprint string) (keys []*relay.Key) {
	for _, k := range a.cfg.Directory.KeysByFingerprint(fingerprint) {
		if k.Kind == relay.KeyCertificate && k.Match != nil && strings.EqualFold(k.Match.Fingerprint, fingerprint) {
			keys = append(keys, k)
		}
	}
	return keys
}

// issued are the keys that name one of the certificate's names, and a CA that it
// chains to, for clients, at this moment.
func (a *Authenticator) issued(t *trial) (keys []*relay.Key) {
	leaf := t.at.Certificates[0]
	between := x509.NewCertPool()
	for _, c := range t.at.Certificates[1:min(len(t.at.Certificates), 1+maxIntermediates)] {
		between.AddCert(c)
	}
	seen := 0
	for _, name := range namesOf(leaf) {
		for _, k := range a.cfg.Directory.KeysByName(name) {
			if k.Kind != relay.KeyCertificate || k.Match == nil || k.Match.CA == "" || k.Match.Name != name {
				continue
			}
			if seen++; seen > maxCandidates {
				return keys
			}
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM([]byte(k.Match.CA)) {
				continue
			}
			_, err := leaf.Verify(x509.VerifyOptions{
				Roots: roots, Intermediates: between, CurrentTime: t.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			})
			if err == nil {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// namesOf lists a certificate's subject alternative names, each as a kind of name
// that it is: a DNS name is not taken for an address that it looks like. The
// common name does not count: no CA vouches for what it may look like.
func namesOf(c *x509.Certificate) (names []string) {
	add := func(name string, ok bool) {
		if ok && name != "" && len(names) < maxNames {
			for _, n := range names {
				if n == name {
					return
				}
			}
			names = append(names, name)
		}
	}
	for _, n := range c.DNSNames {
		add(n, !strings.ContainsAny(n, "@/:"))
	}
	for _, n := range c.EmailAddresses {
		add(n, strings.Contains(n, "@") && !strings.Contains(n, "://"))
	}
	for _, u := range c.URIs {
		if u != nil {
			add(u.String(), strings.Contains(u.String(), ":"))
		}
	}
	return names
}
