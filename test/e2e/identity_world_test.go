package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/secret"
	"postern/internal/sink"
)

// identityRelay is a relay whose mail to rcpt.test and other.test arrives in a
// sink of the test's own, which verifies nothing.
type identityRelay struct {
	*ownRelay
	inbox *sink.Inbox
}

// newIdentityRelay runs one until the test ends. rcpt.test and other.test take
// everything but what is for nobody@.
func newIdentityRelay(t testing.TB, conf string) *identityRelay {
	t.Helper()
	fault, err := sink.ParseFault("rcpt,to=nobody@rcpt.test: 550 5.1.1 no such user")
	if err != nil {
		t.Fatal(err)
	}
	server, err := sink.New(sink.Config{Hostname: "mx.rcpt.test", Faults: []sink.Fault{fault}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		<-served
	})
	conf += "\n[deliver]\nallow_networks = [\"127.0.0.0/8\"]\nipv6 = false\n"
	for _, domain := range []string{"rcpt.test", "other.test", "sender.test"} {
		conf += fmt.Sprintf("\n[[deliver.destination]]\ndomain = %q\nroute = %q\n", domain, ln.Addr())
	}
	r := newRelay(t, relayOptions{domains: []string{"sender.test"}, conf: conf})
	r.From, r.To = "news@sender.test", "someone@rcpt.test"
	return &identityRelay{ownRelay: r, inbox: server.Inbox()}
}

// arrives waits until the message with a subject is in the sink.
func (r *identityRelay) arrives(t testing.TB, subject string) sink.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+patience) // the schedule's first wait is a minute
	defer cancel()
	m, err := r.inbox.Wait(ctx, func(m sink.Message) bool { return bytes.Contains(m.Raw, []byte(subject)) })
	if err != nil {
		t.Fatalf("%s has not arrived within %v", subject, time.Minute+patience)
	}
	return m
}

// copies counts the messages with a subject that are in the sink.
func (r *identityRelay) copies(subject string) int {
	n := 0
	for _, m := range r.inbox.List() {
		if bytes.Contains(m.Raw, []byte(subject)) {
			n++
		}
	}
	return n
}

// unknownKey is a well-formed key that nobody has.
func unknownKey(t testing.TB) string {
	t.Helper()
	k, err := secret.GenerateKey("SG")
	if err != nil {
		t.Fatal(err)
	}
	return k.Text().Reveal()
}

// tries runs a subcommand that may fail.
func (r *identityRelay) tries(t testing.TB, args ...string) result {
	t.Helper()
	return command{args: append([]string{r.bin}, args...), env: []string{"POSTERN_DATA_DIR=" + r.dir}}.run(t)
}

// read runs a subcommand with --json and decodes what it prints.
func (r *identityRelay) read(t testing.TB, v any, args ...string) {
	t.Helper()
	text := r.postern(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("postern %v: %v in %s", args, err, text)
	}
}

// lines runs a subcommand that prints a JSON object a line.
func lines[T any](t testing.TB, r *identityRelay, args ...string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(r.postern(t, append(args, "--json")...)) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("postern %v: %v in %s", args, err, line)
		}
		all = append(all, v)
	}
	return all
}

// smtpTalk is a session on the port with TLS from the first octet: what a client
// sees, reply by reply. Replies have all their lines, without the last CRLF. A
// connection that is closed answers "closed".
type smtpTalk struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// talk opens a session from a loopback address and says EHLO.
func (r *identityRelay) talk(t testing.TB, from, helo string) *smtpTalk {
	t.Helper()
	conf, err := r.tlsConfig()
	if err != nil {
		t.Fatal(err)
	}
	d := &tls.Dialer{NetDialer: localDialer(from), Config: conf}
	conn, err := d.Dial("tcp", r.SMTPTLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &smtpTalk{t, conn, bufio.NewReader(conn)}
	if got := s.reply(); !strings.HasPrefix(got, "220 ") {
		t.Fatalf("greeting %q", got)
	}
	s.want("EHLO "+helo, "250")
	return s
}

func localDialer(from string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 30 * time.Second}
}

func (s *smtpTalk) reply() string {
	s.t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(time.Minute))
	var all strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			if err == io.EOF {
				return "closed"
			}
			s.t.Fatalf("no reply: %v (after %q)", err, all.String())
		}
		all.WriteString(line)
		if len(line) > 3 && line[3] != '-' {
			return strings.TrimSuffix(all.String(), "\r\n")
		}
	}
}

func (s *smtpTalk) say(line string) string {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return "closed"
	}
	return s.reply()
}

// want says a line and fails the test unless the reply begins as it should.
func (s *smtpTalk) want(line, start string) {
	s.t.Helper()
	if got := s.say(line); !strings.HasPrefix(got, start) {
		s.t.Fatalf("%.40s: %q, want %s", line, got, start)
	}
}

// login is AUTH PLAIN and returns the reply.
func (s *smtpTalk) login(user, password string) string {
	s.t.Helper()
	return s.say("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
}

// in logs in with a key, which must work.
func (s *smtpTalk) in(key string) *smtpTalk {
	s.t.Helper()
	if got := s.login("apikey", key); !strings.HasPrefix(got, "235 ") {
		s.t.Fatalf("login: %q", got)
	}
	return s
}

// send sends one message and returns the reply that decided: that of the first
// step that was refused, or of the end of the text.
func (s *smtpTalk) send(subject, from string, to ...string) string {
	s.t.Helper()
	if got := s.say("MAIL FROM:<" + from + ">"); got[0] != '2' {
		return got
	}
	for _, rcpt := range to {
		if got := s.say("RCPT TO:<" + rcpt + ">"); got[0] != '2' {
			s.want("RSET", "250")
			return got
		}
	}
	if got := s.say("DATA"); got[0] != '3' {
		return got
	}
	return s.say("From: " + from + "\r\nTo: " + to[0] + "\r\nSubject: " + subject + "\r\n\r\nx\r\n.")
}

// wantReply checks the beginning of a reply.
func wantReply(t testing.TB, what, got, start string) {
	t.Helper()
	if !strings.HasPrefix(got, start) {
		t.Errorf("%s: %q, want %s", what, got, start)
	}
}

// idOf is the message's id in a reply such as "250 2.0.0 Ok: queued as …".
func idOf(t testing.TB, reply string) string {
	t.Helper()
	_, id, ok := strings.Cut(reply, "queued as ")
	if !ok {
		t.Fatalf("not queued: %q", reply)
	}
	return id
}

// apiRequest is one request of the HTTP API.
type apiRequest struct {
	from   string // loopback address; 127.0.0.1 unless set
	key    string // bearer
	basic  [2]string
	method string // GET unless set
	path   string
	header map[string]string
	body   any
}

// apiReply is its answer.
type apiReply struct {
	status int
	header http.Header
	body   string
}

func (r *identityRelay) api(t testing.TB, q apiRequest) apiReply {
	t.Helper()
	var body io.Reader
	if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	method, from := q.method, q.from
	if method == "" {
		method = http.MethodGet
	}
	if from == "" {
		from = "127.0.0.1"
	}
	_, port := split(t, r.HTTP)
	req, err := http.NewRequest(method, "http://127.0.0.1:"+port+q.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case q.basic[0] != "":
		req.SetBasicAuth(q.basic[0], q.basic[1])
	case q.key != "":
		req.Header.Set("Authorization", "Bearer "+q.key)
	}
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: localDialer(from).DialContext, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return apiReply{resp.StatusCode, resp.Header, string(text)}
}

// mailSend is the body of a POST /v3/mail/send.
func mailSend(subject, from string, to ...string) map[string]any {
	var rcpts []map[string]string
	for _, a := range to {
		rcpts = append(rcpts, map[string]string{"email": a})
	}
	return map[string]any{
		"personalizations": []any{map[string]any{"to": rcpts}}, "from": map[string]string{"email": from}, "subject": subject,
		"content": []any{map[string]string{"type": "text/plain", "value": "x"}},
	}
}

// post sends one message by HTTP.
func (r *identityRelay) post(t testing.TB, key, subject, from string, to ...string) apiReply {
	t.Helper()
	return r.api(t, apiRequest{key: key, method: http.MethodPost, path: "/v3/mail/send", body: mailSend(subject, from, to...)})
}

// wantStatus checks an answer's status and a word of its text.
func wantStatus(t testing.TB, what string, got apiReply, status int, word string) {
	t.Helper()
	if got.status != status || !strings.Contains(got.body, word) {
		t.Errorf("%s: %d %s, want %d with %q", what, got.status, got.body, status, word)
	}
}

// alertSeen is one alert event.
type alertSeen struct {
	Key  string `json:"api_key_id"`
	Data struct {
		Alert struct {
			Kind, Text, Addr, Limit string
			Used, Total             int64
		}
	}
}

// alerts are those of one kind that were raised so far.
func (r *identityRelay) alerts(t testing.TB, kind string) []alertSeen {
	t.Helper()
	var found []alertSeen
	for _, a := range lines[alertSeen](t, r, "events", "--event", "alert", "--limit", "1000") {
		if a.Data.Alert.Kind == kind {
			found = append(found, a)
		}
	}
	return found
}

// eventSeen is one event of a message.
type eventSeen struct {
	Event     string
	Recipient string
	Data      struct{ Reason, Reply string }
}

// history are the events of one message, by kind, once those that are wanted are there:
// a message arrives before that is on record.
func (r *identityRelay) history(t testing.TB, id string, wanted ...string) map[string]eventSeen {
	t.Helper()
	found := map[string]eventSeen{}
	until(t, fmt.Sprintf("events %q of %s", wanted, id), func() bool {
		for _, e := range lines[eventSeen](t, r, "events", "--message", id, "--limit", "1000") {
			found[e.Event] = e
		}
		return !slices.ContainsFunc(wanted, func(name string) bool { return found[name].Event == "" })
	})
	return found
}

// loginSeen is one login record.
type loginSeen struct {
	Protocol, Listener, Mechanism, Tried, Detail string
	Key                                          string `json:"api_key_id"`
	Addr, Network, Helo, TLS, Result             string
	Count                                        int64
}
