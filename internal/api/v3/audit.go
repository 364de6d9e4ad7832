package v3

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"postern/internal/audit"
	"postern/internal/relay"
	"postern/internal/smtp"
	"postern/internal/store"
)

// AuditServices is what the routes of the audit report need.
type AuditServices struct {
	// Audit makes and keeps reports; *audit.Service is one. nil: there are none here.
	Audit AuditReporter
}

// AuditReporter makes, keeps and finds audit reports. Absent ones are
// relay.NotFound.
type AuditReporter interface {
	Report(ctx context.Context, account relay.AccountID) (*audit.Report, error)
	Keep(ctx context.Context, by store.By, account relay.AccountID) (audit.Kept, error)
	Kept(ctx context.Context, account relay.AccountID, limit int) ([]audit.Kept, error)
	Find(ctx context.Context, account relay.AccountID, id string) (*audit.Report, error)
	Schedule(ctx context.Context, account relay.AccountID) (audit.Schedule, error)
	// EditSchedule runs edit again where somebody else was faster.
	EditSchedule(ctx context.Context, by store.By, account relay.AccountID, edit func(*audit.Schedule) error) (audit.Schedule, error)
}

// scopeAudits lets somebody keep reports and have them mailed; an auditor reads
// them and changes nothing.
const scopeAudits = "alerts.update"

const pathReport = "/v3/audit/reports/{report_id}"

// The bounds of a list of reports.
const (
	usualAudits = 50
	mostAudits  = 500
)

var auditRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/audit/report", Scope: scopeRecords, ParentOnly: true,
		Summary: "Make the account's audit report: who can send, as whom, with what, from where; what is wrong with that, by which standard, and what mends it. The first account's report speaks of the installation, too",
		Answers: map[int]any{200: audit.Report{}}, Handler: auditing((*API).showAudit),
	},
	{
		Method: "POST", Pattern: "/v3/audit/reports", Scope: scopeAudits, ParentOnly: true,
		Summary: "Make the audit report and keep it, for 400 days; of an account the newest 500 are kept",
		Answers: map[int]any{201: audit.Kept{}}, Handler: auditing((*API).keepAudit),
	},
	{
		Method: "GET", Pattern: "/v3/audit/reports", Scope: scopeRecords, ParentOnly: true,
		Summary: "List the audit reports that were kept, the newest first",
		Query:   []Param{{Name: "limit", Type: "integer", Doc: "the most reports, up to 500; 50 if it is not given"}},
		Answers: map[int]any{200: auditList{}}, Handler: auditing((*API).listAudits),
	},
	{
		Method: "GET", Pattern: pathReport, Scope: scopeRecords, ParentOnly: true,
		Summary: "Show an audit report that was kept", Answers: map[int]any{200: audit.Report{}}, Handler: auditing((*API).findAudit),
	},
	{
		Method: "GET", Pattern: "/v3/audit/compare", Scope: scopeRecords, ParentOnly: true,
		Summary: "Compare two audit reports: what was mended, what is new, what is as it was",
		Query: []Param{
			{Name: "a", Type: "string", Required: true, Doc: "the id of a kept report"},
			{Name: "b", Type: "string", Doc: "the id of another one, or now; now if it is not given"},
		},
		Answers: map[int]any{200: audit.Comparison{}}, Handler: auditing((*API).compareAudits),
	},
	{
		Method: "GET", Pattern: "/v3/audit/schedule", Scope: scopeRecords, ParentOnly: true,
		Summary: "When the audit report is made and whom it is mailed to, and what it measures against",
		Answers: map[int]any{200: auditSchedule{}}, Handler: auditing((*API).showAuditSchedule),
	},
	{
		Method: "PATCH", Pattern: "/v3/audit/schedule", Scope: scopeAudits, ParentOnly: true, StepUp: true,
		Summary: "Change what is given of the schedule. To add somebody who gets the report takes the right to read it, too",
		Body:    auditSchedulePatch{}, Answers: map[int]any{200: auditSchedule{}}, Handler: auditing((*API).patchAuditSchedule),
	},
}

type auditList struct {
	Result []audit.Kept `json:"result"`
}

// auditing refuses where there are no reports.
func auditing(next func(*API, *Call) error) func(*API, *Call) error {
	return func(a *API, c *Call) error {
		if a.Audit == nil {
			return relay.E(relay.Unavailable, "Audit reports are not made here.")
		}
		return next(a, c)
	}
}

func (a *API) showAudit(c *Call) error {
	r, err := a.Audit.Report(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, r)
}

func (a *API) keepAudit(c *Call) error {
	k, err := a.Audit.Keep(c.R.Context(), c.By, c.Tenant.Account)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, k)
}

func (a *API) listAudits(c *Call) error {
	limit, err := c.Int("limit", usualAudits, 1, mostAudits)
	if err != nil {
		return err
	}
	all, err := a.Audit.Kept(c.R.Context(), c.Tenant.Account, int(limit))
	if err != nil {
		return err
	}
	if all == nil {
		all = []audit.Kept{}
	}
	return c.JSON(http.StatusOK, auditList{all})
}

func (a *API) findAudit(c *Call) error {
	r, err := a.Audit.Find(c.R.Context(), c.Tenant.Account, c.R.PathValue("report_id"))
	if err != nil {
		return hidden(err)
	}
	return c.JSON(http.StatusOK, r)
}

func (a *API) compareAudits(c *Call) error {
	older, err := a.Audit.Find(c.R.Context(), c.Tenant.Account, c.Text("a"))
	if err != nil {
		return hidden(err)
	}
	var newer *audit.Report
	if b := c.Text("b"); b == "" || b == "now" {
		newer, err = a.Audit.Report(c.R.Context(), c.Tenant.Account)
	} else {
		newer, err = a.Audit.Find(c.R.Context(), c.Tenant.Account, b)
	}
	if err != nil {
		return hidden(err)
	}
	return c.JSON(http.StatusOK, audit.Compare(older, newer))
}

// auditSchedule is a schedule as it is shown.
type auditSchedule struct {
	Every   audit.Every   `json:"every" doc:"off, weekly (on Monday) or monthly (on the first)"`
	To      []string      `json:"to"`
	Options audit.Options `json:"options"`
	NextAt  *time.Time    `json:"next_at"`
	LastAt  *time.Time    `json:"last_at"`
}

func viewSchedule(v *audit.Schedule) auditSchedule {
	out := auditSchedule{Every: v.Every, To: v.To, Options: v.Options}
	if out.To == nil {
		out.To = []string{}
	}
	if !v.NextAt.IsZero() {
		out.NextAt = &v.NextAt
	}
	if !v.LastAt.IsZero() {
		out.LastAt = &v.LastAt
	}
	return out
}

type auditSchedulePatch struct {
	Every   *audit.Every       `json:"every"`
	To      *[]string          `json:"to" doc:"at most 20 addresses"`
	Options *auditOptionsPatch `json:"options"`
}

type auditOptionsPatch struct {
	UnusedDays *int `json:"unused_days" doc:"a key that was not used for so long is reported"`
	UnseenDays *int `json:"unseen_days" doc:"a person who was not seen for so long is reported"`
	RotateDays *int `json:"rotate_days" doc:"a secret older than this is reported, unless the policy says another age; up to 365"`
	LoginDays  *int `json:"login_days" doc:"how far back login records are looked at, up to 90"`
}

func (a *API) showAuditSchedule(c *Call) error {
	v, err := a.Audit.Schedule(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, viewSchedule(&v))
}

func (a *API) patchAuditSchedule(c *Call) error {
	var in auditSchedulePatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	v, err := a.Audit.EditSchedule(c.R.Context(), c.By, c.Tenant.Account, func(v *audit.Schedule) error { return in.apply(c, v) })
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, viewSchedule(&v))
}

func (in *auditSchedulePatch) apply(c *Call, v *audit.Schedule) error {
	if in.Every != nil {
		if !slices.Contains([]audit.Every{audit.Never, audit.Weekly, audit.Monthly}, *in.Every) {
			return invalid("every", "Choose off, weekly or monthly.")
		}
		v.Every = *in.Every
	}
	if in.To != nil {
		to, err := auditRecipients(c, *in.To, v.To)
		if err != nil {
			return err
		}
		v.To = to
	}
	if o := in.Options; o != nil {
		for _, m := range []struct {
			name string
			from *int
			to   *int
			most int
		}{
			{"unused_days", o.UnusedDays, &v.Options.UnusedDays, audit.MaxDays}, {"unseen_days", o.UnseenDays, &v.Options.UnseenDays, audit.MaxDays},
			{"rotate_days", o.RotateDays, &v.Options.RotateDays, audit.MaxRotateDays}, {"login_days", o.LoginDays, &v.Options.LoginDays, audit.MaxLoginDays},
		} {
			if m.from == nil {
				continue
			}
			if *m.from < audit.MinDays || *m.from > m.most {
				return invalid("options."+m.name, "Not a number of days from %d to %d.", audit.MinDays, m.most)
			}
			*m.to = *m.from
		}
	}
	return nil
}

// auditRecipients reads whom the report is to be mailed to. Who may set the
// schedule and not read the report may not have it sent to somebody new.
func auditRecipients(c *Call, in, before []string) ([]string, error) {
	if len(in) > audit.MaxRecipients {
		return nil, invalid("to", "There are %d addresses; the most are %d.", len(in), audit.MaxRecipients)
	}
	out := make([]string, 0, len(in))
	for i, text := range in {
		field := "to." + strconv.Itoa(i)
		address, err := smtp.ParseAddress(text, true)
		if err != nil {
			return nil, invalid(field, "Not an e-mail address.")
		}
		text = address.String()
		if !slices.Contains(before, text) && !c.Allows(scopeRecords) {
			return nil, refused(field, "To have the report sent to somebody takes the scope %s.", scopeRecords)
		}
		if slices.Contains(out, text) {
			return nil, invalid(field, "This address is there twice.")
		}
		out = append(out, text)
	}
	return out, nil
}
