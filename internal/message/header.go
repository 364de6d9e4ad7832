package message

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Octets says which octets over 127 a header section may hold.
type Octets int

// The sets.
const (
	ASCII    Octets = iota // none (RFC 5322)
	UTF8                   // well-formed UTF-8 (RFC 6532; the hop must have SMTPUTF8)
	AnyOctet               // any; for octets that are only carried or looked at
)

// Limits bound the parsing of a header section. The zero value of a number
// means its default.
type Limits struct {
	Bytes  int // octets of the section, its ending empty line included; default 262,144
	Fields int // fields; default 1,000
	Octets Octets
}

// The defaults of Limits, and the longest line (RFC 5322 §2.1.1), CRLF not
// counted.
const (
	DefaultHeaderBytes  = 256 << 10
	DefaultHeaderFields = 1000
	MaxLine             = 998
)

// Field is one header field.
type Field struct {
	Name string // as written
	Raw  []byte // the whole field: name, colon, value, folding and last CRLF
	// Offset is the position of Raw in the parsed input; -1 for an added field.
	Offset int
}

// Is reports whether the field has the name, in any case.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Value is everything between the colon and the last CRLF, folding included.
func (f Field) Value() []byte {
	return f.Raw[len(f.Name)+1 : len(f.Raw)-2]
}

// Unfolded is the value with its folding undone (RFC 5322 §2.2.3: the CRLF
// before white space goes, the white space stays) and outer white space
// trimmed.
func (f Field) Unfolded() string {
	v := bytes.Trim(f.Value(), " \t\r\n")
	if bytes.IndexByte(v, '\r') < 0 {
		return string(v)
	}
	return string(bytes.ReplaceAll(v, crlf, nil))
}

var crlf = []byte("\r\n")

// Header is a header section. Its methods never change the octets that it was
// parsed from; fields that are not edited keep aliasing them.
type Header struct {
	// Fields are in the order in which they stand, top first.
	Fields []Field
	length int
	high   bool // holds an octet over 127
	// controls: holds one that is neither white space nor a line end
	controls bool
}

// ParseHeader indexes the header section at the start of b, which holds either
// a whole message or at least its section with the empty line that ends it. A
// message without that line is all header.
//
// It is strict, because two readers that split a section differently see
// different senders: every line ends with CRLF and holds no other CR, LF or
// NUL; the first line is not a continuation; a field name is printable ASCII
// directly followed by its colon; no continuation is blank (RFC 5322 §3.2.2);
// there is at least one field. Errors are *Error with Malformed or TooLarge.
//
// Line length is not judged here, because a field may yet be removed: see
// EncodeLongLines and LongestLine.
func ParseHeader(b []byte, l Limits) (Header, error) {
	if l.Bytes <= 0 {
		l.Bytes = DefaultHeaderBytes
	}
	if l.Fields <= 0 {
		l.Fields = DefaultHeaderFields
	}
	h := Header{Fields: make([]Field, 0, 24)}
	start, pos, line := 0, 0, 0 // start: first octet of the field being read
	for pos < len(b) {
		line++
		n := bytes.IndexByte(b[pos:min(len(b), l.Bytes)], '\n')
		if n < 0 {
			if len(b) > l.Bytes {
				return Header{}, &Error{Reason: TooLarge, Detail: fmt.Sprintf("header section over %d octets", l.Bytes)}
			}
			return Header{}, malformed(line, "does not end with CRLF")
		}
		text := b[pos : pos+n+1]
		if len(text) == 2 && text[0] == '\r' {
			pos += 2
			break
		}
		if err := checkLine(text, line, len(h.Fields) == 0); err != nil {
			return Header{}, err
		}
		if text[0] == ' ' || text[0] == '\t' {
			h.Fields[len(h.Fields)-1].Raw = b[start : pos+len(text)]
		} else {
			if len(h.Fields) == l.Fields {
				return Header{}, &Error{Reason: TooLarge, Detail: fmt.Sprintf("more than %d header fields", l.Fields)}
			}
			start = pos
			name := string(text[:bytes.IndexByte(text, ':')])
			h.Fields = append(h.Fields, Field{Name: name, Raw: text, Offset: pos})
		}
		pos += len(text)
		if pos >= l.Bytes && pos < len(b) {
			return Header{}, &Error{Reason: TooLarge, Detail: fmt.Sprintf("header section over %d octets", l.Bytes)}
		}
	}
	if len(h.Fields) == 0 {
		return Header{}, &Error{Reason: Malformed, Detail: "no header section"}
	}
	h.length = pos
	if err := h.checkOctets(b[:pos], l.Octets); err != nil {
		return h, err
	}
	return h, h.checkLineEnds()
}

func malformed(line int, what string) *Error {
	return &Error{Reason: Malformed, Detail: fmt.Sprintf("header line %d %s", line, what)}
}

// checkLine judges one line with its line end.
func checkLine(text []byte, line int, first bool) error {
	if len(text) < 2 || bytes.IndexByte(text, '\r') != len(text)-2 {
		return malformed(line, "holds a bare CR or LF")
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return malformed(line, "holds a NUL")
	}
	if text[0] == ' ' || text[0] == '\t' {
		if first {
			return malformed(line, "starts with white space")
		}
		if len(bytes.Trim(text, " \t\r\n")) == 0 {
			return malformed(line, "is blank but not empty")
		}
		return nil
	}
	for i, c := range text {
		if c == ':' && i > 0 {
			return nil
		}
		if c <= ' ' || c >= 0x7f || c == ':' {
			break
		}
	}
	return malformed(line, "has no field name with a colon")
}

func (h *Header) checkOctets(b []byte, o Octets) error {
	h.scan(b)
	switch {
	case !h.high || o == AnyOctet:
		return nil
	case o == UTF8 && utf8.Valid(b):
		return nil
	case o == UTF8:
		return &Error{Reason: Malformed, Detail: "header section is not UTF-8"}
	}
	return &Error{Reason: Malformed, Detail: "header section holds 8-bit octets"}
}

// scan notes octets over 127, and controls other than TAB, CR and LF.
func (h *Header) scan(b []byte) {
	for _, c := range b {
		if c >= 0x80 {
			h.high = true
		} else if c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			h.controls = true
		}
	}
}

// checkLineEnds refuses an author field behind a character that some runtimes take
// for a line end (VT, FF, the separators FS, GS and RS, NEL, U+2028, U+2029): for
// programs on them, it is one.
func (h *Header) checkLineEnds() error {
	if !h.high && !h.controls {
		return nil
	}
	for _, f := range h.Fields {
		for rest := f.Raw; ; {
			i := bytes.IndexAny(rest, "\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
			if j := bytes.IndexByte(rest, 0x85); j >= 0 && (i < 0 || j < i) { // NEL of one octet
				i = j
			}
			if i < 0 {
				break
			}
			_, size := utf8.DecodeRune(rest[i:])
			if rest = rest[i+size:]; startsAuthor(rest) {
				return &Error{Reason: Malformed, Field: f.Name, Detail: "an author field behind a control character"}
			}
		}
	}
	return nil
}

// startsAuthor reports "From:" and its like at the start of b.
func startsAuthor(b []byte) bool {
	name, _, ok := bytes.Cut(b[:min(len(b), 64)], []byte(":"))
	name = bytes.TrimFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	for _, author := range []string{"From", "Sender", "Resent-From", "Resent-Sender"} {
		if ok && strings.EqualFold(string(name), author) {
			return true
		}
	}
	return false
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// Len is how many octets of the parsed input were header section, the ending
// empty line included where there was one: the offset of the body.
func (h *Header) Len() int { return h.length }

// NonASCII reports whether the parsed section held an octet over 127.
func (h *Header) NonASCII() bool { return h.high }

// All returns the fields of that name, top first.
func (h *Header) All(name string) []Field {
	var out []Field
	for _, f := range h.Fields {
		if f.Is(name) {
			out = append(out, f)
		}
	}
	return out
}

// First returns the topmost field of that name.
func (h *Header) First(name string) (Field, bool) {
	for _, f := range h.Fields {
		if f.Is(name) {
			return f, true
		}
	}
	return Field{}, false
}

// Count is how many fields have the name.
func (h *Header) Count(name string) int {
	n := 0
	for _, f := range h.Fields {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// Values returns the unfolded values of the fields of that name, top first.
func (h *Header) Values(name string) []string {
	var out []string
	for _, f := range h.Fields {
		if f.Is(name) {
			out = append(out, f.Unfolded())
		}
	}
	return out
}

// Remove drops every field of one of the names and says how many went.
func (h *Header) Remove(names ...string) int {
	return h.RemoveFunc(func(f Field) bool {
		for _, n := range names {
			if f.Is(n) {
				return true
			}
		}
		return false
	})
}

// RemoveFunc drops every field for which drop is true and says how many went.
func (h *Header) RemoveFunc(drop func(Field) bool) int {
	kept := make([]Field, 0, len(h.Fields))
	for _, f := range h.Fields {
		if !drop(f) {
			kept = append(kept, f)
		}
	}
	n := len(h.Fields) - len(kept)
	h.Fields = kept
	return n
}

// Prepend puts fields on top, the first of them topmost.
func (h *Header) Prepend(f ...Field) {
	out := make([]Field, 0, len(h.Fields)+len(f))
	h.Fields = append(append(out, f...), h.Fields...)
}

// Append puts fields at the end.
func (h *Header) Append(f ...Field) {
	out := make([]Field, 0, len(h.Fields)+len(f))
	h.Fields = append(append(out, h.Fields...), f...)
}

// Size is the length of Bytes.
func (h *Header) Size() int {
	n := 2
	for _, f := range h.Fields {
		n += len(f.Raw)
	}
	return n
}

// Bytes is the section as it stands now, with the empty line that ends it.
func (h *Header) Bytes() []byte {
	b := make([]byte, 0, h.Size())
	for _, f := range h.Fields {
		b = append(b, f.Raw...)
	}
	return append(b, crlf...)
}

// LongestLine is the length of the longest line, CRLF not counted, and the
// field that it stands in.
func (h *Header) LongestLine() (n int, field string) {
	for _, f := range h.Fields {
		if len(f.Raw)-2 <= n {
			continue
		}
		if m := longestLine(f.Raw); m > n {
			n, field = m, f.Name
		}
	}
	return n, field
}

// longestLine is the length of the longest line of b, CRLF not counted.
func longestLine(b []byte) int {
	n := 0
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return max(n, len(b))
		}
		n = max(n, len(bytes.TrimSuffix(b[:i], crlf[:1])))
		b = b[i+1:]
	}
	return n
}
