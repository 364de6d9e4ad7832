package credit

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

// A message of a subuser counts for the key, the subuser and the account: all
// have room, or none is charged.
func TestAllOrNone(t *testing.T) {
	t.Parallel()
	set := map[string]func(*Claim){
		"account": func(c *Claim) { c.Account.Plan.Hour = 3 },
		"subuser": func(c *Claim) { c.Subuser.Plan.Hour = 3 },
		"api_key": func(c *Claim) { c.Key.PerHour = 3 },
	}
	for tight, set := range set {
		w := newWorld(t, func(c *Claim) {
			c.Account.Plan.Hour, c.Subuser.Plan.Hour, c.Key.PerHour = 10, 10, 10
			set(c)
		})
		w.sends(2)
		if e := w.refused(2); e.Limit.Subject != tight || e.Limit.Limit != 3 || e.Limit.Used != 2 || e.Limit.Remaining != 1 {
			t.Errorf("%s: %+v", tight, e)
		}
		for subject := range map[string]int{"account": 0, "subuser": 0, "api_key": 0} {
			if u := w.usage(subject, relay.WindowHour); u.Used != 2 {
				t.Errorf("%s is tight: %s used %d after a refusal, want 2", tight, subject, u.Used)
			}
		}
		w.sends(1)
	}
}

func TestCancelGivesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Account.Plan.Month, c.Subuser.Plan.Day, c.Key.PerMinute, c.Key.PerHour = 5, 5, 5, 5
		c.Subuser.Plan.Credits = relay.Credits{Type: relay.CreditsNonrecurring, Total: 5}
	})
	for range 10 {
		r, err := w.reserve(5)
		if err != nil {
			t.Fatal(err)
		}
		w.refused(1)
		r.Cancel()
		r.Cancel() // once is enough
		r.Settle()
	}
	w.sends(5)
	r, err := w.reserve(1)
	r.Cancel() // of nothing
	r.Settle()
	if err == nil || r.Deltas() != nil || !r.DueAt().IsZero() || r.Why() != nil {
		t.Errorf("a refused reservation holds %+v, %v", r, err)
	}
}

// What is unlimited is counted in the store, and not kept in memory.
func TestUnlimitedIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for range 3 {
		w.sends(1000)
	}
	if w.store.reads != 0 {
		t.Errorf("%d reads for limits that do not exist", w.store.reads)
	}
	for _, s := range []string{"account", "subuser", "api_key"} {
		if u := w.usage(s, relay.WindowDay); u.Used != 3000 || u.Remaining != -1 || u.Limit != 0 {
			t.Errorf("%+v", u)
		}
	}
	w.claim.Subuser.Plan.Day = 3001 // a limit that comes later knows what was used
	w.sends(1)
	w.refused(1)
	if r, err := w.reserve(0); err != nil || r.Deltas() != nil {
		t.Errorf("nothing counts as %v, %v", r.Deltas(), err)
	}
	w.claim.Subuser, w.claim.Key = nil, nil
	if r, _ := w.reserve(4); len(r.Deltas()) != 1 || r.Deltas()[0] != (relay.UsageDelta{Subject: acmeID.ID, Minute: w.now.Unix() / 60, Day: w.now.Unix() / 86400, N: 4}) {
		t.Errorf("%+v", r.Deltas())
	}
}

func TestStoreIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Account.Plan.Hour = 5 })
	w.store.fail = errors.New("disk on fire")
	if _, err := w.reserve(1); relay.KindOf(err) != relay.Unavailable || strings.Contains(err.(*relay.Error).Public, "fire") {
		t.Errorf("%v", err)
	}
	if e := w.ledger.Exhausted(t.Context(), w.claim.Account, nil, nil); e != nil {
		t.Errorf("exhausted while nothing is known: %v", e)
	}
	if _, err := w.ledger.Usage(t.Context(), w.claim.Account, w.claim.Subuser, nil); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("usage: %v", err)
	}
	w.store.fail = nil
	w.sends(5)
	w.refused(1)
}

// However many ask for a subject at once, it is read once; who gives up waiting
// does not end the reading for the others.
func TestReadingIsShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Account.Plan.Hour = 5 })
	w.store.wait = make(chan struct{})
	c := w.claim
	c.N = 1
	var granted, unavailable, exceeded atomic.Int64
	impatient, giveUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 12 {
		ctx := t.Context()
		if i < 4 {
			ctx = impatient
		}
		wg.Go(func() {
			r, err := w.ledger.Reserve(ctx, c)
			switch {
			case err == nil:
				granted.Add(1)
				r.Cancel() // and its place is somebody else's
			case relay.KindOf(err) == relay.Unavailable:
				unavailable.Add(1)
			default:
				exceeded.Add(1)
			}
		})
	}
	giveUp()
	close(w.store.wait)
	wg.Wait()
	if w.store.reads != 1 || unavailable.Load() > 4 || granted.Load()+unavailable.Load()+exceeded.Load() != 12 {
		t.Errorf("%d reads, %d granted, %d unavailable, %d exceeded", w.store.reads, granted.Load(), unavailable.Load(), exceeded.Load())
	}
	for i := range w.ledger.table.shards {
		for _, s := range w.ledger.table.shards[i].subjects {
			if n := s.refs.Load(); n != 0 {
				t.Errorf("%d users are left", n)
			}
		}
	}
	w.sends(5)
}

// Idle subjects are forgotten and read again; those with a reservation stay,
// because their credits are not in the store yet.
func TestEviction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.ledger = New(Config{Store: w.store, Now: func() time.Time { return w.now }, Subjects: 1})
	claim := func(i int) Claim { // all in one shard
		return Claim{Account: relay.Account{ID: relay.AccountID{ID: relay.ID{1: byte(i >> 8), 2: byte(i)}}, Plan: relay.Plan{Day: 2}}, N: 1}
	}
	held, err := w.ledger.Reserve(t.Context(), claim(0))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		r, err := w.ledger.Reserve(t.Context(), claim(i))
		if err != nil {
			t.Fatal(err)
		}
		w.store.commit(r.Deltas())
		r.Settle()
	}
	if n := len(w.ledger.table.shards[0].subjects); n > 3 {
		t.Errorf("%d subjects in memory", n)
	}
	if _, err := w.ledger.Reserve(t.Context(), claim(0)); err == nil {
		t.Error("the held reservation was forgotten")
	}
	held.Cancel()
	for i := range 500 {
		c := claim(i)
		if r, err := w.ledger.Reserve(t.Context(), c); err != nil {
			t.Fatalf("%d: %v", i, err)
		} else {
			w.store.commit(r.Deltas())
			r.Settle()
		}
		if _, err := w.ledger.Reserve(t.Context(), c); err == nil {
			t.Fatalf("%d: three of two", i)
		}
	}
}

// RX-07: however many connections ask at once, exactly the limit is granted.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Account.Plan.Hour, c.Subuser.Plan.Day, c.Key.PerMinute = 1000, 700, 400 })
	other := w.claim
	other.Subuser = &relay.Subuser{ID: relay.SubuserID{ID: relay.ID{9}}, Account: acmeID, Plan: relay.Plan{Day: 800}}
	other.Key = nil
	var mu sync.Mutex
	granted := map[*relay.Subuser]int64{}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			c := w.claim
			if g%2 == 0 {
				c = other
			}
			for i := range 300 {
				c.N = int64(1 + i%3)
				r, err := w.ledger.Reserve(context.Background(), c)
				if err != nil {
					continue
				}
				if i%5 == 0 {
					r.Cancel()
					continue
				}
				w.store.commit(r.Deltas())
				r.Settle()
				mu.Lock()
				granted[c.Subuser] += c.N
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, c := range []Claim{w.claim, other} { // what is left, one by one
		for c.N = 1; ; {
			r, err := w.ledger.Reserve(t.Context(), c)
			if err != nil {
				break
			}
			w.store.commit(r.Deltas())
			r.Settle()
			granted[c.Subuser]++
		}
	}
	if a, b := granted[w.claim.Subuser], granted[other.Subuser]; a > 400 || b > 800 || a+b != 1000 {
		t.Errorf("granted %d by the key of 400 and %d by the other subuser of 800, want 1000 in all", a, b)
	}
	if got := w.store.used[acmeID.ID].Ever; got != 1000 {
		t.Errorf("%d committed", got)
	}
}

func TestExhausted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Subuser.Plan.Day = 5 })
	exhausted := func() *Exceeded {
		return w.ledger.Exhausted(t.Context(), w.claim.Account, w.claim.Subuser, w.claim.Key)
	}
	w.sends(4)
	if e := exhausted(); e != nil {
		t.Errorf("one is left: %v", e)
	}
	w.sends(1)
	if e := exhausted(); e == nil || e.Limit.Name != "news" || e.ResumesAt.IsZero() {
		t.Errorf("%v", e)
	}
	w.claim.Subuser.Plan.Over = relay.OverDefer
	if e := exhausted(); e != nil {
		t.Errorf("the plan puts off: %v", e)
	}
	w.claim.Account.Plan.Day = 5 // which refuses
	if e := exhausted(); e == nil || e.Limit.Subject != "account" && e.Limit.Subject != "subuser" {
		t.Errorf("%v", e)
	}
	w.now = w.now.AddDate(0, 0, 1)
	if e := exhausted(); e != nil {
		t.Errorf("the next day: %v", e)
	}
}

func TestMost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Account.Plan.Hour, c.Subuser.Plan.Month, c.Key.PerMinute = 50, 40, 30
		c.Subuser.Plan.Credits = relay.Credits{Type: relay.CreditsNonrecurring, Total: 5}
	})
	if n := Most(w.claim.Account, w.claim.Subuser, w.claim.Key); n != 30 {
		t.Errorf("%d", n)
	}
	if n := Most(w.claim.Account, nil, nil); n != 50 {
		t.Errorf("%d", n)
	}
	if n := Most(relay.Account{}, nil, nil); n != 0 {
		t.Errorf("%d", n)
	}
	if e := w.refused(31); !e.ResumesAt.IsZero() {
		t.Errorf("more than the limit has room at %v", e.ResumesAt)
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	l := New(Config{Store: newMemory()})
	acme, news := relay.Tenant{Account: acmeID}, relay.Tenant{Account: acmeID, Subuser: newsID}
	one, ok1 := l.Connect(news, 2)
	_, ok2 := l.Connect(news, 2)
	if !ok1 || !ok2 {
		t.Fatal("refused")
	}
	if _, ok := l.Connect(news, 2); ok {
		t.Error("a third connection of two")
	}
	if _, ok := l.Connect(acme, 1); !ok {
		t.Error("another tenant's count")
	}
	one()
	one() // once is enough
	again, ok := l.Connect(news, 2)
	if !ok {
		t.Error("its place was not given back")
	}
	if _, ok := l.Connect(news, 2); ok {
		t.Error("it was given back twice")
	}
	again()
	for range 100 {
		release, ok := l.Connect(relay.Tenant{}, 0)
		if !ok {
			t.Fatal("no limit refuses")
		}
		defer release()
	}
	var open atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, ok := l.Connect(relay.Tenant{Account: relay.AccountID{ID: relay.ID{8}}}, 7); ok {
				open.Add(1)
			}
		})
	}
	wg.Wait()
	if open.Load() != 7 {
		t.Errorf("%d at once, want 7", open.Load())
	}
	for _, release := range []func(){one, again} {
		release()
	}
	if n := l.connections.open[news]; n != 1 {
		t.Errorf("%d of the subuser", n)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Account.TimeZone = "Asia/Tokyo"
		c.Subuser.Plan = relay.Plan{Hour: 10, Credits: relay.Credits{Type: relay.CreditsRecurring, Reset: "weekly", Total: 100}}
		c.Key.PerMinute, c.Key.PerMonth = 7, 100
	})
	w.sends(4)
	w.now = w.now.Add(10 * time.Minute)
	if _, err := w.reserve(3); err != nil { // not committed yet, and counted
		t.Fatal(err)
	}
	us, err := w.ledger.Usage(t.Context(), w.claim.Account, w.claim.Subuser, w.claim.Key)
	if err != nil {
		t.Fatal(err)
	}
	tokyo := relay.Zone("Asia/Tokyo")
	midnight, november := time.Date(2026, 11, 3, 0, 0, 0, 0, tokyo).UTC(), time.Date(2026, 12, 1, 0, 0, 0, 0, tokyo).UTC()
	week := time.Date(2026, 11, 9, 0, 0, 0, 0, tokyo).UTC()
	hour := w.now.Add(61 * time.Minute)
	// The account has no limit: it is read from the store, where the reservation is not yet.
	want := []relay.Usage{
		{Subject: "account", Name: "acme", Window: relay.WindowHour, Used: 4, Remaining: -1, ResetsAt: start.Add(61 * time.Minute)},
		{Subject: "account", Name: "acme", Window: relay.WindowDay, Used: 4, Remaining: -1, ResetsAt: midnight},
		{Subject: "account", Name: "acme", Window: relay.WindowMonth, Used: 4, Remaining: -1, ResetsAt: november},
		{Subject: "subuser", Name: "news", Window: relay.WindowHour, Limit: 10, Used: 7, Remaining: 3, ResetsAt: hour},
		{Subject: "subuser", Name: "news", Window: relay.WindowDay, Used: 7, Remaining: -1, ResetsAt: midnight},
		{Subject: "subuser", Name: "news", Window: relay.WindowMonth, Used: 7, Remaining: -1, ResetsAt: november},
		{Subject: "subuser", Name: "news", Window: relay.WindowWeek, Limit: 100, Used: 7, Remaining: 93, ResetsAt: week},
		{Subject: "api_key", Name: "build", Window: relay.WindowMinute, Limit: 7, Used: 3, Remaining: 4, ResetsAt: w.now.Add(61 * time.Second)},
		{Subject: "api_key", Name: "build", Window: relay.WindowHour, Used: 7, Remaining: -1, ResetsAt: hour},
		{Subject: "api_key", Name: "build", Window: relay.WindowDay, Used: 7, Remaining: -1, ResetsAt: midnight},
		{Subject: "api_key", Name: "build", Window: relay.WindowMonth, Limit: 100, Used: 7, Remaining: 93, ResetsAt: november},
	}
	if len(us) != len(want) {
		t.Fatalf("%d lines: %+v", len(us), us)
	}
	for i := range want {
		if us[i] != want[i] {
			t.Errorf("line %d:\n%+v, want\n%+v", i, us[i], want[i])
		}
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Subuser.Plan.Day, c.Key.PerHour = 100, 50 })
	want := func(step string, kinds ...relay.AlertKind) {
		t.Helper()
		if len(w.heard) != len(kinds) {
			t.Fatalf("%s: %+v, want %v", step, w.heard, kinds)
		}
		for i, k := range kinds {
			if w.heard[i].alert.Kind != k {
				t.Errorf("%s: %+v, want %v", step, w.heard[i], k)
			}
		}
		w.heard = nil
	}
	w.sends(39)
	want("78 % of the hour")
	r, err := w.reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	r.Cancel()
	want("a message that was not accepted")
	w.sends(1)
	if h := w.heard; len(h) != 1 || h[0].key != keyID || h[0].tenant != (relay.Tenant{Account: acmeID, Subuser: newsID}) ||
		h[0].alert.Limit != "api_key hour" || h[0].alert.Used != 40 || h[0].alert.Total != 50 || !strings.Contains(h[0].alert.Text, "50 recipients an hour of the key build") {
		t.Fatalf("%+v", h)
	}
	want("80 % of the hour", relay.AlertUsage80)
	w.sends(1)
	want("again")
	w.refused(10)
	want("no room for ten", relay.AlertUsage100)
	w.sends(9)
	w.refused(1)
	want("the hour is full, as was told")
	w.now = w.now.Add(2 * time.Hour)
	w.sends(30)
	if w.heard[0].alert.Limit != "subuser day" || !w.heard[0].key.IsZero() {
		t.Errorf("%+v", w.heard)
	}
	want("80 % of the day", relay.AlertUsage80)
	w.sends(20)
	want("both full at once", relay.AlertUsage100, relay.AlertUsage100)
	w.restart()
	w.refused(1)
	want("told before the restart")
	w.now = w.now.AddDate(0, 0, 1)
	w.sends(45)
	want("another day: 90 % of the hour", relay.AlertUsage80)
	w.claim.Subuser.Plan.Day = 45 // a new limit is a new matter
	w.refused(1)
	want("a smaller limit", relay.AlertUsage100)
	w.refused(1000)
	want("a message that is too large for any window")
}
