package httpx

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// AP-15: no form of a request hides a second one from somebody on the way. What
// can be read in two ways is refused, or is the last of its connection; headers
// are bounded; nobody gets a plain connection to speak HTTP/2 on.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	const hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
	post := func(head, body string) string {
		return "POST /in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + head + "\r\n\r\n" + body
	}
	for _, tt := range []struct {
		name, raw string
		want      string // the statuses of all answers, in order
		hidden    bool   // rightly a request of its own
	}{
		{"two requests", post("Content-Length: 2", "{}") + hidden, "200 200", true},
		{"both lengths", post("Content-Length: 4\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n") + hidden, "200", false},
		{"chunked alone", post("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n") + hidden, "200", false},
		{"two Content-Length", post("Content-Length: 0\r\nContent-Length: 41", hidden), "400", false},
		{"signed Content-Length", post("Content-Length: +41", hidden), "400", false},
		{"chunked and identity", post("Transfer-Encoding: chunked, identity", "0\r\n\r\n") + hidden, "501", false},
		{"chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n") + hidden, "501", false},
		{"unknown coding", post("Transfer-Encoding: xchunked", "0\r\n\r\n") + hidden, "501", false},
		{"space before the colon", post("Transfer-Encoding : chunked", "0\r\n\r\n") + hidden, "400", false},
		{"bare LF after a chunk's extension", post("Transfer-Encoding: chunked", "2;a\n{}\r\n0\r\n\r\n") + hidden, "400", false},
		{"bare CR in a chunk's size", post("Transfer-Encoding: chunked", "2\r{}\r\n0\r\n\r\n") + hidden, "400", false},
		{"a request as the body of a GET", "GET /hidden2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden, "404", false},
		{"two hosts", "GET /hidden HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", "400", false},
		{"HTTP/0.9", "GET /hidden\r\n\r\n", "400", false},
		{"1 MB of header", "GET /hidden HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "431", false},
		{"upgrade to h2c", "GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", "404", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var reached atomic.Bool
			addr := plainServer(t, []Route{
				{Method: "POST", Pattern: "/in", Handler: func(_ http.ResponseWriter, r *http.Request) error { return DecodeJSON(r, &struct{}{}) }},
				{Method: "GET", Pattern: "/hidden", Handler: func(http.ResponseWriter, *http.Request) error { reached.Store(true); return nil }},
			})
			if got := statuses(t, addr, tt.raw); got != tt.want {
				t.Errorf("answers %s, want %s", got, tt.want)
			}
			if reached.Load() != tt.hidden {
				t.Errorf("the hidden request was served: %v, want %v", reached.Load(), tt.hidden)
			}
		})
	}
}

// plainServer serves routes on loopback as the public listener does.
func plainServer(t *testing.T, routes []Route) string {
	t.Helper()
	srv := &http.Server{Handler: New(Options{Local: true}, routes)}
	ServerLimits(srv, slog.New(slog.DiscardHandler))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln.Addr().String()
}

// statuses sends octets, ends its side, and returns the statuses of all answers.
func statuses(t *testing.T, addr, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	go func() {
		_, _ = io.WriteString(c, raw) // the server may have hung up
		c.(*net.TCPConn).CloseWrite()
	}()
	b, _ := io.ReadAll(c) // a reset after the answer is as good as an end
	var all []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "HTTP/1.") {
			all = append(all, f[1])
		}
	}
	return strings.Join(all, " ")
}
