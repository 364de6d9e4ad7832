package e2e

import (
	"encoding/json"
	"strconv"
	"testing"
)

// The load generator of the product against the product: all is accepted, all
// arrives, and the figures of the server's process are there.
func TestBenchCommand(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	r := command{
		args: []string{d.bin, "bench", "--addr", d.SMTPTLS, "--tls", "implicit", "--ca", d.CAFile, "--server-name", d.Hostname, "--key-env", "BENCH_KEY",
			"--from", d.From, "--to", "bench-" + d.To, "--connections", "5", "--messages", "4", "--size", "2000", "--pid", strconv.Itoa(d.cmd.Process.Pid), "--json"},
		env: []string{"BENCH_KEY=" + d.APIKey},
	}.run(t)
	wantAccepted(t, r)
	var report struct {
		Accepted, Failed int
		Setup            struct{ Count int }
		Server           *struct {
			CPU float64 `json:"cpu_seconds"`
			RSS int64   `json:"rss_after"`
		}
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatalf("%v in\n%s", err, r.out)
	}
	if report.Accepted != 20 || report.Failed != 0 || report.Setup.Count != 5 || report.Server == nil || report.Server.RSS < 1<<20 {
		t.Errorf("report:\n%s", r.out)
	}
	d.arrived(t, "load ", 20)

	r = command{
		args: []string{d.bin, "bench", "--addr", d.SMTPTLS, "--tls", "implicit", "--ca", d.CAFile, "--server-name", d.Hostname, "--key-env", "BENCH_KEY",
			"--from", d.From, "--to", d.To, "--connections", "2", "--messages", "1"},
		env: []string{"BENCH_KEY=" + d.wrongKey()},
	}.run(t)
	if r.code != 1 {
		t.Errorf("exit code %d with a wrong key, want 1:\n%s", r.code, r.out)
	}
	wantRefused(t, r, "error", replyWrongKey)
}
