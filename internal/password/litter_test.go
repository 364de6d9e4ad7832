package password

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

// TestHashesLeaveNoLitter: many logins, one after the other, do not take more memory
// than twice as much as those at one time, whatever the collector waits for.
func TestHashesLeaveNoLitter(t *testing.T) { // not parallel: the collector is everybody's
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const atOnce, each = 2, 8 << 20
	h := New(Config{Params: Params{Memory: each >> 10, Time: 1, Threads: 1}, AtOnce: atOnce, Waiting: 100})
	runtime.GC()
	var before, m runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	for range 6 {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if _, _, err := h.Verify(context.Background(), "", "four words in a row"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	}
	// 36 hashes left 288 MiB.
	if used := int64(most) - int64(before.HeapAlloc); used > (2*atOnce+1)*each {
		t.Errorf("%d MiB are in use after hashes of %d MiB, %d at once", used>>20, each>>20, atOnce)
	}
}
