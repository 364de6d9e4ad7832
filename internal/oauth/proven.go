package oauth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// proven remembers signatures that were found good a moment ago: a program that
// logs in for every message shows one token again and again, and checking a
// signature costs more than all the rest of a login. Only the signature is taken
// from here; form and claims, and so the end, are judged each time.
type proven struct {
	mu    sync.Mutex
	until map[[sha256.Size]byte]time.Time
}

const (
	// provenFor is how long a signature need not be checked again, and so how long a
	// key may go on that its issuer has just withdrawn; its keys are read anew no
	// faster than that anyway.
	provenFor = 30 * time.Second
	maxProven = 4096
)

func (p *proven) has(text string, now time.Time) bool {
	sum := sha256.Sum256([]byte(text))
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.until[sum]
	return ok && now.Before(until) && until.Sub(now) <= provenFor
}

func (p *proven) add(text string, now time.Time) {
	sum := sha256.Sum256([]byte(text))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		p.until = map[[sha256.Size]byte]time.Time{}
	}
	if len(p.until) >= maxProven {
		for k, until := range p.until {
			if !now.Before(until) {
				delete(p.until, k)
			}
		}
		if len(p.until) >= maxProven { // all of them fresh: forget any one
			for k := range p.until {
				delete(p.until, k)
				break
			}
		}
	}
	p.until[sum] = now.Add(provenFor)
}
