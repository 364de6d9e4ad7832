package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/deliver"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// fakeStore keeps recipients in memory and fails the test when the queue breaks
// the contract: a result without a lease, a recipient finished twice.
type fakeStore struct {
	t     testing.TB
	clock func() time.Time

	mu        sync.Mutex
	messages  map[relay.MessageID]relay.Message
	rcpts     map[string]*fakeRcpt
	finished  map[string]int // key → times finished for good
	events    []relay.Event
	generated []*store.Acceptance
	failNext  []error                  // errors for the next Finish calls
	refuse    map[relay.MessageID]bool // results that are never taken
	claims    int
}

type fakeRcpt struct {
	relay.Recipient
	held bool
}

func newFakeStore(t testing.TB, clock func() time.Time) *fakeStore {
	return &fakeStore{t: t, clock: clock, messages: map[relay.MessageID]relay.Message{}, rcpts: map[string]*fakeRcpt{}, finished: map[string]int{}}
}

const fakeEpoch = 7

func rkey(id relay.MessageID, n int) string { return fmt.Sprint(id, "/", n) }

func (s *fakeStore) put(m relay.Message, rcpts []relay.Recipient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[m.ID] = m
	for _, r := range rcpts {
		s.rcpts[rkey(m.ID, r.N)] = &fakeRcpt{Recipient: r}
	}
}

func (s *fakeStore) Epoch() int64 { return fakeEpoch }

func (s *fakeStore) Claim(_ context.Context, lane relay.Lane, t relay.Tenant, due time.Time, limit int) ([]store.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims++
	return s.claim(limit, func(r *fakeRcpt) bool {
		m := s.messages[r.Message]
		return r.Lease == 0 && !r.held && r.Site == lane.Site && m.Pool == lane.Pool && m.Tenant == t && !r.DueAt.After(due)
	}), nil
}

func (s *fakeStore) ClaimMessage(_ context.Context, id relay.MessageID) (store.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := s.claim(1000, func(r *fakeRcpt) bool { return r.Message == id && r.Lease == 0 })
	if len(jobs) == 0 {
		return store.Job{}, nil
	}
	return jobs[0], nil
}

func (s *fakeStore) claim(limit int, want func(*fakeRcpt) bool) []store.Job {
	var found []*fakeRcpt
	for _, r := range s.rcpts {
		if want(r) {
			found = append(found, r)
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := found[i], found[j]
		if !a.DueAt.Equal(b.DueAt) {
			return a.DueAt.Before(b.DueAt)
		}
		return rkey(a.Message, a.N) < rkey(b.Message, b.N)
	})
	at := map[relay.MessageID]int{}
	var jobs []store.Job
	for _, r := range found[:min(limit, len(found))] {
		r.Lease = fakeEpoch
		r.Generation++
		i, ok := at[r.Message]
		if !ok {
			i = len(jobs)
			at[r.Message] = i
			jobs = append(jobs, store.Job{Message: s.messages[r.Message]})
		}
		jobs[i].Recipients = append(jobs[i].Recipients, r.Recipient)
	}
	return jobs
}

func (s *fakeStore) NextDue(_ context.Context, lane relay.Lane, t relay.Tenant) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due time.Time
	for _, r := range s.rcpts {
		m := s.messages[r.Message]
		if r.Lease == 0 && !r.held && r.Site == lane.Site && m.Pool == lane.Pool && m.Tenant == t && (due.IsZero() || r.DueAt.Before(due)) {
			due = r.DueAt
		}
	}
	return due, nil
}

func (s *fakeStore) Unlease(_ context.Context, refs []store.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range refs {
		r := s.rcpts[rkey(ref.Message, ref.N)]
		if r == nil || r.Lease != fakeEpoch || r.Generation != ref.Generation {
			s.t.Errorf("unlease of %v, which is not leased so", ref)
			continue
		}
		r.Lease = 0
	}
	return nil
}

func (s *fakeStore) Start(context.Context, []store.Ref) *store.Pending { return store.Done(nil) }

func (s *fakeStore) Finish(_ context.Context, res store.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse[res.Message] {
		return errors.New("constraint failed")
	}
	if len(s.failNext) > 0 {
		err := s.failNext[0]
		s.failNext = s.failNext[1:]
		return err
	}
	for _, rr := range res.Recipients {
		k := rkey(res.Message, rr.N)
		r := s.rcpts[k]
		if r == nil || r.Lease != fakeEpoch || r.Generation != rr.Generation {
			s.t.Errorf("result for %s without its lease", k)
			return store.ErrLeaseLost
		}
		if rr.Final {
			delete(s.rcpts, k)
			s.finished[k]++
			continue
		}
		r.Lease, r.DueAt, r.Attempts = 0, rr.DueAt, rr.Attempts
		r.LastReply, r.LastHost, r.LastAt = rr.LastReply, rr.LastHost, rr.LastAt
	}
	s.events = append(s.events, res.Events...)
	s.generated = append(s.generated, res.Generated...)
	for _, a := range res.Generated {
		s.messages[a.Message.ID] = a.Message
		for _, r := range a.Recipients {
			s.rcpts[rkey(a.Message.ID, r.N)] = &fakeRcpt{Recipient: r}
		}
	}
	return nil
}

func (s *fakeStore) Backlog(_ context.Context, f func(store.Share) error) error {
	s.mu.Lock()
	shares := map[string]*store.Share{}
	for _, r := range s.rcpts {
		if r.Lease != 0 || r.held {
			continue
		}
		m := s.messages[r.Message]
		k := fmt.Sprint(m.Pool, r.Site, m.Tenant)
		if sh := shares[k]; sh == nil {
			shares[k] = &store.Share{Lane: relay.Lane{Pool: m.Pool, Site: r.Site}, Tenant: m.Tenant, Count: 1, MinDue: r.DueAt}
		} else if r.DueAt.Before(sh.MinDue) {
			sh.MinDue = r.DueAt
		}
	}
	s.mu.Unlock()
	for _, sh := range shares {
		if err := f(*sh); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) Content(_ context.Context, id relay.MessageID) (store.Content, error) {
	return textContent("From: a@acme.test\r\n\r\nbody\r\n"), nil
}

func (s *fakeStore) Message(_ context.Context, id relay.MessageID) (store.Queued, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.messages[id]
	if !ok {
		return store.Queued{}, relay.E(relay.NotFound, "no such message")
	}
	q := store.Queued{Message: m}
	for _, r := range s.rcpts {
		if r.Message == id {
			q.Recipients = append(q.Recipients, r.Recipient)
		}
	}
	return q, nil
}

func (s *fakeStore) Messages(_ context.Context, f store.MessageFilter) ([]store.Queued, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []store.Queued
	for id, m := range s.messages {
		if m.Account != f.Account || m.Subuser != f.Subuser || bytes.Compare(id.ID[:], f.After.ID[:]) <= 0 {
			continue
		}
		for _, r := range s.rcpts {
			if r.Message == id {
				out = append(out, store.Queued{Message: m})
				break
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return bytes.Compare(out[i].Message.ID.ID[:], out[j].Message.ID.ID[:]) < 0 })
	return out[:min(len(out), f.Limit)], nil
}

func (s *fakeStore) Quarantine(_ context.Context, id relay.MessageID, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.messages[id]
	m.State, m.Reason = relay.MessageQuarantined, reason
	s.messages[id] = m
	for _, r := range s.rcpts {
		if r.Message == id {
			r.held = true
		}
	}
	return nil
}

func (s *fakeStore) count(kind relay.EventKind) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

type textContent string

func (c textContent) Size() int64 { return int64(len(c)) }
func (c textContent) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(c))), nil
}

// fakeDeliverer answers by a function, and counts what runs at once.
type fakeDeliverer struct {
	route func(domain string) (deliver.Route, error)
	do    func(ctx context.Context, r deliver.Request) deliver.Result

	mu     sync.Mutex
	active map[string]int
	peak   map[string]int
	order  []relay.MessageID
}

func (d *fakeDeliverer) Route(_ context.Context, domain string) (deliver.Route, error) {
	if d.route != nil {
		return d.route(domain)
	}
	return deliver.Route{Domain: domain, Site: domain}, nil
}

func (d *fakeDeliverer) Deliver(ctx context.Context, r deliver.Request) deliver.Result {
	d.mu.Lock()
	if d.active == nil {
		d.active, d.peak = map[string]int{}, map[string]int{}
	}
	site := r.Route.Site
	d.active[site]++
	d.peak[site] = max(d.peak[site], d.active[site])
	d.order = append(d.order, r.Message.ID)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.active[site]--
		d.mu.Unlock()
	}()
	return d.do(ctx, r)
}

// attempts is how many there were so far.
func (d *fakeDeliverer) attempts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.order)
}

// lockedSource is a random source that the test and its deliveries share.
type lockedSource struct {
	mu  sync.Mutex
	pcg *rand.PCG
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pcg.Uint64()
}

// answer gives every recipient of a request one outcome.
func answer(r deliver.Request, state deliver.State, reply smtp.Reply, c deliver.Connect) deliver.Result {
	res := deliver.Result{Connect: c}
	for _, rc := range r.Recipients {
		res.Outcomes = append(res.Outcomes, deliver.Outcome{N: rc.N, State: state, Reply: reply, Host: "mx." + r.Route.Domain})
	}
	return res
}

var reply250 = smtp.R(250, 2, 0, 0, "ok")

type fakeSigner struct{}

func (fakeSigner) Sign(context.Context, *relay.Message, store.Content) ([]byte, []string, error) {
	return []byte("DKIM-Signature: x\r\n"), []string{"s1"}, nil
}
func (fakeSigner) Current(*relay.Message) bool { return true }

type fakeNotifier struct{}

func (n *fakeNotifier) Compose(_ context.Context, no Notice) (*store.Acceptance, error) {
	if no.Message.EnvelopeFrom == "" {
		return nil, nil
	}
	id := relay.MessageID{ID: relay.NewID(no.Message.AcceptedAt)}
	return &store.Acceptance{
		Message:    relay.Message{ID: id, Tenant: no.Message.Tenant, Pool: no.Message.Pool, AcceptedAt: no.Message.AcceptedAt, ExpiresAt: no.Message.ExpiresAt},
		Recipients: []relay.Recipient{{Message: id, Address: no.Message.EnvelopeFrom, Site: "acme.test", DueAt: no.Message.AcceptedAt}},
	}, nil
}

type fakeDirectory struct {
	off     map[relay.Tenant]string
	deleted *sync.Map // of tenants; nil: none
	account relay.Account
	subuser relay.Subuser
	pool    relay.Pool
}

func (d fakeDirectory) Pool(id relay.PoolID) (relay.Pool, bool) {
	d.pool.ID = id
	return d.pool, true
}
func (fakeDirectory) DefaultPool(relay.Tenant) (relay.Pool, bool) {
	return relay.Pool{}, true
}
func (d fakeDirectory) Account(relay.AccountID) (relay.Account, bool) { return d.account, true }
func (d fakeDirectory) Subuser(id relay.SubuserID) (relay.Subuser, bool) {
	return d.subuser, id == d.subuser.ID
}
func (d fakeDirectory) Deleted(t relay.Tenant) bool {
	if d.deleted == nil {
		return false
	}
	_, ok := d.deleted.Load(t)
	return ok
}
func (d fakeDirectory) Sending(t relay.Tenant) (bool, string) {
	why, off := d.off[t]
	return !off, why
}
