package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
)

// poolerLost is what a pooler says whose server is gone (FATAL, 08P01).
var poolerLost = []byte("E\x00\x00\x00\x30SFATAL\x00VFATAL\x00C08P01\x00Mserver conn crashed?\x00\x00")

// throughLoss is the address of a server behind something that loses the answer to the
// next COMMIT once it is armed, and the connection with it; instead is what it says.
func throughLoss(t *testing.T, server string, instead []byte) (through string, armed *atomic.Bool) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	real := filepath.Join(q.Get("host"), ".s.PGSQL.5432")
	dir, err := os.MkdirTemp("", "loss") // a socket's path has at most 107 octets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	armed = &atomic.Bool{}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("unix", real)
			if err != nil {
				_ = c.Close()
				continue
			}
			go passOn(c, s, armed, instead)
		}
	}()
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	return u.String(), armed
}

// passOn passes octets on in both directions until one side ends.
func passOn(client, server net.Conn, armed *atomic.Bool, instead []byte) {
	var lose atomic.Bool
	go func() {
		defer func() { _ = server.Close() }()
		b := make([]byte, 64<<10)
		for {
			n, err := client.Read(b)
			if bytes.Contains(bytes.ToLower(b[:n]), []byte("commit\x00")) && armed.CompareAndSwap(true, false) {
				lose.Store(true)
			}
			if _, failed := server.Write(b[:n]); err != nil || failed != nil {
				return
			}
		}
	}()
	defer func() { _ = client.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		if lose.Load() { // the server has answered, and nobody hears of it
			_, _ = client.Write(instead)
			return
		}
		if err != nil {
			return
		}
		if _, err := io.Copy(client, bytes.NewReader(b[:n])); err != nil {
			return
		}
	}
}

// AP-13: a change whose COMMIT is not answered may be stored: nobody is told to try again, so
// that no key is made twice, and it is not tried again here.
func TestLostCommitOfAChange(t *testing.T) {
	t.Parallel()
	for what, instead := range map[string][]byte{"closed": nil, "a pooler": poolerLost} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			through, armed := throughLoss(t, sharedPg(t).Database(t), instead)
			s, _ := openTest(t, Config{URL: through, LeaseTime: time.Hour})
			ctx, w := context.Background(), newWorld(t, s)
			n := rows(t, s, "changes")
			armed.Store(true)
			err := s.SetAccountDisabled(ctx, testBy, w.account.ID, time.Now())
			if !errors.Is(err, ErrUnknown) || relay.KindOf(err) != relay.Internal {
				t.Errorf("a change of which nobody knows: %v", err)
			}
			a, err := s.Account(ctx, w.account.ID)
			if err != nil || a.DisabledAt.IsZero() || armed.Load() {
				t.Errorf("the change was not stored, so that this tests nothing: %+v, %v", a, err)
			}
			if err := s.SetAccountDisabled(ctx, testBy, w.account.ID, time.Time{}); err != nil {
				t.Error(err)
			}
			if rows(t, s, "changes") != n+2 {
				t.Error("a change is recorded twice, or not at all")
			}
		})
	}
}
