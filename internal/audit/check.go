package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"postern/internal/finding"
	"postern/internal/relay"
)

// Check is one row of the table of checks.
type Check struct {
	Code      string
	Section   Section
	Severity  Severity
	Weight    int
	Practice  Practice
	Standards []string
	Title     string
	Doc       string // what it looks for
	run       func(f *Facts, yield func(flaw))
}

// flaw is what a check found in one thing.
type flaw struct {
	subject   Subject
	text      string
	evidence  []string
	fix, href string
	standards []string // instead of the check's
}

// The standards that several checks name.
const (
	cisDormant   = "CIS Controls v8 5.3"  // disable dormant accounts
	cisAdmin     = "CIS Controls v8 5.4"  // restrict administrator privileges
	cisRevoke    = "CIS Controls v8 6.2"  // revoke access
	cisMFA       = "CIS Controls v8 6.3"  // MFA for what is reachable from outside
	cisAdminMFA  = "CIS Controls v8 6.5"  // MFA for administrators
	cisRoles     = "CIS Controls v8 6.8"  // role-based access
	cisTransit   = "CIS Controls v8 3.10" // encrypt in transit
	cisDMARC     = "CIS Controls v8 9.5"  // DMARC
	cisACL       = "CIS Controls v8 3.3"  // access control lists
	cisSupported = "CIS Controls v8 2.2"  // supported software
	cisPatch     = "CIS Controls v8 7.4"  // patch applications
	cisLogs      = "CIS Controls v8 8.2"  // collect audit logs
	cisCentral   = "CIS Controls v8 8.9"  // centralise audit logs
	cisReview    = "CIS Controls v8 8.11" // review audit logs
	cisAlerts    = "CIS Controls v8 13.1" // centralise security event alerting
	cisIncident  = "CIS Controls v8 17.3" // a process for reporting incidents
	cisConfig    = "CIS Controls v8 4.1"  // secure configuration
	cisInventory = "CIS Controls v8 5.1"  // inventory of accounts

	rfcSubmission = "RFC 8314 §4"   // TLS for submission
	rfcOldTLS     = "RFC 8996"      // TLS 1.0 and 1.1 are over
	rfcTLS        = "RFC 9325"      // recommendations for TLS
	rfcDMARC      = "RFC 9989"      // DMARC: alignment, policies
	rfcDKIMBits   = "RFC 8301 §3.2" // at least 2048 bits
	nistAAL2      = "NIST SP 800-63B-4 §2.2"
	nistMD5       = "NIST SP 800-131A Rev. 2 §9" // hash functions
	nistSecrets   = "NIST SP 800-63B-4 §3.1.1.2" // how secrets are kept and chosen
)

// Checks are all checks, in the order of the report.
func Checks() []Check {
	return slices.Concat(keyChecks, peopleChecks, clientChecks, domainChecks, accessChecks, policyChecks, trailChecks, watchChecks, installationChecks)
}

// Judge makes the report of facts. It reads no clock and nothing else.
func Judge(f *Facts) *Report {
	f.Options = f.Options.Filled()
	f.index()
	r := &Report{
		Version: 1, Account: f.Account.ID, Name: shown(f.Account.Name), At: f.At, Score: FullScore, FullScore: FullScore,
		Installation: f.Installation != nil, Options: f.Options, Counts: map[Severity]int{}, LoginsSince: f.LoginsSince, Trail: f.Trail,
	}
	r.Trail.Problem = shown(r.Trail.Problem)
	for _, s := range Severities {
		r.Counts[s] = 0
	}
	for _, p := range Practices {
		r.Practices = append(r.Practices, PracticeSummary{Practice: p})
	}
	for _, s := range Sections {
		if f.Installation != nil || s.Section != SectionSettings && s.Section != SectionVersions {
			r.Summary = append(r.Summary, SectionSummary{Section: s.Section, Title: s.Title})
		}
	}
	for _, c := range Checks() {
		c.run(f, func(w flaw) { r.Findings = append(r.Findings, c.finding(w)) })
	}
	r.count()
	f.describe(r)
	order := func(a, b Finding) int {
		return cmp.Or(slices.Index(Severities, a.Severity)-slices.Index(Severities, b.Severity), b.Weight-a.Weight, strings.Compare(a.ID, b.ID))
	}
	slices.SortFunc(r.Findings, order)
	if n := len(r.Findings); n > MaxFindings {
		r.Findings, r.Omitted = r.Findings[:MaxFindings:MaxFindings], n-MaxFindings
	}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	return r
}

// finding is a flaw with what the check says of all its flaws.
func (c *Check) finding(w flaw) Finding {
	if len(w.evidence) > maxEvidence {
		w.evidence = append(w.evidence[:maxEvidence:maxEvidence], fmt.Sprintf("and %d more", len(w.evidence)-maxEvidence))
	}
	standards := c.Standards
	if w.standards != nil {
		standards = w.standards
	}
	w.subject.Name = shown(w.subject.Name)
	for i := range w.evidence {
		w.evidence[i] = shown(w.evidence[i])
	}
	if w.evidence == nil {
		w.evidence = []string{}
	}
	return Finding{
		ID: c.Code + " " + w.subject.ID, Code: c.Code, Section: c.Section, Severity: c.Severity, Weight: c.Weight, Practice: c.Practice,
		Standards: standards, Subject: w.subject, Title: c.Title, Text: w.text, Evidence: w.evidence, Fix: w.fix, Href: w.href,
	}
}

// count adds the findings up.
func (r *Report) count() {
	for i := range r.Findings {
		v := &r.Findings[i]
		r.Score -= v.Weight
		r.Counts[v.Severity]++
		for j := range r.Practices {
			if p := &r.Practices[j]; p.Practice == v.Practice {
				p.Findings, p.Weight = p.Findings+1, p.Weight+v.Weight
			}
		}
		for j := range r.Summary {
			if s := &r.Summary[j]; s.Section == v.Section {
				s.Findings, s.Weight = s.Findings+1, s.Weight+v.Weight
			}
		}
	}
}

// quote is a stranger's text in a sentence.
func quote(s string) string { return finding.Quote(s) }

// shown is a stranger's text by itself: printable, on one line, cut.
func shown(s string) string {
	return strings.TrimSuffix(strings.TrimPrefix(finding.Quote(s), "“"), "”")
}

// on is a day in a sentence.
func on(t time.Time) string { return t.UTC().Format("2 January 2006") }

// ago is how long before the report something was, in whole days.
func (f *Facts) ago(t time.Time) string {
	switch n := int(f.At.Sub(t) / day); n {
	case 0:
		return "today"
	case 1:
		return "yesterday"
	default:
		return fmt.Sprintf("%d days ago", n)
	}
}

// spelled is a length of time as a command takes it: in days where they are whole.
func spelled(d time.Duration) string {
	if d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// inWords is a length of time in a sentence.
func inWords(d time.Duration) string {
	switch {
	case d == day:
		return "day"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return spelled(d)
}

// argument is a text as one word of a command line that a person copies: quoted
// for a shell unless it needs nothing. In place of what cannot be shown stands a
// question mark, so that nothing that is pasted does more than it shows.
func argument(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._@:/=,+-", c)
	}
	if s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(c rune) bool { return !plain(c) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ofSubuser names a subuser in a command line; nothing for the account itself.
func (f *Facts) ofSubuser(id relay.SubuserID) string {
	if id.IsZero() {
		return ""
	}
	return " --subuser " + argument(f.subuserName(id))
}

// pageOf is a page of the console about something of a subuser's, or the account's.
func (f *Facts) pageOf(id relay.SubuserID, path string) string {
	if id.IsZero() {
		return path
	}
	return "/as/" + pathSegment(f.subuserName(id)) + path
}

// ofAccount names the account in a command line.
func (f *Facts) ofAccount() string { return " --account " + f.Account.ID.String() }
