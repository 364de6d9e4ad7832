package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
	"postern/internal/testkit/ledger/relayproc"
)

// fixture is a data directory that an older version left: it is written once by
// the version of its name, and every later version must open and deliver it.
const fixture = "testdata/fixture-v1"

// promised is what stands beside the data directory.
type promised struct {
	WrittenAt time.Time      `json:"written_at"`
	Key       string         `json:"key"`
	InFlight  string         `json:"in_flight"` // the message whose attempt was under way when the process died
	Entries   []ledger.Entry `json:"entries"`
}

// TestFixture opens the fixture with this binary. Where the tests may build a
// binary whose clock stands at the fixture's time (its messages would have
// expired by now), everything that waits in it is delivered; elsewhere it is
// opened and read.
func TestFixture(t *testing.T) {
	t.Parallel()
	if os.Getenv("POSTERN_WRITE_FIXTURE") == "1" {
		writeFixture(t)
	}
	b, err := os.ReadFile(filepath.Join(fixture, "promised.json"))
	must(t, err)
	var p promised
	must(t, json.Unmarshal(b, &p))
	if len(p.Entries) < 4 {
		t.Fatalf("the fixture holds %d messages", len(p.Entries))
	}
	t.Run("read", func(t *testing.T) { readFixture(t, p) })
	t.Run("delivered", func(t *testing.T) { deliverFixture(t, p) })
}

func readFixture(t *testing.T, p promised) {
	dir := t.TempDir()
	unpackFixture(t, dir)
	h, err := openImage(context.Background(), dir)
	must(t, err)
	for _, e := range p.Entries {
		if what := lacking(h, accepted{e}); what != "" {
			t.Errorf("%s: %s", e.ID, what)
		}
		r := h.of(e.QueueID, e.Recipients[0])
		if r.possibly != (e.ID == p.InFlight) {
			t.Errorf("%s: possibly delivered is %t", e.ID, r.possibly)
		}
	}
}

func deliverFixture(t *testing.T, p promised) {
	if testing.Short() || !mustHaveAll() {
		t.Skip("builds the binary with another clock; POSTERN_TEST_EXTERNAL=1 runs it")
	}
	bin, err := jumpyBinary()
	must(t, err)
	dir := filepath.Join(t.TempDir(), "data")
	must(t, os.Mkdir(dir, 0o700))
	unpackFixture(t, dir)
	clock := filepath.Join(t.TempDir(), "clock")
	ahead := time.Until(p.WrittenAt.Add(time.Minute))
	must(t, os.WriteFile(clock, []byte(fmt.Sprint(int64(ahead/time.Second))), 0o600))
	w := relayproc.New(t, 61, relayproc.Options{Binary: bin, DataDir: dir, Env: []string{jumpEnv + "=" + clock}})
	w.Login.Password = p.Key
	w.Ledger.Adopt(p.Entries)
	w.Start(t)
	w.Rest(t, 40*time.Second)
	w.Check(t)
	marks := relayproc.Marks(w.Events(t))
	if len(marks) != 1 || marks[0].ID != p.InFlight {
		t.Errorf("marked as possibly delivered: %+v, want %s alone", marks, p.InFlight)
	}
	// The old key still opens the door.
	mustOffer(t, w, "with-the-old-key", "n@one.test")
	w.Rest(t, 30*time.Second)
	w.Check(t)
	w.Stop(t)
}

// writeFixture makes the data directory: three messages that were put off once,
// and one whose attempt is under way when the process is killed.
func writeFixture(t *testing.T) {
	t.Helper()
	hanging := make(chan bool, 1)
	w := relayproc.New(t, 60, relayproc.Options{Binary: binary(t), Judge: func(step ledger.Step, id, rcpt string) ledger.Verdict {
		switch {
		case step == ledger.AtEnd && id == "in-flight":
			hanging <- true
			return ledger.Verdict{Hang: true}
		case step == ledger.AtRcpt && rcpt != "in-flight@two.test":
			return ledger.Verdict{Reply: "451 4.2.0 not yet"}
		}
		return ledger.Verdict{}
	}})
	w.Setup(t)
	for _, id := range []string{"put-off-a", "put-off-b", "put-off-c"} {
		mustOffer(t, w, id, id+"@one.test")
	}
	until(t, "an attempt of each", func() bool {
		n := 0
		for _, m := range w.Queue(t) {
			n += min(m.Recipients[0].Attempts, 1)
		}
		return n == 3
	})
	// A clean end folds the log into the database, so that the fixture is small.
	w.Stop(t)
	w.Start(t)
	mustOffer(t, w, "in-flight", "in-flight@two.test")
	<-hanging
	w.Kill()
	must(t, os.RemoveAll(fixture))
	must(t, os.MkdirAll(fixture, 0o755))
	packFixture(t, w.Dir)
	b, err := json.MarshalIndent(promised{WrittenAt: time.Now().UTC().Truncate(time.Second), Key: w.Login.Password, InFlight: "in-flight", Entries: w.Ledger.Entries()}, "", "  ")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(fixture, "promised.json"), append(b, '\n'), 0o644))
}

// inFixture are the files that make a data directory.
var inFixture = []string{"postern.db", "postern.db-wal", "sealing.key"}

func packFixture(t *testing.T, dir string) {
	t.Helper()
	var out bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	must(t, err)
	archive := tar.NewWriter(zipped)
	for _, name := range inFixture {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		must(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b))}))
		_, err = archive.Write(b)
		must(t, err)
	}
	must(t, errors.Join(archive.Close(), zipped.Close()))
	must(t, os.WriteFile(filepath.Join(fixture, "data.tar.gz"), out.Bytes(), 0o644))
}

func unpackFixture(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join(fixture, "data.tar.gz"))
	must(t, err)
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	must(t, err)
	archive := tar.NewReader(zipped)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		b, err := io.ReadAll(archive)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), b, 0o600))
	}
}
