package v3

import (
	"slices"
	"time"

	"postern/internal/relay"
)

var userPlanRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/user/credits", Scope: "user.credits.read", Summary: "What is left of the allowance",
		Answers: map[int]any{200: creditsView{}}, Handler: (*API).showUserCredits,
	},
	{
		Method: "GET", Pattern: "/v3/user/plan", Scope: "user.credits.read", Summary: "How much the account or subuser may send; 0 and absent: no limit",
		Answers: map[int]any{200: relay.Plan{}}, Handler: (*API).showUserPlan,
	},
	{
		Method: "PATCH", Pattern: "/v3/user/plan", OperatorOnly: true, Summary: "Change what is given of an account's plan",
		Body: planPatch{}, Answers: map[int]any{200: relay.Plan{}}, Handler: (*API).patchUserPlan,
	},
	{
		Method: "GET", Pattern: "/v3/user/usage", Scope: "user.credits.read", Summary: "What was used of each limit, and when there is room again",
		Query:   []Param{{Name: "api_key_id", Type: "string", Doc: "the limits of one key too"}},
		Answers: map[int]any{200: usageView{}}, Handler: (*API).showUsage,
	},
}

func (o *owner) plan() *relay.Plan {
	if o.subuser != nil {
		return &o.subuser.Plan
	}
	return &o.account.Plan
}

func (a *API) showUserPlan(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	return c.JSON(200, *o.plan())
}

// planPatch is what can be changed of a plan; 0 is no limit.
type planPatch struct {
	Hour        *int64  `json:"hour"`
	Day         *int64  `json:"day"`
	Month       *int64  `json:"month"`
	Recipients  *int64  `json:"recipients" doc:"of one message"`
	Size        *int64  `json:"size" doc:"octets of one message"`
	Connections *int64  `json:"connections" doc:"SMTP connections at once, logged in"`
	Over        *string `json:"over" doc:"refuse (451) or defer (accepted, sent when there is room)"`
}

func (in *planPatch) apply(p *relay.Plan) error {
	recipients, connections := int64(p.Recipients), int64(p.Connections)
	for _, l := range []struct {
		name  string
		given *int64
		to    *int64
	}{
		{"hour", in.Hour, &p.Hour}, {"day", in.Day, &p.Day}, {"month", in.Month, &p.Month},
		{"recipients", in.Recipients, &recipients}, {"size", in.Size, &p.Size}, {"connections", in.Connections, &connections},
	} {
		if l.given == nil {
			continue
		}
		if err := checkCount(l.name, *l.given); err != nil {
			return err
		}
		*l.to = *l.given
	}
	p.Recipients, p.Connections = int(recipients), int(connections)
	if in.Over == nil {
		return nil
	}
	switch *in.Over {
	case "", "refuse":
		p.Over = relay.OverRefuse
	case string(relay.OverDefer):
		p.Over = relay.OverDefer
	default:
		return invalid("over", "Write refuse or defer.")
	}
	return nil
}

func (a *API) patchUserPlan(c *Call) error {
	var in planPatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	o, err := a.editOwner(c, func(o *owner) error { return in.apply(o.plan()) })
	if err != nil {
		return err
	}
	return c.JSON(200, *o.plan())
}

type usageView struct {
	Result []relay.Usage `json:"result"`
}

func (a *API) showUsage(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	var key *relay.Key
	if ref := c.Text("api_key_id"); ref != "" {
		c.R.SetPathValue("api_key_id", ref)
		k, err := a.readKey(c)
		if err != nil {
			return err
		}
		key = &k
	}
	usage, err := a.usageOf(c, &o, key)
	if err != nil {
		return err
	}
	return c.JSON(200, usageView{usage})
}

// usageOf is the tenant's own usage: a subuser does not see what its account and
// thereby its siblings have sent.
func (a *API) usageOf(c *Call, o *owner, key *relay.Key) ([]relay.Usage, error) {
	all, err := a.Ledger.Usage(c.R.Context(), o.account, o.subuser, key)
	if err != nil {
		return nil, err
	}
	out := []relay.Usage{}
	for _, u := range all {
		if o.subuser == nil || u.Subject != "account" {
			out = append(out, u)
		}
	}
	return out, nil
}

// creditsView is SendGrid's. Without an allowance total and remain are -1.
type creditsView struct {
	Remain         int64  `json:"remain" doc:"-1: no limit"`
	Total          int64  `json:"total" doc:"-1: no limit"`
	Overage        int64  `json:"overage"`
	Used           int64  `json:"used"`
	LastReset      string `json:"last_reset" doc:"date in the account's time zone"`
	NextReset      string `json:"next_reset" doc:"date in the account's time zone; empty: never"`
	ResetFrequency string `json:"reset_frequency"`
}

// showUserCredits tells of the allowance, where there is one, else of the plan's
// limit of a month or day.
func (a *API) showUserCredits(c *Call) error {
	o, err := a.readOwner(c)
	if err != nil {
		return err
	}
	usage, err := a.usageOf(c, &o, nil)
	if err != nil {
		return err
	}
	total, window := allowance(o.plan())
	v := creditsView{Remain: -1, Total: total}
	subject := "account"
	if o.subuser != nil {
		subject = "subuser"
	}
	// An allowance and a limit of the plan may count over the same window.
	for _, exact := range []bool{true, false} {
		i := slices.IndexFunc(usage, func(u relay.Usage) bool {
			return u.Subject == subject && u.Window == window && (!exact || u.Limit == total)
		})
		if i >= 0 {
			v.Used = usage[i].Used
			break
		}
	}
	if total >= 0 {
		v.Remain, v.Overage = max(total-v.Used, 0), max(v.Used-total, 0)
	}
	from, to, frequency := span(c.Now.In(zoneOf(&o.account)), window)
	if window == relay.WindowEver {
		from = o.account.CreatedAt
	}
	v.LastReset, v.ResetFrequency = from.Format(time.DateOnly), frequency
	if !to.IsZero() {
		v.NextReset = to.Format(time.DateOnly)
	}
	return c.JSON(200, v)
}

// allowance is a plan's total, and the window that it is for; -1: none.
func allowance(p *relay.Plan) (int64, relay.Window) {
	switch {
	case p.Credits.Type == relay.CreditsNonrecurring:
		return p.Credits.Total, relay.WindowEver
	case p.Credits.Type == relay.CreditsRecurring && p.Credits.Reset == "daily":
		return p.Credits.Total, relay.WindowDay
	case p.Credits.Type == relay.CreditsRecurring && p.Credits.Reset == "weekly":
		return p.Credits.Total, relay.WindowWeek
	case p.Credits.Type == relay.CreditsRecurring:
		return p.Credits.Total, relay.WindowMonth
	case p.Month > 0:
		return p.Month, relay.WindowMonth
	case p.Day > 0:
		return p.Day, relay.WindowDay
	}
	return -1, relay.WindowMonth
}

// span is the window around a moment; one that never ends has no end.
func span(now time.Time, w relay.Window) (from, to time.Time, frequency string) {
	y, m, d := now.Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, now.Location())
	switch w {
	case relay.WindowDay:
		return day, day.AddDate(0, 0, 1), "daily"
	case relay.WindowWeek:
		from = day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
		return from, from.AddDate(0, 0, 7), "weekly"
	case relay.WindowMonth:
		from = day.AddDate(0, 0, 1-d)
		return from, from.AddDate(0, 1, 0), "monthly"
	}
	return day, time.Time{}, ""
}
