package tlspolicy

import (
	"fmt"
	"strings"
)

// Table holds the levels that the operator set for destinations. It does not
// change once made; a nil Table is empty.
type Table struct {
	exact map[string]Level // "example.test"
	below map[string]Level // "example.test": every name under it, itself not
}

// NewTable makes a table. Keys are domains as A-labels, "example.test" for the
// domain itself and ".example.test" for every domain below it; case and a
// trailing dot do not matter. The same domain twice is an error.
func NewTable(levels map[string]Level) (*Table, error) {
	t := &Table{exact: make(map[string]Level), below: make(map[string]Level)}
	for key, level := range levels {
		if level > Verified {
			return nil, fmt.Errorf("TLS level of destination %q: unknown", key)
		}
		name := strings.TrimSuffix(strings.ToLower(key), ".")
		set := t.exact
		if rest, ok := strings.CutPrefix(name, "."); ok {
			name, set = rest, t.below
		}
		if !validName(name) {
			return nil, fmt.Errorf("destination %q: not a domain name (write an international name as its xn-- form)", key)
		}
		if _, dup := set[name]; dup {
			return nil, fmt.Errorf("destination %q: set twice", key)
		}
		set[name] = level
	}
	return t, nil
}

// Lookup returns the level set for a domain: its own, else that of the nearest
// name above it.
func (t *Table) Lookup(domain string) (Level, bool) {
	if t == nil {
		return Opportunistic, false
	}
	if l, ok := t.exact[domain]; ok {
		return l, true
	}
	for {
		_, parent, ok := strings.Cut(domain, ".")
		if !ok {
			return Opportunistic, false
		}
		if l, ok := t.below[parent]; ok {
			return l, true
		}
		domain = parent
	}
}

// validName reports whether name is a host name of RFC 1123 §2.1, with
// underscores allowed since some zones have them.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
