package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/logfile"
)

// install makes an installation and returns its data directory and a
// configuration on free ports.
func install(t testing.TB) (dir, conf string) {
	t.Helper()
	root := t.TempDir()
	dir, conf = filepath.Join(root, "data"), filepath.Join(root, "relay.toml")
	if code, out, errs := command(t, "", "init", "--dir", dir, "--hostname", "relay.example.test", "--owner", "ops@example.net"); code != exitOK {
		t.Fatalf("init: %s%s", out, errs)
	}
	text := "hostname = \"relay.example.test\"\ndata_dir = \"data\"\ncontact = \"ops@example.net\"\n[[listener]]\nname = \"in\"\nrole = \"submission\"\n" +
		"addresses = [\"127.0.0.1:0\"]\ntls = \"implicit\"\n[http]\nlisten = []\n[admin]\nlisten = \"\"\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, conf
}

// serving runs "postern serve" until stop, which checks how it ended.
func serving(t testing.TB, conf string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done, errs := make(chan int, 1), &output{}
	go func() { done <- run(ctx, []string{"serve", "--config", conf}, streams{out: &output{}, err: errs}) }()
	return func() {
		t.Helper()
		cancel()
		select {
		case code := <-done:
			if code != exitOK {
				t.Errorf("serve ended with %d:\n%s", code, errs)
			}
		case <-time.After(60 * time.Second):
			t.Errorf("serve does not end:\n%s", errs)
		}
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > awaitTime {
			t.Fatalf("never: %s", what)
		}
	}
}

// What serve tells systemd: ready once all listens, stopping when asked to.
func TestServeNotifies(t *testing.T) {
	_, conf := install(t)
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	stop := serving(t, conf)
	told := func() string {
		b := make([]byte, 256)
		_ = l.SetReadDeadline(time.Now().Add(awaitTime))
		n, _ := l.Read(b)
		return string(b[:n])
	}
	if got := told(); got != "READY=1" {
		t.Errorf("systemd is told %q first", got)
	}
	stop()
	if got := told(); got != "STOPPING=1" {
		t.Errorf("systemd is told %q at the end", got)
	}
}

// --follow shows what was, then what comes, each once and in order.
//
// Not parallel: a command that another test starts inherits the store's lock
// between fork and exec, and serve would find it held.
func TestFollow(t *testing.T) {
	dir, conf := install(t)
	stop := serving(t, conf)
	defer stop()
	until(t, "the server answers", func() bool {
		code, _, _ := command(t, "", "status", "--data-dir", dir)
		return code == exitOK
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, done := &output{}, make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"log", "--changes", "--follow", "--json", "--data-dir", dir, "--limit", "2"}, streams{out: out, err: &output{}})
	}()
	until(t, "what was is shown", func() bool { return strings.Count(out.String(), "\n") == 2 })
	for i := range 3 {
		if code, _, errs := command(t, "", "account", "add", fmt.Sprintf("account%d", i), "--owner", "a@b.example", "--data-dir", dir); code != exitOK {
			t.Fatal(errs)
		}
	}
	until(t, "what comes is shown", func() bool { return strings.Contains(out.String(), "account2") })
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	var subjects []string
	seen := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		var c struct {
			Account string `json:"account_id"`
			Seq     int64
			Subject string
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil || seen[c.Account+strconv.FormatInt(c.Seq, 10)] {
			t.Errorf("line %q: %v, or shown twice", line, err)
		}
		seen[c.Account+strconv.FormatInt(c.Seq, 10)] = true
		subjects = append(subjects, c.Subject)
	}
	if len(subjects) != 5 || subjects[1] != "setup link for ops@example.net" || subjects[2] != "account account0" || subjects[4] != "account account2" {
		t.Errorf("shown: %q", subjects)
	}
}

func TestSignalsOpenTheLogAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postern.log")
	file, err := logfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := slog.New(slog.NewTextHandler(file, nil))
	stop := reopenOnSignal(file, log)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
		log.Info("before " + s.String())
		old := path + "." + s.String()
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		until(t, "a new log file", func() bool {
			b, _ := os.ReadFile(path)
			return bytes.Contains(b, []byte("log opened anew"))
		})
		if b, _ := os.ReadFile(old); !bytes.Contains(b, []byte("before "+s.String())) {
			t.Errorf("the old file holds %q", b)
		}
	}
	stop()
	// Without a file the signal must not end the process.
	stop = reopenOnSignal(nil, log)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // until it has come for certain: after the stop it would end the process
	stop()
}

func TestLogFormats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"json": `"msg":"hello"`, "text": "msg=hello"} {
		var b bytes.Buffer
		level := new(slog.LevelVar)
		log := newLogger(&b, format, level)
		log.Debug("quiet")
		log.Info("hello")
		if got := b.String(); !strings.Contains(got, want) || strings.Contains(got, "quiet") {
			t.Errorf("%s: %q", format, got)
		}
	}
}
