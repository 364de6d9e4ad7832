package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

var keyChecks = []Check{
	{
		Code: "key_never_used", Section: SectionKeys, Severity: Medium, Weight: 8, Practice: LeastRights, Standards: []string{cisDormant, cisRevoke},
		Title: "Key that was never used", Doc: "A key that is more than 7 days old and was never used.",
		run: eachKey(func(f *Facts, k *relay.Key) *flaw {
			if !k.LastUsedAt.IsZero() || !f.older(k.CreatedAt, graceNew) {
				return nil
			}
			return &flaw{
				text:     fmt.Sprintf("The key %s was made %s and never used. Whoever finds its secret somewhere can use it.", quote(k.Name), f.ago(k.CreatedAt)),
				evidence: []string{"made on " + on(k.CreatedAt), "made by " + k.CreatedBy}, fix: "postern key revoke " + k.ID.String(),
			}
		}),
	},
	{
		Code: "key_unused", Section: SectionKeys, Severity: Medium, Weight: 8, Practice: LeastRights, Standards: []string{cisDormant, cisRevoke},
		Title: "Key that is not used any more", Doc: "A key that was used, but not for 90 days (`unused_days`).",
		run: eachKey(func(f *Facts, k *relay.Key) *flaw {
			if k.LastUsedAt.IsZero() || !f.older(k.LastUsedAt, days(f.Options.UnusedDays)) {
				return nil
			}
			return &flaw{
				text:     fmt.Sprintf("The key %s was last used %s. What nobody needs, nobody misses when a thief uses it.", quote(k.Name), f.ago(k.LastUsedAt)),
				evidence: []string{"last used on " + on(k.LastUsedAt) + lastFrom(k)}, fix: "postern key revoke " + k.ID.String(),
			}
		}),
	},
	{
		Code: "key_rotation", Section: SectionKeys, Severity: High, Weight: 15, Practice: Rotation, Standards: []string{"NIST SP 800-57 Part 1 §5.3", cisConfig},
		Title: "Secret that was not changed in time",
		Doc:   "An API key or app password whose secret is older than the account's longest life of a key, or than 90 days (`rotate_days`) where the policy names none, or one above a year.",
		run: eachKey(func(f *Facts, k *relay.Key) *flaw {
			since := secretSince(k)
			if k.Kind != relay.KeyAPI && k.Kind != relay.KeyAppPassword || !f.older(since, f.rotateAfter()) {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("The secret of the key %s dates from %s, %s; it should change every %s.", quote(k.Name), on(since), f.ago(since), inWords(f.rotateAfter())),
				fix:  "postern key rotate " + k.ID.String() + " --overlap " + spelled(day),
			}
		}),
	},
	{
		Code: "key_no_expiry", Section: SectionKeys, Severity: Medium, Weight: 5, Practice: Rotation, Standards: []string{cisRevoke},
		Title: "Key without an end", Doc: "A key that never expires.",
		run: eachKey(func(f *Facts, k *relay.Key) *flaw {
			if !k.ExpiresAt.IsZero() {
				return nil
			}
			w := &flaw{text: fmt.Sprintf("The key %s works for ever. With an end, one that was forgotten goes away by itself; a reminder comes 14 days before.", quote(k.Name))}
			f.proposeEnd(k, w)
			return w
		}),
	},
	{
		Code: "key_networks", Section: SectionKeys, Severity: Medium, Weight: 10, Practice: AllowListing, Standards: []string{cisACL},
		Title: "Key that works from anywhere",
		Doc:   "A key without networks and hosts, or with a network so wide that it restricts nothing (fewer than 8 bits of an IPv4 address, 20 of an IPv6 address).",
		run:   eachKey(keyNetworks),
	},
	{
		Code: "key_senders", Section: SectionKeys, Severity: Medium, Weight: 8, Practice: LeastRights, Standards: []string{cisRoles, cisACL},
		Title: "Key that may send as anybody of the account", Doc: "A key that may send mail and is not narrowed to sender addresses or domains.",
		run: eachKey(func(f *Facts, k *relay.Key) *flaw {
			if len(k.Senders) > 0 || !k.Allows(relay.ScopeMailSend) {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("The key %s may send as every address of every domain that is the account's. Name those that its program uses.", quote(k.Name)),
				fix:  "postern key update " + k.ID.String() + " --sender ADDRESS-OR-DOMAIN",
			}
		}),
	},
	{
		Code: "key_full_access", Section: SectionKeys, Severity: High, Weight: 20, Practice: LeastRights, Standards: []string{cisAdmin, cisRoles},
		Title: "Key with full access", Doc: "A key that has every scope.",
		run: eachKey(func(_ *Facts, k *relay.Key) *flaw {
			if !relay.Full(k.Scopes) {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("The key %s may do everything in the account: make keys, read what was sent, change who may log in. A program that sends needs mail.send.", quote(k.Name)),
				fix:  "postern key update " + k.ID.String() + " --scope mail.send",
			}
		}),
	},
	{
		Code: "key_app_password", Section: SectionKeys, Severity: Medium, Weight: 6, Practice: Updated, Standards: []string{"CIS Controls v8 5.2", nistSecrets},
		Title: "App password", Doc: "A key of the kind app password: shorter than a key, and for devices that can do no better.",
		run: eachKey(func(_ *Facts, k *relay.Key) *flaw {
			if k.Kind != relay.KeyAppPassword {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("%s is an app password. Where the device can take a key, give it one and revoke this.", quote(k.Name)),
				fix:  "postern key revoke " + k.ID.String(),
			}
		}),
	},
	{
		Code: "key_cram", Section: SectionKeys, Severity: Medium, Weight: 10, Practice: Updated, Standards: []string{nistMD5, nistSecrets},
		Title: "CRAM-MD5 switched on", Doc: "A key that may log in with CRAM-MD5, for which the server keeps the whole secret.",
		run: eachKey(func(_ *Facts, k *relay.Key) *flaw {
			if k.Verifier.SealedCRAM == nil {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("The key %s may log in with CRAM-MD5. It is built on MD5, and its secret has to be kept, sealed, instead of a hash. Make a new key for the program and revoke this one.", quote(k.Name)),
				fix:  "postern key revoke " + k.ID.String(),
			}
		}),
	},
	{
		Code: "key_old_secret", Section: SectionKeys, Severity: Low, Weight: 3, Practice: Rotation, Standards: []string{"NIST SP 800-57 Part 1 §5.3"},
		Title: "Old secret that is still in use", Doc: "A key whose secret from before a rotation still works and was used since.",
		run: eachKey(func(f *Facts, k *relay.Key) *flaw {
			if !f.At.Before(k.PreviousUntil) || k.PreviousUsedAt.IsZero() || k.PreviousUsedAt.Before(k.RotatedAt) {
				return nil
			}
			return &flaw{
				text:     fmt.Sprintf("The key %s was rotated, and somebody still logs in with its old secret, which ends on %s. Give that program the new one.", quote(k.Name), on(k.PreviousUntil)),
				evidence: []string{fmt.Sprintf("last on %s from %s as %s, %d times in all", on(k.PreviousUsedAt), k.PreviousUsedFrom, shown(k.PreviousUsedHelo), k.PreviousUseCount)},
				fix:      "postern key users " + k.ID.String(),
			}
		}),
	},
}

// eachKey makes a check that looks at one key that can log in after the other.
func eachKey(look func(f *Facts, k *relay.Key) *flaw) func(*Facts, func(flaw)) {
	return func(f *Facts, yield func(flaw)) {
		for i := range f.Keys {
			k := &f.Keys[i]
			if !f.live(k) {
				continue
			}
			if w := look(f, k); w != nil {
				w.subject, w.href = keySubject(k), f.pageOf(k.Subuser, "/keys/"+k.ID.String())
				yield(*w)
			}
		}
	}
}

func keySubject(k *relay.Key) Subject {
	return Subject{Kind: "api_key", ID: k.ID.String(), Name: k.Name}
}

// secretSince is when a key got the secret that it has.
func secretSince(k *relay.Key) time.Time {
	if k.RotatedAt.After(k.CreatedAt) {
		return k.RotatedAt
	}
	return k.CreatedAt
}

// usualEnd is the end that is proposed for a key without one.
const usualEnd = 90 * day

// proposeEnd is the command that gives a key an end. The account's policy may allow
// less, counted from when the secret was made, and the command has to be right some
// days later, too: hence a tenth less. A secret that is past half of that life is
// changed first; what has no secret is made anew.
func (f *Facts) proposeEnd(k *relay.Key, w *flaw) {
	end, life := usualEnd, f.Account.Policy.MaxKeyLife
	if life > 0 {
		left := secretSince(k).Add(life).Sub(f.At)
		switch {
		case left >= life/2:
			end = min(end, left-left/10)
		case k.Kind == relay.KeyAPI || k.Kind == relay.KeyAppPassword:
			w.text += " The policy counts from when its secret was made, too long ago: rotate it, then give it an end."
			w.fix = "postern key rotate " + k.ID.String() + " --overlap " + spelled(day)
			return
		default:
			w.text += " The policy counts from when it was made, too long ago: make another one with an end, and revoke this one."
			w.fix = "postern key revoke " + k.ID.String()
			return
		}
	}
	unit := time.Minute
	if end >= day {
		unit = day
	}
	w.fix = "postern key update " + k.ID.String() + " --expires-in " + spelled(end.Truncate(unit))
}

func lastFrom(k *relay.Key) string {
	s := ""
	if k.LastUsedFrom != "" {
		s += " from " + k.LastUsedFrom
	}
	if k.LastUsedHelo != "" {
		s += " as " + shown(k.LastUsedHelo)
	}
	return s
}

// wide reports whether a network is no restriction. Halves of everything
// (0.0.0.0/1 and 128.0.0.0/1) are everything.
func wide(p netip.Prefix) bool {
	if p.Addr().Unmap().Is4() {
		return p.Bits() < wideIPv4
	}
	return p.Bits() < wideIPv6
}

func keyNetworks(f *Facts, k *relay.Key) *flaw {
	w := flaw{fix: "postern key update " + k.ID.String() + " --network " + f.placesOf(k)}
	for _, p := range k.Networks {
		if wide(p) {
			w.evidence = append(w.evidence, p.String())
		}
	}
	switch {
	case len(w.evidence) > 0:
		w.text = fmt.Sprintf("The key %s has networks that let in almost everybody.", quote(k.Name))
	case len(k.Networks) == 0 && len(k.Hosts) == 0:
		w.text = fmt.Sprintf("The key %s works from anywhere: whoever has its secret can send, wherever they are.", quote(k.Name))
		if k.LastUsedFrom != "" {
			w.evidence = []string{"last used from " + k.LastUsedFrom}
		}
	default:
		return nil
	}
	return &w
}

// mostPlaces is how many addresses a proposed restriction names.
const mostPlaces = 8

// placesOf are the addresses that a key was used from lately, as a restriction
// that would cut nobody off; or what to put there instead.
func (f *Facts) placesOf(k *relay.Key) string {
	var all []string
	for _, c := range f.clientsOf(k.ID) {
		if a, err := netip.ParseAddr(c.Addr); err == nil && !slices.Contains(all, a.String()) {
			all = append(all, a.String())
		}
	}
	if a, err := netip.ParseAddr(k.LastUsedFrom); err == nil && len(all) == 0 {
		all = append(all, a.String())
	}
	if len(all) == 0 || len(all) > mostPlaces {
		return "ADDRESS-OR-NETWORK"
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}
