package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A place is one thing that the file says: a table header, or a key with its
// value.
type place struct {
	path string // with indices: "listener[0].role"
	line int
	kind unstable.Kind // of the value; Table or ArrayTable for a header
	text string        // of a plain value, without quotes
}

// A document is the file's places in their order.
type document struct {
	places []place
	lines  map[string]int // by path
}

// readDocument lists the places of a text that is known to be TOML.
func readDocument(text []byte) *document {
	d := &document{lines: map[string]int{}}
	p := &unstable.Parser{}
	p.Reset(text)
	counts := map[string]int{}
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			table = resolve(keyParts(e), counts)
			d.add(place{table, keyLine(p, e), e.Kind, ""})
		case unstable.ArrayTable:
			parts := keyParts(e)
			name := join(resolve(parts[:len(parts)-1], counts), parts[len(parts)-1])
			table = fmt.Sprintf("%s[%d]", name, counts[name])
			counts[name]++
			d.add(place{table, keyLine(p, e), e.Kind, ""})
		case unstable.KeyValue:
			d.keyValue(p, e, table)
		default: // a comment
		}
	}
	return d
}

func (d *document) add(p place) {
	d.places = append(d.places, p)
	if _, seen := d.lines[p.path]; !seen {
		d.lines[p.path] = p.line
	}
}

func (d *document) keyValue(p *unstable.Parser, e *unstable.Node, table string) {
	path := join(table, strings.Join(keyParts(e), "."))
	d.value(p, e.Value(), path, keyLine(p, e))
}

func (d *document) value(p *unstable.Parser, v *unstable.Node, path string, line int) {
	text := ""
	switch v.Kind {
	case unstable.Array, unstable.InlineTable:
	default:
		text = string(v.Data)
	}
	d.add(place{path, line, v.Kind, text})
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			d.keyValue(p, it.Node(), path)
		}
	case unstable.Array:
		n := 0
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.Comment {
				continue
			}
			d.value(p, it.Node(), fmt.Sprintf("%s[%d]", path, n), line)
			n++
		}
	default:
	}
}

// line returns the line of the setting, or of the nearest table around it; 0: none.
func (d *document) line(path string) int {
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return 0
		}
		path = path[:cut]
	}
	return 0
}

// has reports whether the file says anything about the path.
func (d *document) has(path string) bool { _, ok := d.lines[path]; return ok }

func keyParts(e *unstable.Node) []string {
	var parts []string
	for it := e.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
	}
	return parts
}

func keyLine(p *unstable.Parser, e *unstable.Node) int {
	it := e.Key()
	if !it.Next() || it.Node().Raw.Length == 0 {
		return 0
	}
	return p.Shape(it.Node().Raw).Start.Line
}

// resolve turns ["deliver", "destination", "x"] into "deliver.destination[1].x"
// where destination is a list that has two elements so far.
func resolve(parts []string, counts map[string]int) string {
	path := ""
	for _, part := range parts {
		path = join(path, part)
		if n := counts[path]; n > 0 {
			path = fmt.Sprintf("%s[%d]", path, n-1)
		}
	}
	return path
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// bare removes the indices of a path.
func bare(path string) string {
	var b strings.Builder
	depth := 0
	for _, r := range path {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}
	return b.String()
}
