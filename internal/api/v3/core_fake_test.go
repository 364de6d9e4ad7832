package v3

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeCore{world: w, used: map[relay.ID]store.Used{}}
		w.extra["core"] = f
		s.CoreServices = CoreServices{
			Keys: f, Settings: f, Ledger: f, Uses: f, KeyPrefix: "SG", AppPasswords: true, Issuers: []string{"https://issuer.example"},
			SealCRAM: func(k secret.Key) ([]byte, error) { return []byte("sealed " + k.IDText()), nil },
		}
	})
}

// fakeCore is the store of keys and settings, in memory. It keeps the promises of
// the interfaces.
type fakeCore struct {
	*world
	usage []relay.Usage
	users []store.KeyUser
	since time.Time // that users were asked for
	used  map[relay.ID]store.Used
}

func coreOf(w *world) *fakeCore { return w.extra["core"].(*fakeCore) }

func (f *fakeCore) Key(_ context.Context, id relay.KeyID) (relay.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.keys, func(k relay.Key) bool { return k.ID == id }); i >= 0 {
		return f.keys[i], f.fail
	}
	return relay.Key{}, relay.E(relay.NotFound, "There is no such key.")
}

func (f *fakeCore) Keys(_ context.Context, account relay.AccountID) ([]relay.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.keys), func(k relay.Key) bool { return k.Account != account }), f.fail
}

func (f *fakeCore) CreateKeyWithin(_ context.Context, by store.By, k relay.Key, most int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, have := range f.keys {
		if have.Account == k.Account && have.Subuser == k.Subuser && have.RevokedAt.IsZero() {
			n++
		}
	}
	if most > 0 && n >= most {
		return relay.E(relay.Forbidden, fmt.Sprintf("There are %d API keys already, and no more can be made.", n))
	}
	if f.fail == nil {
		f.keys = append(f.keys, k)
	}
	return f.noted(by, "key.create "+k.Name)
}

// edit changes one key, or says that there is none.
func (f *fakeCore) edit(by store.By, id relay.KeyID, what string, change func(*relay.Key) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.keys, func(k relay.Key) bool { return k.ID == id })
	if i < 0 {
		return relay.E(relay.NotFound, "There is no such key.")
	}
	if f.fail == nil {
		if err := change(&f.keys[i]); err != nil {
			return err
		}
	}
	return f.noted(by, what+" "+f.keys[i].Name)
}

func (f *fakeCore) SwapKey(_ context.Context, by store.By, was, k relay.Key) error {
	return f.edit(by, k.ID, "key.update", func(to *relay.Key) error {
		if !reflect.DeepEqual(*to, was) {
			return relay.E(relay.Conflict, "The key was changed at the same moment.")
		}
		*to = k
		return nil
	})
}

func (f *fakeCore) RotateKey(_ context.Context, by store.By, id relay.KeyID, v relay.Verifier, at, until time.Time) error {
	return f.edit(by, id, "key.rotate", func(k *relay.Key) error {
		if !slices.Equal(k.Verifier.SCRAMSalt, v.SCRAMSalt) || k.Verifier.SCRAMIterations != v.SCRAMIterations {
			f.t.Error("the new verifier has another salt")
		}
		old := k.Verifier
		k.Previous, k.PreviousUntil, k.Verifier, k.RotatedAt = &old, until, v, at
		if until.IsZero() {
			k.Previous = nil
		}
		return nil
	})
}

func (f *fakeCore) SetKeyDisabled(_ context.Context, by store.By, id relay.KeyID, at time.Time) error {
	return f.edit(by, id, "key.disabled", func(k *relay.Key) error { return switched(by, at, &k.DisabledAt, &k.DisabledRank) })
}

// switched is the store's rule of who switches on again what somebody has switched off.
func switched(by store.By, at time.Time, was *time.Time, rank *relay.Rank) error {
	switch {
	case at.IsZero() && *rank > by.Rank:
		return relay.E(relay.Forbidden, "The "+rank.String()+" switched this off.")
	case at.IsZero():
		*rank = relay.RankOwn
	default:
		*rank = max(*rank, by.Rank)
	}
	*was = at
	return nil
}

// keeps is the store's rule of who deletes what somebody has switched off.
func keeps(by store.By, off time.Time, rank relay.Rank) error {
	if off.IsZero() || rank <= by.Rank {
		return nil
	}
	return relay.E(relay.Forbidden, "The "+rank.String()+" switched this off. Nobody else can delete it.")
}

func (f *fakeCore) RevokeKey(_ context.Context, by store.By, id relay.KeyID, at time.Time) error {
	return f.edit(by, id, "key.revoke", func(k *relay.Key) error {
		if !k.RevokedAt.IsZero() {
			return relay.E(relay.Conflict, "The key was revoked before.")
		}
		k.RevokedAt = at
		return nil
	})
}

func (f *fakeCore) Account(_ context.Context, id relay.AccountID) (relay.Account, error) {
	if a, ok := f.world.Account(id); ok {
		return a, f.fail
	}
	return relay.Account{}, relay.E(relay.NotFound, "There is no such account.")
}

// meanwhile is the store's refusal of a swap that came too late.
func meanwhile() error {
	return &relay.Error{Kind: relay.Conflict, Public: "That was changed at the same moment.", Err: store.ErrMeanwhile}
}

func (f *fakeCore) SwapAccount(_ context.Context, by store.By, was, a relay.Account) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.accounts, func(x relay.Account) bool { return x.ID == a.ID }); i >= 0 && !reflect.DeepEqual(f.accounts[i], was) {
		return meanwhile()
	}
	if slices.ContainsFunc(f.accounts, func(x relay.Account) bool { return x.Name == a.Name && x.ID != a.ID }) {
		return &relay.Error{Kind: relay.Conflict, Field: "name", Public: "The name is taken."}
	}
	for i := range f.accounts {
		if f.accounts[i].ID == a.ID && f.fail == nil {
			f.accounts[i] = a
		}
	}
	return f.noted(by, "account.update "+a.Name)
}

func (f *fakeCore) Subuser(_ context.Context, id relay.SubuserID) (relay.Subuser, error) {
	if s, ok := f.world.Subuser(id); ok {
		return s, f.fail
	}
	return relay.Subuser{}, relay.E(relay.NotFound, "There is no such subuser.")
}

func (f *fakeCore) SwapSubuser(_ context.Context, by store.By, was, s relay.Subuser) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.subusers, func(x relay.Subuser) bool { return x.ID == s.ID }); i >= 0 && f.subusers[i] != was {
		return meanwhile()
	}
	if slices.ContainsFunc(f.subusers, func(x relay.Subuser) bool { return x.Name == s.Name && x.ID != s.ID && x.DeletedAt.IsZero() }) {
		return &relay.Error{Kind: relay.Conflict, Field: "name", Public: "The name is taken."}
	}
	for i := range f.subusers {
		if f.subusers[i].ID == s.ID && f.fail == nil {
			f.subusers[i] = s
		}
	}
	return f.noted(by, "subuser.update "+s.Name)
}

func (f *fakeCore) Usage(_ context.Context, account relay.Account, s *relay.Subuser, k *relay.Key) ([]relay.Usage, error) {
	if f.usage != nil {
		return f.usage, f.fail
	}
	out := []relay.Usage{{Subject: "account", Name: account.Name, Window: relay.WindowMonth, Used: 70, Remaining: -1}}
	if s != nil {
		out = append(out, relay.Usage{Subject: "subuser", Name: s.Name, Window: relay.WindowMonth, Used: 7, Remaining: -1})
	}
	if k != nil {
		out = append(out, relay.Usage{Subject: "api_key", Name: k.Name, Window: relay.WindowHour, Used: 3, Remaining: -1})
	}
	return out, f.fail
}

func (f *fakeCore) KeyUsers(_ context.Context, _ relay.KeyID, since time.Time) ([]store.KeyUser, error) {
	f.since = since
	return f.users, f.fail
}

func (f *fakeCore) Used(_ context.Context, subject relay.ID, _, sinceDay int64) (store.Used, error) {
	u := store.Used{Days: map[int64]int64{}}
	for day, n := range f.used[subject].Days {
		if day >= sinceDay {
			u.Days[day] = n
		}
	}
	return u, f.fail
}
