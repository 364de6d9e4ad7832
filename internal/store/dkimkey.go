package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unique"

	"postern/internal/relay"
)

const (
	dkimColumns    = `domain_id, selector, algorithm, bits, generation, sealed, record, active, imported, created_at, seen_at, activated_at, retired_at, withdrawn_at, revealed`
	selectDKIMKeys = `SELECT ` + dkimColumns + ` FROM dkim_keys`
	insertDKIMKey  = `INSERT INTO dkim_keys (` + dkimColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`
	updateDKIMKey  = `UPDATE dkim_keys SET algorithm = $1, bits = $2, generation = $3, sealed = $4, record = $5, active = $6, imported = $7,
		created_at = $8, seen_at = $9, activated_at = $10, retired_at = $11, withdrawn_at = $12, revealed = $13, rev = $14 WHERE domain_id = $15 AND selector = $16`
	// Private keys that do not sign now stay in the database: nobody who follows the
	// revisions needs them, and they are the most of a key.
	followDKIMKeys = `SELECT domain_id, selector, algorithm, bits, generation,
		CASE WHEN active = 1 AND retired_at = 0 AND withdrawn_at = 0 THEN sealed END,
		record, active, imported, created_at, seen_at, activated_at, retired_at, withdrawn_at, revealed FROM dkim_keys`
)

func scanDKIMKey(r scanner) (relay.DKIMKey, error) { return (&dkimReader{}).scan(r) }

// dkimReader reads rows of keys, one after the other.
type dkimReader struct {
	into                                                                      []any
	domain                                                                    []byte
	algorithm                                                                 string
	bits, active, imported, created, seen, activated, retired, withdrawn, gen int64
	k                                                                         relay.DKIMKey
}

func (kr *dkimReader) columns() []any {
	if kr.into == nil {
		k := &kr.k
		kr.into = []any{&kr.domain, &k.Selector, &kr.algorithm, &kr.bits, &kr.gen, &k.Sealed, &k.Record, &kr.active, &kr.imported, &kr.created, &kr.seen,
			&kr.activated, &kr.retired, &kr.withdrawn, &k.Revealed}
	}
	return kr.into
}

func (kr *dkimReader) scan(r scanner) (relay.DKIMKey, error) {
	kr.k = relay.DKIMKey{}
	err := r.Scan(kr.columns()...)
	k := kr.k
	k.Domain.ID, k.Bits, k.Generation, k.Active, k.Imported = idOf(kr.domain), int(kr.bits), kr.gen, kr.active != 0, kr.imported != 0
	// The same few in all domains.
	k.Algorithm, k.Selector = relay.DKIMAlgorithm(unique.Make(kr.algorithm).Value()), unique.Make(k.Selector).Value()
	k.CreatedAt, k.SeenAt, k.ActivatedAt = timeOf(kr.created), timeOf(kr.seen), timeOf(kr.activated)
	k.RetiredAt, k.WithdrawnAt = timeOf(kr.retired), timeOf(kr.withdrawn)
	if len(k.Sealed) == 0 {
		k.Sealed = nil
	}
	return k, err
}

// putDKIMKey stores a new key. Its first generation is 1, and a key that signs
// from the start became active as it was made.
func putDKIMKey(ctx context.Context, tx *sql.Tx, rev int64, k *relay.DKIMKey) error {
	k.Generation = max(k.Generation, 1)
	if k.Active && k.ActivatedAt.IsZero() {
		k.ActivatedAt = k.CreatedAt
	}
	if err := checkDKIMKey(k); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, insertDKIMKey, blob(k.Domain.ID), text(k.Selector), string(k.Algorithm), int64(k.Bits), k.Generation, filled(k.Sealed),
		text(k.Record), flag(k.Active), flag(k.Imported), micros(k.CreatedAt), micros(k.SeenAt), micros(k.ActivatedAt), micros(k.RetiredAt),
		micros(k.WithdrawnAt), text(k.Revealed), rev)
	return err
}

// checkDKIMKey looks for what must never be stored.
func checkDKIMKey(k *relay.DKIMKey) error {
	switch {
	case k.Selector == "":
		return relay.E(relay.Invalid, "A DKIM key has a selector.")
	case k.Active && (!k.RetiredAt.IsZero() || !k.WithdrawnAt.IsZero()):
		return relay.E(relay.Invalid, "A DKIM key that was retired cannot sign.")
	case k.Active && len(k.Sealed) == 0:
		return relay.E(relay.Invalid, "A DKIM key that signs needs its private key.")
	case k.Revealed != "" && k.WithdrawnAt.IsZero():
		return relay.E(relay.Invalid, "Only a withdrawn DKIM key can be revealed.")
	}
	return nil
}

// DKIMKeys lists the keys of a domain by selector, with their sealed private
// keys; the zero domain: all.
func (s *Store) DKIMKeys(ctx context.Context, domain relay.DomainID) ([]relay.DKIMKey, error) {
	w := &where{}
	if !domain.IsZero() {
		w.and("domain_id = ?", blob(domain.ID))
	}
	v, err := list(ctx, s.db, scanDKIMKey, selectDKIMKeys+w.String()+` ORDER BY domain_id, selector`, w.args...)
	return read(s, "DKIM keys", v, err)
}

// dkimImage is what the record of changes says of keys: those that were added or
// changed, never a private one.
type dkimImage struct {
	Domain relay.DomainID  `json:"domain_id"`
	Name   string          `json:"domain"`
	Keys   []relay.DKIMKey `json:"keys"`
}

// ChangeDKIMKeys edits the keys of a domain, all or nothing: edit gets all of them
// by selector and returns how they are to be; keys of new selectors are added,
// those that it leaves out stay as they are, and none is ever deleted. A selector
// is a slot: a key in the place of another has the next Generation.
// action is what the record of changes calls it ("dkim.rotate"). edit may run
// more than once, in a transaction: it must not wait for anything. Where nothing
// changes, no revision is raised.
//
// relay.NotFound: there is no such domain. Queued mail of a deleted one is still
// signed, so its keys may change. relay.Invalid: a generation falls or skips one,
// another private key has the generation of the one before (it may only go away),
// a key is active that cannot sign, or revealed that is not withdrawn.
// relay.Conflict: a key would be replaced that signs. edit's own errors come back
// as they are.
func (s *Store) ChangeDKIMKeys(ctx context.Context, by By, domain relay.DomainID, action string, edit func([]relay.DKIMKey) ([]relay.DKIMKey, error)) error {
	err := s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		d, err := s.domain(ctx, tx, domain, s.forUpdate())
		if err != nil {
			return note{}, err
		}
		keys, err := list(ctx, tx, scanDKIMKey, selectDKIMKeys+` WHERE domain_id = $1 ORDER BY selector`+s.forUpdate(), blob(domain.ID))
		if err != nil {
			return note{}, err
		}
		next, err := edit(cloneKeys(keys))
		if err != nil {
			return note{}, err
		}
		before, after := dkimImage{Domain: d.ID, Name: d.Name}, dkimImage{Domain: d.ID, Name: d.Name}
		for i := range next {
			k := next[i]
			k.Domain = domain
			at, known := slices.BinarySearchFunc(keys, k.Selector, func(old relay.DKIMKey, sel string) int { return strings.Compare(old.Selector, sel) })
			if !known {
				err = putDKIMKey(ctx, tx, rev, &k)
			} else if sameKey(&keys[at], &k) {
				continue
			} else if before.Keys = append(before.Keys, keys[at]); true {
				err = writeDKIMKey(ctx, tx, rev, &keys[at], &k)
			}
			if err != nil {
				return note{}, fmt.Errorf("selector %s: %w", k.Selector, err)
			}
			after.Keys = append(after.Keys, k)
		}
		if len(after.Keys) == 0 {
			return note{}, errUnchanged
		}
		return note{account: d.Account, action: action, subject: "DKIM keys of " + d.Name, before: before, after: after}, nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// cloneKeys is a copy that an edit may write to.
func cloneKeys(keys []relay.DKIMKey) []relay.DKIMKey {
	out := slices.Clone(keys)
	for i := range out {
		out[i].Sealed = bytes.Clone(out[i].Sealed)
	}
	return out
}

// sameKey reports whether a key would be stored as it is.
func sameKey(a, b *relay.DKIMKey) bool {
	x, y := *a, *b
	for _, k := range []*relay.DKIMKey{&x, &y} {
		for _, at := range []*time.Time{&k.CreatedAt, &k.SeenAt, &k.ActivatedAt, &k.RetiredAt, &k.WithdrawnAt} {
			*at = timeOf(micros(*at))
		}
	}
	if len(y.Sealed) == 0 {
		y.Sealed = nil
	}
	return reflect.DeepEqual(x, y)
}

func writeDKIMKey(ctx context.Context, tx *sql.Tx, rev int64, old, k *relay.DKIMKey) error {
	switch {
	case k.Generation != old.Generation && k.Generation != old.Generation+1:
		return relay.E(relay.Invalid, "The generation of a DKIM key only goes on by one.")
	case k.Generation != old.Generation && old.Active:
		return relay.E(relay.Conflict, "The selector's key signs; another cannot take its place.")
	case k.Generation == old.Generation && len(k.Sealed) > 0 && !bytes.Equal(k.Sealed, old.Sealed):
		return relay.E(relay.Invalid, "Another private key is another generation.")
	}
	if err := checkDKIMKey(k); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, updateDKIMKey, string(k.Algorithm), int64(k.Bits), k.Generation, filled(k.Sealed), text(k.Record), flag(k.Active),
		flag(k.Imported), micros(k.CreatedAt), micros(k.SeenAt), micros(k.ActivatedAt), micros(k.RetiredAt), micros(k.WithdrawnAt), text(k.Revealed),
		rev, blob(k.Domain.ID), k.Selector)
	return err
}

// AddDKIMKey adds a selector to a domain. relay.Conflict: the domain has it;
// relay.NotFound: there is no such domain.
func (s *Store) AddDKIMKey(ctx context.Context, by By, k relay.DKIMKey) error {
	return s.ChangeDKIMKeys(ctx, by, k.Domain, "dkim.add", func(keys []relay.DKIMKey) ([]relay.DKIMKey, error) {
		if slices.ContainsFunc(keys, func(old relay.DKIMKey) bool { return old.Selector == k.Selector }) {
			return nil, relay.E(relay.Conflict, "The domain has that selector.")
		}
		return []relay.DKIMKey{k}, nil
	})
}

// SetDKIMKeyActive lets a selector sign from now on, or keeps it from signing.
// relay.Conflict: it is retired.
func (s *Store) SetDKIMKeyActive(ctx context.Context, by By, domain relay.DomainID, selector string, active bool) error {
	action := "dkim.deactivate"
	if active {
		action = "dkim.activate"
	}
	return s.changeDKIMKey(ctx, by, domain, selector, action, func(k *relay.DKIMKey) {
		if k.Active = active; active && k.ActivatedAt.IsZero() {
			k.ActivatedAt = s.cfg.Now()
		}
	})
}

// RetireDKIMKey ends a selector's key. Queued mail that it signed is signed anew.
// relay.Conflict: it is retired already.
func (s *Store) RetireDKIMKey(ctx context.Context, by By, domain relay.DomainID, selector string, at time.Time) error {
	return s.changeDKIMKey(ctx, by, domain, selector, "dkim.retire", func(k *relay.DKIMKey) { k.Active, k.RetiredAt = false, at })
}

func (s *Store) changeDKIMKey(ctx context.Context, by By, domain relay.DomainID, selector, action string, edit func(*relay.DKIMKey)) error {
	return s.ChangeDKIMKeys(ctx, by, domain, action, func(keys []relay.DKIMKey) ([]relay.DKIMKey, error) {
		at := slices.IndexFunc(keys, func(k relay.DKIMKey) bool { return k.Selector == selector })
		if at < 0 {
			return nil, notFound("DKIM key")
		}
		if !keys[at].RetiredAt.IsZero() {
			return nil, relay.E(relay.Conflict, "The selector is retired.")
		}
		edit(&keys[at])
		return keys, nil
	})
}
