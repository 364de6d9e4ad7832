package message

import (
	"fmt"
	"strings"

	"postern/internal/smtp"
)

// Mailbox is one mailbox of an address field.
type Mailbox struct {
	Name    string // display name as it stands, unfolded, never decoded; "" if none
	Address smtp.Address
}

// AddressLimits bound the parsing of an address field. Zero members mean the
// defaults.
type AddressLimits struct {
	Mailboxes int  // default 1,000
	UTF8      bool // RFC 6532: UTF-8 in display names, local parts and domains
	UTF8Names bool // UTF-8 in display names and comments only
}

// maxComments is how deep comments may nest.
const maxComments = 16

// ParseMailboxes reads the value of From, Sender, Reply-To and their like: a
// mailbox-list of RFC 5322 §3.4 on the exact octets, with folding but without
// its obsolete forms, groups, domain literals, empty list elements, white
// space or comments inside an address, and without encoded-words as addresses.
// One liberty is taken because it cannot change an address: an unquoted dot in
// a display name ("John Q. Public"), which §4.1 calls common.
//
// The address itself is smtp.ParseAddress's: a domain that IDNA 2008 would have
// to map first (full-width letters, U+3002, soft hyphens) is refused.
//
// Errors are *Error with Unparseable or TooLarge.
func ParseMailboxes(value []byte, l AddressLimits) ([]Mailbox, error) {
	if l.Mailboxes <= 0 {
		l.Mailboxes = 1000
	}
	p := addressParser{s: value, utf8: l.UTF8, names: l.UTF8Names}
	if err := p.check(); err != nil {
		return nil, err
	}
	var out []Mailbox
	for {
		if len(out) == l.Mailboxes {
			return nil, &Error{Reason: TooLarge, Detail: fmt.Sprintf("more than %d mailboxes", l.Mailboxes)}
		}
		m, err := p.mailbox()
		if err != nil {
			return nil, err
		}
		out = append(out, m)
		if p.done() {
			return out, nil
		}
		if p.s[p.i] != ',' {
			return nil, unparseable("text after an address")
		}
		p.i++
	}
}

func unparseable(what string) *Error { return &Error{Reason: Unparseable, Detail: what} }

// isAtext: RFC 5322 §3.2.3, ASCII only.
func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
