package mailauth

import (
	"fmt"
	"slices"
	"strings"

	"postern/internal/finding"
	"postern/internal/spf"
)

// conclude writes the verdict.
func (r *Report) conclude() {
	name := r.Domain
	if r.Unicode != "" {
		name = fmt.Sprintf("%s (%s)", r.Unicode, r.Domain)
	}
	if !r.Exists && r.DMARC.Policy == "" {
		r.Spoofable = Yes
		r.Verdict = []string{fmt.Sprintf("%s does not exist in the DNS, and no policy covers it: nothing tells receivers to refuse mail that others send as it.", name)}
		return
	}
	r.Spoofable, r.Verdict = r.forging(name)
	r.Verdict = append(r.Verdict, r.own(name), r.taking(name))
	r.Verdict = slices.DeleteFunc(r.Verdict, func(s string) bool { return s == "" })
}

// forging answers whether others can send as the domain.
func (r *Report) forging(name string) (Spoofable, []string) {
	can := fmt.Sprintf("Others can send mail as %s: ", name)
	open := slices.ContainsFunc(r.SPF.Findings, func(f finding.Finding) bool { return f.Code == spf.CodePassAll })
	broken := slices.ContainsFunc(r.DKIM.Findings, func(f finding.Finding) bool { return f.Code == "dkim_weak" && f.Severity == finding.Error })
	policy := r.DMARC.Policy
	if r.DMARC.Test {
		policy = map[string]string{"reject": "quarantine", "quarantine": "none"}[policy]
	}
	var more []string
	if r.DMARC.At == "_dmarc."+r.Domain && policy != "none" && policy != "" && (r.DMARC.Subdomain == "none" || r.DMARC.NonExistent == "none") {
		more = append(more, fmt.Sprintf("That does not hold for names below %s, which others can use.", r.Domain))
	}
	switch {
	case r.DMARC.Unknown:
		return Unclear, []string{fmt.Sprintf("Whether others can send mail as %s could not be told: the DNS did not answer for its DMARC policy.", name)}
	case open:
		return Yes, []string{can + "its SPF record lets every address pass, so that forgeries count as real."}
	case policy == "":
		return Yes, []string{can + "it publishes no DMARC policy, so that nothing asks receivers to refuse a forged From address."}
	case policy == "none" && r.DMARC.Test:
		return Yes, []string{can + "its DMARC policy is in test mode, and amounts to none."}
	case policy == "none":
		return Yes, []string{can + "its DMARC policy is none, which asks receivers to deliver forgeries as if they were real."}
	case broken:
		return Yes, append([]string{can + "an RSA key that it publishes is so short that strangers can compute the private one."}, more...)
	case policy == "quarantine":
		return Partly, append([]string{fmt.Sprintf("Others can send mail as %s, but receivers are asked to put it into the spam folder (DMARC policy quarantine).", name)}, more...)
	}
	return No, append([]string{fmt.Sprintf("Others can hardly send mail as %s: receivers are asked to refuse what fails (DMARC policy reject).", name)}, more...)
}

// own answers whether the domain's own mail is believed.
func (r *Report) own(name string) string {
	var by, not []string
	switch {
	case r.SPF.Unknown:
		not = append(not, "SPF could not be judged")
	case r.SPF.Broken():
		not = append(not, "its SPF record is broken, and receivers use none of it")
	case r.SPF.Record == "":
		not = append(not, "it has no SPF record")
	case r.SPF.All == "-all" && r.SPF.Tree != nil && len(r.SPF.Tree.Terms) == 1:
		if !r.DKIM.Usable() {
			return fmt.Sprintf("%s sends no mail, says its SPF record.", name)
		}
		not = append(not, "its SPF record names no server")
	default:
		by = append(by, "an SPF record that can be used")
	}
	switch {
	case r.DKIM.Usable():
		by = append(by, "a DKIM key")
	case r.DKIM.Guessed:
		not = append(not, "no DKIM key was found under the common selectors")
	default:
		not = append(not, "no usable DKIM key was found")
	}
	text := ""
	if len(by) > 0 {
		text = fmt.Sprintf("For its own mail it has %s", strings.Join(by, " and "))
		if len(not) > 0 {
			text += "; " + strings.Join(not, ", and ")
		}
		return text + "."
	}
	return fmt.Sprintf("Its own mail cannot be told from forgeries: %s.", strings.Join(not, ", and "))
}

// taking answers whether the domain takes mail.
func (r *Report) taking(name string) string {
	reached := slices.ContainsFunc(r.MX.Hosts, func(h Host) bool { return h.Problem == "" })
	switch {
	case r.MX.Null:
		return "It takes no mail, and says so."
	case finding.Worst(r.MX.Findings) == finding.Unknown:
		return ""
	case len(r.MX.Hosts) == 0 || !reached:
		return "It cannot take mail: no mail exchanger can be reached by its name."
	}
	return ""
}
