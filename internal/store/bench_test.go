package store

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/testkit/pgtest"
)

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// written is how many octets the process has handed to the kernel.
func written() int64 {
	b, _ := os.ReadFile("/proc/self/io")
	var r, w int64
	_, _ = fmt.Sscanf(string(b), "rchar: %d\nwchar: %d", &r, &w)
	return w
}

// life is a message's whole life: accepted with a lease, marked, delivered. With
// subjects its usage is counted for each of them.
func life(s *Store, body []byte, subjects ...relay.ID) error {
	ctx := context.Background()
	now := time.Now()
	id := relay.MessageID{ID: relay.NewID(now)}
	a := &Acceptance{Message: relay.Message{
		ID: id, Tenant: testTenant, Pool: testPool, State: relay.MessageQueued, EnvelopeFrom: "sender@example.test",
		ReturnPath: "b0123456789abcdef@bounce.example.test", Body: relay.Body8Bit, HeaderFrom: "sender@example.test",
		Subject: "A subject of ordinary length, as they are", HeaderID: "<0123456789@example.test>", Size: int64(len(body)),
		AcceptedAt: now, ExpiresAt: now.Add(96 * time.Hour),
		Source: relay.Source{Helo: "client.example.test", Protocol: "ESMTPSA", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256", Mechanism: "PLAIN"},
	}, Head: body[:600]}
	a.Recipients = []relay.Recipient{{N: 0, Address: "recipient@site.test", Site: "site.test", DueAt: now, Lease: s.Epoch(), Generation: 1}}
	data := []byte(`{"envelope_from":"sender@example.test","from":"sender@example.test","subject":"A subject of ordinary length, as they are","smtp_id":"<0123456789@example.test>","size":10240,"recipients":["recipient@site.test"],"source":{"helo":"client.example.test","protocol":"ESMTPSA","tls":"TLSv1.3 TLS_AES_128_GCM_SHA256"}}`)
	a.Events = []relay.Event{{At: now, Kind: relay.EventReceived, Tenant: testTenant, Message: id, N: -1, Data: data}}
	a.Body = s.BodyOf(id, body[600:])
	a.Usage = usageOf(now, 1, subjects...)
	if err := s.Accept(ctx, a); err != nil {
		return err
	}
	p := s.Start(ctx, []Ref{{Message: id, N: 0, Generation: 1}})
	if err := p.Wait(ctx); err != nil {
		return err
	}
	return s.Finish(ctx, Result{Message: id, Recipients: []RecipientResult{{N: 0, Generation: 1, Final: true}},
		Events: []relay.Event{{At: time.Now(), Kind: relay.EventDelivered, Tenant: testTenant, Message: id, Recipient: "recipient@site.test",
			Data: []byte(`{"attempt":1,"code":250,"reply":"250 2.0.0 Ok: queued as 4XyZ","host":"mx.site.test","ip":"192.0.2.1","tls":"TLSv1.3 TLS_AES_128_GCM_SHA256","duration_ms":12}`)}}})
}

func benchLife(b *testing.B, s *Store, batches *atomic.Int64, workers int, subjects ...relay.ID) {
	body := octetsOf(relay.MessageID{}, 10<<10)
	batches.Store(0)
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	cpu, began, wrote := cpuTime(), time.Now(), written()
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := life(s, body, subjects...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n := float64(b.N)
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/n, "cpu-µs/msg")
	b.ReportMetric(float64(written()-wrote)/n/1024, "KB-written/msg")
	b.ReportMetric(n/time.Since(began).Seconds(), "msgs/s")
	b.ReportMetric(float64(batches.Load())/n, "syncs/msg")
}

// BenchmarkLife is the whole life of a message with a 10 KB body, every step synced.
func BenchmarkLife(b *testing.B) {
	for _, workers := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			var batches atomic.Int64
			s := newTest(b, Config{OnBatch: func(BatchStats) { batches.Add(1) }})
			benchLife(b, s, &batches, workers)
		})
	}
}

// BenchmarkLifeCounted is the same with the credits of an account, a subuser and a
// key counted in the accepting commit.
func BenchmarkLifeCounted(b *testing.B) {
	for _, workers := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			var batches atomic.Int64
			s := newTest(b, Config{OnBatch: func(BatchStats) { batches.Add(1) }})
			benchLife(b, s, &batches, workers, relay.NewID(time.Now()), relay.NewID(time.Now()), relay.NewID(time.Now()))
		})
	}
}

// BenchmarkLifePostgres is the same over PostgreSQL, which syncs each commit.
func BenchmarkLifePostgres(b *testing.B) {
	pg, err := pgtest.New("fsync=on")
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(pg.Close)
	for _, workers := range []int{20, 200} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			var batches atomic.Int64
			s := newTest(b, Config{URL: pg.Database(b), LeaseTime: time.Hour, OnBatch: func(BatchStats) { batches.Add(1) }})
			benchLife(b, s, &batches, workers)
		})
		b.Run(fmt.Sprintf("counted,goroutines=%d", workers), func(b *testing.B) {
			var batches atomic.Int64
			s := newTest(b, Config{URL: pg.Database(b), LeaseTime: time.Hour, OnBatch: func(BatchStats) { batches.Add(1) }})
			benchLife(b, s, &batches, workers, relay.NewID(time.Now()), relay.NewID(time.Now()), relay.NewID(time.Now()))
		})
	}
}
