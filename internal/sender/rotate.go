package sender

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// RotateOptions say how a rotation runs.
type RotateOptions struct {
	// Now: the keys may be in other hands. The new key signs as soon as one of our own
	// name servers has it (where the owner publishes the records: all of theirs), and
	// the keys before it are withdrawn in the same moment, so that mail which they
	// signed and that was not verified yet may fail.
	Now bool
}

// Rotation is a rotation that was begun.
type Rotation struct {
	Keys []relay.DKIMKey `json:"keys"` // the new ones; with Switched they sign
	// Publish: the owner is to publish the records of Keys. Otherwise there is
	// nothing to do.
	Publish  bool   `json:"publish"`
	Switched bool   `json:"switched"`
	Text     string `json:"text"` // what happens next, in words
}

// hurryFor is how long an urgent rotation waits for our own name servers before it
// answers that the switch will follow; hurryEvery is between questions.
const (
	hurryFor   = 10 * time.Second
	hurryEvery = 500 * time.Millisecond
)

// Rotate begins to replace a domain's DKIM keys: a new RSA key, and a new Ed25519
// key if one is in use, each in the free selector of its two. Advance takes the
// steps after that. relay.Conflict says, with a date, that the keys before the
// present ones must stay published, or that a rotation is under way; o.Now passes
// over both.
func (s *Domains) Rotate(ctx context.Context, by store.By, id relay.DomainID, o RotateOptions) (Rotation, error) {
	d, err := s.live(ctx, id)
	if err != nil {
		return Rotation{}, err
	}
	if !d.DisabledAt.IsZero() {
		return Rotation{}, relay.E(relay.Conflict, d.Name+" is switched off. Switch it on first.")
	}
	leave, err := s.making.enter(ctx, d.Account, keysOnDemand)
	if err != nil {
		return Rotation{}, err
	}
	defer leave()
	keys, err := s.Store.DKIMKeys(ctx, id)
	if err != nil {
		return Rotation{}, err
	}
	made, err := s.begin(ctx, by, d, keys, o.Now)
	if err != nil {
		return Rotation{}, err
	}
	// A crash from here on leaves the rest to the checker.
	if err := s.Store.CheckDue(ctx, id, s.now()); err != nil {
		return Rotation{}, err
	}
	r := Rotation{Keys: made, Publish: !s.automatic(d)}
	switch {
	case r.Publish:
		s.tellPublish(ctx, d, made, o.Now)
	case o.Now:
		if r.Switched, err = s.hurry(ctx, d, made); err != nil {
			return r, err
		}
	}
	r.Text = rotationText(d, r, o.Now)
	return r, nil
}

// automatic reports whether a domain's keys are published by us.
func (s *Domains) automatic(d relay.Domain) bool { return d.Automatic && s.Zone.Name != "" }

// plan is where the new keys of a rotation go.
func (s *Domains) plan(d relay.Domain, keys []relay.DKIMKey, now bool) ([]place, error) {
	rsa, ed := lanesOf(d, keys)
	if now {
		p, ok := rsa.taken()
		if !ok { // two keys sign, both slots are theirs
			return nil, relay.E(relay.Conflict, "Both selectors of "+d.Name+" sign. Stop one of them first.")
		}
		out := []place{p}
		if ed.newest(signs) != nil || ed.newest(waiting) != nil {
			if p, ok := ed.taken(); ok {
				out = append(out, p)
			}
		}
		return out, nil
	}
	if k := rsa.next(); k != nil {
		return nil, relay.E(relay.Conflict, fmt.Sprintf("A rotation of %s is under way since %s: selector %s waits for its record to be at all name servers.", d.Name, day(k.CreatedAt), k.Selector))
	}
	if k := rsa.old(); k != nil {
		return nil, relay.E(relay.Conflict, fmt.Sprintf("The last rotation of %s is not over: selector %s must stay published until %s, for mail that it signed. Rotate again after that.",
			d.Name, k.Selector, day(k.RetiredAt.Add(overlapOr(s.Settings.KeyOverlap)))))
	}
	p, ok := rsa.free()
	if !ok {
		return nil, relay.E(relay.Conflict, "Both selectors of "+d.Name+" are in use.")
	}
	out := []place{p}
	if ed.current() != nil && ed.next() == nil && ed.old() == nil {
		if p, ok := ed.free(); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// begin makes the new keys of a rotation. They are made before the transaction
// that stores them, because that takes a second, and dropped where the domain's
// keys changed meanwhile.
func (s *Domains) begin(ctx context.Context, by store.By, d relay.Domain, keys []relay.DKIMKey, now bool) ([]relay.DKIMKey, error) {
	places, err := s.plan(d, keys, now)
	if err != nil {
		return nil, err
	}
	made := make([]relay.DKIMKey, 0, len(places))
	for _, p := range places {
		k, err := s.newKey(d.ID, p.selector, p.algorithm, s.rsaBits(d))
		if err != nil {
			return nil, fmt.Errorf("make key %s of %s: %w", p.selector, d.Name, err)
		}
		k.Generation = p.generation
		made = append(made, k)
	}
	at := afterAll(keys, s.now())
	for i := range made {
		made[i].CreatedAt = at
		if now {
			made[i].SeenAt = at
		}
	}
	return made, s.Store.ChangeDKIMKeys(ctx, by, d.ID, actionRotate, func(fresh []relay.DKIMKey) ([]relay.DKIMKey, error) {
		again, err := s.plan(d, fresh, now)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(again, places) {
			return nil, relay.E(relay.Conflict, "The keys of "+d.Name+" are being changed by somebody else. Try again.")
		}
		for _, k := range made {
			fresh = put(fresh, k)
		}
		return fresh, nil
	})
}

// rotationDue reports whether a domain's RSA key is so old that it changes by
// itself. A rotation that was cancelled counts as one.
func (s *Domains) rotationDue(d relay.Domain, keys []relay.DKIMKey) bool {
	every := s.Settings.RotateEvery
	if d.Rotate != 0 {
		every = d.Rotate
	}
	rsa, _ := lanesOf(d, keys)
	cur := rsa.current()
	if every <= 0 || !d.Usable() || cur == nil || rsa.next() != nil || rsa.old() != nil {
		return false
	}
	since := cur.ActivatedAt
	if since.IsZero() {
		since = cur.CreatedAt
	}
	for _, k := range rsa.keys {
		if k.ActivatedAt.IsZero() && k.WithdrawnAt.After(since) {
			since = k.WithdrawnAt
		}
	}
	return !s.now().Before(since.Add(every))
}

// startDue begins a rotation that is due by age.
func (s *Domains) startDue(ctx context.Context, d relay.Domain, keys []relay.DKIMKey) ([]relay.DKIMKey, error) {
	made, err := s.begin(ctx, byRotation, d, keys, false)
	if relay.KindOf(err) == relay.Conflict { // somebody began one in this moment
		return s.Store.DKIMKeys(ctx, d.ID)
	}
	if err != nil {
		return nil, err
	}
	if !s.automatic(d) {
		s.tellPublish(ctx, d, made, false)
	}
	return s.Store.DKIMKeys(ctx, d.ID)
}

// hurry asks our own name servers until they answer with the new keys and the
// switch is made, or the time is over.
func (s *Domains) hurry(ctx context.Context, d relay.Domain, made []relay.DKIMKey) (switched bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, hurryFor)
	defer cancel()
	check, err := s.Store.DomainCheck(ctx, d.ID)
	if err != nil && relay.KindOf(err) != relay.NotFound {
		return false, err
	}
	tick := time.NewTicker(hurryEvery)
	defer tick.Stop()
	for {
		keys, err := s.takeSteps(ctx, d, check)
		if ctx.Err() != nil { // Advance goes on
			return false, nil
		}
		if err != nil {
			return false, err
		}
		// The Ed25519 alias may never have been published: RSA is enough.
		if slices.ContainsFunc(keys, func(k relay.DKIMKey) bool {
			return k.Selector == made[0].Selector && k.Generation == made[0].Generation && signs(&k)
		}) {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-tick.C:
		}
	}
}

// Cancel gives a rotation up: the keys that wait, which have signed nothing, are
// withdrawn. A rotation by age begins anew only when its time has passed once
// more. relay.Conflict: none is under way.
func (s *Domains) Cancel(ctx context.Context, by store.By, id relay.DomainID) error {
	d, err := s.live(ctx, id)
	if err != nil {
		return err
	}
	now := s.now()
	return s.Store.ChangeDKIMKeys(ctx, by, id, actionCancel, func(keys []relay.DKIMKey) ([]relay.DKIMKey, error) {
		rsa, ed := lanesOf(d, keys)
		n := 0
		for _, l := range []*lane{&rsa, &ed} {
			if k := l.next(); k != nil && l.current() != nil {
				withdraw(k, now)
				n++
			}
		}
		if n == 0 {
			return nil, relay.E(relay.Conflict, "No rotation of "+d.Name+" is under way.")
		}
		return keys, nil
	})
}

// rotationText says what happens next.
func rotationText(d relay.Domain, r Rotation, now bool) string {
	sel := r.Keys[0].Selector
	switch {
	case now && r.Switched:
		return "Selector " + sel + " signs now, and the keys before it are withdrawn. Mail that they signed and that was not verified yet may fail to verify; queued mail is signed anew."
	case now && r.Publish:
		return "Publish the records below as soon as you can. When all name servers of " + d.Name + " answer with them, the keys before are withdrawn at once: mail that they signed and that was not verified yet may fail to verify; queued mail is signed anew."
	case now:
		return "Our name servers do not answer with selector " + sel + " yet. When one does, it signs, and the keys before it are withdrawn at once: mail that they signed and that was not verified yet may fail to verify; queued mail is signed anew."
	case r.Publish:
		return "Publish the records below, and leave the others as they are. When all name servers of " + d.Name + " answer with them, the new keys sign; you are told when the old records can go."
	}
	return "The new keys are published. They sign when all name servers answer with them; there is nothing to do."
}
