package console

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"postern/internal/audit"
)

const (
	apiAudit    = "/v3/audit/report"
	apiReports  = "/v3/audit/reports"
	apiReport   = apiReports + "/{report_id}"
	apiCompare  = "/v3/audit/compare"
	apiSchedule = "/v3/audit/schedule"
)

// auditPages are the pages of the audit report.
var auditPages = []page{
	{Method: "GET", Pattern: "/audit", Title: "Audit report", Group: "Security", Nav: "Audit report", Own: true, Needs: []string{"GET " + apiAudit}, Handler: onDesk(showAudit)},
	{Method: "GET", Pattern: "/audit/print", Title: "Audit report", Own: true, Needs: []string{"GET " + apiAudit}, Handler: onDesk(printAudit)},
	{Method: "POST", Pattern: "/audit/keep", Title: "Audit report", Own: true, Needs: []string{"POST " + apiReports}, Handler: onDesk(keepReport)},
	{Method: "GET", Pattern: "/audit/reports", Title: "Reports that were kept", Own: true, Needs: []string{"GET " + apiReports}, Handler: onDesk(showReports)},
	{Method: "GET", Pattern: "/audit/reports/{report}", Title: "Audit report", Own: true, Needs: []string{"GET " + apiReport}, Handler: onDesk(showKeptReport)},
	{Method: "GET", Pattern: "/audit/reports/{report}/print", Title: "Audit report", Own: true, Needs: []string{"GET " + apiReport}, Handler: onDesk(printKeptReport)},
	{Method: "GET", Pattern: "/audit/compare", Title: "Compare reports", Own: true, Needs: []string{"GET " + apiCompare}, Handler: onDesk(compareReports)},
	{Method: "GET", Pattern: "/audit/schedule", Title: "Report by mail", Own: true, Needs: []string{"GET " + apiSchedule}, Handler: onDesk(showSchedule)},
	{Method: "POST", Pattern: "/audit/schedule", Title: "Report by mail", Own: true, Needs: []string{"PATCH " + apiSchedule}, Handler: onDesk(setSchedule)},
}

type auditFinding struct {
	ID        string   `json:"id"`
	Section   string   `json:"section"`
	Severity  string   `json:"severity"`
	Weight    int64    `json:"weight"`
	Practice  string   `json:"practice"`
	Standards []string `json:"standards"`
	Title     string   `json:"title"`
	Text      string   `json:"text"`
	Evidence  []string `json:"evidence"`
	Fix       string   `json:"fix"`
	Href      string   `json:"href"`
	Subject   struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"subject"`
}

type auditView struct {
	ID        string           `json:"id"`
	Account   string           `json:"account"`
	At        time.Time        `json:"at"`
	Score     int64            `json:"score"`
	FullScore int64            `json:"full_score"`
	Counts    map[string]int64 `json:"counts"` // by severity
	Practices []struct {
		Practice string `json:"practice"`
		Findings int64  `json:"findings"`
		Weight   int64  `json:"weight"`
	} `json:"practices"`
	Findings    []auditFinding   `json:"findings"`
	Omitted     int64            `json:"omitted"`
	Senders     []auditSender    `json:"senders"`
	People      []auditPerson    `json:"people"`
	Clients     []auditClient    `json:"clients"`
	Domains     []auditDomain    `json:"domains"`
	Lists       []auditList      `json:"access_lists"`
	Components  []auditComponent `json:"components"`
	Cut         int64            `json:"cut"` // rows that the report leaves out of its tables
	LoginsSince time.Time        `json:"logins_since"`
	Trail       struct {
		Valid   bool   `json:"valid"`
		Records int64  `json:"records"`
		Problem string `json:"problem"`
	} `json:"trail"`
}

// auditPage is one report.
type auditPage struct {
	Score  string
	Full   string
	Next   []link
	Keep   []button
	Is     facts
	Tables []auditTable
}

func showAudit(v *desk) error {
	r, err := ask[auditView](v, apiAudit)
	if err != nil {
		return err
	}
	p := v.auditPage(&r)
	p.Keep = v.do(button{Text: "Keep this report", Action: v.path("/audit/keep")}, "POST", apiReports)
	p.Next = slices.Concat(v.linkIf("For print", "/audit/print", "GET", apiAudit), v.linkIf("Reports that were kept", "/audit/reports", "GET", apiReports),
		v.linkIf("By mail", "/audit/schedule", "GET", apiSchedule))
	return v.Render(http.StatusOK, "page_audit", "Audit report", p)
}

func showKeptReport(v *desk) error {
	r, err := ask[auditView](v, under(apiReports, v.id("report")))
	if err != nil {
		return err
	}
	p := v.auditPage(&r)
	p.Next = slices.Concat(v.linkAt("For print", v.path("/audit/reports", v.id("report"))+"/print", "GET", apiReport),
		v.linkAt("Compare with now", query(v.path("/audit/compare"), "a", v.id("report")), "GET", apiCompare),
		v.linkIf("Reports that were kept", "/audit/reports", "GET", apiReports))
	return v.Render(http.StatusOK, "page_audit", "Audit report of "+stamp(r.At), p)
}

func (v *desk) auditPage(r *auditView) auditPage {
	p := auditPage{Score: strconv.FormatInt(r.Score, 10), Full: strconv.FormatInt(r.FullScore, 10)}
	p.Is.add("Account", words(r.Account))
	p.Is.add("Made", v.at(r.At))
	trail := tagged("whole", toneOK)
	if !r.Trail.Valid {
		trail = cell{Badges: []badge{{"does not fit", toneBad}}, Note: r.Trail.Problem}
	}
	p.Is.add("Record of changes", trail)
	p.Is.add("Logins are looked at from", v.at(r.LoginsSince))
	if r.Omitted > 0 {
		p.Is.add("Not listed", words(things(r.Omitted, "further finding")))
	}
	if r.Cut > 0 {
		p.Is.add("Left out of the tables", words(things(r.Cut, "row")))
	}
	p.Tables = append([]auditTable{v.auditFindings("findings", "What to mend, by weight", r.Findings, "Nothing is to be mended.")}, v.auditTables(r)...)
	return p
}

// auditFindings lists findings. The page for print has those that are cut here.
func (v *desk) auditFindings(id, caption string, list []auditFinding, empty string) auditTable {
	t := table{ID: id, Caption: caption, Head: []string{"Points", "How bad", "What", "What to do", "Standard"}, Empty: empty}
	return firstOf(t, list, "which the report for print lists", func(f *auditFinding) []cell {
		what := cell{Text: f.Title, Lines: f.Evidence, Note: f.Text}
		fix := v.mending(f.Href)
		switch {
		case f.Fix != "" && fix.Text != "":
			fix.Lines = append(fix.Lines, "or on the host: "+f.Fix)
		case f.Fix != "":
			fix.Lines = []string{"on the host: " + f.Fix}
		case fix.Text == "" && v.pageless(f.Href):
			fix.Lines = []string{"Ask who runs the relay to mend it."}
		}
		return []cell{number(f.Weight), {Badges: []badge{severityBadge(f.Severity)}}, what, fix, {Lines: f.Standards}}
	})
}

// printAudit is the report of now as a page of its own, for print and mail.
func printAudit(v *desk) error { return printReport(v, apiAudit) }

// printKeptReport is a report that was kept, the same way.
func printKeptReport(v *desk) error { return printReport(v, under(apiReports, v.id("report"))) }

func printReport(v *desk, from string) error {
	r, err := ask[audit.Report](v, from)
	if err != nil {
		return err
	}
	h := v.W.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+audit.StyleSource+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	return audit.HTML(v.W, &r)
}

func keepReport(v *desk) error {
	return v.change("POST", apiReports, nil, v.path("/audit/reports"), "The report was kept.")
}

type keptView struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Score    int64     `json:"score"`
	Findings int64     `json:"findings"`
}

// reportsPage lists kept reports.
type reportsPage struct {
	Reports table
	Compare form
	Back    link
}

func showReports(v *desk) error {
	list, err := ask[struct{ Result []keptView }](v, apiReports+"?limit=100")
	if err != nil {
		return err
	}
	p := reportsPage{Back: link{"The report of now", v.path("/audit")}}
	p.Reports = table{ID: "reports", Caption: "Reports that were kept, the latest first", Head: []string{"Made", "Score", "Findings", ""},
		Empty: "No report was kept yet. Keep one, to see later what has changed since.", Next: []link{p.Back}}
	options := []option{}
	for _, k := range list.Result {
		options = append(options, option{Value: k.ID, Text: stamp(k.At) + ", score " + strconv.FormatInt(k.Score, 10)})
		p.Reports.Rows = append(p.Reports.Rows, row{Cells: []cell{v.at(k.At), number(k.Score), number(k.Findings), to("Show it", v.path("/audit/reports", k.ID))}})
	}
	if len(options) > 0 {
		p.Compare = v.offer(form{Name: "compare", Title: "Compare two", Get: true, Action: v.path("/audit/compare"), Do: "Compare", Fields: []field{
			{Name: "a", Label: "From", Kind: "select", Options: options},
			{Name: "b", Label: "To", Kind: "select", Options: append([]option{{Value: "now", Text: "now"}}, options...)},
		}}, "GET", apiCompare)
	}
	return v.Render(http.StatusOK, "page_reports", "Reports that were kept", p)
}

// comparePage is what changed between two reports.
type comparePage struct {
	Notice notice
	Mended auditTable
	New    auditTable
	Same   auditTable
	Back   link
}

func compareReports(v *desk) error {
	c, err := ask[struct {
		A          keptView       `json:"a"`
		B          keptView       `json:"b"`
		Difference int64          `json:"difference"`
		Mended     []auditFinding `json:"mended"`
		New        []auditFinding `json:"new"`
		Unchanged  []auditFinding `json:"unchanged"`
		Partial    bool           `json:"partial"`
	}](v, query(apiCompare, "a", v.sent("a"), "b", v.sent("b")))
	if said, ok := refusedText(err); ok {
		return v.Refuse(v.path("/audit/reports"), said)
	}
	if err != nil {
		return err
	}
	p := comparePage{Back: link{"Reports that were kept", v.path("/audit/reports")}}
	p.Notice = notice{Tone: toneInfo, Title: "The score went from " + strconv.FormatInt(c.A.Score, 10) + " to " + strconv.FormatInt(c.B.Score, 10) + ".",
		Text: "From " + stamp(c.A.At) + " to " + stamp(c.B.At) + ": " + things(int64(len(c.Mended)), "finding") + " mended, " + things(int64(len(c.New)), "new one") + "."}
	if c.Partial {
		p.Notice.Text += " Some findings cannot be compared: one of the reports does not list all of its own, or they measure against other bounds."
	}
	p.Mended = v.auditFindings("mended", "Mended", c.Mended, "Nothing was mended.")
	p.New = v.auditFindings("new", "New", c.New, "Nothing is new.")
	p.Same = v.auditFindings("same", "As before", c.Unchanged, "")
	return v.Render(http.StatusOK, "page_compare", "Compare reports", p)
}

type scheduleView struct {
	Every   string   `json:"every"`
	To      []string `json:"to"`
	Options struct {
		Unused int64 `json:"unused_days"`
		Unseen int64 `json:"unseen_days"`
		Rotate int64 `json:"rotate_days"`
		Login  int64 `json:"login_days"`
	} `json:"options"`
	Next *time.Time `json:"next_at"`
	Last *time.Time `json:"last_at"`
}

// schedulePage is when the report goes out by mail, and what it counts as stale.
type schedulePage struct {
	Is   facts
	Form form
}

func showSchedule(v *desk) error {
	s, err := ask[scheduleView](v, apiSchedule)
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_schedule", "Report by mail", schedulePage{scheduleFacts(v, &s), scheduleForm(v, &s)})
}

func scheduleFacts(v *desk, s *scheduleView) facts {
	var f facts
	f.add("Every", words(s.Every))
	f.add("To", cell{Lines: s.To})
	if s.Next != nil {
		f.add("Next", v.at(*s.Next))
	}
	if s.Last != nil {
		f.add("Last", v.at(*s.Last))
	}
	return f
}

func scheduleForm(v *desk, s *scheduleView) form {
	return v.offer(form{Name: "schedule", Action: v.path("/audit/schedule"), Cancel: v.path("/audit"), Fields: []field{
		{Name: "every", Label: "Mail it", Kind: "select", Options: pick(orNone(s.Every, "off"), option{Value: "off", Text: "never"}, option{Value: "weekly", Text: "each Monday"}, option{Value: "monthly", Text: "on the first of each month"})},
		{Name: "to", Label: "To", Kind: "textarea", Lines: 2, Value: lines(s.To), Help: "Addresses, one a line."},
		{Name: "options.unused_days", Label: "A key is stale after days without use", Kind: "number", Value: numberOf(s.Options.Unused)},
		{Name: "options.unseen_days", Label: "A person is stale after days without login", Kind: "number", Value: numberOf(s.Options.Unseen)},
		{Name: "options.rotate_days", Label: "A secret is old after days", Kind: "number", Value: numberOf(s.Options.Rotate)},
		{Name: "options.login_days", Label: "Logins are looked at back to days", Kind: "number", Value: numberOf(s.Options.Login)},
	}}, "PATCH", apiSchedule)
}

func setSchedule(v *desk) error {
	old, err := ask[scheduleView](v, apiSchedule)
	if err != nil {
		return err
	}
	options := map[string]int64{}
	for _, name := range []string{"unused_days", "unseen_days", "rotate_days", "login_days"} {
		n, wrong := v.sentNumber("options." + name)
		switch {
		case wrong != nil:
			err = wrong
		case n != 0:
			options[name] = n
		}
	}
	if err == nil {
		err = v.Call("PATCH", apiSchedule, map[string]any{"every": v.sent("every"), "to": v.list("to"), "options": options}, nil)
	}
	if err == nil {
		return v.Redirect(v.path("/audit/schedule"), "It was saved.")
	}
	f, ok := v.refused(scheduleForm(v, &old), err)
	if !ok {
		return err
	}
	return v.Render(formStatus(true), "page_schedule", "Report by mail", schedulePage{scheduleFacts(v, &old), f})
}
