package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// Live pages. The server tells a page's script when there is something new
// (Server-Sent Events); the script then loads the page again and takes the marked
// part of it. So what is shown is always rendered by the page itself, and without
// scripts a link does the same. An event carries no content.
const (
	livesAtAll     = 200
	livesPerPerson = 5
	livePoll       = 2 * time.Second
	// liveSpan is how long one stream lasts; the browser comes back by itself.
	liveSpan = 10 * time.Minute
	// liveWrite is how long a slow reader may take for one event.
	liveWrite = 10 * time.Second
)

// lives counts streams.
type lives struct {
	mu    sync.Mutex
	all   int
	users map[relay.UserID]int
}

func newLives() *lives { return &lives{users: map[relay.UserID]int{}} }

func (l *lives) take(u relay.UserID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= livesAtAll || l.users[u] >= livesPerPerson {
		return false
	}
	l.all++
	l.users[u]++
	return true
}

func (l *lives) give(u relay.UserID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.users[u]--; l.users[u] == 0 {
		delete(l.users, u)
	}
}

// tail answers with events for as long as mark changes: mark returns a text that
// is another one when there is something new, such as the id of the latest record.
// Before each look the session and the page's needs are checked again (WB-09).
func (v *visit) tail(mark func(ctx context.Context) (string, error)) error {
	if v.R.Header.Get("Sec-Fetch-Site") != "" && v.R.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return httpx.Refuse(http.StatusForbidden, "This stream is for pages of this console.")
	}
	user := v.Open.User.ID
	if !v.live.take(user) {
		return relay.E(relay.RateLimited, "Too many live pages are open.")
	}
	defer v.live.give(user)
	ctx, cancel := context.WithTimeout(v.R.Context(), liveSpan)
	defer cancel()
	last, err := mark(ctx)
	if err != nil {
		return err
	}
	v.W.Header().Set("Content-Type", "text/event-stream")
	v.W.Header().Set("X-Accel-Buffering", "no") // a proxy must not hold events back
	if err := v.send("retry: 5000\n\n"); err != nil {
		return nil //nolint:nilerr // the reader has gone
	}
	tick := time.NewTicker(livePoll)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-v.Done:
			return nil
		case <-tick.C:
		}
		now, err := v.lookAgain(ctx, mark)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case relay.KindOf(err) == relay.Unauthenticated || errors.Is(err, errNotAllowed):
			_ = v.send("event: over\ndata: over\n\n")
			return nil
		case err != nil:
			return fmt.Errorf("tail %s: %w", v.page.Pattern, err)
		case now != last:
			last, err = now, v.send("event: news\ndata: news\n\n")
		case n%8 == 0:
			err = v.send(": still here\n\n")
		}
		if err != nil {
			return nil //nolint:nilerr // the reader has gone
		}
	}
}

var errNotAllowed = errors.New("not allowed any more")

func (v *visit) lookAgain(ctx context.Context, mark func(ctx context.Context) (string, error)) (string, error) {
	watching := v.visitor()
	watching.Passive = true
	open, err := v.People.Open(ctx, watching, v.token)
	if err != nil {
		return "", err
	}
	if v.Open = open; open.Session.Level != relay.SessionFull {
		return "", errNotAllowed
	}
	if v.Principal, err = v.People.Principal(ctx, open); err != nil {
		return "", err
	}
	if !v.may(v.scoped(), v.page.Needs) || v.Behalf != "" && !open.User.Sees(v.Tenant) {
		return "", errNotAllowed
	}
	return mark(ctx)
}

func (v *visit) send(text string) error {
	control := http.NewResponseController(v.W)
	if err := control.SetWriteDeadline(time.Now().Add(liveWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := v.W.Write([]byte(text)); err != nil {
		return err
	}
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
