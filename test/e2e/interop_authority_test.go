package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"postern/internal/dns"
)

// signedTree is a small part of the real tree: "test" on one nsd, example.test
// and what is below it on another, both signed, and unbound, which validates, in
// front. All three listen at the same port.
type signedTree struct {
	port     string
	resolver string
	dir      string
}

const (
	treeParent   = "127.0.0.6"
	treeChild    = "127.0.0.7"
	treeResolver = "127.0.0.8"
)

func newSignedTree(t *testing.T) *signedTree {
	t.Helper()
	nsd, unbound, keygen, sign := external(t, "nsd"), external(t, "unbound"), external(t, "ldns-keygen"), external(t, "ldns-signzone")
	tree := &signedTree{dir: t.TempDir(), port: freeOn(t, treeParent, treeChild, treeResolver)}
	tree.resolver = net.JoinHostPort(treeResolver, tree.port)

	soa := "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n"
	tree.file(t, "example.test", soa+"@ NS ns\nns A "+treeChild+"\n@ TXT \"v=spf1 -all\"\ns1._domainkey CNAME s1.keys.other.invalid.\n_dmarc TXT \"v=DMARC1; p=none\"\n_domainkey.sub NS ns\n")
	tree.file(t, "bogus.test", soa+"@ NS ns\nns A "+treeChild+"\n@ TXT \"still here\"\n")
	tree.file(t, "plain.test", soa+"@ NS ns\nns A "+treeChild+"\n@ TXT \"unsigned\"\n")
	tree.file(t, "_domainkey.sub.example.test", soa+"@ NS ns.example.test.\ns1 TXT \"v=DKIM1; p=below\"\n")
	key := func(zone string) string {
		r := command{args: []string{keygen, "-a", "ECDSAP256SHA256", "-k", zone}, dir: tree.dir}.run(t)
		if r.code != 0 {
			t.Fatal(r.out)
		}
		return strings.TrimSpace(r.out)
	}
	signed := func(zone, key string) {
		if r := (command{args: []string{sign, "-n", zone + ".zone", key}, dir: tree.dir}).run(t); r.code != 0 {
			t.Fatal(r.out)
		}
		file := filepath.Join(tree.dir, zone+".zone")
		ensure(t, os.Rename(file+".signed", file))
	}
	ds := ""
	for _, zone := range []string{"example.test", "bogus.test"} {
		k := key(zone)
		signed(zone, k)
		text, err := os.ReadFile(filepath.Join(tree.dir, k+".ds"))
		ensure(t, err)
		ds += string(text)
	}
	// The signatures of this one no longer fit what it says.
	tree.change(t, "bogus.test", "still here", "forged")
	parent := soa + "@ NS ns\nns A " + treeParent + "\n" + ds
	for _, zone := range []string{"example", "bogus", "plain"} {
		parent += fmt.Sprintf("%s NS ns.%s\nns.%s A %s\n", zone, zone, zone, treeChild)
	}
	tree.file(t, "test", parent)
	anchor := key("test")
	signed("test", anchor)

	tree.nsd(t, nsd, treeParent, "test")
	tree.nsd(t, nsd, treeChild, "example.test", "bogus.test", "plain.test", "_domainkey.sub.example.test")
	stubs := ""
	for zone, at := range map[string]string{"test": treeParent, "example.test": treeChild, "bogus.test": treeChild, "plain.test": treeChild, "_domainkey.sub.example.test": treeChild} {
		stubs += fmt.Sprintf("stub-zone:\n  name: %s\n  stub-addr: %s@%s\n", zone, at, tree.port)
	}
	write(t, filepath.Join(tree.dir, "unbound.conf"), fmt.Sprintf("server:\n  interface: %s\n  port: %s\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: %q\n  use-syslog: no\n  logfile: \"\"\n  access-control: 127.0.0.0/8 allow\n  do-not-query-localhost: no\n  do-ip6: no\n  module-config: \"validator iterator\"\n  trust-anchor-file: %q\n  local-zone: \"test.\" nodefault\n  local-zone: \"invalid.\" static\n%s",
		treeResolver, tree.port, tree.dir, tree.dir+"/unbound.pid", filepath.Join(tree.dir, anchor+".key"), stubs))
	serve(t, filepath.Join(tree.dir, "unbound.log"), tree.resolver, unbound, "-d", "-c", filepath.Join(tree.dir, "unbound.conf"))
	return tree
}

func (tree *signedTree) file(t *testing.T, zone, text string) {
	write(t, filepath.Join(tree.dir, zone+".zone"), "$ORIGIN "+zone+".\n"+text)
}

func (tree *signedTree) change(t *testing.T, zone, from, to string) {
	t.Helper()
	name := filepath.Join(tree.dir, zone+".zone")
	text, err := os.ReadFile(name)
	ensure(t, err)
	if !strings.Contains(string(text), from) {
		t.Fatalf("no %q in %s", from, zone)
	}
	write(t, name, strings.ReplaceAll(string(text), from, to))
}

func (tree *signedTree) nsd(t *testing.T, nsd, host string, zones ...string) {
	t.Helper()
	dir := filepath.Join(tree.dir, host)
	ensure(t, os.Mkdir(dir, 0o755))
	conf := fmt.Sprintf("server:\n  ip-address: %s@%s\n  username: \"\"\n  chroot: \"\"\n  zonesdir: %q\n  pidfile: %q\n  xfrdfile: %q\n  zonelistfile: %q\n  xfrdir: %q\n  database: \"\"\n  server-count: 1\n  do-ip6: no\n  verbosity: 1\nremote-control:\n  control-enable: no\n",
		host, tree.port, tree.dir, dir+"/nsd.pid", dir+"/xfrd.state", dir+"/zone.list", dir)
	for _, z := range zones {
		conf += fmt.Sprintf("zone:\n  name: %s\n  zonefile: %s.zone\n", z, z)
	}
	write(t, filepath.Join(dir, "nsd.conf"), conf)
	serve(t, filepath.Join(dir, "nsd.log"), net.JoinHostPort(host, tree.port), nsd, "-d", "-c", filepath.Join(dir, "nsd.conf"))
}

// freeOn returns a port that is free on all these addresses.
func freeOn(t *testing.T, hosts ...string) string {
	t.Helper()
next:
	for range 20 {
		_, port := split(t, freeDNS(t))
		for _, h := range hosts {
			l, err := net.Listen("tcp", net.JoinHostPort(h, port))
			if err != nil {
				continue next
			}
			l.Close()
			p, err := net.ListenPacket("udp", net.JoinHostPort(h, port))
			if err != nil {
				continue next
			}
			p.Close()
		}
		return port
	}
	t.Fatal("no port is free on all addresses")
	return ""
}

// A domain's own servers, as nsd plays them, asked past a resolver that validates.
func TestAuthorityOnRealTree(t *testing.T) {
	t.Parallel()
	tree := newSignedTree(t)
	resolver, err := dns.NewClient(dns.Config{Servers: []string{tree.resolver}, Timeout: 10 * time.Second})
	ensure(t, err)
	ap := netip.MustParseAddrPort(tree.resolver)
	a := dns.NewAuthority(dns.AuthorityConfig{Resolver: resolver, Port: ap.Port(), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: 5 * time.Second})
	for _, tt := range []struct {
		name, typ    string
		zone, server string
		told         string // TXT, alias or error
		secure       bool
		resolved     error
	}{
		{"example.test", "TXT", "example.test", treeChild, "v=spf1 -all", true, nil},
		{"_dmarc.example.test", "TXT", "example.test", treeChild, "v=DMARC1; p=none", true, nil},
		{"s1._domainkey.example.test", "CNAME", "example.test", treeChild, "alias s1.keys.other.invalid", true, nil},
		{"nothing.example.test", "TXT", "example.test", treeChild, "not found", true, dns.ErrNotFound},
		{"_domainkey.example.test", "TXT", "example.test", treeChild, "no data", true, dns.ErrNoData},
		{"s1._domainkey.sub.example.test", "TXT", "_domainkey.sub.example.test", treeChild, "v=DKIM1; p=below", false, nil},
		{"plain.test", "TXT", "plain.test", treeChild, "unsigned", false, nil},
		// Its own servers say it, and nobody who validates will believe them.
		{"bogus.test", "TXT", "bogus.test", treeChild, "forged", false, dns.ErrTemporary},
		{"mistyped.test", "TXT", "test", treeParent, "not found", true, dns.ErrNotFound},
	} {
		got, err := a.Ask(t.Context(), tt.name, tt.typ)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got.Zone != tt.zone || len(got.Told) != 1 || got.Told[0].Addr.String() != tt.server || !got.Told[0].Authoritative {
			t.Errorf("%s: %+v", tt.name, got)
			continue
		}
		told, text := got.Told[0], ""
		switch {
		case errors.Is(told.Err, dns.ErrNotFound):
			text = "not found"
		case errors.Is(told.Err, dns.ErrNoData):
			text = "no data"
		case told.Err != nil:
			text = told.Err.Error()
		case told.CNAME != "":
			text = "alias " + told.CNAME
		case len(told.TXT) == 1:
			text = strings.Join(told.TXT[0], "")
		}
		if text != tt.told || got.Secure != tt.secure || !errors.Is(got.Resolved, tt.resolved) {
			t.Errorf("%s %s: %q, secure %v, resolved %v", tt.typ, tt.name, text, got.Secure, got.Resolved)
		}
	}
	if got := askAt(treeParent, tree.port, "example.test", mdns.TypeDS); !strings.Contains(got, "DS") {
		t.Errorf("the tree is not signed: %s", got)
	}
}
