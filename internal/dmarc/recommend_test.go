package dmarc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const ours = "mailto:dmarc-t@relay.test"

// enough is what allows every step.
var enough = Seen{Messages: 10_000, Aligned: 9_990, Failing: 10, Days: 30, FailingSources: 2, Reporters: 3}

func TestRecommend(t *testing.T) {
	t.Parallel()
	few := enough
	few.Days = 7
	for _, tt := range []struct {
		name    string
		records map[string]string
		author  string
		seen    Seen
		rua     string
		want    string // step, where (without _dmarc.), record
		says    string
	}{
		{"nothing published", nil, "example.com", Seen{}, ours, "publish none @ example.com: v=DMARC1; p=none; rua=" + ours, "No policy applies"},
		{"nothing published, nowhere to report", nil, "example.com", Seen{}, "", "publish none @ example.com: v=DMARC1; p=none", ""},
		{"nothing published for a subdomain", nil, "mail.example.com", Seen{}, ours, "publish none @ mail.example.com: v=DMARC1; p=none; rua=" + ours, "_dmarc.example.com instead covers"},
		{"much was seen, and nothing is published", nil, "example.com", enough, ours, "publish none @ example.com: v=DMARC1; p=none; rua=" + ours, ""},
		{"two records are none", map[string]string{"example.com": "v=DMARC1; p=reject|v=DMARC1; p=reject"}, "example.com", Seen{}, ours, "publish none @ example.com: v=DMARC1; p=none; rua=" + ours, ""},
		{"their address stays", map[string]string{"example.com": "v=DMARC1; p=none; rua=mailto:a@example.com; ruf=mailto:f@example.com; fo=1"}, "example.com", Seen{}, ours,
			"keep @ example.com: v=DMARC1; p=none; rua=mailto:a@example.com," + ours + "; ruf=mailto:f@example.com; fo=1", "come here too"},
		{"ours is there, in other letters", map[string]string{"example.com": "v=DMARC1; p=none; rua=mailto:DMARC-T@relay.test"}, "example.com", Seen{}, ours, "keep @ example.com: ", "no report that counts"},
		{"none to quarantine", map[string]string{"example.com": "v=DMARC1; p=none; rua=" + ours}, "example.com", few, ours, "to quarantine @ example.com: v=DMARC1; p=quarantine; np=reject; rua=" + ours, "99.9 %"},
		{"never two steps at once", map[string]string{"example.com": "v=DMARC1; p=none; rua=" + ours}, "example.com", enough, ours, "to quarantine @ example.com: v=DMARC1; p=quarantine; np=reject; rua=" + ours, "nobody sends as names"},
		{"what np says already stays", map[string]string{"example.com": "v=DMARC1; p=none; np=none; rua=" + ours}, "example.com", enough, ours, "to quarantine @ example.com: v=DMARC1; p=quarantine; np=none; rua=" + ours, ""},
		{"quarantine to reject", map[string]string{"example.com": "v=DMARC1; p=quarantine; rua=" + ours}, "example.com", enough, ours, "to reject @ example.com: v=DMARC1; p=reject; rua=" + ours, ""},
		{"quarantine, too soon", map[string]string{"example.com": "v=DMARC1; p=quarantine; rua=" + ours}, "example.com", few, ours, "keep @ example.com: ", "7 days, and 14 are wanted"},
		{"reject", map[string]string{"example.com": "v=DMARC1; p=reject; rua=" + ours}, "example.com", enough, ours, "keep @ example.com: ", "strictest"},
		{"reject with a gap for subdomains", map[string]string{"example.com": "v=DMARC1; p=reject; sp=none; rua=" + ours}, "example.com", enough, ours, "keep @ example.com: ", "sp=none leaves names below example.com less protected"},
		{"quarantine to reject with sp", map[string]string{"example.com": "v=DMARC1; p=quarantine; sp=none; rua=" + ours}, "example.com", enough, ours, "to reject @ example.com: v=DMARC1; p=reject; sp=none; np=reject; rua=" + ours, ""},
		{"reject in test mode", map[string]string{"example.com": "v=DMARC1; p=reject; t=y; rua=" + ours}, "example.com", enough, ours, "to reject @ example.com: v=DMARC1; p=reject; rua=" + ours, "Test mode (t=y) ends"},
		{"quarantine in test mode", map[string]string{"example.com": "v=DMARC1; p=quarantine; t=y; rua=" + ours}, "example.com", few, ours, "to quarantine @ example.com: v=DMARC1; p=quarantine; np=reject; rua=" + ours, ""},
		{"reject in test mode, not ready", map[string]string{"example.com": "v=DMARC1; p=reject; t=y; rua=" + ours}, "example.com", Seen{}, ours, "keep @ example.com: ", "apply the policy in full"},
		{"pct stays until a step", map[string]string{"example.com": "v=DMARC1; p=quarantine; pct=20; ri=3600; x=y"}, "example.com", Seen{}, ours, "keep @ example.com: v=DMARC1; p=quarantine; rua=" + ours + "; pct=20; x=y", "pct, ri: removed from DMARC"},
		{"pct goes with a step", map[string]string{"example.com": "v=DMARC1; p=quarantine; pct=20; rf=afrf; x=y; rua=" + ours}, "example.com", enough, ours, "to reject @ example.com: v=DMARC1; p=reject; rua=" + ours + "; x=y", "pct is left out"},
		{"alignment stays", map[string]string{"example.com": "v=DMARC1; p=none; adkim=s; aspf=s; psd=n"}, "example.com", enough, ours, "to quarantine @ example.com: v=DMARC1; p=quarantine; np=reject; psd=n; adkim=s; aspf=s; rua=" + ours, ""},
		{"a parent's policy is kept for the subdomain", map[string]string{"example.com": "v=DMARC1; p=none; sp=reject; rua=mailto:a@example.com"}, "mail.example.com", Seen{}, ours,
			"keep @ mail.example.com: v=DMARC1; p=reject; rua=mailto:a@example.com," + ours, "record at _dmarc.example.com"},
		{"and may go on from there", map[string]string{"example.com": "v=DMARC1; p=none; rua=mailto:a@example.com"}, "mail.example.com", enough, ours,
			"to quarantine @ mail.example.com: v=DMARC1; p=quarantine; rua=mailto:a@example.com," + ours, "changes nothing for other names"},
		{"a registry's addresses are not for its registrants", map[string]string{"bank": "v=DMARC1; p=reject; psd=y; rua=mailto:a@reg.bank"}, "shop.bank", Seen{}, ours, "keep @ shop.bank: v=DMARC1; p=reject; rua=" + ours, ""},
		{"a registry itself", map[string]string{"gov.test": "v=DMARC1; p=none; psd=y; rua=" + ours}, "gov.test", enough, ours, "keep @ gov.test: ", "public suffix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := Discover(context.Background(), zone(tt.records, "mail.example.com"), tt.author)
			if err != nil {
				t.Fatal(err)
			}
			r := Recommend(d, tt.seen, tt.rua)
			if got := r.Step + " @ " + strings.TrimPrefix(r.At, "_dmarc.") + ": " + r.Record; got != tt.want {
				t.Errorf("got  %s\nwant %s\nwhy %s", got, tt.want, r.Why)
			}
			if !strings.Contains(r.Why, tt.says) || r.Why == "" || r.Ready != tt.seen.Share() {
				t.Errorf("why %q, ready %v; want %q", r.Why, r.Ready, tt.says)
			}
		})
	}
}

func TestSeenAllows(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change             func(*Seen)
		quarantine, reject bool
		says               string
	}{
		"all is well":            {func(*Seen) {}, true, true, "In 30 days 3 reporters saw 10000 messages"},
		"nothing seen":           {func(s *Seen) { *s = Seen{} }, false, false, "no report that counts"},
		"one reporter":           {func(s *Seen) { s.Reporters = 1 }, false, false, "independent reporters: 1"},
		"six days":               {func(s *Seen) { s.Days = 6 }, false, false, "6 days"},
		"thirteen days":          {func(s *Seen) { s.Days = 13 }, true, false, "13 days, and 14"},
		"little mail":            {func(s *Seen) { s.Messages, s.Aligned = 99, 99 }, false, false, "99 messages"},
		"98.5 %":                 {func(s *Seen) { s.Aligned = 9850 }, true, false, "98.5 % of the mail"},
		"97.9 %":                 {func(s *Seen) { s.Aligned, s.FailingSources = 9799, 7 }, false, false, "97.9 % of the mail was aligned, and 98.0 % is wanted; it failed from 7 addresses"},
		"97.9 %, from one":       {func(s *Seen) { s.Aligned, s.FailingSources = 9799, 1 }, false, false, "it failed from one address: what is yours"},
		"a little of ours fails": {func(s *Seen) { s.OwnFailing = 10 }, true, true, ""},
		"ours fails":             {func(s *Seen) { s.OwnFailing = 11 }, false, false, "11 messages that were sent from here"},
		"nonsense":               {func(s *Seen) { s.Messages = -5 }, false, false, "no report"},
	} {
		s := enough
		tt.change(&s)
		q, why := s.Allows(StepQuarantine)
		r, whyNot := s.Allows(StepReject)
		if q != tt.quarantine || r != tt.reject || !strings.Contains(why+"\n"+whyNot, tt.says) {
			t.Errorf("%s: %v %v %q %q", name, q, r, why, whyNot)
		}
	}
}

// Whatever is published and seen: the recommended record can be read, weakens
// nothing, keeps every address, and has ours.
func TestRecommendNeverWeakens(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(all ...string) string { return all[rnd.IntN(len(all))] }
	policies := []string{"none", "quarantine", "reject"}
	for range 1000 {
		text := "v=DMARC1; p=" + pick(policies...)
		for _, tag := range []string{
			"sp=" + pick(policies...), "np=" + pick(policies...), "psd=" + pick("y", "n", "u"), "t=" + pick("y", "n"), "adkim=" + pick("r", "s"), "aspf=" + pick("r", "s"),
			"rua=mailto:a@example.com" + pick("", ",https://r.test/x", ","+ours), "ruf=mailto:f@example.com", "fo=" + pick("0", "1:d"), "pct=" + pick("0", "50", "100"), "ri=60", "new=tag",
		} {
			if rnd.IntN(2) == 0 {
				text += "; " + tag
			}
		}
		seen := Seen{Messages: rnd.Int64N(2000), Days: rnd.IntN(40), Reporters: rnd.IntN(4)}
		seen.Aligned = seen.Messages - seen.Messages*rnd.Int64N(4)/100
		d, err := Discover(context.Background(), zone(map[string]string{"example.com": text}), pick("example.com", "a.example.com"))
		if err != nil {
			t.Fatal(err)
		}
		r := Recommend(d, seen, ours)
		if r.Record == "" {
			if r.Step != StepKeep || !slices.Contains(d.Record.Aggregate, ours) {
				t.Fatalf("seed %d: %s, %+v: %+v", seed, text, seen, r)
			}
			continue
		}
		// The world with the recommended record in it.
		after, err := Discover(context.Background(), zone(map[string]string{"example.com": text, strings.TrimPrefix(r.At, "_dmarc."): r.Record}), d.Author)
		if err != nil || after.Record == nil {
			t.Fatalf("seed %d: %s: %+v, %v", seed, text, r, err)
		}
		was, is := *d.Record, *after.Record
		fault := ""
		switch {
		case weaker(after.Policy, d.Policy), is.Test && !was.Test, is.Policy == None && r.Step != StepKeep:
			fault = "a weaker policy"
		case d.At == d.Author && (weaker(is.forBelow(true), was.forBelow(true)) || weaker(is.forBelow(false), was.forBelow(false))):
			fault = "a weaker policy below"
		case is.DKIM != was.DKIM, is.SPF != was.SPF, is.PSD != was.PSD && d.At == d.Author, after.Organizational != d.Organizational:
			fault = "another alignment"
		case !slices.Contains(is.Aggregate, ours):
			fault = "no reports to us"
		case was.PSD != PSDYes && slices.ContainsFunc(was.Aggregate, func(s string) bool { return !slices.Contains(is.Aggregate, s) }):
			fault = "an address was lost"
		case r.Step != StepKeep && !strings.HasPrefix(fmt.Sprint(seen.Allows(r.Step)), "true"):
			fault = "a step too early"
		}
		if fault != "" {
			t.Fatalf("seed %d: %s\nfrom %s\nto   %s (%s) for %s, %+v", seed, fault, text, r.Record, r.Step, d.Author, seen)
		}
	}
}
