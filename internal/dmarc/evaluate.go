package dmarc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postern/internal/dns"
)

// Outcome is the result of an evaluation, in the words of RFC 8601.
type Outcome string

// The outcomes.
const (
	Pass      Outcome = "pass"      // an aligned identifier passed
	Fail      Outcome = "fail"      // there is a policy, and none did
	NoPolicy  Outcome = "none"      // nothing is published for the author domain
	TempError Outcome = "temperror" // the DNS failed; later it may be decided
	PermError Outcome = "permerror" // the author domain is no domain name
)

// Check is the result of one mechanism for one identifier.
type Check struct {
	Domain string // SPF: of the reverse-path, or of HELO where that is null; DKIM: d=
	Pass   bool
	Temp   bool // it failed for now: a later try may pass
}

// Input is what is known of a message.
type Input struct {
	Author string // domain of the one From address, A-labels
	SPF    Check
	DKIM   []Check // one per signature; the first 16 count
}

// maxSignatures bounds the look-ups that a message can cause.
const maxSignatures = 16

// Result says whether a message is who it says it is.
type Result struct {
	Outcome     Outcome
	Discovery           // zero where the DNS failed
	Disposition Policy  // what the policy asks to be done with this message: None unless it fails
	SPF         bool    // SPF passed and is aligned
	DKIM        bool    // a signature passed and is aligned
	Aligned     []Check // the checks that made it pass
	Err         error   // why the outcome is TempError or PermError
}

// Evaluate judges a message, RFC 9989 §5.3. It never fails: trouble is an
// outcome. It causes at most 9 look-ups, and 8 for each identifier below the
// author's organizational domain.
func Evaluate(ctx context.Context, r dns.Resolver, in Input) Result {
	d, err := Discover(ctx, r, in.Author)
	switch {
	case errors.Is(err, dns.ErrBadName):
		return Result{Outcome: PermError, Disposition: None, Err: err}
	case err != nil:
		return Result{Outcome: TempError, Disposition: None, Err: err}
	case d.Record == nil:
		return Result{Outcome: NoPolicy, Discovery: d, Disposition: None}
	}
	res := Result{Discovery: d, Disposition: None}
	a := aligner{ctx: ctx, resolver: r, d: d, orgs: map[string]string{d.Author: d.Organizational}}
	res.SPF = a.passes(in.SPF, d.Record.SPF, &res)
	for i, c := range in.DKIM {
		if i == maxSignatures {
			break
		}
		if a.passes(c, d.Record.DKIM, &res) {
			res.DKIM = true
		}
	}
	switch {
	case res.SPF || res.DKIM:
		res.Outcome = Pass
	case a.err != nil:
		res.Outcome, res.Err = TempError, a.err
	default:
		res.Outcome, res.Disposition = Fail, d.Policy
		if d.Record.Test {
			res.Disposition = d.Policy.less()
		}
	}
	return res
}

// aligner compares identifiers with one author domain.
type aligner struct {
	ctx      context.Context
	resolver dns.Resolver
	d        Discovery
	orgs     map[string]string // organizational domains found so far
	err      error             // the first failure that may hide a pass
}

// passes reports whether a check passed for an aligned identifier. A check that
// would be aligned and failed for now is remembered as an error.
func (a *aligner) passes(c Check, mode Alignment, res *Result) bool {
	if !c.Pass && !c.Temp {
		return false
	}
	aligned, err := a.aligned(c.Domain, mode)
	switch {
	case err != nil:
		a.fault(err)
	case aligned && c.Pass:
		res.Aligned = append(res.Aligned, c)
		return true
	case aligned:
		a.fault(fmt.Errorf("check of %s: %w", c.Domain, dns.ErrTemporary))
	}
	return false
}

func (a *aligner) fault(err error) {
	if a.err == nil {
		a.err = err
	}
}

// aligned compares an identifier with the author domain, RFC 9989 §4.4.
func (a *aligner) aligned(domain string, mode Alignment) (bool, error) {
	name, err := normal(domain)
	if err != nil {
		return false, nil // what is no name is aligned with nothing
	}
	if name == a.d.Author {
		return true, nil
	}
	// Both have the same organizational domain only if both are within it, so
	// most strangers are told apart without a look-up.
	if mode == Strict || name != a.d.Organizational && !strings.HasSuffix(name, "."+a.d.Organizational) {
		return false, nil
	}
	org, ok := a.orgs[name]
	if !ok {
		if org, err = OrganizationalDomain(a.ctx, a.resolver, name); err != nil {
			return false, fmt.Errorf("organizational domain of %s: %w", name, err)
		}
		a.orgs[name] = org
	}
	return org == a.d.Organizational, nil
}
