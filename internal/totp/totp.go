// Package totp makes and checks the six-digit codes of authenticator apps (RFC
// 6238 with SHA-1, steps of 30 seconds: what every app understands).
//
// It keeps nothing: who checks a code remembers the step that Check returns, and
// hands it in the next time, so that no code works twice.
package totp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

const (
	// Period is the length of a time step (RFC 6238 §4.1).
	Period = 30 * time.Second
	// Digits of a code.
	Digits = 6
	// SecretBytes of a new secret: as many as the hash has (RFC 4226 §4, R6).
	SecretBytes = 20
	// drift is how many steps a phone's clock may be off, either way (RFC 6238 §5.2).
	drift = 1
)

// NewSecret draws a secret.
func NewSecret() []byte {
	s := make([]byte, SecretBytes)
	_, _ = rand.Read(s) // never fails
	return s
}

// Step is the time step of a moment.
func Step(at time.Time) int64 { return at.Unix() / int64(Period/time.Second) }

// Code is the code of a secret in a step.
func Code(secret []byte, step int64) string { return code(secret, step, Digits) }

func code(secret []byte, step int64, digits int) string {
	mac := hmac.New(sha1.New, secret)
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(step))
	_, _ = mac.Write(counter[:]) // never fails
	sum := mac.Sum(nil)
	from := sum[len(sum)-1] & 0x0f // RFC 4226 §5.3: dynamic truncation
	n := binary.BigEndian.Uint32(sum[from:]) & 0x7fffffff
	most := uint32(1)
	for range digits {
		most *= 10
	}
	return fmt.Sprintf("%0*d", digits, n%most)
}

// Check looks for the step, one before to one after now, whose code was given.
// Steps up to last have been used and do not count. Spaces in the code are
// skipped; each step takes the same time, whether it fits or not.
func Check(secret []byte, given string, now time.Time, last int64) (step int64, ok bool) {
	given = strings.Map(func(r rune) rune {
		if r == ' ' || r == '\u00a0' {
			return -1
		}
		return r
	}, given)
	at := Step(now)
	for n := at - drift; n <= at+drift; n++ {
		fits := subtle.ConstantTimeCompare([]byte(Code(secret, n)), []byte(given)) == 1
		if fits && n > last && !ok {
			step, ok = n, true
		}
	}
	return step, ok
}

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Text is a secret as a person types it into an app: base32 in groups of four.
func Text(secret []byte) string {
	text := encoding.EncodeToString(secret)
	var groups []string
	for ; len(text) > 4; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(append(groups, text), " ")
}

// URI is what the QR code holds, "otpauth://totp/…": the secret, and under which
// names the app shows it.
func URI(issuer, account string, secret []byte) string {
	q := url.Values{
		"secret": {encoding.EncodeToString(secret)}, "issuer": {issuer}, "algorithm": {"SHA1"}, "digits": {fmt.Sprint(Digits)}, "period": {fmt.Sprint(int(Period / time.Second))},
	}
	// A colon parts the two names of the label; a "+" is no space to all apps.
	label := url.PathEscape(strings.ReplaceAll(issuer, ":", " ")) + ":" + url.PathEscape(account)
	return "otpauth://totp/" + label + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}
