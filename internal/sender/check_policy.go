package sender

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postern/internal/dmarc"
	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
	"postern/internal/spf"
)

// policy says what receivers would make of the domain's mail: its SPF and its
// DMARC policy. They are asked through the resolver, as receivers do.
func (x *examiner) policy(ctx context.Context, out *relay.DomainCheck) {
	if x.s.Resolver == nil {
		return
	}
	host := x.returnPath()
	x.spf(ctx, host)
	x.served(ctx)
	f, err := dmarc.Predict(ctx, x.s.Resolver, dmarc.Mail{Author: x.d.Name, ReturnPath: host, Signers: []string{x.d.Name}})
	if err != nil {
		x.add(finding.Finding{
			Severity: finding.Unknown, Code: codePolicyUnknown, Record: "dmarc", Where: "_dmarc." + x.d.Name,
			Text: "The DMARC policy of the domain could not be looked up: the DNS does not answer for now.", Fix: "Nothing to do if this passes; it is looked at again.",
		})
		return
	}
	out.Policy, out.SPFAligned, out.DKIMAligned = string(f.Policy), string(f.SPF), string(f.DKIM)
	for _, one := range f.Findings {
		x.foreign(one, finding.Error)
	}
	if f.SPF == dmarc.MatchNone && f.DKIM == dmarc.MatchNone {
		x.add(finding.Finding{
			Severity: finding.Error, Code: codeNotAligned, Record: "dmarc", Where: "_dmarc." + clean(f.At, maxWords),
			Text: "Neither SPF nor DKIM of the domain's mail would be aligned with its From address, so it would fail DMARC.",
			Fix:  "Have the DMARC record say adkim=r, or leave adkim out.",
		})
	}
	x.recommend(ctx, f, out)
}

// served sees that our zone answers behind the aliases of keys that sign. What is
// wrong there is not the customer's to mend, and takes nothing from the proof.
func (x *examiner) served(ctx context.Context) {
	sel := SelectorsOf(x.d)
	for _, k := range x.keys {
		key := sel.recordKey(k.Selector)
		if !k.Active || !x.d.Automatic || x.verdicts[key] != isValid {
			continue
		}
		r := relay.DNSRecord{Key: key, Type: "TXT", Host: k.Selector + "._domainkey." + x.d.Name, Data: k.Record, Required: true}
		txts, _, err := x.s.Resolver.TXT(ctx, r.Host)
		switch {
		case err == nil && readKey(r, dns.Told{TXT: asStrings(txts)}).verdict == isValid:
			continue
		case err != nil && !errors.Is(err, dns.ErrNotFound) && !errors.Is(err, dns.ErrNoData):
			continue // nothing is known; the DNS of all names cannot be judged here
		}
		x.add(problem{
			code: codeNotServed, found: strings.Join(txts, " | "),
			text: fmt.Sprintf("The alias at %s is right, but receivers do not get the DKIM key behind it: this relay's own name servers do not answer with it.", r.Host),
			fix:  "The operator of the relay has to look at its zone " + x.s.Zone.Name + ": its delegation, and all its name servers.",
		}.finding(r, ""))
	}
}

// returnPath is the host of the return path, which SPF is about.
func (x *examiner) returnPath() string {
	if x.d.ReturnPath == "" || x.d.ReturnPath == AutoReturnPath {
		return x.s.Zone.Hostname
	}
	return x.d.ReturnPath
}

// recommend fills in the next DMARC record.
func (x *examiner) recommend(ctx context.Context, f dmarc.Forecast, out *relay.DomainCheck) {
	var seen dmarc.Seen
	if x.s.Seen != nil {
		var err error
		if seen, err = x.s.Seen(ctx, x.d); err != nil && !errors.Is(err, context.Canceled) {
			x.s.log().Warn("sender: DMARC reports not read", "domain", x.d.Name, "error", err)
		}
	}
	rua := x.s.Zone.ReportAddress(x.d)
	if rua != "" {
		rua = "mailto:" + rua
	}
	next := dmarc.Recommend(f.Discovery, seen, rua)
	if next.Record == "" {
		return
	}
	// The record says again what others published in theirs.
	out.Recommended, out.Why = clean(next.Record, maxRecommended), clean(next.Why, maxRecommended)
	x.add(finding.Finding{
		Severity: finding.Info, Code: codeRecommended, Record: "dmarc", Where: clean(next.At, maxWords), Text: out.Why, Expected: out.Recommended,
		Fix: "Publish a TXT record: name " + clean(next.At, maxWords) + ", value " + out.Recommended,
	})
}

// maxRecommended bounds a DMARC record that is recommended.
const maxRecommended = 2000

// spf looks at the records of the return path and of the domain itself. That of
// the domain plays no part for mail that leaves here, so what is wrong with it is
// a warning at most.
func (x *examiner) spf(ctx context.Context, host string) {
	x.mu.Lock()
	here := x.verdicts[recordSPF] == isValid || x.verdicts[recordMailCNAME] == isValid
	x.mu.Unlock()
	if here {
		for _, f := range spf.Analyse(ctx, x.s.Resolver, host, x.s.addresses(x.d)).Findings {
			x.foreign(f, finding.Error)
		}
	}
	for _, f := range spf.Analyse(ctx, x.s.Resolver, x.d.Name, nil).Findings {
		if f.Code == spf.CodeMissing { // as good as any for a domain whose return path has its own
			f.Severity = finding.Info
		}
		x.foreign(f, finding.Warning)
	}
}

// foreign adds a finding of another package, its texts made safe and its
// severity held down.
func (x *examiner) foreign(f finding.Finding, most finding.Severity) {
	if f.Severity == finding.Error {
		f.Severity = most
	}
	if f.Record == "" {
		f.Record = strings.SplitN(f.Code, "_", 2)[0]
	}
	f.Text, f.Fix = clean(f.Text, maxFound), clean(f.Fix, maxRecommended)
	f.Where, f.Server = clean(f.Where, maxWords), clean(f.Server, maxWords)
	f.Expected, f.Found = clean(f.Expected, maxRecommended), clean(f.Found, maxFound)
	x.add(f)
}
