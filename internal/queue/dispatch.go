package queue

import (
	"context"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/store"
)

// Admission is the queue's leave to run the first attempt of a message from
// memory: its recipients are then committed as leased to this process.
type Admission struct {
	q      *Queue
	tenant relay.Tenant
	bytes  int64
}

// admitOverhead is counted per message beside its octets.
const admitOverhead = 2 << 10

// Admit asks for leave to keep a message of the given size in memory. False:
// commit it unleased and tell Waiting. A tenant may hold a quarter of the
// memory once half of it is used, and gives way when older mail of its own to
// the same lanes waits in the store.
func (q *Queue) Admit(t relay.Tenant, lanes []relay.Lane, size int64) (Admission, bool) {
	size += admitOverhead
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.started || q.closing || q.bytes+size > q.cfg.Memory || q.now().Before(q.pausedTil) {
		return Admission{}, false
	}
	tn := q.tenants[t]
	if tn != nil && q.bytes > q.cfg.Memory/2 && tn.bytes+size > q.cfg.Memory/4 {
		return Admission{}, false
	}
	now := q.now()
	for _, key := range lanes {
		l := q.lanes[key]
		if l == nil {
			continue
		}
		if l.site != nil && now.Before(l.site.until) {
			return Admission{}, false // it would wait: let it wait in the store
		}
		if f := l.flows[t]; f != nil && !f.due.IsZero() && !f.due.After(now) {
			return Admission{}, false
		}
	}
	if tn == nil {
		tn = &tenant{id: t}
		q.tenants[t] = tn
	}
	q.bytes += size
	tn.bytes += size
	return Admission{q: q, tenant: t, bytes: size}, true
}

// Cancel gives the memory of an admission back: the message was not committed.
func (a Admission) Cancel() {
	a.q.mu.Lock()
	defer a.q.mu.Unlock()
	a.q.release(a.tenant, a.bytes)
}

func (q *Queue) release(t relay.Tenant, n int64) {
	q.bytes -= n
	if tn := q.tenants[t]; tn != nil {
		tn.bytes -= n
	}
}

// Launch hands over a committed message whose recipients are leased to this
// process. content is kept until the last attempt from memory has ended.
func (a Admission) Launch(m *relay.Message, rcpts []relay.Recipient, content store.Content) {
	q := a.q
	groups := bySite(rcpts)
	q.mu.Lock()
	defer q.mu.Unlock()
	p := &payload{content: content, bytes: a.bytes, users: len(groups)}
	for _, g := range groups {
		q.add(&job{msg: m, rcpts: g, payload: p})
	}
	q.dispatch()
}

// bySite splits recipients by destination, keeping their order.
func bySite(rcpts []relay.Recipient) [][]relay.Recipient {
	if len(rcpts) == 1 {
		return [][]relay.Recipient{rcpts}
	}
	at := make(map[string]int, 4)
	var groups [][]relay.Recipient
	for _, r := range rcpts {
		i, ok := at[r.Site]
		if !ok {
			i = len(groups)
			at[r.Site] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// Waiting tells the queue that unleased work stands in the store, due from at on.
func (q *Queue) Waiting(l relay.Lane, t relay.Tenant, at time.Time) {
	q.mu.Lock()
	q.setDue(q.flow(l, t), at)
	q.mu.Unlock()
	q.kick()
}

// add puts a leased job into its flow. mu is held.
func (q *Queue) add(j *job) {
	if q.closing {
		q.leftover = append(q.leftover, j.refs()...)
		q.dropPayload(j)
		return
	}
	key := relay.Lane{Pool: j.msg.Pool, Site: j.rcpts[0].Site}
	j.flow = q.flow(key, j.msg.Tenant)
	q.jobs[j.msg.ID] = append(q.jobs[j.msg.ID], j)
	q.ready++
	j.flow.ready.push(j)
	if j.flow.state == flowIdle {
		q.list(j.flow)
	}
}

// drop forgets a job that is over. mu is held.
func (q *Queue) drop(j *job) {
	js := q.jobs[j.msg.ID]
	for i := range js {
		if js[i] == j {
			js = append(js[:i:i], js[i+1:]...)
			break
		}
	}
	if len(js) == 0 {
		delete(q.jobs, j.msg.ID)
	} else {
		q.jobs[j.msg.ID] = js
	}
	q.dropPayload(j)
}

func (q *Queue) dropPayload(j *job) {
	if p := j.payload; p != nil {
		j.payload = nil
		if p.users--; p.users == 0 {
			q.release(j.msg.Tenant, p.bytes)
		}
	}
}

// dispatch starts attempts while slots and runnable work last: tenants take
// turns, a tenant's flows take turns, a site's waiting flows take turns. mu is held.
func (q *Queue) dispatch() {
	if q.closing || !q.started {
		return
	}
	now := q.now()
	if now.Before(q.pausedTil) {
		return
	}
	for q.active < q.cfg.Concurrency {
		t, ok := q.runnable.pop()
		if !ok {
			return
		}
		t.listed = false
		if f, ok := t.flows.pop(); ok {
			q.serve(f, now)
		}
		q.listTenant(t)
	}
}

// serve starts one attempt of a flow whose turn it is, or puts the flow where it
// must wait.
func (q *Queue) serve(f *flow, now time.Time) {
	f.state = flowIdle
	q.skipGone(f)
	q.schedule(f)
	l := f.lane
	if f.granted != l.site || f.ready.len() == 0 {
		q.ungrant(f) // nothing is left, or the route changed while it waited for its turn
	}
	if f.ready.len() == 0 {
		q.forget(f)
		return
	}
	if q.cfg.Directory.Deleted(f.tenant.id) {
		q.ungrant(f)
		q.start(f, deliver.Route{}, nil, nil) // to be dropped: no destination is needed
		return
	}
	if f.granted == nil {
		if life := now.Sub(l.routed); l.routed.IsZero() || life > routeLife || (l.failure != nil && life > routeFailureLife) {
			f.state = flowRouting
			l.waiting.push(f)
			q.startRouting(l)
			return
		}
		if s := l.site; s != nil {
			if !s.free(now) || s.waiting.len() > 0 {
				f.state = flowSite
				s.waiting.push(f)
				q.siteFreed(s, now)
				return
			}
			s.active++
			s.lastUsed = now
		}
	}
	q.start(f, l.route, l.site, l.failure)
}

// start begins the attempt of a flow's next job. mu is held.
func (q *Queue) start(f *flow, route deliver.Route, s *site, failure error) {
	f.granted = nil
	j, _ := f.ready.pop()
	j.running = true
	q.ready--
	q.active++
	f.tenant.active++
	q.work.Add(1)
	go q.attempt(q.ctx, j, route, s, failure)
	if f.ready.len() > 0 {
		q.list(f)
	}
	q.schedule(f)
}

// skipGone removes cancelled jobs from the head of a flow.
func (q *Queue) skipGone(f *flow) {
	for f.ready.len() > 0 && f.ready.items[f.ready.head].gone {
		f.ready.pop()
	}
}

// ungrant gives a site slot back that a flow had been given and cannot use.
func (q *Queue) ungrant(f *flow) {
	if s := f.granted; s != nil {
		f.granted = nil
		s.active--
		q.siteFreed(s, q.now())
	}
}

// siteFreed gives free slots to waiting flows, in their order.
func (q *Queue) siteFreed(s *site, now time.Time) {
	for s.free(now) {
		f, ok := s.waiting.pop()
		if !ok {
			return
		}
		if f.lane.site != s { // the route changed meanwhile
			q.list(f)
			continue
		}
		s.active++
		s.lastUsed = now
		f.granted = s
		q.list(f)
	}
}

// startRouting asks for a lane's route, once.
func (q *Queue) startRouting(l *lane) {
	if l.routing {
		return
	}
	l.routing = true
	q.work.Add(1)
	ctx := q.ctx
	go func() {
		defer q.work.Done()
		ctx, cancel := context.WithTimeout(ctx, routeTimeout)
		defer cancel()
		route, err := q.cfg.Deliverer.Route(ctx, l.key.Site)
		q.mu.Lock()
		defer q.mu.Unlock()
		q.routedLane(l, siteKey(l.key.Pool, route.Site), err)
		l.route = route
		for {
			f, ok := l.waiting.pop()
			if !ok {
				break
			}
			q.list(f)
		}
		q.dispatch()
	}()
}

// routeTimeout bounds one look-up of a destination: several name servers, each
// with its own retries.
const routeTimeout = time.Minute

// siteKey: limits are per source pool and destination site.
func siteKey(p relay.PoolID, name string) string { return string(p.ID[:]) + name }

func (q *Queue) routedLane(l *lane, key string, err error) {
	l.routing = false
	l.routed = q.now()
	l.failure = err
	if err != nil {
		l.site = nil
		return
	}
	s := q.sites[key]
	if s == nil {
		s = &site{name: key[16:], limit: float64(q.cfg.SiteStart), lastUsed: l.routed}
		q.sites[key] = s
	}
	l.site = s
}

// lowWater is how few ready jobs make a flow ask the store for more, loadSize
// how many recipients it asks for.
const (
	lowWater = 8
	loadSize = 64
)

// tick starts what is due and returns how long to sleep. mu is held.
func (q *Queue) tick(now time.Time) time.Duration {
	next := q.settleDue(now)
	if now.Before(q.pausedTil) {
		return min(next, q.pausedTil.Sub(now))
	}
	for s := range q.paused {
		if now.Before(s.until) {
			next = min(next, s.until.Sub(now))
			continue
		}
		delete(q.paused, s)
		q.siteFreed(s, now)
	}
	q.dispatch()
	for q.timers.Len() > 0 && !q.closing {
		f := q.timers[0]
		if f.due.After(now) {
			next = min(next, f.due.Sub(now))
			break
		}
		if q.ready > q.cfg.Ready || len(q.loading) == cap(q.loading) {
			// A load or attempt that ends looks again; this is the safety net.
			next = min(next, time.Second)
			break
		}
		q.load(f, now)
	}
	return max(next, time.Millisecond)
}

// idleWait is how long the loop sleeps when nothing is due.
const idleWait = time.Minute

// siteForget is how long an unused site keeps what was learnt of it.
const siteForget = time.Hour

// forgetSites drops what has not been used for long. mu is held.
func (q *Queue) forgetSites(now time.Time) {
	old := map[*site]bool{}
	for k, s := range q.sites {
		if s.active == 0 && s.waiting.len() == 0 && now.Sub(s.lastUsed) > siteForget && !now.Before(s.until) {
			delete(q.sites, k)
			old[s] = true
		}
	}
	if len(old) == 0 {
		return
	}
	for _, l := range q.lanes {
		if old[l.site] {
			l.site, l.routed = nil, time.Time{}
		}
	}
}

// load claims the due work of the first flow of the timers in the background, or
// puts the flow where it belongs if it is not to be loaded now. Either way it
// leaves its place. There is room in loading. mu is held.
func (q *Queue) load(f *flow, now time.Time) {
	switch s := f.lane.site; {
	case s != nil && now.Before(s.until) && !q.cfg.Directory.Deleted(f.tenant.id):
		f.due = s.until
		q.schedule(f)
		return
	case f.ready.len() >= lowWater:
		q.schedule(f)
		return
	}
	q.loading <- struct{}{}
	f.loading, f.due = true, time.Time{}
	q.schedule(f)
	q.work.Add(1)
	go q.claim(q.ctx, f, now)
}

// claim is load's background half.
func (q *Queue) claim(ctx context.Context, f *flow, now time.Time) {
	defer q.work.Done()
	key, t := f.lane.key, f.tenant.id
	until, gone := now, q.cfg.Directory.Deleted(t)
	if gone {
		until = whenever
	}
	jobs, err := q.cfg.Store.Claim(ctx, key, t, until, loadSize)
	var due time.Time
	if err == nil {
		due, err = q.cfg.Store.NextDue(ctx, key, t)
	}
	<-q.loading
	q.mu.Lock()
	defer q.mu.Unlock()
	f.loading = false
	for i := range jobs {
		q.add(&job{msg: &jobs[i].Message, rcpts: jobs[i].Recipients})
	}
	if err != nil {
		if ctx.Err() == nil {
			q.log.Warn("queue: claim", "site", key.Site, "error", err)
		}
		due = now.Add(claimRetry)
	}
	if gone && due.After(now) {
		due = now
	}
	if len(jobs) == 0 && !due.IsZero() && !due.After(now) {
		due = now.Add(claimRetry) // somebody else was faster, or it cannot be read: no hot loop
	}
	q.setDue(f, due)
	q.schedule(f)
	q.forget(f)
	q.dispatch()
	q.kick()
}

const claimRetry = 5 * time.Second

// takeReady empties every flow and returns the leases it held. mu is held.
func (q *Queue) takeReady() []store.Ref {
	var refs []store.Ref
	for _, l := range q.lanes {
		for _, f := range l.flows {
			for {
				j, ok := f.ready.pop()
				if !ok {
					break
				}
				if j.gone {
					continue
				}
				q.ready--
				refs = append(refs, j.refs()...)
				q.drop(j)
			}
		}
	}
	return refs
}
