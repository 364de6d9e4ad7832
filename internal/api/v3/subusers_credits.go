package v3

import (
	"net/http"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

var creditRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/subusers/{subuser_name}/credits", Scope: "subusers.credits.read", ParentOnly: true,
		Summary: "Show what a subuser's allowance has left", Answers: map[int]any{200: creditView{}}, Handler: (*API).showSubuserCredits,
	},
	{
		Method: "PUT", Pattern: "/v3/subusers/{subuser_name}/credits", Scope: "subusers.credits.update", StepUp: true, ParentOnly: true,
		Summary: "Give a subuser an allowance; it begins full", Body: creditRequest{}, Answers: map[int]any{200: creditView{}}, Handler: (*API).setSubuserCredits,
	},
	{
		Method: "PATCH", Pattern: "/v3/subusers/{subuser_name}/credits/remaining", Scope: "subusers.credits.remaining.update", StepUp: true, ParentOnly: true,
		Summary: "Add to what is left of a subuser's allowance. A recurring one is topped up for its current period; taking away more than was added to it needs a lower total",
		Body:    creditUpdate{}, Answers: map[int]any{200: creditView{}}, Handler: (*API).addSubuserCredits,
	},
}

// creditView is SendGrid's: what a type does not have is null.
type creditView struct {
	Type   relay.CreditType `json:"type"`
	Reset  *string          `json:"reset_frequency"`
	Remain *int64           `json:"remain"`
	Total  *int64           `json:"total"`
	Used   *int64           `json:"used"`
}

type creditRequest struct {
	Type  relay.CreditType `json:"type" v3:"required" doc:"unlimited, recurring or nonrecurring"`
	Reset string           `json:"reset_frequency,omitempty" doc:"of a recurring one: monthly, weekly or daily"`
	Total *int64           `json:"total,omitempty"`
}

type creditUpdate struct {
	Update *int64 `json:"allocation_update" v3:"required" doc:"credits to add; negative: to take away"`
}

// period is what a subuser had used when its current period began, since then,
// and in all: with mail that was put off beyond the period.
type period struct{ before, within, ever int64 }

// left is what an allowance has left, counted as credit.Ledger does. A base within
// the period (Credits.Base) counts from there; more may be left than the total
// after credits were added.
func left(c relay.Credits, p period) (remain, used int64) {
	switch c.Type {
	case relay.CreditsNonrecurring:
		used = p.ever - c.Base
	case relay.CreditsRecurring:
		used = p.within - max(c.Base-p.before, 0)
	}
	return max(c.Total-used, 0), max(used, 0)
}

func viewCredits(c relay.Credits, p period) creditView {
	remain, used := left(c, p)
	switch c.Type {
	case relay.CreditsRecurring:
		return creditView{Type: c.Type, Reset: &c.Reset, Remain: &remain, Total: &c.Total, Used: &used}
	case relay.CreditsNonrecurring:
		return creditView{Type: c.Type, Remain: &remain}
	}
	return creditView{Type: relay.CreditsUnlimited}
}

// days since 1970-01-01 of the first and the last day of the period around t, a
// time in the account's time zone. Weeks begin on Monday.
func periodDays(reset string, t time.Time) (first, last int64) {
	y, m, d := t.Date()
	day := func(y int, m time.Month, d int) int64 { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400 }
	switch reset {
	case "daily":
		return day(y, m, d), day(y, m, d)
	case "weekly":
		monday := d - (int(t.Weekday())+6)%7
		return day(y, m, monday), day(y, m, monday+6)
	}
	return day(y, m, 1), day(y, m+1, 0)
}

// usedIn reads what a subuser used, seen from the current period of an allowance.
func (a *API) usedIn(c *Call, s *relay.Subuser, reset string) (period, error) {
	account, _ := a.Directory.Account(s.Account)
	first, last := periodDays(reset, c.Now.In(relay.Zone(account.TimeZone)))
	used, err := a.Subusers.Used(c.R.Context(), s.ID.ID, c.Now.Unix()/60, first)
	if err != nil {
		return period{}, err
	}
	return periodOf(used, first, last), nil
}

// periodOf sorts what was used. Mail that was put off counts on the day it leaves,
// which may be after the period; it was not used before it either.
func periodOf(used store.Used, first, last int64) period {
	p := period{before: used.Ever, ever: used.Ever}
	for day, n := range used.Days {
		if day >= first {
			p.before -= n
			if day <= last {
				p.within += n
			}
		}
	}
	return p
}

// creditSubuser is pathSubuser with the status that SendGrid has here for a name
// that nobody has.
func (a *API) creditSubuser(c *Call) (relay.Subuser, error) {
	s, err := a.pathSubuser(c)
	if relay.KindOf(err) == relay.NotFound {
		return s, noUser(http.StatusBadRequest)
	}
	return s, err
}

func (a *API) showSubuserCredits(c *Call) error {
	s, err := a.creditSubuser(c)
	if err != nil {
		return err
	}
	p, err := a.usedIn(c, &s, s.Plan.Credits.Reset)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, viewCredits(s.Plan.Credits, p))
}

func (a *API) setSubuserCredits(c *Call) error {
	var in creditRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	return a.changeCredits(c, in.Reset, func(old *relay.Credits, p period) error {
		*old = relay.Credits{Type: in.Type, Reset: in.Reset}
		switch in.Type {
		case relay.CreditsRecurring:
			old.Total, old.Base = *in.Total, p.before+p.within
		case relay.CreditsNonrecurring:
			old.Total, old.Base = *in.Total, p.ever
		}
		return nil
	})
}

func (in *creditRequest) check() error {
	switch in.Type {
	case relay.CreditsUnlimited, relay.CreditsRecurring, relay.CreditsNonrecurring:
	default:
		return invalid("type", "Type should be set to 'recurring', 'nonrecurring', or 'unlimited'")
	}
	if in.Type == relay.CreditsRecurring {
		if in.Reset != "monthly" && in.Reset != "weekly" && in.Reset != "daily" {
			return invalid("reset_frequency", "Reset frequency should be set to 'monthly', 'weekly', or 'daily'")
		}
	} else if in.Reset != "" {
		return invalid("reset_frequency", "Only a recurring allowance is reset.")
	}
	switch {
	case in.Type == relay.CreditsUnlimited && in.Total != nil:
		return invalid("total", "An unlimited allowance has no total.")
	case in.Type != relay.CreditsUnlimited && (in.Total == nil || *in.Total < 1 || *in.Total > maxCount):
		return invalid("total", "Total should be a number from 1 to %d.", maxCount)
	}
	return nil
}

func (a *API) addSubuserCredits(c *Call) error {
	var in creditUpdate
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.Update == nil || *in.Update < -maxCount || *in.Update > maxCount {
		return invalid("allocation_update", "Say how many credits to add, from %d to %d.", -maxCount, maxCount)
	}
	return a.changeCredits(c, "", func(credits *relay.Credits, p period) error { return topUp(credits, p, *in.Update) })
}

// topUp adds n to what an allowance has left.
func topUp(credits *relay.Credits, p period, n int64) error {
	switch credits.Type {
	case relay.CreditsNonrecurring:
		remain, _ := left(*credits, p)
		credits.Total, credits.Base = min(max(remain+n, 0), maxCount), p.ever
		return nil
	case relay.CreditsRecurring:
		base := max(credits.Base, p.before) + n
		if base < p.before {
			return invalid("allocation_update", "A recurring allowance can be topped up for its period; to give less, set a lower total.")
		}
		credits.Base = base
		return nil
	}
	return invalid("allocation_update", "The credits of this subuser are unlimited.")
}

// changeCredits edits a subuser's allowance and answers with it. The period that
// an edit counts in is that of reset; "": of the allowance as it was.
func (a *API) changeCredits(c *Call, reset string, edit func(*relay.Credits, period) error) error {
	var credits relay.Credits
	var p period
	err := a.swapSubuser(c, a.creditSubuser, func(s *relay.Subuser) (err error) {
		of := reset
		if of == "" {
			of = s.Plan.Credits.Reset
		}
		if p, err = a.usedIn(c, s, of); err != nil {
			return err
		}
		err = edit(&s.Plan.Credits, p)
		credits = s.Plan.Credits
		return err
	})
	if relay.KindOf(err) == relay.NotFound {
		return noUser(http.StatusBadRequest)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, viewCredits(credits, p))
}
