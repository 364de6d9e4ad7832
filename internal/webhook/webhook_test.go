package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// TestSignVector is the example of the Standard Webhooks specification's
// reference libraries.
func TestSignVector(t *testing.T) {
	t.Parallel()
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1614265330, 0)
	body := []byte(`{"test": 2432232314}`)
	want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := Sign([][]byte{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if SecretText(secret) != "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" {
		t.Error("a secret is another one when it was read")
	}
}

// AP-18: what is forged, changed, old or of another secret is refused.
func TestVerify(t *testing.T) {
	t.Parallel()
	one, two := NewSecret(), NewSecret()
	now := time.Unix(1_800_000_000, 0)
	stamp, body := strconv.FormatInt(now.Unix(), 10), []byte(`{"a":1}`)
	both := Sign([][]byte{one, two}, "id", now, body)
	for name, c := range map[string]struct {
		secret                []byte
		id, timestamp, header string
		body                  []byte
		now                   time.Time
		ok                    bool
	}{
		"the new secret":        {one, "id", stamp, both, body, now, true},
		"the old secret":        {two, "id", stamp, both, body, now, true},
		"four minutes later":    {one, "id", stamp, both, body, now.Add(4 * time.Minute), true},
		"six minutes later":     {one, "id", stamp, both, body, now.Add(6 * time.Minute), false},
		"six minutes early":     {one, "id", stamp, both, body, now.Add(-6 * time.Minute), false},
		"another secret":        {NewSecret(), "id", stamp, both, body, now, false},
		"another id":            {one, "ie", stamp, both, body, now, false},
		"another time":          {one, "id", strconv.FormatInt(now.Unix()+1, 10), both, body, now, false},
		"another body":          {one, "id", stamp, both, []byte(`{"a":2}`), now, false},
		"no signature":          {one, "id", stamp, "", body, now, false},
		"another version":       {one, "id", stamp, strings.ReplaceAll(both, "v1,", "v2,"), body, now, false},
		"no timestamp":          {one, "id", "now", both, body, now, false},
		"a signature cut short": {one, "id", stamp, both[:20], body, now, false},
	} {
		if err := Verify(c.secret, c.id, c.timestamp, c.header, c.body, c.now); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))} {
		if _, err := ParseSecret(bad); err == nil {
			t.Errorf("%q is a secret", bad)
		}
	}
}

// AP-17: URLs that lead into a network, or are not what they seem.
func TestCheckURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://hooks.example.com/a?b=c":    "https://hooks.example.com/a?b=c",
		"https://hooks.example.com:443/":     "https://hooks.example.com:443/",
		"https://hooks.example.com:8443/":    "https://hooks.example.com:8443/",
		"https://Bücher.example.com/x":       "https://xn--bcher-kva.example.com/x",
		"https://8.8.8.8/":                   "https://8.8.8.8/",
		"https://[2606:4700::1111]/":         "https://[2606:4700::1111]/",
		"http://hooks.example.com/":          "",
		"file:///etc/passwd":                 "",
		"gopher://hooks.example.com/":        "",
		"https:hooks.example.com":            "",
		"//hooks.example.com/":               "",
		"https://hooks.example.com:25/":      "",
		"https://hooks.example.com:/":        "",
		"https://hooks.example.com:99999/":   "",
		"https://u:p@hooks.example.com/":     "",
		"https://u@hooks.example.com/":       "",
		"https://hooks.example.com/#x":       "",
		"https://hooks.example.com\\@x.com":  "",
		"https://hooks.example.com/\r\nX: y": "",
		"https://":                           "",
		"https://localhost/":                 "",
		"https://a.localhost/":               "",
		"https://db.internal/":               "",
		"https://intranet/":                  "",
		"https://127.0.0.1/":                 "",
		"https://10.0.0.1/":                  "",
		"https://169.254.169.254/latest":     "",
		"https://[::1]/":                     "",
		"https://[::ffff:127.0.0.1]/":        "",
		"https://[fe80::1%25eth0]/":          "",
		"https://[64:ff9b::7f00:1]/":         "",
		"https://0x7f.1/":                    "",
		"https://2130706433/":                "",
		"https://127.1/":                     "",
		"https://017700000001/":              "",
		"https://①②⑦.0.0.1/":                 "",
		"https://127。0。0。1/":                 "",
	} {
		got, err := CheckURL(text, []int{8443})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
		if err != nil && relay.KindOf(err) != relay.Invalid {
			t.Errorf("%q: %v is not Invalid", text, err)
		}
	}
	if _, err := CheckURL("https://hooks.example.com/"+strings.Repeat("a", maxURL), nil); err == nil {
		t.Error("a URL without end is taken")
	}
}

// receiver is a customer's server. Its name is not resolved: the transport's dial
// is turned to it after the guard has judged.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []*http.Request
	body [][]byte
}

func newReceiver(t *testing.T, handler http.HandlerFunc) (*receiver, *Client) {
	r := &receiver{}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got, r.body = append(r.got, req), append(r.body, b)
		r.mu.Unlock()
		handler(w, req)
	}))
	t.Cleanup(r.Close)
	u, _ := url.Parse(r.URL)
	port, _ := strconv.Atoi(u.Port())
	roots := x509.NewCertPool()
	roots.AddCert(r.Certificate())
	c := NewClient(Config{Ports: []int{port}, Roots: roots, Allow: func(a netip.Addr) bool { return a.IsLoopback() }})
	// A name of the certificate, at this address.
	transport := c.http.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		return dial(ctx, network, u.Host)
	}
	r.URL = "https://example.com:" + u.Port() + "/hook"
	t.Cleanup(c.Close)
	return r, c
}

func TestPost(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	secrets := [][]byte{NewSecret(), NewSecret()}
	body := []byte(`{"x":1}`)
	if err := c.Post(t.Context(), r.URL, secrets, "id1", body); err != nil {
		t.Fatal(err)
	}
	h := r.got[0].Header
	for _, s := range secrets {
		if err := Verify(s, h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature), r.body[0], time.Now()); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(r.body[0], body) || h.Get("Content-Type") != "application/json" || r.got[0].Method != "POST" || h.Get("Cookie")+h.Get("Authorization") != "" {
		t.Errorf("%v", h)
	}
}

// AP-17: redirects are not followed, and answers have an end.
func TestPostAnswers(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Query().Get("a") {
		case "redirect":
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		case "no":
			http.Error(w, "a secret of the receiver's inside", 500)
		case "endless":
			for range 10_000 {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}
	})
	for a, status := range map[string]int{"redirect": 307, "no": 500} {
		err := c.Post(t.Context(), r.URL+"?a="+a, nil, "id", nil)
		refused, ok := errors.AsType[*Refused](err)
		if !ok || refused.Status != status || strings.Contains(err.Error(), "inside") {
			t.Errorf("%s: %v", a, err)
		}
	}
	if err := c.Post(t.Context(), r.URL+"?a=endless", nil, "id", nil); err != nil {
		t.Errorf("endless: %v", err)
	}
	if len(r.got) != 3 {
		t.Errorf("%d requests", len(r.got))
	}
	if err := c.Post(t.Context(), r.URL, nil, "id", make([]byte, MaxBody+1)); err == nil {
		t.Error("a body without end is posted")
	}
}

// AP-17: DNS rebinding: whatever a name was when the URL was saved, the address
// that is dialled is judged.
func TestDialIsGuarded(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
	c.cfg.Allow = NewClient(Config{}).cfg.Allow
	if err := c.Post(t.Context(), r.URL, nil, "id", nil); !errors.Is(err, errAddress) {
		t.Errorf("loopback: %v", err)
	}
	for address, ok := range map[string]bool{"8.8.8.8:443": true, "[2606:4700::1111]:443": true, "127.0.0.1:443": false, "10.1.2.3:443": false, "169.254.169.254:443": false,
		"[::1]:443": false, "[fd00::1]:443": false, "[::ffff:10.0.0.1]:443": false, "8.8.8.8:25": false, "8.8.8.8:80": false, "name:443": false, "x": false} {
		if err := NewClient(Config{}).guard("tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
	if len(r.got) != 0 {
		t.Error("it was reached")
	}
}
