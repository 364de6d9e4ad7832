package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	delegationTTL  = 30 * time.Second // one check of a domain asks several questions
	maxDelegations = 4096
	parentHosts    = 3 // servers of the zone above that are tried
	parentAddrs    = 4
)

// delegations remembers for a moment what the zones above said.
type delegations struct {
	mu    sync.Mutex
	kept  map[string]delegationOf  // by zone
	asked map[string]chan struct{} // by zone: closed when who asks about it has the answer
}

type delegationOf struct {
	to      cut // without a zone: unknown
	expires time.Time
}

// get is what is known of a zone. Where nothing is, and others ask already, done
// is closed when they are through; without any the caller is the one who asks,
// and must call put.
func (d *delegations) get(zone string, now time.Time) (to cut, known bool, done <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k, ok := d.kept[zone]; ok && now.Before(k.expires) {
		return k.to, true, nil
	}
	if done, ok := d.asked[zone]; ok {
		return cut{}, false, done
	}
	if d.asked == nil {
		d.asked = make(map[string]chan struct{})
	}
	d.asked[zone] = make(chan struct{})
	return cut{}, false, nil
}

// put ends what get began. An answer that was cut short is not kept.
func (d *delegations) put(zone string, to cut, whole bool, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.asked[zone])
	delete(d.asked, zone)
	if !whole {
		return
	}
	if d.kept == nil || len(d.kept) >= maxDelegations {
		d.kept = make(map[string]delegationOf)
	}
	d.kept[zone] = delegationOf{to, now.Add(delegationTTL)}
}

// delegated corrects the resolver's word on who answers for a zone, which may be
// days old, by asking the zone above: domains move, and end. Where the two name
// a server in common, all of both are asked, as resolvers do; otherwise the
// domain has moved, and the zone above is right. Where that one cannot be asked,
// the resolver's word has to do.
func (a *Authority) delegated(ctx context.Context, at cut) cut {
	to := a.delegation(ctx, at.zone)
	switch {
	case to.zone == "":
		return at
	case to.zone != at.zone: // no longer a zone of its own
		return to
	}
	to.servers = slices.Clone(to.servers)
	common := slices.ContainsFunc(at.servers, func(s nameServer) bool { return slices.Contains(to.hosts(), s.host) })
	if common {
		to.merge(at)
	}
	return to
}

// delegation is what the zone above says of a zone. Questions about several names
// of a zone at the same time, as a check has them, ask for it once.
func (a *Authority) delegation(ctx context.Context, zone string) (to cut) {
	for {
		to, known, done := a.above.get(zone, time.Now())
		if known {
			return to
		}
		if done == nil {
			break
		}
		select {
		case <-done:
		case <-ctx.Done():
			return cut{}
		}
	}
	whole := false
	defer func() { a.above.put(zone, to, whole, time.Now()) }()
	to = a.askAbove(ctx, zone)
	whole = ctx.Err() == nil
	return to
}

// askAbove asks some of the servers of the zone above, one after the other, for
// the delegation of a zone. Where there is none, the zone above is the answer;
// without any answer it is empty.
func (a *Authority) askAbove(ctx context.Context, zone string) cut {
	above, err := a.enclosing(ctx, parent(zone))
	if err != nil {
		return cut{}
	}
	some := cut{above.zone, slices.Clone(above.servers)}
	rand.Shuffle(len(some.servers), func(i, j int) { some.servers[i], some.servers[j] = some.servers[j], some.servers[i] })
	some.servers = head(some.servers, parentHosts)
	q, tried := question{zone, mdns.TypeNS}, 0
	for _, t := range a.targets(ctx, some) {
		if t.err != nil {
			continue
		}
		r, err := a.askOnce(ctx, q, above.zone, t.addr)
		switch {
		case noPath(err):
			continue
		case err != nil:
		case r.down != nil && r.down.zone == zone:
			return *r.down
		case r.told.Err == nil && len(r.told.NS) > 0: // one server for both zones
			c := cut{zone: zone}
			for _, h := range r.told.NS {
				c.servers = append(c.servers, nameServer{host: h})
			}
			return c
		case errors.Is(r.told.Err, ErrNotFound), errors.Is(r.told.Err, ErrNoData):
			return above
		}
		if tried++; tried == parentAddrs || ctx.Err() != nil {
			break
		}
	}
	return cut{}
}

// askOnce asks one address, without patience.
func (a *Authority) askOnce(ctx context.Context, q question, zone string, addr netip.Addr) (out reply, err error) {
	defer func() { // a hostile answer fails one server
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %w: panic: %v", q, ErrTemporary, p)
		}
	}()
	r, err := a.exchange(ctx, q, addr)
	if err != nil {
		return out, err
	}
	out.told.Addr = addr
	out.down = out.told.read(q, zone, r)
	return out, nil
}
