// Package identity knows who exists: accounts, subusers, keys, pools and the
// domains they send as. Its Directory holds all of it in memory, so that
// authentication, permission checks and the queue never wait for SQL; the store
// is the truth, and the Directory follows its revision.
//
// Its one invariant: what the Directory answers was true in the store no longer
// ago than Fresh says.
package identity

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Source is where the Directory reads from; *store.Store is one.
type Source interface {
	Snapshot(ctx context.Context) (*store.Snapshot, error)
	Revision() int64
	Changed() <-chan struct{}
	LastChecked() time.Time
}

// Directory is the in-memory view. All methods may be called from any goroutine.
type Directory struct {
	source Source
	log    *slog.Logger
	state  atomic.Pointer[state]

	reading sync.Mutex // one reader of the snapshot at a time
}

// state is one immutable view.
type state struct {
	revision int64
	accounts map[relay.AccountID]*relay.Account
	subusers map[relay.SubuserID]*relay.Subuser
	keys     map[relay.KeyID]*relay.Key
	pools    map[relay.PoolID]*relay.Pool
	shared   relay.PoolID               // the pool of those who name none
	domains  map[string][]*relay.Domain // by name: every account that has it
	byID     map[relay.DomainID]*relay.Domain
	dkim     map[relay.DomainID][]relay.DKIMKey
	system   *relay.Domain
	sysAcct  *relay.Account

	rpOnce sync.Once
	rp     map[string]bool // hosts of return paths, made when first asked
}

// Open reads the first view. It starts nothing.
func Open(ctx context.Context, source Source, log *slog.Logger) (*Directory, error) {
	d := &Directory{source: source, log: log}
	if err := d.Reload(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Reload reads the store's present state.
func (d *Directory) Reload(ctx context.Context) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	if st := d.state.Load(); st != nil && st.revision == d.source.Revision() {
		return nil // somebody else just did
	}
	s, err := d.source.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	d.state.Store(index(s))
	return nil
}

// Run follows the store until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	for {
		changed := d.source.Changed()
		if d.source.Revision() != d.state.Load().revision {
			if err := d.Reload(ctx); err != nil && ctx.Err() == nil {
				// The view goes stale, and Fresh says so; the store's own log has the cause.
				d.log.Error("identity: directory not reloaded", "error", err)
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// maxAge is how old the view may be before nobody is let in by it.
const maxAge = time.Second

// Fresh reports whether the view may be relied on at now: the store was asked
// for its revision no longer than a second ago, and the view has that revision.
// A view that is behind is read again first.
func (d *Directory) Fresh(ctx context.Context, now time.Time) bool {
	if now.Sub(d.source.LastChecked()) > maxAge {
		return false
	}
	if d.source.Revision() == d.state.Load().revision {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, maxAge)
	defer cancel()
	return d.Reload(ctx) == nil
}

func index(s *store.Snapshot) *state {
	st := &state{
		revision: s.Revision,
		accounts: make(map[relay.AccountID]*relay.Account, len(s.Accounts)),
		subusers: make(map[relay.SubuserID]*relay.Subuser, len(s.Subusers)),
		keys:     make(map[relay.KeyID]*relay.Key, len(s.Keys)),
		pools:    make(map[relay.PoolID]*relay.Pool, len(s.Pools)),
		domains:  make(map[string][]*relay.Domain, len(s.Domains)),
		byID:     make(map[relay.DomainID]*relay.Domain, len(s.Domains)),
		dkim:     make(map[relay.DomainID][]relay.DKIMKey, len(s.Domains)),
	}
	for i := range s.Accounts {
		st.accounts[s.Accounts[i].ID] = &s.Accounts[i]
		if s.Accounts[i].System {
			st.sysAcct = &s.Accounts[i]
		}
	}
	for i := range s.Subusers {
		st.subusers[s.Subusers[i].ID] = &s.Subusers[i]
	}
	for i := range s.Keys {
		st.keys[s.Keys[i].ID] = &s.Keys[i]
	}
	var oldest time.Time
	for i := range s.Pools {
		p := &s.Pools[i]
		st.pools[p.ID] = p
		// The default is the oldest usable pool that belongs to nobody in particular.
		if p.Account.IsZero() && p.DisabledAt.IsZero() && (oldest.IsZero() || p.CreatedAt.Before(oldest)) {
			st.shared, oldest = p.ID, p.CreatedAt
		}
	}
	for i := range s.Domains {
		dm := &s.Domains[i]
		st.domains[dm.Name] = append(st.domains[dm.Name], dm)
		st.byID[dm.ID] = dm
		if dm.System {
			st.system = dm
		}
	}
	for _, k := range s.DKIMKeys {
		st.dkim[k.Domain] = append(st.dkim[k.Domain], k)
	}
	return st
}
