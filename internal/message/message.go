// Package message reads and edits RFC 5322 messages without changing an octet
// that it was not asked to change: a byte-exact index of the header section,
// one strict parser for the addresses that say who a message is from, trace
// fields, the one content service at the door (long lines), and a composer for
// postern's own mail.
//
// It is not a MIME library: bodies are opaque except where a line is too long,
// and nothing here decodes text for display. It reads no clock, opens nothing
// and keeps no state.
//
// Its invariant: Header.Bytes of an unedited header is the input, octet for
// octet, and what one function here takes for the From field is what any other
// reader of those octets must take for it. Input on which readers are known to
// disagree is refused with an *Error, never guessed at.
//
// All input uses CRLF line ends; a bare CR or LF is refused. All work is linear
// in the size of the input.
package message

import (
	"errors"
	"strings"
)

// Reason says in which way a message is wrong, so that a caller can choose its
// reply.
type Reason string

// The reasons.
const (
	// Malformed: the header section is not RFC 5322 (554 5.6.0).
	Malformed Reason = "malformed"
	// TooLarge: over a limit on octets, fields, mailboxes or depth (552 5.3.4).
	TooLarge Reason = "too large"
	// Missing: a field that must be there is not (554 5.6.0).
	Missing Reason = "missing"
	// Duplicate: a field that may be there once is there more often (554 5.6.0).
	Duplicate Reason = "duplicate"
	// Unparseable: an address field whose octets the strict grammar does not
	// cover (550 5.7.1).
	Unparseable Reason = "unparseable"
	// Several: more than one mailbox where one is wanted (550 5.7.1).
	Several Reason = "several"
	// LongLine: a line over 998 octets that cannot be re-encoded (554 5.6.0).
	LongLine Reason = "long line"
	// BadSMTPAPI: the X-SMTPAPI field cannot be honoured (554 5.6.0).
	BadSMTPAPI Reason = "bad X-SMTPAPI"
	// Unsafe: text for a header that holds CR, LF or NUL (a caller's fault).
	Unsafe Reason = "unsafe"
)

// Error is what is wrong with a message. Its text is safe to show to the
// person who sent it: it never repeats octets of the message, except a key of
// X-SMTPAPI reduced to printable ASCII.
type Error struct {
	Reason Reason
	Field  string // the field at fault, in its usual spelling; "" if none
	Detail string // fixed words and numbers
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Field != "" {
		b.WriteString(e.Field)
		b.WriteString(": ")
	}
	b.WriteString(string(e.Reason))
	if e.Detail != "" {
		b.WriteString(": ")
		b.WriteString(e.Detail)
	}
	return b.String()
}

// ReasonOf returns the reason of the outermost *Error in err's chain, "" where
// there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}
