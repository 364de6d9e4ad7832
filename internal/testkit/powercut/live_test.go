package powercut

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPrograms runs small servers under strace. What a right one promised is in
// every image; each wrong one is found out, both by its images and by the record
// alone. It is the proof that the checker can fail.
func TestPrograms(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" {
			t.Fatal("strace is not installed")
		}
		t.Skip("strace is not installed")
	}
	tests := []struct {
		kind   string
		broken bool
	}{
		{"wal", false},
		{"wal-ack-first", true},
		{"wal-normal", true},
		{"wal-off", true},
		{"file", false},
		{"file-no-sync", true},
		{"file-no-dir-sync", true},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			t.Parallel()
			r := runKind(t, tt.kind)
			images, lost := r.judgeImages(t)
			unsynced := r.judgeRecord()
			t.Logf("%d promises, %d syncs, %d changes, %d images, %d found wanting", len(r.promises), r.model.Syncs(), r.model.Writes(), images, len(lost))
			if tt.broken && len(lost) == 0 {
				t.Error("no image shows the loss")
			}
			if tt.broken && tt.kind != "file-no-dir-sync" && len(unsynced) == 0 {
				// A missing name is not in the octets, so only images show that one.
				t.Error("the record does not show the loss")
			}
			if !tt.broken && len(lost)+len(unsynced) > 0 {
				t.Errorf("images: %s\nrecord: %s", strings.Join(lost, "\n"), strings.Join(unsynced, "\n"))
			}
		})
	}
}

type run struct {
	kind     string
	model    *Model
	promises []Promise
}

// runKind runs a server under strace, has two clients store items, and returns
// the record with what the clients were promised.
func runKind(t *testing.T, kind string) *run {
	t.Helper()
	parent, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir, base, record := filepath.Join(parent, "d"), filepath.Join(parent, "base"), filepath.Join(parent, "record")
	for _, d := range []string{dir, base} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	line := Command(record, nil, os.Args[0])
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), envKind+"="+kind, envDir+"="+dir)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acks := talk(t, ctx, dir+".addr")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", kind, err, output.String())
	}
	f, err := os.Open(record)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rec, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{kind: kind}
	if r.model, err = NewModel(rec, dir, base, Volatile); err != nil {
		t.Fatal(err)
	}
	for _, a := range acks {
		pos, err := r.model.WroteTo(a.conn, a.at)
		if err != nil {
			t.Fatal(err)
		}
		r.promises = append(r.promises, Promise{Pos: pos, ID: a.id})
	}
	return r
}

type ack struct {
	id, conn string
	at       time.Time
}

// talk waits for the server's address and stores 24 items over two connections.
func talk(t *testing.T, ctx context.Context, addrFile string) []ack {
	t.Helper()
	var addr []byte
	for tick := time.NewTicker(5 * time.Millisecond); len(addr) == 0; <-tick.C {
		addr, _ = os.ReadFile(addrFile)
		if ctx.Err() != nil {
			t.Fatal("the server did not start")
		}
	}
	var mu sync.Mutex
	var acks []ack
	var wg sync.WaitGroup
	for c := range 2 {
		conn, err := net.Dial("tcp", string(addr))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			in := bufio.NewReader(conn)
			for i := range 12 {
				id := fmt.Sprintf("item-%d-%02d", c, i)
				fmt.Fprintln(conn, id)
				got, err := in.ReadString('\n')
				if err != nil || got != "250 "+id+"\n" {
					t.Errorf("reply %q: %v", got, err)
					return
				}
				mu.Lock()
				acks = append(acks, ack{id, conn.LocalAddr().String(), time.Now()})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	conn, err := net.Dial("tcp", string(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "QUIT\n")
	return acks
}

// judgeImages opens images of the whole record and, for every promise, the one
// that lacks all that is uncertain at that moment.
func (r *run) judgeImages(t *testing.T) (n int, lost []string) {
	t.Helper()
	look := func(i *Image) {
		dir := filepath.Join(t.TempDir(), "image")
		if err := i.Write(dir); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		n++
		got, err := stored(r.kind, dir)
		if err != nil {
			lost = append(lost, fmt.Sprintf("%s: %v", i, err))
			return
		}
		for _, p := range Due(r.promises, i.Cut) {
			if !got[p.ID] {
				lost = append(lost, fmt.Sprintf("%s: %s", i, p.ID))
			}
		}
	}
	for _, p := range r.promises {
		look(r.model.Image(p.Pos+1, Dropped, 1))
	}
	step := 0
	for i := range r.model.Images(1, Modes) {
		// A sample: all of them take longer than a unit test may.
		if step++; step%9 == 0 {
			look(i)
		}
	}
	return n, lost
}

// judgeRecord looks for promises whose octets were not synced before.
func (r *run) judgeRecord() (unsynced []string) {
	for _, p := range r.promises {
		if _, err := r.model.SyncedBefore([]byte("body of "+p.ID), p.Pos); err != nil {
			unsynced = append(unsynced, p.ID+": "+err.Error())
		}
	}
	return unsynced
}
