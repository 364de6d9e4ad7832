package browser

import (
	"net/http"
	"strings"
	"testing"
)

// What strangers and tenants may say of themselves. Each would show itself if a page,
// a script or a chart took it for more than text.
const (
	hostileName    = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	hostileSubject = `{{.}}</title><script>alert(3)</script><svg onload=alert(4)> ${alert(5)}`
	hostileHelo    = `<img/src=x onerror=alert(6)>.test`
)

// TestHostileWords: WB: a subject, a display name, a key's name, a greeting and a
// bounce that are markup are text on every page that shows them.
func TestHostileWords(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "hostile")
	w.operate(t, nil, "domain", "add", "hostile.test", "--account", account, "--assert", "--quiet")
	b, _ := w.owner(t, account, "hedda")
	b.visit("/keys/new?for=full")
	b.fill("[name=name]", hostileName)
	b.press("Make the key")
	key := b.secretShown()
	raw := func(to string) string {
		return "From: \"" + strings.ReplaceAll(hostileName, `"`, `\"`) + "\" <a@hostile.test>\nTo: " + to + "\nSubject: " + hostileSubject + "\n\n<script>alert(7)</script>\n"
	}
	for _, to := range []string{hostileAt, fullAt} {
		m := message{key, "hostile.test", "a@hostile.test", to, raw(to)}
		if err := w.deliver(t, m); err != nil {
			t.Fatal(err)
		}
	}
	// A greeting that is markup is refused (RFC 5321 §4.1.2); what an HTTP client calls
	// itself stands in the same column of the logins, and may be anything.
	if err := w.deliver(t, message{key: key, helo: hostileHelo}); err == nil || !strings.Contains(err.Error(), "501") {
		t.Errorf("greeted as %q: %v", hostileHelo, err)
	}
	w.ask(t, key, hostileHelo)
	wrong := message{key: "SG.<script>alert(9)</script>", helo: "hostile.test"}
	if err := w.deliver(t, wrong); err == nil {
		t.Fatal("a wrong key was taken")
	}
	bounced, waiting := w.wait(t, key, hostileAt, "bounced"), w.wait(t, key, fullAt, "deferred")
	var keys struct{ Result []apiKey }
	w.api(t, key, "GET", "/v3/api_keys", nil, &keys, nil)
	for path, words := range map[string][]string{
		"/": nil, "/keys": {hostileName}, "/keys/" + keys.Result[0].ID: {hostileName}, "/keys/" + keys.Result[0].ID + "/revoke": {hostileName},
		"/mail": {hostileSubject, bounceText}, "/mail/" + bounced: {hostileSubject, bounceText, hostileName}, "/mail/" + waiting: {hostileSubject},
		"/mail/" + bounced + "/body": nil, "/mail/" + waiting + "/do/cancel": nil,
		"/queue": nil, "/queue/inbox.test": nil, "/logins": {hostileHelo}, "/changes": {hostileName}, "/watch": nil, "/audit": {hostileName},
	} {
		b.visit(path)
		if path == "/logins" { // on record some seconds later
			b.later("#logins", hostileHelo)
		}
		for _, s := range words {
			if !script[bool](b, `document.querySelector("main").textContent.includes(`+quote(s)+`)`) {
				t.Errorf("%s does not show %q as text:\n%s", path, s, b.text("main"))
			}
		}
		if n := b.count("main script, main img:not([src^='data:']), main [onerror], main [onload], main svg[onload]"); n != 0 {
			t.Errorf("%s: %d elements that nobody wrote", path, n)
		}
		if b.count("h1") != 1 {
			t.Errorf("%s is no page: %s", path, b.text("body"))
		}
	}
}

// ask reads with the HTTP API as a program of some name.
func (w *world) ask(t testing.TB, key, agent string) {
	t.Helper()
	req, err := http.NewRequest("GET", w.url()+"/v3/scopes", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("User-Agent", agent)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("as %q: %s", agent, resp.Status)
	}
}
