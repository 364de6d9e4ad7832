package store

import (
	"context"
	"database/sql"
	"time"

	"postern/internal/relay"
)

const (
	dkimColumns    = `domain_id, selector, algorithm, sealed, record, active, created_at, retired_at`
	selectDKIMKeys = `SELECT ` + dkimColumns + ` FROM dkim_keys`
	insertDKIMKey  = `INSERT INTO dkim_keys (` + dkimColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	updateDKIMKey  = `UPDATE dkim_keys SET active = $1, retired_at = $2, rev = $3 WHERE domain_id = $4 AND selector = $5`
)

func scanDKIMKey(r scanner) (relay.DKIMKey, error) {
	var k relay.DKIMKey
	var dom []byte
	var alg string
	var active, created, retired int64
	err := r.Scan(&dom, &k.Selector, &alg, &k.Sealed, &k.Record, &active, &created, &retired)
	k.Domain.ID, k.Algorithm, k.Active = idOf(dom), relay.DKIMAlgorithm(alg), active != 0
	k.CreatedAt, k.RetiredAt = timeOf(created), timeOf(retired)
	return k, err
}

func putDKIMKey(ctx context.Context, tx *sql.Tx, rev int64, k *relay.DKIMKey) error {
	_, err := tx.ExecContext(ctx, insertDKIMKey, blob(k.Domain.ID), text(k.Selector), string(k.Algorithm), filled(k.Sealed), text(k.Record),
		flag(k.Active), micros(k.CreatedAt), micros(k.RetiredAt), rev)
	return err
}

// DKIMKeys lists the keys of a domain by selector; the zero domain: all.
func (s *Store) DKIMKeys(ctx context.Context, domain relay.DomainID) ([]relay.DKIMKey, error) {
	w := &where{}
	if !domain.IsZero() {
		w.and("domain_id = ?", blob(domain.ID))
	}
	v, err := list(ctx, s.db, scanDKIMKey, selectDKIMKeys+w.String()+` ORDER BY domain_id, selector`, w.args...)
	return read(s, "DKIM keys", v, err)
}

// AddDKIMKey adds a selector to a domain. relay.Conflict: the domain has it;
// relay.NotFound: there is no such domain.
func (s *Store) AddDKIMKey(ctx context.Context, by By, k relay.DKIMKey) error {
	return s.change(ctx, by, func(tx *sql.Tx, rev int64) (note, error) {
		d, err := s.domain(ctx, tx, k.Domain, s.forUpdate())
		if err != nil {
			return note{}, err
		}
		return note{account: d.Account, action: "dkim.add", subject: dkimSubject(&k, &d), after: k}, putDKIMKey(ctx, tx, rev, &k)
	})
}

func dkimSubject(k *relay.DKIMKey, d *relay.Domain) string {
	return k.Selector + "._domainkey." + d.Name
}

// SetDKIMKeyActive lets a selector sign, or keeps it from signing.
// relay.Conflict: it is retired.
func (s *Store) SetDKIMKeyActive(ctx context.Context, by By, domain relay.DomainID, selector string, active bool) error {
	action := "dkim.deactivate"
	if active {
		action = "dkim.activate"
	}
	return s.changeDKIMKey(ctx, by, domain, selector, action, func(k relay.DKIMKey) (relay.DKIMKey, error) {
		if !k.RetiredAt.IsZero() {
			return k, relay.E(relay.Conflict, "The selector is retired.")
		}
		k.Active = active
		return k, nil
	})
}

// RetireDKIMKey ends a selector for good. Queued mail that it signed is signed
// anew. relay.Conflict: it is retired already.
func (s *Store) RetireDKIMKey(ctx context.Context, by By, domain relay.DomainID, selector string, at time.Time) error {
	return s.changeDKIMKey(ctx, by, domain, selector, "dkim.retire", func(k relay.DKIMKey) (relay.DKIMKey, error) {
		if !k.RetiredAt.IsZero() {
			return k, relay.E(relay.Conflict, "The selector is retired.")
		}
		k.Active, k.RetiredAt = false, at
		return k, nil
	})
}

func (s *Store) changeDKIMKey(ctx context.Context, by By, domain relay.DomainID, selector, action string, edit func(relay.DKIMKey) (relay.DKIMKey, error)) error {
	return s.change(ctx, by, func(tx *sql.Tx, rev int64) (note, error) {
		d, err := s.domain(ctx, tx, domain, s.forUpdate())
		if err != nil {
			return note{}, err
		}
		old, err := one(ctx, tx, "DKIM key", scanDKIMKey, selectDKIMKeys+` WHERE domain_id = $1 AND selector = $2`, blob(domain.ID), selector)
		if err != nil {
			return note{}, err
		}
		k, err := edit(old)
		if err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, updateDKIMKey, flag(k.Active), micros(k.RetiredAt), rev, blob(domain.ID), selector)
		return note{account: d.Account, action: action, subject: dkimSubject(&k, &d), before: old, after: k}, err
	})
}
