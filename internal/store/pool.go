package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	poolColumns = `id, account_id, name, retry, tls, return_path_per_recipient, created_at, disabled_at`
	selectPools = `SELECT ` + poolColumns + ` FROM pools`
	insertPool  = `INSERT INTO pools (` + poolColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	updatePool  = `UPDATE pools SET name = $1, retry = $2, tls = $3, return_path_per_recipient = $4, disabled_at = $5, rev = $6 WHERE id = $7`
	selectAddrs = `SELECT a.pool_id, a.address, a.helo, a.disabled_at, COALESCE(w.started_at, 0), COALESCE(w.held, 0)
		FROM pool_addresses a LEFT JOIN warmups w ON w.address = a.address`
	insertAddr   = `INSERT INTO pool_addresses (pool_id, address, position, helo, disabled_at) VALUES ($1, $2, $3, $4, $5)`
	deleteAddrs  = `DELETE FROM pool_addresses WHERE pool_id = $1`
	addrsInOrder = ` ORDER BY pool_id, position`
	poolsInOrder = ` ORDER BY name, id`
	addrsOfAPool = ` WHERE pool_id = $1`
	poolByID     = ` WHERE id = $1`
)

func scanPool(r scanner) (relay.Pool, error) {
	var p relay.Pool
	var id, acct []byte
	var retry, tls string
	var perRcpt, created, disabled int64
	if err := r.Scan(&id, &acct, &p.Name, &retry, &tls, &perRcpt, &created, &disabled); err != nil {
		return p, err
	}
	p.ID.ID, p.Account.ID, p.TLS, p.ReturnPathPerRecipient = idOf(id), idOf(acct), relay.TLSLevel(tls), perRcpt != 0
	p.CreatedAt, p.DisabledAt = timeOf(created), timeOf(disabled)
	return p, unpackJSON(retry, &p.Retry, "pools.retry")
}

// addAddresses fills in the addresses of pools.
func addAddresses(ctx context.Context, q querier, pools []relay.Pool, cond string, args ...any) error {
	at := map[relay.PoolID]int{}
	for i := range pools {
		at[pools[i].ID] = i
	}
	return eachRow(ctx, q, selectAddrs+cond+addrsInOrder, args, func(r *sql.Rows) error {
		var id []byte
		var text, helo string
		var disabled, warming, held int64
		if err := r.Scan(&id, &text, &helo, &disabled, &warming, &held); err != nil {
			return err
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("%w: pool_addresses.address: %w", ErrDamaged, err)
		}
		if i, ok := at[relay.PoolID{ID: idOf(id)}]; ok {
			pools[i].Addresses = append(pools[i].Addresses, relay.PoolAddress{Address: addr, Helo: helo, DisabledAt: timeOf(disabled),
				Warmup: relay.Warmup{Since: timeOf(warming), Held: int(held)}})
		}
		return nil
	})
}

func (s *Store) pool(ctx context.Context, q querier, id relay.PoolID, lock string) (relay.Pool, error) {
	p, err := one(ctx, q, "pool", scanPool, selectPools+poolByID+lock, blob(id.ID))
	if err != nil {
		return p, err
	}
	pools := []relay.Pool{p}
	err = addAddresses(ctx, q, pools, addrsOfAPool, blob(id.ID))
	return pools[0], err
}

// Pool returns one pool with its addresses, or relay.NotFound.
func (s *Store) Pool(ctx context.Context, id relay.PoolID) (relay.Pool, error) {
	p, err := s.pool(ctx, s.db, id, "")
	return read(s, "pool", p, err)
}

// Pools lists all pools by name, with their addresses in their order.
func (s *Store) Pools(ctx context.Context) ([]relay.Pool, error) {
	pools, err := list(ctx, s.db, scanPool, selectPools+poolsInOrder)
	if err == nil {
		err = addAddresses(ctx, s.db, pools, "")
	}
	return read(s, "pools", pools, err)
}

// CreatePool adds a pool. relay.Conflict: its id is taken, its name is in its
// account, or an address stands in it twice. An address with a warm-up that no
// pool has begins it with the same commit; those that some pool has stay as they
// are.
func (s *Store) CreatePool(ctx context.Context, by By, p relay.Pool) error {
	retry, err := packRetry(p.Retry)
	if err != nil {
		return err
	}
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		if _, err := tx.ExecContext(ctx, insertPool, blob(p.ID.ID), blob(p.Account.ID), text(p.Name), retry, string(p.TLS),
			flag(p.ReturnPathPerRecipient), micros(p.CreatedAt), micros(p.DisabledAt), rev); err != nil {
			return note{}, err
		}
		err := putAddresses(ctx, tx, &p)
		return note{account: p.Account, action: "pool.create", subject: "pool " + p.Name, after: p}, err
	})
}

func putAddresses(ctx context.Context, tx *sql.Tx, p *relay.Pool) error {
	if err := warmNew(ctx, tx, p); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, deleteAddrs, blob(p.ID.ID)); err != nil {
		return err
	}
	for i, a := range p.Addresses {
		if !a.Address.IsValid() {
			return relay.E(relay.Invalid, "An address of the pool is not valid.")
		}
		if _, err := tx.ExecContext(ctx, insertAddr, blob(p.ID.ID), a.Address.String(), int64(i), text(a.Helo), micros(a.DisabledAt)); err != nil {
			return err
		}
	}
	return nil
}

// SwapPool replaces what may change of a pool, with all its addresses: all but id,
// Account and CreatedAt. It neither disables nor enables. Queued mail names the pool,
// not an address, so it leaves from what the pool has at that time. Of warm-ups see
// CreatePool; how far they are is not compared. relay.Conflict with ErrMeanwhile: the
// pool is not was any more; without: its name is taken, or an address stands in it
// twice.
func (s *Store) SwapPool(ctx context.Context, by By, was, p relay.Pool) error {
	return s.changePool(ctx, by, p.ID, "pool.update", func(old relay.Pool) (relay.Pool, error) {
		return editedPool(p, &old), unmoved("The pool", cold(editedPool(was, &old)), cold(old))
	})
}

// editedPool is a pool with what an edit does not change as it is stored.
func editedPool(p relay.Pool, old *relay.Pool) relay.Pool {
	p.ID, p.Account, p.CreatedAt, p.DisabledAt = old.ID, old.Account, old.CreatedAt, old.DisabledAt
	return p
}

// cold is a pool without how warm its addresses are, which moves by itself.
func cold(p relay.Pool) relay.Pool {
	p.Addresses = slices.Clone(p.Addresses)
	for i := range p.Addresses {
		p.Addresses[i].Warmup = relay.Warmup{}
	}
	return p
}

// SetPoolDisabled switches a pool off at a time, or on with the zero time. A
// pool is never deleted: queued mail and events refer to it.
func (s *Store) SetPoolDisabled(ctx context.Context, by By, id relay.PoolID, at time.Time) error {
	return s.changePool(ctx, by, id, switched("pool", at), func(p relay.Pool) (relay.Pool, error) {
		p.DisabledAt = at
		return p, nil
	})
}

func (s *Store) changePool(ctx context.Context, by By, id relay.PoolID, action string, edit func(relay.Pool) (relay.Pool, error)) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := s.pool(ctx, tx, id, s.forUpdate())
		if err != nil {
			return note{}, err
		}
		p, err := edit(old)
		if err != nil {
			return note{}, err
		}
		retry, err := packRetry(p.Retry)
		if err != nil {
			return note{}, err
		}
		if _, err := tx.ExecContext(ctx, updatePool, text(p.Name), retry, string(p.TLS), flag(p.ReturnPathPerRecipient),
			micros(p.DisabledAt), rev, blob(id.ID)); err != nil {
			return note{}, err
		}
		err = putAddresses(ctx, tx, &p)
		return note{account: old.Account, action: action, subject: "pool " + p.Name, before: old, after: p}, err
	})
}
