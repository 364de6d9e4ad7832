package export

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/store"
	"postern/internal/webhook"
)

// What each answer of a collector means (OTLP 1.x, "Failures"), and of a webhook.
func TestAnswers(t *testing.T) {
	t.Parallel()
	status, answer, wait := 0, "", ""
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", wait)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer web.Close()
	o := NewOTLP(OTLPConfig{URL: web.URL, Client: web.Client()})
	const plain, later, refused, surely = "plain", "later", "refused", "surely"
	kind := func(err error) string {
		var no *Refusal
		var l *Later
		switch {
		case errors.As(err, &no) && no.Records != 3:
			return "of another number of records"
		case errors.As(err, &no) && no.Judged:
			return surely
		case errors.As(err, &no):
			return refused
		case errors.As(err, &l) && l.After == 7*time.Second:
			return later
		case err != nil && l == nil:
			return plain
		}
		return "other"
	}
	wait = "7"
	for s, want := range map[int]string{
		400: surely, 413: surely, 422: surely, 403: refused, 406: refused, 409: refused, 431: refused, 500: refused, 507: refused, 599: refused,
		429: later, 502: later, 503: later, 504: later, 408: later,
		301: plain, 302: plain, 202: plain, 201: plain, 401: plain, 404: plain, 405: plain, 407: plain, 415: plain, 501: plain,
	} {
		status = s
		if _, err := o.Send(t.Context(), some(3, time.Now())); kind(err) != want {
			t.Errorf("a collector's %d is %s: %v", s, kind(err), err)
		}
	}
	status, answer = 200, `{"partialSuccess":{"rejectedLogRecords":"1"}}`
	if n, err := o.Send(t.Context(), some(3, time.Now())); kind(err) != surely || n != 0 {
		t.Errorf("a partial success: %d, %v", n, err)
	}
	p := &poster{got: map[string]int{}}
	h := &Hook{URL: "https://hooks.test/in", Secrets: make([][]byte, 2), Client: p}
	for s, want := range map[int]string{400: surely, 413: surely, 422: surely, 429: later, 503: later, 500: later, 403: later, 404: later, 410: later, 302: later} {
		p.fail = &webhook.Refused{Status: s, After: 7 * time.Second}
		if _, err := h.Send(t.Context(), some(3, time.Now())); kind(err) != want {
			t.Errorf("a webhook's %d is %s: %v", s, kind(err), err)
		}
	}
}

// judge is a collector that refuses requests with some records, one by id.
type judge struct {
	mu   sync.Mutex
	got  []string
	bad  func(id string) int
	down bool
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var in struct {
		ResourceLogs []struct {
			ScopeLogs []struct {
				LogRecords []struct {
					Attributes []otlpAttribute `json:"attributes"`
				} `json:"logRecords"`
			} `json:"scopeLogs"`
		} `json:"resourceLogs"`
	}
	err := json.NewDecoder(r.Body).Decode(&in)
	if err != nil || j.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var ids []string
	for _, l := range in.ResourceLogs[0].ScopeLogs[0].LogRecords {
		id := l.Attributes[0].Value.String
		if s := j.bad(id); s != 0 {
			w.WriteHeader(s)
			return
		}
		ids = append(ids, id)
	}
	j.got = append(j.got, ids...)
}

func (j *judge) has() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.got)
}

// A stream passes a record that its collector refuses for good: the cursor stands
// behind all of them, all others are there once, and one record is counted.
func TestStreamPassesARefusedRecord(t *testing.T) {
	t.Parallel()
	s := opened(t)
	change(t, s, 30)
	all, err := s.Changes(t.Context(), store.ChangeFilter{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ChangeRecord(&all[11])
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{bad: func(id string) int {
		if id == r.ID {
			return http.StatusBadRequest
		}
		return 0
	}}
	web := httptest.NewServer(j)
	defer web.Close()
	var text strings.Builder
	out := 0
	e := &Exporter{Name: "otel", Streams: []Stream{Changes}, Store: s, All: true, Logger: slog.New(slog.NewTextHandler(&text, nil)),
		Target: NewOTLP(OTLPConfig{URL: web.URL, Client: web.Client()}), OnLeftOut: func(target string, s Stream) {
			if out++; target != "otel" || s != Changes {
				t.Errorf("%s of %s", s, target)
			}
		}}
	stop := serve(t, e)
	eventually(t, "the stream stands still", func() bool {
		c, err := s.Consumer(t.Context(), "export/otel/changes")
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.ChangesBehind(t.Context(), c)
		return err == nil && b.Records == 0
	})
	stop()
	got := j.has()
	slices.Sort(got)
	if n := len(got); n != len(all)-1 || len(slices.Compact(got)) != n || slices.Contains(got, r.ID) {
		t.Errorf("%d records of %d arrived", n, len(all))
	}
	if out != 1 || !strings.Contains(text.String(), "id="+r.ID) {
		t.Errorf("%d left out, and the log says\n%s", out, &text)
	}
}

// slowly is a target that takes few records at a time, fails in between, and takes a
// while for each: what it took comes once, also over restarts that are no crashes.
func TestRestartSendsNothingTwice(t *testing.T) {
	t.Parallel()
	s := opened(t)
	change(t, s, 200)
	all, err := s.Changes(t.Context(), store.ChangeFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	out := &piecewise{got: map[string]int{}}
	for round := range 10 {
		stop := serve(t, &Exporter{Name: "slow", Streams: []Stream{Changes}, Target: out, Store: s, All: true, Logger: slog.New(slog.DiscardHandler)})
		before := out.count()
		eventually(t, "nothing arrives", func() bool { return out.count() > before+round%7 || out.count() == len(all) })
		eventually(t, "the cursor stands still", func() bool {
			c, err := s.Consumer(t.Context(), "export/slow/changes")
			if err != nil {
				t.Fatal(err)
			}
			return !c.IsZero()
		})
		stop()
	}
	stop := serve(t, &Exporter{Name: "slow", Streams: []Stream{Changes}, Target: out, Store: s, All: true, Logger: slog.New(slog.DiscardHandler)})
	eventually(t, "not all arrive", func() bool { return out.count() == len(all) })
	stop()
	for id, n := range out.got {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
}

// piecewise takes seven records of a batch, and fails; every third time it takes all.
type piecewise struct {
	mu    sync.Mutex
	got   map[string]int
	calls int
}

func (p *piecewise) Send(_ context.Context, records []Record) (int, error) {
	time.Sleep(time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	n := min(7, len(records))
	if p.calls%3 == 0 {
		n = min(40, len(records))
	}
	for _, r := range records[:n] {
		p.got[r.ID]++
	}
	if n < len(records) {
		return n, errors.New("not more than that")
	}
	return n, nil
}

func (*piecewise) Close() error { return nil }

func (p *piecewise) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got)
}
