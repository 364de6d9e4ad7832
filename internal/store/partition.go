package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Events and logins are kept by UTC day, so that retention drops whole tables
// and never rows: in SQLite a table a day, in PostgreSQL a partition a day of
// one table. A day is a number like 20261122.

// family is a set of day tables.
type family struct {
	name   string
	sqlite []string // statements that make a day's table; %s is the day
	insert string   // %s is the table
	// insertPg is PostgreSQL's insert, where it differs.
	insertPg string
	// columns of both engines' tables, the key first.
	columns string
	// added brings a SQLite table of the first version up to date: one that has no
	// column of the name newest. PostgreSQL's is one table, and a migration's affair.
	added  []string
	newest string
}

// key is the column that orders a family's rows: the first one.
func (f *family) key() string {
	name, _, _ := strings.Cut(f.columns, ",")
	return name
}

// loginsByKey tells who uses a key.
const loginsByKey = `CREATE INDEX IF NOT EXISTS logins_%s_key ON logins_%[1]s (key_id, at)`

var eventFamily = family{
	name: "events",
	sqlite: []string{
		`CREATE TABLE IF NOT EXISTS events_%s (pos INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL,
			account_id BLOB NOT NULL, subuser_id BLOB NOT NULL, key_id BLOB NOT NULL, message_id BLOB NOT NULL,
			n INTEGER NOT NULL, recipient BLOB NOT NULL, data TEXT NOT NULL) STRICT`,
		`CREATE INDEX IF NOT EXISTS events_%s_message ON events_%[1]s (message_id)`,
	},
	insert: `INSERT INTO %s (pos, at, kind, account_id, subuser_id, key_id, message_id, n, recipient, data)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
	columns: `pos, at, kind, account_id, subuser_id, key_id, message_id, n, recipient, data`,
}

var loginFamily = family{
	name: "logins",
	sqlite: []string{
		`CREATE TABLE IF NOT EXISTS logins_%s (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, count INTEGER NOT NULL,
			result TEXT NOT NULL, account_id BLOB NOT NULL, subuser_id BLOB NOT NULL, key_id BLOB NOT NULL,
			addr TEXT NOT NULL, network TEXT NOT NULL, protocol TEXT NOT NULL, listener TEXT NOT NULL, mechanism TEXT NOT NULL,
			tried TEXT NOT NULL, helo TEXT NOT NULL, tls TEXT NOT NULL, detail TEXT NOT NULL) STRICT`,
		loginsByKey,
	},
	insert: `INSERT INTO %s (id, at, count, result, account_id, subuser_id, key_id, addr, network, protocol, listener, mechanism, tried, helo, tls, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
	columns: `id, at, count, result, account_id, subuser_id, key_id, addr, network, protocol, listener, mechanism, tried, helo, tls, detail`,
	added: []string{
		`ALTER TABLE logins_%s ADD COLUMN network TEXT NOT NULL DEFAULT ''`,
		`ALTER TABLE logins_%s ADD COLUMN detail TEXT NOT NULL DEFAULT ''`,
		loginsByKey,
	},
	newest: "detail",
}

// families are all sets of day tables.
var families = []*family{&eventFamily, &loginFamily, &mailFamily, &mailHourFamily, &loginHourFamily}

// dayOf is the UTC day of a stored time.
func dayOf(us int64) int {
	y, m, d := time.UnixMicro(us).UTC().Date()
	return y*10000 + int(m)*100 + d
}

// dayStart is the first microsecond of a day.
func dayStart(day int) int64 {
	return time.Date(day/10000, time.Month(day/100%100), day%100, 0, 0, 0, 0, time.UTC).UnixMicro()
}

const microsPerDay = 24 * 60 * 60 * 1e6

// days knows which day tables exist, and the insert statement of each.
type days struct {
	mu      sync.RWMutex
	made    map[string]map[int]*stmt // family name → day → its insert statement
	written map[string]int           // family name → earliest day that this process has written to
}

// load reads which day tables there are.
func (d *days) load(ctx context.Context, s *Store) error {
	d.made, d.written = map[string]map[int]*stmt{}, map[string]int{}
	for _, f := range families {
		d.made[f.name] = map[int]*stmt{}
		query := `SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE $1`
		if s.eng.dialect() == dPostgres {
			query = `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relname LIKE $1`
		}
		names, err := column[string](ctx, s.db, query+` ESCAPE '!'`, f.name+`!_%`)
		if err != nil {
			return fmt.Errorf("list %s tables: %w", f.name, err)
		}
		for _, n := range names {
			if day, err := strconv.Atoi(strings.TrimPrefix(n, f.name+"_")); err == nil {
				d.made[f.name][day] = d.stmt(s, *f, day)
			}
		}
	}
	return nil
}

// upgrade brings the day tables that an older version made up to date, each in a
// transaction of its own. A crash leaves some of them for the next start.
func (d *days) upgrade(ctx context.Context, s *Store) error {
	if s.eng.dialect() == dPostgres {
		return nil
	}
	for _, f := range families {
		if f.newest == "" {
			continue
		}
		old, err := column[string](ctx, s.db, `SELECT m.name FROM sqlite_master m WHERE m.type = 'table' AND m.name LIKE $1 ESCAPE '!'
			AND NOT EXISTS (SELECT 1 FROM pragma_table_info(m.name) c WHERE c.name = $2)`, f.name+`!_%`, f.newest)
		if err != nil {
			return fmt.Errorf("list old %s tables: %w", f.name, err)
		}
		for _, name := range old {
			err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
				for _, ddl := range f.added {
					if _, err := tx.ExecContext(ctx, fmt.Sprintf(ddl, strings.TrimPrefix(name, f.name+"_"))); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("bring %s up to date: %w", name, err)
			}
		}
	}
	return nil
}

// column reads a one-column result.
func column[T any](ctx context.Context, q querier, query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// querier is a *sql.DB, *sql.Conn or *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// pgInserts is one statement per family: PostgreSQL routes to the partition.
var pgInserts = func() map[string]*stmt {
	all := map[string]*stmt{}
	for _, f := range families {
		all[f.name] = newStmt(fmt.Sprintf(cmp.Or(f.insertPg, f.insert), f.name))
	}
	return all
}()

func (d *days) stmt(s *Store, f family, day int) *stmt {
	if s.eng.dialect() == dPostgres {
		return pgInserts[f.name]
	}
	return newStmt(fmt.Sprintf(f.insert, f.name+"_"+strconv.Itoa(day)))
}

// of returns the insert statement for a day's table, nil where there is none yet.
func (d *days) of(f family, day int) *stmt {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.made[f.name][day]
}

// list returns the days of a family, oldest first, within [since, until].
func (d *days) list(f family, since, until int64) []int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []int
	for day := range d.made[f.name] {
		if start := dayStart(day); start+microsPerDay > since && start <= until {
			all = append(all, day)
		}
	}
	slices.Sort(all)
	return all
}

// ensure makes the tables that a batch's events need and binds each event to
// its statement. A crash between the creation and the batch leaves an empty
// table, which retention drops in its time.
func (d *days) ensure(s *Store, batch []*op) error {
	for _, o := range batch {
		for i := range o.events {
			e := &o.events[i]
			if e.st != nil {
				continue
			}
			day := dayOf(e.at)
			st, err := d.make(s, e.fam, day)
			if err != nil {
				return err
			}
			e.st = st
			d.writes(e.fam, day)
		}
	}
	return nil
}

// writes notes that this process writes to a day.
func (d *days) writes(f *family, day int) {
	d.mu.RLock()
	first, ok := d.written[f.name]
	d.mu.RUnlock()
	if ok && first <= day {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if first, ok := d.written[f.name]; !ok || day < first {
		d.written[f.name] = day
	}
}

// writtenSince is the beginning of the earliest day that this process has written
// to, the end of time where it has written nothing.
func (d *days) writtenSince(f *family) int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if day, ok := d.written[f.name]; ok {
		return dayStart(day)
	}
	return endOfTime - 1
}

// make returns a day's insert statement, making its table if need be.
func (d *days) make(s *Store, f *family, day int) (*stmt, error) {
	if st := d.of(*f, day); st != nil {
		return st, nil
	}
	ctx, cancel := context.WithTimeout(patiently(context.Background()), ddlTimeout)
	defer cancel()
	if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error { return createDay(ctx, tx, s.eng.dialect(), *f, day) }); err != nil {
		return nil, fmt.Errorf("make %s table of %d: %w", f.name, day, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.made[f.name][day]
	if st == nil {
		st = d.stmt(s, *f, day)
		d.made[f.name][day] = st
	}
	return st, nil
}

// ddlTimeout bounds the wait for the lock that making or dropping a table takes.
const ddlTimeout = 30 * time.Second

// lockDays lets one node at a time make or drop days: all of them make and drop the
// same ones, at the same times.
func lockDays(ctx context.Context, tx *sql.Tx, d dialect) error {
	if d != dPostgres {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext('postern day tables'))`)
	return err
}

func createDay(ctx context.Context, tx *sql.Tx, d dialect, f family, day int) error {
	name := strconv.Itoa(day)
	if d == dPostgres {
		start := dayStart(day)
		if err := lockDays(ctx, tx, d); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s_%s PARTITION OF %[1]s FOR VALUES FROM (%[3]d) TO (%[4]d)`,
			f.name, name, start, start+int64(microsPerDay)))
		return err
	}
	for _, ddl := range f.sqlite {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(ddl, name)); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the tables of the days before a time.
func (d *days) drop(ctx context.Context, s *Store, f family, before int64) error {
	for _, day := range d.list(f, 0, before) {
		if dayStart(day)+microsPerDay > before {
			continue
		}
		d.mu.Lock()
		st := d.made[f.name][day]
		delete(d.made[f.name], day)
		d.mu.Unlock()
		s.forget(append(s.index.forget(f.name, day), st))
		err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			if err := lockDays(ctx, tx, s.eng.dialect()); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf(`DROP TABLE IF EXISTS %s_%d`, f.name, day))
			return err
		})
		if err != nil {
			return fmt.Errorf("drop %s of %d: %w", f.name, day, err)
		}
		s.log.Info("retention dropped a day", "table", f.name, "day", day)
	}
	return nil
}

// forget closes what SQLite keeps prepared of statements that are not used again:
// a day's, when it is dropped.
func (s *Store) forget(stmts []*stmt) {
	e, ok := s.eng.(*sqliteEngine)
	if !ok {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, st := range stmts {
		if st == nil || st.slot >= len(e.stmts) || e.stmts[st.slot] == nil {
			continue
		}
		if c, ok := e.stmts[st.slot].(driver.Stmt); ok {
			if err := c.Close(); err != nil {
				s.log.Debug("close a statement", "err", err)
			}
		}
		e.stmts[st.slot] = nil
	}
}
