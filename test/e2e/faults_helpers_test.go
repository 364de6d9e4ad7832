package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
	"postern/internal/testkit/ledger/relayproc"
)

// smallDisk mounts a file system of so many MiB and returns where. That takes
// root; without it there is no test.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib)); err != nil {
		t.Skipf("mounting a small file system is not allowed here: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// inject makes calls of a running relay fail, by attaching strace to it. It
// returns when strace has attached. The record is what strace wrote.
func inject(t *testing.T, w *relayproc.World, calls, how string) (record string, detach func()) {
	t.Helper()
	external(t, "strace")
	pid, err := w.Process().PID()
	if err != nil {
		t.Fatal(err)
	}
	record = filepath.Join(t.TempDir(), "record")
	cmd := exec.Command("strace", "-f", "-p", fmt.Sprint(pid), "-o", record, "--absolute-timestamps=format:unix,precision:ns",
		"-e", "signal=none", "-e", "trace="+calls, "-e", "inject="+calls+":"+how)
	var stderr syncBuffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once atomic.Bool
	detach = func() {
		if once.CompareAndSwap(false, true) {
			cmd.Process.Signal(syscall.SIGINT)
			cmd.Wait()
		}
	}
	t.Cleanup(detach)
	for range 500 {
		switch text := stderr.String(); {
		case strings.Contains(text, "attached"):
			return record, detach
		case strings.Contains(text, "ptrace"):
			t.Skipf("strace may not attach here: %s", text)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("strace did not attach: %s", stderr.String())
	return "", nil
}

// copyDir copies the files and directories below from, with their modes. Sockets
// are left out, as they would be by a disk.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		stat, err := e.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case !stat.Mode().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, stat.Mode().Perm())
	}))
}

// syncBuffer is a buffer that one goroutine fills and another reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// switchable is a sink's judge that puts everything off until it is opened.
type switchable struct{ open atomic.Bool }

func (s *switchable) judge(step ledger.Step, _, _ string) ledger.Verdict {
	if step == ledger.AtRcpt && !s.open.Load() {
		return ledger.Verdict{Reply: "451 4.2.0 not yet"}
	}
	return ledger.Verdict{}
}

// patience is how long a busy machine may take for what takes a moment.
const patience = 60 * time.Second

// until waits for a condition and fails the test when it does not come.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// count returns how many entries of a ledger fulfil a condition.
func count(l *ledger.Ledger, ok func(ledger.Entry) bool) int {
	n := 0
	for _, e := range l.Entries() {
		if ok(e) {
			n++
		}
	}
	return n
}

// offer hands one message in over a connection of its own and returns its entry.
func offer(t *testing.T, w *relayproc.World, id, rcpt string, body []byte) ledger.Entry {
	t.Helper()
	c, err := ledger.Dial(w.Login)
	if err != nil {
		t.Fatalf("log in: %v", err)
	}
	defer c.Close()
	ledger.Offer(c, w.Ledger, ledger.Entry{ID: id, Recipients: []string{rcpt}}, w.From, body)
	for _, e := range w.Ledger.Entries() {
		if e.ID == id {
			return e
		}
	}
	t.Fatalf("%s is not in the ledger", id)
	return ledger.Entry{}
}

// mustOffer is offer for a message that must be acknowledged.
func mustOffer(t *testing.T, w *relayproc.World, id, rcpt string) ledger.Entry {
	t.Helper()
	e := offer(t, w, id, rcpt, []byte("a line\r\n"))
	if e.Phase != ledger.Acked {
		t.Fatalf("%s was not acknowledged: %s %s", id, e.Phase, e.Reply)
	}
	return e
}

// permanent reports whether a ledger's refusal, "stage: code text", has a 5yz code.
func permanent(reply string) bool {
	_, text, _ := strings.Cut(reply, ": ")
	return strings.HasPrefix(text, "5")
}
