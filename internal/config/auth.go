package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
)

// Mechanisms are the ways to log in that a listener can offer.
var Mechanisms = []string{
	"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL", "CRAM-MD5",
}

// Those that are offered where nothing is said. In SCRAM the user name must be the
// key's id. Clients that were set up with the word apikey, and take the strongest
// mechanism that they see (Postfix does), would fail at first where they are moved
// from another relay: to the ports of STARTTLS.
var (
	dropInMechanisms  = Mechanisms[:4]
	defaultMechanisms = Mechanisms[:6]
)

// Offered are the mechanisms of a listener.
func (l *Listener) Offered() []string {
	switch {
	case len(l.Mechanisms) > 0:
		return l.Mechanisms
	case l.TLS == TLSImplicit:
		return defaultMechanisms
	}
	return dropInMechanisms
}

// tokenAlgorithms are those with a public key: a secret that is shared with the
// issuer could make tokens too.
var tokenAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (c *Config) checkIssuers(v *checker) {
	seen := map[string]bool{}
	for i := range c.Issuers {
		is, key := &c.Issuers[i], "issuer["+strconv.Itoa(i)+"]"
		if text := issuerText(is.URL, is.Private); text != "" {
			v.fail(key+".url", "%s", text)
		}
		if seen[is.URL] {
			v.fail(key+".url", "%q is there twice", is.URL)
		}
		seen[is.URL] = true
		for _, u := range []struct{ key, url string }{{"jwks_url", is.JWKSURL}, {"introspection_url", is.IntrospectionURL}} {
			if u.url != "" {
				if text := issuerText(u.url, is.Private); text != "" {
					v.fail(key+"."+u.key, "%s", text)
				}
			}
		}
		for n, a := range is.Algorithms {
			if !slices.Contains(tokenAlgorithms, a) {
				v.fail(key+".algorithms["+strconv.Itoa(n)+"]", "%q is not possible; choose %s", a, quotedList(tokenAlgorithms))
			}
		}
		if (is.IntrospectionURL == "") != (is.ClientID == "" && is.ClientSecretFile == "") || (is.ClientID == "") != (is.ClientSecretFile == "") {
			v.fail(key+".introspection_url", "needs client_id and client_secret_file, and they need it")
		}
	}
}

// issuerText says how an issuer's URL is wrong; "" if it is right.
func issuerText(s string, private bool) string {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "is required: the issuer's URL"
	case err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return strconv.Quote(s) + " is not the URL of an issuer, such as https://issuer.example.org"
	case u.Scheme == "http" && private:
		return ""
	case u.Scheme != "https":
		return strconv.Quote(s) + " must start with https:// (http:// only with private = true)"
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !private && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()) {
		return strconv.Quote(s) + " is a private address: that needs private = true"
	}
	return ""
}

// absolute makes a path from a file count from the file's directory.
func absolute(p *string, dir string) {
	if *p != "" && !filepath.IsAbs(*p) {
		*p = filepath.Join(dir, *p)
	}
}
