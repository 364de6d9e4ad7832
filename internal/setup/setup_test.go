package setup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/cert"
	"postern/internal/config"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

func options(dir string) Options {
	return Options{Dir: dir, Hostname: "relay.example.test", Owner: "ops@example.test"}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestInit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	result, err := Init(context.Background(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info.Mode(), err)
	}
	for _, name := range names(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want := os.FileMode(0o600)
		if strings.HasSuffix(name, ".crt") {
			want = 0o644
		}
		if info.Mode().Perm()&^want != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	conf, err := config.Load(result.Config)
	if err != nil {
		t.Fatalf("the configuration that init wrote: %v", err)
	}
	if conf.Contact != "ops@example.test" || conf.DataDir != dir || conf.Hostname != "relay.example.test" {
		t.Errorf("configuration %+v", conf)
	}
	certificate, key := conf.CertificatePaths()
	if _, err := cert.Open(cert.Config{Certificate: certificate, Key: key}); err != nil {
		t.Errorf("certificate: %v", err)
	}
	text, err := os.ReadFile(result.Config)
	if err != nil || strings.Contains(string(text), result.APIKey) {
		t.Errorf("the configuration holds the key, or %v", err)
	}
	checkStore(t, conf, result)
	if len(result.Records) < 4 || result.User != "apikey" {
		t.Errorf("result %+v", result)
	}

	// A second init changes nothing, whatever it is asked for.
	before := names(t, dir)
	o := options(dir)
	o.Hostname = "other.example.test"
	if _, err := Init(context.Background(), o); !errors.Is(err, ErrExists) {
		t.Errorf("second init: %v", err)
	}
	if diff := cmp.Diff(before, names(t, dir)); diff != "" {
		t.Errorf("second init changed the directory:\n%s", diff)
	}
	if again, err := os.ReadFile(result.Config); err != nil || string(again) != string(text) {
		t.Error("second init changed the configuration")
	}
}

func checkStore(t *testing.T, conf *config.Config, result *Result) {
	t.Helper()
	sealer, err := secret.OpenSealer(conf.SealingKeyPath())
	if err != nil {
		t.Fatal(err)
	}
	st, recovery, err := store.Open(context.Background(), store.Config{Path: conf.DatabasePath(), Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if !recovery.Clean {
		t.Error("init did not close the store cleanly")
	}
	snap, err := st.Snapshot(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.Accounts) != 2 || len(snap.Pools) != 1 || len(snap.Domains) != 1 || len(snap.DKIMKeys) != 2 || len(snap.Keys) != 1 {
		t.Fatalf("%d accounts, %d pools, %d domains, %d DKIM keys, %d keys", len(snap.Accounts), len(snap.Pools), len(snap.Domains), len(snap.DKIMKeys), len(snap.Keys))
	}
	if d := snap.Domains[0]; !d.System || !d.Usable() || d.Name != "relay.example.test" {
		t.Errorf("system domain %+v", d)
	}
	parsed, err := secret.ParseKey(result.APIKey, "SG")
	if err != nil || !secret.VerifySHA256(parsed, snap.Keys[0].Verifier.SHA256) || !snap.Keys[0].Allows(relay.ScopeMailSend) {
		t.Errorf("first key: %v", err)
	}
}

// What fails leaves nothing behind, and what was there before stays.
func TestInitThatFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no hostname":    {func(o *Options) { o.Hostname = "" }, "hostname"},
		"bad owner":      {func(o *Options) { o.Owner, o.Contact = "nobody", "ops@example.test" }, "not an email"},
		"own contact":    {func(o *Options) { o.Owner = "ops@relay.example.test" }, "contact"},
		"bad prefix":     {func(o *Options) { o.Prefix = "1x" }, "keys.prefix"},
		"bad account":    {func(o *Options) { o.Account = "a/b" }, "name"},
		"bad domain":     {func(o *Options) { o.Domain = "no domain" }, "system domain"}, // found late: there is something to clean up
		"system account": {func(o *Options) { o.Account = systemAccount }, "make account"},
		"no postgres":    {func(o *Options) { o.StoreURL = "postgres://nobody@127.0.0.1:1/x?connect_timeout=1" }, "open store"},
		"parent":         {func(o *Options) { o.Dir = filepath.Join(o.Dir, "a", "b") }, "does not exist"},
	} {
		for _, there := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				parent := t.TempDir()
				o := options(filepath.Join(parent, "data"))
				if there {
					if err := os.Mkdir(o.Dir, 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(o.Dir, "precious"), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				tt.change(&o)
				result, err := Init(context.Background(), o)
				if result != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("Init = %v, %v; want an error about %q", result, err, tt.want)
				}
				if !there {
					if left := names(t, parent); len(left) != 0 {
						t.Errorf("left behind: %v", left)
					}
				} else if left := names(t, filepath.Join(parent, "data")); len(left) != 1 || left[0] != "precious" {
					t.Errorf("left in the directory: %v", left)
				}
			})
		}
	}
}
