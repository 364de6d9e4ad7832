package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
)

const (
	keyColumns = `id, account_id, subuser_id, kind, name, login, matching, scopes,
		sha256, scram_salt, scram_iterations, scram_stored_key, scram_server_key, sealed_cram,
		prev_sha256, prev_scram_salt, prev_scram_iterations, prev_scram_stored_key, prev_scram_server_key, prev_sealed_cram, prev_until,
		mode, networks, hosts, senders, recipient_domains, per_minute, per_hour, per_day, per_month, hours, canary,
		expires_at, created_at, created_by, disabled_at, revoked_at, rotated_at, reminded_at, disabled_rank`
	selectKeys = `SELECT ` + keyColumns + `, last_used_at, last_used_from, last_used_mechanism, last_used_helo, use_count,
		prev_used_at, prev_used_from, prev_used_helo, prev_use_count FROM keys`
	insertKey = `INSERT INTO keys (` + keyColumns + `, rev) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
		$18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41)`
	updateKey = `UPDATE keys SET id = $1, account_id = $2, subuser_id = $3, kind = $4, name = $5, login = $6, matching = $7, scopes = $8,
		sha256 = $9, scram_salt = $10, scram_iterations = $11, scram_stored_key = $12, scram_server_key = $13, sealed_cram = $14,
		prev_sha256 = $15, prev_scram_salt = $16, prev_scram_iterations = $17, prev_scram_stored_key = $18, prev_scram_server_key = $19,
		prev_sealed_cram = $20, prev_until = $21, mode = $22, networks = $23, hosts = $24, senders = $25, recipient_domains = $26,
		per_minute = $27, per_hour = $28, per_day = $29, per_month = $30, hours = $31, canary = $32, expires_at = $33, created_at = $34,
		created_by = $35, disabled_at = $36, revoked_at = $37, rotated_at = $38, reminded_at = $39, disabled_rank = $40, rev = $41 WHERE id = $42`
	countKeys      = `SELECT count(*) FROM keys WHERE account_id = $1 AND subuser_id = $2 AND revoked_at = 0`
	forgetPrevious = `UPDATE keys SET prev_used_at = 0, prev_used_from = '', prev_used_helo = '', prev_use_count = 0 WHERE id = $1`
	setReminded    = `UPDATE keys SET reminded_at = $1 WHERE id = $2`
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

// keyReader reads rows of keys, one after the other.
type keyReader struct {
	into                                                                                      []any
	id, acct, sub                                                                             []byte
	cur, prev                                                                                 verifierRow
	kind, mode, match, scopes, networks, hosts, senders, domains                              string
	prevUntil, canary, expires, created, disabled, revoked, rotated, reminded, used, prevUsed int64
	k                                                                                         relay.Key
	lists                                                                                     map[string][]string
}

// maxSharedLists bounds how many lists one reading remembers.
const maxSharedLists = 4096

func scanKey(r scanner) (relay.Key, error) { return (&keyReader{}).scan(r) }

func (kr *keyReader) columns() []any {
	if kr.into == nil {
		k := &kr.k
		kr.into = append([]any{&kr.id, &kr.acct, &kr.sub, &kr.kind, &k.Name, &k.Login, &kr.match, &kr.scopes}, kr.cur.into()...)
		kr.into = append(append(kr.into, kr.prev.into()...), &kr.prevUntil, &kr.mode, &kr.networks, &kr.hosts, &kr.senders, &kr.domains,
			&k.PerMinute, &k.PerHour, &k.PerDay, &k.PerMonth, &k.Hours, &kr.canary, &kr.expires, &kr.created, &k.CreatedBy,
			&kr.disabled, &kr.revoked, &kr.rotated, &kr.reminded, &k.DisabledRank, &kr.used, &k.LastUsedFrom, &k.LastUsedMechanism, &k.LastUsedHelo, &k.UseCount,
			&kr.prevUsed, &k.PreviousUsedFrom, &k.PreviousUsedHelo, &k.PreviousUseCount)
	}
	return kr.into
}

func (kr *keyReader) scan(r scanner) (relay.Key, error) {
	kr.k = relay.Key{}
	if err := r.Scan(kr.columns()...); err != nil {
		return kr.k, err
	}
	k := kr.k
	k.ID.ID, k.Account.ID, k.Subuser.ID, k.Canary = idOf(kr.id), idOf(kr.acct), idOf(kr.sub), kr.canary != 0
	k.Kind, k.Mode = relay.KeyKind(kr.kind), relay.KeyMode(kr.mode)
	k.PreviousUntil, k.ExpiresAt, k.CreatedAt, k.RotatedAt = timeOf(kr.prevUntil), timeOf(kr.expires), timeOf(kr.created), timeOf(kr.rotated)
	k.DisabledAt, k.RevokedAt, k.RemindedAt = timeOf(kr.disabled), timeOf(kr.revoked), timeOf(kr.reminded)
	k.LastUsedAt, k.PreviousUsedAt = timeOf(kr.used), timeOf(kr.prevUsed)
	var err error
	if k.Verifier, err = kr.cur.verifier(); err != nil {
		return k, err
	}
	if len(kr.prev.sum) > 0 {
		p, err := kr.prev.verifier()
		if err != nil {
			return k, err
		}
		k.Previous = &p
	}
	return k, kr.unpack(&k)
}

// unpack reads the columns that hold JSON.
func (kr *keyReader) unpack(k *relay.Key) error {
	if err := unpackJSON(kr.match, &k.Match, "keys.matching"); err != nil {
		return err
	}
	if err := unpackJSON(kr.networks, &k.Networks, "keys.networks"); err != nil {
		return err
	}
	for _, c := range []struct {
		text   string
		into   *[]string
		column string
	}{
		{kr.scopes, &k.Scopes, "keys.scopes"}, {kr.hosts, &k.Hosts, "keys.hosts"}, {kr.senders, &k.Senders, "keys.senders"},
		{kr.domains, &k.RecipientDomains, "keys.recipient_domains"},
	} {
		if err := kr.list(c.text, c.into, c.column); err != nil {
			return err
		}
	}
	return nil
}

// list reads a list. Keys of one reading that have the same one share it: a
// hundred thousand keys have a few sets of scopes.
func (kr *keyReader) list(text string, into *[]string, column string) error {
	if text == "" {
		return nil
	}
	if known, ok := kr.lists[text]; ok {
		*into = known
		return nil
	}
	if err := unpackJSON(text, into, column); err != nil {
		return err
	}
	if *into = slices.Clip(*into); kr.lists == nil {
		kr.lists = map[string][]string{}
	}
	if len(kr.lists) < maxSharedLists {
		kr.lists[text] = *into
	}
	return nil
}

// keyLists is the columns of a key that hold JSON.
type keyLists struct{ match, scopes, networks, hosts, senders, domains string }

func packKeyLists(k *relay.Key) (l keyLists, err error) {
	for _, n := range k.Networks {
		if !n.IsValid() {
			return l, relay.E(relay.Invalid, "A network of the key is not valid.")
		}
	}
	pack := func(into *string, v any, empty bool) {
		s, packErr := packJSON(v, empty)
		*into, err = text(s), errors.Join(err, packErr)
	}
	pack(&l.match, k.Match, k.Match == nil)
	pack(&l.scopes, k.Scopes, len(k.Scopes) == 0)
	pack(&l.networks, k.Networks, len(k.Networks) == 0)
	pack(&l.hosts, k.Hosts, len(k.Hosts) == 0)
	pack(&l.senders, k.Senders, len(k.Senders) == 0)
	pack(&l.domains, k.RecipientDomains, len(k.RecipientDomains) == 0)
	return l, err
}

func keyArgs(k *relay.Key, rev int64) ([]any, error) {
	l, err := packKeyLists(k)
	if err != nil {
		return nil, err
	}
	args := append([]any{blob(k.ID.ID), blob(k.Account.ID), blob(k.Subuser.ID), string(k.Kind), text(k.Name), text(k.Login), l.match, l.scopes},
		verifierArgs(&k.Verifier)...)
	args = append(args, verifierArgs(k.Previous)...)
	return append(args, micros(k.PreviousUntil), string(k.Mode), l.networks, l.hosts, l.senders, l.domains,
		k.PerMinute, k.PerHour, k.PerDay, k.PerMonth, text(k.Hours), flag(k.Canary), micros(k.ExpiresAt), micros(k.CreatedAt), text(k.CreatedBy),
		micros(k.DisabledAt), micros(k.RevokedAt), micros(k.RotatedAt), micros(k.RemindedAt), int64(k.DisabledRank), rev), nil
}

// CreateKey adds a key; without a Kind it is an API key. relay.Conflict: the id
// or the login is taken; relay.NotFound: there is no such account or subuser.
func (s *Store) CreateKey(ctx context.Context, by By, k relay.Key) error {
	return s.CreateKeyWithin(ctx, by, k, 0)
}

// CreateKeyWithin is CreateKey for a tenant that may have most keys, revoked ones not
// counted; 0: as many as it likes. They are counted in the step that adds the key, so
// that of several at once, on whatever nodes, none is one too many. relay.Forbidden:
// there are as many.
func (s *Store) CreateKeyWithin(ctx context.Context, by By, k relay.Key, most int) error {
	if k.Kind == "" {
		k.Kind = relay.KeyAPI
	}
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		args, err := keyArgs(&k, rev)
		if err != nil {
			return note{}, err
		}
		if err := s.liveSubuserOf(ctx, tx, k.Account, k.Subuser); err != nil {
			return note{}, err
		}
		if most > 0 {
			n, err := howMany(ctx, tx, countKeys, blob(k.Account.ID), blob(k.Subuser.ID))
			if err != nil {
				return note{}, err
			}
			if n >= most {
				return note{}, relay.E(relay.Forbidden, fmt.Sprintf("There are %d API keys already, and no more can be made. Delete some.", n))
			}
		}
		_, err = tx.ExecContext(ctx, insertKey, args...)
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

// liveSubuserOf checks besides that it is not deleted, and keeps it so until the
// commit.
func (s *Store) liveSubuserOf(ctx context.Context, tx *sql.Tx, account relay.AccountID, sub relay.SubuserID) error {
	if sub.IsZero() {
		return nil
	}
	u, err := s.liveSubuser(ctx, tx, sub)
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

// SwapKey replaces what may change: all but id, Account, Kind, Login, how and when it
// was made, the verifiers and what is known of its use; it neither revokes nor
// revives, disables nor enables. A new expiry is reminded of anew. relay.Conflict
// with ErrMeanwhile if anything that it replaces is not as it was when was was read: otherwise an edit of
// a name could undo what somebody, or the watch, has taken from the key meanwhile.
func (s *Store) SwapKey(ctx context.Context, by By, was, k relay.Key) error {
	return s.changeKey(ctx, by, k.ID, "key.update", func(old relay.Key) (relay.Key, error) {
		return edited(k, &old), unmoved("The key", edited(was, &old), old)
	})
}

// edited is a key with what an edit does not change as it is stored.
func edited(k relay.Key, old *relay.Key) relay.Key {
	k.Account, k.Kind, k.Login, k.CreatedAt, k.CreatedBy, k.RevokedAt = old.Account, old.Kind, old.Login, old.CreatedAt, old.CreatedBy, old.RevokedAt
	k.DisabledAt, k.DisabledRank = old.DisabledAt, old.DisabledRank
	k.Verifier, k.Previous, k.PreviousUntil, k.RotatedAt = old.Verifier, old.Previous, old.PreviousUntil, old.RotatedAt
	k.PreviousUsedAt, k.PreviousUsedFrom, k.PreviousUsedHelo, k.PreviousUseCount = old.PreviousUsedAt, old.PreviousUsedFrom, old.PreviousUsedHelo, old.PreviousUseCount
	k.LastUsedAt, k.LastUsedFrom, k.LastUsedMechanism, k.LastUsedHelo, k.UseCount = old.LastUsedAt, old.LastUsedFrom, old.LastUsedMechanism, old.LastUsedHelo, old.UseCount
	if k.RemindedAt = old.RemindedAt; !k.ExpiresAt.Equal(old.ExpiresAt) {
		k.RemindedAt = time.Time{}
	}
	return k
}

// SetKeyDisabled switches a key off at a time, or on with the zero time.
// relay.Forbidden: somebody of a higher rank switched it off.
func (s *Store) SetKeyDisabled(ctx context.Context, by By, id relay.KeyID, at time.Time) error {
	return s.changeKey(ctx, by, id, switched("key", at), func(k relay.Key) (relay.Key, error) { return disabledKey(by, k, at) })
}

// SwapKeyDisabled is SetKeyDisabled for a key that is still off since was, or on with
// the zero time. relay.Conflict with ErrMeanwhile: somebody switched it since.
func (s *Store) SwapKeyDisabled(ctx context.Context, by By, id relay.KeyID, was, at time.Time) error {
	return s.changeKey(ctx, by, id, switched("key", at), func(k relay.Key) (relay.Key, error) {
		if !k.DisabledAt.Equal(was) {
			return k, meanwhile("The key")
		}
		return disabledKey(by, k, at)
	})
}

// disabledKey is a key as somebody switches it off at a time, or on.
func disabledKey(by By, k relay.Key, at time.Time) (_ relay.Key, err error) {
	k.DisabledRank, err = switchedBy(by, at, k.DisabledAt, k.DisabledRank)
	k.DisabledAt = at
	return k, err
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

// errVerifier: a SCRAM client that is half-way through, and one that has cached
// what the server told it, would be refused. It is a fault of the program.
var errVerifier = errors.New("the new verifier has another salt or iteration count than the old one")

// RotateKey gives a key a new secret at a time; the old one stays valid until
// previousUntil, not at all with the zero time. v must have the salt and
// iteration count of the old verifier: SCRAM names them before it knows which of
// the two secrets the client has. relay.Conflict: the key is revoked, or of a
// kind that has no secret here.
func (s *Store) RotateKey(ctx context.Context, by By, id relay.KeyID, v relay.Verifier, at, previousUntil time.Time) error {
	return s.changeKey(ctx, by, id, "key.rotate", func(k relay.Key) (relay.Key, error) {
		switch {
		case !k.RevokedAt.IsZero():
			return k, relay.E(relay.Conflict, "The key is revoked.")
		case k.Kind == relay.KeyCertificate || k.Kind == relay.KeyFederated:
			return k, relay.E(relay.Conflict, "The key has no secret to rotate.")
		case !bytes.Equal(v.SCRAMSalt, k.Verifier.SCRAMSalt) || v.SCRAMIterations != k.Verifier.SCRAMIterations:
			return k, fmt.Errorf("rotate key: %w", errVerifier)
		}
		old := k.Verifier
		k.Previous, k.PreviousUntil, k.Verifier, k.RotatedAt = &old, previousUntil, v, at
		if previousUntil.IsZero() {
			k.Previous = nil
		}
		k.PreviousUsedAt, k.PreviousUsedFrom, k.PreviousUsedHelo, k.PreviousUseCount = time.Time{}, "", "", 0
		return k, nil
	}, forgetPrevious)
}

// SetKeyReminded notes when the owner of a key was reminded of its expiry. It is
// no administrative change: nothing is recorded, and the revision stays.
// relay.NotFound: there is no such key.
func (s *Store) SetKeyReminded(ctx context.Context, id relay.KeyID, at time.Time) error {
	return s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, setReminded, micros(at), blob(id.ID))
		if err != nil {
			return fmt.Errorf("set key reminded: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 0 {
			return err
		}
		return notFound("key")
	})
}

// changeKey edits a key; then are statements that take its id and run after it.
func (s *Store) changeKey(ctx context.Context, by By, id relay.KeyID, action string, edit func(relay.Key) (relay.Key, error), then ...string) error {
	return s.change(ctx, by, func(ctx context.Context, tx *sql.Tx, rev int64) (note, error) {
		old, err := one(ctx, tx, "key", scanKey, selectKeys+` WHERE id = $1`+s.forUpdate(), blob(id.ID))
		if err != nil {
			return note{}, err
		}
		k, err := edit(old)
		if err != nil {
			return note{}, err
		}
		if k.Subuser != old.Subuser {
			if err := s.liveSubuserOf(ctx, tx, k.Account, k.Subuser); err != nil {
				return note{}, err
			}
		}
		args, err := keyArgs(&k, rev)
		if err != nil {
			return note{}, err
		}
		if _, err := tx.ExecContext(ctx, updateKey, append(args, blob(id.ID))...); err != nil {
			return note{}, err
		}
		for _, query := range then {
			if _, err := tx.ExecContext(ctx, query, blob(id.ID)); err != nil {
				return note{}, err
			}
		}
		if err := forgetWatch(ctx, tx, &old, &k); err != nil {
			return note{}, err
		}
		return note{account: old.Account, action: action, subject: keySubject(&k), before: old, after: k}, nil
	})
}
