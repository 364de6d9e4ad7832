package mailsend

import (
	"strings"

	"postern/internal/message"
)

// header is a field of the client's own, its value in wire form.
type header struct{ name, value string }

type headerWords struct{ anchor, values, keys, reserved string }

var (
	headerText = headerWords{
		anchor: "message.headers", values: "The header values must be strings.",
		keys: "Header keys cannot contain non-ASCII characters and empty spaces.", reserved: "Header can not be one of the reserved keys.",
	}
	blockHeaderWords = headerWords{
		anchor: "message.personalizations.headers", values: "All values of the headers object must be strings.",
		keys: "Header keys cannot contain non-ASCII characters or empty spaces.", reserved: "Header cannot be one of the reserved keys.",
	}
)

// reserved are SendGrid's reserved headers and those that make the structure of a
// message, that only a relay writes, or whose wishes have a member of their own
// (ID-21, ID-24).
var reserved = map[string]bool{
	"x-sg-id": true, "x-sg-eid": true, "received": true, "dkim-signature": true, "content-type": true,
	"content-transfer-encoding": true, "to": true, "from": true, "subject": true, "reply-to": true, "cc": true, "bcc": true,

	"content-disposition": true, "content-id": true, "content-description": true, "return-path": true, "resent-bcc": true,
	"x-smtpapi": true, "authentication-results": true, "received-spf": true,
}

func isReserved(name string) bool {
	lower := strings.ToLower(name)
	return reserved[lower] || strings.HasPrefix(lower, "x-postern-") || strings.HasPrefix(lower, "arc-")
}

// headers reads an object of header fields.
func (p *parser) headers(field string, v value, w headerWords) []header {
	if !v.isObject() {
		p.wrongType(field, w.anchor, "object", v)
		return nil
	}
	var out []header
	seen := map[string]bool{}
	for name, e := range v.members() {
		if p.headerCount++; p.headerCount > maxHeaders {
			p.tooLarge = true
			return nil
		}
		text, ok := e.text()
		if !ok {
			p.add(field, w.anchor, "%s", w.values)
			return nil
		}
		lower := strings.ToLower(name)
		if seen[lower] {
			p.add(field, w.anchor, textHeaderTwice)
			return nil
		}
		seen[lower] = true
		if h, ok := p.header(field, name, text, w); ok {
			out = append(out, h)
		}
	}
	return out
}

// header judges one field. What it passes, FoldField takes.
func (p *parser) header(field, name, text string, w headerWords) (header, bool) {
	if _, err := message.FoldField(name, ""); err != nil {
		p.add(field, w.anchor, "%s", w.keys)
		return header{}, false
	}
	lower := strings.ToLower(name)
	switch {
	case isReserved(name), lower == "mime-version" && text != "1.0":
		p.add(field, w.anchor, "%s", w.reserved)
		return header{}, false
	case lower == "mime-version":
		return header{}, false // the message says so anyway
	case hasControl(text): // AP-09
		p.add(field+"."+name, w.anchor, "Header values cannot contain CRLF characters.")
		return header{}, false
	}
	h := header{name: name, value: wireText(text)}
	if _, err := message.FoldField(name, h.value); err != nil {
		p.add(field+"."+name, w.anchor, "This header has a word that is too long for a line.")
		return header{}, false
	}
	return h, true
}

// wireText is a value as it is written: ASCII as it is, so that encoded-words of
// the client's stay what they are; everything else encoded.
func wireText(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return message.EncodeText(s)
		}
	}
	return s
}
