package sender

import (
	"sync"
	"time"

	"postern/internal/relay"
)

// letterPace bounds letters to people who did not ask for them: whoever has a
// key could have them mailed to strangers.
type letterPace struct {
	mu    sync.Mutex
	began time.Time
	sent  map[string]int // since began
}

const (
	paceSpan       = 24 * time.Hour
	paceTenant     = 50
	paceAddress    = 5
	maxPaceEntries = 100_000
)

// take counts a letter, if it may go: in 24 hours 50 of a tenant, and 5 to one
// address whoever asks. It forgets all at once; a restart forgets too.
func (p *letterPace) take(t relay.Tenant, address string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil || now.Sub(p.began).Abs() >= paceSpan || len(p.sent) >= maxPaceEntries {
		p.began, p.sent = now, map[string]int{}
	}
	tenant, to := "t"+t.Account.String()+"/"+t.Subuser.String(), "a"+address
	if p.sent[tenant] >= paceTenant || p.sent[to] >= paceAddress {
		return false
	}
	p.sent[tenant]++
	p.sent[to]++
	return true
}
