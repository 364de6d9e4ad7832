package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func load(t testing.TB, text string) *Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postern.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var compare = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func wantDefault() *Config {
	c := Default()
	c.Hostname, c.DataDir, c.Contact = "relay.example.test", "/var/lib/postern", "ops@example.net"
	return c
}

func TestMinimalIsDefault(t *testing.T) {
	t.Parallel()
	c := load(t, minimal)
	want := wantDefault()
	want.Path = c.Path
	if diff := cmp.Diff(want, c, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !filepath.IsAbs(c.Path) {
		t.Errorf("Path %q is not absolute", c.Path)
	}
	if err := Default().Validate(); err == nil {
		t.Error("Default validates without a host name")
	}
}

// The example is right as it stands, and with every line of it in force.
func TestExampleIsTheDefault(t *testing.T) {
	t.Parallel()
	text := Example(Default(), Docs)
	asIs := load(t, text)
	comment := regexp.MustCompile(`(?m)^#(\[|[a-z_]+ = )`)
	// Single sign-on needs the URL that people are sent back to.
	before, http, found := strings.Cut(comment.ReplaceAllString(text, "$1"), "[http]")
	if !found {
		t.Fatal("the example has no [http]")
	}
	whole := before + "[http]" + strings.Replace(http, `url = ""`, `url = "https://relay.example.org"`, 1)
	all := load(t, whole)
	// Switched on, the sample destination stands there, too.
	if len(all.Deliver.Destinations) != 1 || all.Deliver.Destinations[0].Domain != "partner.example" {
		t.Errorf("destinations %+v", all.Deliver.Destinations)
	}
	if len(all.Issuers) != 1 || all.Issuers[0].URL != "https://token.actions.githubusercontent.com" {
		t.Errorf("issuers %+v", all.Issuers)
	}
	if len(all.SSO) != 1 || all.SSO[0].Groups[0] != "mail-admins = admin" {
		t.Errorf("single sign-on %+v", all.SSO)
	}
	if len(all.Exports) != 1 || all.Exports[0].To != "logs.example.org:6514" {
		t.Errorf("exports %+v", all.Exports)
	}
	all.Exports = nil
	all.Deliver.Destinations, all.Issuers, all.SSO, all.HTTP.URL = nil, nil, nil, ""
	all.Path, asIs.Path = "", ""
	want := Default()
	want.Hostname, want.DataDir, want.Contact = "relay.example.org", "/var/lib/postern", "postmaster@example.org"
	for name, got := range map[string]*Config{"as it stands": asIs, "all of it": all} {
		if changes := Diff(want, got); len(changes) > 0 {
			t.Errorf("%s: differs from the default in %v", name, changes)
		}
	}
}

// What Example writes of any configuration, Load reads as the same.
func TestExampleRoundTrip(t *testing.T) {
	t.Parallel()
	c := wantDefault()
	c.Store.URL = "postgres://u:p%22w@h/d"
	c.Log.File = "/var/log/a\"b\\c\t\u00e4.log"
	c.Store.KeepBodies = Duration{36 * time.Hour}
	c.Limits.MessageSize = 12345678
	c.Limits.MinimumRate = 0
	c.Queue.Intervals = []Duration{{time.Second}, {90 * time.Minute}}
	c.Deliver.IPv6 = false
	c.Deliver.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	c.Deliver.Destinations = []Destination{{Domain: "a.example", TLS: TLSVerified}, {Domain: ".b.example", Route: "[2001:db8::1]:25"}}
	c.Listen = []Listener{
		{Name: "one", Role: RoleSubmission, TLS: TLSImplicit, Addresses: []string{"127.0.0.1:0", "[::1]:465"}, NormaliseLineEnds: true, Mechanisms: []string{"EXTERNAL", "CRAM-MD5"}},
		{Name: "two", Role: RoleMX, TLS: TLSStart, Addresses: []string{"127.0.0.1:0"}},
	}
	c.Issuers = []Issuer{
		{URL: "https://i.example.org", Algorithms: []string{"ES256"}, IntrospectionURL: "https://i.example.org/i", ClientID: "c", ClientSecretFile: "/etc/secret"},
		{URL: "http://10.0.0.1:8080", Private: true, CAFile: "/etc/ca.pem"},
	}
	c.HTTP = HTTP{Listen: []string{"0.0.0.0:443"}, TLS: true, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}
	c.Admin.Listen = ""
	got := load(t, Example(c, Docs))
	got.Path = ""
	if diff := cmp.Diff(c, got, compare); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestListsReplaceTheDefault(t *testing.T) {
	t.Parallel()
	c := load(t, minimal+"[[listener]]\nname = \"in\"\nrole = \"submission\"\naddresses = [\"127.0.0.1:587\"]\ntls = \"starttls\"\n[queue]\nintervals = [\"7s\"]\n[http]\nlisten = []\n[admin]\nlisten = \"\"\n")
	if len(c.Listen) != 1 || len(c.Queue.Intervals) != 1 || len(c.HTTP.Listen) != 0 || c.Admin.Listen != "" {
		t.Errorf("listeners %v, intervals %v, http %v, admin %q", c.Listen, c.Queue.Intervals, c.HTTP.Listen, c.Admin.Listen)
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	c := load(t, strings.Replace(minimal, "/var/lib/postern", "data", 1)+"[tls]\ncertificate = \"a.crt\"\nkey = \"/etc/a.key\"\n[log]\nfile = \"x.log\"\n")
	dir := filepath.Dir(c.Path)
	certificate, key := c.CertificatePaths()
	for _, p := range [][2]string{
		{c.DataDir, dir + "/data"}, {certificate, dir + "/a.crt"}, {key, "/etc/a.key"}, {c.Log.File, dir + "/x.log"},
		{c.SocketPath(), dir + "/data/admin.sock"}, {c.DatabasePath(), dir + "/data/postern.db"}, {c.SealingKeyPath(), dir + "/data/sealing.key"}, {c.CAPath(), dir + "/data/ca.crt"},
	} {
		if p[0] != p[1] {
			t.Errorf("path %s, want %s", p[0], p[1])
		}
	}
	c = load(t, minimal)
	if certificate, key := c.CertificatePaths(); certificate != "/var/lib/postern/tls.crt" || key != "/var/lib/postern/tls.key" {
		t.Errorf("self-signed at %s, %s", certificate, key)
	}
	if _, used := c.SelfSigned(); !used {
		t.Error("the self-signed certificate is not in use")
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	a, b := wantDefault(), wantDefault()
	b.Limits.Idle = Duration{time.Hour}
	b.Hostname = "other.example.test"
	b.Deliver.Destinations = []Destination{{Domain: "x.example", TLS: TLSRequired}}
	b.HTTP.Proxies = []netip.Prefix{} // the same as none
	want := []Change{{"hostname", true}, {"limits.idle", false}, {"deliver.destination", false}}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d := Diff(a, a); len(d) != 0 {
		t.Errorf("the same differs in %v", d)
	}
}

func TestSecretIsHidden(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"postgres://u:geheim@h/d":             "postgres://u:xxxxx@h/d",
		"postgres://u@h/d?password=geheim":    "postgres://u@h/d?%28hidden%29",
		"host=h password=geheim":              "(hidden)",
		"postgres://u:geheim@h:not a port/db": "(hidden)",
		"":                                    "",
	} {
		s := Secret(in)
		b, err := json.Marshal(struct{ URL Secret }{s})
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "url", s)
		shown := fmt.Sprintf("%s %v %q %x %#v %+v", s, s, s, s, s, struct{ S Secret }{s}) + string(b) + log.String()
		if strings.Contains(shown, "geheim") || strings.Contains(shown, fmt.Sprintf("%x", "geheim")) {
			t.Errorf("%s is shown as %s", in, shown)
		}
		if got := s.String(); got != want && !(strings.Contains(want, "hidden") && strings.Contains(got, "hidden")) {
			t.Errorf("%s is shown as %s, want %s", in, got, want)
		}
		if s.Reveal() != in {
			t.Errorf("Reveal changes %s", in)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "3d": 72 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0, "250ms": 250 * time.Millisecond,
	} {
		got, err := ParseDuration(in)
		if err != nil || got.Duration != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for want, d := range map[string]time.Duration{
		"0s": 0, "3d": 72 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute, "2h": 2 * time.Hour, "10m": 10 * time.Minute, "1h0m5s": time.Hour + 5*time.Second, "20h10m": 20*time.Hour + 10*time.Minute,
	} {
		if got := (Duration{d}).String(); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
	for _, in := range []string{"", "5", "0", "-5s", "d", "1.5d", "-1d", "1d-1h", "1d5", "5 m", "1h1d", "999999999999d", "106751d24h", "+5s1d"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q is read as %v", in, got)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Size{"0": 0, "1234": 1234, "64KiB": 64 << 10, "30MiB": 30 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40, "0KiB": 0} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "KiB", "-1", "1.5MiB", "30MB", "30 MiB", "1kib", "9999999999TiB", "+5", "0x10"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q is read as %d", in, int64(got))
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"30s", "1d12h", "0d", "3d", "1h0m5s", "106751d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d || d.Duration < 0 {
			t.Fatalf("%q is %d, written %q, read again %v, %v", s, d.Duration, d, again, err)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "64KiB", "9223372036854775807", "8191TiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if again, err := ParseSize(n.String()); err != nil || again != n || n < 0 {
			t.Fatalf("%q is %d, written %q, read again %d, %v", s, int64(n), n, int64(again), err)
		}
	})
}

// No text may make the reader panic, and what it takes must be valid.
func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add(Example(wantDefault(), Docs))
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := parse([]byte(text), "/")
		if len(problems) == 0 && c.Validate() != nil {
			t.Fatalf("loaded, and does not validate: %v", c.Validate())
		}
		for _, p := range problems {
			if p.Text == "" {
				t.Fatalf("a problem without words: %+v", p)
			}
		}
	})
}

// Links in letters and the origin of passkeys are fixed when the process starts: a
// reload that took another http.url and went on with the old one would be a lie.
func TestURLNeedsRestart(t *testing.T) {
	t.Parallel()
	a, b := Default(), Default()
	b.HTTP.URL = "https://relay.example.org"
	if d := Diff(a, b); len(d) != 1 || d[0].Key != "http.url" || !d[0].Restart {
		t.Errorf("a change of http.url is %+v", d)
	}
}

// Deliveries could take other name servers at once; the checks of domains and the
// host names of access lists go on asking those of the start.
func TestNameServersNeedRestart(t *testing.T) {
	t.Parallel()
	a, b := Default(), Default()
	b.Deliver.DNSServers, b.Deliver.TrustAD = []string{"192.0.2.53"}, true
	want := []Change{{"deliver.dns_servers", true}, {"deliver.trust_ad", true}}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A list of tables is compared as a whole: where each of its settings needs a
// restart, a reload that took one more, or one less, would change nothing and say
// that it had.
func TestTablesNeedRestart(t *testing.T) {
	t.Parallel()
	typ, seen := reflect.TypeFor[Config](), 0
	for i := range typ.NumField() {
		field := typ.Field(i)
		if !isTables(field.Type) || !restarts(field.Type.Elem()) {
			continue
		}
		seen++
		a, b := Default(), Default()
		reflect.ValueOf(b).Elem().Field(i).Set(reflect.MakeSlice(field.Type, 1, 1))
		if d := Diff(a, b); len(d) != 1 || d[0].Key != field.Tag.Get("toml") || !d[0].Restart {
			t.Errorf("one more [[%s]] is %+v", field.Tag.Get("toml"), d)
		}
	}
	if seen == 0 {
		t.Error("no such table was found")
	}
}

// What a table needs as a whole stands with the table.
func TestReferenceSaysThatListenersNeedARestart(t *testing.T) {
	t.Parallel()
	_, listener, _ := strings.Cut(Reference(Docs), "## [[listener]]")
	listener, _, _ = strings.Cut(listener, "| setting |")
	if !strings.Contains(listener, "*restart*") {
		t.Errorf("says nothing of a restart: %s", listener)
	}
}
