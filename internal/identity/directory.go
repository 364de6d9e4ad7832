// Package identity knows who exists: accounts, subusers, keys, pools and the
// domains they send as, from where they may come, and which tokens were revoked.
// Its Directory holds all of it in memory, so that authentication, permission
// checks and the queue never wait for SQL; the store is the truth, and the
// Directory follows its revision, reading what changed.
//
// The rules that keys must keep (an account's policy, and that no key makes a
// wider one) are here too; they are functions of their arguments.
//
// Its one invariant: what the Directory answers was true in the store no longer
// ago than Fresh says.
package identity

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"postern/internal/store"
)

// Source is where the Directory reads from; *store.Store is one. Snapshot gives
// what changed after a revision; since 0, or where the source cannot say, all.
type Source interface {
	Snapshot(ctx context.Context, since int64) (*store.Snapshot, error)
	Revision() int64
	Changed() <-chan struct{}
	LastChecked() time.Time
}

// Directory is the in-memory view. All methods may be called from any goroutine;
// what they return is immutable. Each answer is consistent in itself: it is made
// from one view.
type Directory struct {
	source Source
	log    *slog.Logger
	state  atomic.Pointer[state]

	reading chan struct{} // holds one token: the right to read and to replace state
	intern  *interner     // by the holder of the token
}

// Open reads the first view. It starts nothing.
func Open(ctx context.Context, source Source, log *slog.Logger) (*Directory, error) {
	d := &Directory{source: source, log: log, reading: make(chan struct{}, 1)}
	if err := d.Reload(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Reload reads what changed in the store since the present view.
func (d *Directory) Reload(ctx context.Context) error {
	select {
	case d.reading <- struct{}{}:
		defer func() { <-d.reading }()
	case <-ctx.Done():
		return fmt.Errorf("read directory: %w", context.Cause(ctx))
	}
	st := d.state.Load()
	if st != nil && st.revision >= d.source.Revision() {
		return nil // somebody else just did
	}
	next, err := d.next(ctx, st)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	d.state.Store(next)
	return nil
}

// next is the view after st (nil: none yet). Where the source cannot say what
// changed since st, or says it since another revision, everything is read anew.
func (d *Directory) next(ctx context.Context, st *state) (*state, error) {
	var since int64
	if st != nil {
		since = st.revision
	}
	s, err := d.source.Snapshot(ctx, since)
	if err != nil {
		return nil, err
	}
	if !everything(s) && (s.Since != since || s.Revision < since) {
		if s, err = d.source.Snapshot(ctx, 0); err != nil {
			return nil, err
		}
		if !everything(s) {
			return nil, fmt.Errorf("asked for everything, given what changed since revision %d", s.Since)
		}
	}
	if everything(s) {
		st, d.intern = emptyState(), newInterner()
	}
	return st.with(s, d.intern, time.Now()), nil
}

func everything(s *store.Snapshot) bool { return s.Full || s.Since == 0 }

// Run follows the store until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	for {
		changed := d.source.Changed()
		if d.source.Revision() > d.state.Load().revision {
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
	return now.Sub(d.source.LastChecked()) <= maxAge && d.CatchUp(ctx)
}

// CatchUp reads a view that is behind the store again, within a second: whoever was
// told that a change is stored finds it in the view from then on. It reports whether
// the view is up to date with what the store knows.
func (d *Directory) CatchUp(ctx context.Context) bool {
	if d.state.Load().revision >= d.source.Revision() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, maxAge)
	defer cancel()
	return d.Reload(ctx) == nil
}
