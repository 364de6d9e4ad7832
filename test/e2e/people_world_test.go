package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"fmt"
	"html"
	"io"
	"mime/quotedprintable"
	"net/http"
	"net/http/cookiejar"
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/sink"
)

// browser is what a person has: it keeps cookies, says where its requests come
// from, and follows nothing by itself.
type browser struct {
	t      testing.TB
	base   string // http://localhost:port
	client *http.Client
}

func (r *identityRelay) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, "http://" + r.HTTP, &http.Client{
		Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// page is what a browser got.
type page struct {
	status int
	to     string // of a redirection
	text   string
}

func (b *browser) do(req *http.Request) page {
	b.t.Helper()
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{resp.StatusCode, resp.Header.Get("Location"), string(text)}
}

func (b *browser) get(path string) page {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

// post sends a form as a page of the console does.
func (b *browser) post(path string, fields ...string) page {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	req, err := http.NewRequest(http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(req)
}

// wantPage checks a page's status and a word of it.
func wantPage(t testing.TB, what string, p page, status int, word string) page {
	t.Helper()
	if p.status != status || !strings.Contains(p.text, word) {
		t.Fatalf("%s: %d to %q, want %d with %q:\n%.2000s", what, p.status, p.to, status, word, p.text)
	}
	return p
}

// wantTo checks where a page leads.
func wantTo(t testing.TB, what string, p page, to string) {
	t.Helper()
	if p.status != http.StatusSeeOther || p.to != to {
		t.Fatalf("%s: %d to %q, want 303 to %q:\n%.2000s", what, p.status, p.to, to, p.text)
	}
}

// aPassword is one that the rules take.
const aPassword = "vexing quartz 41 lantern Mosaic"

// join opens a link of an invitation or a set-up and becomes a person.
func (b *browser) join(link, username string) {
	b.t.Helper()
	path := strings.TrimPrefix(link, b.base)
	if path == link {
		b.t.Fatalf("the link %q does not lead to %s", link, b.base)
	}
	for range 2 { // as programs do that open every link of a mail
		wantPage(b.t, "open the link", b.get(path), http.StatusOK, "<form")
	}
	wantPage(b.t, "a bad password", b.post(path, "username", username, "password", "password"), http.StatusBadRequest, "assword")
	wantTo(b.t, "join", b.post(path, "username", username, "first_name", "Ann", "last_name", "Other", "password", aPassword), "/welcome")
	wantPage(b.t, "the link again", b.get(path), http.StatusGone, "does not work")
}

var appSecret = regexp.MustCompile(`id="totp-secret">([^<]+)<`)

var recoveryCode = regexp.MustCompile(`<span class="code">([^<]+)</span>`)

// enrol sets up an authenticator app, which makes the session a full one. It
// returns the app's secret and the recovery codes.
func (b *browser) enrol() (secret string, codes []string) {
	b.t.Helper()
	p := wantPage(b.t, "begin the app", b.post("/factors/app/begin"), http.StatusOK, "totp-secret")
	found := appSecret.FindStringSubmatch(p.text)
	if found == nil {
		b.t.Fatalf("no secret in\n%s", p.text)
	}
	secret = strings.ReplaceAll(html.UnescapeString(found[1]), " ", "")
	wantPage(b.t, "a wrong code", b.post("/factors/app", "code", "000000"), http.StatusForbidden, "code is wrong")
	p = wantPage(b.t, "the code", b.post("/factors/app", "code", appCode(b.t, secret, time.Now())), http.StatusOK, "recovery codes")
	for _, found := range recoveryCode.FindAllStringSubmatch(p.text, -1) {
		codes = append(codes, found[1])
	}
	if len(codes) != 10 {
		b.t.Fatalf("%d recovery codes in\n%s", len(codes), p.text)
	}
	return secret, codes
}

// appCode is what an authenticator app shows (RFC 6238, SHA-1, 6 digits, 30 s).
func appCode(t testing.TB, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(strings.ToUpper(secret), "="))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	step := at.Unix() / 30
	mac.Write([]byte{0, 0, 0, byte(step >> 32), byte(step >> 24), byte(step >> 16), byte(step >> 8), byte(step)})
	sum := mac.Sum(nil)
	part := sum[sum[19]&15:]
	n := uint32(part[0]&0x7f)<<24 | uint32(part[1])<<16 | uint32(part[2])<<8 | uint32(part[3])
	return fmt.Sprintf("%06d", n%1_000_000)
}

var peopleLink = regexp.MustCompile(`http://localhost:\d+/(?:invite|setup|reset|email)/[A-Za-z0-9_-]+`)

// letters waits until n letters have come to an address, and returns their texts,
// oldest first.
func (r *identityRelay) letters(t testing.TB, address string, n int) []string {
	t.Helper()
	var found []string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		found = nil
		for _, m := range r.inbox.List() {
			if len(m.RcptTo) == 1 && m.RcptTo[0] == address {
				found = append(found, letterText(t, m))
			}
		}
		if len(found) >= n {
			return found
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d letters to %s, want %d", len(found), address, n)
		}
	}
}

func letterText(t testing.TB, m sink.Message) string {
	t.Helper()
	letter, err := mail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		t.Fatal(err)
	}
	body := letter.Body
	if strings.EqualFold(letter.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lastLink is the link of the n-th letter to an address.
func (r *identityRelay) lastLink(t testing.TB, address string, n int) string {
	t.Helper()
	text := r.letters(t, address, n)[n-1]
	link := peopleLink.FindString(text)
	if link == "" {
		t.Fatalf("no link in\n%s", text)
	}
	return link
}
