// Package e2e drives the real binary from outside: foreign clients and servers
// (interop_*), crashes and faults. Tests that need a program which is not there
// are skipped, unless POSTERN_TEST_EXTERNAL=1 makes that a failure. POSTERN_BIN
// names a binary to test instead of building one.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// exits runs when all tests of the package are over, last entered first.
var exits struct {
	mu    sync.Mutex
	funcs []func()
}

// atExit enters f to be run after the last test.
func atExit(f func()) {
	exits.mu.Lock()
	defer exits.mu.Unlock()
	exits.funcs = append(exits.funcs, f)
}

func TestMain(m *testing.M) {
	code := m.Run()
	exits.mu.Lock()
	for i := len(exits.funcs) - 1; i >= 0; i-- {
		exits.funcs[i]()
	}
	exits.mu.Unlock()
	os.Exit(code)
}

// builtBinary builds postern once for all tests.
var builtBinary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("POSTERN_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	dir, err := os.MkdirTemp("", "postern-e2e-")
	if err != nil {
		return "", err
	}
	atExit(func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "postern")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", bin, "./cmd/postern")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

// binary is the path of the postern under test.
func binary(t testing.TB) string {
	t.Helper()
	bin, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// mustHaveAll reports that a missing program is a failure.
func mustHaveAll() bool { return os.Getenv("POSTERN_TEST_EXTERNAL") == "1" }

// external returns the path of the first of the programs that is there. When
// none is, the test is skipped, or fails under POSTERN_TEST_EXTERNAL=1.
func external(t testing.TB, programs ...string) string {
	t.Helper()
	for _, p := range programs {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
		// Daemons live where an ordinary PATH does not look.
		if path := filepath.Join("/usr/sbin", p); filepath.Base(p) == p {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	if mustHaveAll() {
		t.Fatalf("%v is not installed (tools/testdeps installs it)", programs)
	}
	t.Skipf("%v is not installed", programs)
	return ""
}

// result is how a program ended.
type result struct {
	out  string // stdout and stderr, as they came
	code int    // exit code, -1 if it was killed
}

// command is a program to run to its end.
type command struct {
	args  []string
	stdin string
	env   []string // added to ours
	dir   string
	limit time.Duration // 30 s unless set
}

// run runs it; a program that cannot be started or does not end fails the test.
func (c command) run(t testing.TB) result {
	t.Helper()
	limit := c.limit
	if limit == 0 {
		limit = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8"), c.env...)
	cmd.Dir = c.dir
	cmd.Stdin = bytes.NewReader([]byte(c.stdin))
	cmd.WaitDelay = 2 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end within %v:\n%s", c.args[0], limit, out)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", c.args[0], err)
	}
	return result{out: string(out), code: cmd.ProcessState.ExitCode()}
}

// process is a server under test.
type process struct {
	cmd  *exec.Cmd
	log  string // the file that takes stdout and stderr
	done chan struct{}
	err  error // of Wait; valid once done is closed
}

// startProcess starts a server whose output goes to a file.
func startProcess(logFile string, args ...string) (*process, error) {
	f, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	// The child must not outlive a test run that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: logFile, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop asks the process to end, and ends it if it does not within the time.
func (p *process) stop(limit time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.cmd.Path, limit)
	}
}

// tail returns the end of the process's log.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(b)
}

// waitUntil asks ok every 20 ms until it holds, the process ends or the time is over.
func (p *process) waitUntil(limit time.Duration, ok func() bool) error {
	deadline := time.Now().Add(limit)
	for !ok() {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %v\n%s", p.cmd.Path, p.err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v\n%s", p.cmd.Path, limit, p.tail())
		}
	}
	return nil
}

// ready is what `postern demo --ready-file` writes.
type ready struct {
	SMTPStartTLS   string `json:"smtp_starttls"`
	SMTPTLS        string `json:"smtp_tls"`
	HTTP           string `json:"http"`
	Sink           string `json:"sink"`
	DNS            string `json:"dns"`
	Hostname       string `json:"hostname"`
	CAFile         string `json:"ca_file"`
	Username       string `json:"username"`
	APIKey         string `json:"api_key"`
	From           string `json:"from"`
	UnverifiedFrom string `json:"unverified_from"`
	To             string `json:"to"`
	DataDir        string `json:"data_dir"`
}

// demo is a running `postern demo`.
type demo struct {
	ready
	*process
	bin string
}

// startDemo starts a demo in dir and waits until it is up.
func startDemo(bin, dir string, args ...string) (*demo, error) {
	file := filepath.Join(dir, "ready.json")
	args = append([]string{bin, "demo", "--ready-file", file, "--dir", filepath.Join(dir, "data")}, args...)
	p, err := startProcess(filepath.Join(dir, "demo.log"), args...)
	if err != nil {
		return nil, err
	}
	d := &demo{process: p, bin: bin}
	err = p.waitUntil(60*time.Second, func() bool {
		b, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(b, &d.ready) == nil
	})
	if err != nil {
		_ = p.stop(5 * time.Second)
		return nil, err
	}
	return d, nil
}
