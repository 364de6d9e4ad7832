package v3

import (
	"fmt"
	"net/netip"

	"postern/internal/relay"
)

// onDomain is a fixture of a request about a domain of the tenant.
func onDomain(status int, rest, body string) fixture {
	return fixture{
		Status: status, Absent: ask{Path: "/v3/whitelabel/domains/999999" + rest, Body: body},
		Make: func(w *world, of relay.Tenant) ask {
			d := domainsOf(w).have(of, "example.test", func(d *relay.Domain) { d.IPs = []netip.Addr{netip.MustParseAddr("192.0.2.1")} })
			f := domainsOf(w)
			f.keys[d.ID] = append(f.keys[d.ID], relay.DKIMKey{Domain: d.ID, Selector: "spare", Algorithm: relay.DKIMRSA, Record: "v=DKIM1; p=SPARE", Active: true, CreatedAt: t0, ActivatedAt: t0})
			return ask{Path: fmt.Sprintf("/v3/whitelabel/domains/%d%s", d.Number, rest), Body: body}
		},
	}
}

// withSubuser is a fixture of a request about a domain and a subuser of its
// account. Neither of another account's can be told from what is not there.
func withSubuser(status int, rest string) fixture {
	f := onDomain(status, rest, "")
	f.Absent.Body = `{"username":"nobody"}`
	bare := f.Make
	f.Make = func(w *world, of relay.Tenant) ask {
		a := bare(w, of)
		a.Body = `{"username":"` + nameOf(w, of) + `"}`
		return a
	}
	return f
}

// ofSubuser is a fixture of a request about what is shared with a subuser.
func ofSubuser(status int, path string) fixture {
	return fixture{
		Status: status, Absent: ask{Path: path + "?username=nobody"},
		Make: func(w *world, of relay.Tenant) ask {
			s, _ := w.SubuserNamed(nameOf(w, of))
			domainsOf(w).have(of, "example.test", func(d *relay.Domain) { d.Subusers = []relay.SubuserID{s.ID} })
			return ask{Path: path + "?username=" + s.Name}
		},
	}
}

func init() {
	const d = "/v3/whitelabel/domains"
	unshare := withSubuser(204, "/subuser")
	unshare.Absent = ask{Path: d + "/999999/subuser?username=nobody"}
	bare := unshare.Make
	unshare.Make = func(w *world, of relay.Tenant) ask {
		return ask{Path: bare(w, of).Path + "?username=" + nameOf(w, of)}
	}
	checked := onDomain(200, "/check", "")
	unchecked := checked.Make
	checked.Make = func(w *world, of relay.Tenant) ask {
		a := unchecked(w, of)
		f := domainsOf(w)
		f.checks[f.rows[len(f.rows)-1].ID] = relay.DomainCheck{At: t0}
		return a
	}
	letter := fixture{Status: 204, Absent: ask{Path: "/v3/whitelabel/dns/email", Body: `{"domain_id":999999,"email":"admin@example.test"}`}}
	letter.Make = func(w *world, of relay.Tenant) ask {
		x := domainsOf(w).have(of, "example.test")
		return ask{Path: "/v3/whitelabel/dns/email", Body: fmt.Sprintf(`{"domain_id":%d,"email":"admin@example.test"}`, x.Number)}
	}
	// Of a name that somebody else has too.
	byName := fixture{Status: 200, Absent: ask{Path: d + "/default?domain=example.test"}}
	byName.Make = func(w *world, of relay.Tenant) ask {
		domainsOf(w).have(of, "example.test", func(d *relay.Domain) { d.Default = true })
		return byName.Absent
	}
	addFixtures(map[string]fixture{
		"POST " + d:                                          plain(201, d, `{"domain":"new.example.test"}`),
		"GET " + d:                                           plain(200, d, ""),
		"GET " + d + "/default":                              byName,
		"GET " + d + "/{domain_id}":                          onDomain(200, "", ""),
		"PATCH " + d + "/{domain_id}":                        onDomain(200, "", `{"default":true}`),
		"DELETE " + d + "/{domain_id}":                       onDomain(204, "", ""),
		"POST " + d + "/{domain_id}/disable":                 onDomain(200, "/disable", ""),
		"POST " + d + "/{domain_id}/enable":                  onDomain(200, "/enable", ""),
		"POST " + d + "/{domain_id}/ips":                     onDomain(200, "/ips", `{"ip":"192.0.2.7"}`),
		"DELETE " + d + "/{domain_id}/ips/{ip}":              onDomain(200, "/ips/192.0.2.1", ""),
		"GET " + d + "/subuser":                              ofSubuser(200, d+"/subuser"),
		"GET " + d + "/subuser/all":                          ofSubuser(200, d+"/subuser/all"),
		"DELETE " + d + "/subuser":                           ofSubuser(204, d+"/subuser"),
		"POST " + d + "/{domain_id}/subuser":                 withSubuser(201, "/subuser"),
		"POST " + d + "/{domain_id}/subuser:add":             withSubuser(201, "/subuser:add"),
		"DELETE " + d + "/{domain_id}/subuser":               unshare,
		"POST " + d + "/{domain_id}/validate":                onDomain(200, "/validate", ""),
		"GET " + d + "/{domain_id}/check":                    checked,
		"GET " + d + "/{domain_id}/records":                  onDomain(200, "/records", ""),
		"POST /v3/whitelabel/dns/email":                      letter,
		"POST " + d + "/{domain_id}/rotate":                  onDomain(200, "/rotate", ""),
		"DELETE " + d + "/{domain_id}/rotate":                onDomain(204, "/rotate", ""),
		"GET " + d + "/{domain_id}/keys":                     onDomain(200, "/keys", ""),
		"POST " + d + "/{domain_id}/keys":                    onDomain(201, "/keys", `{"selector":"old","private_key":"-----BEGIN PRIVATE KEY-----"}`),
		"POST " + d + "/{domain_id}/keys/{selector}/export":  onDomain(200, "/keys/s1/export", ""),
		"POST " + d + "/{domain_id}/keys/{selector}/enable":  onDomain(200, "/keys/s1e/enable", ""),
		"POST " + d + "/{domain_id}/keys/{selector}/disable": onDomain(200, "/keys/s1/disable", ""),
	})
}
