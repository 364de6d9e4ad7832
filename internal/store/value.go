package store

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/relay"
)

var (
	hexEncode = hex.EncodeToString
	hexDecode = hex.DecodeString
)

// noBlob is stored for the zero ID: a column is never NULL.
var noBlob = []byte{}

// blob returns an id as it is stored: 16 octets, or none for the zero ID.
func blob(id relay.ID) []byte {
	if id.IsZero() {
		return noBlob
	}
	return append(make([]byte, 0, len(id)), id[:]...)
}

// idOf reads a stored id. Anything but 16 octets is the zero ID: such a row
// fails its checksum, or names nothing.
func idOf(b []byte) relay.ID {
	if len(b) != len(relay.ID{}) {
		return relay.ID{}
	}
	return relay.ID(b)
}

// octets is a wire string in a column that takes any octet.
func octets(s string) []byte {
	if s == "" {
		return noBlob
	}
	return []byte(s)
}

// text is a string for a TEXT column: PostgreSQL refuses NUL and what is not
// UTF-8, so both become U+FFFD on either engine.
func text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// micros is a time as it is stored: microseconds since 1970, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf reads a stored time.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// flag is a bool as it is stored.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// packJSON stores a list or map; nothing is the empty string.
func packJSON[T any](v T, empty bool) (string, error) {
	if empty {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// unpackJSON reads what packJSON stored.
func unpackJSON[T any](s string, into *T, column string) error {
	if s == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(s), into); err != nil {
		return fmt.Errorf("%w: column %s: %w", ErrDamaged, column, err)
	}
	return nil
}

// position packs (epoch, seq) into one ordered number: 23 bits of epoch, 40 of
// sequence.
func position(epoch, seq int64) int64 { return epoch<<seqBits | seq }

const (
	seqBits = 40
	seqMask = 1<<seqBits - 1
)

// unavailable classes an error that goes away by itself.
func unavailable(err error) error {
	return &relay.Error{Kind: relay.Unavailable, Public: "The database is not available. Try again.", Err: err}
}
