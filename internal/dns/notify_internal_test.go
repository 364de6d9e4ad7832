package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// told records when each NOTIFY went out, in the bubble's time.
type told struct {
	begin time.Time
	mu    sync.Mutex
	at    []string
}

func (l *told) add(origin string, to netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = append(l.at, fmt.Sprintf("%v %s %d", time.Since(l.begin), origin, to.Port()))
}

func (l *told) list() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.at)
	slices.Sort(out)
	return out
}

func TestNotifyGathersChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &told{begin: time.Now()}
		n := newNotifier(func(_ context.Context, origin string, to netip.AddrPort) error {
			log.add(origin, to)
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		to := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")}
		wg.Go(func() {
			n.run(ctx, to, func(origin string, to netip.AddrPort, err error) { t.Errorf("%s %s: %v", origin, to, err) })
		})
		for range 1000 { // an import
			n.changed("a.test")
			time.Sleep(10 * time.Millisecond)
		}
		n.changed("b.test") // 10 s
		time.Sleep(time.Minute)
		n.changed("a.test")
		time.Sleep(time.Minute)
		cancel()
		wg.Wait()
		want := []string{"1m11s a.test 1", "1m11s a.test 2", "11s a.test 1", "11s a.test 2", "11s b.test 1", "11s b.test 2", "1s a.test 1", "1s a.test 2", "6s a.test 1", "6s a.test 2"}
		slices.Sort(want)
		if got := log.list(); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

func TestNotifyInsists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &told{begin: time.Now()}
		n := newNotifier(func(ctx context.Context, origin string, to netip.AddrPort) error {
			log.add(origin, to)
			if to.Port() == 1 && len(log.list()) < 3 {
				<-ctx.Done() // silence
				return ctx.Err()
			}
			if to.Port() == 2 {
				return errors.New("connection refused") // at once
			}
			return nil
		})
		var failed []string
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			n.run(ctx, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:2")}, func(origin string, to netip.AddrPort, err error) {
				failed = append(failed, fmt.Sprintf("%v %s %s", time.Since(log.begin), origin, to))
			})
		})
		n.changed("a.test")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		want := []string{"15s a.test 2", "1s a.test 2", "31s a.test 2", "3s a.test 2", "1m3s a.test 2", "7s a.test 2"}
		slices.Sort(want)
		if got := log.list(); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		if want := []string{"2m7s a.test 192.0.2.1:2"}; !slices.Equal(failed, want) {
			t.Errorf("gave up: %q", failed)
		}
		// A newer change takes the place of an older one; the end ends all.
		n.changed("a.test")
		time.Sleep(2 * time.Second)
		n.changed("a.test")
		time.Sleep(10 * time.Second)
		cancel()
		wg.Wait()
		if len(failed) != 1 {
			t.Errorf("gave up: %q", failed)
		}
	})
}
