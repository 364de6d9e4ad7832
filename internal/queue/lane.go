package queue

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/store"
)

// job is one message with its recipients in one lane: the unit of an attempt.
type job struct {
	msg     *relay.Message
	rcpts   []relay.Recipient
	payload *payload // the octets, if they are in memory; else they are read from the store
	flow    *flow
	running bool
	gone    bool // taken back by a person; skip it
}

// payload is a message's octets in memory, shared by the jobs of its lanes.
type payload struct {
	content store.Content
	bytes   int64
	users   int // jobs that still need it, guarded by Queue.mu

	// once: a message that goes to several destinations is signed once.
	once   sync.Mutex
	signed bool
	fields []byte
	with   []string
}

// sign returns the message's signature fields, made by the first job that asks.
// A failure is not kept: the next one tries again.
func (p *payload) sign(ctx context.Context, s Signer, m *relay.Message) ([]byte, []string, error) {
	p.once.Lock()
	defer p.once.Unlock()
	if p.signed {
		return p.fields, p.with, nil
	}
	fields, with, err := s.Sign(ctx, m, p.content)
	if err != nil {
		return nil, nil, err
	}
	p.signed, p.fields, p.with = true, fields, with
	return fields, with, nil
}

func (j *job) refs() []store.Ref {
	refs := make([]store.Ref, len(j.rcpts))
	for i := range j.rcpts {
		refs[i] = store.Ref{Message: j.msg.ID, N: j.rcpts[i].N, Generation: j.rcpts[i].Generation}
	}
	return refs
}

// flowState says in which one list a flow stands.
type flowState int

const (
	flowIdle     flowState = iota // nothing ready, in no list
	flowRunnable                  // in its tenant's list
	flowRouting                   // waits for its lane's route
	flowSite                      // waits for a slot of its site
)

// flow is one tenant's mail in one lane. All fields are guarded by Queue.mu.
type flow struct {
	lane    *lane
	tenant  *tenant
	ready   fifo[*job]
	state   flowState
	granted *site // whose slot is already counted for it; nil: none

	// due is the earliest time at which something in the store is worth claiming;
	// zero: nothing waits there. heapAt is its place in the timers, -1: none. It is
	// there while it is to be loaded when due: see schedule.
	due     time.Time
	heapAt  int
	loading bool
}

// tenant takes turns with the others for the attempts that may run at once.
type tenant struct {
	id     relay.Tenant
	flows  fifo[*flow] // runnable ones
	listed bool        // in Queue.runnable
	bytes  int64       // of payloads in memory
	active int
}

// lane is one (pool, destination domain).
type lane struct {
	key     relay.Lane
	flows   map[relay.Tenant]*flow
	routing bool
	waiting fifo[*flow] // flows that wait for the route
	route   deliver.Route
	failure error // of the route, until routedAt + a while
	routed  time.Time
	site    *site
}

// routeLife is how long a route is used without asking again (the resolver's
// cache knows the records' own lifetimes; this bounds the work per message).
const (
	routeLife        = time.Minute
	routeFailureLife = 15 * time.Second
)

// site is what a route leads to: all domains with the same set of mail
// exchangers share it, and so its limits.
type site struct {
	name    string
	active  int
	limit   float64
	waiting line
	// Back-off after connection failures or a throttling reply.
	failures int
	until    time.Time
	reason   string
	lastUsed time.Time
}

func (s *site) free(now time.Time) bool {
	return s.active < int(s.limit) && !now.Before(s.until)
}

// flow returns the flow of a lane and tenant, making it if need be.
func (q *Queue) flow(key relay.Lane, t relay.Tenant) *flow {
	l := q.lanes[key]
	if l == nil {
		l = &lane{key: key, flows: map[relay.Tenant]*flow{}}
		q.lanes[key] = l
	}
	f := l.flows[t]
	if f == nil {
		tn := q.tenants[t]
		if tn == nil {
			tn = &tenant{id: t}
			q.tenants[t] = tn
		}
		f = &flow{lane: l, tenant: tn, heapAt: -1}
		l.flows[t] = f
	}
	return f
}

// forget drops a flow that has nothing left, and its lane with the last one.
func (q *Queue) forget(f *flow) {
	if f.state != flowIdle || f.ready.len() > 0 || f.heapAt >= 0 || f.loading || f.granted != nil || !f.due.IsZero() {
		return
	}
	l := f.lane
	if l.flows[f.tenant.id] == f {
		delete(l.flows, f.tenant.id)
	}
	// f may be an old flow of a lane that was made anew since: that one stays.
	if len(l.flows) == 0 && !l.routing && q.lanes[l.key] == l {
		delete(q.lanes, l.key)
	}
	if t := f.tenant; t.active == 0 && t.bytes == 0 && t.flows.len() == 0 && !t.listed && q.tenants[t.id] == t && !q.tenantUsed(t) {
		delete(q.tenants, t.id)
	}
}

// tenantUsed is only asked when a tenant looks idle: rare enough to search.
func (q *Queue) tenantUsed(t *tenant) bool {
	if len(q.lanes) > 64 {
		return true // not worth a search; a tenant is a hundred octets
	}
	for _, l := range q.lanes {
		if l.flows[t.id] != nil {
			return true
		}
	}
	return false
}

// list puts a flow with ready work into its tenant's turn.
func (q *Queue) list(f *flow) {
	f.state = flowRunnable
	f.tenant.flows.push(f)
	q.listTenant(f.tenant)
}

func (q *Queue) listTenant(t *tenant) {
	if !t.listed && t.flows.len() > 0 {
		t.listed = true
		q.runnable.push(t)
	}
}

// setDue notes that work waits in the store from at on; the earlier wins.
func (q *Queue) setDue(f *flow, at time.Time) {
	if at.IsZero() || (!f.due.IsZero() && !at.Before(f.due)) {
		return
	}
	f.due = at
	q.schedule(f)
}

// schedule puts a flow into the timers, or takes it out: it is there while
// something waits for it in the store and it has room for more. A flow with
// enough in memory is not, so that the timers hold only what can be acted on.
func (q *Queue) schedule(f *flow) {
	wanted := !f.due.IsZero() && !f.loading && f.ready.len() < lowWater
	switch {
	case wanted && f.heapAt >= 0:
		heap.Fix(&q.timers, f.heapAt)
	case wanted:
		heap.Push(&q.timers, f)
		if q.timers[0] == f {
			q.kick()
		}
	case f.heapAt >= 0:
		heap.Remove(&q.timers, f.heapAt)
	}
}

// line is the flows that wait for a slot of a site. Tenants take turns, and the
// flows of a tenant: however many domains of one provider a tenant writes to, it
// has one turn.
type line struct {
	turns fifo[*tenant]
	flows map[*tenant]*fifo[*flow]
	n     int
}

func (w *line) len() int { return w.n }

func (w *line) push(f *flow) {
	of := w.flows[f.tenant]
	if of == nil {
		if w.flows == nil {
			w.flows = map[*tenant]*fifo[*flow]{}
		}
		of = &fifo[*flow]{}
		w.flows[f.tenant] = of
		w.turns.push(f.tenant)
	}
	of.push(f)
	w.n++
}

func (w *line) pop() (*flow, bool) {
	t, ok := w.turns.pop()
	if !ok {
		return nil, false
	}
	of := w.flows[t]
	f, _ := of.pop()
	if w.n--; of.len() > 0 {
		w.turns.push(t)
	} else {
		delete(w.flows, t)
	}
	return f, true
}
