// Package export sends what happened to other systems: login records, changes
// and message events, to syslog over TLS, to files, to a signed webhook and as
// OpenTelemetry logs. Each target reads the stored history with cursors of its
// own and keeps a cursor only after the target has taken what lies before it.
//
// Its one invariant: nothing is left out. A target that is down gets everything
// when it is back, for as long as the history is kept; a crash may send again
// what was sent just before it, with the same ids.
package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"postern/internal/relay"
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

// Source reads the history. Its cursors are texts that only it understands; the
// empty one is the oldest that is kept.
type Source interface {
	// Read returns up to limit records after the cursor, oldest first, and the cursor
	// behind them. None: there is nothing new.
	Read(ctx context.Context, s Stream, cursor string, limit int) ([]Record, string, error)
	// End is the cursor behind all that there is now.
	End(ctx context.Context, s Stream) (string, error)
}

// Cursors keeps how far each target is. Load returns ok = false for a name that
// was never kept.
type Cursors interface {
	Load(ctx context.Context, name string) (cursor string, ok bool, err error)
	Keep(ctx context.Context, name, cursor string) error
	// Lease lets one node at a time serve a name: held is false where another does.
	Lease(ctx context.Context, name string, ttl time.Duration) (held bool, err error)
}

// Target takes records. Send returns nil only once the target has all of them;
// what it was sent before a failure may come again.
type Target interface {
	Send(ctx context.Context, records []Record) error
	Close() error
}

// Config sets an Exporter up.
type Config struct {
	Name    string // of the target; its cursors are kept under it
	Streams []Stream
	Target  Target
	Source  Source
	Cursors Cursors
	// All: a new target begins with all that is kept, else with what happens from
	// now on.
	All    bool
	Logger *slog.Logger
	Now    func() time.Time
	// Lag is told how old the oldest record is that the target does not have yet; 0:
	// it has all.
	Lag func(name string, d time.Duration)
}

// Exporter serves one target.
type Exporter struct {
	cfg    Config
	failed string // the last failure that was logged; "": it works
	sent   int64
}

// New makes an Exporter. It starts nothing.
func New(c Config) *Exporter {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lag == nil {
		c.Lag = func(string, time.Duration) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Exporter{cfg: c}
}

const (
	batch     = 500
	idle      = time.Second      // between looks at a history without news
	firstWait = 2 * time.Second  // after a failure; twice as long each time
	lastWait  = time.Minute      // at most
	leaseFor  = 30 * time.Second // how long another node waits for one that died
	sendFor   = 25 * time.Second // one batch; within the lease
)

// Run serves the target until ctx ends. It returns nil then; a target that fails
// is tried for ever.
func (e *Exporter) Run(ctx context.Context) error {
	defer func() { _ = e.cfg.Target.Close() }()
	wait := firstWait
	for {
		n, err := e.Step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		pause := idle
		switch {
		case err != nil:
			e.failure(err)
			pause, wait = wait, min(2*wait, lastWait)
		case n > 0:
			e.success()
			pause, wait = 0, firstWait
		default:
			e.success()
			wait = firstWait
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// failure logs what is new about a target that does not take records.
func (e *Exporter) failure(err error) {
	if text := err.Error(); text != e.failed {
		e.failed = text
		e.cfg.Logger.Warn("export: the target does not take records; they are kept and sent later", "target", e.cfg.Name, "error", err)
	}
}

func (e *Exporter) success() {
	if e.failed != "" {
		e.failed = ""
		e.cfg.Logger.Info("export: the target takes records again", "target", e.cfg.Name)
	}
}

// Step sends one batch of each stream and keeps the cursors. It returns how many
// records the target has taken; 0 and nil where there is nothing new or another
// node serves the target.
func (e *Exporter) Step(ctx context.Context) (n int, err error) {
	held, err := e.cfg.Cursors.Lease(ctx, e.cursorName(""), leaseFor)
	if err != nil || !held {
		return 0, err
	}
	var errs []error
	var lag time.Duration
	for _, s := range e.cfg.Streams {
		k, old, err := e.stream(ctx, s)
		n += k
		lag = max(lag, old)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s, err))
		}
	}
	e.cfg.Lag(e.cfg.Name, lag)
	return n, errors.Join(errs...)
}

func (e *Exporter) cursorName(s Stream) string {
	if s == "" {
		return "export/" + e.cfg.Name
	}
	return "export/" + e.cfg.Name + "/" + string(s)
}

// stream sends one batch of a stream. old is the age of the oldest record that
// the target lacks.
func (e *Exporter) stream(ctx context.Context, s Stream) (n int, old time.Duration, err error) {
	name := e.cursorName(s)
	cursor, ok, err := e.cfg.Cursors.Load(ctx, name)
	if err != nil {
		return 0, 0, err
	}
	if !ok && !e.cfg.All {
		if cursor, err = e.cfg.Source.End(ctx, s); err != nil {
			return 0, 0, err
		}
	}
	if !ok { // from here on nothing is left out, whatever happens before the first batch
		if err := e.cfg.Cursors.Keep(ctx, name, cursor); err != nil {
			return 0, 0, err
		}
	}
	records, next, err := e.cfg.Source.Read(ctx, s, cursor, batch)
	if err != nil {
		return 0, 0, err
	}
	if len(records) > 0 {
		sendCtx, cancel := context.WithTimeout(ctx, sendFor)
		defer cancel()
		if err := e.cfg.Target.Send(sendCtx, records); err != nil {
			return 0, max(e.cfg.Now().Sub(records[0].At), 0), err
		}
	}
	if next == cursor {
		return 0, 0, nil
	}
	// A crash before this sends the batch again.
	if err := e.cfg.Cursors.Keep(ctx, name, next); err != nil {
		return 0, 0, err
	}
	return len(records), 0, nil
}
