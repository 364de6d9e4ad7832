package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mailFlow is mail that is sent at a steady pace until it is stopped.
type mailFlow struct {
	domain string
	began  time.Time
	end    chan struct{}
	done   sync.WaitGroup

	accepted atomic.Int64
	mu       sync.Mutex
	refused  []string
}

// flowSessions is how many sessions send side by side: one that waits for a disk
// does not slow the others down.
const flowSessions = 6

// flow sends so many messages a second as news@domain to bob until stop.
func (w *domainWorld) flow(domain string, perSecond int) *mailFlow {
	f := &mailFlow{domain: domain, began: time.Now(), end: make(chan struct{})}
	due := make(chan int, perSecond)
	f.done.Go(func() {
		defer close(due)
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-tick.C:
				due <- n
			case <-f.end:
				return
			}
		}
	})
	for range flowSessions {
		f.done.Go(func() {
			if err := w.sendAll(f, due); err != nil {
				f.fail(err)
			}
			for range due { // after a failure: the pace stops nobody
				f.fail(fmt.Errorf("not sent, for a session had failed"))
			}
		})
	}
	return f
}

func (w *domainWorld) sendAll(f *mailFlow, due <-chan int) error {
	c, err := w.dialGo(true)
	if err != nil {
		return err
	}
	defer c.Close()
	for n := range due {
		from := "news@" + f.domain
		err := submitGo(c, from, []string{"bob@receiver.example"}, fmt.Sprintf("From: News <%s>\r\nTo: bob@receiver.example\r\nSubject: %s\r\n\r\nNumber %[3]d.\r\n.\r\n\r\n", from, f.subject(n), n))
		if err != nil {
			return err
		}
		f.accepted.Add(1)
	}
	return c.Quit()
}

func (f *mailFlow) subject(n int) string { return fmt.Sprintf("flow of %s, message %d.", f.domain, n) }

func (f *mailFlow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = append(f.refused, err.Error())
}

// stop ends the flow and checks that all of it was accepted, at the pace at
// least. It returns how many messages that were.
func (f *mailFlow) stop(t testing.TB, atLeast float64) int {
	t.Helper()
	close(f.end)
	f.done.Wait()
	n, took := f.accepted.Load(), time.Since(f.began)
	if len(f.refused) > 0 {
		t.Errorf("%s: %d messages were not accepted: %.2000q", f.domain, len(f.refused), f.refused)
	}
	rate := float64(n) / took.Seconds()
	t.Logf("%s: %d messages in %.1f s, %.1f a second", f.domain, n, took.Seconds(), rate)
	if rate < atLeast {
		t.Errorf("%s: %.1f messages a second, want %.0f", f.domain, rate, atLeast)
	}
	return int(n)
}

// arrivals are the messages that have come: each is verified as soon as it is in
// the mailbox.
type arrivals struct {
	r    *receiver
	v    *verifier // of its own: the test asks the other one meanwhile
	end  chan struct{}
	done chan struct{}

	mu        sync.Mutex
	seen      map[string]bool // files
	subjects  map[string]int
	selectors map[string]map[string]int // by domain: messages that each selector signed
	failed    []string
}

var (
	flowSubject = regexp.MustCompile(`(?m)^Subject: (flow of (\S+), message \d+\.)$`)
	resultWord  = regexp.MustCompile(`\b(dkim|spf|dmarc)=(\w+)`)
)

// watch verifies what arrives for bob until settle.
func (w *domainWorld) watch(t testing.TB) *arrivals {
	a := &arrivals{
		r: w.receiver, v: newVerifier(t, w.tree.addr(hostResolver)), end: make(chan struct{}), done: make(chan struct{}),
		seen: map[string]bool{}, subjects: map[string]int{}, selectors: map[string]map[string]int{},
	}
	go func() {
		defer close(a.done)
		for {
			a.look(t, a.seen)
			select {
			case <-time.After(200 * time.Millisecond): // a mailbox of others tells nobody
			case <-a.end:
				a.look(t, a.seen)
				return
			}
		}
	}()
	return a
}

// look verifies all messages that are not in seen.
func (a *arrivals) look(t testing.TB, seen map[string]bool) (verified int) {
	names, _ := filepath.Glob(a.r.Path("mail", "bob", "new", "*"))
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		verified++
		a.verify(t, name)
	}
	return verified
}

// verify judges one message: by what Postfix's helpers wrote into it when it came,
// and by dkimpy now.
func (a *arrivals) verify(t testing.TB, path string) {
	l := readLetter(t, path)
	m := flowSubject.FindStringSubmatch(l.raw)
	if m == nil {
		return
	}
	sigs := a.v.signatures(t, path)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.subjects[m[1]]++
	if a.selectors[m[2]] == nil {
		a.selectors[m[2]] = map[string]int{}
	}
	for _, s := range sigs {
		a.selectors[m[2]][s.S]++
		if !s.Pass || s.D != m[2] {
			a.failed = append(a.failed, fmt.Sprintf("%s: dkimpy: %+v", m[1], s))
		}
	}
	var words []string
	for _, f := range l.field("Authentication-Results") {
		words = append(words, resultWord.FindAllString(f, -1)...)
	}
	said := strings.Join(words, " ")
	if len(sigs) != 2 || said != "dmarc=pass spf=pass dkim=pass dkim=pass" {
		a.failed = append(a.failed, fmt.Sprintf("%s: %d signatures, Postfix's verifiers said %q:\n%s", m[1], len(sigs), said, head(l.raw)))
	}
}

// count is how many messages of a domain have arrived, and how many a selector
// has signed.
func (a *arrivals) count(domain, selector string) (messages, signed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.subjects {
		if strings.HasPrefix(s, "flow of "+domain+",") {
			messages++
		}
	}
	return messages, a.selectors[domain][selector]
}

// settle waits until so many messages of each domain have arrived, and ends the
// watch.
func (a *arrivals) settle(t testing.TB, want map[string]int) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for domain, n := range want {
		for {
			got, _ := a.count(domain, "")
			if got >= n {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d messages of %s arrived", got, n, domain)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	close(a.end)
	<-a.done
	a.report(t, "at arrival")
}

// again verifies all of it once more.
func (a *arrivals) again(t testing.TB) (verified int) {
	t.Helper()
	verified = a.look(t, map[string]bool{})
	a.report(t, "at the end")
	return verified
}

func (a *arrivals) report(t testing.TB, when string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.failed) > 0 {
		t.Errorf("%s %d messages did not verify; the first:\n%s", when, len(a.failed), a.failed[0])
	}
	a.failed = nil
}
