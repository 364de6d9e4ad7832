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
	hostsMost     = 4096                   // names that are kept
	hostSoonest   = time.Minute            // between two look-ups of a name
	hostLatest    = 5 * time.Minute        // where the answer stays the same
	hostFirstWait = 200 * time.Millisecond // of a login that needs a name for the first time: less than all refusals take
	hostWait      = 10 * time.Second       // in the background
	hostStale     = 24 * time.Hour         // how long the last good answer outlives a broken DNS
	hostUnused    = 24 * time.Hour         // after which a name is no longer looked up
	hostLookups   = 8                      // at the same time
)

// Hosts knows the addresses of the host names in access lists and keys. A name is
// asked for when it is first needed, and then again every one to five minutes for
// as long as it is used; what it said last counts while the DNS is broken, for up
// to a day. A name that the DNS denies has no addresses at once. Run does all the
// asking: no login ever does. It may be used from any goroutine.
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
// itself (PTR) does not count. It waits for the DNS only while a name is new, and
// then so shortly that the wait does not show in when a refusal leaves.
func (h *Hosts) Contains(ctx context.Context, name string, addr netip.Addr) bool {
	e := h.need(name)
	if !isClosed(e.first) {
		timer := time.NewTimer(hostFirstWait)
		defer timer.Stop()
		select {
		case <-e.first:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.goodAt.IsZero() || time.Since(e.goodAt) > hostStale {
		return false
	}
	return slices.Contains(e.addrs, normal(addr))
}

// Expect has names looked up that will be needed soon, such as those of a list
// that was just changed, and does not wait.
func (h *Hosts) Expect(names ...string) {
	for _, n := range names {
		h.need(n)
	}
}

// need finds a name, or enters it and has it looked up.
func (h *Hosts) need(name string) *host {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	e, known := h.names[name]
	if !known {
		e = h.add(name, now)
		select { // Run may be awake already
		case h.wake <- struct{}{}:
		default:
		}
	}
	e.usedAt = now
	return e
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
	e := &host{first: make(chan struct{}), every: hostSoonest, dueAt: now}
	h.names[name] = e
	return e
}

// lookup asks for a name and keeps the answer. e.asking is set already.
func (h *Hosts) lookup(ctx context.Context, name string, e *host) {
	limited, cancel := context.WithTimeout(ctx, hostWait)
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
	if ctx.Err() != nil {
		return // the relay stops: this says nothing of the name
	}
	if !isClosed(e.first) {
		close(e.first)
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

// Run looks names up until ctx ends.
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
				h.lookup(ctx, name, e)
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
			next = min(next, hostSoonest)
		case !e.dueAt.After(now):
			e.asking = true
			due[name] = e
			next = min(next, hostSoonest)
		default:
			next = min(next, e.dueAt.Sub(now))
		}
	}
	return due, max(next, 100*time.Millisecond)
}
