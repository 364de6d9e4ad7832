package report

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/smtp"
)

// dsn wraps status fields into a report.
func dsn(status string) string {
	return strings.ReplaceAll("From: mailer-daemon@mx.test\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"+
		"--b\n\nwords\n--b\nContent-Type: message/delivery-status\n\n"+status+"\n--b\nContent-Type: message/rfc822\n\nMessage-ID: <1@x.test>\nFrom: a@x.test\n\nbody\n--b--\n", "\n", "\r\n")
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"RFC 3464": {"Reporting-MTA: dns; mx.test\n\nOriginal-Recipient: rfc822;o@x.test\nFinal-Recipient: rfc822;f@x.test\nAction: failed\nStatus: 5.1.1\n",
			"dsn|f@x.test failed 5.1.1 hard"},
		"several":                {"Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 4.4.7\n\nFinal-Recipient: rfc822;b@x.test\nAction: delivered\nStatus: 2.0.0\n", "dsn|a@x.test failed 4.4.7 soft|b@x.test delivered 2.0.0 "},
		"no blank lines":         {"Reporting-MTA: dns; mx.test\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 5.1.1\nOriginal-Recipient: rfc822;c@x.test\nFinal-Recipient: rfc822;b@x.test\nAction: delayed\nStatus: 4.2.0\n", "dsn|a@x.test failed 5.1.1 hard|b@x.test delayed 4.2.0 "},
		"folded and odd case":    {"Reporting-MTA: dns; mx.test\n\nFINAL-RECIPIENT: RFC822;\n  <a@x.test>\nACTION: Failed (expired)\nStatus: 5.4.7 (no answer)\n", "dsn|a@x.test failed 5.4.7 soft"},
		"no action":              {"\nFinal-Recipient: rfc822;a@x.test\nStatus: 5.2.1\n", "dsn|a@x.test failed 5.2.1 hard"},
		"no status":              {"\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nDiagnostic-Code: smtp; 550-5.1.1 no\n", "dsn|a@x.test failed 5.1.1 hard"},
		"nothing but an address": {"\nFinal-Recipient: rfc822;a@x.test\n", "dsn|a@x.test failed 5.0.0 soft"},
		"status of no use":       {"\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 552 5.2.2 full (Exim 4.94.2)\n", "dsn|a@x.test failed 5.2.2 soft"},
		"reply code only":        {"\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nDiagnostic-Code: smtp; 554 no\n", "dsn|a@x.test failed 5.0.0 soft"},
		"untyped":                {"\nFinal-Recipient: a@x.test\nAction: failed\nStatus: 5.1.1\n", "dsn|a@x.test failed 5.1.1 hard"},
		"utf-8":                  {"\nFinal-Recipient: utf-8; j\\x{F6}rg@x.test\nAction: failed\nStatus: 5.1.1\n", "dsn|jörg@x.test failed 5.1.1 hard"},
		"original only":          {"\nOriginal-Recipient: rfc822;o@x.test\nAction: failed\nStatus: 5.1.1\n", "dsn|o@x.test failed 5.1.1 hard"},
		"no recipients":          {"Reporting-MTA: dns; mx.test\n", "other"},
		"not an address":         {"\nFinal-Recipient: x500;/C=US\nAction: failed\nStatus: 5.1.1\n", "other"},
		"silly status":           {"\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 99999999999.1.1\n", "dsn|a@x.test failed 5.0.0 soft"},
		"sender's address bad":   {"\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 5.1.8\n", "dsn|a@x.test failed 5.1.8 soft"},
	} {
		if diff := cmp.Diff(c.want, summary(parse(t, dsn(c.in)))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	r := parse(t, dsn("Reporting-MTA: dns; mx.test\nOriginal-Envelope-Id: Q1\n\nFinal-Recipient: rfc822;a@x.test\nRemote-MTA: dns; r.test\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550\n no\n"))
	want := &Report{Kind: KindDSN, ReportingMTA: "mx.test", EnvID: "Q1", OriginalMessageID: "<1@x.test>", Recipients: []Recipient{
		{Final: "a@x.test", Action: Failed, Status: smtp.EnhancedCode{5, 1, 1}, Diagnostic: "550 no", RemoteMTA: "r.test", Class: Hard}}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

// TestDSNBeatsAutoSubmitted: DSNs are auto-replies too, and must not be
// taken for somebody's holiday.
func TestDSNBeatsAutoSubmitted(t *testing.T) {
	t.Parallel()
	in := "Auto-Submitted: auto-replied\r\nSubject: Automatic reply\r\n" + dsn("\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 5.1.1\n")
	if got := summary(parse(t, in)); got != "dsn|a@x.test failed 5.1.1 hard" {
		t.Error(got)
	}
}

// TestParseFeedback is the shape of RFC 5965 appendix B.2.
func TestParseFeedback(t *testing.T) {
	t.Parallel()
	in := strings.ReplaceAll(`From: <abusedesk@example.com>
Date: Thu, 8 Mar 2005 17:40:36 EDT
Subject: FW: Earn money
To: <abuse@example.net>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
     boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: Abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <somespammer@example.net>
Original-Rcpt-To: <user@example.com>
Original-Rcpt-To: <other@example.com>
Arrival-Date: Thu, 8 Mar 2005 14:00:00 EDT
Source-IP: 192.0.2.1
Reported-Domain: example.net
Reported-Uri: http://example.net/earn_money.html

--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

From: <somespammer@example.net>
Subject: Earn money
To: <user@example.com>
Message-ID: <8787KJKJ3K4J3K4J3K4J3.mail@example.net>

Spam Spam Spam
--part1_13d.2e68ed54_boundary--
`, "\n", "\r\n")
	want := &Report{Kind: KindFeedback, OriginalMessageID: "<8787KJKJ3K4J3K4J3K4J3.mail@example.net>", Feedback: &Feedback{
		Type: "abuse", UserAgent: "SomeGenerator/1.0", OriginalMailFrom: "somespammer@example.net", OriginalRcptTo: []string{"user@example.com", "other@example.com"},
		SourceIP: "192.0.2.1", ReportedDomains: []string{"example.net"}, ArrivalDate: "Thu, 8 Mar 2005 14:00:00 EDT",
		From: "<somespammer@example.net>", To: "<user@example.com>", Subject: "Earn money",
	}}
	if diff := cmp.Diff(want, parse(t, in)); diff != "" {
		t.Error(diff)
	}
}

func TestParseMalformed(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "nonsense", "no colon\r\n\r\nbody"} {
		if r, err := Parse(strings.NewReader(in)); err != nil && !errors.Is(err, ErrMalformed) || err == nil && r.Kind != KindOther {
			t.Errorf("%q: %+v, %v", in, r, err)
		}
	}
}

// TestParseIsBounded: inputs that make a careless parser slow or large.
func TestParseIsBounded(t *testing.T) {
	t.Parallel()
	var deep strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	system := "From: mailer-daemon@mx.test\r\nSubject: failure notice\r\n\r\nThis is the qmail-send program\r\n"
	start := time.Now()
	for name, in := range map[string]string{
		"deep":             deep.String(),
		"many parts":       "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 50000),
		"many recipients":  dsn(strings.Repeat("\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 5.1.1\n", 20000)),
		"one group":        dsn(strings.Repeat("Final-Recipient: rfc822;a@x.test\nAction: failed\n", 20000)),
		"folded field":     dsn("\nFinal-Recipient: rfc822;a@x.test\nDiagnostic-Code: x" + strings.Repeat("\n y", 200000)),
		"many fields":      dsn(strings.Repeat("A: b\n", 100000)),
		"huge header":      strings.Repeat("X: y\r\n", 200000) + "\r\n",
		"words":            system + strings.Repeat("<a@x.test>: 550 no\r\n", 100000),
		"many addresses":   system + manyAddresses(),
		"long line":        system + strings.Repeat("<a@x.test ", 200000),
		"at signs":         system + strings.Repeat("a@", 400000),
		"html":             "From: mailer-daemon@mx.test\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat("<", 500000),
		"endless body":     system + strings.Repeat("x\r\n", 5<<20),
		"failed header":    "X-Failed-Recipients: " + strings.Repeat("a@x.test, ", 20000) + "\r\n\r\n",
		"bad base64":       "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("!", 500000),
		"unknown charset":  "Content-Type: text/plain; charset=x-none\r\n\r\nx",
		"unknown encoding": "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-none\r\n\r\nx",
	} {
		r, err := Parse(strings.NewReader(in))
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if r != nil && len(r.Recipients) > maxRecipients {
			t.Errorf("%s: %d recipients", name, len(r.Recipients))
		}
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
}

func manyAddresses() string {
	var b strings.Builder
	for i := range 30000 {
		fmt.Fprintf(&b, "<a%d@x.test>:\r\n", i)
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	for _, c := range bounces {
		f.Add(c.in)
	}
	f.Add(dsn("Reporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822;a@x.test\nAction: failed\nStatus: 5.1.1\n"))
	f.Add("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(strings.NewReader(s))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if (r.Kind == KindFeedback) != (r.Feedback != nil) {
			t.Fatalf("kind %s, feedback %v", r.Kind, r.Feedback)
		}
		if (r.Kind == KindDSN || r.Kind == KindBounce) != (len(r.Recipients) > 0) {
			t.Fatalf("kind %s with %d recipients", r.Kind, len(r.Recipients))
		}
		for _, x := range r.Recipients {
			if x.Diagnostic != Clean(x.Diagnostic, MaxText) || !x.Action.valid() || x.Status.IsZero() {
				t.Fatalf("%+v", x)
			}
			if x.Final != "" {
				if _, err := smtp.ParseLiteral(x.Final, true); err != nil {
					t.Fatalf("final recipient %q: %v", x.Final, err)
				}
			}
		}
	})
}

// FuzzNotice: whatever foreign text goes in, the notice can be read back and
// says what it was to say.
func FuzzNotice(f *testing.F) {
	f.Add("550 5.1.1 no", "mx.test", "rfc822;a+2Bb@x.test", "Subject: x\r\n\r\n", "body\r\n")
	f.Add("\r\n\r\n--=_", "\x00", ";", "\xff", "\n")
	f.Fuzz(func(t *testing.T, reply, host, original, head, body string) {
		n := failure(t)
		n.EnvID, n.Outcomes[0].Why = reply, reply
		n.Outcomes[0].Reply, n.Outcomes[0].RemoteMTA, n.Outcomes[0].Original = reply, host, original
		n.Original = Original{Head: []byte(head), Body: []byte(body), Full: len(body)%2 == 0, UTF8: len(head)%2 == 0}
		r := parse(t, compose(t, n))
		if r.Kind != KindDSN || len(r.Recipients) != 1 || r.Recipients[0].Final != "bob@example.test" || r.Recipients[0].Action != Failed {
			t.Fatalf("%+v", r)
		}
	})
}
