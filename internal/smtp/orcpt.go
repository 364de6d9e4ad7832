package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrORcpt is wrapped by the errors of ParseORcpt.
var ErrORcpt = errors.New("malformed ORCPT")

// MaxORcpt is the length of an ORCPT value in octets (RFC 3461 §4.2).
const MaxORcpt = 500

// ParseORcpt takes an original recipient apart: the address type and the
// address, decoded (RFC 3461 §4.2; RFC 6533 §3 for the type utf-8). What
// decodes to anything but printable characters is refused, because it comes
// back in the header of a DSN.
func ParseORcpt(s string) (kind, addr string, err error) {
	kind, enc, ok := strings.Cut(s, ";")
	if !ok || len(s) > MaxORcpt || !isKeyword(kind) || enc == "" {
		return "", "", fmt.Errorf("%w: want type;address", ErrORcpt)
	}
	if strings.EqualFold(kind, "utf-8") {
		addr, err = decodeUnitext(enc)
	} else if addr, err = DecodeXtext(enc); err == nil && !isPrintable(addr) {
		err = fmt.Errorf("%w: not printable", ErrORcpt)
	}
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrORcpt, err)
	}
	return kind, addr, nil
}

// decodeUnitext reads utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 §3):
// printable octets but "+", "=" and "\", UTF-8, and "\x{HEX}".
func decodeUnitext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '\\' {
			r, n, err := embedded(s[i:])
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '+' || r == '=' || r == ' ' || !printable(r) {
			return "", ErrXtext
		}
		b.WriteRune(r)
		i += n
	}
	return b.String(), nil
}

// embedded reads one "\x{HEX}" of 2 to 6 upper-case digits.
func embedded(s string) (rune, int, error) {
	hex, _, ok := strings.Cut(s, "}")
	hex, pre := strings.CutPrefix(hex, `\x{`)
	if !ok || !pre || len(hex) < 2 || len(hex) > 6 || strings.Trim(hex, upperHex) != "" {
		return 0, 0, ErrXtext
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || !printable(rune(n)) {
		return 0, 0, ErrXtext
	}
	return rune(n), len(hex) + 4, nil
}

// printable refuses what must not stand in a header or on a screen.
func printable(r rune) bool {
	return r != utf8.RuneError && utf8.ValidRune(r) && !unicode.IsControl(r) &&
		!unicode.Is(unicode.Bidi_Control, r) && !unicode.Is(unicode.Zl, r) && !unicode.Is(unicode.Zp, r)
}
