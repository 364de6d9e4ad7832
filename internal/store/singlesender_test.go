package store

import (
	"context"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestSingleSenders(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		tenant, its := relay.Tenant{Account: a}, relay.Tenant{Account: a, Subuser: c.subuser(a)}
		row := relay.SingleSender{Tenant: tenant, Nickname: "n", FromEmail: "Me@Else.test", Address: "Me@else.test", FromName: "f", ReplyTo: "r@else.test",
			ReplyToName: "rn", Street: "s", Street2: "s2", City: "K\u00f6ln", State: "st", Zip: "z", Country: "c", VerifiedAt: c.now,
			Secret: []byte{1, 2}, MailedAt: c.now, ValidUntil: c.now.Add(48 * time.Hour), CreatedAt: c.now}
		made, err := s.CreateSender(ctx, testBy, row)
		if err != nil || made.Number <= 0 {
			t.Fatalf("%+v, %v", made, err)
		}
		row.Number, row.VerifiedAt = made.Number, time.Time{} // nobody is proven from the start
		same(t, "made", row, made, nil)
		got, err := s.Sender(ctx, made.Number)
		same(t, "read", row, got, err)
		if _, err := s.CreateSender(ctx, testBy, row); relay.KindOf(err) != relay.Conflict {
			t.Errorf("the same address again: %v", err)
		}
		second := row
		second.Tenant, second.Secret = its, nil
		second, err = s.CreateSender(ctx, testBy, second)
		if err != nil || second.Number != made.Number+1 {
			t.Errorf("of the subuser: %+v, %v", second, err)
		}
		for who, want := range map[relay.Tenant]int{tenant: 1, its: 1, {}: 2, {Account: c.account()}: 0} {
			if all, err := s.Senders(ctx, who); err != nil || len(all) != want {
				t.Errorf("%v: %d, %v", who, len(all), err)
			}
		}
		row.Nickname, row.Zip = "other", "9"
		if err := editSender(s, row); err != nil {
			t.Fatal(err)
		}
		got, err = s.Sender(ctx, made.Number)
		same(t, "updated", row, got, err)
		rev := s.Revision()
		if err := s.DeleteSender(ctx, testBy, made.Number, c.now); err != nil {
			t.Fatal(err)
		}
		if delta, err := s.Snapshot(ctx, rev); err != nil || len(delta.Senders) != 1 || delta.Senders[0].DeletedAt.IsZero() {
			t.Errorf("those who follow: %+v, %v", delta, err)
		}
		for what, err := range map[string]error{
			"read":    created(s.Sender(ctx, made.Number)),
			"updated": editSender(s, row),
			"deleted": s.DeleteSender(ctx, testBy, made.Number, c.now),
			"link":    created(s.SenderBySecret(ctx, []byte{1, 2})),
			"used":    created(s.VerifySender(ctx, testBy, []byte{1, 2}, c.now)),
		} {
			if relay.KindOf(err) != relay.NotFound {
				t.Errorf("%s after its end: %v", what, err)
			}
		}
		if again, err := s.CreateSender(ctx, testBy, row); err != nil || again.Number <= second.Number {
			t.Errorf("the address again: %+v, %v", again, err)
		}
	})
}

// A link works once, until it ends, and only for the address that it was mailed to.
func TestSenderLinks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		tenant := relay.Tenant{Account: c.account()}
		until := c.now.Add(48 * time.Hour)
		n := byte(0)
		link := func(address string) relay.SingleSender {
			t.Helper()
			n++
			v, err := s.CreateSender(ctx, testBy, relay.SingleSender{Tenant: tenant, Address: address, FromEmail: address, Secret: []byte{n}, ValidUntil: until, CreatedAt: c.now})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		gone := func(what string, secret []byte, at time.Time) {
			t.Helper()
			if v, err := s.VerifySender(ctx, testBy, secret, at); relay.KindOf(err) != relay.NotFound {
				t.Errorf("%s: %+v, %v", what, v, err)
			}
		}
		v := link("once@else.test")
		gone("no link", nil, c.now)
		gone("another link", []byte{99}, c.now)
		gone("at its end", v.Secret, until)
		if got, err := s.SenderBySecret(ctx, v.Secret); err != nil || got.Number != v.Number || !got.VerifiedAt.IsZero() {
			t.Errorf("looking uses it: %+v, %v", got, err)
		}
		got, err := s.VerifySender(ctx, testBy, v.Secret, until.Add(-time.Microsecond))
		if err != nil || got.VerifiedAt != until.Add(-time.Microsecond) || got.Secret != nil {
			t.Errorf("used: %+v, %v", got, err)
		}
		gone("a second time", v.Secret, c.now)
		// Whoever has the row of before in hand does not bring the link back.
		if err := editSender(s, v); err != nil {
			t.Fatal(err)
		}
		gone("after an update by an old row", v.Secret, c.now)
		if got, err := s.Sender(ctx, v.Number); err != nil || got.VerifiedAt.IsZero() {
			t.Errorf("an update took the proof: %+v, %v", got, err)
		}
		// Another address is another proof, and the link that went to the old one is void.
		w := link("old@else.test")
		moved := w
		moved.Address = "new@else.test"
		if err := editSender(s, moved); err != nil {
			t.Fatal(err)
		}
		gone("the old address's link", w.Secret, c.now)
		v.Address = "else@else.test"
		if err := editSender(s, v); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Sender(ctx, v.Number); err != nil || !got.VerifiedAt.IsZero() {
			t.Errorf("the proof moved to another address: %+v, %v", got, err)
		}
		if snap, err := s.Snapshot(ctx, 0); err != nil || len(snap.Senders) != 2 || snap.Senders[0].Secret != nil || snap.Senders[1].Secret != nil {
			t.Errorf("snapshot %+v, %v", snap, err)
		}
		race := link("race@else.test")
		var wg sync.WaitGroup
		errs := make([]error, 5)
		for i := range errs {
			wg.Go(func() { _, errs[i] = s.VerifySender(ctx, testBy, race.Secret, c.now) })
		}
		wg.Wait()
		used := 0
		for _, err := range errs {
			if err == nil {
				used++
			} else if relay.KindOf(err) != relay.NotFound {
				t.Error(err)
			}
		}
		if used != 1 {
			t.Errorf("used %d times", used)
		}
	})
}
