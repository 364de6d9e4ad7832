package dmarc

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Aggregate is an aggregate report: what one receiver saw of the mail of one
// domain in some hours. RFC 9990 and RFC 7489 appendix C have one shape here.
// All of it is the word of whoever sent it.
type Aggregate struct {
	Org       string    `json:"org_name"`
	Email     string    `json:"email,omitempty"`
	Contact   string    `json:"extra_contact_info,omitempty"`
	ReportID  string    `json:"report_id"`
	Generator string    `json:"generator,omitempty"` // RFC 9990
	Errors    []string  `json:"errors,omitempty"`    // what the reporter says went wrong
	Begin     time.Time `json:"begin"`
	End       time.Time `json:"end"`
	Published Published `json:"policy_published"`
	Rows      []Row     `json:"records"`
}

// Published is the policy that the receiver found.
type Published struct {
	Domain      string    `json:"domain"` // A-labels, lower case
	Policy      Policy    `json:"p"`
	Subdomain   Policy    `json:"sp,omitempty"`
	NonExistent Policy    `json:"np,omitempty"`
	DKIM        Alignment `json:"adkim,omitempty"`
	SPF         Alignment `json:"aspf,omitempty"`
	Options     string    `json:"fo,omitempty"`
	Testing     bool      `json:"testing,omitempty"`
	Discovery   string    `json:"discovery_method,omitempty"` // psl, treewalk; "": older reports do not say
}

// Row is mail from one address that all had the same result.
type Row struct {
	Addr  netip.Addr `json:"source_ip"`
	Count int64      `json:"count"`
	// Disposition is what was done with it: none, quarantine, reject, pass.
	Disposition string `json:"disposition"`
	// DKIM and SPF say that it passed and was aligned.
	DKIM         bool        `json:"dkim_aligned"`
	SPF          bool        `json:"spf_aligned"`
	Reasons      []Reason    `json:"reasons,omitempty"`
	HeaderFrom   string      `json:"header_from"`
	EnvelopeFrom string      `json:"envelope_from,omitempty"`
	EnvelopeTo   string      `json:"envelope_to,omitempty"`
	Signatures   []Signature `json:"dkim,omitempty"`
	SPFDomain    string      `json:"spf_domain,omitempty"`
	SPFScope     string      `json:"spf_scope,omitempty"`  // mfrom, helo
	SPFResult    string      `json:"spf_result,omitempty"` // pass, fail, softfail, neutral, none, permerror, temperror
}

// Reason is why the receiver did something else than the policy asked for.
type Reason struct {
	Type    string `json:"type"` // forwarded, mailing_list, trusted_forwarder, sampled_out, local_policy, policy_test_mode, other
	Comment string `json:"comment,omitempty"`
}

// Signature is what the receiver found of one DKIM signature.
type Signature struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector,omitempty"`
	Result   string `json:"result"` // pass, fail, none, policy, neutral, permerror, temperror
}

// Totals are the sums over rows, in messages.
type Totals struct {
	Messages int64 `json:"messages"`
	Aligned  int64 `json:"aligned"` // by SPF, by DKIM, or by both
	SPF      int64 `json:"spf_aligned"`
	DKIM     int64 `json:"dkim_aligned"`
	Failing  int64 `json:"failing"` // by neither
	// Quarantined and Rejected are what the receivers did with failing ones.
	Quarantined int64 `json:"quarantined"`
	Rejected    int64 `json:"rejected"`
}

// Add adds sums.
func (t *Totals) Add(o Totals) {
	t.Messages += o.Messages
	t.Aligned += o.Aligned
	t.SPF += o.SPF
	t.DKIM += o.DKIM
	t.Failing += o.Failing
	t.Quarantined += o.Quarantined
	t.Rejected += o.Rejected
}

// Head is a report as it is kept, without its sources.
type Head struct {
	Org        string    `json:"org_name"`
	Email      string    `json:"email,omitempty"`
	ReportID   string    `json:"report_id"`
	Begin      time.Time `json:"begin"`
	End        time.Time `json:"end"`
	ReceivedAt time.Time `json:"received_at"`
	// From is the address that handed the report in: the one thing in it that is
	// not the reporter's word.
	From      netip.Addr `json:"received_from"`
	Published Published  `json:"policy_published"`
	Totals
}

// Source is the rows of one report, or of many, that say the same of mail from
// one address, summed. It is comparable: Count apart, its fields are its key.
type Source struct {
	// Addr is invalid for what was left of a report with too many sources.
	Addr        netip.Addr `json:"source_ip"`
	HeaderFrom  string     `json:"header_from"`
	Disposition string     `json:"disposition"`
	SPF         bool       `json:"spf_aligned"`
	DKIM        bool       `json:"dkim_aligned"`
	// SPFCheck and Signatures are what passed and failed, as text: "pass example.net",
	// "pass example.net s1, fail example.com". "": no result. At most 1,000 octets.
	SPFCheck   string `json:"spf,omitempty"`
	Signatures string `json:"dkim,omitempty"`
	Reasons    string `json:"reasons,omitempty"` // types of reasons: "forwarded, local_policy"
	Count      int64  `json:"count"`
}

// Totals of a source.
func (s *Source) Totals() Totals { return totals(s.Count, s.SPF, s.DKIM, s.Disposition) }

func totals(n int64, spf, dkim bool, disposition string) Totals {
	t := Totals{Messages: n}
	if spf {
		t.SPF = n
	}
	if dkim {
		t.DKIM = n
	}
	if spf || dkim {
		t.Aligned = n
		return t
	}
	t.Failing = n
	switch disposition {
	case string(Quarantine):
		t.Quarantined = n
	case string(Reject):
		t.Rejected = n
	}
	return t
}

// Kept is a report in the form that is kept.
type Kept struct {
	Head
	Sources []Source // most messages first
}

// MaxSources is how many sources of one report are kept one by one: those with
// the most messages. The others are summed, without addresses.
const MaxSources = 1000

// Keep brings a report that came from an address into the form that is kept.
func (a *Aggregate) Keep(from netip.Addr, at time.Time) Kept {
	k := Kept{Head: Head{
		Org: a.Org, Email: a.Email, ReportID: a.ReportID, Begin: a.Begin, End: a.End, ReceivedAt: at, From: from, Published: a.Published,
	}}
	sums := map[Source]int64{}
	for i := range a.Rows {
		r := &a.Rows[i]
		k.Add(totals(r.Count, r.SPF, r.DKIM, r.Disposition))
		sums[r.source()] += r.Count
	}
	for s, n := range sums {
		s.Count = n
		k.Sources = append(k.Sources, s)
	}
	slices.SortFunc(k.Sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), a.Addr.Compare(b.Addr), cmp.Compare(a.text(), b.text()))
	})
	if len(k.Sources) > MaxSources {
		rest := map[Source]int64{}
		for _, s := range k.Sources[MaxSources:] {
			rest[Source{Disposition: s.Disposition, SPF: s.SPF, DKIM: s.DKIM}] += s.Count
		}
		k.Sources = k.Sources[:MaxSources:MaxSources]
		for s, n := range rest {
			s.Count = n
			k.Sources = append(k.Sources, s)
		}
		slices.SortFunc(k.Sources[MaxSources:], func(a, b Source) int { return cmp.Compare(a.text(), b.text()) })
	}
	return k
}

// text orders sources that differ in no other way.
func (s *Source) text() string {
	flags := []byte("--")
	if s.SPF {
		flags[0] = 's'
	}
	if s.DKIM {
		flags[1] = 'd'
	}
	return strings.Join([]string{s.HeaderFrom, s.Disposition, string(flags), s.SPFCheck, s.Signatures, s.Reasons}, "\x00")
}

// source is a row without its count, in the form in which rows are summed.
func (r *Row) source() Source {
	s := Source{Addr: r.Addr, HeaderFrom: r.HeaderFrom, Disposition: r.Disposition, SPF: r.SPF, DKIM: r.DKIM}
	if r.SPFResult != "" {
		s.SPFCheck = strings.TrimSpace(r.SPFResult + " " + r.SPFDomain)
	}
	var signs, why []string
	for _, g := range r.Signatures {
		signs = append(signs, strings.TrimSpace(g.Result+" "+g.Domain+" "+g.Selector))
	}
	for _, w := range r.Reasons {
		why = append(why, w.Type)
	}
	s.Signatures, s.Reasons = listed(signs), listed(why)
	return s
}

// maxListed bounds the text that listed makes.
const maxListed = 1000

// listed joins texts, each once, so that their order does not matter.
func listed(all []string) string {
	slices.Sort(all)
	out := ""
	for _, s := range slices.Compact(all) {
		if len(out)+len(s)+2 > maxListed {
			break
		}
		if out != "" {
			out += ", "
		}
		out += s
	}
	return out
}
