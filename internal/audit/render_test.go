package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"postern/internal/relay"
)

var update = flag.Bool("update", false, "write the golden files and docs/audit.md anew")

// flawedWorld has one of every flaw that can be had at once.
func flawedWorld() *Facts {
	f := sound()
	var chosen []string
next:
	for _, p := range plants {
		for _, id := range chosen {
			if exclusive(id, p.id) {
				continue next
			}
		}
		chosen = append(chosen, p.id)
		p.make(f)
	}
	return f
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs; go test ./internal/audit -update writes it anew", name)
	}
}

// The shapes of a report are promises: programs read the JSON, people compare the
// text.
func TestGolden(t *testing.T) {
	t.Parallel()
	r := Judge(flawedWorld())
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(text, '\n'))
	var b bytes.Buffer
	if err := Text(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", b.Bytes())
	b.Reset()
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.html", b.Bytes())
	var again Report
	if err := json.Unmarshal(text, &again); err != nil || again.Score != r.Score || len(again.Findings) != len(r.Findings) {
		t.Errorf("read back: %v", err)
	}
}

const hostile = "</title></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)> \x1b[2J\x00\u202e{{.}} $(reboot) `reboot`"

// hostileWorld has a hostile text in every member that a stranger or customer fills.
func hostileWorld() *Facts {
	f := flawedWorld()
	f.Account.Name, f.Account.OwnerEmail = hostile, hostile
	f.Subusers[0].Name = hostile
	for i := range f.Keys {
		k := &f.Keys[i]
		k.Name, k.CreatedBy, k.LastUsedFrom, k.LastUsedHelo, k.LastUsedMechanism, k.PreviousUsedFrom, k.PreviousUsedHelo = hostile, hostile, hostile, hostile, hostile, hostile, hostile
		k.Senders, k.Hosts, k.Subuser = []string{hostile}, []string{hostile}, f.Subusers[0].ID
	}
	f.Keys[1].Senders = nil
	for i := range f.Users {
		u := &f.Users[i]
		u.Username, u.Email, u.FirstName, u.LastName = hostile, hostile, hostile, hostile
	}
	f.Links[0].Email, f.Links[0].CreatedBy = hostile, hostile
	for i := range f.Clients {
		c := &f.Clients[i]
		c.Protocol, c.Addr, c.Helo = hostile, hostile, hostile
	}
	d := &f.Domains[0]
	d.Name, d.Reason, d.AssertedBy, d.Check.Policy, d.Check.SPFAligned, d.Keys[0].Selector = hostile, hostile, hostile, hostile, hostile, hostile
	f.Lists[0].Rules = []relay.AccessRule{{ID: 1, Host: hostile}, {ID: 2, Network: netip.MustParsePrefix("0.0.0.0/0")}}
	f.Lists[1].Rules, f.Lists[1].Monitor = []relay.AccessRule{{ID: 3, Host: hostile}}, true
	f.Trail.Problem = hostile
	for i := range f.Watch.Open {
		v := &f.Watch.Open[i]
		v.Title, v.Text, v.Subject = hostile, hostile, hostile
		if v.AnswerError != "" {
			v.AnswerError = hostile
		}
	}
	f.Installation.Components[0].Version = hostile
	f.Installation.Settings = []Setting{{Name: "x", Value: hostile, Recommended: hostile, Why: "w", Standards: []string{"s"}}}
	return f
}

// WB-04: what strangers wrote is text in the page: no element, attribute or script
// comes of it, and nothing is fetched from anywhere.
func TestHTMLIsInert(t *testing.T) {
	t.Parallel()
	var plain, bad bytes.Buffer
	if err := errors.Join(HTML(&plain, Judge(flawedWorld())), HTML(&bad, Judge(hostileWorld()))); err != nil {
		t.Fatal(err)
	}
	for name, page := range map[string]string{"plain": plain.String(), "hostile": bad.String()} {
		doc, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			switch n.Data {
			case "script", "img", "link", "iframe", "object", "form", "a", "base", "svg", "input":
				t.Errorf("%s: an element %s", name, n.Data)
			}
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" {
					t.Errorf("%s: <%s %s=%q>", name, n.Data, a.Key, a.Val)
				}
			}
		}
		if strings.ContainsAny(page, "\x1b\x00\u202e") || strings.Contains(page, "http://") || strings.Contains(page, "https://") {
			t.Errorf("%s: control characters, or an address", name)
		}
		if !strings.Contains(page, "style-src &#39;sha256-") && !strings.Contains(page, StyleSource) {
			t.Errorf("%s: the page names no policy for its style", name)
		}
	}
	if strings.Contains(bad.String(), "<script>") || !strings.Contains(bad.String(), "&lt;script&gt;") {
		t.Error("the hostile text is not there as text")
	}
}

// The same in a terminal: no octet moves the cursor, and no line of one's own
// begins.
func TestTextIsInert(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Text(&b, Judge(hostileWorld())); err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexFunc(b.Bytes(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == '\u202e' }); i >= 0 {
		t.Errorf("a control character: %q", b.Bytes()[max(0, i-40):i+10])
	}
}

// A command that is copied from a report runs as one command, whatever a name says.
func TestFixesAreOneCommand(t *testing.T) {
	t.Parallel()
	plain := regexp.MustCompile(`^('([^']|'\\'')*'|[A-Za-z0-9._@:/=,+-])*$`)
	for _, v := range Judge(hostileWorld()).Findings {
		for _, word := range strings.Split(v.Fix, " --") {
			if i := strings.IndexByte(word, '\''); i >= 0 {
				word = word[i:]
				if !plain.MatchString(word) {
					t.Errorf("%s: %s", v.Code, v.Fix)
				}
			} else if strings.ContainsAny(word, "$`;&|<>\"\\\n") {
				t.Errorf("%s: %s", v.Code, v.Fix)
			}
		}
		if strings.ContainsAny(v.Href, "<>\"' ") || strings.HasPrefix(v.Href, "//") || !strings.HasPrefix(v.Href, "/") && !hostOnly[v.Code] {
			t.Errorf("%s: href %q", v.Code, v.Href)
		}
	}
}

func TestArgument(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ann": "ann", "ann@example.test": "ann@example.test", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "-rf": "'-rf'", "a;b": "'a;b'", "$(x)": "'$(x)'", "a\nb": "'a?b'",
	} {
		if got := argument(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// docs/audit.md has the table of checks as they are.
func TestDocument(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- checks: begin -->\n", "<!-- checks: end -->"
	path := filepath.Join("..", "..", "docs", "audit.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/audit.md has no place for the table")
	}
	var b strings.Builder
	WriteTable(&b)
	want := head + begin + b.String() + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Error("docs/audit.md is not up to date: go test ./internal/audit -run TestDocument -update")
	}
}

func BenchmarkJudge(b *testing.B) {
	f := sound()
	f.Keys, f.Clients = nil, nil
	for i := range 10_000 {
		k := soundKey(1)
		k.ID.ID[13], k.ID.ID[14] = byte(i>>8), byte(i)
		k.Networks, k.Senders = nil, nil
		f.Keys = append(f.Keys, k)
		for j := range 3 {
			c := soundClient(1)
			c.Key = k.ID
			c.Addr, c.TLS = netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}).String(), "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
			f.Clients = append(f.Clients, c)
		}
	}
	for b.Loop() {
		if r := Judge(f); len(r.Findings)+r.Omitted != 30_000 {
			b.Fatalf("%d findings", len(r.Findings)+r.Omitted)
		}
	}
}
