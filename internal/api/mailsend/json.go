package mailsend

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
)

// value is one JSON value, without white space around it, out of a text that
// check found good. It aliases the request's body: nothing is copied or built
// before it is needed, so that a body of a million little values costs no more
// than its octets.
type value []byte

// kind is the value's type, by the names of JSON Schema.
func (v value) kind() string {
	switch v[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	if bytes.ContainsAny(v, ".eE") {
		return "number"
	}
	return "integer"
}

func (v value) isObject() bool { return v[0] == '{' }
func (v value) isArray() bool  { return v[0] == '[' }

// text is the content of a string.
func (v value) text() (string, bool) {
	b, ok := v.octets()
	return string(b), ok
}

// octets is text without a copy where the string has no escapes.
func (v value) octets() ([]byte, bool) {
	if v[0] != '"' {
		return nil, false
	}
	inner := v[1 : len(v)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	var s string
	if json.Unmarshal(v, &s) != nil { // check found it good: cannot happen
		return nil, false
	}
	return []byte(s), true
}

// integer is a number that is written as one, and exact (AP-08).
func (v value) integer() (int64, bool) {
	n, err := strconv.ParseInt(string(v[:min(len(v), 24)]), 10, 64)
	return n, err == nil && len(v) <= 24
}

// boolean is true or false.
func (v value) boolean() (b, ok bool) {
	return v[0] == 't', v[0] == 't' || v[0] == 'f'
}

// members are those of an object; of anything else there are none.
func (v value) members() iter.Seq2[string, value] {
	return func(yield func(string, value) bool) {
		if !v.isObject() {
			return
		}
		for i := skipSpace(v, 1); v[i] != '}'; {
			end := skipString(v, i)
			name, _ := v[i:end].text()
			i = skipSpace(v, skipSpace(v, end)+1) // the colon
			end = skipValue(v, i)
			if !yield(name, v[i:end:end]) {
				return
			}
			if i = skipSpace(v, end); v[i] == ',' {
				i = skipSpace(v, i+1)
			}
		}
	}
}

// elements are those of an array; of anything else there are none.
func (v value) elements() iter.Seq2[int, value] {
	return func(yield func(int, value) bool) {
		if !v.isArray() {
			return
		}
		n := 0
		for i := skipSpace(v, 1); v[i] != ']'; n++ {
			end := skipValue(v, i)
			if !yield(n, v[i:end:end]) {
				return
			}
			if i = skipSpace(v, end); v[i] == ',' {
				i = skipSpace(v, i+1)
			}
		}
	}
}

// empty reports an array or object with nothing in it.
func (v value) empty() bool {
	i := skipSpace(v, 1)
	return v[i] == ']' || v[i] == '}'
}

// object is the members of an object by name, those that known has.
func (v value) object(known ...string) map[string]value {
	out := make(map[string]value, len(known))
	for name, m := range v.members() {
		for _, k := range known {
			if k == name {
				out[name] = m
			}
		}
	}
	return out
}

// The skippers take a text that is valid JSON and an index into it.

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r' {
		i++
	}
	return i
}

// skipString goes from the opening quote to behind the closing one.
func skipString(b []byte, i int) int {
	for i++; ; i++ {
		i += bytes.IndexByte(b[i:], '"')
		escapes := 0
		for b[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; ; {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(b) && bytes.IndexByte(literalEnd, b[i]) < 0 {
		i++
	}
	return i
}

var literalEnd = []byte(" \t\r\n,]}")
