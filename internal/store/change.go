package store

import (
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
	upsertHead   = `INSERT INTO change_heads (account_id, seq, hash, at, signature) VALUES ($1, 0, $2, 0, $3) ON CONFLICT (account_id) DO NOTHING`
	nextHead     = `UPDATE change_heads SET seq = seq + 1 WHERE account_id = $1 RETURNING seq, hash, at, signature`
	setHead      = `UPDATE change_heads SET seq = $1, hash = $2, at = $3, signature = $4 WHERE account_id = $5`
	lastChange   = `SELECT seq, hash FROM changes WHERE account_id = $1 ORDER BY seq DESC LIMIT 1`
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

// record appends a change to its account's chain, within the change's own
// transaction, and signs the new head and the number of all changes. Both rows
// are locked until the commit, so the chain does not fork and records become
// visible in the order of their ids.
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
	if err := s.countChange(ctx, tx); err != nil {
		return fmt.Errorf("record change: %w", err)
	}
	if err := s.chain(ctx, tx, &c); err != nil {
		return fmt.Errorf("record change: %w", err)
	}
	return nil
}

// chain gives a change its place after the head, stores it, and moves the head on.
func (s *Store) chain(ctx context.Context, tx *sql.Tx, c *StoredChange) error {
	acct := blob(c.Account.ID)
	if _, err := tx.ExecContext(ctx, upsertHead, acct, noBlob, noBlob); err != nil {
		return err
	}
	was := ChangeHead{Account: c.Account}
	var at int64
	if err := tx.QueryRowContext(ctx, nextHead, acct).Scan(&c.Seq, &was.Hash, &at, &was.Signature); err != nil {
		return err
	}
	was.Seq, was.At, c.PrevHash = c.Seq-1, timeOf(at), was.Hash
	sound := was.Seq == 0 && len(was.Hash) == 0 || was.Signed(s.AuditKey())
	var last int64
	var hash []byte
	if err := tx.QueryRowContext(ctx, lastChange, acct).Scan(&last, &hash); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if last >= c.Seq { // the head was taken away or put back: what is done now is recorded all the same
		c.Seq, c.PrevHash, sound = last+1, hash, false
	}
	c.Hash = c.Sum()
	if _, err := tx.ExecContext(ctx, insertChange, acct, c.Seq, micros(c.At), c.By, c.From, c.Action, c.Subject,
		string(c.Before), string(c.After), octets(string(c.PrevHash)), c.Hash); err != nil {
		return err
	}
	head := ChangeHead{Account: c.Account, Seq: c.Seq, Hash: c.Hash, At: c.At}
	if sound {
		head.Signature = s.audit.sign(head.message())
	} else {
		// Signing what follows would make whole what somebody has changed.
		s.log.Error("the change record was altered outside this program", "account", c.Account.String(), "seq", c.Seq)
		head.Signature = tainted(head.message())
	}
	_, err := tx.ExecContext(ctx, setHead, c.Seq, c.Hash, micros(c.At), head.Signature, acct)
	return err
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
	sum := sha256.Sum256(joinParts(c.PrevHash, c.Account.ID[:], []byte(strconv.FormatInt(c.Seq, 10)),
		[]byte(strconv.FormatInt(micros(c.At), 10)), []byte(c.By), []byte(c.From), []byte(c.Action), []byte(c.Subject), c.Before, c.After))
	return sum[:]
}

// joinParts puts parts one after the other, each preceded by its length, so that
// no two lists of parts give the same octets.
func joinParts(parts ...[]byte) []byte {
	var b []byte
	for _, part := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
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

// change runs an administrative change, its record and the new revision in one
// transaction. fn stores rev with each row that it changes, and returns what to
// record. The revision rises first: its row is locked until the commit, so
// changes commit in the order of their revisions and nobody who follows them
// misses a row.
func (s *Store) change(ctx context.Context, by By, fn func(ctx context.Context, tx *sql.Tx, rev int64) (note, error)) error {
	began := time.Now()
	var rev int64
	err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		if rev, err = s.bump(ctx, tx); err != nil {
			return err
		}
		if err := goesOn(ctx, tx, by); err != nil {
			return err
		}
		n, err := fn(ctx, tx, rev)
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
	case errors.Is(err, ErrFull):
		return &relay.Error{Kind: relay.Unavailable, Public: "There is no space left to store this; nothing was changed. It works again when whoever runs this relay has made room.", Err: err}
	}
	return err
}

// recordAction notes an action on the queue, which raises no revision.
func (s *Store) recordAction(ctx context.Context, by By, f MessageFilter, a action) error {
	what := map[string]any{"filter": f}
	if a.reason != "" {
		what["reason"] = a.reason
	}
	return s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return s.record(ctx, tx, by, note{account: f.Account, action: a.name, subject: "queue", after: what})
	})
}

// RecordChange records a change of what is not a row of this store, such as a
// ban: in the chain of c.Account, or of the installation if that is zero. Of c,
// Action is required; At, By and From are not looked at: the time is the store's,
// and who it was is by. It raises no revision. relay.NotFound: there is no such
// account.
func (s *Store) RecordChange(ctx context.Context, by By, c relay.Change) error {
	n := note{account: c.Account, action: c.Action, subject: c.Subject}
	if c.Action == "" {
		return relay.E(relay.Invalid, "A change has a name.")
	}
	if len(c.Before) > 0 { // no image at all, instead of null
		n.before = c.Before
	}
	if len(c.After) > 0 {
		n.after = c.After
	}
	return s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if !c.Account.IsZero() {
			if _, err := one(ctx, tx, "account", scanAccount, selectAccounts+` WHERE id = $1`, blob(c.Account.ID)); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, by, n)
	})
}
