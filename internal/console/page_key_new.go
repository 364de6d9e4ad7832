package console

import (
	"net/http"
	"slices"
	"time"

	"postern/internal/relay"
)

// keyTemplate is a kind of key that is usually wanted, with no more than it needs.
type keyTemplate struct {
	id, title, text string
	kind            relay.KeyKind
	mode            relay.KeyMode
	// needs are the fields without which it is not made.
	needs  []string
	scopes func(offered []string) []string
	days   int // of its life; 0: as the policy says
}

func onlySend([]string) []string { return []string{relay.ScopeMailSend} }

// keyTemplates are those that are offered, the narrowest first.
var keyTemplates = []keyTemplate{
	{id: "domain", title: "Send as one domain", text: "For a program that writes as one of your domains. It can hand in mail and nothing else.",
		kind: relay.KeyAPI, mode: relay.KeyLive, needs: []string{"senders"}, scopes: onlySend},
	{id: "network", title: "Send from one network", text: "For a server whose address does not change. A stolen copy does not work elsewhere.",
		kind: relay.KeyAPI, mode: relay.KeyLive, needs: []string{"networks"}, scopes: onlySend},
	{id: "test", title: "Test", text: "Mail is taken and recorded like any other, and never delivered.",
		kind: relay.KeyAPI, mode: relay.KeyTest, scopes: onlySend},
	{id: "ci", title: "A job that builds and deploys", text: "Hands in mail, and ends after 30 days, so that a forgotten copy is worth nothing.",
		kind: relay.KeyAPI, mode: relay.KeyLive, scopes: onlySend, days: 30},
	{id: "read", title: "Read only", text: "For programs that watch: sees keys, mail and figures as far as you may, and changes nothing.",
		kind: relay.KeyAPI, mode: relay.KeyLive, scopes: func(offered []string) []string {
			return slices.DeleteFunc(slices.Clone(offered), func(s string) bool { return !readScope(s) || relay.BillingScope(s) })
		}},
	{id: "app", title: "App password", text: "For a printer, a camera or an old program that takes a user name and a short password. Narrow it to its network.",
		kind: relay.KeyAppPassword, mode: relay.KeyLive, needs: []string{"networks"}, scopes: onlySend},
	{id: "custom", title: "Something else", text: "You choose what it may do.",
		kind: relay.KeyAPI, mode: relay.KeyLive, scopes: func([]string) []string { return nil }},
	{id: "full", title: "Full access", text: "Everything that you may do. Whoever has its secret is you: make one only where nothing less will do.",
		kind: relay.KeyAPI, mode: relay.KeyLive, scopes: func(offered []string) []string {
			return slices.DeleteFunc(slices.Clone(offered), relay.BillingScope)
		}},
}

// newKeyPage is the choice of a template, or the form of one.
type newKeyPage struct {
	Templates []option // Value is where it leads
	Chosen    string
	Text      string
	Form      form
}

func showNewKey(v *desk) error {
	t := templateOf(v.sent("for"))
	if t == nil {
		var p newKeyPage
		for _, t := range keyTemplates {
			p.Templates = append(p.Templates, option{Value: v.path("/keys/new") + "?for=" + t.id, Text: t.title, Note: t.text})
		}
		return v.Render(http.StatusOK, "page_key_new", "Make a key", p)
	}
	return v.Render(http.StatusOK, "page_key_new", "Make a key", newKeyPage{Chosen: t.title, Text: t.text, Form: newKeyForm(v, t)})
}

func templateOf(id string) *keyTemplate {
	for i := range keyTemplates {
		if keyTemplates[i].id == id {
			return &keyTemplates[i]
		}
	}
	return nil
}

func newKeyForm(v *desk, t *keyTemplate) form {
	k := apiKeyView{Mode: string(t.mode), Scopes: t.scopes(v.Scopes())}
	if t.days > 0 {
		k.ExpiresAt = v.Now.AddDate(0, 0, t.days-1) // the last day is a whole one
	}
	fields := []field{
		{Name: "for", Kind: "hidden", Value: t.id},
		{Name: "name", Label: "Name", Required: true, Help: "Say which program it is for: you will see it in every record."},
	}
	if t.id == "custom" {
		fields = append(fields, scopeFields(nil, v.Scopes())...)
	}
	fields = append(fields, keyLimitFields(&k)...)
	for i := range fields {
		fields[i].Required = fields[i].Required || slices.Contains(t.needs, fields[i].Name)
	}
	// What it needs stands before what it may have.
	slices.SortStableFunc(fields[2:], func(a, b field) int {
		switch {
		case a.Required == b.Required:
			return 0
		case a.Required:
			return -1
		}
		return 1
	})
	if t.id == "custom" || t.id == "domain" {
		fields = append(fields, field{Name: "canary", Kind: "check", Label: "It is a decoy",
			Help: "It never works. Put it where only a thief looks: a try with it raises an alert."})
	}
	return v.offer(form{Name: "new-key", Action: v.path("/keys/new"), Do: "Make the key", Fields: fields, Cancel: v.path("/keys/new")}, "POST", apiKeys)
}

// keyLimitFields are the inputs for what narrows a key.
func keyLimitFields(k *apiKeyView) []field {
	return []field{
		{Name: "senders", Label: "It writes as", Kind: "textarea", Lines: 2, Value: lines(k.Senders),
			Help: "Domains or addresses, one a line. None: as all that you may write as."},
		{Name: "networks", Also: "hosts", Label: "It works from", Kind: "textarea", Lines: 2, Value: lines(slices.Concat(k.Networks, k.Hosts)),
			Help: "Addresses, networks such as 192.0.2.0/24, or host names, one a line. None: from anywhere."},
		{Name: "recipient_domains", Label: "It writes to", Kind: "textarea", Lines: 2, Value: lines(k.RecipientDomains),
			Help: "Domains, one a line. None: to everybody."},
		{Name: "per_hour", Label: "Recipients an hour", Kind: "number", Value: numberOf(k.PerHour), Help: "Empty: no limit of its own."},
		{Name: "per_day", Label: "Recipients a day", Kind: "number", Value: numberOf(k.PerDay)},
		{Name: "hours", Label: "Hours of the week", Value: k.Hours, Help: "Such as mon-fri 08-18, in the account's time zone. Empty: always."},
		{Name: "expires_at", Label: "Last day", Kind: "date", Value: dateOf(k.ExpiresAt), Help: "Empty: never, or as late as the account's policy allows."},
		{Name: "mode", Label: "Its mail is", Kind: "select", Options: pick(k.Mode,
			option{Value: string(relay.KeyLive), Text: "delivered"},
			option{Value: string(relay.KeyTest), Text: "taken and recorded, never delivered"},
			option{Value: string(relay.KeyHold), Text: "held until somebody releases it"})},
	}
}

// keyChange is a key as the API takes it.
type keyChange struct {
	Name             string   `json:"name"`
	Kind             string   `json:"kind,omitempty"`
	Scopes           []string `json:"scopes,omitempty"`
	Mode             string   `json:"mode"`
	Networks         []string `json:"networks"`
	Hosts            []string `json:"hosts"`
	Senders          []string `json:"senders"`
	RecipientDomains []string `json:"recipient_domains"`
	PerHour          int64    `json:"per_hour"`
	PerDay           int64    `json:"per_day"`
	Hours            string   `json:"hours"`
	ExpiresAt        string   `json:"expires_at"`
	Canary           bool     `json:"canary"`
}

// sentKey is what a form of a key says.
func (v *desk) sentKey() (k keyChange, err error) {
	k = keyChange{
		Name: v.sent("name"), Mode: orNone(v.sent("mode"), string(relay.KeyLive)), Networks: []string{}, Hosts: []string{},
		Senders: v.list("senders"), RecipientDomains: v.list("recipient_domains"), Hours: v.sent("hours"), Canary: v.on("canary"),
	}
	for _, n := range v.list("networks") {
		if isNetwork(n) {
			k.Networks = append(k.Networks, n)
		} else {
			k.Hosts = append(k.Hosts, n)
		}
	}
	if k.PerHour, err = v.sentNumber("per_hour"); err != nil {
		return k, err
	}
	if k.PerDay, err = v.sentNumber("per_day"); err != nil {
		return k, err
	}
	k.ExpiresAt, err = v.dateEnd("expires_at")
	return k, err
}

func makeKey(v *desk) error {
	t := templateOf(v.sent("for"))
	if t == nil {
		return relay.E(relay.NotFound, "There is no such kind of key.")
	}
	k, err := v.sentKey()
	var made secretMade
	if err == nil {
		k.Kind, k.Scopes = string(t.kind), t.scopes(v.Scopes())
		if t.id == "custom" {
			k.Scopes = v.sentScopes()
		}
		err = k.heed(t)
	}
	if err == nil {
		err = v.Call("POST", apiKeys, k, &made)
	}
	if err == nil {
		return v.showSecret(&made, "The key was made", time.Time{})
	}
	f, ok := v.refused(newKeyForm(v, t), err)
	if !ok {
		return err
	}
	return v.Render(formStatus(true), "page_key_new", "Make a key", newKeyPage{Chosen: t.title, Text: t.text, Form: f})
}

// heed checks what a template demands: it would be a wider key without.
func (k *keyChange) heed(t *keyTemplate) error {
	for _, need := range t.needs {
		switch {
		case need == "senders" && len(k.Senders) == 0:
			return &relay.Error{Kind: relay.Invalid, Field: need, Public: "Name the domain that it writes as."}
		case need == "networks" && len(k.Networks)+len(k.Hosts) == 0:
			return &relay.Error{Kind: relay.Invalid, Field: need, Public: "Name the address or network that it works from."}
		}
	}
	if len(k.Scopes) == 0 {
		return &relay.Error{Kind: relay.Invalid, Field: "area", Public: "Choose what it may do. Nothing chosen would mean everything."}
	}
	return nil
}

// secretPage shows a secret for the only time.
type secretPage struct {
	Name     string
	Login    string
	Secret   string
	Until    notice
	Snippets []snippet
	Next     []link
}

// showSecret answers a POST with the secret that it made: nowhere else, not in an
// address, not again (WB-07).
func (v *desk) showSecret(made *secretMade, title string, until time.Time) error {
	e := v.Endpoint()
	p := secretPage{Name: made.Name, Secret: made.APIKey}
	e.User, e.Secret, e.API = "apikey", made.APIKey, true
	if made.Password != "" {
		p.Secret, p.Login = made.Password, made.Login
		e.User, e.Secret, e.API = made.Login, made.Password, false
	}
	if len(made.Senders) > 0 {
		e.From = fromOf(made.Senders[0])
	}
	if p.Secret != "" {
		p.Snippets = e.snippets()
	}
	if !until.IsZero() {
		m := momentOf(v.Now, until)
		p.Until = notice{Tone: toneWarn, Text: "The secret of before works until " + m.Human() + ", " + m.Words + ". Change it in the program before then."}
	}
	p.Next = []link{{"Show the key", v.path("/keys", made.ID)}, {"All keys", v.path("/keys")}}
	v.W.Header().Set("Cache-Control", "no-store")
	return v.Render(http.StatusOK, "page_key_secret", title, p)
}
