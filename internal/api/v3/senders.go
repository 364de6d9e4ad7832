package v3

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/store"
)

// SenderServices are what the routes of single senders act on.
type SenderServices struct {
	// Singles is a *sender.Singles.
	Singles interface {
		Create(ctx context.Context, by store.By, s relay.SingleSender) (sender.Single, error)
		// Update runs edit again where somebody else was faster.
		Update(ctx context.Context, by store.By, number int64, edit func(relay.SingleSender) relay.SingleSender) (sender.Single, error)
		Resend(ctx context.Context, by store.By, number int64) error
		Link(ctx context.Context, token string) (relay.SingleSender, error)
		Confirm(ctx context.Context, by store.By, token string) (relay.SingleSender, error)
		Verified(s relay.SingleSender) bool
		DomainsAtRisk(ctx context.Context, all []relay.SingleSender) (soft, hard []string)
	}
	SenderRows interface {
		Senders(ctx context.Context, t relay.Tenant) ([]relay.SingleSender, error)
		Sender(ctx context.Context, number int64) (relay.SingleSender, error)
		DeleteSender(ctx context.Context, by store.By, number int64, at time.Time) error
	}
	// ProvenDomains reports whether a tenant has a domain that it may send as.
	ProvenDomains func(t relay.Tenant) bool
}

var senderRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/verified_senders", Scope: "whitelabel.read", Summary: "List single senders",
		Query: []Param{
			{Name: "limit", Type: "integer", Doc: "at most so many, 1 to 1000"}, {Name: "lastSeenID", Type: "integer", Doc: "only those with a greater id"},
			{Name: "id", Type: "integer", Doc: "only this one"},
		},
		Answers: map[int]any{200: senderList{}}, Handler: (*API).listSenders,
	},
	{
		Method: "POST", Pattern: "/v3/verified_senders", Scope: "whitelabel.create", StepUp: true,
		Summary: "Make a single sender: a link is mailed to the address, and who presses the button of its page has proven it. An address below an authenticated domain needs no link",
		Body:    senderRequest{}, Answers: map[int]any{201: senderView{}}, Handler: (*API).createSender,
	},
	{
		Method: "GET", Pattern: "/v3/verified_senders/domains", Scope: "whitelabel.read",
		Summary: "Domains of single senders whose DMARC policy makes their mail fail: hard where it is refused, soft where it may land in spam",
		Answers: map[int]any{200: senderRisks{}}, Handler: (*API).senderDomains,
	},
	{
		Method: "GET", Pattern: "/v3/verified_senders/steps_completed", Scope: "whitelabel.read", Summary: "Whether a sender and a domain are verified",
		Answers: map[int]any{200: senderSteps{}}, Handler: (*API).senderSteps,
	},
	{
		Method: "POST", Pattern: "/v3/verified_senders/resend/{id}", Scope: "whitelabel.update", Summary: "Mail a new link; the old one ends",
		Answers: map[int]any{204: nil}, Handler: (*API).resendSender,
	},
	{
		Method: "GET", Pattern: "/v3/verified_senders/verify/{token}", Scope: "whitelabel.update",
		Summary: "Use a link's token. Link scanners have no key, so this needs no button", Answers: map[int]any{204: nil}, Handler: (*API).verifySender,
	},
	{
		Method: "PATCH", Pattern: "/v3/verified_senders/{id}", Scope: "whitelabel.update", StepUp: true, Summary: "Change a single sender; another address must be proven again",
		Body: senderRequest{}, Answers: map[int]any{200: senderView{}}, Handler: (*API).changeSender,
	},
	{
		Method: "DELETE", Pattern: "/v3/verified_senders/{id}", Scope: "whitelabel.delete", StepUp: true, Summary: "Delete a single sender",
		Answers: map[int]any{204: nil}, Handler: (*API).deleteSender,
	},
}

// senderRequest is SendGrid's. A PATCH leaves what it does not name as it is.
type senderRequest struct {
	Nickname    *string `json:"nickname" doc:"required when making one; at most 100 characters"`
	FromEmail   *string `json:"from_email" doc:"required when making one"`
	FromName    *string `json:"from_name,omitempty"`
	ReplyTo     *string `json:"reply_to" doc:"required when making one"`
	ReplyToName *string `json:"reply_to_name,omitempty"`
	Address     *string `json:"address,omitempty"`
	Address2    *string `json:"address2,omitempty"`
	State       *string `json:"state,omitempty"`
	City        *string `json:"city,omitempty"`
	Zip         *string `json:"zip,omitempty"`
	Country     *string `json:"country,omitempty"`
}

// onto overwrites what the request names.
func (in *senderRequest) onto(s relay.SingleSender) relay.SingleSender {
	for _, f := range []struct {
		to   *string
		from *string
	}{
		{&s.Nickname, in.Nickname}, {&s.FromEmail, in.FromEmail}, {&s.FromName, in.FromName}, {&s.ReplyTo, in.ReplyTo},
		{&s.ReplyToName, in.ReplyToName}, {&s.Street, in.Address}, {&s.Street2, in.Address2}, {&s.State, in.State},
		{&s.City, in.City}, {&s.Zip, in.Zip}, {&s.Country, in.Country},
	} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	return s
}

type senderView struct {
	ID          int64  `json:"id"`
	Nickname    string `json:"nickname"`
	FromEmail   string `json:"from_email"`
	FromName    string `json:"from_name"`
	ReplyTo     string `json:"reply_to"`
	ReplyToName string `json:"reply_to_name"`
	Address     string `json:"address"`
	Address2    string `json:"address2"`
	State       string `json:"state"`
	City        string `json:"city"`
	Zip         string `json:"zip"`
	Country     string `json:"country"`
	Verified    bool   `json:"verified"`
	Locked      bool   `json:"locked"`
	// Warnings are postern's own: what receivers will think of such mail.
	Warnings []string `json:"warnings,omitempty"`
}

type senderList struct {
	Results []senderView `json:"results"`
}

type senderRisks struct {
	Results senderFailures `json:"results"`
}

type senderFailures struct {
	Soft []string `json:"soft_failures"`
	Hard []string `json:"hard_failures"`
}

type senderSteps struct {
	Results senderStepsDone `json:"results"`
}

type senderStepsDone struct {
	Sender bool `json:"sender_verified"`
	Domain bool `json:"domain_verified"`
}

func (a *API) viewSender(s relay.SingleSender, warnings []string) senderView {
	return senderView{
		ID: s.Number, Nickname: s.Nickname, FromEmail: s.FromEmail, FromName: s.FromName, ReplyTo: s.ReplyTo, ReplyToName: s.ReplyToName,
		Address: s.Street, Address2: s.Street2, State: s.State, City: s.City, Zip: s.Zip, Country: s.Country,
		Verified: a.Singles.Verified(s), Warnings: warnings,
	}
}

func (a *API) listSenders(c *Call) error {
	limit, err := c.Int("limit", 100, 1, 1000)
	if err != nil {
		return err
	}
	last, err := c.Int("lastSeenID", 0, 0, 1<<62)
	if err != nil {
		return err
	}
	only, err := c.Int("id", 0, 0, 1<<62)
	if err != nil {
		return err
	}
	all, err := a.SenderRows.Senders(c.R.Context(), c.Tenant)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(x, y relay.SingleSender) int { return int(x.Number - y.Number) })
	out := senderList{Results: []senderView{}}
	for _, s := range all {
		if s.Number > last && (only == 0 || s.Number == only) && int64(len(out.Results)) < limit {
			out.Results = append(out.Results, a.viewSender(s, nil))
		}
	}
	return c.JSON(http.StatusOK, out)
}

func (a *API) createSender(c *Call) error {
	var in senderRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	defer a.edits.lock(c.Tenant.Account)()
	made, err := a.Singles.Create(c.R.Context(), c.By, in.onto(relay.SingleSender{Tenant: c.Tenant}))
	if err != nil {
		return senderError(err)
	}
	return c.JSON(http.StatusCreated, a.viewSender(made.SingleSender, made.Warnings))
}

// senderError gives a conflict SendGrid's status.
func senderError(err error) error {
	if e, ok := err.(*relay.Error); ok && e.Kind == relay.Conflict {
		field := e.Field
		item := httpx.ErrorItem{Message: e.Public}
		if field != "" {
			item.Field = &field
		}
		return Fail(http.StatusBadRequest, item)
	}
	return err
}

// ownSender is the sender that a request names, of the caller's own.
func (a *API) ownSender(c *Call) (relay.SingleSender, error) {
	number, err := strconv.ParseInt(c.R.PathValue("id"), 10, 64)
	if err != nil || number <= 0 {
		return relay.SingleSender{}, notFound()
	}
	s, err := a.SenderRows.Sender(c.R.Context(), number)
	if err != nil {
		return s, hidden(err)
	}
	if s.Tenant != c.Tenant || !s.DeletedAt.IsZero() {
		return relay.SingleSender{}, notFound()
	}
	return s, nil
}

func (a *API) changeSender(c *Call) error {
	var in senderRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	defer a.edits.lock(c.Tenant.Account)()
	old, err := a.ownSender(c)
	if err != nil {
		return err
	}
	made, err := a.Singles.Update(c.R.Context(), c.By, old.Number, in.onto)
	if err != nil {
		return hidden(senderError(err))
	}
	return c.JSON(http.StatusOK, a.viewSender(made.SingleSender, made.Warnings))
}

func (a *API) deleteSender(c *Call) error {
	defer a.edits.lock(c.Tenant.Account)()
	s, err := a.ownSender(c)
	if err != nil {
		return err
	}
	if err := a.SenderRows.DeleteSender(c.R.Context(), c.By, s.Number, c.Now); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) resendSender(c *Call) error {
	defer a.edits.lock(c.Tenant.Account)()
	s, err := a.ownSender(c)
	if err != nil {
		return err
	}
	if err := a.Singles.Resend(c.R.Context(), c.By, s.Number); err != nil {
		return hidden(senderError(err))
	}
	return c.Empty(http.StatusNoContent)
}

// verifySender uses the token of a link of the caller's own senders; anybody
// else's is not found.
func (a *API) verifySender(c *Call) error {
	token := c.R.PathValue("token")
	s, err := a.Singles.Link(c.R.Context(), token)
	if err != nil {
		return hidden(err)
	}
	if s.Tenant != c.Tenant {
		return notFound()
	}
	if _, err := a.Singles.Confirm(c.R.Context(), c.By, token); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) senderDomains(c *Call) error {
	all, err := a.SenderRows.Senders(c.R.Context(), c.Tenant)
	if err != nil {
		return err
	}
	soft, hard := a.Singles.DomainsAtRisk(c.R.Context(), all)
	return c.JSON(http.StatusOK, senderRisks{senderFailures{Soft: append([]string{}, soft...), Hard: append([]string{}, hard...)}})
}

func (a *API) senderSteps(c *Call) error {
	all, err := a.SenderRows.Senders(c.R.Context(), c.Tenant)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, senderSteps{senderStepsDone{
		Sender: slices.ContainsFunc(all, a.Singles.Verified), Domain: a.ProvenDomains(c.Tenant),
	}})
}
