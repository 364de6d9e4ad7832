package v3

import (
	"net/http"
	"strconv"
	"sync"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// Requests a minute (SendGrid's 600, and twice that for all keys of an account).
const (
	defaultKeyRate     = 600
	defaultAccountRate = 1200
	// maxRated bounds the table. Only keys and people that proved themselves are counted, so it
	// takes as many live keys to fill it; whoever comes then shares one count.
	maxRated = 100_000
)

// rates counts requests by minute of the clock, per key or person and per account.
type rates struct {
	mu     sync.Mutex
	minute int64
	count  map[relay.ID]int // guarded by mu
}

func newRates() *rates { return &rates{count: map[relay.ID]int{}} }

// take counts a request, sets the headers that tell of the limit that is nearer,
// and refuses what is over (AP-14). A refused request counts too.
func (t *rates) take(a *API, c *Call) error {
	minute := c.Now.Unix() / 60
	t.mu.Lock()
	if minute != t.minute {
		t.minute = minute
		clear(t.count)
	}
	key := t.add(whoID(c.Principal))
	account := t.add(c.Principal.Account.ID)
	t.mu.Unlock()

	limit, left := a.KeyRate, a.KeyRate-key
	if l := a.AccountRate - account; l < left {
		limit, left = a.AccountRate, l
	}
	reset := (minute + 1) * 60
	h := c.W.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(left, 0)))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(reset, 10))
	if left < 0 {
		h.Set("Retry-After", strconv.FormatInt(reset-c.Now.Unix(), 10))
		return httpx.Refuse(http.StatusTooManyRequests, "too many requests")
	}
	return nil
}

func (t *rates) add(id relay.ID) int {
	if _, ok := t.count[id]; !ok && len(t.count) >= maxRated {
		id = relay.ID{}
	}
	t.count[id]++
	return t.count[id]
}
