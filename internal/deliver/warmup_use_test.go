package deliver

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/testkit/fakemx"
)

var (
	fresh = netip.MustParseAddr("127.0.3.2") // in warm-up
	proud = netip.MustParseAddr("127.0.3.3") // warm
)

// warmWorld is a host, a Deliverer that counts, and the clock that it counts by.
func warmWorld(t testing.TB, mx fakemx.Config, change ...func(*Config)) (*world, *fakemx.Server, *warmClock) {
	t.Helper()
	clock := &warmClock{warmDay.Add(time.Minute)}
	w, err := NewWarmups(t.Context(), WarmupConfig{Clean: true, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	world, s := one(t, mx, append(change, func(c *Config) { c.Warmups = w })...)
	return world, s, clock
}

func poolOf(addrs ...netip.Addr) relay.Pool {
	var p relay.Pool
	for _, a := range addrs {
		x := relay.PoolAddress{Address: a}
		if a == fresh {
			x.Warmup.Since = warmDay
		}
		p.Addresses = append(p.Addresses, x)
	}
	return p
}

// locals are so many recipients.
func locals(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("r", i)
	}
	return out
}

// from counts the delivered recipients by the address that they left from.
func from(res ...Result) map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for _, r := range res {
		for _, o := range r.Outcomes {
			if o.State == Delivered {
				out[o.LocalIP]++
			}
		}
	}
	return out
}

// Beyond the allowance mail leaves from the warm address; within it, each message
// from the address that it would leave from anyway.
func TestWarmupOverflow(t *testing.T) {
	t.Parallel()
	w, _, clock := warmWorld(t, fakemx.Config{})
	p := poolOf(fresh, proud)
	var all []Result
	for i := range 120 {
		r := w.request("example.test", "b")
		r.Pool = p
		first := w.sources(&p, r.Message, "example.test")[0].addr
		res := w.deliver(r)
		want(t, res, "delivered 250 2.0.0 end")
		if o := res.Outcomes[0]; o.LocalIP != first && (first != fresh || o.LocalIP != proud) {
			t.Errorf("message %d left from %s, its address is %s", i, o.LocalIP, first)
		}
		all = append(all, res)
	}
	if got := from(all...); got[fresh] != 20 || got[proud] != 100 {
		t.Errorf("left from %v", got)
	}
	clock.at = clock.at.Add(time.Hour)
	all = nil
	for range 60 {
		r := w.request("example.test", "b")
		r.Pool = p
		all = append(all, w.deliver(r))
	}
	if got := from(all...); got[fresh] < 10 || got[fresh] > 20 {
		t.Errorf("in the next hour: %v", got)
	}
}

// A message with more recipients than are left is divided.
func TestWarmupDivides(t *testing.T) {
	t.Parallel()
	w, mx, _ := warmWorld(t, fakemx.Config{})
	for range 200 {
		r := w.request("example.test", locals(33)...)
		r.Pool = poolOf(fresh, proud)
		if w.sources(&r.Pool, r.Message, "example.test")[0].addr != fresh {
			continue
		}
		res := w.deliver(r)
		if got := from(res); got[fresh] != 20 || got[proud] != 13 {
			t.Errorf("left from %v", got)
		}
		if got := len(mx.Complete()); got != 2 {
			t.Errorf("%d transactions", got)
		}
		return
	}
	t.Fatal("no message has the new address first")
}

// With no warm address the rest waits for the next hour, and is told why. It says
// nothing about the destination.
func TestWarmupAlone(t *testing.T) {
	t.Parallel()
	w, mx, clock := warmWorld(t, fakemx.Config{})
	r := w.request("example.test", locals(25)...)
	r.Pool = poolOf(fresh)
	res := w.deliver(r)
	if got := from(res); got[fresh] != 20 {
		t.Fatalf("left from %v", got)
	}
	const text = "127.0.3.2 is being warmed up: its 20 recipients for the mail servers of example.test in this hour are used; next at 10:00 UTC"
	least := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	for _, o := range res.Outcomes[20:] {
		if show(o) != "deferred 451 4.4.5" || o.Reply.Text != text || !o.NextAt.After(least) || o.NextAt.After(least.Add(2*time.Minute)) || o.Host != "" {
			t.Errorf("%s %s, %s", show(o), o.Reply, o.NextAt)
		}
	}
	if res.Connect != ConnOK {
		t.Errorf("%s", res.Connect)
	}
	sessions := len(mx.Transactions())
	r = w.request("example.test", "b")
	r.Pool = poolOf(fresh)
	res = w.deliver(r)
	if res.Connect != Untried || show(res.Outcomes[0]) != "deferred 451 4.4.5" || len(mx.Transactions()) != sessions {
		t.Errorf("%s, %s", res.Connect, show(res.Outcomes[0]))
	}
	clock.at = clock.at.Add(time.Hour)
	want(t, w.deliver(r), "delivered 250 2.0.0 end")
}

// A connection that failed used nothing; a host that was asked did, whatever it
// said.
func TestWarmupGivesBack(t *testing.T) {
	t.Parallel()
	w, mx, _ := warmWorld(t, fakemx.Config{Script: always(fakemx.Rcpt, fakemx.Step{Reply: "550 5.1.1 Unknown"})})
	port := w.cfg.Port
	w.Deliverer.cfg.Port = int(freePort(t)) // nobody listens there
	for range 5 {
		r := w.request("example.test", locals(20)...)
		r.Pool = poolOf(fresh)
		if res := w.deliver(r); res.Connect != ConnFailed || res.Outcomes[0].Reply.Enhanced[1] != 4 {
			t.Fatalf("%s %s", res.Connect, res.Outcomes[0].Reply)
		}
	}
	w.Deliverer.cfg.Port = port
	for i, want := range []State{Failed, Deferred} {
		r := w.request("example.test", locals(20)...)
		r.Pool = poolOf(fresh)
		if res := w.deliver(r); res.Outcomes[0].State != want {
			t.Errorf("%d: %s %s", i, res.Outcomes[0].State, res.Outcomes[0].Reply)
		}
	}
	if n := len(mx.Transactions()); n != 1 {
		t.Errorf("%d transactions", n)
	}
}

// An address that this machine does not have is passed over, and what it was
// granted is not lost for the others.
func TestWarmupOfAbsentAddress(t *testing.T) {
	t.Parallel()
	w, _, _ := warmWorld(t, fakemx.Config{})
	var p relay.Pool
	p.Addresses = []relay.PoolAddress{{Address: netip.MustParseAddr("192.0.2.1"), Warmup: relay.Warmup{Since: warmDay}}, {Address: proud}}
	for range 8 {
		r := w.request("example.test", locals(3)...)
		r.Pool = p
		if res := w.deliver(r); from(res)[proud] != 3 {
			t.Errorf("%+v", res.Outcomes)
		}
	}
}

// A smarthost is no stranger: nothing is counted towards it.
func TestWarmupNotToSmarthost(t *testing.T) {
	t.Parallel()
	s := fakemx.Start(t, fakemx.Config{})
	w, _, _ := warmWorld(t, fakemx.Config{}, func(c *Config) {
		c.Routes = map[string]Smarthost{".": {Host: "127.0.0.1", Port: int(s.Addr().Port())}}
	})
	r := w.request("example.test", locals(30)...)
	r.Pool = poolOf(fresh)
	if got := from(w.deliver(r)); got[fresh] != 30 {
		t.Errorf("%v", got)
	}
}

// Refusals for who sends or how much are signals; others are not.
func TestWarmupSignals(t *testing.T) {
	t.Parallel()
	for reply, bad := range map[string]bool{
		"550 5.7.1 Blocked by policy":            true,
		"421 4.7.0 Unusual rate of mail":         true,
		"450 4.7.1 Greylisted, come back later":  false,
		"554 Your address is on a blacklist":     true,
		"550 5.1.1 No such user":                 false,
		"452 4.2.2 Mailbox full":                 false,
		"451 4.3.0 Try again":                    false,
		"451 4.3.2 Too many messages from there": true,
	} {
		w, _, clock := warmWorld(t, fakemx.Config{Script: always(fakemx.Rcpt, fakemx.Step{Reply: reply})})
		r := w.request("example.test", locals(20)...)
		r.Pool = poolOf(fresh)
		w.deliver(r)
		clock.at = clock.at.Add(24 * time.Hour)
		got, _ := w.cfg.Warmups.take(fresh, relay.Warmup{Since: warmDay}, "x", 1000)
		if paused := got == 20; paused != bad {
			t.Errorf("%s: the next day has %d an hour", reply, got)
		}
	}
}

// A host that closes its door to the address at once says so, too.
func TestWarmupSignalAtTheDoor(t *testing.T) {
	t.Parallel()
	w, _, clock := warmWorld(t, fakemx.Config{Script: always(fakemx.Banner, fakemx.Step{Reply: "554 Go away"})})
	for range 10 {
		r := w.request("example.test", "b")
		r.Pool = poolOf(fresh)
		w.deliver(r)
	}
	clock.at = clock.at.Add(24 * time.Hour)
	if got, _ := w.cfg.Warmups.take(fresh, relay.Warmup{Since: warmDay}, "x", 1000); got != 20 {
		t.Errorf("the next day has %d an hour", got)
	}
}

// What a stranger says cannot make the words of a refusal long or odd.
func TestWarmupWords(t *testing.T) {
	t.Parallel()
	w, _, _ := warmWorld(t, fakemx.Config{})
	a := &attempt{d: w.Deliverer, req: &Request{Route: Route{Domain: strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + ".test"}, Message: &relay.Message{}}, pending: []int{0}}
	a.full = &full{addr: fresh, up: relay.Warmup{Since: warmDay}, site: "x", outcome: &Outcome{}}
	a.turnAway()
	if r := a.full.outcome.Reply; len(r.Text) > 512 || r.Enhanced != (smtp.EnhancedCode{4, 4, 5}) {
		t.Errorf("%s", r)
	}
}

// An address has one allowance, in however many pools it is and however many
// attempts run at once.
func TestWarmupTwoPoolsAtOnce(t *testing.T) {
	t.Parallel()
	w, mx, _ := warmWorld(t, fakemx.Config{})
	pools := []relay.Pool{poolOf(fresh, proud), poolOf(fresh)}
	var wg sync.WaitGroup
	results := make(chan Result, 60)
	for i := range 60 {
		r := w.request("example.test", locals(1+i%3)...)
		r.Pool = pools[i%2]
		wg.Go(func() { results <- w.deliver(r) })
	}
	wg.Wait()
	close(results)
	var all []Result
	for r := range results {
		all = append(all, r)
	}
	if got := from(all...); got[fresh] != 20 {
		t.Errorf("left from %v", got)
	}
	taken := 0
	for _, x := range mx.Complete() {
		if x.Remote.Addr() == fresh {
			taken += len(x.Rcpt)
		}
	}
	if taken != 20 {
		t.Errorf("the host was sent %d recipients by the new address", taken)
	}
}
