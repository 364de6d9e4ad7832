package store

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
)

// TestLogIsBoundedWhileRead: with readers that overlap without end there is
// always one on some place of the log. It starts again all the same.
func TestLogIsBoundedWhileRead(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{Path: filepath.Join(t.TempDir(), "postern.db"), MinFree: 4 << 20})
	stop := runTest(t, s)
	e, ok := s.eng.(*sqliteEngine)
	if !ok {
		t.Fatal("not SQLite")
	}
	ctx, end := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	for range 6 {
		readers.Go(func() {
			for ctx.Err() == nil {
				var n int64
				// About 10 ms on the log as it was when it began.
				_ = s.db.QueryRowContext(ctx, `WITH RECURSIVE c(n) AS (SELECT count(*) FROM messages UNION ALL SELECT n + 1 FROM c LIMIT 20000) SELECT max(n) FROM c`).Scan(&n)
			}
		})
	}
	var longest int64
	for range 200 {
		accept(t, s, mail(t, s, 1, 100_000, false))
		longest = max(longest, e.walSize())
	}
	end()
	readers.Wait()
	// All of it together is 37 MB of log; with this MinFree it begins anew from 2 MB.
	if longest > 16<<20 {
		t.Errorf("the log was %d octets long", longest)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
