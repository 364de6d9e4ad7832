package dmarc

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// ErrReport is wrapped by the errors for what is no usable aggregate report.
var ErrReport = errors.New("not a usable aggregate report")

// ErrReportSize is wrapped, beside ErrReport, where a report is over a limit.
var ErrReportSize = fmt.Errorf("%w: too large", ErrReport)

// The limits of ParseAggregate.
const (
	maxPacked   = 16 << 20  // octets of a zip file, which cannot be read as it comes
	maxUnpacked = 64 << 20  // octets of XML
	maxRows     = 100_000   // records
	maxCount    = 1 << 40   // messages of a record
	maxDepth    = 32        // elements within each other
	maxToken    = 256 << 10 // octets of one tag, text or comment
)

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZip  = []byte("PK\x03\x04")
)

// unpack finds out by its first octets what r is, and returns its XML. Names and
// declared sizes are not believed: the reader ends with an error after
// maxUnpacked octets, however many were promised.
func unpack(r io.Reader) (*capped, error) {
	b := bufio.NewReader(r)
	switch head := peek(b); {
	case bytes.HasPrefix(head, magicGzip):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrReport, err)
		}
		return plain(z)
	case bytes.HasPrefix(head, magicZip):
		return unzip(b)
	default:
		return plain(b)
	}
}

// peek is the first octets, fewer where there are no more.
func peek(b *bufio.Reader) []byte {
	head, err := b.Peek(4)
	if err != nil {
		return head // the reader says it again
	}
	return head
}

// plain is XML: an archive within an archive is refused.
func plain(r io.Reader) (*capped, error) {
	b := bufio.NewReader(r)
	if head := peek(b); bytes.HasPrefix(head, magicGzip) || bytes.HasPrefix(head, magicZip) {
		return nil, fmt.Errorf("%w: an archive within an archive", ErrReport)
	}
	return &capped{r: b, left: maxUnpacked}, nil
}

// unzip takes the one file of an archive, whatever its name.
func unzip(r io.Reader) (*capped, error) {
	packed, err := io.ReadAll(io.LimitReader(r, maxPacked+1))
	if err != nil {
		return nil, fmt.Errorf("%w: zip: %w", ErrReport, err)
	}
	if len(packed) > maxPacked {
		return nil, fmt.Errorf("%w: zip file over %d octets", ErrReportSize, maxPacked)
	}
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, fmt.Errorf("%w: zip: %w", ErrReport, err)
	}
	if n := len(z.File); n != 1 {
		return nil, fmt.Errorf("%w: %d files in a zip file, want 1", ErrReport, n)
	}
	f := z.File[0]
	if f.Flags&1 != 0 {
		return nil, fmt.Errorf("%w: zip: encrypted", ErrReport)
	}
	in, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: zip: %w", ErrReport, err)
	}
	return plain(in)
}

// capped ends a reader with an error when it has given too much, in all or since
// token was last set to zero: the XML decoder would hold a tag or a comment of
// any length in memory.
type capped struct {
	r     io.Reader
	left  int64
	token int
	err   error // the first limit that was met
}

func (c *capped) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	c.token += n
	switch {
	case c.left < 0:
		c.err = fmt.Errorf("%w: over %d octets unpacked", ErrReportSize, maxUnpacked)
	case c.token > maxToken:
		c.err = fmt.Errorf("%w: one element over %d octets", ErrReportSize, maxToken)
	}
	if c.err != nil {
		return 0, c.err
	}
	return n, err
}
