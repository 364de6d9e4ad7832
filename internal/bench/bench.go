// Package bench is a load generator for submission servers: connections that
// log in over TLS and hand in messages as fast as they are taken. It measures
// how long a session takes to set up, how long the server takes from the end of
// the data to its answer, and what the server's process spends meanwhile.
//
// It is not a correctness test: it counts what was answered with 250 and keeps
// the first words of what was not. It speaks a deliberately small SMTP of its
// own, so that its cost stays small and known, and shares no code with the
// server under test.
//
//	report, err := bench.Run(ctx, bench.Config{Addr: "127.0.0.1:587", TLS: bench.StartTLS, …})
//	report.WriteText(os.Stdout)
package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// TLSMode says when TLS starts.
type TLSMode string

// The modes. None is for receiving servers: no AUTH happens without TLS.
const (
	StartTLS TLSMode = "starttls"
	Implicit TLSMode = "implicit"
	None     TLSMode = "none"
)

// ParseTLSMode reads a mode as a person types it.
func ParseTLSMode(s string) (TLSMode, error) {
	switch m := TLSMode(s); m {
	case StartTLS, Implicit, None:
		return m, nil
	}
	return "", fmt.Errorf("tls %q: want %s, %s or %s", s, StartTLS, Implicit, None)
}

// Config says what to do. Zero numbers take the defaults named.
type Config struct {
	Addr      string // host:port
	TLS       TLSMode
	TLSConfig *tls.Config // required unless TLS is None
	User, Key string      // AUTH PLAIN; both empty: no AUTH
	From, To  string

	Connections int // at the same time; 20
	Messages    int // per connection; 20
	Size        int // octets of each message, header included; 10,240, at least 512
	// OnePerConnection opens a new connection for every message.
	OnePerConnection bool
	// Lockstep sends one command at a time although the server offers PIPELINING.
	Lockstep bool
	// Hold keeps the connections open that long after the last message, idle and
	// logged in, and measures the server's memory at its end.
	Hold time.Duration
	// Timeout is for each connect, reply and write; 60 s.
	Timeout time.Duration
	// PID is the server's process, whose CPU (with its children) and memory are
	// read from /proc. 0: unknown.
	PID int
	// Progress, if set, is told twice a second how far things are.
	Progress func(Progress)
}

// Progress is a look at a run under way.
type Progress struct {
	Elapsed  time.Duration
	Accepted int64
	Failed   int64
	Total    int64
}

// validate fills in defaults and refuses what makes no sense.
func (c *Config) validate() error {
	c.Connections = or(c.Connections, 20)
	c.Messages = or(c.Messages, 20)
	c.Size = or(c.Size, 10_240)
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	switch {
	case c.Addr == "" || c.From == "" || c.To == "":
		return errors.New("bench: address, sender and recipient are required")
	case c.Connections < 1 || c.Connections > 50_000:
		return fmt.Errorf("bench: %d connections: want 1 to 50,000", c.Connections)
	case c.Messages < 1:
		return fmt.Errorf("bench: %d messages: want at least 1", c.Messages)
	case c.Size < 512 || c.Size > 100<<20:
		return fmt.Errorf("bench: %d octets: want 512 to 104,857,600", c.Size)
	case c.TLS != None && c.TLSConfig == nil:
		return errors.New("bench: TLS needs a configuration")
	case c.TLS == None && c.User != "":
		return errors.New("bench: AUTH needs TLS")
	case c.Hold > 0 && c.OnePerConnection:
		return errors.New("bench: holding connections and opening one per message exclude each other")
	}
	return nil
}

func or(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// giveUpAfter is how many connections in a row may fail before a worker stops:
// a server that is down must not be hammered.
const giveUpAfter = 3

// run is the state that all workers share.
type run struct {
	Config
	accepted atomic.Int64
	failed   atomic.Int64
	errors   errorCounts
	held     sync.WaitGroup // workers that have not sent all yet
	release  chan struct{}  // closed when holding is over
}

// worker is one connection's worth of work and its own figures.
type worker struct {
	*run
	n      int
	setup  Histogram
	accept Histogram
}

// Run does what the configuration says and reports. It ends early when
// the context does, with the report so far and the context's error.
func Run(parent context.Context, conf Config) (*Report, error) {
	if err := conf.validate(); err != nil {
		return nil, err
	}
	r := &run{Config: conf, release: make(chan struct{})}
	before, err := ReadUsage(conf.PID)
	if err != nil {
		return nil, fmt.Errorf("bench: process %d: %w", conf.PID, err)
	}
	self := selfCPU()
	start := time.Now()

	ctx, stop := context.WithCancel(parent)
	defer stop()
	watch := startWatch(ctx, r, start)
	workers := make([]*worker, conf.Connections)
	var done sync.WaitGroup
	r.held.Add(conf.Connections)
	for i := range workers {
		workers[i] = &worker{run: r, n: i}
		done.Go(func() { workers[i].work(ctx) })
	}
	r.held.Wait()
	sent := time.Since(start)
	after, usageErr := ReadUsage(conf.PID)
	generator := selfCPU() - self
	idle := r.holdOpen(ctx)
	close(r.release)
	done.Wait()
	stop()

	report := r.report(workers, start, sent)
	report.Generator = Spent{CPU: generator.Seconds()}.per(report.Accepted)
	if conf.PID != 0 && usageErr == nil {
		report.Server = serverSpent(before, after, idle, watch(), conf.Connections, report.Accepted)
	}
	return report, errors.Join(parent.Err(), usageErr)
}

// holdOpen waits while all connections are idle, then looks at the server.
func (r *run) holdOpen(ctx context.Context) Usage {
	if r.Hold == 0 {
		return Usage{}
	}
	select {
	case <-time.After(r.Hold):
	case <-ctx.Done():
	}
	u, err := ReadUsage(r.PID)
	if err != nil {
		return Usage{}
	}
	return u
}

// work sends this worker's messages.
func (w *worker) work(ctx context.Context) {
	arrived := sync.OnceFunc(w.held.Done)
	defer arrived()
	left, fails := w.Messages, 0
	for left > 0 && fails < giveUpAfter && ctx.Err() == nil {
		s, err := w.open(ctx)
		if err != nil {
			w.errors.add(err)
			fails++
			continue
		}
		batch := left
		if w.OnePerConnection {
			batch = 1
		}
		sent, err := w.sendAll(ctx, s, batch, w.Messages-left)
		left -= sent
		if err != nil {
			w.errors.add(err)
			fails++
			s.close()
			continue
		}
		fails = 0
		if left == 0 {
			arrived()
		}
		if left == 0 && w.Hold > 0 {
			select {
			case <-w.release:
			case <-ctx.Done():
			}
		}
		s.quit()
	}
	w.failed.Add(int64(left))
}

// open makes a session and measures how long that takes.
func (w *worker) open(ctx context.Context) (*session, error) {
	start := time.Now()
	s, err := dial(ctx, &w.Config)
	if err != nil {
		return nil, err
	}
	w.setup.Add(time.Since(start))
	return s, nil
}

// sendAll sends up to n messages. A refusal counts as dealt with; an error
// means that the session is over and how many were dealt with before.
func (w *worker) sendAll(ctx context.Context, s *session, n, first int) (int, error) {
	for i := range n {
		if ctx.Err() != nil {
			return i, ctx.Err()
		}
		took, err := s.send(w.n, first+i)
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			w.errors.add(err)
			w.failed.Add(1)
			continue
		}
		if err != nil {
			return i, err
		}
		w.accept.Add(took)
		w.accepted.Add(1)
	}
	return n, nil
}

// startWatch reports progress and remembers the server's largest memory. The
// function that it returns ends the watch and tells.
func startWatch(ctx context.Context, r *run, start time.Time) func() int64 {
	var peak int64
	done := make(chan struct{})
	end := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			case <-end:
				return
			}
			if u, err := ReadUsage(r.PID); err == nil {
				peak = max(peak, u.RSS)
			}
			if r.Progress != nil {
				r.Progress(Progress{
					Elapsed: time.Since(start), Accepted: r.accepted.Load(), Failed: r.failed.Load(),
					Total: int64(r.Connections) * int64(r.Messages),
				})
			}
		}
	}()
	return func() int64 {
		close(end)
		<-done
		return peak
	}
}

// report gathers the figures of all workers.
func (r *run) report(workers []*worker, start time.Time, took time.Duration) *Report {
	var setup, accept Histogram
	for _, w := range workers {
		setup.Merge(&w.setup)
		accept.Merge(&w.accept)
	}
	rep := &Report{
		Addr: r.Addr, TLS: r.TLS, Connections: r.Connections, Messages: r.Messages, Size: r.Size,
		OnePerConnection: r.OnePerConnection, StartedAt: start.UTC(), Seconds: took.Seconds(),
		Accepted: r.accepted.Load(), Failed: r.failed.Load(), Errors: r.errors.list(),
		Setup: setup.Summary(), Accept: accept.Summary(), CPUs: runtime.NumCPU(),
		accept: &accept,
	}
	if took > 0 {
		rep.AcceptedPerSecond = float64(rep.Accepted) / took.Seconds()
	}
	return rep
}
