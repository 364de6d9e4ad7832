package console

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	apiRules    = "/v3/access_settings/whitelist"
	apiRule     = apiRules + "/{rule_id}"
	apiMode     = "/v3/access_settings/mode"
	apiActivity = "/v3/access_settings/activity"
	apiBans     = "/v3/access_settings/bans"
	apiTrialEnd = "/v3/access_settings/confirm"
	apiRevert   = "/v3/access_settings/revert"
)

// accessPages are the pages of IP access.
var accessPages = []page{
	{Method: "GET", Pattern: "/access", Title: "IP access", Group: "Security", Nav: "IP access", Needs: []string{"GET " + apiRules}, Handler: onDesk(showAccess)},
	{Method: "GET", Pattern: "/access/preview", Title: "What this would change", Needs: []string{"POST " + apiRules}, StepUp: true, Handler: onDesk(previewRules)},
	{Method: "POST", Pattern: "/access/add", Title: "What this would change", Needs: []string{"POST " + apiRules}, Handler: onDesk(addRules)},
	{Method: "GET", Pattern: "/access/{rule}/remove", Title: "Remove an entry", Needs: []string{"DELETE " + apiRule}, StepUp: true, Handler: onDesk(showRuleRemove)},
	{Method: "POST", Pattern: "/access/{rule}/remove", Title: "Remove an entry", Needs: []string{"DELETE " + apiRule}, Handler: onDesk(removeRule)},
	{Method: "POST", Pattern: "/access/mode", Title: "IP access", Needs: []string{"PATCH " + apiMode}, Handler: onDesk(setAccessMode)},
	{Method: "POST", Pattern: "/access/keep", Title: "IP access", Needs: []string{"POST " + apiTrialEnd}, Handler: onDesk(keepTrial)},
	{Method: "POST", Pattern: "/access/revert", Title: "IP access", Needs: []string{"POST " + apiRevert}, Handler: onDesk(revertTrial)},
	{Method: "POST", Pattern: "/access/lift", Title: "Lift a ban", Needs: []string{"DELETE " + apiBans + "/{scope}/{subject}"}, Handler: onDesk(liftBan)},
}

type ruleView struct {
	ID        int64  `json:"id"`
	IP        string `json:"ip"`
	Host      string `json:"host"`
	Note      string `json:"note"`
	CreatedAt int64  `json:"created_at"`
}

type ruleListView struct {
	Result     []ruleView `json:"result"`
	TrialUntil time.Time  `json:"trial_until"`
}

type activityView struct {
	Result []activityEntry `json:"result"`
}

type activityEntry struct {
	Allowed bool   `json:"allowed"`
	Method  string `json:"auth_method"`
	FirstAt int64  `json:"first_at"`
	IP      string `json:"ip"`
	LastAt  int64  `json:"last_at"`
	Place   string `json:"location"`
	Count   int64  `json:"count"`
}

// accessPage is the list of who may come in, and who tried.
type accessPage struct {
	Notices  []notice
	Trial    []button
	Mode     []button
	Rules    table
	Add      form
	Activity table
	Bans     table
}

func showAccess(v *desk) error {
	list, err := ask[ruleListView](v, apiRules)
	if err != nil {
		return err
	}
	mode := askIf[struct {
		Monitor bool       `json:"monitor"`
		Trial   *time.Time `json:"trial_until"`
	}](v, apiMode, apiMode)
	p := accessPage{Rules: v.ruleTable(list.Result), Add: v.ruleForm(), Activity: v.activityTable(list.Result), Bans: v.banTable()}
	here := v.Addr()
	switch inside := within(list.Result, here); {
	case len(list.Result) == 0:
		p.Notices = append(p.Notices, notice{Tone: toneWarn, Title: "Everybody may try to log in.",
			Text: "The list is empty, so keys and people may come from anywhere. You come from " + here + " now."})
	case mode.Monitor:
		p.Notices = append(p.Notices, notice{Tone: toneWarn, Title: "The list only watches.",
			Text: "Nobody is refused; the logins say who would have been. You come from " + here + "."})
	case inside:
		p.Notices = append(p.Notices, notice{Tone: toneOK, Text: "You come from " + here + ", which the list lets in."})
	default:
		p.Notices = append(p.Notices, notice{Tone: toneWarn, Text: "You come from " + here + ", which no network in the list has. A host name may let you in."})
	}
	if trial := mode.Trial; trial != nil && !trial.IsZero() {
		m := momentOf(v.Now, *trial)
		p.Notices = append(p.Notices, notice{Tone: toneInfo, Title: "A change is on trial.",
			Text: "It undoes itself at " + m.Human() + " (" + m.Words + ") unless you keep it."})
		p.Trial = append(v.do(button{Text: "Keep it", Action: v.path("/access/keep"), Tone: "primary"}, "POST", apiTrialEnd),
			v.do(button{Text: "Undo it now", Action: v.path("/access/revert")}, "POST", apiRevert)...)
	}
	if len(list.Result) > 0 {
		b := button{Text: "Only watch for now", Action: v.path("/access/mode"), Hidden: []option{{Value: "monitor", Text: "on"}}}
		if mode.Monitor {
			b = button{Text: "Refuse from now on", Action: v.path("/access/mode"), Tone: "primary"}
		}
		p.Mode = v.do(b, "PATCH", apiMode)
	}
	return v.Render(http.StatusOK, "page_access", "IP access", p)
}

func (v *desk) ruleTable(rules []ruleView) table {
	t := table{ID: "rules", Caption: "Who may come in", Head: []string{"Network or host", "Note", "Since", ""}, Empty: "The list is empty: it is off."}
	here := v.Addr()
	for _, r := range rules {
		name := code(orNone(r.Host, r.IP))
		mine := holds(r.IP, here)
		if mine {
			name.Badges = []badge{{"you are here", toneInfo}}
		}
		remove := cell{}
		if v.May("DELETE", apiRule) {
			remove = to("Remove", v.path("/access", strconv.FormatInt(r.ID, 10))+"/remove")
		}
		t.Rows = append(t.Rows, row{Mark: mine, Cells: []cell{name, words(r.Note), v.at(unix(r.CreatedAt)), remove}})
	}
	return t
}

func (v *desk) activity() activityView {
	return askIf[activityView](v, apiActivity, apiActivity+"?limit=200")
}

func (v *desk) activityTable(rules []ruleView) table {
	t := table{ID: "activity", Caption: "Who tried lately", Head: []string{"Address", "By", "Times", "First", "Last", "Let in"}}
	here := v.Addr()
	for _, a := range v.activity().Result {
		addr := words(a.IP)
		if v.May("GET", apiLogins) {
			addr.Href = query(v.path("/logins"), "addr", a.IP)
		}
		addr.Note = a.Place
		if a.IP == here {
			addr.Badges = []badge{{"you", toneInfo}}
		}
		allowed := tagged("no", toneBad)
		if a.Allowed {
			allowed = tagged("yes", toneOK)
		}
		t.Rows = append(t.Rows, row{Mark: a.IP == here, Cells: []cell{addr, words(a.Method), number(a.Count), v.at(unix(a.FirstAt)), v.at(unix(a.LastAt)), allowed}})
	}
	return t
}

func (v *desk) banTable() table {
	list := askIf[struct{ Result []relay.Ban }](v, apiBans, apiBans)
	t := table{ID: "bans", Caption: "Refused for a while, because of failed logins", Head: []string{"What", "Failures", "Since", "Until", ""}}
	for _, b := range list.Result {
		lift := v.do(button{
			Text: "Lift", Label: b.Subject, Action: v.path("/access/lift"),
			Hidden: []option{{Value: "scope", Text: string(b.Scope)}, {Value: "subject", Text: b.Subject}},
		}, "DELETE", apiBans+"/{scope}/{subject}")
		what := words(string(b.Scope) + " " + b.Subject)
		what.Note = b.By
		t.Rows = append(t.Rows, row{Cells: []cell{what, number(b.Failures), v.at(b.Since), v.at(b.Until), {Do: lift}}})
	}
	return t
}

func (v *desk) ruleForm() form {
	return v.offer(form{
		Name: "add", Title: "Let somebody in", Get: true, Action: v.path("/access/preview"), Do: "Show what this would change",
		Fields: []field{
			{Name: "ips", Label: "Networks or hosts", Kind: "textarea", Lines: 3, Required: true,
				Help: "Addresses, networks such as 192.0.2.0/24, or host names, one a line. You come from " + v.Addr() + "."},
			{Name: "note", Label: "Note", Help: "Whose they are."},
			trialField(),
		},
	}, "POST", apiRules)
}

func trialField() field {
	return field{Name: "trial_seconds", Label: "Try it first", Kind: "select", Options: pick("600",
		option{Value: "0", Text: "no: it counts from now on"}, option{Value: "600", Text: "it undoes itself after 10 minutes unless I keep it"},
		option{Value: "3600", Text: "it undoes itself after an hour unless I keep it"}, option{Value: "86400", Text: "it undoes itself after a day unless I keep it"}),
		Help: "A list that shuts you out by mistake comes back by itself."}
}

// previewPage is what a change of the list would do, before it is made.
type previewPage struct {
	Notices []notice
	Seen    table
	Form    form
	Mine    form // adds the caller's own address, too
}

func previewRules(v *desk) error { return v.preview(http.StatusOK, nil) }

// preview shows what the entries that were sent would change; err is why the API
// did not take them.
func (v *desk) preview(status int, refusal error) error {
	list, err := ask[ruleListView](v, apiRules)
	if err != nil {
		return err
	}
	entries := v.sentList("ips")
	if len(entries) == 0 {
		return v.Redirect(v.path("/access"), "Name at least one address, network or host.")
	}
	next := slices.Clone(list.Result)
	for _, e := range entries {
		next = append(next, ruleView{IP: e})
	}
	p := previewPage{Seen: v.shutOut(next)}
	p.Form = v.offer(form{
		Name: "change", Action: v.path("/access/add"), Do: "Change the list", Cancel: v.path("/access"),
		Fields: []field{
			{Name: "ips", Kind: "hidden", Value: lines(entries)}, {Name: "note", Kind: "hidden", Value: v.sent("note")},
			{Name: "trial_seconds", Kind: "hidden", Value: v.sent("trial_seconds")},
		},
	}, "POST", apiRules)
	here := v.Addr()
	if !within(next, here) {
		p.Notices = append(p.Notices, notice{Tone: toneBad, Title: "You would shut yourself out.",
			Text: "You come from " + here + ", and no network in the new list has it. Add your own address, too, or try the change for a while first."})
		p.Mine = p.Form
		p.Mine.Name, p.Mine.Do, p.Mine.Cancel = "mine", "Add my own address "+here+", too", ""
		p.Mine.Action, p.Mine.Get = v.path("/access/preview"), true
		p.Mine.Fields = slices.Clone(p.Form.Fields)
		p.Mine.Fields[0].Value = lines(append(slices.Clone(entries), here))
		p.Form.Fields = append(p.Form.Fields, confirmField())
		p.Form.Tone = toneDanger
	}
	if refusal != nil { // here it can be mended
		p.Form.Fields[0].Kind, p.Form.Fields[0].Label, p.Form.Fields[0].Lines = "textarea", "Networks or hosts", 3
		f, ok := v.refused(p.Form, refusal)
		if !ok {
			return refusal
		}
		p.Form = f
	}
	return v.Render(status, "page_access_preview", "What this would change", p)
}

func confirmField() field {
	return field{Name: "confirm", Label: "I mean it, even if it shuts me out", Kind: "check"}
}

// shutOut says of everybody who was let in lately, and of the caller, what a list
// would mean for them.
func (v *desk) shutOut(next []ruleView) table {
	t := table{ID: "effect", Caption: "What the new list means for those who came in lately", Head: []string{"Address", "By", "Last", "Then"}}
	hosts := slices.ContainsFunc(next, func(r ruleView) bool { return r.Host != "" || !isNetwork(r.IP) })
	here := v.Addr()
	came := slices.DeleteFunc(v.activity().Result, func(a activityEntry) bool { return !a.Allowed })
	if !slices.ContainsFunc(came, func(a activityEntry) bool { return a.IP == here }) {
		// What has just happened may not stand in the record yet.
		came = slices.Insert(came, 0, activityEntry{IP: here, Method: "this session", LastAt: v.Now.Unix()})
	}
	for _, a := range came {
		then := tagged("shut out", toneBad)
		switch {
		case len(next) == 0 || within(next, a.IP):
			then = tagged("let in", toneOK)
		case hosts:
			then = tagged("shut out, unless a host name has it", toneWarn)
		}
		addr := words(a.IP)
		if a.IP == here {
			addr.Badges = []badge{{"you", toneInfo}}
		}
		t.Rows = append(t.Rows, row{Mark: a.IP == here, Cells: []cell{addr, words(a.Method), v.at(unix(a.LastAt)), then}})
	}
	return t
}

func addRules(v *desk) error {
	seconds, err := v.sentNumber("trial_seconds")
	type entry struct {
		IP   string `json:"ip"`
		Note string `json:"note,omitempty"`
	}
	body := struct {
		IPs     []entry `json:"ips"`
		Confirm bool    `json:"confirm,omitempty"`
		Trial   int64   `json:"trial_seconds,omitempty"`
	}{Confirm: v.on("confirm"), Trial: seconds}
	for _, e := range v.sentList("ips") {
		body.IPs = append(body.IPs, entry{e, v.sent("note")})
	}
	if err == nil {
		err = v.Call("POST", apiRules, body, nil)
	}
	if err == nil {
		return v.Redirect(v.path("/access"), "The list was changed.")
	}
	return v.preview(http.StatusConflict, err)
}

func showRuleRemove(v *desk) error { return v.showRuleRemove(http.StatusOK, nil) }

func (v *desk) showRuleRemove(status int, refusal error) error {
	list, err := ask[ruleListView](v, apiRules)
	if err != nil {
		return err
	}
	id := v.id("rule")
	i := slices.IndexFunc(list.Result, func(r ruleView) bool { return strconv.FormatInt(r.ID, 10) == id })
	if i < 0 {
		return notHere()
	}
	gone := list.Result[i]
	next := slices.Delete(slices.Clone(list.Result), i, i+1)
	p := previewPage{Seen: v.shutOut(next)}
	trial := trialField()
	p.Form = v.offer(form{Name: "remove", Action: v.path("/access", id) + "/remove", Do: "Remove it", Tone: toneDanger, Cancel: v.path("/access"), Fields: []field{trial}}, "DELETE", apiRule)
	switch {
	case len(next) == 0:
		p.Notices = append(p.Notices, notice{Tone: toneWarn, Title: "This is the last entry.", Text: "Without it the list is off, and everybody may try to log in."})
	case !within(next, v.Addr()):
		p.Notices = append(p.Notices, notice{Tone: toneBad, Title: "You would shut yourself out.",
			Text: "You come from " + v.Addr() + ". Add a network that has it before you remove this one."})
		p.Form.Fields = append(p.Form.Fields, confirmField())
	}
	if refusal != nil {
		f, ok := v.refused(p.Form, refusal)
		if !ok {
			return refusal
		}
		p.Form = f
	}
	return v.Render(status, "page_access_preview", "Remove "+orNone(gone.Host, gone.IP), p)
}

func removeRule(v *desk) error {
	path := query(under(apiRules, v.id("rule")), "trial_seconds", v.sent("trial_seconds"))
	if v.on("confirm") {
		path = query(path, "confirm", "true")
	}
	err := v.Call("DELETE", path, nil, nil)
	if err == nil {
		return v.Redirect(v.path("/access"), "The entry was removed.")
	}
	return v.showRuleRemove(http.StatusConflict, err)
}

func setAccessMode(v *desk) error {
	said := "The list refuses again."
	if v.on("monitor") {
		said = "The list only watches now: nobody is refused."
	}
	return v.change("PATCH", apiMode, map[string]bool{"monitor": v.on("monitor")}, v.path("/access"), said)
}

func keepTrial(v *desk) error {
	return v.change("POST", apiTrialEnd, nil, v.path("/access"), "The list stays as it is.")
}

func revertTrial(v *desk) error {
	return v.change("POST", apiRevert, map[string]bool{}, v.path("/access"), "The list is what it was before the trial.")
}

func liftBan(v *desk) error {
	return v.change("DELETE", under(apiBans, v.sent("scope"), v.sent("subject")), nil, v.path("/access"), "The ban was lifted.")
}

// within reports whether a list's networks have an address. Host names are not
// looked up.
func within(rules []ruleView, addr string) bool {
	return slices.ContainsFunc(rules, func(r ruleView) bool { return holds(r.IP, addr) })
}

// holds reports whether an entry, as it is typed or listed, has an address.
func holds(entry, addr string) bool {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return false
	}
	if p, err := netip.ParsePrefix(entry); err == nil {
		return p.Contains(a)
	}
	if b, err := netip.ParseAddr(entry); err == nil {
		return a.Unmap() == b.Unmap()
	}
	if head, ok := strings.CutSuffix(entry, "*"); ok && strings.Trim(head, "0123456789.*") == "" { // 192.0.*.*
		head, _, _ = strings.Cut(head, "*")
		return strings.HasPrefix(a.Unmap().String(), head) && a.Unmap().Is4()
	}
	return false
}
