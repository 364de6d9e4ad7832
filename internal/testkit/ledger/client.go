package ledger

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Login says where and as whom a client hands mail in.
type Login struct {
	Addr     string      // host:port
	Implicit bool        // TLS from the first byte; else STARTTLS
	TLS      *tls.Config // ServerName and RootCAs
	User     string
	Password string
	Timeout  time.Duration // of each reply; 0: 30 s
}

// Reply is one SMTP reply as it was read.
type Reply struct {
	Code int
	Text string // without the code; lines joined by \n
}

func (r Reply) String() string { return fmt.Sprintf("%d %s", r.Code, r.Text) }

// ErrReply is the error of a reply that was read in full but is not the one
// that the client hoped for.
type ErrReply struct {
	Stage string
	Reply Reply
}

func (e *ErrReply) Error() string { return e.Stage + ": " + e.Reply.String() }

// Client is one SMTP session in lock-step: a command is written when the reply
// to the one before has been read, so that the order of writes on the server's
// socket is the order of its replies.
type Client struct {
	conn    net.Conn
	r       *bufio.Reader
	timeout time.Duration
}

// Dial connects, starts TLS and logs in.
func Dial(login Login) (*Client, error) {
	timeout := login.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	conn, err := net.DialTimeout("tcp", login.Addr, timeout)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, timeout: timeout}
	if login.Implicit {
		c.conn = tls.Client(conn, login.TLS)
	}
	c.r = bufio.NewReader(c.conn)
	if err := c.hello(login); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) hello(login Login) error {
	if _, err := c.expect("greeting", 220); err != nil {
		return err
	}
	if _, err := c.Do("EHLO", 250, "EHLO client.example"); err != nil {
		return err
	}
	if !login.Implicit {
		if _, err := c.Do("STARTTLS", 220, "STARTTLS"); err != nil {
			return err
		}
		secure := tls.Client(c.conn, login.TLS)
		c.conn, c.r = secure, bufio.NewReader(secure)
		if _, err := c.Do("EHLO", 250, "EHLO client.example"); err != nil {
			return err
		}
	}
	token := base64.StdEncoding.EncodeToString([]byte("\x00" + login.User + "\x00" + login.Password))
	_, err := c.Do("AUTH", 235, "AUTH PLAIN "+token)
	return err
}

// Do writes a line and reads the reply to it. A reply with another code than
// want is an *[ErrReply]; anything else means that the link is gone.
func (c *Client) Do(stage string, want int, line string) (Reply, error) {
	c.conn.SetWriteDeadline(time.Now().Add(c.timeout))
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		return Reply{}, fmt.Errorf("%s: %w", stage, err)
	}
	return c.expect(stage, want)
}

func (c *Client) expect(stage string, want int) (Reply, error) {
	r, err := c.read()
	if err != nil {
		return Reply{}, fmt.Errorf("%s: %w", stage, err)
	}
	if r.Code != want {
		return r, &ErrReply{Stage: stage, Reply: r}
	}
	return r, nil
}

// read reads one complete reply; a reply that was cut off is an error.
func (c *Client) read() (Reply, error) {
	c.conn.SetReadDeadline(time.Now().Add(c.timeout))
	var r Reply
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return Reply{}, err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 3 {
			return Reply{}, fmt.Errorf("short reply %q", line)
		}
		if _, err := fmt.Sscanf(line[:3], "%d", &r.Code); err != nil {
			return Reply{}, fmt.Errorf("reply %q has no code", line)
		}
		if r.Text != "" {
			r.Text += "\n"
		}
		r.Text += strings.TrimPrefix(strings.TrimPrefix(line[3:], "-"), " ")
		if len(line) == 3 || line[3] != '-' {
			return r, nil
		}
	}
}

// Envelope says MAIL and RCPT.
func (c *Client) Envelope(from string, to []string) error {
	if _, err := c.Do("MAIL", 250, "MAIL FROM:<"+from+">"); err != nil {
		return err
	}
	for _, rcpt := range to {
		if _, err := c.Do("RCPT", 250, "RCPT TO:<"+rcpt+">"); err != nil {
			return err
		}
	}
	return nil
}

// Data says DATA and writes the message without its end. The octets must be
// lines that end with CRLF; leading dots are stuffed here.
func (c *Client) Data(octets []byte) error {
	if _, err := c.Do("DATA", 354, "DATA"); err != nil {
		return err
	}
	c.conn.SetWriteDeadline(time.Now().Add(c.timeout))
	_, err := c.conn.Write(stuff(octets))
	return err
}

// End writes the end of data and reads the reply to it. Whatever goes wrong,
// the end may have left: a TLS record can be out when its write reports an error.
func (c *Client) End() (Reply, error) { return c.Do(endStage, 250, ".") }

// endStage is how refusals after the end of data are called in an entry's reply.
const endStage = "end of data"

// Quit says QUIT and closes.
func (c *Client) Quit() {
	c.Do("QUIT", 221, "QUIT")
	c.conn.Close()
}

// Close closes the connection at once.
func (c *Client) Close() { c.conn.Close() }

// LocalAddr is the client's own address, by which the server knows it.
func (c *Client) LocalAddr() string { return c.conn.LocalAddr().String() }

// stuff doubles leading dots (RFC 5321 §4.5.2).
func stuff(b []byte) []byte {
	out := make([]byte, 0, len(b)+16)
	start := true
	for _, ch := range b {
		if start && ch == '.' {
			out = append(out, '.')
		}
		out = append(out, ch)
		start = ch == '\n'
	}
	return out
}

// queueID finds the id in "… queued as <id>".
func queueID(text string) (string, error) {
	_, id, ok := strings.Cut(text, "queued as ")
	if !ok {
		return "", errors.New("250 without \"queued as\": " + text)
	}
	id, _, _ = strings.Cut(id, " ")
	return strings.TrimSpace(id), nil
}
