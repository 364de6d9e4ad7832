package shown

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"postern/internal/smtp"
)

// addresses finds all that reads as an address in s and asks who owns it.
//
// What reads as one: an "@", or a character that becomes one by compatibility,
// with something before it and a name with a dot after it, blanks between them or
// not; in angle brackets a name without a dot, too.
func (c *checker) addresses(s string) {
	if c.own == nil || c.one && strings.Count(s, "@") < 2 && !strings.ContainsAny(s, "\uFF20\uFE6B") {
		return // that of the field itself
	}
	if !isPrintable(s) {
		s = norm.NFKC.String(s)
	}
	text := []rune(s)
	for i, r := range text {
		if r != '@' {
			continue
		}
		local, domain, ok := around(text, i)
		if !ok {
			continue
		}
		if c.shown++; c.shown > maxAddresses || !c.owns(local, domain) {
			c.fail(Foreign, local+"@"+domain)
			c.own = nil // one is enough
			return
		}
	}
}

func (c *checker) owns(local, domain string) bool {
	if len(domain) > smtp.MaxDomain {
		return false
	}
	if local+"@"+domain == c.owned {
		return true
	}
	ascii, err := smtp.DomainToASCII(domain)
	if err != nil || !c.own(local, ascii) {
		return false
	}
	c.owned = local + "@" + domain
	return true
}

// around reads the local part before the "@" at i and the domain after it.
func around(text []rune, i int) (local, domain string, ok bool) {
	bracket := false
	from := i
	for from > 0 && i-from < smtp.MaxLocalPart && isLocal(text[from-1]) {
		from--
	}
	if from > 0 && text[from-1] == '<' {
		bracket = true
	}
	if from == i && !bracket && (i == 0 || opens(text[i-1])) {
		return "", "", false // "@name" alone is a handle, no address
	}
	to := i + 1
	for to < len(text) && (text[to] == ' ' || text[to] == '\t' || text[to] == 0xa0) {
		to++
	}
	if to < len(text) && text[to] == '[' && to+1 < len(text) && (unicode.IsDigit(text[to+1]) || text[to+1]|0x20 == 'i') {
		return string(text[from:i]), "[" + string(text[to+1:min(to+6, len(text))]), true // never somebody's own
	}
	start := to
	var b strings.Builder
	for ; to < len(text) && to-start <= smtp.MaxDomain && isDomain(text[to]); to++ {
		if isDot(text[to]) {
			b.WriteByte('.')
		} else {
			b.WriteRune(text[to])
		}
	}
	bracket = bracket && to < len(text) && text[to] == '>'
	domain = strings.Trim(b.String(), ".-")
	return string(text[from:i]), domain, domain != "" && (bracket || isName(domain))
}

// isLocal: what an unquoted local part may hold, and more.
func isLocal(r rune) bool {
	return r >= 'a' && r <= 'z' || r > ' ' && unicode.In(r, unicode.L, unicode.M, unicode.N) || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", r)
}

// isDomain: what a reader takes into a domain.
func isDomain(r rune) bool {
	return r >= 'a' && r <= 'z' || r == '.' || r > ' ' && unicode.In(r, unicode.L, unicode.M, unicode.N) || r == '-' || r == '_' || r == zwnj || r == zwj || isDot(r)
}

// opens: a name in these is a handle of its own.
func opens(r rune) bool { return strings.ContainsRune("([{\"'“„«‹", r) }

// isDot: dots, and what is drawn like one.
func isDot(r rune) bool {
	return r == '.' || r >= 0xb7 && strings.ContainsRune("\u3002\u2024\u00b7\u2027\u22c5\u2219\u30fb", r)
}

// isName reports a name that people take for a domain: with a dot, and an end
// that could be a top-level domain.
func isName(domain string) bool {
	i := strings.LastIndexByte(domain, '.')
	if i <= 0 {
		return false
	}
	first, size := utf8.DecodeRuneInString(domain[i+1:])
	if first < 0x80 && len(domain) == i+1+size && strings.IndexByte(domain[:i], '.') < 0 {
		return false // a single letter is none
	}
	return unicode.In(first, unicode.L, unicode.M)
}
