package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/finding"
	"postern/internal/relay"
)

const (
	apiDomains = "/v3/whitelabel/domains"
	apiDomain  = "/v3/whitelabel/domains/{domain_id}"
)

// domainPages are the pages of domains.
var domainPages = []page{
	{Method: "GET", Pattern: "/domains", Title: "Domains", Group: "Sending", Nav: "Domains", Needs: []string{"GET " + apiDomains}, Handler: onDesk(showDomains)},
	{Method: "GET", Pattern: "/domains/new", Title: "Add a domain", Needs: []string{"POST " + apiDomains}, StepUp: true, Handler: onDesk(showNewDomain)},
	{Method: "POST", Pattern: "/domains/new", Title: "Add a domain", Needs: []string{"POST " + apiDomains}, Handler: onDesk(makeDomain)},
	{Method: "GET", Pattern: "/domains/{domain}", Title: "Domain", Needs: []string{"GET " + apiDomain}, Handler: onDesk(showDomain)},
	{Method: "GET", Pattern: "/domains/{domain}/zone", Title: "Zone file", Needs: []string{"GET " + apiDomain + "/records"}, Handler: onDesk(showZone)},
	{Method: "POST", Pattern: "/domains/{domain}/validate", Title: "Look now", Needs: []string{"POST " + apiDomain + "/validate"}, Handler: onDesk(validateDomain)},
	{Method: "GET", Pattern: "/domains/{domain}/edit", Title: "Change a domain", Needs: []string{"PATCH " + apiDomain}, StepUp: true, Handler: onDesk(showDomainEdit)},
	{Method: "POST", Pattern: "/domains/{domain}/edit", Title: "Change a domain", Needs: []string{"PATCH " + apiDomain}, Handler: onDesk(editDomain)},
	{Method: "GET", Pattern: "/domains/{domain}/rotate", Title: "Change DKIM keys", Needs: []string{"POST " + apiDomain + "/rotate"}, StepUp: true, Handler: onDesk(showDomainRotate)},
	{Method: "POST", Pattern: "/domains/{domain}/rotate", Title: "Change DKIM keys", Needs: []string{"POST " + apiDomain + "/rotate"}, Handler: onDesk(rotateDomain)},
	{Method: "POST", Pattern: "/domains/{domain}/cancel", Title: "Give a change up", Needs: []string{"DELETE " + apiDomain + "/rotate"}, Handler: onDesk(cancelRotation)},
	{Method: "POST", Pattern: "/domains/{domain}/share", Title: "Share a domain", Needs: []string{"POST " + apiDomain + "/subuser"}, Handler: onDesk(shareDomain)},
	{Method: "POST", Pattern: "/domains/{domain}/unshare", Title: "Share a domain", Needs: []string{"DELETE " + apiDomain + "/subuser"}, Handler: onDesk(unshareDomain)},
	{Method: "POST", Pattern: "/domains/{domain}/letter", Title: "Mail the records", Needs: []string{"POST /v3/whitelabel/dns/email"}, Handler: onDesk(mailRecords)},
	{Method: "POST", Pattern: "/domains/{domain}/disable", Title: "Switch a domain off", Needs: []string{"POST " + apiDomain + "/disable"}, Handler: onDesk(disableDomain)},
	{Method: "POST", Pattern: "/domains/{domain}/enable", Title: "Switch a domain on", Needs: []string{"POST " + apiDomain + "/enable"}, Handler: onDesk(enableDomain)},
	{Method: "GET", Pattern: "/domains/{domain}/delete", Title: "Delete a domain", Needs: []string{"DELETE " + apiDomain}, Handler: onDesk(showDomainDelete)},
	{Method: "POST", Pattern: "/domains/{domain}/delete", Title: "Delete a domain", Needs: []string{"DELETE " + apiDomain}, Handler: onDesk(deleteDomain)},
	{Method: "GET", Pattern: "/domains/{domain}/dmarc", Title: "DMARC reports", Needs: []string{"GET " + apiDomain + "/dmarc"}, Handler: onDesk(showDMARC)},
}

// apiDomainView is a domain as the API tells of it.
type apiDomainView struct {
	Number     int64             `json:"id"`
	Name       string            `json:"domain"`
	Unicode    string            `json:"domain_unicode"`
	Username   string            `json:"username"`
	Default    bool              `json:"default"`
	Automatic  bool              `json:"automatic_security"`
	CustomSPF  bool              `json:"custom_spf"`
	Valid      bool              `json:"valid"`
	State      string            `json:"state"`
	Reason     string            `json:"reason"`
	Disputed   bool              `json:"disputed"`
	AssertedBy string            `json:"asserted_by"`
	ReturnPath string            `json:"return_path"`
	KeyBits    int               `json:"key_bits"`
	Subdomains bool              `json:"subdomains"`
	AllShared  bool              `json:"all_subusers"`
	Notify     bool              `json:"notify"`
	IPs        []string          `json:"ips"`
	RotateDays int64             `json:"rotate_every_days"`
	Reveal     bool              `json:"reveal_retired_keys"`
	System     bool              `json:"system"`
	Attempted  int64             `json:"last_validation_attempt_at"`
	Unknown    bool              `json:"unknown"`
	VerifiedAt time.Time         `json:"verified_at"`
	FailingAt  time.Time         `json:"failing_since"`
	CreatedAt  time.Time         `json:"created_at"`
	Keys       []apiDKIMKey      `json:"dkim"`
	Records    []apiRecord       `json:"records"`
	Findings   []finding.Finding `json:"findings"`
	DMARC      apiDMARC          `json:"dmarc"`
	Subusers   []struct {
		Username string `json:"username"`
	} `json:"subusers"`
	switcher
}

type apiDKIMKey struct {
	Selector    string    `json:"selector"`
	Name        string    `json:"name"`
	Algorithm   string    `json:"algorithm"`
	Bits        int       `json:"bits"`
	State       string    `json:"state"`
	Active      bool      `json:"active"`
	Imported    bool      `json:"imported"`
	CreatedAt   time.Time `json:"created_at"`
	ActivatedAt time.Time `json:"activated_at"`
	RetiredAt   time.Time `json:"retired_at"`
}

type apiRecord struct {
	Key      string   `json:"key"`
	For      string   `json:"for"`
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Value    string   `json:"value"`
	Required bool     `json:"required"`
	Valid    bool     `json:"valid"`
	Reason   string   `json:"reason"`
	Found    []string `json:"found"`
}

type apiDMARC struct {
	Policy      string `json:"policy"`
	SPF         string `json:"spf_aligned"`
	DKIM        string `json:"dkim_aligned"`
	Recommended string `json:"recommended"`
	Why         string `json:"recommended_because"`
}

// title is the name as people write it.
func (d *apiDomainView) title() string { return orNone(d.Unicode, d.Name) }

// state is what a domain is now, in a word.
func (d *apiDomainView) state() badge {
	switch {
	case !d.DisabledAt.IsZero():
		return badge{"switched off", toneMute}
	case d.Disputed:
		return badge{"disputed", toneBad}
	case d.State == string(relay.DomainVerified) && !d.FailingAt.IsZero():
		return badge{"verified, and failing now", toneWarn}
	case d.State == string(relay.DomainVerified):
		return badge{"verified", toneOK}
	case d.State == string(relay.DomainAsserted):
		return badge{"taken on trust", toneWarn}
	case d.State == string(relay.DomainFailed):
		return badge{"failed", toneBad}
	case d.State == string(relay.DomainPaused):
		return badge{"paused", toneBad}
	}
	return badge{"waits for its records", toneInfo}
}

// domainsPage lists domains.
type domainsPage struct {
	Next    []link
	Search  form
	Domains table
}

func showDomains(v *desk) error {
	list, err := ask[[]apiDomainView](v, query(apiDomains+"?limit=200", "offset", v.sent("offset"), "domain", v.sent("domain")))
	if err != nil {
		return err
	}
	p := domainsPage{Domains: table{
		ID: "domains", Caption: "Domains", Head: []string{"Domain", "State", "Records", "DMARC", "Last look"},
		Empty: "There is no domain yet. Receivers believe mail whose domain proves that it comes from here: add the domain that you write as.",
		Next:  v.linkIf("Add a domain", "/domains/new", "POST", apiDomains),
	}}
	p.Next = append(v.linkIf("Add a domain", "/domains/new", "POST", apiDomains), v.linkIf("Single senders", "/single-senders", "GET", apiSenders)...)
	for _, d := range list {
		name := to(d.title(), v.path("/domains", strconv.FormatInt(d.Number, 10)))
		if d.Default {
			name.Badges = []badge{{"default", toneInfo}}
		}
		name.Note = ""
		if d.Username != "" {
			name.Note = "of " + d.Username
		}
		state := cell{Badges: []badge{d.state()}, Note: d.Reason}
		p.Domains.Rows = append(p.Domains.Rows, row{Cells: []cell{name, state, words(d.recordCount()), policyCell(d.DMARC.Policy), v.at(unix(d.Attempted))}})
	}
	if len(list) == 200 {
		p.Domains.Older = v.nextPage(200)
	}
	p.Search = v.find(finder{"/domains", "domain", "Part of a name", "No domain has this in its name.", "Show all domains", nil}, &p.Domains)
	return v.Render(http.StatusOK, "page_domains", "Domains", p)
}

func (d *apiDomainView) recordCount() string {
	there, all := 0, 0
	for _, r := range d.Records {
		if r.Required {
			all++
			if r.Valid {
				there++
			}
		}
	}
	return strconv.Itoa(there) + " of " + strconv.Itoa(all)
}

func policyCell(policy string) cell {
	switch policy {
	case "reject", "quarantine":
		return tagged(policy, toneOK)
	case "none":
		return tagged("none: only watches", toneWarn)
	}
	return tagged("no record", toneWarn)
}

func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func newDomainForm(v *desk) form {
	fields := []field{
		{Name: "domain", Label: "Domain", Required: true, Help: "The part behind the @ of the addresses that you write as, such as example.com."},
		{Name: "subdomain", Label: "Host for bounces", Help: "A label below it, such as bounces. Empty: one is chosen."},
		{Name: "default", Label: "Use it where no other fits", Kind: "check"},
		{Name: "subdomains", Label: "Names below it may be used, too", Kind: "check"},
	}
	if v.May("GET", "/v3/subusers") && v.Behalf == "" {
		fields = append(fields, field{Name: "all_subusers", Label: "All subusers may use it", Kind: "check"})
	}
	return v.offer(form{
		Name: "new-domain", Action: v.path("/domains/new"), Do: "Add it", Fields: fields, Cancel: v.path("/domains"),
		Lead: "The next page shows the records to publish. The domain can be used once they are found.",
	}, "POST", apiDomains)
}

func showNewDomain(v *desk) error {
	return v.Render(http.StatusOK, "page_form", "Add a domain", formPage{newDomainForm(v)})
}

func makeDomain(v *desk) error {
	body := map[string]any{"domain": v.sent("domain"), "default": v.on("default"), "subdomains": v.on("subdomains"), "all_subusers": v.on("all_subusers")}
	if s := v.sent("subdomain"); s != "" {
		body["subdomain"] = s
	}
	var made apiDomainView
	err := v.Call("POST", apiDomains, body, &made)
	if err == nil {
		return v.Redirect(v.domainPath(made.Number), "The domain was added. Publish these records now.")
	}
	return v.again(err, newDomainForm(v), "Add a domain")
}

func (v *desk) domainPath(number int64) string {
	return v.path("/domains", strconv.FormatInt(number, 10))
}

// domainPage shows one domain.
type domainPage struct {
	Notices  []notice
	Buttons  []button
	Next     []link
	Is       facts
	Records  table
	Fields   table
	Hosts    form
	Host     notice
	Findings table
	Keys     table
	KeyNext  []link
	KeyDo    []button
	SPF      table
	SPFAdd   form
	Shared   table
	Share    form
	Letter   form
}

// domain is the one of the path. What cannot be done to it is barred.
func (v *desk) domain() (d apiDomainView, err error) {
	d, err = ask[apiDomainView](v, under(apiDomains, v.id("domain")))
	if err == nil {
		v.barDomain(&d)
		err = v.unbarred(v.page.Needs...)
	}
	return d, err
}

// ownersOnly are the routes of a domain that are its owner's: those that change it, and
// the reports, which tell of all mail as the domain.
var ownersOnly = []string{
	"PATCH " + apiDomain, "DELETE " + apiDomain, "POST " + apiDomain + "/disable", "POST " + apiDomain + "/enable", "POST " + apiDomain + "/validate",
	"POST " + apiDomain + "/rotate", "DELETE " + apiDomain + "/rotate", "POST " + apiDomain + "/keys", "POST " + apiDomain + "/ips", "DELETE " + apiDomain + "/ips/{ip}",
	"POST " + apiDomain + "/subuser", "DELETE " + apiDomain + "/subuser", "POST /v3/whitelabel/dns/email",
	"GET " + apiDomain + "/dmarc", "GET " + apiDMARCReports, "GET " + apiDMARCReport,
}

// barDomain bars what cannot be done to a domain: whom it is shared with sends as it,
// and looks at it.
func (v *desk) barDomain(d *apiDomainView) {
	on, off, remove := "POST "+apiDomain+"/enable", "POST "+apiDomain+"/disable", "DELETE "+apiDomain
	rank := v.rank()
	if v.Tenant.Subuser.IsZero() {
		if d.Username != v.Tenants.AccountName(v.Tenant.Account) {
			rank = relay.RankAccount // a subuser's
		}
	} else if d.Username != orNone(v.Behalf, v.Principal.SubuserName) {
		v.bar(notice{Tone: toneInfo, Title: "This domain belongs to the account.", Text: "It is shared with you: you may send as it. The account changes it, and gets the reports about it."}, ownersOnly...)
		return
	}
	switch {
	case d.System:
		v.bar(notice{Tone: toneInfo, Title: "This domain signs the relay's own mail.", Text: "It cannot be switched off, or deleted."}, on, off, remove)
	case d.above(rank):
		v.bar(d.keptOff("it", "switch it on again, or delete it"), on, remove)
	}
}

func showDomain(v *desk) error { return v.showDomain(http.StatusOK, nil) }

// showDomain shows the domain of the path; refused is a form on it that was not
// taken.
func (v *desk) showDomain(status int, refused *form) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	here := v.domainPath(d.Number)
	p := domainPage{Is: domainFacts(v, &d), Records: recordTable(v, &d), Findings: findingTable(d.Findings), Keys: dkimTable(v, &d)}
	p.Buttons = v.do(button{Text: "Look now", Action: here + "/validate", Tone: "primary"}, "POST", apiDomain+"/validate")
	if d.DisabledAt.IsZero() {
		p.Buttons = append(p.Buttons, v.do(button{Text: "Switch it off", Action: here + "/disable"}, "POST", apiDomain+"/disable")...)
	} else {
		p.Buttons = append(p.Buttons, v.do(button{Text: "Switch it on", Action: here + "/enable"}, "POST", apiDomain+"/enable")...)
	}
	p.Next = slices.Concat(v.linkAt("Change it", here+"/edit", "PATCH", apiDomain), v.linkAt("DMARC reports", here+"/dmarc", "GET", apiDomain+"/dmarc"),
		v.linkAt("History", here+"/history", "GET", apiChanges),
		v.linkAt("Zone file", here+"/zone", "GET", apiDomain+"/records"), v.linkAt("Delete it", here+"/delete", "DELETE", apiDomain))
	p.KeyNext = append(v.linkAt("Change the keys", here+"/rotate", "POST", apiDomain+"/rotate"), v.linkAt("Bring a key from elsewhere", here+"/import", "POST", apiDomain+"/keys")...)
	p.SPF, p.SPFAdd = spfParts(v, &d)
	if d.rotating() {
		p.KeyDo = v.do(button{Text: "Give the change of keys up", Action: here + "/cancel"}, "DELETE", apiDomain+"/rotate")
	}
	p.Hosts, p.Host, p.Fields = hostFields(v, &d)
	p.sharing(v, &d)
	p.Letter = letterForm(v, &d)
	if refused != nil {
		for _, f := range []*form{&p.Share, &p.Letter, &p.SPFAdd} {
			if f.Name == refused.Name {
				*f = *refused
			}
		}
	}
	p.Notices = v.whyNot()
	if d.State == string(relay.DomainPending) && v.May("POST", apiDomain+"/validate") {
		p.Notices = append(p.Notices, notice{Tone: toneInfo, Title: "Publish the records below.",
			Text: "Enter them where your domain's DNS is kept. They are looked for by themselves; a press on Look now is faster."})
	}
	if d.Reason != "" {
		p.Notices = append(p.Notices, notice{Tone: toneWarn, Text: d.Reason})
	}
	return v.Render(status, "page_domain", d.title(), p)
}

func domainFacts(v *desk, d *apiDomainView) facts {
	var f facts
	f.add("State", cell{Badges: []badge{d.state()}})
	if d.Unicode != "" {
		f.add("In the DNS", code(d.Name))
	}
	f.add("Belongs to", words(d.Username))
	f.add("On the word of", words(d.AssertedBy))
	f.add("Verified", v.at(d.VerifiedAt))
	f.add("Failing", v.at(d.FailingAt))
	f.add("Last look", v.at(unix(d.Attempted)))
	f.add("Bounces come to", code(d.ReturnPath))
	f.add("DMARC", policyCell(d.DMARC.Policy))
	if d.DMARC.Recommended != "" {
		f.add("Next DMARC record", cell{Text: d.DMARC.Recommended, Code: true, ID: "dmarc-next", Note: d.DMARC.Why})
	}
	f.add("Names below it", words(yesNo(d.Subdomains)))
	return f
}

// recordTable is what is to be published beside what was found.
func recordTable(v *desk, d *apiDomainView) table {
	t := table{ID: "records", Caption: "Records to publish", Head: []string{"Record", "Name", "Type", "Value", "Found"}, Empty: "Nothing is to be published."}
	for i, r := range d.Records {
		id := "record-" + strconv.Itoa(i)
		found := cell{Badges: []badge{{"found", toneOK}}}
		switch {
		case !r.Valid && d.Attempted == 0:
			found = tagged("not looked yet", toneMute)
		case !r.Valid && d.Unknown:
			found = cell{Badges: []badge{{"not known", toneMute}}, Note: r.Reason}
		case !r.Valid && len(r.Found) > 0:
			found = cell{Badges: []badge{{"differs", toneBad}}, Lines: r.Found, Note: r.Reason}
		case !r.Valid && r.Required:
			found = cell{Badges: []badge{{"missing", toneBad}}, Note: r.Reason}
		case !r.Valid:
			found = cell{Badges: []badge{{"missing, recommended", toneWarn}}, Note: r.Reason}
		}
		t.Rows = append(t.Rows, row{Cells: []cell{
			{Text: orNone(r.For, r.Key)}, {Text: r.Name, ID: id + "-name"}, words(r.Type), {Text: r.Value, ID: id + "-value"}, found,
		}})
	}
	return t
}

var severityTones = map[finding.Severity]string{
	finding.OK: toneOK, finding.Info: toneInfo, finding.Warning: toneWarn, finding.Error: toneBad, finding.Unknown: toneWarn,
}

func findingTable(all []finding.Finding) table {
	t := table{ID: "findings", Caption: "What the last look found", Head: []string{"How bad", "What", "What to do", "Where"}}
	for _, f := range all {
		what := cell{Text: f.Text}
		if f.Expected != "" || f.Found != "" {
			what.Lines = []string{"expected: " + orNone(f.Expected, "nothing"), "found: " + orNone(f.Found, "nothing")}
		}
		where := strings.TrimSpace(f.Where + " " + f.Server)
		t.Rows = append(t.Rows, row{Cells: []cell{tagged(string(f.Severity), severityTones[f.Severity]), what, words(orNone(f.Fix, "nothing")), words(where)}})
	}
	return t
}

func dkimTable(v *desk, d *apiDomainView) table {
	t := table{ID: "dkim", Caption: "DKIM keys", Head: []string{"Selector", "Algorithm", "State", "Made", "Signs since", "Retired"}, Empty: "There are no DKIM keys."}
	for _, k := range d.Keys {
		selector := code(k.Selector)
		if v.May("GET", apiDKIM) {
			selector = to(k.Selector, under(v.domainPath(d.Number)+"/keys", k.Selector))
		}
		t.Rows = append(t.Rows, row{Cells: []cell{selector, words(k.algorithm()), tagged(k.State, dkimTones[k.State]), v.at(k.CreatedAt), v.at(k.ActivatedAt), v.at(k.RetiredAt)}})
	}
	return t
}

// formPage is a page of one form.
type formPage struct{ Form form }

// again shows a form that the API did not take, on a page of its own.
func (v *desk) again(err error, f form, title string) error {
	f, ok := v.refused(f, err)
	if !ok {
		return err
	}
	return v.Render(formStatus(true), "page_form", title, formPage{f})
}
