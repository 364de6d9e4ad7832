// Command million measures a relay with a long queue: it fills an installation
// with waiting messages, starts the real binary on it, and reports how long the
// start takes and how much memory the process has while the queue waits.
//
//	go run ./bench/million -postern bin/postern -n 1000000
//
// It prints JSON. Nothing is sent: every message is due tomorrow.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/setup"
	"postern/internal/store"
)

// result is what is printed.
type result struct {
	Messages     int     `json:"messages"`
	BodyOctets   int     `json:"body_octets"`
	Lanes        int     `json:"lanes"`
	Tenants      int     `json:"tenants"`
	FillPerSec   float64 `json:"fill_per_second"`
	DatabaseMiB  int64   `json:"database_mib"`
	ReadySeconds float64 `json:"restart_to_ready_seconds"`
	RSSMiB       int64   `json:"rss_mib"`      // after the start
	PeakMiB      int64   `json:"rss_peak_mib"` // since the start
	GoVersion    string  `json:"go"`
}

func main() {
	n := flag.Int("n", 1_000_000, "messages")
	size := flag.Int("size", 1024, "octets of each body")
	lanes := flag.Int("lanes", 1000, "destination domains")
	tenants := flag.Int("tenants", 100, "tenants")
	dir := flag.String("dir", "", "an empty directory; \"\": one that is removed at the end")
	bin := flag.String("postern", "bin/postern", "the binary")
	flag.Parse()
	r, err := measure(context.Background(), *bin, *dir, result{Messages: *n, BodyOctets: *size, Lanes: *lanes, Tenants: *tenants, GoVersion: runtime.Version()})
	if err != nil {
		fmt.Fprintln(os.Stderr, "million:", err)
		os.Exit(1)
	}
	out, _ := json.MarshalIndent(r, "", "  ")
	fmt.Println(string(out))
}

func measure(ctx context.Context, bin, dir string, r result) (result, error) {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "million")
		if err != nil {
			return r, err
		}
		defer os.RemoveAll(tmp)
		dir = filepath.Join(tmp, "data")
	}
	res, err := setup.Init(ctx, setup.Options{Dir: dir, Hostname: "relay.example.org", Owner: "owner@example.org"})
	if err != nil {
		return r, err
	}
	begin := time.Now()
	if err := fill(ctx, dir, r); err != nil {
		return r, fmt.Errorf("fill: %w", err)
	}
	r.FillPerSec = float64(r.Messages) / time.Since(begin).Seconds()
	if fi, err := os.Stat(filepath.Join(dir, "postern.db")); err == nil {
		r.DatabaseMiB = fi.Size() >> 20
	}
	return start(ctx, bin, res.Config, dir, r)
}

// fill accepts the messages as submit would, but waiting.
func fill(ctx context.Context, dir string, r result) (err error) {
	sealer, err := secret.OpenSealer(filepath.Join(dir, "sealing.key"))
	if err != nil {
		return err
	}
	s, _, err := store.Open(ctx, store.Config{Path: filepath.Join(dir, "postern.db"), Sealer: sealer, Logger: slog.New(slog.DiscardHandler), MinFree: -1})
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(run) }()
	defer func() {
		stop()
		err = errors.Join(err, <-done, s.Close())
	}()
	snap, err := s.Snapshot(ctx, 0)
	if err != nil {
		return err
	}
	work := make(chan int, 1024)
	errs := make(chan error, 64)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := range work {
				if err := s.Accept(ctx, message(s, snap, r, i)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for i := range r.Messages {
		select {
		case work <- i:
		case err := <-errs:
			return err
		}
		if i%50000 == 49999 {
			fmt.Fprintf(os.Stderr, "\rfilled %d of %d", i+1, r.Messages)
		}
	}
	fmt.Fprintln(os.Stderr)
	close(work)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func message(s *store.Store, snap *store.Snapshot, r result, i int) *store.Acceptance {
	now := time.Now().UTC().Truncate(time.Microsecond)
	id := relay.MessageID{ID: relay.NewID(now)}
	tenant := relay.Tenant{Account: snap.Accounts[0].ID}
	tenant.Subuser.ID[15] = byte(i % r.Tenants)
	site := fmt.Sprintf("d%d.example.net", i%r.Lanes)
	m := relay.Message{
		ID: id, Tenant: tenant, Pool: snap.Pools[0].ID, State: relay.MessageQueued, EnvelopeFrom: "a@example.org",
		ReturnPath: "b@relay.example.org", HeaderFrom: "a@example.org", Body: relay.Body7Bit, AcceptedAt: now, ExpiresAt: now.Add(96 * time.Hour),
		Size: int64(r.BodyOctets) + 60,
	}
	head := []byte("From: a@example.org\r\nSubject: message " + strconv.Itoa(i) + "\r\n\r\n")
	return &store.Acceptance{
		Message: m, Head: head, Body: s.BodyOf(id, bytes.Repeat([]byte("x"), r.BodyOctets)),
		Recipients: []relay.Recipient{{Message: id, Address: "r" + strconv.Itoa(i) + "@" + site, Site: site, DueAt: now.Add(24 * time.Hour)}},
	}
}

// start runs the real binary and watches it become ready.
func start(ctx context.Context, bin, conf, dir string, r result) (result, error) {
	admin, err := freePort()
	if err != nil {
		return r, err
	}
	smtp, err := freePort()
	if err != nil {
		return r, err
	}
	text := fmt.Sprintf("hostname = \"relay.example.org\"\ndata_dir = %q\ncontact = \"o@example.org\"\n[store]\nmin_free = 0\n[[listener]]\nname = \"submission\"\nrole = \"submission\"\naddresses = [%q]\ntls = \"starttls\"\n[http]\nlisten = []\n[admin]\nlisten = %q\n", dir, smtp, admin)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, bin, "serve", "--config", conf)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return r, err
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	for {
		if time.Since(begin) > 5*time.Minute {
			return r, fmt.Errorf("not ready after five minutes:\n%s", log.String())
		}
		resp, err := http.Get("http://" + admin + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.ReadySeconds = time.Since(begin).Seconds()
	time.Sleep(20 * time.Second)
	r.RSSMiB, r.PeakMiB = memory(cmd.Process.Pid)
	return r, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// memory is a process's resident set and its peak, in MiB.
func memory(pid int) (rss, peak int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			rss = kib >> 10
		case "VmHWM:":
			peak = kib >> 10
		}
	}
	return rss, peak
}
