package forge

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/transform"
)

// writer is an encoding that is only written.
type writer func(string) string

func (w writer) encoder() *encoding.Encoder { return &encoding.Encoder{Transformer: whole(w)} }

// whole transforms all at once.
type whole func(string) string

func (whole) Reset() {}

func (w whole) Transform(dst, src []byte, atEOF bool) (int, int, error) {
	if !atEOF {
		return 0, 0, transform.ErrShortSrc
	}
	out := w(string(src))
	if len(out) > len(dst) {
		return 0, 0, transform.ErrShortDst
	}
	return copy(dst, out), len(src), nil
}

// utf7 writes all but letters and digits shifted.
type utf7 struct{ encoding.Encoding }

func (utf7) NewEncoder() *encoding.Encoder {
	return writer(func(s string) string {
		var b strings.Builder
		for _, r := range s {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				b.WriteRune(r)
				continue
			}
			var octets []byte
			for _, u := range utf16.Encode([]rune{r}) {
				octets = append(octets, byte(u>>8), byte(u))
			}
			b.WriteString("+" + base64.RawStdEncoding.EncodeToString(octets) + "-")
		}
		return b.String()
	}).encoder()
}

// ebcdic writes code page 37, in which Latin letters are over 127.
type ebcdic struct{ encoding.Encoding }

func (ebcdic) NewEncoder() *encoding.Encoder { return charmap.CodePage037.NewEncoder() }

// escapes writes "@" and "." as some languages' source text does.
type escapes struct{ encoding.Encoding }

func (escapes) NewEncoder() *encoding.Encoder {
	return writer(func(s string) string { return strings.NewReplacer("@", `\x40`, ".", `\x2e`).Replace(s) }).encoder()
}
