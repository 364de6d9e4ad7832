package smtp_test

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"postern/internal/smtp"
)

var (
	content = []byte(strings.Repeat(strings.Repeat("x", 74)+"\r\n", 14000)) // 1 MiB
	framed  = append(bytes.Clone(content), ".\r\n"...)
)

func BenchmarkDataReader(b *testing.B) {
	b.SetBytes(int64(len(framed)))
	br := bufio.NewReaderSize(nil, 16<<10)
	for b.Loop() {
		br.Reset(bytes.NewReader(framed))
		d := smtp.NewDataReader(br)
		var f smtp.TextFilter
		for {
			p, err := d.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			if err := f.Filter(p, func([]byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkDotWriter(b *testing.B) {
	b.SetBytes(int64(len(content)))
	w := bufio.NewWriterSize(io.Discard, 32<<10)
	for b.Loop() {
		d := smtp.NewDotWriter(w)
		for p := content; len(p) > 0; p = p[min(len(p), 32<<10):] {
			if _, err := d.Write(p[:min(len(p), 32<<10)]); err != nil {
				b.Fatal(err)
			}
		}
		if err := d.End(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAddress(b *testing.B) {
	for b.Loop() {
		if _, err := smtp.ParseAddress("bob.smith@mail.example.com", false); err != nil {
			b.Fatal(err)
		}
	}
}
