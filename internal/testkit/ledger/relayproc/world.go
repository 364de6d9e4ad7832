// Package relayproc runs the real postern binary as an operator would: it
// initialises a data directory, writes a configuration, starts and kills the
// process, and asks it questions over its own command line. Around it stands a
// [ledger.Ledger] with its sink and its zone in the test's own process, so that
// they outlive the relay.
//
// It is for tests only and takes a [testing.TB] wherever something can go wrong.
package relayproc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
)

// Domain is the sending domain of a world; recipients are in [RecipientDomains].
const Domain = "client.test"

// RecipientDomains are the destinations of a world, each with its own MX.
var RecipientDomains = []string{"one.test", "two.test", "three.test"}

// Options change a world before it is made. The zero value is a relay on SQLite
// in a directory of its own.
type Options struct {
	Binary   string
	DataDir  string   // absent or empty; "": a fresh one
	StoreURL string   // PostgreSQL instead of SQLite
	Config   string   // TOML put in place of parts of the configuration, see configText
	Env      []string // added to the process's environment
	Judge    ledger.Judge
}

// World is one relay with all that it needs.
type World struct {
	Options
	Ledger *ledger.Ledger
	Sink   *ledger.Sink
	Zone   *ledger.Zone
	Login  ledger.Login
	From   string
	Dir    string // the data directory
	Config string // the configuration file
	Log    string // the file with the output of all processes so far

	smtpPort, smtpsPort int
	work                string
	proc                *Process
}

// New makes a world: sink, zone, certificate, data directory, configuration. The
// relay is not started. Everything ends with the test.
func New(t testing.TB, seed int64, o Options) *World {
	t.Helper()
	w := &World{Options: o, Ledger: ledger.New(seed), Zone: &ledger.Zone{}, From: "sender@" + Domain, work: tempDir(t)}
	w.Sink = &ledger.Sink{Ledger: w.Ledger, Judge: o.Judge}
	must(t, w.Sink.Listen("127.0.0.1:0"))
	t.Cleanup(w.Sink.Close)
	must(t, w.Zone.Listen("127.0.0.1:0"))
	t.Cleanup(w.Zone.Close)
	w.Dir, w.Log, w.Config = o.DataDir, filepath.Join(w.work, "relay.log"), filepath.Join(w.work, "postern.toml")
	if w.Dir == "" {
		w.Dir = filepath.Join(w.work, "data")
	}
	w.smtpPort, w.smtpsPort = freePort(t), freePort(t)
	cert, roots := certificate(t, w.work)
	w.Login = ledger.Login{
		Addr: fmt.Sprintf("127.0.0.1:%d", w.smtpPort), User: "apikey",
		TLS: &tls.Config{ServerName: hostname, RootCAs: roots},
	}
	must(t, os.WriteFile(w.Config, []byte(w.configText(cert)), 0o600))
	t.Cleanup(func() {
		if w.proc != nil {
			w.proc.kill()
		}
		if t.Failed() {
			t.Logf("end of the relay's log:\n%s", w.LogTail(6000))
		}
	})
	return w
}

// hostname is the relay's own name.
const hostname = "relay.postern.test"

// Init runs "postern init", perhaps behind another program, and remembers the key
// that it prints.
func (w *World) Init(t testing.TB, wrap func(program []string) []string) {
	t.Helper()
	line := append([]string{w.Binary}, w.initArgs()...)
	if wrap != nil {
		line = wrap(line)
	}
	out, err := w.run(line...)
	if err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	w.Login.Password = findKey(t, out)
}

// Setup initialises, starts, adds the sending domain and leaves the relay running.
func (w *World) Setup(t testing.TB) {
	t.Helper()
	w.Init(t, nil)
	w.Start(t)
	w.MustCLI(t, "domain", "add", Domain, "--assert")
}

// Start starts the relay and waits until it greets.
func (w *World) Start(t testing.TB) {
	t.Helper()
	w.StartUnder(t, nil)
}

// StartUnder starts the relay behind another program, such as strace.
func (w *World) StartUnder(t testing.TB, wrap func(program []string) []string) {
	t.Helper()
	must(t, w.Launch(wrap))
	if err := w.WaitReady(60 * time.Second); err != nil {
		t.Fatalf("relay: %v\n%s", err, w.LogTail(4000))
	}
}

// Launch starts the relay and does not wait.
func (w *World) Launch(wrap func(program []string) []string) error {
	line := append([]string{w.Binary}, w.serveArgs()...)
	if wrap != nil {
		line = wrap(line)
	}
	p, err := launch(w.Log, w.Env, line)
	w.proc = p
	return err
}

// WaitReady waits until the relay greets, its process ends or the time is over.
func (w *World) WaitReady(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		select {
		case <-w.proc.done:
			return fmt.Errorf("the process ended: %v", w.proc.err)
		default:
		}
		if greets(w.Login.Addr) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("no greeting on %s within %v", w.Login.Addr, limit)
}

func greets(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 3)
	n, _ := conn.Read(b)
	return string(b[:n]) == "220"
}

// Kill ends the relay with SIGKILL and tells the ledger.
func (w *World) Kill() {
	from := time.Now()
	w.proc.kill()
	w.Ledger.Kill(ledger.Kill{From: from, To: time.Now()})
}

// Stop ends the relay with SIGTERM and fails the test if that takes too long.
func (w *World) Stop(t testing.TB) {
	t.Helper()
	if err := w.proc.terminate(60 * time.Second); err != nil {
		t.Fatalf("stop: %v\n%s", err, w.LogTail(4000))
	}
}

// Process is the relay's process; nil before the first start.
func (w *World) Process() *Process { return w.proc }

// Load returns a load for this world. Its fields may be changed before Run.
func (w *World) Load(connections, messages int) *ledger.Load {
	return &ledger.Load{Login: w.Login, Ledger: w.Ledger, From: w.From, Domains: RecipientDomains, Connections: connections, Messages: messages}
}

// LogTail returns at most n octets from the end of the relay's log.
func (w *World) LogTail(n int) string {
	b, _ := os.ReadFile(w.Log)
	return string(b[max(0, len(b)-n):])
}

// CLI runs a subcommand of the binary against the running relay.
func (w *World) CLI(args ...string) ([]byte, error) {
	return w.run(append(append([]string{w.Binary}, args...), "--config", w.Config)...)
}

// MustCLI is [World.CLI] for commands that must succeed.
func (w *World) MustCLI(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := w.CLI(args...)
	if err != nil {
		t.Fatalf("postern %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *World) run(line ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), w.Env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tempDir is t.TempDir without symbolic links in its path, so that it compares
// with the paths that the kernel reports.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	return dir
}

func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}
