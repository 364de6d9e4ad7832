package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/bench"
)

// relay is a relay under measurement.
type relay interface {
	// config says how to reach it.
	config() bench.Config
	// pids are its processes; their children count with them.
	pids() ([]int, error)
	// storage is a folder on the device that it syncs.
	storage() string
	// log is what it logged, for the message when something goes wrong.
	log() string
	// stop ends it and removes what it wrote.
	stop() error
}

// starter starts a relay that delivers everything to the sink.
type starter func(ctx context.Context, o options, s *sink) (relay, error)

// contestant is a relay by name, with the budgets that it must meet.
type contestant struct {
	name   string
	start  starter
	limits []limit
}

// scenario is one comparison. The first contestant is what the others are
// measured against.
type scenario struct {
	name        string
	what        string // for the page
	load        bench.Config
	contestants []contestant
	once        bool // one turn is enough
}

// result is one turn of one contestant.
type result struct {
	Scenario   string  `json:"scenario"`
	Contestant string  `json:"contestant"`
	Round      int     `json:"round"`
	Messages   int64   `json:"messages"`
	Relayed    float64 `json:"relayed_per_second"` // until the sink has all
	CPU        float64 `json:"cpu_us_per_message"` // of the relay, until all is delivered
	SinkCPU    float64 `json:"sink_cpu_us_per_message"`
	Flushes    float64 `json:"flushes_per_message"` // of the device; NaN is written as -1

	Report *bench.Report `json:"report"`
}

const (
	loadFrom = "load@sender.test"
	loadTo   = "taker@receiver.test"
)

// fastLibcrypto reports a processor for which libcrypto has its fastest RSA.
var fastLibcrypto = hasCPUFlag("avx512ifma")

// libcrypto picks the budget that goes with the processor.
func libcrypto(fast, slow float64) float64 {
	if fastLibcrypto {
		return fast
	}
	return slow
}

// scenarios are what DESIGN's budgets ask for.
var scenarios = []scenario{
	{
		name: "plain", what: "20 connections × 20 messages, unsigned; postern, which never sends unsigned, with Ed25519 (26 µs)",
		load: bench.Config{Connections: 20, Messages: 20},
		contestants: []contestant{
			{"Postfix", postfixPlain, nil},
			{"postern", posternPlain, []limit{relayedAtLeast(10), cpuAtMost(0.08), flushesAtMost(0.1)}},
		},
	},
	{
		name: "signed", what: "20 connections × 20 messages, signed RSA-2048",
		load: bench.Config{Connections: 20, Messages: 20},
		contestants: []contestant{
			{"Postfix + OpenDKIM", postfixSigned, nil},
			{"postern, crypto/rsa", posternGo, []limit{relayedAtLeast(4), cpuAtMost(0.22)}},
			{"postern, libcrypto", posternAuto, []limit{relayedAtLeast(libcrypto(9, 5)), cpuAtMost(0.10)}},
		},
	},
	{
		name: "200-connections", what: "200 connections × 20 messages, signed RSA-2048",
		load: bench.Config{Connections: 200, Messages: 20},
		contestants: []contestant{
			{"Postfix + OpenDKIM", postfixSigned, nil},
			{"postern, crypto/rsa", posternGo, []limit{relayedAtLeast(4.5), p99AtMost(0.10)}},
			{"postern, libcrypto", posternAuto, []limit{relayedAtLeast(libcrypto(9, 5)), p99AtMost(0.10)}},
		},
	},
	{
		name: "one-each", what: "20 at once, one message a connection (400), signed RSA-2048",
		load: bench.Config{Connections: 20, Messages: 20, OnePerConnection: true},
		contestants: []contestant{
			{"Postfix + OpenDKIM", postfixSigned, nil},
			{"postern, crypto/rsa", posternGo, []limit{relayedAtLeast(3.5)}},
			{"postern, libcrypto", posternAuto, []limit{relayedAtLeast(5)}},
		},
	},
	{
		name: "single", what: "one connection after the other, 200 messages: the set-up and the latency of a quiet relay",
		load: bench.Config{Connections: 1, Messages: 200, OnePerConnection: true},
		contestants: []contestant{
			{"Postfix + OpenDKIM", postfixSigned, nil},
			{"postern, libcrypto", posternAuto, []limit{setupAtMost(2 * time.Millisecond)}},
		},
	},
	{
		name: "idle", what: "2,000 connections, logged in, after one message each and 150 s without a word",
		// Memory that the collector has not looked at says nothing: Go's comes by itself after two idle minutes.
		load:        bench.Config{Connections: 2000, Messages: 1, Hold: 150 * time.Second},
		contestants: []contestant{{"postern, libcrypto", posternAuto, []limit{idleAtMost(25 << 10)}}},
		once:        true,
	},
}

func isPostern(c contestant) bool { return strings.HasPrefix(c.name, "postern") }

// run gives every contestant its turn, round after round.
func (s scenario) run(ctx context.Context, o options) ([]result, error) {
	var all []result
	rounds := o.rounds
	if s.once {
		rounds = 1
	}
	for round := 1; round <= rounds; round++ {
		order := s.contestants
		if o.before != "" && round%2 == 0 { // neither is always the one that comes second
			order = slices.Clone(order)
			slices.Reverse(order)
		}
		for _, c := range order {
			if o.postern == "" && isPostern(c) {
				continue
			}
			r, err := s.turn(ctx, o, c)
			if err != nil {
				return all, fmt.Errorf("%s: %w", c.name, err)
			}
			r.Round = round
			fmt.Fprintf(os.Stderr, "%-16s %-22s round %d: %6.0f relayed/s, %5.0f µs CPU a message, p99 %.1f ms\n",
				s.name, c.name, round, r.Relayed, r.CPU, float64(r.Report.Accept.P99)/1000)
			all = append(all, r)
		}
	}
	return all, nil
}

// warmUp is how many messages go through before the measurement, so that
// processes are started, caches filled and pages touched.
const warmUp = 40

// turn measures one contestant once, started anew.
func (s scenario) turn(ctx context.Context, o options, c contestant) (result, error) {
	sk, err := startSink()
	if err != nil {
		return result{}, err
	}
	defer sk.stop()
	rl, err := c.start(ctx, o, sk)
	if err != nil {
		return result{}, err
	}
	defer rl.stop()

	warm := rl.config()
	warm.Connections, warm.Messages = min(20, s.load.Connections), max(1, warmUp/min(20, s.load.Connections))
	if err := load(ctx, warm, sk, nil); err != nil {
		return result{}, fmt.Errorf("warm-up: %w\n%s", err, lastLines(rl.log()))
	}
	time.Sleep(time.Second) // what follows a delivery (removal, log) is over

	conf := rl.config()
	conf.Connections, conf.Messages = s.load.Connections, s.load.Messages
	conf.OnePerConnection, conf.Hold = s.load.OnePerConnection, s.load.Hold
	conf.Size = 10_240
	r := result{Scenario: s.name, Contestant: c.name}
	return r, measure(ctx, conf, rl, sk, &r)
}

// load runs the generator and waits until the sink has all.
func load(ctx context.Context, conf bench.Config, sk *sink, rep **bench.Report) error {
	if err := sk.reset(); err != nil {
		return err
	}
	report, err := bench.Run(ctx, conf)
	if err != nil {
		return err
	}
	if report.Failed > 0 {
		return fmt.Errorf("%d of %d messages were not accepted: %v", report.Failed, report.Failed+report.Accepted, report.Errors)
	}
	if rep != nil {
		*rep = report
	}
	return sk.await(ctx, report.Accepted)
}

// measure takes all figures of one turn.
func measure(ctx context.Context, conf bench.Config, rl relay, sk *sink, r *result) error {
	pids, err := rl.pids()
	if err != nil {
		return err
	}
	before, err := usageOf(pids)
	if err != nil {
		return err
	}
	sinkBefore, err := sk.usage()
	if err != nil {
		return err
	}
	flushes := deviceFlushes(rl.storage())
	conf.PID = pids[0]
	start := time.Now()
	if err := load(ctx, conf, sk, &r.Report); err != nil {
		return err
	}
	took := time.Since(start) - conf.Hold
	r.Messages = r.Report.Accepted
	n := float64(r.Messages)
	r.Relayed = n / took.Seconds()
	time.Sleep(time.Second) // the last removals and log lines are part of the work
	after, err := usageOf(pids)
	if err != nil {
		return err
	}
	sinkAfter, err := sk.usage()
	if err != nil {
		return err
	}
	r.CPU = float64((after - before).Microseconds()) / n
	r.SinkCPU = float64((sinkAfter.CPU - sinkBefore.CPU).Microseconds()) / n
	r.Flushes = -1
	if f := deviceFlushes(rl.storage()); !math.IsNaN(f) && !math.IsNaN(flushes) {
		r.Flushes = (f - flushes) / n
	}
	return nil
}

// usageOf is the CPU time of several processes and their children.
func usageOf(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		u, err := bench.ReadUsage(pid)
		if err != nil {
			return 0, err
		}
		sum += u.CPU
	}
	return sum, nil
}

// deviceFlushes reads how many flush requests the device below dir has
// completed (the 16th figure of /sys/dev/block/…/stat); NaN where that is not
// to be had. Whatever else syncs on the device counts too.
func deviceFlushes(dir string) float64 {
	major, minor, err := deviceOf(dir)
	if err != nil {
		return math.NaN()
	}
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", major, minor))
	if err != nil {
		return math.NaN()
	}
	f := strings.Fields(string(b))
	if len(f) < 16 {
		return math.NaN()
	}
	n, err := strconv.ParseFloat(f[15], 64)
	if err != nil {
		return math.NaN()
	}
	return n
}

// lastLines cuts a log to what fits a message.
func lastLines(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
