package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRemoteKeepsTheKey: a key goes to the server of --url over TLS that the
// authority vouches for, and nowhere else.
func TestRemoteKeepsTheKey(t *testing.T) {
	const key = "SG.id.secret"
	t.Setenv(keyVariable, key)
	var thief atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { thief.Add(1) }))
	defer elsewhere.Close()
	f := certificate(t)
	pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+key || r.URL.Query().Has("key") || strings.Contains(r.URL.String(), key):
			t.Errorf("%s came with %v", r.URL, r.Header)
		case r.URL.Path == "/v3/user/policy":
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		case r.URL.Path == "/v3/user/plan":
			_, _ = w.Write([]byte(`<html>a proxy's page</html>`))
		default:
			_, _ = w.Write([]byte(`{"result":[]}`))
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	defer server.Close()

	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"key", "list", "--url", server.URL}, exitFailed, "certificate"}, // nobody vouches for it
		{[]string{"key", "list", "--url", server.URL, "--ca-file", f.Authority}, exitOK, "NAME"},
		{[]string{"key", "list", "--url", server.URL, "--ca-file", f.Key}, exitFailed, "holds no certificate"},
		{[]string{"policy", "--url", server.URL, "--ca-file", f.Authority}, exitFailed, "the server answered 307"},
		{[]string{"plan", "--url", server.URL, "--ca-file", f.Authority}, exitFailed, "server's answer"},
	} {
		code, out, errs := command(t, "", tt.args...)
		if code != tt.code || !strings.Contains(out+errs, tt.want) || strings.Contains(out+errs, key) {
			t.Errorf("%q: %d\n%s%s", tt.args, code, out, errs)
		}
	}
	if thief.Load() != 0 {
		t.Error("the key was carried elsewhere")
	}
}
