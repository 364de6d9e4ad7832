package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver
)

// sqliteEngine is one SQLite file: one writing connection, a pool that reads,
// and one that checkpoints.
type sqliteEngine struct {
	s    *Store
	path string
	lock *os.File

	mu    sync.Mutex // guards the writing connection and its statements
	wdb   *sql.DB
	conn  *sql.Conn
	stmts []driver.StmtExecContext // by stmt.slot; belongs to conn
	begin driver.StmtExecContext
	end   driver.StmtExecContext
	back  driver.StmtExecContext
	args  []driver.NamedValue // scratch

	unkicked int64 // octets since the checkpointer was woken, roughly

	logBytes atomic.Int64  // what of the log is not copied, roughly
	logEnd   atomic.Int64  // length of the log when it was last copied
	waitedAt int64         // length of the log when the writer last waited for readers, 0 if not in vain; with mu
	cdb      *sql.DB       // checkpoints
	kick     chan struct{} // wakes the checkpointer
}

// readers bounds the pool that reads: a reader holds the write-ahead log, so
// they are few and short.
const readers = 8

// lockWait is how long a connection waits for another's lock.
const lockWait = 10 * time.Second

// sqliteDSN builds the connection string; pragmas are per connection.
func sqliteDSN(path string, readOnly bool) string { return sqliteWaiting(path, readOnly, lockWait) }

func sqliteWaiting(path string, readOnly bool, wait time.Duration) string {
	q := url.Values{}
	q.Set("_txlock", "immediate")
	q.Set("_defensive", "1")
	q.Set("_dqs", "0")
	for _, p := range []string{
		fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds()), "synchronous(FULL)", "foreign_keys(1)", "wal_autocheckpoint(0)",
		"temp_store(MEMORY)", "cache_size(-16384)", "journal_size_limit(67108864)", "trusted_schema(0)",
		"cell_size_check(1)",
	} {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
		q.Set("_txlock", "deferred")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

func (s *Store) openSQLite(ctx context.Context) (err error) {
	path, err := filepath.Abs(s.cfg.Path)
	if err != nil {
		return err
	}
	if err := s.cfg.there(path); err != nil {
		return err
	}
	e := &sqliteEngine{s: s, path: path, kick: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.lock, err = lockFile(path + ".lock"); err != nil {
		return err
	}
	if err := preparePath(path); err != nil {
		return err
	}
	if err := e.create(ctx); err != nil {
		return err
	}
	if e.wdb, err = sql.Open("sqlite", sqliteDSN(path, false)); err != nil {
		return err
	}
	if err := migrate(ctx, e.wdb, dSQLite); err != nil {
		return err
	}
	if e.conn, err = e.wdb.Conn(ctx); err != nil {
		return err
	}
	if s.db, err = sql.Open("sqlite", sqliteDSN(path, true)); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(readers)
	s.db.SetMaxIdleConns(readers)
	if e.cdb, err = sql.Open("sqlite", sqliteWaiting(path, false, cmp.Or(s.cfg.restartWait, restartWait))); err != nil {
		return err
	}
	e.cdb.SetMaxOpenConns(1)
	// Opened now and kept: the log must stay short when no descriptor is left.
	if err := e.cdb.PingContext(ctx); err != nil {
		return err
	}
	s.eng = e
	return nil
}

// lockFile takes the lock beside the database for as long as the process lives.
// Its content, the pid, is for people; the lock is the kernel's, so a crash
// leaves nothing to clear away.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: %s is a symbolic link", ErrUnsafePath, path)
	}
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		var pid [32]byte
		n, _ := f.Read(pid[:])
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is held by process %q", ErrLocked, path, pid[:n])
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d", os.Getpid())
	}
	return f, nil
}

// preparePath makes the database file with mode 0600 (its WAL and index inherit
// it) and refuses files that others could have planted.
func preparePath(path string) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if dir.Mode().Perm()&0o022 != 0 && dir.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("%w: %s may be written by others (mode %04o)", ErrUnsafePath, filepath.Dir(path), dir.Mode().Perm())
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		fi, err := os.Lstat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		switch {
		case !fi.Mode().IsRegular():
			return fmt.Errorf("%w: %s is not a regular file", ErrUnsafePath, name)
		case ok && int(st.Uid) != os.Geteuid():
			return fmt.Errorf("%w: %s belongs to uid %d", ErrUnsafePath, name, st.Uid)
		case fi.Mode().Perm()&0o077 != 0:
			return fmt.Errorf("%w: %s is open to others (mode %04o; want 0600)", ErrUnsafePath, name, fi.Mode().Perm())
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// create fixes what can only be chosen before the first table: page size and
// vacuum mode. It is idempotent, and does nothing to a database that has tables.
func (e *sqliteEngine) create(ctx context.Context) error {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: e.path}).EscapedPath()+"?_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	var tables int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master`).Scan(&tables); err != nil {
		return stopped(err)
	}
	if err := e.s.found(ctx, db, dSQLite); err != nil {
		return err
	}
	if tables == 0 {
		for _, p := range []string{`PRAGMA page_size = 8192`, `PRAGMA auto_vacuum = INCREMENTAL`} {
			if _, err := db.ExecContext(ctx, p); err != nil {
				return err
			}
		}
	}
	var mode string
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode); err != nil {
		return stopped(err)
	}
	if mode != "wal" {
		return fmt.Errorf("journal mode is %q, want wal: the file system may lack shared memory", mode)
	}
	return nil
}

// join records this run; every lease and event bears its number.
func (e *sqliteEngine) join(ctx context.Context) error {
	return e.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := e.s.now()
		return tx.QueryRowContext(ctx, `INSERT INTO nodes (name, started_at, heartbeat_at) VALUES ($1, $2, $3) RETURNING epoch`,
			e.s.cfg.Node, now, now).Scan(&e.s.epoch)
	})
}

func (e *sqliteEngine) dialect() dialect { return dSQLite }

// transact runs fn on the writing connection, between two batches. The
// transaction outlives ctx: these are short, and a half-done one helps nobody.
func (e *sqliteEngine) transact(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error {
	// ErrClosed is the writer's end, not ours: Close marks it afterwards.
	if err := e.s.w.failure(); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn == nil {
		return ErrClosed
	}
	tx, err := e.conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return e.sorted(err)
	}
	if err := fn(ctx, tx); err != nil {
		_ = tx.Rollback() // the error that matters is fn's
		return e.sorted(err)
	}
	if err := e.inject("transact"); err != nil {
		_ = tx.Rollback()
		return e.sorted(err)
	}
	if err := tx.Commit(); err != nil {
		return e.sorted(err)
	}
	return nil
}

// sorted turns driver errors into the store's, stopping it where need be.
func (e *sqliteEngine) sorted(err error) error {
	switch judge(err) {
	case vFull:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case vStop:
		e.s.w.stop(err)
		return stopped(err)
	case vBusy:
		return unavailable(err)
	}
	return err
}

func (e *sqliteEngine) inject(point string) error {
	if e.s.cfg.fault != nil {
		return e.s.cfg.fault(point)
	}
	return nil
}

func (e *sqliteEngine) close() error {
	var errs []error
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		for _, st := range append(e.stmts, e.begin, e.end, e.back) {
			if c, ok := st.(driver.Stmt); ok && c != nil {
				errs = append(errs, c.Close())
			}
		}
		e.stmts, e.begin, e.end, e.back = nil, nil, nil, nil
	}
	for _, db := range []*sql.DB{e.s.db, e.cdb} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if e.conn != nil {
		errs = append(errs, e.conn.Close())
	}
	if e.wdb != nil {
		errs = append(errs, e.wdb.Close())
	}
	if e.lock != nil {
		// A process that is being started at this moment has the file, too, until it
		// executes: closing alone would leave the lock with it.
		errs = append(errs, unix.Flock(int(e.lock.Fd()), unix.LOCK_UN), e.lock.Close())
	}
	return errors.Join(errs...)
}

// walSize is the length of the write-ahead log.
func (e *sqliteEngine) walSize() int64 {
	fi, err := os.Stat(e.path + "-wal")
	if err != nil {
		return 0
	}
	return fi.Size()
}

// free is the space left for the database, for whoever may use it without being
// root.
func (e *sqliteEngine) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(e.path), &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// checkpointEvery is how often the log's length is looked at.
const checkpointEvery = 250 * time.Millisecond
