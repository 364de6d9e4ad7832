package e2e

import (
	"bytes"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/testkit/ledger"
	"postern/internal/testkit/ledger/relayproc"

	_ "modernc.org/sqlite"
)

// waiting is a stopped relay with eight messages in its queue, and the judge that
// lets them go.
func waiting(t *testing.T, seed int64) (*relayproc.World, *switchable, []ledger.Entry) {
	t.Helper()
	gate := &switchable{}
	w := relayproc.New(t, seed, relayproc.Options{Binary: binary(t), Judge: gate.judge})
	w.Setup(t)
	c, err := ledger.Dial(w.Login)
	must(t, err)
	defer c.Close()
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	for i := range 8 {
		id := fmt.Sprintf("waiting-%d", i)
		ledger.Offer(c, w.Ledger, ledger.Entry{ID: id, Recipients: []string{id + "@one.test"}}, w.From, ledger.Body(rng, 2000+i*15_000))
	}
	if w.Ledger.Acked() != 8 {
		t.Fatalf("not all were acknowledged: %s", w.Ledger)
	}
	w.Stop(t)
	gate.open.Store(true)
	return w, gate, w.Ledger.Entries()
}

// query reads one value from the stopped relay's database. Closing it moves all
// of the log into the database's own file.
func query(t *testing.T, w *relayproc.World, into any, text string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.Dir, "postern.db"))
	must(t, err)
	if err := db.QueryRowContext(t.Context(), text, args...).Scan(into); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	must(t, db.Close())
}

// flip changes one bit of the database's file, so many octets after each place
// where a run of octets is found: the tree may have left older copies of it in
// pages' unused parts.
func flip(t *testing.T, w *relayproc.World, run []byte, after int) {
	t.Helper()
	path := filepath.Join(w.Dir, "postern.db")
	b, err := os.ReadFile(path)
	must(t, err)
	n := 0
	for from := 0; ; n++ {
		at := bytes.Index(b[from:], run)
		if at < 0 {
			break
		}
		b[from+at+after] ^= 0x10
		from += at + len(run)
	}
	if n == 0 {
		t.Fatalf("%d octets are nowhere in the file", len(run))
	}
	must(t, os.WriteFile(path, b, 0o600))
}

// TestFaultFlippedBody is PF-08 for one stored message: a bit flips in a sealed
// chunk of a body. That message is quarantined and reported, none of it leaves,
// and all others are delivered.
func TestFaultFlippedBody(t *testing.T) {
	t.Parallel()
	w, _, entries := waiting(t, 51)
	bad := entries[3]
	id, err := relay.ParseID(bad.QueueID)
	must(t, err)
	var chunk []byte
	query(t, w, &chunk, "SELECT chunk FROM bodies WHERE message_id = $1 ORDER BY seq DESC LIMIT 1", id[:])
	flip(t, w, chunk[:64], 40)
	w.Start(t)
	until(t, "the other messages", func() bool { return len(w.Ledger.Missing()) == 1 })
	until(t, "quarantine", func() bool {
		q := w.Queue(t)
		return len(q) == 1 && q[0].Message.ID == bad.QueueID && q[0].Message.State == "quarantined"
	})
	if missing := w.Ledger.Missing(); len(missing) != 1 || !strings.HasPrefix(missing[0], bad.ID+" ") {
		t.Errorf("not delivered: %v, want only %s", missing, bad.ID)
	}
	var why string
	for _, e := range w.Events(t) {
		if e.Kind == "quarantined" && e.Message == bad.QueueID {
			why = e.Data.Reason
		}
	}
	if why == "" {
		t.Error("no event says that the message was quarantined, and why")
	}
	t.Logf("quarantined: %s", why)
	r := w.Ledger.Check(nil)
	if len(r.Damaged)+len(r.Unknowns)+len(r.TooMany) > 0 {
		t.Error(r.Err())
	}
	w.Stop(t)
}

// TestFaultFlippedPage is PF-08 for the database itself: the first page of the
// table of recipients is spoiled. The relay stops with clear words instead of
// working with half a queue; with the page repaired everything is delivered.
func TestFaultFlippedPage(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"recipients", "messages"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			flippedPage(t, table)
		})
	}
}

func flippedPage(t *testing.T, table string) {
	w, _, _ := waiting(t, 52)
	var root, size int64
	query(t, w, &root, "SELECT rootpage FROM sqlite_schema WHERE name = $1", table)
	query(t, w, &size, "PRAGMA page_size")
	path := filepath.Join(w.Dir, "postern.db")
	sound, err := os.ReadFile(path)
	must(t, err)
	spoiled := bytes.Clone(sound)
	spoiled[(root-1)*size] ^= 0x04 // the kind of the page: no kind of b-tree has this
	must(t, os.WriteFile(path, spoiled, 0o600))
	must(t, w.Launch(nil))
	select {
	case <-w.Process().Done():
	case <-time.After(30 * time.Second):
		t.Fatalf("the relay goes on with a damaged database\n%s", w.LogTail(3000))
	}
	if w.Process().ExitCode() == 0 {
		t.Error("the relay ended with 0")
	}
	if text := strings.ToLower(w.LogTail(3000)); !strings.Contains(text, "damaged") && !strings.Contains(text, "malformed") && !strings.Contains(text, "corrupt") {
		t.Errorf("the relay does not say that its database is damaged:\n%s", text)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		os.Remove(path + suffix)
	}
	must(t, os.WriteFile(path, sound, 0o600))
	w.Start(t)
	w.Rest(t, 30*time.Second)
	w.Check(t)
	w.Stop(t)
}
