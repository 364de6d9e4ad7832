package dns

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// cache keeps answers for their TTL, and failures for a moment, in bounded
// memory; the least recently used go first. Callers with the same question
// share one look-up, which is called off when the last of them gives up.
type cache struct {
	resolve func(context.Context, question) (*answer, error) // errors wrap ErrTemporary
	max     int                                              // octets; negative: keep nothing
	slots   chan struct{}                                    // one per look-up under way

	mu      sync.Mutex
	entries map[question]*list.Element
	recent  *list.List // of *entry, most recently used first
	size    int
	flights map[question]*flight
}

type entry struct {
	q       question
	a       *answer // nil: err is the outcome
	err     error
	expires time.Time
	size    int
}

// flight is one look-up and those who wait for it. a and err may be read once
// done is closed; waiters is guarded by cache.mu.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int
	a       *answer
	err     error
}

func newCache(resolve func(context.Context, question) (*answer, error), max, inFlight int) *cache {
	return &cache{
		resolve: resolve, max: max, slots: make(chan struct{}, inFlight),
		entries: make(map[question]*list.Element), recent: list.New(), flights: make(map[question]*flight),
	}
}

// get returns a copy of the answer. Its errors wrap ErrTemporary.
func (c *cache) get(ctx context.Context, q question) (*answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", q, ErrTemporary, context.Cause(ctx))
	}
	c.mu.Lock()
	if el, ok := c.entries[q]; ok {
		e := el.Value.(*entry)
		if time.Now().Before(e.expires) {
			c.recent.MoveToFront(el)
			c.mu.Unlock()
			if e.err != nil {
				return nil, e.err
			}
			return e.a.clone(), nil
		}
		c.remove(el)
	}
	f := c.flights[q]
	if f == nil {
		f = c.start(ctx, q)
	}
	f.waiters++
	c.mu.Unlock()

	select {
	case <-f.done:
		if f.err != nil {
			return nil, f.err
		}
		return f.a.clone(), nil
	case <-ctx.Done():
		c.leave(q, f)
		return nil, fmt.Errorf("%s: %w: %w", q, ErrTemporary, context.Cause(ctx))
	}
}

// leave is called by a waiter that gives up.
func (c *cache) leave(q question, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
	if f.waiters > 0 {
		return
	}
	f.cancel()
	if c.flights[q] == f { // nobody may join a look-up that is called off
		delete(c.flights, q)
	}
}

// start begins a look-up that outlives the caller that asked first, as long as
// anyone waits for it. c.mu is held.
func (c *cache) start(ctx context.Context, q question) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{done: make(chan struct{}), cancel: cancel}
	c.flights[q] = f
	go func() {
		defer cancel()
		f.a, f.err = c.run(ctx, q)
		c.mu.Lock()
		if c.flights[q] == f {
			delete(c.flights, q)
		}
		if ctx.Err() == nil {
			c.keep(q, f)
		}
		c.mu.Unlock()
		close(f.done)
	}()
	return f
}

// run resolves q when its turn has come.
func (c *cache) run(ctx context.Context, q question) (a *answer, err error) {
	defer func() { // the root of a goroutine: a hostile answer fails one look-up
		if p := recover(); p != nil {
			a, err = nil, fmt.Errorf("%s: %w: panic: %v", q, ErrTemporary, p)
		}
	}()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w: %w", q, ErrTemporary, context.Cause(ctx))
	}
	a, err = c.resolve(ctx, q)
	if err != nil && !errors.Is(err, ErrTemporary) {
		err = fmt.Errorf("%w: %w", ErrTemporary, err)
	}
	return a, err
}

// keep stores the outcome of a flight. c.mu is held.
func (c *cache) keep(q question, f *flight) {
	e := &entry{q: q, a: f.a, err: f.err}
	ttl := failureTTL
	if f.err == nil {
		e.size = f.a.size() + len(q.name) + 200
		if ttl = f.a.ttl; ttl > 0 || f.a.denial == nil {
			ttl = max(ttl, minTTL)
		}
	} else {
		e.size = len(f.err.Error()) + len(q.name) + 400
	}
	if ttl <= 0 || e.size > c.max || local(f.err) {
		return
	}
	e.expires = time.Now().Add(ttl)
	if el, ok := c.entries[q]; ok {
		c.remove(el)
	}
	c.entries[q] = c.recent.PushFront(e)
	c.size += e.size
	for c.size > c.max {
		c.remove(c.recent.Back())
	}
}

// local reports trouble of this machine, which says nothing of the name and may
// be over at once: no descriptors, no buffers, no memory.
func local(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// remove drops one entry. c.mu is held.
func (c *cache) remove(el *list.Element) {
	e := el.Value.(*entry)
	c.recent.Remove(el)
	delete(c.entries, e.q)
	c.size -= e.size
}

func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.recent.Init()
	c.size = 0
}
