package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/relay"
)

const (
	// recorderRoom bounds what waits to be recorded; what comes on top is counted
	// and lost, so that a flood of logins takes neither memory nor mail's share.
	recorderRoom = 8192
	// flushEvery is how often records are handed to the writer.
	flushEvery = time.Second
	// sameWithin is how long identical refusals add to one record.
	sameWithin = time.Minute
	// flushPage is how many records one operation carries.
	flushPage = 128
)

var stmtKeyUse = newStmt(`UPDATE keys SET last_used_at = $1, last_used_from = $2, last_used_mechanism = $3, last_used_helo = $4,
	use_count = use_count + $5 WHERE id = $6`)

// recorder takes login records and the use of keys without making anyone wait.
type recorder struct {
	s       *Store
	dropped atomic.Int64
	seq     atomic.Int64

	mu     sync.Mutex
	logins []*loginRecord
	same   map[relay.Login]*loginRecord // refusals of the last minute, by their content
	grown  map[*loginRecord]bool        // written before, with a count that has risen since
	uses   map[relay.KeyID]*keyUse
	counts map[string]*stmt
}

type loginRecord struct {
	relay.Login
	id    int64 // 0: not yet handed to the writer
	since time.Time
}

type keyUse struct {
	at                   int64
	addr, mechanism, hel string
	n                    int64
}

func (r *recorder) init(s *Store) {
	r.s = s
	r.same, r.grown = map[relay.Login]*loginRecord{}, map[*loginRecord]bool{}
	r.uses, r.counts = map[relay.KeyID]*keyUse{}, map[string]*stmt{}
}

// RecordLogin keeps a login record. It never blocks and never fails: a record
// that finds no room is counted in Stats. It is written within a second or so.
// Identical refusals within a minute are one record with their count.
func (s *Store) RecordLogin(l relay.Login) {
	r := &s.rec
	if l.Count == 0 {
		l.Count = 1
	}
	if l.At.IsZero() {
		l.At = s.cfg.Now()
	}
	l.Listener, l.Mechanism, l.Tried, l.Helo, l.TLS = text(l.Listener), text(l.Mechanism), text(l.Tried), text(l.Helo), text(l.TLS)
	key := l
	key.At, key.Count = time.Time{}, 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.Result != relay.LoginOK {
		if old := r.same[key]; old != nil && l.At.Sub(old.since).Abs() < sameWithin {
			old.Count += l.Count
			if old.id != 0 {
				r.grown[old] = true
			}
			return
		}
	}
	if len(r.logins) >= recorderRoom {
		r.dropped.Add(l.Count)
		return
	}
	rec := &loginRecord{Login: l, since: l.At}
	r.logins = append(r.logins, rec)
	if l.Result != relay.LoginOK && len(r.same) < recorderRoom {
		r.same[key] = rec
	}
}

// RecordKeyUse notes that a key was used. It never blocks; uses of a key are
// summed up and written at most once a second. The revision stays as it is.
func (s *Store) RecordKeyUse(id relay.KeyID, at time.Time, addr netip.Addr, mechanism, helo string) {
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
	u.n++
	u.at, u.addr, u.mechanism, u.hel = micros(at), addrText(addr), text(mechanism), text(helo)
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
				r.s.log.Warn("login records were lost", "err", last.err)
			}
		}
		var err error
		if last, err = r.flush(); err != nil {
			return err
		}
	}
}

// flush queues all that waits and returns the last operation.
func (r *recorder) flush() (*op, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, last := newOp("record logins"), (*op)(nil)
	send := func() {
		if len(o.calls)+len(o.events) > 0 {
			last = o
			r.s.w.submit(o, true)
			o = newOp("record logins")
		}
	}
	for _, rec := range r.logins {
		rec.id = position(r.s.epoch, r.seq.Add(1))
		o.events = append(o.events, loginRow(rec))
		if len(o.events) >= flushPage {
			send()
		}
	}
	r.logins = r.logins[:0]
	now := r.s.cfg.Now()
	for rec := range r.grown {
		o.add(r.countStmt(micros(rec.At)), rec.Count, rec.id)
		delete(r.grown, rec)
		if len(o.calls) >= flushPage {
			send()
		}
	}
	for key, rec := range r.same {
		if now.Sub(rec.since).Abs() >= sameWithin {
			delete(r.same, key)
		}
	}
	for id, u := range r.uses {
		o.add(stmtKeyUse, u.at, u.addr, u.mechanism, u.hel, u.n, blob(id.ID))
		delete(r.uses, id)
		if len(o.calls) >= flushPage {
			send()
		}
	}
	send()
	return last, nil
}

func loginRow(rec *loginRecord) eventRow {
	l := &rec.Login
	at := micros(l.At)
	return eventRow{fam: &loginFamily, at: at, fixed: true, args: []any{
		rec.id, at, l.Count, string(l.Result), blob(l.Account.ID), blob(l.Subuser.ID), blob(l.Key.ID), addrText(l.Addr),
		text(l.Protocol), l.Listener, l.Mechanism, l.Tried, l.Helo, l.TLS,
	}}
}

// countStmt is the statement that corrects a record's count, of the table where
// it is. The key is unique over all days; in PostgreSQL the table is one.
func (r *recorder) countStmt(at int64) *stmt {
	table := loginFamily.name
	if r.s.eng.dialect() == dSQLite {
		table = fmt.Sprintf("%s_%d", table, dayOf(at))
	}
	st := r.counts[table]
	if st == nil {
		st = newStmt(`UPDATE ` + table + ` SET count = $1 WHERE id = $2`)
		r.counts[table] = st
	}
	return st
}

// Logins returns the login records that match, oldest first.
func (s *Store) Logins(ctx context.Context, f LoginFilter) ([]StoredLogin, error) {
	w := &where{}
	if !f.Account.IsZero() {
		w.and("account_id = ?", blob(f.Account.ID))
	}
	if !f.Key.IsZero() {
		w.and("key_id = ?", blob(f.Key.ID))
	}
	if f.Addr != "" {
		w.and("addr = ?", f.Addr)
	}
	if f.Result != "" {
		w.and("result = ?", string(f.Result))
	}
	if !f.Since.IsZero() {
		w.and("at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		w.and("at <= ?", micros(f.Until))
	}
	if f.After != 0 {
		w.and("id > ?", f.After)
	}
	since, until := dayRange(micros(f.Since), micros(f.Until))
	all, err := readDays(ctx, s, loginFamily, since, until, f.Newest, page(f.Limit, maxEventsPage), w, scanLogin)
	if err != nil {
		return nil, fmt.Errorf("read logins: %w", s.readError(err))
	}
	return all, nil
}

func scanLogin(r *sql.Rows) (int64, StoredLogin, error) {
	var l StoredLogin
	var at int64
	var result, addr string
	var acct, sub, key []byte
	if err := r.Scan(&l.ID, &at, &l.Count, &result, &acct, &sub, &key, &addr, &l.Protocol, &l.Listener, &l.Mechanism, &l.Tried, &l.Helo, &l.TLS); err != nil {
		return 0, l, err
	}
	l.At, l.Result = timeOf(at), relay.LoginResult(result)
	l.Account.ID, l.Subuser.ID, l.Key.ID = idOf(acct), idOf(sub), idOf(key)
	if addr != "" {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return 0, l, fmt.Errorf("login %d: %w", l.ID, err)
		}
		l.Addr = a
	}
	return l.ID, l, nil
}
