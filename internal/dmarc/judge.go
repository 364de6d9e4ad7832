package dmarc

import (
	"fmt"
	"slices"
	"strings"

	"postern/internal/finding"
)

// judge puts a forecast into findings.
func (f *Forecast) judge(m Mail) {
	f.judgeRecord()
	f.judgeAlignment(m)
	if f.PSLDiffers {
		f.add(finding.Finding{Severity: finding.Warning, Code: "dmarc_psl", Where: "_dmarc." + f.Author,
			Text: fmt.Sprintf("Older receivers, which go by the Public Suffix List, decide otherwise. They take %s for the organization and see %s; newer ones walk up the DNS, take %s and see %s.",
				f.PSLOrganizational, outlook(f.PSLPolicy, f.PSLSPF, f.PSLDKIM), f.Organizational, outlook(f.Policy, f.SPF, f.DKIM)),
			Fix: "Publish a DMARC record at _dmarc." + f.Author + " itself, and sign and send as exactly " + f.Author + ": then both agree."})
	}
}

// outlook is a policy and what aligns, in words.
func outlook(p Policy, spf, dkim Match) string {
	word := func(m Match) string {
		if m == MatchNone {
			return "not aligned"
		}
		return "aligned (" + string(m) + ")"
	}
	policy := "no policy"
	if p != "" {
		policy = "p=" + string(p)
	}
	return fmt.Sprintf("%s, SPF %s, DKIM %s", policy, word(spf), word(dkim))
}

func (f *Forecast) judgeRecord() {
	where := "_dmarc." + f.Author
	r := f.Record
	if r == nil {
		f.add(finding.Finding{Severity: finding.Warning, Code: "dmarc_missing", Where: where,
			Text: fmt.Sprintf("No DMARC policy applies to %s: large receivers want one, and anybody can write as it.", f.Author),
			Fix:  "Publish a record there, to begin with: v=DMARC1; p=none"})
		return
	}
	where = "_dmarc." + f.At
	text := fmt.Sprintf("The policy for %s is %s, from %s.", f.Author, f.Policy, where)
	if !f.Exists {
		text += " It is the one for names that do not exist: " + f.Author + " has no records of its own."
	}
	f.add(finding.Finding{Severity: finding.OK, Code: "dmarc_policy", Where: where, Text: text, Found: r.String()})
	if r.PSD == PSDYes && f.At == f.Author {
		f.add(finding.Finding{Severity: finding.Warning, Code: "dmarc_psd", Where: where,
			Text: "The record says psd=y: that others register names below it. Mail as such a name is not aligned with it.", Fix: "Take psd=y out, unless this is a registry."})
	}
	if r.Test {
		f.add(finding.Finding{Severity: finding.Info, Code: "dmarc_test", Where: where,
			Text: "The record is in test mode (t=y): newer receivers apply one step less than it says. Older ones do not know the tag and apply all of it."})
	}
	if len(r.Aggregate) == 0 {
		f.add(finding.Finding{Severity: finding.Info, Code: "dmarc_no_reports", Where: where,
			Text: "The record asks for no reports (rua), so nobody tells who sends as this domain.", Fix: "Add rua=mailto:… with an address for reports."})
	}
	for _, w := range r.Warnings {
		one := finding.Finding{Severity: finding.Warning, Code: "dmarc_tag", Where: where, Text: "In the record: " + w + "."}
		if slices.ContainsFunc([]string{`"pct"`, `"rf"`, `"ri"`}, func(tag string) bool { return strings.HasPrefix(w, tag) }) {
			one.Code, one.Fix = "dmarc_obsolete", "Leave it out."
		}
		f.add(one)
	}
}

func (f *Forecast) judgeAlignment(m Mail) {
	effect := "fails DMARC"
	worst := finding.Warning
	switch {
	case f.Policy == Quarantine || f.Policy == Reject:
		effect, worst = "fails DMARC, and receivers are asked to "+string(f.Policy)+" it", finding.Error
	case f.Policy == "":
		effect = "would fail DMARC as soon as there is a policy"
	}
	modes := Record{SPF: Relaxed, DKIM: Relaxed}
	if f.Record != nil {
		modes = *f.Record
	}
	one := func(name, code, tag, identifier, found string, match Match, mode Alignment) {
		g := finding.Finding{Severity: finding.OK, Code: code + "_aligned", Found: found}
		if match != MatchNone {
			g.Text = fmt.Sprintf("%s aligns with %s (%s).", name, f.Author, match)
			f.add(g)
			return
		}
		g.Severity, g.Code, g.Expected = finding.Warning, code+"_unaligned", f.Author
		g.Text = fmt.Sprintf("%s does not align: %s is not %s or in one organization with it.", name, identifier, f.Author)
		if mode == Strict {
			g.Text = fmt.Sprintf("%s does not align: the record says %s=s, which wants exactly %s, and %s is not that.", name, tag, f.Author, identifier)
		}
		f.add(g)
	}
	path := "the return path " + m.ReturnPath
	if m.ReturnPath == "" {
		path = "an empty return path"
	}
	signers := strings.Join(m.Signers, ", ")
	who := "the signer " + signers
	if signers == "" {
		who = "no signature"
	}
	one("SPF", "spf", "aspf", path, m.ReturnPath, f.SPF, modes.SPF)
	one("DKIM", "dkim", "adkim", who, signers, f.DKIM, modes.DKIM)
	if f.SPF == MatchNone && f.DKIM == MatchNone {
		f.add(finding.Finding{Severity: worst, Code: "dmarc_unaligned", Text: "Neither SPF nor DKIM aligns: this mail " + effect + ".",
			Fix: "Sign with a d= of " + f.Author + ", and use a return path below it."})
	}
}
