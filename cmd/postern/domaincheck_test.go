package main

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/mailauth"
	"postern/internal/spf"
)

// serveZone runs "zone VARIABLE FILE": a name server for "test" on loopback with
// the records of the file, one a line ("name type value"); the variable becomes
// its address.
func serveZone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: zone variable file")
	}
	z, err := dns.NewZone(dns.ZoneConfig{Origin: "test"})
	ts.Check(err)
	values := map[[2]string][]string{}
	text, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.SplitN(strings.TrimSpace(line), " ", 3); len(fields) == 3 {
			key := [2]string{fields[0], fields[1]}
			values[key] = append(values[key], fields[2])
		}
	}
	for key, v := range values {
		ts.Check(z.Set(key[0], key[1], time.Minute, v...))
	}
	s, err := dns.ListenZones("127.0.0.1:0", nil, z)
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		<-ended
	})
	ts.Setenv(args[0], s.Addr().String())
}

// What strangers published is shown as text, in lines that fit. (HD-13.)
func TestCheckReportIsSafe(t *testing.T) {
	t.Parallel()
	evil := "\x1b]0;x\a\u202e\r\n" + strings.Repeat("long words ", 40)
	f := finding.Finding{Severity: finding.Error, Text: "text " + evil, Fix: evil}
	r := mailauth.Report{
		Domain: "example.com", Unicode: "bücher\x1b.example", Verdict: []string{evil},
		SPF: mailauth.SPF{Analysis: spf.Analysis{Record: evil, Findings: []finding.Finding{f}, Tree: &spf.Node{Terms: []spf.Term{{Text: evil, Lookups: 1, Problem: evil, Node: &spf.Node{Problem: evil}}}},
			Senders: []spf.Covered{{Addr: netip.MustParseAddr("192.0.2.1"), Result: evil, Why: evil}}}},
		DKIM:   mailauth.DKIM{Keys: []mailauth.Key{{Selector: "x\x1b", Type: "\u202e", Alias: "\r\n"}}, Findings: []finding.Finding{f}},
		DMARC:  mailauth.DMARC{Record: evil, Findings: []finding.Finding{f}},
		MX:     mailauth.MX{Hosts: []mailauth.Host{{Name: "\x1b", Problem: "\x9b"}}, Findings: []finding.Finding{f}},
		MTASTS: mailauth.Text{Record: evil, Findings: []finding.Finding{f}},
		DANE:   mailauth.DANE{Hosts: []mailauth.HostTLSA{{Host: "\a", Records: []string{evil}}}, Findings: []finding.Finding{f}},
	}
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		p := &reportPrinter{out: &out, width: 80, colour: colour}
		p.report(&r)
		text := out.String()
		if colour {
			for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[31m"} {
				if !strings.Contains(text, code) {
					t.Errorf("no %q", code)
				}
				text = strings.ReplaceAll(text, code, "")
			}
		}
		if p.err != nil || strings.ContainsAny(text, "\x1b\a\u202e\r\u009b") {
			t.Errorf("%v: %q", p.err, text)
		}
		for line := range strings.Lines(text) {
			if n := len([]rune(line)); n > 90 {
				t.Errorf("%d characters: %q", n, line)
			}
		}
	}
}
