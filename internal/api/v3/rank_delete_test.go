package v3

import (
	"strconv"
	"testing"

	"postern/internal/relay"
	"postern/internal/sender"
)

// What the account has switched off of a subuser, the subuser does not delete, to make
// it anew: no person, no domain. A key it may: another one is another secret.
func TestWhoDeletesWhatIsSwitchedOff(t *testing.T) {
	t.Parallel()
	for what, x := range map[string]struct {
		path func(w *world) string
		may  bool
	}{
		"person": {path: func(w *world) string {
			return "/v3/teammates/" + w.addUser(w.staging, relay.RoleCustom, "mail.send").Username
		}},
		"domain": {path: func(w *world) string { return w.stagingDomain() }},
		"key": {may: true, path: func(w *world) string {
			k, _ := w.addKey(w.staging, "mail.send")
			return "/v3/api_keys/" + k.ID.String()
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			thing := x.path(w)
			account, operator := w.as(w.acme, relay.Scopes...).with("on-behalf-of", "staging"), w.operator("acme").with("on-behalf-of", "staging")
			below := []*client{w.as(w.staging, relay.Scopes...), w.person(w.addUser(w.staging, relay.RoleOwner), true)}
			account.want("POST", thing+"/disable", "", 200, nil)
			if x.may {
				below[0].want("DELETE", thing, "", 204, nil)
				return
			}
			for _, c := range below {
				c.refused("DELETE", thing, "", 403, "The account switched this off", "")
			}
			operator.want("POST", thing+"/disable", "", 200, nil)
			for _, c := range append(below, account) {
				c.refused("DELETE", thing, "", 403, "The operator switched this off", "")
			}
			operator.want("DELETE", thing, "", 204, nil)
		})
	}
}

// stagingDomain is the path of a new domain of the subuser.
func (w *world) stagingDomain() string {
	w.t.Helper()
	d, _, err := domainsOf(w).Add(w.t.Context(), by("test"), sender.NewDomain{Account: w.staging.Account, Subuser: w.staging.Subuser, Name: "news.staging.test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return pathDomains + "/" + strconv.FormatInt(d.Number, 10)
}

// The account stands above its subusers whether it names one in the header or not: it
// reaches their domains by their ids.
func TestAccountsStandAboveWithoutTheHeader(t *testing.T) {
	t.Parallel()
	for name, above := range map[string]func(w *world) *client{
		"key":    func(w *world) *client { return w.as(w.acme, relay.Scopes...) },
		"person": func(w *world) *client { return w.person(w.addUser(w.acme, relay.RoleOwner), true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			domain, account, below := w.stagingDomain(), above(w), w.as(w.staging, relay.Scopes...)
			again := `{"domain":"news.staging.test"}`
			below.want("POST", domain+"/disable", "", 200, nil)
			account.want("POST", domain+"/disable", "", 200, nil) // off already: now it is theirs
			below.refused("POST", domain+"/enable", "", 403, "switched this off", "")
			below.refused("DELETE", domain, "", 403, "switched this off", "")
			below.refused("POST", pathDomains, again, 403, "switched this off", "")
			account.want("POST", pathDomains, `{"domain":"news.staging.test","username":"staging"}`, 201, nil)
			account.want("DELETE", domain, "", 204, nil)
		})
	}
}

// Who has the account's switch of a subuser taken over by the operator keeps it off.
func TestOperatorTakesSubusersOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	account, operator := w.as(w.acme, relay.Scopes...), w.operator("acme")
	account.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil)
	operator.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil)
	account.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil)
	account.refused("PATCH", "/v3/subusers/staging", `{"disabled":false}`, 403, "operator switched this off", "")
	operator.want("PATCH", "/v3/subusers/staging", `{"disabled":false}`, 204, nil)
}
