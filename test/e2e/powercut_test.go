package e2e

import (
	"context"
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
	"postern/internal/testkit/powercut"
)

// recording is one run of the real binary under strace, with what it promised.
type recording struct {
	world    *relayproc.World
	model    *powercut.Model
	promises []powercut.Promise
	opened   map[powercut.Mode]int
}

// accepted is a promise that a message is kept: queued or at its recorded end.
type accepted struct{ entry ledger.Entry }

// attempted is a promise that, once the end of data went to a receiving server,
// the recipient is marked as possibly delivered, or at its recorded end.
type attempted struct {
	queueID, recipient string
}

// TestPowerCut is PF-04: from the record of one run under load, the images that
// a power cut may leave are rebuilt and opened, and the ledger must hold in
// each. The same record proves that the sync came before each 250.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a while")
	}
	external(t, "strace")
	rec := record(t)
	t.Logf("%s; %d promises; record: %d changes, %d syncs, %d changes never synced",
		rec.world.Ledger, len(rec.promises), rec.model.Writes(), rec.model.Syncs(), rec.model.Unsynced())
	last := 0
	for _, p := range rec.promises {
		last = max(last, p.Pos)
	}
	t.Logf("%d pages were moved from the log to the database before the last promise", rec.model.WritesBefore("postern.db", last))
	t.Run("sync precedes 250", rec.syncFirst)
	t.Run("images", rec.images)
	t.Run("relay starts on images", rec.restart)
	if os.Getenv("POSTERN_POWERCUT_PAGE") == "1" && !t.Failed() {
		must(t, os.WriteFile("../../docs/powercut-ledger.md", []byte(rec.page()), 0o644))
	}
}

// record runs the relay under strace while clients hand mail in.
func record(t *testing.T) *recording {
	t.Helper()
	seed := int64(envInt(t, "POSTERN_POWERCUT_SEED", 4))
	w := relayproc.New(t, seed, relayproc.Options{Binary: binary(t), Judge: relayproc.LazySink(seed)})
	w.Setup(t)
	w.Stop(t)
	base, file := filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "record")
	copyDir(t, w.Dir, base)
	w.StartUnder(t, func(program []string) []string { return powercut.Command(file, nil, program...) })
	load := w.Load(4, envInt(t, "POSTERN_POWERCUT_MESSAGES", 60))
	load.Sizes = []int{300, 4000, 20_000, 20_000, 300_000}
	if err := load.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Rest(t, 60*time.Second)
	w.Check(t)
	w.Stop(t)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := powercut.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recording{world: w}
	if rec.model, err = powercut.NewModel(r, w.Dir, base, powercut.Volatile); err != nil {
		t.Fatal(err)
	}
	rec.collect(t)
	return rec
}

// collect finds in the record where each promise was made.
func (rec *recording) collect(t *testing.T) {
	t.Helper()
	queueIDs := map[string]string{}
	for _, e := range rec.world.Ledger.Entries() {
		if e.Phase != ledger.Acked {
			t.Fatalf("%s was not acknowledged: %s %s", e.ID, e.Phase, e.Reply)
		}
		queueIDs[e.ID] = e.QueueID
		pos, err := rec.model.WroteTo(e.Conn, e.ReplyAt)
		if err != nil {
			t.Fatal(err)
		}
		rec.promises = append(rec.promises, powercut.Promise{Pos: pos, ID: e.ID, Want: accepted{e}})
	}
	for _, take := range rec.world.Ledger.Takes() {
		pos, err := rec.model.WroteFrom(take.Conn, take.At)
		if err != nil {
			t.Fatal(err)
		}
		rec.promises = append(rec.promises, powercut.Promise{Pos: pos, ID: take.ID + " " + take.Recipient, Want: attempted{queueIDs[take.ID], take.Recipient}})
	}
}

// syncFirst proves from the record alone that the octets which name a message
// were written and synced before its 250 was.
func (rec *recording) syncFirst(t *testing.T) {
	proved := 0
	for _, p := range rec.promises {
		a, ok := p.Want.(accepted)
		if !ok {
			continue
		}
		id, err := relay.ParseID(a.entry.QueueID)
		if err != nil {
			t.Fatal(err)
		}
		if file, err := rec.model.SyncedBefore(id[:], p.Pos); err != nil {
			t.Errorf("%s, queued as %s: %v", a.entry.ID, a.entry.QueueID, err)
		} else if !strings.HasSuffix(file, "-wal") {
			t.Errorf("%s was first written to %s, not to the log", a.entry.ID, file)
		}
		proved++
	}
	t.Logf("%d times the sync came first", proved)
}

// judge opens one image and returns what it lacks.
func (rec *recording) judge(t *testing.T, i *powercut.Image) []string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "image")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := i.Write(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h, err := openImage(ctx, dir)
	if err != nil {
		return []string{fmt.Sprintf("%s does not open: %v", i, err)}
	}
	var lacks []string
	for _, p := range powercut.Due(rec.promises, i.Cut) {
		if what := lacking(h, p.Want); what != "" {
			lacks = append(lacks, fmt.Sprintf("%s lacks %s: %s", i, p.ID, what))
		}
	}
	for key, r := range h.recipients {
		if r.finals > 1 || r.finals == 1 && r.queued {
			lacks = append(lacks, fmt.Sprintf("%s: %s has %d ends, queued %t", i, key, r.finals, r.queued))
		}
	}
	return lacks
}

// lacking says what of a promise is not kept, or "".
func lacking(h *holdings, want any) string {
	switch want := want.(type) {
	case accepted:
		for _, rcpt := range want.entry.Recipients {
			r := h.of(want.entry.QueueID, rcpt)
			if !r.queued && r.finals == 0 {
				return rcpt + " is neither queued nor at an end"
			}
			if sum, ok := h.sums[want.entry.QueueID]; r.queued && (!ok || sum != want.entry.Sum) {
				return "another body than was accepted"
			}
		}
	case attempted:
		if r := h.of(want.queueID, want.recipient); r.finals == 0 && !r.possibly {
			return "may have been delivered and is not marked so"
		}
	}
	return ""
}

// images opens, for each promise, the image that holds only what is certain at
// that moment, and a sample of all others.
func (rec *recording) images(t *testing.T) {
	var lacks []string
	n := map[powercut.Mode]int{}
	look := func(i *powercut.Image) {
		n[i.Mode]++
		lacks = append(lacks, rec.judge(t, i)...)
	}
	for _, p := range rec.promises {
		look(rec.model.Image(p.Pos+1, powercut.Dropped, 1))
	}
	fallback := 60
	if mustHaveAll() {
		fallback = 240
	}
	all, want := 0, envInt(t, "POSTERN_POWERCUT_IMAGES", fallback)
	for range rec.model.Images(1, powercut.Modes) {
		all++
	}
	rng := rand.New(rand.NewPCG(uint64(rec.world.Ledger.Seed), 5))
	for i := range rec.model.Images(1, powercut.Modes) {
		if rng.IntN(all) < want {
			look(i)
		}
	}
	t.Logf("images opened: %v, of %d", n, all)
	rec.opened = n
	if len(lacks) > 0 {
		t.Errorf("seed %d: %d findings\n%s", rec.world.Ledger.Seed, len(lacks), strings.Join(lacks[:min(len(lacks), 30)], "\n"))
	}
}

// restart starts the real binary on a few images and lets it deliver what is
// left; with what the sink took before the cut, nothing may be missing.
func (rec *recording) restart(t *testing.T) {
	cuts := rec.model.Cuts(9)
	rng := rand.New(rand.NewPCG(uint64(rec.world.Ledger.Seed), 6))
	for range 3 {
		cut := cuts[len(cuts)/4+rng.IntN(len(cuts)/2)]
		image := rec.model.Image(cut, powercut.Modes[rng.IntN(len(powercut.Modes))], 9)
		t.Run(strings.ReplaceAll(image.String(), " ", "_"), func(t *testing.T) { rec.restartOn(t, image) })
	}
}

func (rec *recording) restartOn(t *testing.T, image *powercut.Image) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := image.Write(dir); err != nil {
		t.Fatal(err)
	}
	w := relayproc.New(t, rec.world.Ledger.Seed, relayproc.Options{Binary: rec.world.Binary, DataDir: dir})
	w.Login.Password = rec.world.Login.Password
	w.Start(t)
	deadline := time.Now().Add(30 * time.Second)
	for len(w.Queue(t)) > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	ends := map[string]bool{}
	for _, e := range w.Events(t) {
		if e.Kind == "delivered" {
			ends[e.Message+" "+e.Recipient] = true
		}
	}
	due := 0
	for _, p := range powercut.Due(rec.promises, image.Cut) {
		a, ok := p.Want.(accepted)
		if !ok {
			continue
		}
		due++
		for _, rcpt := range a.entry.Recipients {
			if !ends[a.entry.QueueID+" "+rcpt] {
				t.Errorf("%s %s, queued as %s, never ended", a.entry.ID, rcpt, a.entry.QueueID)
			}
		}
	}
	t.Logf("%d messages had been acknowledged; all ended", due)
	w.Stop(t)
}

// page is what `make soak` keeps of the run.
func (rec *recording) page() string {
	var b strings.Builder
	b.WriteString("# The power-cut ledger\n\n" +
		"Written by `make soak`; do not edit. The real binary took mail under strace. From the record of its system calls every image that\n" +
		"a power cut may leave was rebuilt: right before the end of each sync and at a random moment before it, in each of the ways below.\n" +
		"Each image was opened as the relay opens its data directory, and everything that had been promised by that moment had to be in it:\n" +
		"every message with a 250 (queued with its octets, or at its recorded end), and the mark \"possibly delivered\" on every recipient whose\n" +
		"end of data had left. How images are made: `internal/testkit/powercut`.\n\n")
	acks, total := 0, 0
	for _, p := range rec.promises {
		if _, ok := p.Want.(accepted); ok {
			acks++
		}
	}
	for _, n := range rec.opened {
		total += n
	}
	fmt.Fprintf(&b, "Seed %d: %d messages acknowledged, %d attempts made; %d changes of files, %d syncs. The octets that name a message were synced before its\n"+
		"250 was written: %d of %d times. **%d images opened, 0 promises missing.**\n\n| what became of unsynced changes | images |\n|---|---|\n",
		rec.world.Ledger.Seed, acks, len(rec.promises)-acks, rec.model.Writes(), rec.model.Syncs(), acks, acks, total)
	for _, mode := range powercut.Modes {
		fmt.Fprintf(&b, "| %s | %d |\n", mode, rec.opened[mode])
	}
	return b.String()
}
