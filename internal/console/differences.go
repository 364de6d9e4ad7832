package console

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

const (
	// maxDifferences bounds the lines that one row of the list shows of a change.
	maxDifferences = 40
	// maxEntries bounds the lines of one list within them, of those that were added
	// and of those that were removed each.
	maxEntries = 15
	// maxDepth bounds the objects within objects that are taken apart.
	maxDepth = 4
	// maxValue is how many characters a line shows of one value.
	maxValue = 80
)

// differences are what a change set, a line each: of a value before and after, of an
// object its members that differ, of a list the entries that were added and removed.
// Images that are neither object nor list have no differences.
func differences(before, after json.RawMessage) []string {
	was, is := imageOf(before), imageOf(after)
	var d differ
	if was.scalar() && !was.none() || is.scalar() && !is.none() {
		return nil
	}
	d.value("", was, is, 0)
	if n := len(d.lines) - maxDifferences; n > 0 {
		return append(d.lines[:maxDifferences:maxDifferences], "and "+things(int64(n), "more difference"))
	}
	return d.lines
}

// image is a JSON value with its parts, if it has any.
type image struct {
	raw     json.RawMessage
	members map[string]json.RawMessage
	entries []json.RawMessage
}

// imageOf takes the outermost part of a value apart. What is no JSON is as good as
// nothing.
func imageOf(b json.RawMessage) image {
	if !json.Valid(b) {
		return image{}
	}
	v := image{raw: b}
	switch strings.TrimLeft(string(b), " \t\r\n")[0] {
	case '{':
		_ = json.Unmarshal(b, &v.members) // valid, and an object
	case '[':
		_ = json.Unmarshal(b, &v.entries)
	}
	return v
}

func (v image) none() bool   { return v.text() == "" }
func (v image) scalar() bool { return v.members == nil && v.entries == nil }

// text is the value in words; "": there is none.
func (v image) text() string {
	switch {
	case v.members != nil:
		return entryText(v)
	case v.entries != nil:
		out := make([]string, 0, len(v.entries))
		for _, e := range v.entries {
			out = append(out, imageOf(e).text())
		}
		return strings.Join(out, ", ")
	}
	var s string
	if json.Unmarshal(v.raw, &s) != nil {
		s = string(v.raw)
	}
	if s == "null" {
		return ""
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	return s
}

// sameOf are members that say whose an object is and when it was written: they make
// no entry of a list another one, and do not tell it from the others.
var sameOf = []string{"account_id", "created_at", "updated_at"}

// entryText is an object within a line: its members by name.
func entryText(v image) string {
	var out []string
	for _, name := range slices.Sorted(mapKeys(v.members)) {
		if name == "id" && len(v.members) > 1 || slices.Contains(sameOf, name) {
			continue
		}
		if text := imageOf(v.members[name]).text(); text != "" {
			out = append(out, name+" "+text)
		}
	}
	return strings.Join(out, ", ")
}

// differ collects the lines of one change.
type differ struct {
	lines []string
	// whole: the object came or went as a whole, so that nothing was added to its
	// lists or removed from them.
	whole bool
}

// value compares two values of one name; "" is that of the whole image.
func (d *differ) value(name string, was, is image, depth int) {
	switch {
	case (was.entries != nil || is.entries != nil) && (was.entries != nil || was.none()) && (is.entries != nil || is.none()):
		d.list(name, was.entries, is.entries, depth)
	case depth < maxDepth && (was.members != nil || is.members != nil) && (was.members != nil || was.none()) && (is.members != nil || is.none()):
		d.object(name, was.members, is.members, depth)
	default:
		d.scalar(name, was.text(), is.text())
	}
}

func (d *differ) object(name string, was, is map[string]json.RawMessage, depth int) {
	names := map[string]bool{}
	for member := range was {
		names[member] = true
	}
	for member := range is {
		names[member] = true
	}
	delete(names, "account_id") // of all of them the same
	if name != "" {
		name += "."
	}
	whole := d.whole
	d.whole = whole || was == nil || is == nil
	defer func() { d.whole = whole }()
	for _, member := range slices.Sorted(mapKeys(names)) {
		d.value(name+member, imageOf(was[member]), imageOf(is[member]), depth+1)
	}
}

func (d *differ) scalar(name, was, is string) {
	if was == is {
		return
	}
	was, is = apart(was, is)
	switch {
	case was == "":
		d.lines = append(d.lines, name+": "+is)
	case is == "":
		d.lines = append(d.lines, name+": "+was+" → nothing")
	default:
		d.lines = append(d.lines, name+": "+was+" → "+is)
	}
}

// apart cuts two texts that differ to the length of a line, so that the place where
// they differ is seen.
func apart(was, is string) (string, string) {
	a, b := []rune(was), []rune(is)
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	if from := same - maxValue/4; same >= maxValue/2 && max(len(a), len(b)) > maxValue {
		return "…" + cut(string(a[from:])), "…" + cut(string(b[from:]))
	}
	return cut(was), cut(is)
}

// cut shortens a text to the length of a line.
func cut(s string) string {
	if runes := []rune(s); len(runes) > maxValue {
		return string(runes[:maxValue-1]) + "…"
	}
	return s
}

// list says which entries of a list were added, removed and, where they have ids,
// changed.
func (d *differ) list(name string, was, is []json.RawMessage, depth int) {
	old, now := entriesOf(was), entriesOf(is)
	dropShared(old, now)
	byID := map[string]*entry{}
	left := map[string]int{} // entries of old that are not in now, by text
	for i := range old {
		if e := &old[i]; e.id != "" {
			byID[e.id] = e
		} else {
			left[e.key]++
		}
	}
	var added []string
	start := len(d.lines)
	for _, e := range now {
		before, kept := byID[e.id]
		switch {
		case e.id != "" && kept:
			before.kept = true
			d.changed(name, before, &e, depth)
		case e.id == "" && left[e.key] > 0:
			left[e.key]--
		default:
			added = append(added, e.text)
		}
	}
	d.bound(start, name, "changed")
	changed := len(d.lines) > start
	var removed []string
	for i := len(old) - 1; i >= 0; i-- { // of entries that are alike the last ones went
		e := &old[i]
		switch {
		case e.id != "" && !e.kept:
			removed = append(removed, e.text)
		case e.id == "" && left[e.key] > 0:
			left[e.key]--
			removed = append(removed, e.text)
		}
	}
	slices.Reverse(removed)
	d.entries(name, "added", added)
	d.entries(name, "removed", removed)
	if !changed && len(added)+len(removed) == 0 && !slices.EqualFunc(old, now, func(a, b entry) bool { return a.id == b.id && (a.id != "" || a.key == b.key) }) {
		d.lines = append(d.lines, strings.TrimSpace(name+" in another order"))
	}
}

// changed are the members in which an entry with an id became different.
func (d *differ) changed(name string, was, is *entry, depth int) {
	for _, same := range sameOf {
		delete(was.members, same)
		delete(is.members, same)
	}
	if was.members == nil || is.members == nil || depth >= maxDepth {
		return
	}
	var of differ
	of.object("", was.members, is.members, depth+1)
	for _, line := range of.lines {
		d.lines = append(d.lines, strings.TrimPrefix(name+", "+cut(is.label())+": "+line, ", "))
	}
}

func (d *differ) entries(name, what string, list []string) {
	before := len(d.lines)
	for _, text := range list {
		d.lines = append(d.lines, d.line(name, what, cut(orNone(text, "nothing"))))
	}
	d.bound(before, name, what)
}

// line is one of a list.
func (d *differ) line(name, what, text string) string {
	switch {
	case !d.whole:
		return strings.TrimPrefix(name+", "+what+": "+text, ", ")
	case what == "removed":
		text += " → nothing"
	}
	return name + ": " + text
}

// bound takes lines of one list away that are too many.
func (d *differ) bound(before int, name, what string) {
	if n := len(d.lines) - before - maxEntries; n > 0 {
		d.lines = append(d.lines[:before+maxEntries], d.line(name, what, count(int64(n))+" more"))
	}
}

// entry is one of a list.
type entry struct {
	image
	id   string // "": it has none
	key  string // entries with the same are alike
	text string
	kept bool
}

func entriesOf(list []json.RawMessage) []entry {
	out := make([]entry, len(list))
	for i, b := range list {
		v := imageOf(b)
		e := entry{image: v, text: v.text()}
		if e.key = e.text; v.members != nil {
			e.id = imageOf(v.members["id"]).text()
		}
		out[i] = e
	}
	return out
}

// dropShared takes ids away that several entries of one list have: they tell none of
// them apart.
func dropShared(lists ...[]entry) {
	shared := map[string]bool{}
	for _, list := range lists {
		seen := map[string]bool{}
		for i := range list {
			shared[list[i].id] = shared[list[i].id] || seen[list[i].id]
			seen[list[i].id] = true
		}
	}
	for _, list := range lists {
		for i := range list {
			if shared[list[i].id] {
				list[i].id = ""
			}
		}
	}
}

// labels are members that name an entry, the best first.
var labels = []string{"name", "network", "host", "address", "email", "id"}

// label names an entry in a line about one of its members.
func (e *entry) label() string {
	for _, name := range labels {
		if s := imageOf(e.members[name]).text(); s != "" {
			return s
		}
	}
	return e.text
}
