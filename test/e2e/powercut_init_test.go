package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"postern/internal/testkit/ledger/relayproc"
	"postern/internal/testkit/powercut"
)

// TestPowerCutInit: when "postern init" has ended, what it made is on the disk,
// names and all: the image that holds only what was synced opens, and the relay
// starts on it with the key that init had printed.
func TestPowerCutInit(t *testing.T) {
	t.Parallel()
	external(t, "strace")
	parent, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	root, base, file := filepath.Join(parent, "root"), filepath.Join(parent, "base"), filepath.Join(parent, "record")
	must(t, os.Mkdir(root, 0o700))
	must(t, os.Mkdir(base, 0o700))
	w := relayproc.New(t, 5, relayproc.Options{Binary: binary(t), DataDir: filepath.Join(root, "data")})
	w.Init(t, func(program []string) []string { return powercut.Command(file, nil, program...) })
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	rec, err := powercut.Parse(f)
	must(t, err)
	m, err := powercut.NewModel(rec, root, base, powercut.Volatile)
	must(t, err)
	t.Logf("%d changes, %d syncs, %d changes never synced", m.Writes(), m.Syncs(), m.Unsynced())

	image := filepath.Join(parent, "image")
	must(t, m.Image(rec.End, powercut.Dropped, 1).Write(image))
	if _, err := openImage(context.Background(), filepath.Join(image, "data")); err != nil {
		out, _ := exec.Command("find", image).CombinedOutput()
		t.Fatalf("what init had synced does not open: %v\n%s", err, out)
	}
	for _, name := range []string{"postern.toml", "sealing.key", "ca.crt", "tls.crt", "tls.key"} {
		want, err := os.ReadFile(filepath.Join(w.Dir, name))
		must(t, err)
		if got, err := os.ReadFile(filepath.Join(image, "data", name)); err != nil || string(got) != string(want) {
			t.Errorf("%s was not synced: %d of %d octets, %v", name, len(got), len(want), err)
		}
	}
	must(t, os.RemoveAll(w.Dir))
	copyDir(t, filepath.Join(image, "data"), w.Dir)
	w.Start(t)
	w.MustCLI(t, "domain", "add", relayproc.Domain, "--assert")
	mustOffer(t, w, "after-init", "a@one.test")
	w.Rest(t, 30e9)
	w.Check(t)
	w.Stop(t)
}
