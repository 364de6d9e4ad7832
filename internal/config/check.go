package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// checkShape compares what the file says with the keys and types that there
// are, and reports every difference: the decoder would stop at the first.
func checkShape(d *document) []Problem {
	var out []Problem
	unknown := map[string]bool{} // tables that were reported: what is in them is not
	for _, p := range d.places {
		name := bare(p.path)
		if insideUnknown(name, unknown) {
			continue
		}
		t, ok := typeAt(name)
		if !ok {
			unknown[name] = true
			out = append(out, Problem{Line: p.line, Key: p.path, Text: unknownText(name)})
			continue
		}
		if text := wrongShape(t, p); text != "" {
			unknown[name] = true // one word about it is enough
			out = append(out, Problem{Line: p.line, Key: p.path, Text: text})
		}
	}
	return out
}

func insideUnknown(name string, unknown map[string]bool) bool {
	for at := name; at != ""; {
		if unknown[at] && at != name {
			return true
		}
		cut := strings.LastIndexByte(at, '.')
		if cut < 0 {
			break
		}
		at = at[:cut]
	}
	return false
}

func unknownText(name string) string {
	table, key := "", name
	if cut := strings.LastIndexByte(name, '.'); cut >= 0 {
		table, key = name[:cut], name[cut+1:]
	}
	keys := keysBelow(table)
	if best := closest(key, keys); best != "" {
		return "unknown key; did you mean \"" + join(table, best) + "\"?"
	}
	if where := elsewhere(key); where != "" {
		return "unknown key here; \"" + where + "\" exists"
	}
	if table == "" {
		return "unknown key; \"postern config example\" shows all"
	}
	return "unknown key; [" + table + "] has " + strings.Join(keys, ", ")
}

// elsewhere finds a setting of the same name in another table.
func elsewhere(key string) string {
	found := ""
	walk(reflect.ValueOf(Default()).Elem(), "", func(l leaf) {
		if found == "" && (l.path == key || strings.HasSuffix(l.path, "."+key)) {
			found = bare(l.path)
		}
	})
	return found
}

// closest returns the key nearest to name, if no more than a third of the
// letters differ.
func closest(name string, keys []string) string {
	best, distance := "", len(name)/3+1
	for _, key := range keys {
		if d := editDistance(strings.ToLower(strings.ReplaceAll(name, "-", "_")), key); d < distance {
			best, distance = key, d
		}
	}
	return best
}

// editDistance counts the octets to insert, delete, replace or swap with their
// neighbour to make b of a.
func editDistance(a, b string) int {
	var before, last, row []int // the rows of the two octets before, and this one's
	last = make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row = make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// wrongShape says in words how a value does not fit its type; "" if it does.
func wrongShape(t reflect.Type, p place) string {
	element := strings.HasSuffix(p.path, "]")
	switch {
	case isTables(t):
		return wrongTables(t, p, element)
	case isTable(t):
		return wrongTable(p)
	case p.kind == unstable.Table || p.kind == unstable.ArrayTable:
		return "is a setting, not a section: write " + bare(p.path) + " = …"
	case t.Kind() == reflect.Slice && t != reflect.TypeFor[[]byte]():
		if !element {
			if p.kind != unstable.Array {
				return "is a list: write it in brackets, even with one element"
			}
			return ""
		}
		t = t.Elem()
	}
	return wrongValue(t, p)
}

func wrongTables(t reflect.Type, p place, element bool) string {
	name := bare(p.path)
	switch p.kind {
	case unstable.ArrayTable:
		return ""
	case unstable.InlineTable:
		if element {
			return ""
		}
	case unstable.Array:
		if !element {
			return ""
		}
	default:
	}
	return "is a list of sections: write [[" + name + "]]"
}

func wrongTable(p place) string {
	if p.kind == unstable.Table || p.kind == unstable.InlineTable {
		return ""
	}
	return "is a section: write [" + bare(p.path) + "]"
}

func wrongValue(t reflect.Type, p place) string {
	switch {
	case t == reflect.TypeFor[Duration]():
		if p.kind != unstable.String {
			return "is a duration and needs quotes and a unit, such as \"30s\", \"10m\", \"2h\" or \"3d\""
		}
		return wrongText(t, p.text)
	case t == reflect.TypeFor[Size]():
		if p.kind != unstable.String && p.kind != unstable.Integer {
			return "is a size: write it as \"64KiB\", \"30MiB\", \"2GiB\" or a number of octets"
		}
		if p.kind == unstable.String {
			return wrongText(t, p.text)
		}
	case t.Kind() == reflect.Bool:
		if p.kind != unstable.Bool {
			return "wants true or false, without quotes"
		}
	case t.Kind() == reflect.Int:
		if p.kind != unstable.Integer {
			return "wants a whole number, without quotes"
		}
	default:
		if p.kind != unstable.String {
			return "wants text in quotes"
		}
		return wrongText(t, p.text)
	}
	return ""
}

// wrongText tries the text on the type's own parser, if it has one.
func wrongText(t reflect.Type, text string) string {
	u, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	if !ok {
		return ""
	}
	if err := u.UnmarshalText([]byte(text)); err != nil {
		if t.PkgPath() == "net/netip" {
			return fmt.Sprintf("%q is not a network: write it as \"10.0.0.0/8\" or \"fd00::/8\"", text)
		}
		return err.Error()
	}
	return ""
}
