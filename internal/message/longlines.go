package message

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// EncodeLongLines is the one content service at the door. Where a line of the
// body is over 998 octets (RFC 5322 §2.1.1) it re-encodes the text leaf parts
// that hold such lines and nothing else: quoted-printable where the part was
// 7bit or 8bit, the same encoding with lines of 76 where it was
// quoted-printable or base64. The decoded content stays the same; every part
// that needs nothing stays identical, octet for octet.
//
// head is the header section with its empty line, body the rest; both are
// returned as they are, and changed is false, if no line is too long.
//
// Errors are *Error with LongLine: a header line too long, a long line in a
// part that is no text, inside multipart/signed, multipart/encrypted or
// message/*, in a preamble or epilogue, or where the structure cannot be read
// with certainty. Malformed: head is no header section.
func EncodeLongLines(head, body []byte) (newHead, newBody []byte, changed bool, err error) {
	h, err := ParseHeader(head, Limits{Bytes: max(len(head), DefaultHeaderBytes), Fields: maxPartFields, Octets: AnyOctet})
	if err != nil {
		return nil, nil, false, err
	}
	if n, field := h.LongestLine(); n > MaxLine {
		return nil, nil, false, &Error{Reason: LongLine, Field: field, Detail: fmt.Sprintf("a header line has %d octets", n)}
	}
	if longestLine(body) <= MaxLine {
		return head, body, false, nil
	}
	w := newWalker(body)
	w.walk(&h)
	out := make([]byte, 0, len(body)+len(body)/8)
	done := 0
	for _, s := range w.segments {
		text := body[s.start:s.end]
		if longestLine(text) <= MaxLine {
			continue
		}
		if s.keep != "" {
			return nil, nil, false, longLineIn(s.keep)
		}
		if s.head == nil { // the message itself is the leaf
			newText, err := reencode(&h, text, true)
			if err != nil {
				return nil, nil, false, err
			}
			return h.Bytes(), newText, true, nil
		}
		newText, err := reencode(s.head, text, false)
		if err != nil {
			return nil, nil, false, err
		}
		out = append(out, body[done:s.headStart]...)
		out = append(out, s.head.Bytes()...)
		out = append(out, newText...)
		done = s.end
	}
	if out = append(out, body[done:]...); longestLine(out) > MaxLine {
		return nil, nil, false, longLineIn("the header of a part")
	}
	return head, out, true, nil
}

func longLineIn(where string) *Error {
	return &Error{Reason: LongLine, Detail: "a line over 998 octets in " + where}
}

// reencode encodes the text of one leaf part and changes its header to say so.
func reencode(h *Header, text []byte, top bool) ([]byte, error) {
	cte := "7bit"
	if v := h.Values("Content-Transfer-Encoding"); len(v) == 1 {
		cte = strings.ToLower(v[0])
	} else if len(v) > 1 {
		return nil, longLineIn("a part with two transfer encodings")
	}
	switch cte {
	case "7bit", "8bit", "binary":
	case "quoted-printable":
		return refoldQP(text), nil
	case "base64":
		return refoldBase64(text)
	default:
		return nil, longLineIn("a part with an unknown transfer encoding")
	}
	enc, err := FoldField("Content-Transfer-Encoding", "quoted-printable")
	if err != nil {
		return nil, err
	}
	if top {
		addMIME(h, text)
	}
	replaced := false
	for i, f := range h.Fields {
		if f.Is("Content-Transfer-Encoding") {
			h.Fields[i], replaced = enc, true
		}
	}
	if !replaced {
		h.Append(enc)
	}
	return encodeQP(text), nil
}

// addMIME makes a MIME message of one that was none, because only a MIME
// reader undoes quoted-printable.
func addMIME(h *Header, text []byte) {
	add := func(name, value string) {
		if f, err := FoldField(name, value); err == nil && h.Count(name) == 0 {
			h.Append(f)
		}
	}
	charset := "us-ascii"
	switch {
	case isASCII(text):
	case utf8.Valid(text):
		charset = "utf-8"
	default:
		charset = "unknown-8bit" // RFC 1428 §3
	}
	add("MIME-Version", "1.0")
	add("Content-Type", "text/plain; charset="+charset)
}

// qpLine is the longest line that is written, its soft break included
// (RFC 2045 §6.7 rule 5).
const qpLine = 76

// encodeQP encodes text with CRLF line ends (RFC 2045 §6.7).
func encodeQP(text []byte) []byte {
	w := qpWriter{out: make([]byte, 0, qpSize(text))}
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, crlf)
		for i, c := range line {
			last := i == len(line)-1
			switch {
			case c == '=' || c >= 0x7f || c < ' ' && c != '\t' || last && (c == ' ' || c == '\t'):
				w.unit([]byte{'=', hexDigits[c>>4], hexDigits[c&15]})
			default:
				w.unit(line[i : i+1])
			}
		}
		if ended {
			w.hardBreak()
		}
		text = rest
	}
	return w.out
}

// qpSize is a little more than what text is long when it is encoded: a buffer
// that grew while it is filled would take several times the memory.
func qpSize(text []byte) int {
	n := len(text)
	for _, c := range text {
		if c == '=' || c >= 0x7f || c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			n += 2
		}
	}
	return n + n/(qpLine-4)*len("=\r\n") + 64
}

// refoldQP gives quoted-printable text lines of at most 76 octets; what it
// decodes to stays the same.
func refoldQP(text []byte) []byte {
	w := qpWriter{out: make([]byte, 0, len(text)+len(text)/16)}
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, crlf)
		if len(line) <= qpLine {
			w.out = append(w.out, line...)
		} else {
			w.refold(line)
		}
		if ended {
			w.hardBreak()
		}
		text = rest
	}
	return w.out
}

// refold writes one line, its escapes and its final soft break kept whole.
func (w *qpWriter) refold(line []byte) {
	for i := 0; i < len(line); {
		n := 1
		switch {
		case line[i] == '=' && i+2 < len(line) && isHex(line[i+1]) && isHex(line[i+2]):
			n = 3
		case line[i] == '=' && len(bytes.TrimRight(line[i+1:], " \t")) == 0:
			w.out = append(w.out, '=') // the soft break that the line ends with
			return
		}
		w.unit(line[i : i+n])
		i += n
	}
}

const hexDigits = "0123456789ABCDEF"

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f'
}

// qpWriter appends units that may not be split, with soft breaks between them.
type qpWriter struct {
	out []byte
	col int
}

func (w *qpWriter) hardBreak() {
	w.out = append(w.out, crlf...)
	w.col = 0
}

func (w *qpWriter) unit(u []byte) {
	if w.col+len(u) > qpLine-1 {
		w.out = append(w.out, "=\r\n"...)
		w.col = 0
		// A continuation is a new line to a reader of multiparts and of SMTP: it
		// must never look like a delimiter, a lone dot or a mailbox separator.
		if len(u) == 1 && (u[0] == '-' || u[0] == '.' || u[0] == 'F') {
			u = []byte{'=', hexDigits[u[0]>>4], hexDigits[u[0]&15]}
		}
	}
	w.out = append(w.out, u...)
	w.col += len(u)
}

// refoldBase64 gives base64 text lines of 76.
func refoldBase64(text []byte) ([]byte, error) {
	out := make([]byte, 0, len(text)+len(text)/32)
	col := 0
	for _, c := range text {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/', c == '=':
			if col == qpLine {
				out = append(out, crlf...)
				col = 0
			}
			out = append(out, c)
			col++
		case c == '\r', c == '\n', c == ' ', c == '\t':
		default:
			return nil, longLineIn("a part that is no base64")
		}
	}
	if bytes.HasSuffix(text, crlf) {
		out = append(out, crlf...)
	}
	return out, nil
}
