package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"time"

	"postern/internal/relay"
)

// maxKeyUsers bounds the answer of KeyUsers.
const maxKeyUsers = 1000

// KeyUser is one program that a key was used by, as far as login records can
// tell one from another.
type KeyUser struct {
	Addr, Helo, Mechanism, TLS string
	First, Last                time.Time
	Logins                     int64
}

// KeyUsers lists who has logged in with a key since a time, by its login
// records, the last to do so first: at most 1,000.
func (s *Store) KeyUsers(ctx context.Context, id relay.KeyID, since time.Time) ([]KeyUser, error) {
	users := map[KeyUser]*KeyUser{} // by all but times and count
	tables := s.tables(loginFamily, micros(since), endOfTime)
	slices.Reverse(tables) // the newest first: beyond the bound, the oldest are left out
	for _, table := range tables {
		query := `SELECT addr, helo, mechanism, tls, min(at), max(at), CAST(sum(count) AS BIGINT) FROM ` + table +
			` WHERE key_id = $1 AND at >= $2 AND result = $3 GROUP BY addr, helo, mechanism, tls ORDER BY max(at) DESC LIMIT ` + strconv.Itoa(maxKeyUsers)
		err := eachRow(ctx, s.db, query, []any{blob(id.ID), micros(since), string(relay.LoginOK)}, func(r *sql.Rows) error {
			var u KeyUser
			var first, last int64
			if err := r.Scan(&u.Addr, &u.Helo, &u.Mechanism, &u.TLS, &first, &last, &u.Logins); err != nil {
				return err
			}
			addKeyUser(users, u, timeOf(first), timeOf(last))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read key users: %w", s.readError(err))
		}
	}
	all := make([]KeyUser, 0, len(users))
	for _, u := range users {
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b KeyUser) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Addr, b.Addr)) })
	return all, nil
}

// addKeyUser adds a day's logins of a program to those of later days.
func addKeyUser(users map[KeyUser]*KeyUser, u KeyUser, first, last time.Time) {
	key := u
	key.Logins = 0
	old := users[key]
	switch {
	case old == nil && len(users) < maxKeyUsers:
		u.First, u.Last = first, last
		users[key] = &u
	case old != nil:
		old.Logins += u.Logins
		if first.Before(old.First) {
			old.First = first
		}
		if last.After(old.Last) {
			old.Last = last
		}
	}
}
