package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// realZones are DNS zones served by nsd, with unbound as the resolver in front,
// until the test ends. zones maps a zone's name to its records (without SOA and
// NS). It returns unbound's address.
func realZones(t testing.TB, zones map[string]string) string {
	t.Helper()
	nsd, unbound := external(t, "nsd"), external(t, "unbound")
	dir := t.TempDir()
	authority, resolver := freeDNS(t), freeDNS(t)

	var conf, stubs strings.Builder
	fmt.Fprintf(&conf, "server:\n  ip-address: %s\n  username: \"\"\n  chroot: \"\"\n  zonesdir: %q\n  pidfile: %q\n  xfrdfile: %q\n  zonelistfile: %q\n  xfrdir: %q\n  database: \"\"\n  server-count: 1\n  do-ip6: no\n  verbosity: 1\nremote-control:\n  control-enable: no\n",
		strings.Replace(authority, ":", "@", 1), dir, dir+"/nsd.pid", dir+"/xfrd.state", dir+"/zone.list", dir)
	for name, records := range zones {
		zone := fmt.Sprintf("$ORIGIN %s.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n%s", name, records)
		write(t, filepath.Join(dir, name+".zone"), zone)
		fmt.Fprintf(&conf, "zone:\n  name: %s\n  zonefile: %s.zone\n", name, name)
		fmt.Fprintf(&stubs, "stub-zone:\n  name: %s\n  stub-addr: %s\n", name, strings.Replace(authority, ":", "@", 1))
	}
	write(t, filepath.Join(dir, "nsd.conf"), conf.String())
	host, port := split(t, resolver)
	// Nothing leaves this machine: what is not in the zones ends at nsd, too, which refuses it.
	write(t, filepath.Join(dir, "unbound.conf"), fmt.Sprintf("server:\n  interface: %s\n  port: %s\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: %q\n  use-syslog: no\n  logfile: \"\"\n  access-control: 127.0.0.0/8 allow\n  do-not-query-localhost: no\n  do-ip6: no\n  module-config: \"iterator\"\n  local-zone: \"test.\" nodefault\n%sforward-zone:\n  name: \".\"\n  forward-addr: %s\n",
		host, port, dir, dir+"/unbound.pid", stubs.String(), strings.Replace(authority, ":", "@", 1)))

	serve(t, filepath.Join(dir, "nsd.log"), authority, nsd, "-d", "-c", filepath.Join(dir, "nsd.conf"))
	serve(t, filepath.Join(dir, "unbound.log"), resolver, unbound, "-d", "-c", filepath.Join(dir, "unbound.conf"))
	return resolver
}

// serve runs a name server until the test ends and waits until it answers.
func serve(t testing.TB, log, addr string, args ...string) {
	t.Helper()
	p, err := startProcess(log, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", args[0], p.tail())
		}
		if err := p.stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	err = p.waitUntil(20*time.Second, func() bool {
		q := new(dns.Msg)
		q.SetQuestion("ready.test.", dns.TypeA)
		_, _, err := (&dns.Client{Timeout: time.Second}).Exchange(q, addr)
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// freeDNS returns an address on loopback whose port is free for UDP and TCP.
func freeDNS(t testing.TB) string {
	t.Helper()
	for range 20 {
		addr := freeAddr(t)
		if p, err := net.ListenPacket("udp", addr); err == nil {
			p.Close()
			return addr
		}
	}
	t.Fatal("no port is free for both UDP and TCP")
	return ""
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The zones behave as zones do, so that what is tested on top of them means something.
func TestRealZones(t *testing.T) {
	t.Parallel()
	resolver := realZones(t, map[string]string{
		"receiver.test": "@ MX 10 mx\nmx A 127.0.0.1\n",
		"nullmx.test":   "@ MX 0 .\n",
	})
	for _, c := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string
	}{
		{"receiver.test.", dns.TypeMX, dns.RcodeSuccess, "10 mx.receiver.test."},
		{"mx.receiver.test.", dns.TypeA, dns.RcodeSuccess, "127.0.0.1"},
		{"nullmx.test.", dns.TypeMX, dns.RcodeSuccess, "0 ."},
		{"receiver.test.", dns.TypeTXT, dns.RcodeSuccess, ""},
		{"none.receiver.test.", dns.TypeMX, dns.RcodeNameError, ""},
	} {
		q := new(dns.Msg)
		q.SetQuestion(c.name, c.kind)
		a, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(q, resolver)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if a.Rcode != c.rcode {
			t.Errorf("%s %s: %s, want %s", c.name, dns.TypeToString[c.kind], dns.RcodeToString[a.Rcode], dns.RcodeToString[c.rcode])
		}
		var got string
		for _, rr := range a.Answer {
			got = strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		if got != c.want {
			t.Errorf("%s %s: %q, want %q", c.name, dns.TypeToString[c.kind], got, c.want)
		}
	}
}
