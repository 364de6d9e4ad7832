package repo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layerRule is one package tree and the layer it lives in. Imports point down only.
type layerRule struct {
	path  string // below internal/
	layer int
	why   string // what it is, in a few words
	later bool   // not built yet; once it exists the mark must go
}

// layers is the tree of internal/, lowest first.
var layers = []layerRule{
	{path: "smtp", layer: 0, why: "vocabulary"},
	{path: "smtpserver", layer: 0, why: "inbound sessions"},
	{path: "smtpclient", layer: 0, why: "outbound session"},
	{path: "sasl", layer: 0, why: "mechanisms"},
	{path: "message", layer: 0, why: "header index and edits"},
	{path: "dkim", layer: 0, why: "signer"},
	{path: "finding", layer: 0, why: "what a check found, in words"},
	{path: "spf", layer: 0, why: "SPF records as receivers count them"},
	{path: "mailauth", layer: 0, why: "all of a domain's mail authentication"},
	{path: "dmarc", layer: 0, why: "policy discovery and alignment"},
	{path: "report", layer: 0, why: "DSN and ARF"},
	{path: "dns", layer: 0, why: "resolver and zone server"},
	{path: "tlspolicy", layer: 0, why: "which TLS a destination must have"},
	{path: "secret", layer: 0, why: "keys and sealing"},
	{path: "password", layer: 0, why: "hashes and rules of people's passwords"},
	{path: "totp", layer: 0, why: "one-time codes"},
	{path: "ratelimit", layer: 0, why: "GCRA arithmetic", later: true},
	{path: "relay", layer: 1, why: "the domain"},
	{path: "store", layer: 2, why: "the only importer of database/sql"},
	{path: "identity", layer: 3, why: "accounts and users"},
	{path: "auth", layer: 3, why: "authentication"},
	{path: "sender", layer: 3, why: "domain authentication"},
	{path: "submit", layer: 3, why: "the one way in"},
	{path: "queue", layer: 3, why: "lanes and leases"},
	{path: "deliver", layer: 3, why: "one attempt"},
	{path: "event", layer: 3, why: "the event log's consumers"},
	{path: "people", layer: 3, why: "persons: logins, second factors, sessions"},
	{path: "watch", layer: 3, why: "anomalies"},
	{path: "webhook", layer: 3, why: "signed posts to customers' URLs"},
	{path: "audit", layer: 3, why: "the audit report"},
	{path: "export", layer: 3, why: "events, logins and changes to other systems"},
	{path: "cert", layer: 3, why: "certificates"},
	{path: "oauth", layer: 3, why: "tokens of outside issuers"},
	{path: "credit", layer: 3, why: "limits and credits"},
	{path: "httpx", layer: 4, why: "handlers and renderer"},
	{path: "api", layer: 4, why: "HTTP API"},
	{path: "console", layer: 4, why: "web console"},
	{path: "config", layer: 5, why: "TOML"},
	{path: "setup", layer: 5, why: "makes an installation"},
	{path: "logfile", layer: 5, why: "log writer that can be reopened"},
	{path: "app", layer: 5, why: "wiring"},
	{path: "sink", layer: 5, why: "receiving server that verifies"},
	{path: "bench", layer: 5, why: "load generator"},
	{path: "demo", layer: 5, why: "the local world"},
	{path: "testkit", layer: 6, why: "imported from tests only"},
}

// leafLibraries are the modules that layer 0 may use besides std and
// golang.org/x, each in one place.
var leafLibraries = []struct{ path, library, why string }{
	{"dns", "github.com/miekg/dns", "messages and records; hidden behind Resolver"},
	{"spf", "blitiri.com.ar/go/spf", "evaluates a message's identity; Analyse beside it only explains"},
	{"dkim", "github.com/ebitengine/purego", "the system's libcrypto without cgo"},
	{"password", "github.com/ccojocar/zxcvbn-go", "has the lists of common passwords, words and names"},
	{"report", "github.com/emersion/go-message", "foreign bounces are read by a MIME parser that is not ours"},
}

// banned says what may not be linked where.
var banned = []struct {
	pkg string
	// from lists the trees (below the module) that may import it nevertheless; empty: none.
	except []string
	why    string
}{
	{"database/sql", []string{"internal/store", "internal/testkit/pgtest"}, "everything durable lives behind store"},
	{"log", nil, "one event per unit of work through the injected slog logger"},
	{"expvar", nil, "registers itself on the default mux"},
	{"encoding/gob", nil, "a stored format must be readable by the next version and by people"},
	{"net/rpc", nil, "administration is HTTP over admin.sock"},
	{"plugin", nil, "one binary"},
	{"net/smtp", nil, "frozen; the product speaks SMTP with its own client, tests use this one as a peer"},
	{"net/mail", nil, "too lenient to judge identity; tests use it as the second opinion"},
	{"testing", []string{"internal/testkit"}, "tests only"},
	{"unsafe", []string{"internal/dkim"}, "only where libcrypto is called"},
	{"github.com/emersion/go-smtp", nil, "a peer for tests"},
	{"github.com/google/go-cmp/cmp", nil, "tests only"},
	{"pgregory.net/rapid", nil, "tests only"},
	{"go.uber.org/goleak", nil, "tests only"},
	{"github.com/prometheus/client_golang/prometheus", []string{"internal/app", "internal/api"}, "the other packages count with interfaces or callbacks"},
	{"github.com/spf13/cobra", []string{"cmd/postern"}, "command line only"},
}

// leafBanned may not be reachable from layer 0, directly or not: a leaf is usable alone.
var leafBanned = []string{"database/sql", "net/http", "github.com/prometheus/client_golang/prometheus"}

// publicSuffix carries the Public Suffix List, and imports net/http/cookiejar
// only to say that it fits there. A leaf that uses it, directly or not, may reach
// net/http; it may not import it.
const publicSuffix = "golang.org/x/net/publicsuffix"

// layerOf finds the rule for an import path of ours.
func layerOf(path string) (layerRule, bool) {
	rest, ok := strings.CutPrefix(path, module+"/internal/")
	if !ok {
		return layerRule{}, false
	}
	name, _, _ := strings.Cut(rest, "/")
	i := slices.IndexFunc(layers, func(r layerRule) bool { return r.path == name })
	if i < 0 {
		return layerRule{}, false
	}
	return layers[i], true
}

// TestLayersExist: a package that vanished or arrived must be entered here.
func TestLayersExist(t *testing.T) {
	for _, r := range layers {
		_, err := os.Stat(filepath.Join(root, "internal", r.path))
		switch {
		case err != nil && !r.later:
			t.Errorf("internal/%s (%s) is in the table but not in the tree", r.path, r.why)
		case err == nil && r.later:
			t.Errorf("internal/%s exists now: take its `later` away", r.path)
		}
	}
	for _, p := range own(t) {
		if strings.HasPrefix(p.rel(), "internal/") {
			if _, ok := layerOf(p.ImportPath); !ok {
				t.Errorf("%s has no layer: enter it in the table, with a reason", p.ImportPath)
			}
		}
	}
}

// TestImportsPointDown: nothing imports what lies above it, and layer 5 is
// imported by its own layer and cmd only.
func TestImportsPointDown(t *testing.T) {
	for _, p := range own(t) {
		from, ok := layerOf(p.ImportPath)
		if !ok {
			continue
		}
		for _, imp := range p.Imports {
			to, ok := layerOf(imp)
			if !ok {
				if strings.HasPrefix(imp, module+"/") {
					t.Errorf("%s imports %s, which has no layer", p.rel(), imp)
				}
				continue
			}
			if to.layer > from.layer {
				t.Errorf("%s (layer %d) imports %s (layer %d): imports point down only", p.rel(), from.layer, imp, to.layer)
			}
		}
	}
}

// TestLeavesStandAlone: layer 0 imports std, golang.org/x, its own layer and
// the one library of the table; no SQL, HTTP or metrics is reachable from it.
func TestLeavesStandAlone(t *testing.T) {
	used := map[string]bool{}
	for _, p := range own(t) {
		r, ok := layerOf(p.ImportPath)
		if !ok || r.layer != 0 {
			continue
		}
		for _, imp := range p.Imports {
			first, _, _ := strings.Cut(imp, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(imp, "golang.org/x/") {
				continue // std, our own (checked above), x
			}
			i := slices.IndexFunc(leafLibraries, func(l struct{ path, library, why string }) bool {
				return l.path == r.path && (imp == l.library || strings.HasPrefix(imp, l.library+"/"))
			})
			if i < 0 {
				t.Errorf("%s imports %s: layer 0 takes std, golang.org/x and the libraries of leafLibraries", p.rel(), imp)
				continue
			}
			used[leafLibraries[i].path] = true
		}
		for _, bad := range leafBanned {
			if bad == "net/http" && slices.Contains(p.Deps, publicSuffix) && !slices.Contains(p.Imports, bad) {
				continue
			}
			if slices.Contains(p.Deps, bad) {
				t.Errorf("%s reaches %s: a leaf must be usable alone", p.rel(), bad)
			}
		}
	}
	for _, l := range leafLibraries {
		if !used[l.path] {
			t.Errorf("internal/%s does not import %s any more: take the line away", l.path, l.library)
		}
	}
}

// TestBannedImports: what may be imported only in one place, or never.
func TestBannedImports(t *testing.T) {
	known := map[string]bool{}
	for _, b := range banned {
		known[b.pkg] = false
	}
	everything, err := goList(append([]string{"-deps", "-test", "./..."}, stdOf()...)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range everything {
		if _, ok := known[p.ImportPath]; ok && p.Dir != "" {
			known[p.ImportPath] = true
		}
	}
	for _, b := range banned {
		if !known[b.pkg] && len(b.except) == 0 {
			// A test-only peer must still be used by a test, or its line is a leftover.
			if !anyTestImports(own(t), b.pkg) {
				t.Errorf("%s is banned but nothing in reach has it any more: take the line away", b.pkg)
			}
		}
		for _, p := range own(t) {
			if !slices.Contains(p.Imports, b.pkg) || strings.HasPrefix(p.rel(), "test/") {
				continue
			}
			if !slices.ContainsFunc(b.except, func(tree string) bool {
				return p.rel() == tree || strings.HasPrefix(p.rel(), tree+"/")
			}) {
				t.Errorf("%s imports %s: %s", p.rel(), b.pkg, b.why)
			}
		}
	}
}

// stdOf lists the banned packages of the standard library, so that `go list` proves that they exist.
func stdOf() []string {
	var std []string
	for _, b := range banned {
		if first, _, _ := strings.Cut(b.pkg, "/"); !strings.Contains(first, ".") {
			std = append(std, b.pkg)
		}
	}
	return std
}

func anyTestImports(all []listed, pkg string) bool {
	return slices.ContainsFunc(all, func(p listed) bool {
		return slices.Contains(p.TestImports, pkg) || slices.Contains(p.XTestImports, pkg)
	})
}

// TestTestkitIsForTests: what helps tests never ends up in the binary.
func TestTestkitIsForTests(t *testing.T) {
	for _, p := range own(t) {
		if r, ok := layerOf(p.ImportPath); ok && r.path == "testkit" {
			continue
		}
		if strings.HasPrefix(p.rel(), "test/") || strings.HasPrefix(p.rel()+"/", "bench/") {
			continue // neither is in the binary
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, module+"/internal/testkit") {
				t.Errorf("%s imports %s outside its tests", p.rel(), imp)
			}
		}
	}
}

// TestCommandIsThin: main is a list of commands, and each command a small file.
func TestCommandIsThin(t *testing.T) {
	name := filepath.Join(root, "cmd", "postern", "main.go")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n > 60 {
		t.Errorf("cmd/postern/main.go has %d lines, at most 60", n)
	}
}
