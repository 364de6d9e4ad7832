package v3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"postern/internal/relay"
)

// The kinds of records that cursors are of.
const (
	cursorLogin  = 'l'
	cursorChange = 'c'
)

const cursorSum = 12 // octets of a cursor's MAC

// cursor is the place of one record, for a client to go on behind it. It is
// signed, for one kind and one tenant: AP-21, one that was made up or comes from
// somewhere else is refused, and says nothing of how many records others have.
func (a *API) cursor(kind byte, of relay.Tenant, id int64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(id))
	return base64.RawURLEncoding.EncodeToString(append(b, a.cursorMAC(kind, of, id)...))
}

func (a *API) cursorMAC(kind byte, of relay.Tenant, id int64) []byte {
	h := hmac.New(sha256.New, a.CursorKey)
	h.Write([]byte{kind})
	h.Write(of.Account.ID[:])
	h.Write(of.Subuser.ID[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(id)))
	return h.Sum(nil)[:cursorSum]
}

// parseCursor reads a parameter that is a cursor; 0: it is not there.
func (a *API) parseCursor(c *Call, name string, kind byte) (int64, error) {
	text := c.Text(name)
	if text == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != 8+cursorSum || len(text) != base64.RawURLEncoding.EncodedLen(len(b)) {
		return 0, invalid(name, "Not a cursor of this list.")
	}
	id := int64(binary.BigEndian.Uint64(b))
	if id < 0 || !hmac.Equal(b[8:], a.cursorMAC(kind, c.Tenant, id)) {
		return 0, invalid(name, "Not a cursor of this list.")
	}
	return id, nil
}

// parseMoment reads a time: RFC 3339, or Unix seconds as SendGrid's lists have
// them. "" is the zero time.
func parseMoment(field, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n < 1<<36 {
		return time.Unix(n, 0).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, invalid(field, "Not a time such as 2026-03-01T09:00:00Z, nor Unix seconds.")
	}
	return t.UTC(), nil
}
