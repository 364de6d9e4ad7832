package message

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"postern/internal/smtp"
)

// addressParser walks the octets once; every method leaves i behind what it
// took.
type addressParser struct {
	s     []byte
	i     int
	utf8  bool // in addresses too
	names bool // in names and comments
}

// check refuses, before anything is parsed, what no address field may hold:
// controls, line ends that are no folding, and octets over 127 that are not
// allowed or not UTF-8.
func (p *addressParser) check() error {
	for i, c := range p.s {
		switch {
		case c == '\r':
			if i+2 >= len(p.s) || p.s[i+1] != '\n' || p.s[i+2] != ' ' && p.s[i+2] != '\t' {
				return unparseable("a line end that is no folding")
			}
		case c == '\n':
			if i == 0 || p.s[i-1] != '\r' {
				return unparseable("a line end that is no folding")
			}
		case c < ' ' && c != '\t' || c == 0x7f:
			return unparseable("a control character")
		case c >= 0x80 && !p.utf8 && !p.names:
			return unparseable("an 8-bit octet")
		}
	}
	if (p.utf8 || p.names) && !utf8.Valid(p.s) {
		return unparseable("octets that are not UTF-8")
	}
	return nil
}

func (p *addressParser) done() bool { return p.i >= len(p.s) }

func (p *addressParser) peek() byte {
	if p.done() {
		return 0
	}
	return p.s[p.i]
}

// mailbox reads [CFWS] (name-addr / addr-spec) [CFWS].
func (p *addressParser) mailbox() (Mailbox, error) {
	if err := p.cfws(); err != nil {
		return Mailbox{}, err
	}
	start := p.i
	if a, err := p.addrSpec(); err == nil {
		if err := p.commentBehind(); err != nil {
			return Mailbox{}, err
		}
		if err := p.cfws(); err != nil {
			return Mailbox{}, err
		}
		if p.done() || p.s[p.i] == ',' {
			return Mailbox{Address: a}, nil
		}
		return Mailbox{}, unparseable("text after an address")
	}
	p.i = start
	name, err := p.phrase()
	if err != nil {
		return Mailbox{}, err
	}
	if p.peek() != '<' {
		return Mailbox{}, unparseable("no address")
	}
	p.i++
	a, err := p.addrSpec()
	if err != nil {
		return Mailbox{}, err
	}
	if p.peek() != '>' {
		return Mailbox{}, unparseable("an unterminated or malformed angle address")
	}
	p.i++
	return Mailbox{Name: name, Address: a}, p.cfws()
}

// commentBehind refuses a comment with parentheses or backslashes in it right
// behind a bare address, or behind nothing but folding: a reader that takes the
// first parenthesis for its end puts the rest of it behind the domain.
func (p *addressParser) commentBehind() error {
	rest := p.s[p.i:]
	if fold := bytes.Index(rest, crlf); fold >= 0 && len(bytes.Trim(rest[:fold], " \t")) == 0 {
		rest = bytes.TrimLeft(rest[fold:], " \t\r\n")
	}
	if len(rest) == 0 || rest[0] != '(' {
		return nil
	}
	end := bytes.IndexByte(rest, ')')
	if end < 0 || bytes.ContainsAny(rest[1:end], "(\\") {
		return unparseable("a comment within a comment right behind an address")
	}
	return nil
}

// phrase reads the display name up to '<': words with CFWS between them. It
// returns it as it stands, without folding and outer white space.
func (p *addressParser) phrase() (string, error) {
	start := p.i
	for !p.done() {
		switch c := p.s[p.i]; {
		case c == '<':
			name := bytes.ReplaceAll(p.s[start:p.i], crlf, nil)
			return strings.Trim(string(name), " \t"), nil
		case c == '"':
			if _, err := p.quoted(true); err != nil {
				return "", err
			}
		case isAtext(c) || c == '.' || c >= 0x80:
			p.i++
		case c == ' ' || c == '\t' || c == '\r' || c == '(':
			if err := p.cfws(); err != nil {
				return "", err
			}
		default:
			return "", unparseable("a character that a display name must quote")
		}
	}
	return "", unparseable("no address")
}

// addrSpec reads local-part "@" domain without any white space or comment.
func (p *addressParser) addrSpec() (smtp.Address, error) {
	start := p.i
	if err := p.localPart(); err != nil {
		return smtp.Address{}, err
	}
	if p.peek() != '@' {
		return smtp.Address{}, unparseable("an address without @")
	}
	p.i++
	for !p.done() && isDomainOctet(p.s[p.i]) {
		p.i++
	}
	a, err := smtp.ParseAddress(string(p.s[start:p.i]), p.utf8)
	switch {
	case err != nil:
		return smtp.Address{}, unparseable("a malformed address")
	case strings.Contains(a.Local(), "=?"):
		// RFC 2047 §5: an encoded-word is never part of an addr-spec. A reader
		// that decodes it anyway would see another address.
		return smtp.Address{}, unparseable("an encoded-word as an address")
	case !isPlainUnicode(a.Local()):
		return smtp.Address{}, unparseable("a local part with invisible or compatibility characters")
	}
	return a, nil
}

func isDomainOctet(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c >= 0x80
}

// localPart skips what can be a local part; smtp.ParseAddress judges it.
func (p *addressParser) localPart() error {
	if p.peek() == '"' {
		_, err := p.quoted(false)
		return err
	}
	for !p.done() && (isAtext(p.s[p.i]) || p.s[p.i] == '.' || p.s[p.i] >= 0x80) {
		p.i++
	}
	return nil
}

// isPlainUnicode reports text that is its own NFKC form, so that no reader
// that normalises sees another address (a full-width commercial at, for one),
// without white space, controls and invisible format characters.
func isPlainUnicode(s string) bool {
	if !norm.NFKC.IsNormalString(s) {
		return false
	}
	for _, r := range s {
		if r >= 0x80 && (unicode.Is(unicode.C, r) || unicode.Is(unicode.Z, r)) {
			return false
		}
	}
	return true
}

// quoted reads a quoted-string and returns its content. Folding is allowed in
// display names only.
//
// An angle address behind an escaped quote is refused: for readers that do not
// know the escape, the string has ended before it.
func (p *addressParser) quoted(folding bool) (string, error) {
	var out []byte
	escaped, angle := false, false
	for p.i++; !p.done(); p.i++ {
		switch c := p.s[p.i]; c {
		case '"':
			p.i++
			return string(out), nil
		case '\\':
			p.i++
			// RFC 5322 §3.2.1: only VCHAR and WSP may be quoted; quoting anything
			// else is the obsolete form.
			if p.done() || p.s[p.i] == '\r' {
				return "", unparseable("a quoted pair without its character")
			}
			escaped = escaped || p.s[p.i] == '"'
			angle = angle || p.s[p.i] == '<'
			out = append(out, p.s[p.i])
		case '\r', '\n':
			if !folding {
				return "", unparseable("folding inside a local part")
			}
		case '\t':
			if !folding {
				return "", unparseable("a tab inside a local part")
			}
			out = append(out, c)
		default:
			if c == '@' && escaped && angle {
				return "", unparseable("an angle address behind an escaped quote")
			}
			angle = angle || c == '<'
			out = append(out, c)
		}
	}
	return "", unparseable("an unterminated quoted string")
}

// cfws skips white space, folding and comments.
//
// A comment that holds an address in angle brackets is refused: readers that
// look for the last pair of brackets, as many do, would show that address.
func (p *addressParser) cfws() error {
	depth, angle := 0, false
	for ; !p.done(); p.i++ {
		switch c := p.s[p.i]; {
		case c == '(':
			if depth++; depth > maxComments {
				return unparseable("comments nested too deep")
			}
		case depth > 0 && c == ')':
			depth--
		case depth > 0 && c == '\\':
			if p.i++; p.done() || p.s[p.i] == '\r' {
				return unparseable("a quoted pair without its character")
			}
			angle = angle || p.s[p.i] == '<'
		case depth > 0 && c == '<':
			angle = true
		case depth > 0 && c == '@' && angle:
			return unparseable("an angle address inside a comment")
		case depth > 0 || c == ' ' || c == '\t' || c == '\r' || c == '\n':
		default:
			return nil
		}
	}
	if depth > 0 {
		return unparseable("an unterminated comment")
	}
	return nil
}
