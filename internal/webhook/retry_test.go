package webhook

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, " 5 ": 5 * time.Second, "0": 0, "-5": 0, "1.5": 0, "soon": 0,
		"2147483647":                    2147483647 * time.Second,
		"99999999999999999999":          0, // more than any clock has
		"Mon, 23 Nov 2026 08:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 07:00:00 GMT": 0,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if got := RetryAfter(http.Header{}, now); got != 0 {
		t.Errorf("without the header %s", got)
	}
}
