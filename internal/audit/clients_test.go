package audit

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A key that two programs use: the better one does not hide the other, not even
// where both come from one address and give one name. One that was updated does not
// count any more.
func TestEachProgramOfAKeyIsJudged(t *testing.T) {
	t.Parallel()
	const tls12, tls11 = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLSv1.1 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
	way := func(tls string, first, last int) Client {
		c := soundClient(2)
		c.TLS, c.First, c.Last = tls, ago(first), ago(last)
		return c
	}
	elsewhere := func(c Client, addr, helo string) Client { c.Addr, c.Helo = addr, helo; return c }
	good := soundClient(2).TLS
	for name, c := range map[string]struct {
		ways []Client
		want []string // codes
		last string   // is in the text of the first
	}{
		"another address, used before": {[]Client{elsewhere(way(tls12, 9, 8), "192.0.2.8", "old.example.test"), way(good, 5, 1)}, []string{"client_stale"}, "“old.example.test” at 192.0.2.8 logged in on 14 November 2026"},
		"another name":                 {[]Client{elsewhere(way(tls12, 9, 8), "192.0.2.7", "old.example.test"), way(good, 5, 1)}, []string{"client_stale"}, "“old.example.test”"},
		"one address and name":         {[]Client{way(tls12, 9, 3), way(good, 5, 1)}, []string{"client_stale"}, "on 19 November 2026 over TLS 1.2"},
		"used between":                 {[]Client{way(tls12, 4, 4), way(good, 9, 1)}, []string{"client_stale"}, "on 18 November 2026"},
		"updated":                      {[]Client{way(tls12, 9, 6), way(good, 5, 1)}, nil, ""},
		"updated half":                 {[]Client{way(tls11, 9, 6), way(tls12, 5, 1)}, []string{"client_stale"}, "on 21 November 2026"},
		"put back":                     {[]Client{way(good, 9, 6), way(tls12, 5, 1)}, []string{"client_stale"}, "on 21 November 2026"},
		"two that are weak":            {[]Client{way(tls11, 9, 2), way(tls12, 5, 1)}, []string{"client_stale", "client_tls"}, ""},
		"the last of two":              {[]Client{way(tls12, 9, 3), elsewhere(way(tls12, 9, 1), "192.0.2.9", "new.example.test")}, []string{"client_stale"}, "“new.example.test” at 192.0.2.9"},
		"at the same moment":           {[]Client{way(tls12, 1, 1), way(good, 1, 1)}, []string{"client_stale"}, ""},
	} {
		for range 2 { // in either order
			slices.Reverse(c.ways)
			f := sound()
			f.Clients = append([]Client{soundClient(1)}, c.ways...)
			var codes []string
			found := Judge(f).Findings
			for _, v := range found {
				codes = append(codes, v.Code)
			}
			slices.Sort(codes)
			if !slices.Equal(codes, c.want) {
				t.Errorf("%s: %q, want %q", name, codes, c.want)
			} else if len(found) > 0 && !strings.Contains(found[0].Text, c.last) {
				t.Errorf("%s: %s", name, found[0].Text)
			}
		}
	}
}

// Every program that is weak stands in the evidence, the last one first.
func TestEvidenceNamesEachProgram(t *testing.T) {
	t.Parallel()
	f := sound()
	f.Clients = nil
	for i, helo := range []string{"a.example.test", "b.example.test", "c.example.test"} {
		c := soundClient(2)
		c.Helo, c.Last, c.TLS = helo, ago(5).Add(time.Duration(i)*day), "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
		f.Clients = append(f.Clients, c)
	}
	found := Judge(f).Findings
	if len(found) != 1 || len(found[0].Evidence) != 3 {
		t.Fatalf("%+v", found)
	}
	for i, helo := range []string{"c.example.test", "b.example.test", "a.example.test"} {
		if !strings.Contains(found[0].Evidence[i], helo) {
			t.Errorf("line %d: %s, want %s", i, found[0].Evidence[i], helo)
		}
	}
}
