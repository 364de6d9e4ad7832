package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestInboxIsBounded(t *testing.T) {
	t.Parallel()
	b := newInbox(3, 1<<30)
	for i := range 5 {
		b.put(Message{ID: fmt.Sprint(i)})
	}
	ids := ""
	for _, m := range b.List() {
		ids += m.ID
	}
	if ids != "234" || b.Total() != 5 {
		t.Errorf("keeps %s of %d", ids, b.Total())
	}
	b = newInbox(100, 10_000)
	for range 20 {
		b.put(Message{Raw: make([]byte, 2000)})
	}
	if n := len(b.List()); n != 3 || b.bytes > b.maxBytes {
		t.Errorf("keeps %d messages, %d octets", n, b.bytes)
	}
	b.put(Message{ID: "huge", Raw: make([]byte, 100_000)})
	if l := b.List(); len(l) != 1 || l[0].ID != "huge" {
		t.Errorf("the newest is always kept; have %d", len(l))
	}
}

func TestInboxWait(t *testing.T) {
	t.Parallel()
	b := newInbox(2, 1<<20)
	b.put(Message{ID: "a"})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if m, err := b.Wait(ctx, func(m Message) bool { return m.ID == "a" }); err != nil || m.ID != "a" {
		t.Errorf("one that was there: %q, %v", m.ID, err)
	}
	shown := map[string]int{}
	got := make(chan string, 1)
	ready := make(chan struct{}, 100)
	go func() {
		m, err := b.Wait(ctx, func(m Message) bool { shown[m.ID]++; ready <- struct{}{}; return m.ID == "d" })
		got <- fmt.Sprint(m.ID, err)
	}()
	<-ready
	for _, id := range []string{"b", "c", "d"} {
		b.put(Message{ID: id})
	}
	if s := <-got; s != "d<nil>" {
		t.Errorf("got %s", s)
	}
	for id, n := range shown {
		if n != 1 {
			t.Errorf("%s was shown %d times", id, n)
		}
	}
	over, stop := context.WithCancelCause(context.Background())
	stop(errors.New("enough"))
	if _, err := b.Wait(over, func(Message) bool { return false }); err == nil || err.Error() != "enough" {
		t.Errorf("got %v", err)
	}
}

// The members are the project's contract with scripts.
func TestInboxHandler(t *testing.T) {
	t.Parallel()
	b := newInbox(10, 1<<20)
	get := func(method string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		b.Handler().ServeHTTP(w, httptest.NewRequest(method, "/demo/inbox", nil))
		return w
	}
	if w := get("GET"); strings.TrimSpace(w.Body.String()) != "[]" || w.Code != 200 {
		t.Errorf("an empty inbox is %d %s", w.Code, w.Body)
	}
	at := time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)
	b.put(Message{ID: "1", ReceivedAt: at, MailFrom: "a@acme.test", RcptTo: []string{"b@inbox.test"}, TLS: "TLSv1.3 X", Raw: []byte("\x00\xffhi\r\n"), SPF: "pass", DKIM: "fail", DMARC: "none"})
	b.put(Message{ID: "2"})
	w := get("GET")
	var list []map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 2 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for name, want := range map[string]any{
		"id": "1", "received_at": "2026-06-01T10:00:00Z", "mail_from": "a@acme.test", "tls": "TLSv1.3 X", "raw": "AP9oaQ0K",
		"spf": "pass", "dkim": "fail", "dmarc": "none",
	} {
		if list[0][name] != want {
			t.Errorf("%s is %v, want %v", name, list[0][name], want)
		}
		if _, ok := list[1][name]; !ok {
			t.Errorf("%s is missing where it is empty", name)
		}
	}
	if to, _ := list[0]["rcpt_to"].([]any); len(to) != 1 || to[0] != "b@inbox.test" {
		t.Errorf("rcpt_to is %v", list[0]["rcpt_to"])
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
	if w := get("POST"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
