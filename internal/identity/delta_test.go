package identity

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"postern/internal/relay"
	"postern/internal/store"
)

// rows is a source that, like the store, knows the revision of every row's last
// change and gives what changed since one.
type rows struct {
	mu      sync.Mutex
	rev     int64
	changed chan struct{}
	asked   []int64
	// broken makes the next answer start at another revision than was asked for.
	broken bool

	accounts map[relay.AccountID]at[relay.Account]
	subusers map[relay.SubuserID]at[relay.Subuser]
	keys     map[relay.KeyID]at[relay.Key]
	pools    map[relay.PoolID]at[relay.Pool]
	domains  map[relay.DomainID]at[relay.Domain]
	dkim     map[string]at[relay.DKIMKey]
	access   map[relay.Tenant]at[relay.AccessList]
	senders  map[int64]at[relay.SingleSender]
	tokens   map[relay.TokenID]at[time.Time]
}

type at[T any] struct {
	rev int64
	row T
}

func newRows() *rows {
	return &rows{
		rev: 1, changed: make(chan struct{}),
		accounts: map[relay.AccountID]at[relay.Account]{}, subusers: map[relay.SubuserID]at[relay.Subuser]{},
		keys: map[relay.KeyID]at[relay.Key]{}, pools: map[relay.PoolID]at[relay.Pool]{},
		domains: map[relay.DomainID]at[relay.Domain]{}, dkim: map[string]at[relay.DKIMKey]{},
		senders: map[int64]at[relay.SingleSender]{}, access: map[relay.Tenant]at[relay.AccessList]{}, tokens: map[relay.TokenID]at[time.Time]{},
	}
}

// commit makes one change: everything that f sets has the new revision.
func (r *rows) commit(f func(rev int64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rev++
	f(r.rev)
	close(r.changed)
	r.changed = make(chan struct{})
}

func since[K comparable, T any](m map[K]at[T], rev int64) []T {
	var out []T
	for _, v := range m { // in no order, on purpose
		if v.rev > rev {
			out = append(out, v.row)
		}
	}
	return out
}

func (r *rows) Snapshot(_ context.Context, rev int64) (*store.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, rev)
	if rev > 0 && r.broken {
		r.broken = false
		return &store.Snapshot{Revision: r.rev, Since: r.rev}, nil
	}
	s := &store.Snapshot{
		Revision: r.rev, Since: rev, Full: rev == 0,
		Accounts: since(r.accounts, rev), Subusers: since(r.subusers, rev), Keys: since(r.keys, rev), Pools: since(r.pools, rev),
		Domains: since(r.domains, rev), DKIMKeys: since(r.dkim, rev), Access: since(r.access, rev),
		Senders: since(r.senders, rev),
	}
	for id, v := range r.tokens {
		if v.rev > rev {
			if s.RevokedTokens == nil {
				s.RevokedTokens = map[relay.TokenID]time.Time{}
			}
			s.RevokedTokens[id] = v.row
		}
	}
	return s, nil
}

func (r *rows) Revision() int64          { r.mu.Lock(); defer r.mu.Unlock(); return r.rev }
func (r *rows) Changed() <-chan struct{} { r.mu.Lock(); defer r.mu.Unlock(); return r.changed }
func (r *rows) LastChecked() time.Time   { return time.Now() }

func follow(tb testing.TB, r *rows) *Directory {
	tb.Helper()
	d, err := Open(tb.Context(), r, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func flat[K comparable, V any](t *table[K, V]) map[K]V { return maps.Collect(t.all()) }

func flatLists[K comparable, T any](t *table[K, list[T]]) map[K][]T {
	out := map[K][]T{}
	for k, l := range t.all() {
		out[k] = l.slice()
	}
	return out
}

// dump is all that a view says, without how it is stored.
func dump(st *state) map[string]any {
	return map[string]any{
		"revision": st.revision, "accounts": flat(st.accounts), "subusers": flat(st.subusers), "keys": flat(st.keys),
		"pools": flat(st.pools), "domains": flat(st.domains), "dkim": flat(st.dkim), "access": flat(st.access), "revoked": flat(st.revoked),
		"account names": flat(st.accountNames), "subuser names": flat(st.subuserNames), "numbers": flat(st.numbers),
		"subusers of": flatLists(st.subusersOf), "keys of": flatLists(st.keysOf), "logins": flatLists(st.logins),
		"fingerprints": flatLists(st.fingerprints), "names": flatLists(st.names), "issuers": flatLists(st.issuers),
		"claims": flatLists(st.claims), "claim names": flat(st.claimNames),
		"pool names": flatLists(st.poolNames), "domain names": flatLists(st.domainNames), "holders": flat(st.holders),
		"domain tokens": flat(st.domainTokens), "senders": flat(st.senders), "addresses": flat(st.addresses), "return paths": flat(st.returnPaths),
		"shared": st.shared, "system domain": st.sysDomain, "system account": st.sysAccount,
	}
}

func few(t *rapid.T, name string) byte { return byte(rapid.IntRange(1, 4).Draw(t, name)) }

var domainStates = []relay.DomainState{relay.DomainPending, relay.DomainAsserted, relay.DomainVerified, relay.DomainPaused, relay.DomainFailed}

// TestDeltasEqualFullRead: after any sequence of changes, read in whatever
// steps, the view is the one that a fresh reader gets.
func TestDeltasEqualFullRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRows()
		d, err := Open(context.Background(), r, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 40).Draw(t, "changes") {
			r.commit(func(rev int64) {
				for range rapid.IntRange(1, 3).Draw(t, "rows") {
					r.random(t, rev)
				}
			})
			r.broken = rapid.IntRange(0, 9).Draw(t, "gap") == 0
			if rapid.Bool().Draw(t, "read") {
				if err := d.Reload(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := d.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		fresh, err := Open(context.Background(), r, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		opts := []gocmp.Option{gocmp.Comparer(func(a, b relay.ID) bool { return a == b }), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty(), gocmp.AllowUnexported(claim{}, mailbox{})}
		if diff := gocmp.Diff(dump(fresh.state.Load()), dump(d.state.Load()), opts...); diff != "" {
			t.Fatalf("view by changes differs from a full read (-full +changes):\n%s", diff)
		}
	})
}

func (r *rows) random(t *rapid.T, rev int64) {
	n, a := few(t, "n"), relay.AccountID{ID: relay.ID{15: few(t, "account")}}
	id := relay.ID{0: n, 15: few(t, "part")}
	name := fmt.Sprintf("name%d", few(t, "name"))
	when := func(what string) time.Time {
		if rapid.Bool().Draw(t, what) {
			return t0
		}
		return time.Time{}
	}
	sub := relay.SubuserID{}
	if rapid.Bool().Draw(t, "of a subuser") {
		sub.ID = relay.ID{15: few(t, "subuser")}
	}
	switch rapid.IntRange(0, 8).Draw(t, "what") {
	case 0:
		// Names and numbers of accounts are unique at any moment, as in the store.
		row := relay.Account{ID: a, Name: name, Number: int64(n), System: rapid.Bool().Draw(t, "system"), DisabledAt: when("disabled")}
		for _, other := range r.accounts {
			if other.row.ID != a && (other.row.Name == name || other.row.Number == row.Number) {
				return
			}
		}
		r.accounts[a] = at[relay.Account]{rev, row}
	case 1:
		row := relay.Subuser{ID: relay.SubuserID{ID: id}, Account: a, Number: 10 + int64(n), Name: name, DeletedAt: when("deleted")}
		for _, other := range r.subusers {
			if row.DeletedAt.IsZero() && other.row.ID != row.ID && other.row.DeletedAt.IsZero() && (other.row.Name == name || other.row.Number == row.Number) {
				return
			}
		}
		r.subusers[row.ID] = at[relay.Subuser]{rev, row}
	case 2:
		row := relay.Key{ID: relay.KeyID{ID: id}, Account: a, Subuser: sub, CreatedAt: t0.Add(time.Duration(n) * time.Hour), RevokedAt: when("revoked"), Scopes: []string{name}}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			row.Login = name
		case 1:
			row.Match = &relay.KeyMatch{Fingerprint: name}
		case 2:
			row.Match = &relay.KeyMatch{Name: name, CA: "ca"}
		case 3:
			row.Match = &relay.KeyMatch{Issuer: name, Claims: map[string]string{fmt.Sprint("claim", n): []string{"x", "y", "z*"}[n%3]}}
		}
		r.keys[row.ID] = at[relay.Key]{rev, row}
	case 3:
		row := relay.Pool{ID: relay.PoolID{ID: id}, Name: name, CreatedAt: t0.Add(time.Duration(n) * time.Hour), DisabledAt: when("off")}
		if rapid.Bool().Draw(t, "own") {
			row.Account = a
		}
		if old, ok := r.pools[row.ID]; ok {
			row.CreatedAt = old.row.CreatedAt
		}
		r.pools[row.ID] = at[relay.Pool]{rev, row}
	case 4:
		row := relay.Domain{ID: relay.DomainID{ID: id}, Account: a, Subuser: sub, Name: name + ".test", System: rapid.Bool().Draw(t, "system"),
			State: rapid.SampledFrom(domainStates).Draw(t, "state"), DisabledAt: when("off"), Token: name}
		if rapid.Bool().Draw(t, "return path") {
			row.ReturnPath = "em." + name + ".test"
		}
		if row.DisabledAt.IsZero() && rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
			row.DisabledAt, row.DeletedAt = t0, t0
		}
		// A name has one holder, a token one domain and an account a name once, as in the store.
		for _, other := range r.domains {
			if o := other.row; o.ID != row.ID && (o.Token == row.Token || o.Name == row.Name && (o.Holds() && row.Holds() || o.Account == a && o.DisabledAt.IsZero() && row.DisabledAt.IsZero())) {
				return
			}
		}
		r.domains[row.ID] = at[relay.Domain]{rev, row}
	case 5:
		row := relay.DKIMKey{Domain: relay.DomainID{ID: id}, Selector: name, Active: rapid.Bool().Draw(t, "active")}
		r.dkim[fmt.Sprint(id, name)] = at[relay.DKIMKey]{rev, row}
	case 6:
		row := relay.AccessList{Tenant: relay.Tenant{Account: a, Subuser: sub}, Monitor: rapid.IntRange(0, 4).Draw(t, "monitor") == 0}
		for i := range rapid.IntRange(0, 2).Draw(t, "rules") {
			row.Rules = append(row.Rules, relay.AccessRule{ID: int64(i), Host: name})
		}
		r.access[row.Tenant] = at[relay.AccessList]{rev, row}
	case 7:
		row := relay.SingleSender{Number: int64(n), Tenant: relay.Tenant{Account: a, Subuser: sub}, Address: name + "@else.test", VerifiedAt: when("verified"), DeletedAt: when("deleted")}
		for _, other := range r.senders {
			if o := other.row; o.Number != row.Number && o.Tenant == row.Tenant && o.Address == row.Address && o.DeletedAt.IsZero() && row.DeletedAt.IsZero() {
				return
			}
		}
		r.senders[row.Number] = at[relay.SingleSender]{rev, row}
	case 8:
		r.tokens[relay.TokenID{ID: id}] = at[time.Time]{rev, time.Now().Add(time.Hour)}
	}
}

// TestDeltaReadsOnlyWhatChanged: one change asks for what is new, a gap for all.
func TestDeltaReadsOnlyWhatChanged(t *testing.T) {
	r := newRows()
	d := follow(t, r)
	k := relay.Key{ID: relay.KeyID{ID: relay.ID{9}}, Account: acme}
	r.commit(func(rev int64) { r.keys[k.ID] = at[relay.Key]{rev, k} })
	if !d.Fresh(t.Context(), time.Now()) {
		t.Fatal("not fresh")
	}
	r.commit(func(int64) { r.broken = true })
	if !d.Fresh(t.Context(), time.Now()) {
		t.Fatal("not fresh after a gap")
	}
	if want := []int64{0, 1, 2, 0}; !slices.Equal(r.asked, want) {
		t.Errorf("asked for changes since %v, want %v", r.asked, want)
	}
	if _, ok := d.Key(k.ID); !ok {
		t.Error("the key is lost")
	}
}

// TestReadersSeeWholeChanges: while changes arrive, every answer is of one
// moment. Two keys of a tenant always change together; they are never seen apart.
func TestReadersSeeWholeChanges(t *testing.T) {
	r := newRows()
	tenant := relay.Tenant{Account: acme, Subuser: sub}
	pair := func(name string) func(int64) {
		return func(rev int64) {
			for n := range byte(2) {
				k := relay.Key{ID: relay.KeyID{ID: relay.ID{0: 1, 15: n}}, Account: acme, Subuser: sub, Name: name}
				r.keys[k.ID] = at[relay.Key]{rev, k}
			}
		}
	}
	r.commit(pair("0"))
	d := follow(t, r)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				ks := d.KeysOf(tenant)
				if len(ks) != 2 || ks[0].Name != ks[1].Name {
					t.Errorf("seen apart: %v", ks)
					return
				}
				d.Fresh(t.Context(), time.Now())
				d.Alive(ks[0], t0)
			}
		})
	}
	for i := range 300 {
		r.commit(pair(fmt.Sprint(i)))
		if err := d.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(done)
	readers.Wait()
}

// TestRevokedTokensEnd: a revoked token is remembered until it would have ended.
func TestRevokedTokensEnd(t *testing.T) {
	id, late := relay.TokenID{ID: relay.ID{1}}, relay.TokenID{ID: relay.ID{2}}
	in := newInterner()
	st := emptyState().with(&store.Snapshot{Full: true, RevokedTokens: map[relay.TokenID]time.Time{id: t0.Add(time.Minute), late: t0.Add(time.Hour)}}, in, t0)
	if len(flat(st.revoked)) != 2 {
		t.Fatalf("remembered %v", flat(st.revoked))
	}
	st = st.with(&store.Snapshot{}, in, t0.Add(2*time.Minute))
	if _, ok := st.revoked.get(late); !ok || len(flat(st.revoked)) != 1 {
		t.Errorf("after two minutes %v", flat(st.revoked))
	}
	if st = st.with(&store.Snapshot{RevokedTokens: map[relay.TokenID]time.Time{id: t0}}, in, t0.Add(time.Minute)); len(flat(st.revoked)) != 1 {
		t.Error("a token that has ended is remembered")
	}
}

func TestListAgainstSlice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var l list[int]
	model := map[int]bool{}
	check := func() {
		t.Helper()
		if want := slices.Sorted(maps.Keys(model)); !slices.Equal(l.slice(), want) {
			t.Fatalf("list has %d members, model %d", len(l.slice()), len(want))
		}
		for _, p := range l.pieces {
			if len(p) == 0 || len(p) > chunk {
				t.Fatalf("a piece of %d", len(p))
			}
		}
	}
	for i := range 5000 { // in order, as keys are made
		l, model[i*2] = l.with(i*2, cmp.Compare[int]), true
	}
	check()
	if n := len(l.pieces); n > 5000/chunk+1 {
		t.Errorf("%d pieces for members in order", n)
	}
	for range 20000 {
		v := rnd.IntN(12000)
		before := l
		n := len(before.slice())
		if rnd.IntN(3) > 0 {
			l = l.without(v, cmp.Compare[int])
			delete(model, v)
		} else {
			l, model[v] = l.with(v, cmp.Compare[int]), true
		}
		if rnd.IntN(200) == 0 {
			check()
			if len(before.slice()) != n {
				t.Fatal("an older view changed")
			}
		}
	}
	check()
}
