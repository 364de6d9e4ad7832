package spf

import (
	"fmt"

	"postern/internal/finding"
)

// The codes of findings. Those of the first group stand for what makes
// receivers answer "permerror": they are errors.
const (
	CodeSeveral         = "spf_several"          // more than one record
	CodeSyntax          = "spf_syntax"           // a term that breaks the grammar
	CodeIncludeSyntax   = "spf_include_syntax"   // the same in a record that is referred to
	CodeIncludeMissing  = "spf_include_missing"  // include of a domain without a record
	CodeIncludeSeveral  = "spf_include_several"  // include or redirect to a domain with several
	CodeRedirectMissing = "spf_redirect_missing" // redirect to a domain without a record
	CodeLoop            = "spf_loop"             // records that refer to each other
	CodeLookups         = "spf_lookups"          // more than 10 look-ups
	CodeVoid            = "spf_void"             // more than 2 look-ups without an answer
	CodeManyMX          = "spf_mx_many"          // "mx" of a domain with more than 10 exchangers

	CodeOK              = "spf_ok"
	CodeNone            = "spf_none"       // the domain sends no mail
	CodeMissing         = "spf_missing"    // no record
	CodeMisspelt        = "spf_misspelt"   // a record that is almost one
	CodeUnknown         = "spf_unknown"    // the DNS did not answer
	CodePassAll         = "spf_pass_all"   // anybody may send
	CodeNeutralAll      = "spf_neutral"    // "?all"
	CodeNoAll           = "spf_no_all"     // no "all", no redirect
	CodePTR             = "spf_ptr"        // the "ptr" mechanism or a %{p} macro
	CodeModifier        = "spf_modifier"   // an unknown modifier
	CodeAfterAll        = "spf_after_all"  // terms that no receiver gets to
	CodeRedirectIgnored = "spf_redirect"   // a redirect beside "all"
	CodeWide            = "spf_wide"       // a network that is very large
	CodePrivate         = "spf_private"    // addresses that are not of the Internet
	CodeDead            = "spf_dead"       // a term whose name has no addresses
	CodeBadName         = "spf_bad_name"   // a name that the DNS cannot hold
	CodeTwice           = "spf_twice"      // the same term again
	CodeNearLimit       = "spf_near_limit" // 10 look-ups: the next one breaks it
	CodeLarge           = "spf_large"      // the answer may not fit a UDP packet
	CodeMacro           = "spf_macro"      // a term that depends on the message
	CodeCovered         = "spf_covered"
	CodeNotCovered      = "spf_not_covered"
)

var breaking = map[string]bool{
	CodeSeveral: true, CodeSyntax: true, CodeIncludeSyntax: true, CodeIncludeMissing: true, CodeIncludeSeveral: true,
	CodeRedirectMissing: true, CodeLoop: true, CodeLookups: true, CodeVoid: true, CodeManyMX: true,
}

// Bounds of what is reported of a stranger's records.
const (
	maxFindings = 60
	maxShown    = 2048 // octets of one record or term
	maxRecords  = 10
)

// add notes a finding once; what is beyond the bound is dropped, except errors,
// which take a milder one's place.
func (w *walker) add(f finding.Finding) {
	f.Record = "spf"
	for _, have := range w.out.Findings {
		if have.Code == f.Code && have.Where == f.Where && have.Found == f.Found {
			return
		}
	}
	if len(w.out.Findings) < maxFindings {
		w.out.Findings = append(w.out.Findings, f)
		return
	}
	for i, have := range w.out.Findings {
		if f.Severity == finding.Error && have.Severity != finding.Error && have.Severity != finding.Unknown {
			w.out.Findings[i] = f
			return
		}
	}
}

// cut bounds a stranger's text.
func cut(s string) string {
	if len(s) > maxShown {
		return s[:maxShown] + "..."
	}
	return s
}

// plural counts things in words.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
