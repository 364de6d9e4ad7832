package console

import (
	"net/http"
	"strings"
)

// domainMorePages are what fewer people need of a domain: addresses of its own in its
// SPF record, and DKIM keys that were made elsewhere.
var domainMorePages = []page{
	{Method: "POST", Pattern: "/domains/{domain}/ips", Title: "Change the SPF record", Needs: []string{"POST " + apiDomain + "/ips"}, Handler: onDesk(addDomainIP)},
	{Method: "POST", Pattern: "/domains/{domain}/ips/remove", Title: "Change the SPF record", Needs: []string{"DELETE " + apiDomain + "/ips/{ip}"}, Handler: onDesk(removeDomainIP)},
	{Method: "GET", Pattern: "/domains/{domain}/import", Title: "Bring a DKIM key", Needs: []string{"POST " + apiDomain + "/keys"}, StepUp: true, Handler: onDesk(showDomainImport)},
	{Method: "POST", Pattern: "/domains/{domain}/import", Title: "Bring a DKIM key", Needs: []string{"POST " + apiDomain + "/keys"}, StepUp: true, Secrets: []string{"private_key"}, Handler: onDesk(importDomainKey)},
}

// spfParts are the addresses of a domain's own SPF record, and the form for one more.
// Where the owner writes the record themselves there is nothing to choose.
func spfParts(v *desk, d *apiDomainView) (table, form) {
	if d.CustomSPF || d.System {
		return table{}, form{}
	}
	here := v.domainPath(d.Number) + "/ips"
	t := table{ID: "spf", Caption: "Addresses in its SPF record", Head: []string{"Address", ""}}
	for _, ip := range d.IPs {
		t.Rows = append(t.Rows, row{Cells: []cell{code(ip), {Do: v.do(button{
			Text: "Take it out", Label: ip, Action: here + "/remove", Hidden: []option{{Value: "ip", Text: ip}},
		}, "DELETE", apiDomain+"/ips/{ip}")}}})
	}
	return t, v.offer(form{
		Name: "spf-add", Title: "Name an address in its SPF record", Action: here, Do: "Add it", Folded: true,
		Lead:   "Without any, the record names the addresses of the pools that its mail leaves by. With one, it names these alone: add all that send as the domain.",
		Fields: []field{{Name: "ip", Label: "IP address", Required: true, Help: "Such as 192.0.2.7 or 2001:db8::7."}},
	}, "POST", apiDomain+"/ips")
}

func addDomainIP(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	err = v.Call("POST", under(apiDomains, v.id("domain"), "ips"), map[string]string{"ip": v.sent("ip")}, nil)
	if err == nil {
		return v.Redirect(v.domainPath(d.Number), "The address was added. Where you publish the record yourself, publish it anew.")
	}
	_, f := spfParts(v, &d)
	f, ok := v.refused(f, err)
	if !ok {
		return err
	}
	return v.showDomain(formStatus(true), &f)
}

func removeDomainIP(v *desk) error {
	id := v.id("domain")
	return v.change("DELETE", under(apiDomains, id, "ips", v.sent("ip")), nil, v.path("/domains", id), "The address was taken out. Where you publish the record yourself, publish it anew.")
}

func domainImportForm(v *desk, d *apiDomainView) form {
	return v.offer(form{
		Name: "import-key", Action: v.domainPath(d.Number) + "/import", Do: "Bring the key", Cancel: v.domainPath(d.Number),
		Lead: "For a key whose record is published already, such as of the relay that you come from. It signs once its record is found. Keys that are made here need none of this.",
		Fields: []field{
			{Name: "selector", Label: "Selector", Required: true, Help: "The part before ._domainkey in the record's name."},
			{Name: "private_key", Label: "Private key", Kind: "textarea", Lines: 8, Required: true, Help: "PEM, RSA or Ed25519. It is sealed, and not shown again."},
		},
	}, "POST", apiDomain+"/keys")
}

func showDomainImport(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_form", "Bring a DKIM key for "+d.title(), formPage{domainImportForm(v, &d)})
}

func importDomainKey(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	private := strings.ReplaceAll(strings.TrimSpace(v.values.Get("private_key")), "\r\n", "\n")
	err = v.Call("POST", under(apiDomains, v.id("domain"), "keys"), map[string]string{"selector": v.sent("selector"), "private_key": private}, nil)
	if err == nil {
		return v.Redirect(v.domainPath(d.Number), "The key is here. It signs once its record is found.")
	}
	v.values.Del("private_key") // a page that shows it again would keep it where pages are kept
	return v.again(err, domainImportForm(v, &d), "Bring a DKIM key for "+d.title())
}
