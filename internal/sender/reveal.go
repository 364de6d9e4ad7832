package sender

import (
	"encoding/base64"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// withdraw ends a key of a domain. Where the owner wants it revealed, its private
// key is kept sealed until nobody takes a signature with it for good any more. One
// that never signed can prove nothing.
func (s *Domains) withdraw(d relay.Domain, k *relay.DKIMKey, now time.Time) {
	sealed := k.Sealed
	withdraw(k, now)
	if d.Reveal && !k.ActivatedAt.IsZero() {
		k.Sealed = sealed
	}
}

// expose makes a withdrawn key public where its time has come, and reports whether
// anything changed. Everybody could sign with it while the record from before is
// still answered somewhere: so all name servers must say that it is revoked, or
// that there is none, and caches must have had the time to forget. Where the owner
// does not want it any more, or it cannot be opened, it is destroyed.
func (s *Domains) expose(d relay.Domain, k *relay.DKIMKey, at sight, now time.Time) bool {
	switch {
	case !toReveal(k):
		return false
	case !d.Reveal:
		k.Sealed = nil
		return true
	case !at.all && !at.gone || now.Before(k.WithdrawnAt.Add(cacheTime(d))):
		return false
	}
	note, der, err := s.reveal(d, k)
	if err != nil {
		s.log().Warn("sender: a withdrawn key is not revealed", "domain", d.Name, "selector", k.Selector, "err", err)
	} else {
		k.Record, k.Revealed = dkim.Revoked(dkim.Algorithm(k.Algorithm), note), der
	}
	k.Sealed = nil
	return true
}

// reveal opens a key for everybody: as a note for its record, and as PKCS #8 DER in
// base64.
func (s *Domains) reveal(d relay.Domain, k *relay.DKIMKey) (note, pkcs8 string, err error) {
	der, err := s.Sealer.Open(k.Sealed, keyPlace(d.ID, k.Selector))
	if err != nil {
		return "", "", err
	}
	defer clear(der)
	if note, err = dkim.Revealed(der); err != nil {
		return "", "", err
	}
	return note, base64.StdEncoding.EncodeToString(der), nil
}
