package spf_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	yaml "github.com/oasdiff/yaml3"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/spf"
)

// suite is one document of the OpenSPF test suites.
type suite struct {
	Description string
	Tests       map[string]suiteCase
	ZoneData    map[string][]map[string]yaml.Node `yaml:"zonedata"`
}

type suiteCase struct {
	Helo     string
	Host     string
	MailFrom string `yaml:"mailfrom"`
	Result   words
}

// words is one string or a list of them.
type words []string

func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		var list []string
		err := n.Decode(&list)
		*w = list
		return err
	}
	var one string
	err := n.Decode(&one)
	*w = words{one}
	return err
}

// zone makes a resolver of a document's zone data. Type SPF records become TXT
// records where a name has no TXT record ("TXT: NONE" says not to), as the
// suites ask for; TIMEOUT stands for the types that the name does not have.
func (s suite) zone(t *testing.T) *dns.Static {
	t.Helper()
	r := &dns.Static{
		MXs: map[string][]dns.MX{}, Addrs: map[string][]netip.Addr{}, TXTs: map[string][]string{},
		CNAMEs: map[string]string{}, PTRs: map[netip.Addr][]string{},
	}
	for name, records := range s.ZoneData {
		name = held(strings.ToLower(name))
		var txt, old []string
		down, none := false, false
		for _, rec := range records {
			for typ, node := range rec {
				var value words
				if typ != "MX" {
					if err := node.Decode(&value); err != nil {
						t.Fatalf("%s %s: %v", name, typ, err)
					}
				}
				switch typ {
				case "A", "AAAA":
					for _, a := range value {
						r.Addrs[name] = append(r.Addrs[name], netip.MustParseAddr(a))
					}
				case "MX":
					var mx [2]string
					if err := node.Decode(&mx); err != nil {
						t.Fatalf("%s MX: %v", name, err)
					}
					host := held(strings.ToLower(mx[1]))
					if host == "" {
						host = "."
					}
					r.MXs[name] = append(r.MXs[name], dns.MX{Host: host})
				case "TXT":
					if joined := strings.Join(value, ""); joined == "NONE" {
						none = true
					} else {
						txt = append(txt, joined)
					}
				case "SPF":
					old = append(old, strings.Join(value, ""))
				case "PTR":
					r.PTRs[reverse(t, name)] = append(r.PTRs[reverse(t, name)], strings.TrimSuffix(strings.ToLower(value[0]), "."))
				case "CNAME":
					r.CNAMEs[name] = strings.TrimSuffix(strings.ToLower(value[0]), ".")
				case "TIMEOUT", "SERVFAIL", "CNAMELOOP":
					down = true
				default:
					t.Fatalf("%s: type %q", name, typ)
				}
			}
		}
		if len(txt) == 0 && !none {
			txt = old
		}
		if len(txt) > 0 {
			r.TXTs[name] = txt
		} else if down {
			r.Fail = append(r.Fail, name)
		}
		if down && strings.HasSuffix(name, ".arpa") {
			r.Fail = append(r.Fail, "ptr "+reverse(t, name).String())
		}
	}
	return r
}

// held is a name as our resolvers can hold it: they ask for no name with a
// space, which one case of the suite makes with a macro.
func held(name string) string { return strings.ReplaceAll(name, " ", "~") }

// spaced lets that one case through.
type spaced struct{ *dns.Static }

func (s spaced) Addr(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	return s.Static.Addr(ctx, held(host))
}

// reverse reads the owner name of a PTR record.
func reverse(t *testing.T, name string) netip.Addr {
	t.Helper()
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(digits, ".")
		slices.Reverse(parts)
		return netip.MustParseAddr(strings.Join(parts, "."))
	}
	nibbles := strings.Split(strings.TrimSuffix(name, ".ip6.arpa"), ".")
	slices.Reverse(nibbles)
	var b strings.Builder
	for i, n := range nibbles {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(n)
	}
	return netip.MustParseAddr(b.String())
}

// suites reads a file of the suites that the library's module carries.
func suites(t *testing.T, file string) []suite {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	if err != nil {
		t.Fatalf("where is the module: %v", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	var all []suite
	for {
		var s suite
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

// deviations are the cases in which the library gives another result than the
// suite demands, with that result and the reason.
var deviations = map[string]struct{ result, why string }{
	"macro-empty-parts":          {spf.Pass, "empty parts of a macro's value are dropped"},
	"default-modifier":           {spf.Neutral, extension},
	"default-modifier-harsh":     {spf.Neutral, extension},
	"resolution-with-10-lookups": {spf.PermError, "the case includes names without a dot, which RFC 7208 §7.1 excludes"},
}

const extension = "default= is no modifier of RFC 7208"

// worse are the cases in which the sender matches before the limits are
// reached: an analysis counts for a sender that does not match.
var worse = []string{"include-at-limit"}

// RX-13: the whole of the RFC 7208 suite, and the cases of two
// implementations.
func TestSuites(t *testing.T) {
	t.Parallel()
	for _, file := range []struct {
		name  string
		cases int // at least
	}{{"rfc7208-tests.yml", 190}, {"pyspf-tests.yml", 10}, {"blitirispf-tests.yml", 50}} {
		t.Run(file.name, func(t *testing.T) {
			t.Parallel()
			n := 0
			for _, s := range suites(t, file.name) {
				r := spaced{s.zone(t)}
				for name, c := range s.Tests {
					if !strings.Contains(c.domain(), ".") && file.name == "blitirispf-tests.yml" {
						continue // RFC 7208 §4.3: not a name that publishes; that suite has many
					}
					n++
					t.Run(name, func(t *testing.T) { c.run(t, name, r) })
				}
			}
			if n < file.cases {
				t.Errorf("only %d cases", n)
			}
		})
	}
}

// domain is the one whose record decides.
func (c suiteCase) domain() string {
	if domain := c.MailFrom[strings.LastIndexByte(c.MailFrom, '@')+1:]; domain != "" {
		return domain
	}
	return c.Helo
}

func (c suiteCase) run(t *testing.T, name string, r dns.Resolver) {
	ctx := context.Background()
	got, err := spf.Check(ctx, r, netip.MustParseAddr(c.Host), c.Helo, c.MailFrom)
	want := []string(c.Result)
	if d, ok := deviations[name]; ok {
		if slices.Contains(want, d.result) {
			t.Errorf("no deviation any more: %s", d.why)
		}
		want = []string{d.result}
	}
	if !slices.Contains(want, got) {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
	a := spf.Analyse(ctx, r, c.domain(), nil)
	switch {
	case slices.Equal(c.Result, words{spf.PermError}) && !a.Broken():
		t.Errorf("the suite says permerror, the analysis of %q: %+v", a.Record, a.Findings)
	case slices.Contains(worse, name) || deviations[name].result == spf.PermError:
	case !slices.Contains(c.Result, spf.PermError) && a.Broken():
		t.Errorf("the suite says %s, the analysis of %q: %+v", c.Result, a.Record, a.Findings)
	case slices.Contains(c.Result, spf.TempError) != a.Unknown:
		t.Errorf("the suite says %s, unknown is %t: %+v", c.Result, a.Unknown, a.Findings)
	}
	if len(a.Findings) == 0 || a.Broken() && finding.Worst(a.Findings) != finding.Error {
		t.Errorf("findings %+v", a.Findings)
	}
}
