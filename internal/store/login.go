package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"time"

	"postern/internal/relay"
)

// sameWithin is how long identical refusals add to one record.
const sameWithin = time.Minute

type loginRecord struct {
	relay.Login
	id    int64 // 0: not yet handed to the writer
	since time.Time
}

// RecordLogin keeps a login record. It never blocks and never fails: a record
// that finds no room is counted in Stats. It is written within a second or so.
// Identical refusals within a minute are one record with their count; identical
// is what agrees in every member but time and count. Of a stranger's words 255
// octets are kept.
func (s *Store) RecordLogin(l relay.Login) {
	r := &s.rec
	if l.Count == 0 {
		l.Count = 1
	}
	if l.At.IsZero() {
		l.At = s.cfg.Now()
	}
	for _, v := range []*string{&l.Protocol, &l.Listener, &l.Mechanism, &l.Tried, &l.Detail, &l.Network, &l.Helo, &l.TLS} {
		*v = clip(*v)
	}
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

// flushLogins writes new records and the counts of old ones, and forgets what no
// refusal can be added to any more.
func (r *recorder) flushLogins(p *pager) {
	for _, rec := range r.logins {
		rec.id = position(r.s.epoch, r.seq.Add(1))
		o := p.next()
		o.events = append(o.events, loginRow(rec))
	}
	r.logins = r.logins[:0]
	for rec := range r.grown {
		p.next().add(r.countStmt(micros(rec.At)), rec.Count, rec.id)
		delete(r.grown, rec)
	}
	now := r.s.cfg.Now()
	for key, rec := range r.same {
		if now.Sub(rec.since).Abs() >= sameWithin {
			delete(r.same, key)
		}
	}
}

func loginRow(rec *loginRecord) eventRow {
	l := &rec.Login
	at := micros(l.At)
	return eventRow{fam: &loginFamily, at: at, fixed: true, args: []any{
		rec.id, at, l.Count, string(l.Result), blob(l.Account.ID), blob(l.Subuser.ID), blob(l.Key.ID), addrText(l.Addr),
		l.Network, l.Protocol, l.Listener, l.Mechanism, l.Tried, l.Helo, l.TLS, l.Detail,
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
	w := loginWhere(&f)
	since, until := dayRange(micros(f.Since), micros(f.Until))
	all, err := readDays(ctx, s, loginFamily, since, until, f.Newest, page(f.Limit, maxEventsPage), w, scanLogin)
	if err != nil {
		return nil, fmt.Errorf("read logins: %w", s.readError(err))
	}
	return all, nil
}

// LatestLogins returns the newest login records that match, oldest first. It looks
// at one stretch of days after the other, backwards and each twice as long as that
// before, until it has as many as are wanted; and it begins no other once budget is
// spent, so that a search for what is rare costs no more than that and a stretch.
// since is then how far back it has looked: the zero time is all the way, or as far
// as was needed.
func (s *Store) LatestLogins(ctx context.Context, f LoginFilter, budget time.Duration) (all []StoredLogin, since time.Time, err error) {
	began, limit, asked := time.Now(), page(f.Limit, maxEventsPage), f.Since
	oldest := timeOf(s.now()).Add(-s.cfg.KeepLogins)
	start := timeOf(s.now())
	if !f.Until.IsZero() && f.Until.Before(start) {
		start = f.Until
	}
	start = start.UTC().Truncate(24 * time.Hour)
	f.Newest = true
	for days := 1; ; days *= 2 {
		last := !start.After(asked) || start.Before(oldest)
		f.Since, f.Limit = start, limit-len(all)
		if last {
			f.Since = asked
		}
		part, err := s.Logins(ctx, f)
		if err != nil {
			return nil, since, err
		}
		all = append(part, all...)
		switch {
		case last || len(all) == limit:
			return all, since, nil
		case time.Since(began) > budget:
			return all, start, nil
		}
		f.Until = start.Add(-time.Microsecond)
		start = start.AddDate(0, 0, -days)
	}
}

func loginWhere(f *LoginFilter) *where {
	w := &where{}
	if !f.Account.IsZero() {
		w.and("account_id = ?", blob(f.Account.ID))
	}
	if !f.Subuser.IsZero() {
		w.and("subuser_id = ?", blob(f.Subuser.ID))
	}
	if !f.Key.IsZero() {
		w.and("key_id = ?", blob(f.Key.ID))
	}
	for _, c := range []struct{ cond, value string }{
		{"addr = ?", f.Addr}, {"network = ?", f.Network}, {"tried = ?", f.Tried}, {"result = ?", string(f.Result)},
	} {
		if c.value != "" {
			w.and(c.cond, clip(c.value))
		}
	}
	for _, c := range []struct{ cond, value string }{{"mechanism = ?", f.Mechanism}, {"substr(tls, 1, 7) = ?", f.TLS}} {
		switch c.value {
		case "":
		case LoginNone:
			w.and(c.cond, "")
		default:
			w.and(c.cond, clip(c.value))
		}
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
	return w
}

func scanLogin(r *sql.Rows) (int64, StoredLogin, error) {
	var l StoredLogin
	var at int64
	var result, addr string
	var acct, sub, key []byte
	if err := r.Scan(&l.ID, &at, &l.Count, &result, &acct, &sub, &key, &addr, &l.Network, &l.Protocol, &l.Listener, &l.Mechanism, &l.Tried,
		&l.Helo, &l.TLS, &l.Detail); err != nil {
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
