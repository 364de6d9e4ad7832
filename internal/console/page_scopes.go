package console

import (
	"slices"
	"strings"

	"postern/internal/relay"
)

// area is a part of what a key or person may do, in words.
type area struct {
	id    string
	words string
	// starts are the beginnings of its scopes.
	starts []string
}

// areas are those that are asked for here, the most usual first.
var areas = []area{
	{"mail", "mail: hand it in", []string{"mail.send"}},
	{"messages", "messages and what became of them", []string{"messages.", "email_activity.", "user.scheduled_sends."}},
	{"keys", "keys", []string{"api_keys."}},
	{"domains", "domains and senders", []string{"whitelabel."}},
	{"access", "IP access, logins and changes", []string{"access_settings."}},
	{"stats", "figures", []string{"stats."}},
	{"subusers", "subusers", []string{"subusers."}},
	{"people", "people", []string{"teammates.", "sso."}},
	{"policy", "the policy for keys", []string{"credentials."}},
	{"watch", "the watch and its answers", []string{"alerts."}},
	{"pools", "addresses and pools", []string{"ips."}},
	{"account", "account settings", []string{
		"user.account.", "user.credits.", "user.email.", "user.profile.", "user.settings.", "user.timezone.", "user.username.",
	}},
}

func (a *area) has(scope string) bool {
	return slices.ContainsFunc(a.starts, func(s string) bool { return strings.HasPrefix(scope, s) })
}

func readScope(s string) bool { return strings.HasSuffix(s, ".read") }

// scopes are those of the area; see: only those that change nothing.
func (a *area) scopes(see bool) (out []string) {
	for _, s := range relay.Scopes {
		if a.has(s) && (!see || readScope(s)) {
			out = append(out, s)
		}
	}
	return out
}

func containsAll(have, want []string) bool {
	return len(want) > 0 && !slices.ContainsFunc(want, func(s string) bool { return !slices.Contains(have, s) })
}

// scopeWords says in words what scopes let somebody do.
func scopeWords(scopes []string) []string {
	if len(scopes) == 0 {
		return []string{"Nothing"}
	}
	if relay.Full(scopes) {
		return []string{"Everything (full access)"}
	}
	var out []string
	rest := slices.Clone(scopes)
	for i := range areas {
		a := &areas[i]
		n := len(rest)
		rest = slices.DeleteFunc(rest, a.has)
		if n == len(rest) {
			continue
		}
		words := a.words
		switch see := a.scopes(true); {
		case a.id == "mail":
			words = "Send mail"
		case len(see) < len(a.scopes(false)) && containsAll(scopes, a.scopes(false)):
			words = "Change " + words
		case containsAll(scopes, see):
			words = "See " + words
			if n-len(rest) > len(see) {
				words += ", and change some"
			}
		default:
			words = "Some of " + words
		}
		out = append(out, words)
	}
	if len(rest) > 0 {
		out = append(out, things(int64(len(rest)), "other scope"))
	}
	return out
}

// scopeFields are the inputs to choose scopes with: check boxes for areas, and a
// text area for those that no area has as a whole. offered are what the person
// can give.
func scopeFields(scopes, offered []string) []field {
	boxes := field{Name: "area", Label: "What it may do", Kind: "checks"}
	covered := map[string]bool{}
	for i := range areas {
		a := &areas[i]
		for _, level := range []struct {
			id, word string
			see      bool
		}{{"see", "See ", true}, {"all", "See and change ", false}} {
			want := a.scopes(level.see)
			if !containsAll(offered, want) || level.id == "all" && len(want) == len(a.scopes(true)) {
				continue
			}
			word := level.word + a.words
			if a.id == "mail" {
				word = "Send mail"
			}
			o := option{Value: a.id + ":" + level.id, Text: word, On: containsAll(scopes, want)}
			if o.On {
				for _, s := range want {
					covered[s] = true
				}
			}
			boxes.Options = append(boxes.Options, o)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return covered[s] })
	return []field{boxes, {
		Name: "scopes", Label: "Further scopes", Kind: "textarea", Lines: 3, Value: lines(rest),
		Help: "One a line, by their names in the API, for what the boxes do not say.",
	}}
}

// sentScopes is what was chosen with scopeFields, sorted.
func (v *desk) sentScopes() []string {
	out := v.sentList("scopes")
	for _, chosen := range v.sentTexts("area") {
		id, level, _ := strings.Cut(chosen, ":")
		if i := slices.IndexFunc(areas, func(a area) bool { return a.id == id }); i >= 0 {
			out = append(out, areas[i].scopes(level == "see")...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
