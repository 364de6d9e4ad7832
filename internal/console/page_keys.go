package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// keyPages are the pages of keys.
var keyPages = []page{
	{Method: "GET", Pattern: "/keys", Title: "Keys", Group: "Sending", Nav: "Keys", Needs: []string{"GET " + apiKeys}, Handler: onDesk(showKeys)},
	{Method: "GET", Pattern: "/keys/new", Title: "Make a key", Needs: []string{"POST " + apiKeys}, StepUp: true, Handler: onDesk(showNewKey)},
	{Method: "POST", Pattern: "/keys/new", Title: "Make a key", Needs: []string{"POST " + apiKeys}, StepUp: true, Handler: onDesk(makeKey)},
	{Method: "GET", Pattern: "/keys/{key}", Title: "Key", Needs: []string{"GET " + apiKey}, Handler: onDesk(showKey)},
	{Method: "GET", Pattern: "/keys/{key}/edit", Title: "Change a key", Needs: []string{"PATCH " + apiKey}, StepUp: true, Handler: onDesk(showKeyEdit)},
	{Method: "POST", Pattern: "/keys/{key}/edit", Title: "Change a key", Needs: []string{"PATCH " + apiKey}, Handler: onDesk(editKey)},
	{Method: "GET", Pattern: "/keys/{key}/rotate", Title: "Rotate a key", Needs: []string{"POST " + apiKey + "/rotate"}, StepUp: true, Handler: onDesk(showKeyRotate)},
	{Method: "POST", Pattern: "/keys/{key}/rotate", Title: "Rotate a key", Needs: []string{"POST " + apiKey + "/rotate"}, Handler: onDesk(rotateKey)},
	{Method: "GET", Pattern: "/keys/{key}/revoke", Title: "Revoke a key", Needs: []string{"DELETE " + apiKey}, Handler: onDesk(showKeyRevoke)},
	{Method: "POST", Pattern: "/keys/{key}/revoke", Title: "Revoke a key", Needs: []string{"DELETE " + apiKey}, Handler: onDesk(revokeKey)},
	{Method: "POST", Pattern: "/keys/{key}/disable", Title: "Switch a key off", Needs: []string{"POST " + apiKey + "/disable"}, Handler: onDesk(disableKey)},
	{Method: "POST", Pattern: "/keys/{key}/enable", Title: "Switch a key on", Needs: []string{"POST " + apiKey + "/enable"}, Handler: onDesk(enableKey)},
	{Method: "POST", Pattern: "/keys/{key}/test", Title: "Test a key", Needs: []string{"POST " + apiKey + "/test"}, Handler: onDesk(testKey)},
}

const (
	apiKeys = "/v3/api_keys"
	apiKey  = "/v3/api_keys/{api_key_id}"
)

// apiKeyView is a key as the API tells of it.
type apiKeyView struct {
	ID               string    `json:"api_key_id"`
	Name             string    `json:"name"`
	Scopes           []string  `json:"scopes"`
	Username         string    `json:"username"`
	Kind             string    `json:"kind"`
	Login            string    `json:"login"`
	Mode             string    `json:"mode"`
	Networks         []string  `json:"networks"`
	Hosts            []string  `json:"hosts"`
	Senders          []string  `json:"senders"`
	RecipientDomains []string  `json:"recipient_domains"`
	PerMinute        int64     `json:"per_minute"`
	PerHour          int64     `json:"per_hour"`
	PerDay           int64     `json:"per_day"`
	PerMonth         int64     `json:"per_month"`
	Hours            string    `json:"hours"`
	Canary           bool      `json:"canary"`
	CRAM             bool      `json:"cram_md5"`
	ExpiresAt        time.Time `json:"expires_at"`
	CreatedAt        time.Time `json:"created_at"`
	CreatedBy        string    `json:"created_by"`
	RotatedAt        time.Time `json:"rotated_at"`
	RevokedAt        time.Time `json:"revoked_at"`
	switcher

	LastUsedAt        time.Time `json:"last_used_at"`
	LastUsedFrom      string    `json:"last_used_from"`
	LastUsedMechanism string    `json:"last_used_mechanism"`
	LastUsedHelo      string    `json:"last_used_helo"`
	UseCount          int64     `json:"use_count"`

	PreviousUntil    time.Time `json:"previous_valid_until"`
	PreviousUsedAt   time.Time `json:"previous_last_used_at"`
	PreviousUsedFrom string    `json:"previous_last_used_from"`
	PreviousUsedHelo string    `json:"previous_last_used_helo"`
	PreviousUseCount int64     `json:"previous_use_count"`
}

// secretMade is an answer with a secret in it.
type secretMade struct {
	apiKeyView
	APIKey   string `json:"api_key"`
	Password string `json:"password"`
}

// keyKinds are the kinds of keys in words.
var keyKinds = map[string]string{
	string(relay.KeyAPI): "API key", string(relay.KeyAppPassword): "App password",
	string(relay.KeyCertificate): "Client certificate", string(relay.KeyFederated): "Outside token",
}

// state is what a key is now, in a word.
func (k *apiKeyView) state(now time.Time) badge {
	switch {
	case !k.RevokedAt.IsZero():
		return badge{"revoked", toneBad}
	case !k.DisabledAt.IsZero():
		return badge{"switched off", toneMute}
	case !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(now):
		return badge{"expired", toneBad}
	case k.Canary:
		return badge{"canary", toneWarn}
	case k.Mode == string(relay.KeyTest):
		return badge{"test: delivers nothing", toneMute}
	case k.Mode == string(relay.KeyHold):
		return badge{"holds mail for release", toneWarn}
	case !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(now.AddDate(0, 0, 14)):
		return badge{"expires soon", toneWarn}
	}
	return badge{"active", toneOK}
}

// limits are what narrows a key, in words.
func (k *apiKeyView) limits() (out []string) {
	for _, l := range []struct {
		words string
		list  []string
	}{
		{"from ", slices.Concat(k.Networks, k.Hosts)}, {"as ", k.Senders}, {"to ", k.RecipientDomains},
	} {
		switch {
		case len(l.list) > 3:
			out = append(out, l.words+strings.Join(l.list[:3], ", ")+" and "+things(int64(len(l.list)-3), "other"))
		case len(l.list) > 0:
			out = append(out, l.words+strings.Join(l.list, ", "))
		}
	}
	for _, l := range []struct {
		n     int64
		words string
	}{{k.PerMinute, "a minute"}, {k.PerHour, "an hour"}, {k.PerDay, "a day"}, {k.PerMonth, "a month"}} {
		if l.n > 0 {
			out = append(out, "at most "+things(l.n, "recipient")+" "+l.words)
		}
	}
	if k.Hours != "" {
		out = append(out, "in the hours "+k.Hours)
	}
	return out
}

// lastUse is when and from where a key was used.
func (k *apiKeyView) lastUse(now time.Time) cell {
	if k.LastUsedAt.IsZero() {
		return words("never")
	}
	return cell{Time: momentOf(now, k.LastUsedAt), Note: placeWords(k.LastUsedFrom, k.LastUsedHelo, k.LastUsedMechanism)}
}

// placeWords says from where something came.
func placeWords(addr, helo, mechanism string) string {
	s := ""
	if addr != "" {
		s = "from " + addr
	}
	if helo != "" {
		s += " (" + helo + ")"
	}
	if mechanism != "" {
		s += " by " + mechanism
	}
	return strings.TrimSpace(s)
}

// keysPage lists keys.
type keysPage struct {
	Next   []link
	Search form
	Keys   table
}

func showKeys(v *desk) error {
	offset := v.sent("offset")
	path := query(apiKeys+"?limit=200", "offset", offset, "name", v.sent("name"))
	wide := v.May("GET", "/v3/subusers")
	if wide && v.sent("subusers") != "" {
		path += "&subusers=true"
	}
	if v.on("revoked") {
		path += "&revoked=true"
	}
	list, err := ask[struct{ Result []apiKeyView }](v, path)
	if err != nil {
		return err
	}
	p := keysPage{Keys: table{
		ID: "keys", Caption: "Keys", Head: []string{"Name", "What it may do", "Narrowed to", "Last use", "Ends", "State"},
		Empty: "There is no key yet. A program needs one to send mail.",
		Next:  v.linkIf("Make a key", "/keys/new", "POST", apiKeys),
	}}
	p.Next = v.linkIf("Make a key", "/keys/new", "POST", apiKeys)
	if wide && !v.on("subusers") {
		p.Next = append(p.Next, link{"Those of subusers too", query(v.path("/keys"), "subusers", "1", "revoked", v.sent("revoked"), "name", v.sent("name"))})
	}
	if !v.on("revoked") {
		p.Next = append(p.Next, link{"Revoked ones too", query(v.path("/keys"), "subusers", v.sent("subusers"), "revoked", "1", "name", v.sent("name"))})
	}
	for _, k := range list.Result {
		name := to(k.Name, v.path("/keys", k.ID))
		name.Note = orNone(keyKinds[k.Kind], k.Kind)
		if k.Username != "" {
			name.Href, name.Note = subuserPath(k.Username, "/keys/"+url.PathEscape(k.ID)), name.Note+" of "+k.Username
		}
		narrowed := cell{Lines: k.limits()}
		if len(narrowed.Lines) == 0 {
			narrowed = tagged("works from anywhere, as everybody", toneWarn)
		}
		ends := v.at(k.ExpiresAt)
		if k.ExpiresAt.IsZero() {
			ends = words("never")
		}
		p.Keys.Rows = append(p.Keys.Rows, row{Cells: []cell{
			name, {Lines: scopeWords(k.Scopes)}, narrowed, k.lastUse(v.Now), ends, {Badges: []badge{k.state(v.Now)}},
		}})
	}
	if len(list.Result) == 200 {
		p.Keys.Older = v.nextPage(200)
	}
	p.Search = v.find(finder{"/keys", "name", "Part of a name", "No key has this in its name.", "Show all keys", []string{"subusers", "revoked"}}, &p.Keys)
	return v.Render(http.StatusOK, "page_keys", "Keys", p)
}
