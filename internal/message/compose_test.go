package message

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/smtp"
)

func mailbox(tb testing.TB, name, addr string) Mailbox {
	tb.Helper()
	a, err := smtp.ParseAddress(addr, true)
	if err != nil {
		tb.Fatal(err)
	}
	return Mailbox{Name: name, Address: a}
}

func outgoing(tb testing.TB) Outgoing {
	return Outgoing{
		From:      mailbox(tb, "Mail Relay", "postmaster@relay.test"),
		To:        []Mailbox{mailbox(tb, "Jörg", "j@x.test"), mailbox(tb, "", "b@x.test")},
		Subject:   "Your mail\r\nBcc: evil@x.test",
		Date:      time.Date(2026, 11, 5, 7, 8, 9, 0, time.UTC),
		MessageID: "<1@relay.test>",
		Extra:     []Extra{{"Auto-Submitted", "auto-replied"}},
		Part:      Part{Type: "text/plain", Text: "Hello\nworld\r\n"},
	}
}

func TestComposeText(t *testing.T) {
	t.Parallel()
	head, body, err := outgoing(t).Compose()
	if err != nil {
		t.Fatal(err)
	}
	want := "From: Mail Relay <postmaster@relay.test>\r\nTo: =?utf-8?b?SsO2cmc=?= <j@x.test>, b@x.test\r\n" +
		"Subject: Your mail  Bcc: evil@x.test\r\nDate: Thu, 05 Nov 2026 07:08:09 +0000\r\nMessage-ID: <1@relay.test>\r\n" +
		"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
	if diff := cmp.Diff(want, string(head)); diff != "" {
		t.Error(diff)
	}
	if string(body) != "Hello\r\nworld\r\n" {
		t.Errorf("body %q", body)
	}
}

func TestComposeEncodesWhatMustBe(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"Grüße\n", longText, "a\x00b", "bad \xff", "x\r.\r\n.\n"} {
		o := outgoing(t)
		o.Part.Text = text
		head, body, err := o.Compose()
		if err != nil {
			t.Errorf("%.20q: %v", text, err)
			continue
		}
		if err := checkRaw(body); err != nil || !isASCII(body) {
			t.Errorf("%.20q: body %q: %v", text, body, err)
		}
		got := leaves(t, string(head)+string(body))
		want := string(crlfLines(strings.ToValidUTF8(text, "\uFFFD")))
		if len(got) != 1 || strings.ReplaceAll(got[0], "\r\n", "\n") != strings.ReplaceAll(want, "\r\n", "\n") {
			t.Errorf("%.20q is read as %q", text, got)
		}
	}
}

func TestComposeMultipart(t *testing.T) {
	t.Parallel()
	o := outgoing(t)
	o.Part = Part{Type: "multipart/report; report-type=delivery-status", Parts: []Part{
		{Type: "text/plain", Description: "Notification", Text: "It failed.\n"},
		{Type: "message/delivery-status", Raw: []byte("Reporting-MTA: dns; relay.test\r\n\r\nAction: failed\r\n")},
		{Type: "message/rfc822", Raw: []byte("From: a@x.test\r\n\r\nä\r\nno end")},
	}}
	head, body, err := o.Compose()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(head), "Content-Transfer-Encoding: 8bit\r\n") {
		t.Errorf("8-bit part inside, but not said: %s", head)
	}
	msg := string(head) + string(body)
	got := leaves(t, msg)
	want := []string{"It failed.\r\n", "Reporting-MTA: dns; relay.test\r\n\r\nAction: failed\r\n", "From: a@x.test\r\n\r\nä\r\nno end\r\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	h := mustHeader(t, msg)
	if _, err := Identify(&h, false); err != nil {
		t.Errorf("our own message is refused: %v", err)
	}
}

func TestComposeRefuses(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*Outgoing){
		"field injection": func(o *Outgoing) { o.Extra = []Extra{{"X", "a\r\nBcc: b@x.test"}} },
		"name injection":  func(o *Outgoing) { o.Extra = []Extra{{"X\r\nBcc", "a"}} },
		"Message-ID":      func(o *Outgoing) { o.MessageID = "<a\n@b>" },
		"type injection":  func(o *Outgoing) { o.Part.Type = "text/plain\r\nX: 1" },
		"raw bare LF":     func(o *Outgoing) { o.Part = Part{Type: "message/rfc822", Raw: []byte("a\nb")} },
		"raw bare CR":     func(o *Outgoing) { o.Part = Part{Type: "message/rfc822", Raw: []byte("a\rb\r\n")} },
		"raw NUL":         func(o *Outgoing) { o.Part = Part{Type: "message/rfc822", Raw: []byte("a\x00\r\n")} },
		"raw long line":   func(o *Outgoing) { o.Part = Part{Type: "message/rfc822", Raw: []byte(longText)} },
		"inside a multipart": func(o *Outgoing) {
			o.Part = Part{Type: "multipart/mixed", Parts: []Part{{Type: "image/x", Raw: []byte("\n")}}}
		},
		"field not UTF-8": func(o *Outgoing) { o.Extra = []Extra{{"X", "\xff"}} },
	} {
		o := outgoing(t)
		edit(&o)
		if head, body, err := o.Compose(); ReasonOf(err) == "" || head != nil || body != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
