package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/config"
	"postern/internal/relay"
	"postern/internal/setup"
	"postern/internal/store"
)

const reloadConfig = `hostname = "relay.example.org"
data_dir = %q
contact = "o@example.org"
[store]
min_free = 0
[[listener]]
name = "submission"
role = "submission"
addresses = ["127.0.0.1:0"]
tls = "starttls"
[http]
listen = []
[admin]
listen = "127.0.0.1:0"
`

// A reload applies all of a changed file, or none of it, and sessions that are
// open go on.
func TestReload(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	res, err := setup.Init(t.Context(), setup.Options{Dir: dir, Hostname: "relay.example.org", Owner: "o@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	write := func(more string) {
		t.Helper()
		if err := os.WriteFile(res.Config, []byte(fmt.Sprintf(reloadConfig, dir)+more), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	c, err := config.Load(res.Config)
	if err != nil {
		t.Fatal(err)
	}
	var level slog.LevelVar
	a, err := New(t.Context(), Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler), Level: &level})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- a.Run(ctx, func() { close(ready) }) }()
	<-ready
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	addr := a.Addrs("submission")[0].String()
	by := store.By{Who: "test"}
	open := dialSMTP(t, addr)
	if size := open.ehlo(t); size != "31457280" {
		t.Errorf("SIZE %s at first", size)
	}

	write("[limits]\nmessage_size = \"12MiB\"\n[log]\nlevel = \"debug\"\n[deliver]\nport = 2526\n")
	for range 5 { // reloading again and again changes nothing more
		if err := a.Reload(t.Context(), by); err != nil {
			t.Fatal(err)
		}
	}
	if level.Level() != slog.LevelDebug {
		t.Errorf("log level %v", level.Level())
	}
	for _, on := range []bool{true, true, false, false} {
		if err := (queueService{a}).Drain(t.Context(), by, on); err != nil {
			t.Fatal(err)
		}
	}
	records := func() (out []string) {
		t.Helper()
		all, err := a.store.Changes(t.Context(), store.ChangeFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			if all[i].Action == "config.reload" || all[i].Action == "queue.drain" {
				out = append(out, fmt.Sprintf("%s %s %s %s", all[i].By, all[i].Action, all[i].Subject, all[i].After))
			}
		}
		return out
	}
	want := []string{`test config.reload configuration {"changed":["limits.message_size","deliver.port","log.level"]}`,
		`test queue.drain queue {"draining":true}`, `test queue.drain queue {"draining":false}`}
	if got := records(); !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if size := dialSMTP(t, addr).ehlo(t); size != "12582912" {
		t.Errorf("SIZE %s after the reload", size)
	}
	if size := open.ehlo(t); size != "31457280" {
		t.Errorf("SIZE %s on the session that was open", size)
	}

	for name, more := range map[string]string{
		"unknown key":     "[limits]\nmesage_size = \"1MiB\"\n",
		"broken value":    "[limits]\nmessage_size = \"7 parsecs\"\n",
		"needs a restart": "[limits]\nmessage_size = \"6MiB\"\n[queue]\nconcurrency = 7\n",
		"missing CA file": "[limits]\nmessage_size = \"6MiB\"\n[deliver]\nca_file = \"/nonexistent.pem\"\n",
	} {
		write(more)
		if err := a.Reload(t.Context(), by); err == nil || relay.KindOf(err) == relay.Internal || !strings.Contains(err.Error(), "old configuration stays") {
			t.Errorf("%s: %v", name, err)
		}
		if size := dialSMTP(t, addr).ehlo(t); size != "12582912" {
			t.Errorf("%s: SIZE %s, a part of it was applied", name, size)
		}
	}
	if got := records(); len(got) != len(want) {
		t.Errorf("recorded what was refused: %q", got)
	}
}

type smtpConn struct {
	*textproto.Conn
	raw net.Conn
}

func dialSMTP(t *testing.T, addr string) *smtpConn {
	t.Helper()
	raw, err := net.DialTimeout("tcp", addr, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	raw.SetDeadline(time.Now().Add(time.Minute))
	c := &smtpConn{textproto.NewConn(raw), raw}
	if _, _, err := c.ReadResponse(220); err != nil {
		t.Fatal(err)
	}
	return c
}

// ehlo says EHLO and returns the SIZE that is offered.
func (c *smtpConn) ehlo(t *testing.T) string {
	t.Helper()
	if _, err := c.Cmd("EHLO client.example"); err != nil {
		t.Fatal(err)
	}
	_, msg, err := c.ReadResponse(250)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(msg) {
		if size, ok := strings.CutPrefix(strings.TrimSpace(l), "SIZE "); ok {
			return size
		}
	}
	return ""
}
