package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

// Snapshot is what authentication and submission must know, read in one
// transaction: all of it, or what has changed since a revision.
type Snapshot struct {
	Revision int64 // of the state that was read
	Since    int64 // what has changed after this revision; 0 where Full
	Full     bool  // everything, not only what has changed
	Accounts []relay.Account
	Subusers []relay.Subuser // deleted ones too
	Keys     []relay.Key     // revoked ones too
	Pools    []relay.Pool
	Domains  []relay.Domain // deleted ones too
	// DKIMKeys are all keys of all domains; those that do not sign now come without
	// their private part (Sealed).
	DKIMKeys []relay.DKIMKey
	Senders  []relay.SingleSender // deleted and unproven ones too, without Secret
	Access   []relay.AccessList   // an emptied list comes without rules
	// RevokedTokens maps tokens that were revoked to the time at which they would
	// have ended anyway; nil: none.
	RevokedTokens map[relay.TokenID]time.Time
}

// Snapshot reads what has changed after the revision since, as of one moment;
// with 0, or with a revision that the database never had, everything. Rows of
// these kinds are never deleted (access tokens end by themselves), so applying
// one snapshot after the other gives the whole. It also counts as a check of the
// revision.
func (s *Store) Snapshot(ctx context.Context, since int64) (*Snapshot, error) {
	began := time.Now()
	snap := &Snapshot{}
	err := s.reading(ctx, func(tx *sql.Tx) error { return snap.read(ctx, tx, since, s.now()) })
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", s.readError(err))
	}
	s.rev.seen(snap.Revision, began)
	return snap, nil
}

// reading runs fn in a transaction that sees one moment and changes nothing.
func (s *Store) reading(ctx context.Context, fn func(tx *sql.Tx) error) error {
	opts := &sql.TxOptions{ReadOnly: true}
	if s.eng.dialect() == dPostgres {
		opts.Isolation = sql.LevelRepeatableRead
	}
	tx, err := s.db.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return fn(tx)
}

func (sn *Snapshot) read(ctx context.Context, tx *sql.Tx, since, now int64) (err error) {
	if sn.Revision, err = readRevision(ctx, tx); err != nil {
		return err
	}
	if sn.Since = since; since <= 0 || since > sn.Revision {
		sn.Since, sn.Full = 0, true
	}
	if !sn.Full && sn.Since == sn.Revision {
		return nil
	}
	for _, part := range []func(context.Context, *sql.Tx, *where) error{sn.readTenants, sn.readKeys, sn.readPools, sn.readDomains, sn.readSenders, sn.readAccess} {
		if err := part(ctx, tx, sn.changed()); err != nil {
			return err
		}
	}
	return sn.readTokens(ctx, tx, now)
}

// changed restricts to the rows that the snapshot is about.
func (sn *Snapshot) changed() *where {
	w := &where{}
	if !sn.Full {
		w.and("rev > ?", sn.Since)
	}
	return w
}

// order sorts a full reading. Of a few changed rows among many the planners would
// rather walk over all, in that order, than look up the few and sort them.
func (sn *Snapshot) order(by string) string {
	if !sn.Full {
		return ""
	}
	return " ORDER BY " + by
}

func (sn *Snapshot) readTenants(ctx context.Context, tx *sql.Tx, w *where) (err error) {
	if sn.Accounts, err = list(ctx, tx, scanAccount, selectAccounts+w.String()+sn.order("id"), w.args...); err != nil {
		return err
	}
	sn.Subusers, err = list(ctx, tx, scanSubuser, selectSubusers+w.String()+sn.order("id"), w.args...)
	return err
}

func (sn *Snapshot) readKeys(ctx context.Context, tx *sql.Tx, w *where) (err error) {
	if sn.Full { // one large piece of memory in place of many that grow
		var n int64
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM keys`).Scan(&n); err != nil {
			return err
		}
		sn.Keys = make([]relay.Key, 0, n)
	}
	sn.Keys, err = listInto(ctx, tx, sn.Keys, (&keyReader{}).scan, selectKeys+w.String()+sn.order("id"), w.args...)
	return err
}

func (sn *Snapshot) readPools(ctx context.Context, tx *sql.Tx, w *where) (err error) {
	if sn.Pools, err = list(ctx, tx, scanPool, selectPools+w.String()+sn.order("id"), w.args...); err != nil || len(sn.Pools) == 0 {
		return err
	}
	return addAddresses(ctx, tx, sn.Pools, partOf(w, "pool_id", "pools"), w.args...)
}

func (sn *Snapshot) readDomains(ctx context.Context, tx *sql.Tx, w *where) (err error) {
	if sn.Full { // one large piece of memory in place of many that grow
		var domains, keys int64
		if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM domains), (SELECT count(*) FROM dkim_keys)`).Scan(&domains, &keys); err != nil {
			return err
		}
		sn.Domains, sn.DKIMKeys = make([]relay.Domain, 0, domains), make([]relay.DKIMKey, 0, keys)
	}
	sn.DKIMKeys, err = listInto(ctx, tx, sn.DKIMKeys, (&dkimReader{}).scan, followDKIMKeys+w.String()+sn.order("domain_id, selector"), w.args...)
	if err != nil {
		return err
	}
	sn.Domains, err = listInto(ctx, tx, sn.Domains, scanDomain, selectDomains+w.String()+sn.order("id"), w.args...)
	if err != nil || len(sn.Domains) == 0 {
		return err
	}
	return addSharers(ctx, tx, sn.Domains, partOf(w, "domain_id", "domains"), w.args...)
}

func (sn *Snapshot) readSenders(ctx context.Context, tx *sql.Tx, w *where) (err error) {
	sn.Senders, err = list(ctx, tx, scanSender, selectSenders+w.String()+sn.order("number"), w.args...)
	for i := range sn.Senders {
		sn.Senders[i].Secret = nil
	}
	return err
}

// partOf restricts to the parts of the rows that w selects.
func partOf(w *where, column, table string) string {
	if len(w.cond) == 0 {
		return ""
	}
	return " WHERE " + column + " IN (SELECT id FROM " + table + w.String() + ")"
}

func (sn *Snapshot) readAccess(ctx context.Context, tx *sql.Tx, w *where) (err error) {
	sn.Access, err = list(ctx, tx, scanAccessList, selectAccessLists+w.String()+sn.order("account_id, subuser_id"), w.args...)
	return err
}

func (sn *Snapshot) readTokens(ctx context.Context, tx *sql.Tx, now int64) error {
	w := sn.changed()
	w.and("until > ?", now)
	return eachRow(ctx, tx, `SELECT id, until FROM revoked_tokens`+w.String(), w.args, func(r *sql.Rows) error {
		var id []byte
		var until int64
		if err := r.Scan(&id, &until); err != nil {
			return err
		}
		if sn.RevokedTokens == nil {
			sn.RevokedTokens = map[relay.TokenID]time.Time{}
		}
		sn.RevokedTokens[relay.TokenID{ID: idOf(id)}] = timeOf(until)
		return nil
	})
}

// References counts the queued messages that name each of the given things;
// zero members do not restrict. What is referred to is disabled, never deleted.
func (s *Store) References(ctx context.Context, f MessageFilter) (int64, error) {
	w := filterWhere(f)
	var n int64
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM messages m`+w.String(), w.args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count references: %w", s.readError(err))
	}
	return n, nil
}
