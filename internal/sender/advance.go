package sender

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// byRotation is who the record of changes names for steps that nobody asked for.
var byRotation = store.By{Who: "key rotation", From: "postern"}

// What the record of changes calls the steps of a key's life.
const (
	actionSeen     = "dkim.seen"     // its record is at all name servers
	actionMissing  = "dkim.missing"  // its record is not, or no longer
	actionSwitch   = "dkim.switch"   // it signs from now on
	actionStop     = "dkim.stop"     // it signs no more, until its record is back
	actionRetire   = "dkim.retire"   // it signs no more
	actionWithdraw = "dkim.withdraw" // it is gone, and its record says so
	actionReveal   = "dkim.reveal"   // its private key is public, or destroyed after all
	actionRotate   = "dkim.rotate"   // a new key was made
	actionImport   = "dkim.import"
	actionExport   = "dkim.export"
	actionCancel   = "dkim.cancel"
	actionRemind   = "dkim.remind"
)

// step is one change of a domain's keys: keys is all of them after it.
type step struct {
	action string
	slot   // the key that it is about
	keys   []relay.DKIMKey
}

// maxSteps is more than one check of a domain can bring.
const maxSteps = 16

// errAgain: the keys changed since a step was decided.
var errAgain = errors.New("keys changed meanwhile")

// Advance takes the steps in the life of a domain's DKIM keys that are due after a
// check of it: it is called once after each, when the check is stored. Each step
// is one transaction, decided on the keys as they are in it, so that a crash
// between two of them leaves a state from which the next check goes on. It starts
// rotations that are due by age, and tells owners who publish records themselves
// what to change.
func (s *Domains) Advance(ctx context.Context, d relay.Domain, check relay.DomainCheck) error {
	if !d.DeletedAt.IsZero() || s.Sealer == nil {
		return nil
	}
	keys, err := s.takeSteps(ctx, d, check)
	if err != nil {
		return fmt.Errorf("advance DKIM keys of %s: %w", d.Name, err)
	}
	if s.rotationDue(d, keys) {
		if keys, err = s.startDue(ctx, d, keys); err != nil {
			return fmt.Errorf("start rotation of %s: %w", d.Name, err)
		}
	}
	if err := s.remind(ctx, d, keys); err != nil {
		return fmt.Errorf("remind of the DKIM records of %s: %w", d.Name, err)
	}
	return s.comeBack(ctx, d, keys, check)
}

// takeSteps takes all steps that are possible now, tells of them, and returns the
// keys after them.
func (s *Domains) takeSteps(ctx context.Context, d relay.Domain, check relay.DomainCheck) ([]relay.DKIMKey, error) {
	keys, err := s.Store.DKIMKeys(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	before, seen := cloneKeys(keys), s.look(ctx, d, keys, check)
	for range maxSteps {
		st := s.nextStep(d, cloneKeys(keys), seen)
		if st == nil {
			break
		}
		err := s.take(ctx, d, st, seen)
		if errors.Is(err, errAgain) { // another node was quicker: the next check goes on
			return s.Store.DKIMKeys(ctx, d.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", st.action, st.selector, err)
		}
		if st.action == actionMissing || st.action == actionStop {
			delete(seen, st.slot) // one check counts once
		}
		if keys, err = s.Store.DKIMKeys(ctx, d.ID); err != nil {
			return nil, err
		}
	}
	s.tellSteps(ctx, d, before, keys)
	return keys, nil
}

// take stores one step, decided once more on the keys as they are now.
func (s *Domains) take(ctx context.Context, d relay.Domain, st *step, seen sights) error {
	return s.Store.ChangeDKIMKeys(ctx, byRotation, d.ID, st.action, func(fresh []relay.DKIMKey) ([]relay.DKIMKey, error) {
		again := s.nextStep(d, fresh, seen)
		if again == nil || again.action != st.action || again.slot != st.slot {
			return nil, errAgain
		}
		return again.keys, nil
	})
}

func cloneKeys(keys []relay.DKIMKey) []relay.DKIMKey { return append([]relay.DKIMKey(nil), keys...) }

// nextStep is the first step that keys are ready for; nil: none is. It may write
// to keys. It depends on nothing but its arguments, the settings and the clock.
func (s *Domains) nextStep(d relay.Domain, keys []relay.DKIMKey, seen sights) *step {
	now := s.now()
	for i := range keys {
		if k := &keys[i]; retired(k) && !now.Before(k.RetiredAt.Add(overlapOr(s.Settings.KeyOverlap))) {
			s.withdraw(d, k, now)
			return &step{actionWithdraw, seenOf(k), keys}
		}
		if k := &keys[i]; s.expose(d, k, seen[seenOf(k)], now) {
			return &step{actionReveal, seenOf(k), keys}
		}
	}
	rsa, ed := lanesOf(d, keys)
	for _, l := range []*lane{&rsa, &ed} {
		action, k := s.laneStep(d, l, seen, now)
		if action == "" {
			action, k = strike(d, l, &rsa, seen)
		}
		if action == "" {
			continue
		}
		if action == actionSwitch {
			s.switchTo(d, keys, k, now)
		}
		return &step{action, seenOf(k), keys}
	}
	return nil
}

// laneStep moves the keys of one algorithm forward.
func (s *Domains) laneStep(d relay.Domain, l *lane, seen sights, now time.Time) (action string, k *relay.DKIMKey) {
	cur, next := l.current(), l.next()
	if cur != nil && cur.SeenAt.IsZero() && seen[seenOf(cur)].all {
		cur.SeenAt = seenAt(cur, now)
		return actionSeen, cur
	}
	if next != nil {
		return s.nextKey(d, next, cur, seen[seenOf(next)], now)
	}
	if cur == nil || cur.SeenAt.IsZero() {
		return "", nil
	}
	// Somebody switched a key on or off by hand: the one that is not current ends once
	// that one is known to be seen, and its slot is for the next.
	for _, k := range l.keys {
		if k != cur && (signs(k) || off(k)) {
			k.Active, k.RetiredAt = false, now
			return actionRetire, k
		}
	}
	return "", nil
}

// nextKey moves the key that waits.
func (s *Domains) nextKey(d relay.Domain, next, cur *relay.DKIMKey, at sight, now time.Time) (string, *relay.DKIMKey) {
	switch {
	case urgent(next):
		if at.all || at.some && d.Automatic {
			return actionSwitch, next
		}
	case cur == nil: // nothing was signed with this algorithm, so no cache knows better
		if at.all {
			return actionSwitch, next
		}
	case next.SeenAt.IsZero():
		if at.all {
			next.SeenAt = seenAt(next, now)
			return actionSeen, next
		}
	case !at.all: // it was there, and is not everywhere now: wait anew
		next.SeenAt = time.Time{}
		return actionMissing, next
	case !now.Before(next.SeenAt.Add(cacheTime(d))):
		return actionSwitch, next
	}
	return "", nil
}

// strike counts a check that missed the record of an Ed25519 key which signs: the
// second in a row stops it, while RSA stands. Receivers that look at RSA alone
// would not notice; those that want both would. The operator's word stands against
// what is seen.
func strike(d relay.Domain, l, rsa *lane, seen sights) (action string, k *relay.DKIMKey) {
	k = l.current()
	if k == nil || l == rsa || rsa.current() == nil || !seen[seenOf(k)].missing || d.System || d.State == relay.DomainAsserted {
		return "", nil
	}
	if !k.SeenAt.IsZero() {
		k.SeenAt = time.Time{}
		return actionMissing, k
	}
	k.Active, k.ActivatedAt = false, time.Time{}
	return actionStop, k
}

// switchTo lets k sign and retires the older keys of its algorithm, which takes
// one transaction: there is no moment without a key, and none that two sign.
// Where k is urgent, all older keys of the domain are withdrawn, of whichever
// algorithm: what was in one place with a key that somebody else has is not to be
// trusted.
func (s *Domains) switchTo(d relay.Domain, keys []relay.DKIMKey, k *relay.DKIMKey, now time.Time) {
	hurry := urgent(k)
	if hurry || k.SeenAt.IsZero() {
		k.SeenAt = seenAt(k, now)
	}
	k.Active, k.ActivatedAt = true, now
	for i := range keys {
		o := &keys[i]
		if o.Selector == k.Selector || !o.WithdrawnAt.IsZero() || !o.CreatedAt.Before(k.CreatedAt) {
			continue
		}
		switch {
		case hurry && (o.Algorithm == k.Algorithm || k.Algorithm == relay.DKIMRSA):
			s.withdraw(d, o, now)
		case !hurry && o.Algorithm == k.Algorithm && o.RetiredAt.IsZero():
			o.Active, o.RetiredAt = false, now
		}
	}
}

// justProven is how long after a domain's proof its first keys are looked at once
// more: a secondary of ours may be some seconds behind.
const justProven = time.Minute

// begun reports whether a check found something where a key's record belongs: its
// owner means to have it, and a name server may only be late.
func begun(d relay.Domain, k *relay.DKIMKey, check relay.DomainCheck) bool {
	key := SelectorsOf(d).recordKey(k.Selector)
	for _, r := range check.Records {
		if r.Key == key {
			return r.Valid || len(r.Found) > 0
		}
	}
	return false
}

// comeBack brings the next check forward while a key waits: soon at first, and
// then after a quarter of the time that it has waited already.
func (s *Domains) comeBack(ctx context.Context, d relay.Domain, keys []relay.DKIMKey, check relay.DomainCheck) error {
	now := s.now()
	at := check.NextAt
	sooner := func(t time.Time) {
		if t.After(now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	rsa, ed := lanesOf(d, keys)
	for _, l := range []*lane{&rsa, &ed} {
		next := l.next()
		switch {
		case next == nil:
		case l.current() == nil && (d.VerifiedAt.IsZero() || now.Sub(d.VerifiedAt) > justProven || !begun(d, next, check)): // the domain's own check sees to first keys
		case next.SeenAt.IsZero() || urgent(next):
			sooner(now.Add(max(keyTTL, now.Sub(next.CreatedAt)/4)))
		default:
			sooner(next.SeenAt.Add(cacheTime(d)))
		}
		for _, k := range l.keys {
			if toReveal(k) {
				sooner(k.WithdrawnAt.Add(cacheTime(d)))
			}
		}
		if old := l.old(); old != nil {
			sooner(old.RetiredAt.Add(overlapOr(s.Settings.KeyOverlap)))
		}
	}
	if at.Equal(check.NextAt) {
		return nil
	}
	return s.Store.CheckDue(ctx, d.ID, at)
}
