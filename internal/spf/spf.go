// Package spf reads Sender Policy Framework records as receivers do (RFC 7208).
// Check evaluates one message's identity; Analyse tells the owner of a domain,
// in words, what receivers make of its record: what is wrong, what it costs in
// look-ups, and which addresses it covers.
//
// Its one invariant: a record that breaks the grammar anywhere, or that needs
// more look-ups than a receiver makes, is never called good; and DNS trouble is
// never called a fault of the record.
//
//	analysis := spf.Analyse(ctx, resolver, "example.com", pool)
//
// Analyse counts the worst case, a message that no term matches, since that is
// what a receiver goes through before it refuses forged mail. Everything in an
// Analysis that came from the DNS is a stranger's text: cut to a bound, but not
// fit for a terminal as it is.
package spf

import (
	"net/netip"

	"postern/internal/finding"
)

// Limits of RFC 7208 §4.6.4.
const (
	MaxLookups = 10 // terms that ask the DNS
	MaxVoid    = 2  // look-ups without an answer
	maxMX      = 10 // exchangers of one "mx" term
)

// Analysis is what a receiver sees in a domain's SPF record.
type Analysis struct {
	Domain  string   `json:"domain"`            // A-labels, as asked
	Record  string   `json:"record,omitempty"`  // the one record; "" where there is none or several
	Records []string `json:"records,omitempty"` // all SPF records of the domain, at most 10
	// Lookups counts the terms that ask the DNS, in this record and those that
	// it refers to; over MaxLookups receivers give up. Void counts the look-ups
	// that have no answer, over MaxVoid likewise.
	Lookups int `json:"lookups"`
	Void    int `json:"void"`
	// All is what happens to the senders that no term names: "-all", "~all",
	// "?all", "+all"; "redirect": another domain's record says; "": nothing.
	All      string            `json:"all,omitempty"`
	Senders  []Covered         `json:"senders,omitempty"`
	Tree     *Node             `json:"tree,omitempty"`
	Findings []finding.Finding `json:"findings"`
	Unknown  bool              `json:"unknown,omitempty"` // the DNS did not answer everywhere: look again later
}

// Covered is the result for one address, as the whole evaluation gives it.
type Covered struct {
	Addr   netip.Addr `json:"address"`
	Result string     `json:"result"` // pass, fail, softfail, neutral, none, permerror, temperror
	Why    string     `json:"why"`
}

// Node is one domain's record in the tree of records.
type Node struct {
	Domain  string `json:"domain"`
	Record  string `json:"record,omitempty"`
	Lookups int    `json:"lookups"` // of its terms and of what is below them
	Terms   []Term `json:"terms,omitempty"`
	Problem string `json:"problem,omitempty"` // why it has no usable record
}

// Term is one word of a record.
type Term struct {
	Text    string   `json:"text"`
	Name    string   `json:"name,omitempty"`    // the mechanism or modifier, lower case
	Target  string   `json:"target,omitempty"`  // the name that it makes receivers ask about
	Lookups int      `json:"lookups,omitempty"` // what it costs, with what is below it
	Void    bool     `json:"void,omitempty"`    // its look-up has no answer
	Depends bool     `json:"depends,omitempty"` // its name is another one for each message
	Ignored bool     `json:"ignored,omitempty"` // no receiver gets as far
	Problem string   `json:"problem,omitempty"` // what is wrong with it
	Hosts   []string `json:"hosts,omitempty"`   // of "mx": the exchangers
	Node    *Node    `json:"node,omitempty"`    // of include and redirect
}

// Broken reports whether receivers answer "permerror" for the domain.
func (a Analysis) Broken() bool {
	for _, f := range a.Findings {
		if f.Severity == finding.Error && breaking[f.Code] {
			return true
		}
	}
	return false
}
