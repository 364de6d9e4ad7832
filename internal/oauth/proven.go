package oauth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// proven remembers tokens whose signature was found good a moment ago: a program
// that logs in for every message shows one token again and again, and reading it
// and checking its signature costs more than all the rest of a login. Its header
// and claims, and so its end, are judged each time.
type proven struct {
	mu   sync.Mutex
	good map[[sha256.Size]byte]provenToken
}

type provenToken struct {
	until time.Time
	read  jwt // never changed
}

const (
	// provenFor is how long a signature need not be checked again, and so how long a
	// key may go on that its issuer has just withdrawn; its keys are read anew no
	// faster than that anyway.
	provenFor = 30 * time.Second
	maxProven = 2048
)

// find returns the token as it was read.
func (p *proven) find(text string, now time.Time) (jwt, bool) {
	sum := sha256.Sum256([]byte(text))
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.good[sum]
	return t.read, ok && now.Before(t.until) && t.until.Sub(now) <= provenFor
}

func (p *proven) add(text string, read jwt, now time.Time) {
	sum := sha256.Sum256([]byte(text))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.good == nil {
		p.good = map[[sha256.Size]byte]provenToken{}
	}
	if len(p.good) >= maxProven {
		for k, t := range p.good {
			if !now.Before(t.until) {
				delete(p.good, k)
			}
		}
		if len(p.good) >= maxProven { // all of them fresh: forget any one
			for k := range p.good {
				delete(p.good, k)
				break
			}
		}
	}
	p.good[sum] = provenToken{now.Add(provenFor), read}
}
