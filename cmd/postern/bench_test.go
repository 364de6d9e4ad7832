package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/bench"
)

func TestBenchFlags(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("SG.key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BENCH_KEY", "SG.env")
	good := benchFlags{tls: "starttls", keyFile: key, Config: bench.Config{Addr: "relay.test:587", User: "apikey", From: "a@x.test", To: "b@x.test"}}
	for _, c := range []struct {
		name   string
		change func(*benchFlags)
		key    string
		err    string
	}{
		{"key from a file", func(*benchFlags) {}, "SG.key", ""},
		{"key from the environment", func(f *benchFlags) { f.keyFile, f.keyEnv = "", "BENCH_KEY" }, "SG.env", ""},
		{"no TLS, no key", func(f *benchFlags) { f.tls, f.keyFile = "none", "" }, "", ""},
		{"no key", func(f *benchFlags) { f.keyFile = "" }, "", "--key-env or --key-file"},
		{"two keys", func(f *benchFlags) { f.keyEnv = "BENCH_KEY" }, "", "--key-env or --key-file"},
		{"an empty variable", func(f *benchFlags) { f.keyFile, f.keyEnv = "", "BENCH_NOT_SET" }, "", "BENCH_NOT_SET is empty"},
		{"a key file that is not there", func(f *benchFlags) { f.keyFile += "x" }, "", "read the key"},
		{"unknown TLS", func(f *benchFlags) { f.tls = "ssl" }, "", "starttls, implicit or none"},
		{"no sender", func(f *benchFlags) { f.From = "" }, "", "--from and --to"},
		{"no port", func(f *benchFlags) { f.Addr = "relay.test" }, "", "--addr"},
		{"not a certificate", func(f *benchFlags) { f.caFile = key }, "", "holds no certificate"},
	} {
		f := good
		c.change(&f)
		conf, err := f.config()
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || conf.Key != c.key {
			t.Errorf("%s: key %q, %v", c.name, conf.Key, err)
		}
		if conf.TLS != bench.None && (conf.TLSConfig.ServerName != "relay.test" || conf.TLSConfig.InsecureSkipVerify) {
			t.Errorf("%s: %+v", c.name, conf.TLSConfig)
		}
		if conf.TLS == bench.None && conf.User != "" {
			t.Errorf("%s: user %q without TLS", c.name, conf.User)
		}
	}
}
