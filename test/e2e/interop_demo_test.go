package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The demo that all interop tests send through. Each finds its own messages by
// a unique subject.
var sharedDemo = sync.OnceValues(func() (*demo, error) {
	bin, err := builtBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postern-demo-")
	if err != nil {
		return nil, err
	}
	atExit(func() { os.RemoveAll(dir) })
	d, err := startDemo(bin, dir)
	if err != nil {
		return nil, err
	}
	atExit(func() { _ = d.stop(30 * time.Second) })
	return d, nil
})

// theDemo returns the shared demo, and shows its log when the test fails.
func theDemo(t testing.TB) *demo {
	t.Helper()
	d, err := sharedDemo()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the demo's log:\n%s", d.tail())
		}
	})
	return d
}

// host and port of an address of the demo.
func split(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

var tokens atomic.Int64

// token makes a subject that no other message of this run has.
func token(what string) string {
	return fmt.Sprintf("%s-%d-%d", what, os.Getpid(), tokens.Add(1))
}

// received is one message that the demo's receiving server took.
type received struct {
	ID         string    `json:"id"`
	ReceivedAt time.Time `json:"received_at"`
	MailFrom   string    `json:"mail_from"`
	RcptTo     []string  `json:"rcpt_to"`
	Raw        []byte    `json:"raw"` // the JSON string is base64, which is how encoding/json reads octets
	SPF        string    `json:"spf"`
	DKIM       string    `json:"dkim"`
	DMARC      string    `json:"dmarc"`
}

// head and body of the message, without the empty line between them.
func (r received) head() string { h, _, _ := bytes.Cut(r.Raw, []byte("\r\n\r\n")); return string(h) }
func (r received) body() string { _, b, _ := bytes.Cut(r.Raw, []byte("\r\n\r\n")); return string(b) }

// field returns the raw values of all fields of that name, unfolded.
func (r received) field(name string) []string {
	var values []string
	open := false
	for line := range strings.SplitSeq(r.head(), "\r\n") {
		switch {
		case line != "" && (line[0] == ' ' || line[0] == '\t'):
			if open {
				values[len(values)-1] += line
			}
		default:
			n, v, _ := strings.Cut(line, ":")
			if open = strings.EqualFold(n, name); open {
				values = append(values, strings.TrimSpace(v))
			}
		}
	}
	return values
}

// subject returns the Subject as a reader sees it, RFC 2047 encoded words decoded.
func (r received) subject() string {
	raw := strings.Join(r.field("Subject"), "\n")
	if text, err := new(mime.WordDecoder).DecodeHeader(raw); err == nil {
		return text
	}
	return raw
}

// inbox asks the demo what its receiving server has taken.
func (d *demo) inbox() ([]received, error) {
	resp, err := http.Get("http://" + d.HTTP + "/demo/inbox")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/demo/inbox: %s", resp.Status)
	}
	var all []received
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return nil, fmt.Errorf("/demo/inbox: %w", err)
	}
	return all, nil
}

// with returns the messages whose Subject contains the token.
func (d *demo) with(t testing.TB, token string) []received {
	t.Helper()
	all, err := d.inbox()
	if err != nil {
		t.Fatal(err)
	}
	var found []received
	for _, r := range all {
		if strings.Contains(r.subject(), token) {
			found = append(found, r)
		}
	}
	return found
}

// arrived waits until n messages with the token have arrived, and checks that
// each passed the receiver's checks.
func (d *demo) arrived(t testing.TB, token string, n int) []received {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := d.with(t, token)
		if len(got) >= n {
			for _, r := range got {
				if r.SPF != "pass" || r.DKIM != "pass" || r.DMARC != "pass" {
					t.Errorf("message %s: spf=%s dkim=%s dmarc=%s, want pass", r.ID, r.SPF, r.DKIM, r.DMARC)
				}
			}
			if len(got) > n {
				t.Errorf("%d messages with subject %s, want %d", len(got), token, n)
			}
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages with subject %s after 20 s, want %d", len(got), token, n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// one waits for exactly one message.
func (d *demo) one(t testing.TB, token string) received {
	t.Helper()
	return d.arrived(t, token, 1)[0]
}

// none checks that no message with the token arrived. A message that was refused
// never enters the queue, so what is sent after it arrives first.
func (d *demo) none(t testing.TB, tok string) {
	t.Helper()
	after := token("after")
	if err := d.send(after, "x\r\n"); err != nil {
		t.Fatal(err)
	}
	d.one(t, after)
	if got := d.with(t, tok); len(got) > 0 {
		t.Errorf("%d messages with subject %s arrived, want none:\n%s", len(got), tok, got[0].Raw)
	}
}

// wantAccepted checks a client's exit code and that it saw the message queued.
func wantAccepted(t testing.TB, r result) {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit code %d, want 0:\n%s", r.code, r.out)
	}
}

// wantRefused checks that a client failed and was told these words.
func wantRefused(t testing.TB, r result, words ...string) {
	t.Helper()
	if r.code == 0 {
		t.Errorf("exit code 0, want a failure:\n%s", r.out)
	}
	for _, w := range words {
		if !strings.Contains(r.out, w) {
			t.Errorf("%q is not in what the client printed:\n%s", w, r.out)
		}
	}
}

// The replies that clients in the field match on.
const (
	replyForged   = "550 5.7.1 The from address does not match a verified Sender Identity"
	replyWrongKey = "535 5.7.8 Authentication failed"
	replyNoAuth   = "530 5.7.0"
)

// wrongKey is the demo's key with a typing error at its end.
func (d *demo) wrongKey() string {
	last := byte('A')
	if strings.HasSuffix(d.APIKey, "A") {
		last = 'Q'
	}
	return d.APIKey[:len(d.APIKey)-1] + string(last)
}

// atLeast waits until messages with the token have arrived for all of the
// recipients, in however many transactions.
func (d *demo) atLeast(t testing.TB, token string, rcpts []string) []received {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := d.with(t, token)
		have := map[string]bool{}
		for _, r := range got {
			for _, to := range r.RcptTo {
				have[to] = true
			}
		}
		if len(have) >= len(rcpts) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("subject %s has reached %v after 20 s, want %v", token, have, rcpts)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
