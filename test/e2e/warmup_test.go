package e2e

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/testkit/fakemx"
)

// The addresses of the pool of a warm-up's test, and of its two receivers.
const (
	freshSource = "127.0.0.2"
	warmSource  = "127.0.0.3"
)

// warmupWorld is a relay that finds one.test and two.test by MX, each at a
// receiver of its own.
type warmupWorld struct {
	*identityRelay
	receivers map[string]*fakemx.Server
	sent      int
}

func newWarmupWorld(t testing.TB) *warmupWorld {
	t.Helper()
	w := &warmupWorld{receivers: map[string]*fakemx.Server{}}
	zone, err := dns.NewZone(dns.ZoneConfig{Origin: "test"})
	ensure(t, err)
	hosts := map[string]string{"one.test": "127.0.0.11", "two.test": "127.0.0.12"}
	port := ""
	for port == "" { // one that is free at both
		_, p := split(t, freeAddr(t))
		port = p
		for _, host := range hosts {
			if ln, err := net.Listen("tcp", net.JoinHostPort(host, p)); err != nil {
				port = ""
			} else {
				ln.Close()
			}
		}
	}
	for domain, host := range hosts {
		ensure(t, zone.Set(domain, "MX", time.Minute, "10 mx."+domain))
		ensure(t, zone.Set("mx."+domain, "A", time.Minute, host))
		w.receivers[domain] = fakemx.StartOn(t, net.JoinHostPort(host, port), fakemx.Config{})
	}
	server, err := dns.ListenZones("127.0.0.1:0", nil, zone)
	ensure(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-served
	})
	conf := fmt.Sprintf("\n[deliver]\nport = %s\nallow_networks = [\"127.0.0.0/8\"]\ndns_servers = [%q]\nipv6 = false\nidle_timeout = \"1s\"\n", port, server.Addr())
	r := newRelay(t, relayOptions{domains: []string{"sender.test"}, conf: conf})
	w.identityRelay = &identityRelay{ownRelay: r}
	r.postern(t, "pool", "addresses", "default", freshSource+"=new.sender.test", warmSource+"=warm.sender.test")
	r.postern(t, "pool", "warmup", "start", freshSource)
	return w
}

// send hands in so many messages of one recipient each.
func (w *warmupWorld) send(t testing.TB, n int, domain string) {
	t.Helper()
	s := w.talk(t, "127.0.0.1", "client.sender.test").in(w.APIKey)
	for range n {
		w.sent++
		if got := s.send(fmt.Sprintf("warm-up %d", w.sent), "news@sender.test", "someone@"+domain); !strings.HasPrefix(got, "250") {
			t.Fatal(got)
		}
	}
	s.say("QUIT")
}

// took waits until a receiver has so many messages in all, and counts them by
// where they came from.
func (w *warmupWorld) took(t testing.TB, domain string, n int) map[string]int {
	t.Helper()
	got := w.receivers[domain].Complete()
	if err := w.waitUntil(60*time.Second, func() bool { got = w.receivers[domain].Complete(); return len(got) >= n }); err != nil {
		t.Fatalf("%d of %d messages at %s: %v", len(got), n, domain, err)
	}
	from := map[string]int{}
	for _, x := range got {
		from[x.Remote.Addr().String()]++
		if want := map[string]string{freshSource: "new.sender.test", warmSource: "warm.sender.test"}[x.Remote.Addr().String()]; x.Helo != want {
			t.Errorf("%s calls itself %s", x.Remote, x.Helo)
		}
	}
	return from
}

func hourNow() int64 { return time.Now().Unix() / 3600 }

// On its first day a new address sends to 20 recipients an hour at each
// destination; the 21st goes from the warm one. Neither a restart nor a crash
// gives it as much again, and alone it lets mail wait and says why.
func TestWarmupOverSMTP(t *testing.T) {
	t.Parallel()
	w := newWarmupWorld(t)
	begin := hourNow()
	allowed := func() int { return 20 * int(1+hourNow()-begin) } // should the clock strike meanwhile

	w.send(t, 90, "one.test")
	from := w.took(t, "one.test", 90)
	if n := from[freshSource]; n < 20 || n > allowed() || n+from[warmSource] != 90 {
		t.Errorf("one.test took %v, allowed are %d", from, allowed())
	}
	// What the first receiver was sent does not count for the second.
	w.send(t, 16, "two.test")
	if two := w.took(t, "two.test", 16); two[freshSource] == 0 || two[freshSource] > 16 {
		t.Errorf("two.test took %v", two)
	}

	conf := filepath.Join(w.dir, "postern.toml")
	for _, what := range []string{"restart", "crash"} {
		if what == "crash" {
			time.Sleep(2500 * time.Millisecond) // counters are kept every two seconds
			ensure(t, w.cmd.Process.Kill())
			<-w.done
		} else {
			ensure(t, w.stop(30*time.Second))
		}
		w.serve(t, conf)
		w.send(t, 20, "one.test")
		from = w.took(t, "one.test", from[freshSource]+from[warmSource]+20)
		if n := from[freshSource]; n > allowed() {
			t.Errorf("after a %s one.test took %d from the new address, allowed are %d", what, n, allowed())
		}
	}
	alone(t, w, from[freshSource]+from[warmSource], begin)
}

var warmupWords = regexp.MustCompile(`127\.0\.0\.2 is being warmed up: its 20 recipients for the mail servers of one\.test in this hour are used; next at \d\d:00 UTC`)

// alone is the end of it: without a warm address mail waits and tells why, until
// the warm-up is ended.
func alone(t *testing.T, w *warmupWorld, before int, begin int64) {
	t.Helper()
	if out := w.tries(t, "pool", "addresses", "default", freshSource+"=new.sender.test"); out.code != 0 {
		t.Fatal(out.out)
	}
	if out := w.postern(t, "pool", "warmup", "list"); !strings.Contains(out, "0 of 41") {
		t.Error(out)
	}
	w.send(t, 1, "one.test")
	var list struct {
		Result []struct {
			Message struct {
				ID string `json:"id"`
			} `json:"message"`
		} `json:"result"`
	}
	why := ""
	if err := w.waitUntil(20*time.Second, func() bool {
		w.read(t, &list, "queue", "list")
		if len(list.Result) == 1 {
			why = w.postern(t, "queue", "why", list.Result[0].Message.ID)
		}
		return warmupWords.MatchString(why) || hourNow() != begin
	}); err != nil {
		t.Fatalf("%v\n%s\n%+v", err, why, list)
	}
	if hourNow() != begin {
		t.Log("the hour has changed: there is room again")
		return
	}
	if out := w.postern(t, "events", "--message", list.Result[0].Message.ID); !warmupWords.MatchString(out) {
		t.Errorf("the journey does not say why:\n%s", out)
	}
	if n := len(w.receivers["one.test"].Complete()); n != before {
		t.Errorf("%d more left", n-before)
	}
	w.postern(t, "pool", "warmup", "stop", freshSource)
	w.postern(t, "queue", "retry", list.Result[0].Message.ID)
	if from := w.took(t, "one.test", before+1); from[freshSource] == 0 {
		t.Errorf("%v", from)
	}
}
