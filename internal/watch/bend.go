package watch

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// leastMinute is what a key that is slowed may send at least, in recipients a minute;
// slowPart is the part of its largest hour, spread over its minutes, that it may go on
// with.
const (
	leastMinute = 1
	slowPart    = 0.25
)

// errDecided: somebody decided about the finding while it was answered.
var errDecided = errors.New("the finding is not open any more")

// bend slows, holds or stops a finding's key, by an answer. What it will change is kept
// before: a crash in between leaves it pending, and the next try changes the key. It is
// changed once: who puts it back while nobody can be told has the last word, over
// restarts too.
func (a *Answers) bend(ctx context.Context, f *relay.WatchFinding, answer relay.WatchAnswer) error {
	if f.Key.IsZero() || !slices.Contains(relay.WatchBends, answer) || f.Bent == f.Raised+1 && f.Undo.Part(answer) == nil {
		return nil
	}
	k, err := a.Store.Key(ctx, f.Key)
	if err != nil {
		if relay.KindOf(err) == relay.NotFound {
			return nil
		}
		return err
	}
	if k.Canary || !k.RevokedAt.IsZero() {
		return nil // it lets nobody in
	}
	if f.Undo.Stands(answer, &k) {
		return nil
	}
	if !f.Undo.Pending(answer, &k) {
		part, err := a.plan(ctx, f, answer, &k)
		if err != nil {
			return err
		}
		undo := f.Undo.With(answer, part)
		if err := a.Store.BendWatch(ctx, *f, undo); err != nil {
			if relay.KindOf(err) == relay.Conflict {
				return errDecided
			}
			return err
		}
		f.Undo, f.Bent = undo, f.Raised+1
	}
	return a.change(ctx, f, answer, k)
}

// change makes a key what an answer of a finding wants, where it is not so yet.
func (a *Answers) change(ctx context.Context, f *relay.WatchFinding, answer relay.WatchAnswer, k relay.Key) error {
	if !f.Undo.Pending(answer, &k) {
		return nil
	}
	by := store.By{Who: By, From: "finding " + f.ID.String()}
	was := k // whoever edits the key meanwhile is not undone: this is tried again
	switch answer {
	case relay.WatchStop:
		return a.Store.SwapKeyDisabled(ctx, by, k.ID, was.DisabledAt, f.Undo.DisabledAt)
	case relay.WatchHold:
		k.Mode = relay.KeyHold
	case relay.WatchSlow:
		k.PerMinute = f.Undo.SetMinute
	}
	return a.Store.SwapKey(ctx, by, was, k)
}

// plan says what an answer will change; nil: the key is so already. Where another
// finding has changed it so, both have the old value, and the last one restores it.
func (a *Answers) plan(ctx context.Context, f *relay.WatchFinding, answer relay.WatchAnswer, k *relay.Key) (*relay.WatchUndo, error) {
	if part, err := a.sharedPart(ctx, f, answer, k); err != nil || part != nil {
		return part, err
	}
	switch {
	case answer == relay.WatchStop && k.DisabledAt.IsZero():
		return &relay.WatchUndo{Stopped: true, DisabledAt: a.now().UTC().Truncate(time.Microsecond)}, nil
	case answer == relay.WatchHold && k.Mode == relay.KeyLive:
		return &relay.WatchUndo{Mode: k.Mode}, nil
	case answer == relay.WatchSlow:
		return a.planSlow(ctx, k)
	}
	return nil, nil
}

func (a *Answers) planSlow(ctx context.Context, k *relay.Key) (*relay.WatchUndo, error) {
	kept, err := a.Store.WatchBaselines(ctx, []relay.KeyID{k.ID})
	if err != nil {
		return nil, err
	}
	peak := 0.0
	if text, ok := kept[k.ID]; ok {
		if b, err := decodeBaseline(text); err == nil { // a damaged one is as none
			peak = float64(b.Peak)
		}
	}
	limit := int64(math.Max(leastMinute, slowPart*peak/60))
	if k.PerMinute != 0 && k.PerMinute <= limit {
		return nil, nil
	}
	was := k.PerMinute
	return &relay.WatchUndo{PerMinute: &was, SetMinute: limit}, nil
}

// sharedPart is what another finding that still stands changed of a key by an answer; nil:
// none did. What an answered one changed and is not so any more it does not want back:
// that is forgotten, or it would seem to stand again as soon as this one changes the
// same.
func (a *Answers) sharedPart(ctx context.Context, f *relay.WatchFinding, by relay.WatchAnswer, k *relay.Key) (*relay.WatchUndo, error) {
	bent, err := a.Store.BentWatch(ctx, f.Key)
	if err != nil {
		return nil, err
	}
	for i := range bent {
		b := &bent[i]
		part := b.Undo.Part(by)
		if b.ID == f.ID || part == nil || b.State != relay.WatchOpen && b.State != relay.WatchConfirmed {
			continue
		}
		if part.Stands(by, k) || b.AnsweredAt.IsZero() && part.Pending(by, k) {
			return part, nil
		}
		if err := a.Store.SetWatchUndo(ctx, b.ID, b.Undo.With(by, nil)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// undo restores what an answer changed, unless somebody changed it since, or
// another finding wants it to stay: then that one restores it.
func (a *Answers) undo(ctx context.Context, f *relay.WatchFinding) error {
	k, err := a.Store.Key(ctx, f.Key)
	if err != nil && relay.KindOf(err) != relay.NotFound {
		return err
	}
	if err == nil && k.RevokedAt.IsZero() {
		if err := a.restore(ctx, f, k); err != nil && relay.KindOf(err) != relay.Forbidden { // somebody above wants it to stay off
			return err
		}
	}
	return a.Store.SetWatchUndo(ctx, f.ID, nil)
}

// restore puts back the parts that nobody else wants. A crash between its two steps
// leaves the other for the next try.
func (a *Answers) restore(ctx context.Context, f *relay.WatchFinding, k relay.Key) error {
	by := store.By{Who: By, From: "finding " + f.ID.String() + ", " + string(f.State) + " by " + f.DecidedBy}
	was, enable := k, false
	for _, answer := range relay.WatchBends {
		if !f.Undo.Stands(answer, &was) {
			continue
		}
		other, err := a.sharedPart(ctx, f, answer, &was)
		if err != nil {
			return err
		}
		switch {
		case other != nil:
		case answer == relay.WatchSlow:
			k.PerMinute = *f.Undo.PerMinute
		case answer == relay.WatchHold:
			k.Mode = f.Undo.Mode
		default:
			enable = true
		}
	}
	if k.PerMinute != was.PerMinute || k.Mode != was.Mode {
		if err := a.Store.SwapKey(ctx, by, was, k); err != nil {
			return err
		}
	}
	if enable {
		return a.Store.SwapKeyDisabled(ctx, by, k.ID, was.DisabledAt, time.Time{})
	}
	return nil
}
