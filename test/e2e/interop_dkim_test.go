package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// dkimPython is a Python that has dkimpy and dnspython: Debian's, unless the first on PATH has them too.
func dkimPython(t testing.TB) string {
	t.Helper()
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import dkim, dns.query").Run() == nil {
			return p
		}
	}
	return external(t, "a Python with dkimpy and dnspython (python3-dkim, python3-dnspython)")
}

// signed sends messages of several shapes and returns what arrived.
func (d *demo) signed(t testing.TB) map[string]received {
	t.Helper()
	got := map[string]received{}
	for name, body := range map[string]string{
		"plain": "hello\r\n", "empty": "", "dots and blanks": hardBody, "blank lines at the end": "x \t \r\n\r\n\r\n",
		"no line end": "no line end", "large": strings.Repeat("0123456789 abcdef \r\n", 50_000),
	} {
		tok := token("dkim")
		if err := d.send(tok, body); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = d.one(t, tok)
	}
	return got
}

// dkimpy and opendkim, which share no code with ours or with each other, accept
// every signature, and reject the message when one octet is changed.
func TestSignaturesVerifyElsewhere(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	python := dkimPython(t)
	opendkim := external(t, "opendkim")
	for name, m := range d.signed(t) {
		t.Run(name, func(t *testing.T) {
			changed := bytes.Replace(m.Raw, []byte("From: "), []byte("From: x"), 1)
			out := command{args: []string{python, "testdata/dkim_verify.py", d.DNS}, stdin: string(m.Raw)}.run(t)
			if out.code != 0 || !strings.Contains(out.out, "rsa-sha256 pass") || strings.Contains(out.out, "fail") {
				t.Errorf("dkimpy:\n%s\n%s", out.out, m.head())
			}
			if n, want := strings.Count(out.out, " pass"), len(m.field("DKIM-Signature")); n != want {
				t.Errorf("dkimpy accepts %d of %d signatures", n, want)
			}
			out = command{args: []string{python, "testdata/dkim_verify.py", d.DNS}, stdin: string(changed)}.run(t)
			if strings.Contains(out.out, "pass") {
				t.Errorf("dkimpy accepts a changed message:\n%s", out.out)
			}
			if ok, out := d.opendkim(t, opendkim, m.Raw); !ok {
				t.Errorf("opendkim:\n%s\n%s", out, m.head())
			}
			if ok, out := d.opendkim(t, opendkim, changed); ok {
				t.Errorf("opendkim accepts a changed message:\n%s", out)
			}
		})
	}
}

var signatureKey = regexp.MustCompile(`\b([ds])=\s*([^;\s]+)`)

// opendkim verifies a message with opendkim's test mode. It cannot be told a
// port for its name server, so that the records are asked for here and handed
// over in a file.
func (d *demo) opendkim(t testing.TB, program string, raw []byte) (bool, string) {
	t.Helper()
	dir := t.TempDir()
	var records strings.Builder
	for _, sig := range (received{Raw: raw}).field("DKIM-Signature") {
		tags := map[string]string{}
		for _, m := range signatureKey.FindAllStringSubmatch(sig, -1) {
			tags[m[1]] = m[2]
		}
		name := tags["s"] + "._domainkey." + tags["d"]
		records.WriteString(name + " " + d.txt(t, name) + "\n")
	}
	files := map[string]string{
		"records": records.String(),
		"message": string(raw),
		// The product's signature comes first in the header; On-... accept makes the outcome a line of output, not a refusal.
		"conf": "Mode v\nTestDNSData file:" + filepath.Join(dir, "records") + "\nMinimumKeyBits 1024\nLogWhy yes\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := command{args: []string{program, "-x", filepath.Join(dir, "conf"), "-v", "-v", "-t", filepath.Join(dir, "message")}}.run(t)
	return strings.Contains(r.out, "verification (s=") && strings.Contains(r.out, "succeeded"), r.out
}

// txt asks the demo's zone.
func (d *demo) txt(t testing.TB, name string) string {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	a, _, err := (&dns.Client{Net: "tcp"}).Exchange(q, d.DNS)
	if err != nil {
		a, err = dns.Exchange(q, d.DNS)
	}
	if err != nil {
		t.Fatalf("TXT %s: %v", name, err)
	}
	for _, rr := range a.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			return strings.Join(txt.Txt, "")
		}
	}
	t.Fatalf("TXT %s: no record", name)
	return ""
}
