package smtpserver_test

import (
	"strings"
	"testing"

	"postern/internal/smtpserver"
)

// TestAD holds the rows of AD that the form of an address decides.
func TestAD(t *testing.T) {
	t.Parallel()
	refused := func(id string, want string, params string, rcpts ...string) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			c := w.login()
			c.cmd("MAIL FROM:<a@acme.test>"+params, "250")
			for _, r := range rcpts {
				c.cmd("RCPT TO:"+r, want)
			}
			if w.backend.count("rcpt") > 0 {
				t.Errorf("asked about: %q", w.backend.log())
			}
			c.cmd("RCPT TO:<good@inbox.test>", "250")
		})
	}
	refused("AD-01 literals", "501 5.1.3", "", "<a@[127.0.0.1]>", "<a@[IPv6:::1]>", "<a@[IPv6:::ffff:127.0.0.1]>", "<a@[10.0.0.1]>", "<a@[169.254.169.254]>",
		"<a@2130706433>", "<a@0x7f000001>", "<a@0x7f.0.0.1>", "<a@127.1>", "<a@127.0.0.1>", "<a@[fe80::1]>")
	refused("AD-01 names", "550 5.1.2", "", "<a@localhost>", "<a@LOCALHOST>", "<root@mail>")
	refused("AD-02 addresses", "501 5.1.3", "", "<abc>", "<a@@inbox.test>", "<a@b@inbox.test>", "<.a@inbox.test>", "<a.@inbox.test>", "<a..b@inbox.test>",
		"<"+strings.Repeat("x", 65)+"@inbox.test>", "<a@"+strings.Repeat("abc.", 63)+"test>", "<a@-inbox.test>", "<a@inbox-.test>", "<a@in_box.test>",
		"<a@inbox.test:25>", "<a@inbox.test.>", "<a@xn--.test>", "<a@xn--zzzzzzzzz99999.test>", "<a@"+strings.Repeat("x", 64)+".test>",
		"<a@inbox.test", "a@inbox.test>", "<a@inbox.test>>", "<a@inbox.test>junk", "<a b@inbox.test>", "<\"a@inbox.test>", "<a@inbox..test>", "<>", "")
	refused("AD-02 parameters", "501 5.5.4", "", "<a@inbox.test> NOTIFY=X", "<a@inbox.test> NOTIFY=NEVER,SUCCESS", "<a@inbox.test> ORCPT=x", "<a@inbox.test> ORCPT=rfc822;+zz",
		"<a@inbox.test> NOTIFY=NEVER NOTIFY=NEVER")
	refused("AD-03", "501 5.1.3", "", "<@relay.test:a@inbox.test>", "<@a.test,@b.test:c@inbox.test>", "<a%other.test@inbox.test>", "<other.test!a@inbox.test>", `<"a%other.test"@inbox.test>`)
	refused("AD-04 without SMTPUTF8", "553 5.6.7", "", "<ü@inbox.test>", "<a@bücher.test>")
	refused("AD-04 with SMTPUTF8", "501 5.1.3", " SMTPUTF8", "<\xff@inbox.test>", "<a\xc0\xafb@inbox.test>", "<a\xed\xa0\x80b@inbox.test>", "<a\u202eb@inbox.test>",
		"<a\u2067b@inbox.test>", "<a\u0085b@inbox.test>", "<a@in\u202ebox.test>", "<a@inbox\u3002test>")
	t.Run("AD-04", func(t *testing.T) {
		t.Parallel()
		w := start(t, nil)
		c := w.login()
		c.cmd("MAIL FROM:<ä@acme.test>", "553 5.6.7")
		c.cmd("MAIL FROM:<\xff@acme.test> SMTPUTF8", "501 5.1.7")
		c.cmd("MAIL FROM:<ä@acme.test> SMTPUTF8", "250")
		c.cmd("RCPT TO:<ü@bücher.test>", "250")
		c.cmd("RCPT TO:<a\x00b@inbox.test>", "500 5.5.2")
	})
	t.Run("AD-05", func(t *testing.T) {
		t.Parallel()
		w := start(t, func(c *smtpserver.Config) { c.Limits.Recipients = 100 })
		c := w.login()
		if r := c.cmd("EHLO x.test", "250"); !strings.Contains(r.Text, "\nLIMITS RCPTMAX=100 MAILMAX=10000") {
			t.Errorf("offers %q", r.Text)
		}
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		for range 100 {
			c.cmd("RCPT TO:<b@inbox.test>", "250")
		}
		for range 30 {
			c.cmd("RCPT TO:<b@inbox.test>", "452 4.5.3")
		}
		c.cmd("DATA", "354")
		c.cmd("x\r\n.", "250")
		if got := w.backend.kept(); len(got) != 1 || len(got[0].rcpts) != 100 {
			t.Errorf("%d messages", len(got))
		}
		// Nothing but refusals is no list.
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		for {
			c.send("RCPT TO:<bad>\r\n")
			if r := c.reply(); r.Code == 421 {
				break
			}
		}
	})
	t.Run("AD-06", func(t *testing.T) {
		t.Parallel()
		w := start(t, nil)
		c := w.login()
		c.cmd("MAIL FROM:<a@acme.test>", "250")
		want := []string{"${run{x}}@inbox.test", "`id`@inbox.test", "|cmd@inbox.test", `"../../x"@inbox.test`, `"'; DROP TABLE m;--"@inbox.test`, `"$(id)"@inbox.test`, `"{{.}}"@inbox.test`}
		for _, a := range want {
			c.cmd("RCPT TO:<"+a+">", "250 2.1.5 Recipient address accepted")
		}
		c.cmd("RCPT TO:<../../x@inbox.test>", "501 5.1.3")
		c.cmd("RCPT TO:<$(id)@inbox.test>", "501 5.1.3")
		c.cmd("DATA", "354")
		c.cmd("x\r\n.", "250")
		if got := w.backend.kept(); strings.Join(got[0].rcpts, " ") != strings.Join(want, " ") {
			t.Errorf("kept %q", got[0].rcpts)
		}
	})
	t.Run("quoted local parts", func(t *testing.T) {
		t.Parallel()
		w := start(t, nil)
		c := w.login()
		c.cmd(`MAIL FROM:<"x> SIZE=1 "@acme.test> SIZE=5`, "250")
		c.cmd(`RCPT TO:<"v@evil.test> NOTIFY=NEVER"@inbox.test>`, "250")
		c.cmd("DATA", "354")
		c.cmd("x\r\n.", "250")
		if got := w.backend.kept(); got[0].from != `"x> SIZE=1 "@acme.test` || got[0].rcpts[0] != `"v@evil.test> NOTIFY=NEVER"@inbox.test` {
			t.Errorf("kept %q", got)
		}
	})
}
