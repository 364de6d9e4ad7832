package e2e

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// crowdSize is 10,000 subusers and 100,000 keys in make soak, a hundredth of
// that otherwise.
func crowdSize() (subusers, keys int, full bool) {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return 10_000, 100_000, true
	}
	return 100, 1000, false
}

// crowded makes an installation with the rows that the crowd is made of.
func crowded(t testing.TB) *ownRelay {
	t.Helper()
	r := newNode(t, "", "")
	r.postern(t, "subuser", "add", "template")
	expires := time.Now().AddDate(0, 1, 0).UTC().Format(time.RFC3339)
	for _, in := range []map[string]any{
		{"name": "template plain", "scopes": []string{"mail.send"}},
		{"name": "template narrow", "scopes": []string{"mail.send", "mail.batch.create"}, "networks": []string{"127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"},
			"senders": []string{"sender.test", "news@other.test"}},
		{"name": "template short", "scopes": []string{"mail.send"}, "expires_at": expires, "per_day": 1000},
	} {
		must(t, r.v3(t.Context(), http.MethodPost, "/api_keys", in, nil))
	}
	return r
}

// TestScale starts the real binary on a large installation: the time until it
// greets, its memory beside an empty one's, and what a login costs it, by process
// CPU: sessions that log in, each with another key, against sessions that only
// say NOOP, in turns.
func TestScale(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	subusers, keys, full := crowdSize()
	r := crowded(t)
	r.restart(t)
	empty := r.settle(full)
	emptyRSS, emptyHeap := r.rss(t), r.heap(t)
	must(t, r.stop(40*time.Second))
	c := fillCrowd(t, r.dir, subusers, keys, "https://issuer.test")
	var ready []time.Duration
	for range 3 {
		ready = append(ready, r.restart(t))
	}
	settled := r.settle(full)
	rss, heap := r.rss(t), r.heap(t)
	t.Logf("%d subusers, %d keys: ready after %v", subusers, keys, ready)
	t.Logf("memory after %v: %.1f MiB, of it %.1f MiB heap; empty, after %v: %.1f and %.1f MiB; a key: %.0f octets, of them %.0f heap",
		settled, mib(rss), mib(heap), empty, mib(emptyRSS), mib(emptyHeap), float64(rss-emptyRSS)/float64(keys), float64(heap-emptyHeap)/float64(keys))
	rounds := 2
	if full {
		rounds = 10
	}
	login, noop := r.loginCPU(t, c, rounds, 300)
	t.Logf("CPU of a session with login %v, without %v: a login %v", login, noop, login-noop)
	switch {
	case !full:
	case rss-emptyRSS > int64(keys)*4096:
		t.Errorf("%d octets a key", (rss-emptyRSS)/int64(keys))
	case ready[0] > 10*time.Second:
		t.Errorf("ready after %v", ready[0])
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// restart starts the stopped relay (or stops it first) and returns how long it
// took to greet.
func (r *ownRelay) restart(t testing.TB) time.Duration {
	t.Helper()
	must(t, r.stop(40*time.Second))
	started := time.Now()
	p, err := startProcess(r.log, r.bin, "serve", "--config", r.dir+"/postern.toml")
	must(t, err)
	*r.process = *p // the one that the end of the test stops
	must(t, p.waitUntil(60*time.Second, func() bool {
		conn, err := net.Dial("tcp", r.SMTPStartTLS)
		if err != nil {
			return false
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 3)
		_, err = conn.Read(b)
		return err == nil && string(b) == "220"
	}))
	return time.Since(started).Round(time.Millisecond)
}

// settle waits until a quiet relay has given memory back to the system.
func (r *ownRelay) settle(full bool) time.Duration {
	wait := time.Second
	if full {
		wait = 40 * time.Second // it looks every 15 s
	}
	time.Sleep(wait)
	return wait
}

// heap is what the relay's objects take, those that are not collected yet included.
func (r *ownRelay) heap(t testing.TB) int64 {
	t.Helper()
	var n float64
	metric(t, "http://"+r.HTTP+"/metrics", "go_memstats_heap_alloc_bytes", &n)
	return int64(n)
}

// loginCPU is the relay's CPU time of a session with and without a login.
func (r *ownRelay) loginCPU(t testing.TB, c *crowd, rounds, sessions int) (login, noop time.Duration) {
	t.Helper()
	conf, from := clientTLS(t, r), &loopbacks{}
	run := func(line func(i int) string, want string) time.Duration {
		before := r.cpu(t)
		for i := range sessions {
			s, err := dialSMTP(from.next(), r.SMTPTLS, conf, credential{})
			must(t, err)
			must(t, s.say(line(i), want))
			must(t, s.say("QUIT", "221"))
			s.close()
		}
		time.Sleep(1200 * time.Millisecond) // records are written once a second: part of the cost
		return r.cpu(t) - before
	}
	for round := range rounds + 1 {
		a := run(func(i int) string {
			k := c.keys[(round*sessions+i)*7919%len(c.keys)]
			return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00apikey\x00"+k.Text().Reveal()))
		}, "235")
		n := run(func(int) string { return "NOOP" }, "250")
		if round > 0 { // the first one warms up
			login, noop = login+a, noop+n
		}
	}
	all := time.Duration(rounds * sessions)
	return login / all, noop / all
}

// metric reads one metric without labels.
func metric(t testing.TB, url, name string, into *float64) {
	t.Helper()
	res := command{args: []string{external(t, "curl"), "-sS", url}}.run(t)
	for line := range strings.Lines(res.out) {
		if after, ok := strings.CutPrefix(line, name+" "); ok {
			_, err := fmt.Sscan(after, into)
			must(t, err)
			return
		}
	}
	t.Fatalf("no metric %s at %s", name, url)
}
