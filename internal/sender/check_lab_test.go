package sender

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
	"postern/internal/secret"
)

// labName is what stands at a name.
type labName struct {
	cname string
	txt   [][]string
	mx    []dns.MX
}

// labServer is one name server; err: it does not answer.
type labServer struct {
	err   error
	names map[string]labName
}

// lab is a domain's name servers. It implements Asker.
type lab struct {
	mu       sync.Mutex
	zone     string
	order    []string
	servers  map[string]*labServer
	secure   bool
	resolved error
	err      error // no name servers can be found
	asked    int
	before   func() // called before each answer
}

func newLab(zone string, servers ...string) *lab {
	l := &lab{zone: zone, servers: map[string]*labServer{}}
	if len(servers) == 0 {
		servers = []string{"ns1.host.test", "ns2.host.test"}
	}
	for _, s := range servers {
		l.order = append(l.order, s)
		l.servers[s] = &labServer{names: map[string]labName{}}
	}
	return l
}

// Ask implements Asker.
func (l *lab) Ask(ctx context.Context, name, typ string) (dns.Asked, error) {
	if err := ctx.Err(); err != nil {
		return dns.Asked{}, fmt.Errorf("%w: %w", dns.ErrTemporary, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked++; l.before != nil {
		l.before()
	}
	if l.err != nil {
		return dns.Asked{}, l.err
	}
	out := dns.Asked{Zone: l.zone, Servers: l.order, Secure: l.secure, Resolved: l.resolved}
	for i, s := range l.order {
		t := dns.Told{Server: s, Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Authoritative: true}
		l.servers[s].answer(&t, strings.ToLower(name), typ)
		out.Told = append(out.Told, t)
	}
	return out, nil
}

func (s *labServer) answer(t *dns.Told, name, typ string) {
	if s.err != nil {
		t.Err = s.err
		return
	}
	n, ok := s.names[name]
	if !ok { // RFC 4592
		_, up, _ := strings.Cut(name, ".")
		n, ok = s.names["*."+up]
	}
	t.CNAME = n.cname
	switch typ {
	case "TXT":
		t.TXT = n.txt
	case "MX":
		t.MX = n.mx
	}
	switch {
	case !ok:
		t.Err = dns.ErrNotFound
	case t.CNAME == "" && len(t.TXT)+len(t.MX) == 0:
		t.Err = dns.ErrNoData
	}
}

// on changes a name at some servers; none named: all.
func (l *lab) on(name string, edit func(n *labName), servers ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(servers) == 0 {
		servers = l.order
	}
	for _, s := range servers {
		n := l.servers[s].names[name]
		edit(&n)
		l.servers[s].names[name] = n
	}
}

func (l *lab) drop(name string, servers ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(servers) == 0 {
		servers = l.order
	}
	for _, s := range servers {
		delete(l.servers[s].names, name)
	}
}

func (l *lab) fail(err error, servers ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range servers {
		l.servers[s].err = err
	}
}

// publish puts records where they belong, at all servers.
func (l *lab) publish(rs []relay.DNSRecord) {
	for _, r := range rs {
		l.on(r.Host, func(n *labName) {
			switch r.Type {
			case "CNAME":
				n.cname = r.Data
			case "TXT":
				n.txt = append(n.txt, splitTXT(r.Data))
			case "MX":
				p, host, _ := strings.Cut(r.Data, " ")
				pref, _ := strconv.Atoi(p)
				n.mx = append(n.mx, dns.MX{Host: host, Preference: uint16(pref)})
			}
		})
	}
}

func splitTXT(s string) (out []string) {
	for len(s) > 255 {
		out, s = append(out, s[:255]), s[255:]
	}
	return append(out, s)
}

// texts sets the TXT records of a name, each of one string.
func texts(values ...string) func(*labName) {
	return func(n *labName) {
		n.txt = nil
		for _, v := range values {
			n.txt = append(n.txt, []string{v})
		}
	}
}

func alias(target string) func(*labName) { return func(n *labName) { *n = labName{cname: target} } }

// bench is a domain with its records published.
type testBench struct {
	s    *Domains
	m    *domainMemory
	lab  *lab
	d    relay.Domain
	keys []relay.DKIMKey
	rs   []relay.DNSRecord
}

func newBench(tb testing.TB, automatic bool, servers ...string) *testBench {
	tb.Helper()
	s, m := newDomains(tb)
	b := &testBench{s: s, m: m, lab: newLab("acme.test", servers...)}
	s.Authority = b.lab
	s.Zone.Addresses = func(relay.Domain) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}
	}
	b.add(tb, relay.Domain{Account: acme, Name: "acme.test", Automatic: automatic, ReturnPath: AutoReturnPath, State: relay.DomainPending})
	b.rs = Records(s.Zone, b.d, b.keys)
	b.lab.publish(b.rs)
	return b
}

// testKeys are made once: RSA keys take long.
var testKeys = sync.OnceValue(func() [2]relay.DKIMKey {
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		panic(err)
	}
	s := &Domains{Sealer: sealer}
	rsa, err1 := s.newKey(relay.DomainID{}, "s1", relay.DKIMRSA, 2048)
	ed, err2 := s.newKey(relay.DomainID{}, "s1e", relay.DKIMEd25519, 0)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	rsa.Active = true
	return [2]relay.DKIMKey{rsa, ed}
})

// add makes a domain as Add does, with keys that cannot sign.
func (b *testBench) add(tb testing.TB, d relay.Domain) {
	tb.Helper()
	d.ID, d.Token, d.CreatedAt = relay.DomainID{ID: relay.NewID(b.s.now())}, newToken(), b.s.now()
	keys := testKeys()
	keys[0].Selector, keys[1].Selector = SelectorsOf(d).RSA[0], SelectorsOf(d).Ed25519[0]
	var err error
	if b.d, err = b.m.CreateDomainWithin(context.Background(), testBy, d, 0, keys[:]...); err != nil {
		tb.Fatal(err)
	}
	b.keys = keys[:]
}

// rec is one of the domain's records.
func (b *testBench) rec(key string) relay.DNSRecord {
	for _, r := range b.rs {
		if r.Key == key {
			return r
		}
	}
	panic("no record " + key)
}

func (b *testBench) examine() relay.DomainCheck {
	return b.s.Examine(context.Background(), b.d, b.keys)
}

// get is the finding with a code, of a record where one is named.
func get(c relay.DomainCheck, code, record string) (finding.Finding, bool) {
	for _, f := range c.Findings {
		if f.Code == code && (record == "" || f.Record == record) {
			return f, true
		}
	}
	return finding.Finding{}, false
}

func recordOf(c relay.DomainCheck, key string) relay.RecordCheck {
	for _, r := range c.Records {
		if r.Key == key {
			return r
		}
	}
	return relay.RecordCheck{}
}
