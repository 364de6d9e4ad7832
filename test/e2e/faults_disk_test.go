package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
	"postern/internal/testkit/ledger/relayproc"
)

// TestFaultDiskFull is RX-08 and PF-06: a disk that fills up under load, once with
// the watermark in the way and once down to the last octet.
func TestFaultDiskFull(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a while")
	}
	for name, minFree := range map[string]string{"RX-08 watermark": "4MiB", "PF-06 last octet": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			diskFull(t, minFree)
		})
	}
}

func diskFull(t *testing.T, minFree string) {
	disk := smallDisk(t, 24)
	gate := &switchable{}
	w := relayproc.New(t, 31, relayproc.Options{Binary: binary(t), DataDir: filepath.Join(disk, "data"), Judge: gate.judge,
		Config: fmt.Sprintf("[store]\nmin_free = %q\n", minFree)})
	w.Setup(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load := w.Load(4, 0)
	load.Sizes = []int{2000, 50_000, 300_000}
	ended := make(chan error, 1)
	go func() { ended <- load.Run(ctx) }()

	refused := func(e ledger.Entry) bool { return e.Phase == ledger.Refused }
	until(t, "30 refusals", func() bool { return count(w.Ledger, refused) >= 30 })
	for _, e := range w.Ledger.Entries() {
		if refused(e) && !strings.Contains(e.Reply, "452 4.3.1") {
			t.Errorf("%s was refused with %q, want 452 4.3.1", e.ID, e.Reply)
		}
	}
	// Deliveries go on while the disk is full, as far as they need no room; what
	// they cannot record they must not do twice (the ledger counts no kill here).
	gate.open.Store(true)
	time.Sleep(500 * time.Millisecond)

	// With room again the relay goes on by itself.
	before := time.Now()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	until(t, "messages acknowledged with room again", func() bool {
		return count(w.Ledger, func(e ledger.Entry) bool { return e.Phase == ledger.Acked && e.ReplyAt.After(before) }) >= 10
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.Rest(t, 60*time.Second)
	r := w.Check(t)
	t.Logf("%s; %d refused", &r, count(w.Ledger, refused))
	w.Stop(t)
}

// TestFaultDiskReadOnly is PF-07: from one moment on every change of a file fails
// as on a disk that turned read-only. Nothing is acknowledged after it, nothing
// is delivered over and over, and the restart on the repaired disk loses nothing.
func TestFaultDiskReadOnly(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a while")
	}
	brokenDisk(t, "pwrite64,ftruncate,fsync,fdatasync", "error=EROFS")
}

// TestFaultSyncFails is PF-05: a sync fails once. It is not tried again: what was
// not certain then is refused, and so is all that follows, until the relay was
// started anew.
func TestFaultSyncFails(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a while")
	}
	brokenDisk(t, "fsync,fdatasync", "error=EIO:when=1")
}

func brokenDisk(t *testing.T, calls, how string) {
	seed := int64(32)
	w := relayproc.New(t, seed, relayproc.Options{Binary: binary(t), Judge: relayproc.LazySink(seed)})
	w.Setup(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	load := w.Load(4, 0)
	load.Pause = 10 * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- load.Run(ctx) }()
	until(t, "messages acknowledged", func() bool { return w.Ledger.Acked() >= 30 })

	record, detach := inject(t, w, calls, how)
	var broken time.Time
	until(t, "a failed call", func() bool {
		b, _ := os.ReadFile(record)
		broken = firstInjected(t, string(b))
		return !broken.IsZero()
	})
	time.Sleep(2 * time.Second) // clients go on offering all the while
	acked := 0
	for _, e := range w.Ledger.Entries() {
		// The reply to a message whose commit had returned may still be on its way
		// when another call fails.
		if e.Phase == ledger.Acked && e.ReplyAt.After(broken.Add(500*time.Millisecond)) {
			t.Errorf("%s was acknowledged %v after the disk broke", e.ID, e.ReplyAt.Sub(broken))
		}
		if e.Phase == ledger.Refused && permanent(e.Reply) {
			t.Errorf("%s was refused for good: %s", e.ID, e.Reply)
		}
		if e.ReplyAt.Before(broken) {
			acked++
		}
	}
	// The relay either still answers, with 4yz, or has stopped with an error.
	select {
	case <-w.Process().Done():
		if w.Process().ExitCode() == 0 {
			t.Error("the relay ended with 0 after its disk broke")
		}
	default:
	}
	// Whether a commit that failed is on the disk, nobody can tell: its client was
	// refused for now and offers the message again, perhaps for a second time.
	w.Ledger.Doubt(broken.Add(-time.Second), broken.Add(500*time.Millisecond))
	w.Kill()
	detach()
	must(t, w.Launch(nil))
	must(t, w.WaitReady(30*time.Second))
	time.Sleep(300 * time.Millisecond)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.Rest(t, 60*time.Second)
	r := w.Check(t)
	t.Logf("%s; %d answered before the disk broke", &r, acked)
	w.Stop(t)
}

// firstInjected finds the moment of the first call that strace made fail.
func firstInjected(t *testing.T, record string) time.Time {
	t.Helper()
	for line := range strings.Lines(record) {
		if !strings.Contains(line, "(INJECTED)") {
			continue
		}
		var pid int
		var sec, ns int64
		if _, err := fmt.Sscanf(line, "%d %d.%d", &pid, &sec, &ns); err == nil {
			return time.Unix(sec, ns)
		}
	}
	return time.Time{}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
