package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
)

// A notice is shown as our words, so only we write one: another program of the same
// host can set the cookie, too.
func TestForgedNotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	// The body is of the console's own making, so that only the signature can be wrong.
	rec := httptest.NewRecorder()
	w.console.setFlash(rec, request("GET", "/sample", nil), "Call 555-0100 to keep your account.")
	value := rec.Result().Cookies()[0].Value
	body := value[:strings.LastIndexByte(value, '.')]
	w.cookies["postern-notice"] = value
	w.get("/sample").shows("[role=status]", "Call 555-0100")
	good := w.console.mac(body)
	other := *w.console
	other.Key = []byte("the key of another installation")
	for name, mac := range map[string]string{"none": "", "another key": other.mac(body), "of another text": w.console.mac(body + "x"), "cut": good[:len(good)-1], "a later end": w.console.mac("1" + body)} {
		w.cookies["postern-notice"] = body + "." + mac
		if r := w.get("/sample").want(200); strings.Contains(r.body, "555-0100") {
			t.Errorf("signature %s: it is shown", name)
		}
	}
}

// WB-09: a live page of a subuser ends when its reader may not see that subuser any
// more, though they are logged in and keep their role.
func TestTailEndsWithSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t, tailPages(&n))
		shop, other := relay.SubuserID{ID: relay.NewID(clock)}, relay.SubuserID{ID: relay.NewID(clock.Add(time.Second))}
		w.tenants.subs["shop"], w.tenants.subs["other"] = shop, other
		u := &w.visit().User
		u.Role, u.Restricted, u.Subusers = relay.RoleAuditor, true, []relay.SubuserID{shop}
		ctx, cancel := context.WithCancel(t.Context())
		rec := httptest.NewRecorder()
		r := request("GET", "/as/shop/tail", nil).WithContext(ctx)
		r.AddCookie(&http.Cookie{Name: "postern", Value: "token"})
		done := make(chan struct{})
		go func() { w.handler.ServeHTTP(rec, r); close(done) }()
		time.Sleep(livePoll + time.Second) // of the bubble
		synctest.Wait()
		w.people.mu.Lock()
		u.Subusers = []relay.SubuserID{other}
		n++
		w.people.mu.Unlock()
		time.Sleep(3 * livePoll)
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("the stream goes on")
		}
		cancel()
		<-done
		if body := rec.Body.String(); !strings.Contains(body, "event: over") || strings.Contains(body, "news") {
			t.Errorf("%d %q", rec.Code, body)
		}
	})
}

// However many people look, the streams of all have a bound; one that ends makes room.
func TestTailsOfAllAreBounded(t *testing.T) {
	t.Parallel()
	l := newLives()
	user := func(n int) relay.UserID { return relay.UserID{ID: relay.ID{1, byte(n >> 8), byte(n)}} }
	for i := range livesAtAll {
		if !l.take(user(i)) {
			t.Fatalf("the %d. is refused", i+1)
		}
	}
	if l.take(user(livesAtAll)) {
		t.Error("one too many")
	}
	l.give(user(0))
	if !l.take(user(livesAtAll)) || len(l.users) != livesAtAll {
		t.Errorf("no room was made, or %d people are remembered", len(l.users))
	}
}
