package mailauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/internal/finding"
)

// DNSSEC says whether answers about the domain are signed.
type DNSSEC struct {
	// State is "secure", "insecure", or "unknown" where the resolver that was asked
	// validates nothing, or is not one whose word can be taken.
	State    string            `json:"state"`
	Findings []finding.Finding `json:"findings"`
}

// signed is a zone that is known to be signed: a resolver that does not call it
// secure does not validate.
const signed = "org"

func (l *looker) dnssec() DNSSEC {
	d := DNSSEC{State: "unknown"}
	add := func(f finding.Finding) {
		f.Record, f.Where = "dnssec", l.domain
		d.Findings = append(d.Findings, f)
	}
	_, secure, err := limited{l}.TXT(l.ctx, l.domain)
	if err != nil && !absent(err) {
		d.Findings = append(d.Findings, unknown("dnssec", "TXT", l.domain))
		return d
	}
	if secure {
		d.State = "secure"
		add(finding.Finding{Severity: finding.OK, Code: "dnssec_secure", Text: "The domain's records are signed, and the signatures were validated."})
		return d
	}
	if _, vouched, _ := (limited{l}).MX(l.ctx, signed); !vouched {
		add(finding.Finding{Severity: finding.Info, Code: "dnssec_unknown", Text: "Whether the domain is signed cannot be told: the resolver that was asked does not validate, or is not on this machine.",
			Fix: "Ask a validating resolver on this machine (--dns-server 127.0.0.1)."})
		return d
	}
	d.State = "insecure"
	add(finding.Finding{Severity: finding.Info, Code: "dnssec_insecure", Text: "The domain is not signed (DNSSEC): its records can be forged on the way to receivers.", Fix: "Switch DNSSEC on at the DNS host and the registrar."})
	return d
}

// NameServers says how the domain's own name servers answer.
type NameServers struct {
	Asked    bool              `json:"asked"`
	Servers  []string          `json:"servers,omitempty"`
	Findings []finding.Finding `json:"findings"`
}

// maxFaulty bounds the findings about single servers.
const maxFaulty = 10

func (l *looker) nameServers(a *dns.Authority) NameServers {
	var n NameServers
	if a == nil {
		return n
	}
	n.Asked = true
	add := func(f finding.Finding) {
		f.Record = "name_servers"
		told := slices.ContainsFunc(n.Findings, func(have finding.Finding) bool { return have.Server != "" && have.Server == f.Server })
		if !told && len(n.Findings) < maxFaulty {
			n.Findings = append(n.Findings, f)
		}
	}
	for _, q := range []struct{ name, typ string }{{l.domain, "MX"}, {l.domain, "TXT"}, {"_dmarc." + l.domain, "TXT"}} {
		asked, err := a.Ask(l.ctx, q.name, q.typ)
		if err != nil {
			if !absent(err) {
				add(unknown("name_servers", "NS", l.domain))
			}
			return n
		}
		if len(n.Servers) == 0 {
			n.Servers = asked.Servers
		}
		for _, f := range disagreement(q.name, q.typ, asked) {
			add(f)
		}
	}
	if len(n.Servers) == 1 {
		add(finding.Finding{Severity: finding.Warning, Code: "ns_single", Where: l.domain, Text: fmt.Sprintf("Only one name server answers for %s.", l.domain), Fix: "Have a second one, elsewhere."})
	}
	if len(n.Findings) == 0 {
		add(finding.Finding{Severity: finding.OK, Code: "ns_ok", Where: l.domain, Text: "All of its name servers answer, and alike."})
	}
	return n
}

// disagreement compares what the servers of a zone said.
func disagreement(name, typ string, asked dns.Asked) (fs []finding.Finding) {
	answers := map[string][]string{}
	for _, t := range asked.Told {
		who := t.Server
		if t.Addr.IsValid() {
			who += " (" + t.Addr.String() + ")"
		}
		if t.Err != nil && !absent(t.Err) {
			f := finding.Finding{Severity: finding.Warning, Code: "ns_silent", Where: name, Server: who,
				Text: fmt.Sprintf("The name server %s did not answer about %s.", finding.Quote(who), name), Fix: "Repair it or take it out of the delegation."}
			switch {
			case errors.Is(t.Err, dns.ErrLame):
				f.Code, f.Text = "ns_lame", fmt.Sprintf("The name server %s does not answer for %s, although it is named for it.", finding.Quote(who), asked.Zone)
			case errors.Is(t.Err, dns.ErrPrivate):
				f.Code, f.Text = "ns_private", fmt.Sprintf("The name server %s has an address that is not of the Internet; it was not asked.", finding.Quote(who))
			}
			fs = append(fs, f)
			continue
		}
		key := said(t)
		answers[key] = append(answers[key], who)
	}
	if len(answers) > 1 {
		var each []string
		for answer, who := range answers {
			slices.Sort(who)
			each = append(each, cut(strings.Join(who, ", ")+": "+answer))
		}
		slices.Sort(each)
		fs = append(fs, finding.Finding{Severity: finding.Error, Code: "ns_differ", Where: name, Found: cut(strings.Join(each, "\n")),
			Text: fmt.Sprintf("The name servers of %s give %d different answers about %s %s: receivers see one or the other.", asked.Zone, len(answers), typ, name),
			Fix:  "See why they do not have the same zone: a transfer that fails, or two DNS hosts of which only one was changed."})
	}
	return fs
}

// said puts an answer into a text that compares.
func said(t dns.Told) string {
	var out []string
	for _, strs := range t.TXT {
		out = append(out, strings.Join(strs, ""))
	}
	for _, m := range t.MX {
		out = append(out, fmt.Sprintf("%d %s", m.Preference, m.Host))
	}
	if t.CNAME != "" {
		out = append(out, "alias of "+t.CNAME)
	}
	if len(out) == 0 {
		return "nothing"
	}
	slices.Sort(out)
	return strings.Join(out, " | ")
}
