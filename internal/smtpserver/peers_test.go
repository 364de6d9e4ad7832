package smtpserver_test

import (
	"bytes"
	"errors"
	"io"
	netsmtp "net/smtp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/smtpserver"
)

// The bodies that foreign clients send, in canonical form.
var peerBodies = []string{
	"Subject: x\r\n\r\nhello\r\n",
	"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
	"Subject: 8bit\r\n\r\n\xff\xfe\r\n",
	"Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 20000),
}

// TestGoSMTPClient sends through the client of a second implementation.
func TestGoSMTPClient(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*smtpserver.Config){"STARTTLS": nil, "implicit TLS": implicit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, edit)
			dial := gosmtp.DialStartTLS
			if edit != nil {
				dial = gosmtp.DialTLS
			}
			c, err := dial(w.addr, clientTLS())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, ext := range []string{"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN", "LIMITS", "AUTH"} {
				if ok, _ := c.Extension(ext); !ok {
					t.Errorf("%s is not offered", ext)
				}
			}
			bad := c.Auth(sasl.NewPlainClient("", testUser, "wrong"))
			if e, ok := errors.AsType[*gosmtp.SMTPError](bad); !ok || e.Code != 535 || e.EnhancedCode != (gosmtp.EnhancedCode{5, 7, 8}) {
				t.Errorf("wrong password: %v", bad)
			}
			if err := c.Auth(sasl.NewLoginClient(testUser, testSecret)); err != nil {
				t.Fatal(err)
			}
			for _, body := range peerBodies {
				opts := &gosmtp.MailOptions{Body: gosmtp.Body8BitMIME, UTF8: true, Return: gosmtp.DSNReturnFull, EnvelopeID: "id=1"}
				if err := c.Mail("ä@acme.test", opts); err != nil {
					t.Fatal(err)
				}
				rcpt := &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifyFailure}, OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: "b+c@inbox.test"}
				if err := c.Rcpt("b@inbox.test", rcpt); err != nil {
					t.Fatal(err)
				}
				wc, err := c.Data()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(wc, strings.NewReader(body)); err != nil {
					t.Fatal(err)
				}
				if err := wc.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Quit(); err != nil {
				t.Error(err)
			}
			checkBodies(t, w)
		})
	}
}

// TestNetSMTPClient sends through the client of the standard library.
func TestNetSMTPClient(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	for _, body := range peerBodies {
		c, err := netsmtp.Dial(w.addr)
		if err != nil {
			t.Fatal(err)
		}
		steps := []error{
			c.Hello("client.test"), c.StartTLS(clientTLS()),
			c.Auth(netsmtp.PlainAuth("", testUser, testSecret, "127.0.0.1")),
			c.Mail("a@acme.test"), c.Rcpt("b@inbox.test"),
		}
		for i, err := range steps {
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		wc, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wc.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(wc.Close(), c.Noop(), c.Reset(), c.Quit()); err != nil {
			t.Error(err)
		}
	}
	checkBodies(t, w)
}

func checkBodies(t *testing.T, w *world) {
	t.Helper()
	var got []string
	for _, m := range w.backend.kept() {
		got = append(got, m.body)
	}
	if !slices.Equal(got, peerBodies) {
		t.Errorf("%d messages kept, not the %d that were sent", len(got), len(peerBodies))
	}
}

// TestOneWrite: the replies to a pipelined group leave in one write, and so one
// TLS record (RFC 2920 §3.2).
func TestOneWrite(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.Role = smtpserver.RoleMX })
	c := w.greeted()
	read := func() []byte {
		var b [8192]byte
		n, err := c.conn.Read(b[:])
		if err != nil {
			t.Fatal(err)
		}
		return b[:n]
	}
	c.send("EHLO x.test\r\n")
	if got := read(); bytes.Count(got, []byte("\r\n")) != 10 {
		t.Errorf("EHLO came as %q", got)
	}
	c.send("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRSET\r\nNOOP\r\n")
	if got := read(); bytes.Count(got, []byte("\r\n")) != 5 {
		t.Errorf("a group of five came as %q", got)
	}
	// And none is held back while more input is waited for.
	c.send("NOOP\r\nNO")
	if got := read(); string(got) != "250 2.0.0 Ok\r\n" {
		t.Errorf("before half a command: %q", got)
	}
	c.send("OP\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nhalf a mess")
	if got := read(); !bytes.HasSuffix(got, []byte("354 Continue\r\n")) || bytes.Count(got, []byte("\r\n")) != 4 {
		t.Errorf("before half a message: %q", got)
	}
}
