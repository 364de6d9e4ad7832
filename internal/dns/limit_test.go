package dns

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(10)
	now := time.Unix(1e9, 0)
	count := func(addr string, n int, at time.Duration) (sent, dropped, slipped int) {
		for range n {
			switch l.take(netip.MustParseAddr(addr), now.Add(at)) {
			case send:
				sent++
			case drop:
				dropped++
			case slip:
				slipped++
			}
		}
		return
	}
	for _, tt := range []struct {
		what, addr             string
		n                      int
		at                     time.Duration
		sent, dropped, slipped int
	}{
		{"a second's worth, then every second one slips", "192.0.2.1", 30, 0, 10, 10, 10},
		{"the same network", "192.0.2.200", 2, 0, 0, 1, 1},
		{"the same in IPv6 form", "::ffff:192.0.2.7", 2, 0, 0, 1, 1},
		{"another network", "192.0.3.1", 10, 0, 10, 0, 0},
		{"a tenth of a second later", "192.0.2.1", 3, 100 * time.Millisecond, 1, 1, 1},
		{"a minute later no more than a second's worth", "192.0.2.1", 20, time.Minute, 10, 5, 5},
		{"the clock steps back", "192.0.2.1", 2, 0, 0, 1, 1},
		{"IPv6", "2001:db8:0:100::1", 12, 0, 10, 1, 1},
		{"the same /56", "2001:db8:0:1ff::1", 2, 0, 0, 1, 1},
		{"another /56", "2001:db8:0:200::1", 10, 0, 10, 0, 0},
	} {
		sent, dropped, slipped := count(tt.addr, tt.n, tt.at)
		if sent != tt.sent || dropped != tt.dropped || slipped != tt.slipped {
			t.Errorf("%s: sent %d, dropped %d, slipped %d", tt.what, sent, dropped, slipped)
		}
	}
}

// More networks than the table holds: its size is fixed, and one that is kept
// busy stays limited all the same.
func TestLimiterIsBounded(t *testing.T) {
	t.Parallel()
	l := newLimiter(10)
	if size := unsafe.Sizeof(*l); size > 5<<20 {
		t.Errorf("the table takes %d octets", size)
	}
	now := time.Unix(1e9, 0)
	victim := netip.MustParseAddr("192.0.2.1")
	sent := 0
	for i := range 120_000 {
		if i%3 == 0 {
			if l.take(victim, now) == send {
				sent++
			}
		}
		l.take(netip.AddrFrom4([4]byte{byte(11 + i>>16), byte(i >> 8), byte(i), 1}), now)
		now = now.Add(time.Microsecond)
	}
	if sent > 20 { // 10, and 1 for the 0.12 s that this is
		t.Errorf("the victim was sent %d answers", sent)
	}
}
