package deliver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
)

// warmupShelf keeps warm-ups as the store does.
type warmupShelf struct {
	mu     sync.Mutex
	rows   map[netip.Addr]relay.WarmupState
	writes int
	fail   error
}

func (s *warmupShelf) Warmups(context.Context) (out []relay.WarmupState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows {
		out = append(out, r)
	}
	return out, s.fail
}

func (s *warmupShelf) PutWarmups(_ context.Context, all []relay.WarmupState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.writes++
	for _, r := range all {
		if old, ok := s.rows[r.Address]; ok && old.Since.Equal(r.Since) {
			s.rows[r.Address] = r
		}
	}
	return nil
}

// warmClock is a clock that tests move.
type warmClock struct{ at time.Time }

func (c *warmClock) now() time.Time { return c.at }

var (
	newAddr = netip.MustParseAddr("203.0.113.7")
	warmDay = time.Date(2026, 11, 1, 9, 30, 0, 0, time.UTC)
)

// openWarmups makes counters over a shelf on which newAddr is in warm-up.
func openWarmups(t testing.TB, shelf *warmupShelf, clock *warmClock, clean bool) *Warmups {
	t.Helper()
	if shelf.rows == nil {
		shelf.rows = map[netip.Addr]relay.WarmupState{newAddr: {Address: newAddr, Warmup: relay.Warmup{Since: warmDay}}}
	}
	w, err := NewWarmups(context.Background(), WarmupConfig{Store: shelf, Clean: clean, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Keep(context.Background()); err != nil {
		t.Fatal(err)
	}
	return w
}

// takeOne is how many of n a site gets.
func takeOne(w *Warmups, site string, n int) int {
	got, warm := w.take(newAddr, relay.Warmup{Since: warmDay}, site, n)
	if warm {
		return -1
	}
	return got
}

func TestWarmupsByHourAndSite(t *testing.T) {
	t.Parallel()
	clock := &warmClock{warmDay}
	w := openWarmups(t, &warmupShelf{}, clock, true)
	const hour, day = time.Hour, 24 * time.Hour
	for i, c := range []struct {
		move time.Duration
		site string
		ask  int
		want int
	}{
		{0, "a", 15, 15},
		{0, "a", 15, 5},                // what is left
		{0, "a", 1, 0},                 // the 21st
		{0, "b", 1, 1},                 // another site is another counter
		{hour, "a", 25, 20},            // the next hour
		{-30 * time.Minute, "a", 5, 0}, // a clock that goes back a little gives nothing again
		{-3 * day, "a", 5, 5},          // one that was far wrong does not stop the mail
		{3*day + 30*time.Minute, "a", 30, 20},
		{day, "a", 30, 28},
		{11 * day, "a", 2000, 1134},
		{28 * day, "a", 1 << 30, 14000754},
		{day, "a", 1 << 30, -1}, // warm
	} {
		clock.at = clock.at.Add(c.move)
		if got := takeOne(w, c.site, c.ask); got != c.want {
			t.Errorf("step %d at %s: %d of %d to %s, want %d", i, clock.at, got, c.ask, c.site, c.want)
		}
	}
}

// Never above the allowance, whatever is asked, given back and counted at once.
func TestWarmupsNeverAbove(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		clock := &warmClock{warmDay.Add(time.Duration(r.IntN(30*24)) * time.Hour)}
		w := openWarmups(t, &warmupShelf{}, clock, true)
		type key struct {
			hour int64
			site string
		}
		sent := map[key]int{}
		for range 4000 {
			clock.at = clock.at.Add(time.Duration(r.IntN(20)) * time.Second)
			site := fmt.Sprint("s", r.IntN(3))
			n := 1 + r.IntN(50)
			got := takeOne(w, site, n)
			if got <= 0 {
				continue
			}
			g := &grant{addr: newAddr, up: relay.Warmup{Since: warmDay}, site: site, hour: hourOf(clock.at), n: got, used: r.IntN(4) > 0}
			if g.used {
				sent[key{g.hour, site}] += got
			}
			if r.IntN(10) == 0 {
				clock.at = clock.at.Add(time.Hour)
			}
			w.end(g)
		}
		for k, n := range sent {
			last := time.Unix((k.hour+1)*3600-1, 0)
			if most := (relay.Warmup{Since: warmDay}).Allowance(last); n > most {
				t.Errorf("seed %d: %d to %s in hour %d, allowed %d", seed, n, k.site, k.hour, most)
			}
		}
	}
}

// A restart forgets nothing that was written, and a crash never lets twice the
// allowance through, however often it happens and however little was written.
func TestWarmupsRestart(t *testing.T) {
	t.Parallel()
	clock := &warmClock{warmDay}
	shelf := &warmupShelf{}
	w := openWarmups(t, shelf, clock, true)
	if got := takeOne(w, "a", 13); got != 13 {
		t.Fatal(got)
	}
	if err := w.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = openWarmups(t, shelf, clock, true)
	if got := takeOne(w, "a", 20); got != 7 {
		t.Errorf("after a clean end: %d, want 7", got)
	}
	// After a crash half of the rest is left, and a clean restart takes it not back.
	w = openWarmups(t, shelf, clock, false)
	if got := takeOne(w, "b", 5); got != 5 {
		t.Errorf("after a crash: %d, want 5", got)
	}
	if err := w.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = openWarmups(t, shelf, clock, true)
	if got := takeOne(w, "b", 20); got != 7 { // (20 - 5) / 2
		t.Errorf("after a crash and a clean end: %d, want 7", got)
	}
	for _, site := range []string{"a", "never heard of"} {
		shelf, sum := &warmupShelf{}, 0
		for crash := range 30 { // nothing but what a start writes is ever written
			w := openWarmups(t, shelf, clock, crash == 0)
			for {
				n := takeOne(w, site, 1)
				if n == 0 {
					break
				}
				sum += n
			}
		}
		if sum >= 2*relay.WarmupFirst || sum <= relay.WarmupFirst {
			t.Errorf("%s: %d recipients over 30 crashes in one hour, allowed are %d", site, sum, relay.WarmupFirst)
		}
		clock.at = clock.at.Add(time.Hour)
		if got := takeOne(openWarmups(t, shelf, clock, true), site, 20); got != 20 {
			t.Errorf("the next hour has %d", got)
		}
	}
}

// A day that went badly is followed by one without growth, after a restart too.
func TestWarmupsPause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		sent, bad int
		next      int
	}{
		{"good", 1000, 0, 28},
		{"a few refusals", 20, 9, 28},
		{"many, among many more", 1000, 50, 28},
		{"many", 1000, 51, 20},
		{"nothing but refusals", 0, 10, 20},
	} {
		clock := &warmClock{warmDay}
		shelf := &warmupShelf{}
		w := openWarmups(t, shelf, clock, true)
		for i := range c.sent {
			if takeOne(w, fmt.Sprint("site", i), 1) != 1 {
				t.Fatal("not granted")
			}
		}
		w.take(newAddr, relay.Warmup{Since: warmDay}, "x", 0)
		w.end(&grant{addr: newAddr, up: relay.Warmup{Since: warmDay}, site: "site0", hour: hourOf(clock.at), used: true, bad: int64(c.bad)})
		if err := w.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.at = warmDay.Add(24 * time.Hour)
		w = openWarmups(t, shelf, clock, true)
		if got := takeOne(w, "a", 100); got != c.next {
			t.Errorf("%s: the next day has %d an hour, want %d", c.name, got, c.next)
		}
		if err := w.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		held := shelf.rows[newAddr].Held
		if (held == 1) != (c.next == 20) {
			t.Errorf("%s: held on %d days", c.name, held)
		}
		// The day after has nothing against it.
		clock.at = warmDay.Add(48 * time.Hour)
		want := map[int]int{28: 39, 20: 28}[c.next]
		if got := takeOne(openWarmups(t, shelf, clock, true), "a", 100); got != want {
			t.Errorf("%s: the day after has %d an hour, want %d", c.name, got, want)
		}
	}
}

// A warm-up that is begun anew starts at the first day, with this hour's mail sent.
func TestWarmupsAnew(t *testing.T) {
	t.Parallel()
	clock := &warmClock{warmDay.Add(10 * 24 * time.Hour)}
	w := openWarmups(t, &warmupShelf{}, clock, true)
	if got := takeOne(w, "a", 15); got != 15 {
		t.Fatal(got)
	}
	anew := relay.Warmup{Since: clock.at}
	if got, _ := w.take(newAddr, anew, "a", 100); got != 5 {
		t.Errorf("%d, want 5", got)
	}
	if got, _ := w.take(newAddr, anew, "b", 100); got != 20 {
		t.Errorf("%d, want 20", got)
	}
}

// Two nodes over one database: the one that does not have the address never writes
// over what the other has counted.
func TestWarmupsOfTwoNodes(t *testing.T) {
	t.Parallel()
	clock := &warmClock{warmDay}
	shelf := &warmupShelf{}
	here, there := openWarmups(t, shelf, clock, true), openWarmups(t, shelf, clock, true)
	for i := range 20 {
		takeOne(here, fmt.Sprint(i), 1)
	}
	here.end(&grant{addr: newAddr, up: relay.Warmup{Since: warmDay}, hour: hourOf(clock.at), used: true, bad: 15})
	clock.at = clock.at.Add(24 * time.Hour)
	for _, w := range []*Warmups{here, there} {
		if err := w.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if held := shelf.rows[newAddr].Held; held != 1 {
		t.Errorf("held on %d days", held)
	}
	if got := takeOne(openWarmups(t, shelf, clock, true), "a", 100); got != 20 {
		t.Errorf("%d an hour", got)
	}
}

// However many sites and tenants there are, memory is bounded (a stranger chooses
// destinations), and the kept form fits the store.
func TestWarmupsBounded(t *testing.T) {
	t.Parallel()
	clock := &warmClock{warmDay}
	w := openWarmups(t, &warmupShelf{}, clock, true)
	granted := 0
	for i := range maxWarmupSites + 500 {
		granted += takeOne(w, fmt.Sprint(i), 1)
	}
	if granted != maxWarmupSites || takeOne(w, "0", 1) != 1 {
		t.Errorf("%d sites, %d", granted, takeOne(w, "0", 1))
	}
	r := w.addrs[newAddr]
	if n := len(r.pack()); n > 1<<20 {
		t.Errorf("%d octets are to be kept", n)
	}
	for i := range maxTurnedAway + 500 {
		w.turn(&full{addr: newAddr, up: relay.Warmup{Since: warmDay}, site: fmt.Sprint(i)}, relay.Tenant{}, 1)
	}
	if len(r.turned) > maxTurnedAway {
		t.Errorf("%d waiters are known", len(r.turned))
	}
}

// What has to wait comes when there is room for it, each tenant by itself.
func TestWarmupsTurn(t *testing.T) {
	t.Parallel()
	clock := &warmClock{warmDay} // 09:30
	w := openWarmups(t, &warmupShelf{}, clock, true)
	f := &full{addr: newAddr, up: relay.Warmup{Since: warmDay}, site: "a"}
	loud, quiet := relay.Tenant{}, relay.Tenant{Account: relay.AccountID{ID: relay.ID{1}}}
	for i, c := range []struct {
		of   relay.Tenant
		n    int
		want string
	}{
		{loud, 20, "11-01 10:00"}, {loud, 19, "11-01 11:00"}, {loud, 5, "11-01 11:00"}, {loud, 100_000, "11-01 12:00"}, {loud, 1, "11-02 09:00"}, {quiet, 1, "11-01 10:00"},
	} {
		limit, next := w.turn(f, c.of, c.n)
		if got := next.Format("01-02 15:04"); got != c.want || limit != 20 {
			t.Errorf("%d: %s, %d an hour, want %s", i, got, limit, c.want)
		}
	}
}

func TestWarmupsRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		shelf := &warmupShelf{rows: map[netip.Addr]relay.WarmupState{newAddr: {Address: newAddr, Warmup: relay.Warmup{Since: begin}}}}
		w, err := NewWarmups(t.Context(), WarmupConfig{Store: shelf, Clean: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		up := relay.Warmup{Since: begin}
		for i := range 2000 { // many messages, few writes
			w.take(newAddr, up, fmt.Sprint(i%500), 1)
			time.Sleep(5 * time.Millisecond)
		}
		shelf.mu.Lock()
		if shelf.writes < 4 || shelf.writes > 6 {
			t.Errorf("%d writes in ten seconds", shelf.writes)
		}
		shelf.fail = errors.New("full")
		shelf.mu.Unlock()
		w.take(newAddr, up, "late", 7)
		time.Sleep(3 * keepWarmups)
		shelf.mu.Lock()
		shelf.fail = nil
		shelf.mu.Unlock()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		kept, ok := unpackTally(shelf.rows[newAddr].Counts)
		if !ok || kept.sites[hashSite("late")] != 7 || kept.sent != 2007 {
			t.Errorf("kept %d, %v", kept.sent, kept.sites[hashSite("late")])
		}
	})
}

func FuzzTally(f *testing.F) {
	for _, c := range []tally{{}, {hour: 5, ends: 1, day: 3, sent: 9, bad: 1, sites: map[siteHash]int{1: 2, 1 << 63: 3}}} {
		f.Add(c.pack())
	}
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := unpackTally(b)
		if !ok {
			return
		}
		if got.ends < 0 || got.day < 0 || got.sent < 0 || got.bad < 0 || len(got.sites) > maxWarmupSites {
			t.Fatalf("%+v", got)
		}
		again, ok := unpackTally(got.pack())
		if !ok || again.hour != got.hour || len(again.sites) != len(got.sites) {
			t.Fatalf("%+v, %+v", got, again)
		}
	})
}
