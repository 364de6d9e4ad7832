package identity

import (
	"fmt"
	"net/netip"
	"time"

	"postern/internal/relay"
)

// day is what people count a key's life in. It is 24 hours, whatever the clock
// of the account's time zone does in between.
const day = 24 * time.Hour

// CheckNewKey reports whether a key that is being made, or given other rights,
// is what its account's policy allows. The error is a *relay.Error of kind
// Invalid, whose Field is the member at fault. Canary keys open nothing and may
// be anything.
func CheckNewKey(policy relay.Policy, k relay.Key, now time.Time) error {
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return refused("expires_at", "The key would have ended before it began. Set expires_at to a time that is yet to come.")
	}
	if k.Canary {
		return nil
	}
	if life := policy.MaxKeyLife; life > 0 {
		latest := now.Add(life)
		switch {
		case k.ExpiresAt.IsZero():
			return refused("expires_at", "This account's policy wants every key to end. Set expires_at to %s at the latest (%s from now).", stamp(latest), spell(life))
		case k.ExpiresAt.After(latest):
			return refused("expires_at", "This account's policy lets a key live for %s. Set expires_at to %s at the latest.", spell(life), stamp(latest))
		}
	}
	if policy.ForbidFullAccess && relay.Full(k.Scopes) {
		return refused("scopes", "This account's policy forbids keys with full access. Name the scopes that the program needs, such as mail.send.")
	}
	if policy.RequireNetworks {
		switch {
		case len(k.Networks) == 0 && len(k.Hosts) == 0:
			return refused("networks", "This account's policy wants every key to say from where it is used. Set networks (such as 192.0.2.0/24) or hosts.")
		case everywhere(k.Networks):
			return refused("networks", "These networks are all of the Internet, and this account's policy wants every key to say from where it is used. Name the networks of the program.")
		}
	}
	return nil
}

func refused(field, format string, args ...any) error {
	return &relay.Error{Kind: relay.Invalid, Field: field, Public: fmt.Sprintf(format, args...)}
}

// everywhere reports networks that together hold every IPv4 or every IPv6
// address, as a slip like 0.0.0.0/0 does. (AU-32)
func everywhere(networks []netip.Prefix) bool {
	return covered(netip.PrefixFrom(netip.IPv4Unspecified(), 0), networks) ||
		covered(netip.PrefixFrom(netip.IPv6Unspecified(), 0), networks)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// spell writes a life as people say it: in days where it is whole days.
func spell(d time.Duration) string {
	switch {
	case d == day:
		return "1 day"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return d.String()
}

// PreviousValid reports whether a key's secret from before its rotation is still
// good at now.
func PreviousValid(k *relay.Key, now time.Time) bool {
	return k.Previous != nil && now.Before(k.PreviousUntil)
}

// PreviousEnd is until when the old secret of a key that is rotated now stays
// good, if an overlap is asked for: no longer than the key itself, and no longer
// than the policy lets a secret live.
func PreviousEnd(policy relay.Policy, k *relay.Key, now time.Time, overlap time.Duration) time.Time {
	end := now.Add(max(overlap, 0))
	if !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(end) {
		end = k.ExpiresAt
	}
	if policy.MaxKeyLife > 0 {
		made := k.CreatedAt
		if k.RotatedAt.After(made) {
			made = k.RotatedAt
		}
		if latest := made.Add(policy.MaxKeyLife); latest.Before(end) {
			end = latest
		}
	}
	if end.Before(now) {
		return now // it ends at once
	}
	return end
}
