package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"postern/internal/relay"
)

const (
	// recorderRoom bounds what waits to be recorded, of each kind; what comes on top
	// is counted and lost, so that a flood of logins takes neither memory nor mail's
	// share.
	recorderRoom = 8192
	// eventRoom and eventBytes bound the events that wait.
	eventRoom  = 1024
	eventBytes = 16 << 10
	// flushEvery is how often records are handed to the writer.
	flushEvery = time.Second
	// flushPage is how many records one operation carries.
	flushPage = 128
	// clipped is how much of a stranger's words a record keeps, in octets.
	clipped = 255
)

var (
	stmtKeyUse = newStmt(`UPDATE keys SET last_used_at = $1, last_used_from = $2, last_used_mechanism = $3, last_used_helo = $4,
		use_count = use_count + $5 WHERE id = $6`)
	// A use of the secret before last, handed in late, says nothing of the last one.
	stmtPreviousUse = newStmt(`UPDATE keys SET prev_used_at = $1, prev_used_from = $2, prev_used_helo = $3,
		prev_use_count = prev_use_count + $4 WHERE id = $5 AND rotated_at <= $6`)
)

// recorder takes login records, the use of keys, access activity and alerts
// without making anyone wait.
type recorder struct {
	s       *Store
	dropped atomic.Int64
	seq     atomic.Int64

	mu     sync.Mutex
	logins []*loginRecord
	same   map[relay.Login]*loginRecord // refusals of the last minute, by all that they say
	grown  map[*loginRecord]bool        // written before, with a count that has risen since
	uses   map[relay.KeyID]*keyUse
	counts map[string]*stmt
	seen   map[seenKey]*relay.AccessSeen
	added  map[relay.Tenant]int // rows of access activity since the tenant's were last pruned
	events []relay.Event
}

// keyUse sums up the uses of a key, and those of its previous secret among them.
type keyUse struct{ all, previous useSum }

type useSum struct {
	at                    int64
	addr, mechanism, helo string
	n                     int64
}

func (r *recorder) init(s *Store) {
	r.s = s
	r.same, r.grown = map[relay.Login]*loginRecord{}, map[*loginRecord]bool{}
	r.uses, r.counts = map[relay.KeyID]*keyUse{}, map[string]*stmt{}
	r.seen, r.added = map[seenKey]*relay.AccessSeen{}, map[relay.Tenant]int{}
}

// clip is a stranger's words for a record: valid, and not endless.
func clip(s string) string {
	if len(s) > clipped {
		cut := clipped
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return text(s)
}

// RecordKeyUse notes that a key was used; previous: by its old secret, within
// the overlap of a rotation. It never blocks; uses of a key are summed up and
// written at most once a second. The revision stays as it is.
func (s *Store) RecordKeyUse(id relay.KeyID, at time.Time, addr netip.Addr, mechanism, helo string, previous bool) {
	r := &s.rec
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.uses[id]
	if u == nil {
		if len(r.uses) >= recorderRoom {
			r.dropped.Add(1)
			return
		}
		u = &keyUse{}
		r.uses[id] = u
	}
	use := useSum{at: micros(at), addr: addrText(addr), mechanism: clip(mechanism), helo: clip(helo)}
	use.n = u.all.n + 1
	u.all = use
	if previous {
		use.n = u.previous.n + 1
		u.previous = use
	}
}

// RecordEvent adds an event that belongs to no change of the queue (an alert) to
// the log. It never blocks and never fails: one that finds no room, or whose
// data is not JSON or longer than 16 KiB, is counted in Stats. It is written
// within a second or so.
func (s *Store) RecordEvent(e relay.Event) {
	r := &s.rec
	if e.At.IsZero() {
		e.At = s.cfg.Now()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) >= eventRoom || len(e.Data) > eventBytes || len(e.Data) > 0 && !json.Valid(e.Data) {
		r.dropped.Add(1)
		return
	}
	e.Data, e.Recipient = bytes.Clone(e.Data), clip(e.Recipient)
	r.events = append(r.events, e)
}

// run hands what was recorded to the writer, and once more at the end.
func (r *recorder) run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var last *op
	for {
		select {
		case <-ctx.Done():
			_, err := r.flush()
			return err
		case <-tick.C:
		}
		if last != nil {
			select {
			case <-last.done: // one at a time: a slow writer makes records add up here, bounded
			default:
				continue
			}
			if last.err != nil && !errors.Is(last.err, ErrClosed) {
				r.s.log.Warn("records were lost", "err", last.err)
			}
		}
		var err error
		if last, err = r.flush(); err != nil {
			return err
		}
	}
}

// pager puts calls and rows into operations of at most flushPage, and queues each
// behind the mail.
type pager struct {
	s       *Store
	o, last *op
}

func (p *pager) next() *op {
	if p.o != nil && len(p.o.calls)+len(p.o.events) >= flushPage {
		p.send()
	}
	if p.o == nil {
		p.o = newOp("record")
	}
	return p.o
}

func (p *pager) send() {
	if p.o != nil && len(p.o.calls)+len(p.o.events) > 0 {
		p.s.w.submit(p.o, true)
		p.last = p.o
	}
	p.o = nil
}

// flush queues all that waits and returns the last operation.
func (r *recorder) flush() (*op, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &pager{s: r.s}
	r.flushLogins(p)
	r.flushUses(p)
	r.flushSeen(p)
	for i := range r.events {
		if err := r.s.appendEvents(p.next(), r.events[i:i+1]); err != nil {
			r.dropped.Add(1) // RecordEvent has looked; this one is lost, not those after it
			r.s.log.Warn("an event was lost", "err", err)
		}
	}
	r.events = r.events[:0]
	p.send()
	return p.last, nil
}

// flushUses writes the uses of keys, in one order on all nodes.
func (r *recorder) flushUses(p *pager) {
	for _, id := range sortedKeys(r.uses, func(a, b relay.KeyID) int { return bytes.Compare(a.ID[:], b.ID[:]) }) {
		u := r.uses[id]
		key := blob(id.ID)
		p.next().add(stmtKeyUse, u.all.at, u.all.addr, u.all.mechanism, u.all.helo, u.all.n, key)
		if v := &u.previous; v.n > 0 {
			p.next().add(stmtPreviousUse, v.at, v.addr, v.helo, v.n, key, v.at)
		}
		delete(r.uses, id)
	}
}

func sortedKeys[K comparable, V any](m map[K]V, order func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, order)
	return keys
}
