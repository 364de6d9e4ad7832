// Package finding is the vocabulary of checks: what was looked at, what was
// expected, what was found instead, and what to change. Every check of a
// domain's records speaks it, so that a person reads one kind of sentence.
package finding

import (
	"slices"
	"strings"
	"unicode"
)

// Severity says how much a finding matters.
type Severity string

// The severities, mildest first.
const (
	OK      Severity = "ok"      // as it should be
	Info    Severity = "info"    // good to know; nothing to do
	Warning Severity = "warning" // works now; some receivers may disagree, or it will break
	Error   Severity = "error"   // does not work
	Unknown Severity = "unknown" // the DNS did not answer: look again later
)

// Finding is one result of a check, in words.
type Finding struct {
	Severity Severity `json:"severity"`
	// Code is of a closed set per check, for programs: "dkim_missing".
	Code string `json:"code"`
	// Record names which of the domain's records it is about, as the v3 API does:
	// mail_cname, dkim1, dkim2, ownership, mail_server, subdomain_spf, dmarc, spf.
	Record string `json:"record,omitempty"`
	// Text is one or two sentences for a person, complete without the rest.
	Text string `json:"text"`
	// Fix says what to change; empty where there is nothing to do.
	Fix      string `json:"fix,omitempty"`
	Where    string `json:"where,omitempty"`  // the name that was asked
	Server   string `json:"server,omitempty"` // who answered so; empty: all did
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
}

var order = []Severity{OK, Info, Warning, Unknown, Error}

// Worst is the severity that matters most; OK if there are no findings.
func Worst(fs []Finding) Severity {
	worst := OK
	for _, f := range fs {
		if slices.Index(order, f.Severity) > slices.Index(order, worst) {
			worst = f.Severity
		}
	}
	return worst
}

// maxQuoted bounds a stranger's text in a sentence, in characters.
const maxQuoted = 120

// Quote is a stranger's text as it may stand in a sentence: in quotation marks,
// without characters that do something to a terminal or a page, and cut.
func Quote(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
	if r := []rune(s); len(r) > maxQuoted {
		s = string(r[:maxQuoted]) + "..."
	}
	return "“" + s + "”"
}
