package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	selectCheckpoints = `SELECT account_id, seq, hash, at, count, signature FROM change_checkpoints WHERE account_id = $1 ORDER BY seq`
	insertCheckpoint  = `INSERT INTO change_checkpoints (account_id, seq, hash, at, count, signature) VALUES ($1, $2, $3, $4, $5, $6)`
	// The first change that stays, and the last of all.
	selectPrune  = `SELECT COALESCE(min(CASE WHEN at >= $1 THEN seq END), 0), COALESCE(max(seq), 0) FROM changes WHERE account_id = $2`
	deleteBefore = `DELETE FROM changes WHERE account_id = $1 AND seq <= $2`
)

// Checkpoint stands for changes that were pruned: the chain goes on from it.
type Checkpoint struct {
	Account   relay.AccountID `json:"account_id"`
	Seq       int64           `json:"seq"`   // of the last change that was pruned
	Hash      []byte          `json:"hash"`  // of that change
	At        time.Time       `json:"at"`    // when it was pruned
	Count     int64           `json:"count"` // how many were pruned with it
	Signature []byte          `json:"signature"`
}

func (c *Checkpoint) message() []byte {
	return joinParts([]byte("postern change checkpoint"), c.Account.ID[:], number(c.Seq), c.Hash, number(micros(c.At)), number(c.Count))
}

// Signed reports whether a checkpoint bears the signature of an audit key.
func (c *Checkpoint) Signed(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, c.message(), c.Signature)
}

func scanCheckpoint(r scanner) (Checkpoint, error) {
	var c Checkpoint
	var acct []byte
	var at int64
	err := r.Scan(&acct, &c.Seq, &c.Hash, &at, &c.Count, &c.Signature)
	c.Account.ID, c.At = idOf(acct), timeOf(at)
	return c, err
}

// Proof is what VerifyChanges has found sound.
type Proof struct {
	Account     relay.AccountID `json:"account_id"`
	Records     int64           `json:"records"` // how many stand in the record
	From        int64           `json:"from"`    // number of the first one
	To          int64           `json:"to"`      // number of the last one
	Head        []byte          `json:"head"`    // hash of the last one
	Checkpoints []Checkpoint    `json:"checkpoints,omitempty"`
}

// prover walks along a chain.
type prover struct {
	Proof
	lastID int64
	lastAt time.Time
}

// VerifyChanges checks an account's chain of changes (the zero account's is that
// of the installation): each record against its hash, the order, the signed
// checkpoints that stand for what was pruned, the signed head, and that all
// chains together have as many changes as were ever recorded. It proves that
// nothing was altered, removed or put in since, by anybody who has not the
// sealing key. A database that was put back as a whole to an older copy is found
// by comparing with a head that was kept outside (ChangeHeads).
//
// The error (ErrDamaged) names the first thing that does not fit; the proof then
// says how far it was sound.
func (s *Store) VerifyChanges(ctx context.Context, account relay.AccountID) (Proof, error) {
	p := prover{Proof: Proof{Account: account}}
	err := s.reading(ctx, func(tx *sql.Tx) error {
		if err := s.proveRecords(ctx, tx, &p, endOfTime); err != nil {
			return err
		}
		if err := s.proveHead(ctx, tx, &p); err != nil {
			return err
		}
		return s.proveTotal(ctx, tx)
	})
	if err != nil {
		return p.Proof, fmt.Errorf("verify changes: %w", s.readError(err))
	}
	return p.Proof, nil
}

// proveRecords walks over the checkpoints and then the records up to a number.
func (s *Store) proveRecords(ctx context.Context, q querier, p *prover, upTo int64) error {
	all, err := list(ctx, q, scanCheckpoint, selectCheckpoints, blob(p.Account.ID))
	if err != nil {
		return err
	}
	for i := range all {
		c := &all[i]
		if !c.Signed(s.AuditKey()) || c.Seq-c.Count != p.To {
			return fmt.Errorf("%w: the checkpoint at change %d of account %s does not follow from the one before", ErrDamaged, c.Seq, p.Account)
		}
		p.To, p.Head = c.Seq, c.Hash
		p.Checkpoints = append(p.Checkpoints, *c)
	}
	p.From = p.To + 1
	return eachRow(ctx, q, selectChanges+` WHERE account_id = $1 AND seq <= $2 ORDER BY seq`, []any{blob(p.Account.ID), upTo}, func(r *sql.Rows) error {
		c, err := scanChange(r)
		if err != nil {
			return err
		}
		if c.Seq != p.To+1 || c.ID <= p.lastID || !bytes.Equal(c.PrevHash, p.Head) || !bytes.Equal(c.Hash, c.Sum()) {
			return fmt.Errorf("%w: change %d of account %s does not follow from the one before", ErrDamaged, c.Seq, p.Account)
		}
		p.Records, p.To, p.Head, p.lastID, p.lastAt = p.Records+1, c.Seq, c.Hash, c.ID, c.At
		return nil
	})
}

// proveHead compares the end of the records with the signed head.
func (s *Store) proveHead(ctx context.Context, tx *sql.Tx, p *prover) error {
	h, err := scanHead(tx.QueryRowContext(ctx, selectHeads+` WHERE account_id = $1`, blob(p.Account.ID)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM accounts WHERE id = $1`, blob(p.Account.ID)).Scan(&n); err != nil {
			return err
		}
		if n == 0 && p.To == 0 && !p.Account.IsZero() {
			return nil // there is no such account, and never was
		}
		return fmt.Errorf("%w: account %s has no head", ErrDamaged, p.Account)
	case err != nil:
		return err
	case !h.Signed(s.AuditKey()):
		return fmt.Errorf("%w: the head of account %s is not signed by this installation", ErrDamaged, p.Account)
	case h.Seq != p.To || !bytes.Equal(h.Hash, p.Head) || p.Records > 0 && !h.At.Equal(p.lastAt):
		return fmt.Errorf("%w: account %s has changes up to %d, its head says %d", ErrDamaged, p.Account, p.To, h.Seq)
	}
	return nil
}

// proveTotal compares all heads with the signed number of all changes.
func (s *Store) proveTotal(ctx context.Context, tx *sql.Tx) error {
	n, signed, err := s.readTotal(ctx, tx, "")
	if err != nil {
		return err
	}
	var sum int64
	if err := tx.QueryRowContext(ctx, sumOfHeads).Scan(&sum); err != nil {
		return err
	}
	if !signed || sum != n {
		return fmt.Errorf("%w: the chains of all accounts have %d changes, %d were recorded (signed: %t)", ErrDamaged, sum, n, signed)
	}
	return nil
}

// pruned is how the record names what went.
type pruned struct {
	Checkpoint
	Unexported []string `json:"unexported,omitempty"` // targets of exports that never get it
}

// PruneChanges removes an account's changes from before a time, as far as they
// are an unbroken run from the first one, and leaves a signed checkpoint in
// their place. It verifies them first, and refuses with ErrDamaged what does not
// fit. That it was done, by whom and past which exports, is the chain's next change. relay.NotFound:
// there are none. relay.Conflict: a target of exports has not taken all of them, and
// is not given up. relay.Invalid: there is no such target to give up.
func (s *Store) PruneChanges(ctx context.Context, by By, what Prune) (Checkpoint, error) {
	account := what.Account
	var c Checkpoint
	err := s.eng.transact(patiently(ctx), func(ctx context.Context, tx *sql.Tx) error {
		// Locked as every change does it, so that nobody prunes at the same time.
		if _, _, err := s.readTotal(ctx, tx, s.forUpdate()); err != nil {
			return err
		}
		exports, err := s.changeExports(ctx, tx, what.Unexported)
		if err != nil {
			return err
		}
		whole := prover{Proof: Proof{Account: account}}
		if err := errors.Join(s.proveRecords(ctx, tx, &whole, endOfTime), s.proveHead(ctx, tx, &whole)); err != nil {
			return err
		}
		var stays, last int64
		if err := tx.QueryRowContext(ctx, selectPrune, micros(what.Before), blob(account.ID)).Scan(&stays, &last); err != nil {
			return err
		}
		if stays > 0 {
			last = stays - 1
		}
		p := prover{Proof: Proof{Account: account}}
		if err := s.proveRecords(ctx, tx, &p, last); err != nil {
			return err
		}
		if p.Records == 0 {
			return relay.E(relay.NotFound, "There are no changes before that time.")
		}
		missed, err := s.checkExported(ctx, tx, exports, what.Unexported, p.lastID)
		if err != nil {
			return err
		}
		c = Checkpoint{Account: account, Seq: p.To, Hash: p.Head, At: timeOf(s.now()), Count: p.Records}
		c.Signature = s.audit.sign(c.message())
		if err := replaceByCheckpoint(ctx, tx, &c); err != nil {
			return err
		}
		return s.record(ctx, tx, by, note{account: account, action: "changes.prune", subject: "changes", after: pruned{c, missed}})
	})
	if err != nil {
		return Checkpoint{}, fmt.Errorf("prune changes: %w", err)
	}
	return c, nil
}

func replaceByCheckpoint(ctx context.Context, tx *sql.Tx, c *Checkpoint) error {
	if _, err := tx.ExecContext(ctx, insertCheckpoint, blob(c.Account.ID), c.Seq, c.Hash, micros(c.At), c.Count, c.Signature); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, deleteBefore, blob(c.Account.ID), c.Seq)
	return err
}
