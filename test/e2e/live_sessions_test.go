package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/sasl"
	"postern/internal/secret"
)

// liveSession is a session that is logged in.
type liveSession struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// open logs in over implicit TLS.
func (r *ownRelay) open(t testing.TB, m sasl.Client) *liveSession {
	t.Helper()
	conf, err := r.tlsConfig()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", r.SMTPTLS, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	s := &liveSession{t, conn, bufio.NewReader(conn)}
	s.want("", "220")
	s.want("EHLO live.example", "250")
	name, initial, err := m.Start()
	if err != nil {
		t.Fatal(err)
	}
	s.want("AUTH "+name+" "+base64.StdEncoding.EncodeToString(initial), "235")
	return s
}

// want sends a line and checks how the reply begins.
func (s *liveSession) want(line, start string) {
	s.t.Helper()
	if line != "" {
		io.WriteString(s.conn, line+"\r\n")
	}
	for {
		got, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Errorf("%q: %v", line, err)
			return
		}
		if len(got) > 3 && got[3] == '-' {
			continue
		}
		if !strings.HasPrefix(got, start) {
			s.t.Errorf("%q: %q, want %s", line, got, start)
		}
		return
	}
}

// halfway begins a message and sends half of it.
func (s *liveSession) halfway(from, to string) {
	s.t.Helper()
	s.want("MAIL FROM:<"+from+">", "250")
	s.want("RCPT TO:<"+to+">", "250")
	s.want("DATA", "354")
	io.WriteString(s.conn, "From: "+from+"\r\nSubject: live\r\n\r\nhalf\r\n")
}

// liveRequest is a mail/send request whose body is half sent.
type liveRequest struct {
	conn net.Conn
	rest string
}

func (r *ownRelay) request(t testing.TB, bearer string) liveRequest {
	t.Helper()
	conn, err := net.Dial("tcp", r.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	body := fmt.Sprintf(`{"personalizations":[{"to":[{"email":%q}]}],"from":{"email":%q},"subject":"live","content":[{"type":"text/plain","value":"x"}]}`, r.To, r.From)
	fmt.Fprintf(conn, "POST /v3/mail/send HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		r.HTTP, bearer, len(body), body[:20])
	return liveRequest{conn, body[20:]}
}

// finish sends the rest and returns the status.
func (q liveRequest) finish(t testing.TB) int {
	t.Helper()
	io.WriteString(q.conn, q.rest)
	resp, err := http.ReadResponse(bufio.NewReader(q.conn), nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Whatever ends a key, or narrows it, is felt by the sessions that are open, at
// their next MAIL and at the end of the data that they are sending, and by the
// requests that are under way. AU-31.
func TestLiveSessions(t *testing.T) {
	t.Parallel()
	r := authRelay(t, "")
	for _, c := range []struct {
		name   string
		change func(t *testing.T, k madeKey, subuser string)
		token  bool // the sessions have a token of the key
		mail   string
		data   string
		http   int
	}{
		{name: "nothing", change: func(*testing.T, madeKey, string) {}, mail: "250", data: "250", http: 202},
		{name: "revoked", change: func(t *testing.T, k madeKey, _ string) { r.postern(t, "key", "revoke", k.ID) }},
		{name: "disabled", change: func(t *testing.T, k madeKey, _ string) { r.postern(t, "key", "disable", k.ID) }},
		{name: "no scope", change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "update", k.ID, "--scope", "stats.read")
		}},
		{name: "other network", change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "update", k.ID, "--network", "10.0.0.0/8")
		}},
		{name: "other host", change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "update", k.ID, "--host", "nowhere.invalid")
		}},
		{name: "other sender", change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "update", k.ID, "--sender", "boss@sender.test")
		}, mail: "250", data: "550", http: 403},
		{name: "rotated", change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "rotate", k.ID, "--overlap", "0s")
		}},
		{name: "end of the overlap", change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "rotate", k.ID, "--overlap", "1s")
			time.Sleep(1100 * time.Millisecond)
		}},
		{name: "expired", change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "update", k.ID, "--expires-in", "1s")
			time.Sleep(1100 * time.Millisecond)
		}},
		{name: "access list", change: func(t *testing.T, _ madeKey, subuser string) {
			r.postern(t, "access", "add", "10.0.0.0/8", "--subuser", subuser, "--confirm")
		}},
		{name: "subuser disabled", change: func(t *testing.T, _ madeKey, subuser string) { r.postern(t, "subuser", "disable", subuser) }},
		{name: "subuser deleted", change: func(t *testing.T, _ madeKey, subuser string) { r.postern(t, "subuser", "delete", subuser) }},
		{name: "token of a revoked key", token: true, change: func(t *testing.T, k madeKey, _ string) { r.postern(t, "key", "revoke", k.ID) }},
		{name: "token of a rotated key", token: true, change: func(t *testing.T, k madeKey, _ string) {
			r.postern(t, "key", "rotate", k.ID, "--overlap", "0s")
		}},
		{name: "token revoked", token: true},
		{name: "account disabled", change: func(t *testing.T, _ madeKey, _ string) {
			t.Cleanup(func() { r.postern(t, "account", "enable", "main") })
			r.postern(t, "account", "disable", "main")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			subuser := strings.ReplaceAll(c.name, " ", "-")
			r.postern(t, "subuser", "add", subuser, "--email", "s@sender.test")
			k := r.addKey(t, c.name, "--subuser", subuser, "--scope", "mail.send,stats.read")
			bearer, login := k.APIKey, func() sasl.Client { return sasl.NewPlainClient("apikey", secret.Redacted(k.APIKey)) }
			if c.token {
				bearer = r.accessToken(t, k.APIKey)
				login = func() sasl.Client { return sasl.NewOAuthBearerClient(k.ID, secret.Redacted(bearer), "", 0) }
			}
			idle, sending, request := r.open(t, login()), r.open(t, login()), r.request(t, bearer)
			sending.halfway(r.From, r.To)
			time.Sleep(100 * time.Millisecond) // the request is judged, and its body waited for
			if c.change != nil {
				c.change(t, k, subuser)
			} else {
				res := command{args: []string{r.bin, "token", "revoke", "--url", "http://" + r.HTTP}, env: []string{"POSTERN_API_KEY=" + k.APIKey}, stdin: bearer}.run(t)
				if res.code != 0 {
					t.Fatal(res.out)
				}
			}
			changed := time.Now()
			if c.mail == "" {
				c.mail, c.data = "454 4.7.0", "454 4.7.0"
			}
			if c.http == 0 {
				c.http = http.StatusUnauthorized
			}
			idle.want("MAIL FROM:<"+r.From+">", c.mail)
			sending.want("rest\r\n.", c.data)
			if got := request.finish(t); got != c.http {
				t.Errorf("HTTP status %d, want %d", got, c.http)
			}
			if took := time.Since(changed); took > 5*time.Second { // a loaded machine; the relay promises one
				t.Errorf("all was answered after %v", took)
			}
			sending.want("MAIL FROM:<"+r.From+">", c.mail)
		})
	}
}

// accessToken asks for a token of postern's own.
func (r *ownRelay) accessToken(t testing.TB, key string) string {
	t.Helper()
	res := command{args: []string{r.bin, "token", "new", "--json", "--url", "http://" + r.HTTP}, env: []string{"POSTERN_API_KEY=" + key}}.run(t)
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(res.out), &got); err != nil || got.Token == "" {
		t.Fatalf("%v in %q", err, res.out)
	}
	return got.Token
}
