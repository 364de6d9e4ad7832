package identity

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// Narrower reports whether all that a key may do, the key that makes or changes
// it may do too. The error is a *relay.Error of kind Forbidden, whose Field is
// the member that goes too far. (AP-03)
func Narrower(parent, child relay.Key) error {
	for _, check := range []func(parent, child *relay.Key) error{
		sameTenant, fewerScopes, nearer, fewerSenders, fewerRecipients, shorter, quieter, lessOften, fewerHours,
	} {
		if err := check(&parent, &child); err != nil {
			return err
		}
	}
	return nil
}

func wider(field, format string, args ...any) error {
	return &relay.Error{Kind: relay.Forbidden, Field: field, Public: fmt.Sprintf(format, args...)}
}

func sameTenant(p, c *relay.Key) error {
	if c.Account != p.Account || !p.Subuser.IsZero() && c.Subuser != p.Subuser {
		return wider("subuser_id", "Your key cannot make keys for another account or subuser.")
	}
	return nil
}

func fewerScopes(p, c *relay.Key) error {
	for _, s := range c.Scopes {
		if !p.Allows(s) {
			return wider("scopes", "Your key does not have the scope %s, so it cannot give it to another.", s)
		}
	}
	return nil
}

// nearer: a host name may lead anywhere tomorrow, so it is within the parent's
// hosts or not at all, never within its networks.
func nearer(p, c *relay.Key) error {
	if len(p.Networks) == 0 && len(p.Hosts) == 0 {
		return nil
	}
	if len(c.Networks) == 0 && len(c.Hosts) == 0 {
		return wider("networks", "Your key may be used from certain networks only. Set networks or hosts within its own.")
	}
	for _, n := range c.Networks {
		if !covered(n, p.Networks) {
			return wider("networks", "%s is not within the networks of your key.", n)
		}
	}
	for _, h := range c.Hosts {
		if !slices.ContainsFunc(p.Hosts, func(own string) bool { return strings.EqualFold(own, h) }) {
			return wider("hosts", "%s is not among the hosts of your key.", h)
		}
	}
	return nil
}

// covered reports whether every address of n is in one of the networks, be it in
// several pieces. IPv4 in IPv6 clothes is IPv4.
func covered(n netip.Prefix, networks []netip.Prefix) bool {
	n = plain(n)
	if !n.IsValid() {
		return false
	}
	var inside []netip.Prefix
	for _, w := range networks {
		w = plain(w)
		switch {
		case !w.IsValid() || !w.Overlaps(n):
		case w.Bits() <= n.Bits():
			return true
		default:
			inside = append(inside, w)
		}
	}
	if len(inside) == 0 {
		return false
	}
	// Nothing holds all of it, so each half must be held. This ends: each step keeps
	// only the networks within its half, and they are longer than it.
	low := netip.PrefixFrom(n.Addr(), n.Bits()+1)
	return covered(low, inside) && covered(netip.PrefixFrom(upper(low), low.Bits()), inside)
}

// upper is the first address of the other half of what low is the lower half of.
func upper(low netip.Prefix) netip.Addr {
	b := low.Addr().AsSlice()
	bit := low.Bits() - 1
	b[bit/8] |= 0x80 >> (bit % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}

func plain(n netip.Prefix) netip.Prefix {
	if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), n.Bits()-96).Masked()
	}
	return n.Masked()
}

func fewerSenders(p, c *relay.Key) error {
	if len(p.Senders) == 0 {
		return nil
	}
	if len(c.Senders) == 0 {
		return wider("senders", "Your key may send as certain senders only. Set senders within its own.")
	}
	for _, s := range c.Senders {
		if !slices.ContainsFunc(p.Senders, func(own string) bool { return holdsSender(own, s) }) {
			return wider("senders", "%s is not among the senders of your key.", s)
		}
	}
	return nil
}

// holdsSender: an entry with "@" is that address, its local part compared
// exactly; one without is that domain with all its addresses.
func holdsSender(own, s string) bool {
	ownLocal, ownDomain, ownAddress := cutLast(own)
	local, domain, address := cutLast(s)
	if !strings.EqualFold(ownDomain, domain) {
		return false
	}
	return !ownAddress || address && ownLocal == local
}

// cutLast splits an address at its last "@"; without one, all is the domain.
func cutLast(s string) (local, domain string, address bool) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

func fewerRecipients(p, c *relay.Key) error {
	if len(p.RecipientDomains) == 0 {
		return nil
	}
	if len(c.RecipientDomains) == 0 {
		return wider("recipient_domains", "Your key may send to certain domains only. Set recipient_domains within its own.")
	}
	for _, d := range c.RecipientDomains {
		if !slices.ContainsFunc(p.RecipientDomains, func(own string) bool { return strings.EqualFold(own, d) }) {
			return wider("recipient_domains", "%s is not among the recipient domains of your key.", d)
		}
	}
	return nil
}

func shorter(p, c *relay.Key) error {
	if p.ExpiresAt.IsZero() || !c.ExpiresAt.IsZero() && !c.ExpiresAt.After(p.ExpiresAt) {
		return nil
	}
	return wider("expires_at", "Your key ends at %s, so the new one must not live longer. Set expires_at.", stamp(p.ExpiresAt))
}

// quiet orders the modes by what may leave: of a test key nothing, of a hold key
// what a person lets go.
func quiet(m relay.KeyMode) int {
	switch m {
	case relay.KeyTest:
		return 2
	case relay.KeyHold:
		return 1
	}
	return 0
}

func quieter(p, c *relay.Key) error {
	if quiet(c.Mode) < quiet(p.Mode) {
		return wider("mode", "Your key has the mode %s, so it cannot make one that does more.", p.Mode)
	}
	return nil
}

func lessOften(p, c *relay.Key) error {
	for _, n := range []struct {
		field         string
		parent, child int64
	}{
		{"per_minute", p.PerMinute, c.PerMinute}, {"per_hour", p.PerHour, c.PerHour},
		{"per_day", p.PerDay, c.PerDay}, {"per_month", p.PerMonth, c.PerMonth},
	} {
		if n.parent > 0 && (n.child <= 0 || n.child > n.parent) {
			return wider(n.field, "Your key has the limit %d here. Set %s to that or less.", n.parent, n.field)
		}
	}
	return nil
}

// fewerHours compares the hours minute by minute: they are on the clock of one
// account, so any week will do.
func fewerHours(p, c *relay.Key) error {
	own, err := relay.ParseHours(p.Hours)
	if err != nil {
		return err
	}
	if own.IsZero() {
		return nil
	}
	hours, err := relay.ParseHours(c.Hours)
	if err != nil {
		return err
	}
	monday := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for m := range 7 * 24 * 60 {
		if t := monday.Add(time.Duration(m) * time.Minute); hours.Open(t) && !own.Open(t) {
			return wider("hours", "Your key works in the hours %q, so the new one must stay within them.", p.Hours)
		}
	}
	return nil
}
