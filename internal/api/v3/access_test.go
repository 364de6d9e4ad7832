package v3

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// here is the address that tests come from.
const here = "192.0.2.1"

func init() {
	const list = "/v3/access_settings/whitelist"
	trial := func(path string) fixture {
		return fixture{Status: 200, Make: func(w *world, of relay.Tenant) ask {
			accessOf(w).addRule(of, "192.0.2.0/24")
			f := accessOf(w)
			l, _ := f.AccessList(w.t.Context(), of)
			before := l
			l.Before, l.TrialUntil = &before, t0.Add(time.Hour)
			if _, err := f.SetAccessList(w.t.Context(), by("test"), l); err != nil {
				w.t.Fatal(err)
			}
			w.changes = nil
			return ask{Path: path}
		}}
	}
	addFixtures(map[string]fixture{
		"GET " + list: {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			accessOf(w).addRule(of, "192.0.2.0/24")
			return ask{Path: list}
		}},
		"POST " + list: plain(201, list, `{"ips":[{"ip":"192.0.2.0/24"}]}`),
		"DELETE " + list: {
			Status: 204, Absent: ask{Path: list, Body: `{"ids":[999999]}`},
			Make: func(w *world, of relay.Tenant) ask {
				return ask{Path: list, Body: fmt.Sprintf(`{"ids":[%d]}`, accessOf(w).addRule(of, "192.0.2.0/24"))}
			},
		},
		"GET " + list + "/{rule_id}": {
			Status: 200, Absent: ask{Path: list + "/999999"},
			Make: func(w *world, of relay.Tenant) ask {
				return ask{Path: fmt.Sprintf("%s/%d", list, accessOf(w).addRule(of, "192.0.2.0/24"))}
			},
		},
		"DELETE " + list + "/{rule_id}": {
			Status: 204, Absent: ask{Path: list + "/999999"},
			Make: func(w *world, of relay.Tenant) ask {
				return ask{Path: fmt.Sprintf("%s/%d", list, accessOf(w).addRule(of, "192.0.2.0/24"))}
			},
		},
		"GET /v3/access_settings/activity": {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			accessOf(w).seen = append(accessOf(w).seen, relay.AccessSeen{Tenant: of, Addr: netip.MustParseAddr(here), Method: "API", FirstAt: t0, LastAt: t0, Count: 1})
			return ask{Path: "/v3/access_settings/activity"}
		}},
		"GET /v3/access_settings/mode":     plain(200, "/v3/access_settings/mode", ""),
		"PATCH /v3/access_settings/mode":   plain(200, "/v3/access_settings/mode", `{"monitor":true}`),
		"POST /v3/access_settings/confirm": trial("/v3/access_settings/confirm"),
		"POST /v3/access_settings/revert":  trial("/v3/access_settings/revert"),
	})
}

// accessClient may do everything with the lists of a tenant.
func accessClient(w *world, of relay.Tenant) *client {
	return w.as(of, "access_settings.activity.read", "access_settings.whitelist.create", "access_settings.whitelist.delete",
		"access_settings.whitelist.read", "access_settings.whitelist.update", "subusers.read")
}

// The request and the answer of SendGrid's own example, octet by octet.
func TestAccessListShape(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := accessClient(w, w.acme)
	accessOf(w).addRule(w.acme, "192.0.2.0/24")
	a := c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"192.168.1.1"},{"ip":"192.*.*.*"},{"ip":"192.168.1.3/32"}]}`, 201, nil)
	at := t0.Unix()
	want := fmt.Sprintf(`{"result":[{"id":2,"ip":"192.168.1.1/32","created_at":%[1]d,"updated_at":%[1]d},`+
		`{"id":3,"ip":"192.0.0.0/8","created_at":%[1]d,"updated_at":%[1]d},{"id":4,"ip":"192.168.1.3/32","created_at":%[1]d,"updated_at":%[1]d}]}`+"\n", at)
	if a.Body != want {
		t.Errorf("added:\n%s want:\n%s", a.Body, want)
	}
	a = c.want("GET", "/v3/access_settings/whitelist/3", "", 200, nil)
	if want := fmt.Sprintf(`{"result":[{"id":3,"ip":"192.0.0.0/8","created_at":%[1]d,"updated_at":%[1]d}]}`+"\n", at); a.Body != want {
		t.Errorf("one:\n%s want:\n%s", a.Body, want)
	}
	if a := c.want("DELETE", "/v3/access_settings/whitelist", `{"ids":[2,4]}`, 204, nil); a.Body != "" {
		t.Errorf("body of 204: %q", a.Body)
	}
	c.want("DELETE", "/v3/access_settings/whitelist/3", "", 204, nil)
	c.want("DELETE", "/v3/access_settings/whitelist/1", "", 204, nil)
	if a := c.want("GET", "/v3/access_settings/whitelist", "", 200, nil); a.Body != `{"result":[]}`+"\n" {
		t.Errorf("empty: %s", a.Body)
	}
}

func TestAccessEntriesFold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := accessClient(w, w.acme)
	var first, again accessRules
	c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"192.0.2.0/24","note":"office"},{"ip":"192.0.2.*"},{"host":"Build.example.com"},{"ip":"build.example.com."}]}`, 201, &first)
	if len(first.Result) != 2 || first.Result[0].Note != "office" || first.Result[1].Host != "build.example.com" || first.Result[1].IP != "build.example.com" {
		t.Fatalf("%+v", first)
	}
	w.pass(time.Hour)
	sets := accessOf(w).sets
	c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"::ffff:192.0.2.0/120"}]}`, 201, &again)
	if len(again.Result) != 1 || again.Result[0] != first.Result[0] || accessOf(w).sets != sets {
		t.Errorf("an entry that is there: %+v, stored %d times", again, accessOf(w).sets-sets)
	}
	c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"192.0.2.0/24","note":"the office"}]}`, 201, &again)
	if r := again.Result[0]; r.ID != first.Result[0].ID || r.Note != "the office" || r.CreatedAt != t0.Unix() || r.UpdatedAt != t0.Add(time.Hour).Unix() {
		t.Errorf("a new note: %+v", r)
	}
}

func TestAccessRefusals(t *testing.T) {
	t.Parallel()
	const path = "/v3/access_settings/whitelist"
	w := newWorld(t)
	c := accessClient(w, w.acme)
	for _, x := range []struct {
		method, path, body string
		status             int
		message, field     string
	}{
		{"POST", path, `{}`, 400, "at least one", "ips"},
		{"POST", path, `{"ips":[]}`, 400, "at least one", "ips"},
		{"POST", path, `{"ips":[{}]}`, 400, "required", "ips.0.ip"},
		{"POST", path, `{"ips":[{"ip":"192.0.2.1"},{"ip":"192.0.2.1/99"}]}`, 400, "neither", "ips.1.ip"},
		{"POST", path, `{"ips":[{"ip":"192.0.2.1","host":"a.example"}]}`, 400, "not both", "ips.0.host"},
		{"POST", path, `{"ips":[{"host":"192.0.2.1"}]}`, 400, "belongs in ip", "ips.0.host"},
		{"POST", path, `{"ips":[{"ip":"192.0.2.1","note":"a\nb"}]}`, 400, "one line", "ips.0.note"},
		{"POST", path, `{"ips":[{"ip":"192.0.2.1"}],"trial_seconds":1}`, 400, "from 30 to 604800", "trial_seconds"},
		{"POST", path, `{"ips":[{"ip":"192.0.2.1"}],"trial_seconds":-60}`, 400, "from 30 to 604800", "trial_seconds"},
		{"POST", path, `{"ips":[{"ip":"192.0.2.1"}],"id":7}`, 400, "no such member", "id"}, // AP-04
		{"POST", path, `{"ips":[{"ip":"192.0.2.1","id":7}]}`, 400, "no such member", "ips.0.id"},
		{"DELETE", path, `{"ids":[]}`, 400, "Name the entries", "ids"},
		{"DELETE", path, `{}`, 400, "Name the entries", "ids"},
		{"DELETE", path, `{"ids":[1]}`, 404, "not found", ""},
		{"GET", path + "/0", "", 404, "not found", ""},
		{"GET", path + "/01", "", 404, "not found", ""},
		{"GET", path + "/-1", "", 404, "not found", ""},
		{"GET", path + "/99999999999999999999", "", 404, "not found", ""},
		{"PATCH", "/v3/access_settings/mode", `{}`, 400, "true or false", "monitor"},
		{"POST", "/v3/access_settings/confirm", "", 409, "Nothing is on trial", ""},
		{"POST", "/v3/access_settings/revert", "", 409, "Nothing is on trial", ""},
		{"GET", "/v3/access_settings/activity?limit=0", "", 400, "from 1 to 1000", "limit"}, // AP-21
		{"GET", "/v3/access_settings/activity?limit=1001", "", 400, "from 1 to 1000", "limit"},
	} {
		c.refused(x.method, x.path, x.body, x.status, x.message, x.field)
	}
	// Everybody is let in only by whoever means it, in every spelling.
	for _, everybody := range []string{"0.0.0.0/0", "*.*.*.*", "::/0", "::ffff:0:0/96"} {
		c.refused("POST", path, `{"ips":[{"ip":"`+everybody+`"}]}`, 409, "lets everybody in", "ips.0.ip")
		c.want("POST", path, `{"ips":[{"ip":"`+everybody+`"}],"confirm":true}`, 201, nil)
	}
	if len(w.changes) != 2 {
		t.Errorf("changes: %q", w.changes)
	}
}

func TestAccessListIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := accessClient(w, w.acme)
	var ips []string
	for i := range maxRules {
		ips = append(ips, fmt.Sprintf(`{"ip":"10.0.%d.%d"}`, i/256, i%256))
	}
	c.refused("POST", "/v3/access_settings/whitelist", `{"ips":[`+strings.Join(append(ips, `{"ip":"192.0.2.1"}`), ",")+`]}`, 400, "the most are 1000", "ips")
	ips[0] = `{"ip":"192.0.2.1"}`
	c.want("POST", "/v3/access_settings/whitelist", `{"ips":[`+strings.Join(ips, ",")+`]}`, 201, nil)
	c.refused("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"198.51.100.7"}]}`, 400, "the most are 1000", "ips")
}

// Names are looked up again and again, for everybody: a list has few of them, and
// while one is changed nobody waits for their DNS.
func TestAccessHostsAreFew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := accessClient(w, w.acme)
	hosts := []string{`{"ip":"192.0.2.1"}`}
	for i := range maxHosts {
		hosts = append(hosts, fmt.Sprintf(`{"host":"h%d.example.test"}`, i))
	}
	body := func(entries ...string) string { return `{"ips":[` + strings.Join(entries, ",") + `]}` }
	c.refused("POST", "/v3/access_settings/whitelist", body(append(hosts, `{"host":"x.example.test"}`)...), 400, "the most are 100", "ips")
	c.want("POST", "/v3/access_settings/whitelist", body(hosts...), 201, nil)
	c.refused("POST", "/v3/access_settings/whitelist", body(`{"host":"x.example.test"}`), 400, "the most are 100", "ips")
	c.want("POST", "/v3/access_settings/whitelist", body(`{"ip":"198.51.100.7"}`), 201, nil)
	names := strings.ReplaceAll(strings.ReplaceAll(strings.Join(append(hosts[1:], `{"host":"x.example.test"}`), ","), `{"host":`, ""), "}", "")
	w.as(w.acme, manager...).refused("POST", "/v3/api_keys", `{"name":"x","scopes":["mail.send"],"hosts":[`+names+`]}`, 400, "100", "hosts")
}

// A name whose DNS does not answer holds up the one who gave it, and no other
// change of that account or of those that share its turn.
func TestSlowNamesHoldUpNobody(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(s *Services) {
		s.ShutsOut = func(ctx context.Context, list *relay.AccessList, _ netip.Addr) bool {
			if list.Rules[0].Host != "" && ctx.Err() == nil {
				close(asked)
				<-answer
			}
			return false
		}
	})
	c, done := accessClient(w, w.acme), make(chan struct{})
	go func() {
		defer close(done)
		c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"host":"slow.example.test"}]}`, 201, nil)
	}()
	<-asked
	c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"192.0.2.1"}]}`, 201, nil)
	close(answer)
	<-done
	c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"192.0.2.2"}]}`, 201, nil) // with the name on the list
}

// A change that would shut out whoever makes it is refused, in each way that a
// list can be changed, unless it is meant.
func TestNobodyLocksThemselvesOut(t *testing.T) {
	t.Parallel()
	const path = "/v3/access_settings/whitelist"
	w := newWorld(t)
	c := accessClient(w, w.acme)
	const words = "your own address, 192.0.2.1, would be shut out"
	c.refused("POST", path, `{"ips":[{"ip":"198.51.100.0/24"}]}`, 409, words, "confirm")
	c.refused("POST", path, `{"ips":[{"ip":"198.51.100.0/24"}],"trial_seconds":60}`, 409, words, "confirm")
	if len(w.changes) != 0 {
		t.Fatalf("changes: %q", w.changes)
	}
	var in accessRules
	c.want("POST", path, `{"ips":[{"ip":"198.51.100.0/24"},{"ip":"192.0.2.1"}]}`, 201, &in)
	mine := in.Result[1].ID
	c.refused("DELETE", path, fmt.Sprintf(`{"ids":[%d]}`, mine), 409, words, "confirm")
	c.refused("DELETE", fmt.Sprintf("%s/%d", path, mine), "", 409, words, "confirm")
	c.want("DELETE", path, fmt.Sprintf(`{"ids":[%d,%d]}`, mine, in.Result[0].ID), 204, nil) // off is not out
	c.want("PATCH", "/v3/access_settings/mode", `{"monitor":true}`, 200, nil)
	c.want("POST", path, `{"ips":[{"ip":"198.51.100.0/24"}]}`, 201, nil) // only watched
	c.refused("PATCH", "/v3/access_settings/mode", `{"monitor":false}`, 409, words, "confirm")
	c.want("PATCH", "/v3/access_settings/mode", `{"monitor":false,"confirm":true}`, 200, nil)
	c.want("POST", path, `{"ips":[{"ip":"203.0.113.0/24"}],"confirm":true}`, 201, nil)
	c.refused("DELETE", path+"/3", "", 409, words, "confirm")
	c.want("DELETE", path+"/3?confirm=true", "", 204, nil)

	// A parent that acts for a subuser is judged by its own list; the subuser's own
	// key by the subuser's; the operator by none.
	parent := accessClient(w, w.globex)
	parent.with("on-behalf-of", "branch").want("POST", path, `{"ips":[{"ip":"198.51.100.0/24"}]}`, 201, nil)
	accessClient(w, w.receipts).refused("POST", path, `{"ips":[{"ip":"198.51.100.0/24"}]}`, 409, words, "confirm")
	w.operator("globex").want("POST", path, `{"ips":[{"ip":"198.51.100.0/24"}]}`, 201, nil)
}

// A trial undoes itself; until then it can be kept or undone.
func TestAccessTrial(t *testing.T) {
	t.Parallel()
	const path = "/v3/access_settings/whitelist"
	ips := func(c *client) string {
		var all accessRules
		c.want("GET", path, "", 200, &all)
		var out []string
		for _, r := range all.Result {
			out = append(out, r.IP)
		}
		return strings.Join(out, " ")
	}
	start := func(t *testing.T) (*world, *client) {
		w := newWorld(t)
		c := accessClient(w, w.acme)
		c.want("POST", path, `{"ips":[{"ip":"192.0.2.0/24"},{"ip":"10.0.0.0/8"}]}`, 201, nil)
		var on accessRules
		c.want("POST", path, `{"ips":[{"ip":"192.0.2.1"}],"trial_seconds":600}`, 201, &on)
		if !on.TrialUntil.Equal(t0.Add(10 * time.Minute)) {
			t.Fatalf("trial until %v", on.TrialUntil)
		}
		c.want("DELETE", path, `{"ids":[1,2]}`, 204, nil) // still on trial
		if got := ips(c); got != "192.0.2.1/32" {
			t.Fatalf("on trial: %s", got)
		}
		return w, c
	}
	t.Run("ends by itself", func(t *testing.T) {
		t.Parallel()
		w, c := start(t)
		w.pass(10*time.Minute - time.Second)
		if got := ips(c); got != "192.0.2.1/32" {
			t.Errorf("before its end: %s", got)
		}
		w.pass(time.Second)
		if got := ips(c); got != "192.0.2.0/24 10.0.0.0/8" {
			t.Errorf("at its end: %s", got)
		}
		var m accessMode
		if c.want("GET", "/v3/access_settings/mode", "", 200, &m); m.TrialUntil != nil {
			t.Errorf("trial until %v", m.TrialUntil)
		}
		c.refused("POST", "/v3/access_settings/confirm", "", 409, "Nothing is on trial", "")
		c.refused("GET", path+"/3", "", 404, "not found", "")
		c.want("DELETE", path+"/2", "", 204, nil) // a change builds on what counts
		if got := ips(c); got != "192.0.2.0/24" {
			t.Errorf("after a change: %s", got)
		}
	})
	t.Run("is kept", func(t *testing.T) {
		t.Parallel()
		w, c := start(t)
		var kept accessRules
		if c.want("POST", "/v3/access_settings/confirm", "", 200, &kept); len(kept.Result) != 1 || !kept.TrialUntil.IsZero() {
			t.Errorf("%+v", kept)
		}
		if a := c.want("GET", "/v3/access_settings/mode", "", 200, nil); a.Body != `{"monitor":false,"trial_until":null}`+"\n" {
			t.Error(a.Body)
		}
		w.pass(time.Hour)
		if got := ips(c); got != "192.0.2.1/32" {
			t.Error(got)
		}
	})
	t.Run("is undone", func(t *testing.T) {
		t.Parallel()
		_, c := start(t)
		c.want("POST", "/v3/access_settings/revert", "", 200, nil)
		if got := ips(c); got != "192.0.2.0/24 10.0.0.0/8" {
			t.Error(got)
		}
	})
	t.Run("is prolonged", func(t *testing.T) {
		t.Parallel()
		w, c := start(t)
		w.pass(5 * time.Minute)
		c.want("PATCH", "/v3/access_settings/mode", `{"monitor":true,"trial_seconds":600}`, 200, nil)
		w.pass(9 * time.Minute)
		if got := ips(c); got != "192.0.2.1/32" {
			t.Errorf("prolonged: %s", got)
		}
		w.pass(time.Minute)
		var m accessMode
		if c.want("GET", "/v3/access_settings/mode", "", 200, &m); m.Monitor {
			t.Error("the mode outlived its trial")
		}
		if got := ips(c); got != "192.0.2.0/24 10.0.0.0/8" {
			t.Errorf("ended: %s", got)
		}
	})
	t.Run("undoing locks nobody out", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := accessClient(w, w.acme)
		accessOf(w).addRule(w.acme, "198.51.100.0/24") // and here the tests get in all the same
		c.want("POST", path, `{"ips":[{"ip":"192.0.2.1"}],"trial_seconds":600}`, 201, nil)
		c.refused("POST", "/v3/access_settings/revert", "", 409, "would be shut out", "confirm")
		c.want("POST", "/v3/access_settings/revert", `{"confirm":true}`, 200, nil)
	})
}

// The last entry's end switches the list off, and a later one counts at once.
func TestLastRuleSwitchesOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := accessClient(w, w.acme)
	c.want("PATCH", "/v3/access_settings/mode", `{"monitor":true}`, 200, nil)
	c.want("POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"192.0.2.1"}]}`, 201, nil)
	c.want("DELETE", "/v3/access_settings/whitelist/1", "", 204, nil)
	var m accessMode
	if c.want("GET", "/v3/access_settings/mode", "", 200, &m); m.Monitor {
		t.Error("an empty list still only watches")
	}
}

// A parent and its subusers have lists of their own.
func TestAccessListsAreApart(t *testing.T) {
	t.Parallel()
	const path = "/v3/access_settings/whitelist"
	w := newWorld(t)
	parent := accessClient(w, w.acme)
	parent.want("POST", path, `{"ips":[{"ip":"192.0.2.1"}]}`, 201, nil)
	parent.with("on-behalf-of", "staging").want("POST", path, `{"ips":[{"ip":"192.0.2.2"}]}`, 201, nil)
	for of, want := range map[relay.Tenant]string{w.acme: "192.0.2.1/32", w.staging: "192.0.2.2/32", w.receipts: "", w.globex: ""} {
		var all accessRules
		accessClient(w, of).want("GET", path, "", 200, &all)
		if got := fmt.Sprint(all.Result); want != "" && (len(all.Result) != 1 || all.Result[0].IP != want) || want == "" && len(all.Result) != 0 {
			t.Errorf("%v: %s", of, got)
		}
	}
}

func TestAccessActivity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	accessOf(w).seen = []relay.AccessSeen{
		{Tenant: w.acme, Addr: netip.MustParseAddr("1.1.1.1"), Method: "SMTP PLAIN", FirstAt: t0, LastAt: t0.Add(time.Minute), Count: 3},
		{Tenant: w.acme, Addr: netip.MustParseAddr("2001:db8::1"), Method: "API", Allowed: true, FirstAt: t0, LastAt: t0, Count: 1},
		{Tenant: w.staging, Addr: netip.MustParseAddr("1.1.1.2"), Method: "API", FirstAt: t0, LastAt: t0, Count: 1},
	}
	a := accessClient(w, w.acme).want("GET", "/v3/access_settings/activity?limit=1", "", 200, nil)
	want := fmt.Sprintf(`{"result":[{"allowed":false,"auth_method":"SMTP PLAIN","first_at":%d,"ip":"1.1.1.1","last_at":%d,"location":"","count":3}]}`+"\n", t0.Unix(), t0.Unix()+60)
	if a.Body != want {
		t.Errorf("%s want %s", a.Body, want)
	}
	var all accessActivity
	accessClient(w, w.acme).want("GET", "/v3/access_settings/activity", "", 200, &all)
	if len(all.Result) != 2 || !all.Result[1].Allowed {
		t.Errorf("%+v", all)
	}
}

func TestAccessStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := accessClient(w, w.acme)
	w.fail = errors.New("disk on fire")
	for _, x := range [][3]string{
		{"GET", "/v3/access_settings/whitelist", ""}, {"POST", "/v3/access_settings/whitelist", `{"ips":[{"ip":"192.0.2.1"}]}`},
		{"GET", "/v3/access_settings/whitelist/1", ""}, {"DELETE", "/v3/access_settings/whitelist/1", ""}, {"GET", "/v3/access_settings/mode", ""},
		{"PATCH", "/v3/access_settings/mode", `{"monitor":true}`}, {"GET", "/v3/access_settings/activity", ""},
	} {
		if a := c.want(x[0], x[1], x[2], 500, nil); strings.Contains(a.Body, "fire") { // AP-22
			t.Error(a.Body)
		}
	}
}
