// Package dmarc judges a message's author domain as RFC 9989 says: it reads
// policy records, finds the record and the organizational domain that apply by
// walking up the DNS, and tells whether an authenticated identifier is aligned
// with the author domain. It verifies nothing itself: SPF and DKIM results are
// its input.
//
// Its one invariant: a message passes only by an identifier that passed its own
// check and is aligned; a DNS failure never makes a message pass and never
// makes one fail that could have passed, it is a result of its own.
//
//	result := dmarc.Evaluate(ctx, resolver, dmarc.Input{Author: "example.com", …})
package dmarc

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Policy is what a domain owner asks to be done with mail that fails.
type Policy string

// The policies, weakest first.
const (
	None       Policy = "none"
	Quarantine Policy = "quarantine"
	Reject     Policy = "reject"
)

func parsePolicy(s string) (Policy, bool) {
	p := Policy(strings.ToLower(s))
	return p, p == None || p == Quarantine || p == Reject
}

// PSD says what a domain declares itself to be (tag psd).
type PSD string

// The declarations.
const (
	PSDYes     PSD = "y" // a public suffix: others register names below it
	PSDNo      PSD = "n" // an organizational domain
	PSDUnknown PSD = "u" // the walk decides
)

// Alignment is how closely an identifier must match the author domain.
type Alignment string

// The modes.
const (
	Relaxed Alignment = "r" // the same organizational domain
	Strict  Alignment = "s" // the same domain
)

// Record is a policy record, RFC 9989 §4.7, defaults filled in.
type Record struct {
	Policy      Policy    // p: for the domain itself
	Subdomain   Policy    // sp: for names below it that exist; "": as Policy
	NonExistent Policy    // np: for names below it that do not; "": as Subdomain
	PSD         PSD       // psd
	Test        bool      // t=y: apply one step less
	DKIM        Alignment // adkim
	SPF         Alignment // aspf
	Aggregate   []string  // rua: URIs, without the obsolete size suffix
	Failure     []string  // ruf
	Options     string    // fo: "0" unless said otherwise
	// Extra are tags that mean nothing any more or not yet, as "name=value": the
	// removed pct, rf and ri, and unknown ones. At most 20.
	Extra []string
	// Warnings says in words what a reader of the record should know: tags that
	// were ignored, are obsolete or are unknown. At most 20.
	Warnings []string
}

// Limits of one record: a policy needs far less.
const (
	maxRecord   = 4096 // octets
	maxURIs     = 20
	maxWarnings = 20
)

// errNotDMARC: the text is another kind of TXT record, to be passed over.
var errNotDMARC = errors.New("not a DMARC record")

// ErrInvalid is wrapped by the error for a DMARC record that has no meaning: a
// repeated tag, or no valid policy and nobody to report to.
var ErrInvalid = errors.New("invalid DMARC record")

// ParseRecord reads a TXT value. What is wrong with a tag other than p, sp and
// np costs that tag only (RFC 9989 §4.7): it keeps its default and a warning
// says so.
func ParseRecord(s string) (*Record, error) {
	first, rest, _ := strings.Cut(s, ";")
	name, value, ok := strings.Cut(first, "=")
	if !ok || strings.TrimRight(name, " \t") != "v" || strings.Trim(value, " \t") != "DMARC1" {
		return nil, errNotDMARC
	}
	if len(s) > maxRecord {
		return nil, fmt.Errorf("%w: %d octets", ErrInvalid, len(s))
	}
	r := &Record{PSD: PSDUnknown, DKIM: Relaxed, SPF: Relaxed, Options: "0"}
	seen := map[string]bool{"v": true}
	bad := "" // the policy tag that cannot be used
	for tag := range strings.SplitSeq(rest, ";") {
		if strings.Trim(tag, " \t") == "" {
			continue
		}
		name, value, ok := strings.Cut(tag, "=")
		name, value = strings.ToLower(strings.Trim(name, " \t")), strings.Trim(value, " \t")
		if !ok || name == "" {
			r.warn("%.40q is not a tag", tag)
			continue
		}
		if seen[name] { // RFC 6376 §3.2: a tag-list with a tag twice is invalid
			return nil, fmt.Errorf("%w: tag %.20q twice", ErrInvalid, name)
		}
		seen[name] = true
		if !r.set(name, value) && bad == "" {
			bad = name
		}
	}
	if r.Policy == "" && bad == "" {
		bad = "p"
	}
	if bad == "" {
		return r, nil
	}
	// RFC 9989 §4.10.1: with somebody to report to, such a record says p=none.
	if len(r.Aggregate) == 0 {
		return nil, fmt.Errorf("%w: no valid %q and no valid \"rua\"", ErrInvalid, bad)
	}
	r.warn("no valid %q: read as p=none", bad)
	r.Policy, r.Subdomain, r.NonExistent = None, "", ""
	return r, nil
}

func (r *Record) warn(format string, args ...any) {
	if len(r.Warnings) < maxWarnings {
		r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
	}
}

func (r *Record) keep(name, value string) {
	if len(r.Extra) < maxWarnings {
		r.Extra = append(r.Extra, name+"="+value)
	}
}

// set takes one tag. It reports false for a policy that is none.
func (r *Record) set(name, value string) (ok bool) {
	lower := strings.ToLower(value)
	switch name {
	case "p":
		r.Policy, ok = parsePolicy(value)
	case "sp":
		r.Subdomain, ok = parsePolicy(value)
	case "np":
		r.NonExistent, ok = parsePolicy(value)
	default:
		r.setOther(name, value, lower)
		return true
	}
	return ok
}

func (r *Record) setOther(name, value, lower string) {
	known := true
	switch name {
	case "psd":
		if known = lower == "y" || lower == "n" || lower == "u"; known {
			r.PSD = PSD(lower)
		}
	case "t":
		if known = lower == "y" || lower == "n"; known {
			r.Test = lower == "y"
		}
	case "adkim":
		if known = lower == "r" || lower == "s"; known {
			r.DKIM = Alignment(lower)
		}
	case "aspf":
		if known = lower == "r" || lower == "s"; known {
			r.SPF = Alignment(lower)
		}
	case "fo":
		if known = validOptions(lower); known {
			r.Options = lower
		}
	case "rua":
		r.Aggregate = r.uris(name, value)
	case "ruf":
		r.Failure = r.uris(name, value)
	case "pct", "rf", "ri":
		r.warn("%q was removed from DMARC; older receivers still read it", name)
		r.keep(name, value)
	default:
		r.warn("tag %.20q is unknown", name)
		r.keep(name, value)
	}
	if !known {
		r.warn("%q cannot be %.40q", name, value)
	}
}

func validOptions(s string) bool {
	for o := range strings.SplitSeq(s, ":") {
		if o = strings.Trim(o, " \t"); o != "0" && o != "1" && o != "d" && o != "s" {
			return false
		}
	}
	return true
}

// uris reads a list of addresses for reports. Those that are no URI are left out.
func (r *Record) uris(tag, list string) (out []string) {
	for s := range strings.SplitSeq(list, ",") {
		s = strings.Trim(s, " \t")
		if at := strings.LastIndexByte(s, '!'); at >= 0 {
			r.warn("the size suffix in %q is obsolete", tag)
			s = s[:at]
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" || u.Opaque == "" && u.Host == "" ||
			u.Scheme == "mailto" && !strings.Contains(strings.Trim(u.Opaque, "@"), "@") {
			r.warn("%.60q in %q is not a URI that can be reported to", s, tag)
			continue
		}
		if len(out) == maxURIs {
			r.warn("more than %d URIs in %q", maxURIs, tag)
			break
		}
		out = append(out, s)
	}
	return out
}

// String is the record as it would be published, without what is default and
// without Extra.
func (r *Record) String() string {
	var b strings.Builder
	b.WriteString("v=DMARC1; p=" + string(r.Policy))
	tag := func(name, value, without string) {
		if value != without {
			b.WriteString("; " + name + "=" + value)
		}
	}
	tag("sp", string(r.Subdomain), "")
	tag("np", string(r.NonExistent), "")
	tag("psd", string(r.PSD), "u")
	if r.Test {
		tag("t", "y", "n")
	}
	tag("adkim", string(r.DKIM), "r")
	tag("aspf", string(r.SPF), "r")
	tag("rua", strings.Join(r.Aggregate, ","), "")
	tag("ruf", strings.Join(r.Failure, ","), "")
	tag("fo", r.Options, "0")
	return b.String()
}

// forBelow is the policy for a name below the record's.
func (r *Record) forBelow(exists bool) Policy {
	switch {
	case !exists && r.NonExistent != "":
		return r.NonExistent
	case r.Subdomain != "":
		return r.Subdomain
	}
	return r.Policy
}

// less is the policy one step weaker, what a record in test mode asks for.
func (p Policy) less() Policy {
	if p == Reject {
		return Quarantine
	}
	return None
}
