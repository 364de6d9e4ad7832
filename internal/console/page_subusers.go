package console

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	apiSubusers = "/v3/subusers"
	apiSubuser  = apiSubusers + "/{subuser_name}"
)

// subuserPages are the pages of subusers.
var subuserPages = []page{
	{Method: "GET", Pattern: "/subusers", Title: "Subusers", Group: "Account", Nav: "Subusers", Own: true, Needs: []string{"GET " + apiSubusers}, Handler: onDesk(showSubusers)},
	{Method: "GET", Pattern: "/subusers/new", Title: "Add a subuser", Own: true, Needs: []string{"POST " + apiSubusers}, Handler: onDesk(showNewSubuser)},
	{Method: "POST", Pattern: "/subusers/new", Title: "Add a subuser", Own: true, Needs: []string{"POST " + apiSubusers}, Handler: onDesk(makeSubuser)},
	{Method: "GET", Pattern: "/subusers/{subuser_name}", Title: "Subuser", Own: true, Needs: []string{"GET " + apiSubusers}, Handler: onDesk(showSubuser)},
	{Method: "POST", Pattern: "/subusers/{subuser_name}/switch", Title: "Subuser", Own: true, Needs: []string{"PATCH " + apiSubuser}, Handler: onDesk(switchSubuser)},
	{Method: "POST", Pattern: "/subusers/{subuser_name}/console", Title: "Subuser", Own: true, Needs: []string{"PATCH " + apiSubuser + "/website_access"}, Handler: onDesk(switchSubuserConsole)},
	{Method: "POST", Pattern: "/subusers/{subuser_name}/plan", Title: "Subuser", Own: true, Needs: []string{"PATCH " + apiSubuser + "/plan"}, Handler: onDesk(setSubuserPlan)},
	{Method: "POST", Pattern: "/subusers/{subuser_name}/credits", Title: "Subuser", Own: true, Needs: []string{"PUT " + apiSubuser + "/credits"}, Handler: onDesk(setSubuserCredits)},
	{Method: "POST", Pattern: "/subusers/{subuser_name}/ips", Title: "Subuser", Own: true, Needs: []string{"PUT " + apiSubuser + "/ips"}, Handler: onDesk(setSubuserIPs)},
	{Method: "GET", Pattern: "/subusers/{subuser_name}/delete", Title: "Delete a subuser", Own: true, Needs: []string{"DELETE " + apiSubuser}, Handler: onDesk(showSubuserDelete)},
	{Method: "POST", Pattern: "/subusers/{subuser_name}/delete", Title: "Delete a subuser", Own: true, Needs: []string{"DELETE " + apiSubuser}, Handler: onDesk(deleteSubuser)},
}

type subuserView struct {
	Username        string    `json:"username"`
	Email           string    `json:"email"`
	Number          int64     `json:"id"`
	ID              string    `json:"subuser_id"`
	Disabled        bool      `json:"disabled"`
	Keys            int64     `json:"keys"`
	Pool            string    `json:"pool"`
	IPs             []string  `json:"ips"`
	WebsiteDisabled bool      `json:"website_access_disabled"`
	CreatedAt       time.Time `json:"created_at"`
	switcher
}

func (s *subuserView) state() cell {
	c := tagged("active", toneOK)
	if s.Disabled {
		c = tagged("switched off", toneMute)
	}
	if s.WebsiteDisabled {
		c.Badges = append(c.Badges, badge{"no console", toneMute})
	}
	return c
}

// subusersPage lists subusers.
type subusersPage struct {
	Next     []link
	Search   form
	Subusers table
}

func showSubusers(v *desk) error {
	list, err := ask[[]subuserView](v, query(apiSubusers+"?limit=200", "offset", v.sent("offset"), "name", v.sent("name")))
	if err != nil {
		return err
	}
	add := v.linkIf("Add a subuser", "/subusers/new", "POST", apiSubusers)
	p := subusersPage{Next: add, Subusers: table{ID: "subusers", Caption: "Subusers", Head: []string{"Name", "Address", "Keys", "Pool", "Since", "State"}, Next: add,
		Empty: "There is no subuser. Each is a separate sender of this account: with keys, domains and limits of its own, and blind to the others."}}
	for _, s := range list {
		p.Subusers.Rows = append(p.Subusers.Rows, row{Cells: []cell{
			to(s.Username, v.path("/subusers", s.Username)), words(s.Email), number(s.Keys), words(orNone(s.Pool, "the account's")), v.at(s.CreatedAt), s.state(),
		}})
	}
	if len(list) == 200 {
		p.Subusers.Older = v.nextPage(200)
	}
	p.Search = v.find(finder{"/subusers", "name", "Part of a name or address", "No subuser has this in its name or address.", "Show all subusers", nil}, &p.Subusers)
	return v.Render(http.StatusOK, "page_subusers", "Subusers", p)
}

func newSubuserForm(v *desk) form {
	return v.offer(form{Name: "new-subuser", Action: v.path("/subusers/new"), Do: "Add it", Cancel: v.path("/subusers"), Fields: []field{
		{Name: "username", Label: "Name", Required: true, Help: "It cannot be used by another subuser of this installation."},
		{Name: "email", Label: "Address for notices", Kind: "email", Help: "Empty: yours."},
	}}, "POST", apiSubusers)
}

func showNewSubuser(v *desk) error {
	return v.Render(http.StatusOK, "page_form", "Add a subuser", formPage{newSubuserForm(v)})
}

func makeSubuser(v *desk) error {
	name := v.sent("username")
	err := v.Call("POST", apiSubusers, map[string]any{"username": name, "email": v.sent("email"), "ips": []string{}}, nil)
	if err == nil {
		return v.Redirect(v.path("/subusers", name), "The subuser was added. Switch to it in the bar above to make its keys.")
	}
	return v.again(err, newSubuserForm(v), "Add a subuser")
}

// subuserPage shows one subuser.
type subuserPage struct {
	Notices []notice
	Next    []link
	Buttons []button
	Is      facts
	Usage   table
	Forms   []form
}

type planView struct {
	Hour        int64  `json:"hour"`
	Day         int64  `json:"day"`
	Month       int64  `json:"month"`
	Recipients  int64  `json:"recipients"`
	Size        int64  `json:"size"`
	Connections int64  `json:"connections"`
	Over        string `json:"over"`
}

// subuser is the one of the path. What cannot be done to it is barred.
func (v *desk) subuser() (subuserView, error) {
	name := v.id("subuser_name")
	list, err := ask[[]subuserView](v, query(apiSubusers, "username", name))
	if err != nil {
		return subuserView{}, err
	}
	if len(list) != 1 {
		return subuserView{}, notHere()
	}
	s := list[0]
	if s.above(relay.RankOwn) {
		v.bar(s.keptOff("it", "switch it on again, or delete it"), "PATCH "+apiSubuser, "DELETE "+apiSubuser)
	}
	return s, v.unbarred(v.page.Needs...)
}

func showSubuser(v *desk) error {
	s, err := v.subuser()
	if err != nil {
		return err
	}
	return v.showSubuser(http.StatusOK, &s, nil)
}

// showSubuser shows a subuser; refused is a form on its page that was not taken.
func (v *desk) showSubuser(status int, s *subuserView, refused *form) error {
	name := v.id("subuser_name")
	here := v.path("/subusers", name)
	p := subuserPage{Notices: v.whyNot(), Next: slices.Concat([]link{{"Look at it", subuserPath(name, "/")}}, v.changesOf("subuser "+name), v.linkAt("Delete it", here+"/delete", "DELETE", apiSubuser))}
	p.Is.add("State", s.state())
	p.Is.add("Address for notices", words(s.Email))
	p.Is.add("Keys", number(s.Keys))
	p.Is.add("Pool", words(orNone(s.Pool, "the account's")))
	p.Is.add("Since", v.at(s.CreatedAt))
	p.Is.add("Switched off", v.at(s.DisabledAt))
	p.Buttons = append(v.do(switchButton(s.Disabled, "Switch it off", "Switch it on", here+"/switch"), "PATCH", apiSubuser),
		v.do(switchButton(s.WebsiteDisabled, "Keep its people out of the console", "Let its people into the console", here+"/console"), "PATCH", apiSubuser+"/website_access")...)
	p.Usage = usageTable(v, askIf[usageListView](v, apiSubuser+"/usage", under(apiSubusers, name, "usage")).Result)
	p.Forms = v.subuserForms(s)
	if refused != nil {
		for i := range p.Forms {
			if p.Forms[i].Name == refused.Name {
				p.Forms[i] = *refused
			}
		}
	}
	return v.Render(status, "page_subuser", s.Username, p)
}

func switchButton(off bool, words, back, action string) button {
	if off {
		return button{Text: back, Action: action, Hidden: []option{{Value: "disabled", Text: ""}}}
	}
	return button{Text: words, Action: action, Hidden: []option{{Value: "disabled", Text: "on"}}}
}

func (v *desk) subuserForms(s *subuserView) []form {
	name := v.id("subuser_name")
	here := v.path("/subusers", name)
	plan := askIf[planView](v, apiSubuser+"/plan", under(apiSubusers, name, "plan"))
	credits := askIf[struct {
		Type  string  `json:"type"`
		Reset *string `json:"reset_frequency"`
		Total *int64  `json:"total"`
	}](v, apiSubuser+"/credits", under(apiSubusers, name, "credits"))
	reset, total := "monthly", ""
	if credits.Reset != nil {
		reset = *credits.Reset
	}
	if credits.Total != nil {
		total = numberOf(*credits.Total)
	}
	return []form{
		v.offer(form{Name: "plan", Title: "Limits", Action: here + "/plan", Folded: true, Lead: "The account's own limits hold besides.", Fields: planFields(&plan)}, "PATCH", apiSubuser+"/plan"),
		v.offer(form{Name: "credits", Title: "Allowance", Action: here + "/credits", Folded: true, Lead: "A new allowance begins full.", Fields: []field{
			{Name: "type", Label: "Kind", Kind: "select", Options: pick(orNone(credits.Type, "unlimited"), option{Value: "unlimited", Text: "none: only the limits count"},
				option{Value: "recurring", Text: "so many recipients again and again"}, option{Value: "nonrecurring", Text: "so many recipients, once"})},
			{Name: "reset_frequency", Label: "Full again", Kind: "select", Options: pick(reset, option{Value: "monthly", Text: "each month"}, option{Value: "weekly", Text: "each week"}, option{Value: "daily", Text: "each day"})},
			{Name: "total", Label: "Recipients", Kind: "number", Value: total},
		}}, "PUT", apiSubuser+"/credits"),
		v.offer(form{Name: "ips", Title: "Addresses that its mail leaves from", Action: here + "/ips", Folded: true, Lead: s.poolWords(), Fields: []field{
			{Name: "ips", Label: "Addresses", Kind: "textarea", Lines: max(2, len(s.IPs)), Value: strings.Join(s.IPs, "\n"), Help: "All addresses of one pool, one a line. None: the account's own pool."},
		}}, "PUT", apiSubuser+"/ips"),
	}
}

// poolWords says of a subuser's pool what its addresses do not: that it has none in use.
func (s *subuserView) poolWords() string {
	if s.Pool == "" || len(s.IPs) > 0 {
		return ""
	}
	return "No address of its pool " + s.Pool + " is in use now. To save this without addresses gives it the account's own pool."
}

// planFields are the inputs of a plan.
func planFields(p *planView) []field {
	return []field{
		{Name: "hour", Label: "Recipients in any 60 minutes", Kind: "number", Value: numberOf(p.Hour), Help: "Empty: no limit, here and below."},
		{Name: "day", Label: "Recipients a day", Kind: "number", Value: numberOf(p.Day)}, {Name: "month", Label: "Recipients a month", Kind: "number", Value: numberOf(p.Month)},
		{Name: "recipients", Label: "Recipients of one message", Kind: "number", Value: numberOf(p.Recipients)},
		{Name: "size", Label: "Octets of one message", Kind: "number", Value: numberOf(p.Size)},
		{Name: "connections", Label: "Connections at once", Kind: "number", Value: numberOf(p.Connections)},
		{Name: "over", Label: "What is over a limit", Kind: "select", Options: pick(orNone(p.Over, "refuse"),
			option{Value: "refuse", Text: "is refused for now (451)"}, option{Value: "defer", Text: "is accepted, and sent when there is room"})},
	}
}

// sentForm handles a form of a subuser's page.
func (v *desk) sentForm(name, method, path string, body any, err error, done string) error {
	if err == nil {
		err = v.Call(method, path, body, nil)
	}
	here := v.path("/subusers", v.id("subuser_name"))
	if err == nil {
		return v.Redirect(here, done)
	}
	s, failed := v.subuser()
	if failed != nil {
		return failed
	}
	forms := v.subuserForms(&s)
	i := slices.IndexFunc(forms, func(f form) bool { return f.Name == name })
	if i < 0 {
		return err
	}
	f, ok := v.refused(forms[i], err)
	if !ok {
		return err
	}
	return v.showSubuser(formStatus(true), &s, &f)
}

func setSubuserPlan(v *desk) error {
	body := map[string]any{"over": v.sent("over")}
	var failed error
	for _, name := range []string{"hour", "day", "month", "recipients", "size", "connections"} {
		n, err := v.sentNumber(name)
		if err != nil && failed == nil {
			failed = err
		}
		body[name] = n
	}
	return v.sentForm("plan", "PATCH", under(apiSubusers, v.id("subuser_name"), "plan"), body, failed, "The limits were changed.")
}

func setSubuserCredits(v *desk) error {
	body := map[string]any{"type": v.sent("type")}
	total, err := v.sentNumber("total")
	if v.sent("type") != string(relay.CreditsUnlimited) {
		body["total"] = total
	}
	if v.sent("type") == string(relay.CreditsRecurring) {
		body["reset_frequency"] = v.sent("reset_frequency")
	}
	return v.sentForm("credits", "PUT", under(apiSubusers, v.id("subuser_name"), "credits"), body, err, "The allowance was changed.")
}

func setSubuserIPs(v *desk) error {
	return v.sentForm("ips", "PUT", under(apiSubusers, v.id("subuser_name"), "ips"), v.list("ips"), nil, "Its mail leaves from there.")
}

func switchSubuser(v *desk) error {
	name, said := v.id("subuser_name"), "The subuser is switched on."
	if v.on("disabled") {
		said = "The subuser is switched off: its keys do not work, and its queued mail waits."
	}
	return v.change("PATCH", under(apiSubusers, name), map[string]bool{"disabled": v.on("disabled")}, v.path("/subusers", name), said)
}

func switchSubuserConsole(v *desk) error {
	name, said := v.id("subuser_name"), "Its people may use the console."
	if v.on("disabled") {
		said = "Its people are kept out of the console; its keys go on working."
	}
	return v.change("PATCH", under(apiSubusers, name, "website_access"), map[string]bool{"disabled": v.on("disabled")}, v.path("/subusers", name), said)
}

// subuserDeletion is what goes with a subuser.
type subuserDeletion struct {
	Keys        int64       `json:"keys"`
	Queued      int64       `json:"queued_messages"`
	Domains     deletedPart `json:"domains"`
	Senders     deletedPart `json:"senders"`
	People      deletedPart `json:"people"`
	Invitations deletedPart `json:"invitations"`
}

// deletedPart are the things of one kind, and the names of the first of them, where the
// person may list them.
type deletedPart struct {
	Count int64    `json:"count"`
	Names []string `json:"names"`
}

// table is what would be deleted besides keys and mail, kind by kind.
func (d *subuserDeletion) table() table {
	t := table{ID: "deleted", Caption: "What is deleted with it", Head: []string{"What", "How many", "Which"}, Empty: "It has no domains, single senders or people that would be deleted with it."}
	for _, kind := range []struct {
		words string
		deletedPart
	}{{"Domains, with their DKIM keys", d.Domains}, {"Single senders", d.Senders}, {"People", d.People}, {"Invitations", d.Invitations}} {
		if kind.Count == 0 {
			continue
		}
		which := cell{Lines: kind.Names}
		if more := kind.Count - int64(len(kind.Names)); more > 0 && len(kind.Names) > 0 {
			which.Lines = append(which.Lines, "and "+things(more, "other"))
		}
		t.Rows = append(t.Rows, row{Cells: []cell{words(kind.words), number(kind.Count), which}})
	}
	t.slim() // no names to somebody who may not list them
	return t
}

func showSubuserDelete(v *desk) error {
	if _, err := v.subuser(); err != nil {
		return err
	}
	name := v.id("subuser_name")
	var out subuserDeletion
	if err := v.Call("DELETE", query(under(apiSubusers, name), "dry_run", "true"), nil, &out); err != nil {
		return err
	}
	return v.sure(surePage{
		Notice: notice{Tone: toneBad, Title: "This cannot be undone.",
			Text: things(out.Keys, "key") + " would be revoked, and " + things(out.Queued, "queued message") + " dropped. To stop it for a while, switch it off instead."},
		Table:  out.table(),
		Button: button{Text: "Delete it for good", Action: v.path("/subusers", name) + "/delete", Tone: toneDanger}, Back: v.path("/subusers", name),
	}, "Delete "+name)
}

func deleteSubuser(v *desk) error {
	return v.change("DELETE", under(apiSubusers, v.id("subuser_name")), nil, v.path("/subusers"), "The subuser was deleted.")
}

type usageListView struct {
	Result []relay.Usage `json:"result"`
}

// usageTable is what was used of each limit.
func usageTable(v *desk, list []relay.Usage) table {
	t := table{ID: "usage", Caption: "What was used", Head: []string{"Of", "In", "Used", "Limit", "Left", "Empty again"}}
	for _, u := range list {
		limit, left := words("none"), words("no limit")
		if u.Limit > 0 {
			limit, left = number(u.Limit), number(max(u.Remaining, 0))
			left.Bar = int(100 * max(u.Remaining, 0) / u.Limit)
		}
		of := words(orNone(u.Name, u.Subject))
		of.Note = u.Subject
		t.Rows = append(t.Rows, row{Cells: []cell{of, words(string(u.Window)), number(u.Used), limit, left, v.at(u.ResetsAt)}})
	}
	return t
}
