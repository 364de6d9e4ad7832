// Package soak holds the long runs of `make soak`: a hundred and more kills of
// the real binary under load, every image of a power cut. They write what they
// found to docs/, so that the page always shows a run that really took place.
package soak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/testkit/ledger"
	"postern/internal/testkit/ledger/relayproc"
)

// page is what the run writes.
const page = "../../docs/crash-ledger.md"

// roundsPerLedger is how many kills one data directory goes through before a
// fresh one takes its place, so that a finding names a short history.
const roundsPerLedger = 25

// TestSoak runs POSTERN_CRASH_ROUNDS (100) kills in ledgers of 25 and writes the
// page. POSTERN_CRASH_SEED is the first ledger's seed; each next one adds 1.
func TestSoak(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") != "1" {
		t.Skip("takes minutes: make soak")
	}
	rounds, seed := number(t, "POSTERN_CRASH_ROUNDS", 100), number(t, "POSTERN_CRASH_SEED", 1)
	bin := build(t)
	started := time.Now()
	var parts []part
	for left := rounds; left > 0; left -= roundsPerLedger {
		n := min(left, roundsPerLedger)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			if p, ok := soak(t, bin, int64(seed), n); ok {
				parts = append(parts, p)
			}
		})
		seed++
	}
	if t.Failed() {
		t.Log("the page was not written: a ledger does not balance")
		return
	}
	if err := os.WriteFile(page, []byte(text(parts, time.Since(started))), 0o644); err != nil {
		t.Fatal(err)
	}
}

type part struct {
	report ledger.Report
	rounds []relayproc.Round
}

func soak(t *testing.T, bin string, seed int64, rounds int) (part, bool) {
	w := relayproc.New(t, seed, relayproc.Options{Binary: bin, Judge: relayproc.LazySink(seed)})
	w.Setup(t)
	p := part{rounds: w.KillRounds(t, rounds)}
	w.Rest(t, 3*time.Minute)
	p.report = w.Check(t)
	w.Stop(t)
	t.Log(p.report.String())
	return p, !t.Failed()
}

func build(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("POSTERN_BIN"); bin != "" {
		return bin
	}
	bin := filepath.Join(t.TempDir(), "postern")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", bin, "./cmd/postern")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func number(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// text is the page: the sum first, then each ledger with all its kills.
func text(parts []part, took time.Duration) string {
	var sum ledger.Report
	for _, p := range parts {
		r := p.report
		sum.Kills += r.Kills
		sum.Acked += r.Acked
		sum.Recipients += r.Recipients
		sum.Unknown += r.Unknown
		sum.Copies += r.Copies
		sum.Extra += r.Extra
		sum.Marks += r.Marks
		sum.Lost = append(sum.Lost, r.Lost...)
	}
	var b strings.Builder
	b.WriteString("# The crash ledger\n\n" +
		"Written by `make soak`; do not edit. The real binary takes mail over TLS with AUTH from eight clients, with one to three\n" +
		"recipients a message, while `kill -9` hits it at random moments, one in four while it is still starting. The ledger compares every\n" +
		"250 that a client read with every copy that the receiving server took. An extra copy is allowed only where the process died between\n" +
		"sending the end of data and committing the answer, at most one per recipient and kill, and only with the relay's own mark \"possibly\n" +
		"delivered\". How the comparison works: `internal/testkit/ledger`.\n\n")
	fmt.Fprintf(&b, "%s %s/%s, %d CPUs, SQLite, %s in all.\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), took.Round(time.Second))
	fmt.Fprintf(&b, "**%d kills, %d messages acknowledged for %d recipients, %d lost**, %d extra copies (all of them marked).\n\n",
		sum.Kills, sum.Acked, sum.Recipients, len(sum.Lost), sum.Extra)
	for _, p := range parts {
		fmt.Fprintf(&b, "## Seed %d\n\n%s\n", p.report.Seed, relayproc.Markdown(p.report, p.rounds))
	}
	return b.String()
}
