package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

// The bounds of KeyClients. A day is read as a whole.
const (
	maxClientRows    = 2_000_000 // login records
	maxClients       = 50_000    // programs
	maxClientsOfADay = 20_000
)

// KeyClient is one way in which one program logged in with a key.
type KeyClient struct {
	Key                                  relay.KeyID
	Protocol, Addr, Helo, Mechanism, TLS string
}

// KeyClientUse is when that was.
type KeyClientUse struct {
	KeyClient
	First, Last time.Time
	Logins      int64
}

// clientQuery finds the records of an account by its keys: the index of login
// records begins with the key.
const clientQuery = `SELECT key_id, protocol, addr, helo, mechanism, tls, min(at), max(at), CAST(sum(count) AS BIGINT), count(*) FROM %s
	WHERE key_id IN (SELECT id FROM keys WHERE account_id = $1) AND at >= $2 AND at < $3 AND result = $4
	GROUP BY key_id, protocol, addr, helo, mechanism, tls ORDER BY max(at) DESC LIMIT `

// KeyClients lists which programs logged in with an account's keys since a time,
// and how, the latest first. It goes back day by day until it has read two million
// records or found 50,000 programs: the time that it returns is from when on the
// list is complete, but for days with more than 20,000 programs, of which those
// are left out that were seen first.
func (s *Store) KeyClients(ctx context.Context, account relay.AccountID, since time.Time) ([]KeyClientUse, time.Time, error) {
	found := map[KeyClient]*KeyClientUse{}
	days := s.days.list(loginFamily, micros(since), endOfTime)
	slices.Reverse(days)
	var rows int64
	from := since
	for _, day := range days {
		if rows >= maxClientRows || len(found) >= maxClients {
			from = timeOf(dayStart(day) + microsPerDay)
			break
		}
		n, err := s.clientsOfDay(ctx, account, day, micros(since), found)
		if err != nil {
			return nil, from, fmt.Errorf("read the programs of an account: %w", s.readError(err))
		}
		rows += n
	}
	all := make([]KeyClientUse, 0, len(found))
	for _, u := range found {
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b KeyClientUse) int {
		return cmp.Or(b.Last.Compare(a.Last), slices.Compare(a.Key.ID[:], b.Key.ID[:]), cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Helo, b.Helo))
	})
	return all, from, nil
}

// clientsOfDay adds a day's programs to those of later days, and returns how many
// records it read.
func (s *Store) clientsOfDay(ctx context.Context, account relay.AccountID, day int, since int64, found map[KeyClient]*KeyClientUse) (int64, error) {
	table := loginFamily.name
	if s.eng.dialect() == dSQLite {
		table += "_" + strconv.Itoa(day)
	}
	query := strings.Replace(clientQuery, "%s", table, 1) + strconv.Itoa(maxClientsOfADay)
	begin := dayStart(day)
	var rows int64
	err := eachRow(ctx, s.db, query, []any{blob(account.ID), max(begin, since), begin + microsPerDay, string(relay.LoginOK)}, func(r *sql.Rows) error {
		var u KeyClientUse
		var key []byte
		var first, last, n int64
		if err := r.Scan(&key, &u.Protocol, &u.Addr, &u.Helo, &u.Mechanism, &u.TLS, &first, &last, &u.Logins, &n); err != nil {
			return err
		}
		rows += n
		u.Key.ID, u.First, u.Last = idOf(key), timeOf(first), timeOf(last)
		switch old := found[u.KeyClient]; {
		case old != nil: // of a later day
			old.First, old.Logins = u.First, old.Logins+u.Logins
		default:
			found[u.KeyClient] = &u
		}
		return nil
	})
	return rows, err
}

const (
	ofAccountsDomains   = ` IN (SELECT id FROM domains WHERE account_id = $1 AND deleted_at = 0)`
	selectAccountChecks = `SELECT c.domain_id, c.at, f.found FROM domain_checks c JOIN domain_findings f ON f.domain_id = c.domain_id
		WHERE c.at > 0 AND c.domain_id` + ofAccountsDomains
	// Private keys stay where they are.
	selectAccountDKIM = `SELECT domain_id, selector, algorithm, bits, generation, NULL, record, active, imported, created_at, seen_at, activated_at, retired_at,
		withdrawn_at, '' FROM dkim_keys WHERE domain_id` + ofAccountsDomains + ` ORDER BY domain_id, selector`
)

// AccountChecks calls fn with the result of the last check of each domain of an
// account, in no order. Its records and findings are those of the check; times are
// At alone.
func (s *Store) AccountChecks(ctx context.Context, account relay.AccountID, fn func(relay.DomainCheck)) error {
	err := eachRow(ctx, s.db, selectAccountChecks, []any{blob(account.ID)}, func(r *sql.Rows) error {
		var c relay.DomainCheck
		var id []byte
		var at int64
		var found string
		if err := r.Scan(&id, &at, &found); err != nil {
			return err
		}
		if err := unpackJSON(found, &c, "domain_findings.found"); err != nil {
			return err
		}
		c.Domain.ID, c.At = idOf(id), timeOf(at)
		fn(c)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read an account's checks: %w", s.readError(err))
	}
	return nil
}

// AccountDKIMKeys lists the DKIM keys of an account's domains, without private
// keys.
func (s *Store) AccountDKIMKeys(ctx context.Context, account relay.AccountID) ([]relay.DKIMKey, error) {
	v, err := list(ctx, s.db, scanDKIMKey, selectAccountDKIM, blob(account.ID))
	return read(s, "DKIM keys", v, err)
}

// EngineVersion names the database: "SQLite" with its version and source id, or
// "PostgreSQL" with the server's version.
func (s *Store) EngineVersion(ctx context.Context) (name, version, source string, err error) {
	name, query, into := "SQLite", `SELECT sqlite_version(), sqlite_source_id()`, []any{&version, &source}
	if s.eng.dialect() == dPostgres {
		name, query, into = "PostgreSQL", `SELECT current_setting('server_version')`, []any{&version}
	}
	if err := s.db.QueryRowContext(ctx, query).Scan(into...); err != nil {
		return "", "", "", fmt.Errorf("read the database's version: %w", s.readError(err))
	}
	return name, version, source, nil
}
