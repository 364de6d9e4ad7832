package export

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// SyslogConfig says where records go by syslog over TLS (RFC 5424, RFC 5425).
type SyslogConfig struct {
	Addr     string      // host:port; the port of RFC 5425 is 6514
	TLS      *tls.Config // ServerName and roots; a client certificate if the server wants one
	Hostname string      // of this relay, in each message
	PID      int
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Syslog sends records to one server. The protocol has no answer: a batch is one
// connection, and counts as taken when the server, told that nothing more comes,
// has closed it too: by then it has read all (say).
type Syslog struct{ cfg SyslogConfig }

// NewSyslog makes a target.
func NewSyslog(c SyslogConfig) *Syslog {
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	return &Syslog{c}
}

// facilities by stream (RFC 5424 §6.2.1): security/authorization, log audit, mail.
var facilities = map[Stream]int{Logins: 10, Changes: 13, Events: 2}

// maxSyslog is the longest message in octets: 8192 is what receivers should take
// (RFC 5425 §4.3.1); a longer one carries its text without the record.
const maxSyslog = 8192

// frame is a record as a message with its length before it (RFC 5425 §4.3).
func (t *Syslog) frame(b *bytes.Buffer, r *Record) {
	m := t.message(r, string(r.Body))
	if len(m) > maxSyslog {
		m = t.message(r, "")
	}
	if len(m) > maxSyslog {
		m = strings.ToValidUTF8(m[:maxSyslog], "")
	}
	b.WriteString(strconv.Itoa(len(m)))
	b.WriteByte(' ')
	b.WriteString(m)
}

// message is the syslog message of a record (RFC 5424 §6): the text for people
// after the byte order mark, behind it the record as JSON.
func (t *Syslog) message(r *Record, body string) string {
	var b strings.Builder
	// Time with microseconds at most (§6.2.3).
	fmt.Fprintf(&b, "<%d>1 %s %s postern %d %s ", facilities[r.Stream]*8+int(r.Severity), r.At.UTC().Format("2006-01-02T15:04:05.000000Z"),
		ascii(t.cfg.Hostname, 255), t.cfg.PID, ascii(r.Name, 32))
	// 32473 is the enterprise number for examples and documents (RFC 5612).
	fmt.Fprintf(&b, `[postern@32473 id="%s" stream="%s"`, param(r.ID), param(string(r.Stream)))
	if !r.Account.IsZero() {
		fmt.Fprintf(&b, ` account="%s"`, param(r.Account.String()))
	}
	b.WriteString("] \ufeff")
	b.WriteString(oneLine(r.Text))
	if body != "" {
		b.WriteByte(' ')
		b.WriteString(oneLine(body))
	}
	return b.String()
}

// ascii is a header field: printable ASCII without spaces, "-" for nothing (§6.2).
func ascii(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), limit)]
}

// param is the value of a parameter (§6.3.3): UTF-8 with ", \ and ] escaped.
func param(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(oneLine(s))
}

// oneLine makes control characters visible, so that no record can pass for two.
func oneLine(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '\ufffd'
		}
		return r
	}, s)
}

// Send implements Target.
func (t *Syslog) Send(ctx context.Context, records []Record) (taken int, err error) {
	var b bytes.Buffer
	for i := range records {
		t.frame(&b, &records[i])
	}
	raw, err := t.cfg.Dial(ctx, "tcp", t.cfg.Addr)
	if err != nil {
		return 0, err
	}
	conn := tls.Client(raw, t.cfg.TLS)
	defer func() { _ = raw.Close() }() // whatever matters was said before
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(sendFor)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return 0, fmt.Errorf("TLS with %s: %w", t.cfg.Addr, err)
	}
	if err := say(conn, raw, b.Bytes(), deadline); err != nil {
		return 0, fmt.Errorf("%s: %w", t.cfg.Addr, err)
	}
	return len(records), nil
}

// Close implements Target; no connection outlives a batch.
func (t *Syslog) Close() error { return nil }
