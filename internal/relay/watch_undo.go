package relay

import "time"

// WatchUndo is what answers changed of a key, so that dismissing restores it: a part
// for each of WatchBends. What somebody else changed since is no part of it any more.
type WatchUndo struct {
	PerMinute *int64  `json:"per_minute,omitempty"` // the limit before
	SetMinute int64   `json:"set_per_minute,omitempty"`
	Mode      KeyMode `json:"mode,omitempty"` // the mode before
	Stopped   bool    `json:"stopped,omitempty"`
	// DisabledAt is the moment that was set: a key that is disabled at another one was
	// disabled by somebody else. Zero in what older releases kept: any moment.
	DisabledAt time.Time `json:"disabled_at,omitzero"`
}

// WatchBends are the answers that change a key, mildest first.
var WatchBends = []WatchAnswer{WatchSlow, WatchHold, WatchStop}

// Part is what one answer changed; nil: nothing. A nil u has no parts.
func (u *WatchUndo) Part(a WatchAnswer) *WatchUndo {
	switch {
	case u == nil:
	case a == WatchSlow && u.PerMinute != nil:
		return &WatchUndo{PerMinute: u.PerMinute, SetMinute: u.SetMinute}
	case a == WatchHold && u.Mode != "":
		return &WatchUndo{Mode: u.Mode}
	case a == WatchStop && u.Stopped:
		return &WatchUndo{Stopped: true, DisabledAt: u.DisabledAt}
	}
	return nil
}

// With is u with what an answer changed in the place of its part; without one where
// part is nil. nil: nothing is left.
func (u *WatchUndo) With(a WatchAnswer, part *WatchUndo) *WatchUndo {
	var out WatchUndo
	if u != nil {
		out = *u
	}
	if part == nil {
		part = &WatchUndo{}
	}
	switch a {
	case WatchSlow:
		out.PerMinute, out.SetMinute = part.PerMinute, part.SetMinute
	case WatchHold:
		out.Mode = part.Mode
	case WatchStop:
		out.Stopped, out.DisabledAt = part.Stopped, part.DisabledAt
	}
	if out == (WatchUndo{}) {
		return nil
	}
	return &out
}

// Stands reports whether a key is as an answer made it.
func (u *WatchUndo) Stands(a WatchAnswer, k *Key) bool {
	switch u = u.Part(a); {
	case u == nil:
		return false
	case a == WatchSlow:
		return k.PerMinute == u.SetMinute
	case a == WatchHold:
		return k.Mode == KeyHold
	default:
		return !k.DisabledAt.IsZero() && (u.DisabledAt.IsZero() || k.DisabledAt.Equal(u.DisabledAt))
	}
}

// Pending reports whether a key is as it was before an answer that was going to
// change it.
func (u *WatchUndo) Pending(a WatchAnswer, k *Key) bool {
	switch u = u.Part(a); {
	case u == nil:
		return false
	case a == WatchSlow:
		return k.PerMinute == *u.PerMinute
	case a == WatchHold:
		return k.Mode == u.Mode
	default:
		return k.DisabledAt.IsZero()
	}
}

// Left is what is left of u when a key was changed: not what stood before and does
// not stand any more.
func (u *WatchUndo) Left(was, k *Key) *WatchUndo {
	for _, a := range WatchBends {
		if u.Stands(a, was) && !u.Stands(a, k) {
			u = u.With(a, nil)
		}
	}
	return u
}
