package mailsend

import (
	"strconv"
	"strings"
)

// content is one alternative of the body.
type content struct{ kind, text string }

// maxContents bounds the alternatives of one message.
const maxContents = 100

func indexed(field string, i int) string { return field + "." + strconv.Itoa(i) }

func (p *parser) content(v value) {
	const field, anchor = "content", "message.content"
	switch {
	case v == nil || v.isArray() && v.empty():
		p.add(field, anchor, textContentMissing)
		return
	case !v.isArray():
		p.wrongType(field, anchor, "array", v)
		return
	}
	rank := 0
	for i, e := range v.elements() {
		at := indexed(field, i)
		if i == maxContents {
			p.tooLarge = true
			return
		}
		if !e.isObject() {
			p.wrongType(at, anchor, "object", e)
			continue
		}
		m := e.object("type", "value")
		c := content{kind: p.contentType(at+".type", m["type"]), text: p.contentValue(at+".value", m["value"])}
		if c.kind == "" || c.text == "" {
			continue
		}
		r := contentRank(c.kind)
		if r < rank {
			p.add(at+".value", anchor+".value", textContentOrder)
		}
		rank = max(rank, r)
		p.out.content = append(p.out.content, c)
	}
}

// contentRank is where content of a type may stand.
func contentRank(kind string) int {
	switch strings.ToLower(kind) {
	case "text/plain":
		return 0
	case "text/html":
		return 1
	}
	return 2
}

// contentType reads a media type; "" after a fault.
func (p *parser) contentType(field string, v value) string {
	const anchor = "message.content.type"
	if v == nil {
		p.add(field, anchor, textContentNoType)
		return ""
	}
	s, ok := v.text()
	switch {
	case !ok || s == "":
		p.add(field, anchor, textContentType)
	case strings.ContainsAny(s, ";") || hasControl(s):
		p.add(field, anchor, textContentBadType)
	case !mediaType(s):
		p.add(field, anchor, "The content type must be a media type, such as text/plain or text/html.")
	default:
		return s
	}
	return ""
}

// contentValue reads the text; "" after a fault.
func (p *parser) contentValue(field string, v value) string {
	const anchor = "message.content.value"
	if v == nil {
		p.add(field, anchor, textContentNoValue)
		return ""
	}
	s, ok := v.text()
	if !ok || s == "" {
		p.add(field, anchor, textContentValue)
	}
	return s
}

// mediaType reports type "/" subtype of RFC 2045 §5.1 for a leaf: what is made of
// parts, or is a message, is no content that somebody can write in one string.
func mediaType(s string) bool {
	major, minor, ok := strings.Cut(s, "/")
	if !ok || !token(major) || !token(minor) || len(s) > 127 {
		return false
	}
	return !strings.EqualFold(major, "multipart") && !strings.EqualFold(major, "message")
}

func token(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}
