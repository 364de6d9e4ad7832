package people

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/auth"
	"postern/internal/password"
	"postern/internal/relay"
	"postern/internal/secret"
)

// at is an applicant from the n-th address of a network.
func at(r rank, network, n int) applicant {
	a := netip.AddrFrom4([4]byte{198, 18, byte(network), byte(n)})
	wide, _ := a.Prefix(24)
	return applicant{rank: r, address: netip.PrefixFrom(a, 32), network: wide, person: relay.UserID{ID: relay.ID{byte(network), byte(n)}}}
}

// oneTurn is a line with one turn, which is taken; done gives it back.
func oneTurn(t *testing.T) (l *line, done func()) {
	t.Helper()
	l = &line{made: true, free: 1, held: map[any]int{}}
	done, waited, err := l.enter(t.Context(), applicant{rank: rankFailed})
	if err != nil || waited {
		t.Fatal(waited, err)
	}
	return l, done
}

// Who is known goes first, then those against whom nothing is known, three to one
// of the others; and the networks take turns, however many stand there for one.
func TestLineIsFair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, done := oneTurn(t)
		var mu sync.Mutex
		var order []string
		join := func(name string, a applicant) {
			go func() {
				leave, _, err := l.enter(t.Context(), a)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				leave()
			}()
			synctest.Wait()
		}
		for i := range 4 {
			join(fmt.Sprintf("failed%d", i), at(rankFailed, 9, i))
		}
		for i := range 4 {
			join(fmt.Sprintf("crowd%d", i), at(rankNew, 1, i))
		}
		join("other", at(rankNew, 2, 1))
		join("known", at(rankKnown, 1, 77))
		done()
		synctest.Wait()
		want := "[known crowd0 other crowd1 failed0 crowd2 crowd3 failed1 failed2 failed3]"
		if got := fmt.Sprint(order); got != want {
			t.Errorf("order %s, want %s", got, want)
		}
		if l.free != 1 || l.waiting != 0 || len(l.held) != 0 {
			t.Errorf("left behind: %d free, %d waiting, %v", l.free, l.waiting, l.held)
		}
	})
}

// Where more stand there than can be served, whoever comes is served next, and the
// crowd waits.
func TestLineServesWhoComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, done := oneTurn(t)
		served := make(chan string, 100)
		join := func(name string, a applicant) {
			go func() {
				leave, _, err := l.enter(t.Context(), a)
				if err != nil {
					served <- name + " gives up"
					return
				}
				time.Sleep(100 * time.Millisecond)
				served <- name
				leave()
			}()
			synctest.Wait()
		}
		for i := range 40 {
			join("crowd", at(rankNew, i, 1))
			join("crowd", at(rankNew, i, 2))
		}
		time.Sleep(2 * lineCalm)
		join("new", at(rankNew, 100, 1))
		join("newer", at(rankNew, 101, 1))
		done()
		if one, two, three := <-served, <-served, <-served; one != "newer" || two != "new" || three != "crowd" {
			t.Errorf("served %s, %s, %s", one, two, three)
		}
		for range 79 {
			<-served
		}
		synctest.Wait()
		if l.waiting != 0 || l.free != 1 || len(l.held) != 0 {
			t.Errorf("left behind: %d free, %d waiting, %v", l.free, l.waiting, l.held)
		}
	})
}

// The line is bounded by address, network and person, and in all; and who waits too
// long, or goes away, leaves nothing behind.
func TestLineIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		who  func(i int) applicant
		most int
	}{
		"an address":       {func(int) applicant { return at(rankNew, 1, 1) }, lineAddress},
		"a network":        {func(i int) applicant { return at(rankFailed, 1, i) }, lineNetwork},
		"a person":         {func(i int) applicant { a := at(rankKnown, i, 1); a.person = relay.UserID{ID: relay.ID{1}}; return a }, linePerson},
		"a person's place": {func(int) applicant { return at(rankKnown, 1, 1) }, linePlace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, done := oneTurn(t)
				defer done()
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for i := range c.most {
					wg.Go(func() {
						if _, _, err := l.enter(ctx, c.who(i)); !errors.Is(err, context.Canceled) {
							t.Errorf("%d: %v", i, err)
						}
					})
				}
				synctest.Wait()
				_, _, err := l.enter(ctx, c.who(c.most))
				if !errors.Is(err, errCrowded) || relay.KindOf(err) != relay.RateLimited || auth.RetryAfter(err) <= 0 {
					t.Errorf("one more: %v", err)
				}
				cancel()
				wg.Wait()
				if l.waiting != 0 || len(l.queues[c.who(0).rank].order) != 0 {
					t.Errorf("%d wait still", l.waiting)
				}
				if _, _, err := l.enter(t.Context(), at(rankNew, 200, 1)); err != errBusy { //nolint:errorlint // bare
					t.Errorf("whose patience is over: %v", err)
				}
			})
		})
	}
}

// A full line has room for who is better: known, or not failed, or of a network with
// fewer in it.
func TestFullLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, done := oneTurn(t)
		results := make(chan error, 2*lineTotal)
		join := func(a applicant) {
			go func() {
				leave, _, err := l.enter(t.Context(), a)
				results <- err
				if err == nil {
					leave()
				}
			}()
			synctest.Wait()
		}
		for i := range lineTotal {
			join(at(rankFailed, i/lineNetwork, i%lineNetwork))
		}
		for what, a := range map[string]applicant{"known": at(rankKnown, 100, 1), "new": at(rankNew, 101, 1), "failed, of its own": at(rankFailed, 102, 1)} {
			join(a)
			select {
			case err := <-results:
				if err != errBusy { //nolint:errorlint // bare
					t.Errorf("%s: %v gives way", what, err)
				}
			default:
				t.Errorf("%s finds no room", what)
			}
		}
		if l.waiting != lineTotal {
			t.Errorf("%d wait", l.waiting)
		}
		join(at(rankFailed, 102, 2))
		<-results
		for n := range 28 { // until that network has as many as the others
			join(at(rankFailed, 102, 3+n))
			<-results
		}
		if _, _, err := l.enter(t.Context(), at(rankFailed, 102, 99)); err != errBusy { //nolint:errorlint // bare
			t.Errorf("of a network that has as many as any: %v", err)
		}
		done()
		synctest.Wait()
		if l.waiting != 0 || l.free != 1 || len(l.held) != 0 {
			t.Errorf("left behind: %d free, %d waiting, %v", l.free, l.waiting, l.held)
		}
	})
}

// slowHasher takes a tenth of a second, as Argon2id does, two at a time.
type slowHasher struct {
	Hasher
	turns chan struct{}
}

func (h slowHasher) Verify(ctx context.Context, stored string, pw secret.Redacted) (ok, stale bool, err error) {
	h.turns <- struct{}{}
	defer func() { <-h.turns }()
	time.Sleep(100 * time.Millisecond)
	return h.Hasher.Verify(ctx, stored, pw)
}

// AC-01: fifty connections that do nothing but guess do not keep a person out: from
// another address they are in within three seconds, also where they never were
// before; and at once, from where they were.
func TestFloodKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		quick := password.New(password.Config{Params: password.Params{Memory: 64, Time: 1, Threads: 1}})
		w := newWorld(t, func(c *Config) { c.Hasher = slowHasher{quick, make(chan struct{}, 2)} })
		w.withApp("ann")
		w.in("ann")
		w.line = line{made: true, free: 2, held: map[any]int{}}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					v := from(i)
					v.Addr = netip.AddrFrom4([4]byte{203, 0, byte(i), byte(n / 15)}) // a new address before the old one is refused
					_, _, _ = w.LoginPassword(ctx, v, fmt.Sprint("nobody", n), otherPassword)
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		time.Sleep(5 * time.Second)
		stranger := home
		stranger.Addr = netip.MustParseAddr("192.0.3.1")
		for what, c := range map[string]struct {
			v    Visitor
			most time.Duration
		}{"known": {home, 400 * time.Millisecond}, "new": {stranger, 3 * time.Second}} {
			begun := time.Now()
			_, _, err := w.LoginPassword(t.Context(), c.v, "ann", goodPassword)
			took := time.Since(begun)
			t.Logf("%s: %v after %v", what, err, took)
			if err != nil || took > c.most {
				t.Errorf("%s: %v after %v", what, err, took)
			}
		}
		stop()
		wg.Wait()
	})
}

// A person who is guessed at too often while somebody waits is not compared with any
// more, and that is on record once.
func TestRefusedWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.withApp("ann")
		w.line = line{made: true, free: 1, held: map[any]int{}}
		leave, _, err := w.line.enter(t.Context(), applicant{rank: rankFailed})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, _, err := w.LoginPassword(t.Context(), from(1), "ann", goodPassword)
			done <- err
		}()
		synctest.Wait()
		u, err := w.st.UserNamed(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 120 { // from elsewhere
			w.door.PersonDone(t.Context(), try(from(2+i), auth.PersonPassword, "ann", &u), relay.LoginWrong, "")
		}
		before := len(w.rec.logins)
		leave()
		if err := <-done; err != ErrLogin { //nolint:errorlint // bare
			t.Errorf("the right password, too late: %v", err)
		}
		if got := w.rec.logins[before:]; len(got) != 1 || got[0].Result != relay.LoginThrottled {
			t.Errorf("recorded %+v", got)
		}
	})
}
