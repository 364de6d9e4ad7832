package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/httpx"
	"postern/internal/relay"
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

func TestSystemRecords(t *testing.T) {
	t.Parallel()
	d := relay.Domain{Name: "mail.example.test", System: true}
	keys := []relay.DKIMKey{{Selector: "s1", Algorithm: relay.DKIMRSA, Record: "v=DKIM1; p=x", Active: true}, {Selector: "old", RetiredAt: now}}
	got := SystemRecords("relay.example.test", d, keys, []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::1")})
	var lines []string
	for _, r := range got {
		lines = append(lines, r.Name+" "+r.Type+" "+r.Value)
	}
	want := []string{
		"relay.example.test A 192.0.2.10",
		"relay.example.test AAAA 2001:db8::1",
		"mail.example.test MX 10 relay.example.test.",
		"mail.example.test TXT v=spf1 a:relay.example.test -all",
		"relay.example.test TXT v=spf1 a -all",
		"s1._domainkey.mail.example.test TXT v=DKIM1; p=x",
		"_dmarc.mail.example.test TXT v=DMARC1; p=reject",
		"10.2.0.192.in-addr.arpa PTR relay.example.test.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR relay.example.test.",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if b, err := json.Marshal(got[0]); err != nil || !strings.Contains(string(b), `"required":true`) {
		t.Errorf("JSON %s, %v", b, err)
	}
}
