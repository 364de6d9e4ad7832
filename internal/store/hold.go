package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/relay"
)

var (
	stmtSetState = newStmt(`UPDATE messages SET state = $1, reason = $2 WHERE id = $3`)
	stmtSetHeld  = newStmt(`UPDATE recipients SET held = $1 WHERE message_id = $2`)
	stmtRelease  = newStmt(`UPDATE messages SET state = 'queued', reason = '', crashes = 0 WHERE id = $1`)
	stmtDueNow   = newStmt(`UPDATE recipients SET due_at = $1 WHERE message_id = $2 AND lease = 0`)
)

const (
	selectState = `SELECT account_id, subuser_id, key_id, state FROM messages WHERE id = $1`
	selectHolds = ` WHERE at < $1 AND kind = 'held' AND message_id IN (SELECT id FROM messages WHERE state = 'held')`
	selectShare = `SELECT pool_id, site, account_id, subuser_id, count(*), min(due_at) FROM recipients
		WHERE message_id = $1 AND lease = 0 AND held = 0 GROUP BY pool_id, site, account_id, subuser_id`
)

// actionPage is how many messages one commit of an action covers.
const actionPage = 200

// Acted says what an action on queued messages did.
type Acted struct {
	Messages int64   // changed; those that were already so are not counted
	Lanes    []Share // what may be attempted now because of it
}

// action is one of hold, release, retry.
type action struct {
	name   string
	kind   relay.EventKind
	reason string
	// apply adds the statements for one message; false: nothing to do.
	apply func(o *op, m *relay.Message) bool
	// again, where it is not nil, says whether it is done to a held message anew.
	again func(ctx context.Context, by By, m *relay.Message) (bool, error)
}

// Hold keeps matching messages from further attempts until they are released.
// Attempts under way finish. One that is held already is held anew by whoever stands
// above those who hold it: from then on they do not release it.
func (s *Store) Hold(ctx context.Context, by By, f MessageFilter, reason string) (Acted, error) {
	return s.act(ctx, by, f, action{name: "queue.hold", kind: relay.EventHeld, reason: reason, again: s.holdsOver, apply: func(o *op, m *relay.Message) bool {
		if m.State == relay.MessageQuarantined {
			return false
		}
		id := blob(m.ID.ID)
		o.add(stmtSetState, string(relay.MessageHeld), text(reason), id)
		o.add(stmtSetHeld, int64(1), id)
		return true
	}})
}

// holdsOver reports whether somebody stands above those who hold a message, or above
// its tenant where it was held as it came in.
func (s *Store) holdsOver(ctx context.Context, by By, m *relay.Message) (bool, error) {
	var d relay.EventData
	e, err := s.LastHold(ctx, m.ID)
	if err == nil {
		err = json.Unmarshal(e.Data, &d)
	}
	if err != nil && relay.KindOf(err) != relay.NotFound {
		return false, err
	}
	rank, _ := d.Stood()
	return by.RankOver(m.Subuser) > rank, nil
}

// carryHolds notes anew who holds a message, where that stands in a day of events that
// retention is about to drop: those below them could release it otherwise. A crash in
// between leaves it for the next sweep, which finds what is not noted yet.
func (s *Store) carryHolds(ctx context.Context, before int64) error {
	first := dayStart(dayOf(before)) // of what stays
	var holds []relay.Event
	for _, table := range s.tables(eventFamily, 0, first-1) {
		err := eachRow(ctx, s.db, "SELECT "+eventFamily.columns+" FROM "+table+selectHolds, []any{first}, func(r *sql.Rows) error {
			_, e, err := scanEvent(r)
			var d relay.EventData
			if err == nil && json.Unmarshal(e.Data, &d) == nil {
				if rank, _ := d.Stood(); rank > relay.RankOwn { // below that, whoever sees it may release it
					holds = append(holds, e)
				}
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("carry holds: %w", s.readError(err))
		}
	}
	for part := range slices.Chunk(holds, actionPage) {
		o := newOp("carry holds")
		for i := range part {
			e := part[i]
			last, err := s.LastHold(ctx, e.Message)
			if err != nil {
				return err
			}
			if last.Epoch != e.Epoch || last.Seq != e.Seq {
				continue
			}
			o.lock(e.Message)
			e.At = s.cfg.Now()
			if err := s.appendEvents(o, []relay.Event{e}); err != nil {
				return fmt.Errorf("carry holds: %w", err)
			}
		}
		if len(o.events) == 0 {
			continue
		}
		if err := s.w.do(ctx, o); err != nil {
			return fmt.Errorf("carry holds: %w", err)
		}
	}
	return nil
}

// Release lets matching held or quarantined messages go on, as they were due. A
// quarantined one gets its three tries again.
func (s *Store) Release(ctx context.Context, by By, f MessageFilter) (Acted, error) {
	return s.act(ctx, by, f, action{name: "queue.release", kind: relay.EventReleased, apply: func(o *op, m *relay.Message) bool {
		if m.State == relay.MessageQueued {
			return false
		}
		id := blob(m.ID.ID)
		o.add(stmtRelease, id)
		o.add(stmtSetHeld, int64(0), id)
		return true
	}})
}

// Retry makes the waiting recipients of matching messages due now. Held and
// quarantined messages stay as they are.
func (s *Store) Retry(ctx context.Context, by By, f MessageFilter) (Acted, error) {
	return s.act(ctx, by, f, action{name: "queue.retry", kind: relay.EventRetried, apply: func(o *op, m *relay.Message) bool {
		if m.State != relay.MessageQueued {
			return false
		}
		o.add(stmtDueNow, s.now(), blob(m.ID.ID))
		return true
	}})
}

// act applies an action to all messages that match, page by page. The change
// record comes first: a crash in between leaves a record of what was asked, and
// pages that are done or not; asking again does the rest. With IDs, an id that
// is not there is relay.NotFound, and nothing is done.
func (s *Store) act(ctx context.Context, by By, f MessageFilter, a action) (Acted, error) {
	var out Acted
	if err := s.checkIDs(ctx, f); err != nil {
		return out, err
	}
	if err := s.recordAction(ctx, by, f, a); err != nil {
		return out, fmt.Errorf("%s: %w", a.name, err)
	}
	lanes := map[laneTenant]Share{}
	ids := f.IDs
	for {
		page := f
		page.Limit = actionPage
		if len(f.IDs) > 0 {
			page.IDs = ids[:min(len(ids), actionPage)]
			ids = ids[len(page.IDs):]
		}
		done, err := s.actPage(ctx, by, page, a, lanes)
		out.Messages += done.changed
		if err != nil {
			return out, fmt.Errorf("%s: %w", a.name, err)
		}
		if len(f.IDs) > 0 && len(ids) == 0 || len(f.IDs) == 0 && done.seen < actionPage {
			break
		}
		f.After = done.last
	}
	for _, sh := range lanes {
		out.Lanes = append(out.Lanes, sh)
	}
	slices.SortFunc(out.Lanes, func(a, b Share) int { return cmp.Compare(a.Lane.Site, b.Lane.Site) })
	return out, nil
}

func (s *Store) checkIDs(ctx context.Context, f MessageFilter) error {
	for _, id := range f.IDs {
		if _, err := s.state(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// laneTenant is what a share is counted by.
type laneTenant struct {
	lane   relay.Lane
	tenant relay.Tenant
}

type pageDone struct {
	seen    int
	changed int64
	last    relay.MessageID
}

func (s *Store) actPage(ctx context.Context, by By, f MessageFilter, a action, lanes map[laneTenant]Share) (pageDone, error) {
	var done pageDone
	all, err := s.Messages(ctx, f)
	if err != nil {
		return done, err
	}
	done.seen = len(all)
	o := newOp(a.name)
	for i := range all {
		m := &all[i].Message
		done.last = m.ID
		if m.State == relay.MessageHeld && a.again != nil {
			if anew, err := a.again(ctx, by, m); err != nil {
				return done, err
			} else if !anew {
				continue
			}
		}
		if !a.apply(o, m) {
			continue
		}
		o.lock(m.ID)
		done.changed++
		ev := s.event(a.kind, m, -1, s.cfg.Now())
		if ev.Data, err = json.Marshal(relay.EventData{By: by.String(), ByRank: by.Stands(m.Subuser), Reason: a.reason}); err != nil {
			return done, err
		}
		if err := s.appendEvents(o, []relay.Event{ev}); err != nil {
			return done, err
		}
	}
	if done.changed == 0 {
		return done, nil
	}
	if err := s.w.do(ctx, o); err != nil {
		done.changed = 0
		return done, err
	}
	for i := range all {
		if err := s.addShares(ctx, all[i].Message.ID, lanes); err != nil {
			return done, err
		}
	}
	return done, nil
}

// addShares counts what of a message may be attempted.
func (s *Store) addShares(ctx context.Context, id relay.MessageID, lanes map[laneTenant]Share) error {
	shares, err := s.shares(ctx, selectShare, blob(id.ID))
	if err != nil {
		return s.readError(err)
	}
	for _, sh := range shares {
		k := laneTenant{sh.Lane, sh.Tenant}
		if old, ok := lanes[k]; ok {
			sh.Count += old.Count
			if old.MinDue.Before(sh.MinDue) {
				sh.MinDue = old.MinDue
			}
		}
		lanes[k] = sh
	}
	return nil
}

// state reads just enough of a message's row to act on it, even when the row
// is damaged.
func (s *Store) state(ctx context.Context, id relay.MessageID) (relay.Message, error) {
	var acct, sub, key []byte
	var state string
	err := s.db.QueryRowContext(ctx, selectState, blob(id.ID)).Scan(&acct, &sub, &key, &state)
	if errors.Is(err, sql.ErrNoRows) {
		return relay.Message{}, notFound("message")
	}
	if err != nil {
		return relay.Message{}, fmt.Errorf("read message %s: %w", id, s.readError(err))
	}
	return relay.Message{
		ID: id, Tenant: relay.Tenant{Account: relay.AccountID{ID: idOf(acct)}, Subuser: relay.SubuserID{ID: idOf(sub)}},
		Key: relay.KeyID{ID: idOf(key)}, State: relay.MessageState(state),
	}, nil
}

// Quarantine takes a message out of the queue, with the reason in words, until
// a person releases or drops it. Leases stay with whoever has them: attempts
// under way finish, and the caller gives its own back. Quarantining twice
// changes nothing.
func (s *Store) Quarantine(ctx context.Context, id relay.MessageID, reason string) error {
	m, err := s.state(ctx, id)
	if err != nil || m.State == relay.MessageQuarantined {
		return err
	}
	o := newOp("quarantine")
	o.lock(id)
	if err := s.appendQuarantine(o, &m, reason); err != nil {
		return err
	}
	return s.w.do(ctx, o)
}

func (s *Store) appendQuarantine(o *op, m *relay.Message, reason string) error {
	id := blob(m.ID.ID)
	o.add(stmtSetState, string(relay.MessageQuarantined), text(reason), id)
	o.add(stmtSetHeld, int64(1), id)
	ev := s.event(relay.EventQuarantined, m, -1, s.cfg.Now())
	data, err := json.Marshal(relay.EventData{Reason: reason})
	if err != nil {
		return err
	}
	ev.Data = data
	return s.appendEvents(o, []relay.Event{ev})
}

// RankOver is how they stand to mail that is a subuser's, or the account's own.
func (b By) RankOver(of relay.SubuserID) relay.Rank {
	switch {
	case b.Restricted:
		return relay.RankOwn
	case of.IsZero() || b.Subuser == of:
		return b.Rank
	}
	return max(b.Rank, relay.RankAccount)
}

// Stands is RankOver as an event notes it.
func (b By) Stands(of relay.SubuserID) string {
	if b.Restricted && !of.IsZero() {
		return relay.ByRestricted
	}
	return b.RankOver(of).Name()
}

// String names who and from where, as events and changes show it.
func (b By) String() string {
	if b.From == "" {
		return b.Who
	}
	return strings.TrimSpace(b.Who + " on " + b.From)
}
