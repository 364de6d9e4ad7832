package store

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestEventFilters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		day := time.Now().UTC().Truncate(24 * time.Hour)
		var shift atomic.Int64
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
		s := newTest(t, cfg)
		ctx := context.Background()
		msg, key := relay.MessageID{ID: relay.NewID(day.Add(-50 * time.Hour))}, relay.KeyID{ID: relay.NewID(day)}
		const n = 12
		for i := range n {
			e := relay.Event{At: day.Add(time.Duration(i-n) * 4 * time.Hour), Kind: relay.EventDeferred, N: i, Recipient: "r@x.test"}
			if i%2 == 0 {
				e.Kind, e.Message, e.Key, e.Tenant = relay.EventDelivered, msg, key, testTenant
			}
			if err := s.Finish(ctx, Result{Events: []relay.Event{e}}); err != nil {
				t.Fatal(err)
			}
		}
		first, err := s.Events(ctx, EventFilter{Limit: 5})
		if err != nil || len(first) != 5 || first[4].N != 4 {
			t.Fatalf("first page: %+v, %v", first, err)
		}
		for name, c := range map[string]struct {
			f    EventFilter
			want string
		}{
			"after a cursor": {EventFilter{AfterEpoch: first[4].Epoch, AfterSeq: first[4].Seq}, "[5 6 7 8 9 10 11]"},
			"newest":         {EventFilter{Newest: true, Limit: 3}, "[9 10 11]"},
			"message":        {EventFilter{Message: msg}, "[0 2 4 6 8 10]"},
			"key":            {EventFilter{Key: key, Limit: 2}, "[0 2]"},
			"account":        {EventFilter{Account: testTenant.Account, Newest: true, Limit: 2}, "[8 10]"},
			"kinds":          {EventFilter{Kinds: []relay.EventKind{relay.EventDeferred, relay.EventBounced}}, "[1 3 5 7 9 11]"},
			"recipient":      {EventFilter{Recipient: "no@x.test"}, "[]"},
			"since":          {EventFilter{Since: day.Add(-8 * time.Hour)}, "[10 11]"},
			"until":          {EventFilter{Until: day.Add(-44 * time.Hour)}, "[0 1]"},
		} {
			all, err := s.Events(ctx, c.f)
			got := []int{}
			for _, e := range all {
				got = append(got, e.N)
			}
			if err != nil || fmt.Sprint(got) != c.want {
				t.Errorf("%s: %v, want %s (%v)", name, got, c.want, err)
			}
		}
		checkInvariants(t, s)
		// Retention drops whole days.
		shift.Store(int64(time.Until(day.Add(29*24*time.Hour + time.Hour))))
		if err := s.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Events(ctx, EventFilter{}); err != nil || len(all) != n {
			t.Errorf("a clock that jumped made %d of %d events vanish, %v", n-len(all), n, err)
		}
		s.clock.set(s.cfg.Now()) // as after a start
		if err := s.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		left, err := s.Events(ctx, EventFilter{})
		if err != nil || len(left) != 6 || left[0].N != 6 {
			t.Errorf("after retention: %d events, %v", len(left), err)
		}
	})
}

func TestLoginsAreAggregated(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		ctx := context.Background()
		now := time.Now().UTC().Truncate(time.Microsecond)
		bad := relay.Login{At: now, Protocol: "smtp", Mechanism: "PLAIN", Tried: "x\x00\xff", Addr: netip.MustParseAddr("192.0.2.1"), Result: relay.LoginWrong, Tenant: testTenant}
		for range 10 {
			s.RecordLogin(bad)
		}
		other := bad
		other.Addr = netip.MustParseAddr("192.0.2.2")
		s.RecordLogin(other)
		good := bad
		good.Result = relay.LoginOK
		s.RecordLogin(good)
		s.RecordLogin(good)
		if last, err := s.rec.flush(); err != nil {
			t.Fatal(err)
		} else {
			<-last.done
		}
		for range 5 { // to a record that was written already
			s.RecordLogin(bad)
		}
		late := bad
		late.At = now.Add(2 * time.Minute)
		s.RecordLogin(late)
		if err := stop(); err != nil { // the end writes what waits
			t.Fatal(err)
		}
		all, err := s.Logins(ctx, LoginFilter{})
		if err != nil || len(all) != 5 {
			t.Fatalf("%d records, %v", len(all), err)
		}
		if all[0].Count != 15 || all[1].Count != 1 || all[0].Tried != "x\ufffd\ufffd" || !all[0].At.Equal(now) || all[0].Addr != bad.Addr {
			t.Errorf("records %+v", all)
		}
		for name, c := range map[string]struct {
			f    LoginFilter
			want int
		}{
			"ok": {LoginFilter{Result: relay.LoginOK}, 2}, "addr": {LoginFilter{Addr: "192.0.2.2"}, 1}, "account": {LoginFilter{Account: testTenant.Account}, 5},
			"key": {LoginFilter{Key: relay.KeyID{ID: relay.NewID(now)}}, 0}, "newest": {LoginFilter{Newest: true, Limit: 2}, 2},
			"after": {LoginFilter{After: all[1].ID}, 3}, "since": {LoginFilter{Since: now.Add(time.Minute)}, 1}, "until": {LoginFilter{Until: now}, 4},
		} {
			if got, err := s.Logins(ctx, c.f); err != nil || len(got) != c.want {
				t.Errorf("%s: %d, want %d (%v)", name, len(got), c.want, err)
			}
		}
	})
}

// TestRecordingNeverBlocks: nothing runs, and a flood of logins neither waits
// nor grows without bound.
func TestRecordingNeverBlocks(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{})
	for i := range recorderRoom + 500 {
		s.RecordLogin(relay.Login{Result: relay.LoginMalformed, Tried: fmt.Sprint(i), Addr: netip.MustParseAddr("192.0.2.1")})
		s.RecordKeyUse(relay.KeyID{ID: relay.ID{byte(i), byte(i >> 8), 1}}, time.Now(), netip.Addr{}, "", "", false)
	}
	st, err := s.Stats(context.Background())
	if err != nil || st.LoginsDropped != 1000 || len(s.rec.logins) > recorderRoom || len(s.rec.uses) > recorderRoom {
		t.Errorf("stats %+v, %d logins, %d uses, %v", st, len(s.rec.logins), len(s.rec.uses), err)
	}
}

func TestKeyUseIsSummedUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		w := newWorld(t, s)
		rev := s.Revision()
		at := time.Now().UTC().Truncate(time.Microsecond)
		for range 7 {
			s.RecordKeyUse(w.key.ID, at, netip.MustParseAddr("192.0.2.9"), "LOGIN", "h.test", false)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		w.key.LastUsedAt, w.key.LastUsedFrom, w.key.LastUsedMechanism, w.key.LastUsedHelo, w.key.UseCount = at, "192.0.2.9", "LOGIN", "h.test", 7
		k, err := s.Key(context.Background(), w.key.ID)
		same(t, "key", w.key, k, err)
		var now int64
		if now, err = readRevision(context.Background(), s.db); err != nil || now != rev {
			t.Errorf("revision %d, was %d, %v", now, rev, err)
		}
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		accept(t, s, mail(t, s, 2, 0, true))
		accept(t, s, mail(t, s, 3, 0, false))
		held := mail(t, s, 1, 0, false)
		held.Message.State = relay.MessageHeld
		accept(t, s, held)
		st, err := s.Stats(context.Background())
		if err != nil || st.Depth != (Depth{Messages: 2, Held: 1, Waiting: 3, Leased: 2}) {
			t.Errorf("stats %+v, %v", st, err)
		}
		if cfg.URL == "" && (st.WALBytes == 0 || st.FreeBytes <= 0) {
			t.Errorf("stats %+v", st)
		}
	})
}
