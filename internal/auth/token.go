package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

// An access token is "pst_", the payload, ".", and its HMAC-SHA256 under a key
// derived from the sealing key, both in base64url. It is not stored. The payload
// is, in octets:
//
//	 1  version
//	16  id of the token
//	16  id of the key
//	 8  start of the SHA-256 of the key's secret
//	 8  issued, 8 expires: Unix seconds, big-endian
//	 4  CRC-32 of the list of all scopes
//	 n  a bit for each scope of that list
//
// The list's checksum is there because a bit means another scope in another
// version: then the token is refused, and its holder asks for a new one.
const (
	tokenPrefix  = "pst_"
	tokenVersion = 1
	tokenHead    = 1 + 16 + 16 + 8 + 8 + 8 + 4
	tokenMAC     = sha256.Size
	maxTokenText = 4 << 10

	// MaxTokenLife is the longest that an access token lives.
	MaxTokenLife = time.Hour
	// tokenSkew is how far in the future a token may have been issued, by another
	// node with another clock.
	tokenSkew = time.Minute
)

// The ways in which a token is refused. All are relay.Unauthenticated.
var (
	errTokenForm    = errors.New("malformed")
	errTokenMAC     = errors.New("not signed by us")
	errTokenExpired = errors.New("expired")
	errTokenScopes  = errors.New("of another version: ask for a new one")
)

var tokenEncoding = base64.RawURLEncoding.Strict()

// scopeListSum names the list that the bits of a token count in.
var scopeListSum = crc32.ChecksumIEEE([]byte(strings.Join(relay.Scopes, " ")))

// MintToken makes an access token for the key that a principal logged in with.
// scopes may be nil, for all that the principal has; else each must be one of
// them. life is cut to MaxTokenLife and to the life of the key and of its
// secret; 0 is MaxTokenLife. Errors are *relay.Error: Forbidden for a principal
// that is not an API key itself (a token cannot mint a token), Invalid for the
// rest.
func (a *Authenticator) MintToken(p *relay.Principal, scopes []string, life time.Duration) (secret.Redacted, relay.Token, error) {
	switch {
	case len(a.tokenKeys) == 0:
		return "", relay.Token{}, relay.E(relay.Unavailable, "There are no access tokens here.")
	case p.Token != nil || p.Key == nil || !hasSecret(p.Key):
		return "", relay.Token{}, relay.E(relay.Forbidden, "Only an API key itself can ask for an access token.")
	case life < 0:
		return "", relay.Token{}, &relay.Error{Kind: relay.Invalid, Field: "expires_in", Public: "The life of a token is 1 second to 1 hour."}
	case life == 0 || life > MaxTokenLife:
		life = MaxTokenLife
	}
	scopes, err := narrowed(p, scopes)
	if err != nil {
		return "", relay.Token{}, err
	}
	now := a.cfg.Now().Truncate(time.Second)
	t := relay.Token{ID: relay.TokenID{ID: relay.NewID(now)}, Key: p.Key.ID, Scopes: scopes, IssuedAt: now, ExpiresAt: now.Add(life).Truncate(time.Second)}
	t.Secret = secretStart(&p.Key.Verifier)
	ends := p.Key.ExpiresAt
	if p.Previous {
		if p.Key.Previous == nil {
			return "", relay.Token{}, relay.E(relay.Forbidden, "The secret is no longer valid.")
		}
		t.Secret = secretStart(p.Key.Previous)
		if ends.IsZero() || p.Key.PreviousUntil.Before(ends) {
			ends = p.Key.PreviousUntil
		}
	}
	if !ends.IsZero() && ends.Before(t.ExpiresAt) {
		t.ExpiresAt = ends.Truncate(time.Second)
	}
	if !t.ExpiresAt.After(now) {
		return "", relay.Token{}, relay.E(relay.Forbidden, "The key ends now.")
	}
	payload := encodeToken(&t)
	text := tokenPrefix + tokenEncoding.EncodeToString(payload) + "." + tokenEncoding.EncodeToString(tokenSum(a.tokenKeys[0], payload))
	return secret.Redacted(text), t, nil
}

// narrowed checks the scopes of a new token: sorted, each once, none that the
// principal has not.
func narrowed(p *relay.Principal, scopes []string) ([]string, error) {
	if len(scopes) == 0 {
		scopes = p.Key.Scopes
	}
	scopes = slices.Clone(scopes)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	for _, s := range scopes {
		if !relay.KnownScope(s) || !p.Allows(s) {
			return nil, &relay.Error{Kind: relay.Invalid, Field: "scope", Public: fmt.Sprintf("The key does not have the scope %q.", printable(s, 60))}
		}
	}
	return scopes, nil
}

// ParseToken reads a token and checks its form, its MAC under any of the sealing
// keys, and its life. It does not ask whether the token was revoked or its key is
// good. Errors are *relay.Error with the public text of a refused token.
func (a *Authenticator) ParseToken(text secret.Redacted) (relay.Token, error) {
	t, err := a.parseToken(text, a.cfg.Now())
	if err != nil {
		return relay.Token{}, &relay.Error{Kind: relay.Unauthenticated, Public: textRefused, Err: err}
	}
	return t, nil
}

func (a *Authenticator) parseToken(text secret.Redacted, now time.Time) (relay.Token, error) {
	body, ok := strings.CutPrefix(text.Reveal(), tokenPrefix)
	if !ok || len(text) > maxTokenText {
		return relay.Token{}, errTokenForm
	}
	first, second, ok := strings.Cut(body, ".")
	payload, ok1 := decodeToken(first)
	sum, ok2 := decodeToken(second)
	if !ok || !ok1 || !ok2 || len(sum) != tokenMAC || len(payload) < tokenHead || payload[0] != tokenVersion {
		return relay.Token{}, errTokenForm
	}
	signed := false
	for _, key := range a.tokenKeys { // all of them: which one it was does not show
		signed = hmac.Equal(tokenSum(key, payload), sum) || signed
	}
	if !signed {
		return relay.Token{}, errTokenMAC
	}
	t, err := decodePayload(payload)
	switch {
	case err != nil:
		return relay.Token{}, err
	case t.IssuedAt.After(now.Add(tokenSkew)), t.ExpiresAt.Sub(t.IssuedAt) > MaxTokenLife:
		return relay.Token{}, errTokenForm
	case !now.Before(t.ExpiresAt):
		return relay.Token{}, errTokenExpired
	}
	return t, nil
}

// decodeToken reads base64url in its one spelling: the decoder would skip line
// ends.
func decodeToken(s string) ([]byte, bool) {
	b, err := tokenEncoding.DecodeString(s)
	return b, err == nil && len(s) == tokenEncoding.EncodedLen(len(b))
}

func tokenSum(key, payload []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(payload)
	return h.Sum(nil)
}

func encodeToken(t *relay.Token) []byte {
	b := make([]byte, 0, tokenHead+(len(relay.Scopes)+7)/8)
	b = append(b, tokenVersion)
	b = append(b, t.ID.ID[:]...)
	b = append(b, t.Key.ID[:]...)
	b = append(b, t.Secret[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.IssuedAt.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(t.ExpiresAt.Unix()))
	b = binary.BigEndian.AppendUint32(b, scopeListSum)
	bits := make([]byte, (len(relay.Scopes)+7)/8)
	for _, s := range t.Scopes {
		i, _ := slices.BinarySearch(relay.Scopes, s) // narrowed has seen to it that it is there
		bits[i/8] |= 1 << (i % 8)
	}
	return append(b, bits...)
}

func decodePayload(b []byte) (relay.Token, error) {
	var t relay.Token
	b = b[1:]
	b = b[copy(t.ID.ID[:], b):]
	b = b[copy(t.Key.ID[:], b):]
	b = b[copy(t.Secret[:], b):]
	t.IssuedAt = time.Unix(int64(binary.BigEndian.Uint64(b)), 0).UTC()
	t.ExpiresAt = time.Unix(int64(binary.BigEndian.Uint64(b[8:])), 0).UTC()
	bits := b[20:]
	if binary.BigEndian.Uint32(b[16:]) != scopeListSum || len(bits) != (len(relay.Scopes)+7)/8 {
		return t, errTokenScopes
	}
	for i, s := range relay.Scopes {
		if bits[i/8]>>(i%8)&1 == 1 {
			t.Scopes = append(t.Scopes, s)
		}
	}
	return t, nil
}
