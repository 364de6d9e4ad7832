package confirm

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// links is one link that works once.
type links struct {
	address string
	used    int
	by      store.By
}

var gone = relay.E(relay.NotFound, "This link was used.")

func (l *links) Link(_ context.Context, token string) (relay.SingleSender, error) {
	if token != "good" || l.used > 0 {
		return relay.SingleSender{}, gone
	}
	return relay.SingleSender{FromEmail: l.address}, nil
}

func (l *links) Confirm(ctx context.Context, by store.By, token string) (relay.SingleSender, error) {
	n, err := l.Link(ctx, token)
	if err == nil {
		l.used++
		l.by = by
	}
	return n, err
}

func site(l *links, account string) http.Handler {
	return httpx.New(httpx.Options{Local: true}, Routes(l, func(relay.AccountID) string { return account }))
}

func visit(h http.Handler, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost"+path, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestOnlyTheButtonConfirms(t *testing.T) {
	t.Parallel()
	l := &links{address: "ann@else.test"}
	h := site(l, "Acme")
	for _, method := range []string{"GET", "HEAD", "GET"} {
		if w := visit(h, method, "/senders/verify/good"); w.Code != 200 {
			t.Fatalf("%s: %d %s", method, w.Code, w.Body)
		}
	}
	if l.used != 0 {
		t.Fatal("opening the link confirmed it")
	}
	page := visit(h, "GET", "/senders/verify/good").Body.String()
	for _, want := range []string{`<form method="post">`, "ann@else.test", "Acme"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if w := visit(h, "POST", "/senders/verify/good"); w.Code != 200 || l.used != 1 || !strings.Contains(w.Body.String(), "may now send") {
		t.Errorf("the button: %d %s", w.Code, w.Body)
	}
	for _, method := range []string{"GET", "POST"} {
		if w := visit(h, method, "/senders/verify/good"); w.Code != 404 || !strings.Contains(w.Body.String(), "This link was used.") || strings.Contains(w.Body.String(), "<form") {
			t.Errorf("%s of a used link: %d %s", method, w.Code, w.Body)
		}
	}
	if l.used != 1 {
		t.Errorf("used %d times", l.used)
	}
}

// WB: hostile names are shown as text, and the page may load and run nothing.
func TestHostileNamesAreText(t *testing.T) {
	t.Parallel()
	h := site(&links{address: `"<img src=x onerror=alert(1)>"@else.test`}, `<script>alert(1)</script>`)
	w := visit(h, "GET", "/senders/verify/good")
	page := w.Body.String()
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") {
		t.Errorf("markup of a name is in the page:\n%s", page)
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "style-src 'sha256-"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %q", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || w.Header().Get("Referrer-Policy") != "no-referrer" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", w.Header())
	}
}
