package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
)

// domainAnswer is what SendGrid's clients read of an authenticated domain.
type domainAnswer struct {
	ID        int64  `json:"id"`
	UserID    int64  `json:"user_id"`
	Subdomain string `json:"subdomain"`
	Domain    string `json:"domain"`
	Username  string `json:"username"`
	Automatic bool   `json:"automatic_security"`
	Default   bool   `json:"default"`
	Valid     bool   `json:"valid"`
	DNS       map[string]struct {
		Valid bool   `json:"valid"`
		Type  string `json:"type"`
		Host  string `json:"host"`
		Data  string `json:"data"`
	} `json:"dns"`
	Subusers []struct {
		Username string `json:"username"`
	} `json:"subusers"`
}

type validateAnswer struct {
	ID      int64 `json:"id"`
	Valid   bool  `json:"valid"`
	Results map[string]struct {
		Valid  bool    `json:"valid"`
		Reason *string `json:"reason"`
	} `json:"validation_results"`
}

// publicDNS is the public DNS of a test: the zone test on one name server, which
// is its only resolver, too.
type publicDNS struct {
	zone *dns.Zone
	addr netip.AddrPort
}

func newPublicDNS(t testing.TB) *publicDNS {
	t.Helper()
	zone, err := dns.NewZone(dns.ZoneConfig{Origin: "test", NameServers: []string{"ns.test"}, Contact: "hostmaster@ns.test"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := dns.ListenZonesWith("127.0.0.1:0", dns.ServeConfig{}, zone)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() { <-done })
	p := &publicDNS{zone: zone, addr: s.Addr()}
	p.set(t, "ns.test", "A", "127.0.0.1")
	return p
}

func (p *publicDNS) set(t testing.TB, name, typ string, values ...string) {
	t.Helper()
	if err := p.zone.Set(name, typ, time.Minute, values...); err != nil {
		t.Fatal(err)
	}
}

// publish does what a domain's owner does with the answer of a client.
func (p *publicDNS) publish(t testing.TB, d domainAnswer) {
	t.Helper()
	for key, r := range d.DNS {
		if key == "domain_spf" {
			continue // a recommendation
		}
		data := r.Data
		if r.Type == "mx" {
			data = "10 " + data
		}
		p.set(t, r.Host, strings.ToUpper(r.Type), data)
	}
}

// conf lets a relay believe this DNS, and serve a zone of its own.
func (p *publicDNS) conf(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf(`
[deliver]
dns_servers = [%q]

[dns]
zone = "mail.relay.test"
listen = [%q]
name_servers = ["ns1.relay.test", "ns2.relay.test"]
ask_port = %d
allow_networks = ["127.0.0.0/8"]
`, p.addr, freeDNS(t), p.addr.Port())
}

// SendGrid's own clients authenticate a domain: they make it, publish what they
// are told, validate it and share it; then mail may be sent as it.
func TestSendgridClientsAuthenticateDomains(t *testing.T) {
	t.Parallel()
	public := newPublicDNS(t)
	r := newRelay(t, relayOptions{conf: public.conf(t)})
	admin := r.addKey(t, "admin", "--scope", "mail.send,whitelabel.create,whitelabel.read,whitelabel.update,whitelabel.delete,subusers.create,subusers.read").APIKey
	want(t, r.sendgridGo(t, admin, "POST", "/v3/subusers", "", nil, map[string]any{"username": "news", "email": "ops@sender.test", "password": "not used", "ips": []string{}}), 200, "make a subuser")
	for i, c := range []struct {
		name      string
		via       apiClient
		automatic bool
	}{
		{"sendgrid-go", r.sendgridGo, true},
		{"sendgrid-go, without automatic security", r.sendgridGo, false},
		{"@sendgrid/client", r.nodeClient, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			authenticateDomain(t, r, public, c.via, admin, fmt.Sprintf("shop%d.test", i), c.automatic)
		})
	}
}

func authenticateDomain(t *testing.T, r *ownRelay, public *publicDNS, via apiClient, admin, name string, automatic bool) {
	t.Helper()
	const path = "/v3/whitelabel/domains"
	var d, empty domainAnswer
	want(t, via(t, admin, "POST", path, "", nil, map[string]any{"domain": name, "subdomain": "em", "automatic_security": automatic, "custom_spf": false, "default": true}), 201, "authenticate").decode(t, &d)
	if d.ID == 0 || d.UserID == 0 || d.Domain != name || d.Subdomain != "em" || d.Automatic != automatic || d.Valid || !d.Default {
		t.Fatalf("made %+v", d)
	}
	records := []string{"mail_cname cname em." + name, "dkim1 cname s1._domainkey." + name, "dkim2 cname s2._domainkey." + name}
	if !automatic {
		records = []string{"mail_server mx em." + name, "subdomain_spf txt em." + name, "dkim txt s1._domainkey." + name, "ownership txt _postern." + name}
	}
	for _, rec := range records {
		var key, typ, host string
		if _, err := fmt.Sscan(rec, &key, &typ, &host); err != nil {
			t.Fatal(err)
		}
		if got := d.DNS[key]; got.Type != typ || got.Host != host || got.Data == "" || got.Valid {
			t.Errorf("%s: %+v", rec, got)
		}
	}
	one := fmt.Sprintf("%s/%d", path, d.ID)
	if code := r.mayMail(t, name); code != 403 {
		t.Errorf("mail as %s before it is validated: %d, want 403", name, code)
	}

	public.publish(t, d)
	var v validateAnswer
	a := want(t, via(t, admin, "POST", one+"/validate", "", nil, nil), 200, "validate")
	a.decode(t, &v)
	if v.ID != d.ID || !v.Valid {
		t.Fatalf("not valid: %s", a.Body)
	}
	for key, res := range v.Results {
		if !res.Valid || res.Reason != nil {
			t.Errorf("%s: %+v", key, res)
		}
	}
	want(t, via(t, admin, "GET", one, "", nil, nil), 200, "get").decode(t, &d)
	if !d.Valid {
		t.Errorf("get: %+v", d)
	}
	if code := r.mayMail(t, name); code != 202 {
		t.Errorf("mail as %s, which is validated: %d, want 202", name, code)
	}

	var all []domainAnswer
	want(t, via(t, admin, "GET", path, "", map[string]string{"domain": name, "limit": "10"}, nil), 200, "list").decode(t, &all)
	if len(all) != 1 || all[0].ID != d.ID || !all[0].Valid {
		t.Errorf("list: %+v", all)
	}
	want(t, via(t, admin, "GET", path+"/default", "", nil, nil), 200, "default").decode(t, &d)
	if d.Domain != name {
		t.Errorf("the default is %s", d.Domain)
	}
	d = empty
	want(t, via(t, admin, "POST", one+"/subuser:add", "", nil, map[string]any{"username": "news"}), 201, "share").decode(t, &d)
	if len(d.Subusers) != 1 || d.Subusers[0].Username != "news" {
		t.Errorf("shared: %+v", d)
	}
	want(t, via(t, admin, "GET", path+"/subuser/all", "", map[string]string{"username": "news"}, nil), 200, "shared with").decode(t, &all)
	if len(all) != 1 || all[0].Domain != name {
		t.Errorf("shared with news: %+v", all)
	}
	want(t, via(t, admin, "PATCH", one, "", nil, map[string]any{"default": false}), 200, "patch").decode(t, &d)
	if d.Default {
		t.Errorf("patch: %+v", d)
	}
	want(t, via(t, admin, "DELETE", one, "", nil, nil), 204, "delete")
	want(t, via(t, admin, "GET", one, "", nil, nil), 404, "what is deleted")
	if code := r.mayMail(t, name); code != 403 {
		t.Errorf("mail as %s, which is deleted: %d, want 403", name, code)
	}
}

// mayMail hands in mail of a domain and returns the status.
func (r *ownRelay) mayMail(t testing.TB, domain string) int {
	t.Helper()
	return r.sendgridGo(t, r.APIKey, "POST", "/v3/mail/send", "", nil, map[string]any{
		"personalizations": []any{map[string]any{"to": []any{map[string]string{"email": "ann@inbox.test"}}}},
		"from":             map[string]string{"email": "news@" + domain}, "subject": "hello", "content": []any{map[string]string{"type": "text/plain", "value": "hello"}},
	}).Status
}
