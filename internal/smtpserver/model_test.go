package smtpserver_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/internal/smtp"
	"postern/internal/smtpserver"
)

// model is what a submission session under TLS should do, written as plainly as
// possible.
type model struct {
	helo, login bool
	fails       int
	mail        bool
	rcpts       int
	chunks      bool
	text        string // of the chunks so far
	kept        []string
}

// reset forgets the transaction.
func (m *model) reset() { m.mail, m.rcpts, m.chunks, m.text = false, 0, false, "" }

// may is the answer to any command of a transaction that is not allowed yet; 0:
// it is.
func (m *model) may() int {
	switch {
	case !m.helo:
		return 503
	case !m.login:
		return 530
	}
	return 0
}

func (m *model) mailCode() int {
	if code := m.may(); code != 0 {
		return code
	}
	if m.mail {
		return 503
	}
	m.mail = true
	return 250
}

func (m *model) rcptCode(good bool) int {
	switch code := m.may(); {
	case code != 0:
		return code
	case !m.mail, m.chunks:
		return 503
	case !good:
		return 550
	}
	m.rcpts++
	return 250
}

func (m *model) dataCode() int {
	switch code := m.may(); {
	case code != 0:
		return code
	case !m.mail, m.chunks, m.rcpts == 0:
		return 503
	}
	return 354
}

func (m *model) endCode(text string) int {
	m.reset()
	if strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") {
		return 554
	}
	m.kept = append(m.kept, text)
	return 250
}

func (m *model) chunkCode(text string, last bool) int {
	switch code := m.may(); {
	case code != 0:
		return code
	case !m.mail:
		return 503
	case m.rcpts == 0:
		m.reset()
		return 503
	}
	m.chunks = true
	m.text += text
	if last || strings.Contains(strings.ReplaceAll(m.text, "\r\n", ""), "\n") {
		return m.endCode(m.text)
	}
	return 250
}

func (m *model) authCode(good bool) int {
	switch {
	case !m.helo, m.login, m.mail:
		return 503
	case good:
		m.login = true
		return 235
	}
	m.fails++
	return 535
}

// TestModel plays random sequences of commands, one at a time and in pipelined
// groups, and compares every reply code and every message with the model.
func TestModel(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *smtpserver.Config) {
		c.ImplicitTLS = true
		c.Limits.Errors, c.Limits.Commands = 1<<30, 1<<30
		c.Limits.AuthDelay = 1
	})
	w.backend.onRcpt = func(a smtp.Address) error {
		if a.Local() == "bad" {
			return smtp.R(550, 5, 1, 1, "No such user")
		}
		return nil
	}
	rapid.Check(t, func(rt *rapid.T) {
		c, err := w.tlsDial(clientTLS())
		if err != nil {
			rt.Fatal(err)
		}
		defer c.conn.Close()
		c.expect("220")
		before := len(w.backend.kept())
		m := &model{}
		var group strings.Builder
		var codes []int
		flush := func() {
			c.send(group.String())
			for i, want := range codes {
				if r := c.reply(); r.Code != want {
					rt.Fatalf("reply %d to %q is %v, want %d", i, group.String(), r, want)
				}
			}
			group.Reset()
			codes = nil
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			text, code := m.step(rt)
			group.WriteString(text)
			codes = append(codes, code)
			if strings.HasPrefix(text, "DATA") {
				flush()
				if code == 354 {
					body := rapid.SampledFrom([]string{"", "a\r\n", "a\nb\r\n", "x\r\n\r\ny\r\n"}).Draw(rt, "body")
					group.WriteString(body + ".\r\n")
					codes = append(codes, m.endCode(body))
				}
			}
			if rapid.IntRange(0, 2).Draw(rt, "flush") == 0 {
				flush()
			}
		}
		flush()
		c.cmd("QUIT", "221")
		var got []string
		for _, k := range w.backend.kept()[before:] {
			got = append(got, k.body)
		}
		if strings.Join(got, "|") != strings.Join(m.kept, "|") || len(got) != len(m.kept) {
			rt.Fatalf("kept %q, want %q", got, m.kept)
		}
	})
}

// step draws a command, and predicts its reply.
func (m *model) step(rt *rapid.T) (string, int) {
	ops := []string{"EHLO", "AUTH", "AUTH", "MAIL", "MAIL", "RCPT", "RCPT", "RCPT", "DATA", "DATA", "BDAT", "BDAT", "RSET", "NOOP", "VRFY", "STARTTLS", "bad RCPT", "junk"}
	if m.fails < 9 {
		ops = append(ops, "bad AUTH")
	}
	switch op := rapid.SampledFrom(ops).Draw(rt, "op"); op {
	case "EHLO":
		m.reset()
		m.helo = true
		return "EHLO client.test\r\n", 250
	case "AUTH":
		return "AUTH PLAIN " + plainLogin + "\r\n", m.authCode(true)
	case "bad AUTH":
		return "AUTH PLAIN " + b64("\x00u\x00x") + "\r\n", m.authCode(false)
	case "MAIL":
		return "MAIL FROM:<a@acme.test>\r\n", m.mailCode()
	case "RCPT":
		return "RCPT TO:<b@inbox.test>\r\n", m.rcptCode(true)
	case "bad RCPT":
		return "RCPT TO:<bad@inbox.test>\r\n", m.rcptCode(false)
	case "DATA":
		return "DATA\r\n", m.dataCode()
	case "BDAT":
		text := rapid.SampledFrom([]string{"", "c\r\n", "RSET\r\n.\r\n", "c\nd\r\n"}).Draw(rt, "chunk")
		last := rapid.Bool().Draw(rt, "last")
		return chunk(text, last), m.chunkCode(text, last)
	case "RSET":
		m.reset()
		return "RSET\r\n", 250
	case "VRFY":
		return "VRFY x\r\n", 252
	case "STARTTLS":
		return "STARTTLS\r\n", 503
	case "junk":
		return "JUNK\r\n", 500
	}
	return "NOOP\r\n", 250
}
