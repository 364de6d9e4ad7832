package auth

import (
	"context"
	"maps"
	"net/netip"
	"time"

	"postern/internal/relay"
)

// Check judges a logged-in principal again, at the next MAIL and at the end of
// data: a key that was revoked, disabled, rotated, narrowed or has expired
// meanwhile stops there, and so does a token, and an address that an access list
// no longer lets in. It returns the principal as it is now, or the smtp.Reply to
// send. Hours of the week and counts are not its business.
func (a *Authenticator) Check(ctx context.Context, p *relay.Principal, addr netip.Addr) (*relay.Principal, error) {
	now := a.cfg.Now()
	if !a.cfg.Directory.Fresh(ctx, now) {
		return nil, ReplyUnavailable
	}
	k, ok := a.cfg.Directory.Key(p.Key.ID)
	if !ok || a.cfg.Directory.Alive(k, now) != relay.LoginOK {
		return nil, ReplyEnded
	}
	previous, ok := stillProven(p, k, now)
	if !ok || !a.tokenGood(p.Token, now) || !a.atHome(ctx, k, addr) {
		return nil, ReplyEnded
	}
	if ok, _ := a.accessFrom(ctx, k, addr, now); !ok {
		return nil, ReplyEnded
	}
	if k == p.Key {
		if !p.Allows(relay.ScopeMailSend) {
			return nil, ReplyEnded
		}
		return p, nil
	}
	q := *p
	q.Key, q.Previous = k, previous
	if !q.Allows(relay.ScopeMailSend) {
		return nil, ReplyEnded
	}
	return &q, nil
}

// stillProven reports whether what the session proved at its login would still
// do, and whether that is the key's old secret by now.
func stillProven(p *relay.Principal, k *relay.Key, now time.Time) (previous, ok bool) {
	if !hasSecret(k) && k.Kind != relay.KeyAppPassword {
		return false, k == p.Key || p.Key.Kind == k.Kind && sameMatch(p.Key.Match, k.Match)
	}
	shown := &p.Key.Verifier
	if p.Previous {
		if p.Key.Previous == nil {
			return false, false
		}
		shown = p.Key.Previous
	}
	switch {
	case shown.SHA256 == k.Verifier.SHA256:
		return false, true
	case overlaps(k, now):
		return true, shown.SHA256 == k.Previous.SHA256
	}
	return false, false
}

func sameMatch(a, b *relay.KeyMatch) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Fingerprint == b.Fingerprint && a.CA == b.CA && a.Name == b.Name &&
		a.Issuer == b.Issuer && a.Audience == b.Audience && maps.Equal(a.Claims, b.Claims)
}

// tokenGood reports whether the token of a login, if it was by one, still lives.
func (a *Authenticator) tokenGood(t *relay.Token, now time.Time) bool {
	switch {
	case t == nil:
		return true
	case !now.Before(t.ExpiresAt):
		return false
	}
	return t.ID.IsZero() || !a.cfg.Directory.TokenRevoked(t.ID) // an outside issuer's has no id here
}
