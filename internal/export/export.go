// Package export sends what happened to other systems: login records, changes
// and message events, to syslog over TLS, to files, to a signed webhook and as
// OpenTelemetry logs. Each target follows the stored history (internal/event) with
// cursors of its own, which move only once the target has taken what lies before.
//
// Its one invariant: nothing is left out but a record that the target takes no other
// way than not at all, which is logged and counted (outbox). A target that is down
// gets everything when it is back, for as long as the history is kept; a crash, or an
// answer that was lost, may send again what was sent just before, with the same ids.
package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postern/internal/event"
	"postern/internal/relay"
	"postern/internal/store"
)

// Stream names a part of the history.
type Stream string

// The streams.
const (
	Logins  Stream = "logins"
	Changes Stream = "changes"
	Events  Stream = "events"
)

// Streams are all of them.
var Streams = []Stream{Logins, Changes, Events}

// Record is one entry of the history on its way out.
type Record struct {
	Stream Stream
	// ID is the same whenever the record is sent: receivers drop what they have.
	ID string
	At time.Time
	// Name says what happened: "login.ok", "change.key.create", "mail.delivered".
	Name     string
	Severity Severity
	// Text is the record in one line for a person.
	Text    string
	Account relay.AccountID
	// Body is the record as JSON, as the API shows it.
	Body []byte
}

// Severity is how much a record matters, by the numbers of syslog (RFC 5424
// §6.2.1).
type Severity int

// The severities that are used.
const (
	Alert   Severity = 1
	Warning Severity = 4
	Notice  Severity = 5
	Info    Severity = 6
)

// Target takes records. Send returns how many it has for good, from the first on; it
// has all of them if there is no error, which may be a *Refusal or *Later. One call at
// a time.
type Target interface {
	Send(ctx context.Context, records []Record) (taken int, err error)
	Close() error
}

// Exporter serves one target.
type Exporter struct {
	Name    string // of the target; its cursors are kept under it
	Streams []Stream
	Target  Target
	Store   *store.Store
	// All: a new target begins with all that is kept, else with what happens from
	// now on.
	All    bool
	Logger *slog.Logger
	// OnLag is told how many records of a stream the target does not have yet, and for
	// how long the oldest has waited. Nil: nobody is.
	OnLag func(target string, s Stream, records int64, age time.Duration)
	// OnFailure is told why a stream does not leave, and nil when it does again. Nil:
	// nobody is.
	OnFailure func(target string, s Stream, err error)
	// OnLeftOut is told of each record that the target does not get, since it refuses
	// that one for good. Nil: nobody is.
	OnLeftOut func(target string, s Stream)

	out  *outbox       // whose turn it is has it
	turn chan struct{} // of Run: full while the target is sent something
}

// sendFor bounds the sending of one batch, and the wait for another stream's before
// it. A consumer's lease is renewed when a third of its 30 s is over: what takes no
// longer than this ends within it, so that no other node sends the same meanwhile.
const sendFor = 16 * time.Second

// stopFor is how long what is under way may take once the exporter is told to stop:
// what was sent without an answer comes again after the next start.
const stopFor = 2 * time.Second

// batch is how many records are sent at once.
const batch = 500

// Run serves the target until ctx ends. It returns nil then; a target that fails
// is tried for ever.
func (e *Exporter) Run(ctx context.Context) error {
	e.turn, e.out = make(chan struct{}, 1), newOutbox(e)
	errs := make([]error, len(e.Streams))
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, s := range e.Streams {
		all.Go(func() {
			if errs[i] = e.stream(ctx, s); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	return errors.Join(append(errs, e.Target.Close())...)
}

func (e *Exporter) consumer(s Stream) string { return store.ExportConsumer(e.Name, string(s)) }

// stream sends one stream until ctx ends.
func (e *Exporter) stream(ctx context.Context, s Stream) error {
	if err := e.begin(ctx, s); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("begin %s: %w", e.consumer(s), err)
	}
	name := e.consumer(s)
	switch s {
	case Logins:
		return follow(ctx, e, s, event.Logins(name, e.Store, nil), LoginRecord)
	case Changes:
		return follow(ctx, e, s, event.Changes(name, e.Store, nil), ChangeRecord)
	case Events:
		return follow(ctx, e, s, event.Events(name, e.Store, nil), EventRecord)
	}
	return fmt.Errorf("there is no stream %q", s)
}

// begin keeps where a new target begins, so that from here on nothing is left out,
// whatever happens before the first batch: not even what is pruned meanwhile.
func (e *Exporter) begin(ctx context.Context, s Stream) error {
	if ok, err := e.Store.HasConsumer(ctx, e.consumer(s)); ok || err != nil {
		return err
	}
	end := map[Stream]func(context.Context) (store.Cursor, error){
		Logins: e.Store.EndOfLogins, Changes: e.Store.EndOfChanges, Events: e.Store.EndOfEvents,
	}[s]
	if end == nil {
		return nil // stream says so
	}
	var c store.Cursor
	if !e.All {
		var err error
		if c, err = end(ctx); err != nil {
			return err
		}
	}
	return e.Store.SetConsumer(ctx, e.consumer(s), c)
}
