// Package mailauth looks at everything that a domain publishes about its mail:
// where it is received, who may send it (SPF), how it is signed (DKIM), what
// receivers are asked to do with forgeries (DMARC), how its transport is
// protected (MTA-STS, TLS-RPT, DANE, DNSSEC) and its logo (BIMI). The outcome is
// a report with a verdict in plain words, findings for each area, and what to
// change.
//
//	report := mailauth.Look(ctx, mailauth.Options{Resolver: resolver, Domain: "example.com"})
//
// It asks the DNS and nothing else: no server of the domain is connected to,
// but its name servers if Options.Authority is given. Its one invariant:
// trouble with the DNS is never reported as a fault of the domain, it is
// Unknown. What a report quotes is a stranger's text: bounded, free of control
// characters in sentences, and as it was published in the fields that hold
// records.
package mailauth

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/spf"
)

// Bounds of one report.
const (
	timeLimit    = time.Minute
	inFlight     = 8 // questions at once
	maxSelectors = 60
	maxHosts     = 10 // mail exchangers that are looked at
	maxText      = 4096
	maxShown     = 10 // records of one kind that are quoted
)

// Options say what to look at.
type Options struct {
	Resolver dns.Resolver
	// Authority, where given, is asked too: do all name servers of the domain
	// answer, and alike?
	Authority *dns.Authority
	Domain    string       // A-labels or not, with or without a dot at its end
	Selectors []string     // of DKIM; empty: those that are common
	Addrs     []netip.Addr // that SPF should cover
	// Progress is told of each area that is looked at, from several goroutines; nil: nobody.
	Progress func(area string)
}

// Spoofable says whether others can send mail as the domain.
type Spoofable string

// The answers.
const (
	Yes     Spoofable = "yes"     // nothing asks receivers to refuse it
	Partly  Spoofable = "partly"  // receivers are asked to set it aside
	No      Spoofable = "no"      // receivers are asked to refuse it
	Unclear Spoofable = "unknown" // the DNS did not answer
)

// Report is all that was found. Its JSON names are stable.
type Report struct {
	Domain  string `json:"domain"`                   // A-labels
	Unicode string `json:"unicode_domain,omitempty"` // the same with U-labels, where that differs
	Exists  bool   `json:"exists"`                   // the name is in the DNS
	// Verdict is for people, the most important sentence first: whether others can
	// send as the domain, whether its own mail is believed, whether it takes mail.
	Verdict   []string  `json:"verdict"`
	Spoofable Spoofable `json:"spoofable"`

	MX          MX          `json:"mx"`
	SPF         SPF         `json:"spf"`
	DKIM        DKIM        `json:"dkim"`
	DMARC       DMARC       `json:"dmarc"`
	MTASTS      Text        `json:"mta_sts"`
	TLSRPT      Text        `json:"tls_rpt"`
	DANE        DANE        `json:"dane"`
	DNSSEC      DNSSEC      `json:"dnssec"`
	BIMI        Text        `json:"bimi"`
	NameServers NameServers `json:"name_servers"`
}

// SPF is what receivers see in the domain's SPF record.
type SPF struct{ spf.Analysis }

// Text is an area of one TXT record.
type Text struct {
	Name     string            `json:"name"` // where it is looked for
	Record   string            `json:"record,omitempty"`
	Present  bool              `json:"present"`
	Findings []finding.Finding `json:"findings"`
}

// Area is one part of a report, for those who show it whole.
type Area struct {
	Name     string // "MX", "SPF", …
	Findings []finding.Finding
}

// Areas lists the parts, in the order in which they matter.
func (r *Report) Areas() []Area {
	return []Area{
		{"SPF", r.SPF.Findings}, {"DKIM", r.DKIM.Findings}, {"DMARC", r.DMARC.Findings}, {"MX", r.MX.Findings},
		{"MTA-STS", r.MTASTS.Findings}, {"TLS-RPT", r.TLSRPT.Findings}, {"DANE", r.DANE.Findings},
		{"DNSSEC", r.DNSSEC.Findings}, {"BIMI", r.BIMI.Findings}, {"Name servers", r.NameServers.Findings},
	}
}

// Worst is the severity that matters most in the whole report.
func (r *Report) Worst() finding.Severity {
	var all []finding.Finding
	for _, a := range r.Areas() {
		all = append(all, a.Findings...)
	}
	return finding.Worst(all)
}

// Look makes a report. It never fails: trouble is a finding. It takes a minute
// at most.
func Look(ctx context.Context, o Options) Report {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	domain, unicode, err := Name(o.Domain)
	r := Report{Domain: domain, Unicode: unicode, Exists: true, Spoofable: Unclear}
	if err != nil {
		r.Exists = false
		r.MX.Findings = []finding.Finding{{Severity: finding.Error, Code: "domain_name", Record: "mx", Where: domain,
			Text: fmt.Sprintf("%s is not a domain name.", finding.Quote(o.Domain)), Fix: "Give a whole name, such as example.com."}}
		r.Verdict = []string{r.MX.Findings[0].Text}
		r.tidy()
		return r
	}
	l := &looker{ctx: ctx, r: o.Resolver, domain: domain, slots: make(chan struct{}, inFlight), progress: o.Progress}
	var areas sync.WaitGroup
	for name, look := range map[string]func(){
		"MX and DANE":  func() { r.MX, r.DANE = l.mx() },
		"SPF":          func() { r.SPF = SPF{spf.Analyse(ctx, limited{l}, domain, o.Addrs)} },
		"DKIM":         func() { r.DKIM = l.dkim(o.Selectors) },
		"DMARC":        func() { r.DMARC = l.dmarc() },
		"MTA-STS":      func() { r.MTASTS = l.mtaSTS() },
		"TLS-RPT":      func() { r.TLSRPT = l.tlsRPT() },
		"BIMI":         func() { r.BIMI = l.bimi() },
		"DNSSEC":       func() { r.DNSSEC = l.dnssec() },
		"name servers": func() { r.NameServers = l.nameServers(o.Authority) },
	} {
		areas.Go(func() {
			l.say(name)
			look()
		})
	}
	areas.Wait()
	// A broken server may deny the name for one type and have it for another.
	r.Exists = !r.MX.missing || len(r.SPF.Records)+len(r.DKIM.Keys) > 0
	r.combine()
	r.conclude()
	r.tidy()
	return r
}

// Name reads a domain name as people type it, and gives its A-labels, and its
// U-labels where they differ.
func Name(s string) (ascii, unicode string, err error) {
	s = strings.TrimSuffix(strings.TrimSpace(s), ".")
	ascii, err = idna.Lookup.ToASCII(s)
	if err != nil { // names with an underscore are names too
		ascii = strings.ToLower(s)
		if strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return cut(ascii), "", fmt.Errorf("%.80q: %w", s, dns.ErrBadName)
		}
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
		}) {
			return cut(ascii), "", fmt.Errorf("%.80q: %w", s, dns.ErrBadName)
		}
	}
	if len(ascii) > 253 || !strings.Contains(ascii, ".") {
		return cut(ascii), "", fmt.Errorf("%.80q: %w", s, dns.ErrBadName)
	}
	if u, err := idna.Display.ToUnicode(ascii); err == nil && u != ascii {
		unicode = u
	}
	return ascii, unicode, nil
}

// combine adds what only several areas together tell.
func (r *Report) combine() {
	strict := r.DMARC.Policy == "quarantine" || r.DMARC.Policy == "reject"
	if r.BIMI.Present && !strict {
		r.BIMI.Findings = append(r.BIMI.Findings, finding.Finding{Severity: finding.Warning, Code: "bimi_policy", Record: "bimi", Where: r.BIMI.Name,
			Text: "The logo is not shown: that needs a DMARC policy of quarantine or reject.", Fix: "Make the DMARC policy stricter first."})
	}
	if r.MX.Null && r.DMARC.Policy != "reject" && r.SPF.All == "-all" && len(r.DMARC.Findings) > 0 && !r.DMARC.Unknown {
		r.DMARC.Findings = append(r.DMARC.Findings, finding.Finding{Severity: finding.Info, Code: "dmarc_parked", Record: "dmarc", Where: "_dmarc." + r.Domain,
			Text: "This domain takes no mail and sends none: its DMARC policy may be reject at once.", Fix: "Publish v=DMARC1; p=reject"})
	}
}

// tidy leaves out what says nothing.
func (r *Report) tidy() {
	lists := []*[]finding.Finding{&r.SPF.Findings, &r.DKIM.Findings, &r.MTASTS.Findings, &r.TLSRPT.Findings, &r.DANE.Findings, &r.DNSSEC.Findings, &r.BIMI.Findings}
	for _, l := range lists {
		if !r.Exists { // that nothing is published at a name that is not there goes without saying
			*l = nil
		}
	}
	for _, l := range append(lists, &r.MX.Findings, &r.DMARC.Findings, &r.NameServers.Findings) {
		if *l == nil {
			*l = []finding.Finding{} // [] in JSON
		}
	}
}
