package v3

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"postern/internal/identity"
	"postern/internal/relay"
	"postern/internal/secret"
)

func (a *API) createKey(c *Call) error {
	var in newKey
	if err := c.Decode(&in); err != nil {
		return err
	}
	in.keyPatch.Name = &in.Name
	defer a.edits.lock(c.Tenant.Account)()
	account, err := a.Settings.Account(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return err
	}
	if account.System {
		return refused("", "This account sends postern's own mail; it has no keys.")
	}
	k, err := a.draftKey(c, &in, &account.Policy)
	if err != nil {
		return err
	}
	made, err := a.generate(&k, in.CRAM != nil && *in.CRAM)
	if err != nil {
		return err
	}
	most := cmp.Or(a.MaxKeys, defaultMaxKeys)
	if c.Operator {
		most = 0
	}
	if err := a.Keys.CreateKeyWithin(c.R.Context(), c.By, k, most); err != nil {
		return err
	}
	made.keyView = a.viewKey(&k, c.Now)
	return c.JSON(201, made)
}

// draftKey makes a key of what was asked for, without its secret, and checks
// that it may be.
func (a *API) draftKey(c *Call, in *newKey, policy *relay.Policy) (relay.Key, error) {
	k := relay.Key{
		Account: c.Tenant.Account, Subuser: c.Tenant.Subuser, Kind: relay.KeyAPI, Mode: relay.KeyLive,
		CreatedAt: c.Now, CreatedBy: c.By.Who,
	}
	if c.Principal != nil && c.Principal.Tenant != c.Tenant {
		k.CreatedBy = "account" // the subuser need not learn its parent's key; the record of changes has it
	}
	inherit(&k, c, &in.keyPatch)
	if err := in.apply(c, &k); err != nil {
		return k, err
	}
	if in.Kind != nil && *in.Kind != "" {
		k.Kind = relay.KeyKind(*in.Kind)
	}
	if in.Scopes == nil || len(*in.Scopes) == 0 {
		k.Scopes = usualScopes(c, k.Kind)
	}
	k.Match = in.Match
	if err := a.checkKind(&k, in.CRAM != nil && *in.CRAM); err != nil {
		return k, err
	}
	if err := heed(*policy, nil, &k, c.Now); err != nil {
		return k, err
	}
	return k, c.covers(&k)
}

// inherit gives a new key the restrictions of the key that makes it, where the
// request is silent of them: it could not have wider ones.
func inherit(k *relay.Key, c *Call, in *keyPatch) {
	p := c.creator()
	if p == nil {
		return
	}
	if in.Networks == nil && in.Hosts == nil {
		k.Networks, k.Hosts = p.Networks, p.Hosts
	}
	k.Senders, k.RecipientDomains, k.Hours, k.Mode = p.Senders, p.RecipientDomains, p.Hours, p.Mode
	k.PerMinute, k.PerHour, k.PerDay, k.PerMonth = p.PerMinute, p.PerHour, p.PerDay, p.PerMonth
	k.ExpiresAt = p.ExpiresAt
}

// creator is what a calling key may do: itself, with the scopes of the token that
// it came with. nil: no key calls, but the operator or a person.
func (c *Call) creator() *relay.Key {
	if c.Operator || c.Principal.Key == nil {
		return nil
	}
	k := *c.Principal.Key
	k.Scopes = c.Scopes()
	return &k
}

// usualScopes are those of a key that was made without naming any: everything
// that its creator has, as SendGrid does, but for the kinds that SendGrid does
// not know: those send mail.
func usualScopes(c *Call, kind relay.KeyKind) []string {
	if kind != relay.KeyAPI {
		return []string{relay.ScopeMailSend}
	}
	return slices.DeleteFunc(relay.FullAccess(), func(s string) bool { return !c.Allows(s) })
}

// heed checks what an account demands of its keys, and gives one without an end
// the latest that it may have. Of an edit (in is not nil) only what was given is
// judged: a key from before the policy can be narrowed, renamed and rotated.
func heed(policy relay.Policy, in *keyPatch, k *relay.Key, now time.Time) error {
	judged := *k
	if in != nil {
		policy.ForbidFullAccess = policy.ForbidFullAccess && in.Scopes != nil
		policy.RequireNetworks = policy.RequireNetworks && (in.Networks != nil || in.Hosts != nil)
		if in.ExpiresAt == nil {
			policy.MaxKeyLife, judged.ExpiresAt = 0, time.Time{}
		}
	}
	if policy.MaxKeyLife > 0 && !k.Canary {
		// A secret's life counts from its birth: moving the end every month would make
		// it immortal.
		latest := latestEnd(&policy, k)
		if k.ExpiresAt.IsZero() {
			k.ExpiresAt, judged.ExpiresAt = latest, latest
		}
		if k.ExpiresAt.After(latest) {
			return invalid("expires_at", "This account's policy lets this secret live until %s. Rotate the key to go on.", latest.Format(time.RFC3339))
		}
	}
	return identity.CheckNewKey(policy, judged, now)
}

// latestEnd is how long the policy lets a key's present secret live.
func latestEnd(p *relay.Policy, k *relay.Key) time.Time {
	born := k.CreatedAt
	if k.RotatedAt.After(born) {
		born = k.RotatedAt
	}
	return born.Add(p.MaxKeyLife).Truncate(time.Second)
}

// notWidened refuses an edit that gives a key something that the caller does not
// have (AP-03). Scopes that the key had may stay, and narrowing is always allowed.
// What makes a key work where or when it did not before needs all that the key
// may do then: whoever has its secret, which may be a thief, gets all of it.
func notWidened(c *Call, old, edited *relay.Key) error {
	was, is := *old, *edited
	was.Scopes, is.Scopes = nil, nil
	if !sameMatch(old.Match, edited.Match) || old.Canary && !edited.Canary || identity.Narrower(was, is) != nil {
		return c.covers(edited)
	}
	given := *edited
	if creator := c.creator(); creator != nil {
		given = *creator
	}
	given.Scopes = slices.DeleteFunc(slices.Clone(edited.Scopes), func(s string) bool { return slices.Contains(old.Scopes, s) })
	return c.covers(&given)
}

// covers refuses a key that may do more than the caller. A key's restrictions
// bind those that it makes; a person's are scopes and the tenant.
func (c *Call) covers(k *relay.Key) error {
	if creator := c.creator(); creator != nil {
		return identity.Narrower(*creator, *k)
	}
	if c.Operator {
		return nil
	}
	for _, s := range k.Scopes {
		if !c.Allows(s) {
			return refused("scopes", "You do not have the scope %s, so a key of yours cannot have it either.", s)
		}
	}
	return nil
}

// generate draws the secret of a new key, where its kind has one, and fills in
// what is stored of it.
func (a *API) generate(k *relay.Key, cram bool) (keyMade, error) {
	drawn, err := secret.GenerateKey(a.KeyPrefix)
	if err != nil {
		return keyMade{}, fmt.Errorf("make key: %w", err)
	}
	k.ID = relay.KeyID{ID: drawn.ID}
	switch k.Kind {
	case relay.KeyAppPassword:
		login, password := secret.GenerateAppPassword()
		parsed, err := secret.ParseAppPassword(password.Reveal())
		if err != nil {
			return keyMade{}, fmt.Errorf("make app password: %w", err)
		}
		k.Login, k.Verifier = login, relay.Verifier(parsed.Verifier())
		return keyMade{Password: password.Reveal()}, nil
	case relay.KeyAPI:
		v, err := secret.NewVerifier(drawn)
		if err != nil {
			return keyMade{}, fmt.Errorf("make key: %w", err)
		}
		if cram {
			if v.SealedCRAM, err = a.SealCRAM(drawn); err != nil {
				return keyMade{}, fmt.Errorf("make key: %w", err)
			}
		}
		k.Verifier = relay.Verifier(v)
		return keyMade{APIKey: drawn.Text().Reveal()}, nil
	}
	return keyMade{}, nil // its proof is made elsewhere
}
