package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"postern/internal/relay"
)

// logged is a log of events made up for the index, and what must be found in it.
type logged struct {
	s       *Store
	rng     *rand.Rand
	account [2]relay.AccountID
	subuser [3]relay.SubuserID // of the first account
	keys    map[relay.Tenant]relay.KeyID
	events  []relay.Event
	rows    []MailRow // by hand
	start   time.Time
}

func newLogged(t testing.TB, s *Store, seed uint64) *logged {
	t.Helper()
	l := &logged{s: s, rng: rand.New(rand.NewPCG(seed, 1)), keys: map[relay.Tenant]relay.KeyID{}, start: time.Now().UTC().Add(-5 * 24 * time.Hour).Truncate(time.Microsecond)}
	for i := range l.account {
		l.account[i].ID = relay.NewID(time.Now())
		a := relay.Account{ID: l.account[i], Name: fmt.Sprint("a", i, l.account[i]), OwnerEmail: "o@example.test", CreatedAt: time.Now()}
		if err := s.CreateAccount(context.Background(), testBy, a); err != nil {
			t.Fatal(err)
		}
	}
	for i := range l.subuser {
		l.subuser[i].ID = relay.NewID(time.Now())
		u := relay.Subuser{ID: l.subuser[i], Account: l.account[0], Name: fmt.Sprint("s", i, l.subuser[i]), CreatedAt: time.Now()}
		if err := s.CreateSubuser(context.Background(), testBy, u); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func pick[T any](l *logged, of ...T) T { return of[l.rng.IntN(len(of))] }

func (l *logged) tenant() relay.Tenant {
	switch l.rng.IntN(4) {
	case 0:
		return relay.Tenant{Account: l.account[1]}
	case 1:
		return relay.Tenant{Account: l.account[0]}
	}
	return relay.Tenant{Account: l.account[0], Subuser: l.subuser[l.rng.IntN(len(l.subuser))]}
}

func (l *logged) event(kind relay.EventKind, r *MailRow, at time.Time, n int, d relay.EventData) {
	data, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	rcpt := r.Recipient
	if n < 0 {
		rcpt = ""
	}
	l.events = append(l.events, relay.Event{At: at, Kind: kind, Tenant: r.Tenant, Key: r.Key, Message: r.Message, N: n, Recipient: rcpt, Data: data})
}

// message makes a message of up to three recipients and what became of each.
func (l *logged) message(at time.Time) {
	t := l.tenant()
	if l.keys[t].IsZero() {
		l.keys[t] = relay.KeyID{ID: relay.NewID(time.Now())}
	}
	head := MailRow{Message: relay.MessageID{ID: relay.NewID(at)}, Tenant: t, Key: l.keys[t], Size: int64(l.rng.IntN(9999)), AcceptedAt: at,
		From:    pick(l, "News@Shop.test", "bill@shop.test", "a@other.test", "z@b\u00fccher.test"),
		Subject: pick(l, "Your invoice 17", "Rechnung f\u00fcr M\u00dcLLER", "hello, world", "\u8acb\u6c42\u66f8 5")}
	head.EnvelopeFrom = pick(l, head.From, "bounce@mail.shop.test", "")
	d := relay.EventData{From: head.From, EnvelopeFrom: head.EnvelopeFrom, Subject: head.Subject, Size: head.Size}
	var rows []MailRow
	for n := range 1 + l.rng.IntN(3) {
		r := head
		r.N, r.Recipient = n, fmt.Sprintf("%s%d@%s", pick(l, "Ann", "bob", "eve"), l.rng.IntN(40), pick(l, "Site.test", "gmail.test", "x.example"))
		r.State, r.StateAt = MailProcessed, at
		rows = append(rows, r)
		d.Recipients = append(d.Recipients, r.Recipient)
	}
	l.event(relay.EventReceived, &head, at, -1, d)
	for i := range rows {
		l.fate(&rows[i], at)
	}
	if l.rng.IntN(10) == 0 {
		l.together(rows, at.Add(time.Minute))
	}
	l.rows = append(l.rows, rows...)
}

// fate is what becomes of a recipient in the first seconds.
func (l *logged) fate(r *MailRow, at time.Time) {
	step := func(kind relay.EventKind, state MailState, d relay.EventData) {
		at = at.Add(time.Second)
		l.event(kind, r, at, r.N, d)
		r.State, r.StateAt, r.Attempts, r.NextAt, r.Code, r.Reply, r.Host = state, at, max(r.Attempts, d.Attempt), d.NextAt, d.Code, d.Reply, d.Host
	}
	for n := range l.rng.IntN(3) {
		step(relay.EventDeferred, MailDeferred, relay.EventData{Attempt: n + 1, Code: 451, Reply: "451 later", Host: "mx.test", NextAt: at.Add(time.Hour)})
	}
	switch l.rng.IntN(6) {
	case 0: // still waits
	case 1:
		step(relay.EventBounced, MailBounced, relay.EventData{Attempt: r.Attempts + 1, Code: 550, Reply: "550 no"})
	case 2:
		step(relay.EventDropped, MailDropped, relay.EventData{Reply: "suppressed"})
	default:
		step(relay.EventDelivered, MailDelivered, relay.EventData{Attempt: r.Attempts + 1, Code: 250, Reply: "250 ok", Host: "mx.test"})
		l.event(relay.EventNotified, r, at, r.N, relay.EventData{Reason: "x"})
		if l.rng.IntN(9) == 0 {
			step(relay.EventBounced, MailBounced, relay.EventData{Code: 550, Reply: "a DSN came back"})
		}
	}
}

// together is what a person does with a whole message.
func (l *logged) together(rows []MailRow, at time.Time) {
	kind, state := relay.EventHeld, MailHeld
	switch l.rng.IntN(3) {
	case 0:
		kind, state = relay.EventReleased, MailProcessed
	case 1:
		kind = relay.EventQuarantined
	}
	l.event(kind, &rows[0], at, -1, relay.EventData{Reason: "because"})
	for i := range rows {
		if r := &rows[i]; slices.Contains([]MailState{MailProcessed, MailDeferred}, r.State) {
			r.State, r.StateAt, r.NextAt, r.Code, r.Reply, r.Host = state, at, time.Time{}, 0, "because", ""
		}
	}
}

func (l *logged) refusal(at time.Time) {
	r := MailRow{Tenant: l.tenant(), From: "x@forged.test", EnvelopeFrom: "x@forged.test", AcceptedAt: at, State: MailRefused, StateAt: at, Code: 550, Reply: "550 no", Count: 3}
	r.Key = l.keys[r.Tenant]
	l.event(relay.EventRefused, &r, at, -1, relay.EventData{From: r.From, EnvelopeFrom: r.EnvelopeFrom, Code: 550, Reply: r.Reply, Count: 3})
	l.rows = append(l.rows, r)
}

// fill makes n messages over five days.
func (l *logged) fill(n int) {
	for i := range n {
		at := l.start.Add(time.Duration(i) * 5 * 24 * time.Hour / time.Duration(n)).Truncate(time.Microsecond)
		l.message(at)
		if i%17 == 0 {
			l.refusal(at.Add(time.Millisecond))
		}
	}
	slices.SortFunc(l.rows, func(a, b MailRow) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
}

// store puts events into the log.
func putEvents(t testing.TB, s *Store, events []relay.Event) {
	t.Helper()
	for part := range slices.Chunk(events, 250) {
		o := newOp("events")
		if err := s.appendEvents(o, part); err != nil {
			t.Fatal(err)
		}
		if err := s.w.do(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// index brings the index up to date, batch events at a time.
func indexAll(t testing.TB, s *Store, batch int) {
	t.Helper()
	for {
		n, err := indexOnce(s, batch)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func indexOnce(s *Store, batch int) (int, error) {
	ctx := context.Background()
	c, err := s.Consumer(ctx, IndexConsumer)
	if err != nil {
		return 0, err
	}
	events, next, err := s.ReadEvents(ctx, c, batch)
	if err != nil {
		return 0, err
	}
	return len(events), s.ApplyIndex(ctx, events, next)
}

var sameRows = cmp.Options{cmpopts.IgnoreUnexported(MailRow{}), cmpopts.EquateEmpty()}

// byPlace sorts rows of one moment alike.
func byPlace(rows []MailRow) []MailRow {
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := &rows[i], &rows[j]
		if !a.AcceptedAt.Equal(b.AcceptedAt) {
			return a.AcceptedAt.After(b.AcceptedAt)
		}
		return a.N < b.N
	})
	return rows
}

// findAll pages through a search.
func findAll(t testing.TB, s *Store, f MailFilter) []MailRow {
	t.Helper()
	var all []MailRow
	for pages := 0; ; pages++ {
		rows, next, err := s.FindMail(context.Background(), f)
		if err != nil {
			t.Fatalf("find %+v: %v", f, err)
		}
		all = append(all, rows...)
		if next == "" {
			return all
		}
		if pages > 10_000 {
			t.Fatal("it never ends")
		}
		f.After = next
	}
}

func has(address, part string, prefix bool) bool {
	address = strings.ToLower(strings.ReplaceAll(address, "b\u00fccher", "xn--bcher-kva"))
	return address == part || prefix && strings.HasPrefix(address, part)
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }

// TestFindMail compares each kind of search, by each kind of tenant, with the
// events' own story.
func TestFindMail(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		l := newLogged(t, s, 7)
		l.fill(120)
		putEvents(t, s, l.events)
		indexAll(t, s, 133)
		tenants := map[string]struct {
			f  MailFilter
			in func(relay.Tenant) bool
		}{
			"everybody":     {MailFilter{}, func(relay.Tenant) bool { return true }},
			"account alone": {MailFilter{Tenant: relay.Tenant{Account: l.account[0]}}, func(t relay.Tenant) bool { return t == relay.Tenant{Account: l.account[0]} }},
			"with subusers": {MailFilter{Tenant: relay.Tenant{Account: l.account[0]}, Subusers: true}, func(t relay.Tenant) bool { return t.Account == l.account[0] }},
			"a subuser": {MailFilter{Tenant: relay.Tenant{Account: l.account[0], Subuser: l.subuser[1]}},
				func(t relay.Tenant) bool { return t.Subuser == l.subuser[1] }},
			"of another account": {MailFilter{Tenant: relay.Tenant{Account: l.account[1], Subuser: l.subuser[1]}}, func(relay.Tenant) bool { return false }},
			"a set": {MailFilter{Tenant: relay.Tenant{Account: l.account[0]}, Only: l.subuser[1:]},
				func(t relay.Tenant) bool { return t.Subuser == l.subuser[1] || t.Subuser == l.subuser[2] }},
			"another's set": {MailFilter{Tenant: relay.Tenant{Account: l.account[1]}, Only: l.subuser[1:]}, func(relay.Tenant) bool { return false }},
			"an empty set":  {MailFilter{Tenant: relay.Tenant{Account: l.account[0]}, Only: []relay.SubuserID{}}, func(relay.Tenant) bool { return false }},
		}
		some := l.rows[len(l.rows)/3]
		for some.State == MailRefused {
			some = l.rows[len(l.rows)/3+1]
		}
		id := some.Message.String()
		mid := l.start.Add(50 * time.Hour)
		searches := map[string]struct {
			f  func(*MailFilter)
			is func(*MailRow) bool
		}{
			"all":              {func(*MailFilter) {}, func(*MailRow) bool { return true }},
			"recipient":        {func(f *MailFilter) { f.Recipient = "ANN7@site.TEST" }, func(r *MailRow) bool { return has(r.Recipient, "ann7@site.test", false) }},
			"recipient prefix": {func(f *MailFilter) { f.Recipient, f.Prefix = "ann1", true }, func(r *MailRow) bool { return has(r.Recipient, "ann1", true) }},
			"sender":           {func(f *MailFilter) { f.Sender = "news@shop.test" }, func(r *MailRow) bool { return has(r.From, "news@shop.test", false) }},
			"sender's envelope": {func(f *MailFilter) { f.Sender = "bounce@mail.shop.test" },
				func(r *MailRow) bool { return r.EnvelopeFrom == "bounce@mail.shop.test" }},
			"sender prefix": {func(f *MailFilter) { f.Sender, f.Prefix = "b", true }, func(r *MailRow) bool { return has(r.From, "b", true) || has(r.EnvelopeFrom, "b", true) }},
			"id":            {func(f *MailFilter) { f.ID = id }, func(r *MailRow) bool { return r.Message == some.Message }},
			"id prefix":     {func(f *MailFilter) { f.ID = id[:9] }, func(r *MailRow) bool { return strings.HasPrefix(r.Message.String(), id[:9]) && r.State != MailRefused }},
			"id prefix 1":   {func(f *MailFilter) { f.ID = id[:1] }, func(*MailRow) bool { return true }},
			"key":           {func(f *MailFilter) { f.Key = some.Key }, func(r *MailRow) bool { return r.Key == some.Key }},
			"domain": {func(f *MailFilter) { f.Domain = "Gmail.test" },
				func(r *MailRow) bool { return strings.HasSuffix(r.Recipient, "@gmail.test") }},
			"recipient's domain":    {func(f *MailFilter) { f.ToDomain = "@Site.test" }, func(r *MailRow) bool { return strings.EqualFold(domainOf(r.Recipient), "site.test") }},
			"not of its sender":     {func(f *MailFilter) { f.ToDomain = "b\u00dccher.test" }, func(r *MailRow) bool { return strings.EqualFold(domainOf(r.Recipient), "b\u00fccher.test") }},
			"sender's domain":       {func(f *MailFilter) { f.Domain = "b\u00dccher.test" }, func(r *MailRow) bool { return domainOf(r.From) == "b\u00fccher.test" }},
			"domain prefix":         {func(f *MailFilter) { f.Domain, f.Prefix = "o", true }, func(r *MailRow) bool { return domainOf(r.From) == "other.test" }},
			"state deferred":        {func(f *MailFilter) { f.State = MailDeferred }, func(r *MailRow) bool { return r.State == MailDeferred }},
			"state processed":       {func(f *MailFilter) { f.State = MailProcessed }, func(r *MailRow) bool { return r.State == MailProcessed }},
			"state delivered":       {func(f *MailFilter) { f.State = MailDelivered }, func(r *MailRow) bool { return r.State == MailDelivered }},
			"state bounced":         {func(f *MailFilter) { f.State = MailBounced }, func(r *MailRow) bool { return r.State == MailBounced }},
			"state held":            {func(f *MailFilter) { f.State = MailHeld }, func(r *MailRow) bool { return r.State == MailHeld }},
			"state refused":         {func(f *MailFilter) { f.State = MailRefused }, func(r *MailRow) bool { return r.State == MailRefused }},
			"since":                 {func(f *MailFilter) { f.Since = mid }, func(r *MailRow) bool { return !r.AcceptedAt.Before(mid) }},
			"until":                 {func(f *MailFilter) { f.Until = mid }, func(r *MailRow) bool { return r.AcceptedAt.Before(mid) }},
			"until the epoch":       {func(f *MailFilter) { f.Until = time.Unix(0, 0) }, func(*MailRow) bool { return false }},
			"the moment of one":     {func(f *MailFilter) { f.Since, f.Until = some.AcceptedAt, some.AcceptedAt.Add(time.Microsecond) }, func(r *MailRow) bool { return r.AcceptedAt.Equal(some.AcceptedAt) }},
			"subject":               {func(f *MailFilter) { f.Subject = "17 INVOICE" }, func(r *MailRow) bool { return strings.Contains(r.Subject, "invoice 17") }},
			"subject, folded":       {func(f *MailFilter) { f.Subject = "mu\u0308ller" }, func(r *MailRow) bool { return strings.Contains(r.Subject, "M\u00dcLLER") }},
			"subject of no spaces":  {func(f *MailFilter) { f.Subject = "\u8acb\u6c42" }, func(r *MailRow) bool { return strings.Contains(r.Subject, "\u8acb\u6c42") }},
			"subject, another word": {func(f *MailFilter) { f.Subject = "invoice world" }, func(*MailRow) bool { return false }},
			"several": {func(f *MailFilter) { f.Domain, f.State, f.Subject, f.Since = "site.test", MailDelivered, "hello", mid },
				func(r *MailRow) bool {
					return strings.HasSuffix(r.Recipient, "@Site.test") && r.State == MailDelivered && strings.Contains(r.Subject, "hello") && !r.AcceptedAt.Before(mid)
				}},
		}
		for who, tenant := range tenants {
			for what, search := range searches {
				var want []MailRow
				for _, r := range l.rows {
					if tenant.in(r.Tenant) && search.is(&r) {
						want = append(want, r)
					}
				}
				f := tenant.f
				search.f(&f)
				f.Limit = 20 + len(what)
				got := findAll(t, s, f)
				if diff := cmp.Diff(byPlace(want), byPlace(got), sameRows); diff != "" {
					t.Errorf("%s, %s: %d rows, want %d\n%s", who, what, len(got), len(want), diff[:min(len(diff), 2000)])
				}
			}
		}
	})
}

// TestFindMailRefuses what cannot be.
func TestFindMailRefuses(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	for _, f := range []MailFilter{{ID: "!"}, {ID: strings.Repeat("a", 23)}, {ID: "ABCDEFGHIJKLMNOPQRSTU_"}, {State: "gone"}, {After: "x"}, {After: "20261122"}, {After: "20261122.-1"},
		{After: "1.1"}, {Tenant: testTenant, Only: make([]relay.SubuserID, 101)}} {
		if _, _, err := s.FindMail(context.Background(), f); relay.KindOf(err) != relay.Invalid {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// TestIndexInAnyOrder: nodes' events may be read in another order than they
// happened. An end stays the end, whatever comes after it, and so does a hold.
func TestIndexInAnyOrder(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		at := time.Now().UTC().Truncate(time.Microsecond)
		for i, c := range []struct {
			kinds []relay.EventKind
			want  MailState
		}{
			{[]relay.EventKind{relay.EventReceived, relay.EventDeferred, relay.EventDelivered}, MailDelivered},
			{[]relay.EventKind{relay.EventDelivered, relay.EventReceived, relay.EventDeferred}, MailDelivered},
			{[]relay.EventKind{relay.EventDeferred, relay.EventReceived}, MailDeferred},
			{[]relay.EventKind{relay.EventBounced, relay.EventDelivered, relay.EventDeferred, relay.EventReceived}, MailBounced},
			{[]relay.EventKind{relay.EventReceived, relay.EventHeld, relay.EventDeferred}, MailHeld},
			{[]relay.EventKind{relay.EventReceived, relay.EventDeferred, relay.EventHeld, relay.EventReleased}, MailProcessed},
			{[]relay.EventKind{relay.EventReceived, relay.EventDropped, relay.EventHeld}, MailDropped},
		} {
			for _, apart := range []bool{false, true} {
				id := relay.MessageID{ID: relay.NewID(at)}
				for j, kind := range c.kinds {
					d := relay.EventData{Attempt: j, Reply: "r"}
					e := relay.Event{At: at.Add(time.Duration(j) * time.Second), Kind: kind, Tenant: testTenant, Message: id, N: 0, Recipient: "r@x.test"}
					switch kind {
					case relay.EventReceived:
						e.At, e.N, e.Recipient = at, -1, ""
						d = relay.EventData{From: "f@x.test", EnvelopeFrom: "e@x.test", Subject: "s", Recipients: []string{"r@x.test"}}
					case relay.EventHeld, relay.EventReleased:
						e.N, e.Recipient = -1, ""
					}
					e.Data, _ = json.Marshal(d)
					putEvents(t, s, []relay.Event{e})
					if apart {
						indexAll(t, s, 10)
					}
				}
				indexAll(t, s, 10)
				got := findAll(t, s, MailFilter{ID: id.String()})
				if len(got) != 1 || got[0].State != c.want || got[0].Subject != "s" || got[0].EnvelopeFrom != "e@x.test" || !got[0].AcceptedAt.Equal(at) {
					t.Errorf("%d, apart %v: %v gives %+v, want %s", i, apart, c.kinds, got, c.want)
				}
			}
		}
	})
}

// recount sums the hourly counts anew, from the log.
func recount(t testing.TB, s *Store) mailCounts {
	t.Helper()
	events, _ := drain(t, s, Cursor{}, 1000)
	b := newIndexBatch(s)
	for i := range events {
		b.add(&events[i])
	}
	return b.counts
}

// wantCounts compares the stored counts with a recount.
func wantCounts(t testing.TB, s *Store) {
	t.Helper()
	want := recount(t, s)
	got := mailCounts{}
	for _, table := range s.tables(mailHourFamily, 0, endOfTime) {
		rs, err := s.db.Query("SELECT " + mailHourColumns + " FROM " + table)
		if err != nil {
			t.Fatal(err)
		}
		for rs.Next() {
			var k mailHour
			var id []byte
			var n [countKinds]int64
			if err := rs.Scan(&k.kind, &id, &k.at, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6]); err != nil {
				t.Fatal(err)
			}
			k.id = idOf(id)
			got[k] = &n
		}
		if err := rs.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rs.Close()
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mailHour{}, countSubject{})); diff != "" {
		t.Errorf("counts differ from the log: %s", diff)
	}
}

// TestIndexCountsOnce: whatever fails when, and however often the process dies, the
// counts are those of the events.
func TestIndexCountsOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var f faults
		cfg.fault = f.hook
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		l := newLogged(t, s, 11)
		l.fill(150)
		left := l.events
		for round := range 12 {
			n := min(len(left), len(l.events)/12+1)
			putEvents(t, s, left[:n])
			left = left[n:]
			fault := []string{"", "index mail", "commit", "committed"}[round%4]
			if _, err := indexOnce(s, 20); err != nil {
				t.Fatal(err)
			}
			if fault != "" {
				f.set(fault, 1, errInjected)
				_, err := indexOnce(s, 20)
				if err == nil && fault == "index mail" {
					t.Error("the fault was not met")
				}
				f.set(fault, 0, nil)
				if errors.Is(err, ErrStopped) || round%3 == 2 { // the process dies
					_ = stop()
					again := killed(t, s, s.cfg)
					_ = s.Close()
					s, _ = openTest(t, again)
					stop = runTest(t, s)
				}
			}
		}
		putEvents(t, s, left)
		indexAll(t, s, 50)
		wantCounts(t, s)
		if got := findAll(t, s, MailFilter{Limit: 1000}); len(got) != len(l.rows) {
			t.Errorf("%d rows, want %d", len(got), len(l.rows))
		}
	})
}

// TestIndexTwice: of two who index the same events at the same time one has an
// effect, and the other is told.
func TestIndexTwice(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		other := s
		if cfg.URL != "" {
			other = newTest(t, cfg)
		}
		l := newLogged(t, s, 3)
		l.fill(320)
		putEvents(t, s, l.events)
		ctx := context.Background()
		events, next, err := s.ReadEvents(ctx, Cursor{}, 5000)
		if err != nil || len(events) < 2*indexPart {
			t.Fatal(len(events), err)
		}
		done := make(chan error)
		for _, by := range []*Store{s, other} {
			go func() { done <- by.ApplyIndex(ctx, events, next) }()
		}
		errs := []error{<-done, <-done}
		for _, err := range errs {
			if err != nil && !errors.Is(err, ErrLeaseLost) {
				t.Error(err)
			}
		}
		if errs[0] == nil && errs[1] == nil {
			t.Error("both had an effect")
		}
		indexAll(t, s, 500)
		wantCounts(t, s)
	})
}
