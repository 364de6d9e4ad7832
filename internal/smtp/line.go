package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// The faults of a text: those of a command line, and of a message's content.
var (
	ErrBareCR      = errors.New("CR without LF")
	ErrBareLF      = errors.New("LF without CR")
	ErrNUL         = errors.New("NUL octet")
	ErrLineTooLong = errors.New("line too long")
	// ErrLineFlood: the line was so long that it is not even worth discarding.
	// The stream is out of step and must be closed.
	ErrLineFlood = errors.New("endless line")
)

// MaxDiscard bounds what ReadLine throws away to find the end of an over-long
// line, in octets.
const MaxDiscard = 256 << 10

// headSize is how much of an over-long line ReadLine returns.
const headSize = 8

// ReadLine reads one command line, without its CRLF, of at most limit octets
// CRLF included. The result is valid until the next read from br, whose buffer
// must hold more than limit octets.
//
// RFC 5321 §2.3.8: only CRLF ends a line. ErrBareLF is returned as soon as the
// LF is seen, with the octets before it consumed; where the real line ends
// cannot be known then, so the caller must close. After ErrBareCR, ErrNUL and
// ErrLineTooLong the whole line up to its CRLF has been consumed and the stream
// is in step; with ErrLineTooLong the line's first octets are returned, so that
// the caller can tell which command it was. An end of input within a line is io.ErrUnexpectedEOF; at its
// start io.EOF.
func ReadLine(br *bufio.Reader, limit int) ([]byte, error) {
	if br.Size() <= limit || limit < headSize {
		return nil, fmt.Errorf("read line: buffer of %d octets for a line of %d", br.Size(), limit)
	}
	line, err := br.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		head := append([]byte(nil), line[:headSize]...)
		return head, discardLine(br, line[len(line)-1])
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case len(line) < 2 || line[len(line)-2] != '\r':
		return nil, ErrBareLF
	case len(line) > limit:
		return line[:headSize], ErrLineTooLong
	}
	line = line[:len(line)-2]
	switch {
	case bytes.IndexByte(line, '\r') >= 0:
		return nil, ErrBareCR
	case bytes.IndexByte(line, 0) >= 0:
		return nil, ErrNUL
	}
	return line, nil
}

// discardLine reads on to the CRLF of a line whose beginning is gone. last is
// the octet before the ones that come.
func discardLine(br *bufio.Reader, last byte) error {
	for n := br.Size(); n < MaxDiscard; {
		line, err := br.ReadSlice('\n')
		n += len(line)
		switch {
		case err == bufio.ErrBufferFull:
			last = line[len(line)-1]
			continue
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		if len(line) > 1 {
			last = line[len(line)-2]
		}
		if last != '\r' {
			return ErrBareLF
		}
		return ErrLineTooLong
	}
	return ErrLineFlood
}
