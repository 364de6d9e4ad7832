package mailsend

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"postern/internal/message"
)

// seen is a message as another program reads it.
type seen struct {
	From, To, Cc, ReplyTo    []box
	Subject, MessageID, Date string
	Headers                  map[string]string
	Contents                 []leaf // of the alternatives
	Related, Mixed           []leaf
}

type box struct{ Name, Email string }

type leaf struct{ Type, Name, Disposition, ContentID, Body string }

func parsed(tb testing.TB, body []byte) *Request {
	tb.Helper()
	r, err := Parse(body, Options{Now: now})
	if err != nil {
		refused, _ := err.(*Refusal)
		tb.Fatalf("%v: %+v", err, refused)
	}
	return r
}

var stamp = Stamp{MessageID: "<1@relay.test>", Date: now}

// composed writes message i and checks what must hold of every message: the
// strict parser that judges senders takes it, all lines end in CRLF and are short
// enough, and nothing but what needs SMTPUTF8 is not ASCII.
func composed(tb testing.TB, r *Request, i int) []byte {
	tb.Helper()
	head, pieces, err := r.Compose(i, stamp)
	if err != nil {
		tb.Fatal(err)
	}
	body := bytes.Join(pieces, nil)
	m := r.Message(i)
	h, err := message.ParseHeader(head, message.Limits{Octets: message.UTF8})
	if err != nil {
		tb.Fatalf("%v in %q", err, head)
	}
	id, err := message.Identify(&h, r.SMTPUTF8(i))
	if err != nil {
		tb.Fatalf("%v in %q", err, head)
	}
	if id.From.Address != m.From.Address {
		tb.Errorf("From is read as %v, not %v", id.From.Address, m.From.Address)
	}
	if h.NonASCII() && !r.SMTPUTF8(i) {
		tb.Errorf("8-bit header: %q", head)
	}
	for _, line := range bytes.SplitAfter(append(head[:len(head):len(head)], body...), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok || len(text) > message.MaxLine || bytes.ContainsAny(text, "\r\n\x00") {
			tb.Errorf("bad line of %d octets: %.100q", len(line), line)
		}
	}
	return append(head, body...)
}

// readBack reads a message with the standard library.
func readBack(tb testing.TB, raw []byte) seen {
	tb.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		tb.Fatal(err)
	}
	var s seen
	words := new(mime.WordDecoder)
	s.From, s.To, s.Cc, s.ReplyTo = boxList(tb, m, "From"), boxList(tb, m, "To"), boxList(tb, m, "Cc"), boxList(tb, m, "Reply-To")
	s.Subject, _ = words.DecodeHeader(m.Header.Get("Subject"))
	s.MessageID, s.Date = m.Header.Get("Message-Id"), m.Header.Get("Date")
	for name, v := range m.Header {
		if strings.HasPrefix(name, "X-") {
			if s.Headers == nil {
				s.Headers = map[string]string{}
			}
			s.Headers[name], _ = words.DecodeHeader(v[0])
		}
	}
	s.walk(tb, textproto.MIMEHeader(m.Header), m.Body, "")
	return s
}

func boxList(tb testing.TB, m *mail.Message, name string) []box {
	if m.Header.Get(name) == "" {
		return nil
	}
	list, err := m.Header.AddressList(name)
	if err != nil {
		tb.Fatalf("%s: %v: %q", name, err, m.Header.Get(name))
	}
	var out []box
	for _, a := range list {
		out = append(out, box{a.Name, a.Address})
	}
	return out
}

// walk takes the leaves of an entity that is inside a multipart of a kind.
func (s *seen) walk(tb testing.TB, h textproto.MIMEHeader, body io.Reader, in string) {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		tb.Fatalf("%v: %q", err, h.Get("Content-Type"))
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for i := 0; ; i++ {
			p, err := parts.NextRawPart()
			if err == io.EOF {
				return
			}
			if err != nil {
				tb.Fatal(err)
			}
			inner := kind
			if i == 0 && kind != "multipart/alternative" {
				inner = "" // the root, of which what was around it says nothing
			}
			s.walk(tb, p.Header, p, inner)
		}
	}
	switch h.Get("Content-Transfer-Encoding") {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		tb.Fatal(err)
	}
	l := leaf{Type: kind, Body: string(b), ContentID: h.Get("Content-Id")}
	if d := h.Get("Content-Disposition"); d != "" {
		var params map[string]string
		if l.Disposition, params, err = mime.ParseMediaType(d); err != nil {
			tb.Fatalf("%v: %q", err, d)
		}
		l.Name = params["filename"]
	}
	if l.Name != params["name"] {
		tb.Errorf("name %q and filename %q", params["name"], l.Name)
	}
	switch {
	case l.Disposition == "":
		s.Contents = append(s.Contents, l)
	case in == "multipart/related":
		s.Related = append(s.Related, l)
	default:
		s.Mixed = append(s.Mixed, l)
	}
}

// wireLines is what becomes of text: CRLF line ends, the last line ended.
func wireLines(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	if !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

func toJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

type object = map[string]any

func goodObject() object {
	return object{
		"personalizations": []object{{"to": []object{{"email": "to@x.test"}}}},
		"from":             object{"email": "from@a.test"}, "subject": "s",
		"content": []object{{"type": "text/plain", "value": "v"}},
	}
}
