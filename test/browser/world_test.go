package browser

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/internal/totp"
)

// world is a running `postern demo`: the program itself, with a DNS zone that the
// tests publish into and a receiving server.
type world struct {
	HTTP         string `json:"http"`
	SMTPStartTLS string `json:"smtp_starttls"`
	Hostname     string `json:"hostname"`
	CAFile       string `json:"ca_file"`
	APIKey       string `json:"api_key"`
	From         string `json:"from"`
	DataDir      string `json:"data_dir"`

	bin  string
	cmd  *exec.Cmd
	log  string
	end  chan struct{}
	keys map[string]apiKey // of the programs that have a history, by name
}

// What the receiving server says to some recipients: words that are markup, if
// somebody takes them for that.
const (
	bounceText = `<img src=x onerror=alert(1)><script>alert("bounce")</script>`
	fullAt     = "full@inbox.test"
	hostileAt  = "hostile@inbox.test"
	goneAt     = "gone@inbox.test"

	laterText      = `<svg onload=alert(1)><script>alert("later")</script>`
	hostileLaterAt = "hostile.later@inbox.test"
)

var exits []func()

// sharedWorld is one program for all tests: each has an account or people of its own.
var sharedWorld = sync.OnceValues(func() (*world, error) {
	dir, err := os.MkdirTemp("", "postern-browser-")
	if err != nil {
		return nil, err
	}
	exits = append(exits, func() { _ = os.RemoveAll(dir) })
	w := &world{bin: os.Getenv("POSTERN_BIN"), log: filepath.Join(dir, "log")}
	if w.bin == "" {
		w.bin = filepath.Join(dir, "postern")
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", w.bin, "./cmd/postern")
		build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	exits = append(exits, w.stop)
	return w, w.age(dir)
})

// age runs the program once to make the account, and its keys by the API, writes weeks
// of history into the store, and starts it again.
func (w *world) age(dir string) error {
	if err := w.start(dir, "Ctrl-C stops"); err != nil {
		return err
	}
	if err := w.makeKeys(); err != nil {
		return err
	}
	_, first, _ := strings.Cut(w.APIKey, ".")
	first, _, _ = strings.Cut(first, ".")
	w.stop()
	if err := writeHistory(context.Background(), w.DataDir, "acme", w.keys); err != nil {
		return fmt.Errorf("write a history: %w", err)
	}
	// The tour comes first: its logins and messages are what the pages have to show.
	if err := w.start(dir, "Ctrl-C stops"); err != nil {
		return err
	}
	return w.demand(http.MethodDelete, "/v3/api_keys/"+first, nil, http.StatusNoContent, nil) // each start makes one
}

// makeKeys makes the keys of those who have a history.
func (w *world) makeKeys() error {
	w.keys = map[string]apiKey{}
	for _, g := range programs() {
		k, err := w.makeKey(map[string]any{"name": g.name, "scopes": []string{"mail.send"}, "senders": []string{"acme.test"}, "networks": []string{"127.0.0.0/8", "203.0.113.0/24", "198.51.100.0/24", "2001:db8:7::/48"}, "per_hour": 2000})
		if err != nil {
			return err
		}
		w.keys[g.name] = k
	}
	return nil
}

// makeKey makes a key of the account whose key the world has.
func (w *world) makeKey(body map[string]any) (k apiKey, err error) {
	return k, w.demand(http.MethodPost, "/v3/api_keys", body, http.StatusCreated, &k)
}

// demand asks the HTTP API with the demo's key, where no test is yet.
func (w *world) demand(method, path string, body any, status int, out any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, w.url()+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.APIKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// stop ends the program, if it runs.
func (w *world) stop() {
	if w.cmd != nil && w.cmd.Process != nil {
		_ = w.cmd.Process.Signal(syscall.SIGTERM)
		<-w.end
		w.cmd = nil
	}
}

// start runs the program until it says that it is as far as words.
func (w *world) start(dir, words string) error {
	log, err := os.Create(w.log)
	if err != nil {
		return err
	}
	defer log.Close()
	file := filepath.Join(dir, "ready.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.end = make(chan struct{})
	w.cmd = exec.Command(w.bin, "demo", "--ready-file", file, "--dir", filepath.Join(dir, "data"),
		"--fault", "rcpt,to="+hostileAt+": 550 5.7.1 "+bounceText, "--fault", "rcpt,to="+hostileLaterAt+": 451 4.7.1 "+laterText,
		"--fault", "rcpt,to="+goneAt+": 550 5.1.1 No such user here", "--fault", "rcpt,to="+fullAt+": 452 4.2.2 The mailbox is full, try later")
	w.cmd.Stdout, w.cmd.Stderr = log, log
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nor does it outlive a run that is killed
	if err := w.cmd.Start(); err != nil {
		return err
	}
	go func(cmd *exec.Cmd, end chan struct{}) { _ = cmd.Wait(); close(end) }(w.cmd, w.end)
	for deadline := time.Now().Add(patience); ; {
		b, err := os.ReadFile(file)
		out, _ := os.ReadFile(w.log)
		if err == nil && bytes.Contains(out, []byte(words)) {
			return json.Unmarshal(b, w)
		}
		select {
		case <-w.end:
			return fmt.Errorf("the demo ended:\n%s", out)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the demo is not up:\n%s", out)
		}
	}
}

// theWorld starts the program, if there is a browser to look at it.
func theWorld(t testing.TB) *world {
	t.Helper()
	browser(t)
	w, err := sharedWorld()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) url() string { return "http://" + w.HTTP }

// operate runs a command of the operator, on the host, and reads its JSON into out.
func (w *world) operate(t testing.TB, out any, args ...string) {
	t.Helper()
	cmd := exec.Command(w.bin, append(args, "--data-dir", w.DataDir, "--json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err == nil && out != nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		t.Fatalf("postern %s: %v\n%s%s", strings.Join(args, " "), err, b, &stderr)
	}
}

// account makes an account.
func (w *world) account(t testing.TB, name string) string {
	t.Helper()
	w.operate(t, nil, "account", "add", name, "--owner", name+"@inbox.test")
	return name
}

// setup is the path of a set-up link for a new owner.
func (w *world) setup(t testing.TB, account, email string) string {
	t.Helper()
	var made struct {
		URL string `json:"url"`
	}
	w.operate(t, &made, "user", "setup", email, "--account", account)
	return w.path(t, made.URL)
}

// path is what a link of the program leads to, which is on its own origin.
func (w *world) path(t testing.TB, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Scheme+"://"+u.Host != w.url() {
		t.Fatalf("the link %q is not below %s (%v)", link, w.url(), err)
	}
	return u.Path
}

// publish does what the owner of a domain does at their DNS host.
func (w *world) publish(t testing.TB, name, kind string, values ...string) {
	t.Helper()
	b, _ := json.Marshal(map[string]any{"name": name, "type": kind, "values": values})
	resp, err := http.Post(w.url()+"/demo/dns", "application/json", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("publish %s %s %q: %s", name, kind, values, resp.Status)
	}
}

// letter is a message that arrived.
type letter struct {
	RcptTo []string `json:"rcpt_to"`
	Raw    []byte   `json:"raw"`
	DMARC  string   `json:"dmarc"`
}

// arrived waits for a letter to an address with some words in it.
func (w *world) arrived(t testing.TB, to, words string) letter {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get(w.url() + "/demo/inbox")
		if err != nil {
			t.Fatal(err)
		}
		var all []letter
		err = json.NewDecoder(resp.Body).Decode(&all)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range slices.Backward(all) {
			if slices.Contains(l.RcptTo, to) && bytes.Contains(l.Raw, []byte(words)) {
				return l
			}
		}
	}
	t.Fatalf("no letter to %s with %q has arrived", to, words)
	return letter{}
}

// person is somebody who uses the console.
type person struct {
	name, email string
	secret      []byte // of the authenticator app
	step        int64  // of the last code that was used
	codes       []string
}

const password = "a heron under seven gates"

// code is what the person's app shows, or what it will show next where this one was
// used: a code is good once.
func (p *person) code() string {
	now := totp.Step(time.Now())
	for p.step > now { // two ahead is refused
		time.Sleep(time.Second)
		now = totp.Step(time.Now())
	}
	p.step = max(now, p.step+1)
	return totp.Code(p.secret, p.step)
}

// wrongCode is one that is not right now.
func (p *person) wrongCode() string {
	step := totp.Step(time.Now())
	for i := range 10 {
		c := strings.Repeat(fmt.Sprint(i), totp.Digits)
		if !slices.ContainsFunc([]int64{-2, -1, 0, 1, 2}, func(d int64) bool { return totp.Code(p.secret, step+d) == c }) {
			return c
		}
	}
	return ""
}

// join becomes a person by a link of a set-up or an invitation: password, app,
// recovery codes.
func (b *tab) join(link, name, email string) *person {
	b.t.Helper()
	return b.joinAs(link, name, email, strings.ToUpper(name[:1])+name[1:], "Smith")
}

// joinAs is join with a first and last name.
func (b *tab) joinAs(link, name, email, first, last string) *person {
	b.t.Helper()
	b.visit(link)
	b.fill("#f-first_name", first)
	b.fill("#f-last_name", last)
	b.fill("#f-username", name)
	b.fill("#f-password", password)
	b.press("Go on")
	b.arrives("/welcome")
	p := &person{name: name, email: email}
	b.enrol(p)
	b.press("I have saved them")
	b.sees("h1", "Get going")
	return p
}

// enrol sets an authenticator app up: what the page shows is typed into it.
func (b *tab) enrol(p *person) {
	b.t.Helper()
	b.press("Use an app")
	b.sees("h1", "authenticator app")
	text := strings.ReplaceAll(script[string](b, `document.querySelector("#totp-secret").textContent.trim()`), " ", "")
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil {
		b.t.Fatalf("the secret %q: %v", text, err)
	}
	p.secret = secret
	b.fill("#f-code", p.code())
	b.press("Check the code")
	b.sees("h1", "Your recovery codes")
	p.codes = script[[]string](b, `[...document.querySelectorAll("#codes .code")].map((e) => e.textContent.trim())`)
	if len(p.codes) != 10 {
		b.t.Fatalf("%d recovery codes", len(p.codes))
	}
}

// owner opens a browser in which a new owner of an account is logged in.
func (w *world) owner(t testing.TB, account, name string) (*tab, *person) {
	t.Helper()
	b := open(t, w.url())
	email := name + "@inbox.test"
	p := b.join(w.setup(t, account, email), name, email)
	return b, p
}

// login logs in with password and code.
func (b *tab) login(p *person) {
	b.t.Helper()
	b.visit("/login")
	b.fill("#f-username", p.name)
	b.fill("#f-password", password+"\r")
	b.arrives("/login/factor")
	b.fill("#f-code", p.code()+"\r")
	b.until(`!location.pathname.startsWith("/login")`)
}

// linkIn is the path of the link in a letter that has a part.
func (w *world) linkIn(t testing.TB, l letter, part string) string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(l.Raw))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(string(text)) {
		if strings.HasPrefix(word, w.url()+part) {
			return w.path(t, word)
		}
	}
	t.Fatalf("no link with %s in\n%s", part, text)
	return ""
}
