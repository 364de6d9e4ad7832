package dns

import (
	"fmt"
	"strings"
)

// Limits of RFC 1035 §2.3.4, without the root's zero octet.
const (
	maxName  = 253
	maxLabel = 63
)

// normal returns name in lower case without its trailing dot, or an error that
// wraps ErrBadName. Any printable ASCII octet but the backslash may stand in a
// label: SPF macros (RFC 7208 §7) put local parts into names. The backslash
// is left out because the library below would read it as an escape.
func normal(name string) (string, error) {
	n := strings.TrimSuffix(name, ".")
	if n == "" || len(n) > maxName {
		return "", fmt.Errorf("%.80q: %w", name, ErrBadName)
	}
	label := 0
	for i := 0; i < len(n); i++ {
		c := n[i]
		if c == '.' {
			if label == 0 {
				return "", fmt.Errorf("%.80q: %w", name, ErrBadName)
			}
			label = 0
			continue
		}
		label++
		if c <= ' ' || c > '~' || c == '\\' || label > maxLabel {
			return "", fmt.Errorf("%.80q: %w", name, ErrBadName)
		}
	}
	if label == 0 {
		return "", fmt.Errorf("%.80q: %w", name, ErrBadName)
	}
	return strings.ToLower(n), nil
}

// hostname is normal for a name that was received and that somebody will
// connect to or write down: letters, digits, hyphens and the underscores that
// exist in the field (RFC 1123 §2.1).
func hostname(name string) (string, bool) {
	n, err := normal(name)
	if err != nil {
		return "", false
	}
	for i := 0; i < len(n); i++ {
		c := n[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return "", false
		}
	}
	return n, true
}

// within reports whether name is zone or below it. Both are normal; the empty
// zone is the root.
func within(name, zone string) bool {
	return zone == "" || name == zone ||
		len(name) > len(zone) && strings.HasSuffix(name, zone) && name[len(name)-len(zone)-1] == '.'
}

// parent drops the leftmost label; of a single label, everything.
func parent(name string) string {
	_, up, _ := strings.Cut(name, ".")
	return up
}

// fromLibrary undoes the escapes that the library puts before octets that mean
// something in zone files. A name with an escaped dot or backslash, octets that
// normal cannot tell apart, becomes the empty name, which equals none.
func fromLibrary(name string) string {
	if strings.Contains(name, `\.`) || strings.Contains(name, `\\`) || strings.Contains(name, `\046`) {
		return ""
	}
	return unescape(name)
}
