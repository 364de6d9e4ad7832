package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
)

func txtAnswer(ttl time.Duration, s string) *answer { return &answer{txt: []string{s}, ttl: ttl} }

func TestCacheKeepsForTTL(t *testing.T) {
	for _, tt := range []struct {
		name string
		a    *answer
		err  error
		want time.Duration // how long it is kept
	}{
		{"its TTL", txtAnswer(40*time.Second, "x"), nil, 40 * time.Second},
		{"no TTL: a moment", txtAnswer(0, "x"), nil, minTTL},
		{"a denial", &answer{denial: ErrNotFound, ttl: 30 * time.Second}, nil, 30 * time.Second},
		{"a denial without SOA", &answer{denial: ErrNoData}, nil, 0},
		{"a failure", nil, ErrTemporary, failureTTL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				c := newCache(func(context.Context, question) (*answer, error) {
					asked++
					if tt.err != nil {
						return nil, tt.err
					}
					return tt.a.clone(), nil
				}, 1<<20, 4)
				q := question{"a.example.test", mdns.TypeTXT}
				get := func(want int) {
					t.Helper()
					a, err := c.get(context.Background(), q)
					if !errors.Is(err, tt.err) || (a == nil) != (tt.err != nil) {
						t.Fatalf("got %v, %v", a, err)
					}
					if asked != want {
						t.Errorf("asked %d times, want %d", asked, want)
					}
				}
				get(1)
				if tt.want > 0 {
					time.Sleep(tt.want - time.Nanosecond)
					get(1)
					time.Sleep(time.Nanosecond)
				}
				get(2)
				c.flush()
				get(3)
			})
		})
	}
}

func TestCacheAnswersBelongToTheCaller(t *testing.T) {
	c := newCache(func(context.Context, question) (*answer, error) {
		return &answer{
			ttl: time.Minute, txt: []string{"x"}, mx: []MX{{Host: "x"}}, addrs: []netip.Addr{netip.IPv6Loopback()},
			names: []string{"x"}, tlsa: []TLSA{{Data: []byte("x")}},
		}, nil
	}, 1<<20, 4)
	for range 2 {
		a, err := c.get(context.Background(), question{"a.example.test", mdns.TypeTXT})
		if err != nil || a.txt[0] != "x" || a.mx[0].Host != "x" || a.names[0] != "x" || a.tlsa[0].Data[0] != 'x' || a.addrs[0] != netip.IPv6Loopback() {
			t.Fatalf("got %+v, %v", a, err)
		}
		a.txt[0], a.mx[0].Host, a.names[0], a.tlsa[0].Data[0], a.addrs[0] = "y", "y", "y", 'y', netip.Addr{}
	}
}

func TestCacheIsBounded(t *testing.T) {
	var asked atomic.Int32
	c := newCache(func(_ context.Context, q question) (*answer, error) {
		asked.Add(1)
		if strings.HasPrefix(q.name, "fail") {
			return nil, ErrTemporary
		}
		return txtAnswer(time.Minute, strings.Repeat("x", 1000)), nil
	}, 20_000, 4)
	get := func(name string) {
		t.Helper()
		_, _ = c.get(context.Background(), question{name, mdns.TypeTXT})
	}
	get("first.example.test")
	for i := range 200 {
		get(fmt.Sprintf("n%d.example.test", i))
		get(fmt.Sprintf("fail%d.example.test", i))
		get("first.example.test") // stays, for it is used
		if c.size > c.max || c.recent.Len() != len(c.entries) {
			t.Fatalf("holds %d octets in %d entries, %d listed", c.size, len(c.entries), c.recent.Len())
		}
	}
	if n := asked.Load(); n != 401 {
		t.Errorf("asked %d times, want 401", n)
	}
	sum := 0
	for _, el := range c.entries {
		sum += el.Value.(*entry).size
	}
	if sum != c.size {
		t.Errorf("counts %d octets, holds %d", c.size, sum)
	}
	c = newCache(func(context.Context, question) (*answer, error) {
		asked.Add(1)
		return txtAnswer(time.Minute, "x"), nil
	}, -1, 4)
	asked.Store(0)
	get("a.example.test")
	get("a.example.test")
	if asked.Load() != 2 || len(c.entries) != 0 {
		t.Errorf("a cache that is off asked %d times and holds %d", asked.Load(), len(c.entries))
	}
}

func TestCacheSharesLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, called atomic.Int32
		c := newCache(func(ctx context.Context, _ question) (*answer, error) {
			asked.Add(1)
			select {
			case <-time.After(time.Second):
				return txtAnswer(time.Minute, "x"), nil
			case <-ctx.Done():
				called.Add(1)
				return nil, ctx.Err()
			}
		}, 1<<20, 4)
		q := question{"a.example.test", mdns.TypeTXT}
		first, cancel := context.WithCancel(context.Background())
		got := make(chan error, 11)
		go func() { _, err := c.get(first, q); got <- err }()
		synctest.Wait()
		for range 10 {
			go func() { _, err := c.get(context.Background(), q); got <- err }()
		}
		synctest.Wait()
		cancel() // the one that began it leaves; the others still get their answer
		if err := <-got; !errors.Is(err, ErrTemporary) || !errors.Is(err, context.Canceled) {
			t.Errorf("the caller that gave up got %v", err)
		}
		for range 10 {
			if err := <-got; err != nil {
				t.Error(err)
			}
		}
		if asked.Load() != 1 || called.Load() != 0 {
			t.Errorf("asked %d times, called off %d", asked.Load(), called.Load())
		}
		// A look-up that nobody waits for is called off, and not kept as a failure.
		q.name = "b.example.test"
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := c.get(ctx, q); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if called.Load() != 1 || len(c.flights) != 0 {
			t.Errorf("called off %d, %d still under way", called.Load(), len(c.flights))
		}
		if _, err := c.get(context.Background(), q); err != nil {
			t.Error(err)
		}
	})
}

func TestCacheBoundsLookupsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		c := newCache(func(context.Context, question) (*answer, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return txtAnswer(time.Minute, "x"), nil
		}, 1<<20, 3)
		for i := range 10 {
			go c.get(context.Background(), question{fmt.Sprintf("n%d.example.test", i), mdns.TypeTXT})
		}
		synctest.Wait()
		if most.Load() != 3 {
			t.Errorf("%d at once", most.Load())
		}
		time.Sleep(10 * time.Second)
	})
}

func TestCacheSurvivesPanic(t *testing.T) {
	c := newCache(func(context.Context, question) (*answer, error) { panic("hostile") }, 1<<20, 1)
	for range 2 {
		if _, err := c.get(context.Background(), question{"a.example.test", mdns.TypeTXT}); !errors.Is(err, ErrTemporary) {
			t.Errorf("got %v", err)
		}
		c.flush()
	}
}

// The octets of a response are the server's to choose: none of them may make
// reading fail, or give more than the caps.
func FuzzRead(f *testing.F) {
	seed := new(mdns.Msg)
	seed.SetQuestion("example.test.", mdns.TypeMX)
	seed.Response = true
	for _, s := range []string{"example.test. 1 IN MX 1 a.test.", "example.test. 1 IN CNAME b.test.", `example.test. 1 IN TXT "a\"b"`, "example.test. 1 IN TLSA 3 1 1 ab"} {
		rr, err := mdns.NewRR(s)
		if err != nil {
			f.Fatal(err)
		}
		seed.Answer = append(seed.Answer, rr)
		wire, err := seed.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := new(mdns.Msg)
		if r.Unpack(wire) != nil {
			return
		}
		for _, typ := range []uint16{mdns.TypeMX, mdns.TypeA, mdns.TypeAAAA, mdns.TypeTXT, mdns.TypeCNAME, mdns.TypePTR, mdns.TypeTLSA} {
			a, next, _, err := read(question{"example.test", typ}, r, 0)
			if err != nil {
				continue
			}
			if next == "" && a.denial == nil && a.empty() {
				t.Fatalf("%d: neither value nor denial", typ)
			}
			if len(a.mx) > maxMX || len(a.addrs) > maxAddrs || len(a.names) > maxNames || len(a.tlsa) > maxTLSA || a.ttl < 0 || a.ttl > maxTTL {
				t.Fatalf("%d: over the caps: %+v", typ, a)
			}
			for _, m := range a.mx {
				if _, ok := hostname(m.Host); !ok && m.Host != "." {
					t.Fatalf("MX host %q", m.Host)
				}
			}
		}
	})
}

func FuzzNormal(f *testing.F) {
	for _, s := range []string{"example.test", "EXAMPLE.test.", "..", "", strings.Repeat("a.", 127), "_25._tcp.a", `a\.b`, "ü.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := normal(s)
		if err != nil {
			if !errors.Is(err, ErrBadName) || !errors.Is(err, ErrNotFound) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if again, err := normal(n); err != nil || again != n {
			t.Fatalf("%q: %q, %v", n, again, err)
		}
		m := new(mdns.Msg)
		m.SetQuestion(n+".", mdns.TypeA)
		wire, err := m.Pack()
		if err != nil {
			t.Fatalf("%q cannot be sent: %v", n, err)
		}
		if err := m.Unpack(wire); err != nil || !owns(n, m.Question[0].Name) {
			t.Fatalf("%q came back as %q, %v", n, m.Question[0].Name, err)
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", `\`, `"`, `\065`, "\x00\xff", `a\"b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescape(escape(s)); got != s {
			t.Fatalf("%q became %q", s, got)
		}
		unescape(s)
	})
}
