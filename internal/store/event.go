package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postern/internal/relay"
)

// eventRow is a row of a day table that is waiting for its commit.
type eventRow struct {
	fam  *family
	at   int64
	st   *stmt // set when the day's table stands
	args []any // args[0] is the position, given at commit unless fixed
	// fixed: the key was given before (login records).
	fixed bool
}

// appendEvents adds events to an operation. They get their epoch and sequence
// when it commits.
func (s *Store) appendEvents(o *op, events []relay.Event) error {
	for i := range events {
		e := &events[i]
		if e.At.IsZero() {
			return errors.New("an event has no time")
		}
		data := string(e.Data)
		if data != "" && !json.Valid(e.Data) {
			return fmt.Errorf("event %s: data is not JSON", e.Kind)
		}
		at := e.At.UnixMicro()
		o.events = append(o.events, eventRow{fam: &eventFamily, at: at, args: []any{
			int64(0), at, string(e.Kind), blob(e.Account.ID), blob(e.Subuser.ID), blob(e.Key.ID), blob(e.Message.ID),
			int64(e.N), octets(e.Recipient), text(data),
		}})
		o.bytes += len(data) + len(e.Recipient) + 128
	}
	return nil
}

// Limits of a page.
const (
	defaultPage   = 100
	maxMessages   = 1000
	maxEventsPage = 10_000
)

func page(limit, most int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, most)
}

// where collects conditions. Only constant text goes into it; values go by
// placeholders.
type where struct {
	cond []string
	args []any
}

// and adds a condition in which each ? stands for the next argument.
func (w *where) and(cond string, args ...any) {
	for _, a := range args {
		w.args = append(w.args, a)
		cond = strings.Replace(cond, "?", "$"+strconv.Itoa(len(w.args)), 1)
	}
	w.cond = append(w.cond, cond)
}

func (w *where) String() string {
	if len(w.cond) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.cond, " AND ")
}

// Events returns the events that match, oldest first. With Message set, only
// days since the message was made are looked at.
func (s *Store) Events(ctx context.Context, f EventFilter) ([]relay.Event, error) {
	since, until := dayRange(micros(f.Since), micros(f.Until))
	if !f.Message.IsZero() {
		since = max(since, madeAt(f.Message))
		f.Since = timeOf(since)
	}
	w := eventWhere(f)
	limit := page(f.Limit, maxEventsPage)
	all, err := readDays(ctx, s, eventFamily, since, until, f.Newest, limit, w, scanEvent)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", s.readError(err))
	}
	return all, nil
}

// madeAt is before all events of a message. An id bears its time; a clock that was
// wrong by an hour loses nothing.
func madeAt(id relay.MessageID) int64 { return max(1, id.Time().UnixMicro()-microsPerDay/24) }

func eventWhere(f EventFilter) *where {
	w := &where{}
	if !f.Message.IsZero() {
		w.and("message_id = ?", blob(f.Message.ID))
	}
	if !f.Account.IsZero() {
		w.and("account_id = ?", blob(f.Account.ID))
	}
	if !f.Key.IsZero() {
		w.and("key_id = ?", blob(f.Key.ID))
	}
	if f.Recipient != "" {
		w.and("recipient = ?", octets(f.Recipient))
	}
	if len(f.Kinds) > 0 {
		marks, args := make([]string, len(f.Kinds)), make([]any, len(f.Kinds))
		for i, k := range f.Kinds {
			marks[i], args[i] = "?", string(k)
		}
		w.and("kind IN ("+strings.Join(marks, ", ")+")", args...)
	}
	if !f.Since.IsZero() {
		w.and("at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		w.and("at <= ?", micros(f.Until))
	}
	if f.AfterEpoch != 0 || f.AfterSeq != 0 {
		w.and("pos > ?", position(f.AfterEpoch, f.AfterSeq))
	}
	return w
}

// endOfTime is later than any stored time.
const endOfTime = 1 << 62

func dayRange(since, until int64) (int64, int64) {
	if until == 0 {
		until = endOfTime
	}
	return since, until
}

// readDays reads up to limit rows of a family, in the order of their key: the
// first ones, or with newest the last ones. In SQLite it merges the day tables;
// rows of a day are nearly, not strictly, in the order of their keys, since a
// row's day is that of its own time.
func readDays[T any](ctx context.Context, s *Store, f family, since, until int64, newest bool, limit int, w *where, scan func(*sql.Rows) (int64, T, error)) ([]T, error) {
	type keyed struct {
		pos int64
		v   T
	}
	var all []keyed
	tables := s.tables(f, since, until)
	if newest {
		slices.Reverse(tables)
	}
	order := func(a, b keyed) int { return cmp.Compare(a.pos, b.pos) }
	past := 0 // tables read since the page was full
	for _, t := range tables {
		before := len(all)
		query := "SELECT " + f.columns + " FROM " + t + w.String() + " ORDER BY 1"
		if newest {
			query += " DESC"
		}
		err := eachRow(ctx, s.db, query+" LIMIT "+strconv.Itoa(limit), w.args, func(r *sql.Rows) error {
			pos, v, err := scan(r)
			all = append(all, keyed{pos, v})
			return err
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, order)
		if len(all) > limit {
			if newest {
				all = all[len(all)-limit:]
			} else {
				all = all[:limit]
			}
		}
		// Neighbouring days may overlap around midnight, so one more is read.
		if before >= limit {
			if past++; past > 1 {
				break
			}
		}
	}
	out := make([]T, len(all))
	for i := range all {
		out[i] = all[i].v
	}
	return out, nil
}

// tables names what to read for a range of time.
func (s *Store) tables(f family, since, until int64) []string {
	if s.eng.dialect() == dPostgres {
		return []string{f.name}
	}
	var names []string
	for _, day := range s.days.list(f, since, until) {
		names = append(names, f.name+"_"+strconv.Itoa(day))
	}
	return names
}

func eachRow(ctx context.Context, q querier, query string, args []any, fn func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func scanEvent(r *sql.Rows) (int64, relay.Event, error) {
	var e relay.Event
	var pos, at, n int64
	var kind, data string
	var acct, sub, key, msg, rcpt []byte
	if err := r.Scan(&pos, &at, &kind, &acct, &sub, &key, &msg, &n, &rcpt, &data); err != nil {
		return 0, e, err
	}
	e = relay.Event{
		Epoch: pos >> seqBits, Seq: pos & seqMask, At: timeOf(at), Kind: relay.EventKind(kind),
		Tenant: relay.Tenant{Account: relay.AccountID{ID: idOf(acct)}, Subuser: relay.SubuserID{ID: idOf(sub)}},
		Key:    relay.KeyID{ID: idOf(key)}, Message: relay.MessageID{ID: idOf(msg)}, N: int(n), Recipient: string(rcpt),
	}
	if data != "" {
		e.Data = json.RawMessage(data)
	}
	return pos, e, nil
}

// MaxHistory is how many events of a message are read, half of them from its
// beginning and half from its end.
const MaxHistory = 2 * maxEventsPage

// MessageHistory returns the events of a message in the order of their time, whether
// it is still queued or has left the queue: of more than MaxHistory the first and the
// last ones. No events: relay.NotFound.
func (s *Store) MessageHistory(ctx context.Context, id relay.MessageID) ([]relay.Event, error) {
	all, err := s.eventsOf(ctx, id, maxEventsPage, false)
	if err == nil && len(all) == maxEventsPage {
		var last []relay.Event
		last, err = s.eventsOf(ctx, id, maxEventsPage, true)
		slices.Reverse(last)
		all = append(all, slices.DeleteFunc(last, func(e relay.Event) bool { return byTime(e, all[maxEventsPage-1]) <= 0 })...)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("history of message %s: %w", id, s.readError(err))
	case len(all) == 0:
		return nil, notFound("message")
	}
	return all, nil
}

// LastHold returns the event by which a message was last held or quarantined: by its
// time, since the positions of two nodes that run side by side tell nothing about
// which was first. It never was: relay.NotFound.
func (s *Store) LastHold(ctx context.Context, id relay.MessageID) (relay.Event, error) {
	all, err := s.eventsOf(ctx, id, 1, true, relay.EventHeld, relay.EventQuarantined)
	if err != nil {
		return relay.Event{}, fmt.Errorf("last hold of message %s: %w", id, s.readError(err))
	}
	if len(all) == 0 {
		return relay.Event{}, notFound("hold")
	}
	return all[0], nil
}

// byTime is the order in which a message's events came about: by their time, and of
// one time as they were committed.
func byTime(a, b relay.Event) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(position(a.Epoch, a.Seq), position(b.Epoch, b.Seq)))
}

// eventsOf reads up to limit events of a message, of all kinds or of some, in the
// order of byTime: the first ones, or with newest the last ones, backwards. An event
// is in the table of its own day, so days follow each other.
func (s *Store) eventsOf(ctx context.Context, id relay.MessageID, limit int, newest bool, kinds ...relay.EventKind) ([]relay.Event, error) {
	since := madeAt(id)
	w := eventWhere(EventFilter{Message: id, Kinds: kinds, Since: timeOf(since)})
	tables, order := s.tables(eventFamily, since, endOfTime), " ORDER BY at, pos"
	if newest {
		slices.Reverse(tables)
		order = " ORDER BY at DESC, pos DESC"
	}
	var all []relay.Event
	for _, t := range tables {
		query := "SELECT " + eventFamily.columns + " FROM " + t + w.String() + order + " LIMIT " + strconv.Itoa(limit-len(all))
		err := eachRow(ctx, s.db, query, w.args, func(r *sql.Rows) error {
			_, e, err := scanEvent(r)
			all = append(all, e)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(all) >= limit {
			break
		}
	}
	return all, nil
}
