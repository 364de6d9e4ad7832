package dmarc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"

	"postern/internal/dns"
	"postern/internal/finding"
)

// Mail is how mail is to be sent, before it is.
type Mail struct {
	Author     string   // domain of the From address, A-labels
	ReturnPath string   // domain of the envelope sender; "": the null reverse-path
	Signers    []string // d= of the DKIM signatures; the first 16 count
}

// Match is how an identifier is aligned with the author domain.
type Match string

// The ways.
const (
	MatchStrict  Match = "strict"  // the same domain
	MatchRelaxed Match = "relaxed" // the same organizational domain, and that is enough
	MatchNone    Match = ""        // not aligned
)

// Forecast says how mail would fare if its SPF and DKIM checks pass.
type Forecast struct {
	Discovery
	// SPF and DKIM are how the return path, and the best of the signers, would be
	// aligned under the published record. Where none is, they are as if the author
	// domain had published one with the usual modes.
	SPF, DKIM Match
	// PSLOrganizational is the organizational domain as receivers see it that go by
	// RFC 7489 and the Public Suffix List. PSLPolicy, PSLSPF and PSLDKIM are what
	// follows for them; PSLDiffers: something in it differs from the above.
	PSLOrganizational string
	PSLPolicy         Policy
	PSLSPF, PSLDKIM   Match
	PSLDiffers        bool
	Findings          []finding.Finding
}

// Predict says what receivers would make of mail. Errors are those of Discover.
func Predict(ctx context.Context, r dns.Resolver, m Mail) (Forecast, error) {
	d, err := Discover(ctx, r, m.Author)
	if err != nil {
		return Forecast{}, err
	}
	f := Forecast{Discovery: d}
	if len(m.Signers) > maxSignatures {
		m.Signers = m.Signers[:maxSignatures]
	}
	if at := strings.LastIndexByte(m.ReturnPath, '@'); at >= 0 {
		m.ReturnPath = m.ReturnPath[at+1:]
	}
	if err := f.align(ctx, r, m); err != nil {
		return Forecast{}, err
	}
	if err := f.list(ctx, r, m); err != nil {
		return Forecast{}, err
	}
	if err := f.voids(ctx, r); err != nil {
		return Forecast{}, err
	}
	f.judge(m)
	return f, nil
}

// align fills in SPF and DKIM.
func (f *Forecast) align(ctx context.Context, r dns.Resolver, m Mail) error {
	d := f.Discovery
	if d.Record == nil {
		r = assumed{Resolver: r, name: "_dmarc." + d.Author}
		var err error
		if d, err = Discover(ctx, r, d.Author); err != nil {
			return err
		}
	}
	a := aligner{ctx: ctx, resolver: r, d: d, orgs: map[string]string{d.Author: d.Organizational}}
	match := func(domain string, mode Alignment) Match {
		aligned, err := a.aligned(domain, mode)
		if err != nil {
			a.fault(err)
		}
		return matched(aligned, domain, d.Author)
	}
	f.SPF = match(m.ReturnPath, d.Record.SPF)
	for _, s := range m.Signers {
		f.DKIM = better(f.DKIM, match(s, d.Record.DKIM))
	}
	return a.err
}

// assumed answers as if one name had a record with the usual modes.
type assumed struct {
	dns.Resolver
	name string
}

func (a assumed) TXT(ctx context.Context, name string) ([]string, bool, error) {
	if name == a.name {
		return []string{"v=DMARC1; p=none"}, false, nil
	}
	return a.Resolver.TXT(ctx, name)
}

func matched(aligned bool, domain, author string) Match {
	name, err := normal(domain)
	switch {
	case !aligned || err != nil:
		return MatchNone
	case name == author:
		return MatchStrict
	}
	return MatchRelaxed
}

func better(a, b Match) Match {
	if a == MatchStrict || b == MatchNone {
		return a
	}
	return b
}

// ListOrganizational is the organizational domain of a name by the Public Suffix
// List, RFC 7489 §3.2: for a public suffix, the name itself.
func ListOrganizational(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	org, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return name
	}
	return org
}

// list fills in what receivers see that go by the Public Suffix List: the author
// domain's record, else that of its organizational domain, and no walk.
func (f *Forecast) list(ctx context.Context, r dns.Resolver, m Mail) error {
	org := ListOrganizational(f.Author)
	f.PSLOrganizational = org
	record, err := lookup(ctx, r, f.Author)
	if err == nil && record == nil && org != f.Author {
		if record, err = lookup(ctx, r, org); record != nil {
			f.PSLPolicy = record.forBelow(true) // RFC 7489 knows no np
		}
	} else if record != nil {
		f.PSLPolicy = record.Policy
	}
	if err != nil {
		return err
	}
	modes := Record{SPF: Relaxed, DKIM: Relaxed}
	if record != nil {
		modes = *record
	}
	match := func(domain string, mode Alignment) Match {
		name, err := normal(domain)
		aligned := err == nil && (name == f.Author || mode == Relaxed && ListOrganizational(name) == org)
		return matched(aligned, domain, f.Author)
	}
	f.PSLSPF = match(m.ReturnPath, modes.SPF)
	for _, s := range m.Signers {
		f.PSLDKIM = better(f.PSLDKIM, match(s, modes.DKIM))
	}
	f.PSLDiffers = f.PSLPolicy != f.Policy || f.PSLSPF != f.SPF || f.PSLDKIM != f.DKIM
	return nil
}

// voids finds out why there is no record at the author domain although something
// is published there.
func (f *Forecast) voids(ctx context.Context, r dns.Resolver) error {
	where := "_dmarc." + f.Author
	if f.Record != nil && f.At == f.Author {
		return nil
	}
	txts, _, err := r.TXT(ctx, where)
	if errors.Is(err, dns.ErrNotFound) || errors.Is(err, dns.ErrNoData) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("policy of %s: %w", f.Author, err)
	}
	count := 0
	for _, txt := range txts {
		_, err := ParseRecord(txt)
		found := txt[:min(len(txt), 255)]
		switch {
		case errors.Is(err, errNotDMARC):
			if looksLikeOne(txt) {
				f.add(finding.Finding{Severity: finding.Error, Code: "dmarc_start", Where: where, Found: found, Expected: "v=DMARC1; …",
					Text: "A text there looks like a DMARC record and is none: it does not begin with v=DMARC1, written so.",
					Fix:  "Publish it without quotes or spaces before v=DMARC1, and with DMARC1 in capitals."})
			}
			continue
		case err != nil:
			f.add(finding.Finding{Severity: finding.Error, Code: "dmarc_invalid", Where: where, Found: found,
				Text: fmt.Sprintf("The record has no meaning to receivers: %s.", err), Fix: "Correct it: p must be none, quarantine or reject, and no tag may be there twice."})
		}
		count++
	}
	if count > 1 {
		f.add(finding.Finding{Severity: finding.Error, Code: "dmarc_several", Where: where, Found: fmt.Sprintf("%d records", count), Expected: "1 record",
			Text: fmt.Sprintf("There are %d DMARC records; receivers then use none of them.", count), Fix: "Delete all but one."})
	}
	return nil
}

// looksLikeOne: somebody meant it as a DMARC record.
func looksLikeOne(s string) bool {
	s = strings.ToLower(strings.Trim(s, " \t\"'“”\\"))
	return strings.HasPrefix(s, "v=dmarc") || strings.HasPrefix(s, "v = dmarc") || strings.HasPrefix(s, "dmarc1")
}

func (f *Forecast) add(one finding.Finding) {
	if one.Record == "" {
		one.Record = "dmarc"
	}
	f.Findings = append(f.Findings, one)
}
