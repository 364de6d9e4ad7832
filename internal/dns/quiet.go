package dns

import (
	"net/netip"
	"sync"
	"time"
)

const (
	quietFor = 10 * time.Second // one check of a domain asks dozens of questions
	maxQuiet = 4096
)

// quiet remembers for a moment which servers did not answer about a zone, so that
// a domain whose servers are all silent costs the time of one question and not of
// dozens (RFC 9520 §3.1). By zone: many servers say nothing about zones that they
// do not serve, and whoever delegates a zone to them must not make them silent
// about those that they do.
type quiet struct {
	mu    sync.Mutex
	until map[quietServer]time.Time
}

type quietServer struct {
	zone string
	addr netip.Addr
}

func (q *quiet) note(zone string, addr netip.Addr, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.until == nil || len(q.until) >= maxQuiet {
		q.until = make(map[quietServer]time.Time)
	}
	q.until[quietServer{zone, addr}] = now.Add(quietFor)
}

func (q *quiet) is(zone string, addr netip.Addr, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return now.Before(q.until[quietServer{zone, addr}])
}
