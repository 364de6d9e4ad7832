package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"postern/internal/relay"
)

// AP-01: what is counted is the tenant's, and with wide its subusers'; nothing of
// others.
func TestTenantQueue(t *testing.T) {
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		now := time.Now().UTC().Truncate(time.Microsecond)
		cfg.Now = nil
		sub := relay.Tenant{Account: testTenant.Account, Subuser: testSubuser}
		other := relay.Tenant{Account: relay.AccountID{ID: relay.NewID(now)}}
		put := func(of relay.Tenant, site string, n int, leased bool, due time.Time) *Acceptance {
			a := mail(t, s, n, 0, leased)
			a.Message.Tenant = of
			for i := range a.Recipients {
				a.Recipients[i].Site, a.Recipients[i].DueAt = site, due
			}
			a.Events[0].Tenant = of
			accept(t, s, a)
			return a
		}
		first := put(testTenant, "one.test", 2, false, now.Add(-time.Minute))
		put(testTenant, "one.test", 1, false, now.Add(time.Hour))
		put(testTenant, "two.test", 3, true, now)
		put(sub, "one.test", 5, false, now.Add(-time.Minute))
		put(other, "one.test", 7, false, now.Add(-time.Minute))
		held := put(testTenant, "three.test", 1, false, now)
		if _, err := s.Hold(context.Background(), By{Who: "test"}, MessageFilter{IDs: []relay.MessageID{held.Message.ID}}, "x"); err != nil {
			t.Fatal(err)
		}
		lost := put(other, "three.test", 1, false, now)
		if err := s.Quarantine(context.Background(), lost.Message.ID, "x"); err != nil {
			t.Fatal(err)
		}
		q, err := s.TenantQueue(context.Background(), testTenant, false)
		if err != nil {
			t.Fatal(err)
		}
		if q.Waiting != 3 || q.Due != 2 || q.Leased != 3 || q.Held != 1 || q.Quarantined != 0 || len(q.Lanes) != 2 || q.More {
			t.Errorf("%+v", q)
		}
		if l := q.Lanes[0]; l.Site != "one.test" || l.Pool != testPool || l.Waiting != 3 || l.Due != 2 || l.Leased != 0 || !l.NextAt.Equal(now.Add(-time.Minute)) ||
			!l.OldestAt.Equal(first.Message.ID.Time()) || !q.OldestAt.Equal(l.OldestAt) {
			t.Errorf("%+v", l)
		}
		if l := q.Lanes[1]; l.Site != "two.test" || l.Waiting != 0 || l.Leased != 3 {
			t.Errorf("%+v", l)
		}
		for name, c := range map[string]struct {
			of   relay.Tenant
			wide bool
			want int64
		}{"wide": {testTenant, true, 8}, "subuser": {sub, false, 5}, "other": {other, false, 7}} {
			q, err := s.TenantQueue(context.Background(), c.of, c.wide)
			if err != nil || q.Waiting != c.want {
				t.Errorf("%s: %d waiting, %v; want %d", name, q.Waiting, err, c.want)
			}
		}
	})
}

// More lanes than are told of are still counted.
func TestTenantQueueIsBounded(t *testing.T) {
	s := newTest(t, Config{})
	a := mail(t, s, MaxTenantLanes+5, 0, false)
	for i := range a.Recipients {
		a.Recipients[i].Site = fmt.Sprintf("s%d.test", i)
	}
	accept(t, s, a)
	q, err := s.TenantQueue(context.Background(), testTenant, false)
	if err != nil || len(q.Lanes) != MaxTenantLanes || !q.More || q.Waiting != MaxTenantLanes+5 {
		t.Errorf("%d lanes, %v, %d waiting, %v", len(q.Lanes), q.More, q.Waiting, err)
	}
}
