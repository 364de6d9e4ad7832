// Package app puts the parts together: it opens the store, binds the listeners,
// owns every goroutine and stops them in an order that loses nothing.
//
// Its one invariant: when Run returns, nothing of the process still writes to
// the store, and everything that was answered with 250 is on stable storage.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // accounts have time zones, also where the system has none

	"postern/internal/api/mailsend"
	"postern/internal/api/v3"
	"postern/internal/audit"
	"postern/internal/auth"
	"postern/internal/cert"
	"postern/internal/config"
	"postern/internal/credit"
	"postern/internal/deliver"
	"postern/internal/dns"
	"postern/internal/export"
	"postern/internal/identity"
	"postern/internal/logfile"
	"postern/internal/people"
	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/smtpserver"
	"postern/internal/store"
	"postern/internal/submit"
	"postern/internal/watch"
)

// Options are what an App is made of.
type Options struct {
	Config  *config.Config
	Version string
	Logger  *slog.Logger
	Level   *slog.LevelVar // changed by a reload; may be nil
	LogFile *logfile.File  // opened anew on demand; may be nil
	// KeyPrefix is that of the installation's keys; "" is the default.
	KeyPrefix string
	// Resolver replaces DNS, for labs and tests; nil: as configured.
	Resolver dns.Resolver
	// LocalURL lets links in mails lead to the HTTP listener on this machine, where
	// the configuration names none: for labs.
	LocalURL bool
	// Routes are extra handlers of the public HTTP listener (the demo's inbox).
	Routes []Route
}

// App is one running relay. New, then Run; or Start and Stop.
type App struct {
	opt     Options
	log     *slog.Logger
	started time.Time

	cfg       atomic.Pointer[config.Config]
	sealer    *secret.Sealer
	store     *store.Store
	recovery  store.Recovery
	directory *identity.Directory
	auth      *auth.Authenticator
	guard     *auth.Guard
	hosts     *auth.Hosts
	ledger    *credit.Ledger
	paths     *submit.ReturnPaths
	signer    *sender.Signer
	senders   domainParts
	people    *people.Service
	watch     *watch.Runner
	watchRuns func() bool // on this node, and not on another
	places    *watch.MMDB
	exports   []*export.Exporter
	failures  failures
	leaving   chan struct{} // closed when the listeners are to end what goes on for long
	audits    *audit.Service
	queue     *queue.Queue
	deliverer atomic.Pointer[deliver.Deliverer]
	warmups   *deliver.Warmups
	certs     *cert.Source
	quota     *smtpserver.Quota
	way       atomic.Pointer[way] // what the HTTP API hands mail in by
	apiState  *v3.State           // of requests, over all listeners
	mailRoom  *v3.MailBudget      // memory of requests, over all listeners
	batches   *mailsend.Batches
	metrics   *metrics
	gate      gate

	listeners []*smtpListener
	edges     []*edge // HTTP listeners and the admin socket
	failed    chan error
	stops     []step // in the order of starting; stopped in reverse

	running  context.Context // ends when the queue is to stop
	dropping sync.WaitGroup  // of deleted subusers' mail

	reloading sync.Mutex
	stopOnce  sync.Once
	stopErr   error
}

// step is one named part of the stop.
type step struct {
	name string
	stop func(context.Context) error
}

// New opens the store and binds every listener. It starts nothing that runs.
// On an error everything is closed again.
func New(ctx context.Context, opt Options) (_ *App, err error) {
	a := &App{opt: opt, log: opt.Logger, failed: make(chan error, 8), leaving: make(chan struct{}), started: time.Now()}
	a.cfg.Store(opt.Config)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Stop(context.Background()))
		}
	}()
	for _, build := range []func(context.Context) error{
		a.openStore, a.openDirectory, a.makeAuth, a.makeSigner, a.makeQueue, a.makeDomains, a.makePeople, a.makeWatch, a.makeExports, a.makeAudit, a.bindSMTP, a.bindHTTP,
	} {
		if err := build(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *App) openStore(ctx context.Context) error {
	c := a.opt.Config
	sealer, err := secret.OpenSealer(c.SealingKeyPath())
	if err != nil {
		return fmt.Errorf("open sealing key: %w", err)
	}
	a.sealer = sealer
	a.metrics = newMetrics(a)
	s, rec, err := store.Open(ctx, store.Config{
		Path: c.DatabasePath(), URL: c.Store.URL.Reveal(), Sealer: sealer, Logger: a.log,
		KeepBodies: c.Store.KeepBodies.Duration, KeepEvents: c.Store.KeepEvents.Duration, KeepLogins: c.Store.KeepLogins.Duration, KeepReports: c.Domains.KeepReports.Duration,
		MinFree: int64(c.Store.MinFree), OnBatch: a.metrics.batch, OnTakeover: a.takenOver, Expect: store.Installation,
	})
	if errors.Is(err, store.ErrNotInstalled) {
		return fmt.Errorf("%w; nothing was written. %s", err, emptyHint(c))
	}
	if err != nil {
		return err
	}
	a.store, a.recovery = s, rec
	a.stops = append(a.stops, step{"store", func(context.Context) error { return s.Close() }})
	if !rec.Clean {
		a.log.Warn("app: the last run did not end cleanly", "requeued", rec.Requeued, "possibly_delivered", rec.InFlight, "quarantined", rec.Quarantined)
	}
	return nil
}

// emptyHint says what fills a database that is empty.
func emptyHint(c *config.Config) string {
	if c.Store.URL.Reveal() == "" {
		return "\"postern init\" makes an installation in an empty data directory; if there was one here, its database comes from the backup"
	}
	return "\"postern init --store-url URL --dir D\" fills it, D being a new directory; an installation with SQLite does not move by changing store.url"
}

// takenOver hands work of a node that died to the queue.
func (a *App) takenOver(shares []store.Share) {
	if a.queue != nil {
		for _, s := range shares {
			a.queue.Waiting(s.Lane, s.Tenant, s.MinDue)
		}
	}
}

func (a *App) openDirectory(ctx context.Context) error {
	d, err := identity.Open(ctx, a.store, a.log)
	if err != nil {
		return err
	}
	a.directory = d
	if _, _, ok := d.System(); !ok {
		return errors.New("the database has no account or domain of the system: a \"postern init\" did not end. Make database and data directory empty, and run it again")
	}
	return nil
}

// keyPrefix starts the keys of this installation.
func (a *App) keyPrefix() string {
	if a.opt.KeyPrefix == "" {
		return secret.DefaultPrefix
	}
	return a.opt.KeyPrefix
}

func (a *App) makeSigner(context.Context) error {
	signer, err := sender.NewSigner(sender.SignerConfig{
		Directory: a.directory, Sealer: a.sealer, GoOnly: a.opt.Config.Sign.Backend == "go", Logger: a.log,
		Overlap: a.opt.Config.Overlap(),
	})
	if err != nil {
		return err
	}
	a.signer = signer
	return nil
}

func (a *App) makeQueue(ctx context.Context) error {
	c := a.opt.Config
	warmups, err := deliver.NewWarmups(ctx, deliver.WarmupConfig{Store: a.store, Clean: a.recovery.Clean, Logger: a.log})
	if err != nil {
		return err
	}
	a.warmups = warmups
	dc, err := a.deliverConfig(c)
	if err != nil {
		return err
	}
	d, err := deliver.New(dc)
	if err != nil {
		return err
	}
	a.deliverer.Store(d)
	a.paths = submit.NewReturnPaths(a.sealer.DeriveAll("return-path"))
	limits := queueLimits(c)
	a.queue = queue.New(queue.Config{
		Store: a.store, Deliverer: currentDeliverer{a}, Signer: a.signer, Notifier: a.notifier(c), Directory: a.directory,
		Logger: a.log, Observer: a.metrics, Limits: limits, Concurrency: c.Queue.Concurrency, Signers: c.Sign.Workers,
		ReturnPath: a.paths.For, Cautious: !a.recovery.Clean, Shared: c.Store.URL.Reveal() != "",
	})
	return nil
}

// queueLimits turns the configuration into the queue's terms.
func queueLimits(c *config.Config) queue.Limits {
	return queue.Limits{
		Memory: int64(c.Queue.Memory), Ready: c.Queue.MemoryRecipients, SiteMax: c.Queue.PerDestination, Retry: retryOf(c.Queue),
	}
}

func retryOf(q config.Queue) relay.Retry {
	r := relay.Retry{Lifetime: q.Lifetime.Duration, DelayNotice: q.DelayNotice.Duration}
	for _, d := range q.Intervals {
		r.Intervals = append(r.Intervals, d.Duration)
	}
	return r
}

func (a *App) notifier(c *config.Config) *submit.Notifier {
	return &submit.Notifier{Directory: a.directory, Store: a.store, Hostname: c.Hostname, Lifetime: c.Queue.Lifetime.Duration,
		QueueNow: func() time.Time { return a.queue.Now() }}
}

// makeWay makes what takes mail in, with the settings of one configuration.
func (a *App) makeWay(c *config.Config) way {
	s := submit.New(submit.Config{
		Store: a.store, Queue: a.queue, Directory: a.directory, ReturnPaths: a.paths, Logger: a.log, QueueNow: a.queue.Now,
		Hostname: c.Hostname, HeaderBytes: int(c.Limits.HeaderBytes), HeaderFields: c.Limits.HeaderFields,
		RefuseLong: c.Submit.LongLines == "refuse", IgnoreSMTPAPI: c.Submit.XSMTPAPIUnknown == "ignore",
		MaxHops: c.Submit.MaxHops, Retry: retryOf(c.Queue), MaxMessage: int64(c.Limits.MessageSize), Credits: a.ledger,
	})
	in := submit.NewIntake(submit.IntakeConfig{
		Directory: a.directory, ReturnPaths: a.paths, Notifier: a.notifier(c), Store: a.store, Queue: a.queue,
		Hostname: c.Hostname, Contact: c.Contact, MaxMessage: int64(c.Intake.MessageSize), PerMinute: c.Intake.PerMinute,
		Reports: a.senders.reports, ReportDomains: a.directory, ReportHost: reportHost(c),
	})
	return way{submit: s, intake: in}
}

// Start runs everything. It returns once all listeners answer.
func (a *App) Start(ctx context.Context) error {
	hold := context.WithoutCancel(ctx) // parts end by Stop, in its order
	a.background("store", hold, a.store.Run)
	a.keepWarmups(ctx)
	a.background("directory", hold, a.directory.Run)
	a.background("certificates", hold, a.certs.Run)
	a.background("login guard", hold, a.keepGuard)
	a.background("host names", hold, a.hosts.Run)
	a.background("memory", hold, a.giveMemoryBack)
	a.background("warm-ups", hold, a.warmups.Run)
	a.background("deliverer", hold, a.runDeliverers)
	grace := a.cfg.Load().Queue.DrainTime.Duration
	a.background("queue", hold, func(ctx context.Context) error { return a.queue.Run(ctx, grace) })
	a.background("caretaker", hold, a.takeCare)
	a.startDomains(hold)
	a.background("people", hold, a.people.Run)
	a.startConsumers(hold)
	a.background("watch", hold, a.watch.Run)
	a.background("places", hold, a.freshPlaces)
	a.background("audit reports", hold, a.runAudits)
	running, end := context.WithCancel(hold)
	a.running = running
	a.stops = append(a.stops, step{"drops", func(context.Context) error { end(); a.dropping.Wait(); return nil }})
	for _, e := range a.edges {
		a.startEdge(e)
	}
	for _, l := range a.listeners {
		a.startSMTP(hold, l)
	}
	a.stops = append(a.stops, step{"live pages", func(context.Context) error { close(a.leaving); return nil }})
	return nil
}

// keepWarmups notes, before anything is sent, that the last process may have sent
// more than it wrote down. A store that cannot take it now does not keep mail up.
func (a *App) keepWarmups(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := a.warmups.Keep(ctx); err != nil {
		a.log.Warn("app: counters of addresses in warm-up are not kept", "error", err)
	}
}

// background runs a part until its step of the stop; its failure before ends
// the process.
func (a *App) background(name string, ctx context.Context, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			a.fail(fmt.Errorf("%s: %w", name, errors.Join(err, errEnded)))
		}
		done <- err
	}()
	a.stops = append(a.stops, step{name, func(wait context.Context) error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-wait.Done():
			return wait.Err()
		}
	}})
}

var errEnded = errors.New("ended before it was told to")

func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

// Stop ends everything, last started first: no new connections, sessions
// finish, the queue starts nothing and lets its attempts end, the store writes
// what it was given and closes. ctx bounds the whole; what is cut off then was
// not acknowledged.
func (a *App) Stop(ctx context.Context) error {
	a.stopOnce.Do(func() {
		var errs []error
		for i := len(a.stops) - 1; i >= 0; i-- {
			begin := time.Now()
			if err := a.stops[i].stop(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, fmt.Errorf("stop %s: %w", a.stops[i].name, err))
			}
			if took := time.Since(begin); took > time.Second {
				a.log.Info("app: stopped", "part", a.stops[i].name, "took", took)
			}
		}
		a.stopErr = errors.Join(errs...)
	})
	return a.stopErr
}

// Run starts, tells ready, waits for ctx or for a part that fails, and stops.
func (a *App) Run(ctx context.Context, ready func()) error {
	if err := a.Start(ctx); err != nil {
		return errors.Join(err, a.Stop(context.Background()))
	}
	if ready != nil {
		ready()
	}
	var cause error
	select {
	case <-ctx.Done():
		a.log.Info("app: stopping")
	case cause = <-a.failed:
		a.log.Error("app: a part failed, stopping", "error", cause)
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Load().Queue.DrainTime.Duration+stopMargin)
	defer cancel()
	return errors.Join(cause, a.Stop(wait))
}

// stopMargin is what the stop may take beyond the drain time: the last commits.
const stopMargin = 10 * time.Second
