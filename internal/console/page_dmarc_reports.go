package console

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	apiDMARCReports = apiDomain + "/dmarc/reports"
	apiDMARCReport  = apiDomain + "/dmarc/report"
)

// dmarcPages are the pages of single aggregate reports.
var dmarcPages = []page{
	{Method: "GET", Pattern: "/domains/{domain}/dmarc/reports", Title: "DMARC reports", Needs: []string{"GET " + apiDomain, "GET " + apiDMARCReports}, Handler: onDesk(showDMARCReports)},
	{Method: "GET", Pattern: "/domains/{domain}/dmarc/reports/{day}/{mark}", Title: "DMARC report", Needs: []string{"GET " + apiDomain, "GET " + apiDMARCReports, "GET " + apiDMARCReport}, Handler: onDesk(showDMARCReport)},
	{Method: "GET", Pattern: "/domains/{domain}/dmarc/reports/{day}/{mark}/export", Title: "DMARC report", Needs: []string{"GET " + apiDomain, "GET " + apiDMARCReports, "GET " + apiDMARCReport}, Handler: onDesk(exportDMARCReport)},
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
		about := words(r.day())
		if v.May("GET", apiDMARCReport) {
			about.Href = r.path(v, &d)
		}
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

// The reports of one day are looked through as many at once as the API gives, and as
// many as are kept of a domain.
const (
	reportsOfDay     = 1_000
	mostReportsOfDay = 20_000
)

// dmarcRecord is a row of a report.
type dmarcRecord struct {
	Addr        string   `json:"source_ip"`
	Ours        bool     `json:"ours"`
	Messages    int64    `json:"messages"`
	HeaderFrom  string   `json:"header_from"`
	Disposition string   `json:"disposition"`
	SPF         bool     `json:"spf_aligned"`
	DKIM        bool     `json:"dkim_aligned"`
	SPFCheck    string   `json:"spf"`
	Signatures  string   `json:"dkim"`
	Reasons     string   `json:"reasons"`
	Why         []string `json:"why"`
}

// dmarcWhole is a report with its rows.
type dmarcWhole struct {
	dmarcReportView
	Records []dmarcRecord `json:"records"`
}

// dmarcReport reads the report of the path, as it is and as it is shown.
func (v *desk) dmarcReport() (raw json.RawMessage, r dmarcWhole, err error) {
	day, base := v.id("day"), under(apiDomains, v.id("domain"), "dmarc")
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return nil, r, notHere()
	}
	x, err := v.markedReport(base+"/reports", day, v.id("mark"))
	if err != nil {
		return nil, r, err
	}
	raw, err = ask[json.RawMessage](v, query(base+"/report", "org_name", x.Org, "report_id", x.ReportID, "begin", x.Begin.UTC().Format(time.RFC3339Nano)))
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	return raw, r, err
}

// markedReport finds a report of a day by its mark.
func (v *desk) markedReport(path, day, mark string) (*dmarcReportView, error) {
	for offset := 0; offset < mostReportsOfDay; offset += reportsOfDay {
		list, err := ask[struct{ Result []dmarcReportView }](v, query(path, "start_date", day, "end_date", day, "limit", strconv.Itoa(reportsOfDay), "offset", strconv.Itoa(offset)))
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(list.Result, func(r dmarcReportView) bool { return r.mark() == mark }); i >= 0 {
			return &list.Result[i], nil
		}
		if len(list.Result) < reportsOfDay {
			break
		}
	}
	return nil, notHere()
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
	p.Rows = r.rows()
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

// rows are what a report says of each address, what fails first.
func (r *dmarcWhole) rows() table {
	t := table{ID: "sources", Caption: "Who sent as this domain, by this report", Head: []string{"Address", "Messages", "Writes as", "SPF", "DKIM", "What was done", "What is wrong"},
		Empty: "The report has no rows: no mail was seen."}
	records := slices.Clone(r.Records)
	slices.SortStableFunc(records, func(a, b dmarcRecord) int {
		return cmp.Or(cmp.Compare(len(b.Why), len(a.Why)), cmp.Compare(b.Messages, a.Messages))
	})
	for _, x := range records {
		addr := words(orNone(x.Addr, "others"))
		if x.Ours {
			addr.Badges = []badge{{"this relay", toneOK}}
		}
		done := words(x.Disposition)
		done.Note = x.Reasons
		t.Rows = append(t.Rows, row{Cells: []cell{addr, number(x.Messages), words(x.HeaderFrom), alignedCell(x.SPF, x.SPFCheck), alignedCell(x.DKIM, x.Signatures), done, {Lines: x.Why}}})
	}
	return t
}

// alignedCell says whether a proof was one for the domain, and what was found of it.
func alignedCell(aligned bool, found string) cell {
	c := tagged("aligned", toneOK)
	if !aligned {
		c = tagged("not aligned", toneWarn)
	}
	c.Note = found
	return c
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
