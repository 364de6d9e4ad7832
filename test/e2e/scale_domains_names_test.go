package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	manyHosts    = 25 // DNS hosts of the customers, with two name servers each
	manyResolver = "127.77.0.53"
	manyRegistry = "127.77.0.1"
)

// manyNames are the zones of many customers, as delegated from "test" to a few
// DNS hosts: every name server is an address of its own on this machine, whose
// questions are counted by the second. It stands for the resolver, too.
type manyNames struct {
	*manyDomains
	port   string
	hosts  int            // DNS hosts that the customers use
	number map[string]int // of a domain

	mu    sync.Mutex
	asked map[string]map[int64]int // by address and second
}

func newManyNames(t *testing.T) *manyNames {
	t.Helper()
	hosts := []string{primaryHost, manyResolver, manyRegistry}
	for h := range manyHosts {
		hosts = append(hosts, hostAddr(h, 1), hostAddr(h, 2))
	}
	w := &manyNames{port: freeOn(t, hosts...), manyDomains: &manyDomains{}, hosts: manyHosts, asked: map[string]map[int64]int{}}
	for _, host := range hosts[1:] {
		pc, err := net.ListenPacket("udp", net.JoinHostPort(host, w.port))
		must(t, err)
		s := &mdns.Server{PacketConn: pc, Handler: mdns.HandlerFunc(func(rw mdns.ResponseWriter, q *mdns.Msg) { w.serve(host, rw, q) })}
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return w
}

func hostAddr(h, n int) string { return fmt.Sprintf("127.77.%d.%d", 1+h, n) }

// filled says which domains there are, and how many DNS hosts they share.
func (w *manyNames) filled(m *manyDomains, hosts int) {
	number := make(map[string]int, len(m.names))
	for i, name := range m.names {
		number[name] = i
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.manyDomains, w.number, w.hosts, w.asked = m, number, hosts, map[string]map[int64]int{}
}

// questions is the most that any name server but the resolver was asked within a
// second and in all, and what all of them were asked.
func (w *manyNames) questions() (second, server, all int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for host, seconds := range w.asked {
		if host == manyResolver {
			continue
		}
		sum := 0
		for _, n := range seconds {
			second, sum = max(second, n), sum+n
		}
		server, all = max(server, sum), all+sum
	}
	return second, server, all
}

func (w *manyNames) serve(host string, rw mdns.ResponseWriter, q *mdns.Msg) {
	w.mu.Lock()
	if w.asked[host] == nil {
		w.asked[host] = map[int64]int{}
	}
	w.asked[host][time.Now().Unix()]++
	at := &customers{w.manyDomains, w.number, w.hosts, w.port}
	w.mu.Unlock()
	a := new(mdns.Msg)
	a.SetReply(q)
	name, typ := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, ".")), q.Question[0].Qtype
	switch host {
	case manyResolver:
		a.RecursionAvailable = true
		at.resolve(a, name, typ)
	case manyRegistry:
		if ns := at.delegation(name); ns != nil {
			a.Ns = ns
		} else {
			a.Authoritative = true
			at.records(a, name, typ)
		}
	default:
		a.Authoritative = true
		at.records(a, name, typ)
	}
	_ = rw.WriteMsg(a)
}

// customers are what the names of customers are made of.
type customers struct {
	*manyDomains
	number map[string]int
	hosts  int
	port   string
}

// zoneOf is the customer's zone that a name is in.
func (w *customers) zoneOf(name string) (zone string, i int, ok bool) {
	labels := strings.Split(name, ".")
	if len(labels) < 2 {
		return "", 0, false
	}
	zone = strings.Join(labels[len(labels)-2:], ".")
	i, ok = w.number[zone]
	return zone, i, ok
}

func (w *customers) delegation(name string) []mdns.RR {
	if strings.HasSuffix("."+name, "."+secondZone) {
		return records(secondZone+". NS ns1.relay.test.", secondZone+". NS ns2.relay.test.")
	}
	zone, i, ok := w.zoneOf(name)
	if !ok {
		return nil
	}
	return records(fmt.Sprintf("%s. NS ns1.host%d.test.", zone, i%w.hosts), fmt.Sprintf("%s. NS ns2.host%d.test.", zone, i%w.hosts))
}

// resolve answers as a resolver that knows everything.
func (w *customers) resolve(a *mdns.Msg, name string, typ uint16) {
	for range 4 {
		if strings.HasSuffix("."+name, "."+secondZone) && typ != mdns.TypeNS {
			q := new(mdns.Msg)
			q.SetQuestion(name+".", typ)
			r, _, err := (&mdns.Client{Timeout: time.Second}).Exchange(q, net.JoinHostPort(primaryHost, w.port))
			if err != nil {
				a.Rcode = mdns.RcodeServerFailure
				return
			}
			a.Rcode, a.Answer = r.Rcode, append(a.Answer, r.Answer...)
			return
		}
		w.records(a, name, typ)
		if len(a.Answer) == 0 || typ == mdns.TypeCNAME {
			return
		}
		alias, ok := a.Answer[len(a.Answer)-1].(*mdns.CNAME)
		if !ok {
			return
		}
		name = strings.TrimSuffix(alias.Target, ".")
	}
}

// records are what the owners of the domains published.
func (w *customers) records(a *mdns.Msg, name string, typ uint16) {
	var out []string
	zone, i, customer := w.zoneOf(name)
	first, _, _ := strings.Cut(name, ".")
	host := ""
	if customer {
		host = "u" + w.tokens[i] + ".wl." + secondZone + "."
	}
	switch {
	case name == "test":
		out = []string{"NS a.nic.test."}
	case name == "a.nic.test":
		out = []string{"A " + manyRegistry}
	case name == "relay.sender.test", name == "ns1.relay.test", name == "ns2.relay.test":
		out = []string{"A " + primaryHost}
	case name == secondZone:
		out = []string{"NS ns1.relay.test.", "NS ns2.relay.test."}
	case strings.HasPrefix(name, "ns") && strings.Contains(name, ".host"):
		var n, h int
		if _, err := fmt.Sscanf(name, "ns%d.host%d.test", &n, &h); err == nil {
			out = []string{"A " + hostAddr(h, n)}
		}
	case !customer:
	case name == zone:
		out = []string{"TXT \"v=spf1 -all\"", fmt.Sprintf("NS ns1.host%d.test.", i%w.hosts), fmt.Sprintf("NS ns2.host%d.test.", i%w.hosts)}
	case name == "_dmarc."+zone:
		out = []string{`TXT "v=DMARC1; p=reject"`}
	case name == fmt.Sprintf("em%d.%s", 1000+i, zone):
		out = []string{"CNAME " + host}
	case name == first+"._domainkey."+zone && slices.Contains([]string{"s1", "s2", "s1e", "s2e"}, first):
		out = []string{"CNAME " + first + ".domainkey." + host}
	}
	if out == nil {
		a.Rcode = mdns.RcodeNameError
	}
	for _, r := range out {
		rr := records(name + ". " + r)[0]
		if t := rr.Header().Rrtype; t == typ || t == mdns.TypeCNAME {
			a.Answer = append(a.Answer, rr)
		}
	}
}

func records(lines ...string) (out []mdns.RR) {
	for _, line := range lines {
		rr, err := mdns.NewRR(strings.Replace(line, " ", " 60 IN ", 1))
		if err != nil {
			panic(err) // a mistake of the test's
		}
		out = append(out, rr)
	}
	return out
}
