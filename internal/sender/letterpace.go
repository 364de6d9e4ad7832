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

// paced is what letters are counted by, and how many there may be in paceSpan.
type paced struct {
	key  string
	most int
}

const (
	paceSpan       = 24 * time.Hour
	paceTenant     = 50
	paceAddress    = 5
	paceAccount    = 300 // about all domains of an account; and as many links
	paceDomain     = 12  // about one domain
	maxPaceEntries = 100_000
)

// take counts a letter, if it may go: in 24 hours 50 of a tenant, 300 of an account
// with all its subusers, and 5 to one address whoever asks.
func (p *letterPace) take(t relay.Tenant, address string, now time.Time) bool {
	return p.count(now, paced{"t" + t.Account.String() + "/" + t.Subuser.String(), paceTenant}, paced{"s" + t.Account.String(), paceAccount}, paced{"a" + address, paceAddress})
}

// about counts a letter about a domain, if it may go: in 24 hours 12, and 300 about
// all domains of its account. Who publishes a record and takes it away again, and
// has it looked at each time, could otherwise have letters without end mailed to
// whatever address a subuser was given.
func (p *letterPace) about(d relay.Domain, now time.Time) bool {
	return p.count(now, paced{"o" + d.Account.String(), paceAccount}, paced{"d" + d.ID.String(), paceDomain})
}

// count counts a letter by all of its keys, if none has had enough. It forgets all
// at once; a restart forgets too.
func (p *letterPace) count(now time.Time, by ...paced) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil || now.Sub(p.began).Abs() >= paceSpan || len(p.sent) >= maxPaceEntries {
		p.began, p.sent = now, map[string]int{}
	}
	for _, b := range by {
		if p.sent[b.key] >= b.most {
			return false
		}
	}
	for _, b := range by {
		p.sent[b.key]++
	}
	return true
}
