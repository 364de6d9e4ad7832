package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/sink"
)

// questionsPerServer is how many questions one name server's address is asked in a
// second (docs/domains.md).
const questionsPerServer = 20

// TestScaleChecks starts an installation that was stopped for so long that all its
// domains are due to be looked at: no name server is asked more than it may be, and
// mail does not wait. What a check costs is measured against the same relay with
// nothing due, in turns. make scale has 100,000 domains, fifty looked at in a second.
func TestScaleChecks(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	n, subusers, full := domainCount()
	pace, look, rounds := 600, 5*time.Second, 1
	if full {
		pace, look, rounds = 3000, 30*time.Second, 3
	}
	w := newManyNames(t)
	r := newNode(t, "", fmt.Sprintf(`[dns]
zone = %q
listen = [%q]
name_servers = ["ns1.relay.test", "ns2.relay.test"]
answers_per_second = 0
allow_networks = ["127.0.0.0/8"]
ask_port = %s

[domains]
checks_per_minute = %d

[deliver]
allow_networks = ["127.0.0.0/8"]
ipv6 = false
dns_servers = [%q]

[[deliver.destination]]
domain = "rcpt.example"
route = %q
`, secondZone, net.JoinHostPort(primaryHost, w.port), w.port, pace, net.JoinHostPort(manyResolver, w.port), takesAll(t)))
	r.domainTemplates(t, "live")
	must(t, r.stop(40*time.Second))
	m := r.fillDomains(t, n, subusers, later)
	w.filled(m, manyHosts)
	for range rounds {
		idle := r.checking(t, w, m, false, look)
		busy := r.checking(t, w, m, true, look)
		t.Logf("idle: %s", idle)
		t.Logf("checking: %s; CPU of a check %v", busy, ((busy.cpu - idle.cpu) / time.Duration(max(busy.checks, 1))).Round(10*time.Microsecond))
		if busy.checks == 0 {
			t.Error("no domain was looked at")
		}
	}
	// All of them at one DNS host: it is not asked more for that.
	w.filled(m, 1)
	one := r.checking(t, w, m, true, look)
	t.Logf("checking, all at one DNS host: %s", one)
	if most := questionsPerServer * (int(one.took.Seconds()) + 2); one.server > most {
		t.Errorf("a name server was asked %d questions in %v, want at most %d", one.server, one.took, most)
	}
	r.restart(t) // the end of the test stops it
}

// checkCost is what happened in a while.
type checkCost struct {
	took                  time.Duration
	checks                int
	second, server, asked int // questions, as manyNames counts them
	cpu                   time.Duration
	mail                  string
	wrote, wal            int64 // octets
	rows                  string
}

func (c checkCost) String() string {
	return fmt.Sprintf("%d checks in %v, questions %d, at most %d to a server in a second, %d in all of it; end of data to 250 %s; relay's CPU %v (%.0f %% of one); written %.1f MiB, WAL %.1f MiB; %s",
		c.checks, c.took.Round(time.Millisecond), c.asked, c.second, c.server, c.mail, c.cpu.Round(time.Millisecond), 100*c.cpu.Seconds()/c.took.Seconds(), mib(c.wrote), mib(c.wal), c.rows)
}

// checking starts the stopped relay with all domains due, or none, sends a message
// each 25 ms, and stops it again.
func (r *ownRelay) checking(t testing.TB, w *manyNames, m *manyDomains, due bool, look time.Duration) (c checkCost) {
	t.Helper()
	r.makeDue(t, due)
	r.restart(t)
	time.Sleep(look / 6) // the start is over
	w.filled(m, w.hosts)
	began, cpu, wrote := time.Now(), r.cpu(t), r.written(t)
	c.mail = r.mailEvery(t, m, 25*time.Millisecond, look)
	c.took, c.cpu, c.wrote = time.Since(began), r.cpu(t)-cpu, r.written(t)-wrote
	c.second, c.server, c.asked = w.questions()
	if info, err := os.Stat(filepath.Join(r.dir, "postern.db-wal")); err == nil {
		c.wal = info.Size()
	}
	db, err := sql.Open("sqlite", filepath.Join(r.dir, "postern.db")+"?mode=ro")
	must(t, err)
	defer db.Close()
	must(t, db.QueryRow("SELECT count(*) FROM domain_checks WHERE at BETWEEN $1 AND $2", began.UnixMicro(), began.Add(c.took).UnixMicro()).Scan(&c.checks))
	var changes, findings, failing int
	must(t, db.QueryRow("SELECT (SELECT count(*) FROM changes), (SELECT count(*) FROM domain_findings), (SELECT count(*) FROM domains WHERE failing_since > 0 AND state = 'verified')").Scan(&changes, &findings, &failing))
	c.rows = fmt.Sprintf("%d entries in the record of changes, %d domains with findings, %d failing", changes, findings, failing)
	if failing > 0 {
		t.Errorf("%d domains were found to fail", failing)
	}
	must(t, r.stop(40*time.Second))
	return c
}

// makeDue makes all domains of the stopped relay due now, or none.
func (r *ownRelay) makeDue(t testing.TB, due bool) {
	t.Helper()
	must(t, r.stop(40*time.Second))
	db, err := sql.Open("sqlite", filepath.Join(r.dir, "postern.db"))
	must(t, err)
	defer db.Close()
	next := later(0)
	if due {
		next = time.Now().AddDate(0, 0, -10)
	}
	_, err = db.Exec("UPDATE domain_checks SET next_at = $1 WHERE domain_id IN (SELECT id FROM domains WHERE state = 'verified')", next.UnixMicro())
	must(t, err)
}

// mailEvery sends a message from one domain after the other, each on a session of
// twenty, and writes how long its end took.
func (r *ownRelay) mailEvery(t testing.TB, m *manyDomains, every, d time.Duration) string {
	t.Helper()
	conf, from := clientTLS(t, r), &loopbacks{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var took []time.Duration
	for start, i := time.Now(), 0; time.Since(start) < d; i++ {
		s, err := dialSMTP(from.next(), r.SMTPTLS, conf, m.key(i))
		must(t, err)
		must(t, s.say(strings.TrimSpace(string(s.line)), "235"))
		for range 20 {
			<-tick.C
			must(t, s.envelope(m.names[i]))
			at := time.Now()
			must(t, s.say(".", "250"))
			took = append(took, time.Since(at))
		}
		s.close()
	}
	return quantiles(took)
}

// written is what the relay has handed to the disk.
func (r *ownRelay) written(t testing.TB) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", r.cmd.Process.Pid))
	must(t, err)
	_, after, _ := strings.Cut(string(b), "\nwrite_bytes: ")
	_, err = fmt.Sscan(after, &n)
	must(t, err)
	return n
}

// takesAll is the address of a receiving server.
func takesAll(t testing.TB) string {
	t.Helper()
	server, err := sink.New(sink.Config{Hostname: "mx.rcpt.example", MaxMessages: 10})
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		<-served
	})
	return ln.Addr().String()
}
