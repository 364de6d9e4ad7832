package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"postern/internal/relay"
)

// What somebody above has switched off stays off: it is not deleted from below
// either, because a person's address or a domain's name would be free then, and could
// be invited or added anew. A key may be deleted: it is a secret that has leaked or
// not, and another one is another secret.

// selectOff are the domains of an account that are switched off.
const selectOff = selectDomains + ` WHERE account_id = $1 AND deleted_at = 0 AND disabled_at <> 0 ORDER BY name, id`

// capital is a rank at the beginning of a sentence.
func capital(r relay.Rank) string { return "The " + r.String() }

// mayDelete is relay.Forbidden where somebody of a higher rank has switched off what
// by would delete. why says what could come of it.
func mayDelete(by By, off time.Time, rank relay.Rank, what, why string) error {
	if off.IsZero() || rank <= by.Rank {
		return nil
	}
	return relay.E(relay.Forbidden, capital(rank)+" switched "+what+" off. Nobody else can delete "+what+": "+why)
}

func mayDeleteUser(by By, u *relay.User) error {
	return mayDelete(by, u.DisabledAt, u.DisabledRank, "this person", "they could be invited again.")
}

func mayDeleteDomain(by By, d *relay.Domain) error {
	return mayDelete(by, d.DisabledAt, d.DisabledRank, "this domain", "it could be added again.")
}

// mayDeleteWithin judges whether a subuser goes with something of its own. Only its
// account, or the operator, deletes a subuser.
func mayDeleteWithin(by By, off time.Time, rank relay.Rank, what string) error {
	if off.IsZero() || rank <= max(by.Rank, relay.RankAccount) {
		return nil
	}
	return relay.E(relay.Forbidden, capital(rank)+" switched "+what+" of this subuser off. Nobody else can delete the subuser with it.")
}

// mayHold refuses a domain that is new, or switched on again, under a name that
// somebody above has switched off: the same one, or one above it that is given with
// its subdomains. A name of an account is unique only among those that are on.
func (s *Store) mayHold(ctx context.Context, tx *sql.Tx, by By, d *relay.Domain) error {
	if !d.DisabledAt.IsZero() {
		return nil
	}
	off, err := list(ctx, tx, scanDomain, selectOff, blob(d.Account.ID))
	if err != nil {
		return err
	}
	for i := range off {
		o := &off[i]
		if o.ID == d.ID || d.Name != o.Name && !(o.Subdomains && strings.HasSuffix(d.Name, "."+o.Name)) {
			continue
		}
		if rank := offFor(o, d); rank > rankOver(by, d) {
			return &relay.Error{Kind: relay.Forbidden, Field: "domain", Public: capital(rank) + " switched " + o.Name + " off. Nobody else can add it again."}
		}
	}
	return nil
}

// offFor is by whom a domain is switched off, as the owner of another sees it: what
// an account has switched off of its own is so from above for its subusers.
func offFor(off, d *relay.Domain) relay.Rank {
	if off.Subuser.IsZero() && !d.Subuser.IsZero() {
		return max(off.DisabledRank, relay.RankAccount)
	}
	return off.DisabledRank
}

// rankOver is how whoever makes a domain stands to the account's subusers: only the
// account has domains of its own.
func rankOver(by By, d *relay.Domain) relay.Rank {
	if d.Subuser.IsZero() {
		return max(by.Rank, relay.RankAccount)
	}
	return by.Rank
}
