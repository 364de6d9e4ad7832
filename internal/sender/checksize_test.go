package sender

import (
	"encoding/json"
	"strings"
	"testing"

	"postern/internal/dns"
	"postern/internal/relay"
)

// What hostile name servers say never makes a check too large to be kept: one that
// is not kept is not due again at its time, and forgets since when nothing is known.
func TestCheckOfManyWordsIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, false)
	for i := range maxKeys - 2 {
		k := b.keys[0]
		k.Selector, k.Active = "x"+string(rune('a'+i)), false
		b.keys = append(b.keys, k)
	}
	noise := strings.Repeat(`<"\&>`, 400)
	var txt [][]string
	for i := range 20 {
		txt = append(txt, []string{string(rune('a'+i)) + noise})
	}
	for _, r := range Records(b.s.Zone, b.d, b.keys) {
		if r.Type == "TXT" {
			b.lab.on(r.Host, func(n *labName) { n.txt = txt })
		} else {
			b.lab.on(r.Host, func(n *labName) { n.mx = []dns.MX{{Host: strings.Repeat("m", 60) + ".test"}} })
		}
	}
	c := b.s.Examine(t.Context(), b.d, b.keys)
	text, err := json.Marshal(c)
	if err != nil || len(text) > maxCheckText {
		t.Errorf("%d octets, %v", len(text), err)
	}
	if c.Valid || len(c.Records) < maxKeys || len(c.Findings) == 0 || len(c.Records[0].Found) == 0 && len(text) < maxCheckText/4 {
		t.Errorf("%d records and %d findings are left, in %d octets", len(c.Records), len(c.Findings), len(text))
	}
	// What is small stays whole.
	small := relay.DomainCheck{Records: []relay.RecordCheck{{Found: []string{"one", "two"}}}}
	if fit(&small); len(small.Records[0].Found) != 2 {
		t.Errorf("%+v", small)
	}
}
