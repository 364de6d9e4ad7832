package httpx

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Who reads the log does not learn a link that is still good, whatever was
// asked of it and however it was spelled.
func TestLogHasNoTokens(t *testing.T) {
	t.Parallel()
	ok := func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(http.StatusOK); return nil }
	var log bytes.Buffer
	h := New(Options{Local: true, Logger: slog.New(slog.NewJSONHandler(&log, nil))}, []Route{
		{Method: "GET", Pattern: "/senders/verify/{token}", Handler: ok}, {Method: "GET", Pattern: "/senders/{name}", Handler: ok},
	})
	for _, x := range [][2]string{
		{"GET", "/senders/verify/SECRET"}, {"HEAD", "/senders/verify/SECRET"}, {"OPTIONS", "/senders/verify/SECRET"}, {"PUT", "/senders/verify/SECRET"},
		{"GET", "/senders/verify//SECRET"}, {"GET", "//senders/./verify/SECRET/"}, {"GET", "/senders/verify/SECRET/more"},
		{"GET", "/senders/verify/%53ECRET"}, {"GET", "/Senders/Verify/SECRET"}, {"GET", "/x/../senders/verify/SECRET"},
	} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(x[0], "http://localhost"+x[1], nil))
	}
	if text := log.String(); strings.Contains(text, "SECRET") || !strings.Contains(text, "/senders/verify/[redacted]") {
		t.Errorf("the log:\n%s", text)
	}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/senders/ann", nil))
	if !strings.Contains(log.String(), `"/senders/ann"`) {
		t.Error("other paths are gone too")
	}
}
