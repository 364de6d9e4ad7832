package password

import (
	"runtime"
	"runtime/metrics"
	"sync"
)

// litter is the memory that hashes have left behind. Each leaves what it worked in,
// and the relay lets the collector wait for far more than that: many logins one
// after the other would take a multiple of what those at one time do.
type litter struct {
	mu     sync.Mutex
	octets int64
	cycles uint64 // of the collector, when octets began to count
}

const collections = "/gc/cycles/total:gc-cycles"

// left counts what a hash left, and has it collected when it is as much as most.
func (l *litter) left(octets, most int64) {
	sample := []metrics.Sample{{Name: collections}}
	metrics.Read(sample)
	l.mu.Lock()
	if now := sample[0].Value.Uint64(); now != l.cycles {
		l.octets, l.cycles = 0, now
	}
	l.octets += octets
	full := l.octets >= most
	if full {
		l.octets = 0
	}
	l.mu.Unlock()
	if full {
		runtime.GC()
	}
}
