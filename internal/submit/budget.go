package submit

import (
	"context"
	"time"
)

// budget bounds the octets that are worked on in memory at once. It counts in
// MiB, begun ones whole, and who wants more than there is gets all of it, alone.
type budget struct {
	tokens chan struct{} // full: nothing is left
	turn   chan struct{} // one collects at a time, so that two never wait for each other
}

// budgetWait is how long a message waits for its share. The client is waiting
// too, for at least ten minutes (RFC 5321 §4.5.3.2.6).
const budgetWait = time.Minute

const budgetUnit = 1 << 20

func newBudget(octets int64) *budget {
	return &budget{tokens: make(chan struct{}, max(1, octets/budgetUnit)), turn: make(chan struct{}, 1)}
}

// take waits for a share of so many octets and returns the function that gives
// it back. The error is the context's, or context.DeadlineExceeded when the
// share did not come free in time.
func (b *budget) take(ctx context.Context, octets int64) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, budgetWait)
	defer cancel()
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.turn }()
	want, have := int(min((octets+budgetUnit-1)/budgetUnit, int64(cap(b.tokens)))), 0
	done = func() {
		for range have {
			<-b.tokens
		}
	}
	for ; have < want; have++ {
		select {
		case b.tokens <- struct{}{}:
		case <-ctx.Done():
			done()
			return nil, ctx.Err()
		}
	}
	return done, nil
}
