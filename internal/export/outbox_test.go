package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// choosy is a target that refuses some records, and sometimes everything.
type choosy struct {
	refuse   func(*Record) int // with which status; 0: not
	part     bool              // it takes the others of a request, and says 200
	fail     func() error      // instead of an answer
	got      map[string]int
	requests int
}

func (c *choosy) Send(_ context.Context, records []Record) (int, error) {
	c.requests++
	if c.fail != nil {
		if err := c.fail(); err != nil {
			return 0, err
		}
	}
	var no *Refusal
	for i := range records {
		if s := c.refuse(&records[i]); s != 0 {
			no = &Refusal{Records: len(records), Status: s, Judged: judged(s)}
		}
	}
	for i := range records {
		if no == nil || c.part && c.refuse(&records[i]) == 0 {
			c.got[records[i].ID]++
		}
	}
	if no == nil {
		return len(records), nil
	}
	if c.part {
		no.Status, no.Judged = http.StatusOK, true
	}
	return 0, no
}

func (*choosy) Close() error { return nil }

// choose is an outbox with a target that refuses the records whose ids are named.
func choose(status int, ids ...string) (*outbox, *choosy, *bytes.Buffer) {
	c := &choosy{got: map[string]int{}}
	c.refuse = func(r *Record) int {
		for _, id := range ids {
			if r.ID == id {
				return status
			}
		}
		return 0
	}
	var text bytes.Buffer
	o := newOutbox(&Exporter{Name: "siem", Target: c, Logger: slog.New(slog.NewTextHandler(&text, nil))})
	return o, c, &text
}

func run(stream Stream, from, to int) (all []Record) {
	for i := from; i < to; i++ {
		all = append(all, Record{Stream: stream, ID: fmt.Sprintf("%s-%d", stream, i), Body: []byte("{}")})
	}
	return all
}

// once checks that a target has each of the records once, but for those left out.
func (c *choosy) once(t *testing.T, records []Record, out ...string) {
	t.Helper()
	for i := range records {
		want := 1
		for _, id := range out {
			if records[i].ID == id {
				want = 0
			}
		}
		if n := c.got[records[i].ID]; n != want {
			t.Errorf("%s arrived %d times, want %d", records[i].ID, n, want)
		}
	}
}

// A record that the target refuses for good is left out alone, wherever it stands: all
// others arrive, once each, and the log and the count say which does not.
func TestRefusedRecordHoldsUpNothing(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]string{
		"the first":   {"events-0"},
		"in between":  {"events-137", "events-138", "events-400"},
		"the last":    {"events-499", "events-3"},
		"many in one": idsOf("events", 0, 60),
	} {
		for _, status := range []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge} {
			o, c, text := choose(status, bad...)
			out := 0
			o.leftOut = func(s Stream) {
				if out++; s != Events {
					t.Errorf("%s: of stream %s", name, s)
				}
			}
			all := run(Events, 0, batch)
			var err error
			for range 10 {
				if _, err = o.deliver(t.Context(), all); err == nil {
					break
				}
			}
			more := run(Events, batch, 2*batch) // what comes later shows that the target takes others than the last
			if err != nil {
				if _, err = o.deliver(t.Context(), append(all, more...)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			c.once(t, all, bad...)
			if out != len(bad) {
				t.Errorf("%s, %d: %d records were left out, want %d", name, status, out, len(bad))
			}
			for _, id := range bad {
				if !strings.Contains(text.String(), "id="+id+" ") {
					t.Errorf("%s: the log does not name %s", name, id)
				}
			}
			if len(o.suspects)+len(o.taken) != 0 {
				t.Errorf("%s: it remembers %d suspects and %d records", name, len(o.suspects), len(o.taken))
			}
			if len(bad) < 4 && c.requests > 100 {
				t.Errorf("%s: %d requests", name, c.requests)
			}
		}
	}
}

func idsOf(stream Stream, from, to int) (ids []string) {
	for _, r := range run(stream, from, to) {
		ids = append(ids, r.ID)
	}
	return ids
}

// A target that refuses everything, such as one whose address or password is wrong,
// loses nothing however long that lasts, is not flooded with requests, and gets all of
// it once it is mended.
func TestWhatRefusesEverythingGetsEverythingLater(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusInternalServerError} {
		o, c, text := choose(status)
		takes := c.refuse
		c.refuse = func(*Record) int { return status }
		o.leftOut = func(Stream) { t.Errorf("%d: a record was left out", status) }
		all := run(Changes, 0, 120)
		for i := range 40 {
			before := c.requests
			lead, err := o.deliver(t.Context(), all)
			if err == nil || lead != 0 || !strings.Contains(err.Error(), "credentials") {
				t.Fatalf("%d: %d, %v", status, lead, err)
			}
			if n := c.requests - before; n > 4*fruitless {
				t.Errorf("%d: %d requests in round %d", status, n, i)
			}
		}
		c.refuse = takes
		for i := 0; ; i++ {
			if _, err := o.deliver(t.Context(), all); err == nil {
				break
			} else if i == 5 {
				t.Fatal(err)
			}
		}
		c.once(t, all)
		if strings.Contains(text.String(), "left out") {
			t.Error(text)
		}
	}
}

// One record by itself proves nothing about the target: it waits until another one is
// taken, of whichever stream.
func TestLoneRefusedRecordWaitsForAnother(t *testing.T) {
	t.Parallel()
	for _, other := range []Stream{Events, Logins} {
		o, c, _ := choose(http.StatusBadRequest, "events-0")
		out := 0
		o.leftOut = func(Stream) { out++ }
		one := run(Events, 0, 1)
		for range 20 {
			if _, err := o.deliver(t.Context(), one); err == nil {
				t.Fatal("it was left out, and nothing says that the target is right")
			}
		}
		if other == Events {
			one = run(Events, 0, 2)
		} else if _, err := o.deliver(t.Context(), run(other, 0, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := o.deliver(t.Context(), one); err != nil || out != 1 {
			t.Errorf("%s: %d left out, %v", other, out, err)
		}
		c.once(t, one, "events-0")
	}
}

// What a target took some time ago says nothing about how it is now.
func TestOldProofDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, c, _ := choose(http.StatusBadRequest, "events-0")
		o.leftOut = func(Stream) { t.Error("a record was left out") }
		one := run(Events, 0, 1)
		if _, err := o.deliver(t.Context(), one); err == nil {
			t.Fatal("no error")
		}
		if _, err := o.deliver(t.Context(), run(Logins, 0, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(patience)
		c.refuse = func(*Record) int { return http.StatusBadRequest } // it is broken by now
		for range 20 {
			if _, err := o.deliver(t.Context(), one); err == nil {
				t.Error("no error")
			}
		}
	})
}

// An answer that may be about something else than the record is heard for a minute
// before the record is left out; one that is taken meanwhile arrives.
func TestDoubtfulRefusalIsHeardForAMinute(t *testing.T) {
	t.Parallel()
	for _, mended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o, c, _ := choose(http.StatusForbidden, "events-1")
			out, begin := 0, time.Now()
			o.leftOut = func(Stream) { out++ }
			all := run(Events, 0, 20)
			for {
				_, err := o.deliver(t.Context(), all)
				took := time.Since(begin)
				if err == nil {
					if !mended && took < patience {
						t.Errorf("left out after %s", took)
					}
					break
				}
				if took > 2*patience {
					t.Fatal(err)
				}
				if mended && took > patience/2 {
					c.refuse = func(*Record) int { return 0 }
				}
				time.Sleep(7 * time.Second)
				all = append(all, run(Events, len(all), len(all)+1)...) // others go on
			}
			if mended {
				c.once(t, all)
			} else {
				c.once(t, all, "events-1")
			}
			if (out == 1) == mended {
				t.Errorf("%d left out", out)
			}
		})
	}
}

// What a target has of a batch is not sent again after a failure.
func TestFailureSendsOnlyTheRest(t *testing.T) {
	t.Parallel()
	o, c, _ := choose(http.StatusBadRequest, "logins-5", "logins-300")
	out := 0
	o.leftOut = func(Stream) { out++ }
	rnd := rand.New(rand.NewPCG(1, 2))
	c.fail = func() error {
		if rnd.IntN(3) == 0 {
			return &Later{Err: errors.New("no room")}
		}
		return nil
	}
	all := run(Logins, 0, batch)
	last := 0
	for i := 0; ; i++ {
		lead, err := o.deliver(t.Context(), all)
		if lead < last {
			t.Errorf("it had %d from the first on, and has %d", last, lead)
		}
		if last = lead; err == nil {
			break
		}
		if i == 500 {
			t.Fatal(err)
		}
	}
	c.once(t, all, "logins-5", "logins-300")
	if out != 2 {
		t.Errorf("%d left out", out)
	}
}

// A target that takes a part of a request, and does not say which, gets the rest by
// being asked in parts.
func TestPartOfARequest(t *testing.T) {
	t.Parallel()
	o, c, _ := choose(http.StatusBadRequest, "events-7", "events-8")
	c.part = true
	out := 0
	o.leftOut = func(Stream) { out++ }
	all := run(Events, 0, 100)
	if _, err := o.deliver(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if n := c.got[r.ID]; (n == 0) != (r.ID == "events-7" || r.ID == "events-8") || n > 10 {
			t.Errorf("%s arrived %d times", r.ID, n)
		}
	}
	if out != 2 {
		t.Errorf("%d left out", out)
	}
}

// A record that is too large for a target goes without its body.
func TestTooLargeGoesBare(t *testing.T) {
	t.Parallel()
	o, c, text := choose(0)
	c.refuse = func(r *Record) int {
		if len(r.Body) > 1000 {
			return http.StatusRequestEntityTooLarge
		}
		return 0
	}
	all := run(Events, 0, 9)
	all[4].Body = bytes.Repeat([]byte("x"), 5000)
	if _, err := o.deliver(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	c.once(t, all)
	if !strings.Contains(text.String(), "id=events-4") {
		t.Errorf("the log says %q", text)
	}
}

// What a target asks for with Retry-After is kept, up to an hour.
func TestRetryAfterIsObeyed(t *testing.T) {
	t.Parallel()
	for asked, want := range map[time.Duration]time.Duration{0: 0, 40 * time.Second: 40 * time.Second, 90 * 24 * time.Hour: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			o, c, _ := choose(0)
			c.fail = func() error { return &Later{After: asked, Err: errors.New("not now")} }
			all := run(Events, 0, 3)
			if _, err := o.deliver(t.Context(), all); err == nil {
				t.Fatal("no error")
			}
			c.fail = nil
			begin := time.Now()
			for {
				ctx, cancel := context.WithTimeout(t.Context(), sendFor)
				_, err := o.deliver(ctx, all)
				cancel()
				if err == nil {
					break
				}
				if c.requests != 1 {
					t.Fatal("it was asked before")
				}
				time.Sleep(time.Second)
			}
			if took := time.Since(begin); took < want || took > want+2*time.Second {
				t.Errorf("asked to wait for %s, it waited for %s", asked, took)
			}
		})
	}
}

// Behind one address there may be two servers, one of which refuses everything: what
// the other takes is not left out for that.
func TestOneOfTwoServersRefusesEverything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			o, c, _ := choose(0)
			rnd := rand.New(rand.NewPCG(seed, 7))
			status, refuses := http.StatusBadRequest, false
			c.refuse = func(*Record) int {
				if refuses {
					return status
				}
				return 0
			}
			c.fail = func() error { refuses = rnd.IntN(2) == 0; return nil }
			out := 0
			o.leftOut = func(Stream) { out++ }
			for i := range 4 {
				all := run(Events, i*100, i*100+100)
				for {
					if _, err := o.deliver(t.Context(), all); err == nil {
						break
					}
					time.Sleep(time.Second)
				}
				if out == 0 {
					c.once(t, all)
				}
			}
			if out > 0 {
				t.Errorf("seed %d: %d left out", seed, out)
			}
		})
	}
}
