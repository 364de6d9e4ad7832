package message

import (
	"bytes"
	"encoding/base64"
)

// base64Line is the longest line of base64 (RFC 2045 §6.8).
const base64Line = 76

// base64Size is what n octets take in base64, line ends included.
func base64Size(n int) int {
	chars := (n + 2) / 3 * 4
	return chars + (chars+base64Line-1)/base64Line*len("\r\n")
}

// EncodeBase64 writes octets as Part.Encoded wants them.
func EncodeBase64(b []byte) []byte {
	const octets = base64Line / 4 * 3
	out := make([]byte, 0, base64Size(len(b)))
	for len(b) > 0 {
		n := min(octets, len(b))
		out = base64.StdEncoding.AppendEncode(out, b[:n])
		out = append(out, crlf...)
		b = b[n:]
	}
	return out
}

// IsBase64 reports text that is base64 as an encoder writes it (RFC 4648 §4):
// padded, without line ends, and with no bits set behind the last octet.
func IsBase64(text []byte) bool {
	if len(text)%4 != 0 || len(text) == 0 {
		return false
	}
	for _, c := range text[:len(text)-4] {
		if !base64Char[c] {
			return false
		}
	}
	last := text[len(text)-4:]
	if bytes.ContainsAny(last, "\r\n") { // the decoder passes over them
		return false
	}
	_, err := base64.StdEncoding.Strict().Decode(make([]byte, 3), last)
	return err == nil
}

var base64Char = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = true
	}
	return t
}()

// WrapBase64 breaks text that IsBase64 into lines, as Part.Encoded wants it.
func WrapBase64(text []byte) []byte {
	out := make([]byte, 0, len(text)+(len(text)+base64Line-1)/base64Line*len("\r\n"))
	for len(text) > 0 {
		n := min(base64Line, len(text))
		out = append(out, text[:n]...)
		out = append(out, crlf...)
		text = text[n:]
	}
	return out
}

// wrappedBase64 reports lines of base64, which nothing else can be read out of.
func wrappedBase64(b []byte) bool {
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, crlf)
		if !ended || len(line) > base64Line {
			return false
		}
		for _, c := range line {
			if !base64Char[c] && c != '=' {
				return false
			}
		}
		b = rest
	}
	return true
}
