package v3

import (
	"context"
	"errors"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// fakeSubusers keeps a world's subusers as the store does.
type fakeSubusers struct {
	w      *world
	pools  []relay.Pool
	queued map[relay.Tenant]int64
	used   map[relay.ID]store.Used
	// blind: the directory does not know of changes yet.
	blind bool
	// other is what another node does, once, in the moment before a swap.
	other func()
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeSubusers{w: w, queued: map[relay.Tenant]int64{}, used: map[relay.ID]store.Used{}}
		w.extra["subusers"], s.Subusers = f, f
		s.Directory = laggingDirectory{w, f}
	})
}

func subusersOf(w *world) *fakeSubusers { return w.extra["subusers"].(*fakeSubusers) }

// laggingDirectory may be behind the store.
type laggingDirectory struct {
	*world
	f *fakeSubusers
}

func (d laggingDirectory) SubuserNamed(name string) (relay.Subuser, bool) {
	if d.f.blind {
		return relay.Subuser{}, false
	}
	return d.world.SubuserNamed(name)
}

func absent() error { return relay.E(relay.NotFound, "There is no such subuser.") }

func (f *fakeSubusers) Subuser(_ context.Context, id relay.SubuserID) (relay.Subuser, error) {
	if s, ok := f.w.Subuser(id); ok {
		return s, f.w.fail
	}
	return relay.Subuser{}, absent()
}

func (f *fakeSubusers) Subusers(_ context.Context, account relay.AccountID) ([]relay.Subuser, error) {
	return f.w.SubusersOf(account), f.w.fail
}

func (f *fakeSubusers) CreateSubuser(_ context.Context, by store.By, s relay.Subuser) error {
	if _, taken := f.w.SubuserNamed(s.Name); taken {
		return relay.E(relay.Conflict, "That name is taken.")
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	s.Number = int64(100 + len(f.w.subusers))
	f.w.subusers = append(f.w.subusers, s)
	return f.w.noted(by, "create subuser "+s.Name)
}

// edit changes a subuser that is not deleted.
func (f *fakeSubusers) edit(by store.By, id relay.SubuserID, what string, edit func(*relay.Subuser)) error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	i := slices.IndexFunc(f.w.subusers, func(s relay.Subuser) bool { return s.ID == id && s.DeletedAt.IsZero() })
	if i < 0 {
		return absent()
	}
	if err := f.w.noted(by, what+" subuser "+f.w.subusers[i].Name); err != nil {
		return err
	}
	edit(&f.w.subusers[i])
	return nil
}

func (f *fakeSubusers) SwapSubuser(_ context.Context, by store.By, was, s relay.Subuser) error {
	if other := f.other; other != nil { // once, in the moment before
		f.other = nil
		other()
	}
	if now, ok := f.w.Subuser(s.ID); ok && now != was {
		return meanwhile()
	}
	return f.edit(by, s.ID, "update", func(old *relay.Subuser) {
		s.Account, s.Number, s.CreatedAt, s.DeletedAt = old.Account, old.Number, old.CreatedAt, old.DeletedAt
		*old = s
	})
}

func (f *fakeSubusers) SetSubuserDisabled(_ context.Context, by store.By, id relay.SubuserID, at time.Time) error {
	var refused error
	err := f.edit(by, id, "switch", func(s *relay.Subuser) { refused = switched(by, at, &s.DisabledAt, &s.DisabledRank) })
	return errors.Join(err, refused)
}

func (f *fakeSubusers) DeleteSubuser(_ context.Context, by store.By, id relay.SubuserID, at time.Time) error {
	return f.edit(by, id, "delete", func(s *relay.Subuser) {
		s.DeletedAt = at
		for i := range f.w.keys {
			if f.w.keys[i].Subuser == id {
				f.w.keys[i].RevokedAt = at
			}
		}
	})
}

func (f *fakeSubusers) Pools(context.Context) ([]relay.Pool, error) { return f.pools, f.w.fail }

func (f *fakeSubusers) References(_ context.Context, m store.MessageFilter) (int64, error) {
	return f.queued[relay.Tenant{Account: m.Account, Subuser: m.Subuser}], f.w.fail
}

func (f *fakeSubusers) Used(_ context.Context, subject relay.ID, _, sinceDay int64) (store.Used, error) {
	u := f.used[subject]
	out := store.Used{Ever: u.Ever, Days: map[int64]int64{}}
	for day, n := range u.Days {
		if day >= sinceDay {
			out.Days[day] = n
		}
	}
	return out, f.w.fail
}

// use counts credits of a subuser on a day.
func (f *fakeSubusers) use(of relay.Tenant, at time.Time, n int64) {
	u := f.used[of.Subuser.ID]
	if u.Days == nil {
		u.Days = map[int64]int64{}
	}
	u.Days[at.Unix()/86400] += n
	u.Ever += n
	f.used[of.Subuser.ID] = u
}

// nameOf is a subuser's name, and for an account that of its subuser.
func nameOf(w *world, of relay.Tenant) string {
	for _, s := range w.subusers {
		if s.ID == of.Subuser || of.Subuser.IsZero() && s.Account == of.Account {
			return s.Name
		}
	}
	w.t.Fatal("no subuser")
	return ""
}
