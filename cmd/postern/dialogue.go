package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/sasl"
)

// dialogue is one SMTP session whose every line is shown. It is a tool to see
// what a server says, so it does what it is told and hides nothing but the
// credential; the relay's own client is internal/smtpclient.
type dialogue struct {
	conn  net.Conn
	text  *textproto.Conn
	show  func(who, line string) // who is "C" or "S", or "*" for what happened
	limit time.Duration          // for each reply
}

// dialTimeout bounds connecting.
const dialTimeout = 30 * time.Second

// openDialogue connects and reads the greeting. implicit is for TLS from the
// first octet.
func openDialogue(ctx context.Context, addr string, implicit *tls.Config, show func(who, line string)) (*dialogue, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	d := &dialogue{conn: conn, text: textproto.NewConn(conn), show: show, limit: 5 * time.Minute}
	show("*", "connected to "+conn.RemoteAddr().String())
	if implicit != nil {
		if err := d.startTLS(ctx, implicit); err != nil {
			return nil, err
		}
	}
	if _, err := d.reply(220); err != nil {
		return nil, err
	}
	return d, nil
}

// close ends the connection, whatever is under way.
func (d *dialogue) close() { _ = d.conn.Close() }

// replyError is an answer that was not the wanted one.
type replyError struct {
	code int
	text string
}

func (e *replyError) Error() string { return fmt.Sprintf("the server answered %d %s", e.code, e.text) }

// reply reads one reply and shows its lines. want is the code's beginning: 2, 25 or 250.
func (d *dialogue) reply(want int) (string, error) {
	if err := d.conn.SetDeadline(time.Now().Add(d.limit)); err != nil {
		return "", err
	}
	code, text, err := d.text.ReadResponse(0)
	if code == 0 {
		return "", fmt.Errorf("read reply: %w", err)
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		mark := "-"
		if i == len(lines)-1 {
			mark = " "
		}
		d.show("S", fmt.Sprintf("%d%s%s", code, mark, clean(line)))
	}
	got := code
	for got > want {
		got /= 10
	}
	if got != want {
		return text, &replyError{code, strings.Join(lines, " / ")}
	}
	return text, nil
}

// command sends a line and reads the reply. shown stands for the line in what is
// shown; "" is the line itself.
func (d *dialogue) command(want int, line, shown string) (string, error) {
	if strings.ContainsAny(line, "\r\n") {
		return "", fmt.Errorf("a command must be one line: %q", line)
	}
	if shown == "" {
		shown = line
	}
	d.show("C", clean(shown))
	if err := d.conn.SetDeadline(time.Now().Add(d.limit)); err != nil {
		return "", err
	}
	if err := d.text.PrintfLine("%s", line); err != nil {
		return "", fmt.Errorf("send command: %w", err)
	}
	return d.reply(want)
}

// startTLS goes on under TLS.
func (d *dialogue) startTLS(ctx context.Context, conf *tls.Config) error {
	if d.text.R.Buffered() > 0 {
		return fmt.Errorf("the server sent something before the TLS handshake; giving up")
	}
	if err := d.conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	secured := tls.Client(d.conn, conf)
	if err := secured.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	s := secured.ConnectionState()
	d.show("*", fmt.Sprintf("%s %s, certificate of %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), clean(s.PeerCertificates[0].Subject.String())))
	d.conn, d.text = secured, textproto.NewConn(secured)
	return nil
}

// hello says EHLO and returns the keywords that were offered, in upper case.
func (d *dialogue) hello(name string) ([]string, error) {
	text, err := d.command(250, "EHLO "+name, "")
	if err != nil {
		return nil, err
	}
	lines := strings.Split(text, "\n")
	offered := make([]string, 0, len(lines))
	for _, l := range lines[1:] {
		word, _, _ := strings.Cut(l, " ")
		offered = append(offered, strings.ToUpper(word))
	}
	return offered, nil
}

// auth logs in. Nothing that the client says is shown, only what it stands for.
func (d *dialogue) auth(m sasl.Client, shown string) error {
	name, initial, err := m.Start()
	if err != nil {
		return err
	}
	line := "AUTH " + name
	if initial != nil {
		line += " " + cmp.Or(base64.StdEncoding.EncodeToString(initial), "=")
	}
	for shown = "AUTH " + name + " (" + shown + ")"; ; shown = "(the answer)" {
		text, err := d.command(334, line, shown)
		if in, ok := errors.AsType[*replyError](err); ok && in.code == 235 {
			if proof, ok := m.(interface{ Done() error }); ok {
				return proof.Done()
			}
			return nil
		}
		if err != nil {
			return err
		}
		challenge, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fmt.Errorf("the server's challenge is not base64: %q", text)
		}
		if len(challenge) > 0 {
			d.show("*", "the server says "+clean(strconv.Quote(string(challenge))))
		}
		answer, err := m.Next(challenge)
		if err != nil {
			return err
		}
		line = base64.StdEncoding.EncodeToString(answer)
	}
}

// binding is what tells this connection's TLS from any other (RFC 9266).
func (d *dialogue) binding() (sasl.SCRAMBinding, error) {
	conn, ok := d.conn.(*tls.Conn)
	if !ok {
		return sasl.SCRAMBinding{}, errors.New("there is no TLS to bind to")
	}
	state := conn.ConnectionState()
	data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return sasl.SCRAMBinding{}, fmt.Errorf("bind to the TLS connection: %w", err)
	}
	return sasl.SCRAMBinding{Name: "tls-exporter", Data: data}, nil
}

// mail runs one transaction. It returns the reply to the end of data.
func (d *dialogue) mail(from string, to []string, extensions []string, content io.Reader) (string, error) {
	line := "MAIL FROM:<" + from + ">"
	if slices.Contains(extensions, "8BITMIME") {
		line += " BODY=8BITMIME"
	}
	if _, err := d.command(250, line, ""); err != nil {
		return "", err
	}
	for _, rcpt := range to {
		if _, err := d.command(25, "RCPT TO:<"+rcpt+">", ""); err != nil {
			return "", err
		}
	}
	if _, err := d.command(354, "DATA", ""); err != nil {
		return "", err
	}
	w := d.text.DotWriter()
	n, err := io.Copy(w, content)
	if err != nil {
		return "", fmt.Errorf("send message: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("send message: %w", err)
	}
	d.show("C", fmt.Sprintf("(%d octets of message)", n))
	d.show("C", ".")
	return d.reply(250)
}
