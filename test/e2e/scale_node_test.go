package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// nodeConfig is a node that submits by implicit TLS, and nothing else.
const nodeConfig = `hostname = "relay.sender.test"
data_dir = "."
contact = "operator@sender.test"

[store]
url = %q

[[listener]]
name = "submission"
role = "submission"
addresses = [%q]
tls = "starttls"

[[listener]]
name = "submissions"
role = "submission"
addresses = [%q]
tls = "implicit"

[http]
listen = []

[admin]
listen = %q

[limits]
connections_per_address = 5000

%s`

// newNode runs a relay on a store, "" for SQLite, until the test ends.
func newNode(t testing.TB, storeURL, conf string) *ownRelay {
	t.Helper()
	r := &ownRelay{demo: demo{bin: binary(t)}, dir: filepath.Join(t.TempDir(), "data")}
	args := []string{"init", "--dir", r.dir, "--hostname", "relay.sender.test", "--owner", "operator@sender.test"}
	if storeURL != "" {
		args = append(args, "--store-url", storeURL)
	}
	if r.APIKey = keyPattern.FindString(r.postern(t, args...)); r.APIKey == "" {
		t.Fatal("init printed no key")
	}
	r.node(t, storeURL, conf)
	r.postern(t, "domain", "add", "sender.test", "--assert", "--account", "main", "--return-path", "bounces.sender.test")
	return r
}

// another starts a second node on the same store, with the same sealing key.
func (r *ownRelay) another(t *testing.T, storeURL string) *ownRelay {
	t.Helper()
	b := &ownRelay{demo: demo{bin: r.bin}, dir: filepath.Join(t.TempDir(), "data")}
	copyDir(t, r.dir, b.dir)
	b.node(t, storeURL, "")
	return b
}

// node writes the configuration and starts the process.
func (r *ownRelay) node(t testing.TB, storeURL, conf string) {
	t.Helper()
	r.ready.SMTPStartTLS, r.ready.SMTPTLS, r.ready.HTTP = freeAddr(t), freeAddr(t), freeAddr(t)
	r.ready.Hostname, r.ready.CAFile, r.ready.DataDir = "relay.sender.test", filepath.Join(r.dir, "ca.crt"), r.dir
	file := filepath.Join(r.dir, "postern.toml")
	write(t, file, fmt.Sprintf(nodeConfig, storeURL, r.SMTPStartTLS, r.SMTPTLS, r.HTTP, conf))
	r.serve(t, file)
}

// v3 asks the API over admin.sock.
func (r *ownRelay) v3(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://postern/v3"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(r.dir, "admin.sock"))
	}}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	case out != nil:
		return json.Unmarshal(b, out)
	}
	return nil
}

// cpu is the CPU time of the relay's process so far.
func (r *ownRelay) cpu(t testing.TB) time.Duration {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", r.cmd.Process.Pid))
	must(t, err)
	var sum int64
	for _, name := range tasks {
		var n int64
		if b, err := os.ReadFile(name); err == nil { // a thread may end meanwhile
			_, err = fmt.Sscan(string(b), &n)
			must(t, err)
		}
		sum += n
	}
	return time.Duration(sum)
}

// rss is the memory of the relay's process in octets.
func (r *ownRelay) rss(t testing.TB) int64 { return r.memory(t, "VmRSS:") }

// memory is a line of the relay's process status in octets.
func (r *ownRelay) memory(t testing.TB, line string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	must(t, err)
	var kib int64
	_, after, ok := bytes.Cut(b, []byte(line))
	if !ok {
		t.Fatal("no " + line)
	}
	_, err = fmt.Sscan(string(after), &kib)
	must(t, err)
	return kib << 10
}
