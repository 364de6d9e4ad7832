package browser

import (
	"bytes"
	"net/http"
	"net/mail"
	"strings"
	"testing"
	"time"
)

// What strangers and tenants may say of themselves. Each would show itself if a page,
// a script or a chart took it for more than text.
const (
	hostileName    = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	hostileSubject = `{{.}}</title><script>alert(3)</script><svg onload=alert(4)> ${alert(5)}`
	hostileHelo    = `<img/src=x onerror=alert(6)>.test`
	hostileReason  = `</textarea><script>alert(8)</script><b onmouseover=alert(8)>`
)

// TestHostileWords: WB: a subject, a display name, a key's name, a greeting and a
// bounce that are markup are text on every page that shows them, and in letters.
func TestHostileWords(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	account := w.account(t, "hostility")
	w.operate(t, nil, "domain", "add", "hostile.test", "--account", account, "--assert", "--quiet")
	b := open(t, w.url())
	b.joinAs(w.setup(t, account, "hedda@inbox.test"), "hedda", "hedda@inbox.test", hostileName, hostileName)
	key := b.makeKey("full", hostileName)
	raw := func(to string) string {
		return "From: \"" + strings.ReplaceAll(hostileName, `"`, `\"`) + "\" <a@hostile.test>\nTo: " + to + "\nSubject: " + hostileSubject + "\n\n<script>alert(7)</script>\n"
	}
	for _, to := range []string{hostileAt, hostileLaterAt} {
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
	bounced, waiting := w.wait(t, key, hostileAt, "bounced"), w.wait(t, key, hostileLaterAt, "deferred")
	decoy := w.newKey(t, key, map[string]any{"name": hostileName, "scopes": []string{"mail.send"}, "canary": true})
	ends := w.newKey(t, key, map[string]any{"name": hostileName, "scopes": []string{"mail.send"}, "expires_at": time.Now().AddDate(0, 0, 3).UTC().Format(time.RFC3339)})
	if err := w.deliver(t, letterTo(decoy.Secret, "a@hostile.test", "a@inbox.test", "x")); err == nil {
		t.Fatal("a decoy was taken")
	}
	b.visit("/settings/profile")
	b.fill("#profile-company", hostileName)
	b.fill("#profile-website", hostileReason)
	b.press("Save")
	b.arrives("/settings")
	w.api(t, key, "POST", "/v3/messages/"+waiting+"/hold", map[string]string{"reason": hostileReason}, nil, nil)

	for _, look := range []struct {
		path  string
		words []string
	}{
		{"/", []string{hostileName}}, {"/?span=month", []string{hostileName}},
		{"/keys", []string{hostileName}}, {"/keys/" + ends.ID, []string{hostileName}}, {"/keys/" + ends.ID + "/revoke", []string{hostileName}},
		{"/keys/" + ends.ID + "/rotate", []string{hostileName}}, {"/keys/" + ends.ID + "/edit", nil},
		{"/mail", []string{hostileSubject, bounceText}}, {"/mail?subject=alert", []string{hostileSubject}},
		{"/mail?to=" + hostileAt, []string{hostileSubject, bounceText}}, {"/mail?state=bounced&from=a@hostile.test", []string{bounceText}},
		{"/mail?key=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&match=prefix", nil}, {"/mail?to=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", nil},
		{"/mail/" + bounced, []string{hostileSubject, bounceText, hostileName}}, {"/mail/" + waiting, []string{hostileSubject, laterText, hostileReason}},
		{"/mail/" + bounced + "/body", nil}, {"/mail/" + waiting + "/do/cancel", nil},
		{"/queue", nil}, {"/queue/inbox.test", nil}, {"/queue/%3Cscript%3Ealert(1)", nil},
		{"/logins", []string{hostileHelo}}, {"/logins?tried=%3Cscript%3Ealert(1)%3C/script%3E", nil},
		{"/changes", []string{hostileName}}, {"/watch", []string{hostileName}}, {"finding", []string{hostileName}},
		{"/audit", []string{hostileName, hostileHelo}}, {"/audit/print", []string{hostileName, hostileHelo}},
		{"/settings", []string{hostileName, hostileReason}}, {"/settings/profile", nil},
		{"/people", []string{hostileName}}, {"/people/hedda", []string{hostileName}}, {"/profile", []string{hostileName}},
	} {
		if look.path == "finding" { // of the decoy, which the watch takes a moment for
			for deadline := time.Now().Add(2 * patience); b.count(`main table a[href^="/watch/"]`) == 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
				b.visit("/watch")
			}
			look.path = script[string](b, `document.querySelector('main table a[href^="/watch/"]').getAttribute("href")`)
		}
		b.visit(look.path)
		for _, s := range look.words {
			b.laterText(s)
		}
		if n := b.count("main script, main img:not([src^='data:']), main [onerror], main [onload], main [onmouseover], main svg[onload]"); n != 0 {
			t.Errorf("%s: %d elements that nobody wrote", look.path, n)
		}
		if b.count("h1") != 1 {
			t.Errorf("%s is no page: %s", look.path, b.text("body"))
		}
	}
	w.hostileLetters(t, b)
}

// laterText loads the page again until its text has words: records are written some
// seconds after what they record.
func (b *tab) laterText(words string) {
	b.t.Helper()
	has := `document.body.textContent.includes(` + quote(words) + `)`
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if script[bool](b, has) {
			return
		}
		b.visit(b.at())
	}
	b.t.Errorf("%s does not show %q as text:\n%s", b.at(), words, b.text("body"))
}

// hostileLetters are those that postern writes with such words in them: what the watch
// noticed, and an invitation. They are plain text, in which markup is nothing.
func (w *world) hostileLetters(t *testing.T, b *tab) {
	t.Helper()
	b.visit("/people/invite")
	b.fill("#invite [name=email]", "hostile.guest@inbox.test")
	b.press("Mail the invitation")
	b.arrives("/people")
	for to, words := range map[string]string{"hostile.guest@inbox.test": "/invite/", "hostility@inbox.test": ""} {
		l := w.arrived(t, to, words)
		m, err := mail.ReadMessage(bytes.NewReader(l.Raw))
		if err != nil {
			t.Fatal(err)
		}
		if kind := m.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
			t.Errorf("the letter to %s is %s:\n%s", to, kind, l.Raw)
		}
		if len(m.Header["Subject"]) != 1 || len(m.Header["From"]) != 1 || len(m.Header["To"]) != 1 {
			t.Errorf("the letter to %s has a header of another: %v", to, m.Header)
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
