// Command pages measures the console's pages on a long history: it fills an
// installation with messages that were delivered over a month, starts the real
// binary on it, waits until all of it is indexed, and asks for each page as a
// person's browser does.
//
//	go run ./bench/pages -postern bin/postern -n 1000000
//
// It prints a table: the time of each page's answer, warm, over loopback.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/setup"
)

func main() {
	n := flag.Int("n", 1_000_000, "messages")
	rounds := flag.Int("rounds", 60, "requests of each page")
	bin := flag.String("postern", "bin/postern", "the binary")
	dir := flag.String("dir", "", "keep the installation in this directory; \"\": one that is removed at the end. One that is there is used again")
	flag.Parse()
	if err := run(context.Background(), *bin, *dir, *n, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "pages:", err)
		os.Exit(1)
	}
}

// world is the installation and what the pages are asked about.
type world struct {
	dir, config string
	token       string // of the session
	account     relay.AccountID
	seen        seen
}

// seen are things of the history that pages are about.
type seen struct {
	Message   relay.MessageID
	Recipient string
	Sender    string
	Key       relay.KeyID
}

func run(ctx context.Context, bin, dir string, n, rounds int) error {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "pages")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = filepath.Join(tmp, "data")
	}
	w := &world{dir: dir, config: filepath.Join(dir, "postern.toml")}
	if _, err := os.Stat(w.config); err != nil {
		if _, err := setup.Init(ctx, setup.Options{Dir: dir, Hostname: "relay.example.org", Owner: "owner@example.org"}); err != nil {
			return err
		}
	} else {
		n = 0
	}
	begin := time.Now()
	if err := w.fill(ctx, n); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	fmt.Fprintf(os.Stderr, "filled in %s\n", time.Since(begin).Round(time.Second))
	p, err := w.start(ctx, bin)
	if err != nil {
		return err
	}
	defer p.stop()
	begin = time.Now()
	if err := p.indexed(ctx); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "indexed in %s\n", time.Since(begin).Round(time.Second))
	return w.measure(ctx, p, rounds)
}

// paths are the pages of the console that show a history, and the others.
func (w *world) paths() [][2]string {
	return [][2]string{
		{"overview", "/"}, {"mail, newest", "/mail"},
		{"mail, by recipient", "/mail?to=" + w.seen.Recipient}, {"mail, by recipient's prefix", "/mail?match=prefix&to=user12"},
		{"mail, by sender", "/mail?from=" + w.seen.Sender}, {"mail, by id", "/mail?id=" + w.seen.Message.String()},
		{"mail, by key", "/mail?key=" + w.seen.Key.String()}, {"mail, by domain", "/mail?domain=d7.test"}, {"mail, bounced", "/mail?state=bounced"},
		{"mail, by words of the subject", "/mail?subject=weekly+invoice"}, {"a message's journey", "/mail/" + w.seen.Message.String()},
		{"queue", "/queue"}, {"pools", "/pools"}, {"keys", "/keys"}, {"a key", "/keys/" + w.seen.Key.String()}, {"domains", "/domains"},
		{"IP access", "/access"}, {"logins", "/logins"}, {"changes", "/changes"}, {"people", "/people"}, {"subusers", "/subusers"},
		{"watch", "/watch"}, {"audit report", "/audit"}, {"policy", "/policy"}, {"settings", "/settings"}, {"profile", "/profile"}, {"sessions", "/profile/sessions"},
	}
}

func (w *world) measure(ctx context.Context, p *process, rounds int) error {
	fmt.Printf("| page | p50 ms | p95 ms | KiB |\n|---|---|---|---|\n")
	var all []time.Duration
	for _, page := range w.paths() {
		var times []time.Duration
		size := 0
		for i := range rounds + 5 {
			took, octets, err := w.get(ctx, p, page[1])
			if err != nil {
				return fmt.Errorf("%s: %w", page[1], err)
			}
			if i >= 5 { // warm
				times, size = append(times, took), octets
			}
		}
		all = append(all, times...)
		fmt.Printf("| %s | %s | %s | %d |\n", page[0], ms(at(times, 50)), ms(at(times, 95)), size>>10)
	}
	fmt.Printf("| all of them | %s | %s | |\n", ms(at(all, 50)), ms(at(all, 95)))
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

func at(times []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[(len(sorted)-1)*percent/100]
}

// get asks for a page and reads all of it.
func (w *world) get(ctx context.Context, p *process, path string) (time.Duration, int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return 0, 0, err
	}
	r.AddCookie(&http.Cookie{Name: "postern", Value: w.token})
	begin := time.Now()
	answer, err := p.client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered with %s", answer.Status)
	}
	return time.Since(begin), int(n), err
}

// newToken is the cookie of a session and its hash.
func newToken() (string, [32]byte) {
	raw := make([]byte, 32)
	rand.Read(raw)
	text := base64.RawURLEncoding.EncodeToString(raw)
	return text, sha256.Sum256([]byte(text))
}
