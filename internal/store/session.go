package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	sessionColumns = `s.id, s.user_id, s.level, s.method, s.addr, s.agent, s.created_at, s.seen_at, s.expires_at, s.fresh_until, s.tries, s.pending`
	selectSessions = `SELECT ` + sessionColumns + ` FROM sessions s`
	sessionOfHash  = `SELECT ` + sessionColumns + `, ` + userColumns + ` FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.hash = $1`
	insertSession  = `INSERT INTO sessions (id, user_id, hash, level, method, addr, agent, created_at, seen_at, expires_at, fresh_until, tries, pending)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	dropFull = `DELETE FROM sessions WHERE user_id = $1 AND level = 'full' AND id <> $2 AND id NOT IN (SELECT id FROM sessions
		WHERE user_id = $3 AND level = 'full' AND id <> $4 ORDER BY created_at DESC, id DESC LIMIT $5)`
	dropHalf = `DELETE FROM sessions WHERE user_id = $1 AND level <> 'full' AND id <> $2 AND id NOT IN (SELECT id FROM sessions
		WHERE user_id = $3 AND level <> 'full' AND id <> $4 ORDER BY created_at DESC, id DESC LIMIT $5)`
	// updateSession never takes back tries that were counted meanwhile.
	updateSession = `UPDATE sessions SET level = $1, fresh_until = $2, tries = CASE WHEN tries > $3 THEN tries ELSE CAST($4 AS BIGINT) END, pending = $5 WHERE id = $6`
	trySession    = `UPDATE sessions SET tries = tries + 1 WHERE id = $1 RETURNING tries`
	seenSession   = `UPDATE sessions SET seen_at = $1 WHERE id = $2 AND seen_at < $3`
	seenUser      = `UPDATE users SET seen_at = $1, seen_from = (SELECT addr FROM sessions WHERE id = $2)
		WHERE id = (SELECT user_id FROM sessions WHERE id = $3) AND seen_at < $4`
	usedSince   = `SELECT count(*) FROM passkeys WHERE user_id = $1 AND used_at >= $2`
	dropSession = `DELETE FROM sessions WHERE id = $1 AND user_id = $2`

	// A person has at most 50 sessions. Those that are half-way through a login have
	// a share of their own: who knows only the password throws nobody out.
	maxFullSessions = 40
	maxHalfSessions = 10
	// maxAgent is how much of a browser's name is kept, in octets.
	maxAgent = 512
)

// sessionRow receives the columns of a session.
type sessionRow struct {
	id, user, pending                    []byte
	level, addr                          string
	created, seen, expires, fresh, tries int64
	s                                    relay.Session
}

func (r *sessionRow) into() []any {
	return []any{&r.id, &r.user, &r.level, &r.s.Method, &r.addr, &r.s.Agent, &r.created, &r.seen, &r.expires, &r.fresh, &r.tries, &r.pending}
}

func (r *sessionRow) session() relay.Session {
	s := r.s
	s.ID.ID, s.User.ID, s.Level, s.Addr = idOf(r.id), idOf(r.user), relay.SessionLevel(r.level), addrOf(r.addr)
	s.CreatedAt, s.SeenAt, s.ExpiresAt, s.FreshUntil = timeOf(r.created), timeOf(r.seen), timeOf(r.expires), timeOf(r.fresh)
	s.Tries, s.Pending = int(r.tries), some(r.pending)
	return s
}

func scanSession(r scanner) (relay.Session, error) {
	var row sessionRow
	err := r.Scan(row.into()...)
	return row.session(), err
}

// CreateSession adds a login of a person; hash is the SHA-256 of its token. Of
// full sessions the newest 40 stay, of those that are half-way the newest 10.
// relay.NotFound: there is no such person; relay.Conflict: the person is disabled,
// or Method begins with "password" and the password was changed after CreatedAt,
// which is when the person was read; or Method is "passkey" and the person has none
// that was used since CreatedAt (UsePasskey): the one that was is gone; or Method
// begins with "oidc", and no identity of theirs was (TouchIssuance).
func (s *Store) CreateSession(ctx context.Context, v relay.Session, hash [32]byte) error {
	return s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.liveUser(ctx, tx, v.User)
		if err != nil {
			return note{}, err
		}
		if strings.HasPrefix(v.Method, "password") && micros(v.CreatedAt) < micros(u.PasswordAt) {
			return note{}, relay.E(relay.Conflict, "The password was changed meanwhile.")
		}
		if v.Method == "passkey" {
			if err := since(ctx, tx, usedSince, &v, "The passkey was taken away meanwhile."); err != nil {
				return note{}, err
			}
		}
		if strings.HasPrefix(v.Method, "oidc") {
			if err := since(ctx, tx, enteredSince, &v, "Single sign-on was unlinked meanwhile."); err != nil {
				return note{}, err
			}
		}
		return note{}, putSession(ctx, tx, &u, &v, hash)
	})
}

// since demands that what a login was made with is still there: query counts what of
// the person was used since.
func since(ctx context.Context, tx *sql.Tx, query string, v *relay.Session, gone string) error {
	n, err := howMany(ctx, tx, query, blob(v.User.ID), micros(v.CreatedAt))
	if err == nil && n == 0 {
		return relay.E(relay.Conflict, gone)
	}
	return err
}

// putSession stores a session of a person who is locked.
func putSession(ctx context.Context, tx *sql.Tx, u *relay.User, v *relay.Session, hash [32]byte) error {
	if !u.DisabledAt.IsZero() {
		return relay.E(relay.Conflict, "The person is disabled.")
	}
	agent := text(v.Agent)
	if len(agent) > maxAgent {
		agent = strings.ToValidUTF8(agent[:maxAgent], "")
	}
	if _, err := tx.ExecContext(ctx, insertSession, blob(v.ID.ID), blob(v.User.ID), hash[:], string(v.Level), text(v.Method), addrText(v.Addr), agent,
		micros(v.CreatedAt), micros(v.SeenAt), micros(v.ExpiresAt), micros(v.FreshUntil), int64(v.Tries), filled(v.Pending)); err != nil {
		return err
	}
	query, most := dropHalf, maxHalfSessions
	if v.Level == relay.SessionFull {
		query, most = dropFull, maxFullSessions
		// Who has logged in was seen, however short the visit.
		at, id := micros(v.SeenAt), blob(v.ID.ID)
		if _, err := tx.ExecContext(ctx, seenUser, at, id, id, at); err != nil {
			return err
		}
	}
	user, id := blob(v.User.ID), blob(v.ID.ID)
	_, err := tx.ExecContext(ctx, query, user, id, user, id, int64(most-1))
	return err
}

// SessionByHash returns a session and its person by the SHA-256 of its token, or
// relay.NotFound. One that has expired is returned as well.
func (s *Store) SessionByHash(ctx context.Context, hash [32]byte) (relay.Session, relay.User, error) {
	var sr sessionRow
	var ur userRow
	err := s.db.QueryRowContext(ctx, sessionOfHash, hash[:]).Scan(append(sr.into(), ur.into()...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return relay.Session{}, relay.User{}, notFound("session")
	}
	if err != nil {
		return relay.Session{}, relay.User{}, fmt.Errorf("read session: %w", s.readError(err))
	}
	u, err := ur.user()
	if err != nil {
		return relay.Session{}, relay.User{}, fmt.Errorf("read session: %w", err)
	}
	return sr.session(), u, nil
}

// Sessions lists a person's sessions, last used first; those that have expired are
// among them until they are pruned.
func (s *Store) Sessions(ctx context.Context, user relay.UserID) ([]relay.Session, error) {
	v, err := list(ctx, s.db, scanSession, selectSessions+` WHERE s.user_id = $1 ORDER BY s.seen_at DESC, s.id DESC`, blob(user.ID))
	return read(s, "sessions", v, err)
}

// ReplaceSession puts a session with an id and a token of its own into the place
// of an older one of the same person, in one step. relay.NotFound: the old one is
// gone, or another's; relay.Conflict: the person is disabled.
func (s *Store) ReplaceSession(ctx context.Context, old relay.SessionID, v relay.Session, hash [32]byte) error {
	return s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.liveUser(ctx, tx, v.User)
		if err != nil {
			return note{}, err
		}
		if err := hit(ctx, tx, notFound("session"), dropSession, blob(old.ID), blob(v.User.ID)); err != nil {
			return note{}, err
		}
		return note{}, putSession(ctx, tx, &u, &v, hash)
	})
}

// UpdateSession replaces a session's Level, FreshUntil and Pending, and raises its
// Tries, which it never lowers. relay.NotFound: it is gone.
func (s *Store) UpdateSession(ctx context.Context, v relay.Session) error {
	return s.touch(ctx, notFound("session"), updateSession, string(v.Level), micros(v.FreshUntil), int64(v.Tries), int64(v.Tries), filled(v.Pending), blob(v.ID.ID))
}

// TrySession counts a try of a code, before the code is looked at, and returns
// which it is: of several at a time each gets a number of its own.
// relay.NotFound: the session is gone.
func (s *Store) TrySession(ctx context.Context, id relay.SessionID) (tries int, err error) {
	err = s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		err := tx.QueryRowContext(ctx, trySession, blob(id.ID)).Scan(&tries)
		if errors.Is(err, sql.ErrNoRows) {
			err = notFound("session")
		}
		return note{}, err
	})
	if err != nil {
		return 0, err
	}
	return tries, nil
}

// TouchSession notes that a session was used, at its session and at its person,
// whose SeenFrom becomes the session's address. An earlier time than is known
// changes nothing. Callers do it once a minute at most.
func (s *Store) TouchSession(ctx context.Context, id relay.SessionID, at time.Time) error {
	return s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		if _, err := tx.ExecContext(ctx, seenUser, micros(at), blob(id.ID), blob(id.ID), micros(at)); err != nil {
			return note{}, err
		}
		_, err := tx.ExecContext(ctx, seenSession, micros(at), blob(id.ID), micros(at))
		return note{}, err
	})
}

// EndSession ends one session of a person. With the zero By nothing is recorded:
// the person has logged out, or the session's time is over. relay.NotFound: the
// person has no such session.
func (s *Store) EndSession(ctx context.Context, by By, user relay.UserID, id relay.SessionID) error {
	return s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.userBy(ctx, tx, by, user)
		if err != nil {
			return note{}, err
		}
		if err := hit(ctx, tx, notFound("session"), dropSession, blob(id.ID), blob(user.ID)); err != nil || by == (By{}) {
			return note{}, err
		}
		return note{account: u.Account, action: "session.end", subject: userSubject(&u), before: map[string]any{"session": id}}, nil
	})
}

// EndSessions ends a person's sessions but keep (the zero id: all), and returns
// how many those were. With the zero By, and where there were none, nothing is
// recorded. relay.NotFound: there is no such person.
func (s *Store) EndSessions(ctx context.Context, by By, user relay.UserID, keep relay.SessionID) (int, error) {
	var ended int64
	err := s.changePerson(ctx, by, func(ctx context.Context, tx *sql.Tx) (note, error) {
		u, err := s.userBy(ctx, tx, by, user)
		if err != nil {
			return note{}, err
		}
		res, err := tx.ExecContext(ctx, dropOtherLogins, blob(user.ID), blob(keep.ID))
		if err != nil {
			return note{}, err
		}
		if ended, err = res.RowsAffected(); err != nil || ended == 0 || by == (By{}) {
			return note{}, err
		}
		return note{account: u.Account, action: "session.end_all", subject: userSubject(&u), before: map[string]any{"sessions": ended, "kept": keep}}, nil
	})
	if err != nil {
		return 0, err
	}
	return int(ended), nil
}

// endSessionsOf ends the sessions of the people that w names, in the transaction that
// shuts them out: switched on again, they log in anew. The people are locked first,
// as by whoever ends sessions.
func (s *Store) endSessionsOf(ctx context.Context, tx *sql.Tx, w *where) error {
	if _, err := column[[]byte](ctx, tx, `SELECT id FROM users`+w.String()+` ORDER BY id`+s.forUpdate(), w.args...); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE user_id IN (SELECT id FROM users`+w.String()+`)`, w.args...); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}

// linkKeep is how long a link is kept after its end, so that whoever comes late
// learns what it was.
const linkKeep = 90 * 24 * time.Hour

// PruneSessions forgets sessions that have expired, challenges that are over, and
// links that ended 90 days before. It returns how many rows those were.
func (s *Store) PruneSessions(ctx context.Context, now time.Time) (int64, error) {
	var n int64
	err := s.changePerson(ctx, By{}, func(ctx context.Context, tx *sql.Tx) (note, error) {
		n = 0
		for query, before := range map[string]time.Time{
			`DELETE FROM sessions WHERE expires_at <= $1`: now,
			`DELETE FROM links WHERE expires_at <= $1`:    now.Add(-linkKeep),
			// Answered challenges (UsePasskey) tell nobody anything.
			`DELETE FROM links WHERE expires_at <= $1 AND kind = 'challenge'`: now,
		} {
			res, err := tx.ExecContext(ctx, query, micros(before))
			if err != nil {
				return note{}, err
			}
			gone, err := res.RowsAffected()
			if err != nil {
				return note{}, err
			}
			n += gone
		}
		return note{}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("prune sessions: %w", err)
	}
	return n, nil
}
