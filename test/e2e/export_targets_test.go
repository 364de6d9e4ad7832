package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A file that is put aside as it grows, a webhook whose signature a foreign program
// verifies, and a collector of OpenTelemetry logs get everything: what is refused
// comes again, and so does what a crash cut off.
func TestExportTargets(t *testing.T) {
	t.Parallel()
	python, authority, dir := external(t, "python3"), newTestAuthority(t), t.TempDir()
	hook := newExportReceiver(t, python, authority, "webhook", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	collector := newExportReceiver(t, python, authority, "otlp", "the-token-of-the-collector")
	write(t, filepath.Join(dir, "hook.secret"), "whsec_"+strings.Repeat("bmV3", 8)+"\n"+hook.secret+"\n") // a new one, and the old one that the receiver still has
	write(t, filepath.Join(dir, "otlp.headers"), "Authorization: Bearer "+collector.secret+"\n")
	archive := filepath.Join(dir, "archive", "history.json")
	if err := os.Mkdir(filepath.Dir(archive), 0o700); err != nil {
		t.Fatal(err)
	}
	const rotate = 8 << 10
	r := newIdentityRelay(t, fmt.Sprintf(`
[[export]]
name = "archive"
kind = "file"
to = %[1]q
all = true
rotate_size = "8KiB"

[[export]]
name = "hook"
kind = "webhook"
to = "https://%[2]s/hooks/postern?to=siem"
all = true
private = true
ca_file = %[3]q
secret_file = %[4]q

[[export]]
name = "collector"
kind = "otlp"
to = "https://%[5]s"
all = true
private = true
ca_file = %[3]q
secret_file = %[6]q
`, archive, hook.addr, authority.ca, filepath.Join(dir, "hook.secret"), collector.addr, filepath.Join(dir, "otlp.headers")))
	r.exportTraffic(t, "first", 4)
	r.again(t)
	r.exportTraffic(t, "second", 4)
	r.wantAll(t, "the archive", func() []exported { return archived(t, archive, rotate) })
	r.wantAll(t, "the webhook", func() []exported { return hook.has(t) })
	r.wantAll(t, "the collector", func() []exported { return collector.has(t) })
}

// exportReceiver is testdata/export_receiver.py.
type exportReceiver struct{ addr, secret, out string }

func newExportReceiver(t testing.TB, python string, a testAuthority, kind, secret string) *exportReceiver {
	t.Helper()
	dir := t.TempDir()
	r := &exportReceiver{freeAddr(t), secret, filepath.Join(dir, "records")}
	_, port := split(t, r.addr)
	p, err := startProcess(filepath.Join(dir, "log"), python, "testdata/export_receiver.py", kind, a.cert, a.key, secret, port, r.out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of the %s's receiver:\n%s", kind, p.tail())
		}
		_ = p.stop(10 * time.Second)
	})
	if err := p.waitUntil(30*time.Second, func() bool {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *exportReceiver) has(t testing.TB) (all []exported) {
	t.Helper()
	text, err := os.ReadFile(r.out)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // it writes
		}
		var got struct {
			exported
			Problem string
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if got.Problem != "" {
			t.Fatalf("the receiver says: %s", got.Problem)
		}
		all = append(all, got.exported)
	}
	return all
}

// archived reads a file and those that were put aside before it.
func archived(t testing.TB, path string, rotate int) (all []exported) {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // put aside just now
		}
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for line := range strings.Lines(string(text)) {
			if !strings.HasSuffix(line, "\n") && name == path {
				break // it writes
			}
			var e exported
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v in %q", name, err, line)
			}
			if at += len(line); at > rotate && at > len(line) {
				t.Errorf("%s has more than %d octets", name, rotate)
			}
			all = append(all, e)
		}
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s: others may read it: %v", name, info.Mode())
		}
	}
	if len(all) > 40 && len(files) < 2 {
		t.Errorf("%d records in %d file", len(all), len(files))
	}
	return all
}
