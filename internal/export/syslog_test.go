package export

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// collector is a syslog server over TLS that keeps whole messages.
type collector struct {
	ln   net.Listener
	conf *tls.Config
	mu   sync.Mutex
	got  []string
	drop bool // the next connection is cut before all of it was read
}

func collect(t *testing.T) (*collector, *Syslog) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	t.Cleanup(web.Close)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: web.TLS.Certificates}
	c := &collector{ln: tls.NewListener(raw, conf), conf: conf}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := c.ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = c.ln.Close(); wg.Wait() })
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return c, NewSyslog(SyslogConfig{Addr: raw.Addr().String(), TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"}, Hostname: "relay.example.test", PID: 7})
}

func (c *collector) serve(conn net.Conn) {
	defer conn.Close()
	c.mu.Lock()
	drop := c.drop
	c.drop = false
	c.mu.Unlock()
	if drop {
		_, _ = conn.Read(make([]byte, 1)) // the handshake, and no more
		if inner, ok := conn.(*tls.Conn).NetConn().(*net.TCPConn); ok {
			_ = inner.SetLinger(0)
			_ = inner.Close()
		}
		return
	}
	r := bufio.NewReader(conn)
	for {
		size, err := r.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSpace(size))
		if err != nil {
			return
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(r, text); err != nil {
			return
		}
		c.mu.Lock()
		c.got = append(c.got, string(text))
		c.mu.Unlock()
	}
}

func (c *collector) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.got...)
}

// rfc5424 is a message as RFC 5424 §6 has it.
var rfc5424 = regexp.MustCompile(`^<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) (\[[^ =\]"]{1,32}(?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\.)*")*\]) \x{feff}(.*)$`)

func TestSyslogMessage(t *testing.T) {
	t.Parallel()
	c, s := collect(t)
	at := time.Date(2026, 11, 22, 10, 11, 12, 123456000, time.UTC)
	records := []Record{
		{Stream: Logins, ID: `a"]\`, At: at, Name: "login.ok", Severity: Info, Text: "plain", Body: []byte(`{"a":1}`)},
		{Stream: Changes, ID: "b", At: at, Name: "change.key create", Severity: Notice, Text: "one\r\n<34>1 forged \x1b[31m \u202edrow", Account: relay.AccountID{ID: relay.NewID(at)}},
		{Stream: Events, ID: "c", At: at, Name: strings.Repeat("n", 99), Severity: Alert, Text: "long", Body: []byte(`"` + strings.Repeat("x", 9000) + `"`)},
	}
	if _, err := s.Send(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	got := c.all() // by the time that Send returns the server has closed, so it has all
	if len(got) != 3 {
		t.Fatalf("%d messages arrived: %q", len(got), got)
	}
	for i, want := range []string{"86", "109", "17"} { // 10*8+6, 13*8+5, 2*8+1
		m := rfc5424.FindStringSubmatch(got[i])
		if m == nil {
			t.Fatalf("not a message of RFC 5424: %q", got[i])
		}
		if m[1] != want || m[2] != "2026-11-22T10:11:12.123456Z" || m[3] != "relay.example.test" || m[4] != "postern" || m[5] != "7" {
			t.Errorf("%q", m[1:6])
		}
		// WB-10: one record stays one line, and drives no terminal.
		if strings.ContainsAny(m[8], "\r\n\x1b\u202e") {
			t.Errorf("control characters in %q", m[8])
		}
	}
	if !strings.Contains(got[0], `id="a\"\]\\"`) || !strings.HasSuffix(got[0], `plain {"a":1}`) {
		t.Errorf("%q", got[0])
	}
	if len(got[2]) > maxSyslog || !strings.HasSuffix(got[2], "long") {
		t.Errorf("a long message has %d octets", len(got[2]))
	}
}

// A server that goes away before it has read all has not taken the batch.
func TestSyslogIsSureOfAll(t *testing.T) {
	t.Parallel()
	c, s := collect(t)
	c.mu.Lock()
	c.drop = true
	c.mu.Unlock()
	many := make([]Record, 500)
	for i := range many {
		many[i] = Record{Stream: Logins, ID: strconv.Itoa(i), Name: "n", Severity: Info, Text: strings.Repeat("t", 1000)}
	}
	if _, err := s.Send(t.Context(), many); err == nil {
		t.Fatal("a cut connection counts as taken")
	}
	if _, err := s.Send(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if got := c.all(); len(got) != 500 {
		t.Errorf("%d messages", len(got))
	}
}

func TestSyslogWantsTheRightServer(t *testing.T) {
	t.Parallel()
	c, s := collect(t)
	s.cfg.TLS = &tls.Config{ServerName: "example.com"} // not of our roots
	if _, err := s.Send(t.Context(), some(1, time.Now())); err == nil || len(c.all()) != 0 {
		t.Errorf("sent to a server that nobody vouches for: %v", err)
	}
}

// A server that never closes holds nobody up for ever.
func TestSyslogGivesUp(t *testing.T) {
	t.Parallel()
	_, s := collect(t)
	s.cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		t.Cleanup(func() { _ = there.Close() })
		return here, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Send(ctx, some(1, time.Now())); err == nil {
		t.Error("no error")
	}
}
