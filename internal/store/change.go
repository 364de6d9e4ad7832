package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"postern/internal/relay"
)

const (
	upsertHead   = `INSERT INTO change_heads (account_id, seq, hash) VALUES ($1, 0, $2) ON CONFLICT (account_id) DO NOTHING`
	nextHead     = `UPDATE change_heads SET seq = seq + 1 WHERE account_id = $1 RETURNING seq, hash`
	setHead      = `UPDATE change_heads SET hash = $1 WHERE account_id = $2`
	insertChange = `INSERT INTO changes (account_id, seq, at, who, from_addr, action, subject, before, after, prev_hash, hash)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	selectChanges = `SELECT id, account_id, seq, at, who, from_addr, action, subject, before, after, prev_hash, hash FROM changes`
)

// note is a change to be recorded.
type note struct {
	account relay.AccountID
	action  string // "key.create"
	subject string // "key <id> (name)"
	before  any
	after   any
}

// StoredChange is a change record with its place in its account's hash chain.
type StoredChange struct {
	ID       int64  `json:"id"`  // cursor
	Seq      int64  `json:"seq"` // within the account, from 1, without gaps
	PrevHash []byte `json:"prev_hash"`
	Hash     []byte `json:"hash"`
	relay.Change
}

// ChangeFilter selects change records, oldest first. Zero members do not restrict.
type ChangeFilter struct {
	Account relay.AccountID
	Action  string
	Since   time.Time
	Until   time.Time
	After   int64 // cursor: the id of the last record seen
	Newest  bool
	Limit   int // at most 10,000; 0: 100
}

// record appends a change to its account's chain, within the change's own
// transaction. The head row is locked until the commit, so the chain does not
// fork.
func (s *Store) record(ctx context.Context, tx *sql.Tx, by By, n note) error {
	c := StoredChange{Change: relay.Change{At: s.cfg.Now().UTC().Truncate(time.Microsecond), Account: n.account, By: text(by.Who), From: text(by.From),
		Action: n.action, Subject: text(n.subject)}}
	var err error
	if c.Before, err = packImage(n.before); err != nil {
		return err
	}
	if c.After, err = packImage(n.after); err != nil {
		return err
	}
	acct := blob(n.account.ID)
	if _, err := tx.ExecContext(ctx, upsertHead, acct, noBlob); err != nil {
		return fmt.Errorf("record change: %w", err)
	}
	if err := tx.QueryRowContext(ctx, nextHead, acct).Scan(&c.Seq, &c.PrevHash); err != nil {
		return fmt.Errorf("record change: %w", err)
	}
	c.Hash = c.Sum()
	if _, err := tx.ExecContext(ctx, insertChange, acct, c.Seq, micros(c.At), c.By, c.From, c.Action, c.Subject,
		string(c.Before), string(c.After), octets(string(c.PrevHash)), c.Hash); err != nil {
		return fmt.Errorf("record change: %w", err)
	}
	if _, err := tx.ExecContext(ctx, setHead, c.Hash, acct); err != nil {
		return fmt.Errorf("record change: %w", err)
	}
	return nil
}

func packImage(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("record change: %w", err)
	}
	return json.RawMessage(text(string(b))), nil
}

// Sum is the hash of a record over its content and the hash before it: what
// Hash must be. Each part is preceded by its length.
func (c *StoredChange) Sum() []byte {
	var b bytes.Buffer
	for _, part := range [][]byte{c.PrevHash, c.Account.ID[:], []byte(strconv.FormatInt(c.Seq, 10)),
		[]byte(strconv.FormatInt(micros(c.At), 10)), []byte(c.By), []byte(c.From), []byte(c.Action), []byte(c.Subject), c.Before, c.After} {
		b.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		b.Write(part)
	}
	sum := sha256.Sum256(b.Bytes())
	return sum[:]
}

// Changes returns the records that match, oldest first.
func (s *Store) Changes(ctx context.Context, f ChangeFilter) ([]StoredChange, error) {
	w := &where{}
	if !f.Account.IsZero() {
		w.and("account_id = ?", blob(f.Account.ID))
	}
	if f.Action != "" {
		w.and("action = ?", f.Action)
	}
	if !f.Since.IsZero() {
		w.and("at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		w.and("at <= ?", micros(f.Until))
	}
	if f.After != 0 {
		w.and("id > ?", f.After)
	}
	query := selectChanges + w.String() + " ORDER BY id"
	if f.Newest {
		query += " DESC"
	}
	var all []StoredChange
	err := eachRow(ctx, s.db, query+" LIMIT "+strconv.Itoa(page(f.Limit, maxEventsPage)), w.args, func(r *sql.Rows) error {
		c, err := scanChange(r)
		all = append(all, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", s.readError(err))
	}
	if f.Newest {
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
	}
	return all, nil
}

func scanChange(r *sql.Rows) (StoredChange, error) {
	var c StoredChange
	var acct []byte
	var at int64
	var before, after string
	err := r.Scan(&c.ID, &acct, &c.Seq, &at, &c.By, &c.From, &c.Action, &c.Subject, &before, &after, &c.PrevHash, &c.Hash)
	c.Account.ID, c.At = idOf(acct), timeOf(at)
	if before != "" {
		c.Before = json.RawMessage(before)
	}
	if after != "" {
		c.After = json.RawMessage(after)
	}
	return c, err
}

// VerifyChanges checks an account's chain (the zero account's is that of the
// installation) from its first record. It returns the number of sound records,
// and an error that names the first one that does not fit.
func (s *Store) VerifyChanges(ctx context.Context, account relay.AccountID) (int64, error) {
	var n int64
	prev := []byte(nil)
	err := eachRow(ctx, s.db, selectChanges+` WHERE account_id = $1 ORDER BY seq`, []any{blob(account.ID)}, func(r *sql.Rows) error {
		c, err := scanChange(r)
		if err != nil {
			return err
		}
		if c.Seq != n+1 || !bytes.Equal(c.PrevHash, prev) || !bytes.Equal(c.Hash, c.Sum()) {
			return fmt.Errorf("%w: change %d of account %s does not follow from the one before", ErrDamaged, c.Seq, account)
		}
		n, prev = n+1, c.Hash
		return nil
	})
	if err != nil {
		return n, fmt.Errorf("verify changes: %w", s.readError(err))
	}
	var seq int64
	var head []byte
	err = s.db.QueryRowContext(ctx, `SELECT seq, hash FROM change_heads WHERE account_id = $1`, blob(account.ID)).Scan(&seq, &head)
	if errors.Is(err, sql.ErrNoRows) && n == 0 {
		return 0, nil
	}
	if err != nil {
		return n, fmt.Errorf("verify changes: %w", s.readError(err))
	}
	if seq != n || !bytes.Equal(head, prev) {
		return n, fmt.Errorf("verify changes: %w: account %s has %d records, its head says %d", ErrDamaged, account, n, seq)
	}
	return n, nil
}

// change runs an administrative change, its record and the new revision in one
// transaction. fn stores rev with each row that it changes, and returns what to
// record. The revision rises first: its row is locked until the commit, so
// changes commit in the order of their revisions and nobody who follows them
// misses a row.
func (s *Store) change(ctx context.Context, by By, fn func(tx *sql.Tx, rev int64) (note, error)) error {
	began := time.Now()
	var rev int64
	err := s.eng.transact(ctx, func(tx *sql.Tx) (err error) {
		if rev, err = s.bump(ctx, tx); err != nil {
			return err
		}
		n, err := fn(tx, rev)
		if err != nil {
			return err
		}
		return s.record(ctx, tx, by, n)
	})
	if err != nil {
		return changeError(err)
	}
	s.rev.seen(rev, began)
	return nil
}

// changeError classes what an administrative change may meet.
func changeError(err error) error {
	switch {
	case isUnique(err):
		return &relay.Error{Kind: relay.Conflict, Public: "That name is taken.", Err: err}
	case isForeign(err):
		return &relay.Error{Kind: relay.NotFound, Public: "Something that it refers to does not exist.", Err: err}
	}
	return err
}

// recordAction notes an action on the queue, which raises no revision.
func (s *Store) recordAction(ctx context.Context, by By, f MessageFilter, a action) error {
	what := map[string]any{"filter": f}
	if a.reason != "" {
		what["reason"] = a.reason
	}
	return s.eng.transact(ctx, func(tx *sql.Tx) error {
		return s.record(ctx, tx, by, note{account: f.Account, action: a.name, subject: "queue", after: what})
	})
}
