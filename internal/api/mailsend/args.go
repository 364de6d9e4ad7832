package mailsend

import "maps"

// maxArgs is how large the custom arguments of one message may be, as names and
// values.
const maxArgs = 10000

// customArgs reads the request's own.
func (p *parser) customArgs(v value) {
	const anchor = "message.custom_args"
	if v == nil {
		return
	}
	args, ok := p.strings(v)
	switch {
	case !v.isObject():
		p.wrongType("custom_args", anchor, "object", v)
	case !ok:
		p.add("custom_args", anchor, "All values of custom arguments object must be strings")
	case argsSize(args) > maxArgs:
		p.add("custom_args", anchor, textArgsSize)
	case len(args) > 0:
		p.args = args
	}
}

// blockArgs reads a personalization's, and merges: its own win.
func (p *parser) blockArgs(field string, v value) map[string]string {
	const anchor = "message.personalizations.custom_args"
	args, ok := p.strings(v)
	switch {
	case !ok:
		p.add(field, anchor, "All values of custom arguments object must be strings")
	case len(args) == 0:
		p.add(field, anchor, "`custom_args` cannot be empty.")
	default:
		merged := maps.Clone(p.args)
		if merged == nil {
			merged = args
		} else {
			maps.Copy(merged, args)
		}
		if argsSize(merged) > maxArgs {
			p.add(field, anchor, textArgsSize)
			return nil
		}
		if p.argEntries += len(merged); p.argEntries > maxArgEntries {
			p.tooLarge = true
		}
		if p.tooLarge {
			return nil
		}
		return merged
	}
	return nil
}

// strings reads an object of strings; false if v is none. What is far over the
// limit is not read to its end.
func (p *parser) strings(v value) (map[string]string, bool) {
	if !v.isObject() {
		return nil, false
	}
	out := map[string]string{}
	size := 0
	for name, e := range v.members() {
		s, ok := e.text()
		if !ok || hasNUL(name) || hasNUL(s) { // not every store can keep a NUL
			return nil, false
		}
		if size <= maxArgs {
			out[name] = s
		}
		size += len(name) + len(s)
	}
	return out, true
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

func argsSize(args map[string]string) int {
	n := 0
	for k, v := range args {
		n += len(k) + len(v)
	}
	return n
}

// The limits on categories.
const (
	maxCategories = 10
	maxCategory   = 255
)

func (p *parser) categories(v value) {
	const field, anchor = "categories", "message.categories"
	if v == nil {
		return
	}
	if !v.isArray() {
		p.add(field, anchor, "Categories must be an array of strings.")
		return
	}
	n := 0
	for range v.elements() {
		n++
	}
	if n > maxCategories {
		p.add(field, anchor, "There is a limit of 10 categories for each email that is sent. You provided %d categories.", n)
		return
	}
	seen := map[string]bool{}
	for _, e := range v.elements() {
		s, ok := e.text()
		switch {
		case !ok || s == "":
			p.add(field, anchor, "Categories must be an array of strings.")
			return
		case !isASCII(s):
			p.add(field, anchor, "Categories can not contain non-ASCII characters.")
		case len(s) > maxCategory:
			p.add(field, anchor, "Each category must not be longer than 255 characters. [%s] exceeds this limit", shown(s))
		case hasControl(s):
			p.add(field, anchor, "Categories cannot contain CRLF characters.")
		case seen[s]:
			p.add(field, anchor, "The categories must be a unique list, and you have included [%s] more than once.", s)
		default:
			p.out.Categories = append(p.out.Categories, s)
		}
		seen[s] = true
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
