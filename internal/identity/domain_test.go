package identity

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postern/internal/relay"
	"postern/internal/store"
)

// viewOf is a Directory over domains and nothing else.
func viewOf(domains ...relay.Domain) *Directory {
	d := &Directory{}
	d.state.Store(emptyState().with(&store.Snapshot{Revision: 7, Full: true, Domains: domains}, newInterner(), t0))
	return d
}

func named(n byte, a relay.AccountID, name string, st relay.DomainState, edit ...func(*relay.Domain)) relay.Domain {
	d := relay.Domain{ID: relay.DomainID{ID: relay.ID{n}}, Account: a, Name: name, State: st, AllSubusers: true}
	for _, e := range edit {
		e(&d)
	}
	return d
}

func wide(d *relay.Domain)    { d.Subdomains = true }
func off(d *relay.Domain)     { d.DisabledAt = t0 }
func gone(d *relay.Domain)    { d.DisabledAt, d.DeletedAt = t0, t0 }
func private(d *relay.Domain) { d.AllSubusers = false }
func with(s ...relay.SubuserID) func(*relay.Domain) {
	return func(d *relay.Domain) { d.AllSubusers, d.Subusers = false, s }
}
func ownedBy(s relay.SubuserID) func(*relay.Domain) { return func(d *relay.Domain) { d.Subuser = s } }

// ID-02, ID-03: who may use a name.
func TestCovering(t *testing.T) {
	main, s1, s2, stranger := relay.Tenant{Account: acme}, relay.Tenant{Account: acme, Subuser: sub}, relay.Tenant{Account: acme, Subuser: sub2}, relay.Tenant{Account: other}
	d := viewOf(
		named(1, acme, "asserted.test", relay.DomainAsserted),
		named(2, acme, "verified.test", relay.DomainVerified, func(d *relay.Domain) { d.FailingSince = t0 }),
		named(3, acme, "paused.test", relay.DomainPaused),
		named(4, acme, "failed.test", relay.DomainFailed),
		named(5, acme, "pending.test", relay.DomainPending),
		named(6, acme, "off.test", relay.DomainVerified, off),
		named(7, acme, "gone.test", relay.DomainVerified, gone),
		// A claim of somebody else's name.
		named(8, acme, "claimed.test", relay.DomainPending), named(9, other, "claimed.test", relay.DomainVerified),
		// With its subdomains, and another account's name in the middle of them.
		named(10, acme, "wide.test", relay.DomainVerified, wide), named(11, other, "b.wide.test", relay.DomainVerified),
		named(12, other, "pw.wide.test", relay.DomainPaused, wide),
		named(13, acme, "own.b.wide.test", relay.DomainPending),
		// Below another account's.
		named(14, other, "theirs.test", relay.DomainVerified, wide), named(15, acme, "x.theirs.test", relay.DomainPending),
		// Held without its subdomains: what is below is nobody's.
		named(16, acme, "narrow.test", relay.DomainVerified),
		named(17, acme, "wp.test", relay.DomainPending, wide),
		named(18, acme, "wpaused.test", relay.DomainPaused, wide), named(19, acme, "low.wpaused.test", relay.DomainVerified),
		// Shared.
		named(20, acme, "shared.test", relay.DomainVerified, with(sub)),
		named(21, acme, "private.test", relay.DomainVerified, private),
		named(22, acme, "its.test", relay.DomainVerified, ownedBy(sub), private),
		named(23, acme, "itsall.test", relay.DomainVerified, ownedBy(sub)),
		named(24, acme, "itsshared.test", relay.DomainVerified, ownedBy(sub), with(sub2)),
		// One that is off beside one that waits, and beside another that is off.
		named(25, acme, "twice.test", relay.DomainVerified, off), named(26, acme, "twice.test", relay.DomainFailed),
		// A name below one's own that is shared with others only: the nearest decides.
		named(27, acme, "near.wide.test", relay.DomainVerified, with(sub)),
	)
	for _, tt := range []struct {
		who  relay.Tenant
		name string
		want relay.Coverage
		by   string
	}{
		{main, "asserted.test", relay.CoverUsable, "asserted.test"}, {main, "verified.test", relay.CoverUsable, "verified.test"},
		{main, "paused.test", relay.CoverPaused, "paused.test"}, {main, "failed.test", relay.CoverFailed, "failed.test"},
		{main, "pending.test", relay.CoverPending, "pending.test"}, {main, "off.test", relay.CoverDisabled, "off.test"},
		{main, "gone.test", relay.CoverNone, ""}, {main, "none.test", relay.CoverNone, ""}, {main, "", relay.CoverNone, ""}, {main, "test", relay.CoverNone, ""},
		{main, ".", relay.CoverNone, ""}, {main, "..wide.test", relay.CoverUsable, "wide.test"},
		{stranger, "asserted.test", relay.CoverOther, ""}, {stranger, "paused.test", relay.CoverOther, ""}, {stranger, "failed.test", relay.CoverNone, ""},
		{stranger, "pending.test", relay.CoverNone, ""}, {stranger, "off.test", relay.CoverNone, ""},
		{main, "claimed.test", relay.CoverOther, ""}, {stranger, "claimed.test", relay.CoverUsable, "claimed.test"},
		{main, "wide.test", relay.CoverUsable, "wide.test"}, {main, "a.wide.test", relay.CoverUsable, "wide.test"}, {main, "z.a.wide.test", relay.CoverUsable, "wide.test"},
		{main, "notwide.test", relay.CoverNone, ""},
		{main, "b.wide.test", relay.CoverOther, ""}, {stranger, "b.wide.test", relay.CoverUsable, "b.wide.test"},
		// It is held without its subdomains: what is below it is the parent's.
		{main, "a.b.wide.test", relay.CoverUsable, "wide.test"}, {stranger, "a.b.wide.test", relay.CoverOther, ""},
		{main, "own.b.wide.test", relay.CoverUsable, "wide.test"},
		// Paused holds, too.
		{main, "x.pw.wide.test", relay.CoverOther, ""}, {stranger, "x.pw.wide.test", relay.CoverPaused, "pw.wide.test"},
		{main, "x.theirs.test", relay.CoverOther, ""}, {stranger, "x.theirs.test", relay.CoverUsable, "theirs.test"},
		{main, "a.narrow.test", relay.CoverNone, ""},
		{main, "wp.test", relay.CoverPending, "wp.test"}, {main, "a.wp.test", relay.CoverPending, "wp.test"}, {main, "a.pending.test", relay.CoverNone, ""},
		{main, "x.wpaused.test", relay.CoverPaused, "wpaused.test"}, {main, "low.wpaused.test", relay.CoverUsable, "low.wpaused.test"},
		{main, "shared.test", relay.CoverUsable, "shared.test"}, {s1, "shared.test", relay.CoverUsable, "shared.test"}, {s2, "shared.test", relay.CoverNotShared, "shared.test"},
		{main, "private.test", relay.CoverUsable, "private.test"}, {s1, "private.test", relay.CoverNotShared, "private.test"},
		{s1, "its.test", relay.CoverUsable, "its.test"}, {s2, "its.test", relay.CoverNotShared, "its.test"}, {main, "its.test", relay.CoverNotShared, "its.test"},
		{s2, "itsall.test", relay.CoverNotShared, "itsall.test"}, {s2, "itsshared.test", relay.CoverUsable, "itsshared.test"}, {main, "itsshared.test", relay.CoverNotShared, "itsshared.test"},
		{main, "twice.test", relay.CoverFailed, "twice.test"},
		{s1, "near.wide.test", relay.CoverUsable, "near.wide.test"}, {s2, "near.wide.test", relay.CoverNotShared, "near.wide.test"}, {s2, "far.wide.test", relay.CoverUsable, "wide.test"},
		{relay.Tenant{Account: acme, Subuser: relay.SubuserID{ID: relay.ID{99}}}, "asserted.test", relay.CoverUsable, "asserted.test"},
	} {
		got, c := d.Covering(tt.who, tt.name)
		if c != tt.want || got.Name != tt.by {
			t.Errorf("%v %q: %q by %q, want %q by %q", tt.who, tt.name, c, got.Name, tt.want, tt.by)
		}
		if f, ok := d.DomainFor(tt.who, tt.name); ok != (tt.want == relay.CoverUsable) || ok && f.ID != got.ID {
			t.Errorf("%v %q: DomainFor says %q %v, Covering %q", tt.who, tt.name, f.Name, ok, c)
		}
	}
	if d.DomainsRevision() != 7 {
		t.Errorf("revision %d", d.DomainsRevision())
	}
}

// What somebody above has switched off is off for whom it was open to, also where they
// have a domain above it with its subdomains; for others it is as if it were not.
func TestCoveringOfWhatIsOffFromAbove(t *testing.T) {
	main, s1, s2, stranger := relay.Tenant{Account: acme}, relay.Tenant{Account: acme, Subuser: sub}, relay.Tenant{Account: acme, Subuser: sub2}, relay.Tenant{Account: other}
	by := func(r relay.Rank) func(*relay.Domain) {
		return func(d *relay.Domain) { d.DisabledAt, d.DisabledRank = t0, r }
	}
	d := viewOf(
		named(1, acme, "wide.test", relay.DomainVerified, wide),
		named(2, acme, "own.wide.test", relay.DomainVerified, by(relay.RankOwn), ownedBy(sub), private),
		named(3, acme, "shut.wide.test", relay.DomainVerified, by(relay.RankAccount), ownedBy(sub), private),
		named(4, acme, "below.wide.test", relay.DomainVerified, by(relay.RankAccount), ownedBy(sub), private, wide),
		named(5, acme, "all.wide.test", relay.DomainVerified, by(relay.RankOperator)),
		named(6, acme, "anew.wide.test", relay.DomainVerified, by(relay.RankAccount), ownedBy(sub), private), named(7, acme, "anew.wide.test", relay.DomainVerified),
		named(8, acme, "gone.wide.test", relay.DomainVerified, by(relay.RankOperator), func(d *relay.Domain) { d.DeletedAt = t0 }),
		named(9, acme, "lost.wide.test", relay.DomainVerified, by(relay.RankOperator)), named(10, other, "lost.wide.test", relay.DomainVerified),
	)
	for _, tt := range []struct {
		who  relay.Tenant
		name string
		want relay.Coverage
	}{
		{s1, "own.wide.test", relay.CoverUsable}, {s1, "shut.wide.test", relay.CoverDisabled}, {s2, "shut.wide.test", relay.CoverUsable}, {main, "shut.wide.test", relay.CoverUsable},
		{s1, "x.shut.wide.test", relay.CoverUsable}, {s1, "x.below.wide.test", relay.CoverDisabled}, {s2, "x.below.wide.test", relay.CoverUsable},
		{main, "all.wide.test", relay.CoverDisabled}, {s1, "all.wide.test", relay.CoverDisabled}, {stranger, "all.wide.test", relay.CoverOther},
		{s1, "anew.wide.test", relay.CoverUsable}, {s1, "gone.wide.test", relay.CoverUsable}, {s1, "lost.wide.test", relay.CoverOther}, {s1, "wide.test", relay.CoverUsable},
	} {
		if got, c := d.Covering(tt.who, tt.name); c != tt.want {
			t.Errorf("%v %q: %q by %q, want %q", tt.who, tt.name, c, got.Name, tt.want)
		}
	}
}

// A name that very many claim, and nobody holds, is found at once for each.
func TestManyClaims(t *testing.T) {
	var all []relay.Domain
	for i := range 3 * chunk {
		a := relay.AccountID{ID: relay.ID{0: byte(i >> 8), 1: byte(i), 2: 1}}
		d := named(0, a, "popular.test", relay.DomainPending)
		d.ID.ID = relay.ID{0: byte(i), 1: byte(i >> 8), 15: 3}
		all = append(all, d)
	}
	v := viewOf(all...)
	for _, d := range all {
		if got, c := v.Covering(relay.Tenant{Account: d.Account}, "popular.test"); c != relay.CoverPending || got.ID != d.ID {
			t.Fatalf("%v: %q by %v", d.Account, c, got.ID)
		}
	}
	if got, c := v.Covering(relay.Tenant{Account: relay.AccountID{ID: relay.ID{255, 255}}}, "popular.test"); c != relay.CoverNone {
		t.Errorf("one who does not claim it: %q by %v", c, got.ID)
	}
	if n := len(v.DomainsNamed("popular.test")); n != len(all) {
		t.Errorf("%d are named so", n)
	}
}

// TestNoNameForTwo: whatever domains there are, even such as no store would hold,
// no name is usable by two accounts, nobody gets what is not open to them, and
// what is usable is the tenant's own account's, above or at the name.
func TestNoNameForTwo(t *testing.T) {
	labels := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		accounts, subusers := []relay.AccountID{acme, other, {ID: relay.ID{9}}}, []relay.SubuserID{{}, sub, sub2}
		// Subusers belong to one account: with another they are nobody.
		var tenants []relay.Tenant
		for _, a := range accounts {
			for _, s := range subusers {
				tenants = append(tenants, relay.Tenant{Account: a, Subuser: s})
			}
		}
		var all []relay.Domain
		for i := range rapid.IntRange(1, 12).Draw(t, "domains") {
			name := strings.Join(rapid.SliceOfN(rapid.SampledFrom(labels), 1, 3).Draw(t, "labels"), ".")
			d := named(byte(i+1), rapid.SampledFrom(accounts).Draw(t, "account"), name, rapid.SampledFrom(domainStates).Draw(t, "state"))
			d.Subuser = rapid.SampledFrom(subusers).Draw(t, "owner")
			d.Subdomains, d.AllSubusers = rapid.Bool().Draw(t, "subdomains"), rapid.Bool().Draw(t, "all")
			d.Subusers = rapid.SliceOfN(rapid.SampledFrom(subusers), 0, 2).Draw(t, "shared")
			switch rapid.IntRange(0, 5).Draw(t, "end") {
			case 0:
				off(&d)
			case 1:
				gone(&d)
			}
			all = append(all, d)
		}
		v := viewOf(all...)
		for _, name := range namesOver(labels, 4) {
			users := map[relay.AccountID]bool{}
			for _, tenant := range tenants {
				got, c := v.Covering(tenant, name)
				if c == relay.CoverNone || c == relay.CoverOther {
					if got.Name != "" {
						t.Fatalf("%v, %s: none, by %+v", tenant, name, got)
					}
					continue
				}
				if got.Account != tenant.Account || !got.DeletedAt.IsZero() || got.Name != name && (!got.Subdomains || !strings.HasSuffix(name, "."+got.Name)) {
					t.Fatalf("%v, %s: %s by %+v", tenant, name, c, got)
				}
				if c != relay.CoverUsable {
					continue
				}
				users[tenant.Account] = true
				if !got.Usable() || !got.OpenTo(tenant) {
					t.Fatalf("%v, %s: usable by %+v", tenant, name, got)
				}
			}
			if len(users) > 1 {
				t.Fatalf("%s is usable by %d accounts: %+v", name, len(users), all)
			}
			if storable(all) {
				holdersDecide(t, v, all, accounts, name)
			}
		}
	})
}

// storable reports whether each name has one holder, as the store sees to.
func storable(all []relay.Domain) bool {
	held := map[string]bool{}
	for _, d := range all {
		if d.Holds() && held[d.Name] {
			return false
		}
		held[d.Name] = held[d.Name] || d.Holds()
	}
	return true
}

// namesOver are all names of up to n labels.
func namesOver(labels []string, n int) []string {
	out := slices.Clone(labels)
	for last := labels; n > 1; n-- {
		var next []string
		for _, l := range labels {
			for _, rest := range last {
				next = append(next, l+"."+rest)
			}
		}
		out, last = append(out, next...), next
	}
	return out
}

// holdersDecide checks against the rule, said in another way: an account is kept
// from a name whenever another's holder is nearer to it than any of its own.
func holdersDecide(t *rapid.T, v *Directory, all []relay.Domain, accounts []relay.AccountID, name string) {
	nearest := 0
	at := map[int][]relay.AccountID{} // by length of the holder's name
	for _, d := range all {
		if d.Holds() && (d.Name == name || d.Subdomains && strings.HasSuffix(name, "."+d.Name)) {
			at[len(d.Name)] = append(at[len(d.Name)], d.Account)
			nearest = max(nearest, len(d.Name))
		}
	}
	for _, a := range accounts {
		_, c := v.Covering(relay.Tenant{Account: a}, name)
		if nearest > 0 && !slices.Contains(at[nearest], a) && c != relay.CoverOther {
			t.Fatalf("%s is held by %v, and %v is told %q", name, at[nearest], a, c)
		}
	}
}

func TestDomainsByTokenAndName(t *testing.T) {
	token := func(s string) func(*relay.Domain) { return func(d *relay.Domain) { d.Token = s } }
	v := viewOf(named(1, acme, "a.test", relay.DomainVerified, token("one")), named(2, other, "a.test", relay.DomainPending, token("two")),
		named(3, acme, "a.test", relay.DomainVerified, gone, token("three")), named(4, acme, "b.test", relay.DomainAsserted))
	for tok, want := range map[string]byte{"one": 1, "two": 2, "three": 3} {
		if d, ok := v.DomainByToken(tok); !ok || d.ID.ID[0] != want {
			t.Errorf("token %s: %+v %v", tok, d, ok)
		}
	}
	for _, tok := range []string{"", "four"} {
		if d, ok := v.DomainByToken(tok); ok {
			t.Errorf("token %q: %+v", tok, d)
		}
	}
	if got := v.DomainsNamed("a.test"); len(got) != 2 || got[0].ID.ID[0] != 1 || got[1].ID.ID[0] != 2 {
		t.Errorf("named a.test: %+v", got)
	}
	n := 0
	for d := range v.AllDomains() {
		if n++; n > 4 || d.Name == "" {
			t.Errorf("all domains: %+v", d)
		}
	}
	for range v.AllDomains() {
		n++
		break
	}
	if n != 5 {
		t.Errorf("%d domains", n)
	}
}

func TestSenderFor(t *testing.T) {
	d := &Directory{}
	main, its := relay.Tenant{Account: acme}, relay.Tenant{Account: acme, Subuser: sub}
	d.state.Store(emptyState().with(&store.Snapshot{Full: true, Senders: []relay.SingleSender{
		{Number: 1, Tenant: main, Address: "proven@else.test", VerifiedAt: t0}, {Number: 2, Tenant: main, Address: "waits@else.test"},
		{Number: 3, Tenant: main, Address: "deleted@else.test", VerifiedAt: t0, DeletedAt: t0}, {Number: 4, Tenant: its, Address: "its@else.test", VerifiedAt: t0},
	}}, newInterner(), t0))
	for _, tt := range []struct {
		who     relay.Tenant
		address string
		want    int64
	}{
		{main, "proven@else.test", 1}, {main, "Proven@else.test", 0}, {main, "waits@else.test", 0}, {main, "deleted@else.test", 0}, {main, "", 0},
		{its, "its@else.test", 4}, {main, "its@else.test", 0}, {its, "proven@else.test", 0}, {relay.Tenant{Account: other}, "proven@else.test", 0},
		{relay.Tenant{}, "proven@else.test", 0},
	} {
		if got, ok := d.SenderFor(tt.who, tt.address); ok != (tt.want != 0) || got.Number != tt.want {
			t.Errorf("%v %q: %+v %v, want %d", tt.who, tt.address, got, ok, tt.want)
		}
	}
}

func TestKeysThatSign(t *testing.T) {
	id := relay.DomainID{ID: relay.ID{1}}
	d := &Directory{}
	var keys []relay.DKIMKey
	for i, k := range []relay.DKIMKey{{Active: true}, {}, {Active: true, RetiredAt: t0}, {Active: true, WithdrawnAt: t0}, {Active: true}} {
		k.Domain, k.Selector = id, fmt.Sprint("s", i)
		keys = append(keys, k)
	}
	d.state.Store(emptyState().with(&store.Snapshot{Full: true, DKIMKeys: keys}, newInterner(), t0))
	if got := d.DKIMKeys(id); len(got) != 2 || got[0].Selector != "s0" || got[1].Selector != "s4" {
		t.Errorf("sign now: %+v", got)
	}
	all := d.AllDKIMKeys(id)
	if len(all) != 5 {
		t.Errorf("all: %+v", all)
	}
	all[0].Selector = "changed"
	if d.AllDKIMKeys(id)[0].Selector != "s0" {
		t.Error("a caller can change the view")
	}
}

// What is none of the domains' business does not make the zone be gone through.
func TestDomainsRevision(t *testing.T) {
	t.Parallel()
	st := emptyState().with(&store.Snapshot{Revision: 7, Domains: []relay.Domain{{ID: relay.DomainID{ID: relay.ID{1}}, Account: acme, Name: "a.test"}}}, newInterner(), t0)
	for i, step := range []struct {
		change store.Snapshot
		want   int64
	}{
		{store.Snapshot{Keys: []relay.Key{{ID: relay.KeyID{ID: relay.ID{1}}, Account: acme}}}, 7},
		{store.Snapshot{Domains: []relay.Domain{{ID: relay.DomainID{ID: relay.ID{1}}, Account: acme, Name: "a.test"}}}, 9},
		{store.Snapshot{DKIMKeys: []relay.DKIMKey{{Domain: relay.DomainID{ID: relay.ID{1}}, Selector: "s1"}}}, 10},
		{store.Snapshot{Accounts: []relay.Account{{ID: acme}}}, 10},
		{store.Snapshot{Pools: []relay.Pool{{ID: relay.PoolID{ID: relay.ID{1}}}}}, 12},
	} {
		step.change.Revision = int64(8 + i)
		if st = st.with(&step.change, newInterner(), t0); st.domainsRevision != step.want {
			t.Errorf("step %d: revision %d of domains, want %d", i, st.domainsRevision, step.want)
		}
	}
}
