package report

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/message"
	"postern/internal/smtp"
)

// Outcome is what a notice says of one recipient.
type Outcome struct {
	Recipient smtp.Address
	// Original is the ORCPT value as the client gave it ("rfc822;…"), "" if none.
	Original string
	Action   Action
	// Status is the enhanced code; zero: x.0.0 of the action's class.
	Status smtp.EnhancedCode
	// Reply is the remote system's words, "" where there was no reply; Why says
	// in our own words what happened, for cases without one ("no route", "expired").
	Reply string
	Why   string
	// RemoteMTA is the host that replied or was tried last.
	RemoteMTA      string
	LastAttempt    time.Time // zero: left out
	WillRetryUntil time.Time // for Delayed; zero: left out
}

// Notice is a delivery status notification about one message. Outcomes with
// different actions may share one notice; the gravest gives the subject.
type Notice struct {
	ReportingMTA string // our host name
	// From is who writes, with a plain name; To gets it: the original envelope
	// sender. The envelope that carries it has the null reverse-path (RFC 3464 §2).
	From message.Mailbox
	To   smtp.Address
	// MessageID of the notice itself, with brackets.
	MessageID string
	Date      time.Time

	EnvID    string    // RFC 3461 ENVID, decoded; "" if none
	Arrival  time.Time // when the message was accepted
	Outcomes []Outcome // at least one

	// Original is what is returned of the message.
	Original Original
}

// Original is the message that a notice is about.
type Original struct {
	Head []byte // header section with its empty line
	Body []byte // nil: not at hand, or not wanted
	Full bool   // RET=FULL: return Body too, if it is not over MaxReturn
	UTF8 bool   // it was accepted with SMTPUTF8
}

// MaxReturn bounds what a notice returns of a message, in octets; above it, the
// header section alone goes back, and of that its start.
const MaxReturn = 256 << 10

// Compose writes the notice: header section with its empty line, and body.
// utf8 reports that its own header needs SMTPUTF8 of the next hop.
//
// An error means that a field which we choose ourselves is unusable; foreign
// text never is the cause.
func (n Notice) Compose() (head, body []byte, utf8 bool, err error) {
	if len(n.Outcomes) == 0 {
		return nil, nil, false, fmt.Errorf("report: a notice without recipients")
	}
	for _, o := range n.Outcomes {
		if !o.Action.valid() {
			return nil, nil, false, fmt.Errorf("report: action %q", o.Action)
		}
	}
	out := message.Outgoing{
		From: n.From, To: []message.Mailbox{{Address: n.To}},
		Subject: n.subject(), Date: n.Date, MessageID: n.MessageID,
		Extra: []message.Extra{
			{Name: "Auto-Submitted", Value: "auto-replied"}, // RFC 3834 §5
			{Name: "References", Value: n.originalID()},
		},
		Part: message.Part{Type: "multipart/report; report-type=delivery-status", Parts: []message.Part{
			{Type: "text/plain", Description: "Notification", Text: n.text()},
			n.status(),
		}},
	}
	if p, ok := n.returned(); ok {
		out.Part.Parts = append(out.Part.Parts, p)
	}
	head, body, err = out.Compose()
	if err != nil {
		return nil, nil, false, fmt.Errorf("report: compose notice: %w", err)
	}
	return head, body, n.To.IsUTF8() || n.From.Address.IsUTF8(), nil
}

// originalID is the Message-ID of the original, if it is one that can be
// repeated: mail readers sort a notice by it.
func (n Notice) originalID() string {
	h, err := parseHead(n.Original.Head)
	if err != nil {
		return ""
	}
	if ids := h.Values("Message-ID"); len(ids) == 1 && isMessageID(ids[0]) {
		return ids[0]
	}
	return ""
}

func parseHead(head []byte) (message.Header, error) {
	return message.ParseHeader(head, message.Limits{Bytes: len(head), Fields: len(head), Octets: message.AnyOctet})
}

// isMessageID reports a plain <left@right> that is safe to repeat.
func isMessageID(s string) bool {
	if len(s) < 3 || len(s) > 250 || s[0] != '<' || s[len(s)-1] != '>' {
		return false
	}
	for _, c := range []byte(s[1 : len(s)-1]) {
		if c <= ' ' || c >= 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return true
}

// status is the machine-readable part (RFC 3464 §2.1): a group of fields for
// the message, then one per recipient.
func (n Notice) status() message.Part {
	var f fields
	f.add("Reporting-MTA", "dns; "+n.ReportingMTA)
	if n.EnvID != "" {
		f.add("Original-Envelope-Id", n.EnvID)
	}
	f.date("Arrival-Date", n.Arrival)
	global := n.Original.UTF8
	for _, o := range n.Outcomes {
		f.group()
		if kind, addr, err := smtp.ParseORcpt(o.Original); err == nil {
			f.add("Original-Recipient", typed(kind, addr, global))
		}
		f.add("Final-Recipient", typed("rfc822", o.Recipient.String(), global))
		f.add("Action", string(o.Action))
		f.add("Status", o.status().String())
		if o.RemoteMTA != "" {
			f.add("Remote-MTA", "dns; "+o.RemoteMTA)
		}
		if o.Reply != "" {
			f.add("Diagnostic-Code", "smtp; "+ascii(Clean(o.Reply, MaxText)))
		}
		f.date("Last-Attempt-Date", o.LastAttempt)
		if o.Action == Delayed {
			f.date("Will-Retry-Until", o.WillRetryUntil)
		}
	}
	kind := "message/delivery-status"
	if global {
		kind = "message/global-delivery-status" // RFC 6533 §4
	}
	return message.Part{Type: kind, Description: "Delivery report", Raw: f.b}
}

// typed writes an address with its type. What is not ASCII becomes
// utf-8-addr-unitext in a global report and utf-8-addr-xtext in another
// (RFC 6533 §3).
func typed(kind, addr string, global bool) string {
	if isASCII(addr) {
		return kind + "; " + addr
	}
	if global {
		return "utf-8; " + addr
	}
	var b strings.Builder
	for _, r := range addr {
		if r > ' ' && r < 0x7f && r != '+' && r != '=' && r != '\\' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\x{%02X}", r)
		}
	}
	return "utf-8; " + b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// ascii replaces what is not ASCII: a diagnostic is for programs, the words for
// people stand in the text.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}

// status is the outcome's code, made to fit its action.
func (o Outcome) status() smtp.EnhancedCode {
	class := 5
	switch o.Action {
	case Delayed:
		class = 4
	case Delivered, Relayed, Expanded:
		class = 2
	}
	if o.Status.IsZero() || o.Status[0] != class {
		return smtp.EnhancedCode{class, o.Status[1], o.Status[2]}
	}
	return o.Status
}

// fields collects header-like fields.
type fields struct{ b []byte }

// group ends one group of fields and starts the next.
func (f *fields) group() { f.b = append(f.b, "\r\n"...) }

// add appends a field; a value that cannot be written is cut to what can.
func (f *fields) add(name, value string) {
	value = Clean(value, MaxText)
	if value == "" {
		return
	}
	field, err := message.FoldField(name, value)
	if err != nil {
		if field, err = message.FoldField(name, Clean(value, 900)); err != nil {
			return
		}
	}
	f.b = append(f.b, field.Raw...)
}

func (f *fields) date(name string, t time.Time) {
	if !t.IsZero() {
		f.add(name, message.FormatDate(t))
	}
}

// returned is the part with the original message, or its header section
// (RFC 3461 §6.2).
func (n Notice) returned() (message.Part, bool) {
	o := n.Original
	if len(o.Head) == 0 {
		return message.Part{}, false
	}
	// RFC 3461 §4.3: RET=FULL is about failures; other notices get the header.
	if o.Full && n.has(Failed) && o.Body != nil && len(o.Head)+len(o.Body) <= MaxReturn {
		kind := "message/rfc822"
		if o.UTF8 {
			kind = "message/global"
		}
		p := message.Part{Type: kind, Description: "Undelivered message", Raw: append(o.Head[:len(o.Head):len(o.Head)], o.Body...)}
		if sendable(p.Raw) {
			return p, true
		}
	}
	head := cutLines(o.Head, MaxReturn)
	if o.UTF8 {
		if sendable(head) {
			return message.Part{Type: "message/global-headers", Description: "Undelivered message headers", Raw: head}, true
		}
	}
	return message.Part{Type: "text/rfc822-headers", Description: "Undelivered message headers", Text: string(head)}, true
}

// cutLines cuts b to whole lines of at most limit octets together.
func cutLines(b []byte, limit int) []byte {
	if len(b) <= limit {
		return b
	}
	return b[:strings.LastIndexByte(string(b[:limit]), '\n')+1]
}

// sendable reports content that may stand in a message without encoding: CRLF
// lines of at most 998 octets, no NUL.
func sendable(b []byte) bool {
	line := 0
	for i, c := range b {
		switch {
		case c == 0, c == '\n' && (i == 0 || b[i-1] != '\r'), c == '\r' && (i+1 == len(b) || b[i+1] != '\n'):
			return false
		case c == '\n':
			line = 0
		default:
			if line++; line > message.MaxLine+1 { // the CR of a full line
				return false
			}
		}
	}
	return true
}
