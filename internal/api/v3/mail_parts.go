package v3

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"path"
	"strings"

	gomessage "github.com/emersion/go-message"
	"golang.org/x/text/encoding/htmlindex"

	"postern/internal/store"
)

// mailBody is what a message says, decoded for display. Nothing in it is safe to
// be run: html is as the sender wrote it.
type mailBody struct {
	HTML        string       `json:"html"`
	Text        string       `json:"text"`
	Headers     [][2]string  `json:"headers" doc:"name and value, decoded, in their order"`
	Attachments []attachment `json:"attachments"`
	Truncated   bool         `json:"truncated" doc:"there is more than is shown"`
}

type attachment struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Size int64  `json:"size" doc:"octets, decoded"`
}

// The bounds of what is decoded of a message. It was written by anybody.
const (
	maxShownText   = 1 << 20 // octets of text, of html, and of all headers
	maxShownParts  = 100
	maxShownDepth  = 10
	maxShownFields = 200
	maxShownValue  = 4096
)

// readBody decodes a message for display. Errors are those of the reader: a
// message that is not well-formed is shown as far as it can be read.
func readBody(r io.Reader) (mailBody, error) {
	src := &faulty{r: r}
	d := bodyDecoder{out: mailBody{Headers: [][2]string{}, Attachments: []attachment{}}}
	e, err := gomessage.ReadWithOptions(bufio.NewReader(src), &gomessage.ReadOptions{MaxHeaderBytes: maxShownText})
	if e == nil {
		if src.fault() != nil {
			return mailBody{}, src.fault()
		}
		d.out.Truncated = true
		_ = err // not a message: nothing can be shown
		return d.out, nil
	}
	d.headers(&e.Header)
	d.entity(e, 0)
	if src.fault() != nil {
		return mailBody{}, fmt.Errorf("read body: %w", src.fault())
	}
	return d.out, nil
}

// faulty remembers an error of the reader beneath a decoder that has errors of its
// own.
type faulty struct {
	r   io.Reader
	err error
}

func (f *faulty) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

func (f *faulty) fault() error {
	if errors.Is(f.err, store.ErrDamaged) {
		return store.ErrDamaged
	}
	return f.err
}

type bodyDecoder struct {
	out   mailBody
	parts int
}

func (d *bodyDecoder) headers(h *gomessage.Header) {
	words := mime.WordDecoder{CharsetReader: charsetReader}
	for fields := h.Fields(); fields.Next(); {
		if len(d.out.Headers) >= maxShownFields {
			d.out.Truncated = true
			return
		}
		value := fields.Value()
		if text, err := words.DecodeHeader(value); err == nil {
			value = text
		}
		d.out.Headers = append(d.out.Headers, [2]string{printable(fields.Key(), 255), printable(value, maxShownValue)})
	}
}

// entity walks one part. What is nested too deep, or one part too many, is left
// out.
func (d *bodyDecoder) entity(e *gomessage.Entity, depth int) {
	if d.parts++; d.parts > maxShownParts || depth > maxShownDepth {
		d.out.Truncated = true
		return
	}
	if m := e.MultipartReader(); m != nil {
		for d.parts <= maxShownParts {
			part, err := m.NextPart()
			if part == nil || err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
				return // the end, or what cannot be told from it
			}
			d.entity(part, depth+1)
		}
		return
	}
	d.leaf(e)
}

func (d *bodyDecoder) leaf(e *gomessage.Entity) {
	kind, params, err := e.Header.ContentType()
	if err != nil {
		kind, params = "application/octet-stream", nil
		if e.Header.Get("Content-Type") == "" {
			kind = "text/plain"
		}
	}
	disposition, dparams, _ := e.Header.ContentDisposition()
	name := attachmentName(dparams["filename"], params["name"])
	into := &d.out.Text
	if kind == "text/html" {
		into = &d.out.HTML
	}
	if (kind == "text/plain" || kind == "text/html") && disposition != "attachment" && (name == "" || *into == "") {
		d.text(e, params["charset"], into)
		return
	}
	n, _ := io.Copy(io.Discard, e.Body) // what cannot be decoded any more is not counted
	d.out.Attachments = append(d.out.Attachments, attachment{Name: name, Type: printable(kind, 127), Size: n})
}

// text adds a text part to what is shown.
func (d *bodyDecoder) text(e *gomessage.Entity, charset string, into *string) {
	room := maxShownText - len(*into)
	raw, _ := io.ReadAll(io.LimitReader(e.Body, int64(room)+1)) // as far as it can be decoded
	if len(raw) > room {
		raw, d.out.Truncated = raw[:room], true
		_, _ = io.Copy(io.Discard, e.Body)
	}
	text := decodeCharset(raw, charset)
	if len(text) > room {
		text, d.out.Truncated = text[:room], true
	}
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\ufffd")
	if *into != "" && text != "" && len(*into) < maxShownText {
		*into += "\n"
	}
	*into += text
}

// decodeCharset makes UTF-8 of octets in a charset by its name; of an unknown one
// whatever is ASCII remains.
func decodeCharset(raw []byte, charset string) string {
	r, err := charsetReader(charset, bytes.NewReader(raw))
	if err != nil {
		return string(raw)
	}
	text, err := io.ReadAll(io.LimitReader(r, 4*maxShownText))
	if err != nil {
		return string(raw)
	}
	return string(text)
}

// charsetReader knows the charsets of the WHATWG list. UTF-7 and its like, by which
// text becomes markup, are not among them.
func charsetReader(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "", "utf-8", "us-ascii", "ascii":
		return in, nil
	}
	enc, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("charset %.40q: %w", charset, err)
	}
	return enc.NewDecoder().Reader(in), nil
}

// attachmentName is the last part of the first name that there is.
func attachmentName(names ...string) string {
	words := mime.WordDecoder{CharsetReader: charsetReader}
	for _, name := range names {
		if text, err := words.DecodeHeader(name); err == nil {
			name = text
		}
		name = path.Base(strings.ReplaceAll(printable(name, 255), `\`, "/"))
		if name != "." && name != "/" {
			return name
		}
	}
	return ""
}
