package smtp_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"postern/internal/smtp"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	label := strings.Repeat("b", 63)
	tests := []struct {
		in, local, ascii string
		utf8             bool
	}{
		{in: "bob@example.com", local: "bob", ascii: "example.com"},
		{in: "Bob.Smith+tag@Example.COM", local: "Bob.Smith+tag", ascii: "example.com"},
		{in: `"john doe"@example.com`, local: "john doe", ascii: "example.com"},
		{in: `"a\"b\\c"@example.com`, local: `a"b\c`, ascii: "example.com"},
		{in: `"v@evil.test> NOTIFY=NEVER"@ok.test`, local: "v@evil.test> NOTIFY=NEVER", ascii: "ok.test"},
		{in: "!#$%&'*+-/=?^_`{|}~@example.com", local: "!#$%&'*+-/=?^_`{|}~", ascii: "example.com"},
		{in: "${run{/bin/sh}}@example.com", local: "${run{/bin/sh}}", ascii: "example.com"},
		{in: long + "@example.com", local: long, ascii: "example.com"},
		{in: "a@" + label + ".example", local: "a", ascii: label + ".example"},
		{in: "a@1.example", local: "a", ascii: "1.example"},
		{in: "a@r3---sn.example", local: "a", ascii: "r3---sn.example"},
		{in: "a@xn--bcher-kva.example", local: "a", ascii: "xn--bcher-kva.example"},
		{in: "a@localhost", local: "a", ascii: "localhost"},
		{in: "jürgen@bücher.example", local: "jürgen", ascii: "xn--bcher-kva.example", utf8: true},
		{in: "a@BÜCHER.example", local: "a", ascii: "xn--bcher-kva.example", utf8: true},
		{in: "a@bu\u0308cher.example", local: "a", ascii: "xn--bcher-kva.example", utf8: true},
		{in: "a@straße.example", local: "a", ascii: "xn--strae-oqa.example", utf8: true},
		{in: `"用户"@例え.test`, local: "用户", ascii: "xn--r8jz45g.test", utf8: true},
	}
	for _, tt := range tests {
		a, err := smtp.ParseAddress(tt.in, tt.utf8)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if a.Local() != tt.local || a.ASCIIDomain() != tt.ascii || a.String() != tt.in || a.IsUTF8() != tt.utf8 {
			t.Errorf("%s: local %q domain %q text %q utf8 %v", tt.in, a.Local(), a.ASCIIDomain(), a, a.IsUTF8())
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		utf8 bool
		want error
	}{
		{"", false, smtp.ErrAddress},
		{"bob", false, smtp.ErrAddress},
		{"bob@", false, smtp.ErrAddress},
		{"bob@@example.com", false, smtp.ErrAddress},
		{"bob@a@example.com", false, smtp.ErrAddress},
		{".bob@example.com", false, smtp.ErrAddress},
		{"bob.@example.com", false, smtp.ErrAddress},
		{"bo..b@example.com", false, smtp.ErrAddress},
		{"../../x@example.com", false, smtp.ErrAddress},
		{"b b@example.com", false, smtp.ErrAddress},
		{"b\tb@example.com", false, smtp.ErrAddress},
		{"b\x00@example.com", false, smtp.ErrAddress},
		{"b\rb@example.com", false, smtp.ErrAddress},
		{`""@example.com`, false, smtp.ErrAddress},
		{`"bob@example.com`, false, smtp.ErrAddress},
		{`"bob"x@example.com`, false, smtp.ErrAddress},
		{`"b` + "\r\n" + `b"@example.com`, false, smtp.ErrAddress},
		{`"b\` + "\n" + `"@example.com`, false, smtp.ErrAddress},
		{`bob"x"@example.com`, false, smtp.ErrAddress},
		{"<bob@example.com>", false, smtp.ErrAddress},
		{"bob@example.com:25", false, smtp.ErrAddress},
		{"bob@example.com.", false, smtp.ErrAddress},
		{"bob@.example.com", false, smtp.ErrAddress},
		{"bob@example..com", false, smtp.ErrAddress},
		{"bob@-example.com", false, smtp.ErrAddress},
		{"bob@example-.com", false, smtp.ErrAddress},
		{"bob@exa_mple.com", false, smtp.ErrAddress},
		{"bob@exa mple.com", false, smtp.ErrAddress},
		{"bob@127.0.0.1", false, smtp.ErrAddress},
		{"bob@2130706433", false, smtp.ErrAddress},
		{"bob@0x7f000001", false, smtp.ErrAddress},
		{"bob@0x7f.1", false, smtp.ErrAddress},
		{"bob@example.0x", false, smtp.ErrAddress},
		{"bob@xn--.example", false, smtp.ErrAddress},
		{"bob@xn--a.example", false, smtp.ErrAddress},
		{"bob@xn--zzzzzzz99999.example", false, smtp.ErrAddress},
		{"bob@xn--abc-.example", false, smtp.ErrAddress},
		{"@a.example,@b.example:bob@example.com", false, smtp.ErrRoute},
		{"@a.example", false, smtp.ErrRoute},
		{"bob@[127.0.0.1]", false, smtp.ErrAddressLiteral},
		{"bob@[IPv6:::1]", false, smtp.ErrAddressLiteral},
		{"bob@[127.0.0.1", false, smtp.ErrAddress},
		{"bob@[IPv6:127.0.0.1]", false, smtp.ErrAddress},
		{"bob@[::1]", false, smtp.ErrAddress},
		{"bob@[IPv6:fe80::1%eth0]", false, smtp.ErrAddress},
		{"bob@[]", false, smtp.ErrAddress},
		{"bob@[1.2.3]", false, smtp.ErrAddress},
		{strings.Repeat("a", 65) + "@example.com", false, smtp.ErrAddressLength},
		{"a@" + strings.Repeat("b", 64) + ".example", false, smtp.ErrAddressLength},
		{"a@" + strings.Repeat("bcd.", 64) + "example", false, smtp.ErrAddressLength},
		{"jürgen@example.com", false, smtp.ErrNeedsUTF8},
		{"a@bücher.example", false, smtp.ErrNeedsUTF8},
		{"a\xff@example.com", false, smtp.ErrAddress},
		{"a\xff@example.com", true, smtp.ErrAddress},
		{"a\xc0\xaf@example.com", true, smtp.ErrAddress},     // overlong
		{"a\xed\xa0\x80@example.com", true, smtp.ErrAddress}, // surrogate
		{"a\u202eb@example.com", true, smtp.ErrAddress},
		{"a\u2066b@example.com", true, smtp.ErrAddress},
		{"a\u2028b@example.com", true, smtp.ErrAddress},
		{"a\u0085b@example.com", true, smtp.ErrAddress},
		{"a\ufeffb@example.com", true, smtp.ErrAddress},
		{"a\ufffdb@example.com", true, smtp.ErrAddress},
		{"a\ufdd0b@example.com", true, smtp.ErrAddress},
		{`"a` + "\u202e" + `"@example.com`, true, smtp.ErrAddress},
		{"a@exam\u00adple.example", true, smtp.ErrAddress}, // dropped by look-up
		{"a@ex\u3002ample", true, smtp.ErrAddress},         // a dot to look-up
		{"a@ｅxample.example", true, smtp.ErrAddress},       // folded by look-up
		{"a@☃\u200d.example", true, smtp.ErrAddress},
		{"a@\xffbücher.example", true, smtp.ErrAddress},
	}
	for _, tt := range tests {
		a, err := smtp.ParseAddress(tt.in, tt.utf8)
		if !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, %v; want %v", tt.in, a, err, tt.want)
		}
	}
}

func TestAddressKey(t *testing.T) {
	t.Parallel()
	same := [][2]string{
		{"bob@example.com", "bob@EXAMPLE.com"},
		{"bob@example.com", `"bob"@example.com`},
		{"bob@example.com", `"\b\o\b"@example.com`},
		{"bob@bücher.example", "bob@xn--bcher-kva.example"},
		{"bob@BÜCHER.example", "bob@XN--BCHER-KVA.example"},
	}
	for _, p := range same {
		if a, b := must(t, p[0]), must(t, p[1]); a.Key() != b.Key() {
			t.Errorf("%s and %s: keys %q and %q", a, b, a.Key(), b.Key())
		}
	}
	other := [][2]string{{"bob@example.com", "Bob@example.com"}, {"bob@a.example", "bob@b.example"}}
	for _, p := range other {
		if a, b := must(t, p[0]), must(t, p[1]); a.Key() == b.Key() {
			t.Errorf("%s and %s: one key %q", a, b, a.Key())
		}
	}
}

func TestAddressForms(t *testing.T) {
	t.Parallel()
	a := must(t, "bob@bücher.example")
	if b, ok := a.ASCII(); !ok || b.String() != "bob@xn--bcher-kva.example" || b.IsUTF8() {
		t.Errorf("ASCII of %s: %s, %v", a, b, ok)
	}
	if _, ok := must(t, "jürgen@example.com").ASCII(); ok {
		t.Error("a local part beyond ASCII became ASCII")
	}
	for in, want := range map[string]bool{"a%b@x.example": true, "h!u@x.example": true, `"a%b"@x.example`: true, "a@x.example": false} {
		if got := must(t, in).Routed(); got != want {
			t.Errorf("%s routed: %v", in, got)
		}
	}
	var null smtp.Address
	if !null.IsZero() || null.String() != "" || a.IsZero() {
		t.Error("the null path is not itself")
	}
	p, err := smtp.Postmaster("PostMaster")
	if err != nil || p.String() != "PostMaster" || p.Local() != "postmaster" || p.Domain() != "" {
		t.Errorf("postmaster: %v, %v", p, err)
	}
	if _, err := smtp.Postmaster("root"); err == nil {
		t.Error("root needs no domain?")
	}
	l, err := smtp.ParseLiteral("bob@[IPv6:2001:DB8::1]", false)
	if err != nil || !l.IsLiteral() || l.ASCIIDomain() != "[ipv6:2001:db8::1]" || a.IsLiteral() {
		t.Errorf("literal: %v, %v", l, err)
	}
}

func TestAddressJSON(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "postmaster", "bob@example.com", `"a b"@example.com`, "jürgen@bücher.example", "a@[192.0.2.1]"} {
		var a, b smtp.Address
		if err := a.UnmarshalText([]byte(s)); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		j, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(j, &b); err != nil || a != b || b.String() != s {
			t.Errorf("%q → %s → %v, %v", s, j, b, err)
		}
	}
	a := must(t, "bob@example.com")
	if err := a.UnmarshalText([]byte("x@@y")); err == nil || a.String() != "bob@example.com" {
		t.Errorf("bad text: %v, value now %v", err, a)
	}
}

func must(t testing.TB, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseAddress(s, true)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return a
}
