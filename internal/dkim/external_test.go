package dkim

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// program finds an external verifier. Without it the test is skipped, unless
// the environment says that all of them must be there.
func program(t *testing.T, name string, works ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil && len(works) > 0 {
		err = exec.Command(path, works...).Run()
	}
	if err != nil {
		if os.Getenv("POSTERN_TEST_EXTERNAL") == "1" {
			t.Fatalf("%s %v: %v", name, works, err)
		}
		t.Skipf("%s %v: %v", name, works, err)
	}
	return path
}

// dkimpyScript verifies every signature of each message file and prints how
// many hold. Arguments: how many to expect, a file of "name value" records,
// message files.
const dkimpyScript = `
import sys, dkim
zone = {}
for line in open(sys.argv[2]):
    name, value = line.rstrip("\n").split(" ", 1)
    zone[name] = value.encode()
def txt(name, timeout=5):
    if isinstance(name, bytes):
        name = name.decode()
    return zone.get(name.rstrip("."))
bad = 0
for path in sys.argv[3:]:
    msg = open(path, "rb").read()
    d = dkim.DKIM(msg)
    for i in range(int(sys.argv[1])):
        try:
            why = "does not verify" if not d.verify(idx=i, dnsfunc=txt) else ""
        except dkim.DKIMException as e:
            why = str(e)
        if why:
            print(path, i, why)
            bad = 1
sys.exit(bad)
`

// world writes the corpus, signed, and the records to a directory.
func world(t *testing.T, keys []Key) (dir string, messages []string) {
	t.Helper()
	dir = t.TempDir()
	var zone strings.Builder
	for _, k := range keys {
		r, err := Record(k.Signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		zone.WriteString(k.Name() + " " + r + "\n")
	}
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("zone", zone.String())
	write("verify.py", dkimpyScript)
	for name, msg := range corpus {
		signed := signMessage(t, msg, keys, Options{Time: time.Now().Add(-time.Minute), Expire: time.Hour})
		if !strings.HasSuffix(signed, "\r\n") {
			signed += "\r\n" // DATA always ends a line; the signature must not mind
		}
		messages = append(messages, write(strings.ReplaceAll(name, " ", "-")+".eml", signed))
	}
	return dir, messages
}

func TestDkimpyVerifies(t *testing.T) {
	t.Parallel()
	// Debian's package is for Debian's interpreter, which need not be the first.
	python := "/usr/bin/python3"
	program(t, python, "-c", "import dkim")
	keys := testKeys()
	if exec.Command(python, "-c", "import nacl").Run() != nil {
		keys = keys[:1] // dkimpy checks Ed25519 with that package only
	}
	dir, messages := world(t, keys)
	args := append([]string{filepath.Join(dir, "verify.py"), strconv.Itoa(len(keys)), filepath.Join(dir, "zone")}, messages...)
	if out, err := exec.Command(python, args...).CombinedOutput(); err != nil {
		t.Errorf("dkimpy, %d keys: %v\n%s", len(keys), err, out)
	}
	spoilt := filepath.Join(dir, "spoilt.eml")
	signed := signMessage(t, corpus["plain"], keys, Options{})
	if err := os.WriteFile(spoilt, []byte(strings.Replace(signed, "hello", "hellO", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if exec.Command(python, append(args[:3:3], spoilt)...).Run() == nil {
		t.Error("dkimpy takes a changed body: this test cannot fail")
	}
}

func TestOpendkimVerifies(t *testing.T) {
	t.Parallel()
	opendkim := program(t, "opendkim", "-V")
	keys := testKeys()
	dir, messages := world(t, keys)
	conf := filepath.Join(dir, "opendkim.conf")
	settings := "Mode v\nTestDNSData file:" + filepath.Join(dir, "zone") + "\n"
	if err := os.WriteFile(conf, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	// In test mode it prints the Authentication-Results that it would add.
	passes := func(path string) (rsa, ed25519 bool, out string) {
		b, err := exec.Command(opendkim, "-x", conf, "-vv", "-t", path).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", path, err, b)
		}
		for _, l := range strings.Split(string(b), "\n") {
			pass := strings.Contains(l, "dkim=pass")
			rsa = rsa || pass && strings.Contains(l, "header.a="+string(RSA))
			ed25519 = ed25519 || pass && strings.Contains(l, "header.a="+string(Ed25519))
		}
		return rsa, ed25519, string(b)
	}
	for _, path := range messages {
		if rsa, ed25519, out := passes(path); !rsa || !ed25519 {
			t.Errorf("opendkim: RSA %v, Ed25519 %v\n%s", rsa, ed25519, out)
		}
	}
	spoilt := filepath.Join(dir, "spoilt.eml")
	signed := signMessage(t, corpus["plain"], keys, Options{})
	if err := os.WriteFile(spoilt, []byte(strings.Replace(signed, "hello", "hellO", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if rsa, ed25519, _ := passes(spoilt); rsa || ed25519 {
		t.Error("opendkim takes a changed body: this test cannot fail")
	}
}
