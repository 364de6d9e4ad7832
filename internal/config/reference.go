package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Reference is docs/config.md: every setting with its default, what it can be
// and what it does.
func Reference(docs map[string]string) string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"One TOML file, strictly read: an unknown key or a value that cannot be is refused with file, line and what\n" +
		"to do, at `postern serve` and at `postern reload` (which then keeps the old configuration). `postern config\n" +
		"check` tells in advance. A [documented example](config.toml) shows every setting.\n\n" +
		"Durations are written `\"30s\"`, `\"10m\"`, `\"2h\"` or `\"3d\"`; sizes `\"64KiB\"`, `\"30MiB\"`, `\"2GiB\"` or a number of\n" +
		"octets. A reload that would change a setting marked *restart*\n" +
		"is refused, as a whole.\n\n" +
		"This page is generated from `internal/config`; change it there and run `go generate ./internal/config`.\n")
	referenceTable(&b, reflect.ValueOf(Default()).Elem(), "", docs)
	return b.String()
}

func referenceTable(b *strings.Builder, v reflect.Value, prefix string, docs map[string]string) {
	t := v.Type()
	b.WriteString("\n| setting | default | possible | does |\n|---|---|---|---|\n")
	for i := range t.NumField() {
		field := t.Field(i)
		if key := field.Tag.Get("toml"); key != "-" && !isTable(field.Type) && !isTables(field.Type) {
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", key, defaultText(field, v.Field(i)), possibleText(field), oneLine(field, docs[t.Name()+"."+field.Name]))
		}
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name := prefix + field.Tag.Get("toml")
		switch {
		case isTable(field.Type):
			fmt.Fprintf(b, "\n## [%s]\n\n%s\n", name, docs[field.Type.Name()])
			referenceTable(b, v.Field(i), name+".", docs)
		case isTables(field.Type):
			fmt.Fprintf(b, "\n## [[%s]]\n\n%s\n", name, docs[field.Type.Elem().Name()])
			if field.Tag.Get("need") == "restart" && !restarts(field.Type.Elem()) {
				b.WriteString("A change needs a *restart*.\n")
			}
			referenceTable(b, reflect.New(field.Type.Elem()).Elem(), name+".", docs)
		}
	}
}

// restarts reports whether every setting of a table says itself that it needs a
// restart.
func restarts(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("need") != "restart" {
			return false
		}
	}
	return true
}

func defaultText(field reflect.StructField, v reflect.Value) string {
	optional := strings.HasPrefix(field.Tag.Get("one"), "|")
	if field.Tag.Get("sample") != "" && !optional {
		return "required"
	}
	return "`" + literal(v) + "`"
}

func possibleText(field reflect.StructField) string {
	if set, ok := field.Tag.Lookup("one"); ok {
		var parts []string
		for s := range strings.SplitSeq(set, "|") {
			parts = append(parts, "`"+quote(s)+"`")
		}
		return strings.Join(parts, ", ")
	}
	if limits, ok := field.Tag.Lookup("range"); ok {
		low, high, _ := strings.Cut(limits, "..")
		return low + " to " + high
	}
	switch field.Type.Kind() {
	case reflect.Bool:
		return "`true`, `false`"
	case reflect.Slice:
		return "list"
	default:
		return "text"
	}
}

func oneLine(field reflect.StructField, doc string) string {
	s := strings.ReplaceAll(strings.Join(strings.Fields(doc), " "), "|", "\\|")
	if field.Tag.Get("need") == "restart" {
		s += " *restart*"
	}
	return s
}
