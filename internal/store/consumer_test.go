package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// drain reads events to the end, limit at a time, and returns them with the
// cursor after each reading.
func drain(t testing.TB, s *Store, c Cursor, limit int) ([]relay.Event, Cursor) {
	t.Helper()
	var all []relay.Event
	for {
		events, next, err := s.ReadEvents(context.Background(), c, limit)
		if err != nil {
			t.Fatal(err)
		}
		// What is kept is the text.
		if c, err = ParseCursor(next.String()); err != nil {
			t.Fatalf("cursor %q: %v", next.String(), err)
		}
		if len(events) == 0 {
			return all, c
		}
		all = append(all, events...)
	}
}

// wantWhole checks that events are all of the log, each once, each epoch in order.
func wantWhole(t testing.TB, s *Store, got []relay.Event) {
	t.Helper()
	var want int
	for _, table := range s.tables(eventFamily, 0, endOfTime) {
		want += rows(t, s, table)
	}
	last := map[int64]int64{}
	for _, e := range got {
		if e.Seq != last[e.Epoch]+1 {
			t.Fatalf("epoch %d: event %d after %d", e.Epoch, e.Seq, last[e.Epoch])
		}
		last[e.Epoch] = e.Seq
	}
	if len(got) != want {
		t.Fatalf("read %d events of %d", len(got), want)
	}
}

// TestReadEventsOverRestarts: several runs of the process, some killed; a cursor
// that is kept goes on where it was, and one that begins reads all, at any page.
func TestReadEventsOverRestarts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var kept Cursor
		var read []relay.Event
		for run := range 5 {
			s, _ := openTest(t, cfg)
			stop := runTest(t, s)
			for range 7 {
				accept(t, s, mail(t, s, 1, 0, false))
			}
			var more []relay.Event
			if run%2 == 0 {
				more, kept = drain(t, s, kept, 3)
			}
			read = append(read, more...)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if run == 2 {
				cfg = killed(t, s, s.cfg)
			}
			if err := s.Close(); err != nil && run != 2 {
				t.Fatal(err)
			}
		}
		s := newTest(t, cfg)
		more, kept := drain(t, s, kept, 3)
		read = append(read, more...)
		wantWhole(t, s, read)
		for _, limit := range []int{1, 4, 1000} {
			all, c := drain(t, s, Cursor{}, limit)
			wantWhole(t, s, all)
			if c.String() != kept.String() {
				t.Errorf("limit %d ends at %s, the kept one at %s", limit, c, kept)
			}
		}
		if n := len(kept.spans); n > 1 {
			t.Errorf("five ended epochs take %d parts: %s", n, kept)
		}
	})
}

// TestReadEventsAcrossDays: an event lies in the day of its own time. One that
// commits later than its neighbours of the next day, or under a clock that was set
// back, is not passed over.
func TestReadEventsAcrossDays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		day, now := 24*time.Hour, time.Now()
		var read []relay.Event
		c := Cursor{}
		for i, back := range []time.Duration{0, day, 0, 5 * day, 9 * day, 0, -day, 3 * day, 3 * day, 0} {
			o := newOp("event")
			if err := s.appendEvents(o, []relay.Event{{At: now.Add(-back), Kind: relay.EventAlert, N: -1}}); err != nil {
				t.Fatal(err)
			}
			if err := s.w.do(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			if i%3 == 1 {
				var more []relay.Event
				more, c = drain(t, s, c, 2)
				read = append(read, more...)
			}
		}
		more, _ := drain(t, s, c, 2)
		wantWhole(t, s, append(read, more...))
		all, _ := drain(t, s, Cursor{}, 3)
		wantWhole(t, s, all)
	})
}

// TestReadEventsOfManyNodes: nodes commit at the same time while somebody reads;
// at the end each event was read once, and each node's in order.
func TestReadEventsOfManyNodes(t *testing.T) {
	t.Parallel()
	url := sharedPg(t).Database(t)
	nodes := []*Store{newTest(t, Config{URL: url, LeaseTime: time.Hour}), newTest(t, Config{URL: url, LeaseTime: time.Hour}), newTest(t, Config{URL: url, LeaseTime: time.Hour})}
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i, s := range nodes {
		wg.Go(func() {
			for range 40 + 10*i {
				if err := s.Accept(context.Background(), mail(t, s, 1, 0, false)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	var read []relay.Event
	c := Cursor{}
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		var more []relay.Event
		more, c = drain(t, nodes[0], c, 7)
		read = append(read, more...)
	}
	wantWhole(t, nodes[0], read)
	if b, err := nodes[1].EventsBehind(context.Background(), Cursor{}); err != nil || b.Records != int64(len(read)) || b.Oldest.IsZero() {
		t.Errorf("behind %+v, %v", b, err)
	}
	if b, err := nodes[1].EventsBehind(context.Background(), c); err != nil || b.Records != 0 || !b.Oldest.IsZero() {
		t.Errorf("at the end, behind %+v, %v", b, err)
	}
}

// TestReadEventsAfterRetention: days that were dropped are no obstacle.
func TestReadEventsAfterRetention(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		now := time.Now()
		for _, back := range []int{40, 40, 20, 1, 40, 0} {
			o := newOp("event")
			if err := s.appendEvents(o, []relay.Event{{At: now.AddDate(0, 0, -back), Kind: relay.EventAlert, N: -1}}); err != nil {
				t.Fatal(err)
			}
			if err := s.w.do(context.Background(), o); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.days.drop(context.Background(), s, eventFamily, now.AddDate(0, 0, -30).UnixMicro()); err != nil {
			t.Fatal(err)
		}
		all, _ := drain(t, s, Cursor{}, 1)
		var seqs []int64
		for _, e := range all {
			seqs = append(seqs, e.Seq)
		}
		if !slices.Equal(seqs, []int64{3, 4, 6}) {
			t.Errorf("read %v", seqs)
		}
		c, _ := ParseCursor(fmt.Sprintf("%d:1.%s", s.epoch, strconv.FormatInt(nodeStart(t, s), 36)))
		more, next, err := s.ReadEvents(context.Background(), c, 10)
		if err != nil || next.Missing(more) != 2 { // 2 and 5
			t.Errorf("%d are missing, %v", next.Missing(more), err)
		}
	})
}

func nodeStart(t testing.TB, s *Store) (at int64) {
	t.Helper()
	if err := s.db.QueryRow(`SELECT started_at FROM nodes WHERE epoch = $1`, s.epoch).Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at
}

// TestCursorOfARestoredDatabase: epochs of the restored one have the numbers of
// others that are lost. Nothing of them is taken for read.
func TestCursorOfARestoredDatabase(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: t.TempDir() + "/postern.db"}
	s, _ := openTest(t, cfg)
	stop := runTest(t, s)
	accept(t, s, mail(t, s, 1, 0, false))
	_ = stop()
	backup := killed(t, s, s.cfg)
	_ = s.Close()
	var c Cursor
	for range 3 { // goes on, and is lost
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		for range 5 {
			accept(t, s, mail(t, s, 1, 0, false))
		}
		_, c = drain(t, s, c, 10)
		_ = stop()
		_ = s.Close()
	}
	for range 4 {
		s, _ := openTest(t, backup)
		stop := runTest(t, s)
		accept(t, s, mail(t, s, 1, 0, false))
		_ = stop()
		_ = s.Close()
	}
	r := newTest(t, backup)
	all, _ := drain(t, r, c, 10)
	seen := map[int64]bool{}
	for _, e := range all {
		seen[e.Epoch] = true
	}
	for epoch := int64(2); epoch < r.epoch; epoch++ {
		if !seen[epoch] {
			t.Errorf("events of epoch %d were taken for read: %s", epoch, c)
		}
	}
}

// TestCursorText: what String writes is read again, and nothing else is.
func TestCursorText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "1-4.1f,5:77.2a,7.3", "9:0.0", "c12.00ff", "c1."} {
		if c, err := ParseCursor(text); err != nil || c.String() != text {
			t.Errorf("%q: %q, %v", text, c, err)
		}
	}
	for _, text := range []string{"0.1", "4-1.1", "1:x.1", "1:-1.1", "5.1,4.1", "1-4.1,4.1", "c", "c0.00", "c1.xx", "1", "01.1", "1.1,", "c1", "1:9999999999999.1", "-1.1"} {
		if c, err := ParseCursor(text); relay.KindOf(err) != relay.Invalid {
			t.Errorf("%q: %q, %v", text, c, err)
		}
	}
}

// TestCursorParts: finished epochs grow together, in any order.
func TestCursorParts(t *testing.T) {
	t.Parallel()
	var c Cursor
	for _, e := range []int64{3, 1, 5, 2, 9, 4} {
		c.set(e, 10, e)
		c.set(e, finished, e)
	}
	c.set(7, 3, 7)
	if got := c.String(); got != "1-5.5,7:3.7,9.9" {
		t.Error(got)
	}
	for epoch, want := range map[int64]int64{1: finished, 5: finished, 6: 0, 7: 3, 8: 0, 9: finished, 10: 0} {
		if got := c.at(epoch); got != want {
			t.Errorf("epoch %d: %d, want %d", epoch, got, want)
		}
	}
}

// TestReadLoginsSettled: a record whose count may still rise is not read, nor what
// comes after it.
func TestReadLoginsSettled(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		now := time.Now().UTC().Truncate(time.Microsecond)
		for i, back := range []time.Duration{5 * time.Minute, 3 * time.Minute, time.Second, 4 * time.Minute} {
			s.RecordLogin(relay.Login{At: now.Add(-back), Protocol: "smtp", Tried: fmt.Sprint(i), Result: relay.LoginOK})
		}
		s.RecordLogin(relay.Login{At: now.AddDate(9, 0, 0), Protocol: "smtp", Tried: "far", Result: relay.LoginOK}) // a clock that was wrong
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		read := func(c Cursor, settled time.Time) (string, Cursor) {
			logins, next, err := s.ReadLogins(context.Background(), c, settled, 10)
			if err != nil {
				t.Fatal(err)
			}
			tried := ""
			for _, l := range logins {
				tried += l.Tried
			}
			return tried, next
		}
		got, c := read(Cursor{}, now.Add(-LoginSettle))
		if got != "01" {
			t.Errorf("read %q", got)
		}
		if got, c = read(c, now.Add(-LoginSettle)); got != "" {
			t.Errorf("read %q again", got)
		}
		if got, _ = read(c, now); got != "23far" {
			t.Errorf("later, read %q", got)
		}
	})
}

// TestReadChanges reads all changes once, while nodes and accounts make them, and
// begins anew on a database that is not the cursor's.
func TestReadChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		stores := []*Store{s}
		if cfg.URL != "" {
			stores = append(stores, newTest(t, cfg))
		}
		w := newWorld(t, s)
		var wg sync.WaitGroup
		done := make(chan struct{})
		for i := range 6 {
			wg.Go(func() {
				for j := range 10 {
					c := relay.Change{Action: fmt.Sprintf("test.%d", i), Subject: fmt.Sprint(j)}
					if i%2 == 0 {
						c.Account = w.account.ID
					}
					if err := stores[i%len(stores)].RecordChange(ctx, By{Who: "t"}, c); err != nil {
						t.Error(err)
					}
				}
			})
		}
		go func() { wg.Wait(); close(done) }()
		var c Cursor
		seen := map[int64]bool{}
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true
			default:
			}
			for {
				changes, next, err := s.ReadChanges(ctx, c, 3)
				if err != nil {
					t.Fatal(err)
				}
				for _, ch := range changes {
					if seen[ch.ID] {
						t.Fatalf("change %d came twice", ch.ID)
					}
					seen[ch.ID] = true
				}
				if c, err = ParseCursor(next.String()); err != nil {
					t.Fatal(err)
				}
				if len(changes) == 0 {
					break
				}
			}
		}
		if n := rows(t, s, "changes"); len(seen) != n {
			t.Errorf("read %d changes of %d", len(seen), n)
		}
		for _, text := range []string{"c1.0000000000000000", "c99999999.0000000000000000"} {
			other, _ := ParseCursor(text)
			if changes, _, err := s.ReadChanges(ctx, other, 1); err != nil || len(changes) != 1 || changes[0].ID != 1 {
				t.Errorf("cursor %s of another database: %d changes, %v", text, len(changes), err)
			}
		}
	})
}

// TestConsumerRow: kept, moved on by whom it belongs to, and by nobody else.
func TestConsumerRow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s := newTest(t, cfg)
		if c, err := s.Consumer(ctx, "x"); err != nil || !c.IsZero() {
			t.Fatalf("unknown: %s, %v", c, err)
		}
		for range 2 {
			if ok, err := s.LeaseConsumer(ctx, "x", time.Hour); err != nil || !ok {
				t.Fatalf("lease: %v, %v", ok, err)
			}
		}
		accept(t, s, mail(t, s, 1, 0, false))
		_, c := drain(t, s, Cursor{}, 10)
		if err := s.SetConsumer(ctx, "x", c); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Consumer(ctx, "x"); err != nil || got.String() != c.String() || got.IsZero() {
			t.Fatalf("kept %s, %v; want %s", got, err, c)
		}
		if err := s.SetConsumer(ctx, "", c); relay.KindOf(err) != relay.Invalid {
			t.Errorf("without a name: %v", err)
		}
		if cfg.URL == "" {
			return
		}
		other := newTest(t, cfg)
		if ok, err := other.LeaseConsumer(ctx, "x", time.Hour); err != nil || ok {
			t.Fatalf("leased twice: %v", err)
		}
		if err := other.SetConsumer(ctx, "x", Cursor{}); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("moved by another node: %v", err)
		}
		if err := s.FreeConsumer(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		if ok, err := other.LeaseConsumer(ctx, "x", -time.Second); err != nil || !ok {
			t.Fatalf("a free one: %v, %v", ok, err)
		}
		if ok, err := s.LeaseConsumer(ctx, "x", time.Hour); err != nil || !ok { // other's has run out
			t.Fatalf("one that has run out: %v, %v", ok, err)
		}
		killed(t, s, cfg)
		if _, err := s.db.Exec(`UPDATE nodes SET ended_at = 1 WHERE epoch = $1`, s.epoch); err != nil {
			t.Fatal(err)
		}
		if ok, err := other.LeaseConsumer(ctx, "x", time.Hour); err != nil || !ok {
			t.Fatalf("that of a dead node: %v, %v", ok, err)
		}
	})
}

// TestPassedIsNotTaken: a consumer that is moved over what is gone has not taken
// anything; only who runs it may move it so.
func TestPassedIsNotTaken(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s := newTest(t, cfg)
		accept(t, s, mail(t, s, 1, 0, false))
		_, c := drain(t, s, Cursor{}, 10)
		at := func() Consumer {
			t.Helper()
			all, err := s.Consumers(ctx)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			return all[0]
		}
		if err := s.SetConsumer(ctx, "x", Cursor{}); err != nil {
			t.Fatal(err)
		}
		began := at()
		if err := s.PassConsumer(ctx, "x", c); err != nil {
			t.Fatal(err)
		}
		if got := at(); got.Cursor.String() != c.String() || began.MovedAt.IsZero() || !got.MovedAt.Equal(began.MovedAt) {
			t.Errorf("%+v, began %+v", got, began)
		}
		if cfg.URL == "" {
			return
		}
		other := newTest(t, cfg)
		if ok, err := other.LeaseConsumer(ctx, "x", time.Hour); err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := s.PassConsumer(ctx, "x", Cursor{}); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("moved by another node: %v", err)
		}
	})
}

// TestConsumersSayWhoRunsThem: a node that lives, with or without a lease that runs;
// nobody once it has given the lease back or has ended.
func TestConsumersSayWhoRunsThem(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s := newTest(t, cfg)
		if err := s.SetConsumer(ctx, "x", Cursor{}); err != nil {
			t.Fatal(err)
		}
		from := s // who is asked: another node where there is one
		if cfg.URL != "" {
			from = newTest(t, cfg)
		}
		held := func(step string, want int64) {
			t.Helper()
			all, err := from.Consumers(ctx)
			if err != nil || len(all) != 1 || all[0].Name != "x" || all[0].HeldBy != want {
				t.Errorf("%s: %+v %v, want %d", step, all, err, want)
			}
		}
		held("nobody has leased it", 0)
		for _, ttl := range []time.Duration{time.Hour, -time.Second} {
			if ok, err := s.LeaseConsumer(ctx, "x", ttl); err != nil || !ok {
				t.Fatalf("lease: %v, %v", ok, err)
			}
			if cfg.URL == "" {
				held("one node alone", 0)
				return
			}
			held("leased for "+ttl.String(), s.epoch)
		}
		if err := s.FreeConsumer(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		held("given back", 0)
		if ok, err := s.LeaseConsumer(ctx, "x", time.Hour); err != nil || !ok {
			t.Fatalf("lease: %v, %v", ok, err)
		}
		killed(t, s, cfg)
		if _, err := s.db.Exec(`UPDATE nodes SET ended_at = 1 WHERE epoch = $1`, s.epoch); err != nil {
			t.Fatal(err)
		}
		held("that of a dead node", 0)
	})
}

// TestCommittedTells wakes who waits for events.
func TestCommittedTells(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	ch := s.Committed()
	accept(t, s, mail(t, s, 1, 0, false))
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatal("nobody told")
	}
}
