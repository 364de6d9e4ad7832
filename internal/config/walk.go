package config

import (
	"fmt"
	"reflect"
	"strings"
)

// A leaf is one setting, or a list of settings.
type leaf struct {
	path  string // "limits.idle", "listener[0].role"
	owner string // the Go type that has the field
	field reflect.StructField
	value reflect.Value
}

// isTable reports a struct that is a table of the file, not a value.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == reflect.TypeFor[Config]().PkgPath() && t != reflect.TypeFor[Duration]()
}

// isTables reports a list of tables.
func isTables(t reflect.Type) bool { return t.Kind() == reflect.Slice && isTable(t.Elem()) }

// walk calls f for every leaf of v, which is a table, in the order of the file.
func walk(v reflect.Value, prefix string, f func(leaf)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		key := field.Tag.Get("toml")
		if key == "-" {
			continue
		}
		path, fv := prefix+key, v.Field(i)
		switch {
		case isTable(field.Type):
			walk(fv, path+".", f)
		case isTables(field.Type):
			for n := range fv.Len() {
				walk(fv.Index(n), fmt.Sprintf("%s[%d].", path, n), f)
			}
		default:
			f(leaf{path: path, owner: v.Type().Name(), field: field, value: fv})
		}
	}
}

// keysBelow returns the keys of the table at path ("" is the top), without
// indices; nil if there is no such table.
func keysBelow(path string) []string {
	t := reflect.TypeFor[Config]()
	if path != "" {
		for part := range strings.SplitSeq(path, ".") {
			field, ok := fieldByKey(t, part)
			if !ok {
				return nil
			}
			if t = field.Type; isTables(t) {
				t = t.Elem()
			}
			if !isTable(t) {
				return nil
			}
		}
	}
	var keys []string
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("toml"); key != "-" {
			keys = append(keys, key)
		}
	}
	return keys
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("toml") == key && key != "-" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// typeAt is the type of the setting at a path without indices.
func typeAt(path string) (reflect.Type, bool) {
	t := reflect.TypeFor[Config]()
	for part := range strings.SplitSeq(path, ".") {
		if isTables(t) {
			t = t.Elem()
		}
		if !isTable(t) {
			return nil, false
		}
		f, ok := fieldByKey(t, part)
		if !ok {
			return nil, false
		}
		t = f.Type
	}
	return t, true
}

// Change is a setting that differs between two configurations.
type Change struct {
	Key     string // "limits.idle"
	Restart bool   // a reload cannot change it
}

// Diff lists what differs, in the order of the file. Lists count as one
// setting.
func Diff(old, now *Config) []Change {
	return diff(reflect.ValueOf(old).Elem(), reflect.ValueOf(now).Elem(), "")
}

func diff(a, b reflect.Value, prefix string) []Change {
	var out []Change
	for i := range a.NumField() {
		field := a.Type().Field(i)
		key := field.Tag.Get("toml")
		if key == "-" {
			continue
		}
		if isTable(field.Type) {
			out = append(out, diff(a.Field(i), b.Field(i), prefix+key+".")...)
			continue
		}
		if !same(a.Field(i), b.Field(i)) {
			out = append(out, Change{Key: prefix + key, Restart: field.Tag.Get("need") == "restart"})
		}
	}
	return out
}

// same treats an empty list like an absent one.
func same(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
