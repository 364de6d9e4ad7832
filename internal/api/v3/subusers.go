package v3

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// SubuserStore keeps subusers; *store.Store is one. Absent and deleted ones are
// relay.NotFound, a taken name relay.Conflict.
type SubuserStore interface {
	Subuser(ctx context.Context, id relay.SubuserID) (relay.Subuser, error)
	// Subusers are an account's, without deleted ones, by name.
	Subusers(ctx context.Context, account relay.AccountID) ([]relay.Subuser, error)
	CreateSubuser(ctx context.Context, by store.By, s relay.Subuser) error
	// SwapSubuser: relay.Conflict with store.ErrMeanwhile if it is not was any more.
	SwapSubuser(ctx context.Context, by store.By, was, s relay.Subuser) error
	SetSubuserDisabled(ctx context.Context, by store.By, id relay.SubuserID, at time.Time) error
	DeleteSubuser(ctx context.Context, by store.By, id relay.SubuserID, at time.Time) error
	Pools(ctx context.Context) ([]relay.Pool, error)
	// References counts queued messages.
	References(ctx context.Context, f store.MessageFilter) (int64, error)
	// Used is what a subuser used: by day from the given one on, and in all.
	Used(ctx context.Context, subject relay.ID, sinceMinute, sinceDay int64) (store.Used, error)
}

// Subusers are managed by their parent and are not seen by each other.
var subuserRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/subusers", Scope: "subusers.read", ParentOnly: true,
		Summary: "List subusers by name",
		Query: append([]Param{
			{Name: "username", Type: "string", Doc: "only the subuser of this name"},
			{Name: "name", Type: "string", Doc: "only those with this in their name or address, in any case"},
			{Name: "region", Type: "string", Doc: "all, global or eu; every subuser here is global"},
			{Name: "include_region", Type: "boolean", Doc: "tell the region too"},
		}, paging...),
		Answers: map[int]any{200: []subuserView{}}, Handler: (*API).listSubusers,
	},
	{
		Method: "POST", Pattern: "/v3/subusers", Scope: "subusers.create", ParentOnly: true,
		Summary: "Make a subuser. A password is taken, because clients of SendGrid must send one, and thrown away: programs use keys, and a subuser's people are invited",
		Body:    newSubuser{}, Answers: map[int]any{200: createdSubuser{}}, Handler: (*API).createSubuser,
	},
	{
		Method: "GET", Pattern: "/v3/subusers/reputations", Scope: "subusers.reputations.read", ParentOnly: true,
		Summary: "List reputations. postern does not rate senders: it is 100 for each",
		Query:   []Param{{Name: "usernames", Type: "string", Doc: "only these, separated by commas"}},
		Answers: map[int]any{200: []reputation{}}, Handler: (*API).listReputations,
	},
	{
		Method: "PATCH", Pattern: "/v3/subusers/{subuser_name}", Scope: "subusers.update", ParentOnly: true, StepUp: true,
		Summary: "Switch a subuser off or on. While it is off its keys do not work, and its queued mail waits until it is on again or expires",
		Body:    switchRequest{}, Answers: map[int]any{204: nil}, Handler: (*API).switchSubuser,
	},
	{
		Method: "DELETE", Pattern: "/v3/subusers/{subuser_name}", Scope: "subusers.delete", StepUp: true, ParentOnly: true,
		Summary: "Delete a subuser for good: its keys are revoked, its queued mail is dropped, each recipient with an event that says so, its domains with their DKIM keys, single senders, people and invitations are deleted, and its name is free again",
		Query:   []Param{{Name: "dry_run", Type: "boolean", Doc: "delete nothing; answer with what would end"}},
		Answers: map[int]any{200: deletion{}, 204: nil}, Handler: (*API).deleteSubuser,
	},
	{
		Method: "PATCH", Pattern: "/v3/subusers/{subuser_name}/website_access", Scope: "subusers.update", ParentOnly: true, StepUp: true,
		Summary: "Keep a subuser's people out of the console, or let them in; its keys go on working",
		Body:    switchRequest{}, Answers: map[int]any{204: nil}, Handler: (*API).switchWebsite,
	},
	{
		Method: "PUT", Pattern: "/v3/subusers/{subuser_name}/ips", Scope: "subusers.update", StepUp: true, ParentOnly: true,
		Summary: "Have a subuser's mail leave from these addresses: those of one pool, or none for the account's own pool",
		Body:    []string{}, Answers: map[int]any{200: subuserIPs{}}, Handler: (*API).setSubuserIPs,
	},
}

// subuserView is SendGrid's, and behind it what postern adds.
type subuserView struct {
	Disabled bool   `json:"disabled"`
	Email    string `json:"email"`
	Number   int64  `json:"id"`
	Username string `json:"username"`
	Region   string `json:"region,omitempty"`

	ID              relay.SubuserID `json:"subuser_id"`
	Keys            int             `json:"keys"`
	Pool            string          `json:"pool,omitempty"` // "": the account's
	IPs             []string        `json:"ips,omitempty" doc:"addresses of that pool that are in use, as PUT …/ips takes them; none: the account's pool"`
	WebsiteDisabled bool            `json:"website_access_disabled,omitempty"`
	CreatedAt       time.Time       `json:"created_at"`
	DisabledAt      time.Time       `json:"disabled_at,omitzero"`
	DisabledBy      relay.Rank      `json:"disabled_by,omitzero" doc:"account or operator: somebody above switched it off, and nobody else switches it on again; empty: its own people"`
}

// The bounds of a page of subusers.
const (
	usualSubusers = 500
	mostSubusers  = 1000
)

// theRegion is where all of an installation is, in SendGrid's words.
const theRegion = "global"

func (a *API) listSubusers(c *Call) error {
	limit, offset, err := c.Page(usualSubusers, mostSubusers)
	if err != nil {
		return err
	}
	all := []relay.Subuser{}
	switch region := c.Text("region"); {
	case region == "eu":
	case region != "" && region != "all" && region != theRegion:
		return invalid("region", "Write all, global or eu.")
	case c.Text("username") != "":
		s, err := a.findSubuser(c.R.Context(), c.Tenant.Account, c.Text("username"))
		if err == nil {
			all = append(all, s)
		} else if relay.KindOf(err) != relay.NotFound {
			return err
		}
	default:
		if all, err = a.Subusers.Subusers(c.R.Context(), c.Tenant.Account); err != nil {
			return err
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(s relay.Subuser) bool { return !c.isIn(s.Name, s.Email) })
	pools, err := a.usablePools(c)
	if err != nil {
		return err
	}
	out := []subuserView{}
	for _, s := range page(all, limit, offset) {
		v := subuserView{
			Disabled: !s.DisabledAt.IsZero(), Email: s.Email, Number: s.Number, Username: s.Name, ID: s.ID,
			Keys:            len(a.Directory.KeysOf(relay.Tenant{Account: s.Account, Subuser: s.ID})),
			WebsiteDisabled: !s.ConsoleDisabledAt.IsZero(), CreatedAt: s.CreatedAt, DisabledAt: s.DisabledAt, DisabledBy: s.DisabledRank,
		}
		if i := slices.IndexFunc(pools, func(p relay.Pool) bool { return p.ID == s.DefaultPool }); i >= 0 {
			v.Pool, v.IPs = pools[i].Name, addressTexts(&pools[i])
		}
		if c.Flag("include_region") {
			v.Region = theRegion
		}
		out = append(out, v)
	}
	return c.JSON(http.StatusOK, out)
}

// findSubuser finds an account's subuser by its name, as the store has it now. The
// directory is asked first; it may not know yet what was made a moment ago.
func (a *API) findSubuser(ctx context.Context, account relay.AccountID, name string) (relay.Subuser, error) {
	if known, ok := a.Directory.SubuserNamed(name); ok && known.Account == account {
		s, err := a.Subusers.Subuser(ctx, known.ID)
		if err != nil && relay.KindOf(err) != relay.NotFound {
			return s, err
		}
		if err == nil && s.Account == account && s.Name == name && s.DeletedAt.IsZero() {
			return s, nil
		}
	}
	all, err := a.Subusers.Subusers(ctx, account)
	if err != nil {
		return relay.Subuser{}, err
	}
	for _, s := range all {
		if s.Name == name && s.DeletedAt.IsZero() {
			return s, nil
		}
	}
	return relay.Subuser{}, noUser(http.StatusNotFound)
}

// pathSubuser is the subuser that the path names.
func (a *API) pathSubuser(c *Call) (relay.Subuser, error) {
	return a.findSubuser(c.R.Context(), c.Tenant.Account, c.R.PathValue("subuser_name"))
}

// textNoUser is what SendGrid says of a name that no subuser of the account has.
const textNoUser = "No user found"

func noUser(status int) error {
	if status == http.StatusNotFound {
		return relay.E(relay.NotFound, textNoUser)
	}
	return Fail(status, httpx.ErrorItem{Message: textNoUser})
}

type reputation struct {
	Reputation float64 `json:"reputation"`
	Username   string  `json:"username"`
}

func (a *API) listReputations(c *Call) error {
	all, err := a.Subusers.Subusers(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(c.Text("usernames"), ",") {
		if name != "" {
			wanted[strings.TrimSpace(name)] = true
		}
	}
	out := []reputation{}
	for _, s := range all {
		if len(wanted) == 0 || wanted[s.Name] {
			out = append(out, reputation{Reputation: 100, Username: s.Name})
		}
	}
	return c.JSON(http.StatusOK, out)
}
