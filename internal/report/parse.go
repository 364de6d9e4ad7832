package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	gomessage "github.com/emersion/go-message"

	"postern/internal/smtp"
)

// Kind says what an incoming message turned out to be.
type Kind string

// The kinds.
const (
	KindDSN       Kind = "dsn"        // RFC 3464
	KindBounce    Kind = "bounce"     // a bounce in words only
	KindFeedback  Kind = "feedback"   // RFC 5965, an abuse complaint
	KindAutoReply Kind = "auto-reply" // out of office and its like: no bounce
	KindOther     Kind = "other"      // none of these
)

// Class says what a failure tells of the address.
type Class string

// The classes.
const (
	ClassNone Class = ""     // not a failure
	Hard      Class = "hard" // the address will never work
	Soft      Class = "soft" // this message, now, was not taken: full, too large, refused by policy, expired
)

// Recipient is what a report says of one recipient. Text in it is clean.
type Recipient struct {
	Final      string // address as the reporting system knows it
	Original   string // address as the sender gave it, if the report says so
	Action     Action
	Status     smtp.EnhancedCode
	Diagnostic string
	RemoteMTA  string
	Class      Class
}

// Report is an incoming report.
type Report struct {
	Kind         Kind
	ReportingMTA string
	EnvID        string
	Recipients   []Recipient
	// OriginalMessageID is the Message-ID of the message that it is about, with
	// brackets, where the report returns it.
	OriginalMessageID string
	Feedback          *Feedback // only with KindFeedback
}

// The limits of Parse. What lies beyond is not looked at.
const (
	maxReport     = 1 << 20   // octets of a message
	maxHeader     = 256 << 10 // octets of one header section
	maxPart       = 256 << 10 // octets of one part
	maxParts      = 64
	maxDepth      = 8
	maxRecipients = 1000
)

// ErrMalformed is wrapped by Parse where the message has no readable header.
var ErrMalformed = errors.New("report: malformed message")

// Parse reads a message that came to a return path. It looks at no more than
// the first MiB. A message that is no report is no error: it is KindOther.
func Parse(r io.Reader) (*Report, error) {
	e, err := gomessage.ReadWithOptions(io.LimitReader(r, maxReport), &gomessage.ReadOptions{MaxHeaderBytes: maxHeader})
	if e == nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	p := parser{top: e.Header, left: maxParts}
	p.walk(e, 0)
	return p.report(), nil
}

// parser collects the parts that matter.
type parser struct {
	top      gomessage.Header
	left     int // parts still looked at
	status   []byte
	feedback []byte
	text     []byte // the first text part
	html     []byte
	original []byte // start of the returned message
}

func (p *parser) walk(e *gomessage.Entity, depth int) {
	if p.left--; p.left < 0 || depth > maxDepth {
		return
	}
	kind, _, err := e.Header.ContentType()
	if err != nil && kind == "" {
		kind = "text/plain"
	}
	kind = strings.ToLower(kind)
	if mr := e.MultipartReader(); mr != nil {
		for p.left > 0 {
			part, err := mr.NextPart()
			if part == nil || err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
				return
			}
			p.walk(part, depth+1)
		}
		return
	}
	keep := func(dst *[]byte) {
		if *dst == nil {
			*dst = read(e.Body)
		}
	}
	switch kind {
	case "message/delivery-status", "message/global-delivery-status":
		keep(&p.status)
	case "message/feedback-report":
		keep(&p.feedback)
	case "message/rfc822", "message/global", "message/rfc822-headers", "message/global-headers", "text/rfc822-headers":
		keep(&p.original)
	case "text/html":
		keep(&p.html)
	case "text/plain":
		keep(&p.text)
	}
}

// read takes what can be read of a part; a broken encoding ends it.
func read(r io.Reader) []byte {
	b, err := io.ReadAll(io.LimitReader(r, maxPart))
	if err != nil && len(b) == 0 {
		return []byte{}
	}
	return b
}

// report decides what it was.
func (p *parser) report() *Report {
	out := &Report{Kind: KindOther}
	p.readOriginal(out)
	switch {
	case p.feedback != nil:
		out.Kind = KindFeedback
		out.Feedback = parseFeedback(p.feedback)
		p.feedbackOriginal(out.Feedback)
		return out
	case p.status != nil && parseStatus(p.status, out):
		out.Kind = KindDSN
	case p.bounceText(out):
		out.Kind = KindBounce
	case p.isAutoReply():
		out.Kind = KindAutoReply
	}
	for i := range out.Recipients {
		out.Recipients[i].Class = classify(out.Recipients[i])
	}
	return out
}

// readOriginal looks for the Message-ID in what was returned.
func (p *parser) readOriginal(out *Report) {
	for _, g := range groups(p.original, 1) {
		if id := Clean(g.get("Message-ID"), 255); isMessageID(id) {
			out.OriginalMessageID = id
		}
	}
}

// classify judges by the status code (RFC 3463).
func classify(r Recipient) Class {
	if r.Action != Failed {
		return ClassNone
	}
	switch c := r.Status; {
	case c[0] == 4:
		return Soft
	case c[1] == 1 && c[2] != 7 && c[2] != 8, // destination address; .7 and .8 are the sender's
		c[1] == 2 && c[2] == 1, // mailbox disabled
		c[1] == 4 && c[2] == 4: // unable to route
		return Hard
	}
	return Soft
}

// group is one block of header-like fields, names in lower case.
type group []struct{ name, value string }

func (g group) get(name string) string {
	for _, f := range g {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

func (g group) all(name string) []string {
	var out []string
	for _, f := range g {
		if strings.EqualFold(f.name, name) {
			out = append(out, f.value)
		}
	}
	return out
}

// groups reads blocks of fields with blank lines between them, tolerantly:
// either line end, lines without a colon are skipped. At most limit blocks.
func groups(b []byte, limit int) []group {
	var out []group
	var cur group
	flush := func() {
		if len(cur) > 0 {
			out = append(out, cur)
			cur = nil
		}
	}
	for len(b) > 0 && len(out) < limit {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if n := len(cur); n > 0 && len(cur[n-1].value) < 4*MaxText {
				cur[n-1].value += " " + string(bytes.TrimSpace(line))
			}
		default:
			name, value, ok := bytes.Cut(line, []byte(":"))
			if ok && len(cur) < 200 {
				cur = append(cur, struct{ name, value string }{string(bytes.TrimSpace(name)), string(bytes.TrimSpace(value))})
			}
		}
	}
	if len(out) < limit {
		flush()
	}
	return out
}
