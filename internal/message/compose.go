package message

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"
)

// Outgoing is a message that postern writes: a DSN, a notice, one that came as
// data of the HTTP API. Every text in it may come from outside; Compose encodes
// or refuses, so that none can become a header field, a delimiter or a line that
// SMTP would split.
type Outgoing struct {
	// From, ReplyTo, To and Cc: here Name is plain text, not wire form.
	From    Mailbox
	ReplyTo []Mailbox
	To, Cc  []Mailbox
	Subject string    // plain text
	Date    time.Time // in the zone that is to be shown; zero: Extra has one
	// MessageID with its brackets, see NewMessageID.
	MessageID string
	Extra     []Extra // further fields, after those above
	Part              // the content
}

// Extra is a field in wire form: ASCII, or UTF-8 where the message is UTF-8
// anyway.
type Extra struct{ Name, Value string }

// Part is one MIME entity: a leaf, or a multipart if Parts is set.
type Part struct {
	// Type is the media type in wire form with its parameters, but without a
	// boundary and, on text leaves, without a charset: text is always UTF-8.
	Type        string
	Description string // Content-Description, plain text; may be empty
	// Disposition is "inline", "attachment" or empty; FileName, plain text, stands
	// in Content-Type too, for readers that look for it there.
	Disposition string
	FileName    string
	ContentID   string // without its brackets; ASCII
	// Text is the content of a text leaf; any line ends, made CRLF.
	Text string
	// Raw is the content of any other leaf: CRLF lines of at most 998 octets,
	// not ending in the middle of one. It is never transfer-encoded (RFC 2046
	// §5.2.1 forbids it for what Raw is there for).
	Raw []byte
	// Encoded is the content of any other leaf in base64, as EncodeBase64 and
	// WrapBase64 make it. Messages that are alike can share it.
	Encoded []byte
	Parts   []Part
}

// Compose writes the message: header section with its empty line, and body.
// All lines end in CRLF and hold at most 998 octets.
//
// Errors are *Error with Unsafe, or LongLine.
func (o Outgoing) Compose() (head, body []byte, err error) {
	head, pieces, err := o.ComposePieces()
	if err != nil {
		return nil, nil, err
	}
	return head, bytes.Join(pieces, nil), nil
}

// ComposePieces is Compose with the body in pieces. The content of Raw and
// Encoded leaves is among them as it is, not copied.
func (o Outgoing) ComposePieces() (head []byte, body [][]byte, err error) {
	var c composer
	c.mailboxes("From", []Mailbox{o.From})
	c.mailboxes("To", o.To)
	c.mailboxes("Cc", o.Cc)
	c.mailboxes("Reply-To", o.ReplyTo)
	c.field("Subject", encodeValue(o.Subject))
	if !o.Date.IsZero() {
		c.field("Date", FormatDate(o.Date))
	}
	c.field("Message-ID", o.MessageID)
	for _, x := range o.Extra {
		c.field(x.Name, x.Value)
	}
	c.field("MIME-Version", "1.0")
	body, _ = c.part(o.Part)
	if c.err != nil {
		return nil, nil, c.err
	}
	return append(c.head, crlf...), body, nil
}

// composer collects header fields; the first error stays.
type composer struct {
	head []byte
	err  error
}

func (c *composer) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *composer) field(name, value string) {
	if value == "" || c.err != nil {
		return
	}
	f, err := FoldField(name, value)
	if err == nil && !utf8.ValidString(value) {
		err = &Error{Reason: Unsafe, Field: name, Detail: "not UTF-8"}
	}
	if err != nil {
		c.err = err
		return
	}
	c.head = append(c.head, f.Raw...)
}

func (c *composer) mailboxes(name string, ms []Mailbox) {
	var out []string
	for _, m := range ms {
		if !m.Address.IsZero() {
			out = append(out, formatMailbox(m))
		}
	}
	c.field(name, strings.Join(out, ", "))
}

// formatMailbox is FormatMailbox that encodes names which a fold cannot keep
// within a line, and those whose quoting some readers take for the end of it.
func formatMailbox(m Mailbox) string {
	if !longWord(m.Name) && !strings.ContainsAny(m.Name, `"\<>`) {
		return FormatMailbox(m.Name, m.Address)
	}
	name := strings.TrimSpace(EncodeText(m.Name))
	if !strings.HasPrefix(name, "=?utf-8?b?") {
		name = encodeWords(name)
	}
	return name + " <" + m.Address.String() + ">"
}

// encodeValue is EncodeText that also encodes what a fold cannot keep within a
// line.
func encodeValue(s string) string {
	v := EncodeText(s)
	if longWord(v) {
		return encodeWords(v)
	}
	return v
}

// longWord reports white space with a word behind it that would fill a line.
func longWord(s string) bool {
	for s != "" {
		w := nextWord(s)
		if len(w) > MaxLine-100 {
			return true
		}
		s = s[len(w):]
	}
	return false
}
