package sender

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"postern/internal/dmarc"
	"postern/internal/relay"
)

// Report is one aggregate report with its rows.
type Report struct {
	dmarc.Head
	Records []ReportRecord `json:"records"` // as the reporter ordered them
}

// ReportRecord is what a report says of some mail of one address.
type ReportRecord struct {
	Addr        string   `json:"source_ip"` // "": what was left of a report with too many
	Ours        bool     `json:"ours"`      // mail as the domain leaves from here
	Messages    int64    `json:"messages"`
	HeaderFrom  string   `json:"header_from"`
	Disposition string   `json:"disposition"` // none, quarantine, reject, pass
	SPF         bool     `json:"spf_aligned"`
	DKIM        bool     `json:"dkim_aligned"`
	SPFCheck    string   `json:"spf,omitempty"`     // what passed and failed: "pass example.net"
	Signatures  string   `json:"dkim,omitempty"`    // "pass example.net s1, fail example.com"
	Reasons     string   `json:"reasons,omitempty"` // why the reporter did something else than the policy asks for
	Why         []string `json:"why,omitempty"`     // what is wrong, where neither is aligned
}

// Report shows one report about a domain: that of an organization, with its number for
// it, that begins at a moment. relay.NotFound: there is none, any more.
func (s *Reports) Report(ctx context.Context, d relay.Domain, org, reportID string, begin time.Time) (*Report, error) {
	k, err := s.cfg.Store.AggregateReport(ctx, d.ID, org, reportID, begin)
	if err != nil {
		return nil, fmt.Errorf("report about %s: %w", d.Name, err)
	}
	own := s.own(d)
	out := &Report{Head: k.Head, Records: make([]ReportRecord, 0, len(k.Sources))}
	for i := range k.Sources {
		x := &k.Sources[i]
		r := ReportRecord{
			Addr: addrText(x.Addr), Ours: x.Addr.IsValid() && slices.Contains(own, x.Addr), Messages: x.Count, HeaderFrom: x.HeaderFrom, Disposition: x.Disposition,
			SPF: x.SPF, DKIM: x.DKIM, SPFCheck: x.SPFCheck, Signatures: x.Signatures, Reasons: x.Reasons,
		}
		if !x.SPF && !x.DKIM && x.Addr.IsValid() {
			r.Why = Explain(x, d.Name)
		}
		out.Records = append(out.Records, r)
	}
	return out, nil
}

// addrText is an address, or nothing for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
