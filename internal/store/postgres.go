package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// pgEngine is a PostgreSQL database, shared with other nodes: a connection that
// commits batches, and a pool for all else.
type pgEngine struct {
	s   *Store
	cfg *pgx.ConnConfig
	db  *sql.DB
	// wait is pgWait, but in tests.
	wait time.Duration

	vacancy *sql.Conn // has the lock of a Vacancy; nil: none

	mu    sync.Mutex // guards what follows
	conn  *pgx.Conn  // commits batches; nil: connect first
	batch int64      // number of the last batch that was tried

	warnMu sync.Mutex
	warned error // a WARNING that came on conn
}

const (
	pgPool = 16
	// pgConnectTimeout bounds one try to connect.
	pgConnectTimeout = 5 * time.Second
	// pgBatchTimeout bounds a batch up to its COMMIT; it then was not stored.
	pgBatchTimeout = 30 * time.Second
	// pgResolveTimeout bounds the search for the outcome of a COMMIT whose answer
	// was lost: as long as a client waits for the answer to its end of data (RFC
	// 5321 §4.5.3.2.6). When the process is told to end, pgEndTries more are made.
	pgResolveTimeout = 10 * time.Minute
	pgEndTries       = 10
)

// pgSession is what every connection sets. Whatever the server's default, a
// commit is durable when it is answered; a session that vanished holds no locks
// for long.
const pgSession = `SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
	WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
	set_config('idle_in_transaction_session_timeout', '10s', false), set_config('lock_timeout', '10s', false)`

func (s *Store) openPostgres(ctx context.Context) (err error) {
	cfg, err := pgx.ParseConfig(s.cfg.URL)
	if err != nil {
		return errors.New("the PostgreSQL URL is not valid") // pgx's text may hold the password
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = pgConnectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "postern"
	}
	e := &pgEngine{s: s, cfg: cfg, wait: pgWait}
	e.db = stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, pgSession)
		return err
	}))
	e.db.SetMaxOpenConns(pgPool)
	e.db.SetMaxIdleConns(pgPool)
	defer func() {
		if err != nil {
			err = errors.Join(err, e.vacate(), e.db.Close())
		}
	}()
	if err := e.checkServer(ctx); err != nil {
		return err
	}
	if err := e.claimVacancy(ctx); err != nil {
		return err
	}
	if err := s.found(ctx, e.db, dPostgres); err != nil {
		return err
	}
	if err := migrate(ctx, e.db, dPostgres); err != nil {
		return err
	}
	s.eng, s.db = e, e.db
	return nil
}

// checkServer warns when the server itself does not keep what it promises.
func (e *pgEngine) checkServer(ctx context.Context) error {
	var fsync, pages string
	if err := e.db.QueryRowContext(ctx, `SELECT current_setting('fsync'), current_setting('full_page_writes')`).Scan(&fsync, &pages); err != nil {
		return err
	}
	if fsync != "on" || pages != "on" {
		e.s.log.Warn("the PostgreSQL server may lose committed data", "fsync", fsync, "full_page_writes", pages)
	}
	return nil
}

func (e *pgEngine) dialect() dialect { return dPostgres }
func (e *pgEngine) walSize() int64   { return 0 }
func (e *pgEngine) reclaim()         {}

func (e *pgEngine) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disconnect()
	return errors.Join(e.vacate(), e.db.Close())
}

func (e *pgEngine) sorted(err error) error {
	if err == nil || errors.Is(err, ErrUnknown) {
		return err
	}
	switch judge(err) {
	case vFull:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case vBusy, vUnknown:
		return unavailable(err)
	case vStop:
		e.s.w.stop(err)
		return stopped(err)
	}
	return err
}

// connect returns the connection that commits batches.
func (e *pgEngine) connect(ctx context.Context) (*pgx.Conn, error) {
	if e.conn != nil && !e.conn.IsClosed() {
		return e.conn, nil
	}
	cfg := e.cfg.Copy()
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" || n.Severity == "WARNING" {
			e.warnMu.Lock()
			e.warned = fmt.Errorf("server warning %s: %s", n.Code, n.Message)
			e.warnMu.Unlock()
		}
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, errors.Join(errConnLost, err)
	}
	if _, err := c.Exec(ctx, pgSession); err != nil {
		_ = c.Close(ctx)
		return nil, errors.Join(errConnLost, err)
	}
	e.conn = c
	return c, nil
}

func (e *pgEngine) disconnect() {
	if e.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = e.conn.Close(ctx) // it is of no more use either way
		e.conn = nil
	}
}

// warning takes the last WARNING.
func (e *pgEngine) warning() error {
	e.warnMu.Lock()
	defer e.warnMu.Unlock()
	err := e.warned
	e.warned = nil
	return err
}

func (e *pgEngine) inject(point string) error {
	if e.s.cfg.fault != nil {
		return e.s.cfg.fault(point)
	}
	return nil
}
