package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"postern/internal/bench"
)

// The end of the data is found wherever it falls, and only there.
func TestSkipData(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 70_000) // longer than the reader's buffer
	for _, c := range []struct {
		in   string
		size int64
	}{
		{".\r\n", 0},
		{"a\r\n.\r\n", 3},
		{"..\r\n.\r\n", 4},
		{".x\r\n.\r\n", 4},
		{"a\n.\r\nb\r\n.\r\n", 8},
		{"a\r\n.\nb\r\n.\r\n", 8},
		{long + "\r\n.\r\n", 70_002},
		{long + ".\r\n.\r\n", 70_003},
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(c.in + "QUIT\r\n"), "octet by octet": iotest.OneByteReader(strings.NewReader(c.in + "QUIT\r\n"))} {
			in := bufio.NewReaderSize(r, 64<<10)
			n, err := skipData(in)
			rest, _ := io.ReadAll(in)
			if err != nil || n != c.size || string(rest) != "QUIT\r\n" {
				t.Errorf("%.20q %s: %d octets, %v, then %q; want %d, then QUIT", c.in, name, n, err, rest, c.size)
			}
		}
	}
	if _, err := skipData(bufio.NewReader(strings.NewReader("cut off\r\n"))); err == nil {
		t.Error("data without an end was taken")
	}
}

func TestSinkCounts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var messages, octets atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = sinkSession(conn, &messages, &octets)
			}()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, lockstep := range []bool{false, true} {
		messages.Store(0)
		octets.Store(0)
		r, err := bench.Run(ctx, bench.Config{
			Addr: l.Addr().String(), TLS: bench.None, From: loadFrom, To: loadTo, Connections: 3, Messages: 4, Size: 1000, Lockstep: lockstep,
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Accepted != 12 || messages.Load() != 12 || octets.Load() != 12_000 {
			t.Errorf("lockstep %v: %d accepted (%v), the sink has %d with %d octets", lockstep, r.Accepted, r.Errors, messages.Load(), octets.Load())
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 9, 2}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

// The page compares with the first contestant and says what was not met.
func TestRender(t *testing.T) {
	t.Parallel()
	turn := func(who string, relayed, cpu float64) result {
		return result{Scenario: "plain", Contestant: who, Relayed: relayed, CPU: cpu, Flushes: -1, Report: &bench.Report{}}
	}
	first, ours := scenarios[0].contestants[0].name, scenarios[0].contestants[1].name
	page := render([]result{turn(first, 100, 3000), turn(ours, 900, 150), turn(first, 110, 3000), turn(ours, 1100, 160)})
	for _, want := range []string{
		"| " + first + " | 105 | 3000 |", "| " + ours + " | 1000 | 155 |", "| – |",
		"| relayed/s ≥ 10 × | 9.52 × | **not met** |", "| CPU ≤ 0.08 × | 0.05 × | met |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if strings.Contains(page, "idle") || strings.Count(page, "\n## ") != 1 {
		t.Errorf("scenarios that did not run are on the page:\n%s", page)
	}
}

func TestMillion(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "million.json")
	for _, c := range []struct{ in, want string }{
		{`{"messages": 1000, "body_octets": 1024, "rss_mib": 90, "rss_peak_mib": 200, "restart_to_ready_seconds": 5.5}`, "| memory ≤ 300 MiB | 90 MiB, 200 at most | met |"},
		{`{"messages": 1000, "body_octets": 1024, "rss_mib": 90, "rss_peak_mib": 301}`, "301 at most | **not met** |"},
		{`{}`, ""},
		{`no JSON`, ""},
	} {
		if err := os.WriteFile(file, []byte(c.in), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := readMillion(file)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: %+v", c.in, m)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		m.write(&b)
		if !strings.Contains(b.String(), c.want) {
			t.Errorf("no %q in\n%s", c.want, b.String())
		}
	}
}
