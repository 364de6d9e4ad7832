package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// stranger is a connection that is ready to be refused once: all but the last
// write is done.
type stranger interface {
	// refused sends the credential and returns the time from before that write to
	// the arrival of the whole answer, and the answer.
	refused() (time.Duration, string, error)
	close()
}

// credential is what a stranger shows.
type credential struct{ user, password string }

// loopbacks gives every stranger an address of its own: what one address or key
// has failed with before must not show in the next refusal.
type loopbacks struct{ n atomic.Int64 }

// next is one of 15 million addresses of 127.0.0.0/8, 250 of each /24.
func (l *loopbacks) next() *net.TCPAddr {
	n := l.n.Add(1)
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+n/62_500), byte(n/250%250), byte(1+n%250))}
}

// smtpStranger is a session over TLS that has said EHLO.
type smtpStranger struct {
	conn net.Conn
	r    *bufio.Reader
	line []byte
}

func dialSMTP(from *net.TCPAddr, addr string, conf *tls.Config, c credential) (*smtpStranger, error) {
	plain, err := (&net.Dialer{LocalAddr: from, Timeout: 30 * time.Second}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	plain.SetDeadline(time.Now().Add(time.Minute))
	s := &smtpStranger{conn: tls.Client(plain, conf)}
	s.r = bufio.NewReader(s.conn)
	s.line = []byte("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+c.user+"\x00"+c.password)) + "\r\n")
	if _, err = s.reply("220"); err == nil {
		err = s.say("EHLO stranger.example", "250")
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *smtpStranger) say(line, want string) error {
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return err
	}
	_, err := s.reply(want)
	return err
}

// reply reads a reply with all its lines.
func (s *smtpStranger) reply(want string) (string, error) {
	var all strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		all.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			break
		}
	}
	if !strings.HasPrefix(all.String(), want) {
		return "", fmt.Errorf("%q, want %s", all.String(), want)
	}
	return all.String(), nil
}

func (s *smtpStranger) refused() (time.Duration, string, error) {
	start := time.Now()
	if _, err := s.conn.Write(s.line); err != nil {
		return 0, "", err
	}
	text, err := s.reply("535")
	return time.Since(start), text, err
}

func (s *smtpStranger) close() { s.conn.Close() }

// httpStranger is a connection to the HTTP API. A user makes it HTTP Basic.
type httpStranger struct {
	conn    net.Conn
	request []byte
}

func dialHTTP(from *net.TCPAddr, addr string, c credential) (*httpStranger, error) {
	conn, err := (&net.Dialer{LocalAddr: from, Timeout: 30 * time.Second}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	r, err := http.NewRequest(http.MethodGet, "http://localhost/v3/scopes", nil)
	if err != nil {
		return nil, err
	}
	if c.user == "apikey" {
		r.Header.Set("Authorization", "Bearer "+c.password)
	} else {
		r.SetBasicAuth(c.user, c.password)
	}
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		return nil, err
	}
	return &httpStranger{conn, []byte(b.String())}, nil
}

func (s *httpStranger) refused() (time.Duration, string, error) {
	start := time.Now()
	if _, err := s.conn.Write(s.request); err != nil {
		return 0, "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(resp.Body)
	took := time.Since(start)
	if resp.StatusCode != http.StatusUnauthorized {
		return 0, "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	resp.Header.Del("Date")
	resp.Header.Del("X-Request-Id") // random, of one length
	var text strings.Builder
	err2 := resp.Header.Write(&text)
	if err == nil {
		err = err2
	}
	return took, resp.Status + "\n" + text.String() + "\n" + string(body), err
}

func (s *httpStranger) close() { s.conn.Close() }

// clientTLS trusts a relay, with the cheapest handshakes that are safe: the load
// of the handshakes is the noise of the measurement.
func clientTLS(t testing.TB, r *ownRelay) *tls.Config {
	t.Helper()
	conf, err := r.tlsConfig()
	must(t, err)
	conf.CurvePreferences, conf.NextProtos = []tls.CurveID{tls.X25519}, []string{"smtp"}
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	return conf
}
