package sender

import (
	"context"
	"sync"
	"time"

	"postern/internal/relay"
)

// The bounds of what one account may have us do at once: all accounts share the
// questions that are under way, the name servers that we ask gently, and the
// processors. Without them one account with many domains of silent servers could
// keep everybody else's from being looked at.
const (
	checksOnDemand = 4                // checks of one account, beside those of the Checker
	keysOnDemand   = 1                // makings of keys of one account: RSA takes seconds
	maxInLine      = 64               // of one account who wait
	lineWait       = 20 * time.Second // for one's turn
)

// accountLines lets a few of each account in at once, and the others wait in line.
type accountLines struct {
	mu sync.Mutex
	of map[relay.AccountID]*line
}

type line struct {
	slots chan struct{}
	users int // inside or waiting
}

// enter waits for a turn; leave ends it. relay.RateLimited: too many wait, or it
// took too long.
func (l *accountLines) enter(ctx context.Context, a relay.AccountID, atOnce int) (leave func(), err error) {
	l.mu.Lock()
	if l.of == nil {
		l.of = map[relay.AccountID]*line{}
	}
	at := l.of[a]
	if at == nil {
		at = &line{slots: make(chan struct{}, atOnce)}
		l.of[a] = at
	}
	full := at.users >= maxInLine
	if !full {
		at.users++
	}
	l.mu.Unlock()
	if full {
		return nil, errBusy()
	}
	wait := time.NewTimer(lineWait)
	defer wait.Stop()
	select {
	case at.slots <- struct{}{}:
		return func() { <-at.slots; l.forget(a, at) }, nil
	case <-wait.C:
		err = errBusy()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	l.forget(a, at)
	return nil, err
}

// forget counts a user out, and drops the line after the last.
func (l *accountLines) forget(a relay.AccountID, at *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.users--; at.users == 0 {
		delete(l.of, a)
	}
}

func errBusy() error {
	return relay.E(relay.RateLimited, "Much is being done for your domains already. Try again in half a minute.")
}
