package v3

import (
	"net/http"

	"postern/internal/relay"
)

// subuserPlanRoutes are a parent's view of what its subusers may send; their own
// is /v3/user/plan.
var subuserPlanRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/subusers/{subuser_name}/plan", Scope: "subusers.credits.read", ParentOnly: true,
		Summary: "Show how much a subuser may send; 0 and absent: no limit of its own. The account's plan bounds it too",
		Answers: map[int]any{200: relay.Plan{}}, Handler: (*API).showSubuserPlan,
	},
	{
		Method: "PATCH", Pattern: "/v3/subusers/{subuser_name}/plan", Scope: "subusers.credits.update", StepUp: true, ParentOnly: true,
		Summary: "Change what is given of a subuser's plan",
		Body:    planPatch{}, Answers: map[int]any{200: relay.Plan{}}, Handler: (*API).setSubuserPlan,
	},
	{
		Method: "GET", Pattern: "/v3/subusers/{subuser_name}/usage", Scope: "subusers.credits.read", ParentOnly: true,
		Summary: "List what a subuser and its account have used, and have left, by limit",
		Answers: map[int]any{200: usageView{}}, Handler: (*API).showSubuserUsage,
	},
}

func (a *API) showSubuserPlan(c *Call) error {
	s, err := a.pathSubuser(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, s.Plan)
}

func (a *API) setSubuserPlan(c *Call) error {
	var in planPatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	var plan relay.Plan
	err := a.editSubuser(c, func(s *relay.Subuser) error {
		err := in.apply(&s.Plan)
		plan = s.Plan
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, plan)
}

func (a *API) showSubuserUsage(c *Call) error {
	s, err := a.pathSubuser(c)
	if err != nil {
		return err
	}
	account, ok := a.Directory.Account(s.Account)
	if !ok {
		return notFound()
	}
	usage, err := a.Ledger.Usage(c.R.Context(), account, &s, nil)
	if err != nil {
		return err
	}
	if usage == nil {
		usage = []relay.Usage{}
	}
	return c.JSON(http.StatusOK, usageView{usage})
}
