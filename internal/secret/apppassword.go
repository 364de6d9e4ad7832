package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// An app password is for devices that cannot hold a key: their password field is
// too short, or the user name is fixed to something they can show. It is
// generated, never chosen, and shorter than a key: 100 random bits.
const (
	appLoginPrefix   = "dev-"
	appLoginChars    = 8  // 40 bits: a name, not a secret
	appPasswordChars = 20 // 100 bits
	appPasswordGroup = 5
)

// ErrAppPassword: the text is not a well-formed app password. It was decided
// without looking anything up.
var ErrAppPassword = errors.New("not a well-formed app password")

// appEncoding is base32 (RFC 4648 §6) in lower case: without 0, 1, 8 and 9 a
// person can read it from a screen and type it.
var appEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// GenerateAppPassword draws a user name such as "dev-mq2x7abc" and a password,
// shown as 4 groups of 5 characters.
func GenerateAppPassword() (login string, password Redacted) {
	var random [5 + 13]byte
	_, _ = rand.Read(random[:]) // never fails
	login = appLoginPrefix + appEncoding.EncodeToString(random[:5])
	text := appEncoding.EncodeToString(random[5:])[:appPasswordChars]
	groups := make([]string, 0, appPasswordChars/appPasswordGroup)
	for ; text != ""; text = text[appPasswordGroup:] {
		groups = append(groups, text[:appPasswordGroup])
	}
	return login, Redacted(strings.Join(groups, "-"))
}

// IsAppLogin reports whether a user name is one of an app password's.
func IsAppLogin(user string) bool {
	rest, ok := strings.CutPrefix(user, appLoginPrefix)
	return ok && len(rest) == appLoginChars && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// AppPassword is an app password in the form that is hashed: lower case, without
// the hyphens that people may leave out. It prints as "[redacted]".
type AppPassword struct{ normal Redacted }

// ParseAppPassword reads a password as people type it: in any case, with hyphens
// anywhere or nowhere. It returns ErrAppPassword.
func ParseAppPassword(s string) (AppPassword, error) {
	if len(s) > 2*appPasswordChars {
		return AppPassword{}, ErrAppPassword
	}
	normal := make([]byte, 0, appPasswordChars)
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		switch {
		case c == '-':
			continue
		case (c < 'a' || c > 'z') && (c < '2' || c > '7'), len(normal) == appPasswordChars:
			return AppPassword{}, ErrAppPassword
		}
		normal = append(normal, c)
	}
	if len(normal) != appPasswordChars {
		return AppPassword{}, ErrAppPassword
	}
	return AppPassword{Redacted(normal)}, nil
}

// SHA256 is the hash that is stored and compared. 100 random bits need no slow
// one.
func (p AppPassword) SHA256() [32]byte { return sha256.Sum256([]byte(p.normal)) }

// Fits reports in constant time whether the password has the stored hash.
func (p AppPassword) Fits(want [32]byte) bool {
	have := p.SHA256()
	return subtle.ConstantTimeCompare(have[:], want[:]) == 1
}

// Verifier is what is stored of it: the hash alone, so that it works with PLAIN
// and LOGIN and nothing else.
func (p AppPassword) Verifier() Verifier { return Verifier{SHA256: p.SHA256()} }

// Format implements fmt.Formatter: no verb shows the secret.
func (p AppPassword) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedText) }

// LogValue implements slog.LogValuer.
func (p AppPassword) LogValue() slog.Value { return slog.StringValue(redactedText) }
