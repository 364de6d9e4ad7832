package watch

import (
	"context"
	"maps"
	"slices"
	"strings"

	"postern/internal/relay"
)

// Changes is what has to be kept so that a restart changes nothing.
type Changes struct {
	Keys     map[relay.KeyID][]byte // baselines that changed
	Shared   []byte                 // what is known of failed logins; nil: unchanged
	Findings []relay.WatchFinding   // new and changed ones, oldest first
}

// Changes returns what changed since the last Saved.
func (e *Engine) Changes() (Changes, error) {
	c := Changes{Keys: map[relay.KeyID][]byte{}}
	for id, l := range e.keys {
		if !l.dirty {
			continue
		}
		text, err := l.encode()
		if err != nil {
			return c, err
		}
		c.Keys[id] = text
	}
	if e.share.dirty {
		text, err := e.share.encode()
		if err != nil {
			return c, err
		}
		c.Shared = text
	}
	for k := range e.changed {
		if f := e.open[k]; f != nil {
			c.Findings = append(c.Findings, copyFinding(f))
		}
	}
	c.Findings = append(c.Findings, e.ended...)
	sortFindings(c.Findings)
	return c, nil
}

// Saved says that what Changes returned is kept. Baselines beyond MaxKeys, those
// that were not used for longest, are forgotten: Load has them.
func (e *Engine) Saved() {
	for _, l := range e.keys {
		l.dirty = false
	}
	e.share.dirty = false
	e.ended = nil
	clear(e.changed)
	if e.cfg.Load == nil || len(e.keys) <= e.cfg.MaxKeys {
		return
	}
	ids := slices.SortedFunc(maps.Keys(e.keys), func(a, b relay.KeyID) int {
		if d := e.keys[a].used - e.keys[b].used; d != 0 {
			return int(max(min(d, 1), -1))
		}
		return strings.Compare(a.String(), b.String())
	})
	for _, id := range ids[:len(ids)-e.cfg.MaxKeys] {
		delete(e.keys, id)
	}
}

// Restore puts back what was kept: what is known of failed logins, and the
// findings that are open. Baselines come by Load.
func (e *Engine) Restore(shared []byte, open []relay.WatchFinding) {
	if err := e.share.decode(shared); err != nil {
		e.damaged(relay.KeyID{}, err)
		e.share.dirty = true // so that it is said once
	}
	clear(e.open)
	for i := range open {
		f := copyFinding(&open[i])
		if k := keyOf(&f); e.open[k] == nil || e.open[k].FirstAt.Before(f.FirstAt) {
			e.open[k] = &f
		}
	}
}

// Put gives the engine a baseline that was kept; for tests, and for those who
// have no Load.
func (e *Engine) Put(id relay.KeyID, kept []byte) error {
	b, err := decodeBaseline(kept)
	if err != nil {
		return err
	}
	e.keys[id] = &learned{baseline: b, used: e.turn}
	return nil
}

// Decide takes in what a person decided about a finding. A dismissed one that
// teaches makes what was seen normal; one that does not, or a confirmed one,
// leaves what was seen strange, so that it is reported when it happens again.
func (e *Engine) Decide(ctx context.Context, f relay.WatchFinding) error {
	if !f.Key.IsZero() && e.keys[f.Key] == nil {
		if err := e.fetch(ctx, map[relay.KeyID]bool{f.Key: true}); err != nil {
			return err
		}
	}
	k := keyOf(&f)
	if old := e.open[k]; old != nil && old.ID == f.ID {
		teach := f.Teach
		f = copyFinding(old) // the newest evidence
		f.Teach = teach
		delete(e.open, k)
		delete(e.changed, k)
	} else {
		f = copyFinding(&f)
	}
	l := e.keys[f.Key]
	if f.Teach {
		e.share.teach(&f)
		if l != nil {
			l.teach(&f)
			l.dirty = true
		}
	} else if l != nil {
		l.unlearn(&f)
		l.dirty = true
	}
	return nil
}
