package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	keyColumns = `id, account_id, subuser_id, name, scopes,
		sha256, scram_salt, scram_iterations, scram_stored_key, scram_server_key, sealed_cram,
		prev_sha256, prev_scram_salt, prev_scram_iterations, prev_scram_stored_key, prev_scram_server_key, prev_sealed_cram, prev_until,
		mode, networks, senders, recipient_domains, per_minute, per_hour, per_day, per_month, hours, canary,
		expires_at, created_at, disabled_at, revoked_at`
	selectKeys = `SELECT ` + keyColumns + `, last_used_at, last_used_from, last_used_mechanism, last_used_helo, use_count FROM keys`
	insertKey  = `INSERT INTO keys (` + keyColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
		$18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32)`
	updateKey = `UPDATE keys SET id = $1, account_id = $2, subuser_id = $3, name = $4, scopes = $5,
		sha256 = $6, scram_salt = $7, scram_iterations = $8, scram_stored_key = $9, scram_server_key = $10, sealed_cram = $11,
		prev_sha256 = $12, prev_scram_salt = $13, prev_scram_iterations = $14, prev_scram_stored_key = $15, prev_scram_server_key = $16,
		prev_sealed_cram = $17, prev_until = $18, mode = $19, networks = $20, senders = $21, recipient_domains = $22, per_minute = $23,
		per_hour = $24, per_day = $25, per_month = $26, hours = $27, canary = $28, expires_at = $29, created_at = $30,
		disabled_at = $31, revoked_at = $32 WHERE id = $33`
)

// verifierRow is a verifier's columns.
type verifierRow struct {
	sum, salt, stored, server, cram []byte
	iterations                      int64
}

func (v *verifierRow) into() []any {
	return []any{&v.sum, &v.salt, &v.iterations, &v.stored, &v.server, &v.cram}
}

func (v *verifierRow) verifier() (relay.Verifier, error) {
	if len(v.sum) != 32 {
		return relay.Verifier{}, fmt.Errorf("%w: keys.sha256 has %d octets", ErrDamaged, len(v.sum))
	}
	return relay.Verifier{SHA256: [32]byte(v.sum), SCRAMSalt: some(v.salt), SCRAMIterations: int(v.iterations),
		SCRAMStoredKey: some(v.stored), SCRAMServerKey: some(v.server), SealedCRAM: some(v.cram)}, nil
}

// some is nil for an empty column.
func some(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

func verifierArgs(v *relay.Verifier) []any {
	if v == nil {
		return []any{noBlob, noBlob, int64(0), noBlob, noBlob, noBlob}
	}
	return []any{v.SHA256[:], filled(v.SCRAMSalt), int64(v.SCRAMIterations), filled(v.SCRAMStoredKey), filled(v.SCRAMServerKey), filled(v.SealedCRAM)}
}

// filled is never nil, which would be NULL.
func filled(b []byte) []byte {
	if b == nil {
		return noBlob
	}
	return b
}

func scanKey(r scanner) (relay.Key, error) {
	var k relay.Key
	var id, acct, sub []byte
	var cur, prev verifierRow
	var scopes, mode, networks, senders, domains string
	var prevUntil, canary, expires, created, disabled, revoked, used int64
	into := append([]any{&id, &acct, &sub, &k.Name, &scopes}, cur.into()...)
	into = append(append(into, prev.into()...), &prevUntil, &mode, &networks, &senders, &domains, &k.PerMinute, &k.PerHour, &k.PerDay,
		&k.PerMonth, &k.Hours, &canary, &expires, &created, &disabled, &revoked,
		&used, &k.LastUsedFrom, &k.LastUsedMechanism, &k.LastUsedHelo, &k.UseCount)
	if err := r.Scan(into...); err != nil {
		return k, err
	}
	k.ID.ID, k.Account.ID, k.Subuser.ID, k.Mode, k.Canary = idOf(id), idOf(acct), idOf(sub), relay.KeyMode(mode), canary != 0
	k.PreviousUntil, k.ExpiresAt, k.CreatedAt = timeOf(prevUntil), timeOf(expires), timeOf(created)
	k.DisabledAt, k.RevokedAt, k.LastUsedAt = timeOf(disabled), timeOf(revoked), timeOf(used)
	var err error
	if k.Verifier, err = cur.verifier(); err != nil {
		return k, err
	}
	if len(prev.sum) > 0 {
		p, err := prev.verifier()
		if err != nil {
			return k, err
		}
		k.Previous = &p
	}
	return k, unpackKeyLists(&k, scopes, networks, senders, domains)
}

func unpackKeyLists(k *relay.Key, scopes, networks, senders, domains string) error {
	if err := unpackJSON(scopes, &k.Scopes, "keys.scopes"); err != nil {
		return err
	}
	if err := unpackJSON(networks, &k.Networks, "keys.networks"); err != nil {
		return err
	}
	if err := unpackJSON(senders, &k.Senders, "keys.senders"); err != nil {
		return err
	}
	return unpackJSON(domains, &k.RecipientDomains, "keys.recipient_domains")
}

func keyArgs(k *relay.Key) ([]any, error) {
	scopes, err := packJSON(k.Scopes, len(k.Scopes) == 0)
	if err != nil {
		return nil, err
	}
	for _, n := range k.Networks {
		if !n.IsValid() {
			return nil, relay.E(relay.Invalid, "A network of the key is not valid.")
		}
	}
	networks, err := packJSON(k.Networks, len(k.Networks) == 0)
	if err != nil {
		return nil, err
	}
	senders, err := packJSON(k.Senders, len(k.Senders) == 0)
	if err != nil {
		return nil, err
	}
	domains, err := packJSON(k.RecipientDomains, len(k.RecipientDomains) == 0)
	if err != nil {
		return nil, err
	}
	args := append([]any{blob(k.ID.ID), blob(k.Account.ID), blob(k.Subuser.ID), text(k.Name), scopes}, verifierArgs(&k.Verifier)...)
	args = append(args, verifierArgs(k.Previous)...)
	return append(args, micros(k.PreviousUntil), string(k.Mode), networks, senders, domains, k.PerMinute, k.PerHour, k.PerDay, k.PerMonth,
		text(k.Hours), flag(k.Canary), micros(k.ExpiresAt), micros(k.CreatedAt), micros(k.DisabledAt), micros(k.RevokedAt)), nil
}

// CreateKey adds a key. relay.Conflict: the id is taken; relay.NotFound: there
// is no such account or subuser.
func (s *Store) CreateKey(ctx context.Context, by By, k relay.Key) error {
	args, err := keyArgs(&k)
	if err != nil {
		return err
	}
	return s.change(ctx, by, func(tx *sql.Tx) (note, error) {
		if err := subuserOf(ctx, tx, k.Account, k.Subuser); err != nil {
			return note{}, err
		}
		_, err := tx.ExecContext(ctx, insertKey, args...)
		return note{account: k.Account, action: "key.create", subject: keySubject(&k), after: k}, err
	})
}

// subuserOf checks that a subuser is the account's own.
func subuserOf(ctx context.Context, q querier, account relay.AccountID, sub relay.SubuserID) error {
	if sub.IsZero() {
		return nil
	}
	u, err := one(ctx, q, "subuser", scanSubuser, selectSubusers+` WHERE id = $1`, blob(sub.ID))
	if err == nil && u.Account != account {
		return notFound("subuser")
	}
	return err
}

func keySubject(k *relay.Key) string { return "key " + k.ID.String() + " " + k.Name }

// Key returns one key, or relay.NotFound.
func (s *Store) Key(ctx context.Context, id relay.KeyID) (relay.Key, error) {
	v, err := one(ctx, s.db, "key", scanKey, selectKeys+` WHERE id = $1`, blob(id.ID))
	return read(s, "key", v, err)
}

// Keys lists an account's keys, oldest first; the zero account: all.
func (s *Store) Keys(ctx context.Context, account relay.AccountID) ([]relay.Key, error) {
	w := ofAccount(account)
	v, err := list(ctx, s.db, scanKey, selectKeys+w.String()+` ORDER BY created_at, id`, w.args...)
	return read(s, "keys", v, err)
}

// UpdateKey replaces what may change: all but id, Account, CreatedAt and the
// verifiers, and neither revokes nor revives.
func (s *Store) UpdateKey(ctx context.Context, by By, k relay.Key) error {
	return s.changeKey(ctx, by, k.ID, "key.update", func(old relay.Key) (relay.Key, error) {
		k.Account, k.CreatedAt, k.RevokedAt = old.Account, old.CreatedAt, old.RevokedAt
		k.Verifier, k.Previous, k.PreviousUntil = old.Verifier, old.Previous, old.PreviousUntil
		return k, nil
	})
}

// SetKeyDisabled switches a key off at a time, or on with the zero time.
func (s *Store) SetKeyDisabled(ctx context.Context, by By, id relay.KeyID, at time.Time) error {
	return s.changeKey(ctx, by, id, switched("key", at), func(k relay.Key) (relay.Key, error) {
		k.DisabledAt = at
		return k, nil
	})
}

// RevokeKey ends a key for good. Its row stays, so that its logins and messages
// keep their name. relay.Conflict: it was revoked before.
func (s *Store) RevokeKey(ctx context.Context, by By, id relay.KeyID, at time.Time) error {
	return s.changeKey(ctx, by, id, "key.revoke", func(k relay.Key) (relay.Key, error) {
		if !k.RevokedAt.IsZero() {
			return k, relay.E(relay.Conflict, "The key was revoked before.")
		}
		k.RevokedAt, k.Previous, k.PreviousUntil = at, nil, time.Time{}
		return k, nil
	})
}

// RotateKey gives a key a new secret; the old one stays valid until a time, not
// at all with the zero time. relay.Conflict: the key is revoked.
func (s *Store) RotateKey(ctx context.Context, by By, id relay.KeyID, v relay.Verifier, previousUntil time.Time) error {
	return s.changeKey(ctx, by, id, "key.rotate", func(k relay.Key) (relay.Key, error) {
		if !k.RevokedAt.IsZero() {
			return k, relay.E(relay.Conflict, "The key is revoked.")
		}
		old := k.Verifier
		k.Previous, k.PreviousUntil, k.Verifier = &old, previousUntil, v
		if previousUntil.IsZero() {
			k.Previous = nil
		}
		return k, nil
	})
}

func (s *Store) changeKey(ctx context.Context, by By, id relay.KeyID, action string, edit func(relay.Key) (relay.Key, error)) error {
	return s.change(ctx, by, func(tx *sql.Tx) (note, error) {
		old, err := one(ctx, tx, "key", scanKey, selectKeys+` WHERE id = $1`+s.forUpdate(), blob(id.ID))
		if err != nil {
			return note{}, err
		}
		k, err := edit(old)
		if err != nil {
			return note{}, err
		}
		if err := subuserOf(ctx, tx, k.Account, k.Subuser); err != nil {
			return note{}, err
		}
		args, err := keyArgs(&k)
		if err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, updateKey, append(args, blob(id.ID))...)
		return note{account: old.Account, action: action, subject: keySubject(&k), before: old, after: k}, err
	})
}
