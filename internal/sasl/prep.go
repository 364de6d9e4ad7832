package sasl

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Prepare is SASLprep (RFC 4013): what is equal to a reader becomes equal in
// octets. Printable ASCII stays as it is. What is prohibited, or empty when
// prepared, is ErrProhibited; what is not UTF-8 is ErrMalformed.
//
// Code points that Unicode 3.2 had not assigned are allowed, as in a query (RFC
// 3454 §7), and normalisation is that of the present Unicode.
func Prepare(s string) (string, error) {
	if plainASCII(s) {
		return s, nil
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("SASLprep: %w", ErrMalformed)
	}
	p := norm.NFKC.String(strings.Map(mapped, s))
	if p == "" || strings.ContainsFunc(p, prohibited) || !directed(p) {
		return "", ErrProhibited
	}
	return p, nil
}

func plainASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// mapped is RFC 4013 §2.1: spaces become SPACE, and what is commonly mapped to
// nothing (RFC 3454 B.1) vanishes.
func mapped(r rune) rune {
	switch {
	case r == 0xad, r == 0x34f, r == 0x1806, r >= 0x180b && r <= 0x180d, r >= 0x200b && r <= 0x200d,
		r == 0x2060, r >= 0xfe00 && r <= 0xfe0f, r == 0xfeff:
		return -1
	case r > 0x7f && isSpace(r):
		return ' '
	}
	return r
}

// isSpace is RFC 3454 C.1.1 and C.1.2, without U+200B, which is mapped to
// nothing.
func isSpace(r rune) bool {
	return r == ' ' || r == 0xa0 || r == 0x1680 || r >= 0x2000 && r <= 0x200a || r == 0x202f || r == 0x205f || r == 0x3000
}

// prohibited is RFC 4013 §2.3.
func prohibited(r rune) bool {
	switch {
	case r > 0x7f && isSpace(r): // C.1.2
		return true
	case r < 0x20, r >= 0x7f && r < 0xa0: // C.2.1 and C.2.2
		return true
	case r == 0x6dd, r == 0x70f, r == 0x180e, r >= 0x2028 && r <= 0x2029, r >= 0x2061 && r <= 0x2063, r >= 0x1d173 && r <= 0x1d17a:
		return true // the rest of C.2.2
	case unicode.Is(unicode.Co, r): // C.3: private use
		return true
	case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe: // C.4: no characters
		return true
	case r >= 0xfff9 && r <= 0xfffd: // C.6: not for plain text
		return true
	case r >= 0x2ff0 && r <= 0x2ffb: // C.7: ideographic description
		return true
	case r == 0x340, r == 0x341, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f: // C.8: display
		return true
	case r == 0xe0001, r >= 0xe0020 && r <= 0xe007f: // C.9: tagging
		return true
	}
	return false
}

// directed is RFC 3454 §6: text with right-to-left letters has no left-to-right
// ones, and begins and ends with a right-to-left one.
func directed(s string) bool {
	var left, right bool
	for _, r := range s {
		switch class(r) {
		case bidi.L:
			left = true
		case bidi.R, bidi.AL:
			right = true
		}
	}
	if !right {
		return true
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	return !left && rightToLeft(first) && rightToLeft(last)
}

func class(r rune) bidi.Class {
	p, _ := bidi.LookupRune(r)
	return p.Class()
}

func rightToLeft(r rune) bool { c := class(r); return c == bidi.R || c == bidi.AL }

// prepareUser prepares a user name and bounds what is looked up and recorded:
// no control octets, 1 to MaxIdentity octets before and after.
func prepareUser(s string) (string, error) {
	if !validIdentity(s) {
		return "", ErrMalformed
	}
	p, err := Prepare(s)
	if err == nil && len(p) > MaxIdentity {
		err = ErrMalformed
	}
	return p, err
}

// preparePair prepares an authentication identity and the authorization identity
// that came with it, which must be absent or the same.
func preparePair(authzid, user string) (string, string, error) {
	user, err := prepareUser(user)
	if err != nil || authzid == "" {
		return "", user, err
	}
	if authzid, err = prepareUser(authzid); err != nil {
		return "", "", err
	}
	if authzid != user {
		return "", "", ErrAuthzid
	}
	return authzid, user, nil
}
