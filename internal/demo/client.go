package demo

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// client is an SMTP client that shows the replies as they are. It does what it
// is told, also what a good client would not do.
type client struct {
	conn net.Conn
	text *textproto.Conn
	tls  *tls.ConnectionState
}

const (
	dialTime  = 10 * time.Second
	replyTime = 60 * time.Second
)

// reply is what the server said to one command.
type reply struct {
	code int
	text string // lines joined by newlines, without the codes
}

func (r reply) String() string {
	return fmt.Sprintf("%d %s", r.code, strings.ReplaceAll(r.text, "\n", " / "))
}

// is reports whether a reply begins with these words, as in "550 5.7.1".
func (r reply) is(words string) bool { return strings.HasPrefix(r.String(), words) }

// dial connects, with TLS from the first octet if conf is not nil, and reads
// the greeting.
func dial(ctx context.Context, addr string, conf *tls.Config) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, text: textproto.NewConn(conn)}
	if conf != nil {
		if err := c.encrypt(ctx, conf); err != nil {
			conn.Close()
			return nil, err
		}
	}
	_ = conn.SetDeadline(time.Now().Add(replyTime))
	code, text, err := c.text.ReadResponse(220)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("greeting: %d %s: %w", code, text, err)
	}
	return c, nil
}

func (c *client) encrypt(ctx context.Context, conf *tls.Config) error {
	t := tls.Client(c.conn, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := t.ConnectionState()
	c.conn, c.text, c.tls = t, textproto.NewConn(t), &state
	return nil
}

func (c *client) close() { _ = c.conn.Close() }

// say sends one line and reads the reply, whatever it is.
func (c *client) say(line string) (reply, error) {
	_ = c.conn.SetDeadline(time.Now().Add(replyTime))
	if err := c.text.PrintfLine("%s", line); err != nil {
		return reply{}, err
	}
	code, text, err := c.text.ReadResponse(0)
	return reply{code, text}, err
}

// want is say for a command whose reply must begin with these words.
func (c *client) want(words, line string) (reply, error) {
	r, err := c.say(line)
	verb, _, _ := strings.Cut(line, " ")
	if err != nil {
		return r, fmt.Errorf("%s: %w", verb, err)
	}
	if !r.is(words) {
		return r, fmt.Errorf("%s was answered %s; expected %s", verb, r, words)
	}
	return r, nil
}

// startTLS greets and encrypts.
func (c *client) startTLS(ctx context.Context, conf *tls.Config) error {
	if _, err := c.want("250", "EHLO laptop.acme.test"); err != nil {
		return err
	}
	if _, err := c.want("220", "STARTTLS"); err != nil {
		return err
	}
	if err := c.encrypt(ctx, conf); err != nil {
		return err
	}
	_, err := c.want("250", "EHLO laptop.acme.test")
	return err
}

// plain is the AUTH PLAIN command with an initial response (RFC 4616).
func plain(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}

// login is AUTH LOGIN, in its three steps.
func (c *client) login(user, password string) (reply, error) {
	if _, err := c.want("334", "AUTH LOGIN"); err != nil {
		return reply{}, err
	}
	if _, err := c.want("334", base64.StdEncoding.EncodeToString([]byte(user))); err != nil {
		return reply{}, err
	}
	return c.say(base64.StdEncoding.EncodeToString([]byte(password)))
}

// send hands one message in and returns the reply to its end, or the reply that
// refused it before.
func (c *client) send(from, to, message string) (reply, error) {
	for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">"} {
		if r, err := c.say(line); err != nil || r.code/100 != 2 {
			return r, err
		}
	}
	if r, err := c.say("DATA"); err != nil || r.code != 354 {
		return r, err
	}
	w := c.text.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return reply{}, err
	}
	if err := w.Close(); err != nil {
		return reply{}, err
	}
	code, text, err := c.text.ReadResponse(0)
	return reply{code, text}, err
}
