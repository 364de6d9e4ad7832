package message

import (
	"bytes"
	"mime"
	"strings"
)

// maxDepth is how deep multiparts are followed; what is nested deeper is
// opaque.
const maxDepth = 100

// maxPartFields bounds the header section of one body part.
const maxPartFields = 20000

// segment is a stretch of the body: the content of a leaf part, or a preamble,
// epilogue or part that must be kept as it is.
type segment struct {
	start, end int
	headStart  int     // where the part's header section starts
	head       *Header // nil: the leaf is the message itself, or keep is set
	keep       string  // why the octets must not change; "" if they may
}

// multipart is one open level.
type multipart struct {
	boundary string
	keep     string
	digest   bool
}

// walker finds the segments of a body in one pass: each line is compared with
// the boundaries of all open levels at once, so that the work is linear
// whatever the nesting (RFC 2046 §5.1.2: an outer delimiter ends inner parts).
type walker struct {
	body     []byte
	stack    []multipart
	depthOf  map[string]int // boundary → level
	segments []segment
	cur      segment
}

func newWalker(body []byte) *walker {
	return &walker{body: body, depthOf: map[string]int{}}
}

// walk fills segments, in order. h is the header of the message.
func (w *walker) walk(h *Header) {
	w.enter(h, nil, 0)
	for pos := 0; pos < len(w.body); {
		n := bytes.IndexByte(w.body[pos:], '\n') + 1
		if n == 0 {
			n = len(w.body) - pos
		}
		level, closing := w.delimiter(w.body[pos : pos+n])
		next := pos + n
		if level >= 0 {
			w.leave(pos)
			w.pop(level)
			if closing {
				w.pop(level - 1)
				w.cur = segment{start: next, keep: "an epilogue"}
			} else {
				next = w.part(next)
			}
		}
		pos = next
	}
	w.leave(len(w.body))
}

// delimiter reports the level whose boundary the line is, -1 if none's.
func (w *walker) delimiter(line []byte) (level int, closing bool) {
	if len(w.stack) == 0 || len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return -1, false
	}
	// RFC 2046 §5.1.1: the boundary, for the last one "--", and only white space
	// up to the line's end.
	text := bytes.TrimRight(line[2:], " \t\r\n")
	if len(text) > maxBoundary+2 {
		return -1, false
	}
	if level, ok := w.depthOf[string(text)]; ok {
		return level, false
	}
	if bytes.HasSuffix(text, []byte("--")) {
		if level, ok := w.depthOf[string(text[:len(text)-2])]; ok {
			return level, true
		}
	}
	return -1, false
}

// maxBoundary: RFC 2046 §5.1.1 allows 70 characters; some leeway costs nothing.
const maxBoundary = 200

// leave ends the current segment before the line at pos. The CRLF before a
// delimiter belongs to the delimiter.
func (w *walker) leave(pos int) {
	if pos <= w.cur.start {
		return
	}
	w.cur.end = pos
	if pos < len(w.body) {
		w.cur.end = w.cur.start + len(trimCRLF(w.body[w.cur.start:pos]))
	}
	w.segments = append(w.segments, w.cur)
}

// pop closes all levels above level.
func (w *walker) pop(level int) {
	for len(w.stack) > level+1 {
		top := len(w.stack) - 1
		delete(w.depthOf, w.stack[top].boundary)
		w.stack = w.stack[:top]
	}
}

// part reads the header section of a body part that starts at pos and returns
// where walk goes on.
func (w *walker) part(pos int) int {
	in := w.stack[len(w.stack)-1]
	n, ended := w.partHeader(pos)
	switch {
	case ended && n == 2: // no fields: all defaults
		w.enter(&Header{length: 2}, &in, pos)
	case ended:
		h, err := ParseHeader(w.body[pos:pos+n], Limits{Fields: maxPartFields, Octets: AnyOctet})
		if err == nil && h.Len() == n {
			w.enter(&h, &in, pos)
			break
		}
		fallthrough
	default:
		w.cur = segment{start: pos, keep: "a part whose header cannot be read"}
		return pos
	}
	w.cur.start = pos + n
	return w.cur.start
}

// partHeader is the length of the lines at pos up to the first empty one, or
// up to a delimiter: then the part has no body and ended is false.
func (w *walker) partHeader(pos int) (n int, ended bool) {
	for b := w.body[pos:]; n < len(b); {
		i := bytes.IndexByte(b[n:], '\n') + 1
		if i == 0 {
			i = len(b) - n
		}
		line := b[n : n+i]
		if bytes.Equal(line, crlf) {
			return n + 2, true
		}
		if level, _ := w.delimiter(line); level >= 0 {
			return n, false
		}
		n += i
	}
	return n, false
}

// enter decides what the entity with header h is and opens its segment. in is
// the multipart that it is a part of, nil for the message itself.
func (w *walker) enter(h *Header, in *multipart, headStart int) {
	w.cur = segment{headStart: headStart}
	top := in == nil
	if !top {
		w.cur.head, w.cur.keep = h, in.keep
	}
	kind, params, why := contentType(h, !top && in.digest)
	switch {
	case w.cur.keep != "":
		// Inside something protected nothing may change, but its delimiters still
		// count, or an inner line could be taken for an outer one's.
	case why != "":
		w.cur.keep = why
	case strings.HasPrefix(kind, "message/"):
		w.cur.keep = "an enclosed message"
	case !strings.HasPrefix(kind, "multipart/") && !strings.HasPrefix(kind, "text/"):
		w.cur.keep = "a part that is no text"
	}
	if !strings.HasPrefix(kind, "multipart/") {
		return
	}
	w.open(kind, params["boundary"])
}

// open starts a multipart level; the segment that follows is its preamble.
func (w *walker) open(kind, boundary string) {
	keep := w.cur.keep
	w.cur.head = nil
	_, taken := w.depthOf[boundary]
	if keep == "" && (boundary == "" || len(boundary) > maxBoundary || taken || len(w.stack) >= maxDepth) {
		w.cur.keep = "a multipart whose structure is not certain"
		return
	}
	if boundary == "" || taken || len(boundary) > maxBoundary || len(w.stack) >= maxDepth {
		return
	}
	if keep == "" && (kind == "multipart/signed" || kind == "multipart/encrypted") {
		keep = "a signed or encrypted part"
	}
	w.depthOf[boundary] = len(w.stack)
	w.stack = append(w.stack, multipart{boundary: boundary, keep: keep, digest: kind == "multipart/digest"})
	if w.cur.keep == "" {
		w.cur.keep = "a preamble"
	}
}

// contentType reads the type of an entity. why says why it cannot be relied
// on, "" if it can. A multipart is reported as one wherever possible.
func contentType(h *Header, digest bool) (kind string, params map[string]string, why string) {
	const unsure = "a part whose content type is not certain"
	if h.Count("Content-Type") > 1 || h.Count("Content-Transfer-Encoding") > 1 {
		why = unsure
	}
	f, ok := h.First("Content-Type")
	if !ok {
		if digest {
			return "message/rfc822", nil, why
		}
		return "text/plain", nil, why
	}
	value := f.Unfolded()
	kind, params, err := mime.ParseMediaType(value)
	// RFC 2231 spellings of a boundary are read by some and not by others.
	if err != nil || strings.Contains(strings.ToLower(value), "boundary*") {
		why = unsure
	}
	if cte, ok := h.First("Content-Transfer-Encoding"); ok && strings.HasPrefix(kind, "multipart/") {
		switch strings.ToLower(cte.Unfolded()) {
		case "7bit", "8bit", "binary":
		default: // RFC 2045 §6.4 allows no other for a multipart
			why = unsure
		}
	}
	return kind, params, why
}
