package browser

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/console"
)

// look is one page to look at.
type look struct {
	pattern string // in the console's table
	name    string // of its pictures
	path    string // "": as the pattern
	chart   bool   // something is drawn
}

// TestPages looks at each page of the console's table, with data in it: no complaint
// by the browser, nothing from elsewhere, nothing serious by axe in light and dark, no
// page wider than a phone.
func TestPages(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	b, looks := furnished(t, w)
	seen := map[string]bool{}
	for _, l := range looks {
		seen[l.pattern] = true
		path := l.path
		if strings.HasPrefix(path, "main ") { // a link of the page before
			for deadline := time.Now().Add(2 * patience); b.count(path) == 0 && time.Now().Before(deadline); time.Sleep(time.Second) {
				b.visit(b.at()) // the watch takes its time
			}
			path = script[string](b, fmt.Sprintf(`document.querySelector(%s)?.getAttribute("href") ?? "/none"`, quote(path)))
		} else if path == "" {
			path = strings.TrimSuffix(l.pattern, "{$}")
		}
		b.visit(path)
		if at := b.at(); at != path {
			t.Errorf("%s leads to %s", path, at)
			continue
		}
		if h := b.text("h1"); h == "" || b.count("h1") != 1 || h == "Page not found" {
			t.Errorf("%s has %d headings, %q", path, b.count("h1"), h)
			continue
		}
		if l.chart {
			b.charts(path)
		}
		b.judge(l.name)
	}
	for _, pattern := range console.Pages() {
		if !seen[pattern] && !elsewhere[pattern] {
			t.Errorf("nobody has looked at %s", pattern)
		}
	}
}

// charts looks at what is drawn: each figure says what it shows and counts, which line
// is which, has its numbers as a table, and is drawn anew in the colours of the scheme.
func (b *tab) charts(path string) {
	b.t.Helper()
	b.until(`document.querySelector("main canvas") !== null`)
	for _, part := range []string{"canvas", "figcaption .unit", ".u-legend", "details table caption", "details table tbody tr"} {
		if without := script[[]string](b, `[...document.querySelectorAll("figure.chart")].filter((f) => f.querySelector(`+quote(part)+`) === null).map((f) => f.id)`); len(without) > 0 {
			b.t.Errorf("%s: the charts %v have no %s", path, without, part)
		}
	}
	for _, scheme := range []string{"dark", "light"} {
		script[bool](b, `document.querySelectorAll("main canvas").forEach((c) => { c.dataset.old = "yes"; }) === undefined`)
		b.scheme(scheme)
		b.until(`document.querySelector("canvas[data-old]") === null && document.querySelectorAll("figure.chart canvas").length === document.querySelectorAll("figure.chart").length`)
	}
}

// elsewhere are pages that other tests look at.
var elsewhere = map[string]bool{
	"/welcome": true, "/welcome/domain": true, "/welcome/domain/{id}": true, "/welcome/key": true, "/welcome/message/{id}": true, // TestFirstRun
	"/confirm": true, "/factors/passkey": true, // TestPasskey
	"/profile/sso/{id}/remove": true, "/people/{person}/sso/{sso}/remove": true, // TestSingleSignOn
	"/factors/passkey/{id}/remove": true,                                               // a question as the app's
	"/changes/export":              true, "/logins/export": true, "/logins/tail": true, // no pages
	"/domains/{domain}/keys/{selector}/export": true, "/domains/{domain}/dmarc/reports/{day}/{mark}/export": true, // no pages either
	"/mail/{message}/body.html": true,                                        // a frame in a page
	"/audit/print":              true, "/audit/reports/{report}/print": true, // documents of their own: TestAuditReport
	"/switch": true,
}

// furnished fills the demo's account with what its pages are for, and logs somebody in.
func furnished(t *testing.T, w *world) (*tab, []look) {
	t.Helper()
	full := w.APIKey
	web := w.keys["web shop"]
	crm := w.newKey(t, full, map[string]any{"name": "winter campaign", "scopes": []string{"mail.send"}, "mode": "hold", "expires_at": time.Now().AddDate(0, 0, 9).UTC().Format(time.RFC3339)})
	decoy := w.newKey(t, full, map[string]any{"name": "backup of the web shop", "scopes": []string{"mail.send"}, "canary": true})
	for i, subject := range []string{"Your order 10482", "Your order 10483", "Your invoice for November", "Your order 10484 is on its way", "Reset your password"} {
		if err := w.deliver(t, letterTo(web.Secret, "shop@acme.test", fmt.Sprintf("customer%d@inbox.test", i+1), subject)); err != nil {
			t.Fatal(err)
		}
	}
	for to, m := range map[string]message{
		fullAt:              letterTo(web.Secret, "shop@acme.test", fullAt, "Your parcel has arrived"),
		goneAt:              letterTo(web.Secret, "shop@acme.test", goneAt, "Your order 10485"),
		"reader@inbox.test": letterTo(crm.Secret, "news@acme.test", "reader@inbox.test", "What is new in winter"),
	} {
		if err := w.deliver(t, m); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
	}
	if err := w.deliver(t, letterTo(web.Secret, "shop@globex.test", "customer1@inbox.test", "Not ours")); err == nil {
		t.Fatal("mail as somebody else's domain was taken")
	}
	if err := w.deliver(t, letterTo(decoy.Secret, "shop@acme.test", "customer1@inbox.test", "A thief")); err == nil {
		t.Fatal("a decoy key was taken")
	}
	w.api(t, full, "POST", "/v3/subusers", map[string]any{"username": "outlet", "email": "outlet@inbox.test", "password": password, "ips": []string{}}, nil, nil)
	w.api(t, full, "POST", "/v3/access_settings/whitelist", map[string]any{"ips": []any{map[string]string{"ip": "127.0.0.0/8", "note": "this machine"}, map[string]string{"ip": "192.0.2.0/24", "note": "the office"}}}, nil, nil)
	var domains []struct {
		ID   int64  `json:"id"`
		Name string `json:"domain"`
	}
	w.api(t, full, "GET", "/v3/whitelabel/domains", nil, &domains, nil)
	number := func(name string) string {
		for _, d := range domains {
			if d.Name == name {
				return fmt.Sprint(d.ID)
			}
		}
		t.Fatalf("no domain %s", name)
		return ""
	}
	bounced, waiting, held := w.wait(t, full, goneAt, "bounced"), w.wait(t, full, fullAt, "deferred"), w.wait(t, full, "reader@inbox.test", "held")
	delivered := w.wait(t, full, "customer4@inbox.test", "delivered")

	b, _ := w.owner(t, "acme", "olga")
	b.visit("/people/invite")
	b.fill("#invite [name=email]", "carl@inbox.test")
	b.press("Mail the invitation")
	b.arrives("/people")
	b.visit("/single-senders/new")
	b.fillForm(map[string]string{"from_email": "owner@inbox.test", "from_name": "The owner", "nickname": "owner", "reply_to": "owner@inbox.test", "address": "1 Main Street", "city": "Springfield", "country": "US"})
	b.click("main form button[type=submit]")
	b.until(`!location.pathname.endsWith("/new")`)
	for range 2 {
		b.visit("/audit")
		b.press("Keep this report")
		b.arrives("/audit/reports")
	}
	report := script[string](b, `document.querySelector('main table a[href^="/audit/reports/"]')?.getAttribute("href") ?? ""`)
	b.visit("/access")
	rule := script[string](b, `document.querySelector('main a[href$="/remove"]')?.getAttribute("href") ?? ""`)
	key, d := "/keys/"+web.ID, "/domains/"+number("shop.test")
	return b, []look{
		// First those that want both factors to have been shown lately.
		{"/keys/new", "key-new", "", false},
		{"/keys/new", "key-new-domain", "/keys/new?for=domain", false},
		{"/keys/{key}/edit", "key-edit", key + "/edit", false},
		{"/keys/{key}/rotate", "key-rotate", key + "/rotate", false},
		{"/keys/{key}/revoke", "key-revoke", key + "/revoke", false},
		{"/access/preview", "access-preview", "/access/preview?ips=198.51.100.0%2F24&note=the+new+office&trial_seconds=600", false},
		{"/access/{rule}/remove", "access-remove", rule, false},
		{"/domains/{domain}/rotate", "domain-rotate", d + "/rotate", false},
		{"/domains/{domain}/import", "domain-import", d + "/import", false},
		{"/subusers/{subuser_name}/delete", "subuser-delete", "/subusers/outlet/delete", false},
		{"/people/invite", "invite", "", false},
		{"/people/{person}/edit", "person-edit", "/people/olga/edit", false},
		{"/people/{person}/do/{action}", "person-action", "/people/olga/do/reset-password", false},
		{"/policy/edit", "policy-edit", "", false},
		{"/profile/password", "profile-password", "", false},
		{"/profile/email", "profile-email", "", false},
		{"/factors/app/remove", "factor-remove", "", false},
		{"/factors/codes", "factor-codes", "", false},
		{"/{$}", "overview", "", true},
		{"/{$}", "overview-month", "/?span=month", true},
		{"/keys", "keys", "", false},
		{"/keys/{key}", "key", key, false},
		{"/mail", "mail", "", false},
		{"/mail/{message}", "message", "/mail/" + delivered, false},
		{"/mail/{message}", "message-bounced", "/mail/" + bounced, false},
		{"/mail/{message}", "message-waiting", "/mail/" + waiting, false},
		{"/mail/{message}", "message-held", "/mail/" + held, false},
		{"/mail/{message}/body", "message-body", "/mail/" + held + "/body", false},
		{"/mail/{message}/do/{action}", "message-release", "/mail/" + held + "/do/release", false},
		{"/held/{action}", "held-release", "/held/release", false},
		{"/held/{action}", "held-cancel", "/held/cancel?match=exact", false},
		{"/queue", "queue", "", false},
		{"/queue/{site}", "queue-lane", "/queue/inbox.test", false},
		{"/pools", "pools", "", false},
		{"/domains", "domains", "", false},
		{"/domains/new", "domain-new", "", false},
		{"/domains/{domain}", "domain", d, false},
		{"/domains/{domain}/keys/{selector}", "domain-key", "main #dkim a", false},
		{"/domains/{domain}/zone", "domain-zone", d + "/zone", false},
		{"/domains/{domain}/edit", "domain-edit", d + "/edit", false},
		{"/domains/{domain}/history", "domain-history", d + "/history", false},
		{"/domains/{domain}/dmarc", "domain-dmarc", "/domains/" + number("acme.test") + "/dmarc", true},
		{"/domains/{domain}/dmarc/reports", "domain-reports", "/domains/" + number("acme.test") + "/dmarc/reports", false},
		{"/domains/{domain}/dmarc/reports/{day}/{mark}", "domain-report", "main #reports a", false},
		{"/domains/{domain}/delete", "domain-delete", d + "/delete", false},
		{"/single-senders", "senders", "", false},
		{"/single-senders/{sender}", "sender", "main table a", false},
		{"/single-senders/{sender}/delete", "sender-delete", `main a[href$="/delete"]`, false},
		{"/single-senders/new", "sender-new", "", false},
		{"/watch/settings", "watch-settings", "", false},
		{"/access", "access", "", false},
		{"/logins", "logins", "", false},
		{"/logins", "logins-sums", "/logins?tried=nobody", false}, // the list is empty, so that they are on top
		{"/changes", "changes", "", false},
		{"/changes/proof", "changes-proof", "", false},
		{"/audit", "audit", "", false},
		{"/audit/reports", "audit-reports", "", false},
		{"/audit/reports/{report}", "audit-report", report, false},
		{"/audit/compare", "audit-compare", "/audit/compare?a=" + report[strings.LastIndex(report, "/")+1:] + "&b=now", false},
		{"/audit/schedule", "audit-schedule", "", false},
		{"/subusers", "subusers", "", false},
		{"/subusers/new", "subuser-new", "", false},
		{"/subusers/{subuser_name}", "subuser", "/subusers/outlet", false},
		{"/people", "people", "", false},
		{"/people/{person}", "person", "/people/olga", false},
		{"/settings", "settings", "", false},
		{"/settings/profile", "settings-profile", "", false},
		{"/policy", "policy", "", false},
		{"/profile", "profile", "", false},
		{"/profile/sessions", "profile-sessions", "", false},
		{"/welcome/test", "welcome-test", "", false},
		{"/watch", "", "", false}, // and once more with something in it
		{"/watch/{finding}", "finding", `main table a[href^="/watch/"]`, false},
		{"/watch", "watch", "", false},
	}
}

// fillForm types into the inputs that are there.
func (b *tab) fillForm(values map[string]string) {
	b.t.Helper()
	for name, value := range values {
		if b.count("main [name="+name+"]") > 0 {
			b.fill("main [name="+name+"]", value)
		}
	}
}
