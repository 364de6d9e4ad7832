package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// DataReader takes the content of one message out of the octet stream that
// follows DATA (RFC 5321 §4.1.1.4). It knows framing only: the content ends at
// CRLF "." CRLF and nowhere else, and of a line that begins with a dot exactly
// that dot is removed (§4.5.2). What stands inside is judged by a TextFilter.
//
// An end of input before the end of the data is io.ErrUnexpectedEOF.
type DataReader struct {
	br      *bufio.Reader
	pending int  // octets of br that the last Next lent out
	sol     bool // at the start of a line: at the beginning, or after CRLF
	cr      bool // the last octet was CR
	done    bool
}

// NewDataReader reads from br, whose buffer must hold at least 16 octets.
func NewDataReader(br *bufio.Reader) *DataReader {
	return &DataReader{br: br, sol: true}
}

// Next returns the next piece of content, never empty, valid until the next
// call. After the last piece it returns io.EOF, and br stands behind the end of
// the data. It returns what is there rather than wait for more.
func (d *DataReader) Next() ([]byte, error) {
	if d.done {
		return nil, io.EOF
	}
	d.br.Discard(d.pending)
	d.pending = 0
	if d.sol {
		if err := d.lineStart(); err != nil {
			return nil, err
		}
	}
	if _, err := d.br.Peek(1); err != nil {
		return nil, unexpected(err)
	}
	buf, _ := d.br.Peek(d.br.Buffered())
	d.pending = d.scan(buf)
	return buf[:d.pending], nil
}

// Discard reads on to the end of the data, with the same rules, and gives up
// with ErrLineFlood after limit octets of content.
func (d *DataReader) Discard(limit int64) error {
	for {
		p, err := d.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if limit -= int64(len(p)); limit < 0 {
			return ErrLineFlood
		}
	}
}

// Done reports whether the end of the data was read.
func (d *DataReader) Done() bool { return d.done }

// lineStart looks for a dot at the start of a line: the end of the data, or a
// stuffed dot to remove. Peeking past buffer boundaries makes them invisible.
func (d *DataReader) lineStart() error {
	b, err := d.br.Peek(1)
	if err != nil {
		return unexpected(err)
	}
	if b[0] != '.' {
		return nil
	}
	if b, err = d.br.Peek(2); err == nil && b[1] == '\r' {
		b, err = d.br.Peek(3)
	}
	if err != nil {
		return unexpected(err)
	}
	if len(b) == 3 && b[2] == '\n' {
		d.br.Discard(3)
		d.done = true
		return io.EOF
	}
	d.br.Discard(1)
	d.sol, d.cr = false, false
	return nil
}

// scan returns how much of buf may be lent out in one piece: up to a line that
// begins with a dot, or all of it.
func (d *DataReader) scan(buf []byte) int {
	for i := 0; ; {
		n := bytes.IndexByte(buf[i:], '\n')
		if n < 0 {
			break
		}
		lf := i + n
		crlf := lf > 0 && buf[lf-1] == '\r' || lf == 0 && d.cr
		if crlf && lf+1 < len(buf) && buf[lf+1] == '.' {
			d.sol, d.cr = true, false
			return lf + 1
		}
		i = lf + 1
	}
	last := len(buf) - 1
	d.sol = buf[last] == '\n' && (last > 0 && buf[last-1] == '\r' || last == 0 && d.cr)
	d.cr = buf[last] == '\r'
	return len(buf)
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// TextPolicy says what becomes of a bare CR or LF in content.
type TextPolicy int

// The policies.
const (
	RejectBare    TextPolicy = iota // ErrBareCR, ErrBareLF
	NormaliseBare                   // either becomes CRLF
)

// MaxTextLine is the hard limit of one line of content in octets, CRLF
// excluded, where no smaller one is set. Lines that RFC 5321 §4.5.3.1.6 would
// refuse (over 998) are the backend's to judge.
const MaxTextLine = 1 << 20

// TextFilter checks that content is canonical text: lines ended by CRLF, no
// NUL, no line over MaxLine octets. It works on a stream of pieces, whatever
// their boundaries, for DATA and BDAT alike.
type TextFilter struct {
	Policy  TextPolicy
	MaxLine int // octets without CRLF; 0: MaxTextLine

	cr   bool // the last octet was CR
	line int  // octets of the unfinished line
}

// Filter passes the content of p on to emit, normalised where the policy says
// so. The pieces are valid during the call of emit only. After an error nothing
// more of p was passed on than what stood before the fault.
func (f *TextFilter) Filter(p []byte, emit func([]byte) error) error {
	if len(p) == 0 {
		return nil
	}
	saved := *f
	err := f.check(p)
	if err == nil {
		return emit(p)
	}
	if f.Policy != NormaliseBare || !errors.Is(err, ErrBareCR) && !errors.Is(err, ErrBareLF) {
		return err
	}
	*f = saved
	return f.normalise(p, emit)
}

// End tells that the content is complete. A CR at the very end is a fault like
// any other bare CR.
func (f *TextFilter) End(emit func([]byte) error) error {
	if !f.cr {
		return nil
	}
	f.cr = false
	if f.Policy != NormaliseBare {
		return ErrBareCR
	}
	return emit(lf)
}

var crlf, lf = []byte("\r\n"), []byte("\n")

// check judges p and moves the state past it. It counts on this: where every LF
// has its CR, and there are as many CRs as LFs, no CR is alone.
func (f *TextFilter) check(p []byte) error {
	if bytes.IndexByte(p, 0) >= 0 {
		return ErrNUL
	}
	maxLine := f.MaxLine
	if maxLine == 0 {
		maxLine = MaxTextLine
	}
	if f.cr && p[0] != '\n' {
		return ErrBareCR
	}
	start, lines := -f.line, 0
	for i := 0; ; {
		n := bytes.IndexByte(p[i:], '\n')
		if n < 0 {
			break
		}
		at := i + n
		if at == 0 && !f.cr || at > 0 && p[at-1] != '\r' {
			return ErrBareLF
		}
		if at-1-start > maxLine {
			return ErrLineTooLong
		}
		i, start = at+1, at+1
		lines++
	}
	crs := bytes.Count(p, crlf[:1])
	if f.cr {
		crs++
	}
	if f.cr = p[len(p)-1] == '\r'; f.cr {
		crs--
	}
	if crs != lines {
		return ErrBareCR
	}
	f.line = len(p) - start
	if f.cr && f.line > maxLine+1 || !f.cr && f.line > maxLine {
		return ErrLineTooLong
	}
	return nil
}

// normalise is the slow path: every CR, LF and CRLF becomes one CRLF.
func (f *TextFilter) normalise(p []byte, emit func([]byte) error) error {
	for len(p) > 0 {
		n := bytes.IndexAny(p, "\r\n")
		if f.cr { // it was passed on: complete it, whether its LF comes or not
			f.cr, f.line = false, 0
			if err := emit(lf); err != nil {
				return err
			}
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		if n != 0 {
			if n < 0 {
				n = len(p)
			}
			f.line += n
			if err := f.plain(p[:n], emit); err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		f.line = 0
		if p[0] == '\r' {
			f.cr = true
			if err := emit(p[:1]); err != nil {
				return err
			}
		} else if err := emit(crlf); err != nil {
			return err
		}
		p = p[1:]
	}
	return nil
}

// plain passes on octets between line ends.
func (f *TextFilter) plain(p []byte, emit func([]byte) error) error {
	maxLine := f.MaxLine
	if maxLine == 0 {
		maxLine = MaxTextLine
	}
	switch {
	case bytes.IndexByte(p, 0) >= 0:
		return ErrNUL
	case f.line > maxLine:
		return ErrLineTooLong
	}
	return emit(p)
}
