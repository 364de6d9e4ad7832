package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/sink"
)

// The whole world, twice over one directory: what `postern demo --once` does.
func TestRunOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	for range 2 {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := Run(ctx, Options{Once: true, Dir: dir, Out: &out, Version: "test"})
		cancel()
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, logName))
			t.Fatalf("%v\n%s\n%s", err, &out, log)
		}
		steps := 0
		for _, ch := range chapters {
			steps += len(ch.steps)
		}
		if got := strings.Count(out.String(), "✓"); got != steps || strings.Contains(out.String(), "✗") {
			t.Errorf("%d of %d steps went well:\n%s", got, steps, &out)
		}
	}
}

// A demo that stays up: the ready file, the inbox over HTTP, the invitation, and
// an end in order.
func TestRunStaysUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "ready.json")
	ctx, cancel := context.WithCancel(context.Background())
	out := &watch{want: "Ctrl-C stops", seen: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Options{ReadyFile: file, Out: out}) }()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatalf("ended: %v\n%s", err, out.text())
	case <-time.After(time.Minute):
		t.Fatalf("not up after a minute\n%s", out.text())
	}
	var r Ready
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &r) != nil {
		t.Fatalf("%s, %v", b, err)
	}
	resp, err := http.Get("http://" + r.HTTP + "/demo/inbox")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []sink.Message
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list) < 4 || list[0].DMARC != "pass" {
		t.Fatalf("inbox: %d messages, %v", len(list), err)
	}
	visits := 0 // the others are letters to the owner of the domain
	for _, m := range list {
		if slices.Contains(m.RcptTo, recipient) {
			visits++
		} else if !slices.Equal(m.RcptTo, []string{operator}) {
			t.Errorf("a message to %q", m.RcptTo)
		}
	}
	if visits != 4 {
		t.Errorf("%d messages to %s", visits, recipient)
	}
	if !strings.Contains(out.text(), "swaks --server") || !strings.Contains(out.text(), r.APIKey) {
		t.Errorf("no invitation:\n%s", out.text())
	}
	tryCommands(t, r)
	log, err := os.ReadFile(filepath.Join(r.DataDir, logName))
	if err != nil || bytes.Contains(log, []byte(r.APIKey)) {
		t.Errorf("the log names the key, or %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if exists(r.DataDir) {
		t.Error("the directory of a demo without --dir stays behind")
	}
}

// tryCommands pastes what is printed into a shell.
func tryCommands(t *testing.T, r Ready) {
	t.Helper()
	for _, c := range commands(r) {
		program := map[string]string{"swaks": "swaks", "curl": "curl", "Python": "python3"}[c.with]
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" {
				t.Errorf("%s is not installed", program)
			}
			t.Logf("%s is not installed: not tried", program)
			continue
		}
		if out, err := exec.Command("bash", "-c", c.text).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c.with, err, out)
			continue
		}
		eventually(t, "mail sent with "+c.with, func() bool {
			resp, err := http.Get("http://" + r.HTTP + "/demo/inbox")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			var list []sink.Message
			if json.NewDecoder(resp.Body).Decode(&list) != nil {
				return false
			}
			last := list[len(list)-1]
			return hasSubject(last, "from "+c.with) && last.DMARC == "pass"
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Errorf("not after a minute: %s", what)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A failing step is told, and the end is 1.
func TestRunTellsFailure(t *testing.T) {
	t.Parallel()
	w := &world{inbox: emptyInbox(t), records: newRecords(filepath.Join(t.TempDir(), "none.sock")), ready: Ready{SMTPStartTLS: "127.0.0.1:1", SMTPTLS: "127.0.0.1:1"}}
	var out bytes.Buffer
	want := 0
	for _, ch := range chapters {
		if want++; !ch.chained { // there every step fails by itself
			want += len(ch.steps) - 1
		}
	}
	if failed := tour(context.Background(), w, &printer{out: &out}); failed != want {
		t.Errorf("%d steps failed:\n%s", failed, &out)
	}
	if !strings.Contains(out.String(), "✗ Encrypted") || !strings.Contains(out.String(), "6 steps that need it") {
		t.Errorf("got\n%s", &out)
	}
	if strings.Contains(out.String(), "✓") {
		t.Errorf("something is said to have gone well:\n%s", &out)
	}
}
