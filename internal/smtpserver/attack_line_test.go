package smtpserver_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/smtp"
)

// TestFRCommands holds the rows of FR that are about command lines.
func TestFRCommands(t *testing.T) {
	t.Parallel()
	run := func(id string, f func(t *testing.T, w *world, c *client)) {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			f(t, w, w.login())
		})
	}
	run("FR-28", func(t *testing.T, w *world, c *client) {
		c.send("MAIL FROM:<a@acme.test>\nRCPT TO:<b@inbox.test>\r\nNOOP\r\n")
		c.expect("500 5.5.2")
		c.gone()
		if w.backend.count("mail") > 0 {
			t.Errorf("a line ended by LF ran: %q", w.backend.log())
		}
	})
	run("FR-29", func(t *testing.T, w *world, c *client) {
		c.cmd("NOOP\rMAIL FROM:<a@acme.test>", "501 5.5.2")
		c.cmd("MAIL FROM:<a@acme.test>\r", "501 5.5.2")
		c.alive()
		if w.backend.count("mail") > 0 {
			t.Errorf("a line with CR ran: %q", w.backend.log())
		}
	})
	run("FR-30", func(t *testing.T, w *world, c *client) {
		c.cmd("NO\x00OP", "500 5.5.2")
		c.cmd("MAIL FROM:<a@acme.test>\x00", "500 5.5.2")
		c.alive()
		if w.backend.count("mail") > 0 {
			t.Errorf("a line with NUL ran: %q", w.backend.log())
		}
	})
	run("FR-31", func(t *testing.T, w *world, c *client) {
		for _, at := range []int{4097, 8192, 12288, 16384, 65536} {
			c.cmd(strings.Repeat("x", at)+"MAIL FROM:<a@acme.test>", "500 5.5.2")
		}
		c.cmd("NOOP "+strings.Repeat("x", 4096), "500 5.5.2")
		c.cmd("MAIL FROM:<a@acme.test> X="+strings.Repeat("x", 4096), "500 5.5.2")
		for _, at := range []int{512, 1024, 2048} { // these fit; they are no command either
			c.cmd(strings.Repeat("x", at)+"MAIL FROM:<a@acme.test>", "500 5.5.1")
		}
		c.alive()
		if w.backend.count("mail") > 0 {
			t.Errorf("a tail ran: %q", w.backend.log())
		}
	})
	run("FR-32", func(t *testing.T, w *world, c *client) {
		block := strings.Repeat("x", 64<<10)
		for n := 0; n < 16; n++ {
			if _, err := c.conn.Write([]byte(block)); err != nil {
				break
			}
		}
		c.expect("421 4.7.0")
		c.gone()
	})
	run("FR-33", func(t *testing.T, w *world, c *client) {
		c.cmd("\xff\xfe\xfd", "501 5.5.2")
		c.cmd("EHLO \xff", "501 5.5.2")
		c.cmd("ÜBER", "500 5.5.1")
		c.alive()
	})
	run("FR-37", func(t *testing.T, w *world, c *client) {
		for _, v := range []string{"XCLIENT ADDR=192.0.2.1", "XFORWARD NAME=x", "ETRN acme.test", "TURN", "DEBUG", "WIZ", "XEXCH50 1 2", "SEND FROM:<a@acme.test>", "STARTTLSX", "MAILX", ""} {
			c.cmd(v, "500 5.5.1")
		}
		c.alive()
	})
	run("FR-40", func(t *testing.T, w *world, c *client) {
		c.send("QUIT\r\nMAIL FROM:<a@acme.test>\r\nNOOP\r\n")
		c.expect("221 2.0.0 See you later")
		c.gone()
		if w.backend.count("mail") > 0 {
			t.Errorf("a command after QUIT ran: %q", w.backend.log())
		}
	})
	run("FR-41", func(t *testing.T, w *world, c *client) {
		w.backend.onRcpt = func(a smtp.Address) error {
			if a.Local() == "bad" {
				return smtp.R(550, 5, 1, 1, "No such user")
			}
			return nil
		}
		c.send("MAIL FROM:<a@acme.test>\r\nRCPT TO:<x@inbox.test>\r\nRCPT TO:<bad@inbox.test>\r\nRCPT TO:<y@inbox.test>\r\nDATA\r\n")
		for _, want := range []string{"250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "354"} {
			c.expect(want)
		}
		c.send("a\r\n.\r\nMAIL FROM:<a@acme.test>\r\nRCPT TO:<z@inbox.test>\r\n")
		for _, want := range []string{"250 2.0.0 Ok: queued", "250 2.1.0", "250 2.1.5"} {
			c.expect(want)
		}
		if got := w.backend.kept(); len(got) != 1 || strings.Join(got[0].rcpts, " ") != "x@inbox.test y@inbox.test" {
			t.Errorf("kept %q", got)
		}
	})
	run("FR-42", testBadArguments)
	run("FR-43", func(t *testing.T, w *world, c *client) {
		c.envelope()
		for _, v := range []string{"DATA now", "QUIT x", "RSET x"} {
			c.cmd(v, "501 5.5.4")
		}
		c.cmd("RCPT TO:<c@inbox.test>", "250") // the transaction is still there
		c.cmd("QUIT ", "221")                  // RFC 5321 §4.1.1: trailing white space is tolerated
	})
	run("FR-45", func(t *testing.T, w *world, c *client) {
		for arg, want := range map[string]string{
			"SIZE=-1": "501 5.5.4", "SIZE=99999999999999999999999999": "552 5.3.4", "BODY=NOPE": "501 5.5.4", "SIZE=1 SIZE=2": "501 5.5.4",
			"HOLDFOR=60": "555 5.5.4", "X-ODD": "555 5.5.4", "REQUIRETLS": "555 5.5.4", "BODY=BINARYMIME": "555 5.5.4", "=": "501 5.5.4",
		} {
			c.cmd("MAIL FROM:<a@acme.test> "+arg, want)
		}
		c.cmd("MAIL FROM:<a@acme.test> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x AUTH=<>", "250")
		c.cmd("RCPT TO:<b@inbox.test> NOTIFY=NEVER,DELAY", "501 5.5.4")
		c.cmd("RCPT TO:<b@inbox.test> ORCPT=x", "501 5.5.4")
		c.cmd("RCPT TO:<b@inbox.test> X=1", "555 5.5.4")
		c.cmd("RCPT TO:<b@inbox.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@inbox.test", "250")
	})
	run("FR-48", func(t *testing.T, w *world, c *client) {
		w.backend.onMail = func(a smtp.Address, _ smtp.MailParams) error {
			return smtp.R(550, 5, 7, 1, "no "+a.String()+" \x1b[31m\r\x00 ünd")
		}
		c.send("MAIL FROM:<ü@acme.test> SMTPUTF8\r\n")
		line, err := c.br.ReadString('\n')
		if err != nil || line != "550 5.7.1 no ??@acme.test ?[31m?? ??nd\r\n" {
			t.Errorf("%q, %v", line, err)
		}
		c.cmd("VRFY a\x1b[31m", "252 2.5.0 Cannot verify; send some mail and see")
		c.alive()
	})
	t.Run("FR-34", testHTTP)
	t.Run("FR-35", testWrongProtocol)
	t.Run("FR-36", func(t *testing.T) {
		t.Parallel()
		w := start(t, nil)
		c := w.greeted()
		c.cmd("PROXY TCP4 192.0.2.1 192.0.2.2 1 2", "500 5.5.1")
		c.cmd("EHLO x.test", "250")
		if p := w.backend.seen()[0]; p.Remote.Addr().String() != "127.0.0.1" {
			t.Errorf("peer is %v", p.Remote)
		}
	})
}

func testBadArguments(t *testing.T, w *world, c *client) {
	for _, tt := range []struct{ line, want string }{
		{"EHLO \x07", "501 5.5.2"}, {"EHLO a\tb", "501 5.5.2"}, {"EHLO", "501 5.5.4"}, {"EHLO a b", "501 5.5.4"}, {"EHLO <x>", "501 5.5.4"},
		{"MAIL FROM:<a\x07@acme.test>", "501 5.1.7"}, {"MAIL FROM:<a@acme.test", "501 5.1.7"}, {"MAIL FROM:a@acme.test>", "501 5.1.7"},
		{"MAIL FROM:<;for i in 0 1 2 3 4 5;do read r;done;sh;exit 0;@acme.test>", "501 5.1.7"}, {"MAIL a@acme.test", "501 5.5.4"}, {"MAIL", "501 5.5.4"},
		{"MAIL FROM:<a@>", "501 5.1.7"}, {"MAIL FROM:<@acme.test>", "501 5.1.7"},
	} {
		r := c.cmd(tt.line, tt.want)
		if strings.ContainsAny(r.Text, "\x07\t") {
			t.Errorf("%q is echoed: %q", tt.line, r.Text)
		}
	}
	c.cmd("MAIL FROM:<a@acme.test>", "250")
	for _, line := range []string{"RCPT TO:<b\x07@inbox.test>", "RCPT TO:<b@inbox.test", "RCPT TO:<<b@inbox.test>>", "RCPT TO:<>", "RCPT TO:<b@>"} {
		c.cmd(line, "501 5.1.3")
	}
	if w.backend.count("rcpt") > 0 || w.backend.count("mail") != 1 {
		t.Errorf("a bad argument reached the backend: %q", w.backend.log())
	}
}

func testHTTP(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"GET", "POST", "put", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI"} {
		w := start(t, nil)
		c := w.greeted()
		c.send(verb + " / HTTP/1.1\r\nHost: mail.postern.test\r\n\r\nEHLO x.test\r\nMAIL FROM:<a@acme.test>\r\n")
		c.expect("421 4.7.0")
		c.gone()
		if w.backend.count("helo") > 0 {
			t.Errorf("%s: lines of the request ran: %q", verb, w.backend.log())
		}
	}
}

func testWrongProtocol(t *testing.T) {
	t.Parallel()
	t.Run("ClientHello in plain", func(t *testing.T) {
		w := start(t, nil)
		c := w.greeted()
		c.send("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n")
		c.expect("500 5.5.2")
		c.gone()
		w.greeted() // the server lives
	})
	for name, octets := range map[string]string{"plain text": "EHLO x.test\r\nNOOP\r\n", "garbage": "\x00\xff\x13\x37\r\n", "HTTP": "GET / HTTP/1.0\r\n\r\n"} {
		t.Run(name+" on implicit TLS", func(t *testing.T) {
			w := start(t, implicit)
			conn, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			conn.Write([]byte(octets))
			var buf [512]byte
			n, _ := conn.Read(buf[:])
			if n > 0 && buf[0] != 0x15 { // anything but a TLS alert
				t.Errorf("said %q", buf[:n])
			}
			if w.backend.count("helo") > 0 {
				t.Error("plain text ran")
			}
		})
	}
}
