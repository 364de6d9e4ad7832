package config

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// DNS is the zone that postern serves, so that keys and SPF of its customers
// change without touching their DNS, and how it asks other name servers.
type DNS struct {
	// The zone that postern answers for, such as "mail.example.org". Its parent must
	// delegate it to name_servers. Empty: none is served, and customers publish TXT
	// and MX records instead of aliases.
	Zone string `toml:"zone" need:"restart"`

	// Where to answer DNS questions about the zone, over UDP and TCP.
	Listen []string `toml:"listen" need:"restart"`

	// The zone's name servers: at least two, on different networks. One of them is
	// this host; the others transfer the zone (secondaries).
	NameServers []string `toml:"name_servers" need:"restart"`

	// Addresses, "address" or "address:port", of the other name servers: told of every
	// change (NOTIFY), and alone in being allowed to transfer the zone (AXFR).
	Secondaries []string `toml:"secondaries" need:"restart"`

	// Answers over UDP in a second to one network (/24, /56); more are truncated or
	// dropped, so that nobody is flooded in a victim's name. Transfers are exempt.
	// 0: no limit.
	AnswersPerSecond int `toml:"answers_per_second" range:"0..1000000" need:"restart"`

	// Networks of private or loopback addresses where name servers of others may be
	// asked; all others of those are never asked, whatever names point to them.
	AllowNetworks []netip.Prefix `toml:"allow_networks" need:"restart"`

	// The port that other name servers are asked on. Anything but 53 is for labs.
	AskPort int `toml:"ask_port" range:"1..65535" need:"restart"`
}

// Domains says how the proof of domains is kept, and their keys.
type Domains struct {
	// How often each domain's records are looked at again.
	CheckEvery Duration `toml:"check_every" range:"1m..168h" need:"restart"`

	// Domains looked at in a minute at most. 100,000 domains a day are 70.
	ChecksPerMinute int `toml:"checks_per_minute" range:"1..100000" need:"restart"`

	// How long mail may still be sent as a domain whose records are gone. Its owner is
	// told at once.
	Grace Duration `toml:"grace" range:"0s..30d" need:"restart"`

	// How long after that mail is answered 450 and queued mail waits; then 550.
	Pause Duration `toml:"pause" range:"0s..30d" need:"restart"`

	// How often DKIM keys change by themselves. Where customers publish TXT records
	// they are told what to change when. 0s: never by themselves.
	RotateEvery Duration `toml:"rotate_every" range:"0s..3650d" need:"restart"`

	// How long a replaced key stays published: as long as mail that it signed may
	// still be queued or checked. At least queue.lifetime.
	KeyOverlap Duration `toml:"key_overlap" range:"1m..90d" need:"restart"`

	// Bits of new RSA keys. 4096 costs more time for each message, and some receivers
	// do not verify it.
	RSABits int `toml:"rsa_bits" need:"restart"`

	// How many domains an account or a subuser can have.
	Max int `toml:"max" range:"1..1000000" need:"restart"`

	// How long DMARC reports are kept.
	KeepReports Duration `toml:"keep_reports" range:"7d..3650d" need:"restart"`
}

// checkDNS checks [dns] and [domains].
func (c *Config) checkDNS(v *checker) {
	d := c.DNS
	if d.Zone == "" {
		for key, set := range map[string]bool{"name_servers": len(d.NameServers) > 0, "secondaries": len(d.Secondaries) > 0} {
			if set {
				v.fail("dns."+key, "means nothing without dns.zone")
			}
		}
	} else {
		c.checkZone(v)
	}
	if c.Domains.RSABits != 2048 && c.Domains.RSABits != 4096 {
		v.fail("domains.rsa_bits", "%d is not possible; choose 2048 or 4096", c.Domains.RSABits)
	}
}

func (c *Config) checkZone(v *checker) {
	d := c.DNS
	if text := hostnameText(d.Zone); text != "" {
		v.fail("dns.zone", "%s", text)
	}
	if strings.EqualFold(d.Zone, c.Hostname) {
		v.fail("dns.zone", "cannot be the host name itself: postern answers for the whole zone, and would hide the host's address; use a name of its own, such as mail.%s", c.Hostname)
	}
	if len(d.Listen) == 0 {
		v.fail("dns.listen", "is needed with dns.zone")
	}
	taken := map[string]string{} // UDP and TCP; SMTP and HTTP have other ports
	for i, a := range d.Listen {
		v.listen("dns.listen["+strconv.Itoa(i)+"]", a, taken)
	}
	if len(d.NameServers) == 0 {
		v.fail("dns.name_servers", "is needed with dns.zone: the names that the parent zone delegates to")
	}
	for i, n := range d.NameServers {
		key := "dns.name_servers[" + strconv.Itoa(i) + "]"
		if text := hostnameText(n); text != "" {
			v.fail(key, "%s", text)
		} else if strings.HasSuffix("."+strings.ToLower(n), "."+strings.ToLower(d.Zone)) {
			v.fail(key, "%q is within the zone, which has no records of hosts; give it a name outside of %s", n, d.Zone)
		}
	}
	for i, s := range d.Secondaries {
		if _, err := netip.ParseAddr(s); err == nil {
			continue
		}
		if _, err := netip.ParseAddrPort(s); err != nil {
			v.fail("dns.secondaries["+strconv.Itoa(i)+"]", "%q is not an address, with or without port", s)
		}
	}
}

// Overlap is how long a replaced DKIM key stays published.
func (c *Config) Overlap() time.Duration {
	return max(c.Domains.KeyOverlap.Duration, c.Queue.Lifetime.Duration+day)
}
