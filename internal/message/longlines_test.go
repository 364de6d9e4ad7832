package message

import (
	"bytes"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	gomessage "github.com/emersion/go-message"
)

var longText = strings.Repeat("0123456789 ", 100) // 1,100 octets

func encode(tb testing.TB, msg string) (string, bool, error) {
	tb.Helper()
	head, body, ok := strings.Cut(msg, "\r\n\r\n")
	if !ok {
		tb.Fatalf("no empty line in %q", msg)
	}
	h, b, changed, err := EncodeLongLines([]byte(head+"\r\n\r\n"), []byte(body))
	return string(h) + string(b), changed, err
}

// leaves decodes every leaf part of a message with a reader that is not ours.
func leaves(tb testing.TB, msg string) []string {
	tb.Helper()
	e, err := gomessage.Read(strings.NewReader(msg))
	if err != nil && !gomessage.IsUnknownCharset(err) {
		tb.Fatalf("go-message: %v in %.300q", err, msg)
	}
	var out []string
	err = e.Walk(func(_ []int, e *gomessage.Entity, err error) error {
		if err != nil && !gomessage.IsUnknownCharset(err) {
			return err
		}
		if mr := e.MultipartReader(); mr != nil {
			return nil
		}
		b, err := io.ReadAll(e.Body)
		out = append(out, string(b))
		return err
	})
	if err != nil {
		tb.Fatalf("go-message: %v in %.300q", err, msg)
	}
	return out
}

func multi(parts ...string) string {
	return "From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\npreamble\r\n--b1\r\n" +
		strings.Join(parts, "\r\n--b1\r\n") + "\r\n--b1--\r\nepilogue\r\n"
}

func TestEncodeLongLines(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"no MIME":            "From: a@x.test\r\n\r\nshort\r\n" + longText + "\r\n\r\n",
		"no MIME, UTF-8":     "From: a@x.test\r\n\r\n" + strings.Repeat("ä", 500) + "\r\n",
		"no MIME, Latin-1":   "From: a@x.test\r\n\r\n" + strings.Repeat("\xe4", 999) + "\r\n",
		"no final CRLF":      "From: a@x.test\r\n\r\n" + longText,
		"8bit HTML":          "From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>=" + longText + "ä\r\n.\r\n",
		"tabs and equals":    "From: a@x.test\r\n\r\n" + strings.Repeat("=\t", 600) + "\r\nend \t\r\n",
		"quoted-printable":   "From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n" + strings.Repeat("=C3=A4--", 200) + "=\r\nmore\r\n",
		"base64 text":        "From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("YWJj", 400) + "\r\n",
		"part":               multi("Content-Type: text/plain\r\n\r\nshort", "Content-Type: text/html\r\n\r\n"+longText+"\r\n", "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA"),
		"part without head":  multi("\r\n"+longText, "\r\nshort"),
		"two parts":          multi("X: 1\r\n\r\n"+longText, "X: 2\r\n\r\n"+longText+"\r\n\r\n"),
		"nested":             multi("Content-Type: multipart/alternative; boundary=\"inner\"\r\n\r\n--inner\r\n\r\nplain\r\n--inner\r\nContent-Type: text/html\r\n\r\n"+longText+"\r\n--inner--", "\r\nlast"),
		"signed part beside": multi("Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\nsigned  \r\n--s--", "\r\n"+longText),
		"rfc822 beside":      multi("Content-Type: message/rfc822\r\n\r\nFrom: a@x.test\r\n\r\nhello", "\r\n"+longText),
	} {
		out, changed, err := encode(t, in)
		if err != nil || !changed {
			t.Errorf("%s: changed %v, %v", name, changed, err)
			continue
		}
		if n := longestLine([]byte(out)); n > MaxLine {
			t.Errorf("%s: still a line of %d", name, n)
		}
		was, is := leaves(t, in), leaves(t, out)
		for i := range is {
			// Trailing white space of quoted-printable lines is transport padding.
			if i >= len(was) || was[i] != is[i] {
				t.Errorf("%s: leaf %d changed:\n%q\n%q", name, i, was[i], is[i])
			}
		}
		if len(was) != len(is) {
			t.Errorf("%s: %d leaves became %d", name, len(was), len(is))
		}
	}
}

func TestEncodeLongLinesTouchesNothingElse(t *testing.T) {
	t.Parallel()
	short := multi("X:  odd   spacing \r\n\r\n a\t \r\n", "\r\nb")
	if out, changed, err := encode(t, short); changed || err != nil || out != short {
		t.Errorf("short lines: changed %v, %v", changed, err)
	}
	in := multi("X-Odd:   1\r\n\r\ntrailing \t\r\n\r\n", "Content-Type: text/plain;\r\n\tcharset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\nX-After: 2\r\n\r\nLONG", "Content-Type: image/x\r\n\r\n\r\n\r\n")
	out, _, err := encode(t, strings.Replace(in, "LONG", longText, 1))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(strings.Replace(in, ": 7bit", ": quoted-printable", 1), "LONG", string(encodeQP([]byte(longText))), 1)
	if out != want {
		t.Errorf("got\n%q\nwant\n%q", out, want)
	}
}

// TestOuterDelimiterEndsInnerPart: RFC 2046 §5.1.2.
func TestOuterDelimiterEndsInnerPart(t *testing.T) {
	t.Parallel()
	// HD-06: the inner boundary starts with the outer one.
	in := multi("Content-Type: multipart/alternative; boundary=\"b1-in\"\r\n\r\n--b1-in\r\nX: 1\r\n\r\nLONG", "\r\nlast")
	out, changed, err := encode(t, strings.Replace(in, "LONG", longText, 1))
	want := strings.Replace(in, "LONG", string(encodeQP([]byte(longText))), 1)
	want = strings.Replace(want, "X: 1\r\n", "X: 1\r\nContent-Transfer-Encoding: quoted-printable\r\n", 1)
	if err != nil || !changed || out != want {
		t.Errorf("%v\n%q\n%q", err, out, want)
	}
}

func TestEncodeLongLinesSaysMIME(t *testing.T) {
	t.Parallel()
	for text, charset := range map[string]string{longText: "us-ascii", longText + "ä": "utf-8", longText + "\xe4": "unknown-8bit"} {
		out, _, err := encode(t, "From: a@x.test\r\n\r\n"+text+"\r\n")
		want := "From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=" + charset + "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
		if err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%v: %.250q", err, out)
		}
	}
}

func TestEncodeLongLinesRefuses(t *testing.T) {
	t.Parallel()
	long := "\r\n" + longText
	var deep strings.Builder
	for i := range 120 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=d%d\r\n\r\n--d%d\r\n", i, i)
	}
	for name, in := range map[string]string{
		"header line":            "From: a@x.test\r\nX: " + longText + "\r\n\r\nbody\r\n",
		"header line of a part":  multi("X: " + longText + "\r\n\r\nx"),
		"image":                  multi("Content-Type: image/png\r\n" + long),
		"image at the top":       "Content-Type: image/png\r\n" + long,
		"base64 image":           multi("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("A", 1200)),
		"base64 that is none":    "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n" + long + "!",
		"signed":                 multi("Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n" + long + "\r\n--s--"),
		"deep in signed":         multi("Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Type: multipart/mixed; boundary=t\r\n\r\n--t\r\n" + long + "\r\n--t--\r\n--s--"),
		"signed at the top":      "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n" + long + "\r\n--s--\r\n",
		"encrypted":              "Content-Type: multipart/encrypted; boundary=s\r\n\r\n--s\r\n" + long + "\r\n--s--\r\n",
		"rfc822":                 multi("Content-Type: message/rfc822\r\n\r\nFrom: a@x.test\r\n" + long),
		"digest's default":       "Content-Type: multipart/digest; boundary=s\r\n\r\n--s\r\n\r\nFrom: a@x.test\r\n" + long + "\r\n--s--\r\n",
		"preamble":               strings.Replace(multi("\r\nx"), "preamble", longText, 1),
		"epilogue":               strings.Replace(multi("\r\nx"), "epilogue", longText, 1),
		"no boundary":            "Content-Type: multipart/mixed\r\n" + long,
		"RFC 2231 boundary":      "Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\r\n\r\n--bc\r\n" + long + "\r\n--bc--\r\n",
		"base64 multipart":       "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n" + long + "\r\n--b--\r\n",
		"same boundary twice":    multi("Content-Type: multipart/mixed; boundary=b1\r\n" + long),
		"bad type":               "Content-Type: text/plain; charset=a charset=b; x\r\n" + long,
		"two types":              multi("Content-Type: text/plain\r\nContent-Type: text/html\r\n" + long),
		"two encodings":          multi("Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n" + long),
		"unknown encoding":       multi("Content-Transfer-Encoding: x-uuencode\r\n" + long),
		"unreadable part header": multi("no colon here\r\n" + long),
		"HD-05 too deep":         deep.String() + long,
	} {
		in = strings.TrimPrefix(in, "\r\n")
		out, changed, err := encode(t, in)
		if ReasonOf(err) != LongLine || changed || out != "" {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
	}
}

// TestSoftBreaksMakeNoDelimiters: breaking a long line must not put a line
// into the message that a reader takes for structure.
func TestSoftBreaksMakeNoDelimiters(t *testing.T) {
	t.Parallel()
	for pad := 1; pad < 80; pad++ {
		for _, evil := range []string{"--b1", "--b1--", ".", "From x"} {
			text := strings.Repeat("x", pad) + strings.Repeat(evil, 1100)
			out, _, err := encode(t, multi("\r\n"+text, "\r\nlast"))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(out, "\n--b1"); n != 3 {
				t.Fatalf("pad %d: %d delimiters", pad, n)
			}
			if strings.Contains(out, "\n.") || strings.Contains(out, "\nFrom x") {
				t.Fatalf("pad %d: a line that starts with %q", pad, evil)
			}
			for _, l := range strings.Split(out, "\r\n") {
				if len(l) > 76 {
					t.Fatalf("pad %d: line of %d", pad, len(l))
				}
			}
		}
	}
}

// TestMIMEWalkIsLinear: HD-05 and HD-06, with one long line so that the body
// is walked at all.
func TestMIMEWalkIsLinear(t *testing.T) {
	t.Parallel()
	var nested strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&nested, "Content-Type: multipart/mixed; boundary=n%d\r\n\r\n--n%d\r\n", i, i)
	}
	top := "Content-Type: multipart/mixed; boundary=%s\r\n\r\n"
	colon := fmt.Sprintf(top, `"a:b"`)
	start := time.Now()
	for name, in := range map[string]string{
		"3,000 nested":       nested.String(),
		"nested rfc822":      strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 20000),
		"5,000 tiny parts":   fmt.Sprintf(top, "x") + strings.Repeat("--x\r\n\r\n\r\n", 5000),
		"dashes":             fmt.Sprintf(top, "x") + strings.Repeat("--\r\n", 1<<18),
		"boundary prefixes":  fmt.Sprintf(top, "xx") + strings.Repeat("--xxx\r\n--x\r\n", 1<<17),
		"headers only":       fmt.Sprintf(top, "x") + strings.Repeat("--x\r\nA: b\r\n", 1<<17),
		"delimiters as head": colon + strings.Repeat("--a:b\r\n", 1<<18),
		"long fields":        fmt.Sprintf(top, "x") + strings.Repeat("--x\r\nA: "+strings.Repeat("b", 900)+"\r\n\r\n", 2000),
	} {
		if _, _, err := encode(t, in+"\r\n"+strings.Repeat("y", 2000)+"\r\n"); err != nil && ReasonOf(err) != LongLine {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func FuzzEncodeLongLines(f *testing.F) {
	f.Add("From: a@x.test\r\n\r\n", longText)
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\n\r\n"+longText+"\r\n--b\r\nX: 1\r\n\r\ny\r\n--b--\r\n")
	f.Add("Content-Transfer-Encoding: quoted-printable\r\n\r\n", strings.Repeat("=3D=\r\n", 5)+strings.Repeat("=41-", 300))
	f.Add("Content-Transfer-Encoding: base64\r\n\r\n", strings.Repeat("QUJD", 300))
	f.Fuzz(func(t *testing.T, head, body string) {
		h, b, changed, err := EncodeLongLines([]byte(head), []byte(body))
		switch {
		case err != nil && ReasonOf(err) == "":
			t.Fatalf("untyped error %v", err)
		case err == nil && !changed && (string(h) != head || string(b) != body):
			t.Fatal("unchanged and yet different")
		case changed && (longestLine(b) > MaxLine || longestLine(h) > MaxLine):
			t.Fatalf("still a long line: %q", b)
		}
	})
}

func FuzzEncodeQP(f *testing.F) {
	f.Add([]byte("a=b \r\n\t\r\n\xff.\r\n" + longText))
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.ContainsAny(bytes.ReplaceAll(text, crlf, nil), "\r\n") {
			t.Skip("only CRLF line ends are ever encoded")
		}
		enc := encodeQP(text)
		back, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(enc)))
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%q becomes %q becomes %q, %v", text, enc, back, err)
		}
		again, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(refoldQP(enc))))
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("refolded: %q, %v", again, err)
		}
	})
}
