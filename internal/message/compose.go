package message

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"
)

// Outgoing is a message that postern writes itself: a DSN, a notice. Every
// text in it may come from outside; Compose encodes or refuses, so that none
// can become a header field, a delimiter or a line that SMTP would split.
type Outgoing struct {
	// From, ReplyTo and To: here Name is plain text, not wire form.
	From    Mailbox
	ReplyTo []Mailbox
	To      []Mailbox
	Subject string    // plain text
	Date    time.Time // in the zone that is to be shown
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
	// Text is the content of a text leaf; any line ends, made CRLF.
	Text string
	// Raw is the content of any other leaf: CRLF lines of at most 998 octets,
	// not ending in the middle of one. It is never transfer-encoded (RFC 2046
	// §5.2.1 forbids it for what Raw is there for).
	Raw   []byte
	Parts []Part
}

// Compose writes the message: header section with its empty line, and body.
// All lines end in CRLF and hold at most 998 octets.
//
// Errors are *Error with Unsafe, or LongLine.
func (o Outgoing) Compose() (head, body []byte, err error) {
	var c composer
	c.mailboxes("From", []Mailbox{o.From})
	c.mailboxes("To", o.To)
	c.mailboxes("Reply-To", o.ReplyTo)
	c.field("Subject", EncodeText(o.Subject))
	c.field("Date", FormatDate(o.Date))
	c.field("Message-ID", o.MessageID)
	for _, x := range o.Extra {
		c.field(x.Name, x.Value)
	}
	c.field("MIME-Version", "1.0")
	body = c.part(o.Part)
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
			out = append(out, FormatMailbox(m.Name, m.Address))
		}
	}
	c.field(name, strings.Join(out, ", "))
}

// part writes the header fields of an entity to c.head and returns its content.
func (c *composer) part(p Part) []byte {
	switch {
	case len(p.Parts) > 0:
		return c.multipart(p)
	case strings.HasPrefix(p.Type, "text/"):
		return c.text(p)
	}
	c.field("Content-Type", p.Type)
	c.field("Content-Description", EncodeText(p.Description))
	if !isASCII(p.Raw) {
		c.field("Content-Transfer-Encoding", "8bit")
	}
	if err := checkRaw(p.Raw); err != nil && c.err == nil {
		c.err = err
	}
	return p.Raw
}

// checkRaw makes sure that content may stand in a message as it is.
func checkRaw(b []byte) error {
	rest := bytes.ReplaceAll(b, crlf, nil)
	switch {
	case bytes.ContainsAny(rest, "\r\n\x00"):
		return &Error{Reason: Unsafe, Detail: "content with a bare CR or LF, or a NUL"}
	case longestLine(b) > MaxLine:
		return longLineIn("content that cannot be encoded")
	}
	return nil
}

func (c *composer) text(p Part) []byte {
	text := []byte(crlfLines(strings.ToValidUTF8(p.Text, "\uFFFD")))
	charset := "us-ascii"
	if !isASCII(text) {
		charset = "utf-8"
	}
	c.field("Content-Type", p.Type+"; charset="+charset)
	c.field("Content-Description", EncodeText(p.Description))
	if charset == "us-ascii" && longestLine(text) <= foldAt && bytes.IndexByte(text, 0) < 0 {
		return text
	}
	c.field("Content-Transfer-Encoding", "quoted-printable")
	return encodeQP(text)
}

// crlfLines makes CRLF of every line end and ends the last line.
func crlfLines(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

func (c *composer) multipart(p Part) []byte {
	var r [16]byte
	rand.Read(r[:])
	// 128 random bits: no content can hold it but by being told.
	boundary := "=_" + hex.EncodeToString(r[:])
	var body bytes.Buffer
	eightBit := false
	for _, inner := range p.Parts {
		var ic composer
		content := ic.part(inner)
		if ic.err != nil && c.err == nil {
			c.err = ic.err
		}
		body.WriteString("--" + boundary + "\r\n")
		body.Write(ic.head)
		body.WriteString("\r\n")
		body.Write(content)
		if !bytes.HasSuffix(content, crlf) {
			body.WriteString("\r\n")
		}
		body.WriteString("\r\n")
		eightBit = eightBit || !isASCII(content)
	}
	body.WriteString("--" + boundary + "--\r\n")
	c.field("Content-Type", p.Type+`; boundary="`+boundary+`"`)
	c.field("Content-Description", EncodeText(p.Description))
	if eightBit {
		c.field("Content-Transfer-Encoding", "8bit")
	}
	return body.Bytes()
}
