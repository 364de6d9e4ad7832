package spf

import (
	"slices"
	"strconv"
	"strings"
)

// macro is one piece of a macro-string, RFC 7208 §7.1.
type macro struct {
	literal string // text as it is; "" for an expansion
	letter  byte   // lower case
	digits  int    // how many parts from the right; 0: all
	reverse bool
	split   string // delimiters
	escape  bool   // the letter was upper case: URL-escaped
}

// macros checks a macro-string of a domain-spec. ends reports whether it ends
// in an expansion.
func macros(s string) (ends bool, problem string) {
	parts, problem := parseMacros(s)
	if problem != "" || len(parts) == 0 {
		return false, problem
	}
	if last := parts[len(parts)-1]; last.letter != 0 {
		return true, ""
	}
	return strings.HasSuffix(s, "%%") || strings.HasSuffix(s, "%_") || strings.HasSuffix(s, "%-"), ""
}

func parseMacros(s string) (parts []macro, problem string) {
	for s != "" {
		at := strings.IndexByte(s, '%')
		if at < 0 {
			return append(parts, macro{literal: s}), ""
		}
		if at > 0 {
			parts = append(parts, macro{literal: s[:at]})
		}
		s = s[at+1:]
		if s == "" {
			return nil, "a percent sign stands at its end"
		}
		sign := s[0]
		s = s[1:]
		switch sign {
		case '%':
			parts = append(parts, macro{literal: "%"})
		case '_':
			parts = append(parts, macro{literal: " "})
		case '-':
			parts = append(parts, macro{literal: "%20"})
		case '{':
			body, rest, ok := strings.Cut(s, "}")
			if !ok {
				return nil, "a macro lacks its closing brace"
			}
			m, problem := parseMacro(body)
			if problem != "" {
				return nil, problem
			}
			parts, s = append(parts, m), rest
		default:
			return nil, `a percent sign is not followed by "{", "%", "_" or "-"`
		}
	}
	return parts, ""
}

// parseMacro reads macro-letter transformers *delimiter.
func parseMacro(body string) (m macro, problem string) {
	if body == "" {
		return m, "a macro is empty"
	}
	m.letter = body[0] | 0x20
	m.escape = body[0] < 'a'
	switch {
	case !letter(body[0]) || strings.IndexByte("slodiphcrtv", m.letter) < 0:
		return m, "a macro has a letter that means nothing"
	case strings.IndexByte("crt", m.letter) >= 0: // RFC 7208 §7.2
		return m, "a macro has a letter that is for explanations only"
	}
	rest := body[1:]
	i := 0
	for i < len(rest) && digit(rest[i]) {
		i++
	}
	if i > 0 {
		n, err := strconv.ParseUint(rest[:i], 10, 31)
		if err != nil || n == 0 {
			return m, "a macro has a number that means nothing"
		}
		m.digits = int(n)
	}
	rest = rest[i:]
	if rest != "" && rest[0]|0x20 == 'r' {
		m.reverse, rest = true, rest[1:]
	}
	if strings.Trim(rest, ".-+,/_=") != "" {
		return m, "a macro has a delimiter that means nothing"
	}
	m.split = rest
	if rest == "" {
		m.split = "."
	}
	return m, ""
}

// expand makes the name that a domain-spec stands for where that is the same for
// every message: only the domains may be in it, current for d and top for o.
// Otherwise ok is false.
func expand(spec, current, top string) (name string, ok bool) {
	parts, problem := parseMacros(spec)
	if problem != "" {
		return "", false
	}
	var b strings.Builder
	for _, m := range parts {
		switch m.letter {
		case 0:
			b.WriteString(m.literal)
		case 'd':
			b.WriteString(m.apply(current))
		case 'o':
			b.WriteString(m.apply(top))
		default:
			return "", false
		}
	}
	return fits(b.String()), true
}

// apply splits, reverses and shortens a value, RFC 7208 §7.3.
func (m macro) apply(value string) string {
	labels := strings.FieldsFunc(value, func(c rune) bool { return strings.ContainsRune(m.split, c) })
	if m.reverse {
		slices.Reverse(labels)
	}
	if m.digits > 0 && m.digits < len(labels) {
		labels = labels[len(labels)-m.digits:]
	}
	return strings.Join(labels, ".")
}
