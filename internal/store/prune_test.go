package store

import (
	"context"
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
