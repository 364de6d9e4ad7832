package store

import (
	"strings"
	"sync/atomic"
	"time"

	"postern/internal/relay"
)

// dialect is the engine's SQL.
type dialect int

const (
	dSQLite dialect = iota
	dPostgres
)

// stmt is one constant statement with $1, $2, … in order of appearance, each
// once. Engines keep it prepared, keyed by its address.
type stmt struct {
	text string
	pg   string // PostgreSQL's twin, where it differs
	slot int    // index in the engine's table of prepared statements
}

var stmtCount atomic.Int64

// newStmt registers a statement. Twins stand beside each other.
func newStmt(text string, pg ...string) *stmt {
	st := &stmt{text: text, pg: text, slot: int(stmtCount.Add(1)) - 1}
	if len(pg) > 0 {
		st.pg = pg[0]
	}
	return st
}

// anonymous replaces $1, $2, … by ?, which SQLite's driver binds without
// looking up names. Valid only for placeholders in order of appearance.
func anonymous(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' {
			b.WriteByte(text[i])
			continue
		}
		b.WriteByte('?')
		for i+1 < len(text) && text[i+1] >= '0' && text[i+1] <= '9' {
			i++
		}
	}
	return b.String()
}

// anyRows is a call's want when the number of rows does not matter.
const anyRows = -1

// call is a statement with its arguments: int64, string or []byte.
type call struct {
	st   *stmt
	args []any
	want int64 // rows it must touch, or anyRows
	miss error // what it means when it touches others; nil: the operation's
	rows int64 // set when it ran
}

// op is one operation of a batch: all its calls and events commit, or none.
type op struct {
	name   string
	calls  []call
	events []eventRow
	usage  []relay.UsageDelta // counted with the batch, merged with that of the others
	bytes  int                // what it adds to the batch, roughly
	grows  bool               // it takes space: refused when there is none
	miss   error              // what it means when a call touches other than its want
	locks  [][]byte           // ids of the messages it touches: locked in order on PostgreSQL

	// patience: until when it is tried again while the database is away.
	patience time.Time

	err   error
	state atomic.Int32 // opQueued, then opTaken or opCancelled
	done  chan struct{}
}

const (
	opQueued int32 = iota
	opTaken
	opCancelled
)

// opOverhead is what an operation without large arguments counts for.
const opOverhead = 512

func newOp(name string) *op {
	return &op{name: name, bytes: opOverhead, done: make(chan struct{})}
}

// add appends a call that may touch any number of rows.
func (o *op) add(st *stmt, args ...any) {
	o.calls = append(o.calls, call{st: st, args: args, want: anyRows})
}

// must appends a call that must touch exactly n rows.
func (o *op) must(n int64, st *stmt, args ...any) {
	o.calls = append(o.calls, call{st: st, args: args, want: n})
}

// finish ends the operation; the waiting caller goes on.
func (o *op) finish(err error) {
	o.err = err
	close(o.done)
}

// opError says which operation of a batch failed. Nothing was stored.
type opError struct {
	index int
	err   error
}

func (e *opError) Error() string { return e.err.Error() }
func (e *opError) Unwrap() error { return e.err }
