package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
)

const apiOverview = "/v3/overview"

// overviewPages is what a person sees first.
var overviewPages = []page{
	{Method: "GET", Pattern: "/{$}", Title: "Overview", Group: "", Nav: "Overview", Needs: nil, Handler: onDesk(showOverview)},
}

type overviewView struct {
	Series []struct {
		At        time.Time `json:"at"`
		Received  float64   `json:"received"`
		Delivered float64   `json:"delivered"`
		Deferred  float64   `json:"deferred"`
		Bounced   float64   `json:"bounced"`
		Dropped   float64   `json:"dropped"`
		Refused   float64   `json:"refused"`
	} `json:"series"`
	Logins []struct {
		At      time.Time `json:"at"`
		OK      float64   `json:"ok"`
		Refused float64   `json:"refused"`
	} `json:"logins"`
	Queue     queueView       `json:"queue"`
	Attention []attentionView `json:"attention"`
}

type attentionView struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Text     string `json:"text"`
	Fix      string `json:"fix"`
	Href     string `json:"href"`
}

// overviewPage is how things stand.
type overviewPage struct {
	Figures   []fact
	Attention table
	Span      []spanLink
	Charts    []Chart
	Queue     facts
	Next      []link
}

// spanLink leads to the figures of another time.
type spanLink struct {
	link
	Here bool
}

// overviewSpans are the times that can be looked at.
var overviewSpans = []struct {
	id, words string
	by        string
	back      time.Duration
}{
	{"day", "24 hours", "hour", 24 * time.Hour}, {"week", "7 days", "hour", 7 * 24 * time.Hour}, {"month", "30 days", "day", 30 * 24 * time.Hour},
}

func showOverview(v *desk) error {
	if !v.May("GET", apiOverview) {
		// Somebody who may not see figures has the pages in the navigation.
		return v.Render(http.StatusOK, "page_overview", "Overview", overviewPage{Next: v.firstSteps()})
	}
	span := overviewSpans[0]
	p := overviewPage{Next: v.firstSteps()}
	for _, s := range overviewSpans {
		if s.id == v.sent("span") {
			span = s
		}
	}
	for _, s := range overviewSpans {
		p.Span = append(p.Span, spanLink{link{s.words, query(v.path("/"), "span", s.id)}, s.id == span.id})
	}
	out, err := ask[overviewView](v, query(apiOverview, "since", v.Now.Add(-span.back).UTC().Format(time.RFC3339), "until", v.Now.UTC().Format(time.RFC3339), "by", span.by))
	if err != nil {
		return err
	}
	p.fill(v, &out, span.by)
	v.charts = true
	return v.Render(http.StatusOK, "page_overview", "Overview", p)
}

// firstSteps lead somewhere who has nothing yet.
func (v *desk) firstSteps() []link {
	return slices.Concat(v.linkIf("Mail", "/mail", "GET", apiMessages), v.linkIf("Make a key", "/keys/new", "POST", apiKeys), v.linkIf("Domains", "/domains", "GET", apiDomains))
}

func (p *overviewPage) fill(v *desk, out *overviewView, by string) {
	mail := Chart{ID: "mail", Title: "Mail", Unit: "recipients by " + by, Kind: "line", Note: "Sending and refused count messages, the others recipients.", Series: []Series{
		{Name: "Sending", Tone: "accent"}, {Name: "Delivered", Tone: toneOK}, {Name: "Put off", Tone: toneWarn},
		{Name: "Bounced", Tone: toneBad}, {Name: "Refused", Tone: toneInfo}}}
	sums := make([]float64, len(mail.Series))
	for _, s := range out.Series {
		mail.At = append(mail.At, s.At)
		for i, n := range []float64{s.Received, s.Delivered, s.Deferred, s.Bounced + s.Dropped, s.Refused} {
			mail.Series[i].Values = append(mail.Series[i].Values, n)
			sums[i] += n
		}
	}
	for i, s := range mail.Series {
		p.Figures = append(p.Figures, fact{s.Name, number(int64(sums[i]))})
	}
	lag := loginLag
	if v.May("GET", apiLogins) {
		lag += loginsListed
	}
	logins := Chart{ID: "logins", Title: "Logins", Unit: "by " + by, Kind: "stack", Note: lag, Series: []Series{{Name: "Let in", Tone: toneOK}, {Name: "Refused", Tone: toneBad}}}
	for _, l := range out.Logins {
		logins.At = append(logins.At, l.At)
		logins.Series[0].Values = append(logins.Series[0].Values, l.OK)
		logins.Series[1].Values = append(logins.Series[1].Values, l.Refused)
	}
	p.Charts = []Chart{mail, logins}
	p.Queue = out.Queue.facts(v)
	p.Queue.Title = "Queue"
	p.attention(v, out)
}

// loginLag explains why the newest logins are in a list and not yet in a sum
// (store.LoginSettle).
const (
	loginLag     = "Logins are counted about two minutes after they happened."
	loginsListed = " The newest are in the list of logins already."
)

// severityOrder is how much something matters, most first.
var severityOrder = []string{"critical", "error", "high", "bad", "warning", "warn", "medium", "notice", "low", "info"}

func severityBadge(severity string) badge {
	switch i := slices.Index(severityOrder, severity); {
	case i >= 0 && i < 4:
		return badge{severity, toneBad}
	case i >= 4 && i < 7:
		return badge{severity, toneWarn}
	}
	return badge{severity, toneInfo}
}

func (p *overviewPage) attention(v *desk, out *overviewView) {
	p.Attention = table{ID: "attention", Caption: "What needs attention", Head: []string{"How bad", "What", "What to do"},
		Empty: "Nothing needs your attention."}
	rank := func(s string) int {
		if i := slices.Index(severityOrder, s); i >= 0 {
			return i
		}
		return len(severityOrder)
	}
	list := slices.Clone(out.Attention)
	slices.SortStableFunc(list, func(a, b attentionView) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) })
	for _, a := range list {
		fix := words(orNone(a.Fix, "Look"))
		if here, ok := v.ownPath(a.Href); ok && v.mayOpen(a.Href) {
			fix.Href = here
		}
		p.Attention.Rows = append(p.Attention.Rows, row{Cells: []cell{{Badges: []badge{severityBadge(a.Severity)}}, words(a.Text), fix}})
	}
}

// ownPath is an address that the API names, if it is a path of ours.
func (v *desk) ownPath(href string) (string, bool) {
	if !strings.HasPrefix(href, "/") || safeNext(href) != href {
		return "", false
	}
	return v.path(href), true
}
