package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	domainColumns = `id, number, account_id, subuser_id, name, state, asserted_by, reason, disputed, verified_at, failing_since,
		token, automatic, label, return_path, selector, key_bits, rotate, reveal, custom_spf, is_default, ips, subdomains, all_subusers, quiet,
		system, created_at, disabled_at, deleted_at, disabled_rank`
	selectDomains = `SELECT ` + domainColumns + ` FROM domains`
	insertDomain  = `INSERT INTO domains (` + domainColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
		$16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)`
	updateDomain = `UPDATE domains SET state = $1, asserted_by = $2, reason = $3, disputed = $4, verified_at = $5, failing_since = $6,
		automatic = $7, label = $8, return_path = $9, selector = $10, key_bits = $11, rotate = $12, reveal = $13, custom_spf = $14, is_default = $15,
		ips = $16, subdomains = $17, all_subusers = $18, quiet = $19, disabled_at = $20, deleted_at = $21, disabled_rank = $22, rev = $23 WHERE id = $24`
	selectShared = `SELECT domain_id, subuser_id FROM domain_subusers`
	insertShared = `INSERT INTO domain_subusers (domain_id, subuser_id) VALUES ($1, $2)`
	deleteShared = `DELETE FROM domain_subusers WHERE domain_id = $1`
	nextDomain   = `UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'last_domain' RETURNING CAST(value AS BIGINT)`
	countDomains = `SELECT count(*) FROM domains WHERE account_id = $1 AND subuser_id = $2 AND deleted_at = 0`
	otherDefault = `UPDATE domains SET is_default = 0, rev = $1 WHERE account_id = $2 AND subuser_id = $3 AND is_default = 1 AND id <> $4`
)

// ReturnPathAuto as the ReturnPath of a new domain asks for one below it.
const ReturnPathAuto = "auto"

func scanDomain(r scanner) (relay.Domain, error) {
	var d relay.Domain
	var id, acct, sub []byte
	var state, ips string
	var disputed, automatic, bits, rotate, reveal, spf, def, subdomains, all, quiet, system int64
	var verified, failing, created, disabled, deleted int64
	if err := r.Scan(&id, &d.Number, &acct, &sub, &d.Name, &state, &d.AssertedBy, &d.Reason, &disputed, &verified, &failing,
		&d.Token, &automatic, &d.Label, &d.ReturnPath, &d.Selector, &bits, &rotate, &reveal, &spf, &def, &ips, &subdomains, &all, &quiet,
		&system, &created, &disabled, &deleted, &d.DisabledRank); err != nil {
		return d, err
	}
	d.ID.ID, d.Account.ID, d.Subuser.ID, d.State = idOf(id), idOf(acct), idOf(sub), relay.DomainState(state)
	d.Disputed, d.Automatic, d.Reveal, d.CustomSPF, d.Default = disputed != 0, automatic != 0, reveal != 0, spf != 0, def != 0
	d.Subdomains, d.AllSubusers, d.Quiet, d.System = subdomains != 0, all != 0, quiet != 0, system != 0
	d.KeyBits, d.Rotate = int(bits), time.Duration(rotate)*time.Microsecond
	d.VerifiedAt, d.FailingSince = timeOf(verified), timeOf(failing)
	d.CreatedAt, d.DisabledAt, d.DeletedAt = timeOf(created), timeOf(disabled), timeOf(deleted)
	return d, unpackJSON(ips, &d.IPs, "domains.ips")
}

// addSharers fills in the subusers of domains.
func addSharers(ctx context.Context, q querier, domains []relay.Domain, cond string, args ...any) error {
	at := make(map[relay.DomainID]int, len(domains))
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
	return s.oneDomain(ctx, q, ` WHERE id = $1`+lock, blob(id.ID))
}

func (s *Store) oneDomain(ctx context.Context, q querier, cond string, args ...any) (relay.Domain, error) {
	d, err := one(ctx, q, "domain", scanDomain, selectDomains+cond, args...)
	if err != nil {
		return d, err
	}
	domains := []relay.Domain{d}
	err = addSharers(ctx, q, domains, ` WHERE domain_id = $1`, blob(d.ID.ID))
	return domains[0], err
}

// liveDomain reads and locks a domain that is not deleted, or relay.NotFound.
func (s *Store) liveDomain(ctx context.Context, tx *sql.Tx, id relay.DomainID) (relay.Domain, error) {
	d, err := s.domain(ctx, tx, id, s.forUpdate())
	if err == nil && !d.DeletedAt.IsZero() {
		return d, notFound("domain")
	}
	return d, err
}

// Domain returns one domain, deleted or not, or relay.NotFound.
func (s *Store) Domain(ctx context.Context, id relay.DomainID) (relay.Domain, error) {
	d, err := s.domain(ctx, s.db, id, "")
	return read(s, "domain", d, err)
}

// DomainNumbered returns the domain with a number that is not deleted, or
// relay.NotFound.
func (s *Store) DomainNumbered(ctx context.Context, number int64) (relay.Domain, error) {
	d, err := s.oneDomain(ctx, s.db, ` WHERE number = $1 AND deleted_at = 0`, number)
	return read(s, "domain", d, err)
}

// Domains lists an account's domains by name, without deleted ones; the zero
// account: all.
func (s *Store) Domains(ctx context.Context, account relay.AccountID) ([]relay.Domain, error) {
	w := ofAccount(account)
	part := partOf(w, "domain_id", "domains")
	w.and("deleted_at = 0")
	domains, err := list(ctx, s.db, scanDomain, selectDomains+w.String()+` ORDER BY name, id`, w.args...)
	if err == nil {
		err = addSharers(ctx, s.db, domains, part, w.args...)
	}
	return read(s, "domains", domains, err)
}

// CreateDomain adds a domain with its first keys, all or nothing, gives it its
// Number, and returns it as it is stored. With ReturnPath ReturnPathAuto the
// return path is Label below its name, and Label, if it is empty, "em" with the
// number. It is due to be looked at from CreatedAt on. If it is Default, the
// owner's other default is none any more.
//
// relay.Conflict: the account has the name already, or another account holds it.
// An unproven claim keeps nobody out. relay.NotFound: there is no such account,
// or a subuser is not one of it. relay.Forbidden: somebody above has switched the
// name off.
func (s *Store) CreateDomain(ctx context.Context, by By, d relay.Domain, keys ...relay.DKIMKey) (relay.Domain, error) {
	return s.CreateDomainWithin(ctx, by, d, 0, keys...)
}

// CreateDomainWithin is CreateDomain for an owner that may have most domains; 0: as
// many as it likes. They are counted in the step that adds the domain, so that of
// several at once, on whatever nodes, none is one too many. relay.Conflict: there are
// as many.
func (s *Store) CreateDomainWithin(ctx context.Context, by By, d relay.Domain, most int, keys ...relay.DKIMKey) (relay.Domain, error) {
	d.DeletedAt = time.Time{}
	var made relay.Domain
	err := s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		d := d // this may run again
		if err := tx.QueryRowContext(ctx, nextDomain).Scan(&d.Number); err != nil {
			return note{}, fmt.Errorf("number domain: %w", err)
		}
		if d.ReturnPath == ReturnPathAuto {
			if d.Label == "" {
				d.Label = fmt.Sprintf("em%d", d.Number)
			}
			d.ReturnPath = d.Label + "." + d.Name
		}
		if err := s.mayHold(ctx, tx, by, &d); err != nil {
			return note{}, err
		}
		if most > 0 {
			n, err := howMany(ctx, tx, countDomains, blob(d.Account.ID), blob(d.Subuser.ID))
			if err != nil {
				return note{}, err
			}
			if n >= most {
				return note{}, TooManyDomains(n)
			}
		}
		if err := s.putDomain(ctx, tx, rev, &d, keys); err != nil {
			return note{}, err
		}
		var err error
		made, err = s.domain(ctx, tx, d.ID, "")
		return note{account: d.Account, action: "domain.create", subject: "domain " + d.Name, after: made}, err
	})
	if err != nil {
		return relay.Domain{}, err
	}
	return made, nil
}

// TooManyDomains refuses one more than an owner's n.
func TooManyDomains(n int) error {
	return relay.E(relay.Conflict, fmt.Sprintf("There are %d domains already, which is the most that one owner can have. Remove one that is not used.", n))
}

// putDomain stores a new domain with all that belongs to it.
func (s *Store) putDomain(ctx context.Context, tx *sql.Tx, rev int64, d *relay.Domain, keys []relay.DKIMKey) error {
	ips, err := packJSON(d.IPs, len(d.IPs) == 0)
	if err != nil {
		return err
	}
	if err := s.liveSubuserOf(ctx, tx, d.Account, d.Subuser); err != nil {
		return err
	}
	if err := onlyDefault(ctx, tx, rev, d); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, insertDomain, blob(d.ID.ID), d.Number, blob(d.Account.ID), blob(d.Subuser.ID), text(d.Name), string(d.State),
		text(d.AssertedBy), text(d.Reason), flag(d.Disputed), micros(d.VerifiedAt), micros(d.FailingSince), text(d.Token), flag(d.Automatic),
		text(d.Label), text(d.ReturnPath), text(d.Selector), int64(d.KeyBits), rotateMicros(d.Rotate), flag(d.Reveal), flag(d.CustomSPF),
		flag(d.Default), ips, flag(d.Subdomains), flag(d.AllSubusers), flag(d.Quiet), flag(d.System), micros(d.CreatedAt), micros(d.DisabledAt),
		int64(0), int64(d.DisabledRank), rev); err != nil {
		return err
	}
	if err := putSharers(ctx, tx, d); err != nil {
		return err
	}
	for i := range keys {
		keys[i].Domain = d.ID
		if err := putDKIMKey(ctx, tx, rev, &keys[i]); err != nil {
			return err
		}
	}
	next := micros(d.CreatedAt)
	if !d.DisabledAt.IsZero() {
		next = 0
	}
	_, err = tx.ExecContext(ctx, insertCheck, blob(d.ID.ID), int64(0), next)
	return err
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

// onlyDefault makes room for a default domain: its owner has one.
func onlyDefault(ctx context.Context, tx *sql.Tx, rev int64, d *relay.Domain) error {
	if !d.Default {
		return nil
	}
	_, err := tx.ExecContext(ctx, otherDefault, rev, blob(d.Account.ID), blob(d.Subuser.ID), blob(d.ID.ID))
	return err
}

// SwapDomain replaces a domain's settings: Automatic, Label, ReturnPath,
// Selector, KeyBits, Rotate, Reveal, CustomSPF, Default, IPs, Subdomains and
// Quiet. If it becomes Default, the owner's other default is none any more. The
// rest has methods of its own: SetDomainState, ProveDomain, SwapDomainSharing,
// SetDomainDisabled, DeleteDomain. relay.Conflict with ErrMeanwhile: the settings are
// not those of was any more.
func (s *Store) SwapDomain(ctx context.Context, by By, was, d relay.Domain) error {
	_, err := s.changeDomain(ctx, by, d.ID, "domain.update", func(old relay.Domain) (relay.Domain, error) {
		return withSettings(old, &d), unmoved("The domain", withSettings(old, &was), old)
	})
	return err
}

// withSettings is a domain with the settings of another.
func withSettings(n relay.Domain, d *relay.Domain) relay.Domain {
	n.Automatic, n.Label, n.ReturnPath, n.Selector, n.KeyBits, n.Rotate = d.Automatic, d.Label, d.ReturnPath, d.Selector, d.KeyBits, d.Rotate
	n.Reveal, n.CustomSPF, n.Default, n.IPs, n.Subdomains, n.Quiet = d.Reveal, d.CustomSPF, d.Default, d.IPs, d.Subdomains, d.Quiet
	return n
}

// SwapDomainSharing says who may use a domain beside its owner: named subusers of
// its account, or all of them; without any, its owner alone. relay.Conflict with
// ErrMeanwhile: it is not shared as was is any more; relay.NotFound: there is no such
// domain, or a subuser is not one of its account.
func (s *Store) SwapDomainSharing(ctx context.Context, by By, was relay.Domain, subusers []relay.SubuserID, all bool) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := s.liveDomain(ctx, tx, was.ID)
		if err != nil {
			return note{}, err
		}
		if was.AllSubusers != old.AllSubusers || !slices.Equal(was.Subusers, old.Subusers) {
			return note{}, meanwhile("Who may use the domain")
		}
		d := old
		d.Subusers, d.AllSubusers = distinct(subusers), all
		if err := putSharers(ctx, tx, &d); err != nil {
			return note{}, err
		}
		return note{account: old.Account, action: "domain.share", subject: "domain " + d.Name, before: old, after: d}, writeDomain(ctx, tx, rev, &d)
	})
}

func distinct(ids []relay.SubuserID) []relay.SubuserID {
	var out []relay.SubuserID
	seen := map[relay.SubuserID]bool{}
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// SetDomainDisabled switches a domain off at a time, or on with the zero time.
// While it is off, another account may prove the name, and nobody looks at its
// records. So one that was proven is paused when it is on again, and due to be
// looked at: whoever lost the name meanwhile must not send as it once more.
// relay.Conflict: another account has the name now, or a name above it with all
// below; relay.Forbidden: somebody of a higher rank switched it, or its name, off.
func (s *Store) SetDomainDisabled(ctx context.Context, by By, id relay.DomainID, at time.Time) error {
	_, err := s.changeDomain(ctx, by, id, switched("domain", at), func(d relay.Domain) (_ relay.Domain, err error) {
		if d.DisabledRank, err = switchedBy(by, at, d.DisabledAt, d.DisabledRank); err != nil {
			return d, err
		}
		if at.IsZero() && !d.DisabledAt.IsZero() && (d.State == relay.DomainVerified || d.State == relay.DomainPaused) {
			d.State, d.Reason = relay.DomainPaused, offReason
			if d.FailingSince.IsZero() {
				d.FailingSince = d.DisabledAt
			}
		}
		d.DisabledAt = at
		return d, nil
	})
	return err
}

// offReason is what the owner of a domain reads that was switched off.
const offReason = "It was switched off, and nobody looked at its records meanwhile. Mail goes as soon as they are found to be right."

// DeleteDomain ends a domain for good: its name is free, and nobody sends as it
// or looks at its records. Its row and keys stay, disabled, for queued mail and
// records. relay.NotFound: there is none, or it was deleted before; relay.Forbidden:
// somebody of a higher rank switched it off.
func (s *Store) DeleteDomain(ctx context.Context, by By, id relay.DomainID, at time.Time) error {
	_, err := s.changeDomain(ctx, by, id, "domain.delete", func(d relay.Domain) (relay.Domain, error) {
		if err := mayDeleteDomain(by, &d); err != nil {
			return d, err
		}
		d.DeletedAt, d.Default = at, false
		if d.DisabledAt.IsZero() {
			d.DisabledAt = at
		}
		return d, nil
	})
	return err
}

// rotateMicros keeps the sign of what is less than a microsecond: below zero means
// never.
func rotateMicros(d time.Duration) int64 {
	if d < 0 {
		return min(d.Microseconds(), -1)
	}
	return d.Microseconds()
}

// errUnchanged ends a change that has nothing to change: no revision is raised
// and nothing is recorded.
var errUnchanged = errors.New("nothing to change")

// changeDomain edits a domain that is not deleted, except for whom it is shared
// with. edit may run more than once, and may return errUnchanged.
func (s *Store) changeDomain(ctx context.Context, by By, id relay.DomainID, action string, edit func(relay.Domain) (relay.Domain, error)) (relay.Domain, error) {
	var d relay.Domain
	err := s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := s.liveDomain(ctx, tx, id)
		if err != nil {
			return note{}, err
		}
		if d, err = edit(old); err != nil {
			return note{}, err
		}
		if !old.DisabledAt.IsZero() {
			if err := s.mayHold(ctx, tx, by, &d); err != nil {
				return note{}, err
			}
		}
		if d.Holds() && !old.Holds() && d.State != relay.DomainAsserted {
			rival, err := s.rival(ctx, tx, &d)
			if err != nil {
				return note{}, err
			}
			if rival != nil {
				return note{}, relay.E(relay.Conflict, "Another account has "+rival.Name+".")
			}
		}
		if err := onlyDefault(ctx, tx, rev, &d); err != nil {
			return note{}, err
		}
		if !d.DeletedAt.IsZero() {
			if err := endDomainWatch(ctx, tx, relay.Tenant{Account: d.Account, Subuser: d.Subuser}, d.DeletedAt, d.Name); err != nil {
				return note{}, err
			}
		}
		if d.DisabledAt.IsZero() != old.DisabledAt.IsZero() || !d.DeletedAt.IsZero() {
			if err := s.switchChecks(ctx, tx, &d); err != nil {
				return note{}, err
			}
		}
		return note{account: old.Account, action: action, subject: "domain " + d.Name, before: old, after: d}, writeDomain(ctx, tx, rev, &d)
	})
	if errors.Is(err, errUnchanged) {
		return d, nil
	}
	if err != nil {
		return relay.Domain{}, err
	}
	return d, nil
}

// writeDomain stores what of a domain can change.
func writeDomain(ctx context.Context, tx *sql.Tx, rev int64, d *relay.Domain) error {
	ips, err := packJSON(d.IPs, len(d.IPs) == 0)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, updateDomain, string(d.State), text(d.AssertedBy), text(d.Reason), flag(d.Disputed), micros(d.VerifiedAt),
		micros(d.FailingSince), flag(d.Automatic), text(d.Label), text(d.ReturnPath), text(d.Selector), int64(d.KeyBits), rotateMicros(d.Rotate),
		flag(d.Reveal), flag(d.CustomSPF), flag(d.Default), ips, flag(d.Subdomains), flag(d.AllSubusers), flag(d.Quiet), micros(d.DisabledAt),
		micros(d.DeletedAt), int64(d.DisabledRank), rev, blob(d.ID.ID))
	return err
}
