package v3

import (
	"fmt"
	"time"

	"postern/internal/identity"
	"postern/internal/relay"
	"postern/internal/secret"
)

// How long the old secret stays valid.
const (
	usualOverlap = 24 * time.Hour
	maxOverlap   = 30 * 24 * time.Hour
)

type keyRotation struct {
	Overlap *int64 `json:"overlap_seconds" doc:"how long the old secret stays valid: at most 30 days, and never beyond the key's end; 24 hours if not given; 0 ends it, and one of a rotation before, at once"`
}

func (a *API) rotateKey(c *Call) error {
	var in keyRotation
	if err := c.Decode(&in); err != nil {
		return err
	}
	overlap := usualOverlap
	if in.Overlap != nil {
		if *in.Overlap < 0 || *in.Overlap > int64(maxOverlap/time.Second) {
			return invalid("overlap_seconds", "Not a number from 0 to %d.", int64(maxOverlap/time.Second))
		}
		overlap = time.Duration(*in.Overlap) * time.Second
	}
	defer a.edits.lock(c.Tenant.Account)()
	k, err := a.ownedKey(c)
	if err != nil {
		return err
	}
	// Whoever rotates a key holds it afterwards: that must not be a way to get more.
	if err := c.covers(&k); err != nil {
		return err
	}
	if overlap > 0 && identity.PreviousValid(&k, c.Now) {
		return conflict("overlap_seconds", "The secret of before the last rotation is valid until %s; another rotation would end it early. Wait, or rotate with overlap_seconds 0.",
			k.PreviousUntil.Format(time.RFC3339))
	}
	account, err := a.Settings.Account(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return err
	}
	made, v, err := a.redraw(&k)
	if err != nil {
		return err
	}
	until := identity.PreviousEnd(account.Policy, &k, c.Now, overlap)
	if !until.After(c.Now) {
		until = time.Time{}
	}
	if err := a.Keys.RotateKey(c.R.Context(), c.By, k.ID, v, c.Now, until); err != nil {
		return hidden(err)
	}
	return c.JSON(200, keyRotated{APIKey: made.APIKey, Password: made.Password, ID: k.ID, Name: k.Name, PreviousUntil: until})
}

// redraw makes the new secret of a key.
func (a *API) redraw(k *relay.Key) (keyMade, relay.Verifier, error) {
	switch k.Kind {
	case relay.KeyAppPassword:
		_, password := secret.GenerateAppPassword() // the user name stays
		parsed, err := secret.ParseAppPassword(password.Reveal())
		if err != nil {
			return keyMade{}, relay.Verifier{}, fmt.Errorf("rotate app password: %w", err)
		}
		return keyMade{Password: password.Reveal()}, relay.Verifier(parsed.Verifier()), nil
	case relay.KeyAPI:
	default:
		return keyMade{}, relay.Verifier{}, invalid("", "This key has no secret here: its proof is a certificate or a token of others.")
	}
	drawn, err := secret.NewSecret(a.KeyPrefix, k.ID.ID)
	if err != nil {
		return keyMade{}, relay.Verifier{}, fmt.Errorf("rotate key: %w", err)
	}
	v, err := secret.NewVerifierLike(drawn, secret.Verifier(k.Verifier))
	if err != nil {
		return keyMade{}, relay.Verifier{}, fmt.Errorf("rotate key: %w", err)
	}
	if len(k.Verifier.SealedCRAM) > 0 && a.SealCRAM != nil {
		if v.SealedCRAM, err = a.SealCRAM(drawn); err != nil {
			return keyMade{}, relay.Verifier{}, fmt.Errorf("rotate key: %w", err)
		}
	}
	return keyMade{APIKey: drawn.Text().Reveal()}, relay.Verifier(v), nil
}
