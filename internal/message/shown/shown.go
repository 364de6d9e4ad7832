// Package shown knows what programs that read mail show of an address field:
// names decoded in every sloppy way that is common, and whatever in them a
// person or a program takes for an address.
//
// It decides nothing about who may send: it reports what a field would show, and
// the caller says which addresses are the sender's own. It is not the parser of
// addresses (message.ParseMailboxes); it looks at the octets beside them too.
//
// Its one invariant: all readings of a field together show at least what any
// reader shows. A reading too many costs a refusal, one too few a forgery.
package shown

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Fault is what is wrong with how a field would be shown.
type Fault string

// The faults.
const (
	None Fault = ""
	// Tricks: characters that hide or turn round text: bidi controls, zero-width and
	// other invisible characters, tags, controls.
	Tricks Fault = "tricks"
	// Unreadable: encoded so that readers disagree on what it says.
	Unreadable Fault = "unreadable"
	// Foreign: it shows an address that is not the sender's.
	Foreign Fault = "foreign"
)

// Own reports whether an address that a field shows is one that the sender may
// use. domain is in A-labels and lower case.
type Own func(local, domain string) bool

// maxAddresses is how many addresses one field may show: each asks Own.
const maxAddresses = 64

// Check judges the value of a field such as From, folding included, that the
// strict parser has read one address from, or several: it must hold no tricks, and every address that any reader could see in it must be own. A nil
// own skips the addresses. It also returns the foreign address.
//
// It takes time linear in the size of the value, and next to none for a plain one.
func Check(value []byte, own Own) (Fault, string) {
	if plain(value) {
		return None, ""
	}
	c := checker{own: own, one: bytes.Count(value, []byte("@")) == 1}
	for _, text := range unfolded(value) {
		c.text(text)
	}
	return c.fault, c.address
}

// plain reports a value in which nothing can be hidden: printable ASCII, one "@"
// at most and no encoded-word.
func plain(value []byte) bool {
	at := false
	for i, b := range value {
		switch {
		case b >= 0x7f, b < ' ' && b != '\t' && b != '\r' && b != '\n':
			return false
		case b == '@':
			if at {
				return false
			}
			at = true
		case b == '?' && i > 0 && value[i-1] == '=':
			return false
		}
	}
	return true
}

// unfolded are the ways to undo folding: RFC 5322 keeps the white space, and some
// readers drop it.
func unfolded(value []byte) []string {
	kept := string(bytes.ReplaceAll(value, []byte("\r\n"), nil))
	if len(kept) == len(value) {
		return []string{kept}
	}
	var b strings.Builder
	for rest := value; ; {
		line, after, more := bytes.Cut(rest, []byte("\r\n"))
		b.Write(line)
		if !more {
			return []string{kept, b.String()}
		}
		rest = bytes.TrimLeft(after, " \t")
	}
}

type checker struct {
	own     Own
	one     bool // the value has one "@": that of its address
	fault   Fault
	address string
	shown   int    // addresses seen
	owned   string // the last that was owned
}

// fail keeps the gravest: a trick before all, then what cannot be read.
func (c *checker) fail(f Fault, address string) {
	rank := map[Fault]int{None: 0, Foreign: 1, Unreadable: 2, Tricks: 3}
	if rank[f] > rank[c.fault] {
		c.fault, c.address = f, address
	}
}

// text judges one unfolded text and all that its encoded-words can say.
func (c *checker) text(s string) {
	c.reading(s, true)
	c.nested(s, maxNested)
}

// nested judges what the encoded-words of a text say, and those within them: some
// readers decode what came out of decoding. Others take comments out before they
// join words.
func (c *checker) nested(s string, levels int) {
	c.decoded(s, levels)
	if strings.Contains(s, "=?") && strings.IndexByte(s, '(') >= 0 {
		c.decoded(withoutComments(s), levels)
	}
}

func (c *checker) decoded(s string, levels int) {
	w, ok := splitWords(s)
	switch {
	case !ok:
		return
	case levels == 0:
		c.fail(Unreadable, "")
		return
	}
	readings := w.readings()
	for _, r := range readings {
		c.reading(r.text, r.proper)
		c.addresses(collapse(r.text))
		c.addresses(collapse(withoutComments(r.text)))
	}
	// Readers do not agree on what stands between words of two charsets: whoever
	// writes an address over them wants that.
	if w.unreadable || w.mixed && w.hidesAt(readings[0].text) {
		c.fail(Unreadable, "")
	}
	c.nested(readings[0].text, levels-1)
}

// collapse takes the blanks out of what stands behind an "@": some readers do, in
// what they take for an address, up to the next character that ends one.
func collapse(s string) string {
	if !strings.ContainsAny(s, "@\uFF20\uFE6B") {
		return s
	}
	behind := false
	return strings.Map(func(r rune) rune {
		switch {
		case r == '@' || r == '\uff20' || r == '\ufe6b':
			behind = true
		case strings.ContainsRune("<>()[],:;\"", r):
			behind = false
		case behind && (r == ' ' || r == '\t' || r == 0xa0):
			return -1
		}
		return r
	}, s)
}

// maxNested is how often encoded-words may stand within encoded-words.
const maxNested = 2

// reading judges one text as it would be shown. An improper reading is that of a
// program that gets the charset wrong: only its ASCII counts.
func (c *checker) reading(s string, proper bool) {
	if proper && hasTricks(s) {
		c.fail(Tricks, "")
	}
	if c.fault == Tricks {
		return
	}
	c.addresses(s)
	bare := strings.Map(unquote, s)
	if bare != s {
		c.addresses(bare)
	}
	if strings.IndexByte(s, '(') < 0 {
		return
	}
	// Comments go, as well or as badly as readers know where they end.
	c.addresses(withoutComments(bare))
	c.addresses(strings.Map(unquote, escapedComment.ReplaceAllString(s, "")))
	c.addresses(firstParenthesis.ReplaceAllString(bare, ""))
	c.addresses(innermost.ReplaceAllString(bare, ""))
	c.addresses(withoutParentheses(bare))
}

var (
	escapedComment   = regexp.MustCompile(`\((?:\\.|[^()\\])*\)`)
	firstParenthesis = regexp.MustCompile(`\([^)]*\)`)
	innermost        = regexp.MustCompile(`\([^()]*\)`)
)

func unquote(r rune) rune {
	if r == '"' || r == '\\' {
		return -1
	}
	return r
}

// withoutParentheses takes them out and leaves what stands in them. That around a
// handle stays: "Ann (@ann.example)" is no address.
func withoutParentheses(s string) string {
	var b strings.Builder
	for i := range len(s) {
		handle := s[i] == '(' && i+1 < len(s) && s[i+1] == '@' && (i == 0 || s[i-1] == ' ')
		if s[i] != '(' && s[i] != ')' || handle {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// withoutComments cuts what stands in parentheses.
func withoutComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	depth := 0
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}
