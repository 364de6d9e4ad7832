package mailsend

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"postern/internal/message"
)

// Message is one message of a request, that of one personalization, as far as it
// is known before it is composed.
type Message struct {
	From        Mailbox
	To, Cc, Bcc []Mailbox
	CustomArgs  map[string]string // the request's and its own; shared, not to be changed
	SendAt      time.Time         // zero: now
}

// Len is how many messages a request makes.
func (r *Request) Len() int { return len(r.blocks) }

// Message is the i-th.
func (r *Request) Message(i int) Message {
	b := &r.blocks[i]
	m := Message{From: r.from, To: b.to, Cc: b.cc, Bcc: b.bcc, CustomArgs: b.args}
	if b.from != nil {
		m.From = *b.from
	}
	if b.sendAt != nil {
		m.SendAt = *b.sendAt
	}
	return m
}

// Identity is who the i-th message will say that it is from, before tags are
// replaced in its reply addresses.
func (r *Request) Identity(i int) message.Identity {
	from := r.Message(i).From.Mailbox
	id := message.Identity{From: from}
	id.Values.From = []byte(message.FormatMailbox(from.Name, from.Address))
	if len(r.replyTo) > 0 {
		var list []string
		for _, m := range r.replyTo {
			list = append(list, message.FormatMailbox(m.Name, m.Address))
		}
		id.Values.ReplyTo = []byte(strings.Join(list, ", "))
	}
	return id
}

// SMTPUTF8 reports whether the i-th message needs it: a local part somewhere in
// its envelope or header is not ASCII.
func (r *Request) SMTPUTF8(i int) bool {
	m := r.Message(i)
	utf8 := m.From.Address.IsUTF8()
	for _, list := range [][]Mailbox{m.To, m.Cc, m.Bcc, r.replyTo} {
		for i := range list {
			utf8 = utf8 || list[i].Address.IsUTF8()
		}
	}
	return utf8
}

// Weight is how many octets of memory the request and the records of its messages
// take beside the body and the messages themselves, roughly.
func (r *Request) Weight() int64 {
	const block, mailbox, arg = 1024, 512, 256
	n := int64(len(r.blocks)) * block
	for i := range r.blocks {
		b := &r.blocks[i]
		n += int64(len(b.to)+len(b.cc)+len(b.bcc))*mailbox + int64(len(b.args))*arg
	}
	return n
}

// Recipients are all of a message: to, cc, then bcc.
func (m *Message) Recipients() []Mailbox {
	out := make([]Mailbox, 0, len(m.To)+len(m.Cc)+len(m.Bcc))
	out = append(out, m.To...)
	out = append(out, m.Cc...)
	return append(out, m.Bcc...)
}

// Stamp is what the relay puts into a message.
type Stamp struct {
	MessageID string // with its brackets; a header of the client's own takes its place
	Date      time.Time
}

// Compose writes the i-th message: header section with its empty line, and the
// body in pieces, which share the octets of attachments with the request and
// the other messages. Bcc is not in it. An error is a *Refusal.
func (r *Request) Compose(i int, s Stamp) (head []byte, body [][]byte, err error) {
	b := &r.blocks[i]
	sub := newSubstituter(b.substitutions, nil)
	if b.substitutions != nil || r.sections != nil {
		sub.sections = replacer(r.sections)
	}
	o := message.Outgoing{To: boxes(b.to), Cc: boxes(b.cc), From: r.Message(i).From.Mailbox, Date: s.Date, MessageID: s.MessageID}
	subject := r.subject
	if b.subject != nil {
		subject = *b.subject
	}
	if o.Subject, err = sub.apply(subject); err != nil {
		return nil, nil, TooLarge()
	}
	if o.ReplyTo, err = r.replyTos(sub); err != nil {
		return nil, nil, err
	}
	if o.Part, err = r.part(sub); err != nil {
		return nil, nil, TooLarge()
	}
	r.ownHeaders(b, &o)
	head, body, err = o.ComposePieces()
	if err != nil {
		return nil, nil, composeRefusal(err)
	}
	return head, body, nil
}

// replyTos are the reply addresses with tags replaced. What a tag made of an
// address is judged again.
func (r *Request) replyTos(sub substituter) ([]message.Mailbox, error) {
	out := boxes(r.replyTo)
	if sub.tags == nil {
		return out, nil
	}
	for i := range out {
		name, err1 := sub.apply(out[i].Name)
		text, err2 := sub.apply(out[i].Address.String())
		if errors.Join(err1, err2) != nil {
			return nil, TooLarge()
		}
		out[i].Name = name
		if text == out[i].Address.String() {
			continue
		}
		was := out[i].Address
		var ok bool
		// What needs SMTPUTF8 is known before the message is begun.
		if out[i].Address, ok = address(text); !ok || out[i].Address.IsUTF8() && !was.IsUTF8() {
			return nil, &Refusal{Status: http.StatusBadRequest, Faults: []Fault{{
				Message: textReplyTo, Field: r.replyTo[i].Field, Help: helpURL + replyToWords.anchor,
			}}}
		}
	}
	return out, nil
}

// ownHeaders adds the client's own fields; a personalization's take the place of
// the request's.
func (r *Request) ownHeaders(b *personalization, o *message.Outgoing) {
	own := map[string]bool{}
	for _, h := range b.headers {
		own[strings.ToLower(h.name)] = true
	}
	add := func(h header) {
		switch {
		case strings.EqualFold(h.name, "Message-ID"):
			o.MessageID = h.value
		case strings.EqualFold(h.name, "Date"):
			o.Date = time.Time{}
			fallthrough
		default:
			o.Extra = append(o.Extra, message.Extra{Name: h.name, Value: h.value})
		}
	}
	for _, h := range r.headers {
		if !own[strings.ToLower(h.name)] {
			add(h)
		}
	}
	for _, h := range b.headers {
		add(h)
	}
}

// part is the content: alternatives; with them what they show, related; with that
// the attachments, mixed.
func (r *Request) part(sub substituter) (message.Part, error) {
	var root message.Part
	for _, c := range r.content {
		text, err := sub.apply(c.text)
		if err != nil {
			return message.Part{}, err
		}
		root.Parts = append(root.Parts, contentPart(c.kind, r.footer.under(c.kind, text)))
	}
	root = wrapped("multipart/alternative", root.Parts)
	related, mixed := []message.Part{root}, []message.Part(nil)
	for _, a := range r.attachments {
		if a.inline && a.contentID != "" {
			related = append(related, a.part)
		} else {
			mixed = append(mixed, a.part)
		}
	}
	// RFC 2387 §3.1: type says what the root is.
	root = wrapped(`multipart/related; type="`+strings.ToLower(root.Type)+`"`, related)
	return wrapped("multipart/mixed", append([]message.Part{root}, mixed...)), nil
}

// wrapped makes one part of several; a single one stays what it is.
func wrapped(kind string, parts []message.Part) message.Part {
	if len(parts) == 1 {
		return parts[0]
	}
	return message.Part{Type: kind, Parts: parts}
}

func contentPart(kind, text string) message.Part {
	if strings.HasPrefix(strings.ToLower(kind), "text/") {
		return message.Part{Type: strings.ToLower(kind), Text: text}
	}
	return message.Part{Type: kind, Encoded: message.EncodeBase64([]byte(text))}
}

// under puts the footer under content of a type.
func (f footer) under(kind, text string) string {
	switch strings.ToLower(kind) {
	case "text/plain":
		if f.text != "" {
			return strings.TrimRight(text, "\r\n") + "\n\n" + f.text
		}
	case "text/html":
		if f.html == "" {
			return text
		}
		if i := lastBody(text); i >= 0 {
			return text[:i] + f.html + text[i:]
		}
		return text + f.html
	}
	return text
}

// lastBody is where the last </body begins, in any letter case; -1: nowhere.
func lastBody(html string) int {
	const tag = "</body"
	for i := len(html) - len(tag); i >= 0; i-- {
		if strings.EqualFold(html[i:i+len(tag)], tag) {
			return i
		}
	}
	return -1
}

// composeRefusal words what the composer refuses. Validation should have found
// it, and where it did not, nothing unsafe leaves.
func composeRefusal(err error) error {
	e, ok := errors.AsType[*message.Error](err)
	if !ok {
		return err
	}
	return &Refusal{Status: http.StatusBadRequest, Faults: []Fault{{Message: "The message cannot be written: " + e.Error() + "."}}}
}
