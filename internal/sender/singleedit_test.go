package sender

import (
	"testing"

	"postern/internal/relay"
)

// Somebody renames a sender on one node while another one mails its link anew: the
// new name stays, the link that is mailed is the one that works, and one letter is
// mailed.
func TestSingleEditsOnTwoNodes(t *testing.T) {
	t.Parallel()
	s, f, _ := singlesWorld()
	ctx := t.Context()
	if _, err := s.Create(ctx, bySingle, newSingle("ann@else.test")); err != nil {
		t.Fatal(err)
	}
	f.other = func(n *relay.SingleSender) { n.Nickname = "renamed" }
	if err := s.Resend(ctx, bySingle, 1); err != nil {
		t.Fatal(err)
	}
	if len(f.letters) != 2 || f.rows[0].Nickname != "renamed" {
		t.Errorf("%d letters, %+v", len(f.letters), f.rows[0])
	}
	f.other = func(n *relay.SingleSender) { n.City = "Paris" }
	got, err := s.Update(ctx, bySingle, 1, func(n relay.SingleSender) relay.SingleSender { n.Nickname = "again"; return n })
	if err != nil || got.Nickname != "again" || f.rows[0].City != "Paris" || f.rows[0].Nickname != "again" {
		t.Errorf("%+v, %v", f.rows[0], err)
	}
	// It is proven elsewhere in the moment before: there is nothing to mail.
	f.other = func(n *relay.SingleSender) { n.VerifiedAt, n.Secret = n.CreatedAt, nil }
	if err := s.Resend(ctx, bySingle, 1); relay.KindOf(err) != relay.Conflict || len(f.letters) != 2 {
		t.Errorf("%v, %d letters", err, len(f.letters))
	}
}
