package people

import (
	"net/url"
	"strings"
	"testing"

	"postern/internal/relay"
)

// An issuer must not lead anywhere inside the network.
func TestIssuerAddresses(t *testing.T) {
	t.Parallel()
	w, p := ssoWorld(t, newWorld, func(is *Issuer) { is.Private = false })
	if _, _, err := w.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"}); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("a loopback address: %v", err)
	}
	for _, is := range []Issuer{
		{Name: "x", URL: "http://login.example.test", ClientID: "x", Account: "acme"},
		{Name: "x", URL: "ftp://login.example.test", ClientID: "x", Account: "acme", Private: true},
		{Name: "", URL: "https://login.example.test", ClientID: "x", Account: "acme"},
		{Name: "Corp", URL: "https://login.example.test", ClientID: "x", Account: "acme"},
	} {
		if _, err := w.newIssuer(is); err == nil {
			t.Errorf("%+v passes", is)
		}
	}
	// Nor send people's browsers, or our code, where there is no TLS.
	w2, p2 := ssoWorld(t, newWorld, nil)
	p2.more = map[string]any{"authorization_endpoint": "javascript:alert(1)"}
	if _, _, err := w2.BeginOIDC(t.Context(), home, OIDCStart{Issuer: "Corp"}); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("an endpoint that is none: %v", err)
	}
	_ = p
}

func TestLocalPath(t *testing.T) {
	for next, want := range map[string]string{
		"/": "/", "/keys?x=1#y": "/keys?x=1#y", "": "/", "keys": "/", "//evil.test": "/", "/\\evil.test": "/", "https://evil.test/": "/", "javascript:alert(1)": "/",
		"/a\r\nSet-Cookie: x": "/", "/" + strings.Repeat("x", 3000): "/", "/%zz": "/",
	} {
		if got := localPath(next); got != want {
			t.Errorf("%q leads to %q", next, got)
		}
	}
}

func FuzzFlowCookie(f *testing.F) {
	f.Add("AAAA", "state=x&code=y")
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, cookie, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if token, _, _, err := w.FinishOIDC(t.Context(), Visitor{}, cookie, q); err == nil || token != "" {
			t.Errorf("%q %q logs in", cookie, query)
		}
	})
}
