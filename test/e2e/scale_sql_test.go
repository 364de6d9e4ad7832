package e2e

import (
	"database/sql"
	"encoding/base64"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver, to ask the database what it was asked

	"postern/internal/testkit/pgtest"
)

// TestLoginsAskNoSQL counts with the database's own statistics: while hundreds of
// clients log in, PostgreSQL is asked no more than it is in a quiet time of the
// same length, and what is recorded of the logins is written once a second.
func TestLoginsAskNoSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
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
	if _, err := db.Exec("CREATE EXTENSION pg_stat_statements"); err != nil {
		t.Fatal(err)
	}
	r := newNode(t, url, "")
	conf, from := clientTLS(t, r), &loopbacks{}
	line := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00apikey\x00"+r.APIKey))
	login := func() {
		s, err := dialSMTP(from.next(), r.SMTPTLS, conf, credential{})
		must(t, err)
		defer s.close()
		must(t, s.say(line, "235"))
		must(t, s.say("QUIT", "221"))
	}
	login()
	time.Sleep(2 * time.Second)
	const logins = 500
	start, reads, writes := time.Now(), statements(t, db, true), statements(t, db, false)
	for range logins {
		login()
	}
	time.Sleep(2 * time.Second) // what is recorded of them is written
	took := time.Since(start)
	busyReads, busyWrites := statements(t, db, true)-reads, statements(t, db, false)-writes
	reads, writes = statements(t, db, true), statements(t, db, false)
	time.Sleep(took)
	idleReads, idleWrites := statements(t, db, true)-reads, statements(t, db, false)-writes
	t.Logf("%d logins in %v: %d statements that read, %d that write; idle for as long: %d and %d", logins, took.Round(time.Millisecond), busyReads, busyWrites, idleReads, idleWrites)
	if busyReads > idleReads+idleReads/4+20 {
		t.Errorf("%d logins made %d reads, %d were made without any", logins, busyReads, idleReads)
	}
	// A login leaves a record, which is a row of its own.
	if busyWrites > idleWrites+3*logins {
		t.Errorf("%d logins made %d writes, %d were made without any", logins, busyWrites, idleWrites)
	}
}

// statements is how many statements that read, or that do anything else, the
// server has run, but for this question.
func statements(t testing.TB, db *sql.DB, reading bool) (n int64) {
	t.Helper()
	const question = `SELECT COALESCE(sum(calls), 0)::bigint FROM pg_stat_statements
		WHERE (query ~* '^\s*(select|with)') = $1 AND query NOT LIKE '%pg_stat_statements%'`
	must(t, db.QueryRow(question, reading).Scan(&n))
	return n
}
