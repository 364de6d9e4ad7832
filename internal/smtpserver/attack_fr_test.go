package smtpserver_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// tail is what a smuggler wants to be run.
const tail = "MAIL FROM:<forged@victim.test>\r\nRCPT TO:<target@inbox.test>\r\nDATA\r\nforged\r\n.\r\n"

// refusedText sends data with something wrong in it and expects one refusal, and
// that nothing was kept or run.
func refusedText(t *testing.T, data string) {
	t.Helper()
	w := start(t, nil)
	c := w.login().inData()
	c.send(data)
	c.send("\r\n.\r\n") // the real end
	c.expect("554 5.6.0")
	c.alive()
	if got := w.backend.kept(); len(got) > 0 {
		t.Errorf("kept: %q", got)
	}
	if n := w.backend.count("mail"); n != 1 {
		t.Errorf("%d MAIL commands ran: %q", n, w.backend.log())
	}
}

// acceptedText sends data and expects exactly one message with the content.
func acceptedText(t *testing.T, data, want string) {
	t.Helper()
	w := start(t, nil)
	c := w.login().inData()
	c.send(data)
	c.expect("250 2.0.0 Ok: queued as ")
	c.alive()
	if got := w.backend.kept(); len(got) != 1 || got[0].body != want {
		t.Errorf("kept %q, want one of %q", got, want)
	}
}

func TestFR(t *testing.T) {
	t.Parallel()
	// Things that some software takes for the end of the data.
	for id, seq := range map[string]string{
		"FR-01 LF dot LF": "\n.\n", "FR-02 LF dot CRLF": "\n.\r\n", "FR-03 CRLF dot LF": "\r\n.\n",
		"FR-04 CR dot CR": "\r.\r", "FR-05 CR dot CRLF": "\r.\r\n", "FR-06 CRLF dot CR": "\r\n.\r",
		"FR-07 CR dot LF": "\r.\n", "FR-08 LF dot CR": "\n.\r", "FR-09 NUL before dot": "\r\n\x00.\r\n",
		"FR-10 NUL after dot": "\r\n.\x00\r\n", "FR-11 CR CRLF dot CR CRLF": "\r\r\n.\r\r\n", "FR-12 CRLF dot CR CRLF": "\r\n.\r\r\n",
		"FR-21 bare LF": "b\nc", "FR-22 bare CR": "b\rc", "FR-24 NUL": "b\x00c",
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			refusedText(t, "Subject: x\r\n\r\na"+seq+strings.ReplaceAll(tail, "\r\n.\r\n", "\r\n"))
		})
	}
	for id, first := range map[string]string{"FR-15 dot LF first": ".\n", "FR-15 dot CR first": ".\r", "FR-16 LF dot CRLF first": "\n.\r\n"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			refusedText(t, first+strings.ReplaceAll(tail, "\r\n.\r\n", "\r\n"))
		})
	}
	for id, header := range map[string]string{"FR-23 LF in header": "X: 1\nFrom: <forged@victim.test>\r\n\r\n", "FR-23 CR in header": "X: 1\rFrom: <forged@victim.test>\r\n\r\n"} {
		t.Run(id, func(t *testing.T) { t.Parallel(); refusedText(t, header) })
	}
	t.Run("FR-24 NUL in header", func(t *testing.T) { t.Parallel(); refusedText(t, "X: a\x00b\r\n\r\n") })
	t.Run("FR-13", func(t *testing.T) {
		t.Parallel()
		acceptedText(t, "a\r\n. \r\n.\t\r\nb\r\n.\r\n", "a\r\n \r\n\t\r\nb\r\n")
	})
	t.Run("FR-14", func(t *testing.T) {
		t.Parallel()
		for _, sep := range []string{"\x0b", "\x0c", "\u0085", "\u2028", "\u2029", "\x1c", "\x1e"} {
			acceptedText(t, "a"+sep+"."+sep+"b\r\n.\r\n", "a"+sep+"."+sep+"b\r\n")
		}
	})
	t.Run("FR-25", func(t *testing.T) {
		t.Parallel()
		acceptedText(t, "..x\r\n..\r\n...x\r\n....\r\n.\r\n", ".x\r\n.\r\n..x\r\n...\r\n")
	})
	t.Run("FR-27", func(t *testing.T) {
		t.Parallel()
		acceptedText(t, "\xe9\xff\x80 \xfe\r\n.\r\n", "\xe9\xff\x80 \xfe\r\n")
	})
	t.Run("FR-17", testOctetByOctet)
	t.Run("FR-18", func(t *testing.T) { t.Parallel(); testBoundaries(t, "x.\r\n", "x.\r\n") })
	t.Run("FR-19", func(t *testing.T) { t.Parallel(); testBoundaries(t, "\r\n", "\r\n") })
	t.Run("FR-20", testTooBigWithTail)
	t.Run("FR-26", testLongTextLine)
	t.Run("FR-38", testCutOff)
	t.Run("FR-39", testBlindData)
	t.Run("FR-44", testSize)
}

func testOctetByOctet(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	c := w.login().inData()
	for _, b := range []byte("a\r\n.\r\n") {
		c.send(string(b)) // one segment and one TLS record each
	}
	c.expect("250 2.0.0")
	c.alive()
	if got := w.backend.kept(); len(got) != 1 || got[0].body != "a\r\n" {
		t.Errorf("kept %q", got)
	}
}

// testBoundaries puts a sequence at every place around the sizes that buffers
// have, then the end of the data.
func testBoundaries(t *testing.T, seq, want string) {
	w := start(t, nil)
	c := w.login()
	for _, size := range []int{1 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
		for off := -4; off <= 2; off++ {
			fill := strings.Repeat("x", size+off)
			c.send("MAIL FROM:<a@acme.test>\r\nRCPT TO:<b@inbox.test>\r\nDATA\r\n")
			c.expect("250")
			c.expect("250")
			c.expect("354")
			c.send(fill + seq + ".\r\nNOOP\r\n")
			c.expect("250 2.0.0 Ok: queued")
			c.expect("250 2.0.0 Ok")
			if got := w.backend.kept(); got[len(got)-1].body != fill+want {
				t.Fatalf("size %d offset %d: %d octets kept", size, off, len(got[len(got)-1].body))
			}
		}
	}
}

func testTooBigWithTail(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.Limits.MessageSize = 100000 })
	c := w.login().inData()
	c.send(strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1001))
	c.send("x\n.\n" + strings.ReplaceAll(tail, "\r\n.\r\n", "\r\n") + "\r\n.\r\n")
	c.expect("552 5.3.4")
	c.alive()
	if n := w.backend.count("mail"); n != 1 || len(w.backend.kept()) > 0 {
		t.Errorf("the discarded part ran: %q", w.backend.log())
	}
	// And what never ends is not read for ever.
	c = w.login().inData()
	block := strings.Repeat("y", 1<<20)
	for range 200 {
		if _, err := c.conn.Write([]byte(block)); err != nil {
			return
		}
	}
	t.Error("200 MiB of a refused message were taken")
}

func testLongTextLine(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.Limits.TextLine = 998 })
	c := w.login().inData()
	c.send(strings.Repeat("x", 998) + "\r\n.\r\n")
	c.expect("250 2.0.0")
	c.inData()
	c.send(strings.Repeat("x", 998) + "." + "\r\nNOOP\r\n.\r\n")
	c.expect("554 5.6.0")
	c.alive()
	// The default takes long lines: the backend decides.
	long := strings.Repeat("x", 100000) + "\r\n"
	acceptedText(t, long+".\r\n", long)
}

func testCutOff(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r"} {
		for name, hang := range map[string]func(net.Conn){
			"FIN": func(c net.Conn) { c.(interface{ NetConn() net.Conn }).NetConn().Close() },
			"RST": func(c net.Conn) {
				tcp := c.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn)
				tcp.SetLinger(0)
				tcp.Close()
			},
			"close_notify": func(c net.Conn) { c.Close() },
		} {
			t.Run(fmt.Sprintf("%q_%s", part, name), func(t *testing.T) {
				w := start(t, nil)
				c := w.login().inData()
				c.send(part)
				hang(c.conn)
				eventually(t, "session closed", func() bool { return w.backend.count("close") == 1 })
				if len(w.backend.kept()) > 0 || w.backend.count("commit") > 0 || w.backend.count("abort") != 1 {
					t.Errorf("after a cut: %q", w.backend.log())
				}
			})
		}
	}
}

func testBlindData(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]time.Duration{"one_record": 0, "two_records": time.Nanosecond} {
		t.Run(name, func(t *testing.T) {
			w := start(t, nil)
			w.backend.onRcpt = func(smtp.Address) error { return smtp.R(550, 5, 1, 1, "no") }
			c := w.login()
			head, body := "MAIL FROM:<a@acme.test>\r\nRCPT TO:<b@inbox.test>\r\nDATA\r\n", "Subject: x\r\n\r\nRSET\r\n"+tail
			if second == 0 {
				c.send(head + body)
			} else {
				c.send(head)
				c.send(body)
			}
			c.expect("250 2.1.0")
			c.expect("550 5.1.1")
			c.expect("503 5.5.1")
			c.expect("554 5.5.0")
			c.gone()
			if n := w.backend.count("mail"); n != 1 || len(w.backend.kept()) > 0 {
				t.Errorf("the body ran: %q", w.backend.log())
			}
		})
	}
}

func testSize(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) { c.Limits.MessageSize = 10000 })
	c := w.login()
	c.cmd("MAIL FROM:<a@acme.test> SIZE=10001", "552 5.3.4")
	c.cmd("RCPT TO:<b@inbox.test>", "503 5.5.1")
	c.cmd("MAIL FROM:<a@acme.test> SIZE=10000", "250")
	c.cmd("RSET", "250")
	for _, tt := range []struct {
		size int
		want string
	}{{9999, "250 2.0.0"}, {10000, "250 2.0.0"}, {10001, "552 5.3.4"}, {50000, "552 5.3.4"}} {
		c.inData()
		c.send(strings.Repeat("x", tt.size-2) + "\r\n.\r\nNOOP\r\n")
		c.expect(tt.want)
		c.expect("250 2.0.0 Ok")
	}
	if n := len(w.backend.kept()); n != 2 {
		t.Errorf("%d messages kept", n)
	}
}
