package mailsend

import (
	"strconv"
	"time"
)

// The limits on one request.
const (
	maxPersonalizations = 1000
	maxRecipients       = 1000
	maxReplyTo          = 1000
	maxHeaders          = 10000 // over all personalizations
	maxArgEntries       = 100000
)

// personalization is one message to be.
type personalization struct {
	from          *Mailbox // nil: the request's
	to, cc, bcc   []Mailbox
	subject       *string // nil: the request's
	headers       []header
	args          map[string]string // merged with the request's
	substitutions value             // object of strings; nil: none
	sendAt        *time.Time
}

func (p *parser) personalizations(v value) {
	const field, anchor = "personalizations", "message.personalizations"
	switch {
	case v == nil || v.isArray() && v.empty():
		p.add(field, "-Personalizations-Errors", textPersonalizations)
		return
	case !v.isArray():
		p.wrongType(field, anchor, "array", v)
		return
	}
	n := 0
	for range v.elements() {
		n++
	}
	if n > maxPersonalizations {
		p.add(field, anchor, textTooManyBlocks, n)
		return
	}
	p.blocks = make([]personalization, 0, n)
	for i, e := range v.elements() {
		at := field + "." + strconv.Itoa(i)
		if !e.isObject() {
			p.wrongType(at, anchor, "object", e)
			continue
		}
		p.blocks = append(p.blocks, p.personalization(at, e))
	}
	if p.recipients > maxRecipients {
		p.add(field, anchor, textTooManyRcpts)
	}
}

func (p *parser) personalization(at string, v value) personalization {
	m := v.object("from", "to", "cc", "bcc", "subject", "headers", "substitutions", "dynamic_template_data", "custom_args", "send_at")
	var b personalization
	if from, ok := m["from"]; ok {
		if box, ok := p.mailbox(at+".from", from, fromWords); ok {
			b.from = &box
		}
	}
	seen := twice{}
	b.to = p.recipientList(at, "to", m["to"], toWords, &seen)
	b.cc = p.recipientList(at, "cc", m["cc"], ccWords, &seen)
	b.bcc = p.recipientList(at, "bcc", m["bcc"], bccWords, &seen)
	if seen.email != "" {
		p.add(at, "message.recipient-errors", textTwice, shown(seen.email), seen.field)
	}
	if s, ok := m["subject"]; ok {
		b.subject = p.subject(at+".subject", "message.personalizations.subject", s)
	}
	if h, ok := m["headers"]; ok {
		b.headers = p.headers(at+".headers", h, blockHeaderWords)
	}
	b.args = p.args
	if a, ok := m["custom_args"]; ok {
		b.args = p.blockArgs(at+".custom_args", a)
	}
	p.substitutions(at, m["substitutions"], &b)
	if d, ok := m["dynamic_template_data"]; ok && !(d.isObject() && d.empty()) {
		p.add(at+".dynamic_template_data", "message.template_id", "There are no templates on this relay; leave dynamic_template_data out.")
	}
	if s, ok := m["send_at"]; ok {
		b.sendAt = p.sendAt(at+".send_at", "message.personalizations.send_at", s)
	}
	return b
}

// twice finds the first mailbox that is there twice.
type twice struct {
	keys         map[string]bool
	email, field string
}

func (t *twice) see(box Mailbox, field string) {
	key := box.Address.Key()
	switch {
	case t.email != "":
	case t.keys[key]:
		t.email, t.field = box.Address.String(), field
	case t.keys == nil:
		t.keys = map[string]bool{key: true}
	default:
		t.keys[key] = true
	}
}

// recipientList reads to, cc or bcc. What is over the limit is counted and no more.
func (p *parser) recipientList(at, name string, v value, w mailboxWords, seen *twice) []Mailbox {
	at += "." + name
	switch {
	case v == nil && name != "to":
		return nil
	case name == "to" && (v == nil || v.isArray() && v.empty()):
		p.add(at, w.anchor, textNoTo)
		return nil
	case !v.isArray() || v.empty():
		p.add(at, w.anchor, "The "+name+" array%s must at least have an `email` parameter with a valid email address and it may also contain a `name` parameter. "+example, whenUsed(name))
		return nil
	}
	var out []Mailbox
	for i, e := range v.elements() {
		if p.recipients++; p.recipients > maxRecipients {
			continue
		}
		if box, ok := p.mailbox(at+"."+strconv.Itoa(i), e, w); ok {
			seen.see(box, at)
			out = append(out, box)
		}
	}
	return out
}

func whenUsed(name string) string {
	if name == "to" {
		return ""
	}
	return ", when used,"
}

// subject reads a subject that is there.
func (p *parser) subject(field, anchor string, v value) *string {
	s, ok := v.text()
	switch {
	case !ok || s == "":
		p.add(field, anchor, textSubjectShort)
	case hasControl(s):
		p.add(field, anchor, "The subject cannot contain CRLF characters.")
	case len(s) > maxSubject:
		p.add(field, anchor, "The subject exceeds the maximum length of 10,000 bytes.")
	}
	return &s
}

// maxSubject bounds a header line that every hop and reader has to hold.
const maxSubject = 10000

// subjects makes sure that every message has one.
func (p *parser) subjects(v value) {
	if v != nil {
		p.global = p.subject("subject", "message.subject", v)
		return
	}
	some := false
	for _, b := range p.blocks {
		some = some || b.subject != nil
	}
	if !some {
		p.add("subject", "message.subject", textSubjectMissing)
		return
	}
	for i, b := range p.blocks {
		if b.subject == nil {
			p.add("personalizations."+strconv.Itoa(i)+".subject", "message.personalizations.subject", textSubjectOne)
		}
	}
}

// sendAt reads a Unix time; a past one is now, which is the zero time.
func (p *parser) sendAt(field, anchor string, v value) *time.Time {
	n, ok := v.integer()
	if !ok {
		p.add(field, anchor, textSendAt)
		return nil
	}
	now := p.o.Now.Unix()
	switch {
	case n > now+int64(maxAhead/time.Second):
		p.add(field, anchor, textTooFar)
		return nil
	case n <= now:
		return &time.Time{}
	}
	at := time.Unix(n, 0).UTC()
	return &at
}

// maxAhead is how far ahead mail can be scheduled.
const maxAhead = 72 * time.Hour
