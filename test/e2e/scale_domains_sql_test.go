package e2e

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver, to ask the database what it was asked

	"postern/internal/testkit/pgtest"
)

// copyDomains makes n proven domains and their keys out of the template's rows,
// inside the database.
const copyDomains = `WITH made AS (
	INSERT INTO domains SELECT r.* FROM domains d, generate_series(1, $1::int) i, LATERAL jsonb_populate_record(d, jsonb_build_object(
		'id', '\x' || md5('domain ' || i), 'number', 1000 + i, 'name', 'c' || lpad(i::text, 6, '0') || '.test', 'state', 'verified', 'verified_at', 1,
		'token', left(translate(md5('token ' || i), '0189', 'wxyz'), 26), 'label', 'em' || i, 'return_path', 'em' || i || '.c' || lpad(i::text, 6, '0') || '.test')) r
	WHERE d.name = 'template.test' RETURNING id)
INSERT INTO dkim_keys SELECT r.* FROM dkim_keys k JOIN domains d ON d.id = k.domain_id, made, LATERAL jsonb_populate_record(k, jsonb_build_object('domain_id', made.id)) r
	WHERE d.name = 'template.test'`

// TestDomainsAskNoSQL counts with the database's own statistics: of a login, and
// of a message from MAIL to the end of its data, no statement reads who may send as
// which of many domains, and none reads anything more than in a quiet time.
func TestDomainsAskNoSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	n, _, _ := domainCount()
	if !mustHaveAll() {
		pgtest.Require(t).Close() // skips where there is none
	}
	server, err := pgtest.New("shared_preload_libraries=pg_stat_statements")
	switch {
	case err != nil && mustHaveAll(): // Debian's package has the extension
		t.Fatalf("no PostgreSQL with pg_stat_statements: %v", err)
	case err != nil:
		t.Skipf("no PostgreSQL with pg_stat_statements: %v", err)
	}
	t.Cleanup(server.Close)
	url := server.Database(t)
	db, err := sql.Open("pgx", url)
	must(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE EXTENSION pg_stat_statements")
	must(t, err)
	r := newNode(t, url, "")
	must(t, r.v3(t.Context(), "POST", "/whitelabel/domains", map[string]any{"domain": templateDomain, "automatic_security": false}, nil))
	var key madeKey // what it sends is accepted and goes nowhere: deliveries would read
	must(t, r.v3(t.Context(), "POST", "/api_keys", map[string]any{"name": "many", "scopes": []string{"mail.send"}, "mode": "test"}, &key))
	must(t, r.stop(40*time.Second))
	_, err = db.Exec(copyDomains, n)
	must(t, err)
	_, err = db.Exec("UPDATE domain_checks SET next_at = 0")
	must(t, err)
	t.Logf("%d domains: ready after %v", n, r.restart(t))

	conf, from := clientTLS(t, r), &loopbacks{}
	const sessions, each = 60, 5
	send := func(k int) {
		s, err := dialSMTP(from.next(), r.SMTPTLS, conf, credential{"apikey", key.APIKey})
		must(t, err)
		defer s.close()
		must(t, s.say(strings.TrimSpace(string(s.line)), "235"))
		for i := range each {
			must(t, s.envelope(fmt.Sprintf("c%06d.test", 1+(k*each+i)*7919%n)))
			must(t, s.say(".", "250"))
		}
		must(t, s.envelope("nobodys.test"))
		must(t, s.say(".", "550 5.7.1 The from address does not match a verified Sender Identity."))
	}
	send(sessions)
	time.Sleep(2 * time.Second)
	before, start := readStatements(t, db), time.Now()
	for i := range sessions {
		send(i)
	}
	time.Sleep(2 * time.Second)
	took := time.Since(start)
	busy := readStatements(t, db).since(before)
	before = readStatements(t, db)
	time.Sleep(took)
	idle := readStatements(t, db).since(before)
	t.Logf("%d messages and %d refusals of %d sessions in %v: %d statements that read; idle for as long: %d", sessions*each, sessions, sessions, took.Round(time.Millisecond), busy.all(), idle.all())
	for query, calls := range busy {
		t.Logf("%4d × %.100s (idle: %d)", calls, strings.Join(strings.Fields(query), " "), idle[query])
	}
	switch permission := busy.about(permissionTables); {
	case permission > idle.about(permissionTables)+20: // a change of anything is read once
		t.Errorf("%d statements read who may send as what, idle: %d", permission, idle.about(permissionTables))
	case busy.all() > idle.all()+idle.all()/4+20:
		t.Errorf("%d statements read, idle: %d", busy.all(), idle.all())
	}
}

// permissionTables have all that the decision depends on.
var permissionTables = regexp.MustCompile(`\b(domains|dkim_keys|domain_subusers|single_senders|subusers|accounts|keys)\b`)

// readings are the calls of each statement that reads.
type readings map[string]int64

func readStatements(t testing.TB, db *sql.DB) readings {
	t.Helper()
	rows, err := db.Query(`SELECT query, sum(calls)::bigint FROM pg_stat_statements
		WHERE query ~* '^\s*(select|with)' AND query NOT LIKE '%pg_stat_statements%' GROUP BY query`)
	must(t, err)
	defer rows.Close()
	out := readings{}
	for rows.Next() {
		var query string
		var calls int64
		must(t, rows.Scan(&query, &calls))
		out[query] = calls
	}
	must(t, rows.Err())
	return out
}

// since are the calls after an earlier look.
func (r readings) since(before readings) readings {
	out := readings{}
	for query, calls := range r {
		if calls > before[query] {
			out[query] = calls - before[query]
		}
	}
	return out
}

func (r readings) all() int64 { return r.about(regexp.MustCompile("")) }

func (r readings) about(re *regexp.Regexp) (n int64) {
	for query, calls := range r {
		if re.MatchString(query) {
			n += calls
		}
	}
	return n
}
