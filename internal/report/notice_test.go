package report

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	gomessage "github.com/emersion/go-message"
	"github.com/google/go-cmp/cmp"

	"postern/internal/message"
	"postern/internal/smtp"
)

func addr(tb testing.TB, s string) smtp.Address {
	tb.Helper()
	a, err := smtp.ParseAddress(s, true)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

var at = time.Date(2026, 11, 5, 7, 8, 9, 0, time.UTC)

func failure(tb testing.TB) Notice {
	return Notice{
		ReportingMTA: "relay.test",
		From:         message.Mailbox{Name: "Mail Delivery System", Address: addr(tb, "postmaster@relay.test")},
		To:           addr(tb, "ann@customer.example"),
		MessageID:    "<dsn1@relay.test>",
		Date:         at,
		EnvID:        "QQ 314159",
		Arrival:      at.Add(-time.Hour),
		Outcomes: []Outcome{{
			Recipient: addr(tb, "bob@example.test"), Original: "rfc822;Bob+2B1@example.test", Action: Failed,
			Status: smtp.EnhancedCode{5, 1, 1}, Reply: "550 5.1.1 No such user\r\nhere", RemoteMTA: "mx.example.test", LastAttempt: at,
		}},
		Original: Original{Head: []byte("From: ann@customer.example\r\nMessage-ID: <orig@customer.example>\r\nSubject: hi\r\n\r\n"), Body: []byte("secret body\r\n")},
	}
}

func compose(tb testing.TB, n Notice) string {
	tb.Helper()
	head, body, _, err := n.Compose()
	if err != nil {
		tb.Fatal(err)
	}
	msg := string(head) + string(body)
	if !sendable([]byte(msg)) {
		tb.Fatalf("not fit for the wire: %q", msg)
	}
	return msg
}

func parse(tb testing.TB, msg string) *Report {
	tb.Helper()
	r, err := Parse(strings.NewReader(msg))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestNoticeIsReadBack(t *testing.T) {
	t.Parallel()
	n := failure(t)
	n.Outcomes = append(n.Outcomes,
		Outcome{Recipient: addr(t, "carol@example.test"), Action: Delayed, Reply: "451 4.3.0 later", WillRetryUntil: at.Add(time.Hour)},
		Outcome{Recipient: addr(t, "dave@example.test"), Action: Relayed, RemoteMTA: "mx2.example.test"},
		Outcome{Recipient: addr(t, "erin@example.test"), Action: Delivered, Status: smtp.EnhancedCode{2, 1, 5}})
	got := parse(t, compose(t, n))
	want := &Report{
		Kind: KindDSN, ReportingMTA: "relay.test", EnvID: "QQ 314159", OriginalMessageID: "<orig@customer.example>",
		Recipients: []Recipient{
			{Final: "bob@example.test", Original: "Bob+1@example.test", Action: Failed, Status: smtp.EnhancedCode{5, 1, 1}, Diagnostic: "550 5.1.1 No such user here", RemoteMTA: "mx.example.test", Class: Hard},
			{Final: "carol@example.test", Action: Delayed, Status: smtp.EnhancedCode{4, 3, 0}, Diagnostic: "451 4.3.0 later"},
			{Final: "dave@example.test", Action: Relayed, Status: smtp.EnhancedCode{2, 0, 0}, RemoteMTA: "mx2.example.test"},
			{Final: "erin@example.test", Action: Delivered, Status: smtp.EnhancedCode{2, 1, 5}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoticeShape(t *testing.T) {
	t.Parallel()
	msg := compose(t, failure(t))
	for _, want := range []string{
		"From: Mail Delivery System <postmaster@relay.test>\r\n", "To: ann@customer.example\r\n", "Subject: Mail could not be delivered\r\n",
		"Auto-Submitted: auto-replied\r\n", "References: <orig@customer.example>\r\n", "multipart/report; report-type=delivery-status",
		"Reporting-MTA: dns; relay.test\r\n", "Original-Envelope-Id: QQ 314159\r\n", "Arrival-Date: Thu, 05 Nov 2026 06:08:09 +0000\r\n",
		"\r\n\r\nOriginal-Recipient: rfc822; Bob+1@example.test\r\nFinal-Recipient: rfc822; bob@example.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.test\r\n",
		"Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n", "Last-Attempt-Date: Thu, 05 Nov 2026 07:08:09 +0000\r\n",
		"mx.example.test said:", "What to do: the address is unknown there.", "Content-Type: text/rfc822-headers",
	} {
		if !strings.Contains(msg, want) {
			t.Errorf("no %q in\n%s", want, msg)
		}
	}
	if strings.Contains(msg, "secret body") {
		t.Error("the body goes back without RET=FULL")
	}
}

func TestNoticeReturnsWhatWasAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*Notice)
		want string // a Content-Type
		body bool
	}{
		"headers":        {func(n *Notice) {}, "text/rfc822-headers", false},
		"full":           {func(n *Notice) { n.Original.Full = true }, "message/rfc822", true},
		"full, no body":  {func(n *Notice) { n.Original.Full, n.Original.Body = true, nil }, "text/rfc822-headers", false},
		"full, empty":    {func(n *Notice) { n.Original.Full, n.Original.Body = true, []byte{} }, "message/rfc822", false},
		"full, delayed":  {func(n *Notice) { n.Original.Full, n.Outcomes[0].Action = true, Delayed }, "text/rfc822-headers", false},
		"full, too big":  {func(n *Notice) { n.Original.Full, n.Original.Body = true, bytes.Repeat([]byte("x\r\n"), MaxReturn/2) }, "text/rfc822-headers", false},
		"full, binary":   {func(n *Notice) { n.Original.Full, n.Original.Body = true, []byte("a\x00b\n") }, "text/rfc822-headers", false},
		"full, 8-bit":    {func(n *Notice) { n.Original.Full, n.Original.Body = true, []byte("secret body \xe4\r\n") }, "message/rfc822", true},
		"global":         {func(n *Notice) { n.Original.Full, n.Original.UTF8 = true, true }, "message/global", true},
		"global headers": {func(n *Notice) { n.Original.UTF8 = true }, "message/global-headers", false},
		"header of 1 MB": {func(n *Notice) {
			n.Original.Head = []byte("From: a@x.test\r\nX:\r\n" + strings.Repeat(" y\r\n", 250000) + "\r\n")
		}, "text/rfc822-headers", false},
		"8-bit header": {func(n *Notice) { n.Original.Head = []byte("Subject: \xe4\r\n\r\n") }, "text/rfc822-headers", false},
		"long header":  {func(n *Notice) { n.Original.Head = []byte("Subject: " + strings.Repeat("x", 2000) + "\r\n\r\n") }, "text/rfc822-headers", false},
	} {
		n := failure(t)
		c.edit(&n)
		msg := compose(t, n)
		e, err := gomessage.Read(strings.NewReader(msg))
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		mr := e.MultipartReader()
		for p, err := mr.NextPart(); err == nil; p, err = mr.NextPart() {
			kind, _, err := p.Header.ContentType()
			if err != nil {
				t.Error(err)
			}
			kinds = append(kinds, kind)
		}
		if len(kinds) != 3 || kinds[2] != c.want || strings.Contains(msg, "secret body") != c.body {
			t.Errorf("%s: parts %v, body %v", name, kinds, strings.Contains(msg, "secret body"))
		}
		if len(msg) > 3*MaxReturn {
			t.Errorf("%s: %d octets", name, len(msg))
		}
	}
	n := failure(t)
	n.Original = Original{}
	if msg := compose(t, n); strings.Contains(msg, "rfc822-headers") {
		t.Error("a part for nothing")
	}
}

func TestNoticeInternationalised(t *testing.T) {
	t.Parallel()
	n := failure(t)
	n.To = addr(t, "jörg@customer.example")
	n.Outcomes[0].Recipient = addr(t, "bjørn@bücher.example")
	n.Outcomes[0].Original = `utf-8;bj\x{F8}rn@example.test`
	n.Original.UTF8 = true
	_, _, utf8, err := n.Compose()
	if err != nil || !utf8 {
		t.Errorf("utf8 %v, %v", utf8, err)
	}
	msg := compose(t, n)
	for _, want := range []string{"message/global-delivery-status", "Final-Recipient: utf-8; bjørn@bücher.example\r\n", "Original-Recipient: utf-8; bjørn@example.test\r\n"} {
		if !strings.Contains(msg, want) {
			t.Errorf("no %q in\n%s", want, msg)
		}
	}
	if r := parse(t, msg); r.Recipients[0].Final != "bjørn@bücher.example" {
		t.Errorf("read back as %+v", r.Recipients)
	}
	// Without SMTPUTF8 the report stays ASCII (RFC 6533 §3).
	n.To, n.Original.UTF8 = addr(t, "ann@customer.example"), false
	msg = compose(t, n)
	if !strings.Contains(msg, `Final-Recipient: utf-8; bj\x{F8}rn@b\x{FC}cher.example`) {
		t.Errorf("not in utf-8-addr-xtext:\n%s", msg)
	}
	if r := parse(t, msg); r.Recipients[0].Final != "bjørn@bücher.example" {
		t.Errorf("read back as %+v", r.Recipients)
	}
}

// TestHostileReplies: what a remote system says cannot become structure.
func TestHostileReplies(t *testing.T) {
	t.Parallel()
	evil := "550 x\r\n\r\nFinal-Recipient: rfc822; victim@example.test\r\nAction: failed\r\n--=_\x00\x1b[31m\u202e" + strings.Repeat("A", 5000) + "\xff"
	n := failure(t)
	n.EnvID = evil
	n.Original.Head = []byte("Message-ID: <a>\r\n b@c>\r\nSubject: x\r\n\r\n")
	n.Outcomes[0].Reply, n.Outcomes[0].Why, n.Outcomes[0].RemoteMTA, n.Outcomes[0].Original = evil, evil, evil, evil
	msg := compose(t, n)
	r := parse(t, msg)
	if r.Kind != KindDSN || len(r.Recipients) != 1 || r.Recipients[0].Final != "bob@example.test" {
		t.Errorf("read back as %+v", r)
	}
	if strings.ContainsAny(msg, "\x00\x1b") || strings.Contains(msg, "\u202e") {
		t.Error("control characters let through")
	}
	if strings.Contains(msg, "References:") {
		t.Error("a malformed Message-ID was repeated")
	}
}

func TestNoticeRefusesNonsense(t *testing.T) {
	t.Parallel()
	n := failure(t)
	n.Outcomes[0].Action = "exploded"
	if _, _, _, err := n.Compose(); err == nil {
		t.Error("unknown action")
	}
	n.Outcomes = nil
	if _, _, _, err := n.Compose(); err == nil {
		t.Error("no recipients")
	}
	n = failure(t)
	n.MessageID = "<a\r\n@b>"
	if head, _, _, err := n.Compose(); err == nil || head != nil {
		t.Error("broken Message-ID")
	}
}

func TestAdvice(t *testing.T) {
	t.Parallel()
	for code, want := range map[smtp.EnhancedCode]string{
		{5, 1, 1}: "typing errors", {5, 1, 2}: "domain", {5, 1, 10}: "domain", {5, 2, 2}: "full", {5, 2, 1}: "disabled", {5, 2, 3}: "larger", {5, 3, 4}: "larger",
		{5, 4, 4}: "domain", {5, 4, 6}: "circles", {5, 4, 7}: "could not be reached", {5, 6, 3}: "simpler", {5, 6, 7}: "internationalised", {5, 7, 1}: "rules", {5, 7, 30}: "safe", {5, 0, 0}: "administrator", {5, 2, 9}: "mailbox",
	} {
		if got := advice(code); !strings.Contains(got, want) {
			t.Errorf("%s: %q", code, got)
		}
	}
}

// TestPythonReadsNotices: a parser that is neither ours nor Go's.
func TestPythonReadsNotices(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	n := failure(t)
	n.Original.Full = true
	cmd := exec.Command(python, "-c", `
import sys, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.SMTP)
assert m.get_content_type() == "multipart/report", m.get_content_type()
assert m.get_param("report-type") == "delivery-status"
assert not m.defects, m.defects
text, status, original = m.get_payload()
assert not (text.defects or status.defects or original.defects)
assert "bob@example.test" in text.get_content()
groups = status.get_payload()
assert len(groups) == 2, groups
assert groups[0]["Reporting-MTA"] == "dns; relay.test"
assert groups[1]["Final-Recipient"] == "rfc822; bob@example.test"
assert groups[1]["Status"] == "5.1.1" and groups[1]["Action"] == "failed"
assert original.get_payload()[0]["Message-ID"] == "<orig@customer.example>"
print("ok")
`)
	cmd.Stdin = strings.NewReader(compose(t, n))
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\r\n b\x00c\u2028d\u202ee\xff": "a b c d e",
		"  x  ":                          "x",
		strings.Repeat("ä", 10):          "äääää",
		"123456789 abc":                  "123456789",
		"1234567890abc":                  "1234567890",
	} {
		if got := Clean(in, 10); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
