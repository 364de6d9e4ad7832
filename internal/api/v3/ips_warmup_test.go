package v3

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// fakeWarmups keeps warm-ups in the world's pools, as the store does.
type fakeWarmups struct{ w *world }

func init() {
	setups = append(setups, func(w *world, s *Services) { s.Warmups = fakeWarmups{w} })
	asked := func(status int, path, body string, warming bool) fixture {
		make := func(w *world, of relay.Tenant) ask {
			addr := warmupWorld(w, of, warming)
			return ask{Path: strings.ReplaceAll(path, "ADDR", addr), Body: strings.ReplaceAll(body, "ADDR", addr)}
		}
		absent := ask{Path: strings.ReplaceAll(path, "ADDR", "198.51.100.200"), Body: strings.ReplaceAll(body, "ADDR", "198.51.100.200")}
		return fixture{Status: status, Make: make, Absent: absent}
	}
	addFixtures(map[string]fixture{
		"GET /v3/ips/warmup": {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			warmupWorld(w, of, true)
			return ask{Path: warmupPath}
		}},
		"POST /v3/ips/warmup":                asked(200, warmupPath, `{"ip":"ADDR"}`, false),
		"GET /v3/ips/warmup/{ip_address}":    asked(200, warmupPath+"/ADDR", "", true),
		"DELETE /v3/ips/warmup/{ip_address}": asked(204, warmupPath+"/ADDR", "", true),
	})
}

// warmupWorld gives each account a pool of two addresses, the first perhaps in
// warm-up, and returns the first of the tenant's.
func warmupWorld(w *world, of relay.Tenant, warming bool) (first string) {
	f := subusersOf(w)
	f.pools = nil
	for i, t := range []relay.Tenant{w.acme, w.globex} {
		p := relay.Pool{ID: relay.PoolID{ID: relay.NewID(t0)}, Account: t.Account, Name: fmt.Sprint("pool", i)}
		for j := range 2 {
			p.Addresses = append(p.Addresses, relay.PoolAddress{Address: netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", 10*i+j+1)), Helo: "mail.example.test"})
		}
		if warming {
			p.Addresses[0].Warmup.Since = t0.Add(-12*24*time.Hour - time.Minute)
		}
		f.pools = append(f.pools, p)
		if t.Account == of.Account {
			first = p.Addresses[0].Address.String()
		}
	}
	return first
}

func (f fakeWarmups) edit(by store.By, addr netip.Addr, what string, warmup relay.Warmup) error {
	found := false
	for _, p := range subusersOf(f.w).pools {
		for i := range p.Addresses {
			if p.Addresses[i].Address == addr {
				p.Addresses[i].Warmup, found = warmup, true
			}
		}
	}
	if !found {
		return relay.E(relay.NotFound, "No pool has this address.")
	}
	return f.w.noted(by, what+" "+addr.String())
}

func (f fakeWarmups) StartWarmup(_ context.Context, by store.By, addr netip.Addr, since, _ time.Time) error {
	return f.edit(by, addr, "warm up", relay.Warmup{Since: since})
}

func (f fakeWarmups) StopWarmup(_ context.Context, by store.By, addr netip.Addr) error {
	return f.edit(by, addr, "end the warm-up of", relay.Warmup{})
}

var warmupScopes = []string{"ips.warmup.read", "ips.warmup.create", "ips.warmup.delete", "ips.pools.read"}

// TestWarmupAsSendGrid is the life of a warm-up in the shapes of SendGrid's API.
func TestWarmupAsSendGrid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warmupWorld(w, w.acme, false)
	c := w.as(w.acme, warmupScopes...)
	if a := c.want("GET", warmupPath, "", 200, nil); a.Body != "[]\n" {
		t.Error(a.Body)
	}
	c.refused("GET", warmupPath+"/203.0.113.1", "", 404, textNotFound, "")
	for range 2 { // the second changes nothing
		var got []warmupView
		a := c.want("POST", warmupPath, `{"ip":"203.0.113.1"}`, 200, &got)
		if len(got) != 1 || got[0].IP != "203.0.113.1" || got[0].StartDate != t0.Unix() || got[0].PerHour != 20 || len(got[0].Warnings) != 0 || !strings.Contains(a.Body, fmt.Sprintf(`"start_date":%d`, t0.Unix())) {
			t.Errorf("%s", a.Body)
		}
	}
	if len(w.changes) != 1 || !strings.HasSuffix(w.changes[0], ": warm up 203.0.113.1") {
		t.Errorf("%q", w.changes)
	}
	w.now = t0.Add(12 * 24 * time.Hour)
	for _, path := range []string{warmupPath, warmupPath + "/203.0.113.1", warmupPath + "/::ffff:203.0.113.1"} {
		var got []warmupView
		c.want("GET", path, "", 200, &got)
		if len(got) != 1 || got[0].Day != 12 || got[0].Days != 41 || got[0].PerHour != 1134 || !slices.Equal(got[0].Pools, []string{"pool0"}) || !got[0].Until.Equal(t0.Add(41*24*time.Hour)) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	var pools poolList
	c.want("GET", "/v3/pools", "", 200, &pools)
	if p := pools.Result[0].Addresses; p[0].State != "warming" || p[0].Warmup.PerHour != 1134 || p[1].State != "active" || p[1].Warmup != nil {
		t.Errorf("%+v", p)
	}
	c.want("DELETE", warmupPath+"/203.0.113.1", "", 204, nil)
	c.refused("DELETE", warmupPath+"/203.0.113.1", "", 404, textNotFound, "")

	// After 41 days it is over by itself, and may begin again.
	c.want("POST", warmupPath, `{"ip":"203.0.113.1"}`, 200, nil)
	w.now = w.now.Add(41 * 24 * time.Hour)
	if a := c.want("GET", warmupPath, "", 200, nil); a.Body != "[]\n" {
		t.Error(a.Body)
	}
	c.refused("DELETE", warmupPath+"/203.0.113.1", "", 404, textNotFound, "")
	c.want("POST", warmupPath, `{"ip":"203.0.113.1"}`, 200, nil)
}

// The last warm address of a pool may be warmed up, with a warning.
func TestWarmupWarns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warmupWorld(w, w.acme, true)
	c := w.as(w.acme, warmupScopes...)
	var got []warmupView
	c.want("POST", warmupPath, `{"ip":"203.0.113.2"}`, 200, &got)
	if len(got[0].Warnings) != 1 || !strings.HasPrefix(got[0].Warnings[0], "No warm IPv4 address is left in pool0. Mail beyond what 203.0.113.2 may send") {
		t.Errorf("%+v", got)
	}
	// An address of the other family takes over nothing, nor does one that is off.
	pools := subusersOf(w).pools
	pools[0].Addresses = []relay.PoolAddress{{Address: netip.MustParseAddr("2001:db8::1")}, {Address: netip.MustParseAddr("203.0.113.1"), DisabledAt: t0}, {Address: netip.MustParseAddr("203.0.113.2")}}
	c.want("POST", warmupPath, `{"ip":"203.0.113.2"}`, 200, &got)
	if len(got[0].Warnings) != 1 {
		t.Errorf("%+v", got)
	}
}

// AP-01: an account changes what is its own alone, sees what it sends from, and
// learns of nothing else.
func TestWarmupWhose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warmupWorld(w, w.acme, false)
	f := subusersOf(w)
	since := relay.Warmup{Since: t0.Add(-time.Hour)}
	f.pools = append(f.pools,
		relay.Pool{Name: "shared", Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("192.0.2.25")}, {Address: netip.MustParseAddr("192.0.2.26"), Warmup: since}}},
		relay.Pool{Name: "both", Account: w.globex.Account, Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("203.0.113.2")}}})
	c := w.as(w.acme, warmupScopes...)
	for _, addr := range []string{"192.0.2.25", "203.0.113.2"} {
		c.refused("POST", warmupPath, `{"ip":"`+addr+`"}`, 403, "for the operator", "ip")
	}
	c.refused("DELETE", warmupPath+"/192.0.2.26", "", 403, "for the operator", "ip")
	c.refused("POST", warmupPath, `{"ip":"203.0.113.11"}`, 404, textNotFound, "")
	if a := c.want("GET", warmupPath, "", 200, nil); !strings.Contains(a.Body, `"192.0.2.26"`) || strings.Contains(a.Body, "both") {
		t.Errorf("%s", a.Body)
	}
	if len(w.changes) != 0 {
		t.Errorf("%q", w.changes)
	}
	operator := w.operator("")
	for _, addr := range []string{"192.0.2.25", "203.0.113.2", "203.0.113.11"} {
		operator.want("POST", warmupPath, `{"ip":"`+addr+`"}`, 200, nil)
	}
	operator.want("DELETE", warmupPath+"/192.0.2.26", "", 204, nil)
	var all []warmupView
	operator.want("GET", warmupPath, "", 200, &all)
	if len(all) != 3 || !slices.Equal(all[1].Pools, []string{"pool0", "both"}) && !slices.Equal(all[1].Pools, []string{"both", "pool0"}) {
		t.Errorf("%+v", all)
	}
	// One account's view, asked for by the operator, is that account's.
	if a := w.operator("acme").want("GET", warmupPath, "", 200, nil); strings.Contains(a.Body, "203.0.113.11") {
		t.Errorf("%s", a.Body)
	}
}

// Hostile bodies and paths: nothing is changed, and nothing odd is said.
func TestWarmupHostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warmupWorld(w, w.acme, false)
	c := w.as(w.acme, warmupScopes...)
	for body, want := range map[string]int{
		`{}`: 400, `{"ip":""}`: 400, `{"ip":null}`: 400, `{"ip":7}`: 400, `[]`: 400, `{"ip":"203.0.113.1","x":1}`: 400,
		`{"ip":"203.0.113.1","ip":"203.0.113.2"}`: 400, `{"ip":"<script>"}`: 404, `{"ip":"203.0.113.1/32"}`: 404, `{"ip":"203.0.113.001"}`: 404, `{"ip":"fe80::1%eth0"}`: 404,
		`{"ip":"203.0.113.1 "}`: 404, `{"ip":"203.0.113.1","start_date":-1}`: 400, `{"ip":"203.0.113.1","start_date":9223372036854775807}`: 400,
		`{"ip":"203.0.113.1","start_date":-9223372036854775808}`: 400, `{"ip":"203.0.113.1","start_date":1.5}`: 400,
		fmt.Sprintf(`{"ip":"203.0.113.1","start_date":%d}`, t0.Unix()+1): 400, fmt.Sprintf(`{"ip":"203.0.113.1","start_date":%d}`, t0.Unix()-42*86400): 400,
	} {
		if a := c.do("POST", warmupPath, body); a.Status != want || strings.Contains(a.Body, "<script>") {
			t.Errorf("%s: %d %s, want %d", body, a.Status, a.Body, want)
		}
	}
	for _, path := range []string{"/x", "/203.0.113.1%2F32", "/%00", "/203.0.113.1%25eth0", "/999.1.1.1"} {
		for _, method := range []string{"GET", "DELETE"} {
			if a := c.do(method, warmupPath+path, ""); a.Status != 404 {
				t.Errorf("%s %s: %d %s", method, path, a.Status, a.Body)
			}
		}
	}
	if len(w.changes) != 0 {
		t.Errorf("%q", w.changes)
	}
	var got []warmupView
	c.want("POST", warmupPath, fmt.Sprintf(`{"ip":"203.0.113.1","start_date":%d}`, t0.Unix()-5*86400), 200, &got)
	if got[0].Day != 5 || got[0].PerHour != 108 {
		t.Errorf("%+v", got)
	}
	// A store that fails is an internal error, without its words.
	w.fail = context.DeadlineExceeded
	if a := c.do("DELETE", warmupPath+"/203.0.113.1", ""); a.Status < 500 || strings.Contains(a.Body, "deadline") {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
