package webhook

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"

	"postern/internal/dns"
	"postern/internal/relay"
)

// maxURL bounds a URL, in octets.
const maxURL = 2048

// CheckURL returns a customer's URL as it will be asked, or says what is wrong
// with it: it must be https, at a host name or public address, on port 443 or one
// of ports, without a user name, password or fragment (AP-17). What the name
// resolves to is judged when it is asked. The error is relay.Invalid.
func CheckURL(text string, ports []int) (string, error) {
	bad := func(why string) (string, error) {
		return "", &relay.Error{Kind: relay.Invalid, Field: "webhook", Public: why}
	}
	if len(text) > maxURL || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return bad("The webhook's URL has characters that do not belong there, or is too long.")
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad("The webhook is not a URL.")
	}
	host := u.Hostname()
	switch {
	case u.Scheme != "https" || u.Opaque != "":
		return bad("The webhook's URL must begin with https://.")
	case u.User != nil:
		return bad("The webhook's URL has a user name or password; what is posted is signed instead.")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return bad("The webhook's URL has a fragment (#), which is never sent.")
	case host == "":
		return bad("The webhook's URL names no host.")
	case strings.Contains(host, "%"):
		return bad("The webhook's URL has an address with a zone.")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		n, err := strconv.Atoi(port)
		if err != nil || n != 443 && !slices.Contains(ports, n) {
			return bad("The webhook's port must be 443.")
		}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !dns.Public(a) {
			return bad("The webhook's address is not one of the public Internet.")
		}
		return u.String(), nil
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(host, "."))
	if err != nil || !hostName(ascii) {
		return bad("The webhook's host is not a host name.")
	}
	u.Host = ascii + strings.TrimPrefix(u.Host, u.Hostname())
	return u.String(), nil
}

// hostName reports whether a name is one of the public DNS: with a dot, and not
// numbers that some resolvers take for an address (0x7f.1, 2130706433), nor a
// name that only machines in a network of their own have.
func hostName(name string) bool {
	labels := strings.Split(strings.ToLower(name), ".")
	last := labels[len(labels)-1]
	if len(labels) < 2 || last == "" || last[0] >= '0' && last[0] <= '9' || slices.Contains([]string{"localhost", "local", "internal", "arpa", "home", "lan", "localdomain", "onion"}, last) {
		return false
	}
	return !slices.Contains(labels, "")
}
