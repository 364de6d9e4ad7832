package people

import (
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"postern/internal/relay"
)

// Comparing a password takes a tenth of a second of a processor and 64 MiB, so a
// stranger who does nothing but try could keep everybody else waiting. The line is
// what stands before that work: bounded, and fair to places instead of to requests.
//
// Who is known goes first: people in a session, and those who have logged in from
// there before. Then, three to one, come addresses that have not failed lately and
// those that have. Within a rank the networks take turns, and within a network the
// requests as they came. Where the oldest has waited for longer than a second there
// is more than can be done: then the network that came last is served, so that
// whoever comes is soon through, and not behind a crowd that is there all the time.
// When the line is full, the newest of the network that has the most in the lowest
// rank gives way.

const (
	// lineTotal wait at most, lineAddress of one IPv4 address or IPv6 /64, lineNetwork
	// of one /24 or /48. For somebody who is known linePlace of one address and
	// linePerson in all. Those whose turn it is count, too.
	lineTotal   = 256
	lineAddress = 8
	lineNetwork = 32
	linePlace   = 4
	linePerson  = 16
	// linePatience is how long one waits.
	linePatience = 10 * time.Second
	// lineCalm is how long the oldest waits at most before the newest goes first.
	lineCalm = time.Second
	// rankShare: so many of the better rank, then one of the other.
	rankShare = 3
)

// rank is who goes before whom.
type rank int

const (
	rankKnown  rank = iota // the person is known there, or in a session
	rankNew                // nothing is known against the address
	rankFailed             // it has failed lately
	ranks
)

// applicant is who stands in the line, and on whose account.
type applicant struct {
	rank    rank
	person  relay.UserID // of rankKnown; or what else it is on account of
	address netip.Prefix
	network netip.Prefix
}

// errCrowded: too many of one address or person at once.
var errCrowded error = &later{relay.Error{Kind: relay.RateLimited, Public: "Too many logins from your address at once. Try again in a few seconds."}, 3 * time.Second}

// later is a refusal that says when to come again.
type later struct {
	told  relay.Error
	after time.Duration
}

func (e *later) Error() string { return e.told.Error() }

// Unwrap makes the *relay.Error found.
func (e *later) Unwrap() error { return &e.told }

// RetryAfter is for the header of that name.
func (e *later) RetryAfter() time.Duration { return e.after }

type line struct {
	mu      sync.Mutex
	made    bool
	free    int // turns that nobody has
	waiting int
	streak  int // turns of rankNew since one of rankFailed
	queues  [ranks]turns
	held    map[any]int // by address, network and person: waiting or at work
}

// turns are the waiters of one rank: networks in the order in which it is their
// turn.
type turns struct {
	order []netip.Prefix
	of    map[netip.Prefix][]*waiter
}

type waiter struct {
	applicant
	since time.Time
	ready chan error // nil: it is your turn
}

// enter waits for a turn; leave gives it back. waited: it was not free at once.
// Errors: errCrowded, errBusy, or why ctx has ended.
func (l *line) enter(ctx context.Context, a applicant) (leave func(), waited bool, err error) {
	l.mu.Lock()
	if !l.made {
		l.made, l.free, l.held = true, min(4, runtime.GOMAXPROCS(0)), map[any]int{}
	}
	if l.crowded(a) {
		l.mu.Unlock()
		return nil, false, errCrowded
	}
	leave = func() { l.leave(a) }
	if l.free > 0 {
		l.free--
		l.hold(a, 1)
		l.mu.Unlock()
		return leave, false, nil
	}
	if l.waiting >= lineTotal && !l.makeRoom(a) {
		l.mu.Unlock()
		return nil, false, errBusy
	}
	w := &waiter{a, time.Now(), make(chan error, 1)}
	l.hold(a, 1)
	l.waiting++
	l.queues[a.rank].add(w)
	l.mu.Unlock()
	return leave, true, l.wait(ctx, w)
}

// wait waits until it is somebody's turn.
func (l *line) wait(ctx context.Context, w *waiter) error {
	timer := time.NewTimer(linePatience)
	defer timer.Stop()
	var err error
	select {
	case err := <-w.ready:
		return err
	case <-timer.C:
		err = errBusy
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	l.mu.Lock()
	if l.queues[w.rank].remove(w) {
		l.waiting--
		l.hold(w.applicant, -1)
		l.mu.Unlock()
		return err
	}
	l.mu.Unlock()
	// The turn came, or was taken away, at this very moment.
	if gone := <-w.ready; gone == nil {
		l.leave(w.applicant)
	}
	return err
}

// keys are what an applicant counts against, with the bounds.
func (a *applicant) keys() map[any]int {
	type network netip.Prefix
	type place struct {
		relay.UserID
		netip.Prefix
	}
	switch {
	case a.rank == rankKnown:
		return map[any]int{a.person: linePerson, place{a.person, a.address}: linePlace}
	case !a.address.IsValid(): // from this machine
		return nil
	}
	return map[any]int{a.address: lineAddress, network(a.network): lineNetwork}
}

func (l *line) crowded(a applicant) bool {
	for k, most := range a.keys() {
		if l.held[k] >= most {
			return true
		}
	}
	return false
}

// hold counts somebody in or out.
func (l *line) hold(a applicant, n int) {
	for k := range a.keys() {
		if l.held[k] += n; l.held[k] <= 0 {
			delete(l.held, k)
		}
	}
}

// leave gives a turn to the next one.
func (l *line) leave(a applicant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold(a, -1)
	if w := l.next(); w != nil {
		l.waiting--
		w.ready <- nil
		return
	}
	l.free++
}

// next takes out whose turn it is; nil: nobody waits.
func (l *line) next() *waiter {
	order := [...]rank{rankKnown, rankNew, rankFailed}
	if l.streak >= rankShare {
		order = [...]rank{rankKnown, rankFailed, rankNew}
	}
	for _, r := range order {
		w := l.queues[r].next(r != rankKnown)
		switch {
		case w == nil:
			continue
		case r == rankNew:
			l.streak++
		case r == rankFailed:
			l.streak = 0
		}
		return w
	}
	return nil
}

// makeRoom sends the newest of the network that has the most in the lowest rank
// away, if that is no better than who comes.
func (l *line) makeRoom(a applicant) bool {
	for r := ranks - 1; r >= a.rank; r-- {
		q := &l.queues[r]
		var most netip.Prefix
		for _, n := range q.order {
			if len(q.of[n]) > len(q.of[most]) {
				most = n
			}
		}
		waiting := q.of[most]
		if len(waiting) == 0 {
			continue
		}
		if r == a.rank && len(waiting) <= len(q.of[a.network])+1 {
			return false
		}
		w := waiting[len(waiting)-1]
		q.remove(w)
		l.waiting--
		l.hold(w.applicant, -1)
		w.ready <- errBusy
		return true
	}
	return false
}

func (t *turns) add(w *waiter) {
	if t.of == nil {
		t.of = map[netip.Prefix][]*waiter{}
	}
	if len(t.of[w.network]) == 0 {
		t.order = append(t.order, w.network)
	}
	t.of[w.network] = append(t.of[w.network], w)
}

// next takes the oldest of the network whose turn it is; with newest, of the network
// that came last if there is more than can be done.
func (t *turns) next(newest bool) *waiter {
	if len(t.order) == 0 {
		return nil
	}
	at := 0
	if newest && time.Since(t.of[t.order[0]][0].since) > lineCalm {
		at = len(t.order) - 1
	}
	n := t.order[at]
	w := t.of[n][0]
	t.order = slices.Delete(t.order, at, at+1)
	switch t.of[n] = t.of[n][1:]; {
	case len(t.of[n]) == 0:
		delete(t.of, n)
	case at > 0:
		t.order = slices.Insert(t.order, 0, n) // it was served: others come first
	default:
		t.order = append(t.order, n)
	}
	return w
}

// remove takes somebody out who does not wait any longer; false: they did not.
func (t *turns) remove(w *waiter) bool {
	all := t.of[w.network]
	i := slices.Index(all, w)
	if i < 0 {
		return false
	}
	if all = slices.Delete(slices.Clone(all), i, i+1); len(all) > 0 {
		t.of[w.network] = all
		return true
	}
	delete(t.of, w.network)
	at := slices.Index(t.order, w.network)
	t.order = slices.Delete(t.order, at, at+1)
	return true
}
