package store

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

// What a target of exports has not taken is pruned only if that target is given up by
// its name; another one still keeps what it waits for. Other consumers, and what lies
// after the cut, keep nothing.
func TestPruneWaitsForExports(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		begin := time.Now().UTC().Truncate(time.Microsecond)
		var ticks atomic.Int64
		cfg.Now = func() time.Time { return begin.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
		s, w := recorded(t, cfg, 6)
		runTest(t, s)
		ctx := context.Background()
		all, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID})
		if err != nil || len(all) != 10 {
			t.Fatalf("%d changes, %v", len(all), err)
		}
		at := func(i int) Cursor { return Cursor{change: all[i].ID, sum: sumStart(all[i].Hash)} }
		set := func(name string, c Cursor) {
			t.Helper()
			if err := s.SetConsumer(ctx, name, c); err != nil {
				t.Fatal(err)
			}
		}
		cut := Prune{Account: w.account.ID, Before: all[6].At} // of the first six
		refused := func(step string, names ...string) {
			t.Helper()
			_, err := s.PruneChanges(ctx, testBy, cut)
			if relay.KindOf(err) != relay.Conflict {
				t.Fatalf("%s: %v", step, err)
			}
			for _, name := range append(names, "--unexported NAME") {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%s: no %q in %q", step, name, err)
				}
			}
		}
		set(ExportConsumer("idle", "logins"), Cursor{})
		set("changes", Cursor{}) // no export
		set(ExportConsumer("siem", "changes"), Cursor{})
		refused("a target at the beginning", "siem")
		set(ExportConsumer("siem", "changes"), at(4))
		set(ExportConsumer("archive", "changes"), at(2))
		refused("two that stand before the cut", "archive, siem")
		set(ExportConsumer("archive", "changes"), Cursor{change: all[9].ID, sum: "0123456789abcdef"}) // of a database that is gone: it begins anew
		set(ExportConsumer("siem", "changes"), at(5))
		refused("a cursor that is not this database's", "archive")
		set(ExportConsumer("archive", "changes"), at(9))
		if c, err := s.PruneChanges(ctx, testBy, cut); err != nil || c.Seq != 6 {
			t.Fatalf("all have it: %+v %v", c, err)
		}
		cut.Before = all[8].At
		refused("what comes next", "siem")
		set(ExportConsumer("old", "changes"), at(2))
		set(ExportConsumer("older", "changes"), Cursor{})
		cut.Unexported = []string{"old", "older"}
		refused("others are given up", "by the export siem,")
		for _, name := range []string{"sime", "idle", ""} {
			cut.Unexported = []string{"old", name}
			_, err := s.PruneChanges(ctx, testBy, cut)
			if relay.KindOf(err) != relay.Invalid || !strings.Contains(err.Error(), `"`+name+`"`) || !strings.Contains(err.Error(), "archive, old, older, siem.") {
				t.Errorf("no such target %q: %v", name, err)
			}
		}
		cut.Unexported = []string{"siem", "old", "older"}
		if c, err := s.PruneChanges(ctx, testBy, cut); err != nil || c.Seq != 8 {
			t.Errorf("all the same: %+v %v", c, err)
		}
		notes, err := s.Changes(ctx, ChangeFilter{Account: w.account.ID})
		if err != nil || len(notes) < 2 {
			t.Fatal(len(notes), err)
		}
		notes = notes[len(notes)-2:]
		if got := string(notes[0].After); strings.Contains(got, "unexported") || !strings.Contains(got, `"seq":6`) {
			t.Errorf("recorded where all had it: %s", got)
		}
		if got := string(notes[1].After); !strings.Contains(got, `"unexported":["old","older","siem"]`) || !strings.Contains(got, `"seq":8`) {
			t.Errorf("recorded where some never get it: %s", got)
		}
	})
}

// The time that login records are kept is not that of changes: those stay until
// somebody prunes them.
func TestRetentionLeavesChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var shift atomic.Int64
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
		s, w := recorded(t, cfg, 3)
		shift.Store(int64(5 * s.cfg.KeepLogins))
		s.clock.set(s.cfg.Now()) // as after a start
		if err := s.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p, err := s.VerifyChanges(t.Context(), w.account.ID); err != nil || p.From != 1 || p.Records != 7 {
			t.Errorf("%+v %v", p, err)
		}
	})
}

// Who holds a message outlives the time that events are kept: else those below them
// could release what they hold, once its day is dropped.
func TestRetentionLeavesWhoHolds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var shift atomic.Int64
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
		s := newTest(t, cfg)
		operator, account, own := By{Who: "uid 0", Rank: relay.RankOperator}, By{Who: "user boss"}, By{Who: "user ann", Restricted: true}
		var ids []relay.MessageID
		for _, by := range [][]By{{operator}, {account}, {account, operator}, {own}, {}, {operator}} {
			a := mail(t, s, 1, 0, false)
			a.Message.Subuser = relay.SubuserID{ID: relay.NewID(time.Now())}
			a.Message.State = relay.MessageHeld
			accept(t, s, a)
			for _, by := range by {
				if _, err := s.Hold(t.Context(), by, MessageFilter{IDs: []relay.MessageID{a.Message.ID}}, "abuse"); err != nil {
					t.Fatal(err)
				}
			}
			ids = append(ids, a.Message.ID)
		}
		if _, err := s.Release(t.Context(), operator, MessageFilter{IDs: ids[5:]}); err != nil {
			t.Fatal(err)
		}
		for range 3 { // and on, as long as they hold it
			shift.Add(int64(s.cfg.KeepEvents) + int64(49*time.Hour))
			s.clock.set(s.cfg.Now()) // as after a start
			for range 2 {
				if err := s.sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i, want := range []string{"operator", "account", "operator", "", "", ""} {
			var d relay.EventData
			e, err := s.LastHold(t.Context(), ids[i])
			if err == nil {
				err = json.Unmarshal(e.Data, &d)
			}
			if d.ByRank != want || (want == "") != (relay.KindOf(err) == relay.NotFound && err != nil) || want != "" && d.Reason != "abuse" {
				t.Errorf("message %d: %+v, %v", i, d, err)
			}
			if all, _ := s.MessageHistory(t.Context(), ids[i]); want != "" && len(all) != 1 {
				t.Errorf("message %d: %d events", i, len(all))
			}
		}
	})
}
