package v3

import (
	"testing"

	"postern/internal/relay"
)

// A list that another node has changed since it was read is not written over: an
// entry that was made there would be lost, or one that was taken away come back.
func TestAccessListChangedMeanwhile(t *testing.T) {
	t.Parallel()
	const list = "/v3/access_settings/whitelist"
	w := newWorld(t)
	c := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	f := accessOf(w)
	id := f.addRule(w.acme, here+"/24")
	f.meanwhile = func() { f.addRule(w.acme, "198.51.100.0/24") }
	c.refused("POST", list, `{"ips":[{"ip":"203.0.113.0/24"}]}`, 409, "changed at the same moment", "")
	l, err := f.AccessList(t.Context(), w.acme)
	if err != nil || len(l.Rules) != 2 || l.Rules[0].ID != id || l.Rules[1].Network.String() != "198.51.100.0/24" {
		t.Errorf("%+v, %v", l.Rules, err)
	}
	c.want("POST", list, `{"ips":[{"ip":"203.0.113.0/24"}]}`, 201, nil) // looked at again
}
