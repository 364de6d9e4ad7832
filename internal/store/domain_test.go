package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
)

// claimant makes accounts and domains, and remembers nothing else.
type claimant struct {
	t   testing.TB
	s   *Store
	now time.Time
}

func newClaimant(t testing.TB, s *Store) *claimant {
	t.Helper()
	return &claimant{t: t, s: s, now: time.Now().UTC().Truncate(time.Microsecond)}
}

func (c *claimant) account() relay.AccountID {
	c.t.Helper()
	id := relay.NewID(time.Now())
	a := relay.Account{ID: relay.AccountID{ID: id}, Name: "a " + id.String(), OwnerEmail: "o@example.test", TimeZone: "UTC", CreatedAt: c.now}
	if err := c.s.CreateAccount(context.Background(), testBy, a); err != nil {
		c.t.Fatal(err)
	}
	return a.ID
}

func (c *claimant) subuser(a relay.AccountID) relay.SubuserID {
	c.t.Helper()
	id := relay.NewID(time.Now())
	u := relay.Subuser{ID: relay.SubuserID{ID: id}, Account: a, Name: "s " + id.String(), Email: "s@example.test", CreatedAt: c.now}
	if err := c.s.CreateSubuser(context.Background(), testBy, u); err != nil {
		c.t.Fatal(err)
	}
	return u.ID
}

// row is a new domain that waits for its proof.
func (c *claimant) row(a relay.AccountID, name string) relay.Domain {
	id := relay.NewID(time.Now())
	return relay.Domain{ID: relay.DomainID{ID: id}, Account: a, Name: name, State: relay.DomainPending, Token: id.String(), CreatedAt: c.now}
}

func (c *claimant) create(d relay.Domain) relay.Domain {
	c.t.Helper()
	made, err := c.s.CreateDomain(context.Background(), testBy, d)
	if err != nil {
		c.t.Fatal(err)
	}
	return made
}

func (c *claimant) prove(id relay.DomainID) relay.Domain {
	c.t.Helper()
	d, err := c.s.ProveDomain(context.Background(), testBy, id, c.now)
	if err != nil {
		c.t.Fatal(err)
	}
	if again, err := c.s.Domain(context.Background(), id); err != nil || again.State != d.State || again.Disputed != d.Disputed || !again.VerifiedAt.Equal(d.VerifiedAt) {
		c.t.Fatalf("returned %+v, stored %+v, %v", d, again, err)
	}
	return d
}

func (c *claimant) state(id relay.DomainID, st relay.DomainStateChange) {
	c.t.Helper()
	if d, err := c.s.SetDomainState(context.Background(), testBy, id, st); err != nil || d.State != st.State {
		c.t.Fatalf("%+v, %v", d, err)
	}
}

func (c *claimant) want(id relay.DomainID, state relay.DomainState, disputed bool) relay.Domain {
	c.t.Helper()
	d, err := c.s.Domain(context.Background(), id)
	if err != nil || d.State != state || d.Disputed != disputed {
		c.t.Errorf("domain %s is %s, disputed %v, %v; want %s, %v", d.Name, d.State, d.Disputed, err, state, disputed)
	}
	return d
}

func TestNewDomainsAreNumbered(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		auto, own, system := c.row(a, "auto.test"), c.row(a, "own.test"), c.row(a, "system.test")
		auto.ReturnPath, own.ReturnPath, own.Label, own.Rotate = ReturnPathAuto, ReturnPathAuto, "mail", -1
		first, second, third := c.create(auto), c.create(own), c.create(system)
		if first.Number <= 0 || second.Number != first.Number+1 || third.Number != second.Number+1 {
			t.Errorf("numbers %d, %d, %d", first.Number, second.Number, third.Number)
		}
		if want := fmt.Sprintf("em%d", first.Number); first.Label != want || first.ReturnPath != want+".auto.test" {
			t.Errorf("label %q, return path %q", first.Label, first.ReturnPath)
		}
		if second.Label != "mail" || second.ReturnPath != "mail.own.test" || third.ReturnPath != "" || third.Label != "" {
			t.Errorf("given label: %+v, none: %+v", second, third)
		}
		if second.Rotate >= 0 {
			t.Errorf("never became %v", second.Rotate)
		}
		got, err := s.DomainNumbered(ctx, second.Number)
		same(t, "by number", second, got, err)
		if err := s.DeleteDomain(ctx, testBy, second.ID, c.now); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DomainNumbered(ctx, second.Number); relay.KindOf(err) != relay.NotFound {
			t.Errorf("a deleted one by number: %v", err)
		}
		if again := c.create(c.row(a, "own.test")); again.Number != third.Number+1 {
			t.Errorf("a number was given twice: %d", again.Number)
		}
	})
}

func TestDeletedDomain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a, b := c.account(), c.account()
		row := c.row(a, "gone.test")
		row.Default = true
		d := c.create(row)
		c.prove(d.ID)
		if err := s.PutDomainCheck(ctx, relay.DomainCheck{Domain: d.ID, At: c.now, NextAt: c.now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteDomain(ctx, testBy, d.ID, c.now); err != nil {
			t.Fatal(err)
		}
		got, err := s.Domain(ctx, d.ID)
		if err != nil || got.DeletedAt != c.now || got.DisabledAt != c.now || got.Default || got.Holds() {
			t.Errorf("deleted: %+v, %v", got, err)
		}
		if all, err := s.Domains(ctx, a); err != nil || len(all) != 0 {
			t.Errorf("listed: %v, %v", all, err)
		}
		if snap, err := s.Snapshot(ctx, 0); err != nil || len(snap.Domains) != 1 || snap.Domains[0].DeletedAt.IsZero() {
			t.Errorf("those who follow do not hear of it: %+v, %v", snap, err)
		}
		for what, err := range map[string]error{
			"again":       s.DeleteDomain(ctx, testBy, d.ID, c.now),
			"switched on": s.SetDomainDisabled(ctx, testBy, d.ID, time.Time{}),
			"proven":      created(s.ProveDomain(ctx, testBy, d.ID, c.now)),
			"set":         created(s.SetDomainState(ctx, testBy, d.ID, relay.DomainStateChange{State: relay.DomainAsserted})),
			"updated":     editDomain(s, got),
			"shared":      share(s, d.ID, nil, true),
			"checked":     s.PutDomainCheck(ctx, relay.DomainCheck{Domain: d.ID, At: c.now}),
			"made due":    s.CheckDue(ctx, d.ID, c.now),
			"looked at":   created(s.DomainCheck(ctx, d.ID)),
		} {
			if relay.KindOf(err) != relay.NotFound {
				t.Errorf("%s: %v", what, err)
			}
		}
		// The name is free, for its account and for another.
		c.create(c.row(a, "gone.test"))
		if got := c.prove(c.create(c.row(b, "gone.test")).ID); got.State != relay.DomainVerified {
			t.Errorf("another's proof: %+v", got)
		}
	})
}

func TestOneDefaultDomain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		sub := c.subuser(a)
		def := func(owner relay.SubuserID, name string) relay.Domain {
			d := c.row(a, name)
			d.Subuser, d.Default = owner, true
			return c.create(d)
		}
		first, its := def(relay.SubuserID{}, "one.test"), def(sub, "its.test")
		second := def(relay.SubuserID{}, "two.test")
		rev := s.Revision()
		wantDefault := func(want ...relay.Domain) {
			t.Helper()
			all, err := s.Domains(ctx, a)
			if err != nil {
				t.Fatal(err)
			}
			var got, names []string
			for _, d := range all {
				if d.Default {
					got = append(got, d.Name)
				}
			}
			for _, d := range want {
				names = append(names, d.Name)
			}
			slices.Sort(names)
			if !slices.Equal(got, names) {
				t.Errorf("defaults %v, want %v", got, names)
			}
		}
		wantDefault(its, second)
		first.Default = true
		if err := editDomain(s, first); err != nil {
			t.Fatal(err)
		}
		wantDefault(its, first)
		if delta, err := s.Snapshot(ctx, rev); err != nil || len(delta.Domains) != 2 {
			t.Errorf("those who follow hear of %d, %v", len(delta.Domains), err)
		}
	})
}

// ID-02: a name has one account, and a proof of another's name changes nothing
// for its owner while the owner's own proof stands.
func TestDisputedDomain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a, b := c.account(), c.account()
		first, second := c.create(c.row(a, "example.test")), c.create(c.row(b, "example.test"))
		if d := c.prove(first.ID); d.State != relay.DomainVerified || !d.VerifiedAt.Equal(c.now) || d.Reason != "" {
			t.Errorf("first proof: %+v", d)
		}
		if d := c.prove(second.ID); d.State != relay.DomainPending || !d.Disputed || d.Reason == "" {
			t.Errorf("second proof: %+v", d)
		}
		c.want(first.ID, relay.DomainVerified, false)
		rev := s.Revision()
		c.prove(first.ID)
		c.prove(second.ID)
		if s.Revision() != rev {
			t.Error("the same finding again raised the revision")
		}
		// Its records are gone: a warning first, and the next proof takes it.
		c.state(first.ID, relay.DomainStateChange{State: relay.DomainVerified, FailingSince: c.now, Reason: "gone"})
		if d := c.prove(second.ID); d.State != relay.DomainVerified || d.Disputed || d.Reason != "" {
			t.Errorf("after the first lapsed: %+v", d)
		}
		if d := c.want(first.ID, relay.DomainFailed, false); d.Reason == "" || !d.FailingSince.Equal(c.now) {
			t.Errorf("lapsed: %+v", d)
		}
		// Both accounts' records say what happened to them.
		for account, action := range map[relay.AccountID]string{a: "domain.lapse", b: "domain.prove"} {
			if all, err := s.Changes(ctx, ChangeFilter{Account: account, Action: action}); err != nil || len(all) != map[string]int{"domain.lapse": 1, "domain.prove": 1}[action] {
				t.Errorf("%s: %d records, %v", action, len(all), err)
			}
			if _, err := s.VerifyChanges(ctx, account); err != nil {
				t.Error(err)
			}
		}
		// And back: the first one's records are there again, the second's too.
		if d := c.prove(first.ID); d.State != relay.DomainFailed || !d.Disputed {
			t.Errorf("the first one again: %+v", d)
		}
		// Paused counts as gone.
		c.state(second.ID, relay.DomainStateChange{State: relay.DomainPaused, FailingSince: c.now})
		if d := c.prove(first.ID); d.State != relay.DomainVerified || d.Disputed || !d.FailingSince.IsZero() {
			t.Errorf("after the second paused: %+v", d)
		}
		c.want(second.ID, relay.DomainFailed, false)
	})
}

func TestAssertedDomainDoesNotLapse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		c := newClaimant(t, s)
		a, b := c.account(), c.account()
		word := c.create(c.row(a, "word.test"))
		c.state(word.ID, relay.DomainStateChange{State: relay.DomainAsserted, FailingSince: c.now})
		if d := c.want(word.ID, relay.DomainAsserted, false); d.AssertedBy != testBy.Who {
			t.Errorf("asserted by %q", d.AssertedBy)
		}
		other := c.create(c.row(b, "word.test"))
		if d := c.prove(other.ID); d.State != relay.DomainPending || !d.Disputed {
			t.Errorf("%+v", d)
		}
		c.want(word.ID, relay.DomainAsserted, false)
		if _, err := s.SetDomainState(context.Background(), testBy, other.ID, relay.DomainStateChange{State: relay.DomainAsserted}); relay.KindOf(err) != relay.Conflict {
			t.Errorf("two accounts by the operator's word: %v", err)
		}
	})
}

// A name above that is held with its subdomains covers the name; one that is held
// without them, or by the own account, is no concern.
func TestDisputeWithParent(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a, b := c.account(), c.account()
		parent := c.row(a, "wide.test")
		parent.Subdomains = true
		parent = c.create(parent)
		c.prove(parent.ID)
		child := c.create(c.row(b, "x.y.wide.test"))
		if d := c.prove(child.ID); !d.Disputed || d.State != relay.DomainPending {
			t.Errorf("below another's: %+v", d)
		}
		// The own account may prove below its own, and what it proves decides for others above.
		own := c.row(b, "y.wide.test")
		if d := c.prove(c.create(own).ID); !d.Disputed {
			t.Errorf("between: %+v", d)
		}
		if d := c.prove(c.create(c.row(a, "z.wide.test")).ID); d.State != relay.DomainVerified {
			t.Errorf("below its own: %+v", d)
		}
		c.state(parent.ID, relay.DomainStateChange{State: relay.DomainVerified, FailingSince: c.now})
		if d := c.prove(child.ID); d.State != relay.DomainVerified || d.Disputed {
			t.Errorf("after the parent lapsed: %+v", d)
		}
		c.want(parent.ID, relay.DomainFailed, false)
		// The parent's owner proves it again: a child of another keeps nobody out, and stays.
		if d := c.prove(parent.ID); d.State != relay.DomainVerified || d.Disputed {
			t.Errorf("parent above another's child: %+v", d)
		}
		c.want(child.ID, relay.DomainVerified, false)
		// Without its subdomains a parent is no rival.
		parent.Subdomains = false
		if err := editDomain(s, parent); err != nil {
			t.Fatal(err)
		}
		if d := c.prove(c.create(c.row(b, "free.wide.test")).ID); d.State != relay.DomainVerified {
			t.Errorf("below a parent without subdomains: %+v", d)
		}
		// Switched on again below a parent that was proven in the meantime: not without a proof.
		if err := s.SetDomainDisabled(ctx, testBy, child.ID, c.now); err != nil {
			t.Fatal(err)
		}
		parent.Subdomains = true
		if err := editDomain(s, parent); err != nil {
			t.Fatal(err)
		}
		if err := s.SetDomainDisabled(ctx, testBy, child.ID, time.Time{}); relay.KindOf(err) != relay.Conflict {
			t.Errorf("switched on below another's: %v", err)
		}
	})
}

// ID-16: nobody looks at a domain that is off. Who lost the name meanwhile does not
// send as it because the row says that it was proven once.
func TestSwitchedOnIsProvenAnew(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		c := newClaimant(t, s)
		d := c.create(c.row(c.account(), "sold.test"))
		vouched := c.row(d.Account, "vouched.test")
		vouched.State, vouched.AssertedBy = relay.DomainAsserted, "operator"
		vouched = c.create(vouched)
		c.prove(d.ID)
		off := c.now.Add(time.Hour)
		for _, id := range []relay.DomainID{d.ID, vouched.ID} {
			for _, at := range []time.Time{off, {}} {
				if err := s.SetDomainDisabled(context.Background(), testBy, id, at); err != nil {
					t.Fatal(err)
				}
			}
		}
		on := c.want(d.ID, relay.DomainPaused, false)
		if on.Usable() || !on.FailingSince.Equal(off) || on.Reason == "" {
			t.Errorf("switched on again: %+v", on)
		}
		c.want(vouched.ID, relay.DomainAsserted, false)
		// Whoever proves the name now has it; the same owner as well.
		if d := c.prove(c.create(c.row(c.account(), "sold.test")).ID); d.State != relay.DomainVerified {
			t.Errorf("its next owner: %+v", d)
		}
		c.want(d.ID, relay.DomainFailed, false)
	})
}

// Two rivals on the way up: unless both have lapsed, neither does.
func TestNoLapseForNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		c := newClaimant(t, s)
		low, high, mine := c.row(c.account(), "b.top.test"), c.row(c.account(), "top.test"), c.row(c.account(), "a.b.top.test")
		low.Subdomains, high.Subdomains = true, true
		low, high, mine = c.create(low), c.create(high), c.create(mine)
		c.prove(low.ID)
		c.prove(high.ID)
		c.state(low.ID, relay.DomainStateChange{State: relay.DomainVerified, FailingSince: c.now})
		if d := c.prove(mine.ID); !d.Disputed || d.State != relay.DomainPending {
			t.Errorf("%+v", d)
		}
		c.want(low.ID, relay.DomainVerified, false)
		c.state(high.ID, relay.DomainStateChange{State: relay.DomainPaused, FailingSince: c.now})
		if d := c.prove(mine.ID); d.State != relay.DomainVerified {
			t.Errorf("%+v", d)
		}
		c.want(low.ID, relay.DomainFailed, false)
		c.want(high.ID, relay.DomainFailed, false)
	})
}

// At one moment two accounts prove the same name: one gets it, the other a dispute.
func TestProofsAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		c := newClaimant(t, s)
		var ids []relay.DomainID
		for range 6 {
			ids = append(ids, c.create(c.row(c.account(), "race.test")).ID)
		}
		var wg sync.WaitGroup
		got := make([]relay.Domain, len(ids))
		errs := make([]error, len(ids))
		for i, id := range ids {
			wg.Go(func() { got[i], errs[i] = s.ProveDomain(context.Background(), testBy, id, c.now) })
		}
		wg.Wait()
		verified := 0
		for i := range got {
			if errs[i] != nil {
				t.Error(errs[i])
			}
			if got[i].State == relay.DomainVerified {
				verified++
			} else if !got[i].Disputed {
				t.Errorf("neither verified nor disputed: %+v", got[i])
			}
		}
		if verified != 1 {
			t.Errorf("%d have it", verified)
		}
	})
}

func TestDomainStates(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		for i, tt := range []struct {
			from relay.DomainState
			to   relay.DomainState
			want relay.Kind // Internal: it may
		}{
			{relay.DomainPending, relay.DomainVerified, relay.Invalid}, {relay.DomainFailed, relay.DomainVerified, relay.Invalid},
			{relay.DomainVerified, relay.DomainVerified, relay.Internal}, {relay.DomainPaused, relay.DomainVerified, relay.Internal},
			{relay.DomainAsserted, relay.DomainVerified, relay.Internal},
			{relay.DomainPending, relay.DomainPaused, relay.Invalid}, {relay.DomainFailed, relay.DomainPaused, relay.Invalid},
			{relay.DomainVerified, relay.DomainPaused, relay.Internal}, {relay.DomainPaused, relay.DomainFailed, relay.Internal},
			{relay.DomainVerified, relay.DomainPending, relay.Internal}, {relay.DomainFailed, relay.DomainAsserted, relay.Internal},
			{relay.DomainVerified, "other", relay.Invalid}, {relay.DomainVerified, "", relay.Invalid},
		} {
			row := c.row(a, fmt.Sprintf("d%d.test", i))
			row.State = tt.from
			d := c.create(row)
			got, err := s.SetDomainState(ctx, testBy, d.ID, relay.DomainStateChange{State: tt.to, FailingSince: c.now, Reason: "because"})
			if err == nil && (tt.want != relay.Internal || got.State != tt.to || !got.FailingSince.Equal(c.now) || got.Reason != "because") || err != nil && relay.KindOf(err) != tt.want {
				t.Errorf("%s to %s: %+v, %v", tt.from, tt.to, got, err)
			}
			stored, readErr := s.Domain(ctx, d.ID)
			if err != nil {
				got = d
			}
			same(t, "stored", got, stored, readErr)
			rev := s.Revision()
			if err == nil {
				if _, err := s.SetDomainState(ctx, testBy, d.ID, relay.DomainStateChange{State: tt.to, FailingSince: c.now, Reason: "because"}); err != nil || s.Revision() != rev {
					t.Errorf("%s again: %v, revision %d after %d", tt.to, err, s.Revision(), rev)
				}
			}
		}
		off := c.row(a, "off.test")
		off.DisabledAt = c.now
		if _, err := s.ProveDomain(ctx, testBy, c.create(off).ID, c.now); relay.KindOf(err) != relay.Conflict {
			t.Errorf("proof of one that is off: %v", err)
		}
	})
}

// What SwapDomain must not touch, it does not: a caller with an old row in hand
// brings back neither a state nor a sharing.
func TestSwapDomainIsSettingsOnly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a := c.account()
		sub := c.subuser(a)
		old := c.create(c.row(a, "set.test"))
		want := c.prove(old.ID)
		if err := share(s, old.ID, []relay.SubuserID{sub, sub}, false); err != nil {
			t.Fatal(err)
		}
		want.Subusers = []relay.SubuserID{sub}
		old.State, old.Token, old.Name, old.Account, old.Number = relay.DomainFailed, "stolen", "other.test", c.account(), 99
		old.Automatic, old.Label, old.ReturnPath, old.Selector, old.KeyBits, old.Rotate = true, "l", "l.set.test", "org", 4096, time.Hour
		old.Reveal, old.CustomSPF, old.Default, old.Subdomains, old.Quiet, old.AllSubusers = true, true, true, true, true, true
		old.IPs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
		if err := editDomain(s, old); err != nil {
			t.Fatal(err)
		}
		want.Automatic, want.Label, want.ReturnPath, want.Selector, want.KeyBits, want.Rotate = true, "l", "l.set.test", "org", 4096, time.Hour
		want.Reveal, want.CustomSPF, want.Default, want.Subdomains, want.Quiet, want.IPs = true, true, true, true, true, old.IPs
		got, err := s.Domain(ctx, old.ID)
		same(t, "updated", want, got, err)
		if err := share(s, old.ID, nil, true); err != nil {
			t.Fatal(err)
		}
		want.Subusers, want.AllSubusers = nil, true
		got, err = s.Domain(ctx, old.ID)
		same(t, "shared with all", want, got, err)
	})
}

// A subuser that is deleted leaves no name taken and no link usable behind.
func TestDeletedSubuserFreesItsDomains(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a, b := c.account(), c.account()
		sub := c.subuser(a)
		row := c.row(a, "its.test")
		row.Subuser = sub
		d, mine := c.create(row), c.create(c.row(a, "mine.test"))
		c.prove(d.ID)
		single, err := s.CreateSender(ctx, testBy, relay.SingleSender{Tenant: relay.Tenant{Account: a, Subuser: sub}, Address: "x@else.test", Secret: []byte{7}, ValidUntil: c.now.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		rev := s.Revision()
		if err := s.DeleteSubuser(ctx, testBy, sub, c.now); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Domain(ctx, d.ID); err != nil || got.DeletedAt.IsZero() || got.Holds() {
			t.Errorf("its domain: %+v, %v", got, err)
		}
		if got, err := s.Domain(ctx, mine.ID); err != nil || !got.DeletedAt.IsZero() {
			t.Errorf("its account's domain: %+v, %v", got, err)
		}
		if _, err := s.Sender(ctx, single.Number); relay.KindOf(err) != relay.NotFound {
			t.Errorf("its sender: %v", err)
		}
		if _, err := s.VerifySender(ctx, testBy, []byte{7}, c.now); relay.KindOf(err) != relay.NotFound {
			t.Errorf("its link: %v", err)
		}
		if delta, err := s.Snapshot(ctx, rev); err != nil || len(delta.Domains) != 1 || len(delta.Senders) != 1 {
			t.Errorf("those who follow: %+v, %v", delta, err)
		}
		if got := c.prove(c.create(c.row(b, "its.test")).ID); got.State != relay.DomainVerified {
			t.Errorf("another's proof: %+v", got)
		}
		row = c.row(a, "late.test")
		if row.Subuser = sub; relay.KindOf(created(s.CreateDomain(ctx, testBy, row))) != relay.NotFound {
			t.Error("a deleted subuser gets a domain")
		}
	})
}

// A proof whose commit fails has changed neither account's domain.
func TestProofFailsWhole(t *testing.T) {
	t.Parallel()
	f := &faults{}
	s, _ := openTest(t, Config{fault: f.hook})
	c := newClaimant(t, s)
	first, second := c.create(c.row(c.account(), "example.test")), c.create(c.row(c.account(), "example.test"))
	c.prove(first.ID)
	c.state(first.ID, relay.DomainStateChange{State: relay.DomainPaused, FailingSince: c.now})
	f.set("transact", 1, errInjected)
	if _, err := s.ProveDomain(context.Background(), testBy, second.ID, c.now); !errors.Is(err, errInjected) {
		t.Errorf("proof: %v", err)
	}
	c.want(first.ID, relay.DomainPaused, false)
	c.want(second.ID, relay.DomainPending, false)
}
