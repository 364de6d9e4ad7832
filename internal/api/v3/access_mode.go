package v3

import (
	"net/http"
	"time"

	"postern/internal/relay"
)

// accessMode says how a list is applied.
type accessMode struct {
	Monitor    bool       `json:"monitor" doc:"nobody is refused; the login records say who would have been"`
	TrialUntil *time.Time `json:"trial_until" doc:"then the list before the trial counts again; null: no trial"`
}

type accessModeRequest struct {
	Monitor      *bool `json:"monitor" v3:"required"`
	Confirm      bool  `json:"confirm,omitempty"`
	TrialSeconds int64 `json:"trial_seconds,omitempty"`
}

func replyMode(c *Call, list *relay.AccessList) error {
	m := accessMode{Monitor: list.Monitor}
	if !list.TrialUntil.IsZero() {
		m.TrialUntil = &list.TrialUntil
	}
	return c.JSON(http.StatusOK, m)
}

func (a *API) showMode(c *Call) error {
	list, err := a.currentList(c)
	if err != nil {
		return err
	}
	return replyMode(c, &list)
}

func (a *API) setMode(c *Call) error {
	var in accessModeRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.Monitor == nil {
		return invalid("monitor", "Say true or false.")
	}
	options, err := accessOptionsOf(in.Confirm, in.TrialSeconds)
	if err != nil {
		return err
	}
	list, err := a.changeList(c, options, func(list *relay.AccessList) (bool, error) {
		changed := list.Monitor != *in.Monitor
		list.Monitor = *in.Monitor
		return changed, nil
	})
	if err != nil {
		return err
	}
	return replyMode(c, &list)
}

// accessConfirmation goes with ending a trial.
type accessConfirmation struct {
	Confirm bool `json:"confirm,omitempty"`
}

// confirmTrial keeps the list. Whoever gets here was let in by it, so nobody is
// asked whether they mean it.
func (a *API) confirmTrial(c *Call) error {
	return a.endTrial(c, true, func(list *relay.AccessList) { list.Before, list.TrialUntil = nil, time.Time{} })
}

func (a *API) revertTrial(c *Call) error {
	var in accessConfirmation
	if body, err := c.Body(); err != nil {
		return err
	} else if len(body) > 0 {
		if err := c.Decode(&in); err != nil {
			return err
		}
	}
	return a.endTrial(c, in.Confirm, func(list *relay.AccessList) {
		before := *list.Before
		before.Tenant, before.Before, before.TrialUntil = list.Tenant, nil, time.Time{}
		*list = before
	})
}

// endTrial answers with the list that counts from now on.
func (a *API) endTrial(c *Call, confirmed bool, edit func(*relay.AccessList)) error {
	list, err := a.changeList(c, accessOptions{Confirm: confirmed}, func(list *relay.AccessList) (bool, error) {
		if list.Before == nil {
			return false, conflict("", "Nothing is on trial, or the trial has ended and the list before it counts again.")
		}
		edit(list)
		return true, nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, showRules(list.Rules, list.TrialUntil))
}

// accessActivity is SendGrid's answer. postern does not know where addresses are,
// so location is empty.
type accessActivity struct {
	Result []accessSeen `json:"result"`
}

type accessSeen struct {
	Allowed    bool   `json:"allowed"`
	AuthMethod string `json:"auth_method"`
	FirstAt    int64  `json:"first_at"` // Unix seconds
	IP         string `json:"ip"`
	LastAt     int64  `json:"last_at"`
	Location   string `json:"location"`
	Count      int64  `json:"count"`
}

// maxActivity is how many addresses the store keeps of a tenant.
const maxActivity = 1000

func (a *API) listActivity(c *Call) error {
	limit, err := c.Int("limit", 20, 1, maxActivity)
	if err != nil {
		return err
	}
	seen, err := a.AccessLists.AccessActivity(c.R.Context(), c.Tenant, int(limit))
	if err != nil {
		return err
	}
	out := accessActivity{Result: make([]accessSeen, 0, len(seen))}
	for _, s := range seen {
		out.Result = append(out.Result, accessSeen{
			Allowed: s.Allowed, AuthMethod: s.Method, FirstAt: s.FirstAt.Unix(), IP: s.Addr.String(), LastAt: s.LastAt.Unix(), Count: s.Count,
		})
	}
	return c.JSON(http.StatusOK, out)
}
