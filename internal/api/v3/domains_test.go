package v3

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// domainScopes are all that the routes of domains want.
var domainScopes = []string{scopeDomainMake, scopeDomainRead, scopeDomainChange, scopeDomainDelete}

func pathOf(d relay.Domain, rest string) string {
	return fmt.Sprintf("/v3/whitelabel/domains/%d%s", d.Number, rest)
}

func TestCreateDomainAnswersAsSendGrid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, domainScopes...)
	a := c.want("POST", pathDomains, `{"domain":"example.test","subdomain":"news","username":"acme","ips":[],"custom_spf":false,"default":true,"automatic_security":true,"region":"global"}`, 201, nil)
	const prefix = `{"id":1000,"user_id":2,"subdomain":"news","domain":"example.test","username":"acme","ips":[],"custom_spf":false,"default":true,"legacy":false,"automatic_security":true,"valid":false,"dns":{`
	if !strings.HasPrefix(a.Body, prefix) {
		t.Errorf("not SendGrid's shape:\n%s\nwant\n%s", a.Body, prefix)
	}
	var v domainView
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]dnsRecord{
		"mail_cname":    {false, "cname", "news.example.test", "utoken1000.wl.mail.relay.test"},
		"dkim1":         {false, "cname", "s1._domainkey.example.test", "s1.domainkey.utoken1000.wl.mail.relay.test"},
		"dkim2":         {false, "cname", "s2._domainkey.example.test", "s2.domainkey.utoken1000.wl.mail.relay.test"},
		"dkim1_ed25519": {false, "cname", "s1e._domainkey.example.test", "s1e.domainkey.utoken1000.wl.mail.relay.test"},
	} {
		if v.DNS[key] != want {
			t.Errorf("%s: %+v, want %+v", key, v.DNS[key], want)
		}
	}
	if v.State != relay.DomainPending || v.Token == "" || !v.Notify || len(v.Selectors) != 1 || len(v.Records) != 5 || strings.Contains(a.Body, "SEALED") {
		t.Errorf("%s", a.Body)
	}
	// Without automatic security: TXT and MX.
	c.want("POST", pathDomains, `{"domain":"manual.test","automatic_security":false,"custom_dkim_selector":"org"}`, 201, &v)
	if d := v.DNS["mail_server"]; d.Type != "mx" || d.Data != "relay.test" || d.Host != "em1001.manual.test" {
		t.Errorf("mail_server %+v", d)
	}
	for key, host := range map[string]string{"subdomain_spf": "em1001.manual.test", "domain_spf": "manual.test", "dkim": "org._domainkey.manual.test", "ownership": "_postern.manual.test"} {
		if d := v.DNS[key]; d.Type != "txt" || d.Host != host || d.Data == "" {
			t.Errorf("%s: %+v", key, d)
		}
	}
	if d := v.DNS["domain_spf"]; d.Data != "v=spf1 include:em1001.manual.test -all" {
		t.Errorf("domain_spf %+v", d)
	}
}

func TestCreateDomainRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	domainsOf(w).have(w.acme, "taken.test")
	subusersOf(w).pools = []relay.Pool{{Name: "p", Account: w.acme.Account, Addresses: []relay.PoolAddress{{Address: netip.MustParseAddr("192.0.2.7")}}}}
	c := w.as(w.acme, domainScopes...)
	for body, want := range map[string]struct {
		status         int
		message, field string
	}{
		`{}`:                                             {400, "A domain is required", "domain"},
		`{"domain":"nodot"}`:                             {400, "two labels", "domain"},
		`{"domain":"a.test","colour":"red"}`:             {400, "no such member", "colour"},
		`{"domain":"taken.test"}`:                        {400, "taken.test is a domain of this account already, with the id 1000", "domain"},
		`{"domain":"a.test","assert":true}`:              {400, "Only the operator", "assert"},
		`{"domain":"a.test","ed25519":true}`:             {400, "once its record was found", "ed25519"},
		`{"domain":"a.test","region":"eu"}`:              {400, "one region", "region"},
		`{"domain":"a.test","ips":["x"]}`:                {400, "Not an IP address", "ips.0"},
		`{"domain":"a.test","ips":["198.51.100.1"]}`:     {400, "does not leave from", "ips.0"},
		`{"domain":"a.test","username":"staging"}`:       {403, textNoScope, ""},
		`{"domain":"a.test","username":"nobody at all"}`: {403, textNoScope, ""},
	} {
		c.refused("POST", pathDomains, body, want.status, want.message, want.field)
	}
	wide := w.as(w.acme, append(slices.Clone(domainScopes), scopeBehalf)...)
	wide.refused("POST", pathDomains, `{"domain":"a.test","username":"branch"}`, 400, textNoUser, "username")
	w.as(w.staging, append(slices.Clone(domainScopes), scopeBehalf)...).refused("POST", pathDomains, `{"domain":"a.test","username":"receipts"}`, 403, textNoScope, "")
	w.operator("system").refused("POST", pathDomains, `{"domain":"a.test"}`, 403, "postern's own mail", "")
	if len(w.changes) > 0 {
		t.Errorf("changed: %q", w.changes)
	}
	c.want("POST", pathDomains, `{"domain":"a.test","ips":["192.0.2.7"]}`, 201, nil)
}

// A domain becomes a subuser's with on-behalf-of, or where its parent names it.
func TestWhoOwnsANewDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, append(slices.Clone(domainScopes), scopeBehalf)...)
	var v domainView
	c.with("on-behalf-of", "staging").want("POST", pathDomains, `{"domain":"one.test"}`, 201, &v)
	if v.Username != "staging" || v.User != 100 {
		t.Errorf("%+v", v)
	}
	c.want("POST", pathDomains, `{"domain":"two.test","username":"receipts"}`, 201, &v)
	if v.Username != "receipts" {
		t.Errorf("%+v", v)
	}
	if d := domainsOf(w).rows; d[0].Subuser != w.staging.Subuser || d[1].Subuser != w.receipts.Subuser {
		t.Errorf("%+v", d)
	}
}

// ID-14: only the operator vouches for a domain, and it says so for ever.
func TestAssert(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var v domainView
	w.operator("acme").want("POST", pathDomains, `{"domain":"a.test","assert":true,"return_path":"bounces.a.test","ed25519":true}`, 201, &v)
	if v.State != relay.DomainAsserted || v.AssertedBy != "uid 0" || v.Valid || len(v.Selectors) != 2 {
		t.Errorf("%+v", v)
	}
	var seen []domainView
	w.as(w.acme, scopeDomainRead).want("GET", pathDomains, "", 200, &seen)
	if len(seen) != 1 || seen[0].AssertedBy != "uid 0" {
		t.Errorf("%+v", seen)
	}
}

func TestListDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	f.have(w.acme, "acme.test")
	f.have(w.staging, "staging.test")
	f.have(w.acme, "shared.test", func(d *relay.Domain) { d.Subusers = []relay.SubuserID{w.staging.Subuser, w.receipts.Subuser} })
	f.have(w.acme, "all.test", func(d *relay.Domain) { d.AllSubusers = true })
	f.have(w.globex, "globex.test")
	f.have(w.acme, "xn--bcher-kva.test")
	f.have(w.acme, "gone.test", func(d *relay.Domain) { d.DeletedAt = t0 })
	parent := w.as(w.acme, scopeDomainRead, scopeBehalf)
	names := func(c *client, query string) string {
		t.Helper()
		var vs []domainView
		c.want("GET", pathDomains+query, "", 200, &vs)
		var out []string
		for _, v := range vs {
			out = append(out, v.Name)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		who         *client
		query, want string
	}{
		{parent, "", "acme.test staging.test shared.test all.test xn--bcher-kva.test"},
		{parent, "?exclude_subusers=true", "acme.test shared.test all.test xn--bcher-kva.test"},
		{parent, "?username=staging", "staging.test shared.test"},
		{parent, "?username=acme", "acme.test shared.test all.test xn--bcher-kva.test"},
		{parent, "?username=branch", ""},
		{parent, "?domain=ACME", "acme.test"},
		{parent, "?domain=b%C3%BCcher.test", "xn--bcher-kva.test"},
		{parent, "?domain=B%C3%BCch", "xn--bcher-kva.test"},
		{parent, "?domain=%C3%BCcher.te", "xn--bcher-kva.test"},
		{parent, "?domain=%C3%BCcher.tx", ""},
		{parent, "?limit=2&offset=1", "staging.test shared.test"},
		// Without subusers.read a parent's key does not reach its subusers.
		{w.as(w.acme, scopeDomainRead), "", "acme.test shared.test all.test xn--bcher-kva.test"},
		{w.as(w.staging, scopeDomainRead), "", "staging.test shared.test all.test"},
		{w.as(w.staging, scopeDomainRead), "?exclude_subusers=true", "staging.test shared.test all.test"},
		{w.as(w.staging, scopeDomainRead), "?username=receipts", ""},
		{parent.with("on-behalf-of", "receipts"), "", "shared.test all.test"},
		{w.as(w.globex, scopeDomainRead, scopeBehalf), "", "globex.test"},
		{w.operator("acme"), "", "acme.test staging.test shared.test all.test xn--bcher-kva.test"},
	} {
		if got := names(tt.who, tt.query); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.query, got, tt.want)
		}
	}
	var vs []domainView
	parent.want("GET", pathDomains+"?domain=bcher", "", 200, &vs)
	if vs[0].Unicode != "bücher.test" {
		t.Errorf("unicode %q", vs[0].Unicode)
	}
}

func TestDefaultDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	f.have(w.acme, "first.test")
	f.have(w.acme, "main.test", func(d *relay.Domain) { d.Default, d.AllSubusers = true, true })
	c := w.as(w.acme, scopeDomainRead)
	for query, want := range map[string]string{"": "main.test", "?domain=main.test": "main.test", "?domain=First.test": "first.test"} {
		var v domainView
		c.want("GET", pathDomains+"/default"+query, "", 200, &v)
		if v.Name != want {
			t.Errorf("%s: %s, want %s", query, v.Name, want)
		}
	}
	c.refused("GET", pathDomains+"/default?domain=other.test", "", 404, textNotFound, "")
	var v domainView
	w.as(w.staging, scopeDomainRead).want("GET", pathDomains+"/default", "", 200, &v)
	if v.Name != "main.test" {
		t.Errorf("what a subuser has shared: %s", v.Name)
	}
}

// ID-15: who has a domain shared sees it, not with whom else, and changes nothing.
func TestSharedDomainIsReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "shared.test", func(d *relay.Domain) { d.Subusers = []relay.SubuserID{w.staging.Subuser, w.receipts.Subuser} })
	c := w.as(w.staging, domainScopes...)
	a := c.want("GET", pathOf(d, ""), "", 200, nil)
	if strings.Contains(a.Body, "receipts") {
		t.Errorf("it names a sibling: %s", a.Body)
	}
	c.want("GET", pathOf(d, "/records"), "", 200, nil)
	c.want("GET", pathOf(d, "/keys"), "", 200, nil)
	for _, x := range []struct{ method, rest, body string }{
		{"PATCH", "", `{"default":true}`}, {"DELETE", "", ""}, {"POST", "/disable", ""}, {"POST", "/enable", ""}, {"POST", "/ips", `{"ip":"192.0.2.1"}`},
		{"DELETE", "/ips/192.0.2.1", ""}, {"POST", "/validate", ""}, {"POST", "/rotate", ""}, {"DELETE", "/rotate", ""}, {"POST", "/keys", `{"selector":"a","private_key":"PRIVATE KEY"}`},
	} {
		c.refused(x.method, pathOf(d, x.rest), x.body, 403, "its owner changes it", "")
	}
	c.refused("POST", "/v3/whitelabel/dns/email", fmt.Sprintf(`{"domain_id":%d,"email":"a@b.test"}`, d.Number), 403, "its owner changes it", "")
	if f := domainsOf(w); len(w.changes) > 0 || f.asked > 0 || len(f.letters) > 0 {
		t.Errorf("changed: %q, asked %d", w.changes, f.asked)
	}
	// The parent changes what its subuser owns.
	own := domainsOf(w).have(w.staging, "own.test")
	w.as(w.acme, scopeDomainChange, scopeBehalf).want("PATCH", pathOf(own, ""), `{"notify":false}`, 200, nil)
	w.as(w.staging, scopeDomainChange).refused("PATCH", pathOf(own, ""), `{"all_subusers":true}`, 403, "shared by its parent", "all_subusers")
}

func TestPatchDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "a.test")
	c := w.as(w.acme, scopeDomainChange)
	var v domainView
	c.want("PATCH", pathOf(d, ""), `{"default":true,"subdomains":true,"notify":false,"rotate_every_days":90,"reveal_retired_keys":true,"key_bits":4096,"all_subusers":true}`, 200, &v)
	if !v.Default || !v.Subdomains || v.Notify || v.RotateDays != 90 || !v.Reveal || v.KeyBits != 4096 || !v.AllShared {
		t.Errorf("%+v", v)
	}
	if got := domainsOf(w).rows[0]; got.Rotate != 90*24*time.Hour || !got.Quiet {
		t.Errorf("%+v", got)
	}
	c.want("PATCH", pathOf(d, ""), `{"rotate_every_days":-1}`, 200, &v)
	if v.RotateDays != -1 || !v.Default {
		t.Errorf("%+v", v)
	}
	for _, days := range []string{"-2", "3651"} {
		c.refused("PATCH", pathOf(d, ""), `{"rotate_every_days":`+days+`}`, 400, "Not a number", "rotate_every_days")
	}
	before := len(w.changes)
	c.want("PATCH", pathOf(d, ""), `{}`, 200, nil)
	if len(w.changes) != before {
		t.Error("a change of nothing was stored")
	}
	c.refused("PATCH", pathDomains+"/none", `{}`, 404, textNotFound, "")
}

func TestDomainIPs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "a.test")
	c := w.as(w.acme, scopeDomainChange)
	var v domainView
	c.want("POST", pathOf(d, "/ips"), `{"ip":"192.0.2.1"}`, 200, nil)
	c.want("POST", pathOf(d, "/ips"), `{"ip":"2001:db8::1"}`, 200, nil)
	c.want("POST", pathOf(d, "/ips"), `{"ip":"::ffff:192.0.2.1"}`, 200, &v)
	if !slices.Equal(v.IPs, addrs("192.0.2.1", "2001:db8::1")) {
		t.Errorf("%v", v.IPs)
	}
	c.want("DELETE", pathOf(d, "/ips/192.0.2.1"), "", 200, &v)
	if !slices.Equal(v.IPs, addrs("2001:db8::1")) {
		t.Errorf("%v", v.IPs)
	}
	c.refused("DELETE", pathOf(d, "/ips/192.0.2.1"), "", 404, textNotFound, "")
	c.refused("POST", pathOf(d, "/ips"), `{"ip":"none"}`, 400, "Not an IP address", "ip")
}

func TestShareDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := domainsOf(w)
	var ds []relay.Domain
	for i := range 7 {
		ds = append(ds, f.have(w.acme, fmt.Sprintf("d%d.test", i)))
	}
	c := w.as(w.acme, scopeDomainChange, scopeDomainRead)
	c.refused("GET", pathDomains+"/subuser?username=staging", "", 404, textNotFound, "")
	for _, d := range ds[:5] {
		c.want("POST", pathOf(d, "/subuser:add"), `{"username":"staging"}`, 201, nil)
	}
	c.refused("POST", pathOf(ds[5], "/subuser:add"), `{"username":"staging"}`, 400, "5 domains already", "username")
	c.want("POST", pathOf(ds[0], "/subuser:add"), `{"username":"staging"}`, 201, nil) // has it: nothing is added
	var v domainView
	c.want("POST", pathOf(ds[5], "/subuser"), `{"username":"staging"}`, 201, &v)
	if len(v.Subusers) != 1 || v.Subusers[0] != (domainUser{100, "staging"}) {
		t.Errorf("%+v", v.Subusers)
	}
	c.want("GET", pathDomains+"/subuser?username=staging", "", 200, &v)
	if v.Name != "d0.test" {
		t.Errorf("the first one: %s", v.Name)
	}
	var vs []domainView
	c.want("GET", pathDomains+"/subuser/all?username=staging", "", 200, &vs)
	if len(vs) != 6 {
		t.Errorf("%d domains", len(vs))
	}
	c.want("POST", pathOf(ds[0], "/subuser"), `{"username":"receipts"}`, 201, nil)
	c.want("DELETE", pathOf(ds[0], "/subuser?username=staging"), "", 204, nil)
	if got := f.rows[0].Subusers; !slices.Equal(got, []relay.SubuserID{w.receipts.Subuser}) {
		t.Errorf("still with %v", got)
	}
	c.want("DELETE", pathDomains+"/subuser?username=staging", "", 204, nil)
	c.want("GET", pathDomains+"/subuser/all?username=staging", "", 200, &vs)
	if len(vs) != 0 || len(f.rows[0].Subusers) != 1 {
		t.Errorf("%d domains are left, and %v", len(vs), f.rows[0].Subusers)
	}
	c.refused("POST", pathOf(ds[0], "/subuser"), `{"username":"branch"}`, 404, textNoUser, "")
	c.refused("GET", pathDomains+"/subuser/all", "", 400, "required", "username")
}

func TestDisableDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "a.test")
	c := w.as(w.acme, scopeDomainChange)
	var v domainView
	c.want("POST", pathOf(d, "/disable"), "", 200, &v)
	if v.DisabledAt.IsZero() {
		t.Errorf("%+v", v)
	}
	v = domainView{}
	c.want("POST", pathOf(d, "/enable"), "", 200, &v)
	if !v.DisabledAt.IsZero() {
		t.Errorf("%+v", v)
	}
	own := domainsOf(w).have(w.system, "relay.test", func(d *relay.Domain) { d.System = true })
	w.operator("system").refused("POST", pathOf(own, "/disable"), "", 409, "cannot be switched off", "")
}

func TestDeleteDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := domainsOf(w).have(w.acme, "a.test")
	c := w.as(w.acme, scopeDomainDelete, scopeDomainRead)
	c.want("DELETE", pathOf(d, ""), "", 204, nil)
	c.refused("GET", pathOf(d, ""), "", 404, textNotFound, "")
	c.refused("DELETE", pathOf(d, ""), "", 404, textNotFound, "")
}
