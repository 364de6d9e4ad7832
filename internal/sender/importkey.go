package sender

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"postern/internal/dkim"
	"postern/internal/relay"
	"postern/internal/store"
)

// ImportKey gives a domain a private key that exists already, as PEM: RSA of 2,048
// to 4,096 bits or Ed25519 (see dkim.ParsePEM). Its record is computed, and it
// signs, in place of the present one, when all name servers answer with that.
// selector is one of the domain's own (SelectorsOf) or another that the owner has;
// no key that is still needed may be in it.
//
// Errors: relay.Invalid for the selector or the key, relay.Conflict where the
// selector is in use, a rotation is under way, or the key was the domain's before.
func (s *Domains) ImportKey(ctx context.Context, by store.By, id relay.DomainID, selector string, pem []byte) error {
	d, err := s.live(ctx, id)
	if err != nil {
		return err
	}
	if err := checkSelector(selector); err != nil || selector == "" {
		return invalid("selector", "A DKIM selector has 1 to %d of a-z, 0-9 and hyphens, with no hyphen at its ends.", maxSelector)
	}
	der, alg, err := dkim.ParsePEM(pem)
	if err != nil {
		return &relay.Error{Kind: relay.Invalid, Field: "private_key", Public: publicKeyError(err), Err: err}
	}
	defer clear(der)
	k, err := s.sealed(id, selector, relay.DKIMAlgorithm(alg), der)
	if err != nil {
		return fmt.Errorf("import key %s of %s: %w", selector, d.Name, err)
	}
	k.Imported = true
	err = s.Store.ChangeDKIMKeys(ctx, by, id, actionImport, func(keys []relay.DKIMKey) ([]relay.DKIMKey, error) {
		p, err := importPlace(d, keys, &k, base64.StdEncoding.EncodeToString(der))
		k.Generation, k.CreatedAt = p.generation, afterAll(keys, k.CreatedAt)
		return put(keys, k), err
	})
	if err != nil {
		return err
	}
	return s.Store.CheckDue(ctx, id, s.now())
}

// publicKeyError is what ParsePEM says, without the name of the package.
func publicKeyError(err error) string {
	text := err.Error()
	if prefix := dkim.ErrKey.Error() + ": "; errors.Is(err, dkim.ErrKey) && len(text) > len(prefix) && text[:len(prefix)] == prefix {
		text = text[len(prefix):]
	}
	return "This private key cannot be used: " + text + "."
}

// sealed is a key of a domain made of PKCS #8 DER.
func (s *Domains) sealed(id relay.DomainID, selector string, alg relay.DKIMAlgorithm, der []byte) (relay.DKIMKey, error) {
	private, _, err := dkim.ParseKey(der)
	if err != nil {
		return relay.DKIMKey{}, err
	}
	record, err := dkim.Record(private.Public())
	if err != nil {
		return relay.DKIMKey{}, err
	}
	sealed, err := s.Sealer.Seal(der, keyPlace(id, selector))
	if err != nil {
		return relay.DKIMKey{}, err
	}
	return relay.DKIMKey{Domain: id, Selector: selector, Algorithm: alg, Bits: dkim.Bits(private.Public()), Sealed: sealed, Record: record, CreatedAt: s.now()}, nil
}

// importPlace says where an imported key goes among a domain's, if it may. pkcs8
// is the key in base64.
func importPlace(d relay.Domain, keys []relay.DKIMKey, k *relay.DKIMKey, pkcs8 string) (place, error) {
	rsa, ed := lanesOf(d, keys)
	l, slots := &rsa, SelectorsOf(d)
	other := slots.Ed25519
	if k.Algorithm == relay.DKIMEd25519 {
		l, other = &ed, slots.RSA
	}
	for i := range keys {
		if keys[i].Record == k.Record || keys[i].Revealed != "" && keys[i].Revealed == pkcs8 {
			return place{}, relay.E(relay.Conflict, "This key is or was selector "+keys[i].Selector+" of "+d.Name+". A key is used once.")
		}
	}
	if k.Selector == other[0] || k.Selector == other[1] {
		return place{}, invalid("selector", "The selector %s is for keys of the other algorithm.", k.Selector)
	}
	if next := l.next(); next != nil && l.current() != nil {
		return place{}, relay.E(relay.Conflict, "A rotation of "+d.Name+" is under way: selector "+next.Selector+" waits. Let it end, or cancel it.")
	}
	for i := range keys {
		if held := &keys[i]; held.Selector == k.Selector {
			if held.WithdrawnAt.IsZero() && !waiting(held) {
				return place{}, relay.E(relay.Conflict, "The selector "+k.Selector+" of "+d.Name+" is in use.")
			}
			return placeAt(k.Algorithm, k.Selector, held), nil
		}
	}
	if len(keys) >= maxKeys {
		return place{}, relay.E(relay.Conflict, fmt.Sprintf("%s has %d selectors already. Use one of those whose key was withdrawn.", d.Name, len(keys)))
	}
	return placeAt(k.Algorithm, k.Selector, nil), nil
}

// maxKeys bounds the selectors of one domain: their rows stay for ever.
const maxKeys = 20

// ExportKey returns a selector's private key as PEM (PKCS #8), in clear. The
// record of changes says who took it, before they have it. relay.NotFound: there
// is no such selector, or its key was withdrawn and destroyed.
func (s *Domains) ExportKey(ctx context.Context, by store.By, id relay.DomainID, selector string) ([]byte, error) {
	d, err := s.live(ctx, id)
	if err != nil {
		return nil, err
	}
	log, ok := s.Store.(changeLog)
	if !ok {
		return nil, fmt.Errorf("export key %s of %s: the store keeps no record of changes", selector, d.Name)
	}
	keys, err := s.Store.DKIMKeys(ctx, id)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		k := &keys[i]
		if k.Selector != selector || len(k.Sealed) == 0 || !k.WithdrawnAt.IsZero() {
			continue
		}
		if err := log.RecordChange(ctx, by, relay.Change{Account: d.Account, Action: actionExport, Subject: keyHost(d, selector)}); err != nil {
			return nil, fmt.Errorf("record export of %s: %w", keyHost(d, selector), err)
		}
		der, err := s.Sealer.Open(k.Sealed, keyPlace(id, selector))
		if err != nil {
			return nil, fmt.Errorf("export key %s of %s: %w", selector, d.Name, err)
		}
		defer clear(der)
		return dkim.FormatPEM(der), nil
	}
	return nil, relay.E(relay.NotFound, "There is no private key of that selector.")
}
