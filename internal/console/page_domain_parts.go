package console

import (
	"bytes"
	"net/http"
	"strings"

	"postern/internal/relay"
)

// dnsHosts are those whose forms the API knows, with the names that people know.
var dnsHosts = []option{
	{Value: "cloudflare", Text: "Cloudflare"}, {Value: "route53", Text: "Amazon Route 53"}, {Value: "godaddy", Text: "GoDaddy"},
	{Value: "namecheap", Text: "Namecheap"}, {Value: "gandi", Text: "Gandi"}, {Value: "google", Text: "Google Cloud DNS"},
	{Value: "azure", Text: "Azure DNS"}, {Value: "digitalocean", Text: "DigitalOcean"}, {Value: "ovh", Text: "OVHcloud"},
	{Value: "hetzner", Text: "Hetzner DNS"}, {Value: "ionos", Text: "IONOS"}, {Value: "plain", Text: "A zone file"},
}

// hostFields is what to enter in the form of the DNS host that was chosen.
func hostFields(v *desk, d *apiDomainView) (form, notice, table) {
	chosen := v.values.Get("host")
	f := v.offer(form{
		Name: "hosts", Get: true, Action: v.domainPath(d.Number), Do: "Show its fields",
		Fields: []field{{Name: "host", Label: "Where is the domain's DNS kept?", Kind: "select", Options: pick(chosen, dnsHosts...)}},
	}, "GET", apiDomain+"/records")
	if chosen == "" || f.Action == "" {
		return f, notice{}, table{}
	}
	var out struct {
		Host struct {
			Title string `json:"title"`
			Zone  string `json:"zone"`
			Where string `json:"where"`
		} `json:"host"`
		Fields []struct {
			Type     string `json:"type"`
			Name     string `json:"name"`
			Value    string `json:"value"`
			Priority string `json:"priority"`
			TTL      string `json:"ttl"`
			Proxy    string `json:"proxy"`
			Note     string `json:"note"`
		} `json:"fields"`
	}
	if err := v.Call("GET", query(under(apiDomains, v.id("domain"), "records"), "host", chosen), nil, &out); err != nil {
		said, _ := refusedText(err)
		return f, notice{Tone: toneWarn, Text: said}, table{}
	}
	t := table{ID: "host-fields", Caption: "What to enter at " + out.Host.Title, Head: []string{"Type", "Name", "Value", "Priority", "TTL", "Proxy"}}
	for i, x := range out.Fields {
		id := "host-" + number(int64(i)).Text
		t.Rows = append(t.Rows, row{Cells: []cell{
			words(x.Type), {Text: x.Name, ID: id + "-name"}, {Text: x.Value, ID: id + "-value", Note: x.Note}, words(x.Priority), words(x.TTL), words(x.Proxy),
		}})
	}
	where := notice{Tone: toneInfo, Text: "Enter them at " + out.Host.Where + "."}
	if out.Host.Zone != "" {
		where.Text = "In the zone " + out.Host.Zone + ": " + out.Host.Where + "."
	}
	return f, where, t
}

// sharing fills in with whom a domain is shared.
func (p *domainPage) sharing(v *desk, d *apiDomainView) {
	if !v.May("POST", apiDomain+"/subuser") {
		return
	}
	here := v.domainPath(d.Number)
	p.Shared = table{ID: "shared", Caption: "Shared with", Head: []string{"Subuser", ""}}
	for _, s := range d.Subusers {
		p.Shared.Rows = append(p.Shared.Rows, row{Cells: []cell{words(s.Username), {Do: v.do(button{
			Text: "Share no more", Label: s.Username, Action: here + "/unshare", Hidden: []option{{Value: "username", Text: s.Username}},
		}, "DELETE", apiDomain+"/subuser")}}})
	}
	p.Share = v.offer(form{
		Name: "share", Title: "Share it with a subuser", Action: here + "/share", Do: "Share it", Folded: true,
		Lead:   "The subuser may send as the domain, and see it.",
		Fields: []field{{Name: "username", Label: "Name of the subuser", Required: true}},
	}, "POST", apiDomain+"/subuser")
}

func letterForm(v *desk, d *apiDomainView) form {
	return v.offer(form{
		Name: "letter", Title: "Mail the records to somebody", Action: v.domainPath(d.Number) + "/letter", Do: "Mail them", Folded: true,
		Fields: []field{
			{Name: "email", Label: "To", Kind: "email", Required: true, Help: "Whoever keeps your DNS."},
			{Name: "message", Label: "A few words", Kind: "textarea", Lines: 3, Help: "At most 500 characters, without links."},
		},
	}, "POST", "/v3/whitelabel/dns/email")
}

// showZone is the records as text for a zone file.
func showZone(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := v.API.Stream(v.R.Context(), v.request(http.MethodGet, under(apiDomains, v.id("domain"), "records")+"?format=zone", nil), &b); err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_zone", "Zone file of "+d.title(), zonePage{Copyable{ID: "zone", Text: b.String(), Block: true}, link{"Back to the domain", v.domainPath(d.Number)}})
}

// zonePage is a snippet of a zone file.
type zonePage struct {
	Zone Copyable
	Back link
}

func validateDomain(v *desk) error {
	var check struct {
		Valid   bool `json:"valid"`
		Unknown bool `json:"unknown"`
	}
	id := v.id("domain")
	back := v.path("/domains", id)
	err := v.Call("POST", under(apiDomains, id, "validate"), nil, &check)
	if said, ok := refusedText(err); ok {
		return v.Refuse(back, said)
	}
	switch {
	case err != nil:
		return err
	case check.Valid:
		return v.Redirect(back, "All records are there: the domain is verified.")
	case check.Unknown:
		return v.Warn(back, "The name servers did not answer. Look again in a while.")
	}
	return v.Warn(back, "Some records are not there yet. New ones can take from minutes to an hour; the table says what was found.")
}

func domainEditForm(v *desk, d *apiDomainView) form {
	fields := []field{
		{Name: "default", Label: "Use it where no other fits", Kind: "check", On: d.Default},
		{Name: "subdomains", Label: "Names below it may be used, too", Kind: "check", On: d.Subdomains},
		{Name: "notify", Label: "Mail its owner when it fails and recovers", Kind: "check", On: d.Notify},
		{Name: "reveal_retired_keys", Label: "Publish the private keys of withdrawn selectors", Kind: "check", On: d.Reveal,
			Help: "So that old signatures prove nothing to whoever steals mail later."},
		{Name: "rotate_every_days", Label: "Change DKIM keys every so many days", Kind: "number", Value: numberOf(d.RotateDays), Help: "Empty: as the installation says. -1: never."},
	}
	if v.May("GET", "/v3/subusers") {
		fields = append(fields, field{Name: "all_subusers", Label: "All subusers may use it", Kind: "check", On: d.AllShared})
	}
	return v.offer(form{Name: "edit-domain", Action: v.domainPath(d.Number) + "/edit", Fields: fields, Cancel: v.domainPath(d.Number)}, "PATCH", apiDomain)
}

func showDomainEdit(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_form", "Change "+d.title(), formPage{domainEditForm(v, &d)})
}

func editDomain(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	body := map[string]any{
		"default": v.on("default"), "subdomains": v.on("subdomains"), "notify": v.on("notify"), "reveal_retired_keys": v.on("reveal_retired_keys"),
	}
	if v.May("GET", "/v3/subusers") {
		body["all_subusers"] = v.on("all_subusers")
	}
	days, err := v.sentNumber("rotate_every_days")
	if err == nil {
		body["rotate_every_days"] = days
		err = v.Call("PATCH", under(apiDomains, v.id("domain")), body, nil)
	}
	if err == nil {
		return v.Redirect(v.domainPath(d.Number), "The domain was changed.")
	}
	return v.again(err, domainEditForm(v, &d), "Change "+d.title())
}

func domainRotateForm(v *desk, d *apiDomainView) form {
	return v.offer(form{
		Name: "rotate", Action: v.domainPath(d.Number) + "/rotate", Do: "Change the keys", Cancel: v.domainPath(d.Number),
		Lead: "New keys are made and published. They sign once all name servers answer with them; the old ones stay published for mail on its way.",
		Fields: []field{{Name: "now", Label: "The keys are in the wrong hands: withdraw them at once", Kind: "check",
			Help: "Nothing is waited for. Mail on its way may fail its check."}},
	}, "POST", apiDomain+"/rotate")
}

func showDomainRotate(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_form", "Change the DKIM keys of "+d.title(), formPage{domainRotateForm(v, &d)})
}

func rotateDomain(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	var out struct {
		Text string `json:"text"`
	}
	err = v.Call("POST", under(apiDomains, v.id("domain"), "rotate"), map[string]bool{"now": v.on("now")}, &out)
	if err == nil {
		return v.Redirect(v.domainPath(d.Number), orNone(out.Text, "The change of keys has begun."))
	}
	return v.again(err, domainRotateForm(v, &d), "Change the DKIM keys of "+d.title())
}

func cancelRotation(v *desk) error {
	id := v.id("domain")
	return v.change("DELETE", under(apiDomains, id, "rotate"), nil, v.path("/domains", id), "The change of keys was given up.")
}

func shareDomain(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	err = v.Call("POST", under(apiDomains, v.id("domain"), "subuser"), map[string]string{"username": v.sent("username")}, nil)
	if err == nil {
		return v.Redirect(v.domainPath(d.Number), "The domain is shared.")
	}
	if said, ok := refusedText(err); ok || isNotFound(err) {
		p := domainPage{}
		p.sharing(v, &d)
		err = &relay.Error{Kind: relay.Invalid, Field: "username", Public: orNone(said, "There is no subuser of that name.")}
		f, _ := v.refused(p.Share, err)
		return v.showDomain(formStatus(true), &f)
	}
	return err
}

func unshareDomain(v *desk) error {
	id := v.id("domain")
	return v.change("DELETE", query(under(apiDomains, id, "subuser"), "username", v.sent("username")), nil, v.path("/domains", id), "The domain is not shared with it any more.")
}

func mailRecords(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	body := map[string]any{"domain_id": d.Number, "email": v.sent("email"), "message": strings.TrimSpace(v.values.Get("message"))}
	err = v.Call("POST", "/v3/whitelabel/dns/email", body, nil)
	if err == nil {
		return v.Redirect(v.domainPath(d.Number), "The records were mailed.")
	}
	f, ok := v.refused(letterForm(v, &d), err)
	if !ok {
		return err
	}
	return v.showDomain(formStatus(true), &f)
}

func disableDomain(v *desk) error {
	id := v.id("domain")
	return v.change("POST", under(apiDomains, id, "disable"), nil, v.path("/domains", id), "The domain is switched off: mail as it is refused.")
}

func enableDomain(v *desk) error {
	id := v.id("domain")
	return v.change("POST", under(apiDomains, id, "enable"), nil, v.path("/domains", id), "The domain is switched on.")
}

func showDomainDelete(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	return v.sure(surePage{
		Notice: notice{Tone: toneBad, Title: "Nobody can send as " + d.title() + " afterwards.", Text: "What is queued is not signed any more. To stop its mail for a while, switch it off instead."},
		Button: button{Text: "Delete it", Action: v.domainPath(d.Number) + "/delete", Tone: toneDanger},
		Back:   v.domainPath(d.Number),
	}, "Delete "+d.title())
}

func deleteDomain(v *desk) error {
	return v.change("DELETE", under(apiDomains, v.id("domain")), nil, v.path("/domains"), "The domain was deleted.")
}

// surePage asks before what cannot be undone.
type surePage struct {
	Notice notice
	Table  table
	Button button
	Form   form
	Back   string
}

func (v *desk) sure(p surePage, title string) error {
	return v.Render(http.StatusOK, "page_sure", title, p)
}

// isNotFound reports whether the API says that something is not there.
func isNotFound(err error) bool {
	if r, ok := asRefusal(err); ok {
		return r.Status == http.StatusNotFound
	}
	return relay.KindOf(err) == relay.NotFound
}
