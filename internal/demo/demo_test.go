package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/sink"
	"postern/internal/store"
)

// memory is a seedStore without a disk.
type memory struct {
	accounts []relay.Account
	pools    []relay.Pool
	domains  []relay.Domain
	dkim     map[relay.DomainID][]relay.DKIMKey
	seedStore
}

func (m *memory) CreateAccount(_ context.Context, _ store.By, a relay.Account) error {
	m.accounts = append(m.accounts, a)
	return nil
}
func (m *memory) Accounts(context.Context) ([]relay.Account, error) { return m.accounts, nil }
func (m *memory) CreatePool(_ context.Context, _ store.By, p relay.Pool) error {
	m.pools = append(m.pools, p)
	return nil
}
func (m *memory) Pools(context.Context) ([]relay.Pool, error) { return m.pools, nil }
func (m *memory) CreateDomainWithin(_ context.Context, _ store.By, d relay.Domain, _ int, keys ...relay.DKIMKey) (relay.Domain, error) {
	m.domains = append(m.domains, d)
	m.dkim[d.ID] = keys
	return d, nil
}
func (m *memory) Domains(context.Context, relay.AccountID) ([]relay.Domain, error) {
	return m.domains, nil
}
func (m *memory) DKIMKeys(_ context.Context, id relay.DomainID) ([]relay.DKIMKey, error) {
	return m.dkim[id], nil
}

func seedMemory(tb testing.TB) (*memory, *sender.Domains, []tenantDomain) {
	tb.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		tb.Fatal(err)
	}
	m := &memory{dkim: make(map[relay.DomainID][]relay.DKIMKey)}
	d := &sender.Domains{Store: m, Sealer: sealer}
	out, err := seed(context.Background(), m, d, time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	return m, d, out
}

func TestSeed(t *testing.T) {
	t.Parallel()
	m, domains, first := seedMemory(t)
	owner := map[string]relay.AccountID{}
	for _, d := range m.domains {
		owner[d.Name] = d.Account
		if !d.Usable() || d.System != (d.Name == hostname) {
			t.Errorf("domain %+v", d)
		}
		for _, k := range m.dkim[d.ID] {
			if !k.Active {
				t.Errorf("selector %s of %s does not sign", k.Selector, d.Name)
			}
		}
	}
	if owner[customer] == owner[stranger] || owner[customer] == owner[hostname] {
		t.Errorf("tenants share an account: %v", owner)
	}
	again, err := seed(context.Background(), m, domains, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.accounts) != 3 || len(m.domains) != 3 || len(m.pools) != 1 {
		t.Errorf("the second time: %d accounts, %d domains, %d pools", len(m.accounts), len(m.domains), len(m.pools))
	}
	for i, d := range again {
		if d.ID != first[i].ID || len(d.keys) != 2 || d.keys[0].Record != first[i].keys[0].Record {
			t.Errorf("domain %s is another", d.Name)
		}
	}
}

func TestZonesAreKept(t *testing.T) {
	t.Parallel()
	_, _, people := seedMemory(t)
	all, err := zones(people)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := readZones(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	if err := writeZones(dir, all); err != nil {
		t.Fatal(err)
	}
	got, err := readZones(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, z := range got {
		if diff := cmp.Diff(withoutSOA(all[i]), withoutSOA(z)); diff != "" {
			t.Error(diff)
		}
	}
	if err := os.WriteFile(zonePath(dir, "test"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readZones(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged file: %v", err)
	}
	// What was not written to its end counts as not written.
	if err := os.Remove(zonePath(dir, "test")); err != nil {
		t.Fatal(err)
	}
	if _, err := readZones(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a directory: %v", err)
	}
}

func withoutSOA(z *dns.Zone) string {
	_, rest, _ := strings.Cut(z.String(), "\n")
	return rest
}

func TestZones(t *testing.T) {
	t.Parallel()
	_, _, people := seedMemory(t)
	all, err := zones(people)
	if err != nil {
		t.Fatal(err)
	}
	s, err := dns.ListenZones("127.0.0.1:0", nil, all...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	r, err := dns.NewClient(dns.Config{Servers: []string{s.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if mx, _, err := r.MX(ctx, inbox); err != nil || len(mx) != 1 || mx[0].Host != sinkName {
		t.Errorf("MX: %v, %v", mx, err)
	}
	if mx, _, err := r.MX(ctx, "bounces."+customer); err != nil || len(mx) != 1 || mx[0].Host != hostname {
		t.Errorf("MX of the return path: %v, %v", mx, err)
	}
	if names, _, err := r.PTR(ctx, loopback); err != nil || !slices.Contains(names, hostname) {
		t.Errorf("PTR: %v, %v", names, err)
	}
	for _, d := range people {
		for _, k := range d.keys {
			if txt, _, err := r.TXT(ctx, k.Selector+"._domainkey."+d.Name); err != nil || len(txt) != 1 || txt[0] != k.Record {
				t.Errorf("selector %s of %s: %q, %v", k.Selector, d.Name, txt, err)
			}
		}
		found, err := dmarc.Discover(ctx, r, d.Name)
		if err != nil || found.Policy != dmarc.Reject {
			t.Errorf("DMARC of %s: %+v, %v", d.Name, found, err)
		}
	}
	v := sink.Verifier{Resolver: r, Hostname: sinkName}
	for domain, want := range map[string]string{"bounces." + customer: "pass", "bounces." + stranger: "pass", hostname: "pass", nobodys: "fail"} {
		env := sink.Envelope{Remote: loopback, Helo: hostname, MailFrom: "b@" + domain, Domain: domain}
		if got := v.Verify(ctx, env, []byte(message(author, "x"))); got.SPF != want {
			t.Errorf("SPF of %s: %s, want %s", domain, got.SPF, want)
		}
		env.Remote = netip.MustParseAddr("192.0.2.1")
		if got := v.Verify(ctx, env, []byte(message(author, "x"))); got.SPF != "fail" {
			t.Errorf("SPF of %s from elsewhere: %s", domain, got.SPF)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, done, err := directory("")
	if err != nil {
		t.Fatal(err)
	}
	done()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s stays behind: %v", dir, err)
	}
	fresh := filepath.Join(root, "a", "b")
	for range 2 { // the second time it is a demo's from before
		if err := os.MkdirAll(filepath.Join(fresh, "sub"), 0o700); err == nil && exists(filepath.Join(fresh, markerName)) == false {
			os.Remove(filepath.Join(fresh, "sub"))
		}
		dir, done, err = directory(fresh)
		if err != nil || dir != fresh {
			t.Fatalf("%q, %v", dir, err)
		}
		done()
		if !exists(fresh) {
			t.Error("a directory that was named is removed")
		}
	}
	if err := os.WriteFile(filepath.Join(root, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := directory(root); err == nil || exists(filepath.Join(root, markerName)) {
		t.Errorf("a directory with other files is taken: %v", err)
	}
	if _, _, err := directory(filepath.Join(root, "precious")); err == nil {
		t.Error("a file is taken for a directory")
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// The members are the project's contract with scripts.
func TestReadyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ready.json")
	if err := (Ready{APIKey: "SG.x.y"}).write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("smtp_starttls smtp_tls http sink dns hostname ca_file username api_key from unverified_from to data_dir") {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: it holds a key", info.Mode(), err)
	}
	if err := (Ready{}).write(filepath.Join(path, "x")); err == nil {
		t.Error("written into a file")
	}
}

func TestPrinter(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := &printer{out: &b}
	p.step(true, "done", "250 ok\nsecond")
	p.step(false, "not done", "evil \x1b]0;x\x07 \u009b")
	want := "  ✓ done\n      250 ok\n      second\n  ✗ not done\n      evil ?]0;x? ?\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	p.colour = true
	p.step(true, "done", "")
	if !strings.Contains(b.String(), "\x1b[32m✓\x1b[0m") {
		t.Errorf("got %q", b.String())
	}
	for in, want := range map[string]string{"/a/b-1.txt": "/a/b-1.txt", "/a b": "'/a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'"} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) is %s", in, got)
		}
	}
}

func TestStepsAreComplete(t *testing.T) {
	t.Parallel()
	for _, ch := range chapters {
		for _, s := range ch.steps {
			if s.what == "" || s.do == nil || strings.ContainsAny(s.what, "\r\n") {
				t.Errorf("%s: %q", ch.title, s.what)
			}
		}
	}
}

// watch is an output that says when a text has been written.
type watch struct {
	want string
	seen chan struct{}
	mu   sync.Mutex
	b    bytes.Buffer
	once sync.Once
}

func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if bytes.Contains(w.b.Bytes(), []byte(w.want)) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(p), nil
}

func (w *watch) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func emptyInbox(tb testing.TB) *sink.Inbox {
	tb.Helper()
	s, err := sink.New(sink.Config{Hostname: sinkName})
	if err != nil {
		tb.Fatal(err)
	}
	return s.Inbox()
}
