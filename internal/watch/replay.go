package watch

import (
	"context"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// ReplayConfig is what a replay looks at.
type ReplayConfig struct {
	Logs Logs
	// Engine has the settings to be tried; Load is not used.
	Engine Config
	// Account restricts it to one account's mail and logins; zero: all.
	Account relay.AccountID
	// Tenant restricts the findings further; nil: all.
	Tenant func(relay.Tenant) bool
	// Since: earlier history teaches, and is not reported. Until ends it; zero: now.
	Since, Until time.Time
	// Progress is told after each piece; nil: nobody is.
	Progress func(Progress)
	// Finding is told of each, oldest first.
	Finding func(relay.WatchFinding) error
}

// Progress is how far a replay is.
type Progress struct {
	At       time.Time `json:"at"` // of the last event or login
	Events   int64     `json:"events"`
	Logins   int64     `json:"logins"`
	Findings int       `json:"findings"`
}

// Replay runs the rules over the stored history: the same engine on the same
// pieces, without answers, and without a trace. With the settings that were in
// force it finds what was found, as far as the history reaches back.
func Replay(ctx context.Context, cfg ReplayConfig) (Progress, error) {
	cfg.Engine.Load = nil
	e := New(cfg.Engine)
	var at position
	var p Progress
	if cfg.Until.IsZero() {
		cfg.Until = time.Now()
	}
	for {
		s, err := nextSlice(ctx, cfg.Logs, at, cfg.Until, store.LoginSettle)
		if err != nil {
			return p, err
		}
		if len(s.events)+len(s.logins) == 0 && !s.more {
			return p, nil
		}
		at = s.next
		done := cfg.narrow(&s)
		fresh, err := e.Observe(ctx, s.events, s.logins)
		if err != nil {
			return p, err
		}
		e.Saved()
		p.note(&s)
		for _, f := range fresh {
			if f.FirstAt.Before(cfg.Since) || cfg.Tenant != nil && !cfg.Tenant(f.Tenant) {
				continue
			}
			p.Findings++
			if err := cfg.Finding(f); err != nil {
				return p, err
			}
		}
		if cfg.Progress != nil {
			cfg.Progress(p)
		}
		if done {
			return p, nil
		}
	}
}

// narrow leaves only what the replay is about; done: the rest is after its end.
func (c *ReplayConfig) narrow(s *slice) (done bool) {
	of := func(a relay.AccountID) bool { return c.Account.IsZero() || a == c.Account }
	events, logins := s.events[:0], s.logins[:0]
	late, all := 0, len(s.events)+len(s.logins)
	for _, e := range s.events {
		if e.At.After(c.Until) {
			late++
		} else if of(e.Account) {
			events = append(events, e)
		}
	}
	for _, l := range s.logins {
		if l.At.After(c.Until) {
			late++
		} else if of(l.Account) {
			logins = append(logins, l)
		}
	}
	s.events, s.logins = events, logins
	return all > 0 && late == all
}

func (p *Progress) note(s *slice) {
	p.Events += int64(len(s.events))
	p.Logins += int64(len(s.logins))
	for i := range s.events {
		if s.events[i].At.After(p.At) {
			p.At = s.events[i].At
		}
	}
	for i := range s.logins {
		if s.logins[i].At.After(p.At) {
			p.At = s.logins[i].At
		}
	}
}
