package dmarc

import (
	"fmt"
	"slices"
	"strings"
)

// Seen is what reports said of a domain's mail; zero: there are none yet.
type Seen struct {
	Messages       int64
	Aligned        int64
	Failing        int64
	Days           int   // that reports are about
	FailingSources int   // addresses from which mail failed
	OwnFailing     int64 // messages from our own addresses that failed
	// Reporters is how many independent ones stand behind it. Reports prove nothing
	// about who sent them, so one alone never moves a policy.
	Reporters int
}

// Share is how much of the mail was aligned, 0 to 1; 0 where none was seen.
func (s Seen) Share() float64 {
	if s.Messages <= 0 {
		return 0
	}
	return float64(s.Aligned) / float64(s.Messages)
}

// The steps of Recommendation.
const (
	StepPublish    = "publish none"
	StepQuarantine = "to quarantine"
	StepReject     = "to reject"
	StepKeep       = "keep"
)

// Recommendation is the next record to publish.
type Recommendation struct {
	// Record is the whole TXT value; "": what is published is as it should be. With
	// StepKeep it says the same as what is published, and asks for reports to us.
	Record string  `json:"record,omitempty"`
	At     string  `json:"at"` // where: "_dmarc.example.com"
	Why    string  `json:"why"`
	Step   string  `json:"step"`
	Ready  float64 `json:"ready"` // share of the mail seen that was aligned
}

// The least that must have been seen before a policy is made stricter.
const (
	enoughReporters      = 2
	enoughMessages       = 100
	enoughDaysQuarantine = 7
	enoughDaysReject     = 14
	enoughQuarantine     = 0.98
	enoughReject         = 0.99
	// ownBearable: of that many messages, one of ours may have failed.
	ownBearable = 1000
)

// Recommend says which record to publish next: p=none with reports, then
// quarantine, then reject, each when what was seen allows it. rua is where we
// take reports ("mailto:…"), "" if nowhere. It never weakens what is published,
// keeps its addresses for reports, and goes one step at a time.
func Recommend(d Discovery, seen Seen, rua string) Recommendation {
	out := Recommendation{At: "_dmarc." + d.Author, Step: StepKeep, Ready: seen.Share()}
	if d.Record == nil {
		return publish(out, d, rua)
	}
	r := own(d)
	var why []string
	changed := false
	if rua != "" && !slices.ContainsFunc(r.Aggregate, func(s string) bool { return strings.EqualFold(s, rua) }) {
		r.Aggregate, changed = append(r.Aggregate, rua), true
		why = append(why, "Reports are to come here too.")
	}
	step, next := following(r)
	ok, reason := seen.Allows(step)
	switch {
	case d.Record.PSD == PSDYes && d.At == d.Author:
		why = append(why, "It is the record of a public suffix, for the domains of others: its policy is not moved by what was seen of one.")
	case step == StepKeep:
		why = append(why, "p=reject is the strictest policy there is.")
	case !ok:
		why = append(why, fmt.Sprintf("The policy stays %s for now: %s.", published(r), reason))
	default:
		out.Step, changed = step, true
		why = append(why, reason)
		why = append(why, r.strengthen(next, d)...)
	}
	if d.At != d.Author {
		why = append(why, fmt.Sprintf("What applies now is the record at _dmarc.%s; one of its own changes nothing for other names.", d.At))
	}
	why = append(why, r.remarks(d)...)
	if changed {
		out.Record = strings.Join(append([]string{r.String()}, r.Extra...), "; ")
	}
	out.Why = strings.Join(why, " ")
	return out
}

// publish is for a domain without a policy.
func publish(out Recommendation, d Discovery, rua string) Recommendation {
	r := Record{Policy: None, PSD: PSDUnknown, DKIM: Relaxed, SPF: Relaxed, Options: "0"}
	out.Step = StepPublish
	out.Why = fmt.Sprintf("No policy applies to %s. With p=none no mail is treated otherwise than now, and large receivers see that there is one.", d.Author)
	if rua != "" {
		r.Aggregate = []string{rua}
		out.Why += " Their reports then tell who sends as this domain, before anything is refused."
	}
	if org := ListOrganizational(d.Author); org != d.Author {
		out.Why += fmt.Sprintf(" A record at _dmarc.%s instead covers all names below %s.", org, org)
	}
	out.Record = r.String()
	return out
}

// own is the record that the author domain has, or that says for it what the one
// above says.
func own(d Discovery) *Record {
	r := *d.Record
	r.Warnings = nil
	// rf and ri have no effect on a policy; the rest may have.
	r.Extra = slices.DeleteFunc(slices.Clone(r.Extra), func(s string) bool { return strings.HasPrefix(s, "rf=") || strings.HasPrefix(s, "ri=") })
	r.Aggregate, r.Failure = slices.Clone(r.Aggregate), slices.Clone(r.Failure)
	if d.At == d.Author {
		return &r
	}
	r.Policy, r.Subdomain, r.NonExistent = d.Policy, "", ""
	if r.PSD == PSDYes { // of a registry, whose addresses are not for this domain's reports
		r.Aggregate, r.Failure = nil, nil
	}
	r.PSD = PSDUnknown
	return &r
}

// following is the step after a record, and the policy that it leads to.
func following(r *Record) (step string, next Policy) {
	switch {
	case r.Policy == None, r.Policy == Quarantine && r.Test:
		return StepQuarantine, Quarantine
	case r.Policy == Quarantine, r.Test:
		return StepReject, Reject
	}
	return StepKeep, r.Policy
}

// Allows reports whether what was seen allows a step of a policy, StepQuarantine or
// StepReject, and why.
func (s Seen) Allows(step string) (ok bool, why string) {
	days, share := enoughDaysQuarantine, enoughQuarantine
	if step == StepReject {
		days, share = enoughDaysReject, enoughReject
	}
	switch {
	case s.Messages <= 0:
		return false, "no report that counts has come yet"
	case s.OwnFailing > s.Messages/ownBearable:
		return false, fmt.Sprintf("%d messages that were sent from here failed; that comes first", s.OwnFailing)
	case s.Days < days:
		return false, fmt.Sprintf("reports are about %d days, and %d are wanted", s.Days, days)
	case s.Reporters < enoughReporters:
		return false, fmt.Sprintf("independent reporters: %d, and %d are wanted", s.Reporters, enoughReporters)
	case s.Messages < enoughMessages:
		return false, fmt.Sprintf("reports are about %d messages, and %d are wanted", s.Messages, enoughMessages)
	case s.Share() < share:
		return false, fmt.Sprintf("%s of the mail was aligned, and %s is wanted; it failed from %s: what is yours needs SPF or DKIM that aligns, others are what a policy is for",
			percent(s.Share()), percent(share), addresses(s.FailingSources))
	}
	return true, fmt.Sprintf("In %d days %d reporters saw %d messages, and %s of them were aligned.", s.Days, s.Reporters, s.Messages, percent(s.Share()))
}

func addresses(n int) string {
	if n == 1 {
		return "one address"
	}
	return fmt.Sprintf("%d addresses", n)
}

// percent rounds down: 99.99 % is not all.
func percent(share float64) string { return fmt.Sprintf("%.1f %%", float64(int(share*1000+1e-9))/10) }

func published(r *Record) string {
	if r.Test {
		return string(r.Policy) + " in test mode"
	}
	return string(r.Policy)
}

// strengthen moves a record to a policy and says what else changes with it.
func (r *Record) strengthen(next Policy, d Discovery) (why []string) {
	if r.Test {
		r.Test = false
		why = append(why, "Test mode (t=y) ends.")
	}
	r.Policy = next
	if n := len(r.Extra); n > 0 {
		r.Extra = slices.DeleteFunc(r.Extra, func(s string) bool { return strings.HasPrefix(s, "pct=") })
		if len(r.Extra) < n {
			why = append(why, "pct is left out: newer receivers ignore it.")
		}
	}
	if d.Author == d.Organizational && d.At == d.Author && r.NonExistent == "" && r.forBelow(false) != Reject {
		r.NonExistent = Reject
		why = append(why, "np=reject: nobody sends as names that do not exist.")
	}
	return why
}

// remarks are what the owner of a record should know beside its policy.
func (r *Record) remarks(d Discovery) (why []string) {
	var gone []string
	for _, s := range d.Record.Extra {
		if name, _, _ := strings.Cut(s, "="); name == "pct" || name == "rf" || name == "ri" {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		why = append(why, strings.Join(gone, ", ")+": removed from DMARC, and read by older receivers only.")
	}
	if r.Test {
		why = append(why, "t=y: receivers that do not know it apply the policy in full.")
	}
	if weaker(r.Subdomain, r.Policy) && d.Author == d.Organizational && d.At == d.Author {
		why = append(why, fmt.Sprintf("sp=%s leaves names below %s less protected than itself.", r.Subdomain, d.Author))
	}
	return why
}

// weaker compares policies; "" is never weaker.
func weaker(a, b Policy) bool {
	order := []Policy{None, Quarantine, Reject}
	return a != "" && slices.Index(order, a) < slices.Index(order, b)
}
