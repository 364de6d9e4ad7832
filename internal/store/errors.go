package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"postern/internal/relay"
)

// More errors that callers tell apart.
var (
	// ErrClosed: the store was closed, or its Run has ended; nothing was stored.
	ErrClosed = errors.New("store: closed")
	// ErrLocked: another process has the data directory open.
	ErrLocked = errors.New("store: in use by another process")
	// ErrSealingKey: the database was made with another sealing key.
	ErrSealingKey = errors.New("store: the sealing key is not the one of this database")
	// ErrUnknown: the connection broke while a change was committed, which may be
	// stored or not. Whoever asked for it has to look. PostgreSQL only.
	ErrUnknown = errors.New("store: not known whether the change was stored")
	// ErrSessionOver: the login in which somebody asked for a change has ended since they
	// asked (By.Session); nothing was stored.
	ErrSessionOver error = &relay.Error{Kind: relay.Unauthenticated, Public: "You are logged out. Log in again."}
	// ErrKeyOver: the key that asked for a change was revoked or switched off since it
	// asked (By.Key); nothing was stored.
	ErrKeyOver error = &relay.Error{Kind: relay.Unauthenticated, Public: "The provided authorization grant is invalid, expired, or revoked"}
	// ErrSchema: the database is newer than this program, or was changed by hand.
	ErrSchema = errors.New("store: schema does not fit this program")
	// ErrUnsafePath: the database's files belong to another user, may be written
	// by others, or are symbolic links.
	ErrUnsafePath = errors.New("store: unsafe data directory")
)

// verdict is what a driver error means for the transaction it came from.
type verdict int

const (
	vOp      verdict = iota // the operation is at fault: the next one may do better
	vBusy                   // a lock or a serialisation conflict: the same again may succeed
	vFull                   // no space: nothing was stored
	vStop                   // the store cannot be trusted any more
	vUnknown                // the connection is gone; before COMMIT: nothing was stored
)

// judge reads a driver error by its code. Texts are never looked at.
func judge(err error) verdict {
	switch {
	case errors.Is(err, errNotStored):
		return vBusy
	case errors.Is(err, errDeclaredDead):
		return vStop
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return vBusy
		case sqlite3.SQLITE_CANTOPEN:
			// A connection could not be made, for want of file descriptors: it has
			// stored nothing, and those that are open go on.
			return vBusy
		case sqlite3.SQLITE_FULL:
			return vFull
		case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT,
			sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL:
			return vStop
		}
		return vOp
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return judgePg(e.Code)
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, net.ErrClosed) || pgconn.Timeout(err) || isConnError(err) {
		return vUnknown
	}
	return vOp
}

// judgePg classes a SQLSTATE (PostgreSQL manual, appendix A).
func judgePg(code string) verdict {
	switch code {
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return vBusy
	case "53100": // disk_full
		return vFull
	case "53200", "53300", "53400": // out of memory, connections, configured limits
		return vUnknown
	case "25006", "XX001", "XX002", "58030": // read only, data or index corrupted, I/O error
		return vStop
	}
	switch code[:min(2, len(code))] {
	case "08", "57": // connection exception, operator intervention
		return vUnknown
	}
	return vOp
}

func isConnError(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errConnLost) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, driver.ErrBadConn)
}

// errNotStored: the connection broke at COMMIT, and nothing was stored.
var errNotStored = errors.New("the transaction was not committed")

// errDeclaredDead: another node has taken this one's work over.
var errDeclaredDead = errors.New("another node has declared this one dead: its heartbeat was late")

// errConnLost marks a connection that broke without a typed error.
var errConnLost = errors.New("connection lost")

// isUnique reports a unique or primary key violation.
func isUnique(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23505"
	}
	return false
}

// isForeign reports a foreign key violation: what was named does not exist.
func isForeign(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23503"
	}
	return false
}

// stopped wraps the cause that ended the store.
func stopped(cause error) error {
	hint := ""
	if e, ok := errors.AsType[*sqlite.Error](cause); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			hint = "the database file is damaged: restore it from a backup, and check the disk: "
		case sqlite3.SQLITE_READONLY:
			hint = "the database cannot be written: "
		case sqlite3.SQLITE_IOERR:
			hint = "the disk failed: "
			if e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // made at each start, and the one file for which it tells no full disk
				hint = "there is no space left for the database's files: make room: "
			}
		}
	}
	return fmt.Errorf("%w: %s%w", ErrStopped, hint, cause)
}

// notFound makes the error for an absent row.
func notFound(what string) error { return relay.E(relay.NotFound, "There is no such "+what+".") }
