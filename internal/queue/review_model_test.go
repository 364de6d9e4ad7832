package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// invariants checks what must hold of the scheduler between any two steps.
func (q *Queue) invariants(t *testing.T) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	at := map[*flow]map[string]int{}
	stands := func(f *flow, where string) {
		if at[f] == nil {
			at[f] = map[string]int{}
		}
		at[f][where]++
	}
	held := map[*site]int{}
	ready, bytes := 0, int64(0)
	for _, tn := range q.tenants {
		bytes += tn.bytes
		for _, f := range tn.flows.items[tn.flows.head:] {
			stands(f, "tenant")
		}
		if tn.flows.len() > 0 && !tn.listed {
			t.Errorf("a tenant with runnable flows has no turn")
		}
	}
	for _, l := range q.lanes {
		for _, f := range l.waiting.items[l.waiting.head:] {
			stands(f, "route")
		}
		if l.waiting.len() > 0 && !l.routing {
			t.Errorf("lane %s: flows wait for a route that nobody asks for", l.key.Site)
		}
	}
	for _, s := range q.sites {
		n := 0
		for _, of := range s.waiting.flows {
			n += of.len()
			for _, f := range of.items[of.head:] {
				stands(f, "site")
			}
		}
		if n != s.waiting.len() {
			t.Errorf("site %s: %d wait, %d counted", s.name, n, s.waiting.len())
		}
		if _, rests := q.paused[s]; n > 0 && s.active == 0 && !rests {
			t.Errorf("site %s: %d wait and nobody wakes them", s.name, n)
		}
	}
	for _, l := range q.lanes {
		for _, f := range l.flows {
			want := map[flowState]string{flowRunnable: "tenant", flowRouting: "route", flowSite: "site"}[f.state]
			total := 0
			for _, n := range at[f] {
				total += n
			}
			if want == "" && total != 0 || want != "" && (total != 1 || at[f][want] != 1) {
				t.Errorf("flow in state %d stands in %v", f.state, at[f])
			}
			if f.ready.len() > 0 && f.state == flowIdle {
				t.Errorf("a flow with %d ready jobs is in no list", f.ready.len())
			}
			wanted, there := !f.due.IsZero() && !f.loading && f.ready.len() < lowWater, f.heapAt >= 0
			if wanted && !there || there && (f.due.IsZero() || f.loading) {
				t.Errorf("flow due %v, loading %v, %d ready: place %d in the timers", f.due, f.loading, f.ready.len(), f.heapAt)
			}
			for _, j := range f.ready.items[f.ready.head:] {
				if !j.gone {
					ready++
				}
			}
			if f.granted != nil {
				held[f.granted]++
			}
			delete(at, f)
		}
	}
	if len(at) > 0 {
		t.Errorf("%d flows that no lane knows stand in lists", len(at))
	}
	running := 0
	payloads := map[*payload]int{}
	for _, js := range q.jobs {
		for _, j := range js {
			if j.running {
				running++
			}
			if j.payload != nil {
				payloads[j.payload]++
			}
		}
	}
	sum := 0
	for _, s := range q.sites {
		sum += s.active - held[s]
		if s.active < held[s] {
			t.Errorf("site %s: %d active, %d granted", s.name, s.active, held[s])
		}
	}
	octets := int64(0)
	for p, n := range payloads {
		octets += p.bytes
		if p.users != n {
			t.Errorf("a payload has %d users, %d counted", n, p.users)
		}
	}
	if ready != q.ready || running != q.active || sum > running || bytes != q.bytes || octets > q.bytes {
		t.Errorf("ready %d (counted %d), running %d (counted %d, at sites %d), octets %d, by tenant %d (counted %d)",
			ready, q.ready, running, q.active, sum, octets, bytes, q.bytes)
	}
}

// model drives a queue by random steps, over a store that fails at random.
type model struct {
	*world
	s     *flakyStore
	rnd   *rand.Rand
	total int
	ids   []relay.MessageID
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{rnd: rand.New(&lockedSource{pcg: rand.NewPCG(seed, 7)})}
	m.world, m.s = newFlaky(t, m.deliver, func(c *Config) {
		c.Concurrency, c.Memory, c.SiteStart, c.SiteMax = 6, 64<<10, 2, 4
		c.Cautious = seed%2 == 0
	})
	m.out.route = m.route
	return m
}

// route leads twelve domains to a few sites, to others now and then, or fails.
func (m *model) route(domain string) (deliver.Route, error) {
	time.Sleep(time.Duration(m.rnd.IntN(2000)) * time.Millisecond)
	switch n := m.rnd.IntN(20); {
	case n == 0:
		return deliver.Route{}, &deliver.Failure{Reply: smtp.R(451, 4, 4, 3, "no name server answers")}
	case n == 1:
		return deliver.Route{}, errors.New("no route")
	}
	return deliver.Route{Domain: domain, Site: fmt.Sprint("site", (int(domain[1])+m.rnd.IntN(2))%4)}, nil
}

func (m *model) deliver(ctx context.Context, r deliver.Request) deliver.Result {
	time.Sleep(time.Duration(m.rnd.IntN(9000)) * time.Millisecond)
	if m.rnd.IntN(40) == 0 {
		panic("boom")
	}
	if err := r.BeforeEnd(ctx); err != nil {
		return answer(r, deliver.Deferred, smtp.R(451, 4, 3, 0, "not recorded"), deliver.ConnOK)
	}
	switch m.rnd.IntN(8) {
	case 0:
		return answer(r, deliver.Deferred, smtp.R(451, 4, 4, 1, "gone"), deliver.ConnFailed)
	case 1:
		return answer(r, deliver.Deferred, smtp.R(421, 4, 7, 0, "slow down"), deliver.Throttled)
	}
	res := answer(r, deliver.Delivered, reply250, deliver.ConnOK)
	for i := range res.Outcomes {
		switch m.rnd.IntN(5) {
		case 0:
			res.Outcomes[i].State, res.Outcomes[i].Reply = deliver.Deferred, smtp.R(450, 4, 2, 0, "later")
		case 1:
			res.Outcomes[i].State, res.Outcomes[i].Reply = deliver.Failed, smtp.R(550, 5, 1, 1, "no")
		}
	}
	return res
}

// step does one thing to the queue.
func (m *model) step() {
	tenant := []relay.Tenant{tenantA, tenantB}[m.rnd.IntN(2)]
	if len(m.ids) == 0 || m.rnd.IntN(3) > 0 {
		var to []string
		for i := range 1 + m.rnd.IntN(5) {
			to = append(to, fmt.Sprintf("r%d@d%d.test", i, m.rnd.IntN(12)))
		}
		m.total += len(to)
		m.ids = append(m.ids, m.submit(tenant, to...))
		return
	}
	id := m.ids[m.rnd.IntN(len(m.ids))]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if m.rnd.IntN(4) == 0 {
		cancel()
	}
	switch m.rnd.IntN(6) {
	case 0:
		_, _ = m.q.Recall(ctx, id)
	case 1:
		_, _ = m.q.Bounce(ctx, id, "uid 0", "")
	case 2:
		_ = m.q.End(ctx, id, []int{0, 2}, nil, nil)
	case 3:
		m.q.Due([]store.Share{{Lane: relay.Lane{Pool: poolID, Site: fmt.Sprintf("d%d.test", m.rnd.IntN(12))}, Tenant: tenant}})
	case 4:
		m.q.Reconfigure(Limits{Memory: 64 << 10, Ready: 1 + m.rnd.IntN(50), SiteStart: 2, SiteMax: 1 + m.rnd.IntN(5)})
	case 5:
		_, _ = m.q.Why(ctx, id)
	}
}

// Whatever happens, in whatever order, every recipient ends exactly once, no
// lease is forgotten, and no count drifts.
func TestModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed)
				m.run()
				flaky := func(call string) error {
					if call == "start" && m.rnd.IntN(8) == 0 || call != "start" && m.rnd.IntN(5) == 0 {
						return []error{store.ErrFull, relay.E(relay.Unavailable, "away")}[m.rnd.IntN(2)]
					}
					return nil
				}
				for i := range 300 {
					if i%40 == 0 {
						m.s.breaks(nil)
					} else if i%40 == 20 {
						m.s.breaks(flaky)
					}
					m.step()
					m.q.invariants(t)
					time.Sleep(time.Duration(m.rnd.IntN(900)) * time.Millisecond)
					m.q.invariants(t)
				}
				m.s.breaks(nil)
				time.Sleep(300 * time.Hour)
				synctest.Wait()
				m.q.invariants(t)
				m.stop()
				m.idle()
				if want := m.total + len(m.store.generated); len(m.store.finished) != want || len(m.store.rcpts) != 0 {
					t.Errorf("%d recipients ended, %d are left, of %d", len(m.store.finished), len(m.store.rcpts), want)
				}
			})
		})
	}
}

// idle checks that nothing is left in memory when there is nothing to do.
func (m *model) idle() {
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	for k, s := range m.q.sites {
		if s.active != 0 || s.waiting.len() != 0 {
			m.t.Errorf("site %s: %d active, %d waiting", k[16:], s.active, s.waiting.len())
		}
	}
	if len(m.q.lanes)+len(m.q.jobs)+len(m.q.paused)+len(m.q.owed)+m.q.timers.Len() != 0 || len(m.q.tenants) > 2 {
		m.t.Errorf("left: %d lanes, %d messages, %d resting sites, %d debts, %d timers, %d tenants",
			len(m.q.lanes), len(m.q.jobs), len(m.q.paused), len(m.q.owed), m.q.timers.Len(), len(m.q.tenants))
	}
}

// A stop at any moment leaves no lease behind.
func TestModelStop(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed)
				m.run()
				for range 20 + m.rnd.IntN(60) {
					m.step()
					time.Sleep(time.Duration(m.rnd.IntN(700)) * time.Millisecond)
				}
				m.stop()
			})
		})
	}
}

// Many lanes that are due at once cost each step of the scheduler little.
func TestManyDueLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lanes = 20000
		w := newWorld(t, ok250, func(c *Config) { c.Limits.Ready = 1 })
		for i := range lanes {
			w.q.Waiting(relay.Lane{Pool: poolID, Site: fmt.Sprintf("d%d.test", i)}, tenantA, time.Now().Add(-time.Hour))
		}
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		w.q.ready = 2 // as if memory were full
		begin := w.q.timers[0]
		if d := testing.AllocsPerRun(100, func() { w.q.tick(time.Now()) }); d > 5 || w.q.timers[0] != begin || w.q.timers.Len() != lanes {
			t.Errorf("a tick allocates %v times, and moved the timers", d)
		}
		w.q.ready = 0
	})
}
