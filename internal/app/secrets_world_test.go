package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/app"
	"postern/internal/config"
	"postern/internal/dns"
	"postern/internal/logfile"
	"postern/internal/setup"
	"postern/internal/sink"
)

const (
	relayName = "relay.example.test"
	ourDomain = "acme.test"
	author    = "ann@acme.test"
	reader    = "bob@inbox.test"
	waiting   = "eve@broken.test" // whose domain cannot be looked up for now
)

// dialled counts the connections.
var dialled atomic.Uint32

// patience bounds every wait of these tests.
const patience = 2 * time.Minute

// installation is what `postern init` makes, running, with a receiving server
// behind it. All it wrote is in dir and in logFile.
type installation struct {
	t       *testing.T
	log     io.Writer // nil: logFile
	made    *setup.Result
	conf    *config.Config
	dir     string
	logFile string
	app     *app.App
	inbox   *sink.Inbox
	admin   *http.Client
	stop    func()
}

func install(t *testing.T) *installation {
	t.Helper()
	x := prepare(t)
	x.run()
	return x
}

// prepare makes an installation that does not run yet.
func prepare(t *testing.T) *installation {
	t.Helper()
	top := t.TempDir()
	x := &installation{t: t, dir: filepath.Join(top, "data"), logFile: filepath.Join(top, "postern.log")}
	var err error
	if x.made, err = setup.Init(t.Context(), setup.Options{Dir: x.dir, Hostname: relayName, Owner: "ops@example.test"}); err != nil {
		t.Fatal(err)
	}
	if x.conf, err = config.Load(x.made.Config); err != nil {
		t.Fatal(err)
	}
	x.conf.Listen = []config.Listener{
		{Name: "submission", Role: config.RoleSubmission, TLS: config.TLSStart, Addresses: []string{"127.0.0.1:0"}},
		{Name: "mx", Role: config.RoleMX, TLS: config.TLSStart, Addresses: []string{"127.0.0.1:0"}},
	}
	x.conf.HTTP.Listen, x.conf.Admin.Listen, x.conf.Store.MinFree = nil, "127.0.0.1:0", 0
	x.conf.Deliver.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	x.conf.Deliver.Port = x.receive()
	x.configure(config.Example(x.conf, config.Docs))
	if x.conf, err = config.Load(x.made.Config); err != nil {
		t.Fatal(err)
	}
	x.admin = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", x.conf.SocketPath())
	}}}
	return x
}

// configure writes the configuration file.
func (x *installation) configure(text string) {
	x.t.Helper()
	if err := os.WriteFile(x.made.Config, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// receive starts the receiving server and returns its port.
func (x *installation) receive() int {
	x.t.Helper()
	s, err := sink.New(sink.Config{Hostname: "mx.inbox.test"})
	if err != nil {
		x.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	x.t.Cleanup(func() { cancel(); ln.Close(); <-done })
	x.inbox = s.Inbox()
	return ln.Addr().(*net.TCPAddr).Port
}

// run starts the relay with a log of every level.
func (x *installation) run() {
	x.t.Helper()
	file, err := logfile.Open(x.logFile)
	if err != nil {
		x.t.Fatal(err)
	}
	if x.log == nil {
		x.log = file
	}
	a, err := app.New(x.t.Context(), x.options())
	if err != nil {
		x.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Run(ctx, func() { close(up) }) }()
	x.app, x.stop = a, func() {
		if cancel == nil {
			return
		}
		cancel()
		cancel = nil
		if err := <-done; err != nil {
			x.t.Errorf("the relay ended: %v", err)
		}
		file.Close()
	}
	x.t.Cleanup(func() { x.stop() })
	select {
	case <-up:
	case err := <-done:
		x.t.Fatal(err)
	}
}

// options are those of the relay, with names that lead to the receiving server.
func (x *installation) options() app.Options {
	return app.Options{
		Config: x.conf, Version: "test", KeyPrefix: x.conf.Keys.Prefix,
		Logger: slog.New(slog.NewJSONHandler(x.log, &slog.HandlerOptions{Level: slog.LevelDebug - 4})),
		Resolver: &dns.Static{
			MXs:   map[string][]dns.MX{"inbox.test": {{Host: "mx.inbox.test", Preference: 10}}},
			Addrs: map[string][]netip.Addr{"mx.inbox.test": {netip.MustParseAddr("127.0.0.1")}},
			Fail:  []string{"broken.test"},
		},
	}
}

// ask makes a request over admin.sock and returns the answer as it is.
func (x *installation) ask(method, path string, body any) string {
	x.t.Helper()
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			x.t.Fatal(err)
		}
		send = bytes.NewReader(b)
	}
	return x.request(x.admin, method, "http://postern"+path, send)
}

// operator reads a path of admin.listen.
func (x *installation) operator(path string) string {
	x.t.Helper()
	return x.request(&http.Client{Timeout: patience}, "GET", "http://"+x.app.Addrs("admin")[0].String()+path, nil)
}

func (x *installation) request(c *http.Client, method, url string, body io.Reader) string {
	x.t.Helper()
	req, err := http.NewRequestWithContext(x.t.Context(), method, url, body)
	if err != nil {
		x.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		x.t.Fatalf("%s %s: %s %s %v", method, url, resp.Status, answer, err)
	}
	return string(answer)
}

// eventually waits for what is written a moment later.
func (x *installation) eventually(what string, ok func() bool) {
	x.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			x.t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

// talk is one SMTP session.
type talk struct {
	t    *testing.T
	conn net.Conn
	r    *textproto.Reader
}

// dial opens a session and greets.
func (x *installation) dial() *talk { return x.dialTo("submission") }

// dialTo is dial for a listener.
func (x *installation) dialTo(listener string) *talk {
	x.t.Helper()
	// Each from an address of its own: who fails often is kept waiting.
	n := dialled.Add(1)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(n/250), 1+byte(n%250))}}
	conn, err := d.Dial("tcp", x.app.Addrs(listener)[0].String())
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { conn.Close() })
	c := &talk{t: x.t, conn: conn}
	c.wrap(conn)
	c.expect("220")
	c.say("EHLO client.test", "250")
	return c
}

// secure is dial and STARTTLS.
func (x *installation) secure() *talk {
	x.t.Helper()
	c := x.dial()
	c.startTLS()
	return c
}

func (c *talk) startTLS() {
	c.t.Helper()
	c.say("STARTTLS", "220")
	conn := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true}) // not what is tested here
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.wrap(conn)
	c.say("EHLO client.test", "250")
}

func (c *talk) wrap(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	c.conn, c.r = conn, textproto.NewReader(bufio.NewReader(conn))
}

func (c *talk) expect(want string) {
	c.t.Helper()
	code, text, err := c.r.ReadResponse(0)
	if got := fmt.Sprintf("%d %s", code, text); err != nil || !strings.HasPrefix(got, want) {
		c.t.Fatalf("reply %q, %v; want %s", got, err, want)
	}
}

// putOff is the reply to who comes while the relay reads what has just changed, and
// does not get it within a second: a machine under load.
const putOff = "454 4.7.0 Temporary authentication failure"

// say sends a line and expects the beginning of a reply. A login and a MAIL that are
// put off are tried again.
func (c *talk) say(line, want string) {
	c.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		code, text := c.try(line)
		got := fmt.Sprintf("%d %s", code, text)
		if strings.HasPrefix(got, want) {
			return
		}
		again := strings.HasPrefix(line, "AUTH ") || strings.HasPrefix(line, "MAIL ")
		if got != putOff || !again || time.Now().After(end) {
			c.t.Fatalf("reply %s; want %s", got, want)
		}
	}
}

// try sends a line and returns the reply.
func (c *talk) try(line string) (int, string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	code, text, err := c.r.ReadResponse(0)
	if code == 0 {
		c.t.Fatalf("no reply to %.20q: %v", line, err)
	}
	return code, text
}

// plain is the message of PLAIN (RFC 4616) as it goes over the wire.
func plain(user, password string) string { return b64("\x00" + user + "\x00" + password) }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// read returns a file whole.
func (x *installation) read(path string) string {
	x.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		x.t.Fatal(err)
	}
	return string(b)
}
