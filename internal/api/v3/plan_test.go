package v3

import (
	"testing"

	"postern/internal/relay"
)

func init() {
	addFixtures(map[string]fixture{
		"GET /v3/subusers/{subuser_name}/plan":   onSubuser(200, "/plan", ""),
		"PATCH /v3/subusers/{subuser_name}/plan": onSubuser(200, "/plan", `{"day":100}`),
		"GET /v3/subusers/{subuser_name}/usage":  onSubuser(200, "/usage", ""),
	})
}

func TestSubuserPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	const path = "/v3/subusers/staging/plan"
	if a := c.want("GET", path, "", 200, nil); a.Body != "{}\n" {
		t.Error(a.Body)
	}
	want := relay.Plan{Hour: 10, Day: 100, Recipients: 5, Size: 1 << 20, Connections: 3, Over: relay.OverDefer}
	if got := decode[relay.Plan](t, c.want("PATCH", path, `{"hour":10,"day":100,"recipients":5,"size":1048576,"connections":3,"over":"defer"}`, 200, nil)); got != want {
		t.Errorf("%+v", got)
	}
	c.want("PUT", "/v3/subusers/staging/credits", `{"type":"nonrecurring","total":7}`, 200, nil)
	want.Day, want.Month, want.Over = 0, 9, relay.OverRefuse
	want.Credits = relay.Credits{Type: relay.CreditsNonrecurring, Total: 7}
	if got := decode[relay.Plan](t, c.want("PATCH", path, `{"day":0,"month":9,"over":"refuse"}`, 200, nil)); got != want {
		t.Errorf("what is not given does not stay: %+v", got)
	}
	changes := len(w.changes)
	c.want("PATCH", path, `{"month":9}`, 200, nil)
	if len(w.changes) != changes {
		t.Errorf("nothing new was stored: %q", w.changes)
	}
	for body, field := range map[string]string{
		`{"hour":-1}`: "hour", `{"size":9999999999999}`: "size", `{"over":"drop"}`: "over", `{"credits":{"total":1000000}}`: "credits", `{"connections":1.5}`: "connections",
	} {
		c.refused("PATCH", path, body, 400, "", field)
	}
	c.refused("GET", "/v3/subusers/nobody/plan", "", 404, "No user found", "")
}

func TestSubuserUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	u := decode[usageView](t, c.want("GET", "/v3/subusers/staging/usage", "", 200, nil))
	if u.Result == nil {
		t.Error("null instead of a list")
	}
	for _, x := range u.Result {
		if x.Subject == "subuser" && x.Name != "staging" {
			t.Errorf("another subuser's: %+v", x)
		}
	}
}
