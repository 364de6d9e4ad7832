package mailsend

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// The limits on substitutions.
const (
	maxSubstitutions    = 10000 // entries, and bytes of one personalization's
	maxTag              = 128   // bytes of a tag
	maxSections         = 10000 // entries
	maxSubstituted      = 31457280
	substitutionsRounds = 4 // how deep tags in values are replaced
)

// substitutions checks a personalization's legacy substitutions. They stay JSON
// until the message is composed.
func (p *parser) substitutions(at string, v value, b *personalization) {
	const anchor = "message.personalizations.substitutions"
	at += ".substitutions"
	if v == nil {
		return
	}
	if !v.isObject() {
		p.add(at, anchor, textSubstitutions)
		return
	}
	n, size, long, bad := 0, 0, false, false
	for tag, e := range v.members() {
		s, ok := e.octets()
		bad = bad || !ok || tag == ""
		long = long || len(tag) > maxTag
		n++
		size += len(tag) + len(s)
	}
	switch {
	case bad:
		p.add(at, anchor, textSubstitutions)
	case n > maxSubstitutions:
		p.add(at, anchor, "You are limited to 10,000 substitutions.")
	case size > maxSubstitutions:
		p.add(at, anchor, "The substitutions may not exceed 10,000 bytes per personalization.")
	case long:
		p.add(at, anchor, "A substitution tag may not exceed 128 bytes.")
	case n > 0:
		b.substitutions = v
	}
}

// sections checks the request's sections: texts that substitution values lead to.
func (p *parser) sections(v value) {
	const field, anchor = "sections", "message.sections"
	if v == nil {
		return
	}
	if !v.isObject() {
		p.wrongType(field, anchor, "object", v)
		return
	}
	n := 0
	for tag, e := range v.members() {
		if e[0] != '"' || tag == "" {
			p.add(field, anchor, "The section values must be strings.")
			return
		}
		if len(tag) > maxTag {
			p.add(field, anchor, "A section tag may not exceed 128 bytes.")
			return
		}
		if n++; n > maxSections {
			p.tooLarge = true
			return
		}
	}
	if n > 0 {
		p.out.sections = v
	}
}

// substituter replaces tags in the texts of one message.
type substituter struct {
	tags, sections *strings.Replacer // nil: none
}

func newSubstituter(tags, sections value) substituter {
	return substituter{tags: replacer(tags), sections: replacer(sections)}
}

// replacer replaces tags by their values: of two that begin at one place, the
// longer.
func replacer(v value) *strings.Replacer {
	if v == nil {
		return nil
	}
	type pair struct{ tag, text string }
	var pairs []pair
	for tag, e := range v.members() {
		s, _ := e.text()
		pairs = append(pairs, pair{tag, s})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Or(len(b.tag)-len(a.tag), strings.Compare(a.tag, b.tag)) })
	flat := make([]string, 0, 2*len(pairs))
	for _, p := range pairs {
		flat = append(flat, p.tag, p.text)
	}
	return strings.NewReplacer(flat...)
}

// apply replaces the tags of a text, and those in what they were replaced by, four
// deep. An error is that the result would be over the limit on a message.
func (s substituter) apply(text string) (string, error) {
	if s.tags == nil && s.sections == nil {
		return text, nil
	}
	for range substitutionsRounds {
		before := text
		for _, r := range []*strings.Replacer{s.tags, s.sections} {
			if r == nil {
				continue
			}
			b := bounded{}
			if _, err := r.WriteString(&b, text); err != nil {
				return "", err
			}
			text = b.String()
		}
		// Without sections, values are final: what a recipient's data looks like is
		// not for another's tag to match.
		if s.sections == nil || text == before {
			break
		}
	}
	return text, nil
}

// bounded is a text that may not grow over the limit on a message.
type bounded struct{ strings.Builder }

var errSubstituted = errors.New("substituted text is too large")

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxSubstituted {
		return 0, errSubstituted
	}
	return b.Builder.Write(p)
}

func (b *bounded) WriteString(s string) (int, error) {
	if b.Len()+len(s) > maxSubstituted {
		return 0, errSubstituted
	}
	return b.Builder.WriteString(s)
}
