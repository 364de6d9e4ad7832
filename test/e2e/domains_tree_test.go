package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// nameTree is a piece of the real DNS on loopback, nobody of which was written
// here: "example" on an nsd of its own, the zones below it on two nsds that share
// their files, all of it signed, and unbound, which validates, in front. Every
// name server listens at the same port, each at an address of its own. The relay
// and a secondary of its zone have addresses in it, too.
type nameTree struct {
	port    string
	net     string // the first three octets of the addresses
	dir     string
	plain53 bool // unbound answers at port 53 too, for programs that know no other

	mu      sync.Mutex // one change at a time
	serial  int
	keys    map[string]string // of signed zones: the file name of their key, without its end
	servers []*process        // of the zones below example
}

// The last octet of the tree's addresses.
const (
	hostParent    = 10 // nsd for "example"
	hostFirst     = 11 // nsd for the zones below
	hostOther     = 12 // another one
	hostResolver  = 20 // unbound
	hostZone      = 21 // the relay's own zone
	hostSecondary = 22 // nsd as its secondary
	hostRelay     = 25 // the relay's mail exchanger
	hostReceiver  = 40 // receiver.example's mail exchanger
)

// relayZone is the zone that the relay serves; the one above it has its hosts.
const (
	relayParent = "relay.example"
	relayZone   = "mail.relay.example"
	relayHost   = "mx.relay.example"
)

// cacheLife is how long unbound keeps an answer, in seconds: what the tests wait
// for has no real time to pass.
const cacheLife = 1

// newNameTree runs a tree with these zones, which are nearly empty at first, and
// those of the relay and of receivers.
func newNameTree(t testing.TB, zones ...string) *nameTree {
	t.Helper()
	for _, p := range []string{"nsd", "unbound", "ldns-keygen", "ldns-signzone"} {
		external(t, p)
	}
	tree := &nameTree{dir: t.TempDir(), keys: map[string]string{}, plain53: os.Geteuid() == 0}
	tree.place(t)
	zones = append(zones, relayParent, "receiver.example")
	ds := ""
	for _, zone := range zones {
		tree.keys[zone] = tree.keygen(t, zone)
		text, err := os.ReadFile(filepath.Join(tree.dir, tree.keys[zone]+".ds"))
		ensure(t, err)
		ds += string(text)
	}
	parent := ds
	for _, zone := range zones {
		label := strings.TrimSuffix(zone, ".example")
		parent += fmt.Sprintf("%[1]s NS a.%[1]s\n%[1]s NS b.%[1]s\na.%[1]s A %[2]s\nb.%[1]s A %[3]s\n", label, tree.host(hostFirst), tree.host(hostOther))
	}
	tree.keys["example"] = tree.keygen(t, "example")
	tree.write(t, "example", hostParent, hostParent, parent)
	first := map[string]string{
		relayParent: fmt.Sprintf("mx A %s\nmx TXT \"v=spf1 a -all\"\nns1 A %s\nns2 A %s\nmail NS ns1\nmail NS ns2\n",
			tree.host(hostRelay), tree.host(hostZone), tree.host(hostSecondary)),
		"receiver.example": "@ MX 10 mx\nmx A " + tree.host(hostReceiver) + "\n",
	}
	for _, zone := range zones {
		tree.write(t, zone, hostFirst, hostOther, first[zone])
	}
	tree.nsd(t, hostParent, "example")
	tree.servers = []*process{tree.nsd(t, hostFirst, zones...), tree.nsd(t, hostOther, zones...)}
	tree.unbound(t, zones)
	return tree
}

// host is an address of the tree, at its port: host:port.
func (tree *nameTree) host(n int) string { return tree.net + strconv.Itoa(n) }
func (tree *nameTree) addr(n int) string { return net.JoinHostPort(tree.host(n), tree.port) }

// trees counts those of this process.
var trees struct {
	mu sync.Mutex
	n  int
}

// place finds a network and a port that nobody uses: other tests have trees too.
func (tree *nameTree) place(t testing.TB) {
	t.Helper()
	trees.mu.Lock()
	defer trees.mu.Unlock()
	for range 100 {
		trees.n++
		tree.net = fmt.Sprintf("127.%d.%d.", 64+os.Getpid()%64, trees.n)
		if tree.plain53 && !tree.free(hostResolver, "53") {
			continue
		}
	next:
		for range 20 {
			_, tree.port = split(t, freeDNS(t))
			for _, n := range []int{hostParent, hostFirst, hostOther, hostResolver, hostZone, hostSecondary} {
				if !tree.free(n, tree.port) {
					continue next
				}
			}
			return
		}
	}
	t.Fatal("no network on loopback is free")
}

func (tree *nameTree) free(n int, port string) bool {
	addr := net.JoinHostPort(tree.host(n), port)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	p, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	p.Close()
	return true
}

func (tree *nameTree) keygen(t testing.TB, zone string) string {
	t.Helper()
	r := command{args: []string{external(t, "ldns-keygen"), "-a", "ECDSAP256SHA256", "-k", zone}, dir: tree.dir}.run(t)
	if r.code != 0 {
		t.Fatal(r.out)
	}
	return strings.TrimSpace(r.out)
}

// write makes a zone's file anew, signed.
func (tree *nameTree) write(t testing.TB, zone string, a, b int, records string) {
	t.Helper()
	tree.serial++
	text := fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n@ SOA a hostmaster %d 3600 600 86400 60\n@ NS a\na A %s\n", zone, tree.serial, tree.host(a))
	if a != b {
		text += "@ NS b\nb A " + tree.host(b) + "\n"
	}
	draft := filepath.Join(tree.dir, zone+".draft")
	write(t, draft, text+records)
	if r := (command{args: []string{external(t, "ldns-signzone"), "-o", zone, "-f", draft + ".signed", draft, tree.keys[zone]}, dir: tree.dir}).run(t); r.code != 0 {
		t.Fatalf("%s\n%s", r.out, text+records)
	}
	ensure(t, os.Rename(draft+".signed", filepath.Join(tree.dir, zone+".zone")))
}

// publish gives a zone these records, and no others, at both of its name servers,
// and waits until caches have forgotten what was there.
func (tree *nameTree) publish(t testing.TB, zone, records string) {
	t.Helper()
	tree.mu.Lock()
	defer tree.mu.Unlock()
	tree.write(t, zone, hostFirst, hostOther, records)
	want := fmt.Sprintf(" %d 3600 600 86400 60", tree.serial)
	for i, n := range []int{hostFirst, hostOther} {
		p, asked := tree.servers[i], time.Time{}
		err := p.waitUntil(30*time.Second, func() bool {
			if time.Since(asked) > 2*time.Second { // nsd looks at its files when it is told to
				asked = time.Now()
				_ = p.cmd.Process.Signal(syscall.SIGHUP)
			}
			return strings.Contains(askAt(tree.host(n), tree.port, zone, mdns.TypeSOA), want)
		})
		if err != nil {
			t.Fatalf("%s has no serial %d: %v", zone, tree.serial, err)
		}
	}
	// Nothing tells when unbound has forgotten, which counts in whole seconds.
	time.Sleep((cacheLife+1)*time.Second + 100*time.Millisecond)
}

func (tree *nameTree) nsd(t testing.TB, n int, zones ...string) *process {
	t.Helper()
	more := ""
	for _, z := range zones {
		more += fmt.Sprintf("zone:\n  name: %s\n  zonefile: %s.zone\n", z, z)
	}
	return tree.nsdWith(t, n, more)
}

func (tree *nameTree) nsdWith(t testing.TB, n int, zones string) *process {
	t.Helper()
	dir := filepath.Join(tree.dir, strconv.Itoa(n))
	ensure(t, os.MkdirAll(dir, 0o755))
	conf := fmt.Sprintf("server:\n  ip-address: %s@%s\n  username: \"\"\n  chroot: \"\"\n  zonesdir: %q\n  pidfile: %q\n  xfrdfile: %q\n  zonelistfile: %q\n  xfrdir: %q\n  database: \"\"\n  server-count: 1\n  do-ip6: no\n  verbosity: 1\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n%s",
		tree.host(n), tree.port, tree.dir, dir+"/nsd.pid", dir+"/xfrd.state", dir+"/zone.list", dir, zones)
	write(t, filepath.Join(dir, "nsd.conf"), conf)
	return running(t, filepath.Join(dir, "nsd.log"), tree.addr(n), external(t, "nsd"), "-d", "-c", filepath.Join(dir, "nsd.conf"))
}

// secondary runs an nsd that transfers the relay's zone and is told of changes.
func (tree *nameTree) secondary(t testing.TB) *process {
	t.Helper()
	return tree.nsdWith(t, hostSecondary, fmt.Sprintf("zone:\n  name: %s\n  zonefile: %q\n  request-xfr: %s@%s NOKEY\n  allow-notify: %s NOKEY\n  outgoing-interface: %s\n",
		relayZone, filepath.Join(tree.dir, "secondary.zone"), tree.host(hostZone), tree.port, tree.host(hostZone), tree.host(hostSecondary)))
}

func (tree *nameTree) unbound(t testing.TB, zones []string) {
	t.Helper()
	stubs := fmt.Sprintf("stub-zone:\n  name: example\n  stub-addr: %s@%s\n", tree.host(hostParent), tree.port)
	for _, z := range zones {
		stubs += fmt.Sprintf("stub-zone:\n  name: %s\n  stub-addr: %s@%s\n  stub-addr: %s@%s\n", z, tree.host(hostFirst), tree.port, tree.host(hostOther), tree.port)
	}
	stubs += fmt.Sprintf("stub-zone:\n  name: %s\n  stub-addr: %s@%s\n  stub-addr: %s@%s\n", relayZone, tree.host(hostZone), tree.port, tree.host(hostSecondary), tree.port)
	at := fmt.Sprintf("  interface: %s@%s\n", tree.host(hostResolver), tree.port)
	if tree.plain53 {
		at += fmt.Sprintf("  interface: %s@53\n", tree.host(hostResolver))
	}
	conf := filepath.Join(tree.dir, "unbound.conf")
	write(t, conf, fmt.Sprintf("server:\n%s  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: %q\n  use-syslog: no\n  logfile: \"\"\n  access-control: 127.0.0.0/8 allow\n  do-not-query-localhost: no\n  do-ip6: no\n  num-threads: 1\n  module-config: \"validator iterator\"\n  trust-anchor-file: %q\n  local-zone: \"example.\" transparent\n  local-zone: \".\" static\n  cache-max-ttl: %[5]d\n  cache-max-negative-ttl: %[5]d\n  infra-host-ttl: 1\n  val-bogus-ttl: 1\n%[6]s",
		at, tree.dir, tree.dir+"/unbound.pid", filepath.Join(tree.dir, tree.keys["example"]+".key"), cacheLife, stubs))
	running(t, filepath.Join(tree.dir, "unbound.log"), tree.addr(hostResolver), external(t, "unbound"), "-d", "-c", conf)
}

// running starts a name server and waits until it answers anything.
func running(t testing.TB, log, addr string, args ...string) *process {
	t.Helper()
	p, err := startProcess(log, args...)
	ensure(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], p.tail())
		}
		if err := p.stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	ensure(t, p.waitUntil(30*time.Second, func() bool {
		q := new(mdns.Msg)
		q.SetQuestion("ready.example.", mdns.TypeA)
		_, _, err := (&mdns.Client{Timeout: time.Second}).Exchange(q, addr)
		return err == nil
	}))
	return p
}

// resolve asks unbound, as any receiver would; secure says that it vouches for
// the answer.
func (tree *nameTree) resolve(name string, typ uint16) (rrs []string, secure bool, rcode int) {
	q := new(mdns.Msg)
	q.SetQuestion(mdns.Fqdn(name), typ)
	q.SetEdns0(1232, true)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, _, err := (&mdns.Client{Net: "tcp"}).ExchangeContext(ctx, q, tree.addr(hostResolver))
	if err != nil {
		return nil, false, -1
	}
	for _, rr := range a.Answer {
		if rr.Header().Rrtype == typ {
			rrs = append(rrs, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	return rrs, a.AuthenticatedData, a.Rcode
}

// The tree is what it says: signed, served by two, changed at once, and bogus
// where somebody meddles.
func TestNameTree(t *testing.T) {
	t.Parallel()
	tree := newNameTree(t, "customer.example")
	for i, want := range []string{"one", "two"} {
		tree.publish(t, "customer.example", "@ TXT "+want+"\n")
		for _, n := range []int{hostFirst, hostOther} {
			if got := askAt(tree.host(n), tree.port, "customer.example", mdns.TypeTXT); !strings.Contains(got, `"`+want+`"`) {
				t.Errorf("%s: %s", tree.host(n), got)
			}
		}
		rrs, secure, rcode := tree.resolve("customer.example", mdns.TypeTXT)
		if len(rrs) != 1 || rrs[0] != `"`+want+`"` || !secure || rcode != 0 {
			t.Errorf("change %d: unbound says %q, secure %v, rcode %d", i, rrs, secure, rcode)
		}
	}
	if _, secure, rcode := tree.resolve("nobody.customer.example", mdns.TypeTXT); rcode != mdns.RcodeNameError || !secure {
		t.Errorf("absent name: rcode %d, secure %v", rcode, secure)
	}
	if _, _, rcode := tree.resolve("example.org", mdns.TypeA); rcode != mdns.RcodeNameError && rcode != mdns.RcodeRefused {
		t.Errorf("a name of the world outside: rcode %d", rcode)
	}
	// Somebody changes the zone without its key.
	tree.keys["customer.example"], tree.keys["other"] = tree.keygen(t, "customer.example"), tree.keys["customer.example"]
	tree.publish(t, "customer.example", "@ TXT forged\n")
	if rrs, _, rcode := tree.resolve("customer.example", mdns.TypeTXT); rcode != mdns.RcodeServerFailure {
		t.Errorf("a zone signed by a stranger: %q, rcode %d", rrs, rcode)
	}
}
