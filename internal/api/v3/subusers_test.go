package v3

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// onSubuser is a fixture of a request about a subuser of the asking account.
func onSubuser(status int, rest, body string) fixture {
	return fixture{
		Status: status, Absent: ask{Path: "/v3/subusers/nobody" + rest, Body: body},
		Make: func(w *world, of relay.Tenant) ask {
			return ask{Path: "/v3/subusers/" + nameOf(w, of) + rest, Body: body}
		},
	}
}

func init() {
	addFixtures(map[string]fixture{
		"GET /v3/subusers":                                 plain(200, "/v3/subusers", ""),
		"POST /v3/subusers":                                plain(200, "/v3/subusers", `{"username":"another","email":"a@example.test","password":"x","ips":[]}`),
		"GET /v3/subusers/reputations":                     plain(200, "/v3/subusers/reputations", ""),
		"PATCH /v3/subusers/{subuser_name}":                onSubuser(204, "", `{"disabled":true}`),
		"DELETE /v3/subusers/{subuser_name}":               onSubuser(204, "", ""),
		"PATCH /v3/subusers/{subuser_name}/website_access": onSubuser(204, "/website_access", `{"disabled":true}`),
		"PUT /v3/subusers/{subuser_name}/ips":              onSubuser(200, "/ips", `[]`),
	})
}

// parent may do everything with the subusers of an account.
func parent(w *world, of relay.Tenant) *client {
	var scopes []string
	for _, s := range relay.Scopes {
		if strings.HasPrefix(s, "subusers.") {
			scopes = append(scopes, s)
		}
	}
	return w.as(of, scopes...)
}

func TestListSubusers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	w.as(w.staging, "mail.send")
	var all []subuserView
	a := c.want("GET", "/v3/subusers", "", 200, &all)
	if len(all) != 2 || all[0].Username != "receipts" || all[1].Username != "staging" || all[1].Number != 100 || all[1].Keys != 1 || all[1].ID != w.staging.Subuser {
		t.Fatal(a.Body)
	}
	if !strings.HasPrefix(a.Body, `[{"disabled":false,"email":"receipts@example.test","id":101,"username":"receipts","subuser_id":`) {
		t.Errorf("not SendGrid's shape: %s", a.Body)
	}
	for query, want := range map[string]string{
		"?limit=1": "receipts", "?limit=1&offset=1": "staging", "?offset=2": "", "?username=staging": "staging", "?username=branch": "", "?username=nobody": "",
		"?region=eu": "", "?region=global": "receipts staging", "?region=all": "receipts staging", "?username=staging&offset=1": "",
		"?name=STAG": "staging", "?name=EXAMPLE.test": "receipts staging", "?name=receipts@": "receipts", "?name=g&limit=1": "staging", "?name=none": "", "?name=stag&username=receipts": "",
		"?username=stag":     "", // SendGrid's clients take the first of the answer for the one that they asked for
		"?unknown=1&limit=2": "receipts staging",
	} {
		var names []string
		for _, s := range decode[[]subuserView](t, c.want("GET", "/v3/subusers"+query, "", 200, nil)) {
			names = append(names, s.Username)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if a := c.want("GET", "/v3/subusers?offset=2", "", 200, nil); a.Body != "[]\n" {
		t.Errorf("an empty page: %q", a.Body)
	}
	if all := decode[[]subuserView](t, c.want("GET", "/v3/subusers?include_region=true", "", 200, nil)); all[0].Region != "global" {
		t.Errorf("region: %+v", all[0])
	}
	for query, field := range map[string]string{"limit=0": "limit", "limit=-1": "limit", "limit=1001": "limit", "limit=x": "limit", "offset=-1": "offset", "region=us": "region", "limit=1&limit=2": "limit"} { // AP-21
		c.refused("GET", "/v3/subusers?"+query, "", 400, "", field)
	}
}

func TestCreateSubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	addPools(w)
	// The request of SendGrid's own example, but for its pool.
	a := c.want("POST", "/v3/subusers", `{"username":"John@example.com","email":"John@example.com","password":"johns_password","ips":["203.0.113.2","203.0.113.1"],"region":"global","include_region":true}`, 200, nil)
	if want := `{"username":"John@example.com","user_id":103,"email":"John@example.com","credit_allocation":{"type":"unlimited"},"region":"global"}` + "\n"; a.Body != want {
		t.Errorf("%s want %s", a.Body, want)
	}
	s, _ := w.SubuserNamed("John@example.com")
	if s.Account != w.acme.Account || s.DefaultPool != subusersOf(w).pools[0].ID || !s.CreatedAt.Equal(t0) {
		t.Errorf("%+v", s)
	}
	// The password goes nowhere.
	if strings.Contains(w.log.String(), "johns_password") || strings.Contains(strings.Join(w.changes, " "), "johns_password") {
		t.Error("the password was written down")
	}
	if len(w.changes) != 1 || !strings.HasPrefix(w.changes[0], "key "+c.key.ID.String()+" 192.0.2.1: ") {
		t.Errorf("changes: %q", w.changes)
	}
	c.want("POST", "/v3/subusers", `{"username":"plain","email":""}`, 200, nil)
	if s, _ := w.SubuserNamed("plain"); s.Email != "ops@acme.example" || !s.DefaultPool.IsZero() {
		t.Errorf("without email and pool: %+v", s)
	}
}

// addPools gives acme a pool of its own, globex another, and everybody a shared one.
func addPools(w *world) {
	pool := func(of relay.AccountID, name string, addrs ...string) relay.Pool {
		p := relay.Pool{ID: relay.PoolID{ID: relay.NewID(t0)}, Account: of, Name: name}
		for _, a := range addrs {
			p.Addresses = append(p.Addresses, relay.PoolAddress{Address: netip.MustParseAddr(a), Helo: "mail.example.test"})
		}
		return p
	}
	off := pool(w.acme.Account, "off", "203.0.113.99")
	off.DisabledAt = t0
	half := pool(w.acme.Account, "half", "203.0.113.50", "203.0.113.51")
	half.Addresses[1].DisabledAt = t0
	subusersOf(w).pools = []relay.Pool{
		pool(w.acme.Account, "mine", "203.0.113.1", "203.0.113.2"), pool(w.globex.Account, "theirs", "198.51.100.1"),
		pool(relay.AccountID{}, "shared", "192.0.2.25", "2001:db8::25"), pool(relay.AccountID{}, "system"), off, half,
	}
}

func TestCreateSubuserRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	addPools(w)
	const ok = `"username":"newer","email":"a@example.test","password":"x"`
	for _, x := range []struct {
		body           string
		status         int
		message, field string
	}{
		{`{"username":"staging","email":"a@example.test","password":"x","ips":[]}`, 400, "username exists", "username"},
		{`{"username":"branch","email":"a@example.test","password":"x","ips":[]}`, 400, "username exists", "username"}, // names are unique in the installation
		{`{"email":"a@example.test"}`, 400, "required", "username"},
		{`{"username":"a/b","email":"a@example.test"}`, 400, "must be", "username"},
		{`{"username":"` + absentID + `","email":"a@example.test"}`, 400, "looks like an id", "username"},
		{`{"username":"new","email":"a@example.test"}`, 400, "cannot be had", "username"},
		{`{"username":"Reputations","email":"a@example.test"}`, 400, "cannot be had", "username"},
		{`{"username":"newer","email":"nobody"}`, 400, "email", "email"},
		{`{` + ok + `,"region":"eu"}`, 400, "one region", "region"},
		{`{` + ok + `,"ips":["x"]}`, 400, "Not an IP address", "ips.0"},
		{`{` + ok + `,"ips":["203.0.113.1"]}`, 400, "exactly these", "ips"},
		{`{` + ok + `,"ips":["203.0.113.1","203.0.113.2","192.0.2.25"]}`, 400, "exactly these", "ips"},
		{`{` + ok + `,"ips":["203.0.113.99"]}`, 400, "exactly these", "ips"},
		{`{` + ok + `,"ips":["203.0.113.50","203.0.113.51"]}`, 400, "exactly these", "ips"},
		{`{` + ok + `,"user_id":7}`, 400, "no such member", "user_id"}, // AP-04
		{`{` + ok + `,"account_id":"` + w.globex.Account.String() + `"}`, 400, "no such member", "account_id"},
		{`{` + ok + `,"disabled":false}`, 400, "no such member", "disabled"},
	} {
		c.refused("POST", "/v3/subusers", x.body, x.status, x.message, x.field)
	}
	// AP-01: another account's pool is answered like no pool.
	theirs := c.do("POST", "/v3/subusers", `{`+ok+`,"ips":["198.51.100.1"]}`)
	none := c.do("POST", "/v3/subusers", `{`+ok+`,"ips":["198.51.100.77"]}`)
	if theirs.Status != 400 || theirs.Body != none.Body || strings.Contains(theirs.Body, "theirs") {
		t.Errorf("%s %s", theirs.Body, none.Body)
	}
	if len(w.changes) != 0 {
		t.Errorf("changes: %q", w.changes)
	}
}

func TestSubuserIPs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	addPools(w)
	const path = "/v3/subusers/staging/ips"
	if a := c.want("PUT", path, `["2001:db8:0::25","::ffff:192.0.2.25"]`, 200, nil); a.Body != `{"ips":["2001:db8:0::25","::ffff:192.0.2.25"]}`+"\n" {
		t.Error(a.Body)
	}
	if s, _ := w.SubuserNamed("staging"); s.DefaultPool != subusersOf(w).pools[2].ID {
		t.Errorf("%+v", s)
	}
	if all := decode[[]subuserView](t, c.want("GET", "/v3/subusers?username=staging", "", 200, nil)); all[0].Pool != "shared" || !slices.Equal(all[0].IPs, []string{"192.0.2.25", "2001:db8::25"}) {
		t.Errorf("%+v", all)
	}
	c.want("PUT", path, `["203.0.113.50"]`, 200, nil) // what is on of a pool
	if all := decode[[]subuserView](t, c.want("GET", "/v3/subusers", "", 200, nil)); !slices.Equal(all[1].IPs, []string{"203.0.113.50"}) || all[0].IPs != nil {
		t.Errorf("%+v", all)
	}
	c.want("PUT", path, `[]`, 200, nil)
	if s, _ := w.SubuserNamed("staging"); !s.DefaultPool.IsZero() {
		t.Errorf("%+v", s)
	}
	for body, field := range map[string]string{
		`["203.0.113.1"]`: "ips", `[1]`: "ips", `null`: "ips", `[],"x":1`: "x", `[],"ips":[]`: "ips", `["x"]`: "ips.0",
	} {
		c.refused("PUT", path, body, 400, "", field)
	}
	for _, body := range []string{``, `{}`, `[`, `[]]`, `[]}{`, `"203.0.113.1"`} {
		if a := c.with("Content-Type", "application/json").do("PUT", path, body); a.Status != 400 {
			t.Errorf("%q: %d %s", body, a.Status, a.Body)
		}
	}
}

func TestSwitchSubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	state := func() relay.Subuser { s, _ := w.SubuserNamed("staging"); return s }
	if a := c.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil); a.Body != "" {
		t.Error(a.Body)
	}
	if !state().DisabledAt.Equal(t0) {
		t.Errorf("%+v", state())
	}
	w.pass(time.Hour)
	c.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil) // since when stays true
	if !state().DisabledAt.Equal(t0) || len(w.changes) != 1 {
		t.Errorf("%+v %q", state(), w.changes)
	}
	if all := decode[[]subuserView](t, c.want("GET", "/v3/subusers?username=staging", "", 200, nil)); !all[0].Disabled {
		t.Errorf("%+v", all)
	}
	c.want("PATCH", "/v3/subusers/staging", `{"disabled":false}`, 204, nil)
	c.want("PATCH", "/v3/subusers/staging/website_access", `{"disabled":true}`, 204, nil)
	if s := state(); !s.DisabledAt.IsZero() || !s.ConsoleDisabledAt.Equal(t0.Add(time.Hour)) {
		t.Errorf("%+v", s)
	}
	c.want("PATCH", "/v3/subusers/staging/website_access", `{"disabled":false}`, 204, nil)
	if !state().ConsoleDisabledAt.IsZero() {
		t.Errorf("%+v", state())
	}
	for _, path := range []string{"/v3/subusers/staging", "/v3/subusers/staging/website_access"} {
		c.refused("PATCH", path, `{}`, 400, "no fields provided", "")
		c.refused("PATCH", path, `{"disabled":"yes"}`, 400, "boolean", "disabled")
		c.refused("PATCH", path, `{"disabled":true,"username":"x"}`, 400, "no such member", "username") // AP-04
	}
	c.refused("PATCH", "/v3/subusers/nobody", `{"disabled":true}`, 404, "No user found", "")
}

func TestDeleteSubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	sub := w.as(w.staging, "api_keys.read")
	subusersOf(w).queued[w.staging] = 17
	subusersOf(w).queued[w.receipts] = 4
	if a := c.want("DELETE", "/v3/subusers/staging?dry_run=true", "", 200, nil); a.Body != `{"username":"staging","keys":1,"queued_messages":17,"domains":{"count":0},"senders":{"count":0},"people":{"count":0},"invitations":{"count":0}}`+"\n" {
		t.Error(a.Body)
	}
	if len(w.changes) != 0 {
		t.Errorf("a dry run changed %q", w.changes)
	}
	sub.want("GET", "/v3/scopes", "", 200, nil)
	if a := c.want("DELETE", "/v3/subusers/staging", "", 204, nil); a.Body != "" {
		t.Error(a.Body)
	}
	sub.want("GET", "/v3/scopes", "", 401, nil)
	c.refused("DELETE", "/v3/subusers/staging", "", 404, "No user found", "")
	c.refused("DELETE", "/v3/subusers/staging?dry_run=true", "", 404, "No user found", "")
	c.want("POST", "/v3/subusers", `{"username":"staging","email":"a@example.test"}`, 200, nil) // the name is free
	c.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil)
}

// A dry run tells all that goes with a subuser, and nothing of what stays. Names are for
// those who may list them.
func TestDeletionTellsWhatGoesWithASubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, of := range []relay.Tenant{w.acme, w.staging, w.receipts, w.globex} {
		name := []string{"acme", "staging", "receipts", "globex"}[i]
		domainsOf(w).have(of, name+".test")
		singlesOf(w).add(of, "news@"+name+".else.test")
		peopleOf(w).addInvite(of, "new@"+name+".test", relay.RoleAdmin)
	}
	domainsOf(w).have(w.staging, "b.staging.test")
	lin := w.addUser(w.staging, relay.RoleOwner)
	w.addUser(w.acme, relay.RoleOwner)
	gone := w.addUser(w.staging, relay.RoleAuditor)
	w.users[slices.IndexFunc(w.users, func(u relay.User) bool { return u.ID == gone.ID })].DeletedAt = t0
	used := peopleOf(w).addInvite(w.staging, "used@staging.test", relay.RoleAdmin)
	for i := range peopleOf(w).links {
		if peopleOf(w).links[i].Hash == used.Hash {
			peopleOf(w).links[i].UsedAt = t0
		}
	}
	ask := func(scopes ...string) deletion {
		return decode[deletion](t, w.as(w.acme, append(scopes, "subusers.delete")...).want("DELETE", "/v3/subusers/staging?dry_run=true", "", 200, nil))
	}
	want := deletion{
		Username: "staging", Domains: deletedPart{2, []string{"b.staging.test", "staging.test"}}, Senders: deletedPart{1, []string{"news@staging.else.test"}},
		People: deletedPart{1, []string{lin.Username}}, Invitations: deletedPart{1, []string{"new@staging.test"}},
	}
	if got := ask("subusers.read", "teammates.read", "whitelabel.read"); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	people, none := want, want
	people.Domains.Names, people.Senders.Names = nil, nil
	if got := ask("subusers.read", "teammates.read"); !reflect.DeepEqual(got, people) {
		t.Errorf("without domains: %+v", got)
	}
	none.Domains.Names, none.Senders.Names, none.People.Names, none.Invitations.Names = nil, nil, nil, nil
	if got := ask("teammates.read", "whitelabel.read"); !reflect.DeepEqual(got, none) {
		t.Errorf("without subusers: %+v", got)
	}
	for i := range 25 {
		domainsOf(w).have(w.staging, "d"+strconv.Itoa(i)+".staging.test")
	}
	if got := ask("subusers.read", "whitelabel.read"); got.Domains.Count != 27 || len(got.Domains.Names) != 20 {
		t.Errorf("many: %+v", got.Domains)
	}
}

// What was made a moment ago is found, though the directory has not heard of it.
func TestSubuserIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	subusersOf(w).blind = true
	c.want("POST", "/v3/subusers", `{"username":"fresh","email":"a@example.test"}`, 200, nil)
	c.want("PATCH", "/v3/subusers/fresh", `{"disabled":true}`, 204, nil)
	if all := decode[[]subuserView](t, c.want("GET", "/v3/subusers?username=fresh", "", 200, nil)); len(all) != 1 || !all[0].Disabled {
		t.Errorf("%+v", all)
	}
	c.refused("PATCH", "/v3/subusers/branch", `{"disabled":true}`, 404, "No user found", "") // AP-01
}

func TestReputations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	if a := c.want("GET", "/v3/subusers/reputations", "", 200, nil); a.Body != `[{"reputation":100,"username":"receipts"},{"reputation":100,"username":"staging"}]`+"\n" {
		t.Error(a.Body)
	}
	if a := c.want("GET", "/v3/subusers/reputations?usernames=staging,branch", "", 200, nil); a.Body != `[{"reputation":100,"username":"staging"}]`+"\n" {
		t.Error(a.Body)
	}
	if a := c.want("GET", "/v3/subusers/reputations?usernames=branch", "", 200, nil); a.Body != "[]\n" {
		t.Error(a.Body)
	}
}

func TestSubuserStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	w.fail = errors.New("disk on fire")
	for _, x := range [][3]string{
		{"GET", "/v3/subusers", ""}, {"GET", "/v3/subusers?username=staging", ""}, {"POST", "/v3/subusers", `{"username":"x"}`},
		{"PATCH", "/v3/subusers/staging", `{"disabled":true}`}, {"DELETE", "/v3/subusers/staging", ""}, {"DELETE", "/v3/subusers/staging?dry_run=true", ""},
		{"PUT", "/v3/subusers/staging/ips", `["203.0.113.1"]`}, {"GET", "/v3/subusers/reputations", ""}, {"GET", "/v3/subusers/staging/credits", ""},
	} {
		if a := c.want(x[0], x[1], x[2], 500, nil); strings.Contains(a.Body, "fire") { // AP-22
			t.Error(a.Body)
		}
	}
}
