package smtpclient

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
)

// FR-46: whatever the content, no next hop can read an end of the data where
// there is none: what a sloppy one might take for it never leaves.
func TestFR_46(t *testing.T) {
	t.Parallel()
	t.Run("FR-46", func(t *testing.T) {
		const smuggled = "MAIL FROM:<evil@example.test>\r\n"
		for _, end := range []string{
			"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n\x00.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\n.\r", "\r.\n", "\r\n.\x00\r\n",
		} {
			mx := fakemx.Start(t, fakemx.Config{})
			s := open(t, mx)
			res := s.Send(t.Context(), message("Subject: x\r\n\r\nbody"+end+smuggled, "b@example.test"))
			mx.Drain(t)
			t.Logf("%q", end)
			want(t, res, "554 5.6.0 body local")
			if len(mx.Complete()) != 0 || s.Usable() {
				t.Errorf("%q: something was delivered", end)
			}
		}
		// Canonical lines arrive octet for octet; dots are the writer's business.
		for _, content := range []string{
			"", ".", ".\r\n", "..\r\n", ".\r\n.\r\n", "a\r\n.\r\nb\r\n", "no end of line", "\r\n", "\r\n.\r\n" + smuggled,
			strings.Repeat(".\r\n", outSize), strings.Repeat("x", outSize-1) + "\r\n.\r\n", strings.Repeat("x", outSize-3) + "\r\n.\r\n",
		} {
			mx := fakemx.Start(t, fakemx.Config{})
			s := open(t, mx)
			want(t, s.Send(t.Context(), message(content, "b@example.test")), "250 2.0.0 end")
			s.Quit(t.Context())
			expected := content
			if content != "" && !strings.HasSuffix(content, "\r\n") {
				expected += "\r\n" // DATA cannot carry a last line without its end
			}
			got := mx.Complete()
			if len(got) != 1 || string(got[0].Body) != expected {
				t.Errorf("%.20q: arrived as %.60q", content, got[0].Body)
			}
			if bytes.Count(got[0].Wire, []byte("\r\n.\r\n")) > 1 || len(mx.Transactions()) != 1 {
				t.Errorf("%.20q: more than one end on the wire", content)
			}
		}
	})
}

// FR-47: no address, however it came here, ends a command or adds to it.
func TestFR_47(t *testing.T) {
	t.Parallel()
	t.Run("FR-47", func(t *testing.T) {
		mx := fakemx.Start(t, fakemx.Config{})
		s := open(t, mx)
		for _, bad := range []string{
			"b@example.test\r\nDATA", "b@example.test\nRSET", "b\r@example.test", "b\x00@example.test", "b@example.test> NOTIFY=NEVER",
			"b@example.test>\r\nRCPT TO:<evil@example.test", `"b\` + "\r" + `"@example.test`, "\"b\r\n\"@example.test", "b c@example.test", "<b@example.test>",
			"b@exa\tmple.test", "b", "@example.test", "b@", "b@@example.test", "\x7f@example.test", "", "b\xff@example.test", "b@example.test ",
			"b\u2028c@example.test", "@a.test,@b.test:c@d.test",
		} {
			want(t, s.Send(t.Context(), message(testMessage, bad)), "550 5.1.3 rcpt local")
			tx := message(testMessage, "good@example.test")
			tx.From = bad
			if bad != "" { // the null reverse-path
				want(t, s.Send(t.Context(), tx), "550 5.1.7 mail local")
			}
		}
		// The other recipients of the transaction get theirs; parameters are judged too.
		tx := message(testMessage, "b@example.test", "evil\r\n@example.test")
		tx.EnvID, tx.Ret = "a\r\nb c", "FULL SIZE=1"
		tx.Recipients[0].ORcpt = "rfc822;x\r\nDATA"
		tx.Recipients[0].Notify = smtp.NotifyFailure
		want(t, s.Send(t.Context(), tx), "250 2.0.0 end", "550 5.1.3 rcpt local")
		s.Quit(t.Context())
		got := mx.Complete()
		if len(got) != 1 || got[0].Mail != "FROM:<a@example.test> SIZE=82 ENVID=a+0D+0Ab+20c" || got[0].Rcpt[0] != "TO:<b@example.test> NOTIFY=FAILURE" {
			t.Errorf("transactions %+v", got)
		}
		if n := len(mx.Lines(0)); n != 5 { // EHLO, MAIL, RCPT, DATA, QUIT
			t.Errorf("%d commands: %q", n, mx.Lines(0))
		}
	})
}

func TestSanitise(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                "",
		"plain\nlines":                    "plain\nlines",
		"tab\there":                       "tab here",
		"\x1b[2J\a":                       "?[2J?",
		"ünïcode ok":                      "ünïcode ok",
		"bad \xff\xfe":                    "bad ??",
		"bidi \u202e evil":                "bidi ? evil",
		"c1 \u0085":                       "c1 ?",
		strings.Repeat("x", 600):          strings.Repeat("x", 512),
		strings.Repeat("ü", 300):          strings.Repeat("ü", 256),
		"x" + strings.Repeat("ü", 300):    "x" + strings.Repeat("ü", 255),
		strings.Repeat("\u2028", 300):     strings.Repeat("?", 300),
		strings.Repeat("\U0001F600", 128): strings.Repeat("\U0001F600", 128),
	} {
		if got := sanitise(in); got != want || len(got) > maxText {
			t.Errorf("sanitise(%.40q) = %.40q (%d octets)", in, got, len(got))
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for want, e := range map[string]*Error{
		"mail: remote said 550 5.7.1 No":    remote(StageMail, smtp.R(550, 5, 7, 1, "No")),
		"end: 451 4.4.2 x":                  local(StageEnd, smtp.R(451, 4, 4, 2, "x"), nil),
		"handshake: 454 4.7.5 bad: cause":   local(StageHandshake, smtp.R(454, 4, 7, 5, "bad"), cause),
		"body: remote said 552 Full: cause": {Stage: StageBody, Code: 552, Text: "Full", Err: cause},
	} {
		if e.Error() != want || errors.Is(e, cause) != (e.Err != nil) {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}
