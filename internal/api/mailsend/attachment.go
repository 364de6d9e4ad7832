package mailsend

import (
	"encoding/base64"
	"strings"

	"postern/internal/message"
)

// attachment is one file; part is how it stands in every message.
type attachment struct {
	name, kind, contentID string
	inline                bool
	part                  message.Part
}

// The limits on attachments.
const (
	maxAttachments = 1000
	maxFilename    = 1000 // bytes
	maxContentID   = 255
)

func (p *parser) attachments(v value) {
	const field = "attachments"
	if v == nil {
		return
	}
	if !v.isArray() {
		p.wrongType(field, "message.attachments", "array", v)
		return
	}
	for i, e := range v.elements() {
		if i == maxAttachments { // AP-11
			p.tooLarge = true
			return
		}
		at := indexed(field, i)
		if !e.isObject() {
			p.wrongType(at, "message.attachments", "object", e)
			continue
		}
		p.attachment(at, e.object("content", "type", "filename", "disposition", "content_id"))
	}
}

func (p *parser) attachment(at string, m map[string]value) {
	before := len(p.list)
	a := attachment{kind: octetStream}
	p.filename(at+".filename", m["filename"], &a)
	p.attachmentType(at+".type", m["type"], &a)
	p.disposition(at+".disposition", m["disposition"], &a)
	p.contentID(at+".content_id", m["content_id"], &a)
	text, ok := p.attachmentContent(at+".content", m["content"])
	if !ok || len(p.list) > before {
		return
	}
	a.part = a.compose(text)
	p.out.attachments = append(p.out.attachments, a)
}

const octetStream = "application/octet-stream"

// attachmentContent reads strict base64 (RFC 4648 §4, AP-11): with its padding,
// without line breaks, in the one spelling that an encoder writes.
func (p *parser) attachmentContent(field string, v value) ([]byte, bool) {
	const anchor = "message.attachments.content"
	var text []byte
	if v != nil {
		text, _ = v.octets()
	}
	switch {
	case len(text) == 0:
		p.add(field, anchor, "The attachment content must be a string at least one character in length.")
	case !message.IsBase64(text):
		p.add(field, anchor, "The attachment content must be base64 encoded.")
	default:
		return text, true
	}
	return nil, false
}

func (p *parser) filename(field string, v value, a *attachment) {
	const anchor = "message.attachments.filename"
	if v == nil {
		p.add(field, anchor, "filename is required.")
		return
	}
	s, ok := v.text()
	if !ok {
		p.add(field, anchor, "The filename of your attachment must be a string.")
		return
	}
	// AP-11: a path says where the file was, which is nobody's business, and must
	// not say where it goes.
	a.name = s[strings.LastIndexAny(s, `/\`)+1:]
	switch {
	case hasControl(s):
		p.add(field, anchor, "The filename of your attachment cannot contain CRLF characters.")
	case strings.TrimSpace(a.name) == "":
		p.add(field, anchor, "filename is required.")
	case len(a.name) > maxFilename:
		p.add(field, anchor, "The filename of your attachment exceeds the maximum length of 1,000 bytes.")
	}
}

func (p *parser) attachmentType(field string, v value, a *attachment) {
	const anchor = "message.attachments.type"
	if v == nil {
		return
	}
	s, ok := v.text()
	switch {
	case !ok || s == "":
		p.add(field, anchor, "The attachment type must be a string and at least one character in length.")
	case strings.ContainsAny(s, ";") || hasControl(s):
		p.add(field, anchor, "The type cannot contain ';', or CRLF characters.")
	case mediaType(s) || strings.EqualFold(s, messageType):
		a.kind = s
	}
	// Clients in the field also write "pdf" and the like, which says nothing that a
	// reader could use: the file name's ending does.
}

func (p *parser) disposition(field string, v value, a *attachment) {
	if v == nil {
		return
	}
	s, ok := v.text()
	switch {
	case ok && s == "attachment":
	case ok && s == "inline":
		a.inline = true
	default:
		if !ok {
			s = shown(string(v))
		}
		p.add(field, "message.attachments.disposition", "The disposition of your attachment can be either \"inline\" or \"attachment\". You provided [%s].", shown(s))
	}
}

func (p *parser) contentID(field string, v value, a *attachment) {
	const anchor = "message.attachments.content_id"
	if v == nil {
		return
	}
	s, ok := v.text()
	if !ok {
		p.add(field, anchor, "The content ID of your attachment must be a string. You provided [%s].", shown(string(v)))
		return
	}
	id := strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	switch {
	case hasControl(s):
		p.add(field, anchor, "The content ID of your attachment cannot contain CRLF characters.")
	case !isASCII(id) || strings.ContainsAny(id, "<>\t") || len(id) > maxContentID:
		p.add(field, anchor, "The content ID of your attachment must be at most 255 ASCII characters without angle brackets.")
	default:
		a.contentID = id
	}
}

// messageType is a message as an attachment.
const messageType = "message/rfc822"

// compose makes the part, once for all messages of the request.
func (a *attachment) compose(text []byte) message.Part {
	part := message.Part{Type: a.kind, Disposition: "attachment", FileName: a.name, ContentID: a.contentID}
	if a.inline {
		part.Disposition = "inline"
	}
	if strings.EqualFold(a.kind, messageType) {
		// RFC 2046 §5.2.1: a message is never encoded. One that cannot stand as it is
		// goes as a file.
		if raw, err := base64.StdEncoding.DecodeString(string(text)); err == nil && message.Transparent(raw) {
			part.Raw = raw
			return part
		}
		part.Type = octetStream
	}
	part.Encoded = message.WrapBase64(text)
	return part
}
