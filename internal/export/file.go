package export

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FileConfig says where records are written.
type FileConfig struct {
	Path string // of the current file
	// A file is put aside as PATH.20261122T101500Z when it would grow beyond Size
	// octets or is older than Age; 0: not for that reason.
	Size int64
	Age  time.Duration
	Keep int // files put aside; older ones are removed. 0: all are kept
	Now  func() time.Time
}

// File writes records as lines of JSON. A batch is on the disk when Send returns.
type File struct {
	cfg   FileConfig
	f     *os.File
	size  int64
	since time.Time // of the current file's first record
	// sync puts a file or directory on the disk; tests watch it, and let it fail.
	sync  func(*os.File) error
	write func(*os.File, []byte) (int, error) // as sync
}

// NewFile makes a target that opens its file when the first records come.
func NewFile(c FileConfig) *File {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &File{cfg: c, sync: (*os.File).Sync, write: (*os.File).Write}
}

// line is a record in a file, in a webhook and in nothing else.
type line struct {
	Stream Stream          `json:"stream"`
	ID     string          `json:"id"`
	Time   time.Time       `json:"time"`
	Name   string          `json:"name"`
	Text   string          `json:"text"`
	Record json.RawMessage `json:"record"`
}

func lineOf(r *Record) line {
	return line{r.Stream, r.ID, r.At.UTC(), r.Name, r.Text, r.Body}
}

// Send implements Target.
func (t *File) Send(_ context.Context, records []Record) (taken int, err error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range records {
		if err := enc.Encode(lineOf(&records[i])); err != nil {
			return 0, fmt.Errorf("encode %s: %w", records[i].ID, err)
		}
	}
	if err := t.rotate(int64(b.Len())); err != nil {
		return 0, err
	}
	n, failed := t.write(t.f, b.Bytes())
	t.size += int64(n)
	if err := t.sync(t.f); err != nil {
		// What stands there is perhaps not on the disk: all is written again.
		return 0, errors.Join(fmt.Errorf("write %s: %w", t.cfg.Path, errors.Join(failed, err)), t.Close())
	}
	if err := t.look(); err != nil {
		return 0, err
	}
	if t.f == nil {
		// Whoever moved it may have compressed or removed it before this was in it.
		return 0, fmt.Errorf("%s was moved away while records were written, which are written again", t.cfg.Path)
	}
	if failed != nil {
		// A disk that is full has the first lines, and perhaps a half one: adopt ends it.
		whole := bytes.Count(b.Bytes()[:n], []byte("\n"))
		if n > 0 && n < b.Len() && b.Bytes()[n] == '\n' {
			whole++ // but for its end
		}
		return whole, errors.Join(fmt.Errorf("write %s: %w", t.cfg.Path, failed), t.Close())
	}
	return len(records), nil
}

// rotate sees to it that a file is open which more octets may go into.
func (t *File) rotate(more int64) error {
	if err := t.look(); err != nil {
		return err
	}
	if t.f == nil {
		if err := t.open(); err != nil {
			return err
		}
	}
	now := t.cfg.Now()
	if now.Before(t.since) {
		t.since = now // the clock was ahead: the file would not be old for as long
	}
	full := t.cfg.Size > 0 && t.size > 0 && t.size+more > t.cfg.Size
	old := t.cfg.Age > 0 && t.size > 0 && now.Sub(t.since) >= t.cfg.Age
	if !full && !old {
		return nil
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := t.putAside(now); err != nil {
		return err
	}
	return t.open()
}

// look closes a file that is not the one of the path any more: somebody moved or
// removed it, and records in it would be nowhere. One that was made shorter is not
// as full as it was.
func (t *File) look() error {
	if t.f == nil {
		return nil
	}
	mine, err := t.f.Stat()
	if err != nil {
		return errors.Join(err, t.Close())
	}
	named, err := os.Stat(t.cfg.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !os.SameFile(mine, named) {
		return t.Close()
	}
	t.size = mine.Size()
	return nil
}

// stamped is how the time in the name of a file that was put aside is written.
const stamped = "20060102T150405Z"

// retired is a file that was put aside: of several in one second the later have a
// number, from 2 on.
type retired struct {
	name, stamp string
	number      int
}

// asides are the files that were put aside, the oldest first.
func (t *File) asides() ([]retired, error) {
	entries, err := os.ReadDir(filepath.Dir(t.cfg.Path))
	if err != nil {
		return nil, err
	}
	var all []retired
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(t.cfg.Path)+".")
		stamp, tail, _ := strings.Cut(rest, ".")
		if _, err := time.Parse(stamped, stamp); !ok || err != nil {
			continue
		}
		tail, _, _ = strings.Cut(tail, ".") // somebody may have compressed it
		n, err := strconv.Atoi(tail)
		if err != nil {
			n = 1
		}
		all = append(all, retired{e.Name(), stamp, n})
	}
	slices.SortFunc(all, func(a, b retired) int {
		return cmp.Or(cmp.Compare(a.stamp, b.stamp), cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name))
	})
	return all, nil
}

// putAside renames the file by time, behind all that were put aside before, even
// where the clock was put back: the oldest by name is what goes first.
func (t *File) putAside(now time.Time) error {
	all, err := t.asides()
	if err != nil {
		return err
	}
	stamp, number := now.UTC().Format(stamped), 1
	if len(all) > 0 {
		if last := all[len(all)-1]; last.stamp >= stamp {
			stamp, number = last.stamp, last.number+1
		}
	}
	to := t.cfg.Path + "." + stamp
	if number > 1 {
		to = fmt.Sprintf("%s.%d", to, number)
	}
	if err := os.Rename(t.cfg.Path, to); err != nil {
		return fmt.Errorf("put the file aside: %w", err)
	}
	if err := t.syncDir(); err != nil {
		return err
	}
	return t.remove()
}

// remove deletes the oldest files that were put aside.
func (t *File) remove() error {
	if t.cfg.Keep <= 0 {
		return nil
	}
	all, err := t.asides()
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range all[:max(0, len(all)-t.cfg.Keep)] {
		errs = append(errs, os.Remove(filepath.Join(filepath.Dir(t.cfg.Path), a.name)))
	}
	return errors.Join(errs...)
}

func (t *File) open() error {
	f, err := os.OpenFile(t.cfg.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open export file: %w", err)
	}
	err = t.adopt(f)
	if err == nil {
		// A crash before this may leave records in a file that has no name.
		err = t.syncDir()
	}
	if err != nil {
		t.f = nil // else the next batch would be written to what is closed
		return errors.Join(err, f.Close())
	}
	return nil
}

// adopt takes over a file that may be there already: its age is that of its first
// record, and a line that a crash cut is ended, so that the next one stands alone.
func (t *File) adopt(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", t.cfg.Path)
	}
	t.f, t.size, t.since = f, info.Size(), t.cfg.Now()
	if t.size == 0 {
		return nil
	}
	var first line
	head, err := bufio.NewReader(io.NewSectionReader(f, 0, 1<<20)).ReadBytes('\n')
	if err == nil && json.Unmarshal(head, &first) == nil && !first.Time.IsZero() {
		t.since = first.Time
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, t.size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		n, err := f.Write([]byte("\n"))
		t.size += int64(n)
		return err
	}
	return nil
}

// Close implements Target.
func (t *File) Close() error {
	if t.f == nil {
		return nil
	}
	err := t.f.Close()
	t.f, t.size = nil, 0
	return err
}

// syncDir puts the names in the file's directory on the disk.
func (t *File) syncDir() error {
	d, err := os.Open(filepath.Dir(t.cfg.Path))
	if err != nil {
		return err
	}
	return errors.Join(t.sync(d), d.Close())
}
