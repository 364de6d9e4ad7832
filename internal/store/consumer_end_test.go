package store

import (
	"context"
	"strconv"
	"testing"
	"time"

	"postern/internal/relay"
)

// TestEndOfLogs: what stands at the end sees nothing of before and all of after,
// over restarts too; and a consumer that was kept at the beginning was kept.
func TestEndOfLogs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		accept(t, s, mail(t, s, 1, 0, false))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = newTest(t, s.cfg)
		ctx := context.Background()
		if ok, err := s.HasConsumer(ctx, "export/x/events"); ok || err != nil {
			t.Fatalf("a consumer that never was: %t, %v", ok, err)
		}
		if err := s.SetConsumer(ctx, "export/x/events", Cursor{}); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.HasConsumer(ctx, "export/x/events"); !ok || err != nil {
			t.Fatalf("a consumer at the beginning: %t, %v", ok, err)
		}
		for round := range 3 {
			accept(t, s, mail(t, s, 1, 0, false))
			end, err := s.EndOfEvents(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if all, _ := drain(t, s, end, 10); len(all) != 0 {
				t.Fatalf("round %d: %d events behind the end", round, len(all))
			}
			accept(t, s, mail(t, s, 1, 0, false))
			if all, _ := drain(t, s, end, 10); len(all) == 0 {
				t.Fatalf("round %d: nothing of what came later", round)
			}
		}
		for i := range 2 {
			end, err := s.EndOfChanges(ctx)
			if err != nil {
				t.Fatal(err)
			}
			subject := strconv.Itoa(i)
			if err := s.RecordChange(ctx, By{Who: "ann"}, relay.Change{Action: "test.made", Subject: subject}); err != nil {
				t.Fatal(err)
			}
			got, _, err := s.ReadChanges(ctx, end, 10)
			if err != nil || len(got) != 1 || got[0].Subject != subject {
				t.Fatalf("%d changes behind the end, %v", len(got), err)
			}
		}
		s.RecordLogin(relay.Login{Protocol: "smtp", Result: relay.LoginOK, Tried: "before"})
		for wait := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if all, err := s.Logins(ctx, LoginFilter{}); err != nil || time.Now().After(wait) {
				t.Fatalf("the login was not written: %v", err)
			} else if len(all) == 1 {
				break
			}
		}
		end, err := s.EndOfLogins(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := s.ReadLogins(ctx, end, time.Now().Add(time.Hour), 10); err != nil || len(got) != 0 {
			t.Errorf("%d logins behind the end, %v", len(got), err)
		}
	})
}
