package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// The operator sees what single sign-on is linked to a person, and unlinks it by the id
// that is shown.
func TestUserUnlink(t *testing.T) {
	t.Setenv(keyVariable, "SG.id.secret")
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		switch r.Method + " " + r.URL.Path {
		case "GET /v3/teammates/bob":
			_, _ = w.Write([]byte(`{"username":"bob","role":"auditor","single_sign_on":[{"id":"i1","issuer":"Staff\u001b[2J login","live":true},{"id":"i2","issuer":"https://gone.test","live":false}]}`))
		case "DELETE /v3/teammates/bob/single_sign_on/i1":
			w.WriteHeader(http.StatusNoContent)
		case "DELETE /v3/teammates/bob/single_sign_on/i2":
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"errors":[{"message":"It stays.","field":null}]}`))
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"errors":[{"message":"not found","field":null}]}`))
		}
	}))
	t.Cleanup(s.Close)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"show", "bob"}, exitOK, "Staff?[2J login (i1); https://gone.test (i2), which lets nobody in any more"},
		{[]string{"unlink", "bob", "i1"}, exitOK, "Unlinked from bob, who is logged out everywhere."},
		{[]string{"unlink", "bob", "i2"}, exitFailed, "It stays."},
		{[]string{"unlink", "bob", "i3"}, exitFailed, `nobody called "bob" has single sign-on with the id "i3" (postern user show bob)`},
		{[]string{"unlink", "bob"}, exitUsage, "accepts 2 arg"},
	} {
		code, out, errs := command(t, "", append([]string{"user", "--url", s.URL}, tt.args...)...)
		if code != tt.code || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%q: exit %d, want %d and %q:\n%s%s", tt.args, code, tt.code, tt.want, out, errs)
		}
	}
	if !slices.Contains(asked, "DELETE /v3/teammates/bob/single_sign_on/i1") {
		t.Errorf("asked for %q", asked)
	}
}
