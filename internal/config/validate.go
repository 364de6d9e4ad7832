package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Validate checks a configuration made in code as Load checks a file. The error
// is an *Error.
func (c *Config) Validate() error {
	if problems := c.problems(); len(problems) > 0 {
		return &Error{File: c.Path, Problems: problems}
	}
	return nil
}

// problems lists all that is wrong, without lines.
func (c *Config) problems() []Problem {
	v := &checker{}
	walk(reflect.ValueOf(c).Elem(), "", v.tags)
	c.checkNames(v)
	c.checkTLS(v)
	c.checkListeners(v)
	c.checkIssuers(v)
	if v.right("limits.", "intake.") { // else comparing them would only repeat it
		c.checkLimits(v)
	}
	if v.right("queue.") {
		c.checkQueue(v)
	}
	c.checkDeliver(v)
	c.checkStore(v)
	c.checkHTTP(v)
	c.checkDNS(v)
	c.checkPeople(v)
	c.checkExports(v)
	return v.problems
}

type checker struct{ problems []Problem }

// fail notes a problem; of several with one setting the first is kept.
func (v *checker) fail(key, format string, args ...any) {
	for _, p := range v.problems {
		if p.Key == key {
			return
		}
	}
	v.problems = append(v.problems, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

// right reports whether nothing is wrong with the settings below the prefixes.
func (v *checker) right(prefixes ...string) bool {
	return !slices.ContainsFunc(v.problems, func(p Problem) bool {
		return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p.Key, prefix) })
	})
}

// tags checks one setting against its range or its set of values.
func (v *checker) tags(l leaf) {
	if set, ok := l.field.Tag.Lookup("one"); ok {
		allowed := strings.Split(set, "|")
		if have := l.value.String(); !slices.Contains(allowed, have) {
			v.fail(l.path, "%q is not possible; choose %s", have, quotedList(allowed))
		}
	}
	limits, ok := l.field.Tag.Lookup("range")
	if !ok {
		return
	}
	have := number(l.value)
	low, high, err := bounds(l.value.Type(), limits)
	if err != nil {
		v.fail(l.path, "has a broken range tag: %v", err) // a test keeps this from happening
		return
	}
	if have < low || have > high {
		lowText, highText, _ := strings.Cut(limits, "..")
		v.fail(l.path, "%v is out of range; it can be %s to %s", l.value.Interface(), lowText, highText)
	}
}

func number(v reflect.Value) int64 {
	if d, ok := v.Interface().(Duration); ok {
		return int64(d.Duration)
	}
	return v.Int()
}

// bounds reads a range tag in the units of its type.
func bounds(t reflect.Type, tag string) (low, high int64, err error) {
	a, b, ok := strings.Cut(tag, "..")
	if !ok {
		return 0, 0, fmt.Errorf("%q has no \"..\"", tag)
	}
	if low, err = bound(t, a); err != nil {
		return 0, 0, err
	}
	high, err = bound(t, b)
	return low, high, err
}

func bound(t reflect.Type, s string) (int64, error) {
	switch t {
	case reflect.TypeFor[Duration]():
		d, err := ParseDuration(s)
		return int64(d.Duration), err
	case reflect.TypeFor[Size]():
		n, err := ParseSize(s)
		return int64(n), err
	}
	return strconv.ParseInt(s, 10, 64)
}

func quotedList(values []string) string {
	var b strings.Builder
	for i, s := range values {
		switch {
		case i == 0:
		case i == len(values)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(s))
	}
	return b.String()
}
