package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Snapshot reads everything that authentication and submission must know, as
// of one moment. It also counts as a check of the revision.
func (s *Store) Snapshot(ctx context.Context) (*Snapshot, error) {
	began := time.Now()
	opts := &sql.TxOptions{ReadOnly: true}
	if s.eng.dialect() == dPostgres {
		opts.Isolation = sql.LevelRepeatableRead
	}
	tx, err := s.db.BeginTx(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", s.readError(err))
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	snap := &Snapshot{}
	if err := snap.read(ctx, tx); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", s.readError(err))
	}
	s.rev.seen(snap.Revision, began)
	return snap, nil
}

func (sn *Snapshot) read(ctx context.Context, tx *sql.Tx) (err error) {
	if sn.Revision, err = readRevision(ctx, tx); err != nil {
		return err
	}
	if sn.Accounts, err = list(ctx, tx, scanAccount, selectAccounts+` ORDER BY id`); err != nil {
		return err
	}
	if sn.Subusers, err = list(ctx, tx, scanSubuser, selectSubusers+` ORDER BY id`); err != nil {
		return err
	}
	if sn.Keys, err = list(ctx, tx, scanKey, selectKeys+` ORDER BY id`); err != nil {
		return err
	}
	if sn.Pools, err = list(ctx, tx, scanPool, selectPools+` ORDER BY id`); err != nil {
		return err
	}
	if err = addAddresses(ctx, tx, sn.Pools, ""); err != nil {
		return err
	}
	if sn.Domains, err = list(ctx, tx, scanDomain, selectDomains+` ORDER BY id`); err != nil {
		return err
	}
	if err = addSharers(ctx, tx, sn.Domains, ""); err != nil {
		return err
	}
	sn.DKIMKeys, err = list(ctx, tx, scanDKIMKey, selectDKIMKeys+` ORDER BY domain_id, selector`)
	return err
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
