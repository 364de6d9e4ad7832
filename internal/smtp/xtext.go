package smtp

import (
	"errors"
	"strings"
)

// ErrXtext is returned for text that is not xtext.
var ErrXtext = errors.New("malformed xtext")

const upperHex = "0123456789ABCDEF"

// EncodeXtext writes s as xtext (RFC 3461 §4): printable ASCII but "+" and "="
// as it is, everything else as "+" and two upper-case hexadecimal digits.
func EncodeXtext(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if c := s[i]; isXchar(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('+')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}

// DecodeXtext is the inverse. Only upper-case hexadecimal digits are accepted.
// The result may hold any octet: the caller judges it.
func DecodeXtext(s string) (string, error) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isXchar(c):
			b.WriteByte(c)
		case c == '+' && i+2 < len(s):
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi < 0 || lo < 0 {
				return "", ErrXtext
			}
			b.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			return "", ErrXtext
		}
	}
	return b.String(), nil
}

// isXchar is xchar of RFC 3461 §4.
func isXchar(c byte) bool { return c >= '!' && c <= '~' && c != '+' && c != '=' }

// isPrintable reports whether s is printable ASCII with spaces.
func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
