package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// TestBacklogs: each consumer is behind by what it has not read, as the database has
// it; the watch only by what is older than it waits.
func TestBacklogs(t *testing.T) {
	t.Parallel()
	s := opened(t, nil)
	ctx, now := t.Context(), time.Now().UTC().Truncate(time.Microsecond)
	old := now.Add(-time.Hour)
	for i := range 3 {
		s.RecordEvent(relay.Event{Kind: relay.EventAlert, N: -1, At: old.Add(time.Duration(i) * time.Minute)})
	}
	s.RecordLogin(relay.Login{At: old, Result: relay.LoginWrong, Addr: netip.MustParseAddr("192.0.2.1")})
	until(t, "the records are there", func() bool {
		e, err1 := s.EventsBehind(ctx, store.Cursor{})
		l, err2 := s.LoginsBehind(ctx, store.Cursor{}, now)
		return err1 == nil && err2 == nil && e.Records == 3 && l.Records == 1
	})
	events, _, err := s.ReadEvents(ctx, store.Cursor{}, 10)
	if err != nil || len(events) != 3 {
		t.Fatal(len(events), err)
	}
	_, two, err := s.ReadEvents(ctx, store.Cursor{}, 2)
	if err != nil {
		t.Fatal(err)
	}
	_, end, err := s.ReadEvents(ctx, store.Cursor{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]store.Cursor{store.ExportConsumer("siem", "events"): two, store.IndexConsumer: end, store.WatchEventsAhead: {}, "unknown": {}} {
		if err := s.SetConsumer(ctx, name, c); err != nil {
			t.Fatal(err)
		}
	}
	check := func(now time.Time, want ...string) {
		t.Helper()
		all, err := Backlogs(ctx, s, now)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range all {
			since := ""
			if b.Records > 0 {
				since = " since " + b.Oldest.Sub(old).String()
			}
			got = append(got, fmt.Sprint(b.Consumer, "/", b.Stream, " ", b.Records, since, " ", b.MovedAt.IsZero()))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
	check(now, "index/events 0 false", "counts/logins 1 since 0s true", "watch/events 3 since 0s true", "watch/logins 1 since 0s true", "export siem/events 1 since 2m0s false")
	check(old.Add(watchWaits-time.Second), "index/events 0 false", "counts/logins 1 since 0s true", "watch/events 0 true", "watch/logins 1 since 0s true", "export siem/events 1 since 2m0s false")
	watch, err := WatchBacklogs(ctx, s, now)
	if err != nil || len(watch) != 2 || watch[0].Records != 3 || watch[1].Records != 1 || watch[0].Consumer != NameWatch {
		t.Errorf("%+v %v", watch, err)
	}
}

// TestStands: a day without taking anything, with something as old to take.
func TestStands(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(h float64) time.Time { return now.Add(-time.Duration(h * float64(time.Hour))) }
	for name, c := range map[string]struct {
		b    Backlog
		want bool
	}{
		"a day":                    {Backlog{Records: 1, Oldest: ago(24), MovedAt: ago(24)}, true},
		"it never took anything":   {Backlog{Records: 1, Oldest: ago(30)}, true},
		"nothing to take":          {Backlog{MovedAt: ago(400)}, false},
		"what there is came today": {Backlog{Records: 9, Oldest: ago(23.9), MovedAt: ago(400)}, false},
		"it catches up":            {Backlog{Records: 9e6, Oldest: ago(400), MovedAt: ago(1)}, false},
	} {
		if got := c.b.Stands(now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestFollowerLagOfAnotherNode: a node that lost its lease says no more that it is
// behind, nor why it failed.
func TestFollowerLagOfAnotherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{end: 30}
		var lags, failures []string
		f := &Follower[int]{Name: "x", Log: l, Read: l.read, Logger: slog.New(slog.DiscardHandler),
			Apply: func(context.Context, []int, store.Cursor) error {
				return errors.New("down")
			},
			Behind: func(context.Context, store.Cursor) (store.Behind, error) {
				return store.Behind{Records: 30, Oldest: time.Now().Add(-time.Hour)}, nil
			},
			OnLag:     func(n int64, _ time.Duration) { lags = append(lags, fmt.Sprint(n)) },
			OnFailure: func(err error) { failures = append(failures, fmt.Sprint(err)) }}
		stop := started(t, f)
		l.after(time.Minute, func() {
			if lags[len(lags)-1] != "30" || fmt.Sprint(failures) != "[down]" {
				t.Errorf("while it has the lease: %v %v", lags, failures)
			}
			l.other = true
		})
		time.Sleep(2 * time.Minute)
		stop()
		if lags[len(lags)-1] != "0" || fmt.Sprint(failures) != "[down <nil>]" {
			t.Errorf("while another has it: %v %v", lags, failures)
		}
	})
}
