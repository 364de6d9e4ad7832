package deliver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"postern/internal/dns"
	"postern/internal/smtp"
)

// Caps on what a destination can make us hold or try.
const (
	maxHosts = 20 // exchangers of one domain
	maxAddrs = 10 // addresses of one host
)

// Route is where the mail of a domain goes.
type Route struct {
	Domain string // A-label, lower case
	// Site is equal for domains that share the same set of hosts: limits belong to
	// it. The host's name where there is one, with a digest where there are more.
	Site   string
	Hosts  []Host // lowest preference first
	Secure bool   // DNSSEC vouched for the hosts' names

	via *Smarthost
}

// Host is one mail exchanger.
type Host struct {
	Name       string // A-label, lower case, without a trailing dot
	Preference uint16
}

// Our own words on destinations.
var (
	replyNoDomain   = smtp.R(550, 5, 1, 2, "The recipient's domain does not exist")
	replyNoMail     = smtp.R(550, 5, 1, 2, "The recipient's domain has no mail servers and no address")
	replyNullMX     = smtp.R(556, 5, 1, 10, "The recipient's domain does not accept mail (null MX)") // RFC 7505 §4.2
	replyNoRoute    = smtp.R(550, 5, 4, 4, "No mail server of the recipient's domain has an address")
	replyNotPublic  = smtp.R(550, 5, 4, 4, "The mail servers of the recipient's domain have no public address")
	replyLoop       = smtp.R(554, 5, 4, 6, "The recipient's domain leads back to this relay: a routing loop")
	replyDNS        = smtp.R(451, 4, 4, 3, "The recipient's domain cannot be looked up now")
	replyHostDNS    = smtp.R(451, 4, 4, 3, "The mail server's address cannot be looked up now")
	replyBadDomain  = smtp.R(550, 5, 1, 2, "The recipient's domain is not a domain name")
	replyInterrupt  = smtp.R(451, 4, 3, 2, "The attempt was interrupted on this side")
	replyPolicy     = smtp.R(451, 4, 7, 5, "The TLS policy of the recipient's domain cannot be had now")
	replyHostPolicy = smtp.R(451, 4, 7, 5, "The TLS policy of the recipient's domain does not list the mail server")
)

// Route finds where the mail of a domain (A-label, lower case) goes, by
// RFC 5321 §5.1. Errors are of type *Failure: permanent for a name that does not
// exist, a null MX, no host at all, or hosts of which none can be used because
// they are this relay or have no public address; temporary for everything that
// the DNS may answer otherwise tomorrow. Addresses of MX hosts are looked up by
// Deliver, in order, as they are needed.
func (d *Deliverer) Route(ctx context.Context, domain string) (Route, error) {
	if via, ok := d.smarthost(domain); ok {
		site := net.JoinHostPort(via.Host, strconv.Itoa(via.Port))
		return Route{Domain: domain, Site: site, Hosts: []Host{{Name: via.Host}}, via: &via}, nil
	}
	if name, err := smtp.DomainToASCII(domain); err != nil || name != domain {
		return Route{}, &Failure{Reply: replyBadDomain, Err: err}
	}
	mx, secure, err := d.cfg.Resolver.MX(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return Route{}, &Failure{Reply: replyNoDomain, Err: err}
	case errors.Is(err, dns.ErrNoData), err == nil && len(mx) == 0:
		return d.implicit(ctx, domain, secure)
	case err != nil:
		// RFC 5321 §5.1: a temporary error is never "no MX"; the address stays untried.
		return Route{}, d.dnsFailure(ctx, replyDNS, err)
	}
	hosts := make([]Host, 0, len(mx))
	for _, m := range mx {
		if m.Host == "." || m.Host == "" {
			if len(mx) == 1 {
				return Route{}, &Failure{Reply: replyNullMX} // RFC 7505 §3
			}
			continue // beside others it is no null MX, and no host either
		}
		hosts = append(hosts, Host{Name: strings.ToLower(strings.TrimSuffix(m.Host, ".")), Preference: m.Preference})
	}
	slices.SortStableFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Preference, b.Preference) })
	hosts = hosts[:min(len(hosts), maxHosts)]
	site := siteOf(hosts)
	if hosts, err = d.cutLoop(hosts); err != nil {
		return Route{}, err
	}
	if len(hosts) == 0 {
		return Route{}, &Failure{Reply: replyNoRoute}
	}
	return Route{Domain: domain, Site: site, Hosts: hosts, Secure: secure}, nil
}

// implicit is the route of a domain without MX: itself, if it has an address
// (RFC 5321 §5.1).
func (d *Deliverer) implicit(ctx context.Context, domain string, secure bool) (Route, error) {
	addrs, _, err := d.cfg.Resolver.Addr(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNotFound), errors.Is(err, dns.ErrNoData), err == nil && len(addrs) == 0:
		return Route{}, &Failure{Reply: replyNoMail, Err: err}
	case err != nil:
		return Route{}, d.dnsFailure(ctx, replyDNS, err)
	case d.ownName(domain):
		return Route{}, &Failure{Reply: replyLoop}
	}
	guard, own, refused := d.guard(), 0, 0
	for _, a := range addrs {
		switch guard.judge(a) {
		case dialOwn:
			own++
		case dialRefused:
			refused++
		}
	}
	switch {
	case own > 0:
		return Route{}, &Failure{Reply: replyLoop}
	case refused == len(addrs):
		return Route{}, &Failure{Reply: replyNotPublic}
	}
	return Route{Domain: domain, Site: domain, Hosts: []Host{{Name: domain}}, Secure: secure}, nil
}

// cutLoop drops this relay, and every host that is not preferred to it, from a
// list in order of preference (RFC 5321 §5.1).
func (d *Deliverer) cutLoop(hosts []Host) ([]Host, error) {
	for _, h := range hosts {
		if !d.ownName(h.Name) {
			continue
		}
		n, _ := slices.BinarySearchFunc(hosts, h.Preference, func(x Host, p uint16) int { return cmp.Compare(x.Preference, p) })
		if n == 0 {
			return nil, &Failure{Reply: replyLoop}
		}
		return hosts[:n], nil
	}
	return hosts, nil
}

func (d *Deliverer) dnsFailure(ctx context.Context, words smtp.Reply, err error) *Failure {
	if ctx.Err() != nil {
		words = replyInterrupt
	}
	return &Failure{Reply: words, Err: err}
}

// ownName reports whether a host name, lower case, is this relay's.
func (d *Deliverer) ownName(host string) bool {
	if strings.EqualFold(host, d.cfg.Hostname) {
		return true
	}
	if d.cfg.OwnNames == nil {
		return false
	}
	return slices.ContainsFunc(d.cfg.OwnNames(), func(own string) bool { return strings.EqualFold(own, host) })
}

// siteOf names a set of hosts. The order of the set, and the preferences, do
// not matter: domains of one provider meet here.
func siteOf(hosts []Host) string {
	names := make([]string, 0, len(hosts))
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return ""
	}
	if len(names) == 1 {
		return names[0]
	}
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return names[0] + "+" + hex.EncodeToString(sum[:6])
}

// smarthost finds the route set for a domain: its own, the nearest above it, or
// that of all others.
func (d *Deliverer) smarthost(domain string) (Smarthost, bool) {
	if len(d.routes) == 0 {
		return Smarthost{}, false
	}
	if s, ok := d.routes[domain]; ok {
		return s, true
	}
	for rest := domain; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			s, ok := d.routes["."]
			return s, ok
		}
		if s, ok := d.routes["."+parent]; ok {
			return s, true
		}
		rest = parent
	}
}

func checkRoutes(routes map[string]Smarthost) (map[string]Smarthost, error) {
	out := make(map[string]Smarthost, len(routes))
	for key, s := range routes {
		name := key
		if key != "." {
			below, dot := strings.CutPrefix(key, ".")
			ascii, err := smtp.DomainToASCII(below)
			if err != nil {
				return nil, fmt.Errorf("deliver: route %q: %w", key, err)
			}
			if name = ascii; dot {
				name = "." + ascii
			}
		}
		if _, err := netip.ParseAddr(s.Host); err != nil {
			if s.Host, err = smtp.DomainToASCII(s.Host); err != nil {
				return nil, fmt.Errorf("deliver: route %q: host: %w", key, err)
			}
		}
		if s.Port == 0 {
			s.Port = 25
			if s.Immediate {
				s.Port = 465
			}
		}
		out[name] = s
	}
	return out, nil
}
