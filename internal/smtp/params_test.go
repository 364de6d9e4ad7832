package smtp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/smtp"
)

func TestParseMail(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, from string
		want     smtp.MailParams
	}{
		{"FROM:<>", "", smtp.MailParams{}},
		{"from:<a@b.example>", "a@b.example", smtp.MailParams{}},
		{"FROM: <a@b.example>", "a@b.example", smtp.MailParams{}},
		{"FROM:<a@b.example>   SIZE=0", "a@b.example", smtp.MailParams{HasSize: true}},
		{"FROM:<a@b.example> size=500000 body=8bitmime", "a@b.example", smtp.MailParams{HasSize: true, Size: 500000, Body: smtp.Body8Bit}},
		{"FROM:<ü@b.example> SMTPUTF8", "ü@b.example", smtp.MailParams{SMTPUTF8: true}},
		{"FROM:<a@b.example> RET=HDRS ENVID=QQ+2B314159", "a@b.example", smtp.MailParams{Ret: "HDRS", EnvID: "QQ+314159"}},
		{"FROM:<a@b.example> AUTH=<>", "a@b.example", smtp.MailParams{Auth: "<>"}},
		{"FROM:<e+mc2@b.example> AUTH=e+2Bmc2@b.example", "e+mc2@b.example", smtp.MailParams{Auth: "e+mc2@b.example"}},
		{"FROM:<a@b.example> REQUIRETLS BODY=BINARYMIME", "a@b.example", smtp.MailParams{RequireTLS: true, Body: smtp.BodyBinary}},
		{`FROM:<"a> SIZE=1"@b.example>`, `"a> SIZE=1"@b.example`, smtp.MailParams{}},
		{"FROM:<a@b.example> HOLDFOR=60 X-FLAG", "a@b.example", smtp.MailParams{Unknown: []smtp.Param{
			{Keyword: "HOLDFOR", Value: "60", HasValue: true}, {Keyword: "X-FLAG"}}}},
	}
	for _, tt := range tests {
		a, p, err := smtp.ParseMail(tt.in)
		if err != nil || a.String() != tt.from || !cmp.Equal(p, tt.want) {
			t.Errorf("%s: %v, %v: %s", tt.in, a, err, cmp.Diff(tt.want, p))
		}
	}
}

func TestParseMailRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want string // code and enhanced code
	}{
		{"", "501 5.5.4"},
		{"TO:<a@b.example>", "501 5.5.4"},
		{"FROM", "501 5.5.4"},
		{"FROM:", "501 5.1.7"},
		{"FROM:a@b.example", "501 5.1.7"},
		{"FROM:<a@b.example", "501 5.1.7"},
		{"FROM:<a@b.example>x", "501 5.1.7"},
		{"FROM:<<a@b.example>>", "501 5.1.7"},
		{"FROM:<postmaster>", "501 5.1.7"},
		{"FROM:<a>", "501 5.1.7"},
		{"FROM:< >", "501 5.1.7"},
		{"FROM:<a@[127.0.0.1]>", "501 5.1.7"},
		{"FROM:<;/bin/sh -c id;@b.example>", "501 5.1.7"},
		{"FROM:<ü@b.example>", "553 5.6.7"},
		{"FROM:<a@b.example> SIZE=-1", "501 5.5.4"},
		{"FROM:<a@b.example> SIZE=+1", "501 5.5.4"},
		{"FROM:<a@b.example> SIZE=", "501 5.5.4"},
		{"FROM:<a@b.example> SIZE", "501 5.5.4"},
		{"FROM:<a@b.example> SIZE=1x", "501 5.5.4"},
		{"FROM:<a@b.example> SIZE=1 SIZE=2", "501 5.5.4"},
		{"FROM:<a@b.example> SIZE=1 size=1", "501 5.5.4"},
		{"FROM:<a@b.example> SIZE=" + strings.Repeat("9", 26), "552 5.3.4"},
		{"FROM:<a@b.example> SIZE=9223372036854775808", "552 5.3.4"},
		{"FROM:<a@b.example> BODY=NOPE", "501 5.5.4"},
		{"FROM:<a@b.example> BODY", "501 5.5.4"},
		{"FROM:<a@b.example> SMTPUTF8=YES", "501 5.5.4"},
		{"FROM:<a@b.example> REQUIRETLS=1", "501 5.5.4"},
		{"FROM:<a@b.example> RET=BOTH", "501 5.5.4"},
		{"FROM:<a@b.example> ENVID=a+2", "501 5.5.4"},
		{"FROM:<a@b.example> ENVID=a+0D+0Ab", "501 5.5.4"},
		{"FROM:<a@b.example> ENVID=" + strings.Repeat("x", 101), "501 5.5.4"},
		{"FROM:<a@b.example> AUTH=a+2b", "501 5.5.4"},
		{"FROM:<a@b.example> AUTH", "501 5.5.4"},
		{"FROM:<a@b.example> =1", "501 5.5.4"},
		{"FROM:<a@b.example> -X=1", "501 5.5.4"},
		{"FROM:<a@b.example> X=\x01", "501 5.5.4"},
		{"FROM:<a@b.example> X=a=b", "501 5.5.4"},
	}
	for _, tt := range tests {
		_, _, err := smtp.ParseMail(tt.in)
		checkReply(t, tt.in, err, tt.want)
	}
}

func TestParseRcpt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in, to string
		want   smtp.RcptParams
	}{
		{"TO:<a@b.example>", "a@b.example", smtp.RcptParams{}},
		{"to: <a@b.example>", "a@b.example", smtp.RcptParams{}},
		{"TO:<Postmaster>", "Postmaster", smtp.RcptParams{}},
		{`TO:<"v@evil.test> NOTIFY=NEVER"@ok.test>`, `"v@evil.test> NOTIFY=NEVER"@ok.test`, smtp.RcptParams{}},
		{"TO:<a@b.example> NOTIFY=NEVER", "a@b.example", smtp.RcptParams{Notify: smtp.NotifyNever}},
		{"TO:<a@b.example> NOTIFY=success,Delay ORCPT=rfc822;Bob+2Bx@example.com", "a@b.example",
			smtp.RcptParams{Notify: smtp.NotifySuccess | smtp.NotifyDelay, ORcpt: "rfc822;Bob+2Bx@example.com"}},
		{`TO:<a@b.example> ORCPT=utf-8;\x{FC}@b.example`, "a@b.example", smtp.RcptParams{ORcpt: `utf-8;\x{FC}@b.example`}},
		{"TO:<a@b.example> X=1", "a@b.example", smtp.RcptParams{Unknown: []smtp.Param{{Keyword: "X", Value: "1", HasValue: true}}}},
	}
	for _, tt := range tests {
		a, p, err := smtp.ParseRcpt(tt.in, false)
		if err != nil || a.String() != tt.to || !cmp.Equal(p, tt.want) {
			t.Errorf("%s: %v, %v: %s", tt.in, a, err, cmp.Diff(tt.want, p))
		}
	}
	if a, p, err := smtp.ParseRcpt("TO:<ü@b.example> ORCPT=utf-8;ü@b.example", true); err != nil || !a.IsUTF8() || p.ORcpt != "utf-8;ü@b.example" {
		t.Errorf("with SMTPUTF8: %v, %+v, %v", a, p, err)
	}
}

func TestParseRcptRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"FROM:<a@b.example>", "501 5.5.4"},
		{"TO:<>", "501 5.1.3"},
		{"TO:<root>", "501 5.1.3"},
		{"TO:<a%b@c.example>", "501 5.1.3"},
		{"TO:<c!b@c.example>", "501 5.1.3"},
		{"TO:<@x.example:a@b.example>", "501 5.1.3"},
		{"TO:<a@[192.0.2.1]>", "501 5.1.3"},
		{"TO:<ü@b.example>", "553 5.6.7"},
		{"TO:<\xff@b.example>", "501 5.1.3"},
		{"TO:<a@b.example> NOTIFY=", "501 5.5.4"},
		{"TO:<a@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4"},
		{"TO:<a@b.example> NOTIFY=DELAY,DELAY", "501 5.5.4"},
		{"TO:<a@b.example> NOTIFY=SOMETIMES", "501 5.5.4"},
		{"TO:<a@b.example> NOTIFY=SUCCESS,", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=bob@example.com", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=rfc822;", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=rfc822;a+zz", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=rfc822;a+0D+0Ab", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=utf-8;ü@b.example", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=utf-8;\\x{D800}", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=utf-8;\\x{202E}", "501 5.5.4"},
		{"TO:<a@b.example> ORCPT=rfc822;" + strings.Repeat("x", 500), "501 5.5.4"},
		{"TO:<a@b.example> NOTIFY=NEVER NOTIFY=NEVER", "501 5.5.4"},
	}
	for _, tt := range tests {
		_, _, err := smtp.ParseRcpt(tt.in, false)
		checkReply(t, tt.in, err, tt.want)
	}
}

func checkReply(t *testing.T, in string, err error, want string) {
	t.Helper()
	r, ok := errors.AsType[smtp.Reply](err)
	if !ok || !strings.HasPrefix(r.String(), want+" ") {
		t.Errorf("%q: %v; want %s", in, err, want)
	}
}

func TestNotifyString(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]smtp.Notify{
		"": 0, "NEVER": smtp.NotifyNever, "SUCCESS,FAILURE,DELAY": smtp.NotifySuccess | smtp.NotifyFailure | smtp.NotifyDelay} {
		if n.String() != want {
			t.Errorf("%d: %q, want %q", n, n, want)
		}
	}
}

func TestParseORcpt(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, kind, addr string }{
		{"rfc822;Bob+2Bx@example.com", "rfc822", "Bob+x@example.com"},
		{"x400;/C=x/+20", "", ""}, // "=" is not xtext
		{`UTF-8;\x{FC}ber+x`, "", ""},
		{`UTF-8;\x{FC}ber@x`, "UTF-8", "über@x"},
		{`utf-8;\x{1F600}`, "utf-8", "😀"},
		{`utf-8;\x{fc}`, "", ""},
		{`utf-8;\x{F}`, "", ""},
		{`utf-8;\x{FC`, "", ""},
	}
	for _, tt := range tests {
		kind, addr, err := smtp.ParseORcpt(tt.in)
		if kind != tt.kind || addr != tt.addr || (err == nil) != (tt.kind != "") {
			t.Errorf("%s: %q %q %v", tt.in, kind, addr, err)
		}
	}
}

func TestXtext(t *testing.T) {
	t.Parallel()
	for dec, enc := range map[string]string{"": "", "abc": "abc", "a+b=c d": "a+2Bb+3Dc+20d", "\x00\xff": "+00+FF"} {
		if got := smtp.EncodeXtext(dec); got != enc {
			t.Errorf("encode %q: %q, want %q", dec, got, enc)
		}
		if got, err := smtp.DecodeXtext(enc); err != nil || got != dec {
			t.Errorf("decode %q: %q, %v", enc, got, err)
		}
	}
	for _, s := range []string{"+", "+2", "+2b", "+GG", "a=b", "a b", "a\x00", "ü", "+ 2"} {
		if v, err := smtp.DecodeXtext(s); !errors.Is(err, smtp.ErrXtext) {
			t.Errorf("decode %q: %q, %v", s, v, err)
		}
	}
}
