package pgtest

import (
	"errors"
	"os"
	"testing"
)

// Require starts a server for one test and ends it with it. Without PostgreSQL the
// test is skipped, unless POSTERN_TEST_EXTERNAL=1 says that it must be there.
func Require(tb testing.TB) *Server {
	tb.Helper()
	s, err := New()
	if errors.Is(err, ErrNotInstalled) && os.Getenv("POSTERN_TEST_EXTERNAL") != "1" {
		tb.Skip("no PostgreSQL server is installed (POSTERN_TEST_EXTERNAL=1 makes this a failure)")
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}
