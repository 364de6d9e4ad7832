package v3

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"postern/internal/audit"
	"postern/internal/relay"
	"postern/internal/store"
)

// The service itself is what the routes need.
var _ AuditReporter = (*audit.Service)(nil)

// fakeAudits makes a report of the world's keys, and keeps reports and schedules in
// memory.
type fakeAudits struct {
	w         *world
	kept      map[relay.AccountID][]*audit.Report
	schedules map[relay.AccountID]audit.Schedule
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeAudits{w: w, kept: map[relay.AccountID][]*audit.Report{}, schedules: map[relay.AccountID]audit.Schedule{}}
		w.extra["audits"] = f
		s.Audit = f
	})
	kept := func(path string) func(w *world, of relay.Tenant) ask {
		return func(w *world, of relay.Tenant) ask {
			r, err := auditsOf(w).keep(context.Background(), of.Account)
			if err != nil {
				w.t.Fatal(err)
			}
			return ask{Path: strings.ReplaceAll(path, "{}", r.ID)}
		}
	}
	addFixtures(map[string]fixture{
		"GET /v3/audit/report":     plain(200, "/v3/audit/report", ""),
		"POST /v3/audit/reports":   plain(201, "/v3/audit/reports", ""),
		"GET /v3/audit/reports":    plain(200, "/v3/audit/reports", ""),
		"GET " + pathReport:        {Status: 200, Make: kept("/v3/audit/reports/{}"), Absent: ask{Path: "/v3/audit/reports/" + absentID}},
		"GET /v3/audit/compare":    {Status: 200, Make: kept("/v3/audit/compare?a={}&b=now"), Absent: ask{Path: "/v3/audit/compare?b=now&a=" + absentID}},
		"GET /v3/audit/schedule":   plain(200, "/v3/audit/schedule", ""),
		"PATCH /v3/audit/schedule": plain(200, "/v3/audit/schedule", `{"every":"weekly","options":{"unused_days":30}}`),
	})
}

func auditsOf(w *world) *fakeAudits { return w.extra["audits"].(*fakeAudits) }

func (f *fakeAudits) Report(_ context.Context, account relay.AccountID) (*audit.Report, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	facts := &audit.Facts{At: f.w.now, Account: relay.Account{ID: account}, Trail: audit.Trail{Valid: true}}
	for _, k := range f.w.keys {
		if k.Account == account {
			facts.Keys = append(facts.Keys, k)
		}
	}
	return audit.Judge(facts), f.w.fail
}

func (f *fakeAudits) keep(ctx context.Context, account relay.AccountID) (*audit.Report, error) {
	r, err := f.Report(ctx, account)
	if err != nil {
		return nil, err
	}
	r.ID = relay.NewID(r.At).String()
	f.kept[account] = append(f.kept[account], r)
	return r, nil
}

func (f *fakeAudits) Keep(ctx context.Context, by store.By, account relay.AccountID) (audit.Kept, error) {
	r, err := f.keep(ctx, account)
	if err != nil {
		return audit.Kept{}, err
	}
	return audit.Kept{ID: r.ID, At: r.At, Score: r.Score, Findings: len(r.Findings)}, f.w.noted(by, "keep report")
}

func (f *fakeAudits) Kept(_ context.Context, account relay.AccountID, limit int) (out []audit.Kept, err error) {
	for _, r := range f.kept[account] {
		out = append([]audit.Kept{{ID: r.ID, At: r.At, Score: r.Score, Findings: len(r.Findings)}}, out...)
	}
	return out[:min(len(out), limit)], f.w.fail
}

func (f *fakeAudits) Find(_ context.Context, account relay.AccountID, id string) (*audit.Report, error) {
	for _, r := range f.kept[account] {
		if r.ID == id {
			return r, f.w.fail
		}
	}
	return nil, relay.E(relay.NotFound, "There is no such report.")
}

func (f *fakeAudits) Schedule(_ context.Context, account relay.AccountID) (audit.Schedule, error) {
	v, ok := f.schedules[account]
	if !ok {
		v = audit.Schedule{Every: audit.Never, Options: audit.Options{}.Filled()}
	}
	return v, f.w.fail
}

func (f *fakeAudits) EditSchedule(ctx context.Context, by store.By, account relay.AccountID, edit func(*audit.Schedule) error) (audit.Schedule, error) {
	v, err := f.Schedule(ctx, account)
	if err == nil {
		err = edit(&v)
	}
	if err != nil {
		return v, err
	}
	v.NextAt = v.Next(f.w.clock(), time.UTC)
	f.schedules[account] = v
	return v, f.w.noted(by, "schedule report")
}

// The shape of a report is what internal/audit's golden file says; here it is a
// report of the caller's account, whole.
func TestAuditReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	foreign, _ := w.addKey(w.globex)
	c := w.as(w.acme, scopeRecords)
	var r audit.Report
	a := c.want("GET", "/v3/audit/report", "", 200, &r)
	if r.Account != w.acme.Account || r.Score != r.FullScore-r.Lost() || len(r.Senders) != 1 || r.Senders[0].Key != c.key.ID || strings.Contains(a.Body, foreign.ID.String()) {
		t.Errorf("report %s", a.Body)
	}
	var raw struct {
		Findings []map[string]json.RawMessage `json:"findings"`
	}
	if err := json.Unmarshal([]byte(a.Body), &raw); err != nil || len(raw.Findings) == 0 {
		t.Fatalf("%v: %s", err, a.Body)
	}
	for _, member := range []string{"id", "code", "section", "severity", "weight", "practice", "standards", "subject", "title", "text", "evidence", "fix", "href"} {
		if _, ok := raw.Findings[0][member]; !ok {
			t.Errorf("a finding has no %s", member)
		}
	}
}

func TestAuditKeepAndCompare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, scopeRecords, scopeAudits)
	open, _ := w.addKey(w.acme)
	var first, second audit.Kept
	c.want("POST", "/v3/audit/reports", "", 201, &first)
	w.pass(time.Hour)
	w.keys[len(w.keys)-1].RevokedAt = t0
	c.want("POST", "/v3/audit/reports", "", 201, &second)
	var list auditList
	c.want("GET", "/v3/audit/reports", "", 200, &list)
	if len(list.Result) != 2 || list.Result[0] != second || list.Result[1] != first {
		t.Errorf("list %+v", list)
	}
	c.want("GET", "/v3/audit/reports?limit=1", "", 200, &list)
	if len(list.Result) != 1 {
		t.Errorf("limit: %+v", list)
	}
	c.refused("GET", "/v3/audit/reports?limit=501", "", 400, "1 to 500", "limit")
	if a := w.as(w.globex, scopeRecords).want("GET", "/v3/audit/reports", "", 200, nil); strings.TrimSpace(a.Body) != `{"result":[]}` {
		t.Errorf("of nobody: %s", a.Body)
	}
	var r audit.Report
	c.want("GET", "/v3/audit/reports/"+first.ID, "", 200, &r)
	if r.ID != first.ID || r.Score != first.Score {
		t.Errorf("report %+v", r)
	}
	for _, query := range []string{"?a=" + first.ID, "?a=" + first.ID + "&b=now", "?a=" + first.ID + "&b=" + second.ID, "?a=" + second.ID + "&b=" + first.ID} {
		var d audit.Comparison
		c.want("GET", "/v3/audit/compare"+query, "", 200, &d)
		if len(d.Mended) == 0 || len(d.New) != 0 || d.Mended[0].Subject.ID != open.ID.String() || d.Difference != second.Score-first.Score || !d.A.At.Before(d.B.At) {
			t.Errorf("%s: %+v", query, d)
		}
	}
	c.refused("GET", "/v3/audit/compare", "", 400, "required", "a")
	c.refused("GET", "/v3/audit/compare?a="+first.ID+"&b=yesterday", "", 404, textNotFound, "")
	w.as(w.globex, scopeRecords).refused("GET", "/v3/audit/compare?a="+first.ID, "", 404, textNotFound, "")
}

func TestAuditSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, scopeRecords, scopeAudits)
	if a := c.want("GET", "/v3/audit/schedule", "", 200, nil); strings.TrimSpace(a.Body) != `{"every":"off","to":[],"options":{"unused_days":90,"unseen_days":90,"rotate_days":90,"login_days":30},"next_at":null,"last_at":null}` {
		t.Errorf("at first: %s", a.Body)
	}
	var v auditSchedule
	c.want("PATCH", "/v3/audit/schedule", `{"every":"monthly","to":["a@example.test","ö@example.test"],"options":{"login_days":7}}`, 200, &v)
	if v.Every != audit.Monthly || len(v.To) != 2 || v.Options != (audit.Options{UnusedDays: 90, UnseenDays: 90, RotateDays: 90, LoginDays: 7}) || v.NextAt == nil {
		t.Errorf("%+v", v)
	}
	// What is not given stays.
	c.want("PATCH", "/v3/audit/schedule", `{"every":"weekly"}`, 200, &v)
	if len(v.To) != 2 || v.Options.LoginDays != 7 {
		t.Errorf("%+v", v)
	}
	many := `{"to":["a@example.test"` + strings.Repeat(`,"a@example.test"`, 20) + `]}`
	for _, q := range []struct{ body, text, field string }{
		{`{"every":"daily"}`, "off, weekly or monthly", "every"}, {many, "at most", "to"}, {`{"to":["a"]}`, "Not an e-mail address", "to.0"},
		{`{"to":["a@example.test\r\nBcc: b@example.test"]}`, "Not an e-mail address", "to.0"},
		{`{"to":["a@example.test","a@example.test"]}`, "twice", "to.1"}, {`{"options":{"unused_days":0}}`, "1 to 3650", "options.unused_days"}, {`{"options":{"rotate_days":366}}`, "1 to 365.", "options.rotate_days"},
		{`{"options":{"login_days":91}}`, "1 to 90", "options.login_days"},
	} {
		if q.field == "to" {
			q.text = "the most are 20"
		}
		c.refused("PATCH", "/v3/audit/schedule", q.body, 400, q.text, q.field)
	}
	// Who may not read the report may not have it sent to themselves; they may take
	// somebody off.
	d := w.as(w.acme, scopeAudits)
	d.refused("PATCH", "/v3/audit/schedule", `{"to":["thief@example.test"]}`, 403, "takes the scope", "to.0")
	d.want("PATCH", "/v3/audit/schedule", `{"to":["a@example.test"]}`, 200, &v)
	if len(v.To) != 1 {
		t.Errorf("%+v", v)
	}
}

// Without a service the routes are there, and say so.
func TestNoAudits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.Audit = nil })
	w.as(w.acme, scopeRecords).refused("GET", "/v3/audit/report", "", 503, "not made here", "")
}
