package console

import (
	"net/http"
	"strconv"
	"time"
)

// dmarcPage is what receivers report about a domain.
type dmarcPage struct {
	Notices   []notice
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
	from, until := v.values.Get("start_date"), v.values.Get("end_date")
	sum, err := ask[dmarcView](v, query(under(apiDomains, v.id("domain"), "dmarc"), "start_date", from, "end_date", until))
	if err != nil {
		return err
	}
	p := dmarcPage{
		Span: form{Name: "span", Get: true, Action: v.domainPath(d.Number) + "/dmarc", Do: "Show", Fields: []field{
			{Name: "start_date", Label: "From", Kind: "date", Value: from}, {Name: "end_date", Label: "To", Kind: "date", Value: until},
		}},
		Back: link{"Back to the domain", v.domainPath(d.Number)},
	}
	p.Sum.add("Reports", number(int64(sum.Reports)))
	p.Sum.add("Messages in them", number(sum.Messages))
	p.Sum.add("Aligned", share(sum.Aligned, sum.Messages))
	p.Sum.add("By SPF", share(sum.SPF, sum.Messages))
	p.Sum.add("By DKIM", share(sum.DKIM, sum.Messages))
	p.Sum.add("Failing", share(sum.Failing, sum.Messages))
	p.Sum.add("Ready for quarantine", readyCell(sum.Readiness.Quarantine))
	p.Sum.add("Ready for reject", readyCell(sum.Readiness.Reject))
	p.Sum.add("Because", cell{Lines: sum.Readiness.Because})
	if r := sum.Recommendation; r != nil && r.Record != "" {
		p.Sum.add("Next record at "+r.At, cell{Text: r.Record, ID: "dmarc-record", Note: r.Why})
	}
	p.tables(v, &sum)
	v.charts = true
	return v.Render(http.StatusOK, "page_dmarc", "DMARC reports of "+d.title(), p)
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
	p.Sources = table{ID: "sources", Caption: "Who sends as this domain", Head: []string{"Address", "Messages", "Failing", "Writes as", "What is wrong"},
		Empty: "No reports have come yet. They come a day or two after mail was sent, once the domain has a DMARC record that asks for them."}
	for _, s := range sum.Sources {
		addr := words(s.Addr)
		if s.Ours {
			addr.Badges = []badge{{"this relay", toneOK}}
		}
		p.Sources.Rows = append(p.Sources.Rows, row{Cells: []cell{addr, number(s.Messages), share(s.Failing, s.Messages), {Lines: s.HeaderFrom}, {Lines: s.Why}}})
	}
	p.Reporters = table{ID: "reporters", Caption: "Who reports", Head: []string{"Name, by their own word", "Reports", "Messages", "Last", "Counts for readiness"}}
	for _, r := range sum.Reporters {
		p.Reporters.Rows = append(p.Reporters.Rows, row{Cells: []cell{words(r.Org), number(int64(r.Reports)), number(r.Messages), v.at(r.Last), words(orNone(r.Why, "yes"))}})
	}
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
