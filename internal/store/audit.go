package store

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	// auditSetting holds the sealed seed of the audit key, in hex.
	auditSetting = "audit_key"
	insertAudit  = `INSERT INTO settings (name, value) VALUES ('` + auditSetting + `', $1) ON CONFLICT (name) DO NOTHING`
	selectAudit  = `SELECT value FROM settings WHERE name = '` + auditSetting + `'`
	// The number of all changes, and its signature, stand in one settings row.
	insertTotal = `INSERT INTO settings (name, value) VALUES ('changes_total', $1)`
	selectTotal = `SELECT value FROM settings WHERE name = 'changes_total'`
	updateTotal = `UPDATE settings SET value = $1 WHERE name = 'changes_total'`
	selectHeads = `SELECT account_id, seq, hash, at, signature FROM change_heads`
	sumOfHeads  = `SELECT CAST(COALESCE(sum(seq), 0) AS BIGINT) FROM change_heads`
	// The heads of before there was a key: signed once, when it is made.
	selectUnsigned = `SELECT h.account_id, h.seq, h.hash, c.at, h.signature FROM change_heads h
		JOIN changes c ON c.account_id = h.account_id AND c.seq = h.seq WHERE h.signature = $1`
)

// auditKey signs the change record: one Ed25519 key for the installation, made
// once. Whoever can write the database, and has not the sealing key, can
// neither sign a head of their own making nor put another key in its place.
type auditKey struct{ private ed25519.PrivateKey }

func (k auditKey) sign(message []byte) []byte { return ed25519.Sign(k.private, message) }

// AuditKey is the public key that verifies heads and checkpoints of the change
// record. Keep it, and a head now and then, outside of this machine.
func (s *Store) AuditKey() ed25519.PublicKey {
	pub, _ := s.audit.private.Public().(ed25519.PublicKey)
	return pub
}

// ChangeHead is the end of an account's chain of changes, signed. The zero
// account's chain is that of the installation.
type ChangeHead struct {
	Account   relay.AccountID `json:"account_id"`
	Seq       int64           `json:"seq"`
	Hash      []byte          `json:"hash"` // of the last change
	At        time.Time       `json:"at"`   // of the last change
	Signature []byte          `json:"signature"`
}

func (h *ChangeHead) message() []byte {
	return joinParts([]byte("postern change head"), h.Account.ID[:], number(h.Seq), h.Hash, number(micros(h.At)))
}

// Signed reports whether a head bears the signature of an audit key.
func (h *ChangeHead) Signed(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, h.message(), h.Signature)
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// tainted stands for the signature of what follows a head that was not signed:
// it never verifies, so that the damage stays visible.
func tainted(message []byte) []byte {
	sum := sha256.Sum256(message)
	return sum[:]
}

// ChangeHeads returns the head of each account's chain, by account, as of one
// moment. Kept outside, they prove later that nothing up to them was taken away.
func (s *Store) ChangeHeads(ctx context.Context) ([]ChangeHead, error) {
	heads, err := list(ctx, s.db, scanHead, selectHeads+` ORDER BY account_id`)
	return read(s, "change heads", heads, err)
}

func scanHead(r scanner) (ChangeHead, error) {
	var h ChangeHead
	var acct []byte
	var at int64
	err := r.Scan(&acct, &h.Seq, &h.Hash, &at, &h.Signature)
	h.Account.ID, h.At = idOf(acct), timeOf(at)
	return h, err
}

// totalText is the number of all changes of the installation with its signature.
// Without it, an account's chain could be taken away whole, or be put back to an
// older head that somebody has kept.
func totalText(n int64, signature []byte) string {
	return strconv.FormatInt(n, 10) + ":" + hexEncode(signature)
}

func totalMessage(n int64) []byte {
	return joinParts([]byte("postern changes in all"), number(n))
}

// readTotal returns the number of all changes, and whether it is signed.
func (s *Store) readTotal(ctx context.Context, q querier, lock string) (int64, bool, error) {
	var value string
	if err := q.QueryRowContext(ctx, selectTotal+lock).Scan(&value); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, false, err
	}
	num, sig, _ := strings.Cut(value, ":")
	n, numErr := strconv.ParseInt(num, 10, 64)
	signature, sigErr := hexDecode(sig)
	return n, errors.Join(numErr, sigErr) == nil && ed25519.Verify(s.AuditKey(), totalMessage(n), signature), nil
}

// countChange adds one to the number of all changes.
func (s *Store) countChange(ctx context.Context, tx *sql.Tx) error {
	n, signed, err := s.readTotal(ctx, tx, s.forUpdate())
	if err != nil {
		return err
	}
	n++
	signature := s.audit.sign(totalMessage(n))
	if !signed { // see chain
		s.log.Error("the number of changes was altered outside this program")
		signature = tainted(totalMessage(n))
	}
	_, err = tx.ExecContext(ctx, updateTotal, totalText(n, signature))
	return err
}

// errHaveAudit: another node was first to make the key.
var errHaveAudit = errors.New("there is an audit key")

// openAudit reads the audit key, and makes it at the first start.
func (s *Store) openAudit(ctx context.Context) error {
	err := s.readAudit(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		if err = s.makeAudit(ctx); err == nil || errors.Is(err, errHaveAudit) {
			err = s.readAudit(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("audit key: %w", err)
	}
	return nil
}

func (s *Store) readAudit(ctx context.Context) error {
	var value string
	if err := s.db.QueryRowContext(ctx, selectAudit).Scan(&value); err != nil {
		return err
	}
	sealed, err := hexDecode(value)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	seed, err := s.seal.Open(sealed, []byte(auditSetting))
	if err != nil || len(seed) != ed25519.SeedSize {
		return fmt.Errorf("%w: it cannot be unsealed", ErrDamaged)
	}
	s.audit = auditKey{private: ed25519.NewKeyFromSeed(seed)}
	return nil
}

// makeAudit makes the key, signs what was recorded before there was one, and
// records that it did: a key that was put in the place of another one leaves a
// second such record, and its public half is not the one that is known outside.
func (s *Store) makeAudit(ctx context.Context) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	sealed, err := s.seal.Seal(private.Seed(), []byte(auditSetting))
	if err != nil {
		return err
	}
	s.audit = auditKey{private: private}
	return s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := s.bump(ctx, tx); err != nil { // first, as in every change
			return err
		}
		res, err := tx.ExecContext(ctx, insertAudit, hexEncode(sealed))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errHaveAudit)
		}
		if err := s.signBefore(ctx, tx); err != nil {
			return err
		}
		return s.record(ctx, tx, By{Who: "postern", From: "start"}, note{action: "audit.key", subject: "audit key",
			after: map[string]string{"public_key": hexEncode(s.AuditKey())}})
	})
}

// signBefore signs the heads that no key has signed, and their number.
func (s *Store) signBefore(ctx context.Context, tx *sql.Tx) error {
	heads, err := list(ctx, tx, scanHead, selectUnsigned, noBlob)
	if err != nil {
		return err
	}
	for i := range heads {
		h := &heads[i]
		if _, err := tx.ExecContext(ctx, setHead, h.Seq, h.Hash, micros(h.At), s.audit.sign(h.message()), blob(h.Account.ID)); err != nil {
			return err
		}
	}
	var n int64
	if err := tx.QueryRowContext(ctx, sumOfHeads).Scan(&n); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM settings WHERE name = 'changes_total'`); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, insertTotal, totalText(n, s.audit.sign(totalMessage(n))))
	return err
}
