package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
)

// tailPages has one live page whose mark is *n.
func tailPages(n *int) page {
	return page{Method: "GET", Pattern: "/tail", Needs: []string{"GET /v3/sample"}, Handler: func(_ *Console, v *visit) error {
		return v.tail(func(context.Context) (string, error) { return strconv.Itoa(*n), nil })
	}}
}

// TestTail: WB-09: a stream says that there is news, carries nothing of it, and
// ends with its session, with the right to see it, and with the server.
func TestTail(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, n *int)
		want   string
	}{
		"news":             {func(_ *world, n *int) { *n++ }, "event: news"},
		"session ended":    {func(w *world, _ *int) { delete(w.people.visits, "token") }, "event: over"},
		"right taken away": {func(w *world, _ *int) { w.api.deny("GET /v3/sample") }, "event: over"},
		"not full any more": {func(w *world, _ *int) {
			w.visit().Session.Level = relay.SessionPassword
		}, "event: over"},
		"nothing": {func(*world, *int) {}, ": still here"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				w := newWorld(t, tailPages(&n))
				ctx, cancel := context.WithCancel(t.Context())
				rec := httptest.NewRecorder()
				r := request("GET", "/tail", nil).WithContext(ctx)
				r.AddCookie(&http.Cookie{Name: "postern", Value: "token"})
				done := make(chan struct{})
				go func() { w.handler.ServeHTTP(rec, r); close(done) }()
				time.Sleep(livePoll + time.Second) // of the bubble
				synctest.Wait()
				w.people.mu.Lock()
				c.change(w, &n)
				w.people.mu.Unlock()
				time.Sleep(8 * livePoll)
				synctest.Wait()
				cancel()
				<-done
				body := rec.Body.String()
				if rec.Header().Get("Content-Type") != "text/event-stream" || !strings.Contains(body, c.want) {
					t.Errorf("%s", body)
				}
				if strings.Contains(body, "news") != (name == "news") {
					t.Errorf("%s", body)
				}
			})
		})
	}
}

// TestTailBounds: one person has few streams, a stream ends by itself, and with
// the server; another site gets none.
func TestTailBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t, tailPages(&n))
		stop := make(chan struct{})
		w.console.Done = stop
		open := func() (*httptest.ResponseRecorder, chan struct{}) {
			rec, done := httptest.NewRecorder(), make(chan struct{})
			r := request("GET", "/tail", nil)
			r.AddCookie(&http.Cookie{Name: "postern", Value: "token"})
			go func() { w.handler.ServeHTTP(rec, r); close(done) }()
			synctest.Wait()
			return rec, done
		}
		var all []chan struct{}
		for range livesPerPerson {
			_, done := open()
			all = append(all, done)
		}
		if rec, done := open(); rec.Code != http.StatusTooManyRequests {
			t.Errorf("one too many: %d", rec.Code)
		} else {
			<-done
		}
		time.Sleep(liveSpan + time.Second)
		for _, done := range all {
			<-done
		}
		_, done := open()
		close(stop)
		<-done
		r := request("GET", "/tail", nil)
		r.Header.Set("Sec-Fetch-Site", "same-site")
		if rec := w.do(r); rec.Code != http.StatusForbidden {
			t.Errorf("from another site: %d", rec.Code)
		}
	})
}

// AC-12: a page that stays open keeps no session alive: neither by what its script
// loads nor by its stream. Who touches it does.
func TestOpenPagesKeepNoSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dest, present string
		idle          bool
	}{
		"a page that was opened":                   {"document", "", false},
		"one that its script loads again":          {"empty", "", true},
		"the same, by whom somebody touched":       {"empty", "1", false},
		"a client that does not say what it is at": {"", "", false},
	} {
		w := newWorld(t, page{Method: "GET", Pattern: "/sample", Needs: []string{"GET /v3/sample"}, Handler: func(*Console, *visit) error { return nil }})
		r := request("GET", "/sample", nil)
		r.AddCookie(&http.Cookie{Name: "postern", Value: "token"})
		r.Header.Set("Sec-Fetch-Dest", c.dest)
		r.Header.Set("Postern-Present", c.present)
		w.handler.ServeHTTP(httptest.NewRecorder(), r)
		if w.people.opened != 1 || (w.people.idle == 1) != c.idle {
			t.Errorf("%s: %d of %d asked with nobody there", name, w.people.idle, w.people.opened)
		}
	}
}

// The looks of a stream, after the first, are nobody's either.
func TestStreamsKeepNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t, tailPages(&n))
		ctx, cancel := context.WithCancel(t.Context())
		r := request("GET", "/tail", nil).WithContext(ctx)
		r.AddCookie(&http.Cookie{Name: "postern", Value: "token"})
		r.Header.Set("Postern-Present", "1")
		done := make(chan struct{})
		go func() { w.handler.ServeHTTP(httptest.NewRecorder(), r); close(done) }()
		time.Sleep(4*livePoll + time.Second)
		synctest.Wait()
		cancel()
		<-done
		if w.people.opened < 4 || w.people.idle != w.people.opened-1 {
			t.Errorf("%d of %d looks with nobody there", w.people.idle, w.people.opened)
		}
	})
}
