package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/secret"
)

var sameAddr = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}

// quiet is a logger for tests that provoke errors.
var quiet = slog.New(slog.DiscardHandler)

// testSealer is one sealing key for all tests of the process.
var testSealer = func() *secret.Sealer {
	s, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		panic(err)
	}
	return s
}()

// openTest opens a store without running it.
func openTest(t testing.TB, cfg Config) (*Store, Recovery) {
	t.Helper()
	if cfg.Path == "" && cfg.URL == "" {
		cfg.Path = filepath.Join(t.TempDir(), "postern.db")
	}
	if cfg.Sealer == nil {
		cfg.Sealer = testSealer
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	if cfg.URL == "" {
		putBlank(t, cfg.Path)
	}
	s, rec, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, rec
}

// blank is a database with the newest schema that nobody has opened a store on: to
// migrate one anew is most of what a short test costs under the race detector.
var blank = sync.OnceValues(func() (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "postern-blank-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &Store{cfg: Config{Path: filepath.Join(dir, "postern.db"), Logger: quiet}}
	if err := s.openSQLite(context.Background()); err != nil {
		return nil, err
	}
	if err := s.eng.close(); err != nil {
		return nil, err
	}
	return os.ReadFile(s.cfg.Path)
})

// putBlank puts one where there is no file yet.
func putBlank(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return
	}
	db, err := blank()
	if err == nil {
		err = os.WriteFile(path, db, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// runTest runs a store until the test ends, or stop is called.
func runTest(t testing.TB, s *Store) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var err error
	ended := false
	stop = func() error {
		if !ended {
			ended = true
			cancel()
			err = <-done
		}
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, ErrStopped) {
			t.Errorf("run: %v", err)
		}
	})
	return stop
}

// newTest opens and runs a store.
func newTest(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, _ := openTest(t, cfg)
	runTest(t, s)
	return s
}

var (
	testPool    = relay.PoolID{ID: relay.NewID(time.Now())}
	testTenant  = relay.Tenant{Account: relay.AccountID{ID: relay.NewID(time.Now())}}
	testSubuser = relay.SubuserID{ID: relay.NewID(time.Now())}
	testHead    = []byte("From: a@example.test\r\nSubject: x\r\n\r\n")
)

// mail makes an acceptance for n recipients of one site, with a body of size
// octets. leased: the caller runs the first attempt.
func mail(t testing.TB, s *Store, n int, size int, leased bool) *Acceptance {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	id := relay.MessageID{ID: relay.NewID(now)}
	a := &Acceptance{Message: relay.Message{
		ID: id, Tenant: testTenant, Pool: testPool, State: relay.MessageQueued,
		EnvelopeFrom: "a@example.test", ReturnPath: "b@example.test", Body: relay.Body8Bit, HeaderFrom: "a@example.test",
		Subject: "caf\xe9", HeaderID: "<1@example.test>", Size: int64(len(testHead) + size), Categories: []string{"x", "y"},
		UniqueArgs: map[string]string{"k": "v"}, AcceptedAt: now, ExpiresAt: now.Add(96 * time.Hour),
		Source: relay.Source{Addr: netip.MustParseAddr("192.0.2.7"), Helo: "client.test", Protocol: "ESMTPSA", TLS: "TLSv1.3", Mechanism: "PLAIN"},
	}, Head: testHead}
	for i := range n {
		r := relay.Recipient{N: i, Address: fmt.Sprintf("r%d@site.test", i), Site: "site.test", DueAt: now, ORcpt: "rfc822;x"}
		if leased {
			r.Lease, r.Generation = s.Epoch(), 1
		}
		a.Recipients = append(a.Recipients, r)
	}
	data, _ := json.Marshal(relay.EventData{Size: a.Message.Size})
	a.Events = []relay.Event{{At: now, Kind: relay.EventReceived, Tenant: testTenant, Message: id, N: -1, Data: data}}
	if size > 0 {
		a.Body = s.NewBody(id)
		if _, err := a.Body.Write(octetsOf(id, size)); err != nil {
			t.Fatalf("write body: %v", err)
		}
	}
	return a
}

// octetsOf is a body of random octets that the id determines.
func octetsOf(id relay.MessageID, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = id.ID[i%16] ^ byte(i>>8) ^ byte(i*7)
	}
	return b
}

func accept(t testing.TB, s *Store, a *Acceptance) {
	t.Helper()
	if err := s.Accept(context.Background(), a); err != nil {
		t.Fatalf("accept: %v", err)
	}
}

func refs(a *Acceptance) []Ref {
	var out []Ref
	for _, r := range a.Recipients {
		out = append(out, Ref{Message: a.Message.ID, N: r.N, Generation: r.Generation})
	}
	return out
}

// final makes the result in which all recipients are delivered.
func final(id relay.MessageID, recipients []relay.Recipient) Result {
	r := Result{Message: id}
	for _, v := range recipients {
		r.Recipients = append(r.Recipients, RecipientResult{N: v.N, Generation: v.Generation, Final: true})
		r.Events = append(r.Events, relay.Event{At: time.Now(), Kind: relay.EventDelivered, Tenant: testTenant, Message: id, N: v.N, Recipient: v.Address})
	}
	return r
}

// readAll reads a stored message.
func readAll(t testing.TB, s *Store, id relay.MessageID) []byte {
	t.Helper()
	b, err := readContent(s, id)
	if err != nil {
		t.Fatalf("content: %v", err)
	}
	return b
}

func readContent(s *Store, id relay.MessageID) ([]byte, error) {
	c, err := s.Content(context.Background(), id)
	if err != nil {
		return nil, err
	}
	r, err := c.Open(context.Background())
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	if err == nil && int64(len(b)) != c.Size() {
		err = fmt.Errorf("%d octets, size says %d", len(b), c.Size())
	}
	return b, err
}

func rows(t testing.TB, s *Store, table string) int {
	t.Helper()
	var n int
	if err := s.db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
		t.Fatalf("count %s: %v", table, err)
	}
	return n
}

// wantRows checks how many rows the queue's tables have.
func wantRows(t testing.TB, s *Store, messages, recipients, bodies, pending int) {
	t.Helper()
	for _, c := range []struct {
		table string
		want  int
	}{{"messages", messages}, {"recipients", recipients}, {"bodies", bodies}, {"pending_bodies", pending}} {
		if n := rows(t, s, c.table); n != c.want {
			t.Errorf("%s: %d rows, want %d", c.table, n, c.want)
		}
	}
}

// checkInvariants looks for what must never be, whatever happened before.
func checkInvariants(t testing.TB, s *Store) {
	t.Helper()
	for what, query := range map[string]string{
		"recipients without message": `SELECT count(*) FROM recipients r WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = r.message_id)`,
		"messages without recipient": `SELECT count(*) FROM messages m WHERE NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id)`,
		"chunks of nothing": `SELECT count(*) FROM bodies b WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = b.message_id)
			AND NOT EXISTS (SELECT 1 FROM pending_bodies p WHERE p.message_id = b.message_id)
			AND NOT EXISTS (SELECT 1 FROM kept_bodies k WHERE k.message_id = b.message_id)`,
		"started without lease":        `SELECT count(*) FROM recipients WHERE started <> 0 AND started <> lease`,
		"held messages, free to claim": `SELECT count(*) FROM recipients r JOIN messages m ON m.id = r.message_id WHERE m.state <> 'queued' AND r.held = 0`,
	} {
		var n int
		if err := s.db.QueryRow(query).Scan(&n); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	all, err := s.Events(context.Background(), EventFilter{Limit: maxEventsPage})
	if err != nil {
		t.Fatal(err)
	}
	next := map[int64]int64{}
	for _, e := range all {
		if next[e.Epoch]++; next[e.Epoch] != e.Seq && len(all) < maxEventsPage {
			t.Fatalf("epoch %d: event %d where %d should be", e.Epoch, e.Seq, next[e.Epoch])
		}
	}
	msgs, err := s.Messages(context.Background(), MessageFilter{Limit: maxMessages})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range msgs {
		if _, err := readContent(s, q.Message.ID); err != nil {
			t.Errorf("message %s: %v", q.Message.ID, err)
		}
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func sameOctets(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("octets differ: %d, want %d", len(got), len(want))
	}
}
