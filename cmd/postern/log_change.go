package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// differences says, one a line, what a change made of what was there: members
// with their old and new value, lists with what came and went. A record without
// a before or an after has none; --json shows all of it.
func differences(before, after json.RawMessage) []string {
	var was, is map[string]any
	if decode(before, &was) != nil || decode(after, &is) != nil || was == nil || is == nil {
		return nil
	}
	return compare("", was, is)
}

// decode keeps numbers as they are written.
func decode(text json.RawMessage, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(to)
}

func compare(prefix string, was, is map[string]any) (lines []string) {
	names := map[string]bool{}
	for name := range was {
		names[name] = true
	}
	for name := range is {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, now := was[name], is[name]
		oldObject, wasObject := old.(map[string]any)
		nowObject, isObject := now.(map[string]any)
		oldList, wasList := old.([]any)
		nowList, isList := now.([]any)
		switch {
		case compact(old) == compact(now):
		case (wasObject || old == nil) && (isObject || now == nil):
			lines = append(lines, compare(prefix+name+".", oldObject, nowObject)...)
		case (wasList || old == nil) && (isList || now == nil):
			lines = append(lines, moved(prefix+name, "without", oldList, nowList)...)
			lines = append(lines, moved(prefix+name, "with", nowList, oldList)...)
		default:
			lines = append(lines, fmt.Sprintf("%s: %s, was %s", prefix+name, value(now), value(old)))
		}
	}
	return lines
}

// moved lists what is in one list and not in the other.
func moved(name, verb string, in, notIn []any) (lines []string) {
	for _, v := range in {
		if !slices.ContainsFunc(notIn, func(o any) bool { return compact(o) == compact(v) }) {
			lines = append(lines, fmt.Sprintf("%s: %s %s", name, verb, value(v)))
		}
	}
	return lines
}

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // what was decoded can be encoded
	}
	return string(b)
}

// value is a value for a line. Times of what a list has are noise beside it.
func value(v any) string {
	switch x := v.(type) {
	case nil:
		return "nothing"
	case string:
		return clean(shorten(x))
	case map[string]any:
		x = maps.Clone(x)
		delete(x, "created_at")
		delete(x, "updated_at")
		v = x
	}
	return clean(shorten(compact(v)))
}
