package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/httpx"
)

func TestSocketKnowsItsPeer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	f := newFake()
	server := &http.Server{Handler: httpx.New(httpx.Options{Local: true}, Admin(f.services())), ConnContext: ConnContext}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v", info.Mode(), err)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	resp, err := client.Post("http://postern/admin/v1/reload", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := fmt.Sprintf("uid %d admin.sock: reload", os.Getuid()); resp.StatusCode != 200 || len(f.changes) != 1 || f.changes[0] != want {
		t.Errorf("answer %d, changes %q; want %q", resp.StatusCode, f.changes, want)
	}
	if _, err := ListenSocket(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second server on the socket: %v", err)
	}
}

func TestSocketReplacesOnlyDeadSockets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a kill -9 leaves it
	l.Close()
	again, err := ListenSocket(dead)
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	again.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(link); err == nil {
		t.Error("over a symlink: no error")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Error("the file is gone")
	}
}

type healthFake struct{ live, ready error }

func (h healthFake) Live(context.Context) error  { return h.live }
func (h healthFake) Ready(context.Context) error { return h.ready }

// AP-24: what the public listener does not have, and what it does not tell.
func TestPublicAndOperator(t *testing.T) {
	t.Parallel()
	bad := healthFake{errors.New("disk of /var is gone"), errors.New("key feed is 3 s old")}
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "postern_up 1") })
	public := func(h Health) http.Handler { return httpx.New(httpx.Options{Local: true}, Public(h)) }
	operator := func(h Health) http.Handler {
		return httpx.New(httpx.Options{Local: true}, Operator(h, metrics))
	}
	for name, tt := range map[string]struct {
		handler http.Handler
		path    string
		status  int
		text    string
	}{
		"public healthz":        {public(healthFake{}), "/healthz", 200, `"ok"`},
		"public healthz, ill":   {public(bad), "/healthz", 503, "temporarily unavailable"},
		"public readyz":         {public(healthFake{}), "/readyz", 404, ""},
		"public metrics":        {public(healthFake{}), "/metrics", 404, ""},
		"public pprof":          {public(healthFake{}), "/debug/pprof/heap", 404, ""},
		"public admin":          {public(healthFake{}), "/admin/v1/accounts", 404, ""},
		"operator readyz":       {operator(healthFake{}), "/readyz", 200, `"ok"`},
		"operator readyz, ill":  {operator(bad), "/readyz", 503, "key feed is 3 s old"},
		"operator healthz, ill": {operator(bad), "/healthz", 503, "disk of /var"},
		"operator metrics":      {operator(healthFake{}), "/metrics", 200, "postern_up 1"},
		"operator pprof":        {operator(healthFake{}), "/debug/pprof/", 200, `href='pprof/heap?debug=1'`},
		"operator heap":         {operator(healthFake{}), "/debug/pprof/heap?debug=1", 200, "heap profile"},
		"operator no profile":   {operator(healthFake{}), "/debug/pprof/none", 404, ""},
		"operator cmdline":      {operator(healthFake{}), "/debug/pprof/cmdline", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			tt.handler.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
				t.Errorf("%d %.300s; want %d with %q", w.Code, w.Body, tt.status, tt.text)
			}
			if strings.HasPrefix(name, "public") && strings.Contains(w.Body.String(), "/var") {
				t.Errorf("the public answer tells internals: %s", w.Body)
			}
		})
	}
}
