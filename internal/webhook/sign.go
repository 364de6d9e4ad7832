// Package webhook posts what happened to URLs that customers chose, so that they
// can tell who sent it, and so that the URL cannot be used against the network
// that postern stands in.
//
// What is posted is signed as the Standard Webhooks specification says: the
// HMAC-SHA256 over id, time and body, under a secret that only the receiver has.
// The receiver refuses what is older than five minutes, and an id that it has seen.
package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The names of the headers.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// Tolerance is how far the clock of a receiver may be from the timestamp.
const Tolerance = 5 * time.Minute

// secretPrefix begins the text of a secret.
const secretPrefix = "whsec_"

// The bounds of a secret, in octets.
const (
	minSecret = 24
	maxSecret = 64
	newSecret = 32
)

// NewSecret makes a secret of 256 random bits.
func NewSecret() []byte {
	b := make([]byte, newSecret)
	rand.Read(b)
	return b
}

// SecretText is a secret as receivers' libraries take it: "whsec_" and base64.
func SecretText(secret []byte) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}

// ParseSecret reads what SecretText wrote.
func ParseSecret(text string) ([]byte, error) {
	rest, ok := strings.CutPrefix(text, secretPrefix)
	b, err := base64.StdEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(b) < minSecret || len(b) > maxSecret {
		return nil, fmt.Errorf("webhook: not a secret of the form %s…", secretPrefix)
	}
	return b, nil
}

// Sign returns the value of the signature header: one signature for each secret,
// so that a receiver may have either while secrets are changed.
func Sign(secrets [][]byte, id string, at time.Time, body []byte) string {
	var all []string
	for _, s := range secrets {
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac(s, id, at.Unix(), body)))
	}
	return strings.Join(all, " ")
}

func mac(secret []byte, id string, unix int64, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(id + "." + strconv.FormatInt(unix, 10) + "."))
	h.Write(body)
	return h.Sum(nil)
}

// Verify checks what a receiver got, as it should: the signature under its secret,
// and the age. It is what the documentation's example does.
func Verify(secret []byte, id, timestamp, signature string, body []byte, now time.Time) error {
	unix, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("webhook: not a timestamp")
	}
	if now.Sub(time.Unix(unix, 0)).Abs() > Tolerance {
		return fmt.Errorf("webhook: the timestamp is not of the last five minutes")
	}
	want := mac(secret, id, unix, body)
	for _, one := range strings.Fields(signature) {
		version, text, _ := strings.Cut(one, ",")
		got, err := base64.StdEncoding.DecodeString(text)
		if version == "v1" && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("webhook: no signature fits")
}
