package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
)

// Expect is what Open demands of a database before it writes anything to it.
type Expect int

const (
	// Anything takes every database; one without a schema gets it.
	Anything Expect = iota
	// Installation is a database with an account in it. Without one Open returns
	// ErrNotInstalled, and has written nothing: no schema, no file.
	Installation
	// Vacancy is a database without an account; ErrInstalled where there is one. What
	// a start that came too early has left in it is forgotten, its sealing key before
	// all. Until Close, no other process has it as a Vacancy (ErrLocked).
	Vacancy
)

var (
	// ErrNotInstalled: nobody has made an installation in this database.
	ErrNotInstalled = errors.New("store: the database is empty")
	// ErrInstalled: the database has an installation.
	ErrInstalled = errors.New("store: the database has accounts")
)

// vacancyLock is the advisory lock of who makes an installation in a PostgreSQL
// database: two at once would each put their sealing key in the other's place.
const vacancyLock = 0x706f737465726e01

// found compares what a database has with what is expected of it. It only reads,
// and what it reads was there in the first version of the schema.
func (s *Store) found(ctx context.Context, db *sql.DB, d dialect) error {
	if s.cfg.Expect == Anything {
		return nil
	}
	has, err := hasAccount(ctx, db, d)
	switch {
	case err != nil:
		return fmt.Errorf("look for an installation: %w", err)
	case has && s.cfg.Expect == Vacancy:
		return ErrInstalled
	case !has && s.cfg.Expect == Installation:
		return ErrNotInstalled
	}
	return nil
}

func hasAccount(ctx context.Context, db *sql.DB, d dialect) (has bool, err error) {
	tables := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('schema_hashes', 'accounts')`
	if d == dPostgres {
		tables = `SELECT count(*) FROM pg_class WHERE relname IN ('schema_hashes', 'accounts') AND relkind = 'r' AND pg_table_is_visible(oid)`
	}
	var n int
	if err := db.QueryRowContext(ctx, tables).Scan(&n); err != nil || n < 2 {
		return false, err
	}
	err = db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM accounts)`).Scan(&has)
	return has, err
}

// there keeps a file from being made where an installation is expected.
func (c *Config) there(path string) error {
	if c.Expect != Installation {
		return nil
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: there is no %s", ErrNotInstalled, path)
	}
	return nil // what else is wrong with it, the opening says
}

// claimVacancy holds the database for who makes an installation in it, as the
// file lock does with SQLite. The connection has the lock until it is closed.
func (e *pgEngine) claimVacancy(ctx context.Context) error {
	if e.s.cfg.Expect != Vacancy {
		return nil
	}
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	e.vacancy = conn
	var got bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(vacancyLock)).Scan(&got); err != nil {
		return err
	}
	if !got {
		return fmt.Errorf("%w: it makes an installation in this database", ErrLocked)
	}
	return nil
}

// vacate ends claimVacancy. A pooled connection would keep the lock.
func (e *pgEngine) vacate() error {
	if e.vacancy == nil {
		return nil
	}
	_, err := e.vacancy.ExecContext(context.Background(), `SELECT pg_advisory_unlock($1)`, int64(vacancyLock))
	return errors.Join(err, e.vacancy.Close())
}

// forgetting are the statements of emptyVacancy.
var forgetting = []string{
	`DELETE FROM settings WHERE name IN ('sealing_check', '` + auditSetting + `', 'changes_total')`,
	`DELETE FROM change_heads`,
	`DELETE FROM changes`,
}

// emptyVacancy takes out of a Vacancy what its first start had sealed with its own key:
// nobody has that key, or needs it, and with it in the database no other fits.
func (s *Store) emptyVacancy(ctx context.Context) error {
	if s.cfg.Expect != Vacancy {
		return nil
	}
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, statement := range forgetting {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget an earlier start: %w", err)
	}
	return nil
}
