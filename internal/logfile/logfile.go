// Package logfile is a log file that can be opened anew while it is written to,
// so that a rotation program can rename it. It replaces the copy-and-truncate of
// such programs, which loses lines. It neither rotates nor deletes anything.
//
// Its one invariant: a line given to Write is in the old file or in the new one.
package logfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// mode of a new log file: the owner's, and readable to the group, because log
// shippers run as members of it.
const mode = 0o640

// File is an io.Writer that appends to the file of one name.
type File struct {
	path string

	mu sync.Mutex // guards f
	f  *os.File
}

// Open opens the file for appending, and creates it if it is not there. Its
// directory must exist.
func Open(path string) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	return &File{path: path, f: f}, nil
}

func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, mode)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// Write appends p in one system call, so that lines of several processes do not mix.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, os.ErrClosed
	}
	return l.f.Write(p)
}

// Reopen goes on in the file that has the name now. When that cannot be opened,
// the old file stays in use.
func (l *File) Reopen() error {
	f, err := open(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return errors.Join(os.ErrClosed, f.Close())
	}
	old := l.f
	l.f = f
	if err := old.Close(); err != nil {
		return fmt.Errorf("close old log: %w", err)
	}
	return nil
}

// Close ends writing. It may be called twice.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	return f.Close()
}
