package v3

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// ofSettings has every scope of the user's settings.
var ofSettings = []string{
	"user.account.read", "user.credits.read", "user.email.read", "user.email.update", "user.username.read", "user.username.update",
	"user.profile.read", "user.profile.update", "user.settings.enforced_tls.read", "user.settings.enforced_tls.update",
	"user.timezone.read", "user.timezone.update", scopeBehalf,
}

func TestUserAsSendGrid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, ofSettings...)
	sub := c.with("on-behalf-of", "staging")
	for _, tt := range []struct {
		c                  *client
		method, path, body string
		want               string
	}{
		{c, "GET", "/v3/user/account", "", `{"type":"paid","reputation":100}`},
		{c, "GET", "/v3/user/email", "", `{"email":"ops@acme.example"}`},
		{c, "PUT", "/v3/user/email", `{"email":"new@acme.example"}`, `{"email":"new@acme.example"}`},
		{c, "GET", "/v3/user/email", "", `{"email":"new@acme.example"}`},
		{sub, "GET", "/v3/user/email", "", `{"email":"staging@example.test"}`},
		{c, "GET", "/v3/user/username", "", `{"username":"acme","user_id":2}`},
		{sub, "GET", "/v3/user/username", "", `{"username":"staging","user_id":100}`},
		{c, "PUT", "/v3/user/username", `{"username":"acme-2"}`, `{"username":"acme-2","user_id":2}`},
		{sub, "PUT", "/v3/user/username", `{"username":"stage"}`, `{"username":"stage","user_id":100}`},
		{c, "GET", "/v3/user/profile", "", `{"address":"","address2":"","city":"","company":"","country":"","first_name":"","last_name":"","phone":"","state":"","website":"","zip":""}`},
		{c, "PATCH", "/v3/user/profile", `{"city":"Oslo","first_name":"Åse"}`, `{"address":"","address2":"","city":"Oslo","company":"","country":"","first_name":"Åse","last_name":"","phone":"","state":"","website":"","zip":""}`},
		{c, "PATCH", "/v3/user/profile", `{"city":""}`, `{"address":"","address2":"","city":"","company":"","country":"","first_name":"Åse","last_name":"","phone":"","state":"","website":"","zip":""}`},
		{c, "GET", "/v3/user/settings/enforced_tls", "", `{"require_tls":false,"require_valid_cert":false,"version":1.2}`},
		{c, "PATCH", "/v3/user/settings/enforced_tls", `{"require_tls":true,"version":1.1}`, `{"require_tls":true,"require_valid_cert":false,"version":1.2}`},
		{c, "PATCH", "/v3/user/settings/enforced_tls", `{"require_valid_cert":true}`, `{"require_tls":true,"require_valid_cert":true,"version":1.2}`},
		{c, "GET", "/v3/user/timezone", "", `{"timezone":"UTC"}`},
		{c, "PATCH", "/v3/user/timezone", `{"timezone":"Europe/Oslo"}`, `{"timezone":"Europe/Oslo"}`},
	} {
		if a := tt.c.want(tt.method, tt.path, tt.body, 200, nil); a.Body != tt.want+"\n" {
			t.Errorf("%s %s: %s, want %s", tt.method, tt.path, a.Body, tt.want)
		}
	}
	if a := w.accounts[1]; a.TLS != relay.TLSVerified || a.TimeZone != "Europe/Oslo" || a.OwnerEmail != "new@acme.example" || a.Profile.FirstName != "Åse" || a.Name != "acme-2" {
		t.Errorf("%+v", a)
	}
}

func TestUserRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, ofSettings...)
	sub := c.with("on-behalf-of", "staging")
	for _, tt := range []struct {
		c              *client
		method, path   string
		body           string
		status         int
		message, field string
	}{
		{c, "PUT", "email", `{"email":"nobody"}`, 400, "email address", "email"},
		{c, "PUT", "email", `{}`, 400, "email address", "email"},
		{c, "PUT", "email", `{"email":"a@example.test\r\nBcc: x@example.test"}`, 400, "email address", "email"},
		{c, "PUT", "username", `{"username":"globex"}`, 400, "username exists", "username"},
		{sub, "PUT", "username", `{"username":"branch"}`, 400, "username exists", "username"},
		{c, "PUT", "username", `{"username":"a/b"}`, 400, "slash", "username"},
		{c, "PUT", "username", `{"username":"` + absentID + `"}`, 400, "looks like an id", "username"},
		{c, "PUT", "username", `{"username":"ац"}`, 400, "ASCII", "username"},
		{c, "PUT", "username", `{"username":""}`, 400, "required", "username"},
		{c, "PUT", "username", `{"username":"x","user_id":1}`, 400, "cannot be set", "user_id"},
		{c, "PATCH", "profile", `{"zip":"` + strings.Repeat("1", 256) + `"}`, 400, "255", "zip"},
		{c, "PATCH", "profile", `{"zip":"1\n2"}`, 400, "printable", "zip"},
		{c, "PATCH", "settings/enforced_tls", `{"version":1.3}`, 400, "1.3 cannot be enforced yet", "version"},
		{c, "PATCH", "settings/enforced_tls", `{"version":1.0}`, 400, "1.1, 1.2 or 1.3", "version"},
		{c, "PATCH", "settings/enforced_tls", `{"require_valid_cert":true}`, 400, "without TLS", "require_valid_cert"},
		{c, "PATCH", "timezone", `{"timezone":"Mars/Olympus"}`, 400, "time zone", "timezone"},
		{c, "PATCH", "timezone", `{"timezone":"Local"}`, 400, "time zone", "timezone"},
		{c, "PATCH", "timezone", `{"timezone":"../../etc/passwd"}`, 400, "time zone", "timezone"},
		{sub, "PATCH", "timezone", `{"timezone":"UTC"}`, 403, "access forbidden", ""},
		{c, "PUT", "password", `{"new_password":"a","old_password":"b"}`, 404, "not found", ""}, // people's passwords come with the console
	} {
		tt.c.refused(tt.method, "/v3/user/"+tt.path, tt.body, tt.status, tt.message, tt.field)
	}
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
}

// A subuser's deliveries have at least its account's TLS.
func TestTLSOfSubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accounts[1].TLS = relay.TLSRequired
	var v tlsView
	c := w.as(w.staging, ofSettings...)
	if c.want("GET", "/v3/user/settings/enforced_tls", "", 200, &v); !v.RequireTLS || v.RequireValidCert {
		t.Errorf("%+v", v)
	}
	if c.want("PATCH", "/v3/user/settings/enforced_tls", `{"require_tls":false}`, 200, &v); !v.RequireTLS {
		t.Errorf("weaker than its account: %+v", v)
	}
	c.want("PATCH", "/v3/user/settings/enforced_tls", `{"require_tls":true,"require_valid_cert":true}`, 200, &v)
	if !v.RequireValidCert || w.accounts[1].TLS != relay.TLSRequired || w.subusers[0].TLS != relay.TLSVerified {
		t.Errorf("%+v", v)
	}
}

// A subuser that is being deleted under the request is gone.
func TestDeletedSubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.staging, ofSettings...)
	w.subusers[0].DeletedAt = t0
	c.refused("GET", "/v3/user/email", "", 404, "not found", "")
	c.refused("PUT", "/v3/user/email", `{"email":"a@example.test"}`, 404, "not found", "")
	w.as(w.acme, ofSettings...).with("on-behalf-of", "staging").refused("GET", "/v3/user/email", "", 404, "not found", "")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "user.credits.read", scopeBehalf)
	k, _ := w.addKey(w.acme)
	subjects := func(c *client, query string) string {
		t.Helper()
		var v struct{ Result []relay.Usage }
		c.want("GET", "/v3/user/usage"+query, "", 200, &v)
		var out []string
		for _, u := range v.Result {
			out = append(out, u.Subject)
		}
		return strings.Join(out, " ")
	}
	if got := subjects(c, ""); got != "account" {
		t.Errorf("account: %s", got)
	}
	if got := subjects(c, "?api_key_id="+k.ID.String()); got != "account api_key" {
		t.Errorf("with a key: %s", got)
	}
	if got := subjects(c.with("on-behalf-of", "staging"), ""); got != "subuser" {
		t.Errorf("a subuser sees %s", got)
	}
	theirs, _ := w.addKey(w.staging)
	c.refused("GET", "/v3/user/usage?api_key_id="+theirs.ID.String(), "", 404, "not found", "")
	c.refused("GET", "/v3/user/usage?api_key_id="+absentID, "", 404, "not found", "")
	coreOf(w).usage = []relay.Usage{}
	if a := c.want("GET", "/v3/user/usage", "", 200, nil); a.Body != `{"result":[]}`+"\n" {
		t.Errorf("%s", a.Body)
	}
}

func TestCredits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		plan  relay.Plan
		usage []relay.Usage
		want  creditsView
	}{
		"no limit": {
			relay.Plan{}, []relay.Usage{{Subject: "account", Window: relay.WindowMonth, Used: 7}},
			creditsView{Remain: -1, Total: -1, Used: 7, LastReset: "2026-03-01", NextReset: "2026-04-01", ResetFrequency: "monthly"},
		},
		"monthly allowance": {
			relay.Plan{Credits: relay.Credits{Type: relay.CreditsRecurring, Reset: "monthly", Total: 100}, Month: 500},
			[]relay.Usage{{Subject: "account", Window: relay.WindowMonth, Limit: 500, Used: 30}, {Subject: "account", Window: relay.WindowMonth, Limit: 100, Used: 20}, {Subject: "subuser", Window: relay.WindowMonth, Limit: 100, Used: 99}},
			creditsView{Remain: 80, Total: 100, Used: 20, LastReset: "2026-03-01", NextReset: "2026-04-01", ResetFrequency: "monthly"},
		},
		"daily, overdrawn": {
			relay.Plan{Credits: relay.Credits{Type: relay.CreditsRecurring, Reset: "daily", Total: 10}},
			[]relay.Usage{{Subject: "account", Window: relay.WindowDay, Limit: 10, Used: 12}},
			creditsView{Remain: 0, Total: 10, Used: 12, Overage: 2, LastReset: "2026-03-01", NextReset: "2026-03-02", ResetFrequency: "daily"},
		},
		"weekly": {
			relay.Plan{Credits: relay.Credits{Type: relay.CreditsRecurring, Reset: "weekly", Total: 10}}, nil,
			creditsView{Remain: 10, Total: 10, LastReset: "2026-02-23", NextReset: "2026-03-02", ResetFrequency: "weekly"},
		},
		"once": {
			relay.Plan{Credits: relay.Credits{Type: relay.CreditsNonrecurring, Total: 10}},
			[]relay.Usage{{Subject: "account", Window: relay.WindowEver, Limit: 10, Used: 4}},
			creditsView{Remain: 6, Total: 10, Used: 4, LastReset: "2026-03-01"},
		},
		"plan by day": {
			relay.Plan{Day: 50}, []relay.Usage{{Subject: "account", Window: relay.WindowDay, Limit: 50, Used: 50}},
			creditsView{Remain: 0, Total: 50, Used: 50, LastReset: "2026-03-01", NextReset: "2026-03-02", ResetFrequency: "daily"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.accounts[1].Plan = tt.plan
			if coreOf(w).usage = tt.usage; tt.usage == nil {
				coreOf(w).usage = []relay.Usage{}
			}
			var got creditsView
			w.as(w.acme, "user.credits.read").want("GET", "/v3/user/credits", "", 200, &got)
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// Days are counted where the account is.
func TestCreditsInTimeZone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.accounts[1].Plan, w.accounts[1].TimeZone = relay.Plan{Day: 5}, "Pacific/Auckland"
	w.pass(3 * time.Hour) // 12:00 UTC is 01:00 of the next day there
	var got creditsView
	w.as(w.acme, "user.credits.read").want("GET", "/v3/user/credits", "", 200, &got)
	if got.LastReset != "2026-03-02" || got.NextReset != "2026-03-03" {
		t.Errorf("%+v", got)
	}
	zone := zoneOf(&w.accounts[1])
	if a, b := dayNumber(t0, zone), dayNumber(t0.Add(3*time.Hour), zone); b != a+1 {
		t.Errorf("days %d and %d", a, b)
	}
}

// The account's plan is the operator's to set.
func TestPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	op := w.operator("acme")
	var p relay.Plan
	op.want("PATCH", "/v3/user/plan", `{"day":1000,"recipients":50,"size":1048576,"over":"defer"}`, 200, &p)
	op.want("PATCH", "/v3/user/plan", `{"connections":5}`, 200, &p)
	if want := (relay.Plan{Day: 1000, Recipients: 50, Size: 1 << 20, Connections: 5, Over: relay.OverDefer}); p != want || w.accounts[1].Plan != want {
		t.Errorf("%+v", p)
	}
	op.want("PATCH", "/v3/user/plan", `{"over":"refuse"}`, 200, nil)
	op.with("on-behalf-of", "staging").want("PATCH", "/v3/user/plan", `{"hour":7}`, 200, nil)
	if w.accounts[1].Plan.Over != relay.OverRefuse || w.subusers[0].Plan.Hour != 7 {
		t.Errorf("%+v %+v", w.accounts[1].Plan, w.subusers[0].Plan)
	}
	var seen map[string]json.RawMessage
	w.as(w.acme, "user.credits.read").want("GET", "/v3/user/plan", "", 200, &seen)
	if string(seen["day"]) != "1000" {
		t.Errorf("%s", seen)
	}
	for body, field := range map[string]string{`{"day":-1}`: "day", `{"recipients":99999999999}`: "recipients", `{"over":"drop"}`: "over", `{"credits":{}}`: "credits"} {
		op.refused("PATCH", "/v3/user/plan", body, 400, "", field)
	}
}

// Two who change different settings at once lose neither: nobody reads what
// somebody else is about to write.
func TestEditsAreAlone(t *testing.T) {
	t.Parallel()
	var between settingsBetween
	w := newWorld(t, func(s *Services) { between.inner = s.Settings; s.Settings = &between })
	c := w.as(w.acme, ofSettings...)
	done := make(chan struct{})
	for _, ask := range [][2]string{{"email", `{"email":"a@example.test"}`}, {"username", `{"username":"renamed"}`}} {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 20 {
				c.do("PUT", "/v3/user/"+ask[0], ask[1])
			}
		}()
	}
	<-done
	<-done
	if a := w.accounts[1]; between.clash.Load() || a.OwnerEmail != "a@example.test" || a.Name != "renamed" {
		t.Errorf("clash %v, %+v", between.clash.Load(), a)
	}
}

// settingsBetween notices who reads an account between another's reading and
// writing.
type settingsBetween struct {
	inner   Settings
	editing atomic.Int32
	clash   atomic.Bool
}

func (s *settingsBetween) Account(ctx context.Context, id relay.AccountID) (relay.Account, error) {
	if s.editing.Add(1) > 1 {
		s.clash.Store(true)
	}
	a, err := s.inner.Account(ctx, id)
	for range 100 {
		runtime.Gosched()
	}
	return a, err
}

func (s *settingsBetween) SwapAccount(ctx context.Context, by store.By, was, a relay.Account) error {
	defer s.editing.Add(-1)
	return s.inner.SwapAccount(ctx, by, was, a)
}

func (s *settingsBetween) Subuser(ctx context.Context, id relay.SubuserID) (relay.Subuser, error) {
	return s.inner.Subuser(ctx, id)
}

func (s *settingsBetween) SwapSubuser(ctx context.Context, by store.By, was, u relay.Subuser) error {
	return s.inner.SwapSubuser(ctx, by, was, u)
}

// An account that an issuer of single sign-on names keeps its name, and nobody takes it:
// its people could not log in by their issuer, or came to another account.
func TestNameOfSingleSignOnStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	peopleOf(w).signsOn = "acme"
	const path = "/v3/user/username"
	c, sub, other := w.as(w.acme, relay.Scopes...), w.as(w.staging, relay.Scopes...), w.as(w.globex, relay.Scopes...)
	c.refused("PUT", path, `{"username":"acme-2"}`, 403, "Single sign-on of this account is set up by its name", "username")
	c.want("PUT", path, `{"username":"acme"}`, 200, nil)
	sub.want("PUT", path, `{"username":"stage"}`, 200, nil)
	peopleOf(w).signsOn = "acme-old" // which is nobody's at the moment
	other.refused("PUT", path, `{"username":"acme-old"}`, 400, "username exists", "username")
	other.want("PUT", path, `{"username":"globex-2"}`, 200, nil)
	peopleOf(w).signsOn = "globex-2"
	w.operator("globex-2").want("PUT", path, `{"username":"globex"}`, 200, nil)
}
