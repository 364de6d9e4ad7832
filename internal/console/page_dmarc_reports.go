package console

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const apiDMARCReports = apiDomain + "/dmarc/reports"

// dmarcPages are the pages of single aggregate reports.
var dmarcPages = []page{
	{Method: "GET", Pattern: "/domains/{domain}/dmarc/reports", Title: "DMARC reports", Needs: []string{"GET " + apiDomain, "GET " + apiDMARCReports}, Handler: onDesk(showDMARCReports)},
	{Method: "GET", Pattern: "/domains/{domain}/dmarc/reports/{day}/{mark}", Title: "DMARC report", Needs: []string{"GET " + apiDomain, "GET " + apiDMARCReports}, Handler: onDesk(showDMARCReport)},
	{Method: "GET", Pattern: "/domains/{domain}/dmarc/reports/{day}/{mark}/export", Title: "DMARC report", Needs: []string{"GET " + apiDomain, "GET " + apiDMARCReports}, Handler: onDesk(exportDMARCReport)},
}

// dmarcReportView is an aggregate report without its rows.
type dmarcReportView struct {
	Org        string    `json:"org_name"`
	Email      string    `json:"email"`
	ReportID   string    `json:"report_id"`
	Begin      time.Time `json:"begin"`
	End        time.Time `json:"end"`
	ReceivedAt time.Time `json:"received_at"`
	From       string    `json:"received_from"`
	Published  struct {
		Domain      string `json:"domain"`
		Policy      string `json:"p"`
		Subdomain   string `json:"sp"`
		NonExistent string `json:"np"`
		DKIM        string `json:"adkim"`
		SPF         string `json:"aspf"`
		Testing     bool   `json:"testing"`
		Discovery   string `json:"discovery_method"`
	} `json:"policy_published"`
	dmarcTotals
}

// mark names a report among those that begin on its day: what tells two reports apart
// is the reporter's word, of any length and letters, and no part of an address.
func (r *dmarcReportView) mark() string {
	sum := sha256.Sum256([]byte(r.Org + "\x00" + r.ReportID + "\x00" + r.Begin.UTC().Format(time.RFC3339Nano)))
	return hex.EncodeToString(sum[:12])
}

func (r *dmarcReportView) day() string { return r.Begin.UTC().Format(time.DateOnly) }

// path is the address of the page of a report.
func (r *dmarcReportView) path(v *desk, d *apiDomainView) string {
	return under(v.domainPath(d.Number)+"/dmarc/reports", r.day(), r.mark())
}

// dmarcReportsPage lists reports.
type dmarcReportsPage struct {
	Span    form
	Reports table
	Back    link
}

// reportsAtOnce is how many reports a page of the list has.
const reportsAtOnce = 100

func showDMARCReports(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	here := v.domainPath(d.Number) + "/dmarc"
	p := dmarcReportsPage{Span: spanForm(v, here+"/reports"), Back: link{"All reports in sum", here}}
	path := query(under(apiDomains, v.id("domain"), "dmarc", "reports"), "start_date", v.sent("start_date"), "end_date", v.sent("end_date"),
		"limit", strconv.Itoa(reportsAtOnce), "offset", v.sent("offset"))
	list, err := ask[struct{ Result []dmarcReportView }](v, path)
	title := "Reports about " + d.title()
	if f, ok := v.refused(p.Span, err); ok {
		p.Span = f
		return v.Render(formStatus(true), "page_dmarc_reports", title, p)
	}
	if err != nil {
		return err
	}
	p.Reports = table{ID: "reports", Caption: "Reports, the latest first", Head: []string{"About", "Sent by, in their own words", "Messages", "Failing", "Policy that they saw", "Came in"},
		Empty: "No report about these days has come. Reports come a day or two after the mail that they are about, and only where the domain's DMARC record asks for them."}
	for i := range list.Result {
		r := &list.Result[i]
		about := to(r.day(), r.path(v, &d))
		about.Note = lastingDays(r.End.Sub(r.Begin))
		org := words(orNone(r.Org, "(no name)"))
		org.Note = r.Email
		p.Reports.Rows = append(p.Reports.Rows, row{Cells: []cell{about, org, number(r.Messages), share(r.Failing, r.Messages), words(orNone(r.Published.Policy, "none that they tell")), v.at(r.ReceivedAt)}})
	}
	if len(list.Result) == reportsAtOnce {
		p.Reports.Older = v.nextPage(reportsAtOnce)
	}
	return v.Render(http.StatusOK, "page_dmarc_reports", title, p)
}

// spanForm asks for the days that a page is about.
func spanForm(v *desk, action string) form {
	return form{Name: "span", Get: true, Action: action, Do: "Show", Fields: []field{
		{Name: "start_date", Label: "From (UTC)", Kind: "date", Value: v.sent("start_date")}, {Name: "end_date", Label: "To (UTC)", Kind: "date", Value: v.sent("end_date")},
	}}
}

// lastingDays is the span of a report: nearly all are about a day.
func lastingDays(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return things(int64((d+time.Minute)/time.Hour), "hour")
}

// dmarcReportPage shows one report.
type dmarcReportPage struct {
	Next   []link
	Sender facts
	Policy facts
	Sum    facts
	Rows   table
	Back   link
}

// mostOfDay is how many reports of one day are looked through: as many as the API
// gives at once.
const mostOfDay = 1000

// report reads the report of the path, as it is and as it is shown.
func (v *desk) dmarcReport() (raw json.RawMessage, r dmarcReportView, err error) {
	day := v.id("day")
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return nil, r, notHere()
	}
	path := query(under(apiDomains, v.id("domain"), "dmarc", "reports"), "start_date", day, "end_date", day, "limit", strconv.Itoa(mostOfDay))
	list, err := ask[struct{ Result []json.RawMessage }](v, path)
	if err != nil {
		return nil, r, err
	}
	for _, raw := range list.Result {
		var r dmarcReportView
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, r, err
		}
		if r.mark() == v.id("mark") {
			return raw, r, nil
		}
	}
	return nil, r, notHere()
}

func showDMARCReport(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	_, r, err := v.dmarcReport()
	if err != nil {
		return err
	}
	p := dmarcReportPage{Next: []link{{"As a file (JSON)", r.path(v, &d) + "/export"}}, Back: link{"All reports", v.domainPath(d.Number) + "/dmarc/reports"}}
	p.Sender = facts{Title: "Who sent it"}
	p.Sender.add("Name, by their own word", words(orNone(r.Org, "(no name)")))
	p.Sender.add("Contact", words(r.Email))
	p.Sender.add("Handed in from", words(r.From))
	p.Sender.add("Came in", v.at(r.ReceivedAt))
	p.Sender.add("Their number for it", code(r.ReportID))
	p.Sender.add("About mail from", v.at(r.Begin))
	p.Sender.add("To", v.at(r.End))
	p.Policy = r.policy()
	p.Sum = r.dmarcTotals.facts()
	p.Rows = v.rowsOfDay(&r)
	return v.Render(http.StatusOK, "page_dmarc_report", "Report about "+d.title()+" of "+r.day(), p)
}

// policy is what the reporter found in the DNS.
func (r *dmarcReportView) policy() facts {
	f, alignment := facts{Title: "The policy that they saw"}, map[string]string{"r": "relaxed", "s": "strict"}
	f.add("For the domain", policyCell(r.Published.Policy))
	f.add("For names below it", words(r.Published.Subdomain))
	f.add("For names that do not exist", words(r.Published.NonExistent))
	f.add("DKIM must fit", words(orNone(alignment[r.Published.DKIM], r.Published.DKIM)))
	f.add("SPF must fit", words(orNone(alignment[r.Published.SPF], r.Published.SPF)))
	if r.Published.Testing {
		f.add("Test mode", tagged("on: nothing is refused", toneWarn))
	}
	f.add("Found at", words(r.Published.Domain))
	return f
}

// facts are the sums of a report.
func (t *dmarcTotals) facts() facts {
	f := facts{Title: "What it says"}
	f.add("Messages", number(t.Messages))
	f.add("Aligned", share(t.Aligned, t.Messages))
	f.add("By SPF", share(t.SPF, t.Messages))
	f.add("By DKIM", share(t.DKIM, t.Messages))
	f.add("Failing", share(t.Failing, t.Messages))
	f.add("Put into quarantine", share(t.Quarantined, t.Messages))
	f.add("Rejected", share(t.Rejected, t.Messages))
	return f
}

// rowsOfDay is who sent as the domain by the reports of a day. The API sums days up:
// where one report is about the day, these are its rows.
func (v *desk) rowsOfDay(r *dmarcReportView) table {
	sum := askIf[dmarcView](v, apiDomain+"/dmarc", query(under(apiDomains, v.id("domain"), "dmarc"), "start_date", r.day(), "end_date", r.day()))
	caption := "Who sent as this domain, by this report"
	if sum.Reports > 1 {
		caption = "Who sent as this domain, by all " + things(int64(sum.Reports), "report") + " about this day"
	}
	t := sum.sources(caption)
	t.Empty = "The report has no rows: no mail was seen."
	return t
}

// exportDMARCReport is the report as the API tells it.
func exportDMARCReport(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	raw, r, err := v.dmarcReport()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return err
	}
	h := v.W.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="`+fileName(strings.Join([]string{"dmarc", d.Name, r.day(), r.mark()}, "-"))+`.json"`)
	_, err = v.W.Write(append(b, '\n'))
	return err
}
