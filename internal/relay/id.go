// Package relay is the domain of postern: who may send (accounts, subusers,
// keys, domains, pools), what is sent (messages, recipients, attempts) and what
// is remembered of it (events, logins, changes). It holds types and pure
// functions only: no SQL, no network, no clock of its own. Every service
// speaks these types; none of them adds behaviour that needs a store.
package relay

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// ID is a 128-bit UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then
// random bits. Its text form is 22 characters of unpadded base64url, the form
// that clients see in "queued as".
type ID [16]byte

// NewID returns a fresh ID whose time part is now.
func NewID(now time.Time) ID {
	var id ID
	rand.Read(id[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

var idEncoding = base64.RawURLEncoding.Strict()

// ParseID reads the 22-character form. Only the spelling that String writes is
// accepted.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 22 {
		return ID{}, fmt.Errorf("id %q: want 22 characters, have %d", s, len(s))
	}
	if _, err := idEncoding.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id %q: not base64url", s)
	}
	return id, nil
}

// String returns the 22-character form.
func (id ID) String() string { return idEncoding.EncodeToString(id[:]) }

// IsZero reports whether the ID is unset.
func (id ID) IsZero() bool { return id == ID{} }

// Time is the moment the ID was made, to the millisecond.
func (id ID) Time() time.Time {
	var ms [8]byte
	copy(ms[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC()
}

// MarshalText implements encoding.TextMarshaler; the zero ID is empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	*id = v
	return err
}

// The identities of the domain. Each is its own type so that a signature says
// what it takes; the zero value means "none".
type (
	// AccountID names an account.
	AccountID struct{ ID }
	// SubuserID names a subuser. Zero: the account itself.
	SubuserID struct{ ID }
	// KeyID is the public part of an API key: 16 random bytes, not a UUID.
	KeyID struct{ ID }
	// PoolID names an egress pool.
	PoolID struct{ ID }
	// DomainID names a sending domain.
	DomainID struct{ ID }
	// TokenID names an access token.
	TokenID struct{ ID }
	// UserID names a person.
	UserID struct{ ID }
	// SessionID names a person's session in the console; it is no secret.
	SessionID struct{ ID }
	// MessageID names an accepted message; it is the id in "queued as".
	MessageID struct{ ID }
)

// Tenant is the unit of segregation: an account's own mail (Subuser zero) or
// that of one of its subusers.
type Tenant struct {
	Account AccountID `json:"account_id"`
	Subuser SubuserID `json:"subuser_id,omitzero"`
}
