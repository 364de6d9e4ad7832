package store

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestBehind(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := recorded(t, cfg, 3)
		runTest(t, s)
		ctx := t.Context()
		begin := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
		for i := range 5 {
			s.RecordLogin(relay.Login{At: begin.Add(time.Duration(i) * time.Minute), Result: relay.LoginWrong, Addr: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i))})
		}
		settled := time.Now()
		var logins Cursor
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // records are written a second later
			b, err := s.LoginsBehind(ctx, Cursor{}, settled)
			if err == nil && b.Records == 5 && b.Oldest.Equal(begin) {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("logins: %+v %v", b, err)
			}
		}
		if b, err := s.LoginsBehind(ctx, Cursor{}, begin); err != nil || b.Records != 0 {
			t.Errorf("before any has settled: %+v %v", b, err)
		}
		_, logins, err := s.ReadLogins(ctx, logins, settled, 2)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := s.LoginsBehind(ctx, logins, settled); err != nil || b.Records != 3 || !b.Oldest.Equal(begin.Add(2*time.Minute)) {
			t.Errorf("after two: %+v %v", b, err)
		}

		all, _, err := s.ReadChanges(ctx, Cursor{}, 100)
		if err != nil || len(all) < 4 {
			t.Fatal(len(all), err)
		}
		if b, err := s.ChangesBehind(ctx, Cursor{}); err != nil || b.Records != int64(len(all)) || !b.Oldest.Equal(all[0].At) {
			t.Errorf("changes: %+v %v, want %d", b, err, len(all))
		}
		_, some, err := s.ReadChanges(ctx, Cursor{}, len(all)-1)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := s.ChangesBehind(ctx, some); err != nil || b.Records != 1 {
			t.Errorf("but for the last: %+v %v", b, err)
		}
		_, end, err := s.ReadChanges(ctx, some, 10)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := s.ChangesBehind(ctx, end); err != nil || b.Records != 0 || !b.Oldest.IsZero() {
			t.Errorf("at the end: %+v %v", b, err)
		}
	})
}
