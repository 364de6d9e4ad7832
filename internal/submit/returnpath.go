package submit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"

	"postern/internal/relay"
)

// returnPathPrefix starts the local part of every return path of ours.
const returnPathPrefix = "b-"

// macLen is the length of the MAC in a return path: 80 bits against guessing,
// and the whole local part stays at 44 octets of the 64 allowed.
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
	raw := append(id.ID[:], r.mac(r.keys[0], id)...)
	return returnPathPrefix + returnPathEncoding.EncodeToString(raw) + "@" + host
}

func (r *ReturnPaths) mac(key []byte, id relay.MessageID) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(id.ID[:])
	return m.Sum(nil)[:macLen]
}

// ErrNotReturnPath: the local part is none of ours, or its MAC is wrong.
var ErrNotReturnPath = errors.New("not a return path of ours")

// IsReturnPath reports whether a local part looks like one, valid or not.
func IsReturnPath(local string) bool {
	return len(local) == len(returnPathPrefix)+42 && strings.EqualFold(local[:len(returnPathPrefix)], returnPathPrefix)
}

// Parse returns the message that a return path's local part names.
func (r *ReturnPaths) Parse(local string) (relay.MessageID, error) {
	if !IsReturnPath(local) {
		return relay.MessageID{}, ErrNotReturnPath
	}
	raw, err := returnPathEncoding.DecodeString(strings.ToLower(local[len(returnPathPrefix):]))
	if err != nil || len(raw) != 16+macLen {
		return relay.MessageID{}, ErrNotReturnPath
	}
	var id relay.MessageID
	copy(id.ID[:], raw)
	for _, k := range r.keys {
		if hmac.Equal(raw[16:], r.mac(k, id)) {
			return id, nil
		}
	}
	return relay.MessageID{}, ErrNotReturnPath
}
