package pgtest

import (
	"database/sql"
	"testing"
)

func TestServer(t *testing.T) {
	t.Parallel()
	s := Require(t)
	url := s.Database(t)
	put := func(query string) {
		t.Helper()
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	put("CREATE TABLE a (b BIGINT)")
	s.Crash()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	put("INSERT INTO a VALUES (1)")
	s.Stop()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	put("DROP TABLE a")
}
