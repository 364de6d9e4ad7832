package message

import (
	"strconv"
	"strings"
)

// paramOctets is how much of a parameter's value goes into one piece: with its
// name and escapes it stays well within a line.
const paramOctets = 60

// parameter writes "; name=value" in wire form, nothing for an empty value. ASCII
// that is short goes into a quoted-string (RFC 2045 §5.1), everything else is
// percent-encoded UTF-8, in pieces if it is long (RFC 2231 §3, §4). No octet of the
// value can end the parameter.
func parameter(name, value string) string {
	switch {
	case value == "":
		return ""
	case len(value) <= paramOctets && isASCII([]byte(value)) && !hasControl(value) && !strings.ContainsAny(value, `"\`):
		return "; " + name + `="` + value + `"`
	}
	pieces := percentPieces(strings.ToValidUTF8(value, "\uFFFD"))
	if len(pieces) == 1 {
		return "; " + name + "*=utf-8''" + pieces[0]
	}
	var b strings.Builder
	for i, p := range pieces {
		b.WriteString("; " + name + "*" + strconv.Itoa(i) + "*=")
		if i == 0 {
			b.WriteString("utf-8''")
		}
		b.WriteString(p)
	}
	return b.String()
}

// percentPieces encodes a value and cuts it, never inside an escape.
func percentPieces(value string) []string {
	var out []string
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		if b.Len() >= paramOctets {
			out = append(out, b.String())
			b.Reset()
		}
		// attribute-char of RFC 2231 §7
		if c > ' ' && c < 0x7f && strings.IndexByte(`*'%()<>@,;:\"/[]?=`, c) < 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return append(out, b.String())
}
