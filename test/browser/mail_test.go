package browser

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/smtp"
	"os"
	"strings"
	"testing"
	"time"
)

// message is what a program hands in by SMTP.
type message struct{ key, helo, from, to, raw string }

// deliver hands it in with STARTTLS; the error is the relay's refusal.
func (w *world) deliver(t testing.TB, m message) error {
	t.Helper()
	pem, err := os.ReadFile(w.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := smtp.Dial(w.SMTPStartTLS)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if m.helo != "" {
		if err := c.Hello(m.helo); err != nil {
			return err
		}
	}
	if err := c.StartTLS(&tls.Config{RootCAs: roots, ServerName: w.Hostname}); err != nil {
		t.Fatal(err)
	}
	if err := c.Auth(smtp.PlainAuth("", "apikey", m.key, "127.0.0.1")); err != nil {
		return err
	}
	if err := c.Mail(m.from); err != nil {
		return err
	}
	if err := c.Rcpt(m.to); err != nil {
		return err
	}
	d, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(d, strings.ReplaceAll(m.raw, "\n", "\r\n")); err != nil {
		return err
	}
	if err := d.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// letterTo is a usual message.
func letterTo(key, from, to, subject string) message {
	return message{key, "web-1." + from[strings.Index(from, "@")+1:], from, to, fmt.Sprintf("From: %s\nTo: %s\nSubject: %s\n\nHello.\n", from, to, subject)}
}

// api asks the HTTP API with a key, and waits until ok takes the answer.
func (w *world) api(t testing.TB, key, method, path string, body, out any, ok func() bool) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var status, text string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		req, err := http.NewRequest(method, w.url()+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", userAgent)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		status, text = resp.Status, string(answer)
		if resp.StatusCode/100 != 2 {
			break
		}
		if out != nil && len(answer) > 0 {
			if err := json.Unmarshal(answer, out); err != nil {
				t.Fatalf("%s %s: %v\n%s", method, path, err, answer)
			}
		}
		if ok == nil || ok() {
			return
		}
	}
	t.Fatalf("%s %s: %s %s", method, path, status, text)
}

// userAgent is how programs that use the API name themselves.
const userAgent = "acme-shop/2.3"

// apiKey is a key as it is made.
type apiKey struct {
	ID     string `json:"api_key_id"`
	Secret string `json:"api_key"`
}

func (w *world) newKey(t testing.TB, by string, body map[string]any) (k apiKey) {
	t.Helper()
	w.api(t, by, "POST", "/v3/api_keys", body, &k, nil)
	return k
}

// found is a line of the search for mail.
type found struct {
	ID    string `json:"msg_id"`
	To    string `json:"to_email"`
	State string `json:"state"`
}

// wait waits until there is mail to an address in a state, and returns its id.
func (w *world) wait(t testing.TB, key, to, state string) string {
	t.Helper()
	var list struct{ Messages []found }
	w.api(t, key, "GET", "/v3/messages?to="+to+"&state="+state, nil, &list, func() bool { return len(list.Messages) > 0 })
	return list.Messages[0].ID
}
