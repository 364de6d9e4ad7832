package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrDotWriterUsed is returned for writes after End.
var ErrDotWriterUsed = errors.New("dot writer: content after its end")

// DotWriter writes the content of one message after 354: it doubles the dot at
// the start of a line (RFC 5321 §4.5.2) and passes on nothing that a sloppy
// receiver could read as the end of the data: a bare CR or LF or a NUL is
// refused, never repaired, since signatures were made over these very octets.
//
// After an error the receiver may hold a part of the message. The connection
// must be dropped, or the part would be taken for the whole.
type DotWriter struct {
	w    io.Writer
	text TextFilter
	sol  bool // at the start of a line
	any  bool // content was written
	end  bool
	err  error
}

// NewDotWriter writes to w in pieces as they come; w should have a buffer.
func NewDotWriter(w io.Writer) *DotWriter {
	return &DotWriter{w: w, sol: true}
}

// Write writes content. An error wraps ErrBareCR, ErrBareLF, ErrNUL or
// ErrLineTooLong (over MaxTextLine), or is that of the writer below. Of a piece
// that is refused, nothing is written.
func (d *DotWriter) Write(p []byte) (int, error) {
	if d.end {
		return 0, ErrDotWriterUsed
	}
	if d.err != nil || len(p) == 0 {
		return 0, d.err
	}
	if err := d.text.check(p); err != nil {
		d.err = fmt.Errorf("write data: %w", err)
		return 0, d.err
	}
	d.any = true
	n, err := d.stuff(p)
	d.err = err
	return n, err
}

// stuff writes p, which check has found canonical, with its dots doubled.
func (d *DotWriter) stuff(p []byte) (int, error) {
	from := 0
	if d.sol && p[0] == '.' {
		if err := d.put(dot); err != nil {
			return 0, err
		}
	}
	for i := 0; ; {
		n := bytes.IndexByte(p[i:], '\n')
		if n < 0 {
			break
		}
		if i += n + 1; i < len(p) && p[i] == '.' {
			if err := d.put(p[from:i]); err != nil {
				return from, err
			}
			if err := d.put(dot); err != nil {
				return i, err
			}
			from = i
		}
	}
	if err := d.put(p[from:]); err != nil {
		return from, err
	}
	d.sol = p[len(p)-1] == '\n'
	return len(p), nil
}

var (
	dot    = []byte(".")
	dotEnd = []byte(".\r\n")
)

func (d *DotWriter) put(p []byte) error {
	_, err := d.w.Write(p)
	return err
}

// End completes the last line where content did not, and writes the end of the
// data. It may be called once, and never after an error: the caller that has to
// give up drops the connection instead.
func (d *DotWriter) End() error {
	if d.end {
		return ErrDotWriterUsed
	}
	if d.err != nil {
		return d.err
	}
	d.end = true
	if d.text.cr {
		d.err = fmt.Errorf("write data: %w", ErrBareCR)
		return d.err
	}
	if d.any && !d.sol {
		if d.err = d.put(crlf); d.err != nil {
			return d.err
		}
	}
	d.err = d.put(dotEnd)
	return d.err
}

// CheckText reports whether p, a whole content, is canonical text: the error
// that a DotWriter would return for it, or nil.
func CheckText(p []byte) error {
	var f TextFilter
	if len(p) == 0 {
		return nil
	}
	if err := f.check(p); err != nil {
		return err
	}
	return f.End(nil)
}
