package v3

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"slices"
	"strings"

	"postern/internal/relay"
)

// What is said of certificates and tokens is kept short.
const (
	maxCA     = 64 << 10 // octets of PEM
	maxClaims = 16
	maxClaim  = 512 // octets of a name or value
)

// checkKind checks that a new key has what its kind needs, and nothing else's.
func (a *API) checkKind(k *relay.Key, cram bool) error {
	if cram && (k.Kind != relay.KeyAPI || a.SealCRAM == nil) {
		return invalid("cram_md5", "CRAM-MD5 is not switched on for such keys here.")
	}
	switch k.Kind {
	case relay.KeyAPI, relay.KeyAppPassword:
		if k.Match != nil {
			return invalid("match", "Only keys of the kinds certificate and federated match something.")
		}
	case relay.KeyCertificate, relay.KeyFederated:
		return a.checkMatch(k)
	default:
		return invalid("kind", "The kind must be api_key, app_password, certificate or federated.")
	}
	if k.Kind != relay.KeyAppPassword {
		return nil
	}
	if !a.AppPasswords {
		return refused("kind", "App passwords are switched off on this relay. Use an API key.")
	}
	if !slices.Equal(k.Scopes, []string{relay.ScopeMailSend}) {
		return invalid("scopes", "An app password can have the scope mail.send and no other.")
	}
	return nil
}

// checkMatch checks which certificates or tokens are a key's, and brings it into
// the form that is stored.
func (a *API) checkMatch(k *relay.Key) error {
	m := k.Match
	switch k.Kind {
	case relay.KeyCertificate:
		return checkCertificate(m)
	case relay.KeyFederated:
		return a.checkIssuer(m)
	}
	return invalid("match", "Only keys of the kinds certificate and federated match something.")
}

func checkCertificate(m *relay.KeyMatch) error {
	switch {
	case m == nil:
		return invalid("match", "Say which certificate it is: fingerprint, or ca and name.")
	case m.Issuer != "" || m.Audience != "" || len(m.Claims) > 0:
		return invalid("match", "Issuer, audience and claims are for keys of the kind federated.")
	case m.Fingerprint != "" && m.CA == "" && m.Name == "":
		m.Fingerprint = strings.ToLower(strings.ReplaceAll(m.Fingerprint, ":", ""))
		if sum, err := hex.DecodeString(m.Fingerprint); err != nil || len(sum) != 32 {
			return invalid("match.fingerprint", "Not the SHA-256 of a certificate: 64 hexadecimal digits.")
		}
		return nil
	case m.Fingerprint != "" || m.CA == "" || m.Name == "":
		return invalid("match", "Give either the certificate's fingerprint, or ca and name.")
	case len(m.Name) > 255 || strings.ContainsFunc(m.Name, unprintable) || strings.ContainsAny(m.Name, " *"):
		return invalid("match.name", "Not a DNS name, email address or URI of a certificate; it is compared exactly.")
	}
	return checkCA(m.CA)
}

func checkCA(text string) error {
	bad := invalid("match.ca", "Not certificates of authorities in PEM, at most %d octets.", maxCA)
	if len(text) > maxCA {
		return bad
	}
	rest := []byte(text)
	for n := 0; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if n == 0 || strings.TrimSpace(string(rest)) != "" {
				return bad
			}
			return nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil || !cert.IsCA {
			return bad
		}
	}
}

func (a *API) checkIssuer(m *relay.KeyMatch) error {
	switch {
	case m == nil:
		return invalid("match", "Say which tokens it is: issuer, audience and claims.")
	case m.Fingerprint != "" || m.CA != "" || m.Name != "":
		return invalid("match", "Fingerprint, ca and name are for keys of the kind certificate.")
	case !slices.Contains(a.Issuers, m.Issuer):
		return invalid("match.issuer", "The operator of this relay does not take tokens of this issuer.")
	case m.Audience == "" || len(m.Audience) > maxClaim:
		return invalid("match.audience", "Name the audience that the tokens are made for.")
	case len(m.Claims) == 0 || len(m.Claims) > maxClaims:
		return invalid("match.claims", "Name 1 to %d claims that the tokens must have.", maxClaims)
	}
	// An issuer serves many customers: a rule that fits all of its tokens would let
	// strangers in.
	narrow := false
	for name, value := range m.Claims {
		if name == "" || len(name) > maxClaim || value == "" || len(value) > maxClaim || strings.Contains(strings.TrimSuffix(value, "*"), "*") {
			return invalid("match.claims", "Each claim has a name and a value; * stands at the end of a value only.")
		}
		narrow = narrow || value != "*"
	}
	if !narrow {
		return invalid("match.claims", "These claims fit every token of the issuer; say whose.")
	}
	return nil
}

func sameMatch(a, b *relay.KeyMatch) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Fingerprint == b.Fingerprint && a.CA == b.CA && a.Name == b.Name &&
		a.Issuer == b.Issuer && a.Audience == b.Audience && maps.Equal(a.Claims, b.Claims)
}
