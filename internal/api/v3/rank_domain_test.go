package v3

import (
	"strconv"
	"testing"

	"postern/internal/relay"
	"postern/internal/sender"
)

// AC-11: an account sees its subusers' domains as they are among its own, and need not say on
// whose behalf it switches one off: it counts as much.
func TestSwitchesOfSubusersDomainsByTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, _, err := domainsOf(w).Add(t.Context(), by("test"), sender.NewDomain{Account: w.staging.Account, Subuser: w.staging.Subuser, Name: "news.staging.test"})
	if err != nil {
		t.Fatal(err)
	}
	path := pathDomains + "/" + strconv.FormatInt(d.Number, 10)
	below := w.person(w.addUser(w.staging, relay.RoleOwner), true)
	for _, above := range []*client{
		w.as(w.acme, relay.Scopes...), w.person(w.addUser(w.acme, relay.RoleOwner), true), w.operator("acme"),
	} {
		below.want("POST", path+"/disable", "", 200, nil)
		above.want("POST", path+"/disable", "", 200, nil)
		below.refused("POST", path+"/enable", "", 403, "switched this off", "")
		above.want("POST", path+"/enable", "", 200, nil)
		above.with("on-behalf-of", "staging").want("POST", path+"/disable", "", 200, nil)
		above.want("POST", path+"/enable", "", 200, nil) // the same account, by another way
	}
}
