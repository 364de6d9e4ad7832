package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/secret"
)

// Config says which database to open, and how. Path or URL must be set, and
// Sealer.
type Config struct {
	// Path is the SQLite file. A lock file, the WAL and its index stand beside it.
	Path string
	// URL is a PostgreSQL connection string (postgres://…); it wins over Path.
	URL string
	// Expect is what the database must be before anything is written to it.
	Expect Expect
	// Sealer wraps the keys of bodies. All nodes of a cluster have the same.
	Sealer *secret.Sealer
	// Logger gets what an operator should see; nil: slog.Default.
	Logger *slog.Logger
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
	// Node names this process in the nodes table; "": the host name.
	Node string
	// KeepBodies is how long a body stays after its last recipient's end; 0: not at all.
	KeepBodies time.Duration
	// KeepEvents and KeepLogins are how long those records stay, in whole days;
	// 0: 30 and 400 days.
	KeepEvents time.Duration
	KeepLogins time.Duration
	// KeepReports is how long aggregate reports of DMARC are kept; 0: 400 days.
	KeepReports time.Duration
	// MinFree is the octets of free disk below which nothing is accepted (ErrFull)
	// while results still are; 0: 64 MiB; negative: no check. SQLite only.
	MinFree int64
	// Heartbeat is how often a node of a cluster says that it lives, LeaseTime how
	// long it may be silent before others take its work over; 0: 2 s and 15 s.
	Heartbeat time.Duration
	LeaseTime time.Duration
	// OnBatch, if set, is called by the writer after each batch. It must not block.
	OnBatch func(BatchStats)
	// OnTakeover, if set, is called with what was taken over from a dead node and
	// waits again. It must not block. PostgreSQL only.
	OnTakeover func([]Share)

	fault       func(point string) error // tests: fail at a named point
	freeSpace   func() (int64, error)    // tests: instead of the file system
	restartWait time.Duration            // for tests; 0: restartWait
}

// Store is an open store. Its methods are safe for concurrent use. Methods that
// go through the batching writer (those of messages, logins and events) wait
// until Run runs; administration and reading do not need it.
type Store struct {
	cfg    Config
	log    *slog.Logger
	eng    engine
	db     *sql.DB // reading
	epoch  int64
	w      *writer
	seal   *secret.Sealer
	audit  auditKey
	rev    revision
	rec    recorder
	low    atomic.Bool   // free space is below MinFree
	away   atomic.Bool   // the outcome of a commit is being looked for
	ending chan struct{} // closed when Run is asked to end
	clock  clockCheck
	days   days
	index  mailIndex
	stats  statsCache
	closed sync.Once
	cerr   error
}

// engine is what SQLite and PostgreSQL do differently.
type engine interface {
	dialect() dialect
	// runBatch executes the operations in one transaction and commits it. counts
	// receives the rows of each call. On failure nothing is stored and the error is
	// an *opError when one operation is at fault; errUnknown when it cannot be told.
	runBatch(ops []*op) error
	// transact runs fn in a transaction of its own and commits. fn may run again.
	transact(ctx context.Context, fn func(ctx context.Context, tx *sql.Tx) error) error
	// join takes a new epoch for this run.
	join(ctx context.Context) error
	// maintain does the engine's own background work until ctx ends.
	maintain(ctx context.Context) error
	// walSize is the octets of the write-ahead log, 0 where that is another's business.
	walSize() int64
	// reclaim makes room on a full disk, if it can.
	reclaim()
	close() error
}

// Open opens or creates the database, brings its schema up to date, takes a new
// epoch and recovers what a previous process left: its leases are given back,
// and recipients whose attempt was past the in-flight mark are marked possibly
// delivered. Nothing runs in the background until Run.
func Open(ctx context.Context, cfg Config) (*Store, Recovery, error) {
	cfg = cfg.withDefaults()
	if cfg.Sealer == nil || (cfg.Path == "" && cfg.URL == "") {
		return nil, Recovery{}, errors.New("open store: needs Sealer, and Path or URL")
	}
	ctx = patiently(ctx)
	s := &Store{cfg: cfg, log: cfg.Logger, seal: cfg.Sealer, ending: make(chan struct{})}
	s.clock.set(cfg.Now())
	s.w = newWriter(s)
	s.rec.init(s)
	if err := s.openEngine(ctx); err != nil {
		return nil, Recovery{}, fmt.Errorf("open store: %w", err)
	}
	rec, err := s.start(ctx)
	if err != nil {
		return nil, Recovery{}, fmt.Errorf("open store: %w", errors.Join(err, s.eng.close()))
	}
	return s, rec, nil
}

func (s *Store) openEngine(ctx context.Context) error {
	if s.cfg.URL != "" {
		return s.openPostgres(ctx)
	}
	return s.openSQLite(ctx)
}

// start does what both engines need once the schema stands.
func (s *Store) start(ctx context.Context) (Recovery, error) {
	if err := s.emptyVacancy(ctx); err != nil {
		return Recovery{}, err
	}
	if err := s.checkSealingKey(ctx); err != nil {
		return Recovery{}, err
	}
	if err := s.openAudit(ctx); err != nil {
		return Recovery{}, err
	}
	if err := s.eng.join(ctx); err != nil {
		return Recovery{}, err
	}
	if err := s.days.upgrade(ctx, s); err != nil {
		return Recovery{}, err
	}
	if err := s.days.load(ctx, s); err != nil {
		return Recovery{}, err
	}
	if err := s.rev.load(ctx, s); err != nil {
		return Recovery{}, err
	}
	if err := s.checkSpace(); err != nil {
		return Recovery{}, err
	}
	return s.recoverDead(ctx)
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Node == "" {
		c.Node, _ = os.Hostname()
	}
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{
		{&c.KeepEvents, 30 * 24 * time.Hour}, {&c.KeepLogins, 400 * 24 * time.Hour}, {&c.KeepReports, 400 * 24 * time.Hour},
		{&c.Heartbeat, 2 * time.Second}, {&c.LeaseTime, 15 * time.Second},
	} {
		if *d.to <= 0 {
			*d.to = d.def
		}
	}
	if c.MinFree == 0 {
		c.MinFree = 64 << 20
	}
	return c
}

// refuse says at once why nothing can be accepted now.
func (s *Store) refuse() error {
	if s.low.Load() {
		return ErrFull
	}
	if s.away.Load() {
		return unavailable(errConnLost)
	}
	return nil
}

// Epoch is the number of this run of the process: it owns the leases made here.
func (s *Store) Epoch() int64 { return s.epoch }

// Run writes what waits, keeps the write-ahead log short, sweeps what was left
// behind and drops what has passed its retention, until ctx ends; then it
// writes what was handed in before and returns nil. It returns an error that
// matches ErrStopped when the store can no longer be trusted: open it again.
func (s *Store) Run(ctx context.Context) error {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	back := patiently(context.WithoutCancel(ctx)) // background work outlives ctx until the writer is done
	bctx, stopBack := context.WithCancel(back)
	defer stopBack()
	defer context.AfterFunc(ctx, func() { close(s.ending) })()
	var wg sync.WaitGroup
	for _, part := range []func(context.Context) error{s.eng.maintain, s.rec.run, s.housekeep} {
		wg.Go(func() {
			if err := part(bctx); err != nil && bctx.Err() == nil {
				s.w.stop(err)
			}
		})
	}
	err := s.w.run(run, func() {
		stopBack() // the recorder's last records are queued before the writer's last batch
		wg.Wait()
	})
	stopBack()
	wg.Wait()
	return err
}

// Close releases the database after marking that it was closed on purpose. Run
// must have returned, if it was called.
func (s *Store) Close() error {
	s.closed.Do(func() {
		s.w.close()
		err := s.markClean()
		s.cerr = errors.Join(err, s.eng.close())
	})
	return s.cerr
}

// markClean records an orderly end, unless the store has stopped.
func (s *Store) markClean() error {
	if err := s.w.failure(); err != nil && !errors.Is(err, ErrClosed) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE nodes SET clean = 1, ended_at = $1 WHERE epoch = $2`, s.now(), s.epoch)
		return err
	})
	if err != nil {
		return fmt.Errorf("mark store closed: %w", err)
	}
	return nil
}

// now is the time as it is stored: microseconds since 1970, UTC.
func (s *Store) now() int64 { return s.cfg.Now().UnixMicro() }

// sealingCheck is what the stored check value says.
const sealingCheck = "postern sealing check"

// checkSealingKey refuses a database that was made with another sealing key:
// every body in it would be unreadable.
func (s *Store) checkSealingKey(ctx context.Context) error {
	var text string
	err := s.db.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = 'sealing_check'`).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		if err := s.writeSealingCheck(ctx); err != nil {
			return err
		}
		return s.checkSealingKey(ctx) // another node may have been first, with another key
	}
	if err != nil {
		return fmt.Errorf("read sealing check: %w", err)
	}
	sealed, err := hexDecode(text)
	if err == nil {
		_, err = s.seal.Open(sealed, []byte(sealingCheck))
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrSealingKey, err)
	}
	return nil
}

func (s *Store) writeSealingCheck(ctx context.Context) error {
	sealed, err := s.seal.Seal([]byte(sealingCheck), []byte(sealingCheck))
	if err != nil {
		return err
	}
	return s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO settings (name, value) VALUES ('sealing_check', $1)
			ON CONFLICT (name) DO NOTHING`, hexEncode(sealed))
		return err
	})
}
