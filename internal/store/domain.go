package store

import (
	"context"
	"database/sql"
	"time"

	"postern/internal/relay"
)

const (
	domainColumns = `id, account_id, name, state, asserted_by, subdomains, return_path, system, created_at, disabled_at`
	selectDomains = `SELECT ` + domainColumns + ` FROM domains`
	insertDomain  = `INSERT INTO domains (` + domainColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	updateDomain  = `UPDATE domains SET state = $1, asserted_by = $2, subdomains = $3, return_path = $4, disabled_at = $5, rev = $6 WHERE id = $7`
	selectShared  = `SELECT domain_id, subuser_id FROM domain_subusers`
	insertShared  = `INSERT INTO domain_subusers (domain_id, subuser_id) VALUES ($1, $2)`
	deleteShared  = `DELETE FROM domain_subusers WHERE domain_id = $1`
)

func scanDomain(r scanner) (relay.Domain, error) {
	var d relay.Domain
	var id, acct []byte
	var state string
	var subdomains, system, created, disabled int64
	err := r.Scan(&id, &acct, &d.Name, &state, &d.AssertedBy, &subdomains, &d.ReturnPath, &system, &created, &disabled)
	d.ID.ID, d.Account.ID, d.State = idOf(id), idOf(acct), relay.DomainState(state)
	d.Subdomains, d.System = subdomains != 0, system != 0
	d.CreatedAt, d.DisabledAt = timeOf(created), timeOf(disabled)
	return d, err
}

// addSharers fills in the subusers of domains.
func addSharers(ctx context.Context, q querier, domains []relay.Domain, cond string, args ...any) error {
	at := map[relay.DomainID]int{}
	for i := range domains {
		at[domains[i].ID] = i
	}
	return eachRow(ctx, q, selectShared+cond+` ORDER BY domain_id, subuser_id`, args, func(r *sql.Rows) error {
		var id, sub []byte
		if err := r.Scan(&id, &sub); err != nil {
			return err
		}
		if i, ok := at[relay.DomainID{ID: idOf(id)}]; ok {
			domains[i].Subusers = append(domains[i].Subusers, relay.SubuserID{ID: idOf(sub)})
		}
		return nil
	})
}

func (s *Store) domain(ctx context.Context, q querier, id relay.DomainID, lock string) (relay.Domain, error) {
	d, err := one(ctx, q, "domain", scanDomain, selectDomains+` WHERE id = $1`+lock, blob(id.ID))
	if err != nil {
		return d, err
	}
	domains := []relay.Domain{d}
	err = addSharers(ctx, q, domains, ` WHERE domain_id = $1`, blob(id.ID))
	return domains[0], err
}

// Domain returns one domain, or relay.NotFound.
func (s *Store) Domain(ctx context.Context, id relay.DomainID) (relay.Domain, error) {
	d, err := s.domain(ctx, s.db, id, "")
	return read(s, "domain", d, err)
}

// Domains lists an account's domains by name; the zero account: all.
func (s *Store) Domains(ctx context.Context, account relay.AccountID) ([]relay.Domain, error) {
	w := ofAccount(account)
	domains, err := list(ctx, s.db, scanDomain, selectDomains+w.String()+` ORDER BY name, id`, w.args...)
	if err == nil {
		err = addSharers(ctx, s.db, domains, "")
	}
	return read(s, "domains", domains, err)
}

// CreateDomain adds a domain with its first keys, all or nothing. relay.Conflict:
// the account has it already, or it is usable and another account's. An unproven
// claim keeps nobody out.
func (s *Store) CreateDomain(ctx context.Context, by By, d relay.Domain, keys ...relay.DKIMKey) error {
	return s.change(ctx, by, func(tx *sql.Tx, rev int64) (note, error) {
		if _, err := tx.ExecContext(ctx, insertDomain, blob(d.ID.ID), blob(d.Account.ID), text(d.Name), string(d.State), text(d.AssertedBy),
			flag(d.Subdomains), text(d.ReturnPath), flag(d.System), micros(d.CreatedAt), micros(d.DisabledAt), rev); err != nil {
			return note{}, err
		}
		if err := putSharers(ctx, tx, &d); err != nil {
			return note{}, err
		}
		for i := range keys {
			keys[i].Domain = d.ID
			if err := putDKIMKey(ctx, tx, rev, &keys[i]); err != nil {
				return note{}, err
			}
		}
		return note{account: d.Account, action: "domain.create", subject: "domain " + d.Name, after: d}, nil
	})
}

func putSharers(ctx context.Context, tx *sql.Tx, d *relay.Domain) error {
	if _, err := tx.ExecContext(ctx, deleteShared, blob(d.ID.ID)); err != nil {
		return err
	}
	for _, sub := range d.Subusers {
		if err := subuserOf(ctx, tx, d.Account, sub); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insertShared, blob(d.ID.ID), blob(sub.ID)); err != nil {
			return err
		}
	}
	return nil
}

// UpdateDomain replaces what may change: all but id, Account, Name, System and
// CreatedAt.
func (s *Store) UpdateDomain(ctx context.Context, by By, d relay.Domain) error {
	return s.changeDomain(ctx, by, d.ID, "domain.update", func(old relay.Domain) relay.Domain {
		d.Account, d.Name, d.System, d.CreatedAt = old.Account, old.Name, old.System, old.CreatedAt
		return d
	})
}

// SetDomainDisabled switches a domain off at a time, or on with the zero time. A
// domain is never deleted: queued mail is signed with its keys. Once it is off,
// another account may claim the name.
func (s *Store) SetDomainDisabled(ctx context.Context, by By, id relay.DomainID, at time.Time) error {
	return s.changeDomain(ctx, by, id, switched("domain", at), func(d relay.Domain) relay.Domain {
		d.DisabledAt = at
		return d
	})
}

func (s *Store) changeDomain(ctx context.Context, by By, id relay.DomainID, action string, edit func(relay.Domain) relay.Domain) error {
	return s.change(ctx, by, func(tx *sql.Tx, rev int64) (note, error) {
		old, err := s.domain(ctx, tx, id, s.forUpdate())
		if err != nil {
			return note{}, err
		}
		d := edit(old)
		if _, err := tx.ExecContext(ctx, updateDomain, string(d.State), text(d.AssertedBy), flag(d.Subdomains), text(d.ReturnPath),
			micros(d.DisabledAt), rev, blob(id.ID)); err != nil {
			return note{}, err
		}
		err = putSharers(ctx, tx, &d)
		return note{account: old.Account, action: action, subject: "domain " + d.Name, before: old, after: d}, err
	})
}
