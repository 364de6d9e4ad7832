package v3

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/internal/relay"
)

// parseEntries reads the entries of a request.
func parseEntries(in []accessEntry, confirmed bool) ([]relay.AccessRule, error) {
	if len(in) == 0 {
		return nil, invalid("ips", "Name at least one address, network or host.")
	}
	if len(in) > maxRules {
		return nil, invalid("ips", "There are %d entries; the most are %d.", len(in), maxRules)
	}
	out := make([]relay.AccessRule, 0, len(in))
	for i, e := range in {
		r, err := parseEntry("ips."+strconv.Itoa(i), e)
		if err != nil {
			return nil, err
		}
		if everywhere(&r) && !confirmed {
			return nil, conflict("ips."+strconv.Itoa(i)+".ip", "%s lets everybody in. Remove all entries to switch the list off, or send confirm: true if this is meant.", r.Network)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseEntry(field string, e accessEntry) (r relay.AccessRule, err error) {
	switch {
	case e.Host == "":
		r, err = parseRule(field+".ip", e.IP)
	case e.IP != "":
		return r, invalid(field+".host", "An entry has an ip or a host, not both.")
	default:
		r.Host, err = parseHostEntry(field+".host", e.Host)
	}
	if err == nil {
		r.Note, err = parseNote(field+".note", e.Note)
	}
	return r, err
}

// parseHostEntry reads a member that can only be a host name.
func parseHostEntry(field, s string) (string, error) {
	r, err := parseRule(field, s)
	if err == nil && r.Host == "" {
		return "", invalid(field, "%q is an address or network; it belongs in ip.", s)
	}
	return r.Host, err
}

func parseNote(field, s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxNote || !utf8.ValidString(s) || strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return "", invalid(field, "A note is one line of at most %d octets.", maxNote)
	}
	return s, nil
}
