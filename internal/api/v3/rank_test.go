package v3

import (
	"strconv"
	"testing"

	"postern/internal/relay"
	"postern/internal/sender"
)

// said is who switched a thing off, as the API tells.
type said struct {
	DisabledBy string `json:"disabled_by"`
}

// What the account or the operator has switched off of a subuser, the subuser's own
// people and keys do not switch on again, nor make their own by switching it off once
// more; whoever did it does.
func TestWhoSwitchesOnAgain(t *testing.T) {
	t.Parallel()
	for what, path := range map[string]func(w *world) string{
		"person": func(w *world) string {
			return "/v3/teammates/" + w.addUser(w.staging, relay.RoleCustom, "mail.send").Username
		},
		"key": func(w *world) string {
			k, _ := w.addKey(w.staging, "mail.send")
			return "/v3/api_keys/" + k.ID.String()
		},
		"domain": func(w *world) string {
			d, _, err := domainsOf(w).Add(w.t.Context(), by("test"), sender.NewDomain{Account: w.staging.Account, Subuser: w.staging.Subuser, Name: "news.staging.test"})
			if err != nil {
				w.t.Fatal(err)
			}
			return pathDomains + "/" + strconv.FormatInt(d.Number, 10)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			thing := path(w)
			for _, above := range []*client{
				w.as(w.acme, relay.Scopes...).with("on-behalf-of", "staging"),
				w.person(w.addUser(w.acme, relay.RoleOwner), true).with("on-behalf-of", "staging"),
				w.operator("acme").with("on-behalf-of", "staging"),
			} {
				below := []*client{w.as(w.staging, relay.Scopes...), w.person(w.addUser(w.staging, relay.RoleOwner), true)}
				// Their own switch they turn as they like.
				below[0].want("POST", thing+"/disable", "", 200, nil)
				below[1].want("POST", thing+"/enable", "", 200, nil)
				below[1].want("POST", thing+"/disable", "", 200, nil)
				var own said
				if below[1].want("GET", thing, "", 200, &own); own.DisabledBy != "" {
					t.Errorf("switched off by its own people, and said to be by the %s", own.DisabledBy)
				}
				above.want("POST", thing+"/disable", "", 200, nil) // it is off already: now it is theirs
				for _, c := range below {
					var by said
					if c.want("GET", thing, "", 200, &by); by.DisabledBy == "" {
						t.Error("nobody is told who switched it off")
					}
					c.want("POST", thing+"/disable", "", 200, nil)
					c.refused("POST", thing+"/enable", "", 403, "switched this off", "")
				}
				above.want("POST", thing+"/enable", "", 200, nil)
				below[0].want("POST", thing+"/disable", "", 200, nil)
				below[1].want("POST", thing+"/enable", "", 200, nil)
			}
		})
	}
}

// A subuser that its account has switched off has no way to switch itself on: no
// route is for it, with whatever scopes, and what it edits of itself leaves it off.
func TestSubusersDoNotSwitchThemselvesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	parent := w.as(w.acme, relay.Scopes...)
	own := []*client{w.as(w.staging, relay.Scopes...), w.person(w.addUser(w.staging, relay.RoleOwner), true)}
	parent.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil)
	parent.want("PATCH", "/v3/subusers/staging/website_access", `{"disabled":true}`, 204, nil)
	for _, c := range own { // as if they were let in
		c.refused("PATCH", "/v3/subusers/staging", `{"disabled":false}`, 403, textNoScope, "")
		c.refused("PATCH", "/v3/subusers/staging/website_access", `{"disabled":false}`, 403, textNoScope, "")
		c.with("on-behalf-of", "staging").refused("PATCH", "/v3/subusers/staging", `{"disabled":false}`, 403, textNoScope, "")
		c.want("PUT", "/v3/user/email", `{"email":"x@example.test"}`, 200, nil)
		c.want("PATCH", "/v3/user/profile", `{"city":"X"}`, 200, nil)
	}
	if s, _ := w.Subuser(w.staging.Subuser); s.DisabledAt.IsZero() || s.ConsoleDisabledAt.IsZero() || s.Email != "x@example.test" {
		t.Errorf("%+v", s)
	}
}

// Settings that two nodes edit at once: the second one looks again, and neither is
// lost.
func TestEditsOnTwoNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, relay.Scopes...)
	subusers, watching := w.extra["subusers"].(*fakeSubusers), w.extra["watch"].(*fakeWatch)
	edit := func(change func(s *relay.Subuser)) func() {
		return func() {
			for i := range w.subusers {
				if w.subusers[i].ID == w.staging.Subuser {
					change(&w.subusers[i])
				}
			}
		}
	}
	subusers.other = edit(func(s *relay.Subuser) { s.Email = "node2@example.test" })
	c.want("PATCH", "/v3/subusers/staging/plan", `{"day":7}`, 200, nil)
	subusers.other = edit(func(s *relay.Subuser) { s.Plan.Hour = 3 })
	c.want("PUT", "/v3/subusers/staging/credits", `{"type":"nonrecurring","total":9}`, 200, nil)
	if s, _ := w.Subuser(w.staging.Subuser); s.Email != "node2@example.test" || s.Plan.Day != 7 || s.Plan.Hour != 3 || s.Plan.Credits.Total != 9 {
		t.Errorf("%+v", s)
	}
	watching.other = func() {
		set := watching.settings[w.acme.Account]
		set.MailTo = []string{"node2@example.test"}
		watching.settings[w.acme.Account] = set
	}
	c.want("PATCH", "/v3/watch/settings", `{"no_mail":true}`, 200, nil)
	if set := watching.settings[w.acme.Account]; !set.NoMail || len(set.MailTo) != 1 {
		t.Errorf("%+v", set)
	}
}
