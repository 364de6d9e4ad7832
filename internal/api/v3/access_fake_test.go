package v3

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"postern/internal/relay"
	"postern/internal/store"
)

// fakeAccess keeps allow-lists as the store does: it gives ids, and it stores
// what can be written as JSON.
type fakeAccess struct {
	w     *world
	mu    sync.Mutex
	next  int64
	lists map[relay.Tenant][]byte
	seen  []relay.AccessSeen
	sets  int
	// meanwhile is what another node does just before a list is stored.
	meanwhile func()
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeAccess{w: w, lists: map[relay.Tenant][]byte{}}
		w.extra["access"] = f
		s.AccessLists, s.ShutsOut = f, fakeShutsOut
	})
}

func accessOf(w *world) *fakeAccess { return w.extra["access"].(*fakeAccess) }

func fakeShutsOut(_ context.Context, list *relay.AccessList, addr netip.Addr) bool {
	return !slices.ContainsFunc(list.Rules, func(r relay.AccessRule) bool { return r.Network.IsValid() && r.Network.Contains(addr) })
}

func (f *fakeAccess) AccessList(_ context.Context, of relay.Tenant) (relay.AccessList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := relay.AccessList{Tenant: of}
	if b := f.lists[of]; b != nil {
		if err := json.Unmarshal(b, &list); err != nil {
			return list, err
		}
	}
	return list, f.w.fail
}

func (f *fakeAccess) SwapAccessList(ctx context.Context, by store.By, was, next relay.AccessList) (relay.AccessList, error) {
	if f.meanwhile != nil {
		f.meanwhile()
		f.meanwhile = nil
	}
	now, err := f.AccessList(ctx, next.Tenant)
	if err != nil {
		return next, err
	}
	a, _ := json.Marshal(was)
	if b, _ := json.Marshal(now); string(a) != string(b) {
		return next, relay.E(relay.Conflict, "The list was changed at the same moment.")
	}
	return f.SetAccessList(ctx, by, next)
}

func (f *fakeAccess) SetAccessList(_ context.Context, by store.By, list relay.AccessList) (relay.AccessList, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list.Rules = slices.Clone(list.Rules)
	for i := range list.Rules {
		if list.Rules[i].ID == 0 {
			f.next++
			list.Rules[i].ID = f.next
		}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return list, err
	}
	if err := f.w.noted(by, fmt.Sprintf("access list of %d rules", len(list.Rules))); err != nil {
		return list, err
	}
	f.lists[list.Tenant] = b
	f.sets++
	return list, nil
}

func (f *fakeAccess) AccessActivity(_ context.Context, of relay.Tenant, limit int) ([]relay.AccessSeen, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []relay.AccessSeen
	for _, s := range f.seen {
		if s.Tenant == of && len(out) < limit {
			out = append(out, s)
		}
	}
	return out, f.w.fail
}

// addRule puts a rule into a tenant's list, past the API, and returns its id.
func (f *fakeAccess) addRule(of relay.Tenant, network string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := relay.AccessList{Tenant: of}
	if b := f.lists[of]; b != nil {
		if err := json.Unmarshal(b, &list); err != nil {
			f.w.t.Fatal(err)
		}
	}
	f.next++
	list.Rules = append(list.Rules, relay.AccessRule{ID: f.next, Network: netip.MustParsePrefix(network), CreatedAt: t0, UpdatedAt: t0})
	b, err := json.Marshal(list)
	if err != nil {
		f.w.t.Fatal(err)
	}
	f.lists[of] = b
	return f.next
}
