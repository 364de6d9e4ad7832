package smtp_test

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"postern/internal/smtp"
)

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"bob@example.com", `"a b"@x.example`, "ü@bücher.example", "@a:b@c", "a@[::1]", "a@xn--a", "a@b.", `"\`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, u bool) {
		a, err := smtp.ParseAddress(s, u)
		if err != nil {
			return
		}
		if a.String() != s {
			t.Fatalf("%q was changed to %q", s, a)
		}
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00") || len(s) > smtp.MaxAddress || a.IsUTF8() && !u {
			t.Fatalf("%q was accepted", s)
		}
		if d, err := smtp.DomainToASCII(a.ASCIIDomain()); err != nil || d != a.ASCIIDomain() {
			t.Fatalf("%q: domain %q is not stable: %q, %v", s, a.ASCIIDomain(), d, err)
		}
		// No quoting, and no spelling of the address, moves the end of its path.
		if _, p, err := smtp.ParseMail("FROM:<" + s + "> SMTPUTF8"); err != nil || len(p.Unknown) > 0 {
			t.Fatalf("%q in a path: %+v, %v", s, p, err)
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"FROM:<a@b.example> SIZE=1", "TO:<a@b.example> NOTIFY=NEVER ORCPT=rfc822;a", "FROM:<>", `TO:<"x> "@y.example>`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, _, err := smtp.ParseMail(s); err != nil {
			if r, ok := err.(smtp.Reply); !ok || !r.Permanent() {
				t.Fatalf("%q: %v", s, err)
			}
		}
		a, p, err := smtp.ParseRcpt(s, true)
		if err != nil {
			if r, ok := err.(smtp.Reply); !ok || !r.Permanent() {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if a.IsZero() || strings.ContainsAny(p.ORcpt, " \r\n") {
			t.Fatalf("%q: %v, %+v", s, a, p)
		}
	})
}

func FuzzXtext(f *testing.F) {
	f.Add("a+2Bb")
	f.Add("+")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := smtp.DecodeXtext(smtp.EncodeXtext(s)); err != nil || v != s {
			t.Fatalf("%q: %q, %v", s, v, err)
		}
		if v, err := smtp.DecodeXtext(s); err == nil && len(v) > len(s) {
			t.Fatalf("%q grew to %q", s, v)
		}
	})
}

func FuzzData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "..\r\n.\r\nNOOP\r\n", "\n.\n\r\n.\r\n", "\r\r\n.\r\r\n.\r\n"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		a, resta, erra := readData(bytes.NewReader(in), 4096)
		b, restb, errb := readData(iotest.OneByteReader(bytes.NewReader(in)), 16+int(size))
		if a != b || resta != restb || erra != errb {
			t.Fatalf("%q: %q %q %v by the whole, %q %q %v by the octet", in, a, resta, erra, b, restb, errb)
		}
		if erra == nil && a != reference(string(in[:len(in)-len(resta)])) {
			t.Fatalf("%q: %q", in, a)
		}
		normal, err := filter(smtp.NormaliseBare, 0, split(a, 1+int(size)%7)...)
		if err == nil && smtp.CheckText([]byte(normal)) != nil {
			t.Fatalf("%q normalised is %q", a, normal)
		}
		if smtp.CheckText([]byte(a)) == nil && normal != a {
			t.Fatalf("canonical %q became %q", a, normal)
		}
		roundTrip(t, []byte(a))
	})
}

// roundTrip sends p through a DotWriter and back.
func roundTrip(t *testing.T, p []byte) {
	t.Helper()
	var out bytes.Buffer
	d := smtp.NewDotWriter(&out)
	if _, err := d.Write(p); err != nil {
		if smtp.CheckText(p) == nil {
			t.Fatalf("%q: %v", p, err)
		}
		return
	}
	if err := d.End(); err != nil {
		return // a CR at the very end
	}
	want := string(p)
	if want != "" && !strings.HasSuffix(want, "\r\n") {
		want += "\r\n"
	}
	if got, rest, err := readData(&out, 64); err != nil || got != want || rest != "" {
		t.Fatalf("%q came back as %q, %q, %v", p, got, rest, err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("250-a\r\n250 b\r\n"))
	f.Add([]byte("550 5.1.1 no\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := smtp.ReadReply(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			return
		}
		wire := smtp.AppendReply(nil, r)
		again, err := smtp.ReadReply(bufio.NewReader(bytes.NewReader(wire)))
		if err != nil || again.Code != r.Code || strings.Count(again.Text, "\n") != strings.Count(r.Text, "\n") {
			t.Fatalf("%q: %#v, again %#v, %v", in, r, again, err)
		}
		smtp.ParseExtensions(strings.Split(r.Text, "\n"))
	})
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte("NOOP\r\nNOOP\nQUIT\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReaderSize(bytes.NewReader(in), 128)
		for {
			line, err := smtp.ReadLine(br, 100)
			if err == io.EOF || err == io.ErrUnexpectedEOF || err == smtp.ErrBareLF || err == smtp.ErrLineFlood {
				return
			}
			if err == nil && (len(line) > 98 || bytes.ContainsAny(line, "\r\n\x00")) {
				t.Fatalf("%q: line %q", in, line)
			}
		}
	})
}
