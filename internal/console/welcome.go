package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// The first run: from the set-up link to a test message that arrived.
var welcomePages = []page{
	{Method: "GET", Pattern: "/welcome", Title: "Set up your second factor", Level: enrolling, Own: true, Handler: (*Console).welcome},
	{Method: "GET", Pattern: "/welcome/domain", Title: "Your first domain", Needs: needDomain, Own: true, Handler: (*Console).showFirstDomain},
	{Method: "POST", Pattern: "/welcome/domain", Title: "Your first domain", Needs: needDomain, Own: true, Handler: (*Console).firstDomain},
	{Method: "GET", Pattern: "/welcome/domain/{id}", Title: "Publish these records", Needs: needDomain, Own: true, Handler: (*Console).firstRecords},
	{Method: "POST", Pattern: "/welcome/domain/{id}/check", Title: "Publish these records", Needs: needDomain, Own: true, Handler: (*Console).checkFirstDomain},
	{Method: "GET", Pattern: "/welcome/key", Title: "Your first key", Needs: needKey, Own: true, StepUp: true, Handler: (*Console).showFirstKey},
	{Method: "POST", Pattern: "/welcome/key", Title: "Your first key", Needs: needKey, Own: true, StepUp: true, Handler: (*Console).firstKey},
	{Method: "GET", Pattern: "/welcome/test", Title: "Send a test message", Needs: needTest, Own: true, Handler: (*Console).showFirstTest},
	{Method: "POST", Pattern: "/welcome/test", Title: "Send a test message", Needs: needTest, Own: true, Handler: (*Console).firstTest},
	{Method: "GET", Pattern: "/welcome/message/{id}", Title: "Your message's journey", Needs: []string{"GET /v3/messages/{msg_id}"}, Own: true, Handler: (*Console).firstJourney},
}

var (
	needDomain = []string{"GET /v3/whitelabel/domains", "POST /v3/whitelabel/domains", "GET /v3/whitelabel/domains/{domain_id}"}
	needKey    = []string{"POST /v3/api_keys"}
	needTest   = []string{"GET /v3/api_keys", "POST /v3/api_keys/{api_key_id}/test"}
)

// Step is one of the first run.
type Step struct {
	Name    string
	Done    bool
	Current bool
}

// The steps, in order.
const (
	stepPassword = iota
	stepFactor
	stepCodes
	stepDomain
	stepKey
	stepTest
)

var stepNames = []string{"Password", "Second factor", "Recovery codes", "Domain", "Key", "Test message"}

func steps(current int) []Step {
	out := make([]Step, len(stepNames))
	for i, name := range stepNames {
		out[i] = Step{Name: name, Done: i < current, Current: i == current}
	}
	return out
}

// stepsOf are the steps for a person, who may not be all that they will be yet: what
// they may not do is none of theirs. Where the current step is not, the next is.
func (v *visit) stepsOf(u *relay.User, current int) []Step {
	p := &relay.Principal{Tenant: relay.Tenant{Account: u.Account, Subuser: u.Subuser}, User: u}
	needs := map[int][]string{stepDomain: needDomain, stepKey: needKey, stepTest: needTest}
	var out []Step
	marked := false
	for i, s := range steps(current) {
		if !v.may(p, needs[i]) {
			continue
		}
		s.Current = !marked && i >= current
		marked = marked || s.Current
		out = append(out, s)
	}
	return out
}

// ownSteps are the steps for who is logged in.
func (v *visit) ownSteps(current int) []Step { return v.stepsOf(&v.Open.User, current) }

type welcomePage struct {
	frame
	Steps []Step
	// Factor: the second factor is still missing. Otherwise the page is a list of
	// what to do next.
	Factor    bool
	MayDomain bool
	MayKey    bool
	MayTest   bool
	Domains   int
	Keys      int
	Begun     string // the path of the domain that was begun
}

// domainBrief is what the first run reads of a domain.
type domainBrief struct {
	Number   int64         `json:"id"`
	Name     string        `json:"domain"`
	Username string        `json:"username"`
	Valid    bool          `json:"valid"`
	State    string        `json:"state"`
	Reason   string        `json:"reason"`
	System   bool          `json:"system"`
	Records  []recordBrief `json:"records"`
	Checked  int64         `json:"last_validation_attempt_at"`
}

type recordBrief struct {
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

type keyBrief struct {
	ID      string   `json:"api_key_id"`
	Name    string   `json:"name"`
	Senders []string `json:"senders"`
	Scopes  []string `json:"scopes"`
	APIKey  string   `json:"api_key"`
}

func (c *Console) welcome(v *visit) error {
	p := &welcomePage{}
	if v.firstTime() {
		p.Factor, p.Steps = true, v.ownSteps(stepFactor)
		return v.render("welcome", p)
	}
	p.Title = "Get going"
	p.MayDomain, p.MayKey, p.MayTest = v.may(v.Principal, needDomain), v.may(v.Principal, needKey), v.may(v.Principal, needTest)
	if !p.MayDomain && !p.MayKey && !p.MayTest { // an auditor: nothing here is theirs to do
		return v.to("/")
	}
	p.Steps = v.ownSteps(stepDomain)
	if err := v.welcomeState(p); err != nil {
		return err
	}
	return v.render("welcome", p)
}

// welcomeState reads what is there already.
func (v *visit) welcomeState(p *welcomePage) error {
	if p.MayDomain {
		domains, err := v.ownDomains()
		if err != nil {
			return err
		}
		for _, d := range domains {
			if p.Domains++; !d.Valid && p.Begun == "" {
				p.Begun = "/welcome/domain/" + strconv.FormatInt(d.Number, 10)
			}
		}
	}
	if v.may(v.Principal, []string{"GET /v3/api_keys"}) {
		var keys struct {
			Result []keyBrief `json:"result"`
		}
		if err := v.get("/v3/api_keys?limit=1", &keys); err != nil {
			return err
		}
		p.Keys = len(keys.Result)
	}
	switch {
	case p.Domains > 0 && p.Keys > 0:
		p.Steps = v.ownSteps(stepTest)
	case p.Domains > 0:
		p.Steps = v.ownSteps(stepKey)
	}
	return nil
}

// ownDomains are the account's, without postern's own.
func (v *visit) ownDomains() ([]domainBrief, error) {
	var all []domainBrief
	if err := v.get("/v3/whitelabel/domains?limit=50&exclude_subusers=true", &all); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(d domainBrief) bool { return d.System }), nil
}

type firstDomainPage struct {
	frame
	Form
	Steps  []Step
	Domain string
}

func (c *Console) showFirstDomain(v *visit) error {
	domain := ""
	if _, host, ok := strings.Cut(v.Open.User.Email, "@"); ok {
		domain = host
	}
	return v.render("welcome_domain", &firstDomainPage{Steps: v.ownSteps(stepDomain), Domain: domain})
}

func (c *Console) firstDomain(v *visit) error {
	var f struct {
		Domain string `form:"domain" max:"255"`
	}
	err := v.form(&f)
	var d domainBrief
	if err == nil {
		err = v.call("POST", "/v3/whitelabel/domains", map[string]any{"domain": f.Domain}, &d)
	}
	if err != nil {
		return v.fail(err, "welcome_domain", &firstDomainPage{Steps: v.ownSteps(stepDomain), Domain: f.Domain})
	}
	return v.to("/welcome/domain/" + strconv.FormatInt(d.Number, 10))
}

type recordsPage struct {
	frame
	Steps   []Step
	Domain  domainBrief
	Path    string
	Left    int // required records that are not seen yet
	Checked time.Time
}

func (v *visit) domainPath() string {
	return apiPath("/v3/whitelabel/domains/{id}", v.R.PathValue("id"))
}

func (c *Console) firstRecords(v *visit) error {
	p := &recordsPage{Steps: v.ownSteps(stepDomain), Path: "/welcome/domain/" + v.R.PathValue("id")}
	if err := v.get(v.domainPath(), &p.Domain); err != nil {
		return err
	}
	for _, r := range p.Domain.Records {
		if r.Required && !r.Valid {
			p.Left++
		}
	}
	if p.Domain.Checked > 0 {
		p.Checked = time.Unix(p.Domain.Checked, 0)
	}
	if p.Domain.Valid {
		p.Title = "Your domain is ready"
	} else {
		p.Refresh = 15
	}
	return v.render("welcome_records", p)
}

// checkFirstDomain asks the DNS now: for the button, and for the script that
// presses it while the page is looked at.
func (c *Console) checkFirstDomain(v *visit) error {
	if err := v.form(&struct{}{}); err != nil {
		return err
	}
	if err := v.call("POST", v.domainPath()+"/validate", nil, nil); err != nil {
		return err
	}
	if !strings.Contains(v.R.Header.Get("Accept"), "text/html") {
		v.W.WriteHeader(http.StatusNoContent)
		return nil
	}
	return v.to("/welcome/domain/" + v.R.PathValue("id"))
}

type firstKeyPage struct {
	frame
	Form
	Steps   []Step
	Name    string
	Domain  string
	Domains []Option
}

func (v *visit) firstKeyPage() (*firstKeyPage, error) {
	p := &firstKeyPage{Steps: v.ownSteps(stepKey), Name: "First key"}
	if !v.may(v.Principal, needDomain) {
		return p, nil
	}
	domains, err := v.ownDomains()
	if err != nil {
		return nil, err
	}
	for _, d := range domains {
		p.Domains = append(p.Domains, Option{Value: d.Name, Label: d.Name})
		if p.Domain == "" || d.Valid && !slices.ContainsFunc(domains, func(o domainBrief) bool { return o.Name == p.Domain && o.Valid }) {
			p.Domain = d.Name
		}
	}
	return p, nil
}

func (c *Console) showFirstKey(v *visit) error {
	p, err := v.firstKeyPage()
	if err != nil {
		return err
	}
	return v.render("welcome_key", p)
}

type keyMadePage struct {
	frame
	Form
	Steps    []Step
	Key      keyBrief
	Snippets []Snippet
	From, To string
	MayTest  bool
}

// firstKey makes a key that can do one thing: send mail, as one domain.
func (c *Console) firstKey(v *visit) error {
	var f struct {
		Name   string `form:"name" max:"100"`
		Domain string `form:"domain" max:"255"`
	}
	if err := v.form(&f); err != nil {
		return err
	}
	body := map[string]any{"name": f.Name, "scopes": []string{"mail.send"}}
	if f.Domain != "" {
		body["senders"] = []string{f.Domain}
	}
	var made keyBrief
	if err := v.call("POST", "/v3/api_keys", body, &made); err != nil {
		if isReauth(err) {
			return err
		}
		p, perr := v.firstKeyPage()
		if perr != nil {
			return perr
		}
		p.Name, p.Domain = f.Name, f.Domain
		return v.fail(err, "welcome_key", p)
	}
	p := &keyMadePage{Steps: v.ownSteps(stepTest), Key: made, To: v.Open.User.Email, MayTest: v.may(v.Principal, needTest)}
	p.Title = "Your key is ready"
	p.From = "hello@" + f.Domain
	if f.Domain == "" {
		p.From = ""
	}
	p.Snippets = v.snippets(made.APIKey, p.From, p.To)
	return v.render("welcome_key_made", p)
}

type firstTestPage struct {
	frame
	Form
	Steps    []Step
	Keys     []Option
	Key      string
	From, To string
}

func (v *visit) firstTestPage() (*firstTestPage, error) {
	p := &firstTestPage{Steps: v.ownSteps(stepTest), To: v.Open.User.Email}
	var keys struct {
		Result []keyBrief `json:"result"`
	}
	if err := v.get("/v3/api_keys?limit=100", &keys); err != nil {
		return nil, err
	}
	for _, k := range keys.Result {
		if slices.Contains(k.Scopes, "mail.send") {
			p.Keys = append(p.Keys, Option{Value: k.ID, Label: k.Name})
			if p.From == "" && len(k.Senders) > 0 {
				p.From = senderOf(k.Senders[0])
			}
		}
	}
	return p, nil
}

// senderOf makes an address of what a key may send as.
func senderOf(s string) string {
	s = strings.TrimPrefix(s, "@")
	if s == "" || strings.Contains(s, "@") {
		return s
	}
	return "hello@" + s
}

func (c *Console) showFirstTest(v *visit) error {
	p, err := v.firstTestPage()
	if err != nil {
		return err
	}
	return v.render("welcome_test", p)
}

func (c *Console) firstTest(v *visit) error {
	var f struct {
		Key  string `form:"key" max:"64"`
		From string `form:"from" max:"320"`
		To   string `form:"to" max:"320"`
	}
	err := v.form(&f)
	var sent struct {
		ID string `json:"message_id"`
	}
	if err == nil {
		err = v.call("POST", apiPath("/v3/api_keys/{id}/test", f.Key), map[string]any{"from": f.From, "to": f.To}, &sent)
	}
	if err != nil {
		p, perr := v.firstTestPage()
		if perr != nil {
			return perr
		}
		p.Key, p.From, p.To = f.Key, f.From, f.To
		if refused, ok := asRefusal(err); ok && refused.Status == http.StatusNotFound {
			err = httpx.Refuse(http.StatusBadRequest, "Choose a key.")
		}
		return v.fail(err, "welcome_test", p)
	}
	return v.to(fill("/welcome/message/{id}", []string{sent.ID}))
}
