package submit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"

	"postern/internal/relay"
)

// returnPathPrefix starts the local part of every return path of ours.
const returnPathPrefix = "b-"

// macLen is the length of the MAC in a return path: 80 bits against guessing,
// and the whole local part stays at 47 octets of the 64 allowed.
const macLen = 10

var returnPathEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ReturnPaths makes and checks the addresses to which bounces come back. They
// are lower case throughout, because hosts on the way may fold case.
type ReturnPaths struct {
	keys [][]byte // current first
}

// NewReturnPaths takes the MAC keys: the current one, then those of earlier
// sealing keys, whose addresses are still on their way.
func NewReturnPaths(keys [][]byte) *ReturnPaths { return &ReturnPaths{keys: keys} }

// Make returns the return path of a message at host.
func (r *ReturnPaths) Make(id relay.MessageID, host string) string {
	return r.encode(id.ID[:]) + "@" + host
}

// MakeFor is Make for one recipient of a message, by its position below 65,536:
// for pools whose return path names the recipient.
func (r *ReturnPaths) MakeFor(id relay.MessageID, n int, host string) string {
	return r.encode(binary.BigEndian.AppendUint16(id.ID[:], uint16(n))) + "@" + host
}

// For is the return path of one recipient in place of its message's.
func (r *ReturnPaths) For(m *relay.Message, n int) string {
	_, host, ok := strings.Cut(m.ReturnPath, "@")
	if !ok || n > 0xffff {
		return m.ReturnPath
	}
	return r.MakeFor(m.ID, n, host)
}

func (r *ReturnPaths) encode(what []byte) string {
	return returnPathPrefix + returnPathEncoding.EncodeToString(append(what, mac(r.keys[0], what)...))
}

func mac(key, what []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(what)
	return m.Sum(nil)[:macLen]
}

// ErrNotReturnPath: the local part is none of ours, or its MAC is wrong.
var ErrNotReturnPath = errors.New("not a return path of ours")

// The lengths of what stands behind the prefix: 26 octets for a message, 28 for
// a recipient of it.
const (
	messageChars   = 42
	recipientChars = 45
)

// IsReturnPath reports whether a local part looks like one, valid or not.
func IsReturnPath(local string) bool {
	n := len(local) - len(returnPathPrefix)
	return (n == messageChars || n == recipientChars) && strings.EqualFold(local[:len(returnPathPrefix)], returnPathPrefix)
}

// Parse returns the message that a return path's local part names, and the
// recipient's position; -1 where it names none.
func (r *ReturnPaths) Parse(local string) (relay.MessageID, int, error) {
	if !IsReturnPath(local) {
		return relay.MessageID{}, -1, ErrNotReturnPath
	}
	raw, err := returnPathEncoding.DecodeString(strings.ToLower(local[len(returnPathPrefix):]))
	if err != nil {
		return relay.MessageID{}, -1, ErrNotReturnPath
	}
	what, given := raw[:len(raw)-macLen], raw[len(raw)-macLen:]
	for _, k := range r.keys {
		if !hmac.Equal(given, mac(k, what)) {
			continue
		}
		var id relay.MessageID
		copy(id.ID[:], what)
		if len(what) == len(id.ID) {
			return id, -1, nil
		}
		return id, int(binary.BigEndian.Uint16(what[len(id.ID):])), nil
	}
	return relay.MessageID{}, -1, ErrNotReturnPath
}
