package mailauth

import (
	"fmt"
	"slices"
	"strings"

	"postern/internal/dmarc"
	"postern/internal/finding"
)

// DMARC is the policy that receivers find for the domain.
type DMARC struct {
	Record         string `json:"record,omitempty"`
	At             string `json:"at,omitempty"` // the name of the record that applies: "_dmarc.example.com"
	Organizational string `json:"organizational_domain,omitempty"`
	// Policy is that for mail from the domain itself: none, quarantine, reject; ""
	// where there is none. Subdomain and NonExistent are those for names below it.
	Policy      string   `json:"policy,omitempty"`
	Subdomain   string   `json:"subdomain_policy,omitempty"`
	NonExistent string   `json:"non_existent_policy,omitempty"`
	Test        bool     `json:"test,omitempty"` // t=y: one step less is applied
	SPF         string   `json:"aspf,omitempty"` // alignment: relaxed or strict
	DKIM        string   `json:"adkim,omitempty"`
	Reports     []string `json:"reports,omitempty"` // rua
	Failures    []string `json:"failure_reports,omitempty"`
	// ListOrganizational and ListPolicy are what receivers see that go by the Public
	// Suffix List instead of walking up the DNS (RFC 7489).
	ListOrganizational string `json:"psl_organizational_domain,omitempty"`
	ListPolicy         string `json:"psl_policy,omitempty"`

	Findings []finding.Finding `json:"findings"`
	Unknown  bool              `json:"unknown,omitempty"`
}

// maxDestinations bounds the receivers of reports that are asked about.
const maxDestinations = 10

func (l *looker) dmarc() DMARC {
	var d DMARC
	// The findings about alignment are about mail that the domain itself signs and
	// returns: aligned by definition, so they are left out.
	f, err := dmarc.Predict(l.ctx, limited{l}, dmarc.Mail{Author: l.domain, ReturnPath: l.domain, Signers: []string{l.domain}})
	if err != nil {
		d.Unknown = true
		d.Findings = []finding.Finding{unknown("dmarc", "TXT", "_dmarc."+l.domain)}
		return d
	}
	d.Findings = slices.DeleteFunc(f.Findings, func(f finding.Finding) bool { return strings.HasSuffix(f.Code, "_aligned") })
	d.Organizational, d.ListOrganizational, d.ListPolicy = f.Organizational, f.PSLOrganizational, string(f.PSLPolicy)
	if f.Record == nil {
		return d
	}
	r := f.Record
	d.At, d.Record, d.Policy = "_dmarc."+f.At, cut(r.String()), string(f.Policy)
	d.Test, d.Reports, d.Failures = r.Test, r.Aggregate, r.Failure
	d.SPF, d.DKIM = mode(r.SPF), mode(r.DKIM)
	below := r.Policy
	if r.Subdomain != "" {
		below = r.Subdomain
	}
	d.Subdomain, d.NonExistent = string(below), string(below)
	if r.NonExistent != "" {
		d.NonExistent = string(r.NonExistent)
	}
	l.strength(&d, f)
	l.destinations(&d, f.At)
	return d
}

func mode(a dmarc.Alignment) string {
	if a == dmarc.Strict {
		return "strict"
	}
	return "relaxed"
}

func (d *DMARC) add(f finding.Finding) {
	f.Record = "dmarc"
	d.Findings = append(d.Findings, f)
}

// strength judges what the policy asks for.
func (l *looker) strength(d *DMARC, f dmarc.Forecast) {
	if d.Policy == "none" {
		d.add(finding.Finding{Severity: finding.Warning, Code: "dmarc_none", Where: d.At, Found: "p=none",
			Text: "The policy is none: receivers are asked to deliver forged mail as if it were real.", Fix: "Read the reports; when all of the domain's own mail is aligned, publish p=quarantine, then p=reject."})
	}
	if f.At != l.domain || d.Policy == "none" {
		return
	}
	for _, below := range []struct{ tag, policy, what string }{{"sp", d.Subdomain, "names below it"}, {"np", d.NonExistent, "names below it that do not exist"}} {
		if below.policy == "none" {
			d.add(finding.Finding{Severity: finding.Warning, Code: "dmarc_subdomains", Where: d.At, Found: below.tag + "=none",
				Text: fmt.Sprintf("For %s the policy is none: anybody can send as one of them.", below.what), Fix: fmt.Sprintf("Publish %s=reject, or leave %s out.", below.tag, below.tag)})
			return
		}
	}
}

// destinations checks that those who are to get reports agree, RFC 9990 §4
// (RFC 7489 §7.1): at another organization's name a record must say so.
func (l *looker) destinations(d *DMARC, at string) {
	asked := map[string]bool{}
	for _, uri := range slices.Concat(d.Reports, d.Failures) {
		address, ok := strings.CutPrefix(uri, "mailto:")
		host := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
		host, _, _ = strings.Cut(host, "?")
		if !ok || host == "" || asked[host] || len(asked) >= maxDestinations || dmarc.ListOrganizational(host) == dmarc.ListOrganizational(at) {
			continue
		}
		asked[host] = true
		name := at + "._report._dmarc." + host
		records, _, err := l.versioned(name, "v=DMARC1")
		switch {
		case err != nil && !absent(err):
			d.add(unknown("dmarc", "TXT", name))
		case len(records) == 0:
			d.add(finding.Finding{Severity: finding.Warning, Code: "dmarc_report_refused", Where: name, Found: uri,
				Text: fmt.Sprintf("Reports are to go to %s, which does not say that it takes them: receivers send none there.", finding.Quote(host)),
				Fix:  fmt.Sprintf("Have TXT “v=DMARC1” published at %s, or name another address.", finding.Quote(name))})
		}
	}
}
