package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
)

// history is a Source: records numbered from 1; a cursor is the last number read.
type history struct {
	n   map[Stream]int
	err error
}

func (h *history) Read(_ context.Context, s Stream, cursor string, limit int) ([]Record, string, error) {
	if h.err != nil {
		return nil, cursor, h.err
	}
	at, _ := strconv.Atoi(cursor)
	var out []Record
	for i := at + 1; i <= h.n[s] && len(out) < limit; i++ {
		out = append(out, Record{Stream: s, ID: fmt.Sprintf("%s-%d", s, i), At: time.Now(), Name: "x", Text: "y", Body: []byte("{}")})
	}
	if len(out) == 0 {
		return nil, cursor, nil
	}
	return out, strconv.Itoa(at + len(out)), nil
}

func (h *history) End(_ context.Context, s Stream) (string, error) {
	return strconv.Itoa(h.n[s]), h.err
}

// kept is a Cursors in memory that outlives an Exporter, as the store does.
type kept struct {
	at    map[string]string
	other bool  // another node has the lease
	err   error // of Keep
}

func (k *kept) Load(_ context.Context, name string) (string, bool, error) {
	c, ok := k.at[name]
	return c, ok, nil
}

func (k *kept) Keep(_ context.Context, name, cursor string) error {
	if k.err != nil {
		return k.err
	}
	k.at[name] = cursor
	return nil
}

func (k *kept) Lease(context.Context, string, time.Duration) (bool, error) { return !k.other, nil }

// target is one that may be down.
type target struct {
	got    map[string]int
	err    error
	closed bool
}

func (t *target) Send(_ context.Context, records []Record) error {
	if t.err != nil {
		return t.err
	}
	for _, r := range records {
		t.got[r.ID]++
	}
	return nil
}

func (t *target) Close() error { t.closed = true; return nil }

func world(all bool) (*Exporter, *history, *kept, *target) {
	h := &history{n: map[Stream]int{Logins: 3, Events: 1200}}
	k := &kept{at: map[string]string{}}
	t := &target{got: map[string]int{}}
	return New(Config{Name: "siem", Streams: Streams, Source: h, Cursors: k, Target: t, All: all}), h, k, t
}

// drain steps until there is nothing more.
func drain(t *testing.T, e *Exporter) {
	t.Helper()
	for {
		n, err := e.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func wantAll(t *testing.T, got map[string]int, n map[Stream]int) {
	t.Helper()
	want := map[string]int{}
	for s, k := range n {
		for i := range k {
			want[fmt.Sprintf("%s-%d", s, i+1)] = 1
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d records arrived, want %d, each once", len(got), len(want))
	}
}

func TestAllOfItOnce(t *testing.T) {
	t.Parallel()
	e, h, _, out := world(true)
	drain(t, e)
	wantAll(t, out.got, h.n)
	h.n[Logins], h.n[Changes] = 5, 1
	drain(t, e)
	wantAll(t, out.got, h.n)
}

// A new target begins with now, unless it is to have everything; and from its
// first look on it misses nothing, even where it is down at once.
func TestBeginsWithNow(t *testing.T) {
	t.Parallel()
	e, h, _, out := world(false)
	out.err = errors.New("down")
	if _, err := e.Step(t.Context()); err != nil {
		t.Fatal(err) // nothing to send yet
	}
	h.n[Events]++
	if _, err := e.Step(t.Context()); err == nil {
		t.Fatal("a target that is down was not noticed")
	}
	out.err = nil
	drain(t, e)
	if len(out.got) != 1 || out.got["events-1201"] != 1 {
		t.Errorf("got %v", out.got)
	}
}

// Nothing is lost while the target is down, and one stream's trouble with the
// history is not the others'.
func TestDownTargetGetsAllLater(t *testing.T) {
	t.Parallel()
	e, h, k, out := world(true)
	out.err = errors.New("down")
	var lag time.Duration
	e.cfg.Lag = func(_ string, d time.Duration) { lag = d }
	e.cfg.Now = func() time.Time { return time.Now().Add(time.Minute) }
	for range 5 {
		if _, err := e.Step(t.Context()); err == nil {
			t.Fatal("no error")
		}
		h.n[Changes]++
	}
	if lag < 50*time.Second {
		t.Errorf("lag %s", lag)
	}
	// Another process goes on where this one was.
	again := New(Config{Name: "siem", Streams: Streams, Source: h, Cursors: k, Target: out, All: true, Lag: e.cfg.Lag})
	out.err = nil
	drain(t, again)
	wantAll(t, out.got, h.n)
	if lag != 0 {
		t.Errorf("lag %s when all is sent", lag)
	}
}

// A cursor that was not kept sends again, with the same ids.
func TestSentAgainAfterACrash(t *testing.T) {
	t.Parallel()
	e, _, k, out := world(true)
	e.cfg.Streams = []Stream{Logins}
	k.at["export/siem/logins"] = ""
	k.err = errors.New("the disk is gone")
	if _, err := e.Step(t.Context()); err == nil {
		t.Fatal("no error")
	}
	k.err = nil
	drain(t, e)
	if out.got["logins-1"] != 2 || len(out.got) != 3 {
		t.Errorf("got %v", out.got)
	}
}

func TestOneNodeServes(t *testing.T) {
	t.Parallel()
	e, _, k, out := world(true)
	k.other = true
	if n, err := e.Step(t.Context()); n != 0 || err != nil || len(out.got) != 0 {
		t.Errorf("%d, %v, %v", n, err, out.got)
	}
	k.other = false
	drain(t, e)
	if len(out.got) == 0 {
		t.Error("nothing was sent")
	}
}

// Run waits longer each time, and sends soon after the target is back.
func TestRunWaitsAndGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, h, _, out := world(true)
		out.err = errors.New("down")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		out.err = nil
		time.Sleep(lastWait + time.Second)
		wantAll(t, out.got, h.n)
		cancel()
		if err := <-done; err != nil || !out.closed {
			t.Errorf("Run = %v, closed %t", err, out.closed)
		}
	})
}

func TestRecordsSayWhat(t *testing.T) {
	t.Parallel()
	r, err := EventRecord(&relay.Event{Epoch: 3, Seq: 9, Kind: relay.EventBounced, Recipient: "ann@x.test", Data: []byte(`{"reply":"550 5.1.1 no\nsuch"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != "event-3-9" || r.Name != "mail.bounced" || r.Severity != Notice || r.Text != `bounced to="ann@x.test" reply="550 5.1.1 no\nsuch"` {
		t.Errorf("%+v", r)
	}
	r, err = EventRecord(&relay.Event{Kind: relay.EventAlert, Data: []byte(`{"alert":{"kind":"canary","text":"a canary was tried"}}`)})
	if err != nil || r.Name != "alert.canary" || r.Severity != Alert || r.Text != "a canary was tried" {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = EventRecord(&relay.Event{Epoch: 1, Seq: 2, Kind: relay.EventHeld, Data: []byte(`{`)})
	if err != nil || r.ID != "event-1-2" || r.Text != "held (the rest of the record is damaged)" || !json.Valid(r.Body) {
		t.Errorf("damaged data: %+v, %v", r, err)
	}
}
