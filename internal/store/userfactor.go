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
	setPassword = `UPDATE users SET password = $1, password_at = $2 WHERE id = $3`
	// rehashPassword is conditional: a password that was changed meanwhile stays.
	rehashPassword = `UPDATE users SET password = $1 WHERE id = $2 AND password = $3 AND deleted_at = 0`
	setTOTP        = `UPDATE users SET totp = $1, totp_step = $2, totp_at = $3 WHERE id = $4`
	// useTOTPStep is conditional: of two who show one code at once, one is too late.
	useTOTPStep     = `UPDATE users SET totp_step = $1 WHERE id = $2 AND totp_step < $3 AND length(totp) > 0 AND deleted_at = 0`
	insertCode      = `INSERT INTO recovery_codes (user_id, hash) VALUES ($1, $2)`
	useCode         = `DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2`
	countCodes      = `SELECT count(*) FROM recovery_codes WHERE user_id = $1`
	dropOtherLogins = `DELETE FROM sessions WHERE user_id = $1 AND id <> $2`
	// maxRecoveryCodes bounds a set of codes.
	maxRecoveryCodes = 100
)

// SetPassword replaces a person's password by its Argon2id hash in PHC form, or
// takes it away with "". All their sessions but keep end, and so do their unused
// links. relay.NotFound: there is no such person.
func (s *Store) SetPassword(ctx context.Context, by By, id relay.UserID, hash string, at time.Time, keep relay.SessionID) error {
	return s.changeUser(ctx, by, id, "user.password", func(ctx context.Context, tx *sql.Tx, _ *relay.User) error {
		return writePassword(ctx, tx, id, hash, at, keep)
	})
}

// writePassword stores a password of a person who is locked.
func writePassword(ctx context.Context, tx *sql.Tx, id relay.UserID, hash string, at time.Time, keep relay.SessionID) error {
	if err := checkPasswordHash(hash); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, setPassword, hash, micros(at), blob(id.ID)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, dropOtherLogins, blob(id.ID), blob(keep.ID)); err != nil {
		return err
	}
	return runEach(ctx, tx, id, dropUserLinks)
}

// RehashPassword puts another hash of the same password into the place of old, made
// with the parameters of today. It ends nothing, and is no administrative change.
// relay.NotFound: old is not the person's hash any more, or the person is gone.
func (s *Store) RehashPassword(ctx context.Context, id relay.UserID, old, hash string) error {
	if old == "" || hash == "" {
		return notFound("password")
	}
	if err := checkPasswordHash(hash); err != nil {
		return err
	}
	return s.touch(ctx, notFound("password"), rehashPassword, hash, blob(id.ID), text(old))
}

// FactorRule is on what condition a second factor comes or goes. It is judged in
// the step that changes it, so that of two who do it at once one is too late.
type FactorRule int

const (
	// FirstFactor: relay.Conflict if the person has a second factor by now. Who is
	// to set up the first one has shown a password only.
	FirstFactor FactorRule = iota + 1
	// NotLastFactor: relay.Conflict (Field "factor") if none would be left.
	NotLastFactor
)

// mayCome judges a factor that a locked person is to get.
func mayCome(u *relay.User, rules []FactorRule) error {
	if slices.Contains(rules, FirstFactor) && u.SecondFactor() {
		return relay.E(relay.Conflict, "A second factor was set up meanwhile. Log in with it.")
	}
	return nil
}

// mayGo judges whether a locked person may lose one of their factors.
func mayGo(u *relay.User, rules []FactorRule) error {
	have := u.Passkeys
	if len(u.TOTP) > 0 {
		have++
	}
	if have <= 1 && slices.Contains(rules, NotLastFactor) {
		return &relay.Error{Kind: relay.Conflict, Field: "factor", Public: "This is the only second factor. Set up another one first."}
	}
	return nil
}

// WayIn judges, in the step that takes a passkey or an identity at an issuer away,
// whether the person may lose it: keys and identities are what would be left. The
// store does not know which of them let people in. nil: they may.
type WayIn func(u *relay.User, keys []relay.Passkey, identities []relay.Issuance) error

// left asks a WayIn about a locked person, who loses a passkey or an identity.
func (may WayIn) left(ctx context.Context, tx *sql.Tx, u *relay.User, lost []byte, gone relay.Issuance) error {
	if may == nil {
		return nil
	}
	keys, err := list(ctx, tx, scanPasskey, selectPasskeys+passkeysOf, blob(u.ID.ID))
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(k relay.Passkey) bool { return bytes.Equal(k.ID, lost) })
	identities, err := list(ctx, tx, scanIssuance, selectIssuances+` WHERE user_id = $1 ORDER BY issuer, subject`, blob(u.ID.ID))
	if err != nil {
		return err
	}
	return may(u, keys, slices.DeleteFunc(identities, func(i relay.Issuance) bool { return i.Issuer == gone.Issuer && i.Subject == gone.Subject }))
}

// errNoSecret: an app without a secret is none. It is a fault of the program.
var errNoSecret = errors.New("set an authenticator app: there is no secret")

// SetTOTP gives a person an authenticator app: its sealed secret, and the time
// step of the code that proved it, which is used by that. Where it takes the place of
// another app, that one is lost: all sessions but keep end, as in RemoveTOTP.
// relay.NotFound: there is no such person; relay.Conflict by a rule.
func (s *Store) SetTOTP(ctx context.Context, by By, id relay.UserID, sealed []byte, step int64, at time.Time, keep relay.SessionID, rules ...FactorRule) error {
	if len(sealed) == 0 {
		return errNoSecret
	}
	return s.changeUser(ctx, by, id, "user.totp.set", func(ctx context.Context, tx *sql.Tx, old *relay.User) error {
		if err := mayCome(old, rules); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, setTOTP, sealed, step, micros(at), blob(id.ID)); err != nil || len(old.TOTP) == 0 {
			return err
		}
		return endFactor(ctx, tx, id, keep, 1)
	})
}

// RemoveTOTP takes a person's authenticator app away, and ends what it let in: all
// their sessions but keep, and, where no second factor is left, their recovery codes.
// Without an app nothing is changed. relay.NotFound: there is no such person;
// relay.Conflict by a rule.
func (s *Store) RemoveTOTP(ctx context.Context, by By, id relay.UserID, keep relay.SessionID, rules ...FactorRule) error {
	return s.changeUser(ctx, by, id, "user.totp.remove", func(ctx context.Context, tx *sql.Tx, old *relay.User) error {
		if len(old.TOTP) == 0 {
			return errUnchanged
		}
		if err := mayGo(old, rules); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, setTOTP, noBlob, int64(0), int64(0), blob(id.ID)); err != nil {
			return err
		}
		return endFactor(ctx, tx, id, keep, old.Passkeys)
	})
}

// endFactor ends what a factor let in that a locked person has lost: it may be in
// somebody else's hands, and so may the other sessions. left counts the factors that
// they still have; without any, recovery codes stand in for nothing and go too.
func endFactor(ctx context.Context, tx *sql.Tx, id relay.UserID, keep relay.SessionID, left int) error {
	if _, err := tx.ExecContext(ctx, dropOtherLogins, blob(id.ID), blob(keep.ID)); err != nil || left > 0 {
		return err
	}
	return runEach(ctx, tx, id, dropCodes)
}

// UseTOTPStep uses the code of a time step, once: however many show it at a time,
// one gets nil. relay.Conflict: that step or a later one was used before, or the
// person has no authenticator app. It is no administrative change.
func (s *Store) UseTOTPStep(ctx context.Context, id relay.UserID, step int64) error {
	return s.touch(ctx, relay.E(relay.Conflict, "The code was used before."), useTOTPStep, step, blob(id.ID), step)
}

// touch runs a statement that is no administrative change. Where it changes no
// row, missing is the error.
func (s *Store) touch(ctx context.Context, missing error, query string, args ...any) error {
	return s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		return note{}, hit(ctx, tx, missing, query, args...)
	})
}

// hit runs a statement that changes a row, or returns missing.
func hit(ctx context.Context, tx *sql.Tx, missing error, query string, args ...any) error {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return missing
}

// SetRecoveryCodes replaces a person's recovery codes, by their SHA-256; those of
// before end. relay.Invalid: there are too many; relay.NotFound: there is no such
// person.
func (s *Store) SetRecoveryCodes(ctx context.Context, by By, id relay.UserID, hashes [][32]byte) error {
	if len(hashes) > maxRecoveryCodes {
		return relay.E(relay.Invalid, fmt.Sprintf("There are at most %d recovery codes.", maxRecoveryCodes))
	}
	return s.changeUser(ctx, by, id, "user.recovery_codes.set", func(ctx context.Context, tx *sql.Tx, _ *relay.User) error {
		if err := runEach(ctx, tx, id, dropCodes); err != nil {
			return err
		}
		for _, h := range hashes {
			if _, err := tx.ExecContext(ctx, insertCode, blob(id.ID), h[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// UseRecoveryCode uses a recovery code, by its SHA-256, once: however many show it
// at a time, one gets nil. It returns how many are left. relay.NotFound: the person
// has no such code, or is not there.
func (s *Store) UseRecoveryCode(ctx context.Context, by By, id relay.UserID, hash [32]byte, at time.Time) (left int, err error) {
	err = s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.liveUser(ctx, tx, id)
		if err != nil {
			return note{}, err
		}
		if err := hit(ctx, tx, notFound("recovery code"), useCode, blob(id.ID), hash[:]); err != nil {
			return note{}, err
		}
		if err := tx.QueryRowContext(ctx, countCodes, blob(id.ID)).Scan(&left); err != nil {
			return note{}, err
		}
		return note{account: u.Account, action: "user.recovery_codes.use", subject: userSubject(&u),
			after: map[string]any{"used_at": timeOf(micros(at)), "left": left}}, nil
	})
	if err != nil {
		return 0, err
	}
	return left, nil
}

// ResetFactors takes a person's authenticator app, passkeys and recovery codes
// away, and ends their sessions and unused links: the next login enrols anew.
// seen is as for SetUserDisabled. relay.NotFound: there is no such person;
// relay.Conflict: the grant is another one by now.
func (s *Store) ResetFactors(ctx context.Context, by By, id relay.UserID, seen ...Grant) error {
	return s.changeUser(ctx, by, id, "user.factors.reset", func(ctx context.Context, tx *sql.Tx, old *relay.User) error {
		if err := still(old, seen); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, setTOTP, noBlob, int64(0), int64(0), blob(id.ID)); err != nil {
			return err
		}
		return runEach(ctx, tx, id, dropPasskeys, dropCodes, dropSessions, dropUserLinks)
	})
}
