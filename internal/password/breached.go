package password

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Breached looks passwords up in a file of SHA-1 hashes, one in a line in hex and
// sorted, perhaps with ":count" behind it: the form in which Have I Been Pwned
// gives its list "ordered by hash". The file is searched where it lies, with some
// forty small reads for the whole list. It may be used from any goroutine.
type Breached struct {
	file  io.ReaderAt
	size  int64
	close func() error
}

// ErrBreachedFile: the file is not what Breached reads.
var ErrBreachedFile = errors.New("not a sorted list of SHA-1 hashes")

const (
	hexDigits = 2 * sha1.Size
	// maxLine is the longest line, with its count and its end.
	maxLine = hexDigits + 24
)

// OpenBreached opens a file. Its beginning and end are read, to tell a wrong file
// at once.
func OpenBreached(path string) (*Breached, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open breached passwords: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = ErrBreachedFile
	}
	if err == nil {
		b := &Breached{file: f, size: info.Size(), close: f.Close}
		if err = b.proof(); err == nil {
			return b, nil
		}
	}
	_ = f.Close() // read only
	return nil, fmt.Errorf("open breached passwords %s: %w", path, err)
}

// NewBreached searches what is not a file.
func NewBreached(r io.ReaderAt, size int64) *Breached { return &Breached{file: r, size: size} }

// Close closes the file.
func (b *Breached) Close() error {
	if b.close == nil {
		return nil
	}
	return b.close()
}

// proof reads the first and the last line.
func (b *Breached) proof() error {
	first, _, err := b.line(0)
	if err != nil {
		return err
	}
	last, _, err := b.line(max(b.size-maxLine, 0))
	if err != nil {
		return err
	}
	if first == "" || last != "" && last < first {
		return ErrBreachedFile
	}
	return nil
}

// Contains reports whether a password is in the list, as it was typed or in the
// form that is hashed.
func (b *Breached) Contains(password string) (bool, error) {
	found, err := b.contains(password)
	if normal := Normal(password); err == nil && !found && normal != password {
		return b.contains(normal)
	}
	return found, err
}

func (b *Breached) contains(password string) (bool, error) {
	sum := sha1.Sum([]byte(password))
	want := strings.ToUpper(hex.EncodeToString(sum[:]))
	// The first line that begins at or after low is not below want, and none that
	// begins before it is want.
	low, high := int64(0), b.size
	for low < high {
		middle := low + (high-low)/2
		got, next, err := b.line(middle)
		switch {
		case err != nil:
			return false, err
		case got == want:
			return true, nil
		case got == "" || got > want:
			high = middle
		default:
			low = next
		}
	}
	return false, nil
}

// line returns the hash of the first line that begins at or after an offset, and
// where the line after it begins; "" is none.
func (b *Breached) line(from int64) (hash string, next int64, err error) {
	start := max(from-1, 0) // a line begins behind a line's end
	buf := make([]byte, 2*maxLine)
	n, err := b.file.ReadAt(buf, start)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, fmt.Errorf("read breached passwords: %w", err)
	}
	buf = buf[:n]
	skipped := int64(0)
	if from > 0 {
		i := bytes.IndexByte(buf, '\n')
		if i < 0 {
			if n > maxLine {
				return "", 0, ErrBreachedFile
			}
			return "", b.size, nil
		}
		skipped, buf = int64(i)+1, buf[i+1:]
	}
	length := bytes.IndexByte(buf, '\n')
	if length < 0 {
		length = len(buf)
	}
	if length == 0 && start+skipped >= b.size {
		return "", b.size, nil
	}
	text := strings.TrimSuffix(string(buf[:length]), "\r")
	text, _, _ = strings.Cut(text, ":")
	text = strings.ToUpper(text)
	if len(text) != hexDigits || strings.Trim(text, "0123456789ABCDEF") != "" {
		return "", 0, ErrBreachedFile
	}
	return text, min(start+skipped+int64(length)+1, b.size), nil
}
