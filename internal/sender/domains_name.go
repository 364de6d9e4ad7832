package sender

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"postern/internal/relay"
	"postern/internal/smtp"
)

func invalid(field, format string, args ...any) error {
	return &relay.Error{Kind: relay.Invalid, Field: field, Public: fmt.Sprintf(format, args...)}
}

// cleanName is the A-label form of a name that somebody may authenticate. ID-18:
// names that nobody owns alone, and ours, are refused.
func (s *Domains) cleanName(name string, system bool) (string, error) {
	d, err := cleanHost("domain", name)
	if err != nil {
		return "", err
	}
	if why := reserved(d); why != "" {
		return "", invalid("domain", "%s %s", d, why)
	}
	if system {
		return d, nil
	}
	if MailboxProvider(d) {
		return "", invalid("domain", "%s belongs to a mailbox provider, which alone signs its mail. Verify your single address there, or use a domain of your own.", d)
	}
	for _, ours := range []string{s.Zone.Hostname, s.Zone.Name} {
		if ours = strings.ToLower(ours); ours != "" && within(d, ours) {
			return "", invalid("domain", "%s is this relay's own name, or below it.", d)
		}
	}
	return d, nil
}

// reserved says why a name can be nobody's; "" if it can be somebody's.
func reserved(d string) string {
	tld := d[strings.LastIndexByte(d, '.')+1:]
	switch tld {
	case "localhost", "local", "internal", "onion", "arpa", "invalid":
		// Special-use names (RFC 6761 and its registry); .internal is ICANN's for private use. ".test" and
		// ".example" can be proven where a lab serves them.
		return "ends in ." + tld + ", where no domain can be owned in the public DNS."
	}
	if suffix, _ := publicsuffix.PublicSuffix(d); suffix == d {
		return "is a public suffix: many different owners have names below it."
	}
	return ""
}

// cleanHost is a domain name as the store keeps it: A-labels, lower case, at
// least two labels. ID-12: there is one spelling of a name only.
func cleanHost(field, name string) (string, error) {
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return "", invalid(field, "An address is not a domain name.")
	}
	d, err := smtp.DomainToASCII(name)
	if err != nil {
		return "", &relay.Error{Kind: relay.Invalid, Field: field, Public: "This is not a domain name. Write it like example.com, without a dot at its end.", Err: err}
	}
	if !strings.Contains(d, ".") {
		return "", invalid(field, "A domain name has at least two labels, like example.com.")
	}
	return d, nil
}

// within reports whether name is zone or below it; both in lower case without
// the last dot.
func within(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}

// maxSelector is the most that a customer's selector may have, so that the names
// made of it stay short.
const maxSelector = 20

// checkSelector checks a customer's DKIM selector; empty is none.
func checkSelector(sel string) error {
	if sel == "" {
		return nil
	}
	ok := len(sel) <= maxSelector && sel[0] != '-' && sel[len(sel)-1] != '-'
	for i := range len(sel) {
		c := sel[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return invalid("custom_dkim_selector", "A DKIM selector has 1 to %d of a-z, 0-9 and hyphens, with no hyphen at its ends.", maxSelector)
	}
	return nil
}

func checkBits(bits int) error {
	if bits != 0 && bits != 2048 && bits != 4096 {
		return invalid("key_bits", "RSA keys have 2048 or 4096 bits.")
	}
	return nil
}

// maxIPs bounds a domain's own list of addresses.
const maxIPs = 50

func checkIPs(ips []netip.Addr) error {
	if len(ips) > maxIPs {
		return invalid("ips", "At most %d addresses.", maxIPs)
	}
	for _, a := range ips {
		if !a.IsValid() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return invalid("ips", "%s is not an address that mail can come from.", a)
		}
	}
	return nil
}
