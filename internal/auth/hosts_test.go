package auth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
)

// slowDNS is a resolver whose answers the test changes.
type slowDNS struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	err   error
	slow  time.Duration
	asked map[string]int
	most  int // look-ups at once
	busy  int
}

func (d *slowDNS) Addr(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	d.mu.Lock()
	d.asked[host]++
	d.busy++
	d.most = max(d.most, d.busy)
	slow := d.slow
	d.mu.Unlock()
	defer func() { d.mu.Lock(); d.busy--; d.mu.Unlock() }()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return nil, false, fmt.Errorf("%w: %w", dns.ErrTemporary, ctx.Err())
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil, false, d.err
	}
	if a, ok := d.addrs[host]; ok {
		return slices.Clone(a), false, nil
	}
	return nil, false, dns.ErrNotFound
}

// count is how often a name was asked for.
func (d *slowDNS) count(host string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[host]
}

func (d *slowDNS) set(err error, host string, addrs ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if host == "" {
		return
	}
	delete(d.addrs, host)
	for _, a := range addrs {
		d.addrs[host] = append(d.addrs[host], netip.MustParseAddr(a))
	}
}

// inHosts runs f in a bubble with a Hosts that is running.
func inHosts(t *testing.T, f func(t *testing.T, h *Hosts, d *slowDNS)) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDNS{addrs: map[string][]netip.Addr{}, asked: map[string]int{}}
		d.set(nil, "office.test", home, "2001:db8::7")
		h := NewHosts(d, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		f(t, h, d)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestHostsFollowTheDNS(t *testing.T) {
	inHosts(t, func(t *testing.T, h *Hosts, d *slowDNS) {
		has := func(addr string) bool { return h.Contains(t.Context(), "Office.Test.", netip.MustParseAddr(addr)) }
		if !has(home) || !has("::ffff:"+home) || !has("2001:db8::7") || has("192.0.2.8") {
			t.Error("not what the DNS says")
		}
		d.set(nil, "office.test", "192.0.2.8")
		time.Sleep(61 * time.Second)
		if has(home) || !has("192.0.2.8") {
			t.Error("a minute later still the old address")
		}
		d.set(dns.ErrTemporary, "")
		time.Sleep(23 * time.Hour)
		if !has("192.0.2.8") {
			t.Error("the last good answer does not outlive a broken DNS")
		}
		time.Sleep(2 * time.Hour)
		if has("192.0.2.8") {
			t.Error("it outlives it for ever")
		}
		d.set(nil, "")
		time.Sleep(2 * time.Minute)
		if !has("192.0.2.8") {
			t.Error("not back")
		}
		d.set(dns.ErrNotFound, "")
		time.Sleep(6 * time.Minute)
		if has("192.0.2.8") {
			t.Error("a name that the DNS denies still lets in")
		}
		if has("192.0.2.8") || d.count("Office.Test.") > 0 {
			t.Error("one name is kept in two spellings")
		}
	})
}

// A name is asked for every one to five minutes while it is in use, and not at all after.
func TestHostsAreNotAskedTooOften(t *testing.T) {
	inHosts(t, func(t *testing.T, h *Hosts, d *slowDNS) {
		for range 3600 {
			h.Contains(t.Context(), "office.test", netip.MustParseAddr(home))
			time.Sleep(time.Second)
		}
		if n := d.count("office.test"); n < 12 || n > 20 {
			t.Errorf("asked %d times in an hour", n)
		}
		time.Sleep(25 * time.Hour)
		n := d.count("office.test")
		time.Sleep(24 * time.Hour)
		if d.count("office.test") != n {
			t.Error("asked for although nobody uses it")
		}
	})
}

// The first login with a name waits less than every refusal takes, also when many
// come or there are many names, and no later login waits at all.
func TestHostsDoNotHoldLoginsUp(t *testing.T) {
	inHosts(t, func(t *testing.T, h *Hosts, d *slowDNS) {
		d.mu.Lock()
		d.slow = time.Hour
		d.mu.Unlock()
		start := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if h.Contains(t.Context(), "office.test", netip.MustParseAddr(home)) {
					t.Error("let in without an answer")
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d > hostFirstWait {
			t.Errorf("waited %v", d)
		}
		if d.count("office.test") != 1 {
			t.Errorf("asked %d times at once", d.count("office.test"))
		}
		w := newWorld(t, func(c *Config) { c.Hosts = h })
		key, _ := w.apiKey(t, func(k *relay.Key) { k.Hosts = []string{"a.test", "b.test", "c.test", "d.test"} })
		start = time.Now()
		w.expect(t, "four new names", w.plain("apikey", key.Text()), relay.LoginNetwork, ReplyRefused)
		if d := time.Since(start); d >= minHold {
			t.Errorf("waited %v", d)
		}
		time.Sleep(hostWait)
		start = time.Now()
		h.Contains(t.Context(), "office.test", netip.MustParseAddr(home))
		if d := time.Since(start); d != 0 {
			t.Errorf("a later login waits %v", d)
		}
	})
}

func TestHostsAreBounded(t *testing.T) {
	inHosts(t, func(t *testing.T, h *Hosts, d *slowDNS) {
		for i := range hostsMost + 100 {
			h.Contains(t.Context(), fmt.Sprintf("h%d.test", i), netip.MustParseAddr(home))
			if i%1000 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		h.mu.Lock()
		n := len(h.names)
		h.mu.Unlock()
		if n > hostsMost {
			t.Errorf("%d names", n)
		}
		h.Expect("one.test", "two.test")
		d.mu.Lock()
		d.slow, d.most = time.Second, 0
		d.mu.Unlock()
		time.Sleep(2 * time.Minute)
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.most > hostLookups {
			t.Errorf("%d look-ups at once", d.most)
		}
	})
}
