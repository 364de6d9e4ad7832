package dkim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
)

func BenchmarkBodyHash(b *testing.B) {
	for name, body := range map[string]string{
		"base64": strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 400),
		"text":   strings.Repeat("some words of ordinary text, up to a line end of its own.\r\n", 500) + "\r\n\r\n",
		"html":   strings.Repeat("        <td class=\"x\">a cell  of a table</td>\r\n\t\t<b>x</b>\r\n", 400),
		"long":   strings.Repeat(strings.Repeat("word ", 190)+"end\r\n", 30),
	} {
		b.Run(name, func(b *testing.B) {
			p := []byte(body)
			h := NewBodyHash()
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				h.Reset()
				h.Write(p)
				h.Sum()
			}
		})
	}
}

func BenchmarkRSAGo(b *testing.B) {
	key, err := rsa.GenerateKey(rand.Reader, RSABits)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	for b.Loop() {
		if _, err := key.Sign(nil, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	head := []byte("From: a@example.test\r\nTo: b@x.test\r\nSubject: hello there\r\nDate: Thu, 05 Nov 2026 07:08:09 +0000\r\n" +
		"Message-ID: <1@example.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nReceived: from x\r\n\tby y; z\r\n\r\n")
	for i, name := range []string{"RSA", "Ed25519"} {
		b.Run(name, func(b *testing.B) {
			keys := testKeys()[i : i+1]
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sign(head, [32]byte{}, keys, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
