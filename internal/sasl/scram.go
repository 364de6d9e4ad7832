package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// SCRAM-SHA-256 (RFC 5802, RFC 7677): the secret stays with the client, and both
// sides prove that they know it. With -PLUS the proof covers the TLS channel as
// well, so that nobody can sit between the two (RFC 5929, RFC 9266).
var (
	SCRAMSHA256     = Mechanism{Name: scramName, New: func(x Exchange) Server { return &scramServer{x: x, name: scramName} }}
	SCRAMSHA256Plus = Mechanism{Name: scramPlusName, Needs: Needs{Binding: true},
		New: func(x Exchange) Server { return &scramServer{x: x, name: scramPlusName, plus: true} }}
)

const (
	scramName     = "SCRAM-SHA-256"
	scramPlusName = scramName + "-PLUS"
)

const (
	// scramNonce is the length in octets of our part of the nonce, before base64.
	scramNonce = 18
	// maxNonce is the longest part of the client's.
	maxNonce = 1024
	// scramCandidates is how many secrets are tried at least, so that a user without
	// any, or without a second one, costs what others cost.
	scramCandidates = 2
)

type scramServer struct {
	x    Exchange
	name string
	plus bool
	step scramStep

	header        gs2
	user, authzid string
	stored        SCRAMUser
	nonce         string
	spoken        string // client-first-message-bare "," server-first-message
}

type scramStep uint8

const (
	scramBegin  scramStep = iota
	scramAsked            // an empty challenge went out
	scramProof            // waiting for client-final-message
	scramProven           // server-final-message went out
	scramOver
)

// Next implements Server.
func (s *scramServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	step := s.step
	s.step = scramOver
	switch {
	case s.x.SCRAM == nil || s.x.Proved == nil:
		return nil, false, errUnserved
	case step == scramBegin && response == nil:
		s.step = scramAsked
		return []byte{}, false, nil
	case step == scramBegin || step == scramAsked:
		return s.first(ctx, string(response))
	case step == scramProof:
		return s.final(ctx, string(response))
	case step == scramProven:
		// The client has nothing to add; that it answers says that it takes our proof.
		if len(response) > 0 {
			return nil, false, fmt.Errorf("%s: %w", s.name, ErrMalformed)
		}
		return nil, true, nil
	}
	return nil, false, ErrOver
}

// first takes client-first-message.
func (s *scramServer) first(ctx context.Context, msg string) ([]byte, bool, error) {
	header, bare, ok := parseGS2(msg)
	if !ok {
		return nil, false, fmt.Errorf("%s: %w", s.name, ErrMalformed)
	}
	user, nonce, ok := parseFirst(bare)
	if !ok {
		return nil, false, fmt.Errorf("%s: %w", s.name, ErrMalformed)
	}
	if !s.bindable(header) {
		return nil, false, ErrBinding
	}
	var err error
	if s.authzid, s.user, err = preparePair(header.authzid, user); err != nil {
		return nil, false, fmt.Errorf("%s: %w", s.name, err)
	}
	s.header, s.stored = header, s.x.SCRAM(ctx, s.user)
	if len(s.stored.Salt) == 0 || s.stored.Iterations < 1 {
		return nil, false, errors.New("SCRAM: a user without salt and iterations")
	}
	var own [scramNonce]byte
	rand.Read(own[:]) // never fails
	s.nonce = nonce + base64.StdEncoding.EncodeToString(own[:])
	first := "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.stored.Salt) + ",i=" + strconv.Itoa(s.stored.Iterations)
	s.spoken = bare + "," + first
	s.step = scramProof
	return []byte(first), false, nil
}

// bindable judges the channel binding flag (RFC 5802 §6). "y" where -PLUS was
// announced means that somebody took it out of the announcement.
func (s *scramServer) bindable(h gs2) bool {
	if !s.plus {
		return h.flag == 'n' || h.flag == 'y' && !s.x.Plus
	}
	if h.flag != 'p' || s.x.Binding == nil {
		return false
	}
	_, ok := s.x.Binding(h.binding)
	return ok
}

// final takes client-final-message. Next to nothing is decided before the proof
// was computed, so that all users take the same time.
func (s *scramServer) final(ctx context.Context, msg string) ([]byte, bool, error) {
	without, bound, nonce, proof, ok := parseFinal(msg)
	if !ok {
		return nil, false, fmt.Errorf("%s: %w", s.name, ErrMalformed)
	}
	want := []byte(s.header.text)
	if s.plus {
		data, ok := s.x.Binding(s.header.binding)
		if !ok {
			return nil, false, ErrBinding
		}
		want = append(want, data...)
	}
	if subtle.ConstantTimeCompare(want, bound) == 0 {
		return nil, false, ErrBinding
	}
	spoken := []byte(s.spoken + "," + without)
	key := s.fits(spoken, proof)
	if nonce != s.nonce { // of another exchange: RFC 5802 §5.1
		key = -1
	}
	err := s.x.Proved(ctx, Proof{Mechanism: s.name, User: s.user, Authzid: s.authzid, Key: key})
	switch {
	case err != nil:
		return nil, false, err
	case key < 0:
		return nil, false, errors.New("SCRAM: a wrong proof was let in")
	}
	s.step = scramProven
	return []byte("v=" + base64.StdEncoding.EncodeToString(sum256(s.stored.Keys[key].ServerKey, spoken))), false, nil
}

// fits returns which of the user's secrets makes the proof; -1: none (RFC 5802
// §3). It does the same work whatever it finds.
func (s *scramServer) fits(spoken, proof []byte) int {
	found := -1
	for i := range max(scramCandidates, len(s.stored.Keys)) {
		var stored []byte
		if i < len(s.stored.Keys) {
			stored = s.stored.Keys[i].StoredKey
		} else {
			stored = make([]byte, sha256.Size)
		}
		key := sum256(stored, spoken)
		subtle.XORBytes(key, key, proof)
		client := sha256.Sum256(key)
		if subtle.ConstantTimeCompare(client[:], stored) == 1 && i < len(s.stored.Keys) && found < 0 {
			found = i
		}
	}
	return found
}

func sum256(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

// parseFirst reads client-first-message-bare: n=, r=, then extensions, which are
// ignored. m= in the first place would be an extension that must not be (RFC
// 5802 §5.1).
func parseFirst(s string) (user, nonce string, ok bool) {
	parts := strings.Split(s, ",")
	if len(parts) < 2 || !optional(parts[2:]) {
		return "", "", false
	}
	name, ok1 := strings.CutPrefix(parts[0], "n=")
	nonce, ok2 := strings.CutPrefix(parts[1], "r=")
	if !ok1 || !ok2 || !validNonce(nonce) || len(nonce) > maxNonce {
		return "", "", false
	}
	user, ok = decodeName(name)
	return user, nonce, ok
}

// parseFinal reads client-final-message: c=, r=, extensions, and last p=.
// without is the message without its proof.
func parseFinal(s string) (without string, bound []byte, nonce string, proof []byte, ok bool) {
	parts := strings.Split(s, ",")
	last := len(parts) - 1
	if last < 2 || !optional(parts[2:last]) {
		return "", nil, "", nil, false
	}
	c, ok1 := strings.CutPrefix(parts[0], "c=")
	nonce, ok2 := strings.CutPrefix(parts[1], "r=")
	p, ok3 := strings.CutPrefix(parts[last], "p=")
	if !ok1 || !ok2 || !ok3 || !validNonce(nonce) {
		return "", nil, "", nil, false
	}
	bound, err1 := decodeBase64(c)
	proof, err2 := decodeBase64(p)
	if err1 != nil || err2 != nil || len(proof) != sha256.Size {
		return "", nil, "", nil, false
	}
	return s[:len(s)-len(parts[last])-1], bound, nonce, proof, true
}

// decodeBase64 is strict, and does not skip line ends as encoding/base64 does.
func decodeBase64(s string) ([]byte, error) {
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, ErrMalformed
	}
	return strictBase64.DecodeString(s)
}

// validNonce is printable of RFC 5802 §7: visible ASCII without comma.
func validNonce(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' {
			return false
		}
	}
	return s != ""
}

// optional reports whether attributes are extensions that may be ignored: a
// letter that SCRAM has no meaning for, "=", and a value (RFC 5802 §7).
func optional(attributes []string) bool {
	for _, a := range attributes {
		if len(a) < 3 || a[1] != '=' || !isLetter(a[0]) || strings.IndexByte("amnrcspiev", a[0]) >= 0 || strings.IndexByte(a, 0) >= 0 {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
