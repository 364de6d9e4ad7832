package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

func testRequest(key string) Idempotency {
	return Idempotency{Tenant: testTenant, Key: key, Route: "POST /v3/mail/send", Request: sha256.Sum256([]byte(key))}
}

// answerOf is a request with its answer.
func answerOf(i Idempotency) Idempotency {
	i.Status, i.Header, i.Body = 202, map[string]string{"X-Message-Id": "x"}, []byte(`{"secret":"answer"}`)
	return i
}

func wantAnswer(t testing.TB, s *Store, i Idempotency) {
	t.Helper()
	found, err := s.ClaimIdempotency(context.Background(), i)
	if err != nil || found == nil || found.Pending {
		t.Fatalf("found %+v, %v", found, err)
	}
	want := answerOf(i)
	want.CreatedAt = found.CreatedAt
	same(t, "answer", want, *found, nil)
}

// AP-13: a key is its tenant's, its route's and its request's.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		i := testRequest("a\x00key\xff")
		if found, err := s.ClaimIdempotency(ctx, i); found != nil || err != nil {
			t.Fatalf("first: %+v, %v", found, err)
		}
		if found, err := s.ClaimIdempotency(ctx, i); err != nil || found == nil || !found.Pending || found.Request != i.Request {
			t.Errorf("second, meanwhile: %+v, %v", found, err)
		}
		// Whose key, and for what, tells requests apart.
		for _, edit := range []func(*Idempotency){
			func(o *Idempotency) { o.Tenant.Subuser = testSubuser },
			func(o *Idempotency) { o.Tenant.Account.ID[15]++ },
			func(o *Idempotency) { o.Key = "a" },
			func(o *Idempotency) { o.Route = "POST /v3/api_keys" },
		} {
			other := i
			edit(&other)
			if found, err := s.ClaimIdempotency(ctx, other); found != nil || err != nil {
				t.Errorf("another's: %+v, %v", found, err)
			}
		}
		wrong := answerOf(i)
		wrong.Request[0]++
		if err := s.FinishIdempotency(ctx, wrong); relay.KindOf(err) != relay.Conflict {
			t.Errorf("answer to another request: %v", err)
		}
		if err := s.FinishIdempotency(ctx, answerOf(i)); err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, s, i)
		if err := s.FinishIdempotency(ctx, answerOf(i)); relay.KindOf(err) != relay.Conflict {
			t.Errorf("answered twice: %v", err)
		}
		if err := s.DropIdempotency(ctx, i.Tenant, i.Key, i.Route); err != nil {
			t.Error(err)
		}
		wantAnswer(t, s, i) // what was answered stays
		dropped := testRequest("dropped")
		if _, err := s.ClaimIdempotency(ctx, dropped); err != nil {
			t.Fatal(err)
		}
		if err := s.DropIdempotency(ctx, dropped.Tenant, dropped.Key, dropped.Route); err != nil {
			t.Fatal(err)
		}
		if found, err := s.ClaimIdempotency(ctx, dropped); found != nil || err != nil {
			t.Errorf("after a claim was given back: %+v, %v", found, err)
		}
		long := testRequest(strings.Repeat("k", maxIdemText+1))
		if _, err := s.ClaimIdempotency(ctx, long); !errors.Is(err, errIdempotency) {
			t.Errorf("a long key: %v", err)
		}
	})
}

// AP-13: who reads the database reads no answer, and one that was
// changed or moved is not given.
func TestAnswersAreSealed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		for _, key := range []string{"one", "two"} {
			if err := s.FinishIdempotency(ctx, answerOf(testRequest(key))); err != nil {
				t.Fatal(err)
			}
		}
		var body []byte
		if err := s.db.QueryRow(`SELECT body FROM idempotency WHERE idem_key = $1`, []byte("one")).Scan(&body); err != nil || bytes.Contains(body, []byte("secret")) {
			t.Errorf("stored %q, %v", body, err)
		}
		if err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.Exec(`UPDATE idempotency SET body = $1 WHERE idem_key = $2`, body, []byte("two"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ClaimIdempotency(ctx, testRequest("two")); !errors.Is(err, ErrDamaged) {
			t.Errorf("another request's answer: %v", err)
		}
	})
}

// AP-13: of parallel twins one is first, and the others learn of it.
func TestClaimsAreExclusive(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		var first atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				found, err := s.ClaimIdempotency(context.Background(), testRequest("same"))
				if err != nil {
					t.Error(err)
				}
				if found == nil {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if first.Load() != 1 {
			t.Errorf("%d were first", first.Load())
		}
	})
}

// TestAnswersEnd after a day, swept or not.
func TestAnswersEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		var shift atomic.Int64
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
		s := newTest(t, cfg)
		ctx := context.Background()
		for _, key := range []string{"one", "two"} {
			if err := s.FinishIdempotency(ctx, answerOf(testRequest(key))); err != nil {
				t.Fatal(err)
			}
		}
		shift.Store(int64(keepAnswers - time.Minute))
		wantAnswer(t, s, testRequest("one"))
		shift.Store(int64(keepAnswers + time.Minute))
		if found, err := s.ClaimIdempotency(ctx, testRequest("one")); found != nil || err != nil {
			t.Errorf("after a day: %+v, %v", found, err)
		}
		if err := s.sweepAnswers(ctx, s.cfg.Now()); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, s, "idempotency"); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

// TestAcceptAll: all messages and the answer, or nothing of it.
func TestAcceptAll(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, now := context.Background(), time.Now()
		account := relay.NewID(now)
		batch := func() []*Acceptance {
			all := []*Acceptance{mail(t, s, 1, 10, false), mail(t, s, 2, 300_000, true), mail(t, s, 0, 0, false)}
			for _, a := range all {
				a.Usage = usageOf(now, 2, account)
			}
			return all
		}
		i := testRequest("send")
		if _, err := s.ClaimIdempotency(ctx, i); err != nil {
			t.Fatal(err)
		}
		as, ans := batch(), answerOf(i)
		if err := s.AcceptAll(ctx, as, &ans); err != nil {
			t.Fatal(err)
		}
		wantRows(t, s, 2, 3, rows(t, s, "bodies"), 0)
		wantUsed(t, s, account, 6)
		wantAnswer(t, s, i)
		sameOctets(t, readAll(t, s, as[1].Message.ID)[len(testHead):], octetsOf(as[1].Message.ID, 300_000))
		// The same request again stores nothing.
		again := batch()
		if err := s.AcceptAll(ctx, again, &ans); relay.KindOf(err) != relay.Conflict {
			t.Errorf("answered before: %v", err)
		}
		if err := again[1].Body.Discard(ctx); err != nil {
			t.Error(err)
		}
		// One that cannot be stored takes the others and the answer with it.
		bad, other := batch(), answerOf(testRequest("bad"))
		bad[0].Message.ID, bad[0].Body = as[0].Message.ID, nil
		if err := s.AcceptAll(ctx, bad, &other); relay.KindOf(err) != relay.Conflict {
			t.Errorf("an id that is taken: %v", err)
		}
		if err := bad[1].Body.Discard(ctx); err != nil {
			t.Error(err)
		}
		if found, err := s.ClaimIdempotency(ctx, testRequest("bad")); found != nil || err != nil {
			t.Errorf("answer of what was not stored: %+v, %v", found, err)
		}
		wantUsed(t, s, account, 6)
		wantRows(t, s, 2, 3, rows(t, s, "bodies"), 0)
		if err := s.AcceptAll(ctx, []*Acceptance{mail(t, s, 1, 0, false)}, nil); err != nil {
			t.Errorf("without a key: %v", err)
		}
		if err := s.AcceptAll(ctx, nil, nil); err != nil {
			t.Error(err)
		}
		checkInvariants(t, s)
	})
}

// TestAcceptAllAndAKill: after a kill at the commit, the repeated request finds
// either the answer and the mail, or a claim without answer and no mail.
func TestAcceptAllAndAKill(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point   string
		pending bool
		stored  int
	}{{"commit", true, 0}, {"committed", false, 2}} {
		t.Run(c.point, func(t *testing.T) {
			t.Parallel()
			var f faults
			s, _ := openTest(t, Config{fault: f.hook})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			i := testRequest("send")
			if _, err := s.ClaimIdempotency(ctx, i); err != nil {
				t.Fatal(err)
			}
			f.set(c.point, 1, errInjected)
			ans := answerOf(i)
			if err := s.AcceptAll(ctx, []*Acceptance{mail(t, s, 1, 10, false), mail(t, s, 1, 10, false)}, &ans); !errors.Is(err, ErrStopped) {
				t.Fatalf("accept: %v", err)
			}
			<-done
			cfg := killed(t, s, s.cfg)
			cfg.fault = nil
			s2 := newTest(t, cfg)
			found, err := s2.ClaimIdempotency(context.Background(), i)
			if err != nil || found == nil || found.Pending != c.pending {
				t.Errorf("found %+v, %v", found, err)
			}
			if n := rows(t, s2, "messages"); n != c.stored {
				t.Errorf("%d messages", n)
			}
		})
	}
}
