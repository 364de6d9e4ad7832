package sender

import (
	"encoding/base64"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
)

// withdraw ends a key of a domain, and reveals it where the domain's owner wants
// that. A key that cannot be opened any more is withdrawn without: the record that
// says so matters more.
func (s *Domains) withdraw(d relay.Domain, k *relay.DKIMKey, now time.Time) {
	note, der := "", ""
	if d.Reveal && !k.ActivatedAt.IsZero() { // one that never signed can prove nothing
		var err error
		if note, der, err = s.reveal(d, k); err != nil {
			s.log().Warn("sender: a withdrawn key is not revealed", "domain", d.Name, "selector", k.Selector, "err", err)
		}
	}
	withdraw(k, now, note, der)
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
