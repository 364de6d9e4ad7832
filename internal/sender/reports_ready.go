package sender

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"postern/internal/dmarc"
)

// minReporterDays is about how many days a reporter's reports must be for it to
// count.
const minReporterDays = 3

// judgeReadiness decides which reporters count, and weighs what they say.
// Reporters come with most messages first.
func judgeReadiness(reporters []Reporter) Readiness {
	var networks []netip.Prefix
	var days []string
	var counted []*Reporter
	for i := range reporters {
		r := &reporters[i]
		if r.Days < minReporterDays {
			r.Why = fmt.Sprintf("its reports are about %d days, and %d are wanted", r.Days, minReporterDays)
			continue
		}
		if slices.ContainsFunc(r.networks, func(n netip.Prefix) bool { return slices.Contains(networks, n) }) {
			r.Why = "its reports come from the network of a reporter that counts already"
			continue
		}
		r.Counts = true
		networks = append(networks, r.networks...)
		for _, d := range r.dates {
			if !slices.Contains(days, d) {
				days = append(days, d)
			}
		}
		counted = append(counted, r)
	}
	seen := dmarc.Seen{Days: len(days), Reporters: len(counted)}
	for i, r := range counted {
		t := r.Totals
		if i == 0 && len(counted) > 1 { // the largest: the order is theirs
			t = atMost(t, counted[1:])
		}
		seen.Messages += t.Messages
		seen.Aligned += t.Aligned
		seen.Failing += t.Failing
	}
	return Readiness{Seen: seen, Share: seen.Share()}
}

// atMost scales what one reporter saw down to what all others together saw.
func atMost(t dmarc.Totals, others []*Reporter) dmarc.Totals {
	var sum int64
	for _, o := range others {
		sum += o.Messages
	}
	if t.Messages <= sum {
		return t
	}
	// Rounded down, so that weighing never makes a failure disappear.
	aligned := int64(math.Floor(float64(t.Aligned) / float64(t.Messages) * float64(sum)))
	return dmarc.Totals{Messages: sum, Aligned: aligned, Failing: sum - aligned}
}

// words fills in what follows from what was seen.
func (r *Readiness) words() {
	r.Because = []string{}
	quarantine, why := r.Seen.Allows(dmarc.StepQuarantine)
	r.Because = append(r.Because, "p=quarantine: "+why)
	r.Quarantine = quarantine
	reject, why := r.Seen.Allows(dmarc.StepReject)
	r.Because = append(r.Because, "p=reject: "+why)
	r.Reject = reject
}

// Explain says in words why mail of a source failed. domain is whose reports
// these are.
func Explain(s *dmarc.Source, domain string) (why []string) {
	from := s.HeaderFrom
	if from == "" {
		from = domain
	}
	why = append(why, explainDKIM(s.Signatures, from)...)
	if spf := explainSPF(s.SPFCheck, from); spf != "" {
		why = append(why, spf)
	}
	for _, reason := range []struct{ name, text string }{
		{"forwarded", "the receiver takes it for forwarded mail"},
		{"trusted_forwarder", "the receiver takes it for forwarded mail"},
		{"mailing_list", "the receiver takes it for mail of a mailing list"},
	} {
		if slices.Contains(strings.Split(s.Reasons, ", "), reason.name) {
			why = append(why, reason.text)
			break
		}
	}
	return why
}

// alignedNames guesses by the Public Suffix List whether two names are of one
// organization: good enough for words.
func alignedNames(a, b string) bool {
	return a == b || dmarc.ListOrganizational(a) == dmarc.ListOrganizational(b)
}

// explainDKIM reads what dmarc.Source says of signatures: "pass example.net s1".
func explainDKIM(signatures, from string) (why []string) {
	for one := range strings.SplitSeq(signatures, ", ") {
		f := strings.Fields(one)
		if len(f) < 2 {
			continue
		}
		result, name := f[0], f[1]
		selector := ""
		if len(f) > 2 {
			selector = " (selector " + f[2] + ")"
		}
		switch near := alignedNames(name, from); {
		case result == "pass" && !near:
			why = append(why, fmt.Sprintf("signs as %s, which does not align with %s", name, from))
		case result == "pass":
			why = append(why, fmt.Sprintf("signs as %s%s, which is not %s: the policy is strict, or the receiver sees another organization", name, selector, from))
		case near && (result == "temperror" || result == "permerror"):
			why = append(why, fmt.Sprintf("the key of its signature as %s%s was not found", name, selector))
		case near:
			why = append(why, fmt.Sprintf("its signature as %s%s does not verify: the mail was changed on its way, or the key is another", name, selector))
		}
	}
	if len(why) == 0 {
		why = append(why, "does not sign as "+from)
	}
	return why
}

// explainSPF reads what dmarc.Source says of SPF: "fail example.net".
func explainSPF(check, from string) string {
	result, name, _ := strings.Cut(check, " ")
	if name == "" || result == "" {
		return ""
	}
	switch near := alignedNames(name, from); {
	case result == "pass" && !near:
		return fmt.Sprintf("its envelope sender is of %s, which does not align with %s", name, from)
	case result == "pass":
		return fmt.Sprintf("its envelope sender is of %s, which is not %s: the policy is strict, or the receiver sees another organization", name, from)
	case !near:
		return fmt.Sprintf("its envelope sender is of %s, and SPF says %s", name, result)
	case result == "none":
		return name + " has no SPF record"
	case result == "temperror" || result == "permerror":
		return "the SPF record of " + name + " cannot be used: " + result
	}
	return fmt.Sprintf("its address is not in the SPF record of %s (%s)", name, result)
}
