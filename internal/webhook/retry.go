package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryAfter is how long an answer asks to wait: seconds, or a date (RFC 9110
// §10.2.3). What is not there, cannot be read or lies before now is 0.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}
