package e2e

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// breachedFile lists passwords that are known to others, as Have I Been Pwned does.
func breachedFile(t testing.TB, passwords ...string) string {
	t.Helper()
	var lines []string
	for i := range 500 { // among others, or nothing is searched
		lines = append(lines, fmt.Sprintf("%X:%d", sha1.Sum([]byte(fmt.Sprint("filler ", i))), i+1))
	}
	for _, p := range passwords {
		lines = append(lines, fmt.Sprintf("%X:3", sha1.Sum([]byte(p))))
	}
	slices.Sort(lines)
	file := filepath.Join(t.TempDir(), "breached.txt")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\r\n")+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Each setting about people does what it says in the program as it is run: AC-02,
// AC-12. What the rules are is proven in internal/password; that they are asked,
// here.
func TestPeopleSettings(t *testing.T) {
	t.Parallel()
	const known = "Velvet harbour 17, tin whistle"
	r := newIdentityRelay(t, fmt.Sprintf(`[people]
breached_passwords = %q
blocked_words = ["hyperborea"]
password_classes = true
password_max_age = "2s"
session_idle = "1m"
`, breachedFile(t, known)))
	link := peopleLink.FindString(r.postern(t, "user", "setup", "omar@rcpt.test"))
	b := r.browser(t)
	path := strings.TrimPrefix(link, b.base)
	wantPage(t, "open the link", b.get(path), 200, "<form")
	for password, why := range map[string]string{
		known:                            "were stolen elsewhere",
		"Hyperborea 1!":                  "little more than a name",
		"Relay.Sender.Test9":             "little more than a name", // the host's
		"velvet harbour tin whistle owl": "no capital letter",
		"Short 1!":                       "too short",
	} {
		p := b.post(path, "username", "omar", "password", password)
		if why != "" && (p.status != 400 || !strings.Contains(p.text, why)) {
			t.Errorf("%q: %d, want a refusal with %q:\n%.3000s", password, p.status, why, p.text)
		}
		if p.status == 303 {
			t.Fatalf("%q was taken", password)
		}
	}
	b.join(link, "omar")
	b.enrol()
	if !b.in() {
		t.Fatal("not in")
	}
	used := time.Now()
	// A password that is too old lets nobody in, and a link for a new one is mailed: the
	// second letter, after that about the app.
	r.letters(t, "omar@rcpt.test", 1)
	time.Sleep(time.Until(used.Add(2 * time.Second)))
	other := r.browser(t)
	wantPage(t, "an old password", other.post("/login", "username", "omar", "password", aPassword), 403, "older than this installation allows")
	if got := r.lastLink(t, "omar@rcpt.test", 2); !strings.Contains(got, "/reset/") {
		t.Errorf("mailed %s", got)
	}
	// A session ends when nothing was done in it for the time that is set.
	time.Sleep(time.Until(used.Add(time.Minute + 2*time.Second)))
	if p := b.get("/profile"); p.status != 303 || !strings.HasPrefix(p.to, "/login") {
		t.Errorf("after a minute without a word: %d to %q", p.status, p.to)
	}
}
