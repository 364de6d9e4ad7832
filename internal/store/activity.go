package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"strconv"

	"postern/internal/relay"
)

const (
	// keepSeen is how many rows of access activity a tenant keeps, the newest.
	keepSeen = 1000
	// pruneSeen is how many rows may be added to a tenant's before they are pruned.
	pruneSeen = 100
)

var (
	stmtSeen = newStmt(`INSERT INTO access_seen (account_id, subuser_id, addr, method, allowed, first_at, last_at, count)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (account_id, subuser_id, addr, method, allowed)
		DO UPDATE SET last_at = excluded.last_at, count = access_seen.count + excluded.count`)
	stmtSeenPrune = newStmt(`DELETE FROM access_seen WHERE account_id = $1 AND subuser_id = $2 AND (addr, method, allowed) IN (
		SELECT addr, method, allowed FROM access_seen WHERE account_id = $3 AND subuser_id = $4
		ORDER BY last_at DESC, addr, method, allowed LIMIT 1000000 OFFSET ` + strconv.Itoa(keepSeen) + `)`)
)

const selectSeen = `SELECT addr, method, allowed, first_at, last_at, count FROM access_seen
	WHERE account_id = $1 AND subuser_id = $2 ORDER BY last_at DESC, addr, method, allowed LIMIT $3`

// seenKey is what makes two attempts one line of the activity list.
type seenKey struct {
	relay.Tenant
	addr    netip.Addr
	method  string
	allowed bool
}

func (k seenKey) compare(o seenKey) int {
	return cmp.Or(bytes.Compare(k.Account.ID[:], o.Account.ID[:]), bytes.Compare(k.Subuser.ID[:], o.Subuser.ID[:]),
		k.addr.Compare(o.addr), cmp.Compare(k.method, o.method), cmp.Compare(flag(k.allowed), flag(o.allowed)))
}

// RecordAccess adds to a tenant's list of addresses that came, let in or not. It
// never blocks and never fails; attempts of one address by one method with one
// outcome are one line, written within a second or so. What finds no room is
// counted in Stats.
func (s *Store) RecordAccess(a relay.AccessSeen) {
	if a.Account.IsZero() {
		return // nobody's list
	}
	if a.LastAt.IsZero() {
		a.LastAt = s.cfg.Now()
	}
	if a.FirstAt.IsZero() {
		a.FirstAt = a.LastAt
	}
	a.Count = max(a.Count, 1)
	a.Method = clip(a.Method)
	key := seenKey{a.Tenant, a.Addr, a.Method, a.Allowed}
	r := &s.rec
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.seen[key]; old != nil {
		old.Count += a.Count
		if a.LastAt.After(old.LastAt) {
			old.LastAt = a.LastAt
		}
		return
	}
	if len(r.seen) >= recorderRoom {
		r.dropped.Add(a.Count)
		return
	}
	r.seen[key] = &a
}

// flushSeen writes the activity, in one order on all nodes, and keeps each
// tenant's list short.
func (r *recorder) flushSeen(p *pager) {
	for _, key := range sortedKeys(r.seen, seenKey.compare) {
		a := r.seen[key]
		delete(r.seen, key)
		p.next().add(stmtSeen, blob(a.Account.ID), blob(a.Subuser.ID), addrText(a.Addr), a.Method, flag(a.Allowed),
			micros(a.FirstAt), micros(a.LastAt), a.Count)
		if r.added[a.Tenant]++; r.added[a.Tenant] >= pruneSeen || len(r.added) > recorderRoom {
			r.pruneSeen(p.next(), a.Tenant)
		}
	}
}

func (r *recorder) pruneSeen(o *op, t relay.Tenant) {
	o.add(stmtSeenPrune, blob(t.Account.ID), blob(t.Subuser.ID), blob(t.Account.ID), blob(t.Subuser.ID))
	delete(r.added, t)
}

// sweepSeen prunes the lists that have grown a little since they were last pruned.
func (s *Store) sweepSeen(ctx context.Context) error {
	r := &s.rec
	p := &pager{s: s}
	r.mu.Lock()
	for t := range r.added {
		r.pruneSeen(p.next(), t)
	}
	r.mu.Unlock()
	p.send()
	if p.last == nil {
		return nil
	}
	select {
	case <-p.last.done:
		return p.last.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AccessActivity lists from where a tenant was tried lately, the newest first: at
// most limit, 0 for 100, and never more than 1,000. A subuser's attempts are in
// its own list only.
func (s *Store) AccessActivity(ctx context.Context, t relay.Tenant, limit int) ([]relay.AccessSeen, error) {
	var all []relay.AccessSeen
	args := []any{blob(t.Account.ID), blob(t.Subuser.ID), int64(page(limit, keepSeen))}
	err := eachRow(ctx, s.db, selectSeen, args, func(r *sql.Rows) error {
		a := relay.AccessSeen{Tenant: t}
		var addr string
		var allowed, first, last int64
		if err := r.Scan(&addr, &a.Method, &allowed, &first, &last, &a.Count); err != nil {
			return err
		}
		a.Allowed, a.FirstAt, a.LastAt = allowed != 0, timeOf(first), timeOf(last)
		if addr != "" {
			v, err := netip.ParseAddr(addr)
			if err != nil {
				return fmt.Errorf("%w: access_seen.addr: %w", ErrDamaged, err)
			}
			a.Addr = v
		}
		all = append(all, a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read access activity: %w", s.readError(err))
	}
	return all, nil
}
