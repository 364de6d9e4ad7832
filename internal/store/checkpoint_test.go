package store

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"
)

// TestLogIsBoundedWhileRead: with readers of which the next begins before the last
// one ends, there is always one on some place of the log. It begins anew all the same.
func TestLogIsBoundedWhileRead(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{Path: filepath.Join(t.TempDir(), "postern.db"), MinFree: 4 << 20, restartWait: time.Minute})
	stop := runTest(t, s)
	e, ok := s.eng.(*sqliteEngine)
	if !ok {
		t.Fatal("not SQLite")
	}
	// A reader that was too long once, and is gone, says nothing about those now.
	e.mu.Lock()
	e.waitedAt = 1 << 40
	e.mu.Unlock()
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var last *sql.Tx
		for ctx.Err() == nil {
			tx, err := s.db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
			var n int64
			if err == nil {
				err = tx.QueryRow(`SELECT count(*) FROM messages`).Scan(&n)
			}
			if err != nil {
				t.Error(err)
				return
			}
			if last != nil {
				_ = last.Rollback()
			}
			last = tx
			time.Sleep(50 * time.Millisecond) // dozens of batches
		}
		_ = last.Rollback()
	}()
	var longest int64
	for range 200 {
		accept(t, s, mail(t, s, 1, 100_000, false))
		longest = max(longest, e.walSize())
	}
	end()
	<-done
	t.Logf("the log was at most %d octets long", longest)
	// All of it together is 37 MB of log; with this MinFree it begins anew from 2 MB.
	if longest > 20<<20 {
		t.Errorf("the log was %d octets long", longest)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
