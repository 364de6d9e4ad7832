package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// domainCount is 100,000 domains of 10,000 subusers in make scale, a hundredth of
// that otherwise.
func domainCount() (domains, subusers int, full bool) {
	if os.Getenv("POSTERN_SOAK") == "1" {
		return 100_000, 10_000, true
	}
	return 1000, 100, false
}

// TestScaleDomains starts the real binary with many proven domains and serves
// their zone: time and memory, what logging in and sending takes, how soon a
// change acts and what it costs, answers and transfers of the zone.
func TestScaleDomains(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	n, subusers, full := domainCount()
	port := freeOn(t, primaryHost, secondaryHost)
	r := newNode(t, "", fmt.Sprintf("[dns]\nzone = %q\nlisten = [%q]\nname_servers = [%q, %q]\nsecondaries = [%q]\nanswers_per_second = 0\nallow_networks = [\"127.0.0.0/8\"]\nask_port = %s\n",
		secondZone, net.JoinHostPort(primaryHost, port), "ns1.relay.test", "ns2.relay.test", net.JoinHostPort(secondaryHost, port), port))
	r.domainTemplates(t, "test")
	r.restart(t)
	r.settle(full)
	emptyRSS, emptyHeap := r.rss(t), r.heap(t)
	sends := 20
	if full {
		sends = 1000
	}
	own := credential{"apikey", r.APIKey}
	r.latency(t, "empty, as an asserted domain", sends, func(int) (credential, string) { return own, "sender.test" })
	must(t, r.stop(40*time.Second))

	m := r.fillDomains(t, n, subusers, later)
	var ready []time.Duration
	for range 3 {
		ready = append(ready, r.restart(t))
	}
	r.settle(full)
	rss, heap := r.rss(t), r.heap(t)
	t.Logf("%d domains, %d subusers and keys: ready after %v", n, subusers, ready)
	t.Logf("memory %.1f MiB, of it %.1f MiB heap; empty %.1f and %.1f MiB; a domain: %.0f octets, of them %.0f heap",
		mib(rss), mib(heap), mib(emptyRSS), mib(emptyHeap), float64(rss-emptyRSS)/float64(n), float64(heap-emptyHeap)/float64(n))
	r.latency(t, "full, each as another domain", sends, func(i int) (credential, string) {
		i = i * 7919 % n
		return m.key(i), m.names[i]
	})
	r.changes(t, m, full)
	r.zoneAnswers(t, m, net.JoinHostPort(primaryHost, port), full)
	r.zoneTransfer(t, port, n)
	if full && rss-emptyRSS > int64(n)*16<<10 {
		t.Errorf("%d octets a domain", (rss-emptyRSS)/int64(n))
	}
	if full && ready[0] > 20*time.Second {
		t.Errorf("ready after %v", ready[0])
	}
}

// latency logs in and sends again and again, on a connection each.
func (r *ownRelay) latency(t testing.TB, what string, sends int, as func(i int) (credential, string)) {
	t.Helper()
	conf, from := clientTLS(t, r), &loopbacks{}
	var logins, ends []time.Duration
	before := r.cpu(t)
	for i := range sends {
		c, domain := as(i)
		s, err := dialSMTP(from.next(), r.SMTPTLS, conf, c)
		must(t, err)
		start := time.Now()
		must(t, s.say(strings.TrimSpace(string(s.line)), "235"))
		logins = append(logins, time.Since(start))
		must(t, s.envelope(domain))
		start = time.Now()
		must(t, s.say(".", "250"))
		ends = append(ends, time.Since(start))
		s.close()
	}
	cpu := r.cpu(t) - before
	t.Logf("%s: AUTH to 235 %s; end of data to 250 %s; CPU of a session with one message %v", what, quantiles(logins), quantiles(ends), (cpu / time.Duration(sends)).Round(time.Microsecond))
}

// envelope brings a session to the end of a message from a domain.
func (s *smtpStranger) envelope(domain string) error {
	for _, step := range [][2]string{{"MAIL FROM:<a@" + domain + ">", "250"}, {"RCPT TO:<b@rcpt.example>", "250"}, {"DATA", "354"}} {
		if err := s.say(step[0], step[1]); err != nil {
			return err
		}
	}
	_, err := s.conn.Write([]byte("From: a@" + domain + "\r\nTo: b@rcpt.example\r\nSubject: one of many\r\n\r\nx\r\n"))
	return err
}

// quantiles writes the median, 99 % and the longest.
func quantiles(ds []time.Duration) string {
	slices.Sort(ds)
	ms := func(q float64) float64 { return ds[int(q*float64(len(ds)-1))].Seconds() * 1000 }
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, longest %.2f ms", ms(0.5), ms(0.99), ms(1))
}

// changes removes domains one by one: each must be refused at the next end of
// data, and the whole must not take the relay's time.
func (r *ownRelay) changes(t testing.TB, m *manyDomains, full bool) {
	t.Helper()
	conf := clientTLS(t, r)
	rounds := 3
	if full {
		rounds = 15
	}
	idle := r.cpu(t)
	time.Sleep(time.Duration(rounds) * time.Second)
	idle = r.cpu(t) - idle
	var answered, acted []time.Duration
	before := r.cpu(t)
	for i := range rounds {
		s, err := dialSMTP(nil, r.SMTPTLS, conf, m.key(i))
		must(t, err)
		must(t, s.say(strings.TrimSpace(string(s.line)), "235"))
		began := time.Now()
		must(t, r.v3(t.Context(), "DELETE", fmt.Sprintf("/whitelabel/domains/%d", 1000+i), nil, nil))
		done := time.Now()
		answered = append(answered, done.Sub(began))
		for {
			must(t, s.envelope(m.names[i]))
			asked := time.Now()
			if err = s.say(".", "550"); err == nil {
				acted = append(acted, asked.Sub(done))
				break
			}
			if asked.Sub(done) > 5*time.Second {
				t.Fatalf("%s may still be used: %v", m.names[i], err)
			}
		}
		s.close()
		time.Sleep(time.Second - time.Since(began)) // each shows in the zone by itself
	}
	cpu := r.cpu(t) - before
	t.Logf("%d domains removed: answered after %s; refused at the next end of data, %s after that; CPU of each with all that follows %v (idle for as long: %v)",
		rounds, quantiles(answered), quantiles(acted), (cpu / time.Duration(rounds)).Round(100*time.Microsecond), (idle / time.Duration(rounds)).Round(100*time.Microsecond))
}

// zoneAnswers asks over UDP from several sockets, one question after the other on
// each, for names of all kinds at random domains.
func (r *ownRelay) zoneAnswers(t testing.TB, m *manyDomains, addr string, full bool) {
	t.Helper()
	seconds, sockets := time.Second, 16
	if full {
		seconds = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), seconds)
	defer cancel()
	var answers, wrong atomic.Int64
	var wg sync.WaitGroup
	before, start := r.cpu(t), time.Now()
	for range sockets {
		wg.Go(func() {
			c, err := mdns.DialTimeout("udp", addr, time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for ctx.Err() == nil {
				q := new(mdns.Msg)
				name, typ := m.zoneName(rand.IntN(len(m.tokens)))
				q.SetQuestion(name+".", typ)
				q.SetEdns0(1232, false)
				a, _, err := (&mdns.Client{Timeout: 5 * time.Second}).ExchangeWithConn(q, c)
				switch {
				case err != nil || a.Rcode != mdns.RcodeSuccess || len(a.Answer) == 0:
					wrong.Add(1)
				default:
					answers.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took, cpu := time.Since(start), r.cpu(t)-before
	n := answers.Load()
	t.Logf("zone: %d answers in %v, %.0f a second, CPU of each %v", n, took.Round(time.Millisecond), float64(n)/took.Seconds(), (cpu / time.Duration(max(n, 1))).Round(100*time.Nanosecond))
	if wrong.Load() > n/100 { // a busy machine may lose a packet
		t.Errorf("%d answers were wrong or did not come, %d were right", wrong.Load(), n)
	}
}

// zoneName is a name of domain i in the relay's zone.
func (m *manyDomains) zoneName(i int) (string, uint16) {
	host := "u" + m.tokens[i] + ".wl." + secondZone
	switch rand.IntN(4) {
	case 0:
		return host, mdns.TypeMX
	case 1:
		return host, mdns.TypeTXT
	case 2:
		return "s1e.domainkey." + host, mdns.TypeTXT
	}
	return "s1.domainkey." + host, mdns.TypeTXT
}

// zoneTransfer copies the zone by programs that others wrote: dig, and nsd, which
// is told of a change and has it soon.
func (r *ownRelay) zoneTransfer(t *testing.T, port string, domains int) {
	t.Helper()
	dig := external(t, "dig")
	peak := r.memory(t, "VmHWM:")
	before, start := r.cpu(t), time.Now()
	res := command{args: []string{dig, "@" + primaryHost, "-p", port, "-b", secondaryHost, secondZone, "AXFR"}, limit: 5 * time.Minute}.run(t)
	took := time.Since(start)
	records := strings.Count(res.out, "\n"+"u") + strings.Count(res.out, "\ns")
	size := "no size"
	if i := strings.Index(res.out, ";; XFR size: "); i >= 0 {
		size, _, _ = strings.Cut(res.out[i+3:], "\n")
	}
	t.Logf("AXFR by dig: %v, %s; CPU %v; memory at most %.1f MiB, before %.1f", took.Round(time.Millisecond), size, (r.cpu(t) - before).Round(time.Millisecond), mib(r.memory(t, "VmHWM:")), mib(peak))
	if records < 4*domains {
		t.Fatalf("AXFR has %d records of %d domains:\n%.500s", records, domains, res.out)
	}
	start = time.Now()
	nsd := nsdSecondary(t, port)
	must(t, nsd.waitUntil(5*time.Minute, func() bool {
		return askAt(secondaryHost, port, secondZone, mdns.TypeSOA) == askAt(primaryHost, port, secondZone, mdns.TypeSOA)
	}))
	t.Logf("nsd has the zone %v after its start", time.Since(start).Round(time.Millisecond))
	for i := range 3 {
		var made struct {
			Records []struct{ Value string } `json:"records"`
		}
		must(t, r.v3(t.Context(), "POST", "/whitelabel/domains", map[string]any{"domain": fmt.Sprintf("new-%d.test", i), "automatic_security": true}, &made))
		start = time.Now()
		name := made.Records[0].Value // the return path's
		must(t, nsd.waitUntil(5*time.Minute, func() bool {
			return strings.Contains(askAt(secondaryHost, port, strings.TrimSuffix(name, "."), mdns.TypeMX), "NOERROR\n")
		}))
		t.Logf("nsd answers for a new domain %v after it was made", time.Since(start).Round(time.Millisecond))
	}
	time.Sleep(2 * time.Second)
	t.Logf("memory after all transfers %.1f MiB, at most %.1f", mib(r.rss(t)), mib(r.memory(t, "VmHWM:")))
}
