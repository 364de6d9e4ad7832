package mailsend

import (
	"time"

	"postern/internal/message"
)

// Options are what the judgement of a request depends on besides its text.
type Options struct {
	Now time.Time
	// Pool reports whether the caller has a pool of this name; nil: has none.
	Pool func(name string) bool
	// Batch reports whether a batch id is one of the caller's; nil: none is.
	Batch func(id string) bool
}

// Request is a good request.
type Request struct {
	Sandbox    bool     // validate only
	Pool       string   // "": the tenant's own
	Categories []string // without repeats
	BatchID    string   // "": none

	from        Mailbox
	replyTo     []Mailbox
	subject     string
	content     []content
	attachments []attachment
	headers     []header
	sections    value
	footer      footer
	blocks      []personalization
}

// parser reads one request.
type parser struct {
	faults
	o   Options
	out Request

	blocks      []personalization
	args        map[string]string // the request's custom_args
	global      *string           // the request's subject
	recipients  int
	headerCount int
	argEntries  int
	later       bool // some message is for later
}

// topMembers are the members of a request that are known.
var topMembers = []string{
	"personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id", "headers", "sections",
	"categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings", "tracking_settings",
}

// Parse reads the body of a request. The request aliases body. An error is a
// *Refusal that names all that is wrong.
func Parse(body []byte, o Options) (*Request, error) {
	v, err := check(body)
	if err != nil {
		return nil, err
	}
	m := v.object(topMembers...)
	p := &parser{o: o}
	p.from(m["from"])
	p.customArgs(m["custom_args"])
	p.personalizations(m["personalizations"])
	p.replyTo(m)
	p.subjects(m["subject"])
	p.template(m["template_id"])
	p.content(m["content"])
	p.attachments(m["attachments"])
	if h, ok := m["headers"]; ok {
		p.out.headers = p.headers("headers", h, headerText)
	}
	p.sections(m["sections"])
	p.categories(m["categories"])
	p.schedule(m["send_at"])
	p.batch(m["batch_id"])
	p.asm(m["asm"])
	p.pool(m["ip_pool_name"])
	p.mailSettings(m["mail_settings"])
	p.trackingSettings(m["tracking_settings"])
	if err := p.err(); err != nil {
		return nil, err
	}
	p.out.blocks = p.blocks
	if p.global != nil {
		p.out.subject = *p.global
	}
	return &p.out, nil
}

func (p *parser) from(v value) {
	if v == nil {
		p.add("from", "message.from", textFromMissing)
		return
	}
	p.out.from, _ = p.mailbox("from", v, fromWords)
}

func (p *parser) replyTo(m map[string]value) {
	one, isOne := m["reply_to"]
	list, isList := m["reply_to_list"]
	if isOne && isList {
		p.add("reply_to_list", "message.reply_to", "The reply_to_list cannot be used together with reply_to.")
	}
	if isOne {
		if box, ok := p.mailbox("reply_to", one, replyToWords); ok {
			p.out.replyTo = []Mailbox{box}
		}
	}
	if isList {
		p.replyToList(list)
	}
}

func (p *parser) replyToList(v value) {
	const field = "reply_to_list"
	if !v.isArray() {
		p.wrongType(field, replyToWords.anchor, "array", v)
		return
	}
	seen := map[string]bool{}
	for i, e := range v.elements() {
		if i == maxReplyTo {
			p.add(field, replyToWords.anchor, "There is a limit of 1000 reply-to addresses.")
			return
		}
		box, ok := p.mailbox(indexed(field, i), e, replyToWords)
		if key := box.Address.Key(); ok && !seen[key] {
			seen[key] = true
			p.out.replyTo = append(p.out.replyTo, box)
		}
	}
}

// schedule reads the request's send_at, for every message without its own.
func (p *parser) schedule(v value) {
	var at *time.Time
	if v != nil {
		at = p.sendAt("send_at", "message.send_at", v)
	}
	for i := range p.blocks {
		if b := &p.blocks[i]; b.sendAt == nil && at != nil {
			b.sendAt = at
		}
		if b := &p.blocks[i]; b.sendAt != nil && !b.sendAt.IsZero() {
			p.later = true
		}
	}
}

func (p *parser) batch(v value) {
	const field, anchor = "batch_id", "message.batch_id"
	if v == nil {
		return
	}
	s, ok := v.text()
	switch {
	case !ok:
		p.add(field, anchor, "The batch_id must be a string.")
	case p.o.Batch == nil || !p.o.Batch(s):
		p.add(field, anchor, "invalid batch id")
	case p.later:
		p.add(field, anchor, "Scheduled mail cannot be paused or cancelled on this relay yet; leave batch_id out, or send_at.")
	default:
		p.out.BatchID = s
	}
}

func (p *parser) pool(v value) {
	const field, anchor = "ip_pool_name", "message.ip_pool_name"
	if v == nil {
		return
	}
	s, ok := v.text()
	switch {
	case !ok:
		p.add(field, anchor, "The name of your IP pool must be a string.")
	case p.o.Pool == nil || !p.o.Pool(s):
		p.add(field, anchor, "The IP Pool name must be a valid pool name for your account. You provided [%s].", shown(s))
	default:
		p.out.Pool = s
	}
}

// boxes are the mailboxes as the composer takes them.
func boxes(list []Mailbox) []message.Mailbox {
	out := make([]message.Mailbox, len(list))
	for i := range list {
		out[i] = list[i].Mailbox
	}
	return out
}
