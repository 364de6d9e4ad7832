package v3

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"postern/internal/relay"
)

const scopeMailAct = "user.scheduled_sends.update"

// mailActionRoutes stop and start mail that is on its way.
var mailActionRoutes = []Route{
	mailAction("hold", "Keep a queued message from further attempts until it is released", (*API).holdMail),
	mailAction("release", "Let a held message go on", (*API).releaseMail),
	mailAction("retry", "Try a waiting message's recipients now", (*API).retryMail),
	mailAction("cancel", "End a queued message now: it bounces, and its sender is told as of any bounce", (*API).cancelMail),
}

func mailAction(verb, summary string, handler func(*API, *Call) error) Route {
	return Route{
		Method: http.MethodPost, Pattern: pathMessage + "/" + verb, Scope: scopeMailAct, Summary: summary,
		Body: mailReason{}, Answers: map[int]any{200: mailActed{}}, Handler: handler,
	}
}

type mailReason struct {
	Reason string `json:"reason,omitempty" doc:"of hold and cancel, in words: one line; who sent a message that is cancelled reads it in the bounce"`
}

type mailActed struct {
	ID      relay.MessageID `json:"msg_id"`
	Changed bool            `json:"changed" doc:"false: it was so already, or has left the queue meanwhile"`
}

const maxReason = 200

// actOnMail finds the message of the path, which must be queued, and the reason.
func (a *API) actOnMail(c *Call) (*found, string, error) {
	var in mailReason
	if body, err := c.Body(); err != nil {
		return nil, "", err
	} else if len(body) > 0 {
		if err := c.Decode(&in); err != nil {
			return nil, "", err
		}
	}
	if err := checkReason(in.Reason); err != nil {
		return nil, "", err
	}
	f, err := a.pathMail(c)
	if err != nil {
		return nil, "", err
	}
	if f.queued == nil {
		return nil, "", conflict("", "The message has left the queue: nothing can be done to it any more.")
	}
	return f, in.Reason, nil
}

func checkReason(text string) error {
	if len(text) > maxReason || strings.ContainsFunc(text, unprintable) {
		return invalid("reason", "A reason is one line of at most %d octets.", maxReason)
	}
	return nil
}

func (c *Call) acted(f *found, n int64, err error) error {
	if err != nil && relay.KindOf(err) != relay.NotFound { // it may leave at any moment
		return err
	}
	return c.JSON(http.StatusOK, mailActed{ID: f.id, Changed: n > 0})
}

func (a *API) holdMail(c *Call) error {
	f, reason, err := a.actOnMail(c)
	if err != nil {
		return err
	}
	n, err := a.Queue.Hold(c.R.Context(), c.By, []relay.MessageID{f.id}, reason)
	return c.acted(f, n, err)
}

func (a *API) releaseMail(c *Call) error {
	f, _, err := a.actOnMail(c)
	if err != nil {
		return err
	}
	if err := a.mayRelease(c, f); err != nil {
		return err
	}
	n, err := a.Queue.Release(c.R.Context(), c.By, []relay.MessageID{f.id})
	return c.acted(f, n, err)
}

func (a *API) retryMail(c *Call) error {
	f, _, err := a.actOnMail(c)
	if err != nil {
		return err
	}
	n, err := a.Queue.Retry(c.R.Context(), c.By, []relay.MessageID{f.id})
	return c.acted(f, n, err)
}

func (a *API) cancelMail(c *Call) error {
	f, reason, err := a.actOnMail(c)
	if err != nil {
		return err
	}
	n, err := a.Queue.Bounce(c.R.Context(), c.By, []relay.MessageID{f.id}, reason)
	if err == nil && n > 0 {
		err = a.recordMail(c, "queue.cancel", f, reason)
	}
	return c.acted(f, n, err)
}

// recordMail puts what was done to a message into its account's record.
func (a *API) recordMail(c *Call, action string, f *found, reason string) error {
	if a.RecordChange == nil {
		return relay.E(relay.Unavailable, "Changes are not recorded here.")
	}
	change := relay.Change{At: c.Now, Account: f.tenant.Account, By: c.By.Who, From: c.By.From, Action: action, Subject: "message " + f.id.String()}
	if reason != "" {
		text, err := json.Marshal(struct {
			Reason string `json:"reason"`
		}{reason})
		if err != nil {
			return err
		}
		change.After = text
	}
	return a.RecordChange(c.R.Context(), c.By, change)
}

// mayRelease: what one who is higher has stopped, goes on by their word only. A
// message that crashed the relay is the operator's; what the operator holds, too.
// A subuser does not release what its account holds, and a key whose mail is held
// does not release it.
func (a *API) mayRelease(c *Call, f *found) error {
	why, err := a.keptBy(c, f)
	if err == nil && why != "" {
		err = refused("", "%s", leftTexts[why])
	}
	return err
}

// kept is keptBy; "" of what is not held at all.
func (a *API) kept(c *Call, f *found) (leftCode, error) {
	if f.queued.Message.State == relay.MessageQueued {
		return "", nil
	}
	return a.keptBy(c, f)
}

// keptBy is why the caller may not release a message that does not go; "": they may.
func (a *API) keptBy(c *Call, f *found) (leftCode, error) {
	switch {
	case c.Operator:
		return "", nil
	case f.queued.Message.State == relay.MessageQuarantined:
		return leftQuarantined, nil
	case c.Principal.Key != nil && c.Principal.Key.Mode == relay.KeyHold:
		return leftKey, nil
	}
	h, err := a.holdOf(c, f)
	switch {
	case err != nil:
		return "", err
	case h.rank == relay.RankOperator:
		return leftOperator, nil
	case h.rank == relay.RankAccount && !c.standsOver(f.tenant.Subuser):
		return leftAccount, nil
	}
	return "", nil
}

// hold is when a message was last stopped, and how whoever did it stood to its tenant;
// zero: it never was.
type hold struct {
	at   time.Time
	rank relay.Rank
}

func (a *API) holdOf(c *Call, f *found) (hold, error) {
	e, err := a.Messages.LastHold(c.R.Context(), f.id)
	if relay.KindOf(err) == relay.NotFound && err != nil {
		return hold{}, nil
	}
	if err != nil {
		return hold{}, err
	}
	var d relay.EventData
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return hold{}, fmt.Errorf("hold of message %s: %w", f.id, err)
	}
	h := hold{at: e.At}
	h.rank, _ = d.Stood()
	return h, nil
}
