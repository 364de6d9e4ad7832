package dkim

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// BodyHash computes the bh= of a body while it is written, in relaxed form
// (RFC 6376 §3.4.4): white space at line ends is dropped, runs of it become one
// space, empty lines at the end do not count, and a last line without CRLF gets
// one. Writes may be cut anywhere; they never fail. Lines end with CRLF; a bare
// CR or LF is an octet like others.
type BodyHash struct {
	sum  hash.Hash
	buf  []byte // canonical octets on their way to sum
	crlf int    // line ends seen and not yet written
	wsp  bool   // white space seen and not yet written
	cr   bool   // a CR seen that may be half of a line end
	any  bool   // there was text
}

// NewBodyHash returns the hash of an empty body.
func NewBodyHash() *BodyHash { return &BodyHash{sum: sha256.New(), buf: make([]byte, 0, bufSize)} }

// bufSize is how much canonical text is gathered before it is hashed.
const bufSize = 4 << 10

// Reset makes h ready for another body.
func (h *BodyHash) Reset() {
	h.sum.Reset()
	*h = BodyHash{sum: h.sum, buf: h.buf[:0]}
}

// Write takes the next octets of the body.
func (h *BodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		// Whole lines that are canonical already need no octet-wise work: most
		// mail is base64, or text with single spaces.
		if !h.wsp && !h.cr {
			if clean := cleanPrefix(p); clean > 0 {
				h.lines(p[:clean])
				p = p[clean:]
				continue
			}
		}
		i := bytes.IndexByte(p, '\n') + 1
		if i == 0 {
			i = len(p)
		}
		h.octets(p[:i])
		p = p[i:]
	}
	return n, nil
}

// Sum ends the body and is its hash. Only Reset may follow.
func (h *BodyHash) Sum() [sha256.Size]byte {
	if h.cr { // not half of a line end after all
		h.cr = false
		h.word(crlf[:1])
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

// cleanPrefix is the length of the lines at the start of p, CRLF included, in
// which relaxing changes nothing. It looks at blocks that grow while all is
// clean, so that one bad line sends little good text the slow way.
func cleanPrefix(p []byte) int {
	total := 0
	for size := minBlock; total < len(p); size = min(2*size, maxBlock) {
		block := p[total:min(len(p), total+size)]
		end := bytes.LastIndexByte(block, '\n') + 1
		if end == 0 && len(block) == size && size < maxBlock {
			continue // the line is longer than the block: look further
		}
		if end < 2 || block[end-2] != '\r' {
			break
		}
		block = block[:end]
		if bad := firstBad(block); bad >= 0 {
			if i := bytes.LastIndex(block[:bad], crlf); i >= 0 {
				total += i + 2
			}
			break
		}
		total += end
	}
	return total
}

// The blocks that cleanPrefix looks at.
const (
	minBlock = 256
	maxBlock = 8 << 10
)

var (
	crlf      = []byte("\r\n")
	twoSpaces = []byte("  ")
	spaceCR   = []byte(" \r")
)

// firstBad is the offset of the first white space in block that relaxing would
// change, -1 if there is none.
func firstBad(block []byte) int {
	bad := -1
	if i := bytes.Index(block, twoSpaces); i >= 0 {
		bad, block = i, block[:i]
	}
	if i := bytes.IndexByte(block, '\t'); i >= 0 {
		bad, block = i, block[:i]
	}
	if i := bytes.Index(block, spaceCR); i >= 0 {
		bad = i
	}
	return bad
}

// lines takes whole lines that are canonical.
func (h *BodyHash) lines(p []byte) {
	text := p
	for bytes.HasSuffix(text, crlf) {
		text = text[:len(text)-2]
	}
	if len(text) > 0 {
		h.lineEnds()
		h.text(text)
	}
	h.crlf += (len(p) - len(text)) / 2
}

// octets takes any octets.
func (h *BodyHash) octets(p []byte) {
	for i := 0; i < len(p); {
		c := p[i]
		if h.cr {
			h.cr = false
			if c == '\n' {
				h.wsp = false
				h.crlf++
				i++
				continue
			}
			h.word(crlf[:1])
		}
		switch c {
		case ' ', '\t':
			h.wsp = true
			i++
		case '\r':
			h.cr = true
			i++
		default:
			j := i + 1
			for j < len(p) && p[j] > '\r' && p[j] != ' ' || j < len(p) && p[j] < '\t' {
				j++
			}
			h.word(p[i:j])
			i = j
		}
	}
}

// word writes octets that are neither white space nor line end, after what was
// pending before them.
func (h *BodyHash) word(p []byte) {
	h.lineEnds()
	if h.wsp {
		h.wsp = false
		h.text(oneSpace)
	}
	h.text(p)
}

var oneSpace = []byte{' '}

// lineEnds writes the pending line ends: text follows, so they count.
func (h *BodyHash) lineEnds() {
	for ; h.crlf > 0; h.crlf-- {
		h.text(crlf)
	}
}

// directWrite is from where on octets go to the hash without a copy.
const directWrite = 512

// text writes canonical octets.
func (h *BodyHash) text(p []byte) {
	h.any = true
	if len(h.buf)+len(p) > cap(h.buf) {
		h.flush()
	}
	if len(p) >= directWrite || len(p) > cap(h.buf) {
		h.flush()
		h.sum.Write(p)
		return
	}
	h.buf = append(h.buf, p...)
}

func (h *BodyHash) flush() {
	h.sum.Write(h.buf)
	h.buf = h.buf[:0]
}
