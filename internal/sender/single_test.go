package sender

import (
	"bytes"
	"context"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/store"
)

// singleFake is a store, a directory and a letter box.
type singleFake struct {
	rows    []relay.SingleSender
	domains map[string]relay.AccountID
	letters []struct{ to, subject, text string }
	other   func(*relay.SingleSender) // another node's edit, once, in the moment before a swap
}

func (f *singleFake) CreateSender(_ context.Context, _ store.By, s relay.SingleSender) (relay.SingleSender, error) {
	s.Number = int64(len(f.rows) + 1)
	f.rows = append(f.rows, s)
	return s, nil
}

func (f *singleFake) SwapSender(_ context.Context, _ store.By, was, s relay.SingleSender) error {
	row := &f.rows[s.Number-1]
	if other := f.other; other != nil {
		f.other = nil
		other(row)
	}
	if !reflect.DeepEqual(*row, was) {
		return &relay.Error{Kind: relay.Conflict, Public: "too late", Err: store.ErrMeanwhile}
	}
	*row = s
	return nil
}

func (f *singleFake) DeleteSender(_ context.Context, _ store.By, n int64, at time.Time) error {
	f.rows[n-1].DeletedAt = at
	return nil
}

func (f *singleFake) Sender(_ context.Context, n int64) (relay.SingleSender, error) {
	return f.rows[n-1], nil
}

func (f *singleFake) Senders(_ context.Context, t relay.Tenant) (out []relay.SingleSender, _ error) {
	for _, r := range f.rows {
		if r.Tenant == t && r.DeletedAt.IsZero() {
			out = append(out, r)
		}
	}
	return out, nil
}

func (f *singleFake) SenderBySecret(_ context.Context, sum []byte) (relay.SingleSender, error) {
	for _, r := range f.rows {
		if len(r.Secret) > 0 && bytes.Equal(r.Secret, sum) {
			return r, nil
		}
	}
	return relay.SingleSender{}, relay.E(relay.NotFound, "no")
}

func (f *singleFake) VerifySender(ctx context.Context, _ store.By, sum []byte, at time.Time) (relay.SingleSender, error) {
	r, err := f.SenderBySecret(ctx, sum)
	if err != nil || !at.Before(r.ValidUntil) {
		return r, relay.E(relay.NotFound, "no")
	}
	r.VerifiedAt, r.Secret = at, nil
	f.rows[r.Number-1] = r
	return r, nil
}

func (f *singleFake) Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage) {
	a, ok := f.domains[name]
	switch {
	case !ok:
		return relay.Domain{}, relay.CoverNone
	case a != t.Account:
		return relay.Domain{}, relay.CoverOther
	}
	return relay.Domain{Account: a, Name: name}, relay.CoverUsable
}

func (f *singleFake) Account(id relay.AccountID) (relay.Account, bool) {
	return relay.Account{ID: id, Name: "Acme"}, true
}

var linkAt = regexp.MustCompile(`https://relay\.test/senders/verify/(\S+)`)

func (f *singleFake) lastToken(t *testing.T) string {
	t.Helper()
	m := linkAt.FindStringSubmatch(f.letters[len(f.letters)-1].text)
	if m == nil {
		t.Fatalf("no link in %q", f.letters[len(f.letters)-1].text)
	}
	return m[1]
}

func singlesWorld() (*Singles, *singleFake, *time.Time) {
	f := &singleFake{domains: map[string]relay.AccountID{"acme.test": acme}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &Singles{
		Store: f, Directory: f, URL: "https://relay.test/", Now: func() time.Time { return now },
		Resolver: &dns.Static{TXTs: map[string][]string{"_dmarc.strict.test": {"v=DMARC1; p=reject"}, "_dmarc.soft.test": {"v=DMARC1; p=quarantine"}}},
		Letter: func(_ context.Context, to, subject, text string) error {
			f.letters = append(f.letters, struct{ to, subject, text string }{to, subject, text})
			return nil
		},
	}, f, &now
}

// to is an edit that writes all of a sender anew.
func to(n relay.SingleSender) func(relay.SingleSender) relay.SingleSender {
	return func(relay.SingleSender) relay.SingleSender { return n }
}

func newSingle(address string) relay.SingleSender {
	return relay.SingleSender{Tenant: relay.Tenant{Account: acme}, Nickname: "n", FromEmail: address, ReplyTo: "r@else.test"}
}

var bySingle = store.By{Who: "test"}

func TestSingleSenderIsProvenByItsLinkOnce(t *testing.T) {
	s, f, _ := singlesWorld()
	ctx := context.Background()
	made, err := s.Create(ctx, bySingle, newSingle("Ann@Else.Test"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Verified(made.SingleSender) || made.Address != "Ann@else.test" {
		t.Fatalf("%+v", made)
	}
	if len(f.letters) != 1 || f.letters[0].to != "Ann@Else.Test" {
		t.Fatalf("letters %+v", f.letters)
	}
	token := f.lastToken(t)
	for _, r := range f.rows {
		if strings.Contains(string(r.Secret), token) {
			t.Error("the token is stored as it is")
		}
	}
	// A scanner that opens the link proves nothing, however often.
	for range 3 {
		if n, err := s.Link(ctx, token); err != nil || n.FromEmail != "Ann@Else.Test" || s.Verified(f.rows[0]) {
			t.Fatalf("%+v, %v", n, err)
		}
	}
	if _, err := s.Confirm(ctx, bySingle, token); err != nil || !s.Verified(f.rows[0]) {
		t.Fatalf("%v, %+v", err, f.rows[0])
	}
	for _, again := range []func() error{
		func() error { _, err := s.Confirm(ctx, bySingle, token); return err },
		func() error { _, err := s.Link(ctx, token); return err },
		func() error { _, err := s.Confirm(ctx, bySingle, strings.Repeat("A", 43)); return err },
		func() error { _, err := s.Confirm(ctx, bySingle, "x"); return err },
	} {
		if err := again(); relay.KindOf(err) != relay.NotFound || err.Error() != errLink.Error() {
			t.Errorf("a used or foreign link says %v", err)
		}
	}
	if err := s.Resend(ctx, bySingle, 1); relay.KindOf(err) != relay.Conflict {
		t.Errorf("resend to a proven one: %v", err)
	}
}

func TestSingleSenderLinkEndsAndIsReplaced(t *testing.T) {
	s, f, now := singlesWorld()
	ctx := context.Background()
	if _, err := s.Create(ctx, bySingle, newSingle("ann@else.test")); err != nil {
		t.Fatal(err)
	}
	first := f.lastToken(t)
	if err := s.Resend(ctx, bySingle, 1); err != nil {
		t.Fatal(err)
	}
	second := f.lastToken(t)
	if _, err := s.Confirm(ctx, bySingle, first); relay.KindOf(err) != relay.NotFound {
		t.Errorf("a replaced link: %v", err)
	}
	*now = now.Add(linkLife)
	if _, err := s.Link(ctx, second); relay.KindOf(err) != relay.NotFound {
		t.Errorf("an ended link is shown: %v", err)
	}
	if _, err := s.Confirm(ctx, bySingle, second); relay.KindOf(err) != relay.NotFound {
		t.Errorf("an ended link: %v", err)
	}
}

// A sender below an authenticated domain counts as verified, but only as long as
// the domain does.
func TestSingleSenderBelowAnOwnDomain(t *testing.T) {
	s, f, _ := singlesWorld()
	made, err := s.Create(context.Background(), bySingle, newSingle("ann@acme.test"))
	if err != nil || !s.Verified(made.SingleSender) || len(f.letters) != 0 {
		t.Fatalf("%+v, %v, %d letters", made, err, len(f.letters))
	}
	delete(f.domains, "acme.test")
	if s.Verified(f.rows[0]) {
		t.Error("it outlives the domain's proof")
	}
}

// ID-14: the owner of a domain decides who sends as it, and not each of its
// mailboxes.
func TestSingleSenderAtAnothersDomain(t *testing.T) {
	s, f, _ := singlesWorld()
	ctx := context.Background()
	if _, err := s.Create(ctx, bySingle, newSingle("ann@else.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Confirm(ctx, bySingle, f.lastToken(t)); err != nil || !s.Verified(f.rows[0]) {
		t.Fatal(err)
	}
	f.domains["else.test"] = globex
	if s.Verified(f.rows[0]) {
		t.Error("a proof of before outranks the owner's")
	}
	if _, err := s.Create(ctx, bySingle, newSingle("bob@else.test")); relay.KindOf(err) != relay.Conflict {
		t.Errorf("at a domain of another account: %v", err)
	}
}

func TestSingleSenderWithAnotherAddressIsProvenAnew(t *testing.T) {
	s, f, _ := singlesWorld()
	ctx := context.Background()
	if _, err := s.Create(ctx, bySingle, newSingle("ann@else.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Confirm(ctx, bySingle, f.lastToken(t)); err != nil {
		t.Fatal(err)
	}
	same := newSingle("ann@else.test")
	same.Nickname = "other"
	if got, err := s.Update(ctx, bySingle, 1, to(same)); err != nil || !s.Verified(got.SingleSender) || f.rows[0].Nickname != "other" {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := s.Update(ctx, bySingle, 1, to(newSingle("ANN@else.test"))); err != nil || s.Verified(got.SingleSender) || len(f.letters) != 2 {
		t.Errorf("another mailbox keeps the proof: %+v, %v", got, err)
	}
}

func TestSingleSenderRefusals(t *testing.T) {
	s, _, _ := singlesWorld()
	ctx := context.Background()
	for field, edit := range map[string]func(*relay.SingleSender){
		"nickname":   func(n *relay.SingleSender) { n.Nickname = " " },
		"from_email": func(n *relay.SingleSender) { n.FromEmail = "ann" },
		"reply_to":   func(n *relay.SingleSender) { n.ReplyTo = "a@[192.0.2.1]" },
		"from_name":  func(n *relay.SingleSender) { n.FromName = "a\r\nBcc: x@y.test" },
		"city":       func(n *relay.SingleSender) { n.City = strings.Repeat("x", 151) },
	} {
		n := newSingle("ann@else.test")
		edit(&n)
		_, err := s.Create(ctx, bySingle, n)
		if e, ok := err.(*relay.Error); !ok || e.Kind != relay.Invalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := s.Create(ctx, bySingle, newSingle("ann@else.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, bySingle, newSingle("ann@ELSE.test")); relay.KindOf(err) != relay.Conflict {
		t.Errorf("twice: %v", err)
	}
	s.URL = ""
	if _, err := s.Create(ctx, bySingle, newSingle("bob@else.test")); relay.KindOf(err) != relay.Unavailable {
		t.Errorf("without http.url: %v", err)
	}
}

// Whoever has a key must not be able to flood strangers with letters.
func TestSingleSenderLettersAreBounded(t *testing.T) {
	s, f, now := singlesWorld()
	ctx := context.Background()
	if _, err := s.Create(ctx, bySingle, newSingle("victim@else.test")); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		_ = s.Resend(ctx, bySingle, 1)
	}
	if len(f.letters) != paceAddress {
		t.Errorf("%d letters to one address in a day, want %d", len(f.letters), paceAddress)
	}
	for i := range 100 {
		n := newSingle("x@else.test")
		n.FromEmail = string(rune('a'+i%26)) + string(rune('a'+i/26)) + "@else.test"
		_, _ = s.Create(ctx, bySingle, n)
	}
	if len(f.letters) != paceTenant {
		t.Errorf("%d letters of one tenant in a day, want %d", len(f.letters), paceTenant)
	}
	var p letterPace
	sent := 0
	for i := range 1000 { // nor with many subusers
		tenant := relay.Tenant{}
		tenant.Subuser.ID[0], tenant.Subuser.ID[1] = byte(i), byte(i>>8)
		if p.take(tenant, strconv.Itoa(i), time.Unix(1e9, 0)) {
			sent++
		}
	}
	if sent != paceAccount {
		t.Errorf("%d letters of one account in a day, want %d", sent, paceAccount)
	}
	*now = now.Add(paceSpan)
	if err := s.Resend(ctx, bySingle, 1); err != nil {
		t.Errorf("the next day: %v", err)
	}
}

func TestSingleSenderWarnings(t *testing.T) {
	s, _, _ := singlesWorld()
	ctx := context.Background()
	for address, want := range map[string]string{
		"a@gmail.com": "mailbox provider", "a@strict.test": `"reject"`, "a@soft.test": `"quarantine"`, "a@plain.test": "",
	} {
		got := strings.Join(s.Warnings(ctx, address), " ")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	var all []relay.SingleSender
	for _, a := range []string{"a@gmail.com", "a@strict.test", "b@strict.test", "a@soft.test", "a@plain.test", "a@acme.test"} {
		all = append(all, relay.SingleSender{Tenant: relay.Tenant{Account: acme}, Address: a})
	}
	soft, hard := s.DomainsAtRisk(ctx, all)
	if !slices.Equal(soft, []string{"soft.test"}) || !slices.Equal(hard, []string{"gmail.com", "strict.test"}) {
		t.Errorf("soft %v, hard %v", soft, hard)
	}
}
