package store

import (
	"context"
	"testing"
	"time"
)

// PF-09: what was put off by a clock ten years ahead is due at the next start.
func TestFarFutureIsDueAtTheNextStart(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		ctx := context.Background()
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		far, near := mail(t, s, 1, 100, false), mail(t, s, 1, 100, false)
		far.Recipients[0].DueAt = time.Now().AddDate(10, 0, 0)
		near.Recipients[0].DueAt = time.Now().Add(12 * time.Hour)
		accept(t, s, far)
		accept(t, s, near)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		s2, _ := openTest(t, killed(t, s, cfg))
		for _, c := range []struct {
			a    *Acceptance
			soon bool
		}{{far, true}, {near, false}} {
			q, err := s2.Message(ctx, c.a.Message.ID)
			if err != nil {
				t.Fatal(err)
			}
			if in := time.Until(q.Recipients[0].DueAt); (in <= 0) != c.soon || in > 12*time.Hour {
				t.Errorf("due in %v", in)
			}
		}
	})
}
