package dkim

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"
)

// BodyHash computes the bh= of a body while it is written, in relaxed form
// (RFC 6376 §3.4.4): white space at line ends is dropped, runs of it become one
// space, empty lines at the end do not count, and a last line without CRLF gets
// one. Writes may be cut anywhere; they never fail. Lines end with CRLF; a bare
// CR or LF is an octet like others.
type BodyHash struct {
	sum  hash.Hash
	buf  []byte // canonical octets on their way to sum
	crlf int    // line ends seen and not yet written: they count if text follows
	wsp  bool   // white space seen and not yet written, after those line ends
	cr   bool   // a CR seen, after that white space, that may be half of a line end
	any  bool   // there was text
}

// bufSize is how much canonical text is gathered before it is hashed.
const bufSize = 4 << 10

// NewBodyHash returns the hash of an empty body.
func NewBodyHash() *BodyHash { return &BodyHash{sum: sha256.New(), buf: make([]byte, 0, bufSize)} }

// Reset makes h ready for another body.
func (h *BodyHash) Reset() {
	h.sum.Reset()
	*h = BodyHash{sum: h.sum, buf: h.buf[:0]}
}

// Sum ends the body and is its hash. Only Reset may follow.
func (h *BodyHash) Sum() [sha256.Size]byte {
	if h.cr { // not half of a line end after all
		h.cr = false
		h.octets(crlf[:1])
	}
	if h.any {
		// Any number of line ends at the end, and none, count as one. A body of
		// nothing but line ends counts as empty.
		h.text(crlf)
	}
	h.flush()
	var out [sha256.Size]byte
	h.sum.Sum(out[:0])
	return out
}

var (
	crlf  = []byte("\r\n")
	space = []byte(" ")
)

// Write takes the next octets of the body.
//
// It goes from one piece of white space that relaxed form changes to the next;
// what lies between is canonical already, and in most mail that is nearly all.
func (h *BodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if h.cr {
			h.cr = false
			if p[0] == '\n' {
				h.lineEnd()
				p = p[1:]
			} else {
				h.octets(crlf[:1])
			}
			continue
		}
		if p[0] == '\r' {
			h.cr = true
			p = p[1:]
			continue
		}
		if h.wsp && (p[0] == ' ' || p[0] == '\t') { // the run went on after a cut
			p = p[1:]
			continue
		}
		i := changed(p)
		h.stretch(p[:i], i == len(p))
		for p = p[i:]; len(p) > 0 && (p[0] == ' ' || p[0] == '\t'); p = p[1:] {
			h.wsp = true
		}
	}
	return n, nil
}

// lineEnd: white space before it is dropped.
func (h *BodyHash) lineEnd() {
	h.wsp = false
	h.crlf++
}

// stretch takes octets that are canonical but for line ends at their end. They
// do not start with a CR. last says that no octet after them is known.
func (h *BodyHash) stretch(p []byte, last bool) {
	n := len(p)
	if last && n > 0 && p[n-1] == '\r' {
		n--
		h.cr = true
	}
	ends := 0
	for n >= 2 && p[n-1] == '\n' && p[n-2] == '\r' {
		n -= 2
		ends++
	}
	h.octets(p[:n])
	h.crlf += ends
}

// octets writes text, after what was pending before it.
func (h *BodyHash) octets(p []byte) {
	if len(p) == 0 {
		return
	}
	if len(p) < directWrite && len(h.buf)+2*h.crlf+1+len(p) <= cap(h.buf) { // nearly always
		b := h.buf
		for ; h.crlf > 0; h.crlf-- {
			b = append(b, '\r', '\n')
		}
		if h.wsp {
			h.wsp = false
			b = append(b, ' ')
		}
		h.buf, h.any = append(b, p...), true
		return
	}
	for ; h.crlf > 0; h.crlf-- {
		h.text(crlf)
	}
	if h.wsp {
		h.wsp = false
		h.text(space)
	}
	h.text(p)
}

// directWrite is from where on octets go to the hash without a copy.
const directWrite = 512

func (h *BodyHash) text(p []byte) {
	h.any = true
	if len(p) >= directWrite {
		h.flush()
		h.sum.Write(p)
		return
	}
	if len(h.buf)+len(p) > cap(h.buf) {
		h.flush()
	}
	h.buf = append(h.buf, p...)
}

func (h *BodyHash) flush() {
	h.sum.Write(h.buf)
	h.buf = h.buf[:0]
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
	lows  = 0x7f * ones
)

// changed is the offset of the first white space in p that relaxed form
// changes or that only the next octets can judge: a TAB, or a space before
// white space, a line end or p's end. It may name a space before another
// control character as well, which costs time and nothing else. len(p) if
// there is none.
//
// It looks at eight octets at once: a byte of the masks has its high bit set
// where its octet matches.
func changed(p []byte) int {
	i := 0
	for ; i+9 <= len(p); i += 8 {
		x := binary.LittleEndian.Uint64(p[i:])
		next := binary.LittleEndian.Uint64(p[i+1:])
		sp, tab := x^(' '*ones), x^('\t'*ones)
		noSpace := (sp&lows + lows) | sp
		noTab := (tab&lows + lows) | tab
		nextText := (next&lows + (0x7f-' ')*ones) | next // high bit: over ' '
		if m := (^noTab | ^noSpace&^nextText) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(p); i++ {
		if p[i] == '\t' || p[i] == ' ' && (i+1 == len(p) || p[i+1] <= ' ') {
			return i
		}
	}
	return i
}
