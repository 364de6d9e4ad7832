package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"postern/internal/relay"
)

const (
	passkeyColumns = `id, user_id, name, credential, created_at, used_at`
	selectPasskeys = `SELECT ` + passkeyColumns + ` FROM passkeys`
	passkeysOf     = ` WHERE user_id = $1 ORDER BY created_at, id`
	insertPasskey  = `INSERT INTO passkeys (` + passkeyColumns + `) VALUES ($1, $2, $3, $4, $5, 0)`
	countPasskeys  = `SELECT count(*) FROM passkeys WHERE user_id = $1`
	usePasskey     = `UPDATE passkeys SET credential = $1, used_at = $2 WHERE id = $3 AND credential = $4`
	// insertChallenge keeps an answered challenge among the links, which are whatever
	// works once; this one is used as it is made.
	insertChallenge = `INSERT INTO links (hash, kind, account_id, subuser_id, user_id, email, role, scopes, restricted, subusers, created_at, created_by,
		expires_at, used_at, address) VALUES ($1, 'challenge', $2, $3, $4, '', '', '', 0, '', $5, '', $6, $7, '')`
	ofUser = ` WHERE id = $1 AND user_id = $2`
	// MaxPasskeys is how many passkeys a person has at most.
	MaxPasskeys = 20
	// maxCredentialID is the most that an authenticator gives (WebAuthn §4, credential
	// ID), in octets.
	maxCredentialID = 1023
	// maxPasskeyName bounds what a person calls a passkey, in octets.
	maxPasskeyName = 255
)

func scanPasskey(r scanner) (relay.Passkey, error) {
	var p relay.Passkey
	var user []byte
	var created, used int64
	err := r.Scan(&p.ID, &user, &p.Name, &p.Credential, &created, &used)
	p.User.ID, p.CreatedAt, p.UsedAt = idOf(user), timeOf(created), timeOf(used)
	return p, err
}

func checkPasskeyName(name string) error {
	if len(name) > maxPasskeyName {
		return &relay.Error{Kind: relay.Invalid, Field: "name", Public: fmt.Sprintf("The name of a passkey has at most %d octets.", maxPasskeyName)}
	}
	return nil
}

// AddPasskey gives a person a passkey. relay.Conflict: the credential is known
// already, or the person has MaxPasskeys; relay.Invalid: its id or name is too
// long; relay.NotFound: there is no such person. relay.Conflict also by a rule.
func (s *Store) AddPasskey(ctx context.Context, by By, p relay.Passkey, rules ...FactorRule) error {
	if len(p.ID) == 0 || len(p.ID) > maxCredentialID {
		return &relay.Error{Kind: relay.Invalid, Field: "id", Public: fmt.Sprintf("The id of a passkey has 1 to %d octets.", maxCredentialID)}
	}
	if err := checkPasskeyName(p.Name); err != nil {
		return err
	}
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.userBy(ctx, tx, by, p.User)
		if err != nil {
			return note{}, err
		}
		if err := mayCome(&u, rules); err != nil {
			return note{}, err
		}
		n, err := howMany(ctx, tx, countPasskeys, blob(p.User.ID))
		if err != nil {
			return note{}, err
		}
		if n >= MaxPasskeys {
			return note{}, relay.E(relay.Conflict, fmt.Sprintf("There are %d passkeys already, which is the most. Delete one that is no longer used.", MaxPasskeys))
		}
		_, err = tx.ExecContext(ctx, insertPasskey, p.ID, blob(p.User.ID), text(p.Name), filled(p.Credential), micros(p.CreatedAt))
		if isUnique(err) {
			err = &relay.Error{Kind: relay.Conflict, Field: "id", Public: "This passkey is registered already."}
		}
		return note{account: u.Account, action: "user.passkey.add", subject: userSubject(&u), after: p}, err
	})
}

// Passkeys lists a person's passkeys, oldest first.
func (s *Store) Passkeys(ctx context.Context, user relay.UserID) ([]relay.Passkey, error) {
	v, err := list(ctx, s.db, scanPasskey, selectPasskeys+passkeysOf, blob(user.ID))
	return read(s, "passkeys", v, err)
}

// PasskeyByID returns the passkey with a credential's id, whoever has it, or
// relay.NotFound.
func (s *Store) PasskeyByID(ctx context.Context, id []byte) (relay.Passkey, error) {
	v, err := one(ctx, s.db, "passkey", scanPasskey, selectPasskeys+` WHERE id = $1`, filled(id))
	return read(s, "passkey", v, err)
}

// PasskeyUse is one proof by a passkey that was found right.
type PasskeyUse struct {
	ID []byte // of the credential
	// Was is the passkey's record that the proof was judged by; Credential is its
	// record afterwards, with the new counter.
	Was, Credential []byte
	// Challenge is the SHA-256 of the challenge that was answered, which is good
	// until Until.
	Challenge [32]byte
	Until, At time.Time
}

// UsePasskey takes a proof by a passkey, once: of however many that show the same
// one on whatever nodes, one gets nil. It is no administrative change.
// relay.Conflict: the challenge was answered before, or the passkey's counter was
// raised meanwhile, so that the proof has to be judged anew; relay.NotFound: the
// passkey, or its person, is gone.
func (s *Store) UsePasskey(ctx context.Context, use PasskeyUse) error {
	return s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		p, err := one(ctx, tx, "passkey", scanPasskey, selectPasskeys+` WHERE id = $1`, filled(use.ID))
		if err != nil {
			return note{}, err
		}
		u, err := s.liveUser(ctx, tx, p.User)
		if err != nil {
			return note{}, err
		}
		_, err = tx.ExecContext(ctx, insertChallenge, use.Challenge[:], blob(u.Account.ID), blob(u.Subuser.ID), blob(u.ID.ID), micros(use.At), micros(use.Until), micros(use.At))
		if isUnique(err) {
			err = relay.E(relay.Conflict, "This challenge was answered before.")
		}
		if err != nil {
			return note{}, err
		}
		return note{}, hit(ctx, tx, relay.E(relay.Conflict, "The passkey was used at the same moment."), usePasskey, filled(use.Credential), micros(use.At),
			filled(use.ID), filled(use.Was))
	})
}

// RenamePasskey gives a passkey another name. relay.NotFound: the person has no
// such passkey; relay.Invalid: the name is too long.
func (s *Store) RenamePasskey(ctx context.Context, by By, user relay.UserID, id []byte, name string) error {
	if err := checkPasskeyName(name); err != nil {
		return err
	}
	return s.changePasskey(ctx, by, user, id, "user.passkey.rename", func(ctx context.Context, tx *sql.Tx, _ *relay.User, p relay.Passkey) (any, error) {
		p.Name = text(name)
		_, err := tx.ExecContext(ctx, `UPDATE passkeys SET name = $1 WHERE id = $2`, p.Name, id)
		return p, err
	})
}

// DeletePasskey takes a passkey away, and ends what it let in, as RemoveTOTP does.
// relay.NotFound: the person has no such passkey; relay.Conflict by a rule; what may
// says.
func (s *Store) DeletePasskey(ctx context.Context, by By, user relay.UserID, id []byte, keep relay.SessionID, may WayIn, rules ...FactorRule) error {
	return s.changePasskey(ctx, by, user, id, "user.passkey.delete", func(ctx context.Context, tx *sql.Tx, u *relay.User, _ relay.Passkey) (any, error) {
		if err := mayGo(u, rules); err != nil {
			return nil, err
		}
		if err := may.left(ctx, tx, u, id, relay.Issuance{}); err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM passkeys WHERE id = $1`, id); err != nil {
			return nil, err
		}
		left := u.Passkeys - 1
		if len(u.TOTP) > 0 {
			left++
		}
		return nil, endFactor(ctx, tx, user, keep, left)
	})
}

// changePasskey edits a person's passkey; edit returns how it is afterwards.
func (s *Store) changePasskey(ctx context.Context, by By, user relay.UserID, id []byte, action string,
	edit func(context.Context, *sql.Tx, *relay.User, relay.Passkey) (any, error)) error {
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.userBy(ctx, tx, by, user)
		if err != nil {
			return note{}, err
		}
		old, err := one(ctx, tx, "passkey", scanPasskey, selectPasskeys+ofUser, filled(id), blob(user.ID))
		if err != nil {
			return note{}, err
		}
		after, err := edit(ctx, tx, &u, old)
		return note{account: u.Account, action: action, subject: userSubject(&u), before: old, after: after}, err
	})
}
