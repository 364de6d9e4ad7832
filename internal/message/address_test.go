package message

import (
	"net/mail"
	"strings"
	"testing"
	"time"

	gomail "github.com/emersion/go-message/mail"
	"github.com/google/go-cmp/cmp"
)

func addressesOf(ms []Mailbox) []string {
	var out []string
	for _, m := range ms {
		out = append(out, m.Address.Key())
	}
	return out
}

func TestParseMailboxes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		" a@example.com":                           {"a@example.com"},
		" <a@example.com>":                         {"a@example.com"},
		" A B <a@example.com>":                     {"a@example.com"},
		` "A, B" <a@example.com>`:                  {"a@example.com"},
		` "<x@y.test>" <a@example.com>`:            {"a@example.com"},
		` "x@y.test" <a@example.com>`:              {"a@example.com"},
		" John Q. Public <a@example.com>":          {"a@example.com"},
		" =?utf-8?q?J=C3=B6rg?= <a@x.example>":     {"a@x.example"},
		" a@example.com (A B)":                     {"a@example.com"},
		" (A (b) \\) c) a@example.com":             {"a@example.com"},
		" A\r\n\t(x\r\n y)\r\n <a@x.example>\r\n ": {"a@x.example"},
		" a@EXAMPLE.com, B <b@example.com>":        {"a@example.com", "b@example.com"},
		` "a b"@example.com`:                       {"a b@example.com"},
		` "a\"b"@example.com`:                      {`a"b@example.com`},
		` "abc"@example.com`:                       {"abc@example.com"},
		" a+tag@example.com":                       {"a+tag@example.com"},
		" A@example.com":                           {"A@example.com"},
		" $(id)|`x`@example.com":                   nil, // "(" opens a comment inside an address
		" a'--@example.com":                        {"a'--@example.com"},
		" ../../etc/passwd@example.com":            nil,
		" a@xn--bcher-kva.example":                 {"a@xn--bcher-kva.example"},
		" a@bücher.example":                        {"a@xn--bcher-kva.example"},
		" é@bücher.example":                        {"é@xn--bcher-kva.example"},
	} {
		got, err := ParseMailboxes([]byte(in), AddressLimits{UTF8: true})
		if diff := cmp.Diff(want, addressesOf(got)); diff != "" {
			t.Errorf("%q: %v\n%s", in, err, diff)
		}
	}
}

// TestParseMailboxesRefuses holds the forms of ID-07, ID-11, ID-12 and their
// kin. Those that are good grammar but name another address are below.
func TestParseMailboxesRefuses(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"two angles":                  "<a@bad.test><a@good.test>",
		"angle then bare":             "<a@good.test>b@bad.test",
		"bare then angle":             "b@bad.test <a@good.test>",
		"bare, comma, angle unclosed": "a@good.test,<b@bad.test",
		"empty list element first":    ",a@good.test",
		"empty list element last":     "a@good.test,",
		"empty list element inside":   "a@good.test,,b@bad.test",
		"source route":                "<@bad.test:a@good.test>",
		"source routes":               "<@a.test,@b.test:a@good.test>",
		"escaped comma":               `a@good.test\,b@bad.test`,
		"backslash in atom":           `a\@bad.test@good.test`,
		"encoded-word address":        "=?utf-8?q?a=40good.test?=@bad.test",
		"encoded-word as all":         "=?utf-8?q?=3Ca=40good.test=3E?=",
		"encoded-word in angle":       "<=?utf-8?q?a?=@good.test>",
		"encoded-word in quotes":      `"=?utf-8?q?a?="@good.test`,
		"group":                       "Friends: a@good.test;",
		"empty group":                 "undisclosed-recipients:;",
		"unterminated angle":          "<a@good.test",
		"unopened angle":              "a@good.test>",
		"double angle":                "<<a@good.test>>",
		"nested angle":                "<a@bad.test<a@good.test>>",
		"two at":                      "<a@good.test@bad.test>",
		"two at bare":                 "a@good.test@bad.test",
		"NUL":                         "a@good.test\x00@bad.test",
		"empty":                       "",
		"blank":                       "  \t ",
		"empty angle":                 "<>",
		"name only":                   "good",
		"name and empty angle":        "Good <>",
		"no local part":               "<@good.test>",
		"no domain":                   "<a@>",
		"only a comment":              "(a@good.test)",
		"only a quoted string":        `"a@good.test"`,
		"space around at":             "a @ good.test",
		"space in angle":              "< a@good.test >",
		"comment in address":          "a(x)@good.test",
		"comment in domain":           "a@good(x).test",
		"comment in angle":            "<a@good.test(x)>",
		"folding in address":          "a@\r\n good.test",
		"semicolon list":              "a@good.test; b@bad.test",
		"unquoted at in name":         "a@good.test b <c@bad.test>",
		"at in name":                  "Good@ <c@bad.test>",
		"unquoted colon in name":      "Good: <c@bad.test>",
		"unterminated quotes":         `"Good <a@good.test>`,
		"unterminated comment":        "a@good.test (x",
		"stray parenthesis":           "a@good.test )",
		"dots":                        "a..b@good.test",
		"leading dot":                 ".a@good.test",
		"trailing dot in local":       "a.@good.test",
		"ID-10 trailing dot":          "a@good.test.",
		"double dot in domain":        "a@good..test",
		"domain literal":              "a@[192.0.2.1]",
		"number as domain":            "a@192.0.2.1",
		"underscore":                  "a@go_od.test",
		"ID-12 full-width letters":    "a@ｇｏｏｄ.test",
		"ID-12 ideographic dot":       "a@good\u3002test",
		"ID-12 soft hyphen":           "a@go\u00adod.test",
		"ID-12 ZWJ":                   "a@go\u200dod.test",
		"ID-12 ZWSP":                  "a@go\u200bod.test",
		"ID-12 full-width at":         "a\uff20good.test@bad.test",
		"ID-12 compatibility local":   "\ufb01@good.test",
		"ID-12 invisible local":       "a\u200b@good.test",
		"bare CR":                     "a@good.test\r",
		"bare LF":                     "a@good.test\n b@bad.test",
		"header injection":            "a@good.test\r\nBcc: b@bad.test",
		"8-bit that is not UTF-8":     "J\xf6rg <a@good.test>",
		"deep comments (HD-04)":       strings.Repeat("(", 900) + strings.Repeat(")", 900) + "a@good.test",
		"local part of 65":            strings.Repeat("a", 65) + "@good.test",
		"address of 255":              "a@" + strings.Repeat(strings.Repeat("x", 60)+".", 5) + "test",
		"quoted CRLF in local":        "\"a\r\n b\"@good.test",
		"quoted pair at the end":      `"a\`,
	} {
		if got, err := ParseMailboxes([]byte(in), AddressLimits{UTF8: true}); ReasonOf(err) != Unparseable {
			t.Errorf("%s: %q gave %v, %v", name, in, addressesOf(got), err)
		}
	}
}

// TestIdentityIsTheRealAddress: good grammar in which a victim's address only
// appears; what comes out must be the other one.
func TestIdentityIsTheRealAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"good"@bad.test`:                          "good@bad.test",
		`"a@good.test"@bad.test`:                   "a@good.test@bad.test",
		`"a@good.test" <b@bad.test>`:               "b@bad.test",
		`(a@good.test) b@bad.test`:                 "b@bad.test",
		`b@bad.test (a@good.test)`:                 "b@bad.test",
		`"<a@good.test>" <b@bad.test>`:             "b@bad.test",
		`<a@good.test.bad.test>`:                   "a@good.test.bad.test",
		`<a@notgood.test>`:                         "a@notgood.test",
		`=?utf-8?q?a=40good=2Etest?= <b@bad.test>`: "b@bad.test",
		"a@\u0435xample.com":                       "a@xn--xample-2of.com", // ID-11: Cyrillic е
		"a@sub.good.test":                          "a@sub.good.test",
		"good%bad.test@bad.test":                   "good%bad.test@bad.test",
	} {
		got, err := ParseMailboxes([]byte(in), AddressLimits{UTF8: true})
		if err != nil || len(got) != 1 || got[0].Address.Key() != want {
			t.Errorf("%q gave %v, %v; want %s", in, addressesOf(got), err, want)
		}
	}
}

func TestParseMailboxesNeedsUTF8(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"a@bücher.example", "é@example.com", "é <a@example.com>"} {
		if _, err := ParseMailboxes([]byte(in), AddressLimits{}); ReasonOf(err) != Unparseable {
			t.Errorf("%q without UTF8: %v", in, err)
		}
	}
}

func TestParseMailboxesLimit(t *testing.T) {
	t.Parallel()
	in := []byte(strings.TrimSuffix(strings.Repeat("a@example.com, ", 8000), ", "))
	if _, err := ParseMailboxes(in, AddressLimits{}); ReasonOf(err) != TooLarge {
		t.Errorf("8,000 mailboxes: %v", err)
	}
	if ms, err := ParseMailboxes(in, AddressLimits{Mailboxes: 8000}); err != nil || len(ms) != 8000 {
		t.Errorf("8,000 mailboxes allowed: %d, %v", len(ms), err)
	}
}

// TestAddressParserIsLinear: HD-04. Each input is long enough that anything
// quadratic takes minutes; the bound is for a busy machine.
func TestAddressParserIsLinear(t *testing.T) {
	t.Parallel()
	const size = 1 << 18
	start := time.Now()
	for name, in := range map[string]string{
		"comments":       strings.Repeat("(", size),
		"shut comments":  strings.Repeat("()", size/2) + "a@example.com",
		"endless phrase": strings.Repeat("a ", size/2) + "<a@example.com>",
		"quotes":         strings.Repeat(`"a" `, size/4) + "<a@example.com>",
		"backslashes":    `"` + strings.Repeat(`\\`, size/2),
		"literal":        "a@[" + strings.Repeat("1", size) + "]",
		"long domain":    "a@" + strings.Repeat("a.", size/2) + "test",
		"long local":     strings.Repeat("a.", size/2) + "a@example.com",
		"dots":           strings.Repeat(".", size),
		"commas":         strings.Repeat(",", size),
		"long list":      strings.Repeat("a@b.test,", size/9) + "a@b.test",
		"unicode":        strings.Repeat("ä", size/2) + "@example.com",
	} {
		_, err := ParseMailboxes([]byte(in), AddressLimits{UTF8: true, Mailboxes: size})
		if err != nil && ReasonOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

// FuzzMailboxesAgree: whatever we accept, net/mail and go-message must read
// the same set of addresses from, if they can read it at all.
func FuzzMailboxesAgree(f *testing.F) {
	for _, s := range []string{
		"a@example.com", "A <a@example.com>", `"A, B" <a@x.example>, b@x.example`, "(c) a@x.example (d)", `"a b"@x.example`,
		"<a@good.test@bad.test>", "<@a.test:b@good.test>", "=?utf-8?q?a?= <a@x.example>", "J. <a@x.example>", "a@b.test (x\\))",
		"é@bücher.example", "a\r\n <a@x.example>", `"\"" <a@x.example>`, "g: a@x.example;", ". <a@b.test>", `""<a@b.test>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ours, err := ParseMailboxes([]byte(s), AddressLimits{UTF8: true})
		if err != nil {
			return
		}
		if len(ours) == 0 {
			t.Fatalf("%q: accepted without a mailbox", s)
		}
		unfolded := strings.ReplaceAll(s, "\r\n", "")
		if theirs, err := mail.ParseAddressList(unfolded); err == nil {
			compare(t, "net/mail", s, ours, theirs)
		}
		var h gomail.Header
		h.SetText("From", "")
		h.Set("From", unfolded)
		if list, err := h.AddressList("From"); err == nil {
			theirs := make([]*mail.Address, len(list))
			for i, a := range list {
				theirs[i] = (*mail.Address)(a)
			}
			compare(t, "go-message", s, ours, theirs)
		}
	})
}

func compare(t *testing.T, who, s string, ours []Mailbox, theirs []*mail.Address) {
	t.Helper()
	if len(ours) != len(theirs) {
		t.Fatalf("%q: we see %v, %s sees %d mailboxes", s, addressesOf(ours), who, len(theirs))
	}
	for i, m := range ours {
		if got := theirs[i].Address; got != m.Address.Local()+"@"+m.Address.Domain() {
			t.Fatalf("%q: we see %q, %s sees %q", s, m.Address.Key(), who, got)
		}
	}
}
