package dns

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// The table of a limiter: enough for the networks that ask in any one second,
// in about 4 MiB whatever happens.
const (
	limitSets = 1 << 13
	limitWays = 8
)

// verdict is what becomes of one answer over UDP.
type verdict int

const (
	send verdict = iota
	drop
	slip // sent empty and truncated: a true asker comes back over TCP
)

// limiter bounds the answers to one network, so that nobody is flooded by us
// whose address somebody else put into questions. Networks are /24 and /56.
// Each has a bucket that holds the answers of one second; of the answers for
// which it has nothing left, every second one slips.
//
// The table has a fixed size. Where a network finds no place, the one that was
// quiet for longest among a few gives its up, and may then be answered a second's
// worth too often; with a secret hash nobody can choose which.
type limiter struct {
	rate float64
	seed maphash.Seed

	mu   sync.Mutex
	sets [limitSets][limitWays]bucket
}

type bucket struct {
	network netip.Addr // the first address; zero: free
	left    float64
	at      time.Time // when left was true
	dropped uint32
}

func newLimiter(perSecond int) *limiter {
	return &limiter{rate: float64(perSecond), seed: maphash.MakeSeed()}
}

// take judges one answer to an address.
func (l *limiter) take(addr netip.Addr, now time.Time) verdict {
	network := limitNetwork(addr)
	set := &l.sets[maphash.Comparable(l.seed, network)%limitSets]
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &set[0]
	for i := range set {
		if set[i].network == network {
			b = &set[i]
			break
		}
		if set[i].at.Before(b.at) {
			b = &set[i]
		}
	}
	if b.network != network {
		*b = bucket{network: network, left: l.rate, at: now}
	}
	if d := now.Sub(b.at); d > 0 {
		b.left = min(l.rate, b.left+d.Seconds()*l.rate)
	}
	b.at = now
	if b.left >= 1 {
		b.left--
		return send
	}
	if b.dropped++; b.dropped%2 == 0 {
		return slip
	}
	return drop
}

func limitNetwork(addr netip.Addr) netip.Addr {
	a := addr.Unmap().WithZone("")
	bits := 24
	if a.Is6() {
		bits = 56
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return a
	}
	return p.Addr()
}
