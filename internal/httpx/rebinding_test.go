package httpx

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A name that somebody else pointed at loopback is not answered; the machine's
// own names are.
func TestLoopbackAnswersToItsOwnNamesOnly(t *testing.T) {
	h := New(Options{Logger: slog.New(slog.DiscardHandler), Local: true}, []Route{{Method: "GET", Pattern: "/x", Handler: func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}}})
	for host, want := range map[string]int{
		"localhost:8025": 204, "LOCALHOST": 204, "127.0.0.1:8025": 204, "[::1]:8025": 204, "127.0.0.53": 204,
		"evil.example:8025": 421, "localhost.evil.example": 421, "192.0.2.1": 421, "": 421,
	} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.Host, r.RemoteAddr = host, "127.0.0.1:40000"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
	}
}
