package dns

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// maxPaced is how many servers a pacer remembers at once.
const maxPaced = 1 << 16

// pacer keeps questions to one server address apart: each may be asked once an
// interval, and who comes too early waits for the next turn.
type pacer struct {
	interval time.Duration // 0: no waiting

	mu   sync.Mutex
	next map[netip.Addr]time.Time // the first turn that nobody has taken
}

func newPacer(perSecond int) *pacer {
	p := &pacer{next: make(map[netip.Addr]time.Time)}
	if perSecond > 0 {
		p.interval = time.Second / time.Duration(perSecond)
	}
	return p
}

// wait returns when it is the caller's turn to ask the server. It fails at once
// where that would be later than ctx's deadline; its errors wrap ErrTemporary.
func (p *pacer) wait(ctx context.Context, server netip.Addr) error {
	turn, err := p.take(ctx, server, time.Now())
	if err != nil {
		return err
	}
	d := time.Until(turn)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to ask %s: %w: %w", server, ErrTemporary, context.Cause(ctx))
	}
}

// take reserves the server's next turn.
func (p *pacer) take(ctx context.Context, server netip.Addr, now time.Time) (time.Time, error) {
	if p.interval == 0 {
		return now, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	turn := p.next[server]
	if turn.Before(now) {
		turn = now
	}
	if deadline, ok := ctx.Deadline(); ok && turn.After(deadline) {
		return now, fmt.Errorf("%s has too many questions waiting: %w", server, ErrTemporary)
	}
	if _, known := p.next[server]; !known && len(p.next) >= maxPaced && !p.sweep(now) {
		return now, fmt.Errorf("too many name servers are being asked at once: %w", ErrTemporary)
	}
	p.next[server] = turn.Add(p.interval)
	return turn, nil
}

// sweep forgets servers that may be asked at once anyway, and reports whether
// that made room. p.mu is held.
func (p *pacer) sweep(now time.Time) bool {
	for a, t := range p.next {
		if !t.After(now) {
			delete(p.next, a)
		}
	}
	return len(p.next) < maxPaced
}
