package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	selectWarmups = `SELECT address, started_at, held, counts FROM warmups`
	insertWarmup  = `INSERT INTO warmups (address, started_at, held, counts) VALUES ($1, $2, 0, $3)`
	deleteWarmup  = `DELETE FROM warmups WHERE address = $1`
	oneWarmup     = ` WHERE address = $1`
	newWarmup     = insertWarmup + ` ON CONFLICT (address) DO NOTHING`
	countAddress  = `SELECT COUNT(*) FROM pool_addresses WHERE address = $1`
	// poolsWith are the accounts of the pools that have an address; a shared pool's
	// is the zero id.
	poolsWith    = `SELECT DISTINCT account_id FROM pools WHERE id IN (SELECT pool_id FROM pool_addresses WHERE address = $1)`
	touchPools   = `UPDATE pools SET rev = $1 WHERE id IN (SELECT pool_id FROM pool_addresses WHERE address = $2)`
	warmupsOrder = ` ORDER BY address`
	// maxWarmupCounts bounds what may be kept of one address.
	maxWarmupCounts = 1 << 20
)

var stmtWarmupPut = newStmt(`UPDATE warmups SET held = $1, counts = $2 WHERE address = $3 AND started_at = $4`)

func scanWarmup(r scanner) (relay.WarmupState, error) {
	var w relay.WarmupState
	var address string
	var since, held int64
	if err := r.Scan(&address, &since, &held, &w.Counts); err != nil {
		return w, err
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return w, fmt.Errorf("%w: warmups.address: %w", ErrDamaged, err)
	}
	w.Address, w.Since, w.Held = addr, timeOf(since), int(held)
	return w, nil
}

// Warmups lists every address that was put into warm-up and not taken out, those
// that are through with it too, with what was last kept by PutWarmups.
func (s *Store) Warmups(ctx context.Context) ([]relay.WarmupState, error) {
	all, err := list(ctx, s.db, scanWarmup, selectWarmups+warmupsOrder)
	return read(s, "warm-ups", all, err)
}

// PutWarmups keeps days held and counts of addresses. What is not in warm-up since
// that very moment any more is passed over. It waits behind mail, and for its
// commit. At most 1 MiB of counts for an address.
func (s *Store) PutWarmups(ctx context.Context, all []relay.WarmupState) error {
	o := newOp("put warm-ups")
	for i := range all {
		w := &all[i]
		if len(w.Counts) > maxWarmupCounts {
			return fmt.Errorf("put warm-up of %s: %d octets, at most %d", w.Address, len(w.Counts), maxWarmupCounts)
		}
		o.bytes += len(w.Counts)
		o.add(stmtWarmupPut, int64(w.Held), filled(w.Counts), w.Address.Unmap().String(), micros(w.Since))
	}
	if len(all) == 0 {
		return nil
	}
	return s.w.doLow(ctx, o)
}

// StartWarmup puts an address into warm-up, in every pool that has it. now judges
// whether it is in one already. relay.NotFound: no pool has it; relay.Conflict: it
// is in warm-up already.
func (s *Store) StartWarmup(ctx context.Context, by By, address netip.Addr, since, now time.Time) error {
	address = address.Unmap()
	text := address.String()
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		account, err := s.warmupAccount(ctx, tx, text)
		if err != nil {
			return note{}, err
		}
		n := note{account: account, action: "pool.address.warmup.start", subject: "address " + text, after: relay.Warmup{Since: since.UTC()}}
		switch old, err := one(ctx, tx, "warm-up", scanWarmup, selectWarmups+oneWarmup+s.forUpdate(), text); {
		case relay.KindOf(err) == relay.NotFound:
		case err != nil:
			return note{}, err
		case old.Warming(now):
			return note{}, relay.E(relay.Conflict, "The address is being warmed up already.")
		default:
			n.before = old.Warmup
			if _, err := tx.ExecContext(ctx, deleteWarmup, text); err != nil {
				return note{}, err
			}
		}
		if _, err := tx.ExecContext(ctx, insertWarmup, text, micros(since), noBlob); err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, touchPools, rev, text)
		return n, err
	})
}

// StopWarmup ends the warm-up of an address: from now on it is warm.
// relay.NotFound: it is in none, or in no pool.
func (s *Store) StopWarmup(ctx context.Context, by By, address netip.Addr) error {
	text := address.Unmap().String()
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		account, err := s.warmupAccount(ctx, tx, text)
		if err != nil {
			return note{}, err
		}
		old, err := one(ctx, tx, "warm-up", scanWarmup, selectWarmups+oneWarmup+s.forUpdate(), text)
		if err != nil {
			return note{}, err
		}
		if _, err := tx.ExecContext(ctx, deleteWarmup, text); err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, touchPools, rev, text)
		return note{account: account, action: "pool.address.warmup.stop", subject: "address " + text, before: old.Warmup}, err
	})
}

// warmNew begins the warm-ups of a pool's addresses that no pool had, and says of
// all how they are.
func warmNew(ctx context.Context, tx *sql.Tx, p *relay.Pool) error {
	addresses := slices.Clone(p.Addresses)
	for i := range addresses {
		a := &addresses[i]
		text := a.Address.Unmap().String()
		if !a.Warmup.IsZero() {
			var pools int64
			if err := tx.QueryRowContext(ctx, countAddress, text).Scan(&pools); err != nil {
				return err
			}
			if pools == 0 {
				if _, err := tx.ExecContext(ctx, newWarmup, text, micros(a.Warmup.Since), noBlob); err != nil {
					return err
				}
			}
		}
		w, err := one(ctx, tx, "warm-up", scanWarmup, selectWarmups+oneWarmup, text)
		if err != nil && relay.KindOf(err) != relay.NotFound {
			return err
		}
		a.Warmup = w.Warmup
	}
	p.Addresses = addresses
	return nil
}

// warmupAccount is whose record a change of an address's warm-up stands in: that
// of the account whose pools alone have it, else the installation's.
func (s *Store) warmupAccount(ctx context.Context, tx *sql.Tx, address string) (relay.AccountID, error) {
	var owners []relay.AccountID
	err := eachRow(ctx, tx, poolsWith, []any{address}, func(r *sql.Rows) error {
		var id []byte
		err := r.Scan(&id)
		owners = append(owners, relay.AccountID{ID: idOf(id)})
		return err
	})
	switch {
	case err != nil:
		return relay.AccountID{}, err
	case len(owners) == 0:
		return relay.AccountID{}, &relay.Error{Kind: relay.NotFound, Public: "No pool has this address.", Err: errors.New("no pool has " + address)}
	case len(owners) == 1:
		return owners[0], nil
	}
	return relay.AccountID{}, nil
}
