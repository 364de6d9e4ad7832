package store

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
)

// A child that was being started when the store was closed still has its lock file
// for a moment: the next one opens the store all the same.
func TestLockEndsWithTheStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "postern.db")
	s, _ := openTest(t, Config{Path: path})
	held, err := syscall.Dup(int(s.eng.(*sqliteEngine).lock.Fd())) // as a child has it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(held) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, _, err := Open(context.Background(), Config{Path: path, Sealer: testSealer, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
