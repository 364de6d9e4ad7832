package browser

import (
	"net/http"
	"strings"
	"testing"
)

// Who mistypes an address gets a page; a program gets what a program reads.
func TestNowhere(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	for _, c := range []struct{ path, accept, kind string }{
		{"/nowhere", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html"},
		{"/nowhere", "application/json", "application/json"},
		{"/nowhere", "", "application/json"},
		{"/v3/nowhere", "text/html", "application/json"},
	} {
		req, err := http.NewRequest(http.MethodGet, w.url()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", c.accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusNotFound || !strings.HasPrefix(got, c.kind) {
			t.Errorf("%s for %q: %s, %s, want %s", c.path, c.accept, resp.Status, got, c.kind)
		}
		if c.kind == "text/html" && resp.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: a page without a policy", c.path)
		}
	}
}
