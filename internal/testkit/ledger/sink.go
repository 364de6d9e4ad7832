package ledger

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Step is a moment at which a sink's [Judge] is asked.
type Step string

// The steps.
const (
	AtRcpt Step = "rcpt" // a recipient was named
	AtEnd  Step = "end"  // the end of data was read; the copy is not recorded yet
)

// Verdict is what a sink does at a step. The zero value: go on.
type Verdict struct {
	Reply string        // "451 4.2.0 later": refuse with this
	Delay time.Duration // wait first
	Hang  bool          // never answer; the link stays until the other side or the sink closes it
	Drop  bool          // close the link without an answer, after the copy was taken
}

// Judge decides what a sink answers. At AtEnd rcpt is the first recipient.
type Judge func(step Step, id, rcpt string) Verdict

// Sink is a small SMTP server that takes everything and writes down each copy
// before it answers. It offers 8BITMIME and PIPELINING and no TLS.
type Sink struct {
	Ledger *Ledger
	Judge  Judge // nil: take everything

	ln    net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
	done  chan struct{}
	wg    sync.WaitGroup
}

// Listen starts the sink on addr ("127.0.0.1:0" for a free port).
func (s *Sink) Listen(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.ln, s.conns, s.done = ln, map[net.Conn]bool{}, make(chan struct{})
	s.wg.Go(s.accept)
	return nil
}

// Addr is where the sink listens.
func (s *Sink) Addr() *net.TCPAddr { return s.ln.Addr().(*net.TCPAddr) }

// Close stops the sink and its sessions.
func (s *Sink) Close() {
	close(s.done)
	s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Sink) accept() {
	for {
		c, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: the sessions give some back
			continue
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			(&sinkSession{sink: s, conn: c, r: bufio.NewReaderSize(c, 64<<10)}).serve()
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

type sinkSession struct {
	sink *Sink
	conn net.Conn
	r    *bufio.Reader
	mail bool
	rcpt []string
}

func (s *sinkSession) reply(line string) error {
	_, err := io.WriteString(s.conn, line+"\r\n")
	return err
}

func (s *sinkSession) serve() {
	if s.reply("220 sink.example ESMTP") != nil {
		return
	}
	for {
		s.conn.SetDeadline(time.Now().Add(5 * time.Minute))
		line, err := s.r.ReadString('\n')
		if err != nil || s.command(strings.TrimRight(line, "\r\n")) != nil {
			return
		}
	}
}

var errQuit = errors.New("quit")

func (s *sinkSession) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		return s.reply("250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME")
	case "HELO", "NOOP":
		return s.reply("250 ok")
	case "RSET":
		s.mail, s.rcpt = false, nil
		return s.reply("250 ok")
	case "MAIL":
		s.mail, s.rcpt = true, nil
		return s.reply("250 ok")
	case "RCPT":
		return s.recipient(rest)
	case "DATA":
		if len(s.rcpt) == 0 {
			return s.reply("554 no valid recipients")
		}
		return s.data()
	case "QUIT":
		s.reply("221 bye")
		return errQuit
	}
	return s.reply("500 what?")
}

func (s *sinkSession) recipient(rest string) error {
	from, to := strings.IndexByte(rest, '<'), strings.LastIndexByte(rest, '>')
	if !s.mail || from < 0 || to < from {
		return s.reply("503 no")
	}
	rcpt := rest[from+1 : to]
	if v := s.judge(AtRcpt, "", rcpt); v.Reply != "" {
		return s.reply(v.Reply)
	}
	s.rcpt = append(s.rcpt, rcpt)
	return s.reply("250 ok")
}

func (s *sinkSession) judge(step Step, id, rcpt string) Verdict {
	if s.sink.Judge == nil {
		return Verdict{}
	}
	v := s.sink.Judge(step, id, rcpt)
	if v.Delay > 0 {
		select {
		case <-time.After(v.Delay):
		case <-s.sink.done:
		}
	}
	return v
}

func (s *sinkSession) data() error {
	if err := s.reply("354 go on"); err != nil {
		return err
	}
	octets, err := s.octets()
	if err != nil {
		return err // no end of data: nothing was taken
	}
	rcpts, at := s.rcpt, time.Now()
	s.mail, s.rcpt = false, nil
	head, body, _ := bytes.Cut(octets, []byte("\r\n\r\n"))
	id := headerID(head)
	v := s.judge(AtEnd, id, rcpts[0])
	if v.Reply != "" {
		return s.reply(v.Reply)
	}
	if v.Hang {
		io.Copy(io.Discard, s.conn)
		return io.EOF
	}
	taken := s.record(id, rcpts, at, body)
	if v.Drop {
		return errQuit
	}
	err = s.reply("250 2.0.0 taken")
	if err == nil {
		for _, i := range taken {
			s.sink.Ledger.answered(i)
		}
	}
	return err
}

func (s *sinkSession) record(id string, rcpts []string, at time.Time, body []byte) []int {
	if id == "" {
		s.sink.Ledger.stray(strings.Join(rcpts, " "))
		return nil
	}
	sum := sha256.Sum256(body)
	var out []int
	for _, rcpt := range rcpts {
		out = append(out, s.sink.Ledger.take(Take{ID: id, Recipient: rcpt, At: at, Conn: s.conn.RemoteAddr().String()}, sum))
	}
	return out
}

// octets reads up to CRLF.CRLF and takes the stuffed dots out.
func (s *sinkSession) octets() ([]byte, error) {
	var b bytes.Buffer
	for {
		line, err := s.r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if string(line) == ".\r\n" {
			return b.Bytes(), nil
		}
		if line[0] == '.' {
			line = line[1:]
		}
		b.Write(line)
	}
}

// headerID finds the ledger's id in a header section.
func headerID(head []byte) string {
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "X-Ledger-Id") {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
