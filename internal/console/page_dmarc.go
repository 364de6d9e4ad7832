package console

import (
	"net/http"
	"strconv"
	"time"
)

// dmarcPage is what receivers report about a domain.
type dmarcPage struct {
	Next      []link
	Span      form
	Sum       facts
	Chart     Chart
	Sources   table
	Reporters table
	Back      link
}

type dmarcTotals struct {
	Messages    int64 `json:"messages"`
	Aligned     int64 `json:"aligned"`
	SPF         int64 `json:"spf_aligned"`
	DKIM        int64 `json:"dkim_aligned"`
	Failing     int64 `json:"failing"`
	Quarantined int64 `json:"quarantined"`
	Rejected    int64 `json:"rejected"`
}

type dmarcView struct {
	dmarcTotals
	Reports int `json:"reports"`
	Days    []struct {
		Date string `json:"date"`
		dmarcTotals
	} `json:"days"`
	Reporters []struct {
		Org     string `json:"org_name"`
		Reports int    `json:"reports"`
		dmarcTotals
		Last time.Time `json:"last"`
		Why  string    `json:"why"`
	} `json:"reporters"`
	Sources []struct {
		Addr string `json:"source_ip"`
		Ours bool   `json:"ours"`
		dmarcTotals
		HeaderFrom []string `json:"header_from"`
		Why        []string `json:"why"`
	} `json:"sources"`
	Readiness struct {
		Quarantine bool     `json:"quarantine"`
		Reject     bool     `json:"reject"`
		Because    []string `json:"because"`
	} `json:"readiness"`
	Recommendation *struct {
		Record string `json:"record"`
		At     string `json:"at"`
		Why    string `json:"why"`
	} `json:"recommendation"`
}

func showDMARC(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	here := v.domainPath(d.Number) + "/dmarc"
	p := dmarcPage{Next: v.linkAt("Each report", here+"/reports", "GET", apiDMARCReports), Span: spanForm(v, here), Back: link{"Back to the domain", v.domainPath(d.Number)}}
	sum, err := ask[dmarcView](v, query(under(apiDomains, v.id("domain"), "dmarc"), "start_date", v.sent("start_date"), "end_date", v.sent("end_date")))
	title := "DMARC reports of " + d.title()
	if f, ok := v.refused(p.Span, err); ok {
		p.Span = f
		return v.Render(formStatus(true), "page_dmarc", title, p)
	}
	if err != nil {
		return err
	}
	p.Sum.add("Reports", number(int64(sum.Reports)))
	p.Sum.List = append(p.Sum.List, sum.dmarcTotals.facts().List...)
	p.Sum.add("Ready for quarantine", readyCell(sum.Readiness.Quarantine))
	p.Sum.add("Ready for reject", readyCell(sum.Readiness.Reject))
	p.Sum.add("Because", cell{Lines: sum.Readiness.Because})
	if r := sum.Recommendation; r != nil && r.Record != "" {
		p.Sum.add("Next record at "+r.At, cell{Text: r.Record, ID: "dmarc-record", Note: r.Why})
	}
	p.tables(v, &sum)
	v.charts = true
	return v.Render(http.StatusOK, "page_dmarc", title, p)
}

func (p *dmarcPage) tables(v *desk, sum *dmarcView) {
	p.Chart = Chart{ID: "dmarc", Title: "What receivers reported", Unit: "messages by day", Kind: "stack", Series: []Series{{Name: "Aligned", Tone: toneOK}, {Name: "Failing", Tone: toneBad}}}
	for _, day := range sum.Days {
		at, err := time.Parse(time.DateOnly, day.Date)
		if err != nil {
			continue
		}
		p.Chart.At = append(p.Chart.At, at)
		p.Chart.Series[0].Values = append(p.Chart.Series[0].Values, float64(day.Aligned))
		p.Chart.Series[1].Values = append(p.Chart.Series[1].Values, float64(day.Failing))
	}
	p.Sources = sum.sources("Who sends as this domain")
	p.Sources.Empty = "No reports have come yet. They come a day or two after mail was sent, once the domain has a DMARC record that asks for them."
	p.Reporters = table{ID: "reporters", Caption: "Who reports", Head: []string{"Name, by their own word", "Reports", "Messages", "Last", "Counts for readiness"}}
	for _, r := range sum.Reporters {
		p.Reporters.Rows = append(p.Reporters.Rows, row{Cells: []cell{words(r.Org), number(int64(r.Reports)), number(r.Messages), v.at(r.Last), words(orNone(r.Why, "yes"))}})
	}
}

// sources lists who sent as the domain.
func (sum *dmarcView) sources(caption string) table {
	t := table{ID: "sources", Caption: caption, Head: []string{"Address", "Messages", "Failing", "Writes as", "What is wrong"}}
	for _, s := range sum.Sources {
		addr := words(s.Addr)
		if s.Ours {
			addr.Badges = []badge{{"this relay", toneOK}}
		}
		t.Rows = append(t.Rows, row{Cells: []cell{addr, number(s.Messages), share(s.Failing, s.Messages), {Lines: s.HeaderFrom}, {Lines: s.Why}}})
	}
	return t
}

// share is a part of a whole, with its percentage.
func share(n, of int64) cell {
	c := number(n)
	if of > 0 {
		c.Note = strconv.FormatFloat(100*float64(n)/float64(of), 'f', 1, 64) + " %"
	}
	return c
}

func readyCell(ready bool) cell {
	if ready {
		return tagged("yes", toneOK)
	}
	return tagged("not yet", toneWarn)
}
