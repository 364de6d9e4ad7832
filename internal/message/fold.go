package message

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"postern/internal/smtp"
)

// foldAt is the length that lines are folded to where they can be
// (RFC 5322 §2.1.1: SHOULD be no more than 78).
const foldAt = 78

// FoldField makes a field of a name and a value that is already in its wire
// form, folded before white space so that lines stay within 78 octets where
// the value has white space to fold at. Outer white space of value goes.
//
// Errors: Unsafe for a bad name or a control character other than TAB in the
// value, LongLine where no fold keeps a line within 998 octets.
func FoldField(name, value string) (Field, error) {
	if !validName(name) {
		return Field{}, &Error{Reason: Unsafe, Detail: "bad field name"}
	}
	if hasControl(value) {
		return Field{}, &Error{Reason: Unsafe, Field: name, Detail: "control character in a header value"}
	}
	value = strings.Trim(value, " \t")
	b := make([]byte, 0, len(name)+len(value)+8+len(value)/foldAt*3)
	b = append(b, name...)
	b = append(b, ':')
	lineStart := 0
	for rest := " " + value; rest != ""; {
		word := nextWord(rest)
		rest = rest[len(word):]
		if len(b)-lineStart+len(word) > foldAt && len(b)-lineStart > len(name)+1 || len(b)-lineStart+len(word) > MaxLine {
			b = append(b, crlf...)
			lineStart = len(b)
		}
		b = append(b, word...)
		if len(b)-lineStart > MaxLine {
			return Field{}, &Error{Reason: LongLine, Field: name, Detail: "a word of the value is too long for a line"}
		}
	}
	b = append(b, crlf...)
	return Field{Name: name, Raw: b, Offset: -1}, nil
}

// nextWord is the white space at the start of s with the word that follows it.
func nextWord(s string) string {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	for i < len(s) && s[i] != ' ' && s[i] != '\t' {
		i++
	}
	return s[:i]
}

func validName(name string) bool {
	if name == "" || len(name) > 76 {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':' {
			return false
		}
	}
	return true
}

// hasControl reports a C0 control other than TAB, or DEL.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// EncodeText writes text for an unstructured field such as Subject: as it is
// where it is printable ASCII that no reader takes for an encoded-word, as
// encoded-words (RFC 2047, UTF-8, base64) where not. Octets that are not UTF-8
// become U+FFFD. Line breaks and other control characters become spaces, so
// that the result is always safe for FoldField.
func EncodeText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if isASCII([]byte(s)) && !strings.Contains(s, "=?") {
		return s
	}
	return encodeWords(s)
}

// wordOctets is how many octets of UTF-8 one encoded-word carries: with its
// frame and "Subject: " before it, it stays within the 76 characters that
// RFC 2047 §2 allows a line with encoded-words.
const wordOctets = 39

func encodeWords(s string) string {
	var b strings.Builder
	for s != "" {
		n := min(len(s), wordOctets)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n-- // RFC 2047 §5: a character never spans two encoded-words
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("=?utf-8?b?")
		b.WriteString(base64.StdEncoding.EncodeToString([]byte(s[:n])))
		b.WriteString("?=")
		s = s[n:]
	}
	return b.String()
}

// FormatMailbox writes a mailbox for From, To and their like: the display name
// as atoms, as a quoted string or as encoded-words, whichever it needs, then
// the address in angle brackets. An empty name gives the bare address.
func FormatMailbox(name string, a smtp.Address) string {
	name = strings.TrimSpace(EncodeText(name))
	switch {
	case name == "":
		return a.String()
	case strings.HasPrefix(name, "=?"):
	case !isPhrase(name):
		name = quote(name)
	}
	return name + " <" + a.String() + ">"
}

// isPhrase reports words of atext with single spaces between them.
func isPhrase(s string) bool {
	for _, w := range strings.Split(s, " ") {
		if w == "" {
			return false
		}
		for i := range len(w) {
			if !isAtext(w[i]) {
				return false
			}
		}
	}
	return true
}

// quote makes a quoted-string (RFC 5322 §3.2.4).
func quote(s string) string {
	b := make([]byte, 0, len(s)+8)
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(append(b, '"'))
}

// trimCRLF cuts one CRLF from the end.
func trimCRLF(b []byte) []byte { return bytes.TrimSuffix(b, crlf) }
