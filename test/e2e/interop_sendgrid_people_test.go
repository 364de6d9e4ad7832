package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// teammateAnswer is what SendGrid's clients read of a person.
type teammateAnswer struct {
	Username string   `json:"username"`
	Email    string   `json:"email"`
	Scopes   []string `json:"scopes"`
	UserType string   `json:"user_type"`
	IsAdmin  bool     `json:"is_admin"`
	First    string   `json:"first_name"`
	Token    string   `json:"token"`
	IsSSO    bool     `json:"is_sso"`
	Expires  int64    `json:"expiration_date"`

	Restricted bool `json:"has_restricted_subuser_access"`
	Access     []struct {
		ID         int64    `json:"id"`
		Username   string   `json:"username"`
		Permission string   `json:"permission_type"`
		Scopes     []string `json:"scopes"`
	} `json:"subuser_access"`
}

// teammateMembers are those that SendGrid's answer about a person always has.
var teammateMembers = []string{
	"username", "email", "first_name", "last_name", "user_type", "is_admin", "phone", "website", "address", "address2", "city", "state", "zip", "country",
}

// SendGrid's own clients invite people, who come in by the link of the mail, and
// manage them.
func TestSendgridClientsManagePeople(t *testing.T) {
	t.Parallel()
	for _, c := range sendgridClients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newIdentityRelay(t, "")
			p := &sendgridPeople{r, c.via(&r.demo), r.addKey(t, "admin", "--full-access").APIKey, r.addKey(t, "small", "--scope", "teammates.create,teammates.read,mail.send").APIKey}
			p.invite(t)
			p.pending(t)
			p.come(t)
			p.change(t)
			p.subusers(t)
			p.sso(t)
			p.remove(t)
		})
	}
}

type sendgridPeople struct {
	*identityRelay
	via          apiClient
	admin, small string // keys: with all, and with few scopes
}

const teammates = "/v3/teammates"

func (p *sendgridPeople) ask(t *testing.T, what string, status int, method, path string, body any) (out teammateAnswer) {
	t.Helper()
	a := want(t, p.via(t, p.admin, method, path, "", nil, body), status, what)
	if status == 200 || status == 201 {
		a.decode(t, &out)
	}
	return out
}

func (p *sendgridPeople) invite(t *testing.T) {
	body := map[string]any{"email": "anna@rcpt.test", "scopes": []string{"mail.send", "api_keys.read"}, "is_admin": false}
	made := p.ask(t, "invite", 201, "POST", teammates, body)
	if made.Token == "" || made.Email != "anna@rcpt.test" || made.IsAdmin || !slices.Equal(made.Scopes, []string{"api_keys.read", "mail.send"}) {
		t.Errorf("invited %+v", made)
	}
	text := p.letters(t, "anna@rcpt.test", 1)[0]
	if !peopleLink.MatchString(text) || strings.Contains(text, made.Token) {
		t.Errorf("the id of the invitation opens it, or the letter has no link:\n%s", text)
	}
	p.ask(t, "invite twice", 400, "POST", teammates, body)
	for name, bad := range map[string]map[string]any{
		"no scopes":          {"email": "x@rcpt.test", "scopes": []string{}, "is_admin": false},
		"a scope that isn't": {"email": "x@rcpt.test", "scopes": []string{"mail.fly"}, "is_admin": false},
		"a person's own":     {"email": "x@rcpt.test", "scopes": []string{"user.password.update"}, "is_admin": false},
		"no address":         {"email": "x", "scopes": []string{"mail.send"}, "is_admin": false},
	} {
		p.ask(t, name, 400, "POST", teammates, bad)
	}
	// Nobody gives more than they have.
	for _, more := range []map[string]any{
		{"email": "x@rcpt.test", "scopes": []string{"mail.send", "api_keys.create"}, "is_admin": false},
		{"email": "x@rcpt.test", "scopes": []string{}, "is_admin": true},
	} {
		want(t, p.via(t, p.small, "POST", teammates, "", nil, more), 403, "give more than one has")
	}
	want(t, p.via(t, p.admin, "POST", teammates, "", nil, map[string]any{"email": "x@rcpt.test", "role": "owner"}), 403, "a key makes no owner")
}

func (p *sendgridPeople) list(t *testing.T, path, behalf string) []teammateAnswer {
	t.Helper()
	var out struct{ Result []teammateAnswer }
	want(t, p.via(t, p.admin, "GET", path, behalf, nil, nil), 200, "list").decode(t, &out)
	return out.Result
}

func (p *sendgridPeople) pending(t *testing.T) {
	const pending = teammates + "/pending"
	list := p.list(t, pending, "")
	if len(list) != 1 || list[0].Email != "anna@rcpt.test" || list[0].Token == "" || time.Until(time.Unix(list[0].Expires, 0)).Round(time.Hour) != 7*24*time.Hour {
		t.Fatalf("pending %+v", list)
	}
	first := p.lastLink(t, "anna@rcpt.test", 1)
	again := p.ask(t, "resend", 200, "POST", pending+"/"+list[0].Token+"/resend", map[string]any{})
	if again.Email != "anna@rcpt.test" || again.Token == "" || again.Token == list[0].Token {
		t.Errorf("sent again %+v", again)
	}
	p.lastLink(t, "anna@rcpt.test", 2)
	b := p.browser(t)
	wantPage(t, "the link of the first letter", b.get(strings.TrimPrefix(first, b.base)), 410, "does not work")
	p.ask(t, "resend nothing", 404, "POST", pending+"/"+list[0].Token+"/resend", map[string]any{})
	p.ask(t, "delete nothing", 404, "DELETE", pending+"/"+list[0].Token, nil)

	carl := p.ask(t, "invite Carl", 201, "POST", teammates, map[string]any{"email": "carl@rcpt.test", "scopes": []string{}, "is_admin": true})
	link := p.lastLink(t, "carl@rcpt.test", 1)
	p.ask(t, "withdraw", 204, "DELETE", pending+"/"+carl.Token, nil)
	wantPage(t, "a link that was withdrawn", b.get(strings.TrimPrefix(link, b.base)), 410, "does not work")
	if list := p.list(t, pending, ""); len(list) != 1 {
		t.Errorf("pending %+v", list)
	}
}

func (p *sendgridPeople) come(t *testing.T) {
	p.browser(t).join(p.lastLink(t, "anna@rcpt.test", 2), "anna")
	if list := p.list(t, teammates+"/pending", ""); len(list) != 0 {
		t.Errorf("pending %+v", list)
	}
	var raw struct{ Result []map[string]json.RawMessage }
	want(t, p.via(t, p.admin, "GET", teammates, "", map[string]string{"limit": "10", "offset": "0"}, nil), 200, "list").decode(t, &raw)
	if len(raw.Result) != 1 {
		t.Fatalf("people %s", raw.Result)
	}
	for _, m := range teammateMembers {
		if _, ok := raw.Result[0][m]; !ok {
			t.Errorf("the list's teammate has no %s", m)
		}
	}
	a := p.ask(t, "show", 200, "GET", teammates+"/anna", nil)
	if a.Username != "anna" || a.Email != "anna@rcpt.test" || a.UserType != "teammate" || a.IsAdmin || !slices.Equal(a.Scopes, []string{"api_keys.read", "mail.send"}) {
		t.Errorf("shown %+v", a)
	}
	p.ask(t, "show nobody", 404, "GET", teammates+"/nobody", nil)
	want(t, p.via(t, p.small, "PATCH", teammates+"/anna", "", nil, map[string]any{"scopes": []string{"mail.send"}, "is_admin": false}), 403, "without the scope")
}

func (p *sendgridPeople) change(t *testing.T) {
	a := p.ask(t, "change", 200, "PATCH", teammates+"/anna", map[string]any{"scopes": []string{"mail.send"}, "is_admin": false})
	if !slices.Equal(a.Scopes, []string{"mail.send"}) || a.UserType != "teammate" {
		t.Errorf("changed %+v", a)
	}
	if a = p.ask(t, "promote", 200, "PATCH", teammates+"/anna", map[string]any{"scopes": []string{}, "is_admin": true}); a.UserType != "admin" || !a.IsAdmin {
		t.Errorf("promoted %+v", a)
	}
	p.ask(t, "degrade", 200, "PATCH", teammates+"/anna", map[string]any{"scopes": []string{"mail.send", "subusers.read"}, "is_admin": false})
	p.ask(t, "a scope that isn't", 400, "PATCH", teammates+"/anna", map[string]any{"scopes": []string{"mail.fly"}, "is_admin": false})
	p.ask(t, "change nobody", 404, "PATCH", teammates+"/nobody", map[string]any{"scopes": []string{"mail.send"}, "is_admin": false})
}

func (p *sendgridPeople) subusers(t *testing.T) {
	for _, name := range []string{"staging", "shop"} {
		want(t, p.via(t, p.admin, "POST", "/v3/subusers", "", nil, map[string]any{"username": name, "email": "ops@sender.test", "password": "x", "ips": []string{}}), 200, "a subuser")
	}
	a := p.ask(t, "access", 200, "GET", teammates+"/anna/subuser_access", nil)
	if a.Restricted || len(a.Access) != 2 || a.Access[0].Username != "staging" || a.Access[0].Permission != "restricted" || !slices.Contains(a.Access[0].Scopes, "mail.send") {
		t.Errorf("access %+v", a)
	}
	var paged struct {
		teammateAnswer
		Metadata struct {
			Next map[string]any `json:"next_params"`
		} `json:"_metadata"`
	}
	want(t, p.via(t, p.admin, "GET", teammates+"/anna/subuser_access", "", map[string]string{"limit": "1"}, nil), 200, "a page of it").decode(t, &paged)
	if len(paged.Access) != 1 || paged.Metadata.Next["after_subuser_id"] != float64(a.Access[0].ID) {
		t.Errorf("a page %+v", paged)
	}
	p.ask(t, "access of nobody", 404, "GET", teammates+"/nobody/subuser_access", nil)
	// People of a subuser are its own.
	body := map[string]any{"email": "sue@rcpt.test", "scopes": []string{"mail.send"}, "is_admin": false}
	want(t, p.via(t, p.admin, "POST", teammates, "staging", nil, body), 201, "invite on behalf")
	p.browser(t).join(p.lastLink(t, "sue@rcpt.test", 1), "sue")
	if list := p.list(t, teammates, "staging"); len(list) != 1 || list[0].Username != "sue" {
		t.Errorf("the subuser's people %+v", list)
	}
	if list := p.list(t, teammates, ""); len(list) != 1 || list[0].Username != "anna" {
		t.Errorf("the account's people %+v", list)
	}
	p.ask(t, "the subuser's person is not the account's", 404, "GET", teammates+"/sue", nil)
}

func (p *sendgridPeople) sso(t *testing.T) {
	const path = "/v3/sso/teammates"
	made := p.ask(t, "an observer", 201, "POST", path, map[string]any{"email": "olga@rcpt.test", "first_name": "Olga", "last_name": "Onlooker", "persona": "observer"})
	if made.Email != "olga@rcpt.test" || made.First != "Olga" || made.IsAdmin || !made.IsSSO || len(made.Scopes) == 0 ||
		slices.ContainsFunc(made.Scopes, func(s string) bool { return !strings.HasSuffix(s, ".read") }) {
		t.Errorf("made %+v", made)
	}
	p.browser(t).join(p.lastLink(t, "olga@rcpt.test", 1), "olga")
	staging := p.ask(t, "access", 200, "GET", teammates+"/anna/subuser_access", nil).Access[0].ID
	a := p.ask(t, "restrict", 200, "PATCH", path+"/olga", map[string]any{
		"first_name": "Olga", "last_name": "Restricted", "has_restricted_subuser_access": true,
		"subuser_access": []any{map[string]any{"id": staging, "permission_type": "restricted", "scopes": []string{"mail.send", "subusers.read"}}},
	})
	if a.Username != "olga" || !slices.Equal(a.Scopes, []string{"mail.send", "subusers.read"}) {
		t.Errorf("restricted %+v", a)
	}
	sees := p.ask(t, "what is left", 200, "GET", teammates+"/olga/subuser_access", nil)
	if !sees.Restricted || len(sees.Access) != 1 || sees.Access[0].ID != staging {
		t.Errorf("sees %+v", sees)
	}
	names := map[string]any{"first_name": "O", "last_name": "L"}
	for what, more := range map[string]map[string]any{
		"no such persona": {"persona": "wizard"}, "two ways at once": {"persona": "developer", "is_admin": true},
		"no such subuser": {"has_restricted_subuser_access": true, "subuser_access": []any{map[string]any{"id": 999999, "permission_type": "admin"}}},
	} {
		for k, v := range names {
			more[k] = v
		}
		p.ask(t, what, 400, "PATCH", path+"/olga", more)
	}
	p.ask(t, "nobody", 404, "PATCH", path+"/nobody", map[string]any{"first_name": "O", "last_name": "L", "persona": "developer"})
	p.ask(t, "no names", 400, "POST", path, map[string]any{"email": "y@rcpt.test", "persona": "developer"})
}

func (p *sendgridPeople) remove(t *testing.T) {
	p.ask(t, "delete", 204, "DELETE", teammates+"/anna", nil)
	p.ask(t, "delete again", 404, "DELETE", teammates+"/anna", nil)
	p.ask(t, "show", 404, "GET", teammates+"/anna", nil)
	want(t, p.via(t, p.admin, "DELETE", teammates+"/sue", "staging", nil, nil), 204, "delete on behalf")
	if list := p.list(t, teammates, ""); len(list) != 1 || list[0].Username != "olga" {
		t.Errorf("left %+v", list)
	}
	b := p.browser(t)
	wantPage(t, "a deleted person's login", b.post("/login", "username", "anna", "password", aPassword), 401, "")
}
