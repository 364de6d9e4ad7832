package v3

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"postern/internal/relay"
	"postern/internal/smtp"
)

const (
	maxName    = 100 // octets of a name of anything
	maxEntries = 1000
	maxHosts   = 100 // names in one list: each is looked up again and again
	maxCount   = 1_000_000_000
)

// checkName checks a name that people give.
func checkName(field, s string) error {
	switch {
	case s == "":
		return invalid(field, "A name is required.")
	case len(s) > maxName:
		return invalid(field, "The name is longer than %d octets.", maxName)
	case !utf8.ValidString(s) || strings.TrimSpace(s) != s || strings.ContainsFunc(s, unprintable):
		return invalid(field, "The name has characters that cannot be shown, or spaces around it.")
	}
	return nil
}

// checkUsername checks the name of an account or subuser, which stands in paths
// and headers. One that reads like an id would mean two things.
func checkUsername(field, s string) error {
	if err := checkName(field, s); err != nil {
		return err
	}
	if strings.ContainsAny(s, `/\;`) || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) {
		return invalid(field, "The name must be of ASCII letters, digits and signs other than slash, backslash and semicolon.")
	}
	if _, err := relay.ParseID(s); err == nil {
		return invalid(field, "The name looks like an id; choose another.")
	}
	if slices.Contains(takenNames, strings.ToLower(s)) {
		return invalid(field, "The name %q cannot be had; choose another.", s)
	}
	return nil
}

// takenNames stand where a subuser's name would in a path: in the API and in the console.
var takenNames = []string{"reputations", "new"}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// checkEmail is for addresses that postern shows and writes to, not for envelopes.
func checkEmail(field, s string) error {
	if _, err := smtp.ParseAddress(s, true); err != nil || len(s) > 320 {
		return invalid(field, "Not an email address.")
	}
	return nil
}

// checkDomain brings a domain into the form that is stored: A-label, lower case.
func checkDomain(field, s string) (string, error) {
	name, err := idna.Lookup.ToASCII(s)
	if err != nil || len(name) > 253 || strings.HasSuffix(name, ".") || !strings.Contains(name, ".") {
		return "", invalid(field, "Not a domain name.")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", invalid(field, "This is an address, not a domain name.")
	}
	return strings.ToLower(name), nil
}

// checkSender checks an address or a domain that a key may send as.
func checkSender(field, s string) (string, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return checkDomain(field, s)
	}
	domain, err := checkDomain(field, s[at+1:])
	if err != nil || at == 0 || at > 64 || strings.ContainsFunc(s[:at], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", invalid(field, "Neither a domain nor an address.")
	}
	return s[:at+1] + domain, nil
}

// checkNetwork reads "10.0.0.0/8" or a single address.
func checkNetwork(field, s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, invalid(field, "Neither a network such as 10.0.0.0/8 nor an address.")
	case p != p.Masked():
		return netip.Prefix{}, invalid(field, "It has bits set behind its length; %s is meant?", p.Masked())
	case p.Addr().Is4In6():
		return netip.Prefix{}, invalid(field, "This is an IPv4 network in IPv6 form; write it as IPv4.")
	}
	return p, nil
}

func checkTimeZone(field, s string) error {
	if _, err := time.LoadLocation(s); err != nil || s == "Local" || s == "" {
		return invalid(field, "Not a time zone; write it as Europe/Berlin or UTC.")
	}
	return nil
}

// checkTime reads a moment to come; "" is the zero time.
func checkTime(field, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !t.After(now) || t.Year() > 9999 {
		return time.Time{}, invalid(field, "Give a time to come, such as %s.", now.AddDate(0, 3, 0).Format(time.RFC3339))
	}
	return t.UTC(), nil
}

// checkCount is for limits: 0 is none.
func checkCount(field string, n int64) error {
	if n < 0 || n > maxCount {
		return invalid(field, "Not a number from 0 to %d; 0 is no limit.", maxCount)
	}
	return nil
}

// each checks a list's elements, naming the one at fault.
func each[T any](field string, in []string, check func(field, s string) (T, error)) ([]T, error) {
	if len(in) > maxEntries {
		return nil, invalid(field, "More than %d entries.", maxEntries)
	}
	var out []T
	for i, s := range in {
		v, err := check(field+"."+strconv.Itoa(i), s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
