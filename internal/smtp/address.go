package smtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of RFC 5321 §4.5.3.1, in octets of the wire form.
const (
	MaxLocalPart = 64  // §4.5.3.1.1
	MaxDomain    = 255 // §4.5.3.1.2
	MaxAddress   = 254 // §4.5.3.1.3: a path is 256 octets with its angle brackets
)

// The ways in which an address is refused. ParseAddress and ParseLiteral wrap
// exactly one of them.
var (
	ErrAddress        = errors.New("malformed address")
	ErrAddressLength  = errors.New("address too long")
	ErrNeedsUTF8      = errors.New("address needs SMTPUTF8")
	ErrAddressLiteral = errors.New("address literals are not accepted")
	ErrRoute          = errors.New("source routes are not accepted")
)

// Address is a mailbox (RFC 5321 §4.1.2, with RFC 6531 §3.3 where the text is
// not ASCII). It keeps the wire form unchanged, so that what goes out is what
// came in, and beside it the canonical parts that decisions are made on. The
// zero value is the null reverse-path. Addresses are comparable with ==, which
// compares wire forms; Key tells whether two name the same mailbox.
type Address struct {
	wire   string // local part as given: dot-string or quoted string
	local  string // wire without quotes and backslashes
	domain string // as given; empty for the bare postmaster
	ascii  string // lower-case A-labels, or the lower-case literal
}

// ParseAddress reads a mailbox without angle brackets. smtputf8 says
// whether SMTPUTF8 applies; without it, any octet above 127 is ErrNeedsUTF8. Address
// literals are recognised and refused (ErrAddressLiteral); ParseLiteral accepts
// them. Source routes are ErrRoute.
//
// deviation: an empty quoted local part and a domain whose last label is a
// number (which other software would read as an IPv4 address) are refused,
// although the grammar of RFC 5321 allows them.
func ParseAddress(s string, smtputf8 bool) (Address, error) { return parseAddress(s, smtputf8, false) }

// ParseLiteral is ParseAddress for the callers that accept address literals.
func ParseLiteral(s string, smtputf8 bool) (Address, error) { return parseAddress(s, smtputf8, true) }

// Postmaster is the address without a domain that every server must know as a
// recipient (RFC 5321 §4.5.1). word is its spelling, in any case.
func Postmaster(word string) (Address, error) {
	if !strings.EqualFold(word, "postmaster") {
		return Address{}, fmt.Errorf("%w: no domain", ErrAddress)
	}
	return Address{wire: word, local: "postmaster"}, nil
}

// IsZero reports the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// String is the wire form, without angle brackets; empty for the null
// reverse-path.
func (a Address) String() string {
	if a.domain == "" {
		return a.wire
	}
	return a.wire + "@" + a.domain
}

// Local is the local part without quoting. Only the owner of the domain may
// read meaning into it, or fold its case (RFC 5321 §2.4).
func (a Address) Local() string { return a.local }

// LocalWire is the local part as it was given, with its quotes.
func (a Address) LocalWire() string { return a.wire }

// Domain is the domain as it was given; empty for the bare postmaster.
func (a Address) Domain() string { return a.domain }

// ASCIIDomain is the domain in lower-case A-labels, for look-ups and
// comparison. A literal keeps its brackets.
func (a Address) ASCIIDomain() string { return a.ascii }

// IsLiteral reports whether the domain is an address literal.
func (a Address) IsLiteral() bool { return strings.HasPrefix(a.domain, "[") }

// IsUTF8 reports whether the wire form needs SMTPUTF8 at the next hop.
func (a Address) IsUTF8() bool { return !isASCII(a.wire) || !isASCII(a.domain) }

// Key is equal for two addresses exactly when they name the same mailbox: the
// unquoted local part, case kept, and the domain in A-labels.
func (a Address) Key() string { return a.local + "@" + a.ascii }

// Routed reports whether the local part carries a route of its own ("%"-hack
// or bang path, RFC 5321 appendix F.2), which some next hop might follow.
func (a Address) Routed() bool { return strings.ContainsAny(a.local, "%!") }

// ASCII returns the same mailbox with its domain in A-labels, for a next hop
// without SMTPUTF8. It is false where the local part itself is not ASCII.
func (a Address) ASCII() (Address, bool) {
	if !isASCII(a.wire) {
		return Address{}, false
	}
	a.domain = a.ascii
	return a, true
}

// MarshalText writes the wire form.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Address) UnmarshalText(b []byte) error {
	v, err := Address{}, error(nil)
	switch s := string(b); {
	case s == "":
	case !strings.Contains(s, "@"):
		v, err = Postmaster(s)
	default:
		v, err = ParseLiteral(s, true)
	}
	if err == nil {
		*a = v
	}
	return err
}

func parseAddress(s string, smtputf8, literal bool) (Address, error) {
	switch {
	case strings.HasPrefix(s, "@"):
		return Address{}, ErrRoute
	case len(s) > MaxAddress:
		return Address{}, fmt.Errorf("%w: %d octets", ErrAddressLength, len(s))
	case !smtputf8 && !isASCII(s):
		if !utf8.ValidString(s) {
			return Address{}, fmt.Errorf("%w: not UTF-8", ErrAddress)
		}
		return Address{}, ErrNeedsUTF8
	}
	n, local, err := scanLocal(s)
	switch {
	case err != nil:
		return Address{}, err
	case n == len(s) || s[n] != '@':
		return Address{}, fmt.Errorf("%w: no domain", ErrAddress)
	case n > MaxLocalPart:
		return Address{}, fmt.Errorf("%w: local part of %d octets", ErrAddressLength, n)
	}
	a := Address{wire: s[:n], local: local, domain: s[n+1:]}
	if strings.HasPrefix(a.domain, "[") {
		if a.ascii, err = parseLiteral(a.domain); err != nil {
			return Address{}, err
		}
		if !literal {
			return Address{}, ErrAddressLiteral
		}
		return a, nil
	}
	a.ascii, err = DomainToASCII(a.domain)
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// scanLocal finds the end of the local part at the start of s and returns its
// canonical form.
func scanLocal(s string) (int, string, error) {
	if strings.HasPrefix(s, `"`) {
		return scanQuoted(s)
	}
	// RFC 5321 §4.1.2: Dot-string = Atom *("." Atom)
	n, atom := 0, false
	for n < len(s) {
		switch c := s[n]; {
		case c == '.':
			if !atom {
				return 0, "", fmt.Errorf("%w: misplaced dot", ErrAddress)
			}
			atom = false
			n++
		case isAtext(c):
			atom = true
			n++
		case c >= utf8.RuneSelf:
			size, err := textRune(s[n:])
			if err != nil {
				return 0, "", err
			}
			atom = true
			n += size
		case c == '@' && atom:
			return n, s[:n], nil
		default:
			return 0, "", fmt.Errorf("%w: unexpected octet 0x%02x in the local part", ErrAddress, c)
		}
	}
	if !atom {
		return 0, "", fmt.Errorf("%w: misplaced dot", ErrAddress)
	}
	return n, s, nil
}

// scanQuoted is scanLocal for a quoted string: qtextSMTP and quoted-pairSMTP of
// RFC 5321 §4.1.2, so no control octets at all.
func scanQuoted(s string) (int, string, error) {
	var b strings.Builder
	for n := 1; n < len(s); {
		switch c := s[n]; {
		case c == '"':
			if b.Len() == 0 {
				return 0, "", fmt.Errorf("%w: empty local part", ErrAddress)
			}
			return n + 1, b.String(), nil
		case c == '\\':
			if n+1 == len(s) || s[n+1] < ' ' || s[n+1] > '~' {
				return 0, "", fmt.Errorf("%w: bad quoted pair", ErrAddress)
			}
			b.WriteByte(s[n+1])
			n += 2
		case c >= ' ' && c <= '~':
			b.WriteByte(c)
			n++
		case c >= utf8.RuneSelf:
			size, err := textRune(s[n:])
			if err != nil {
				return 0, "", err
			}
			b.WriteString(s[n : n+size])
			n += size
		default:
			return 0, "", fmt.Errorf("%w: control octet in a quoted string", ErrAddress)
		}
	}
	return 0, "", fmt.Errorf("%w: quoted string without its end", ErrAddress)
}

// textRune measures the non-ASCII character at the start of s. RFC 6531 §3.3
// asks for well-formed UTF-8; what could steer a display or end a line in some
// other program is refused as well.
func textRune(s string) (int, error) {
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && size <= 1:
		return 0, fmt.Errorf("%w: not UTF-8", ErrAddress)
	case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Bidi_Control, r),
		unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r),
		unicode.Is(unicode.Noncharacter_Code_Point, r), r == '\uFEFF', r == utf8.RuneError:
		return 0, fmt.Errorf("%w: character U+%04X", ErrAddress, r)
	}
	return size, nil
}

// isAtext is atext of RFC 5322 §3.2.3.
func isAtext(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
