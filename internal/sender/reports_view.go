package sender

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"postern/internal/dmarc"
	"postern/internal/relay"
)

// The bounds of a summary. What lies beyond is summed, not left out.
const (
	maxSummaryReports   = 20_000
	maxSummaryReporters = 100
	maxSummarySources   = 200
	maxSourceReasons    = 5
	// headsPage is how many reports are read at once, the most that the store gives.
	headsPage = 1000
	// ReportSpan is how far back readiness looks, and a summary that is asked for no
	// other time.
	ReportSpan = 30 * 24 * time.Hour
)

// ReportSummary is what the reports about a domain say of a time.
type ReportSummary struct {
	Domain string    `json:"domain"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"` // not included
	dmarc.Totals
	Reports int `json:"reports"`
	// Cut: there were more reports than are summed; these are the latest.
	Cut       bool           `json:"cut,omitempty"`
	Days      []ReportDay    `json:"days"`      // oldest first, those with reports
	Reporters []Reporter     `json:"reporters"` // most messages first
	Sources   []ReportSource `json:"sources"`   // most failing messages first, then most messages
	// Others are sources that are not listed.
	Others    dmarc.Totals `json:"other_sources"`
	Readiness Readiness    `json:"readiness"`
	// Recommendation is the next record; nil where the DNS could not be asked.
	Recommendation *dmarc.Recommendation `json:"recommendation,omitempty"`
}

// ReportDay is the reports that begin on one day, in UTC.
type ReportDay struct {
	Date string `json:"date"` // YYYY-MM-DD
	dmarc.Totals
}

// Reporter is who reports, by their own word.
type Reporter struct {
	Org     string    `json:"org_name"`
	Reports int       `json:"reports"`
	Days    int       `json:"days"`
	Last    time.Time `json:"last"` // when the latest report came
	dmarc.Totals
	// Counts: it is one of those by whom readiness is judged; Why not, if it is not.
	Counts bool   `json:"counts"`
	Why    string `json:"why,omitempty"`

	networks []netip.Prefix
	dates    []string
}

// ReportSource is one address that mail came from.
type ReportSource struct {
	Addr netip.Addr `json:"source_ip"`
	Ours bool       `json:"ours"` // mail as the domain leaves from here
	dmarc.Totals
	HeaderFrom []string `json:"header_from"` // what it sends as; at most 5
	// Why says what is wrong with its failing mail; at most 5.
	Why []string `json:"why,omitempty"`
}

// Readiness says whether a stricter policy would lose mail, and why.
//
// Anybody can send reports, so no single reporter makes a domain ready: only
// those count whose reports are about three days or more and came from a network
// that no other counted reporter's came from; two of them are needed at least;
// and none weighs more than all others together.
type Readiness struct {
	Quarantine bool       `json:"quarantine"`
	Reject     bool       `json:"reject"`
	Share      float64    `json:"aligned_share"` // as weighed, 0 to 1
	Because    []string   `json:"because"`
	Seen       dmarc.Seen `json:"-"`
}

// Summary sums the reports about a domain that begin in [from, to). Readiness is
// of the same time.
func (s *Reports) Summary(ctx context.Context, d relay.Domain, from, to time.Time) (*ReportSummary, error) {
	heads, all, err := s.heads(ctx, d, from, to, maxSummaryReports)
	if err != nil {
		return nil, err
	}
	sources, err := s.cfg.Store.AggregateSources(ctx, d.ID, from, to)
	if err != nil {
		return nil, fmt.Errorf("sources of mail as %s: %w", d.Name, err)
	}
	out := &ReportSummary{Domain: d.Name, From: from, To: to, Cut: !all}
	reporters := out.sumHeads(heads)
	ownFailing, failing := out.sumSources(sources, s.own(d))
	out.Readiness = judgeReadiness(reporters)
	out.Readiness.Seen.OwnFailing, out.Readiness.Seen.FailingSources = ownFailing, failing
	out.Readiness.words()
	out.Reporters = reporters[:min(len(reporters), maxSummaryReporters)]
	s.recommend(ctx, d, out)
	return out, nil
}

// Seen is what the reports of the last 30 days said, for dmarc.Recommend.
func (s *Reports) Seen(ctx context.Context, d relay.Domain) (dmarc.Seen, error) {
	now := s.cfg.Now().UTC()
	without := &Reports{cfg: s.cfg, turn: s.turn}
	without.cfg.Resolver = nil
	sum, err := without.Summary(ctx, d, now.Add(-ReportSpan), now.Add(maxReportAhead))
	if err != nil {
		return dmarc.Seen{}, err
	}
	return sum.Readiness.Seen, nil
}

// List are the reports about a domain that begin in [from, to), the latest
// first: at most limit, 1,000, after the first offset of them.
func (s *Reports) List(ctx context.Context, d relay.Domain, from, to time.Time, limit, offset int) ([]dmarc.Head, error) {
	list, err := s.cfg.Store.AggregateReports(ctx, d.ID, from, to, limit, offset)
	if err != nil {
		return nil, fmt.Errorf("reports about %s: %w", d.Name, err)
	}
	return list, nil
}

// heads reads up to most reports, the latest first, a page at a time. all: there
// are no more.
func (s *Reports) heads(ctx context.Context, d relay.Domain, from, to time.Time, most int) (out []dmarc.Head, all bool, err error) {
	type key struct {
		org, id string
		begin   time.Time
	}
	seen := map[key]bool{} // one that comes meanwhile moves the others on
	for offset := 0; len(out) <= most; offset += headsPage {
		page, err := s.List(ctx, d, from, to, headsPage, offset)
		if err != nil {
			return nil, false, err
		}
		for _, h := range page {
			if k := (key{h.Org, h.ReportID, h.Begin}); !seen[k] {
				seen[k] = true
				out = append(out, h)
			}
		}
		if len(page) < headsPage {
			return out[:min(most, len(out))], len(out) <= most, nil
		}
	}
	return out[:most], false, nil
}

// recommend adds the next record. A DNS that does not answer costs that only.
func (s *Reports) recommend(ctx context.Context, d relay.Domain, out *ReportSummary) {
	if s.cfg.Resolver == nil {
		return
	}
	found, err := dmarc.Discover(ctx, s.cfg.Resolver, d.Name)
	if err != nil {
		s.cfg.Logger.Info("dmarc policy not found out", "domain", d.Name, "err", err)
		return
	}
	rua := ""
	if s.cfg.Address != nil {
		if at := s.cfg.Address(d); at != "" {
			rua = "mailto:" + at
		}
	}
	r := dmarc.Recommend(found, out.Readiness.Seen, rua)
	out.Recommendation = &r
}

func (s *Reports) own(d relay.Domain) []netip.Addr {
	own := slices.Clone(d.IPs)
	if s.cfg.Addresses != nil {
		own = append(own, s.cfg.Addresses(d)...)
	}
	return own
}

// sumHeads fills in what follows from whole reports, and returns all reporters,
// most messages first.
func (out *ReportSummary) sumHeads(heads []dmarc.Head) []Reporter {
	out.Reports = len(heads)
	days := map[string]*ReportDay{}
	by := map[string]*Reporter{}
	for i := range heads {
		h := &heads[i]
		out.Add(h.Totals)
		date := h.Begin.UTC().Format(time.DateOnly)
		if days[date] == nil {
			days[date] = &ReportDay{Date: date}
		}
		days[date].Add(h.Totals)
		r := by[h.Org]
		if r == nil {
			r = &Reporter{Org: h.Org}
			by[h.Org] = r
		}
		r.take(h, date)
	}
	out.Days = []ReportDay{}
	for _, d := range days {
		out.Days = append(out.Days, *d)
	}
	slices.SortFunc(out.Days, func(a, b ReportDay) int { return cmp.Compare(a.Date, b.Date) })
	reporters := []Reporter{}
	for _, r := range by {
		r.Days = len(r.dates)
		reporters = append(reporters, *r)
	}
	slices.SortFunc(reporters, func(a, b Reporter) int { return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Org, b.Org)) })
	return reporters
}

func (r *Reporter) take(h *dmarc.Head, date string) {
	r.Reports++
	r.Add(h.Totals)
	if h.ReceivedAt.After(r.Last) {
		r.Last = h.ReceivedAt
	}
	if !slices.Contains(r.dates, date) {
		r.dates = append(r.dates, date)
	}
	if n := networkOf(h.From); !slices.Contains(r.networks, n) {
		r.networks = append(r.networks, n)
	}
}

// networkOf is the network that one holder of addresses usually has: a /24 or a
// /48. All that is not known is one network.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 24
	if a = a.Unmap(); a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// sumSources groups sources by address. It returns how many messages from own
// addresses failed, and from how many addresses mail failed.
func (out *ReportSummary) sumSources(sources []dmarc.Source, own []netip.Addr) (ownFailing int64, failing int) {
	by := map[netip.Addr]*ReportSource{}
	for i := range sources {
		s := &sources[i]
		if !s.Addr.IsValid() {
			out.Others.Add(s.Totals())
			continue
		}
		one := by[s.Addr]
		if one == nil {
			one = &ReportSource{Addr: s.Addr, Ours: slices.Contains(own, s.Addr), HeaderFrom: []string{}}
			by[s.Addr] = one
		}
		one.Add(s.Totals())
		one.HeaderFrom = more(one.HeaderFrom, s.HeaderFrom)
		if !s.SPF && !s.DKIM {
			for _, why := range Explain(s, out.Domain) {
				one.Why = more(one.Why, why)
			}
		}
	}
	all := make([]ReportSource, 0, len(by))
	for _, s := range by {
		if s.Failing > 0 {
			failing++
		}
		if s.Ours {
			ownFailing += s.Failing
		}
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b ReportSource) int {
		return cmp.Or(cmp.Compare(b.Failing, a.Failing), cmp.Compare(b.Messages, a.Messages), a.Addr.Compare(b.Addr))
	})
	if len(all) > maxSummarySources {
		for _, s := range all[maxSummarySources:] {
			out.Others.Add(s.Totals)
		}
		all = all[:maxSummarySources]
	}
	out.Sources = all
	return ownFailing, failing
}

// more adds a text to a short list, once.
func more(list []string, s string) []string {
	if s == "" || len(list) == maxSourceReasons || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
