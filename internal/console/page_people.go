package console

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/internal/people"
	"postern/internal/relay"
)

const (
	apiPeople  = "/v3/teammates"
	apiPerson  = apiPeople + "/{username}"
	apiInvites = apiPeople + "/pending"
	apiInvite  = apiInvites + "/{token}"
)

// personPages are the pages of people.
var personPages = []page{
	{Method: "GET", Pattern: "/people", Title: "People", Group: "Account", Nav: "People", Needs: []string{"GET " + apiPeople}, Handler: onDesk(showPeople)},
	{Method: "GET", Pattern: "/people/invite", Title: "Invite somebody", StepUp: true, Needs: []string{"POST " + apiPeople}, Handler: onDesk(showInvite)},
	{Method: "POST", Pattern: "/people/invite", Title: "Invite somebody", Needs: []string{"POST " + apiPeople}, Handler: onDesk(invite)},
	{Method: "POST", Pattern: "/invitations/{token}/resend", Title: "Invitation", Needs: []string{"POST " + apiInvite + "/resend"}, Handler: onDesk(resendInvite)},
	{Method: "POST", Pattern: "/invitations/{token}/withdraw", Title: "Invitation", Needs: []string{"DELETE " + apiInvite}, Handler: onDesk(withdrawInvite)},
	{Method: "GET", Pattern: "/people/{person}", Title: "Person", Needs: []string{"GET " + apiPerson}, Handler: onDesk(showPerson)},
	{Method: "GET", Pattern: "/people/{person}/edit", Title: "Person", StepUp: true, Needs: []string{"PATCH " + apiPerson}, Handler: onDesk(showPersonEdit)},
	{Method: "POST", Pattern: "/people/{person}/edit", Title: "Person", Needs: []string{"PATCH " + apiPerson}, Handler: onDesk(editPerson)},
	{Method: "GET", Pattern: "/people/{person}/do/{action}", Title: "Person", StepUp: true, Needs: []string{"GET " + apiPerson}, Handler: onDesk(showPersonAction)},
	{Method: "POST", Pattern: "/people/{person}/do/{action}", Title: "Person", Needs: []string{"GET " + apiPerson}, Handler: onDesk(doPersonAction)},
	{Method: "GET", Pattern: "/people/{person}/sso/{sso}/remove", Title: "Unlink single sign-on", StepUp: true, Needs: []string{needUnlink}, Handler: onDesk(showPersonUnlink)},
	{Method: "POST", Pattern: "/people/{person}/sso/{sso}/remove", Title: "Unlink single sign-on", Needs: []string{needUnlink}, Handler: onDesk(unlinkPerson)},
	{Method: "POST", Pattern: "/people/{person}/sessions/{session}/end", Title: "Person", Needs: []string{"DELETE " + apiPerson + "/sessions/{id}"}, Handler: onDesk(endPersonSession)},
}

type personView struct {
	Username      string    `json:"username"`
	FirstName     string    `json:"first_name"`
	LastName      string    `json:"last_name"`
	Email         string    `json:"email"`
	Scopes        []string  `json:"scopes"`
	Role          string    `json:"role"`
	Subuser       string    `json:"subuser"`
	Restricted    bool      `json:"restricted"`
	Subusers      []string  `json:"subusers"`
	SecondFactor  bool      `json:"second_factor"`
	TOTP          bool      `json:"totp"`
	Passkeys      int64     `json:"passkeys"`
	RecoveryCodes int64     `json:"recovery_codes"`
	Password      bool      `json:"password"`
	PasswordAt    time.Time `json:"password_at"`
	Disabled      bool      `json:"disabled"`
	CreatedAt     time.Time `json:"created_at"`
	InvitedBy     string    `json:"invited_by"`
	SeenAt        time.Time `json:"last_seen_at"`
	SeenFrom      string    `json:"last_seen_from"`
	switcher

	SingleSignOn []signOnView `json:"single_sign_on"` // of one person only
}

func (p *personView) name() string {
	return orNone(strings.TrimSpace(p.FirstName+" "+p.LastName), p.Username)
}

// issuedBy is before the name of the issuer in the word on who invited somebody whom
// single sign-on brought.
const issuedBy = "sso "

// issuer is the issuer of single sign-on that brought a person, and says anew at each
// login what they may do; "": none did.
func (p *personView) issuer() string {
	name, _ := strings.CutPrefix(p.InvitedBy, issuedBy) // a user name has no spaces
	if name == p.InvitedBy {
		return ""
	}
	return name
}

// factor is the state of the second factor in words.
func (p *personView) factor() cell {
	if by := p.issuer(); !p.SecondFactor && by != "" {
		return cell{Badges: []badge{{"none here", toneInfo}}, Note: by + " vouches for one, or they set one up at their next login."}
	}
	if !p.SecondFactor {
		return tagged("none", toneBad)
	}
	var have []string
	if p.TOTP {
		have = append(have, "authenticator app")
	}
	if p.Passkeys > 0 {
		have = append(have, things(p.Passkeys, "passkey"))
	}
	c := tagged(orNone(strings.Join(have, ", "), "yes"), toneOK)
	if p.RecoveryCodes < 3 {
		c.Badges = append(c.Badges, badge{things(p.RecoveryCodes, "recovery code") + " left", toneWarn})
	}
	return c
}

// roleOptions are the roles in words.
var roleOptions = []option{
	{Value: string(relay.RoleOwner), Text: "Owner", Note: "Everything. An account has at least one."},
	{Value: string(relay.RoleAdmin), Text: "Admin", Note: "Everything but billing and what only owners change."},
	{Value: string(relay.RoleDeveloper), Text: "Developer", Note: "Keys, domains, senders, mail and what became of it."},
	{Value: string(relay.RoleAuditor), Text: "Auditor", Note: "Sees all, changes nothing."},
	{Value: string(relay.RoleCustom), Text: "Custom", Note: "What is chosen below."},
}

func roleWord(role string) string {
	for _, o := range roleOptions {
		if o.Value == role {
			return o.Text
		}
	}
	return role
}

// peoplePage lists people and invitations.
type peoplePage struct {
	Next    []link
	People  table
	Pending table
}

func showPeople(v *desk) error {
	all := apiPeople + "?limit=200"
	// A subuser has none below it, and may not ask for them; nor may who does not see
	// subusers.
	if v.Tenant.Subuser.IsZero() && v.Principal.Allows("subusers.read") {
		all += "&subusers=true"
	}
	list, err := ask[struct{ Result []personView }](v, query(all, "offset", v.sent("offset")))
	if err != nil {
		return err
	}
	p := peoplePage{Next: v.linkIf("Invite somebody", "/people/invite", "POST", apiPeople)}
	p.People = table{ID: "people", Caption: "People", Head: []string{"Name", "Address", "Role", "Second factor", "Last seen", "State"}, Next: p.Next, Empty: "There is nobody here."}
	for _, x := range list.Result {
		here := v.path("/people", x.Username)
		if x.Subuser != "" && v.Behalf == "" && v.Tenant.Subuser.IsZero() {
			here = subuserPath(x.Subuser, here)
		}
		name := to(x.name(), here)
		name.Note = x.Username
		if by := x.issuer(); by != "" {
			name.Badges = []badge{{"by " + by, toneInfo}}
		}
		role := words(roleWord(x.Role))
		switch {
		case x.Subuser != "":
			role.Note = "of the subuser " + x.Subuser
		case x.Restricted:
			role.Note = "only " + strings.Join(x.Subusers, ", ")
		}
		seen := v.at(x.SeenAt)
		seen.Note = placeWords(x.SeenFrom, "", "")
		if x.SeenAt.IsZero() {
			seen = words("never")
		}
		state := tagged("active", toneOK)
		if x.Disabled {
			state = tagged("switched off", toneMute)
		}
		p.People.Rows = append(p.People.Rows, row{Cells: []cell{name, words(x.Email), role, x.factor(), seen, state}})
	}
	if len(list.Result) == 200 {
		p.People.Older = v.nextPage(200)
	}
	p.Pending = v.pendingTable()
	return v.Render(http.StatusOK, "page_people", "People", p)
}

func (v *desk) pendingTable() table {
	list := askIf[struct {
		Result []struct {
			Token      string    `json:"token"`
			Email      string    `json:"email"`
			Role       string    `json:"role"`
			Scopes     []string  `json:"scopes"`
			Restricted bool      `json:"restricted"`
			ExpiresAt  time.Time `json:"expires_at"`
			Expired    bool      `json:"expired"`
			InvitedBy  string    `json:"invited_by"`
			CreatedAt  time.Time `json:"created_at"`
		} `json:"result"`
	}](v, apiInvites, apiInvites)
	t := table{ID: "pending", Caption: "Invited, and not here yet", Head: []string{"Address", "Role", "Invited", "Link works until", ""}}
	for _, i := range list.Result {
		invited := v.at(i.CreatedAt)
		invited.Note = whoWords(i.InvitedBy)
		ends := v.at(i.ExpiresAt)
		if i.Expired {
			ends.Badges = []badge{{"over", toneWarn}}
		}
		here := v.path("/invitations", i.Token)
		var do []button
		if v.mayGive(i.Role, i.Scopes, i.Restricted) { // its life is prolonged
			do = v.do(button{Text: "Mail a new link", Label: i.Email, Action: here + "/resend"}, "POST", apiInvite+"/resend")
		}
		if i.Role != string(relay.RoleOwner) || v.isOwner() {
			do = append(do, v.do(button{Text: "Withdraw", Label: i.Email, Action: here + "/withdraw"}, "DELETE", apiInvite)...)
		}
		t.Rows = append(t.Rows, row{Cells: []cell{words(i.Email), words(roleWord(i.Role)), invited, ends, {Do: do}}})
	}
	return t
}

// grantFields are the inputs for what a person may do.
func (v *desk) grantFields(x *personView) []field {
	fields := []field{{Name: "role", Label: "Role", Kind: "radio", Options: v.rolesFor(x)}}
	if v.Behalf == "" && v.May("GET", apiSubusers) {
		fields = append(fields,
			field{Name: "restricted", Label: "Sees only these subusers, and nothing of the account's own", Kind: "check", On: x.Restricted},
			field{Name: "subusers", Label: "Subusers", Kind: "textarea", Lines: 3, Value: lines(x.Subusers), Help: "Their names, one a line."})
	}
	var scopes []string
	if x.Role == string(relay.RoleCustom) {
		scopes = x.Scopes
	}
	custom := scopeFields(scopes, unite(v.Scopes(), scopes))
	custom[0].Label = "With the role custom"
	return append(fields, custom...)
}

// sentGrant is what a form says that a person may do; x is what they may now. What was
// chosen and would not count is an error of its field: they would get more than it says.
func (v *desk) sentGrant(x *personView) (map[string]any, error) {
	body := map[string]any{"role": v.sent("role")}
	scopes := v.sentScopes()
	switch {
	case v.sent("role") == string(relay.RoleCustom):
		body["scopes"] = scopes
	case len(scopes) > 0 && !(x.Role == string(relay.RoleCustom) && slices.Equal(scopes, slices.Sorted(slices.Values(x.Scopes)))):
		return nil, &relay.Error{Kind: relay.Invalid, Field: "area", Public: "This counts with the role custom only. Choose that role, or nothing here."}
	}
	if v.Behalf == "" && v.May("GET", apiSubusers) {
		body["restricted"] = v.on("restricted")
		switch names := v.sentLines("subusers"); {
		case v.on("restricted"):
			body["subusers"] = names
		case len(names) > 0 && !slices.Equal(names, x.Subusers):
			return nil, &relay.Error{Kind: relay.Invalid, Field: "subusers", Public: "Without the box above they see the whole account. Tick it, or name nobody here."}
		}
	}
	return body, nil
}

func inviteForm(v *desk) form {
	fields := append([]field{{Name: "email", Label: "Address", Kind: "email", Required: true}}, v.grantFields(&personView{})...)
	return v.offer(form{Name: "invite", Action: v.path("/people/invite"), Do: "Mail the invitation", Fields: fields, Cancel: v.path("/people"),
		Lead: strings.TrimSpace("A link is mailed that works once, for seven days. Nobody can be given more than you have. " + people.LocalLinks(v.Console.URL()))}, "POST", apiPeople)
}

func showInvite(v *desk) error {
	return v.Render(http.StatusOK, "page_form", "Invite somebody", formPage{inviteForm(v)})
}

func invite(v *desk) error {
	body, err := v.sentGrant(&personView{})
	if err == nil {
		body["email"] = v.sent("email")
		err = v.Call("POST", apiPeople, body, nil)
	}
	if err == nil {
		return v.linkMailed(v.path("/people"), "The invitation was mailed.")
	}
	return v.again(err, inviteForm(v), "Invite somebody")
}

// linkMailed says that a link was mailed, and whom it does not help.
func (v *desk) linkMailed(to, done string) error {
	if warning := people.LocalLinks(v.Console.URL()); warning != "" {
		return v.Warn(to, done+" "+warning)
	}
	return v.Redirect(to, done)
}

func resendInvite(v *desk) error {
	err := v.Call("POST", under(apiInvites, v.id("token"), "resend"), nil, nil)
	if said, ok := refusedText(err); ok {
		return v.Refuse(v.path("/people"), said)
	}
	if err != nil {
		return err
	}
	return v.linkMailed(v.path("/people"), "A new link was mailed; the old one ended.")
}

func withdrawInvite(v *desk) error {
	return v.change("DELETE", under(apiInvites, v.id("token")), nil, v.path("/people"), "The invitation was withdrawn.")
}

// personPage shows one person.
type personPage struct {
	Notices  []notice
	Next     []link
	Is       facts
	Factors  facts
	SignOns  table
	Sessions table
	Keys     table
}

// person is the one of the path. What cannot be done to them is barred.
func (v *desk) person() (personView, error) {
	x, err := ask[personView](v, under(apiPeople, v.id("person")))
	if err == nil {
		v.barPerson(&x)
		err = v.unbarred(v.page.Needs...)
	}
	return x, err
}

func showPerson(v *desk) error {
	x, err := v.person()
	if err != nil {
		return err
	}
	here := v.path("/people", v.id("person"))
	p := personPage{Notices: v.whyNot(), Next: []link{{"Your own profile", "/profile"}}}
	if x.Username != v.Open.User.Username {
		p.Next = v.personLinks(&x, here)
	}
	p.Next = append(p.Next, v.linkAt("Their logins", query(v.path("/logins"), "tried", x.Username), "GET", apiLogins)...)
	p.Is.add("User name", words(x.Username))
	p.Is.add("Address", words(x.Email))
	role := words(roleWord(x.Role))
	if by := x.issuer(); by != "" {
		role.Note = "by their groups at " + by + ", set anew at each login"
		p.Is.add("Single sign-on", cell{Text: by, Note: "It brought them here, and says what they may do."})
	}
	p.Is.add("Role", role)
	p.Is.add("May", cell{Lines: scopeWords(x.Scopes)})
	p.Is.add("Of the subuser", words(x.Subuser))
	if x.Restricted {
		p.Is.add("Sees only", cell{Lines: x.Subusers})
	}
	since := cell{Time: momentOf(v.Now, x.CreatedAt)}
	if x.issuer() == "" && x.InvitedBy != "" {
		since.Note = "invited by " + whoWords(x.InvitedBy)
	}
	p.Is.add("Here since", since)
	p.Is.add("Last seen", cell{Time: momentOf(v.Now, x.SeenAt), Note: placeWords(x.SeenFrom, "", "")})
	p.Is.add("Switched off", v.at(x.DisabledAt))
	p.Factors.Title = "How they log in"
	p.Factors.add("Second factor", x.factor())
	p.Factors.add("Recovery codes left", number(x.RecoveryCodes))
	password := words("none")
	if x.Password {
		password = cell{Text: "since", Time: momentOf(v.Now, x.PasswordAt)}
	}
	p.Factors.add("Password", password)
	p.SignOns, p.Sessions = v.signOnTable(&x), v.sessionTable()
	if p.Keys, err = v.keysMadeBy(&x); err != nil {
		return err
	}
	if v.May("GET", apiKeys) {
		p.Keys.Empty = "They made none of the keys that there are."
	}
	return v.Render(http.StatusOK, "page_person", x.name(), p)
}

// personLinks lead to what can be done about a person.
func (v *desk) personLinks(x *personView, here string) []link {
	out := v.linkAt("Change what they may do", here+"/edit", "PATCH", apiPerson)
	for _, a := range personActions {
		if a.fits(x) {
			out = append(out, v.linkAt(a.title, here+"/do/"+a.name, a.method, a.pattern)...)
		}
	}
	return append(out, v.linkAt("What they changed", query(v.path("/changes"), "by", "user "+x.Username), "GET", apiChanges)...)
}

// whoWords is who did something as people say it: "uid 0" is whoever is root on the
// host.
func whoWords(by string) string {
	if strings.HasPrefix(by, "uid ") {
		return "the operator (" + by + " on the host)"
	}
	return by
}

func (v *desk) sessionTable() table {
	person := v.id("person")
	list := askIf[struct {
		Result []struct {
			ID        string    `json:"id"`
			Level     string    `json:"level"`
			Method    string    `json:"method"`
			Addr      string    `json:"addr"`
			Agent     string    `json:"user_agent"`
			CreatedAt time.Time `json:"created_at"`
			SeenAt    time.Time `json:"last_seen_at"`
			Current   bool      `json:"current"`
		} `json:"result"`
	}](v, apiPerson+"/sessions", under(apiPeople, person, "sessions"))
	t := table{ID: "sessions", Caption: "Where they are logged in", Head: []string{"From", "Browser", "By", "Since", "Last seen", ""}}
	if v.May("GET", apiPerson+"/sessions") {
		t.Empty = "They are logged in nowhere."
	}
	for _, s := range list.Result {
		from := words(s.Addr)
		if s.Current {
			from.Badges = []badge{{"this one", toneInfo}}
		}
		by := words(methodText(s.Method))
		if s.Level != string(relay.SessionFull) {
			by.Note = "not all the way: " + s.Level
		}
		end := v.do(button{Text: "End", Label: "the session from " + s.Addr, Action: v.path("/people", person, "sessions", s.ID) + "/end"}, "DELETE", apiPerson+"/sessions/{id}")
		t.Rows = append(t.Rows, row{Mark: s.Current, Cells: []cell{from, words(browser(s.Agent)), by, v.at(s.CreatedAt), v.at(s.SeenAt), {Do: end}}})
	}
	return t
}

func endPersonSession(v *desk) error {
	person := v.id("person")
	return v.change("DELETE", under(apiPeople, person, "sessions", v.id("session")), nil, v.path("/people", person), "The session was ended.")
}

func personEditForm(v *desk, x *personView) form {
	here := v.path("/people", v.id("person"))
	f := form{Name: "edit-person", Action: here + "/edit", Fields: v.grantFields(x), Cancel: here}
	if by := x.issuer(); by != "" {
		f.Lead = "What you choose here holds until they log in by " + by + " again: then their groups there say what they may do. To change it for good, change their groups."
	}
	return v.offer(f, "PATCH", apiPerson)
}

func showPersonEdit(v *desk) error {
	x, err := v.person()
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_form", "What "+x.name()+" may do", formPage{personEditForm(v, &x)})
}

func editPerson(v *desk) error {
	x, err := v.person()
	if err != nil {
		return err
	}
	body, err := v.sentGrant(&x)
	if err == nil {
		err = v.Call("PATCH", under(apiPeople, v.id("person")), body, nil)
	}
	if err == nil {
		return v.Redirect(v.path("/people", v.id("person")), "What they may do was changed.")
	}
	return v.again(err, personEditForm(v, &x), "What "+x.name()+" may do")
}
