package fakemx

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// session is one connection. Only its own goroutine touches it.
type session struct {
	s     *Server
	n     int
	raw   net.Conn // as accepted
	conn  net.Conn // raw, or the TLS connection over it
	in    *bufio.Reader
	tls   bool
	helo  string
	seen  map[Stage]int
	tx    *Transaction
	ended bool
	// abrupt: the connection is closed without draining it.
	abrupt bool
}

// Serve runs one session to its end and closes the connection.
func (s *Server) Serve(conn net.Conn) {
	ses := &session{s: s, raw: conn, conn: conn, in: bufio.NewReader(conn), seen: make(map[Stage]int)}
	s.mu.Lock()
	closed := s.closed
	ses.n = s.sessions
	s.sessions++
	s.lines = append(s.lines, nil)
	s.open[conn] = struct{}{}
	s.mu.Unlock()
	defer s.update(func() { delete(s.open, conn) })
	defer conn.Close()
	if closed {
		return
	}
	ses.answer(Banner, "", "220 "+s.config.Name+" ESMTP ready")
	for !ses.ended {
		line, err := ses.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.mu.Lock()
		s.lines[ses.n] = append(s.lines[ses.n], line)
		s.mu.Unlock()
		ses.command(line)
	}
}

// step asks the script.
func (c *session) step(stage Stage, line string) Step {
	n := c.seen[stage]
	c.seen[stage]++
	if c.s.config.Script == nil {
		return Step{}
	}
	return c.s.config.Script(Event{Session: c.n, Stage: stage, Line: line, N: n, TLS: c.tls})
}

// answer plays the step of a stage and reports the reply's first digit, 0 where
// the session ended.
func (c *session) answer(stage Stage, line, reply string) byte {
	return c.play(c.step(stage, line), reply)
}

func (c *session) play(step Step, reply string) byte {
	if step.Delay > 0 {
		time.Sleep(step.Delay)
	}
	if step.Stall {
		io.Copy(io.Discard, c.in)
		c.ended = true
		return 0
	}
	if step.Reply != "" {
		reply = strings.ReplaceAll(step.Reply, "\n", "\r\n")
	}
	out := reply + "\r\n"
	if step.Raw != "" {
		out = step.Raw
	}
	if (step.Close || step.Reset) && step.Reply == "" && step.Raw == "" {
		out = ""
	}
	if _, err := io.WriteString(c.conn, out+step.Extra); err != nil {
		c.ended = true
		return 0
	}
	if step.ends() {
		c.hangUp(step.Reset)
		return 0
	}
	return out[0]
}

// hangUp closes the connection. A plain close first says so to the other side
// and drains what it still sends, so that its last words are not lost to a
// reset; but not within a message, which is to run into the closed door.
func (c *session) hangUp(reset bool) {
	c.ended = true
	tcp, ok := c.raw.(*net.TCPConn)
	switch {
	case ok && reset:
		tcp.SetLinger(0)
	case ok && !c.abrupt:
		tcp.CloseWrite()
		tcp.SetReadDeadline(time.Now().Add(2 * time.Second))
		io.Copy(io.Discard, tcp)
	}
	c.raw.Close()
}

func (c *session) command(line string) {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		c.helo, c.tx = arg, nil
		c.answer(Ehlo, line, c.ehloReply())
	case "HELO":
		c.helo, c.tx = arg, nil
		c.answer(Helo, line, "250 "+c.s.config.Name)
	case "STARTTLS":
		c.startTLS(line)
	case "AUTH":
		c.answer(Auth, line, "235 2.7.0 Authentication successful")
	case "MAIL":
		c.mail(line, arg)
	case "RCPT":
		c.rcpt(line, arg)
	case "DATA":
		c.data(line)
	case "BDAT":
		c.bdat(line, arg)
	case "RSET":
		c.tx = nil
		c.answer(Rset, line, "250 2.0.0 Ok")
	case "QUIT":
		c.answer(Quit, line, "221 2.0.0 Bye")
		c.ended = true
	default:
		c.answer(Other, line, "500 5.5.1 Unknown command")
	}
}

func (c *session) ehloReply() string {
	lines := append([]string{c.s.config.Name}, c.s.config.Extensions...)
	if c.s.config.TLS != nil && !c.tls {
		lines = append(lines, "STARTTLS")
	}
	var b strings.Builder
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		} else {
			l += "\r\n"
		}
		b.WriteString("250" + sep + l)
	}
	return b.String()
}

func (c *session) startTLS(line string) {
	if c.s.config.TLS == nil && c.s.config.Script == nil {
		c.answer(StartTLS, line, "502 5.5.1 Not here")
		return
	}
	if c.answer(StartTLS, line, "220 2.0.0 Go ahead") != '2' {
		return
	}
	if step := c.step(Handshake, line); step != (Step{}) {
		c.play(step, "")
		c.ended = true
		return
	}
	t := tls.Server(c.raw, c.s.config.TLS)
	if err := t.Handshake(); err != nil {
		c.ended = true
		return
	}
	c.conn, c.in, c.tls, c.helo, c.tx = t, bufio.NewReader(t), true, "", nil
}

func (c *session) mail(line, arg string) {
	if c.tx != nil {
		c.answer(Mail, line, "503 5.5.1 Nested MAIL")
		return
	}
	if c.answer(Mail, line, "250 2.1.0 Ok") != '2' {
		return
	}
	c.tx = &Transaction{Session: c.n, TLS: c.tls, Helo: c.helo, Mail: arg}
	if a, err := netip.ParseAddrPort(c.raw.RemoteAddr().String()); err == nil {
		c.tx.Remote = a
	}
	c.s.update(func() { c.s.transactions = append(c.s.transactions, c.tx) })
}

func (c *session) rcpt(line, arg string) {
	if c.tx == nil {
		c.answer(Rcpt, line, "503 5.5.1 Need MAIL")
		return
	}
	if c.answer(Rcpt, line, "250 2.1.5 Ok") == '2' {
		c.s.update(func() { c.tx.Rcpt = append(c.tx.Rcpt, arg) })
	}
}

func (c *session) data(line string) {
	reply := "354 Go ahead"
	if c.tx == nil || len(c.tx.Rcpt) == 0 {
		reply = "503 5.5.1 No recipients"
	}
	if c.answer(Data, line, reply) != '3' {
		return
	}
	step := c.step(Body, "")
	if step != (Step{}) {
		if _, err := io.CopyN(io.Discard, c.in, int64(step.After)); err != nil {
			c.ended = true
			return
		}
		c.abrupt = true
		c.play(step, "421 4.3.2 Going away")
		c.abrupt = false
		if c.ended {
			return
		}
	}
	wire, err := c.readWire()
	if err != nil {
		c.ended = true
		return
	}
	tx := c.tx
	c.tx = nil
	if tx != nil {
		c.s.update(func() { tx.Wire, tx.Body, tx.Complete = wire, undot(wire), true })
	}
	ok := c.answer(End, "", "250 2.0.0 Ok: taken") == '2'
	if tx != nil {
		c.s.update(func() { tx.Accepted = ok })
	}
}

// readWire reads up to and including the line that is a single dot. Only
// CRLF ends a line.
func (c *session) readWire() ([]byte, error) {
	var wire []byte
	for {
		if c.s.config.SlowRead > 0 {
			time.Sleep(c.s.config.SlowRead)
		}
		b, err := c.in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return nil, err
		}
		wire = append(wire, b...)
		if bytes.Equal(wire, []byte(".\r\n")) || bytes.HasSuffix(wire, []byte("\r\n.\r\n")) {
			return wire, nil
		}
	}
}

// undot removes the terminator and the dots that were stuffed.
func undot(wire []byte) []byte {
	body := bytes.TrimSuffix(wire, []byte(".\r\n"))
	body = bytes.TrimPrefix(body, []byte("."))
	return bytes.ReplaceAll(body, []byte("\r\n."), []byte("\r\n"))
}

func (c *session) bdat(line, arg string) {
	size, last, _ := strings.Cut(arg, " ")
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 {
		c.answer(Other, line, "501 5.5.4 Bad BDAT")
		return
	}
	chunk := make([]byte, n)
	if _, err := io.ReadFull(c.in, chunk); err != nil {
		c.ended = true
		return
	}
	if c.tx == nil || len(c.tx.Rcpt) == 0 {
		c.answer(Chunk, line, "503 5.5.1 No recipients")
		return
	}
	tx := c.tx
	c.s.update(func() { tx.Body = append(tx.Body, chunk...) })
	if !strings.EqualFold(last, "LAST") {
		c.answer(Chunk, line, "250 2.0.0 Chunk ok")
		return
	}
	c.tx = nil
	c.s.update(func() { tx.Complete = true })
	ok := c.answer(End, line, "250 2.0.0 Ok: taken") == '2'
	c.s.update(func() { tx.Accepted = ok })
}
