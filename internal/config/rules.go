package config

import (
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"postern/internal/secret"
)

// maxSocketPath is what a Unix socket's address holds on Linux (unix(7)).
const maxSocketPath = 107

// hostnameText says how a host name is wrong; "" if it is one. Only A-labels:
// the name is said in replies to clients that know nothing else.
func hostnameText(s string) string {
	switch {
	case s == "":
		return "is required: the full host name of this relay"
	case strings.HasSuffix(s, "."):
		return strconv.Quote(s) + " must not end in a dot"
	case !strings.Contains(s, "."):
		return strconv.Quote(s) + " is not a full host name (no dot in it)"
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return strconv.Quote(s) + " is an address, not a host name"
	}
	return domainText(s)
}

func domainText(s string) string {
	if a, err := idna.Lookup.ToASCII(s); err != nil || a != strings.ToLower(s) || len(a) > 253 {
		return strconv.Quote(s) + " is not a host name in ASCII form (letters, digits, hyphens and dots)"
	}
	return ""
}

// addressText is a first look at a mailbox: the parser of mail decides finally,
// but a mailbox of these letters is one for everybody.
var mailbox = regexp.MustCompile(`^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+$`)

func (c *Config) checkNames(v *checker) {
	if text := hostnameText(c.Hostname); text != "" {
		v.fail("hostname", "%s", text)
	}
	switch {
	case c.DataDir == "":
		v.fail("data_dir", "is required: the directory that holds everything durable")
	case len(c.SocketPath()) > maxSocketPath:
		v.fail("data_dir", "is too long: admin.sock in it would have a path of %d octets, and a socket's path has at most %d", len(c.SocketPath()), maxSocketPath)
	}
	local, domain, _ := strings.Cut(c.Contact, "@")
	switch {
	case c.Contact == "":
		v.fail("contact", "is required: the address that gets mail for postmaster@ and abuse@")
	case !mailbox.MatchString(c.Contact) || strings.Contains(local, "..") || local[0] == '.' || local[len(local)-1] == '.' || domainText(domain) != "":
		v.fail("contact", "%q is not an email address", c.Contact)
	case strings.EqualFold(domain, c.Hostname):
		v.fail("contact", "%q is an address of this relay itself, which keeps no mailboxes; name one elsewhere", c.Contact)
	}
}

func (c *Config) checkTLS(v *checker) {
	if !secret.ValidPrefix(c.Keys.Prefix) {
		v.fail("keys.prefix", "%q is not possible: 1 to 16 letters and digits, a letter first", c.Keys.Prefix)
	}
	switch {
	case c.TLS.Certificate != "" && c.TLS.Key == "":
		v.fail("tls.key", "is missing: set certificate and key together, or neither")
	case c.TLS.Certificate == "" && c.TLS.Key != "":
		v.fail("tls.certificate", "is missing: set certificate and key together, or neither")
	}
}

// MinimumVersion is tls.minimum as crypto/tls has it.
func (t TLS) MinimumVersion() uint16 {
	if t.Minimum == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

var listenerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (c *Config) checkListeners(v *checker) {
	if len(c.Listen) == 0 {
		v.fail("listener", "is empty: a relay needs at least one [[listener]]")
	}
	names := map[string]bool{}
	taken := map[string]string{}
	for i, l := range c.Listen {
		key := "listener[" + strconv.Itoa(i) + "]"
		switch {
		case l.Name == "":
			v.fail(key+".name", "is required")
		case !listenerName.MatchString(l.Name):
			v.fail(key+".name", "%q must be at most 32 lower-case letters, digits and hyphens", l.Name)
		case names[l.Name]:
			v.fail(key+".name", "%q names two listeners", l.Name)
		}
		names[l.Name] = true
		if l.Role == RoleMX && l.TLS == TLSImplicit {
			v.fail(key+".tls", "must be \"starttls\" for role mx: mail servers do not speak TLS from the first octet")
		}
		if l.Role == RoleMX && l.NormaliseLineEnds {
			v.fail(key+".normalise_line_ends", "is for role submission only: on mx it would open the door to smuggled mail")
		}
		if len(l.Addresses) == 0 {
			v.fail(key+".addresses", "is required: at least one \"address:port\"")
		}
		seen := map[string]bool{}
		for n, m := range l.Mechanisms {
			at := key + ".mechanisms[" + strconv.Itoa(n) + "]"
			switch {
			case !slices.Contains(Mechanisms, m):
				v.fail(at, "%q is not possible; choose %s", m, quotedList(Mechanisms))
			case seen[m]:
				v.fail(at, "%q is there twice", m)
			}
			seen[m] = true
		}
		for n, a := range l.Addresses {
			v.listen(key+".addresses["+strconv.Itoa(n)+"]", a, taken)
		}
	}
}

// listen checks an address to listen on and that nobody else has it. Port 0 (any
// free port) may be there more than once.
func (v *checker) listen(key, s string, taken map[string]string) {
	a, text := parseListen(s)
	if text != "" {
		v.fail(key, "%s", text)
		return
	}
	if other := taken[a.String()]; other != "" && a.Port() != 0 {
		v.fail(key, "%s is also in %s", s, other)
		return
	}
	taken[a.String()] = key
}

func parseListen(s string) (netip.AddrPort, string) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, strconv.Quote(s) + " is not \"address:port\" with a numeric address, such as \"0.0.0.0:587\" or \"[::]:587\""
	}
	if a.Addr().Is4In6() {
		return a, strconv.Quote(s) + " is an IPv4 address in IPv6 form; write the IPv4 address"
	}
	return a, ""
}

// Network is the network to pass to net.Listen for an address of the
// configuration: "tcp4" or "tcp6", so that 0.0.0.0 and [::] can stand side by side.
func Network(address string) string {
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Is4() {
		return "tcp4"
	}
	return "tcp6"
}

func (c *Config) checkLimits(v *checker) {
	l := c.Limits
	if l.ConnectionsPerAddress > l.Connections {
		v.fail("limits.connections_per_address", "%d is more than limits.connections (%d)", l.ConnectionsPerAddress, l.Connections)
	}
	if l.HeaderBytes > l.MessageSize {
		v.fail("limits.header_bytes", "%s is more than limits.message_size (%s)", l.HeaderBytes, l.MessageSize)
	}
	if l.OctetsInFlight < l.MessageSize {
		v.fail("limits.octets_in_flight", "%s is less than limits.message_size (%s): no such message could ever be received", l.OctetsInFlight, l.MessageSize)
	}
	if c.Intake.MessageSize > l.MessageSize {
		v.fail("intake.message_size", "%s is more than limits.message_size (%s)", c.Intake.MessageSize, l.MessageSize)
	}
}

func (c *Config) checkQueue(v *checker) {
	q := c.Queue
	if len(q.Intervals) == 0 {
		v.fail("queue.intervals", "is empty: at least one wait is needed")
	}
	for i, d := range q.Intervals {
		if d.Duration < minInterval || d.Duration > maxInterval {
			v.fail("queue.intervals["+strconv.Itoa(i)+"]", "%s is out of range; it can be %s to %s", d, Duration{minInterval}, Duration{maxInterval})
		}
	}
	if q.DelayNotice.Duration >= q.Lifetime.Duration {
		v.fail("queue.delay_notice", "%s is not before queue.lifetime (%s)", q.DelayNotice, q.Lifetime)
	}
	if q.PerDestination > q.Concurrency {
		v.fail("queue.per_destination", "%d is more than queue.concurrency (%d)", q.PerDestination, q.Concurrency)
	}
}

func (c *Config) checkDeliver(v *checker) {
	for i, s := range c.Deliver.DNSServers {
		if _, err := netip.ParseAddr(s); err == nil {
			continue
		}
		if a, err := netip.ParseAddrPort(s); err != nil || a.Port() == 0 {
			v.fail("deliver.dns_servers["+strconv.Itoa(i)+"]", "%q is not \"address\" or \"address:port\"", s)
		}
	}
	for i, p := range c.Deliver.AllowNetworks {
		if p != p.Masked() {
			v.fail("deliver.allow_networks["+strconv.Itoa(i)+"]", "%s has bits set behind its length; write %s", p, p.Masked())
		}
	}
	seen := map[string]bool{}
	for i, d := range c.Deliver.Destinations {
		key := "deliver.destination[" + strconv.Itoa(i) + "]"
		name := strings.ToLower(d.Domain)
		switch text := domainText(strings.TrimPrefix(d.Domain, ".")); {
		case d.Domain == "":
			v.fail(key+".domain", "is required")
		case text != "":
			v.fail(key+".domain", "%s", text)
		case seen[name]:
			v.fail(key+".domain", "%q is there twice", d.Domain)
		case d.TLS == "" && d.Route == "":
			v.fail(key, "says nothing: set tls, route or both")
		}
		seen[name] = true
		if d.Route != "" {
			if text := routeText(d.Route); text != "" {
				v.fail(key+".route", "%s", text)
			}
		}
	}
}

func routeText(s string) string {
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 {
		return strconv.Quote(s) + " is not \"host:port\""
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return domainText(host)
}

func (c *Config) checkStore(v *checker) {
	if c.Store.URL == "" {
		return
	}
	u, err := url.Parse(c.Store.URL.Reveal())
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Opaque != "" {
		v.fail("store.url", "must be a PostgreSQL URL, \"postgres://user@host/database\"; empty means SQLite in data_dir")
	}
}

func (c *Config) checkHTTP(v *checker) {
	taken := map[string]string{}
	for i, l := range c.Listen { // what SMTP has, HTTP cannot have
		for n, a := range l.Addresses {
			if p, text := parseListen(a); text == "" {
				taken[p.String()] = "listener[" + strconv.Itoa(i) + "].addresses[" + strconv.Itoa(n) + "]"
			}
		}
	}
	for i, p := range c.HTTP.Proxies {
		if p.Bits() == 0 {
			v.fail("http.proxies["+strconv.Itoa(i)+"]", "%s is everybody; name the proxies", p)
		}
	}
	for i, s := range c.HTTP.Listen {
		key := "http.listen[" + strconv.Itoa(i) + "]"
		v.listen(key, s, taken)
		a, text := parseListen(s)
		if text == "" && !a.Addr().IsLoopback() && !c.HTTP.TLS && len(c.HTTP.Proxies) == 0 {
			v.fail(key, "%s is not a loopback address: keys would travel in the clear. Set http.tls = true, or name the proxies that terminate HTTPS in http.proxies", s)
		}
	}
	if c.HTTP.URL != "" {
		u, err := url.Parse(c.HTTP.URL)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && loopbackName(u.Hostname())) {
			v.fail("http.url", "%q cannot stand in a link: want \"https://host\", with or without a port and a path", c.HTTP.URL)
		}
	}
	if c.Admin.Listen != "" {
		v.listen("admin.listen", c.Admin.Listen, taken)
		if a, text := parseListen(c.Admin.Listen); text == "" && !a.Addr().IsLoopback() {
			v.fail("admin.listen", "%s is not a loopback address: metrics and profiles need no key and stay on this machine", c.Admin.Listen)
		}
	}
	if c.Log.File != "" && filepath.Clean(c.Log.File) == filepath.Clean(c.DataDir) {
		v.fail("log.file", "is the data directory, not a file")
	}
}

// loopbackName reports whether a host is this machine itself: a lab's.
func loopbackName(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
