package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/testkit/ledger/relayproc"
)

// jumpEnv names the file that holds how many seconds the wall clock of a binary
// built by jumpyBinary is ahead of the real one.
const jumpEnv = "TEST_WALL_CLOCK_FILE"

// jumpSource is added to package time: a variable that Now adds, kept up to date
// from the file. The monotonic clock is left alone, as by a step of the real one.
const jumpSource = `package time

import (
	"sync/atomic"
	"syscall"
)

var wallJump atomic.Int64

func init() {
	name, ok := syscall.Getenv("` + jumpEnv + `")
	if !ok {
		return
	}
	read := func() {
		fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer syscall.Close(fd)
		var buf [32]byte
		n, err := syscall.Read(fd, buf[:])
		if err != nil {
			return
		}
		v, sign := int64(0), int64(1)
		for _, ch := range buf[:n] {
			switch {
			case ch == '-':
				sign = -1
			case '0' <= ch && ch <= '9':
				v = v*10 + int64(ch-'0')
			}
		}
		wallJump.Store(sign * v)
	}
	read()
	go func() {
		for {
			Sleep(20 * Millisecond)
			read()
		}
	}()
}
`

// jumpyBinary is the real binary, built with a wall clock that a test can set.
// Faking the clock from outside does not work: Go reads it without a system call
// or a C library.
var jumpyBinary = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "postern-clock-")
	if err != nil {
		return "", err
	}
	atExit(func() { os.RemoveAll(dir) })
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	const reads = "sec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(b), "func Now() Time {\n\t"+reads) != 1 {
		return "", fmt.Errorf("time.Now of this Go version is not the one that this test knows")
	}
	patched := strings.Replace(string(b), "func Now() Time {\n\t"+reads, "func Now() Time {\n\t"+reads+"\tsec += wallJump.Load()\n", 1)
	files := map[string]string{
		source: filepath.Join(dir, "time.go"),
		filepath.Join(filepath.Dir(source), "zz_jump.go"): filepath.Join(dir, "jump.go"),
	}
	overlay, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		return "", err
	}
	for name, text := range map[string]string{"time.go": patched, "jump.go": jumpSource, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	bin := filepath.Join(dir, "postern")
	cmd := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-trimpath", "-buildvcs=false", "-o", bin, "./cmd/postern")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with a clock that jumps: %w\n%s", err, out)
	}
	return bin, nil
})

// TestFaultClock is PF-09: the wall clock jumps while mail waits. It neither
// bounces everything (ten years ahead is past every lifetime) nor tries it all at
// once, nor does it stop trying (ten years back is before every due time).
func TestFaultClock(t *testing.T) {
	t.Parallel()
	if testing.Short() || !mustHaveAll() {
		t.Skip("builds the binary anew, standard library and all; POSTERN_TEST_EXTERNAL=1 runs it")
	}
	bin, err := jumpyBinary()
	must(t, err)
	const year = 365 * 24 * 3600
	for _, jump := range []int{3600, -3600, 10 * year, -10 * year} {
		t.Run(fmt.Sprintf("%+ds", jump), func(t *testing.T) {
			t.Parallel()
			clockJumps(t, bin, jump)
		})
	}
}

func clockJumps(t *testing.T, bin string, jump int) {
	file := filepath.Join(t.TempDir(), "jump")
	must(t, os.WriteFile(file, []byte("0"), 0o600))
	gate := &switchable{}
	w := relayproc.New(t, 71, relayproc.Options{Binary: bin, Judge: gate.judge, Env: []string{jumpEnv + "=" + file}})
	w.Setup(t)
	for i := range 5 {
		mustOffer(t, w, fmt.Sprintf("before-%d", i), fmt.Sprintf("b%d@one.test", i))
	}
	attempted := func(n int) func() bool {
		return func() bool {
			for _, m := range w.Queue(t) {
				if m.Recipients[0].Attempts < n {
					return false
				}
			}
			return true
		}
	}
	until(t, "a first attempt of each", attempted(1))
	must(t, os.WriteFile(file, []byte(fmt.Sprint(jump)), 0o600))
	time.Sleep(200 * time.Millisecond)
	from := attempts(t, w)
	time.Sleep(3 * time.Second)
	// The schedule is 1 s, 1 s, 2 s, 2 s …: at most three attempts each in 3 s.
	if n := attempts(t, w) - from; n > 5*4 {
		t.Errorf("%d attempts of 5 messages in 3 s after the jump", n)
	}
	if q := w.Queue(t); len(q) != 5 {
		t.Errorf("%d of 5 messages wait after the jump", len(q))
	}
	until(t, "attempts after the jump", func() bool { return attempts(t, w) >= from+5 })
	// New mail and new logins work under the new clock.
	mustOffer(t, w, "after", "a@two.test")
	gate.open.Store(true)
	w.Rest(t, 40*time.Second)
	w.Check(t)
	for _, e := range w.Events(t) {
		if e.Kind == "bounced" || e.Kind == "dropped" {
			t.Errorf("%s %s: %s", e.Kind, e.Recipient, e.Data.Reason)
		}
	}
	w.Stop(t)
}

// attempts sums the attempts of what is queued.
func attempts(t *testing.T, w *relayproc.World) int {
	t.Helper()
	n := 0
	for _, m := range w.Queue(t) {
		for _, r := range m.Recipients {
			n += r.Attempts
		}
	}
	return n
}
