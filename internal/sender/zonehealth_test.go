package sender

import (
	"context"
	"testing"

	"postern/internal/dns"
	"postern/internal/finding"
)

// zoneAsker answers one question.
type zoneAsker struct {
	asked dns.Asked
	err   error
}

func (z zoneAsker) Ask(context.Context, string, string) (dns.Asked, error) { return z.asked, z.err }

func TestZoneHealth(t *testing.T) {
	t.Parallel()
	told := func(server string, err error) dns.Told {
		return dns.Told{Server: server, Err: err, Authoritative: err == nil}
	}
	both := []string{"ns1.example.test", "ns2.example.test"}
	for _, tt := range []struct {
		name  string
		ask   zoneAsker
		codes []string
		worst finding.Severity
	}{
		{"two answer", zoneAsker{asked: dns.Asked{Zone: "m.example.test", Servers: both, Told: []dns.Told{told(both[0], nil), told(both[1], nil)}}},
			[]string{"zone_ok"}, finding.OK},
		{"not delegated: the zone above answers", zoneAsker{asked: dns.Asked{Zone: "example.test", Servers: both, Told: []dns.Told{told(both[0], dns.ErrNotFound)}}},
			[]string{"zone_not_delegated"}, finding.Error},
		{"no such name", zoneAsker{err: dns.ErrNotFound}, []string{"zone_not_delegated"}, finding.Error},
		{"no DNS", zoneAsker{err: dns.ErrTemporary}, []string{"zone_unknown"}, finding.Unknown},
		{"one of two is lame", zoneAsker{asked: dns.Asked{Zone: "m.example.test", Servers: both, Told: []dns.Told{told(both[0], nil), told(both[1], dns.ErrLame)}}},
			[]string{"zone_server_silent", "zone_one_server"}, finding.Warning},
		{"none answers", zoneAsker{asked: dns.Asked{Zone: "m.example.test", Servers: both, Told: []dns.Told{told(both[0], dns.ErrTemporary), told(both[1], dns.ErrLame)}}},
			[]string{"zone_silent"}, finding.Error},
		{"only one is delegated", zoneAsker{asked: dns.Asked{Zone: "m.example.test", Servers: both[:1], Told: []dns.Told{told(both[0], nil)}}},
			[]string{"zone_servers_differ", "zone_one_server"}, finding.Warning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := ZoneHealth(context.Background(), tt.ask, "M.example.test.", []string{"NS2.example.test.", "ns1.example.test"})
			if len(got) != len(tt.codes) || finding.Worst(got) != tt.worst {
				t.Fatalf("%+v, want %v, worst %s", got, tt.codes, tt.worst)
			}
			for i, f := range got {
				if f.Code != tt.codes[i] || f.Text == "" || (f.Severity == finding.Error || f.Severity == finding.Warning) && f.Fix == "" {
					t.Errorf("%+v, want %s", f, tt.codes[i])
				}
			}
		})
	}
}
