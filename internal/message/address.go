package message

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// Address is an addr-spec in canonical form. Two addresses are the same if and
// only if they are equal.
type Address struct {
	// Local is the local part without quotes and quoted pairs; its case counts.
	Local string
	// Domain is in A-label form and lower case.
	Domain string
}

// IsZero reports whether there is no address.
func (a Address) IsZero() bool { return a == Address{} }

// String is the wire form, the local part quoted where it must be.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	if isDotAtom(a.Local) {
		return a.Local + "@" + a.Domain
	}
	return quote(a.Local) + "@" + a.Domain
}

// Mailbox is one mailbox of an address field.
type Mailbox struct {
	Name    string // display name as it stands, unfolded, never decoded; "" if none
	Address Address
}

// The sizes that RFC 5321 §4.5.3.1 allows.
const (
	maxLocal   = 64
	maxDomain  = 255
	maxAddress = 254
)

// AddressLimits bound the parsing of an address field. Zero members mean the
// defaults.
type AddressLimits struct {
	Mailboxes int  // default 1,000
	UTF8      bool // RFC 6532: UTF-8 in display names, local parts and domains
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
// Domains become A-labels; a domain that IDNA 2008 would have to map first
// (full-width letters, U+3002, soft hyphens) is refused.
//
// Errors are *Error with Unparseable or TooLarge.
func ParseMailboxes(value []byte, l AddressLimits) ([]Mailbox, error) {
	if l.Mailboxes <= 0 {
		l.Mailboxes = 1000
	}
	p := addressParser{s: value, utf8: l.UTF8}
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

// ParseAddress reads a bare addr-spec: no display name, brackets, comments or
// white space. UTF-8 is allowed.
func ParseAddress(s string) (Address, error) {
	p := addressParser{s: []byte(s), utf8: true}
	if err := p.check(); err != nil {
		return Address{}, err
	}
	a, err := p.addrSpec()
	if err == nil && p.i < len(p.s) {
		err = unparseable("text after an address")
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

func unparseable(what string) *Error { return &Error{Reason: Unparseable, Detail: what} }

// domainProfile maps nothing: what it accepts is what a strict IDNA 2008
// reader sees, what needs mapping is refused.
var domainProfile = idna.New(
	idna.ValidateForRegistration(),
	idna.StrictDomainName(true),
	idna.VerifyDNSLength(true),
	idna.BidiRule(),
)

var errDomain = errors.New("not a domain name")

// ParseDomain reads a domain name of an address and returns it as lower-case
// A-labels. Refused: empty labels (so also a trailing dot), literals,
// underscores, and U-labels that are not in IDNA 2008 form already.
func ParseDomain(s string) (string, error) {
	if s == "" || len(s) > maxDomain || strings.HasSuffix(s, ".") {
		return "", errDomain
	}
	d := strings.ToLower(s)
	if isPlainDomain(d) {
		return d, nil
	}
	if !isASCII([]byte(s)) {
		d = lowerASCII(s) // the profile must see other letters as they are
	}
	a, err := domainProfile.ToASCII(d)
	if err != nil || a == "" || len(a) > maxDomain {
		return "", errDomain
	}
	return a, nil
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// isPlainDomain reports lower-case letters, digits and hyphens in proper
// labels of which none could be an A-label or another reserved form.
func isPlainDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for _, l := range strings.Split(s, ".") {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || len(l) > 3 && l[2:4] == "--" {
			return false
		}
		for i := range len(l) {
			if c := l[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}

// isAtext: RFC 5322 §3.2.3, ASCII only.
func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// isDotAtom reports a local part that needs no quotes; octets of UTF-8 count
// as atext (RFC 6532 §3.2).
func isDotAtom(s string) bool {
	prev := byte('.')
	for i := range len(s) {
		c := s[i]
		if c == '.' && prev == '.' || c != '.' && c < 0x80 && !isAtext(c) {
			return false
		}
		prev = c
	}
	return prev != '.'
}
