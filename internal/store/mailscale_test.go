package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

// mailCrowd makes mail of many tenants: 20 accounts, the first of which has half of the
// mail, a third of it by 100 subusers; 3 keys and 5 senders each; recipients that
// come again; a hundredth bounces, a fiftieth is deferred first.
type mailCrowd struct {
	rng      *rand.Rand
	accounts []relay.AccountID
	subusers []relay.SubuserID
	keys     map[relay.Tenant][3]relay.KeyID
	from, to time.Time
}

func newMailCrowd(to time.Time) *mailCrowd {
	c := &mailCrowd{rng: rand.New(rand.NewPCG(1, 2)), keys: map[relay.Tenant][3]relay.KeyID{}, from: to.Add(-29 * 24 * time.Hour), to: to}
	for range 20 {
		c.accounts = append(c.accounts, relay.AccountID{ID: relay.NewID(to)})
	}
	for range 100 {
		c.subusers = append(c.subusers, relay.SubuserID{ID: relay.NewID(to)})
	}
	return c
}

var crowdWords = []string{"invoice", "order", "welcome", "reset", "your", "password", "shipped", "weekly", "digest", "offer", "receipt", "reminder",
	"confirm", "address", "team", "update", "security", "alert", "new", "login"}

// recipient is the k-th address that anybody writes to; some domains have most.
func crowdRecipient(k int) string {
	domain := "gmail.test"
	if k%3 != 0 {
		domain = "d" + strconv.Itoa(k%2000) + ".test"
	}
	return "user" + strconv.Itoa(k) + "@" + domain
}

// life makes the events of message i of n.
func (c *mailCrowd) life(i, n int) []relay.Event {
	at := c.from.Add(time.Duration(float64(c.to.Sub(c.from)) * float64(i) / float64(n))).Truncate(time.Microsecond)
	t := relay.Tenant{Account: c.accounts[max(0, c.rng.IntN(38)-18)]}
	if t.Account == c.accounts[0] && c.rng.IntN(3) == 0 {
		t.Subuser = c.subusers[c.rng.IntN(len(c.subusers))]
	}
	keys, ok := c.keys[t]
	if !ok {
		for k := range keys {
			keys[k].ID = relay.NewID(at)
		}
		c.keys[t] = keys
	}
	from := fmt.Sprintf("team%d@shop%x.test", c.rng.IntN(5), t.Account.ID[14:])
	rcpt := crowdRecipient(c.rng.IntN(300_000))
	id := relay.MessageID{ID: relay.NewID(at)}
	word := func() string { return crowdWords[c.rng.IntN(len(crowdWords))] }
	base := relay.Event{At: at, Tenant: t, Key: keys[c.rng.IntN(3)], Message: id, N: -1}
	received := base
	received.Kind = relay.EventReceived
	received.Data = fmt.Appendf(nil, `{"envelope_from":"%s","from":"%s","subject":"%s %s %s %d","smtp_id":"<%d@shop.test>","size":10240,"recipients":["%s"],"source":{"helo":"client.example.test","protocol":"ESMTPSA","tls":"TLSv1.3 TLS_AES_128_GCM_SHA256"}}`,
		from, from, word(), word(), word(), i, i, rcpt)
	out := []relay.Event{received}
	base.N, base.Recipient = 0, rcpt
	if i%50 == 0 {
		base.Kind, base.At = relay.EventDeferred, base.At.Add(time.Second)
		base.Data = []byte(`{"attempt":1,"code":451,"reply":"451 4.7.1 greylisted, try again later","host":"mx.site.test"}`)
		out = append(out, base)
	}
	base.At, base.Kind = base.At.Add(time.Second), relay.EventDelivered
	base.Data = []byte(`{"attempt":1,"code":250,"reply":"250 2.0.0 Ok: queued as 4XyZ","host":"mx.site.test","ip":"192.0.2.1","tls":"TLSv1.3 TLS_AES_128_GCM_SHA256","duration_ms":12}`)
	if i%100 == 1 {
		base.Kind, base.Data = relay.EventBounced, []byte(`{"attempt":1,"code":550,"reply":"550 5.1.1 no such user","host":"mx.site.test"}`)
	}
	return append(out, base)
}

// fill brings n messages through the log into the index. It returns what indexing
// took of the processor.
func (c *mailCrowd) fill(t testing.TB, s *Store, n int) (cpu time.Duration) {
	t.Helper()
	for i := 0; i < n; {
		var events []relay.Event
		for ; i < n && len(events) < 20_000; i++ {
			events = append(events, c.life(i, n)...)
		}
		slices.SortStableFunc(events, func(a, b relay.Event) int { return a.At.Compare(b.At) })
		putEvents(t, s, events)
		began := cpuTime()
		indexAll(t, s, 1000)
		cpu += cpuTime() - began
	}
	return cpu
}

// TestManySearched measures searching and counting. It needs minutes and a gigabyte
// for a million messages, so it runs with POSTERN_TEST_SEARCHED=1000000 only
// (POSTERN_TEST_SEARCHED_ON=postgres for the other engine); a few thousand are always
// tried.
func TestManySearched(t *testing.T) {
	t.Parallel()
	n, rounds := 2000, 3
	if v := os.Getenv("POSTERN_TEST_SEARCHED"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
		rounds = 60
	}
	cfg := Config{KeepEvents: 40 * 24 * time.Hour}
	if os.Getenv("POSTERN_TEST_SEARCHED_ON") == "postgres" {
		cfg.URL, cfg.LeaseTime = sharedPg(t).Database(t), time.Hour
	}
	s := newTest(t, cfg)
	now := time.Now().UTC()
	c := newMailCrowd(now)
	began := time.Now()
	before := tableOctets(t, s)
	cpu := c.fill(t, s, n)
	t.Logf("%d messages indexed in %v; %v of CPU each; octets a row: %v", n, time.Since(began).Round(time.Second), cpu/time.Duration(n), octetsEach(before, tableOctets(t, s), n))
	// Indexing dirties pages all over; the log must be copied in time nevertheless.
	if wal := s.eng.walSize(); wal > 128<<20 {
		t.Errorf("the write-ahead log has grown to %d MiB", wal>>20)
	}
	account := MailFilter{Tenant: relay.Tenant{Account: c.accounts[0]}, Subusers: true, Limit: 50}
	small := MailFilter{Tenant: relay.Tenant{Account: c.accounts[7]}, Subusers: true, Limit: 50}
	some := func() string { return crowdRecipient(c.rng.IntN(300_000)) }
	found := findAll(t, s, MailFilter{Tenant: account.Tenant, Subusers: true, Since: now.Add(-12 * time.Hour), Limit: 1000})
	if len(found) == 0 {
		t.Fatal("nothing is found")
	}
	day := func() time.Time { return c.from.Add(time.Duration(c.rng.IntN(28*24)) * time.Hour) }
	for _, m := range []struct {
		name string
		f    func(*MailFilter)
	}{
		{"newest", func(*MailFilter) {}},
		{"recipient", func(f *MailFilter) { f.Recipient = some() }},
		{"recipient, prefix", func(f *MailFilter) { f.Recipient, f.Prefix = fmt.Sprint("user", 1000+c.rng.IntN(9000)), true }},
		{"recipient, short prefix", func(f *MailFilter) { f.Recipient, f.Prefix = "user2", true }},
		{"sender", func(f *MailFilter) { f.Sender = found[c.rng.IntN(len(found))].From }},
		{"sender, prefix", func(f *MailFilter) { f.Sender, f.Prefix = fmt.Sprint("team", c.rng.IntN(5)), true }},
		{"id", func(f *MailFilter) { f.ID = found[c.rng.IntN(len(found))].Message.String() }},
		{"id, prefix", func(f *MailFilter) { f.ID = found[c.rng.IntN(len(found))].Message.String()[:7] }},
		{"key", func(f *MailFilter) { f.Key = found[c.rng.IntN(len(found))].Key }},
		{"recipients' domain, rare", func(f *MailFilter) { f.Domain = fmt.Sprintf("d%d.test", c.rng.IntN(2000)) }},
		{"recipients' domain, frequent", func(f *MailFilter) { f.Domain = "gmail.test" }},
		{"sender's domain", func(f *MailFilter) { f.Domain = domainOf(found[0].From) }},
		{"bounced", func(f *MailFilter) { f.State = MailBounced }},
		{"delivered", func(f *MailFilter) { f.State = MailDelivered }},
		{"held (none)", func(f *MailFilter) { f.State = MailHeld }},
		{"an hour", func(f *MailFilter) { f.Since = day(); f.Until = f.Since.Add(time.Hour) }},
		{"subject, two words", func(f *MailFilter) { f.Subject = crowdWords[c.rng.IntN(20)] + " " + crowdWords[c.rng.IntN(20)] }},
		{"subject, one message, in a day", func(f *MailFilter) {
			f.Subject = strconv.Itoa(c.rng.IntN(n))
			f.Since = day()
			f.Until = f.Since.Add(24 * time.Hour)
		}},
		{"subject that nothing has, one request", func(f *MailFilter) { f.Subject = "zzz" }},
		{"bounced of a key in a week", func(f *MailFilter) {
			f.State, f.Key, f.Since = MailBounced, found[c.rng.IntN(len(found))].Key, now.Add(-7*24*time.Hour)
		}},
	} {
		for who, base := range map[string]MailFilter{"large": account, "small": small} {
			times := make([]time.Duration, 0, rounds)
			rows, cpu := 0, cpuTime()
			for range rounds {
				f := base
				m.f(&f)
				began := time.Now()
				got, _, err := s.FindMail(context.Background(), f)
				if err != nil {
					t.Fatal(m.name, err)
				}
				times, rows = append(times, time.Since(began)), rows+len(got)
			}
			t.Logf("%-40s %s: p50 %v, p95 %v, CPU %v, %d rows", m.name, who, middle(times, 50), middle(times, 95), (cpuTime()-cpu)/time.Duration(rounds), rows/rounds)
		}
	}
	for name, f := range map[string]CountFilter{
		"30 days by day": {Since: now.AddDate(0, 0, -29), By: 24 * time.Hour}, "24 hours by hour": {Since: now.Add(-24 * time.Hour), By: time.Hour},
		"30 days by hour": {Since: now.AddDate(0, 0, -29), By: time.Hour},
	} {
		f.Tenant, f.Subusers = account.Tenant, true
		times := make([]time.Duration, 0, rounds)
		for range rounds {
			began := time.Now()
			if _, err := s.MailCounts(context.Background(), f); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Since(began))
		}
		t.Logf("counts, %s: p50 %v, p95 %v", name, middle(times, 50), middle(times, 95))
	}
}

// middle is a percentile.
func middle(times []time.Duration, percent int) time.Duration {
	slices.Sort(times)
	return times[(len(times)-1)*percent/100].Round(10 * time.Microsecond)
}

// tableOctets is what the tables and indexes of each family take.
func tableOctets(t testing.TB, s *Store) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for _, f := range families {
		query := `SELECT COALESCE(SUM(pgsize), 0) FROM dbstat WHERE aggregate = TRUE AND name IN (SELECT name FROM sqlite_master WHERE tbl_name LIKE $1 ESCAPE '!')`
		if s.eng.dialect() == dPostgres {
			query = `SELECT COALESCE(CAST(SUM(pg_total_relation_size(c.oid)) AS BIGINT), 0) FROM pg_class c WHERE relkind = 'r' AND relname LIKE $1 ESCAPE '!'`
		}
		var n int64
		if err := s.db.QueryRow(query, f.name+"!_%").Scan(&n); err != nil {
			t.Logf("sizes are unknown: %v", err)
			return out
		}
		out[f.name] = n
	}
	return out
}

func octetsEach(before, after map[string]int64, n int) map[string]int64 {
	out := map[string]int64{}
	for name := range after {
		out[name] = (after[name] - before[name]) / int64(n)
	}
	return out
}

// BenchmarkLifeIndexed is BenchmarkLife while search and counts follow.
func BenchmarkLifeIndexed(b *testing.B) {
	for _, workers := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			var batches atomic.Int64
			s := newTest(b, Config{OnBatch: func(BatchStats) { batches.Add(1) }})
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() {
				for tick := time.NewTicker(200 * time.Millisecond); ctx.Err() == nil; <-tick.C {
					for n := 1; n > 0 && ctx.Err() == nil; {
						var err error
						if n, err = indexOnce(s, 1000); err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
			benchLife(b, s, &batches, workers)
			b.StopTimer()
			cancel()
			wg.Wait()
		})
	}
}
