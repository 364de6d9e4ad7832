package v3

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// AccessStore keeps the allow-lists; *store.Store is one.
type AccessStore interface {
	// AccessList is the tenant's list, empty if it never had one.
	AccessList(ctx context.Context, of relay.Tenant) (relay.AccessList, error)
	// SwapAccessList stores a list in the place of what was read, and returns it with
	// the ids of its new rules. relay.Conflict: it is another one by now.
	SwapAccessList(ctx context.Context, by store.By, was, next relay.AccessList) (relay.AccessList, error)
	// AccessActivity is who tried, the latest first.
	AccessActivity(ctx context.Context, of relay.Tenant, limit int) ([]relay.AccessSeen, error)
}

// accessRoutes are SendGrid's IP access management, with host names, notes,
// trials and a mode that only watches.
var accessRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/access_settings/whitelist", Scope: "access_settings.whitelist.read",
		Summary: "List the networks and hosts that the tenant's keys may come from; without any, from anywhere",
		Answers: map[int]any{200: accessRules{}}, Handler: (*API).listRules,
	},
	{
		Method: "POST", Pattern: "/v3/access_settings/whitelist", Scope: "access_settings.whitelist.create", StepUp: true,
		Summary: "Let networks or hosts in; the first entry switches the list on. A change that would shut out the caller needs confirm",
		Body:    accessRequest{}, Answers: map[int]any{201: accessRules{}}, Handler: (*API).addRules,
	},
	{
		Method: "DELETE", Pattern: "/v3/access_settings/whitelist", Scope: "access_settings.whitelist.delete", StepUp: true,
		Summary: "Remove entries by id; without the last one the list is off",
		Body:    accessRemoval{}, Answers: map[int]any{204: nil}, Handler: (*API).removeRules,
	},
	{
		Method: "GET", Pattern: "/v3/access_settings/whitelist/{rule_id}", Scope: "access_settings.whitelist.read",
		Summary: "Show one entry", Answers: map[int]any{200: accessRules{}}, Handler: (*API).showRule,
	},
	{
		Method: "DELETE", Pattern: "/v3/access_settings/whitelist/{rule_id}", Scope: "access_settings.whitelist.delete", StepUp: true,
		Summary: "Remove one entry", Query: accessParams, Answers: map[int]any{204: nil}, Handler: (*API).removeRule,
	},
	{
		Method: "GET", Pattern: "/v3/access_settings/activity", Scope: "access_settings.activity.read",
		Summary: "List the addresses that tried to get in lately, let in or not",
		Query:   []Param{{Name: "limit", Type: "integer", Doc: "the most addresses to answer with, up to 1000; 20 if it is not given"}},
		Answers: map[int]any{200: accessActivity{}}, Handler: (*API).listActivity,
	},
	{
		Method: "GET", Pattern: "/v3/access_settings/mode", Scope: "access_settings.whitelist.read",
		Summary: "Show whether the list only watches, and until when a change is on trial",
		Answers: map[int]any{200: accessMode{}}, Handler: (*API).showMode,
	},
	{
		Method: "PATCH", Pattern: "/v3/access_settings/mode", Scope: "access_settings.whitelist.update", StepUp: true,
		Summary: "Have the list only watch (nobody is refused; the login records say who would have been), or refuse",
		Body:    accessModeRequest{}, Answers: map[int]any{200: accessMode{}}, Handler: (*API).setMode,
	},
	{
		Method: "POST", Pattern: "/v3/access_settings/confirm", Scope: "access_settings.whitelist.update", StepUp: true,
		Summary: "End a trial and keep the list as it is", Answers: map[int]any{200: accessRules{}}, Handler: (*API).confirmTrial,
	},
	{
		Method: "POST", Pattern: "/v3/access_settings/revert", Scope: "access_settings.whitelist.update", StepUp: true,
		Summary: "End a trial and return to the list before it", Body: accessConfirmation{},
		Answers: map[int]any{200: accessRules{}}, Handler: (*API).revertTrial,
	},
}

var accessParams = []Param{
	{Name: "confirm", Type: "boolean", Doc: "go on although the caller would be shut out"},
	{Name: "trial_seconds", Type: "integer", Doc: "undo the change after so many seconds unless it is confirmed"},
}

// accessRules is SendGrid's answer; ip is the host name where an entry has one.
type accessRules struct {
	Result     []accessRule `json:"result"`
	TrialUntil time.Time    `json:"trial_until,omitzero"`
}

type accessRule struct {
	ID        int64  `json:"id"`
	IP        string `json:"ip"`
	CreatedAt int64  `json:"created_at" doc:"Unix seconds"`
	UpdatedAt int64  `json:"updated_at"`
	Host      string `json:"host,omitempty"`
	Note      string `json:"note,omitempty"`
}

func showRules(rules []relay.AccessRule, until time.Time) accessRules {
	out := accessRules{Result: make([]accessRule, 0, len(rules)), TrialUntil: until}
	for i := range rules {
		r := &rules[i]
		out.Result = append(out.Result, accessRule{
			ID: r.ID, IP: ruleText(r), CreatedAt: r.CreatedAt.Unix(), UpdatedAt: r.UpdatedAt.Unix(), Host: r.Host, Note: r.Note,
		})
	}
	return out
}

// accessRequest adds entries.
type accessRequest struct {
	IPs          []accessEntry `json:"ips" v3:"required"`
	Confirm      bool          `json:"confirm,omitempty" doc:"go on although the caller would be shut out, or everybody let in"`
	TrialSeconds int64         `json:"trial_seconds,omitempty" doc:"undo the change after so many seconds unless it is confirmed"`
}

// accessEntry is an address, a network or a host name in ip, or a host name in host.
type accessEntry struct {
	IP   string `json:"ip,omitempty" doc:"address, network, 192.168.*.* or host name"`
	Host string `json:"host,omitempty" doc:"host name, instead of ip"`
	Note string `json:"note,omitempty"`
}

type accessRemoval struct {
	IDs          []int64 `json:"ids" v3:"required"`
	Confirm      bool    `json:"confirm,omitempty" doc:"go on although the caller would be shut out"`
	TrialSeconds int64   `json:"trial_seconds,omitempty"`
}

func (a *API) listRules(c *Call) error {
	list, err := a.currentList(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, showRules(list.Rules, list.TrialUntil))
}

func (a *API) showRule(c *Call) error {
	id, err := parseRuleID(c.R.PathValue("rule_id"))
	if err != nil {
		return err
	}
	list, err := a.currentList(c)
	if err != nil {
		return err
	}
	for i := range list.Rules {
		if list.Rules[i].ID == id {
			return c.JSON(http.StatusOK, showRules(list.Rules[i:i+1], time.Time{}))
		}
	}
	return notFound()
}

func (a *API) addRules(c *Call) error {
	var in accessRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	options, err := accessOptionsOf(in.Confirm, in.TrialSeconds)
	if err != nil {
		return err
	}
	entries, err := parseEntries(in.IPs, options.Confirm)
	if err != nil {
		return err
	}
	if !c.Operator && countHosts(entries) > 0 {
		// New names are looked up before the list is taken hold of: no other change
		// waits for somebody's DNS.
		a.ShutsOut(c.R.Context(), &relay.AccessList{Rules: entries}, c.Addr)
	}
	list, err := a.changeList(c, options, func(list *relay.AccessList) (bool, error) {
		changed := addRules(list, entries, c.Now)
		if len(list.Rules) > maxRules {
			return false, invalid("ips", "The list would have %d entries; the most are %d.", len(list.Rules), maxRules)
		}
		if n := countHosts(list.Rules); n > maxHosts && changed {
			return false, invalid("ips", "The list would have %d host names; the most are %d.", n, maxHosts)
		}
		return changed, nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, showRules(findRules(&list, entries), list.TrialUntil))
}

func (a *API) removeRules(c *Call) error {
	var in accessRemoval
	if err := c.Decode(&in); err != nil {
		return err
	}
	if len(in.IDs) == 0 {
		return invalid("ids", "Name the entries to remove.")
	}
	options, err := accessOptionsOf(in.Confirm, in.TrialSeconds)
	if err != nil {
		return err
	}
	return a.remove(c, options, in.IDs)
}

func (a *API) removeRule(c *Call) error {
	id, err := parseRuleID(c.R.PathValue("rule_id"))
	if err != nil {
		return err
	}
	seconds, err := c.Int("trial_seconds", 0, 0, 1<<40)
	if err != nil {
		return err
	}
	options, err := accessOptionsOf(c.Flag("confirm"), seconds)
	if err != nil {
		return err
	}
	return a.remove(c, options, []int64{id})
}

func (a *API) remove(c *Call, options accessOptions, ids []int64) error {
	_, err := a.changeList(c, options, func(list *relay.AccessList) (bool, error) { return true, removeRules(list, ids) })
	if err != nil {
		return err
	}
	return c.Empty(http.StatusNoContent)
}

// currentList is the tenant's list that counts now.
func (a *API) currentList(c *Call) (relay.AccessList, error) {
	list, err := a.AccessLists.AccessList(c.R.Context(), c.Tenant)
	if err != nil {
		return list, err
	}
	list.Tenant = c.Tenant
	return settled(list, c.Now), nil
}

// changeList edits the tenant's list. An edit that changes nothing is not stored.
func (a *API) changeList(c *Call, o accessOptions, edit func(*relay.AccessList) (changed bool, err error)) (relay.AccessList, error) {
	defer a.edits.lock(c.Tenant.Account)()
	stored, err := a.AccessLists.AccessList(c.R.Context(), c.Tenant)
	if err != nil {
		return stored, err
	}
	stored.Tenant = c.Tenant
	old := settled(stored, c.Now)
	next := settled(old, c.Now)
	changed, err := edit(&next)
	if err != nil || !changed {
		return old, err
	}
	next = onTrial(old, next, c.Now, o.Trial)
	if err := a.guardCaller(c, &next, o.Confirm); err != nil {
		return old, err
	}
	next, err = a.AccessLists.SwapAccessList(c.R.Context(), c.By, stored, next)
	return next, hidden(err)
}

// guardCaller refuses a list that would shut the caller out, unless it says that
// it means it. A parent that acts for a subuser comes in by its own list, and the
// operator by admin.sock, which no list is about.
func (a *API) guardCaller(c *Call, next *relay.AccessList, confirmed bool) error {
	known, cancel := context.WithCancel(c.R.Context())
	cancel() // what is known of host names counts; nothing is waited for
	if confirmed || c.Operator || c.Principal.Tenant != c.Tenant || len(next.Rules) == 0 || next.Monitor || !a.ShutsOut(known, next, c.Addr) {
		return nil
	}
	return conflict("confirm", "After this change your own address, %s, would be shut out. Add an entry that lets it in, or send confirm: true if that is meant.", printAddr(c.Addr))
}

func printAddr(a netip.Addr) string { return a.Unmap().WithZone("").String() }

func accessOptionsOf(confirm bool, trialSeconds int64) (accessOptions, error) {
	trial := time.Duration(trialSeconds) * time.Second
	if trialSeconds != 0 && (trialSeconds < int64(leastTrial/time.Second) || trialSeconds > int64(longestTrial/time.Second)) {
		return accessOptions{}, invalid("trial_seconds", "A trial is from %d to %d seconds.", leastTrial/time.Second, longestTrial/time.Second)
	}
	return accessOptions{Confirm: confirm, Trial: trial}, nil
}
