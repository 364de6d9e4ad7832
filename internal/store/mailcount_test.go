package store

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
)

// countsOf sums up the log by hand: what a tenant's mail did in a step.
func countsOf(l *logged, in func(*relay.Event) bool, since time.Time, by time.Duration, steps int) []MailCount {
	out := make([]MailCount, steps)
	for i := range out {
		out[i].At = since.Add(time.Duration(i) * by)
	}
	for i := range l.events {
		e := &l.events[i]
		if !in(e) {
			continue
		}
		c := &out[int(e.At.Sub(since)/by)]
		switch e.Kind {
		case relay.EventReceived:
			for _, r := range l.rows {
				if r.Message == e.Message {
					c.Received++
				}
			}
		case relay.EventDelivered:
			c.Delivered++
		case relay.EventDeferred:
			c.Deferred++
		case relay.EventBounced:
			c.Bounced++
		case relay.EventDropped:
			c.Dropped++
		case relay.EventHeld, relay.EventQuarantined:
			c.Held++
		case relay.EventRefused:
			c.Refused += 3
		default:
		}
	}
	return out
}

// TestMailCounts by hour and day, for each kind of tenant and for a key.
func TestMailCounts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		l := newLogged(t, s, 5)
		mine := relay.Tenant{Account: l.account[0], Subuser: l.subuser[0]}
		key := relay.Key{ID: relay.KeyID{ID: relay.NewID(time.Now())}, Account: mine.Account, Subuser: mine.Subuser, Name: "k", CreatedAt: time.Now(),
			Verifier: relay.Verifier{SHA256: [32]byte{5}}}
		if err := s.CreateKey(context.Background(), testBy, key); err != nil {
			t.Fatal(err)
		}
		l.keys[mine] = key.ID
		l.fill(100)
		putEvents(t, s, l.events)
		indexAll(t, s, 97)
		day := l.start.Truncate(24 * time.Hour)
		end := day.AddDate(0, 0, 6)
		for name, c := range map[string]struct {
			f  CountFilter
			in func(*relay.Event) bool
		}{
			"installation":  {CountFilter{}, func(*relay.Event) bool { return true }},
			"account alone": {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}}, func(e *relay.Event) bool { return e.Tenant == relay.Tenant{Account: l.account[0]} }},
			"with subusers": {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}, Subusers: true}, func(e *relay.Event) bool { return e.Account == l.account[0] }},
			"a subuser":     {CountFilter{Tenant: mine}, func(e *relay.Event) bool { return e.Tenant == mine }},
			"a set": {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}, Only: l.subuser[:2]},
				func(e *relay.Event) bool { return slices.Contains(l.subuser[:2], e.Subuser) }},
			"an empty set":    {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}, Only: []relay.SubuserID{}}, func(*relay.Event) bool { return false }},
			"a key":           {CountFilter{Tenant: mine, Key: key.ID}, func(e *relay.Event) bool { return e.Key == key.ID }},
			"a subuser's key": {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}, Subusers: true, Key: key.ID}, func(e *relay.Event) bool { return e.Key == key.ID }},
			"a key of a set": {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}, Only: l.subuser[:1], Key: key.ID},
				func(e *relay.Event) bool { return e.Key == key.ID }},
			"a key outside a set":   {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}, Only: l.subuser[1:], Key: key.ID}, func(*relay.Event) bool { return false }},
			"another's key":         {CountFilter{Tenant: relay.Tenant{Account: l.account[1]}, Subusers: true, Key: key.ID}, func(*relay.Event) bool { return false }},
			"not the account's own": {CountFilter{Tenant: relay.Tenant{Account: l.account[0]}, Key: key.ID}, func(*relay.Event) bool { return false }},
		} {
			for _, by := range []time.Duration{time.Hour, 24 * time.Hour, 0} {
				f := c.f
				f.Since, f.Until, f.By = day.Add(time.Minute), end, by
				got, err := s.MailCounts(context.Background(), f)
				if err != nil {
					t.Fatal(err)
				}
				step, steps := by, 0
				if by == 0 {
					step = 6 * 24 * time.Hour
				}
				steps = int(end.Sub(day) / step)
				if diff := cmp.Diff(countsOf(l, c.in, day, step, steps), got); diff != "" {
					t.Errorf("%s by %v: %s", name, by, diff)
				}
			}
		}
		for _, f := range []CountFilter{{By: time.Minute}, {By: time.Hour, Since: end.AddDate(-9, 0, 0)}} {
			if _, err := s.MailCounts(context.Background(), f); relay.KindOf(err) != relay.Invalid {
				t.Errorf("%+v: %v", f, err)
			}
		}
	})
}

// TestIndexRetention drops days of the index with the events, and makes none of them
// again for what is older.
// afterFirstSweep runs a store and returns when its first sweep has dropped a day of
// each family that is kept like events; the next sweep is far away.
func afterFirstSweep(t testing.TB, s *Store) {
	t.Helper()
	long := dayOf(time.Now().UTC().AddDate(0, 0, -500).UnixMicro())
	for _, f := range families {
		if _, err := s.days.make(s, f, long); err != nil {
			t.Fatal(err)
		}
	}
	runTest(t, s)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for _, f := range families {
			if slices.Contains(s.days.list(*f, 0, endOfTime), long) {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the first sweep has not dropped what is past retention")
		}
	}
}

func TestIndexRetention(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		afterFirstSweep(t, s) // which would drop the days that are filled here
		l := newLogged(t, s, 9)
		old := time.Now().UTC().AddDate(0, 0, -40)
		l.start = old
		l.fill(20)
		putEvents(t, s, l.events)
		putEvents(t, s, []relay.Event{{At: time.Now(), Kind: relay.EventBounced, Message: relay.MessageID{ID: relay.NewID(old)}, N: 0, Recipient: "r@x.test"}})
		indexAll(t, s, 50)
		oldest := dayOf(time.Now().AddDate(0, 0, -31).UnixMicro())
		for _, f := range []family{mailFamily, mailHourFamily} {
			if days := s.days.list(f, 0, endOfTime); len(days) == 0 || days[0] < oldest {
				t.Errorf("%s has days %v", f.name, days)
			}
		}
		now, err := s.MailCounts(context.Background(), CountFilter{Since: time.Now().Add(-time.Hour)})
		if err != nil || now[0].Bounced != 1 {
			t.Errorf("a late bounce is not counted: %+v, %v", now, err)
		}
		for _, f := range families {
			if _, err := s.days.make(s, f, dayOf(old.UnixMicro())); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			keeps := f == &loginFamily || f == &loginHourFamily
			if has := slices.Contains(s.days.list(*f, 0, endOfTime), dayOf(old.UnixMicro())); has != keeps {
				t.Errorf("%s of 40 days ago: %v", f.name, has)
			}
		}
	})
}
