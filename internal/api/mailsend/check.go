package mailsend

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits on the shape of a body.
const (
	maxDepth   = 32
	maxMembers = 20000 // of one object
)

// check makes sure that a body is one JSON object in UTF-8 that every reader
// reads alike: no member twice, and nested no deeper than 32 (AP-08). It returns
// the object.
func check(body []byte) (value, error) {
	if !utf8.Valid(body) {
		return nil, &Refusal{Status: http.StatusUnsupportedMediaType, Faults: []Fault{{Message: "Invalid UTF8 in request", Field: "Encoding"}}}
	}
	if !json.Valid(body) {
		return nil, badRequest()
	}
	v := value(bytes.Trim(body, " \t\r\n"))
	if !v.isObject() {
		return nil, badRequest()
	}
	c := checker{text: v}
	if r := c.walk(); r != nil {
		return nil, r
	}
	return v, nil
}

// level is an object or array that is open while the text is walked.
type level struct {
	array bool
	index int // of the element that is read
	name  string
	// few holds the names seen, many takes over where they are more than a few: a
	// map for every little object would cost more than the rest of the walk.
	few  []string
	many map[string]struct{}
}

// seen notes a name and reports whether it was there.
func (l *level) seen(name string) bool {
	if l.many != nil {
		_, twice := l.many[name]
		l.many[name] = struct{}{}
		return twice
	}
	for _, n := range l.few {
		if n == name {
			return true
		}
	}
	if l.few = append(l.few, name); len(l.few) == 16 {
		l.many = make(map[string]struct{}, 64)
		for _, n := range l.few {
			l.many[n] = struct{}{}
		}
	}
	return false
}

func (l *level) count() int { return max(len(l.few), len(l.many)) }

// checker walks a valid text once, without recursion.
type checker struct {
	text   value
	levels []level
}

func (c *checker) walk() *Refusal {
	for i := 0; i < len(c.text); {
		switch c.text[i] {
		case '{', '[':
			if len(c.levels) == maxDepth {
				return c.refuse("Nested deeper than 32 levels.")
			}
			c.open(c.text[i] == '[')
			i++
		case '}', ']':
			c.levels = c.levels[:len(c.levels)-1]
			i++
		case ',':
			c.top().index++
			i++
		case '"':
			end := skipString(c.text, i)
			after := end
			if after < len(c.text) {
				after = skipSpace(c.text, end)
			}
			if c.text[after] == ':' { // never so in an array: the text is valid
				if r := c.member(c.text[i:end]); r != nil {
					return r
				}
				end = after + 1
			}
			i = end
		default:
			i++
		}
	}
	return nil
}

func (c *checker) top() *level { return &c.levels[len(c.levels)-1] }

func (c *checker) open(array bool) {
	if n := len(c.levels); n < cap(c.levels) {
		c.levels = c.levels[:n+1]
		l := c.top()
		*l = level{array: array, few: l.few[:0]}
		return
	}
	c.levels = append(c.levels, level{array: array})
}

func (c *checker) member(quoted value) *Refusal {
	l := c.top()
	l.name, _ = quoted.text()
	if !l.seen(l.name) {
		if l.count() > maxMembers {
			return c.refuse("This object has too many members.")
		}
		return nil
	}
	parent := c.path(len(c.levels) - 1)
	switch {
	case parent == "headers":
		return &Refusal{Status: http.StatusBadRequest, Faults: []Fault{{Message: textHeaderTwice, Field: parent, Help: helpURL + "message.headers"}}}
	case len(c.levels) == 4 && strings.HasPrefix(parent, "personalizations.") && strings.HasSuffix(parent, ".headers"):
		return &Refusal{Status: http.StatusBadRequest, Faults: []Fault{{Message: textHeaderTwice, Field: parent, Help: helpURL + "message.personalizations.headers"}}}
	}
	return c.refuse("This member is there twice.")
}

func (c *checker) refuse(message string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Faults: []Fault{{Message: message, Field: c.path(len(c.levels))}}}
}

// path is the dotted path of what the first n levels are at.
func (c *checker) path(n int) string {
	var parts []string
	for _, l := range c.levels[:n] {
		if l.array {
			parts = append(parts, strconv.Itoa(l.index))
			continue
		}
		name := l.name
		if len(name) > 64 {
			name = strings.ToValidUTF8(name[:64], "") + "…"
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ".")
}
