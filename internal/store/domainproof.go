package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	held          = ` AND disabled_at = 0 AND state IN ('asserted', 'verified', 'paused')`
	selectHolder  = selectDomains + ` WHERE name = $1` + held
	selectHolder2 = selectHolder + ` AND subdomains = 1`
)

// SetDomainState moves a domain's state, without a word of other accounts:
// relay.DomainVerified only where the domain is held already (a warning, or one
// that is over); a proof is ProveDomain's. relay.DomainAsserted is the operator's
// word, and by is who gave it. It returns the row as it is now; where nothing
// changes, no revision is raised. relay.Conflict: another account has the name;
// relay.Invalid: no such state, or it has to be proven.
func (s *Store) SetDomainState(ctx context.Context, by By, id relay.DomainID, c relay.DomainStateChange) (relay.Domain, error) {
	return s.changeDomain(ctx, by, id, "domain.state", func(d relay.Domain) (relay.Domain, error) {
		was := d
		d.State, d.FailingSince, d.Reason = c.State, timeOf(micros(c.FailingSince)), text(c.Reason)
		switch c.State {
		case relay.DomainVerified:
			if !was.Holds() {
				return d, relay.E(relay.Invalid, "The domain has to be proven.")
			}
			d.Disputed = false
		case relay.DomainAsserted:
			d.Disputed = false
			if was.State != relay.DomainAsserted {
				d.AssertedBy = text(by.Who)
			}
		case relay.DomainPaused:
			if !was.Holds() {
				return d, relay.E(relay.Invalid, "Only a domain that was proven can be paused.")
			}
		case relay.DomainPending, relay.DomainFailed:
		default:
			return d, relay.E(relay.Invalid, "There is no such state of a domain.")
		}
		if d.State == was.State && d.FailingSince.Equal(was.FailingSince) && d.Reason == was.Reason && d.Disputed == was.Disputed {
			return d, errUnchanged
		}
		return d, nil
	})
}

// disputedReason is what the owner of a disputed domain reads.
const disputedReason = "Its DNS records are right, but another account here has the domain, and its records are right too."

// ProveDomain says that the DNS proves a domain now: it becomes verified, and is
// no longer failing. Another account may have the name, or the nearest name above
// it that is held, together with all names below:
//
//   - If that one's own records are gone (FailingSince, or paused) and it is not
//     there by the operator's word, its proof lapses: it becomes failed, and this
//     one verified.
//   - Otherwise it keeps the name. This one stays as it is and is disputed; once
//     the other's records are gone, the next proof wins.
//
// Names below it that others hold stay theirs, and keep nobody from proving it.
// It returns the row as it is now; where nothing changes, no revision is raised.
// relay.Conflict: the domain is disabled.
func (s *Store) ProveDomain(ctx context.Context, by By, id relay.DomainID, at time.Time) (relay.Domain, error) {
	var d relay.Domain
	err := s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := s.liveDomain(ctx, tx, id)
		if err != nil {
			return note{}, err
		}
		d = old
		if !d.DisabledAt.IsZero() {
			return note{}, relay.E(relay.Conflict, "The domain is disabled.")
		}
		lapsed, rival, err := s.rivals(ctx, tx, &d)
		if err != nil {
			return note{}, err
		}
		n := note{account: d.Account, subject: "domain " + d.Name, before: old}
		if rival != nil {
			if d.Disputed, d.Reason = true, disputedReason; old.Disputed && old.Reason == d.Reason {
				return note{}, errUnchanged
			}
			n.action, n.after = "domain.dispute", d
			return n, writeDomain(ctx, tx, rev, &d)
		}
		if d.State == relay.DomainVerified && d.FailingSince.IsZero() && !d.Disputed && d.Reason == "" {
			return note{}, errUnchanged
		}
		for i := range lapsed {
			if err := s.lapse(ctx, tx, rev, by, lapsed[i]); err != nil {
				return note{}, err
			}
		}
		d.State, d.VerifiedAt, d.FailingSince, d.Reason, d.Disputed = relay.DomainVerified, timeOf(micros(at)), time.Time{}, "", false
		n.action, n.after = "domain.prove", d
		return n, writeDomain(ctx, tx, rev, &d)
	})
	if errors.Is(err, errUnchanged) {
		return d, nil
	}
	if err != nil {
		return relay.Domain{}, err
	}
	return d, nil
}

// lapse ends the proof of a domain whose name another account has proven. Its
// own account's record says so.
func (s *Store) lapse(ctx context.Context, tx *sql.Tx, rev int64, by By, old relay.Domain) error {
	d := old
	d.State, d.Reason = relay.DomainFailed, "Its DNS records are gone, and another account has proven the name."
	if err := writeDomain(ctx, tx, rev, &d); err != nil {
		return err
	}
	return s.record(ctx, tx, by, note{account: d.Account, action: "domain.lapse", subject: "domain " + d.Name, before: old, after: d})
}

// rivals walks up from a domain's name as identity.Directory.Covering does. It
// returns the other accounts' domains that would lapse to its proof; or the one
// that does not, if there is one.
func (s *Store) rivals(ctx context.Context, tx *sql.Tx, d *relay.Domain) (lapsed []relay.Domain, rival *relay.Domain, err error) {
	query := selectHolder // at the name itself any holder counts, above it those with their subdomains
	for at, more := d.Name, true; more; {
		holders, err := s.holders(ctx, tx, query, at)
		if err != nil {
			return nil, nil, err
		}
		for i := range holders {
			h := &holders[i]
			switch {
			case h.Account == d.Account:
				return lapsed, nil, nil // what is above is no concern: the account has this
			case h.State == relay.DomainAsserted || h.FailingSince.IsZero() && h.State != relay.DomainPaused:
				return nil, h, nil
			}
			lapsed = append(lapsed, *h)
		}
		_, at, more = strings.Cut(at, ".")
		query = selectHolder2
	}
	return lapsed, nil, nil
}

// rival is the other account's domain that covers the name of d, if there is one.
func (s *Store) rival(ctx context.Context, tx *sql.Tx, d *relay.Domain) (*relay.Domain, error) {
	lapsed, rival, err := s.rivals(ctx, tx, d)
	if err == nil && rival == nil && len(lapsed) > 0 {
		rival = &lapsed[0]
	}
	return rival, err
}

// holders reads who holds a name: one at most, the index domains_held sees to it.
func (s *Store) holders(ctx context.Context, tx *sql.Tx, query, name string) ([]relay.Domain, error) {
	all, err := list(ctx, tx, scanDomain, query+s.forUpdate(), name)
	for i := range all {
		if err == nil {
			err = addSharers(ctx, tx, all[i:i+1], ` WHERE domain_id = $1`, blob(all[i].ID.ID))
		}
	}
	return all, err
}
