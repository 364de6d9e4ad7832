package console

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// TestHeaders: WB-01, WB-04, WB-06, AC-09: what every page goes out with.
func TestHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	for _, path := range []string{"/sample", "/login", "/nowhere", "/reset/abc"} {
		h := w.get(path).header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'none'; " +
				"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
			"Cache-Control":              "no-store",
			"Referrer-Policy":            "no-referrer",
			"X-Content-Type-Options":     "nosniff",
			"X-Frame-Options":            "DENY",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Content-Type":               "text/html; charset=utf-8",
			"Vary":                       "Cookie",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s: %q", path, name, got)
			}
		}
	}
}

// TestForeignForms: WB-03: what changes state comes from a page of ours, also
// logging in and out, JSON as text/plain, and other methods.
func TestForeignForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.api.on("POST /v3/sample", nil)
	for _, path := range []string{"/sample", "/login", "/logout", "/theme", "/login/passkey/options", "/password/hints", "/profile/name", "/welcome/domain"} {
		for _, c := range []struct {
			name, site, origin string
			ok                 bool
		}{
			{"our page", "same-origin", "null", true},
			{"our page in an old browser", "", "http://localhost", true},
			{"another site", "cross-site", "https://evil.example", false},
			{"a sibling domain", "same-site", "http://other.localhost", false},
			{"nobody's page", "none", "", false},
			{"an old browser at another site", "", "https://evil.example", false},
			{"an old browser that hides its page", "", "null", false},
			{"no browser", "", "", false},
			{"another port", "", "http://localhost:8080", false},
		} {
			r := request("POST", path, strings.NewReader("{}"))
			r.Header.Del("Sec-Fetch-Site")
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			r.Header.Set("Content-Type", "text/plain")
			before := len(w.api.calls) + len(w.people.asked)
			r.AddCookie(&http.Cookie{Name: "postern", Value: "token"})
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, r)
			if refused := rec.Code == http.StatusForbidden; refused == c.ok {
				t.Errorf("%s from %s: %d", path, c.name, rec.Code)
			}
			if !c.ok && len(w.api.calls)+len(w.people.asked) != before {
				t.Errorf("%s from %s changed something", path, c.name)
			}
		}
	}
	// A method in a header or a field is none.
	r := request("GET", "/sample?_method=POST", nil)
	r.Header.Set("X-HTTP-Method-Override", "POST")
	before := len(w.api.made("POST /v3/sample"))
	w.do(r)
	if len(w.api.made("POST /v3/sample")) != before {
		t.Error("a GET changed something")
	}
}

// TestOriginOnHTTPS: WB-06: behind a proxy the configured URL counts, and never
// the request's Host.
func TestOriginOnHTTPS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.console.URL = func() string { return "https://mail.example.com" }
	w.console.Secure = func(*http.Request) bool { return true }
	for origin, ok := range map[string]bool{"https://mail.example.com": true, "http://mail.example.com": false, "https://localhost": false} {
		r := request("POST", "/theme", strings.NewReader("theme=dark"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Del("Sec-Fetch-Site")
		r.Header.Set("Origin", origin)
		r.RemoteAddr = "192.0.2.1:5000"
		r.Host = strings.TrimPrefix(origin, "https://") // what the standard library compares with
		if rec := w.do(r); (rec.Code == http.StatusSeeOther) != ok {
			t.Errorf("%s: %d", origin, rec.Code)
		}
	}
}

// TestSafeNext: WB-05.
func TestSafeNext(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"":                              "/",
		"/":                             "/",
		"/keys":                         "/keys",
		"/keys?x=1&y=%2F":               "/keys?x=1&y=%2F",
		"/as/shop/keys":                 "/as/shop/keys",
		"keys":                          "/",
		"//evil.example":                "/",
		"///evil.example":               "/",
		`/\evil.example`:                "/",
		"/%5cevil.example":              "/",
		"/%2f/evil.example":             "/",
		"/./evil":                       "/",
		"/../evil":                      "/",
		"/a//b":                         "/",
		"https://evil.example/":         "/",
		"javascript:alert(1)":           "/",
		"/%0d%0aSet-Cookie: a=b":        "/",
		"/\r\nSet-Cookie: a=b":          "/",
		"/\tx":                          "/",
		" /keys":                        "/",
		"/keys#x":                       "/",
		"/ключи":                        "/",
		"/logout":                       "/",
		"/login?next=/x":                "/",
		"/confirm":                      "/",
		"/v3/api_keys":                  "/",
		"/" + strings.Repeat("a", 3000): "/",
		"/keys?next=//evil.example":     "/keys?next=//evil.example",
		"/%":                            "/",
	} {
		if got := safeNext(next); got != want {
			t.Errorf("safeNext(%q) = %q, want %q", next, got, want)
		}
	}
}

func FuzzSafeNext(f *testing.F) {
	for _, s := range []string{"/keys?x=1", "//evil", `/\evil`, "/%2f", "/a/../b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got := safeNext(next)
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n\t \x00") {
			t.Errorf("safeNext(%q) = %q", next, got)
		}
		if again := safeNext(got); again != got {
			t.Errorf("safeNext(%q) = %q, then %q", next, got, again)
		}
	})
}

// TestLoginLeadsNowhereElse: WB-05, with the whole login.
func TestLoginLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"//evil.example", `/\evil.example`, "https://evil.example", "javascript:alert(1)", "/%0d%0aLocation: https://evil.example"} {
		w := outside(t)
		w.visit().User.TOTP = nil
		w.visit().User.Passkeys = 1
		w.post("/login/passkey", "handle", "handle", "credential", rightKey, "next", next).goes("/")
		w.get("/login?next=" + queryEscape(next)).goes("/")
		w.post("/theme", "theme", "dark", "next", next).goes("/")
		if got := attribute(w.get("/confirm?next="+queryEscape(next)).find("input[name=next]"), "value"); got != "/" {
			t.Errorf("/confirm leads to %q", got)
		}
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	type form struct {
		Name string   `form:"name" max:"10"`
		Text string   `form:"text" lines:"yes"`
		On   bool     `form:"on"`
		N    int      `form:"n"`
		List []string `form:"list"`
		Word redacted `form:"word"`
	}
	for body, want := range map[string]string{
		"name=+a+&text=x%0d%0ay&on=on&n=7&list=a&list=+&list=b&word=+x+": "",
		"name=a&other=1":                    "does not know",
		"name=a&name=b":                     "twice",
		"name=12345678901":                  "too long",
		"name=a%0ab":                        "cannot be typed",
		"text=a%00b":                        "cannot be typed",
		"name=%ff":                          "UTF-8",
		"n=x":                               "whole number",
		"name=%zz":                          "cannot be read",
		"name=a;b=c":                        "cannot be read",
		"word=" + strings.Repeat("a", 3000): "too long",
	} {
		r := request("POST", "/x", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		v := &visit{R: r}
		var f form
		err := v.form(&f)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", body, err, want)
			}
			continue
		}
		if err != nil || f.Name != "a" || f.Text != "x\ny" || !f.On || f.N != 7 || strings.Join(f.List, ",") != "a,b" || f.Word.Reveal() != " x " {
			t.Errorf("%s: %+v %v", body, f, err)
		}
	}
	for _, media := range []string{"", "text/plain", "application/json", "multipart/form-data; boundary=x"} {
		r := request("POST", "/x", strings.NewReader("name=a"))
		r.Header.Set("Content-Type", media)
		if err := (&visit{R: r}).form(&form{}); err == nil {
			t.Errorf("a form as %q is read", media)
		}
	}
}

// TestAssets: WB-12: what comes from elsewhere is what its makers published, and
// no script has more than this origin.
func TestAssets(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{ // of the package uplot 1.6.32, dist/
		"assets/vendor/uplot/uplot.js":  "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"assets/vendor/uplot/uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"assets/vendor/uplot/LICENSE":   "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	} {
		b, err := assetFiles.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not what was published: %x", name, sum)
		}
	}
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage|sessionStorage|https?://|sourceMappingURL`)
	for name, a := range assets {
		if strings.HasSuffix(name, ".js") || strings.HasSuffix(name, ".css") {
			text := strings.ReplaceAll(string(a.text), "https://github.com/leeoniya/uPlot", "")
			if m := forbidden.FindString(text); m != "" {
				t.Errorf("%s has %s", name, m)
			}
		}
	}
}

func TestAssetsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]string{
		assetBase + "/app.css": "public, max-age=31536000, immutable", "/assets/0123456789abcdef/app.css": "no-store",
	} {
		rec := w.do(request("GET", path, nil))
		if rec.Code != 200 || rec.Header().Get("Cache-Control") != want || rec.Header().Get("Content-Type") != "text/css; charset=utf-8" {
			t.Errorf("%s: %d %v", path, rec.Code, rec.Header())
		}
	}
	for _, path := range []string{assetBase + "/LICENSE", assetBase + "/../templates/login.html", assetBase + "/nothing.js"} {
		if rec := w.do(request("GET", path, nil)); rec.Code != 404 {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

// TestEveryRow: the table of pages holds together: what changes is a POST, the
// navigation leads to pages, and each group is known.
func TestEveryRow(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range allPages() {
		if p.Method != "GET" && p.Method != "POST" {
			t.Errorf("%s %s", p.Method, p.Pattern)
		}
		if key := p.Method + " " + p.Pattern; seen[key] {
			t.Errorf("%s is there twice", key)
		} else {
			seen[key] = true
		}
		if p.Nav != "" && (p.Method != "GET" || !strings.Contains("|"+strings.Join(navGroups, "|")+"|", "|"+p.Group+"|")) {
			t.Errorf("%s %s: navigation %q %q", p.Method, p.Pattern, p.Group, p.Nav)
		}
		if p.Level == anyone && len(p.Needs) > 0 {
			t.Errorf("%s %s is for anyone and needs %v", p.Method, p.Pattern, p.Needs)
		}
		for _, n := range p.Needs {
			if m, pattern, ok := strings.Cut(n, " "); !ok || m == "" || !strings.HasPrefix(pattern, "/v3/") {
				t.Errorf("%s %s needs %q", p.Method, p.Pattern, n)
			}
		}
	}
}
