package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Example is a documented file that says c: what c has other than the default
// stands there, the rest as comments with its default. It is what init writes
// and "postern config example" prints. docs is Docs, but for the generator that
// makes Docs.
func Example(c *Config, docs map[string]string) string {
	e := &exampler{docs: docs}
	e.b.WriteString("# postern's configuration. A line with a # shows the default; remove the # to\n# change it. Durations: \"30s\", \"10m\", \"2h\", \"3d\". Sizes: \"64KiB\", \"30MiB\", \"2GiB\".\n# \"postern config check\" tests this file, \"postern reload\" applies it.\n")
	e.table(reflect.ValueOf(c).Elem(), reflect.ValueOf(Default()).Elem(), "")
	return e.b.String()
}

// exampler writes one file.
type exampler struct {
	b    strings.Builder
	docs map[string]string
}

// table writes the settings of a table, then the tables in it.
func (e *exampler) table(v, def reflect.Value, prefix string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if key := field.Tag.Get("toml"); key != "-" && !isTable(field.Type) && !isTables(field.Type) {
			e.setting(v.Type().Name(), field, v.Field(i), def.Field(i))
		}
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		key := field.Tag.Get("toml")
		switch {
		case key == "-":
		case isTable(field.Type):
			e.comment("\n", e.docs[field.Type.Name()])
			fmt.Fprintf(&e.b, "[%s%s]\n", prefix, key)
			e.table(v.Field(i), def.Field(i), prefix+key+".")
		case isTables(field.Type):
			e.tables(v.Field(i), def.Field(i), prefix+key)
		}
	}
}

// tables writes a list of tables: those that are there, or a sample as a comment.
func (e *exampler) tables(v, def reflect.Value, name string) {
	t := v.Type().Elem()
	e.comment("\n", e.docs[t.Name()])
	if v.Len() == 0 {
		fmt.Fprintf(&e.b, "#[[%s]]\n", name)
		e.elements(t, reflect.Value{}, "#")
		return
	}
	mark := ""
	if same(v, def) {
		mark = "#"
		e.b.WriteString("# These are the defaults. The first of your own replaces all of them.\n")
	}
	for i := range v.Len() {
		if i > 0 {
			e.b.WriteByte('\n')
		}
		fmt.Fprintf(&e.b, "%s[[%s]]\n", mark, name)
		if i == 0 {
			e.elements(t, v.Index(i), mark)
		} else {
			e.plain(t, v.Index(i), mark)
		}
	}
}

// elements writes one table of a list with its comments; v may be invalid.
func (e *exampler) elements(t reflect.Type, v reflect.Value, mark string) {
	for i := range t.NumField() {
		field := t.Field(i)
		e.comment("", e.docs[t.Name()+"."+field.Name])
		text := ""
		if v.IsValid() {
			text = literal(v.Field(i))
		} else {
			text = sample(field)
		}
		fmt.Fprintf(&e.b, "%s%s = %s\n", mark, field.Tag.Get("toml"), text)
	}
}

// plain writes a further table of a list: what is not the zero value.
func (e *exampler) plain(t reflect.Type, v reflect.Value, mark string) {
	for i := range t.NumField() {
		if !v.Field(i).IsZero() {
			fmt.Fprintf(&e.b, "%s%s = %s\n", mark, t.Field(i).Tag.Get("toml"), literal(v.Field(i)))
		}
	}
}

func (e *exampler) setting(owner string, field reflect.StructField, v, def reflect.Value) {
	e.comment("\n", e.docs[owner+"."+field.Name])
	key := field.Tag.Get("toml")
	_, required := field.Tag.Lookup("sample")
	switch {
	case required && v.IsZero():
		fmt.Fprintf(&e.b, "%s = %s\n", key, sample(field))
	case !required && same(v, def):
		fmt.Fprintf(&e.b, "#%s = %s\n", key, literal(v))
	default:
		fmt.Fprintf(&e.b, "%s = %s\n", key, literal(v))
	}
}

func (e *exampler) comment(before, text string) {
	e.b.WriteString(before)
	for line := range strings.Lines(text) {
		e.b.WriteString("# " + strings.TrimRight(line, "\n") + "\n")
	}
}

// sample is the value that stands for a setting without a default.
func sample(field reflect.StructField) string {
	s, ok := field.Tag.Lookup("sample")
	switch {
	case !ok:
		return literal(reflect.Zero(field.Type))
	case field.Type.Kind() == reflect.Slice:
		return literal(reflect.ValueOf(strings.Split(s, ",")))
	}
	return quote(s)
}

// literal writes a value as TOML.
func literal(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool, reflect.Int:
		return fmt.Sprint(v.Interface())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if s, ok := v.Interface().(Secret); ok {
		return quote(s.Reveal())
	}
	if s, ok := v.Interface().(Size); ok && s == 0 {
		return "0"
	}
	return quote(fmt.Sprint(v.Interface()))
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
