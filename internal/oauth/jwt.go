package oauth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	strict "github.com/go-jose/go-jose/v4/json"
)

// jwt is a token in three parts, read and not yet believed.
type jwt struct {
	header  header
	payload []byte
	claims  map[string]any
}

// header is what matters of a JOSE header.
type header struct {
	Alg, Kid, Typ string
}

// maxKid is the longest key id that is looked for, in octets.
const maxKid = 256

var rawURL = base64.RawURLEncoding.Strict()

// parse reads the compact form (RFC 7515 §7.1), the only one with exactly one
// signature and nothing outside it.
func parse(text string) (jwt, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[2] == "" {
		return jwt{}, refuse("it is not a signed token in the compact form")
	}
	var raw [3][]byte
	for i, p := range parts {
		b, err := rawURL.DecodeString(p)
		if err != nil {
			return jwt{}, refuse("it is not base64url")
		}
		raw[i] = b
	}
	h, err := parseHeader(raw[0])
	if err != nil {
		return jwt{}, err
	}
	claims, ok := object(raw[1])
	if !ok {
		return jwt{}, refuse("its claims are not a JSON object")
	}
	return jwt{header: h, payload: raw[1], claims: claims}, nil
}

// object reads a JSON object whose members, at every level, have different names:
// of two with one name different readers see different ones (RFC 7519 §4).
func object(b []byte) (map[string]any, bool) {
	var once map[string]any
	if strict.Unmarshal(b, &once) != nil {
		return nil, false
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&m) != nil || m == nil {
		return nil, false
	}
	return m, true
}

// never are header members that would let a token say how it is to be checked
// (RFC 8725 §3.10), or change what its parts mean (RFC 7515 §4.1.11).
var never = []string{"crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"}

func parseHeader(b []byte) (header, error) {
	m, ok := object(b)
	if !ok {
		return header{}, refuse("its header is not a JSON object")
	}
	for _, name := range never {
		if _, ok := m[name]; ok {
			return header{}, refuse("its header has %q", name)
		}
	}
	var h header
	for name, to := range map[string]*string{"alg": &h.Alg, "kid": &h.Kid, "typ": &h.Typ} {
		v, ok := m[name]
		if !ok {
			continue
		}
		s, ok := v.(string)
		if !ok || s == "" || len(s) > maxKid {
			return header{}, refuse("its header's %q is not a short text", name)
		}
		*to = s
	}
	return h, nil
}

// check is what can be said of a header without the keys.
func (h header) check(algorithms []string) error {
	if !slices.Contains(algorithms, h.Alg) {
		return refuse("its algorithm is not one that is believed")
	}
	switch strings.ToLower(h.Typ) {
	case "", "jwt", "at+jwt", "application/at+jwt": // RFC 9068 §4
		return nil
	}
	return refuse("its type is not that of an access token")
}

// keyKinds says which keys an algorithm takes. A key that fits another is never
// tried: an RSA key for HS256 would be a secret that everybody knows.
var keyKinds = map[string]func(key any) bool{
	"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey,
	"PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
	"ES256": ecKey(elliptic.P256()), "ES384": ecKey(elliptic.P384()), "ES512": ecKey(elliptic.P521()),
	"EdDSA": func(key any) bool { k, ok := key.(ed25519.PublicKey); return ok && len(k) == ed25519.PublicKeySize },
}

// rsaKey: below 2,048 bits a signature proves little, far above it checking one
// is work that somebody else can order.
func rsaKey(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192
}

func ecKey(c elliptic.Curve) func(any) bool {
	return func(key any) bool { k, ok := key.(*ecdsa.PublicKey); return ok && k.Curve == c }
}
