package deliver

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"postern/internal/relay"
)

// WarmupStore keeps what must outlive the process; *store.Store does.
type WarmupStore interface {
	Warmups(ctx context.Context) ([]relay.WarmupState, error)
	PutWarmups(ctx context.Context, all []relay.WarmupState) error
}

// WarmupConfig sets up Warmups. Zero members take the defaults named here.
type WarmupConfig struct {
	Store WarmupStore // nil: nothing is kept
	// Clean: the last process wrote down all that it had counted. Otherwise what is
	// left of this hour's allowances is halved, so that the two together never send
	// twice as much as they may, however often it happens.
	Clean  bool
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // nil: none
}

// Bounds of what is counted for one address in one hour. They are above what an
// address that is being warmed up has to do with.
const (
	maxWarmupSites = 20_000 // destination sites; it begins with no further one
	maxTurnedAway  = 10_000 // pairs of site and tenant whose mail has to wait
	maxTurnedHours = 24     // the furthest that mail is put off at once
)

// keepWarmups is how often changed counters are written, all in one operation.
// What a crash loses of them is what Clean is about.
const keepWarmups = 2 * time.Second

// Warmups counts what leaves from addresses that are being warmed up, by hour of
// the clock and destination site, and knows how far each is on its ramp. One
// outlives all Deliverers of a process. It is safe for concurrent use.
//
// Its invariant: in one hour, an address is granted no more recipients for one
// site than its allowance (relay.Warmup.Allowance).
type Warmups struct {
	cfg WarmupConfig

	mu    sync.Mutex
	addrs map[netip.Addr]*ramp
}

// ramp is one address. Its fields are guarded by Warmups.mu.
type ramp struct {
	relay.Warmup
	tally
	// known is what had been written down when this process began, in an hour in which
	// one was lost.
	known map[siteHash]int
	// turned is whose mail had to wait in this hour.
	turned map[turnedKey]int
	// ours: mail left from it here. What another node's address sent is that node's
	// to write.
	ours  bool
	dirty bool
}

// tally is the part of a ramp that is kept.
type tally struct {
	hour  int64            // since 1970
	ends  int              // of processes in that hour that lost what they had counted
	sites map[siteHash]int // recipients granted in that hour
	day   int              // since the beginning
	sent  int64            // recipients granted on that day, for all sites
	bad   int64            // and those that a receiver refused for who or how much
}

// siteHash names a site in little memory. Two sites that share one share their
// allowance.
type siteHash uint64

func hashSite(site string) siteHash {
	sum := sha256.Sum256([]byte(site))
	return siteHash(binary.BigEndian.Uint64(sum[:]))
}

type turnedKey struct {
	site   siteHash
	tenant relay.Tenant
}

// NewWarmups reads what was kept. It starts nothing: see Run. Call Keep before
// anything is sent, so that it is known next time if the last process was lost.
func NewWarmups(ctx context.Context, cfg WarmupConfig) (*Warmups, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Warmups{cfg: cfg, addrs: map[netip.Addr]*ramp{}}
	if cfg.Store == nil {
		return w, nil
	}
	kept, err := cfg.Store.Warmups(ctx)
	if err != nil {
		return nil, err
	}
	now := cfg.Now()
	for i := range kept {
		s := &kept[i]
		if !s.Warming(now) {
			continue
		}
		r := newRamp(s.Warmup, now)
		if t, ok := unpackTally(s.Counts); ok {
			r.tally = t
		}
		w.roll(s.Address, r, now)
		if !cfg.Clean {
			r.ends++
			r.ours, r.dirty = true, true
		}
		if r.ends > 0 {
			r.known = maps.Clone(r.sites)
		}
		w.addrs[s.Address.Unmap()] = r
	}
	return w, nil
}

func newRamp(up relay.Warmup, now time.Time) *ramp {
	return &ramp{Warmup: up, tally: tally{hour: hourOf(now), day: up.Elapsed(now), sites: map[siteHash]int{}}, turned: map[turnedKey]int{}}
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// Run writes changed counters down until ctx is done, and once more then.
func (w *Warmups) Run(ctx context.Context) error {
	timer := time.NewTicker(keepWarmups)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return w.Keep(last)
		}
		err := w.Keep(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			w.cfg.Logger.Warn("deliver: counters of addresses in warm-up are not kept", "error", err)
		}
		failing = err != nil
	}
}

// Keep writes down what has changed.
func (w *Warmups) Keep(ctx context.Context) error {
	if w.cfg.Store == nil {
		return nil
	}
	now := w.cfg.Now()
	var all []relay.WarmupState
	w.mu.Lock()
	for addr, r := range w.addrs {
		w.roll(addr, r, now)
		if r.dirty {
			all = append(all, relay.WarmupState{Address: addr, Warmup: r.Warmup, Counts: r.tally.pack()})
			r.dirty = false
		}
		if !r.Warming(now) {
			delete(w.addrs, addr) // should it begin again, it begins anew
		}
	}
	w.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	err := w.cfg.Store.PutWarmups(ctx, all)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range all {
			if r := w.addrs[all[i].Address]; r != nil {
				r.dirty = true
			}
		}
	}
	return err
}

// roll takes an address into the present hour and day. A day that went badly is
// followed by one without growth. mu is held.
func (w *Warmups) roll(addr netip.Addr, r *ramp, now time.Time) {
	// A clock that goes back a little is still in the same hour; one that was far
	// wrong is put right.
	if h := hourOf(now); h > r.hour || h < r.hour-1 {
		r.hour, r.ends, r.sites, r.known = h, 0, map[siteHash]int{}, nil
		r.turned = map[turnedKey]int{}
	}
	d := r.Elapsed(now)
	if d <= r.day {
		return
	}
	if wentBadly(r.sent, r.bad) {
		r.Held++
		w.cfg.Logger.Warn("deliver: the warm-up of an address pauses for a day: receivers refused too much", "address", addr, "day", r.Day(now), "sent", r.sent, "refused", r.bad)
	}
	r.day, r.sent, r.bad, r.dirty = d, 0, 0, r.dirty || r.ours
}

// wentBadly judges a day.
func wentBadly(sent, bad int64) bool {
	return bad >= relay.WarmupBadLeast && bad*100 > sent*relay.WarmupBadPercent
}

// find returns the ramp of an address in the present. mu is held.
func (w *Warmups) find(addr netip.Addr, up relay.Warmup, now time.Time) *ramp {
	r := w.addrs[addr]
	switch {
	case r == nil:
		r = newRamp(up, now)
		w.addrs[addr] = r
	case !r.Since.Equal(up.Since):
		// It was begun anew. What was sent in this hour was sent.
		old := r
		r = newRamp(up, now)
		r.hour, r.ends, r.sites, r.known = old.hour, old.ends, old.sites, old.known
		w.addrs[addr] = r
	}
	w.roll(addr, r, now)
	return r
}

// limit is how many recipients of a site may be granted in this hour, in all.
func (r *ramp) limit(site siteHash, now time.Time) int {
	most := r.Allowance(now)
	if r.ends == 0 {
		return most
	}
	known := min(r.known[site], most)
	return known + (most-known)>>min(r.ends, 62)
}

// take grants up to n recipients of a site. warm: the address is through with its
// warm-up, and nothing is counted.
func (w *Warmups) take(addr netip.Addr, up relay.Warmup, site string, n int) (got int, warm bool) {
	now := w.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.find(addr, up, now)
	if !r.Warming(now) {
		return n, true
	}
	h := hashSite(site)
	used, known := r.sites[h]
	if !known && len(r.sites) >= maxWarmupSites {
		return 0, false
	}
	if got = min(n, r.limit(h, now)-used); got <= 0 {
		return 0, false
	}
	r.sites[h], r.sent, r.ours, r.dirty = used+got, r.sent+int64(got), true, true
	return got, false
}

// end books how a grant was used: given back if no host was asked, and how many
// of its recipients were refused for who sent or how much.
func (w *Warmups) end(g *grant) {
	now := w.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.addrs[g.addr]
	if r == nil || !r.Since.Equal(g.up.Since) {
		return
	}
	w.roll(g.addr, r, now)
	r.bad += g.bad
	r.dirty = r.dirty || g.bad > 0
	if g.used {
		return
	}
	if h := hashSite(g.site); r.sites[h] >= g.n && g.hour == r.hour {
		r.sites[h] -= g.n
	}
	r.sent, r.dirty = max(0, r.sent-int64(g.n)), true
}

// turn says when mail that was not granted has a chance: the earliest hour that
// the mail of the same tenant before it leaves room in, at most a day ahead.
func (w *Warmups) turn(f *full, t relay.Tenant, n int) (limit int, next time.Time) {
	now := w.cfg.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.find(f.addr, f.up, now)
	limit = max(1, r.Allowance(now))
	key := turnedKey{hashSite(f.site), t}
	before, known := r.turned[key]
	if known || len(r.turned) < maxTurnedAway {
		r.turned[key] = before + n
	}
	ahead := 1 + min(before/limit, maxTurnedHours-1)
	return limit, time.Unix((hourOf(now)+int64(ahead))*3600, 0).UTC()
}
