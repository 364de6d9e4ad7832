package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/relay"
)

// TestRealFullDisk fills what is left of a file system, 24 MB: acceptances end
// with ErrFull, results go on, nothing is lost, and it goes on by itself when
// there is room.
func TestRealFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "40m")
	// What the operator will find to delete. It is more than the hog takes: a log
	// that filled its file while nothing could be copied needs its length again in
	// the database, and with a slow reader that is more than MinFree.
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := openTest(t, Config{Path: filepath.Join(dir, "postern.db"), MinFree: 4 << 20})
	stop := runTest(t, s)
	ctx := context.Background()
	var kept []*Acceptance
	hogged := false
	fill := func(until error) {
		for i := 0; i < 400; i++ {
			a := mail(t, s, 1, 100_000, true)
			err := s.Accept(ctx, a)
			if errors.Is(err, until) {
				return
			}
			if err != nil {
				t.Fatalf("accept: %v", err)
			}
			kept = append(kept, a)
			if !hogged {
				err = s.checkSpace()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Fatal("never full")
	}
	fill(ErrFull) // the watermark
	if !s.Full() {
		t.Error("full before the watermark")
	}
	// Someone else eats the rest: SQLite itself finds no room.
	hog := filepath.Join(dir, "hog")
	fillDisk(t, hog)
	hogged = true
	s.low.Store(false) // as if it had been eaten within a moment
	fillAgain := len(kept)
	fill(ErrFull)
	t.Logf("%d fitted before the mark, %d after it", fillAgain, len(kept)-fillAgain)
	for range 5 {
		if err := s.Accept(ctx, mail(t, s, 1, 100_000, false)); err != nil && !errors.Is(err, ErrFull) {
			t.Fatalf("accept on a full disk: %v", err)
		}
	}
	// Who changes something is told in words, and not of a fault of ours.
	var refused error
	for i := 0; refused == nil && i < 5000; i++ { // the log may have room
		refused = s.CreateAccount(ctx, testBy, relay.Account{ID: relay.AccountID{ID: relay.NewID(time.Now())}, Name: "more" + strconv.Itoa(i), CreatedAt: time.Now()})
	}
	if e, ok := errors.AsType[*relay.Error](refused); !ok || e.Kind != relay.Unavailable || !strings.Contains(e.Public, "no space left") || !errors.Is(refused, ErrFull) {
		t.Errorf("a change on a full disk: %v", refused)
	}
	for _, a := range kept {
		readAll(t, s, a.Message.ID)
	}
	for _, name := range []string{hog, junk} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range kept {
		if err := s.Finish(ctx, final(a.Message.ID, a.Recipients)); err != nil {
			t.Fatalf("finish: %v", err)
		}
	}
	if e, ok := s.eng.(*sqliteEngine); !ok || e.checkpoint(ctx, true) != nil {
		t.Error("checkpoint when there is room again")
	}
	// The file's free pages go back to the file system, and it goes on by itself.
	s.low.Store(true)
	for end := time.Now().Add(20 * time.Second); s.Full() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	a := mail(t, s, 1, 100_000, false)
	accept(t, s, a)
	readAll(t, s, a.Message.ID)
	checkInvariants(t, s)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// The operator who starts postern on a full disk is told to make room, and not
// that the disk failed.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "16m")
	cfg := Config{Path: filepath.Join(dir, "postern.db"), Sealer: testSealer, Logger: quiet}
	s, _, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fillDisk(t, filepath.Join(dir, "hog"))
	s, _, err = Open(t.Context(), cfg)
	if err == nil {
		_ = s.Close()
		t.Fatal("opened on a full disk")
	}
	if !strings.Contains(err.Error(), "make room") || strings.Contains(err.Error(), "failed:") {
		t.Errorf("says %v", err)
	}
}

// smallDisk is a directory that is a file system of so many octets.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Skipf("a small file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fillDisk writes a file for as long as there is room.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	_ = f.Close()
}
