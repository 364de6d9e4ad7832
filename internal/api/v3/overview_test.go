package v3

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/store"
)

func TestOverview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	at := t0.Add(-2 * time.Hour)
	f.counts = []store.MailCount{{At: at, Received: 5, Delivered: 4, Bounced: 1}}
	f.logins = []store.LoginCount{{At: at, Dimension: store.ByResult, Name: "ok", OK: 3}, {At: at, Dimension: store.ByResult, Name: "wrong", Refused: 2},
		{At: at, Dimension: store.ByResult, Name: "expired", Refused: 1}, {At: at, Dimension: store.ByTLS, Name: "TLSv1.3", OK: 3, Refused: 3}}
	f.addMail(w.acme, "ann@dest.test")
	c := w.as(w.acme, scopeCounts, scopeMail, scopeRecords)
	var v overview
	c.want("GET", "/v3/overview?since=2026-03-01T06:30:00Z", "", 200, &v)
	if v.By != "hour" || len(v.Series) != 3 || v.Series[1] != (mailPoint{At: at, Received: 5, Delivered: 4, Bounced: 1}) || v.Total.Received != 5 || !v.Until.Equal(t0) {
		t.Errorf("%+v", v)
	}
	if len(v.Logins) != 3 || v.Logins[1].OK != 3 || v.Logins[1].Refused != 3 || v.Queue == nil || v.Queue.Waiting != 1 {
		t.Errorf("%+v", v)
	}
	c.want("GET", "/v3/overview?since=2026-02-01T00:00:00Z", "", 200, &v)
	if v.By != "day" {
		t.Errorf("a month is shown by %s", v.By)
	}
	// Each part takes the scope of its own route.
	v = overview{}
	w.as(w.acme, scopeCounts).want("GET", "/v3/overview", "", 200, &v)
	if len(v.Series) == 0 || len(v.Logins) > 0 || v.Queue != nil || len(v.Attention) > 0 {
		t.Errorf("%+v", v)
	}
	for query, field := range map[string]string{
		"by=week": "by", "since=2025-06-01T00:00:00Z&by=hour": "by", "since=2020-01-01T00:00:00Z": "since", "since=2026-03-02T00:00:00Z": "since", "until=x": "until",
	} {
		var e struct{ Errors []struct{ Field *string } }
		c.want("GET", "/v3/overview?"+query, "", 400, &e)
		if e.Errors[0].Field == nil || *e.Errors[0].Field != field {
			t.Errorf("%s: %+v", query, e)
		}
	}
}

// The gravest first, and only of what the caller may see.
func TestAttention(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	f.findings = []relay.WatchFinding{
		{ID: relay.WatchID{ID: relay.ID{1}}, Rule: relay.WatchBurst, Tenant: w.acme, Severity: relay.WatchWarning, Text: "mine"},
		{ID: relay.WatchID{ID: relay.ID{2}}, Rule: relay.WatchBurst, Tenant: w.globex, Severity: relay.WatchCritical, Text: "theirs"},
	}
	k, _ := w.addKey(w.acme)
	w.keys[len(w.keys)-1].ExpiresAt = t0.Add(24 * time.Hour)
	old, _ := w.addKey(w.acme)
	w.keys[len(w.keys)-1].ExpiresAt = t0.Add(-24 * time.Hour)
	w.addKey(w.globex)
	w.keys[len(w.keys)-1].ExpiresAt = t0.Add(24 * time.Hour)
	id := f.addMail(w.acme, "ann@dest.test")
	f.setState(id, relay.MessageHeld)
	w.pass(2 * time.Hour)
	c := w.as(w.acme, relay.FullAccess()...)
	var v overview
	a := c.want("GET", "/v3/overview", "", 200, &v)
	codes := []string{}
	for _, x := range v.Attention {
		codes = append(codes, x.Severity+" "+x.Code)
		if x.Text == "" || x.Fix == "" && !strings.HasPrefix(x.Code, "watch_") || !strings.HasPrefix(x.Href, "/") {
			t.Errorf("%+v", x)
		}
		if x.Code == "key_expiring" && !strings.Contains(x.Fix, "later last day") { // a rotated key ends when it did before
			t.Errorf("what helps is %q", x.Fix)
		}
	}
	if got, want := fmt.Sprint(codes), "[warning watch_burst warning key_expiring warning key_expired warning mail_held notice mail_waits]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if strings.Contains(a.Body, "theirs") || !strings.Contains(a.Body, "/keys/"+k.ID.String()) || !strings.Contains(a.Body, "/keys/"+old.ID.String()) {
		t.Errorf("%s", a.Body)
	}
}

// Many of one kind hide no other kind.
func TestManyOfAKindNeedAttention(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{10: "10 lines, the last: key_expiring", 11: "11 lines, the last: key_expiring", 12: "11 lines, the last: 2 more of the kind above (key expiring). /keys", 300: "11 lines, the last: 290 more of the kind above (key expiring). /keys"} {
		w := newWorld(t)
		f := consoleOf(w)
		for range n {
			w.addKey(w.acme)
			w.keys[len(w.keys)-1].ExpiresAt = t0.Add(24 * time.Hour)
		}
		f.setState(f.addMail(w.acme, "ann@dest.test"), relay.MessageHeld)
		var v overview
		w.as(w.acme, relay.FullAccess()...).want("GET", "/v3/overview", "", 200, &v)
		var keys []attention
		held := false
		for _, x := range v.Attention {
			if held = held || x.Code == "mail_held"; strings.HasPrefix(x.Code, "key_") {
				keys = append(keys, x)
			}
		}
		if !held {
			t.Errorf("%d keys hide the mail that is held", n)
		}
		got := fmt.Sprintf("%d lines, the last: %s", len(keys), keys[len(keys)-1].Code)
		if last := keys[len(keys)-1]; last.Subject == "" {
			got = fmt.Sprintf("%d lines, the last: %s %s", len(keys), last.Text, last.Href)
		}
		if got != want {
			t.Errorf("of %d keys %s, want %s", n, got, want)
		}
	}
}

func TestLoginSummary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	consoleOf(w).logins = []store.LoginCount{{Dimension: store.ByResult, Name: "wrong\x1b", Refused: 2}, {Dimension: store.ByResult, Name: "ok", OK: 3}, {Dimension: store.ByTLS, Name: "TLSv1.3", OK: 3, Refused: 2}}
	var v loginSummary
	w.as(w.acme, scopeRecords).want("GET", "/v3/logins/summary", "", 200, &v)
	if v.Total != 5 || len(v.Result) != 2 || v.Result[1].Name != "wrong" || v.Mechanism == nil || len(v.TLS) != 1 || v.TLS[0].Count != 5 || v.Network == nil || v.Place != nil {
		t.Errorf("%+v", v)
	}
}

// With a file of places the networks are summed up by country; what is not known,
// and the rest that has no network any more, are named so.
func TestLoginsByPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) {
		s.Place = func(a netip.Addr) string {
			return map[string]string{"192.0.2.0": "DE", "2001:db8::": "DE", "198.51.100.0": "BR"}[a.String()]
		}
	})
	consoleOf(w).logins = []store.LoginCount{
		{Dimension: store.ByNetwork, Name: "192.0.2.0/24", OK: 3}, {Dimension: store.ByNetwork, Name: "2001:db8::/48", OK: 2, Refused: 1},
		{Dimension: store.ByNetwork, Name: "198.51.100.0/24", Refused: 5}, {Dimension: store.ByNetwork, Name: "203.0.113.0/24", Refused: 1},
		{Dimension: store.ByNetwork, Name: store.OtherName, Refused: 2}, {Dimension: store.ByResult, Name: "ok", OK: 5},
	}
	var v loginSummary
	w.as(w.acme, scopeRecords).want("GET", "/v3/logins/summary", "", 200, &v)
	if want := []namedCount{{"DE", 6}, {"BR", 5}, {"other", 2}, {"unknown", 1}}; !slices.Equal(v.Place, want) {
		t.Errorf("%v, want %v", v.Place, want)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	f.addMail(w.acme, "ann@dest.test", "bob@other.test")
	f.addMail(w.staging, "ann@dest.test")
	f.lanes = []queue.LaneStatus{{Lane: relay.Lane{Pool: fakePool, Site: "dest.test"}, Limit: 4, Until: t0.Add(time.Minute), Reason: "3 connections in a row failed: 421 for carl@globex.test"}}
	c := w.as(w.acme, scopeMail)
	var v queueView
	a := c.want("GET", "/v3/queue", "", 200, &v)
	if v.Waiting != 2 || len(v.Lanes) != 2 || v.Lanes[0].Limit != 4 || !strings.Contains(v.Lanes[0].Why, "3 connections in a row failed.") || strings.Contains(a.Body, "carl@") {
		t.Errorf("%s", a.Body)
	}
	w.as(w.acme, scopeMail, scopeBehalf).want("GET", "/v3/queue", "", 200, &v)
	if v.Waiting != 3 {
		t.Errorf("with subusers: %+v", v)
	}
	var one siteView
	c.want("GET", "/v3/queue/OTHER.test", "", 200, &one)
	if len(one.Lanes) != 1 || one.Lanes[0].Site != "other.test" || !strings.Contains(one.Lanes[0].Why, "next attempt is due") {
		t.Errorf("%+v", one)
	}
	// Counting reads the whole queue: one that asks all the time costs one count in 5 s.
	before := f.counted
	for range 5 {
		c.want("GET", "/v3/queue", "", 200, nil)
	}
	if f.counted != before {
		t.Errorf("counted %d times more", f.counted-before)
	}
	w.pass(queueAge)
	c.want("GET", "/v3/queue", "", 200, nil)
	if f.counted != before+1 {
		t.Errorf("counted %d times more after a while", f.counted-before)
	}
}

// What is kept of counts is bounded.
func TestQueueCountsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var k queueCounts
	for range 3 * maxQueues {
		if _, err := k.get(t.Context(), consoleOf(w), relay.Tenant{Account: relay.AccountID{ID: relay.NewID(t0)}}, false, t0); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.kept) > maxQueues {
		t.Errorf("%d are kept", len(k.kept))
	}
}

func TestPools(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addPools(w)
	pools := subusersOf(w).pools
	f := consoleOf(w)
	lane := func(site string) relay.Lane { return relay.Lane{Pool: fakePool, Site: site} }
	for i := range pools {
		if pools[i].Account == w.acme.Account {
			pools[i].ID = fakePool
			pools[i].Addresses = []relay.PoolAddress{{Address: netip.MustParseAddr("192.0.2.1"), Helo: "a.test"}, {Address: netip.MustParseAddr("192.0.2.2"), Helo: "b.test", DisabledAt: t0}}
			break
		}
	}
	f.addMail(w.acme, "ann@dest.test")
	f.addMail(w.globex, "ann@theirs.test")
	f.lanes = []queue.LaneStatus{{Lane: lane("dest.test"), Until: t0.Add(time.Minute), Reason: "the destination asked to slow down: 421 carl@globex.test"},
		{Lane: lane("theirs.test"), Until: t0.Add(time.Minute), Reason: "x"}}
	var v poolList
	a := w.as(w.acme, "ips.pools.read").want("GET", "/v3/pools", "", 200, &v)
	shared := 0
	for _, p := range v.Result {
		if p.Shared {
			shared++
		}
		if p.Waiting == 0 {
			continue
		}
		if p.Waiting != 1 || len(p.Addresses) != 2 || p.Addresses[0].State != "active" || !p.Addresses[1].Disabled || len(p.BackingOff) != 1 || p.BackingOff[0].Site != "dest.test" || p.BackingOff[0].Reason != "the destination asked to slow down" {
			t.Errorf("%+v", p)
		}
	}
	// AP-01: neither another account's pools nor what waits for whom is told.
	if shared == 0 || strings.Contains(a.Body, "theirs.test") || strings.Contains(a.Body, "carl@") {
		t.Errorf("%s", a.Body)
	}
	for _, p := range pools {
		if p.Account == w.globex.Account && strings.Contains(a.Body, `"`+p.Name+`"`) {
			t.Errorf("%s is shown: %s", p.Name, a.Body)
		}
	}
}

func TestKeyTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k, _ := w.addKey(w.acme, "mail.send")
	at := len(w.keys) - 1
	path := "/v3/api_keys/" + k.ID.String() + "/test"
	body := `{"to":"ann@dest.test","from":"ops@acme.test"}`
	dev := w.person(w.addUser(w.acme, relay.RoleDeveloper), true)
	var got keyTested
	dev.want("POST", path, body, 202, &got)
	qd, err := mailOf(w).store.Message(t.Context(), got.ID)
	if err != nil || qd.Message.Key != k.ID || qd.Message.HeaderFrom != "ops@acme.test" || qd.Message.Subject != testSubject || qd.Recipients[0].Address != "ann@dest.test" {
		t.Errorf("%+v, %v", qd, err)
	}
	w.as(w.acme, "api_keys.update", "mail.send").want("POST", path, body, 202, nil)
	// AP-03: by way of another key nobody sends who may not.
	w.as(w.acme, "api_keys.update").refused("POST", path, body, 403, "mail.send", "scopes")
	w.person(w.addUser(w.acme, relay.RoleCustom, "api_keys.update"), true).refused("POST", path, body, 403, "mail.send", "scopes")
	for name, tt := range map[string]struct {
		edit    func()
		body    string
		status  int
		message string
		field   string
	}{
		"not ours":   {func() {}, `{"to":"ann@dest.test","from":"ops@globex.test"}`, 403, "does not match a verified Sender", "from"},
		"no address": {func() {}, `{"to":"ann","from":"ops@acme.test"}`, 400, "valid address", "to"},
		"recipients": {func() { w.keys[at].RecipientDomains = []string{"other.test"} }, body, 403, "", "to"},
		"senders":    {func() { w.keys[at].Senders = []string{"x@acme.test"} }, body, 403, "", "from"},
		"disabled":   {func() { w.keys[at].DisabledAt = t0 }, body, 409, "switched off", ""},
		"expired":    {func() { w.keys[at].ExpiresAt = t0 }, body, 409, "expired", ""},
		"canary":     {func() { w.keys[at].Canary = true }, body, 409, "canary", ""},
		"revoked":    {func() { w.keys[at].RevokedAt = t0 }, body, 404, textNotFound, ""},
		"member":     {func() {}, `{"to":"ann@dest.test","from":"ops@acme.test","subject":"x"}`, 400, "no such member", "subject"},
	} {
		t.Run(name, func(t *testing.T) {
			was := w.keys[at]
			tt.edit()
			defer func() { w.keys[at] = was }()
			dev.refused("POST", path, tt.body, tt.status, tt.message, tt.field)
		})
	}
}
