package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestSettle: whatever a person does to come to another page, the next step of a test
// sees that page, however long it takes; what leads nowhere keeps no test waiting.
func TestSettle(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, body string) {
		time.Sleep(200 * time.Millisecond)
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>t</title><link rel="icon" href="data:image/png;base64,"><main>%s</main>`, body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		page(w, `<a href="/there">Link</a> <a href="#here">Anchor</a> <a href="/file" download>File</a>
			<form action="/there"><button>Get</button></form>
			<form action="/post" method="post"><input id="word" name="word"><button>Post</button></form>
			<button onclick="document.querySelector('main').append('done')">Nothing</button>
			<button onclick="location.href = '/there'">Script</button>
			<button onclick="document.body.append(Object.assign(document.createElement('iframe'), {src: '/there'}))">Frame</button>`)
	})
	mux.HandleFunc("GET /there", func(w http.ResponseWriter, r *http.Request) { page(w, "there") })
	mux.HandleFunc("POST /post", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(200 * time.Millisecond)
		http.Redirect(w, r, "/there", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Disposition", "attachment; filename=f.txt")
		fmt.Fprint(w, "text")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	b := open(t, s.URL)
	for _, scripts := range []bool{true, false} {
		b.scripts(scripts)
		for name, leave := range map[string]func(){
			"a link":             func() { b.press("Link") },
			"a mouse":            func() { b.click("a") },
			"a form":             func() { b.press("Get") },
			"a form by post":     func() { b.press("Post") },
			"the enter key":      func() { b.fill("#word", "a word\r") },
			"a script":           func() { b.press("Script") },
			"an anchor, a link":  func() { b.press("Anchor"); b.press("Link") },
			"nothing, a link":    func() { b.press("Nothing"); b.press("Link") },
			"a file, a link":     func() { b.press("File"); b.press("Link") },
			"a frame, then link": func() { b.press("Frame"); b.press("Link") },
		} {
			if !scripts && name == "a script" {
				continue
			}
			b.visit("/")
			leave()
			if at := b.at(); at != "/there" && at != "/there?" {
				t.Errorf("%s (scripts %v): the next step sees %s", name, scripts, at)
			}
		}
	}
}
