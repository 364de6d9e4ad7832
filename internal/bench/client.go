package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// refusal is a reply that ends a message but not the session.
type refusal struct{ stage, reply string }

func (r *refusal) Error() string { return r.stage + ": " + r.reply }

// session is one connection that is ready for messages.
type session struct {
	conf     *Config
	conn     net.Conn
	in       *bufio.Reader
	pipeline bool
	out      []byte // one message's octets, built anew each time in place
}

// maxReplyLines bounds a reply of a server that has gone mad.
const maxReplyLines = 200

// dial opens a session: connect, EHLO, TLS, EHLO, AUTH.
func dial(ctx context.Context, conf *Config) (*session, error) {
	d := net.Dialer{Timeout: conf.Timeout}
	conn, err := d.DialContext(ctx, "tcp", conf.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	s := &session{conf: conf, conn: conn}
	if err := s.greet(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// greet does all that comes before the first message.
func (s *session) greet(ctx context.Context) error {
	if s.conf.TLS == Implicit {
		if err := s.startTLS(ctx); err != nil {
			return err
		}
	}
	s.in = bufio.NewReaderSize(s.conn, 4096)
	if err := s.expect("banner", 220); err != nil {
		return err
	}
	offered, err := s.ehlo()
	if err != nil {
		return err
	}
	if s.conf.TLS == StartTLS {
		if err := s.command("STARTTLS", "STARTTLS", 220); err != nil {
			return err
		}
		if s.in.Buffered() > 0 {
			return fmt.Errorf("STARTTLS: %d octets came before the handshake", s.in.Buffered())
		}
		if err := s.startTLS(ctx); err != nil {
			return err
		}
		s.in.Reset(s.conn)
		if offered, err = s.ehlo(); err != nil {
			return err
		}
	}
	s.pipeline = strings.Contains(offered, "\nPIPELINING\n") && !s.conf.Lockstep
	if s.conf.User == "" {
		return nil
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + s.conf.User + "\x00" + s.conf.Key))
	return s.command("AUTH", "AUTH PLAIN "+plain, 235)
}

func (s *session) startTLS(ctx context.Context) error {
	c := tls.Client(s.conn, s.conf.TLSConfig)
	ctx, cancel := context.WithTimeout(ctx, s.conf.Timeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	s.conn = c
	return nil
}

// ehlo returns what the server offers, one keyword a line, framed by \n.
func (s *session) ehlo() (string, error) {
	if err := s.write([]byte("EHLO bench.invalid\r\n")); err != nil {
		return "", fmt.Errorf("EHLO: %w", err)
	}
	code, text, err := s.reply()
	if err != nil {
		return "", fmt.Errorf("EHLO: %w", err)
	}
	if code != 250 {
		return "", fmt.Errorf("EHLO: %d %s", code, text)
	}
	return "\n" + strings.ToUpper(text) + "\n", nil
}

// command sends one line and wants one code.
func (s *session) command(stage, line string, want int) error {
	if err := s.write([]byte(line + "\r\n")); err != nil {
		return fmt.Errorf("%s: %w", stage, err)
	}
	return s.expect(stage, want)
}

// expect reads one reply. Another code than the wanted one ends the session.
func (s *session) expect(stage string, want int) error {
	code, text, err := s.reply()
	if err != nil {
		return fmt.Errorf("%s: %w", stage, err)
	}
	if code != want {
		return fmt.Errorf("%s: %d %s", stage, code, text)
	}
	return nil
}

// send hands in one message and returns the time from its end to the answer.
func (s *session) send(connection, message int) (time.Duration, error) {
	if err := s.envelope(); err != nil {
		return 0, err
	}
	s.compose(connection, message)
	if err := s.write(s.out); err != nil {
		return 0, fmt.Errorf("data: %w", err)
	}
	start := time.Now()
	code, text, err := s.reply()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("end of data: %w", err)
	}
	switch code {
	case 250:
		return took, nil
	case 421:
		return 0, fmt.Errorf("end of data: 421 %s", text)
	}
	return 0, &refusal{"end of data", strconv.Itoa(code) + " " + text}
}

// envelope sends MAIL, RCPT and DATA, in one write where the server takes that.
func (s *session) envelope() error {
	steps := []struct {
		stage, line string
		want        int
	}{
		{"MAIL", "MAIL FROM:<" + s.conf.From + "> SIZE=" + strconv.Itoa(s.conf.Size) + "\r\n", 250},
		{"RCPT", "RCPT TO:<" + s.conf.To + ">\r\n", 250},
		{"DATA", "DATA\r\n", 354},
	}
	if s.pipeline {
		if err := s.write([]byte(steps[0].line + steps[1].line + steps[2].line)); err != nil {
			return fmt.Errorf("MAIL: %w", err)
		}
	}
	var bad error // the first refusal
	for _, st := range steps {
		if !s.pipeline {
			if err := s.write([]byte(st.line)); err != nil {
				return fmt.Errorf("%s: %w", st.stage, err)
			}
		}
		code, text, err := s.reply()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", st.stage, err)
		case code == 421:
			return fmt.Errorf("%s: 421 %s", st.stage, text)
		case code == 354 && bad != nil:
			// It waits for data that nobody asked it to take.
			return fmt.Errorf("%s: 354, although %w", st.stage, bad)
		case code != st.want && bad == nil:
			bad = &refusal{st.stage, strconv.Itoa(code) + " " + text}
			if !s.pipeline {
				return s.reset(bad)
			}
		}
	}
	if bad != nil {
		return s.reset(bad)
	}
	return nil
}

// reset gets the session ready for the next message after a refusal.
func (s *session) reset(bad error) error {
	if err := s.command("RSET", "RSET", 250); err != nil {
		return err
	}
	return bad
}

// bodyLine is one line of the body: 76 characters and CRLF.
var bodyLine = []byte("the quick brown fox jumps over the lazy dog while 0123456789 sheep watch it\r\n")

// compose builds header, body and the end of the data: Size octets and ".\r\n".
func (s *session) compose(connection, message int) {
	b := s.out[:0]
	b = fmt.Appendf(b, "From: <%s>\r\nTo: <%s>\r\nSubject: load %d-%d\r\nDate: %s\r\nMessage-ID: <%d.%d.%d@bench.invalid>\r\n",
		s.conf.From, s.conf.To, connection, message, time.Now().Format(time.RFC1123Z), time.Now().UnixNano(), connection, message)
	b = append(b, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"...)
	for len(b)+len(bodyLine) <= s.conf.Size-2 {
		b = append(b, bodyLine...)
	}
	if rest := s.conf.Size - 2 - len(b); rest > 0 {
		b = append(b, bytes.Repeat([]byte("x"), rest)...)
	}
	if !bytes.HasSuffix(b, []byte("\r\n")) || len(b) < s.conf.Size {
		b = append(b, "\r\n"...)
	}
	s.out = append(b, ".\r\n"...)
}

func (s *session) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.conf.Timeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// reply reads one reply; its lines are joined with \n.
func (s *session) reply() (code int, text string, err error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.conf.Timeout)); err != nil {
		return 0, "", err
	}
	for n := 0; ; n++ {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return 0, "", err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) < 3 || n >= maxReplyLines {
			return 0, "", fmt.Errorf("not a reply: %.60q", line)
		}
		code, err = strconv.Atoi(string(line[:3]))
		if err != nil || code < 200 || code > 599 {
			return 0, "", fmt.Errorf("not a reply: %.60q", line)
		}
		if len(line) == 3 {
			return code, text, nil
		}
		if text != "" {
			text += "\n"
		}
		text += string(line[4:])
		if line[3] != '-' {
			return code, text, nil
		}
	}
}

// quit ends the session in order; what the server says to it is of no interest.
func (s *session) quit() {
	if s.write([]byte("QUIT\r\n")) == nil {
		_, _, _ = s.reply()
	}
	s.close()
}

func (s *session) close() { _ = s.conn.Close() }
