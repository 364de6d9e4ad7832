package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"postern/internal/relay"
)

const (
	selectEpochs = `SELECT epoch, started_at, CASE WHEN ended_at <> 0 THEN 1 ELSE 0 END FROM nodes WHERE epoch > $1 ORDER BY epoch`
	firstEpoch   = `SELECT COALESCE(MIN(epoch), 0) FROM nodes`
)

// epochSkew is how far the clocks of two nodes may differ without their events
// being read in another order than they happened. Nothing depends on it but that.
const epochSkew = int64(time.Minute / time.Microsecond)

// loginAhead is how far after settled a record may lie and still be waited for.
// What is later than that was written under a clock that was wrong.
const loginAhead = time.Hour

// LoginSettle is how old a login record is when its count no longer rises: refusals
// that are alike add up for a minute, and are written a second later.
const LoginSettle = 2 * time.Minute

// readBytes is how large a page of a log becomes, in octets: the record that reaches
// it is the last one. (A message to ten thousand people is an event of megabytes.)
const readBytes = 4 << 20

// More reports whether the reading that gave a cursor ended since its page was large
// enough, whatever its limit: there may be more to read at once.
func (c Cursor) More() bool { return c.more }

// ReadEvents returns up to limit events (at most 10,000; 0: 100) after a cursor, or
// fewer if they are large (4 MiB and one event), and the cursor after them. Of each epoch they come in its order, without gaps
// but for what retention has dropped; those of several are merged by time, as good
// as their clocks are. Nothing that commits is ever passed over, by whichever node
// and however late. No events: nothing is new, and the cursor may have moved past
// epochs that have ended.
func (s *Store) ReadEvents(ctx context.Context, c Cursor, limit int) ([]relay.Event, Cursor, error) {
	events, next, err := readLog(ctx, s, logReader[relay.Event]{
		fam: &eventFamily, scan: scanEvent, at: func(e *relay.Event) int64 { return e.At.UnixMicro() }, horizon: s.w.committed.Load,
		size: func(e *relay.Event) int { return len(e.Data) + len(e.Recipient) },
	}, c, page(limit, maxEventsPage))
	if err != nil {
		return nil, c, fmt.Errorf("read events: %w", s.readError(err))
	}
	return events, next, nil
}

// ReadLogins is ReadEvents for login records. It stops before the first one of an
// epoch that is not older than settled, since its count may still rise: give it a
// time LoginSettle ago.
func (s *Store) ReadLogins(ctx context.Context, c Cursor, settled time.Time, limit int) ([]StoredLogin, Cursor, error) {
	from, to := settled.UnixMicro(), settled.Add(loginAhead).UnixMicro()
	logins, next, err := readLog(ctx, s, logReader[StoredLogin]{
		fam: &loginFamily, scan: scanLogin, at: func(l *StoredLogin) int64 { return l.At.UnixMicro() },
		wait: func(l *StoredLogin) bool { at := l.At.UnixMicro(); return from <= at && at <= to },
	}, c, page(limit, maxEventsPage))
	if err != nil {
		return nil, c, fmt.Errorf("read logins: %w", s.readError(err))
	}
	return logins, next, nil
}

// logReader is what readLog must know of a log.
type logReader[T any] struct {
	fam  *family
	scan func(*sql.Rows) (int64, T, error)
	at   func(*T) int64
	// size is a row's octets, towards readBytes; nil: rows are small.
	size func(*T) int
	// wait reports what must not be read yet, nor anything of its epoch after it.
	wait func(*T) bool
	// horizon is the last sequence that this node has committed; nil: unknown.
	horizon func() int64
}

// epochRow is a run of a process.
type epochRow struct {
	epoch, began int64
	ended        bool // nothing of it commits any more
}

// keyedRow is a row of a log with its position.
type keyedRow[T any] struct {
	pos, at int64
	size    int
	v       T
}

// room is what a page still takes.
type room struct{ rows, bytes int }

func newRoom(limit int) room { return room{limit, readBytes} }

// take reports whether there is room, and takes it for a row of a size. The row that
// reaches the bound of octets is still taken. So of one source that was read up to a
// bound no page holds more than was read, whatever else comes into the page: nothing
// is passed over.
func (r *room) take(size int) bool {
	if r.rows <= 0 || r.bytes <= 0 {
		return false
	}
	r.rows, r.bytes = r.rows-1, r.bytes-size
	return true
}

// within is how many of the rows have room, from the first on, and whether that
// filled it.
func within[T any](rows []keyedRow[T], limit int) (n int, full bool) {
	r := newRoom(limit)
	for n < len(rows) && r.take(rows[n].size) {
		n++
	}
	return n, r.rows <= 0 || r.bytes <= 0
}

// epochPage is what was read of one epoch.
type epochPage[T any] struct {
	epochRow
	rows []keyedRow[T]
	all  bool // there is nothing after rows
}

// readLog reads on from a cursor. The epochs are read first: of one that has ended
// by then everything is visible to what is read afterwards.
func readLog[T any](ctx context.Context, s *Store, l logReader[T], c Cursor, limit int) ([]T, Cursor, error) {
	next := c.next()
	epochs, err := s.openEpochs(ctx, &next)
	if err != nil {
		return nil, c, err
	}
	var pages []epochPage[T]
	left := newRoom(limit)
	for _, e := range epochs {
		if (left.rows <= 0 || left.bytes <= 0) && slices.IndexFunc(pages, func(p epochPage[T]) bool {
			return len(p.rows) > 0 && p.rows[len(p.rows)-1].at+epochSkew >= e.began
		}) < 0 {
			break // what follows began after all that was read
		}
		p, err := readEpoch(ctx, s, l, e, next.at(e.epoch), limit)
		if err != nil {
			return nil, c, err
		}
		for i := range p.rows {
			left.rows, left.bytes = left.rows-1, left.bytes-p.rows[i].size
		}
		pages = append(pages, p)
	}
	out, taken, large := mergePages(pages, limit)
	next.more = large
	next.stamps = make(map[int64]int64, len(pages))
	for i := range pages {
		p := &pages[i]
		next.stamps[p.epoch] = p.began
		switch n := taken[i]; {
		case n == len(p.rows) && p.all && p.ended:
			next.set(p.epoch, finished, p.began)
		case n > 0:
			next.set(p.epoch, p.rows[n-1].pos&seqMask, p.began)
		}
	}
	return out, next, nil
}

// openEpochs returns the epochs that were not read to their end, ascending. A part
// of the cursor whose epochs are not those of this database is forgotten.
func (s *Store) openEpochs(ctx context.Context, c *Cursor) ([]epochRow, error) {
	var floor int64
	if c.checked && len(c.spans) > 0 && c.spans[0].seq == finished {
		var first int64
		if err := s.db.QueryRowContext(ctx, firstEpoch).Scan(&first); err != nil {
			return nil, err
		}
		if first >= c.spans[0].first {
			floor = c.spans[0].last
		}
	}
	var all []epochRow
	err := eachRow(ctx, s.db, selectEpochs, []any{floor}, func(r *sql.Rows) error {
		var e epochRow
		err := r.Scan(&e.epoch, &e.began, &e.ended)
		if s.eng.dialect() == dSQLite {
			e.ended = e.epoch != s.epoch // one process at a time has the file
		}
		all = append(all, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !c.checked {
		c.spans = slices.DeleteFunc(c.spans, func(p span) bool {
			return !slices.ContainsFunc(all, func(e epochRow) bool { return e.epoch == p.last && e.began == p.stamp })
		})
		c.checked = true
	}
	return slices.DeleteFunc(all, func(e epochRow) bool { return c.at(e.epoch) == finished }), nil
}

// readEpoch reads up to limit rows of an epoch after a sequence.
func readEpoch[T any](ctx context.Context, s *Store, l logReader[T], e epochRow, after int64, limit int) (epochPage[T], error) {
	p := epochPage[T]{epochRow: e}
	if l.horizon != nil && e.epoch == s.epoch && l.horizon() <= after {
		return p, nil
	}
	rows, err := readPositions(ctx, s, l, e.epoch, after, limit)
	if err != nil {
		return p, err
	}
	_, full := within(rows, limit)
	p.rows, p.all = rows, !full
	if l.wait != nil {
		if i := slices.IndexFunc(rows, func(r keyedRow[T]) bool { return l.wait(&r.v) }); i >= 0 {
			p.rows, p.all = rows[:i], false
		}
	}
	return p, nil
}

// readPositions reads an epoch's rows in their order. A row lies in the day of its
// own time, which a clock may have set back, so all days are looked at: in SQLite
// each table is asked for its first row, in PostgreSQL the last two days do where
// nothing is missing between the cursor and what they have.
func readPositions[T any](ctx context.Context, s *Store, l logReader[T], epoch, after int64, limit int) ([]keyedRow[T], error) {
	lo, hi := position(epoch, after), position(epoch+1, 0)
	if s.eng.dialect() == dSQLite {
		return readTables(ctx, s, l, lo, hi, limit)
	}
	recent := s.now() - 2*microsPerDay
	rows, err := readRows(ctx, s.db, l, l.fam.name, " AND at >= $3", []any{lo, hi, recent}, limit)
	if n := int64(len(rows)); err != nil || n > 0 && rows[n-1].pos == lo+n {
		return rows, err
	}
	return readRows(ctx, s.db, l, l.fam.name, "", []any{lo, hi}, limit)
}

// errFull ends a reading: what was read is enough.
var errFull = errors.New("the page is full")

// readRows reads up to limit rows, and no more than make a page full.
func readRows[T any](ctx context.Context, q querier, l logReader[T], table, more string, args []any, limit int) ([]keyedRow[T], error) {
	key := l.fam.key()
	query := "SELECT " + l.fam.columns + " FROM " + table + " WHERE " + key + " > $1 AND " + key + " < $2" + more +
		" ORDER BY " + key + " LIMIT " + strconv.Itoa(limit)
	var rows []keyedRow[T]
	left := newRoom(limit)
	err := eachRow(ctx, q, query, args, func(r *sql.Rows) error {
		pos, v, err := l.scan(r)
		if err != nil {
			return err
		}
		row := keyedRow[T]{pos: pos, at: l.at(&v), v: v}
		if l.size != nil {
			row.size = l.size(&v)
		}
		if rows = append(rows, row); left.take(row.size) && left.bytes <= 0 {
			return errFull
		}
		return nil
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	return rows, err
}

// tableStart is a day's table with the first position in it.
type tableStart struct {
	name string
	pos  int64
}

// readTables reads rows of SQLite's day tables between two positions, in their
// order, as of one moment: a row in one table must not be seen without those
// before it in another.
func readTables[T any](ctx context.Context, s *Store, l logReader[T], lo, hi int64, limit int) ([]keyedRow[T], error) {
	var rows []keyedRow[T]
	err := s.reading(ctx, func(tx *sql.Tx) error {
		rows = nil
		starts, err := tableStarts(ctx, s, tx, l.fam, lo, hi)
		if err != nil {
			return err
		}
		for _, t := range starts {
			if n, full := within(rows, limit); full && rows[n-1].pos < t.pos {
				break
			}
			more, err := readRows(ctx, tx, l, t.name, "", []any{lo, hi}, limit)
			if err != nil {
				return err
			}
			rows = append(rows, more...)
			slices.SortFunc(rows, func(a, b keyedRow[T]) int { return cmp.Compare(a.pos, b.pos) })
			n, _ := within(rows, limit)
			rows = rows[:n]
		}
		return nil
	})
	return rows, err
}

// tableStarts finds the tables that have rows between two positions, in the order
// of their first ones. The list of tables is taken after the moment is fixed, so
// it has all that are visible then, and perhaps some more.
func tableStarts(ctx context.Context, s *Store, tx *sql.Tx, f *family, lo, hi int64) ([]tableStart, error) {
	if err := tx.QueryRowContext(ctx, firstEpoch).Scan(new(int64)); err != nil {
		return nil, err
	}
	since := int64(0)
	if lo>>seqBits == s.epoch {
		since = s.days.writtenSince(f)
	}
	var starts []tableStart
	for _, name := range s.tables(*f, since, endOfTime) {
		var first sql.NullInt64
		err := tx.QueryRowContext(ctx, "SELECT MIN("+f.key()+") FROM "+name+" WHERE "+f.key()+" > $1 AND "+f.key()+" < $2", lo, hi).Scan(&first)
		if err != nil {
			if gone, e := noTable(ctx, tx, name); e == nil && gone {
				continue // made since, or dropped before
			}
			return nil, err
		}
		if first.Valid {
			starts = append(starts, tableStart{name, first.Int64})
		}
	}
	slices.SortFunc(starts, func(a, b tableStart) int { return cmp.Compare(a.pos, b.pos) })
	return starts, nil
}

func noTable(ctx context.Context, tx *sql.Tx, name string) (bool, error) {
	var n int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`, name).Scan(&n)
	return n == 0, err
}

// mergePages takes what a page has room for, the earliest first, each epoch's in its
// own order. It returns how many it took of each, and whether it ended for its size.
func mergePages[T any](pages []epochPage[T], limit int) (out []T, taken []int, large bool) {
	taken = make([]int, len(pages))
	left := newRoom(limit)
	for left.rows > 0 && left.bytes > 0 {
		first := -1
		for i := range pages {
			if n := taken[i]; n < len(pages[i].rows) && (first < 0 || pages[i].rows[n].at < pages[first].rows[taken[first]].at) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		row := &pages[first].rows[taken[first]]
		left.take(row.size)
		out = append(out, row.v)
		taken[first]++
	}
	return out, taken, left.bytes <= 0
}

// ReadChanges is ReadEvents for administrative changes, of all accounts, in the
// order in which they committed: each locks the number of all changes before it
// takes its id, so a lower id never becomes visible after a higher one. A cursor
// whose change is not this database's (it was restored from a backup) begins anew.
func (s *Store) ReadChanges(ctx context.Context, c Cursor, limit int) ([]StoredChange, Cursor, error) {
	next := c.next()
	if err := s.checkChange(ctx, s.db, &next); err != nil {
		return nil, c, fmt.Errorf("read changes: %w", s.readError(err))
	}
	all, err := s.Changes(ctx, ChangeFilter{After: next.change, Limit: page(limit, maxEventsPage)})
	if err != nil {
		return nil, c, err
	}
	if n := len(all); n > 0 {
		next.change, next.sum = all[n-1].ID, sumStart(all[n-1].Hash)
	}
	return all, next, nil
}

const (
	selectChangeHash = `SELECT hash FROM changes WHERE id = $1`
	selectLastChange = `SELECT COALESCE(MAX(id), 0) FROM changes`
)

// checkChange compares the change that a cursor stands at with the stored one. One
// that is not there was pruned, unless all that are there came before it.
func (s *Store) checkChange(ctx context.Context, q querier, c *Cursor) error {
	if c.checked || c.change == 0 {
		c.checked = true
		return nil
	}
	var hash []byte
	var last int64
	err := q.QueryRowContext(ctx, selectChangeHash, c.change).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = q.QueryRowContext(ctx, selectLastChange).Scan(&last)
	}
	if err != nil {
		return err
	}
	if hash != nil && sumStart(hash) != c.sum || hash == nil && last < c.change {
		c.change, c.sum = 0, ""
	}
	c.checked = true
	return nil
}

func sumStart(hash []byte) string { return hexEncode(hash[:min(len(hash), 8)]) }
