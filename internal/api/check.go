package api

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/relay"
	"postern/internal/smtp"
)

const (
	// maxName is the longest name of anything, in octets.
	maxName = 100
	// maxEntries is the most that a list holds.
	maxEntries = 1000
)

// invalid is an error about one member of the request.
func invalid(field, format string, args ...any) error {
	return &relay.Error{Kind: relay.Invalid, Field: field, Public: fmt.Sprintf(format, args...)}
}

// name checks a name that people give. One that reads like an id would make
// "show NAME" ambiguous.
func checkName(field, s string) error {
	switch {
	case s == "":
		return invalid(field, "A name is required.")
	case len(s) > maxName:
		return invalid(field, "The name is longer than %d octets.", maxName)
	case !utf8.ValidString(s) || strings.TrimSpace(s) != s || strings.ContainsFunc(s, unprintable):
		return invalid(field, "The name has characters that cannot be shown, or spaces around it.")
	case strings.ContainsAny(s, "/\\;"):
		return invalid(field, "The name must not have a slash, a backslash or a semicolon.")
	case s == "." || s == "..":
		return invalid(field, "The name must have a letter or digit.")
	}
	if _, err := relay.ParseID(s); err == nil {
		return invalid(field, "The name looks like an id; choose another.")
	}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// checkEmail is for addresses that postern writes to or shows, not for envelopes.
func checkEmail(field, s string) error {
	if _, err := smtp.ParseAddress(s, true); err != nil {
		return invalid(field, "%q is not an email address.", s)
	}
	return nil
}

// ehlo checks a name to say in EHLO.
var ehlo = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$`)

func timeZone(field, s string) error {
	if s == "Local" {
		return invalid(field, "Name the time zone, such as Europe/Berlin.")
	}
	if _, err := time.LoadLocation(s); err != nil {
		return invalid(field, "%q is not a time zone; write it as Europe/Berlin or UTC.", s)
	}
	return nil
}

func tlsLevel(field, s string) (relay.TLSLevel, error) {
	switch l := relay.TLSLevel(s); l {
	case relay.TLSOpportunistic, relay.TLSRequired, relay.TLSVerified:
		return l, nil
	}
	if s == "opportunistic" {
		return relay.TLSOpportunistic, nil
	}
	return "", invalid(field, "%q is not a level of TLS; choose opportunistic, required or verified.", s)
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
