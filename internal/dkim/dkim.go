// Package dkim signs messages with DomainKeys Identified Mail (RFC 6376, RFC
// 8301, RFC 8463): RSA and Ed25519 side by side over one body hash, always
// relaxed/relaxed and rsa-sha256 or ed25519-sha256, never with l=. It makes and
// reads keys and writes the DNS records for them. It is no verifier.
//
// Its invariant: Sign returns one signature for each key it was given, or an
// error; never fewer. A message is then sent with all of them or not at all.
//
// Use: feed the body to a BodyHash as it is received, then call Sign with the
// header section as it will leave, and put the result on top of it.
//
// On Linux, RSA signatures are made by the system's libcrypto where it is
// there and proves itself (see LoadSigner); the build tag "static" leaves that
// out for a binary without dynamic linking.
package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postern/internal/message"
)

// Algorithm names a signing algorithm as the a= tag does.
type Algorithm string

// The algorithms.
const (
	RSA     Algorithm = "rsa-sha256"     // RFC 6376 §3.3.1
	Ed25519 Algorithm = "ed25519-sha256" // RFC 8463 §3
)

// Key is one selector's private key, ready to sign.
type Key struct {
	Domain    string // d=: A-labels, lower case
	Selector  string // s=
	Algorithm Algorithm
	// Signer holds the private key. Its methods are called from several
	// goroutines at once.
	Signer crypto.Signer
}

// Name is where the key's record stands: selector._domainkey.domain.
func (k Key) Name() string { return k.Selector + "._domainkey." + k.Domain }

// Options are what one signing chooses. Times count in whole seconds.
type Options struct {
	Time   time.Time     // t=; zero: left out
	Expire time.Duration // x= is Time plus this; 0 or without Time: left out
}

// Errors that callers tell apart.
var (
	// ErrNoKeys: there was nothing to sign with.
	ErrNoKeys = errors.New("dkim: no keys")
	// ErrNoFrom: RFC 6376 §5.4 wants From signed, and there is none.
	ErrNoFrom = errors.New("dkim: no From field")
	// ErrKey: a key that cannot be used.
	ErrKey = errors.New("dkim: unusable key")
)

// oversigned fields are listed once more in h= than they occur, so that none
// can be added after signing without breaking the signature (RFC 6376
// §8.15). From is always first.
var oversigned = []string{
	"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "Sender", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Help", "List-Owner", "List-Post", "List-Subscribe", "List-Archive",
}

// signed fields are listed as often as they occur.
var signed = []string{"Content-ID", "Content-Description", "Content-Disposition", "Feedback-ID", "Auto-Submitted", "Precedence", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Date", "Resent-Message-ID"}

// Sign makes one DKIM-Signature field per key, in the order of keys, each
// folded and ended by CRLF: what is to stand on top of head. head is the
// header section as it will leave, with its empty line; body is the sum of a
// BodyHash that got the whole body.
//
// It is all or nothing: if one key fails, the error says which and there is no
// result.
func Sign(head []byte, body [sha256.Size]byte, keys []Key, o Options) ([]byte, error) {
	if len(keys) == 0 {
		return nil, ErrNoKeys
	}
	h, err := message.ParseHeader(head, message.Limits{Bytes: len(head), Fields: len(head), Octets: message.AnyOctet})
	if err != nil {
		return nil, fmt.Errorf("dkim: read header: %w", err)
	}
	if h.Count("From") == 0 {
		return nil, ErrNoFrom
	}
	names, canonical := selectFields(h.Fields)
	var out []byte
	for _, k := range keys {
		field, err := k.sign(names, canonical, body, o)
		if err != nil {
			return nil, fmt.Errorf("dkim: sign with %s: %w", k.Name(), err)
		}
		out = append(out, field...)
	}
	return out, nil
}

// selectFields returns the names for h= and the canonical octets of the fields
// they select, both in the order in which a verifier will take them: of equal
// names the bottommost first (RFC 6376 §5.4.2).
func selectFields(fields []message.Field) (names []string, canonical []byte) {
	add := func(name string) {
		for i := len(fields) - 1; i >= 0; i-- {
			if fields[i].Is(name) {
				names = append(names, name)
				canonical = appendRelaxed(canonical, fields[i].Name, fields[i].Value())
			}
		}
	}
	for _, name := range oversigned {
		add(name)
		names = append(names, name)
	}
	for _, name := range signed {
		add(name)
	}
	return names, canonical
}

// sign makes the field for one key.
func (k Key) sign(names []string, canonical []byte, body [sha256.Size]byte, o Options) ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	f := folder{}
	f.word("DKIM-Signature: v=1;")
	f.word(" a=" + string(k.Algorithm) + ";")
	f.word(" c=relaxed/relaxed;")
	f.word(" d=" + k.Domain + ";")
	f.word(" s=" + k.Selector + ";")
	if !o.Time.IsZero() {
		f.word(" t=" + strconv.FormatInt(o.Time.Unix(), 10) + ";")
		if o.Expire > 0 {
			f.word(" x=" + strconv.FormatInt(o.Time.Add(o.Expire).Unix(), 10) + ";")
		}
	}
	f.list(" h=", names)
	f.word(" bh=" + base64.StdEncoding.EncodeToString(body[:]) + ";")
	f.word(" b=")
	// RFC 6376 §3.7: the field itself comes last, with b= empty, without CRLF.
	input := append([]byte(nil), canonical...)
	const name = "DKIM-Signature"
	input = appendRelaxed(input, name, f.out[len(name)+1:])
	input = input[:len(input)-2]
	digest := sha256.Sum256(input)
	sig, err := k.signDigest(digest)
	if err != nil {
		return nil, err
	}
	f.split(base64.StdEncoding.EncodeToString(sig))
	return append(f.out, "\r\n"...), nil
}

func (k Key) signDigest(digest [sha256.Size]byte) ([]byte, error) {
	opts := crypto.SignerOpts(crypto.SHA256)
	if k.Algorithm == Ed25519 {
		opts = crypto.Hash(0) // RFC 8463 §3: PureEdDSA over the SHA-256 digest
	}
	// The randomness argument is used by neither PKCS #1 v1.5 nor Ed25519, but
	// for blinding; nil lets the signer take its own.
	sig, err := k.Signer.Sign(nil, digest[:], opts)
	if err != nil {
		return nil, err
	}
	if len(sig) == 0 {
		return nil, errors.New("empty signature")
	}
	return sig, nil
}

// check refuses keys that would make a signature nobody accepts.
func (k Key) check() error {
	if !isName(k.Domain) || !isName(k.Selector) {
		return fmt.Errorf("%w: domain %q, selector %q", ErrKey, k.Domain, k.Selector)
	}
	if k.Signer == nil {
		return fmt.Errorf("%w: no signer", ErrKey)
	}
	switch pub := k.Signer.Public().(type) {
	case *rsa.PublicKey:
		// RFC 8301 §3.2: signers MUST use at least 1024 bits.
		if k.Algorithm == RSA && pub.N.BitLen() >= 1024 {
			return nil
		}
	case ed25519.PublicKey:
		if k.Algorithm == Ed25519 {
			return nil
		}
	}
	return fmt.Errorf("%w: the key does not fit %q", ErrKey, k.Algorithm)
}

// isName reports labels of letters, digits, hyphens and underscores.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, l := range strings.Split(s, ".") {
		if l == "" || len(l) > 63 || strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}
