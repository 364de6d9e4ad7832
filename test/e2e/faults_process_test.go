package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
	"postern/internal/testkit/ledger/relayproc"

	"golang.org/x/sys/unix"
)

// TestFaultTwoProcesses is PF-18: a second process on the same data directory
// refuses to start, says why, and disturbs nothing.
func TestFaultTwoProcesses(t *testing.T) {
	t.Parallel()
	w := relayproc.New(t, 41, relayproc.Options{Binary: binary(t)})
	w.Setup(t)
	other := relayproc.New(t, 42, relayproc.Options{Binary: w.Binary, DataDir: w.Dir})
	must(t, other.Launch(nil))
	select {
	case <-other.Process().Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the second process goes on")
	}
	if other.Process().ExitCode() != 1 {
		t.Errorf("the second process ended with %d, want 1", other.Process().ExitCode())
	}
	if text := other.LogTail(2000); !strings.Contains(text, "another") && !strings.Contains(text, "in use") && !strings.Contains(text, "lock") {
		t.Errorf("the second process does not say why:\n%s", text)
	}
	mustOffer(t, w, "first-goes-on", "a@one.test")
	w.Rest(t, 20*time.Second)
	w.Check(t)
	// After a kill the directory is free again at once: the lock dies with its holder.
	w.Kill()
	w.Start(t)
	mustOffer(t, w, "after-kill", "a@one.test")
	w.Rest(t, 20*time.Second)
	w.Check(t)
	w.Stop(t)
}

// TestFaultDrain is PF-12: SIGTERM with many sessions. Those in the middle of a
// message finish it and get their 250, the others are told 421 4.3.2; the process
// ends with 0 in its time and nothing is lost.
func TestFaultDrain(t *testing.T) {
	t.Parallel()
	w := relayproc.New(t, 43, relayproc.Options{Binary: binary(t)})
	w.Setup(t)
	const idle, busy = 100, 20
	idlers := make([]*ledger.Client, idle)
	for i := range idlers {
		c, err := ledger.Dial(w.Login)
		must(t, err)
		defer c.Close()
		idlers[i] = c
	}
	started, goOn := make(chan error, busy), make(chan struct{})
	var wg sync.WaitGroup
	for i := range busy {
		wg.Go(func() { slowMessage(w, fmt.Sprintf("drain-%02d", i), started, goOn) })
	}
	for range busy {
		must(t, <-started)
	}
	before := time.Now()
	must(t, w.Process().Signal(syscall.SIGTERM))
	// New connections are refused or told to go away, from now on.
	until(t, "no new sessions", func() bool {
		_, err := ledger.Dial(w.Login)
		return err != nil
	})
	time.Sleep(300 * time.Millisecond)
	close(goOn)
	wg.Wait()
	for i, c := range idlers {
		r, err := c.Do("NOOP", 250, "NOOP")
		var refused *ledger.ErrReply
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Reply.String(), "421 4.3.2") {
			t.Errorf("idle session %d: got %v %v, want 421 4.3.2", i, r, err)
			break
		}
	}
	select {
	case <-w.Process().Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the relay goes on 30 s after SIGTERM")
	}
	if code := w.Process().ExitCode(); code != 0 {
		t.Errorf("the relay ended with %d, want 0\n%s", code, w.LogTail(3000))
	}
	t.Logf("drained in %v", time.Since(before))
	if n := w.Ledger.Acked(); n != busy {
		t.Errorf("%d of %d messages under way were acknowledged: %s", n, busy, w.Ledger)
	}
	w.Start(t)
	w.Rest(t, 30*time.Second)
	w.Check(t)
	w.Stop(t)
}

// slowMessage hands in one message and waits in the middle of its text.
func slowMessage(w *relayproc.World, id string, started chan<- error, goOn <-chan struct{}) {
	c, err := ledger.Dial(w.Login)
	if err != nil {
		started <- err
		return
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	w.Ledger.OfferSlowly(c, ledger.Entry{ID: id, Recipients: []string{id + "@one.test"}}, w.From, ledger.Body(rng, 5000), func() {
		started <- nil
		<-goOn
	})
}

// TestFaultPoison is PF-11: a message whose attempt is under way at three deaths
// of the process is taken out of the queue, said so, and nothing else is held up.
// A person's word brings it on its way.
func TestFaultPoison(t *testing.T) {
	t.Parallel()
	hanging := make(chan string, 100)
	var released switchable
	w := relayproc.New(t, 44, relayproc.Options{Binary: binary(t), Judge: func(step ledger.Step, id, _ string) ledger.Verdict {
		if step == ledger.AtEnd && id == "poison" && !released.open.Load() {
			hanging <- id
			return ledger.Verdict{Hang: true}
		}
		return ledger.Verdict{}
	}})
	w.Setup(t)
	e := mustOffer(t, w, "poison", "p@one.test")
	for n := range 3 {
		select {
		case <-hanging:
		case <-time.After(30 * time.Second):
			t.Fatalf("no attempt of the poison message before kill %d: %+v", n+1, w.Queue(t))
		}
		mustOffer(t, w, fmt.Sprintf("beside-%d", n), "b@two.test")
		w.Kill()
		w.Start(t)
	}
	until(t, "quarantine", func() bool {
		q := w.Queue(t)
		return len(q) == 1 && q[0].Message.ID == e.QueueID && q[0].Message.State == "quarantined"
	})
	var told bool
	for _, ev := range w.Events(t) {
		told = told || ev.Kind == "quarantined" && ev.Message == e.QueueID
	}
	if !told {
		t.Error("no event says that the message was quarantined")
	}
	// Still so after another restart, without another attempt.
	w.Kill()
	w.Start(t)
	select {
	case <-hanging:
		t.Error("a quarantined message was tried again")
	case <-time.After(2 * time.Second):
	}
	released.open.Store(true)
	w.MustCLI(t, "queue", "release", e.QueueID)
	w.Rest(t, 30*time.Second)
	w.Check(t)
	w.Stop(t)
}

// TestFaultDescriptors is RX-10: no file descriptors left. Sessions that are
// there go on, the process does not spin, and it takes up again by itself.
func TestFaultDescriptors(t *testing.T) {
	w := relayproc.New(t, 45, relayproc.Options{Binary: binary(t)})
	w.Setup(t)
	good, err := ledger.Dial(w.Login)
	must(t, err)
	defer good.Close()
	pid, err := w.Process().PID()
	must(t, err)
	var old unix.Rlimit
	must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
	tight := unix.Rlimit{Cur: uint64(openFiles(t, pid)) + 4, Max: old.Max}
	must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &tight, nil))
	var crowd []net.Conn
	for range 60 {
		// The kernel completes connections that the relay cannot accept.
		c, err := net.DialTimeout("tcp", w.Login.Addr, 2*time.Second)
		if err != nil {
			break
		}
		crowd = append(crowd, c)
	}
	until(t, "no descriptors left", func() bool { return openFiles(t, pid) >= int(tight.Cur) })
	before := cpuTime(t, pid)
	if !ledger.Offer(good, w.Ledger, ledger.Entry{ID: "tight", Recipients: []string{"t@one.test"}}, w.From, []byte("a line\r\n")) || w.Ledger.Acked() != 1 {
		t.Errorf("a session that was there before cannot hand in mail: %+v", w.Ledger.Entries())
	}
	time.Sleep(2 * time.Second)
	if used := cpuTime(t, pid) - before; used > time.Second {
		t.Errorf("the relay used %v of CPU in 2 s without descriptors", used)
	}
	for _, c := range crowd {
		c.Close()
	}
	must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil))
	until(t, "new sessions", func() bool {
		c, err := ledger.Dial(w.Login)
		if err == nil {
			c.Quit()
		}
		return err == nil
	})
	mustOffer(t, w, "loose", "l@two.test")
	w.Rest(t, 30*time.Second)
	w.Check(t)
	w.Stop(t)
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	return len(entries)
}

// cpuTime is the CPU that a process has used, in steps of 10 ms.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	// The command's name may hold spaces; what follows it does not (proc(5)).
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}
