package message

import (
	"mime"
	"strings"
	"testing"

	"postern/internal/smtp"
)

func TestFoldField(t *testing.T) {
	t.Parallel()
	long := strings.TrimSpace(strings.Repeat("word ", 60))
	for in, want := range map[string]string{
		"short":                  "X: short\r\n",
		"":                       "X: \r\n",
		"  outer  ":              "X: outer\r\n",
		strings.Repeat("a", 100): "X: " + strings.Repeat("a", 100) + "\r\n",
	} {
		f, err := FoldField("X", in)
		if err != nil || string(f.Raw) != want {
			t.Errorf("%q: %q, %v", in, f.Raw, err)
		}
	}
	f, err := FoldField("X-Long", long)
	if err != nil || f.Unfolded() != long {
		t.Fatalf("unfolded %q, %v", f.Unfolded(), err)
	}
	for _, l := range strings.Split(strings.TrimSuffix(string(f.Raw), "\r\n"), "\r\n") {
		if len(l) > 78 || strings.TrimSpace(l) == "" {
			t.Errorf("line of %d: %q", len(l), l)
		}
	}
	// A word that fits no line with the name still goes on one of its own.
	if f, err = FoldField("X", strings.Repeat("b", 996)); err != nil {
		t.Fatal(err)
	} else if n := longestLine(f.Raw); n > MaxLine {
		t.Errorf("line of %d", n)
	}
}

func TestFoldFieldRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		want        Reason
	}{
		{"X", "a\r\nBcc: b@x.test", Unsafe},
		{"X", "a\nb", Unsafe},
		{"X", "a\rb", Unsafe},
		{"X", "a\x00b", Unsafe},
		{"X", "a\x7f", Unsafe},
		{"", "a", Unsafe},
		{"X:", "a", Unsafe},
		{"X Y", "a", Unsafe},
		{"Ä", "a", Unsafe},
		{"X", strings.Repeat("a", 999), LongLine},
	} {
		if _, err := FoldField(c.name, c.value); ReasonOf(err) != c.want {
			t.Errorf("%q: %.20q: %v", c.name, c.value, err)
		}
	}
}

func TestEncodeText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ASCII":         "plain ASCII",
		"Grüße":               "=?utf-8?b?R3LDvMOfZQ==?=",
		"=?utf-8?q?x?=":       "=?utf-8?b?PT91dGYtOD9xP3g/PQ==?=",
		"a\r\nBcc: b@x.test":  "a  Bcc: b@x.test",
		"bad \xff":            "=?utf-8?b?YmFkIO+/vQ==?=",
		"line\u2028separator": "line separator",
	} {
		if got := EncodeText(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func FuzzEncodeText(f *testing.F) {
	f.Add("Grüße aus Köln, " + strings.Repeat("日本語", 40))
	f.Add("a\r\nb\x00")
	f.Add(strings.Repeat("=?", 400))
	f.Fuzz(func(t *testing.T, s string) {
		enc := EncodeText(s)
		if hasControl(strings.ReplaceAll(enc, "\t", "\x00")) {
			t.Fatalf("control character in %q", enc)
		}
		if !isASCII([]byte(enc)) {
			t.Fatalf("8-bit in %q", enc)
		}
		for _, w := range strings.Fields(enc) {
			if strings.HasPrefix(w, "=?utf-8?b?") && len(w) > 75 {
				t.Fatalf("encoded-word of %d", len(w))
			}
		}
		if strings.HasPrefix(enc, "=?utf-8?b?") {
			var d mime.WordDecoder
			if back, err := d.DecodeHeader(enc); err != nil || EncodeText(back) != enc {
				t.Fatalf("%q decodes to %q, %v", enc, back, err)
			}
			if f, err := FoldField("Subject", enc); err != nil || longestLine(f.Raw) > 78 {
				t.Fatalf("folded: %v, %q", err, f.Raw)
			}
		}
	})
}

func TestFormatMailbox(t *testing.T) {
	t.Parallel()
	a, err := smtp.ParseAddress("a@example.com", false)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"":                     "a@example.com",
		"Ann Example":          "Ann Example <a@example.com>",
		`Ann "A." Example`:     `"Ann \"A.\" Example" <a@example.com>`,
		"Ann, <b@bad.test>":    `"Ann, <b@bad.test>" <a@example.com>`,
		"Jörg":                 "=?utf-8?b?SsO2cmc=?= <a@example.com>",
		"x\r\nBcc: b@bad.test": `"x  Bcc: b@bad.test" <a@example.com>`,
		`back\slash`:           `"back\\slash" <a@example.com>`,
	} {
		got := FormatMailbox(name, a)
		if got != want {
			t.Errorf("%q: %q", name, got)
		}
		ms, err := ParseMailboxes([]byte(got), AddressLimits{})
		if err != nil || len(ms) != 1 || ms[0].Address != a {
			t.Errorf("%q is read back as %v, %v", got, addressesOf(ms), err)
		}
	}
}
