package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/dns"
)

// HostResolver finds the addresses of a host (AAAA and A); dns.Resolver has it.
type HostResolver interface {
	Addr(ctx context.Context, host string) (addrs []netip.Addr, secure bool, err error)
}

const (
	hostsMost     = 4096             // names that are kept
	hostSoonest   = time.Minute      // between two look-ups of a name
	hostLatest    = 5 * time.Minute  // where the answer stays the same
	hostFirstWait = time.Second      // of a login that needs a name for the first time
	hostWait      = 10 * time.Second // in the background
	hostStale     = 24 * time.Hour   // how long the last good answer outlives a broken DNS
	hostUnused    = 24 * time.Hour   // after which a name is no longer looked up
	hostLookups   = 8                // at the same time
)

// Hosts knows the addresses of the host names in access lists and keys. A name is
// asked for when it is first needed, and then again in the background every one
// to five minutes for as long as it is used; what it said last counts while the
// DNS is broken, for up to a day. A name that the DNS denies has no addresses at
// once. Run does the background work. It may be used from any goroutine.
type Hosts struct {
	resolver HostResolver
	log      *slog.Logger
	wake     chan struct{}

	mu    sync.Mutex
	names map[string]*host
}

// host is one name. Its members are guarded by Hosts.mu.
type host struct {
	addrs   []netip.Addr
	goodAt  time.Time     // of the last answer, also a clear no; zero: none yet
	usedAt  time.Time     // last asked for
	dueAt   time.Time     // of the next look-up
	every   time.Duration // between look-ups
	failing bool
	first   chan struct{} // closed when the first look-up has ended
	asking  bool
}

// NewHosts makes a Hosts that knows no name yet. log may be nil.
func NewHosts(resolver HostResolver, log *slog.Logger) *Hosts {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Hosts{resolver: resolver, log: log, wake: make(chan struct{}, 1), names: map[string]*host{}}
}

// Contains implements HostSet: forward-confirmed, so what an address says of
// itself (PTR) does not count. It waits for the DNS only when the name is new,
// and then no longer than a second.
func (h *Hosts) Contains(ctx context.Context, name string, addr netip.Addr) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	now := time.Now()
	h.mu.Lock()
	e, known := h.names[name]
	if !known {
		e = h.add(name, now)
	}
	e.usedAt = now
	first := e.first
	h.mu.Unlock()
	if !known {
		// A client that goes away must not leave the name without an answer.
		h.lookup(context.WithoutCancel(ctx), name, e, hostFirstWait)
		h.nudge()
	} else {
		select { // another login is asking for it
		case <-first:
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.goodAt.IsZero() || now.Sub(e.goodAt) > hostStale {
		return false
	}
	return slices.Contains(e.addrs, normal(addr))
}

// add makes room for a name and enters it. The caller holds mu.
func (h *Hosts) add(name string, now time.Time) *host {
	if len(h.names) >= hostsMost {
		oldest := ""
		for n, e := range h.names {
			if oldest == "" || e.usedAt.Before(h.names[oldest].usedAt) {
				oldest = n
			}
		}
		delete(h.names, oldest)
	}
	e := &host{first: make(chan struct{}), asking: true, every: hostSoonest, dueAt: now.Add(hostSoonest)}
	h.names[name] = e
	return e
}

// lookup asks for a name and keeps the answer. e.asking is set already.
func (h *Hosts) lookup(ctx context.Context, name string, e *host, wait time.Duration) {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	addrs, _, err := h.resolver.Addr(limited, name)
	for i := range addrs {
		addrs[i] = normal(addrs[i])
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	e.asking = false
	if !isClosed(e.first) {
		close(e.first)
	}
	if ctx.Err() != nil {
		return // the relay stops: this says nothing of the name
	}
	denied := errors.Is(err, dns.ErrNotFound) || errors.Is(err, dns.ErrNoData)
	switch {
	case err != nil && !denied:
		e.every = hostSoonest
	case slices.Equal(addrs, e.addrs) && !e.goodAt.IsZero():
		e.goodAt, e.every = now, min(2*e.every, hostLatest)
	default:
		e.addrs, e.goodAt, e.every = addrs, now, hostSoonest
	}
	e.dueAt = now.Add(e.every)
	if failing := err != nil; failing != e.failing {
		e.failing = failing
		if failing {
			h.log.Warn("auth: host of an access list does not resolve", "host", printable(name, 253), "error", err)
		} else {
			h.log.Info("auth: host of an access list resolves again", "host", printable(name, 253))
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (h *Hosts) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run looks names up again until ctx ends.
func (h *Hosts) Run(ctx context.Context) error {
	slots := make(chan struct{}, hostLookups)
	var busy sync.WaitGroup
	defer busy.Wait()
	timer := time.NewTimer(hostLatest)
	defer timer.Stop()
	for {
		due, next := h.due(time.Now())
		for name, e := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			busy.Go(func() {
				h.lookup(ctx, name, e, hostWait)
				<-slots
			})
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		case <-timer.C:
		}
	}
}

// due takes the names that are to be looked up now, forgets those that nobody
// uses, and says when to come again.
func (h *Hosts) due(now time.Time) (due map[string]*host, next time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	due, next = map[string]*host{}, hostLatest
	for name, e := range h.names {
		switch {
		case now.Sub(e.usedAt) > hostUnused:
			delete(h.names, name)
		case e.asking:
		case !e.dueAt.After(now):
			e.asking = true
			due[name] = e
			next = min(next, hostSoonest)
		default:
			next = min(next, e.dueAt.Sub(now))
		}
	}
	return due, max(next, time.Second)
}
