package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"postern/internal/relay"
)

// MaxTenantLanes is how many lanes a TenantQueue tells of.
const MaxTenantLanes = 1000

// TenantQueue sums up what is queued of a tenant.
type TenantQueue struct {
	Lanes []TenantLane // the fullest first, at most MaxTenantLanes
	More  bool         // there are more lanes
	// Recipients in all lanes.
	Waiting, Due, Leased int64
	// Messages that wait for a person.
	Held, Quarantined int64
	OldestAt          time.Time // when the oldest waiting message was accepted; zero: nothing waits
}

// TenantLane is one lane of a tenant: recipients that wait, those of them that are
// due, and those that a node works on now.
type TenantLane struct {
	relay.Lane
	Waiting, Due, Leased int64
	NextAt               time.Time
	OldestAt             time.Time
}

// TenantQueue counts; with wide, of an account's subusers too. Leased recipients
// and messages that are held are found by reading the whole queue: callers keep
// the result for some seconds.
func (s *Store) TenantQueue(ctx context.Context, t relay.Tenant, wide bool) (TenantQueue, error) {
	q := TenantQueue{}
	byLane := map[relay.Lane]*TenantLane{}
	for _, read := range []func(context.Context, *where, *TenantQueue, map[relay.Lane]*TenantLane) error{s.waitingLanes, s.leasedLanes, s.stoppedMessages} {
		w := &where{}
		w.and("account_id = ?", blob(t.Account.ID))
		if !wide {
			w.and("subuser_id = ?", blob(t.Subuser.ID))
		}
		if err := read(ctx, w, &q, byLane); err != nil {
			return q, fmt.Errorf("count queue: %w", s.readError(err))
		}
	}
	for i := range q.Lanes {
		if l := byLane[q.Lanes[i].Lane]; l != nil {
			q.Lanes[i].Leased = l.Leased
		}
	}
	return q, nil
}

// waitingLanes reads the index of what waits.
func (s *Store) waitingLanes(ctx context.Context, w *where, q *TenantQueue, _ map[relay.Lane]*TenantLane) error {
	w.and("lease = 0 AND held = 0")
	w.args = append(w.args, s.now())
	now := "$" + strconv.Itoa(len(w.args))
	oldest := "min(hex(message_id))"
	if s.eng.dialect() == dPostgres {
		oldest = "min(encode(message_id, 'hex'))"
	}
	query := `SELECT pool_id, site, count(*) AS waiting, count(*) FILTER (WHERE due_at <= ` + now + `), min(due_at), ` + oldest +
		` FROM recipients` + w.String() + ` GROUP BY pool_id, site ORDER BY waiting DESC, site`
	return eachRow(ctx, s.db, query, w.args, func(r *sql.Rows) error {
		var l TenantLane
		var pool []byte
		var next int64
		var first string
		if err := r.Scan(&pool, &l.Site, &l.Waiting, &l.Due, &next, &first); err != nil {
			return err
		}
		l.Pool.ID, l.NextAt = idOf(pool), timeOf(next)
		if id, err := hex.DecodeString(first); err == nil {
			l.OldestAt = idOf(id).Time()
		}
		q.Waiting, q.Due = q.Waiting+l.Waiting, q.Due+l.Due
		if q.OldestAt.IsZero() || l.OldestAt.Before(q.OldestAt) {
			q.OldestAt = l.OldestAt
		}
		if q.More = len(q.Lanes) == MaxTenantLanes; !q.More {
			q.Lanes = append(q.Lanes, l)
		}
		return nil
	})
}

// leasedLanes counts what nodes work on. A lane in which nothing waits is told of,
// too, while there is room.
func (s *Store) leasedLanes(ctx context.Context, w *where, q *TenantQueue, byLane map[relay.Lane]*TenantLane) error {
	w.and("lease <> 0")
	known := map[relay.Lane]bool{}
	for i := range q.Lanes {
		known[q.Lanes[i].Lane] = true
	}
	query := `SELECT pool_id, site, count(*) AS leased FROM recipients` + w.String() + ` GROUP BY pool_id, site ORDER BY leased DESC, site`
	return eachRow(ctx, s.db, query, w.args, func(r *sql.Rows) error {
		var l TenantLane
		var pool []byte
		if err := r.Scan(&pool, &l.Site, &l.Leased); err != nil {
			return err
		}
		l.Pool.ID = idOf(pool)
		q.Leased += l.Leased
		switch {
		case known[l.Lane]:
			byLane[l.Lane] = &l
		case len(q.Lanes) < MaxTenantLanes:
			q.Lanes = append(q.Lanes, l)
		default:
			q.More = true
		}
		return nil
	})
}

func (s *Store) stoppedMessages(ctx context.Context, w *where, q *TenantQueue, _ map[relay.Lane]*TenantLane) error {
	w.and("state <> 'queued'")
	return eachRow(ctx, s.db, `SELECT state, count(*) FROM messages`+w.String()+` GROUP BY state`, w.args, func(r *sql.Rows) error {
		var state string
		var n int64
		err := r.Scan(&state, &n)
		switch relay.MessageState(state) {
		case relay.MessageHeld:
			q.Held = n
		case relay.MessageQuarantined:
			q.Quarantined = n
		}
		return err
	})
}
