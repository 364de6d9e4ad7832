package console

import (
	"strings"
	"testing"

	"postern/internal/relay"
)

// AC-07: a form of a page of resources that comes too late is kept and sent on, also
// one of a button alone: what was typed was lost, and a button led to no page.
func TestLateFormsOfResourcesAreKept(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path, call string
		form       []string
		kept       map[string]string
		lost       []string // secrets
	}{
		"fields": {"/domains/7/edit", "PATCH /v3/whitelabel/domains/7", []string{"rotate_every_days", "30", "notify", "on"}, map[string]string{"rotate_every_days": "30", "notify": "on"}, nil},
		"button": {"/domains/7/disable", "POST /v3/whitelabel/domains/7/disable", nil, nil, nil},
		"secret": {"/domains/7/import", "POST /v3/whitelabel/domains/7/keys", []string{"selector", "s1", "private_key", "PEM of mine"}, map[string]string{"selector": "s1"}, []string{"private_key", "PEM of mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newPages(t, sampleAnswers())
			w.api.on(test.call, relay.E(relay.Forbidden, textReauth))
			r := w.post(test.path, test.form...).want(403).shows("h1", "Confirm that it is you").shows("main", "it counts for 5 minutes")
			stash := attribute(r.find("input[name=stash]"), "value")
			r = w.post("/confirm", "password", rightPassword, "code", rightCode, "next", test.path, "stash", stash).want(200).shows("h1", "Confirmed")
			r.find(`form[action="` + test.path + `"][method=post]`)
			for name, value := range test.kept {
				if got := attribute(r.find("main input[name="+name+"]"), "value"); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
			for _, s := range test.lost {
				if strings.Contains(r.body, s) || strings.Contains(stash, s) {
					t.Errorf("the kept form has %q", s)
				}
			}
		})
	}
}

// An issuer leads back by a link: to a page that opens, not to where only a form is sent.
func TestIssuerLeadsBackToAPage(t *testing.T) {
	t.Parallel()
	for path, back := range map[string]string{
		"/people/lin/sessions/s1/end":         "/people/lin",
		"/people/lin/sessions/s1/end?x=1":     "/people/lin",
		"/people/a%2Fb/sessions/s1/end":       "/people/a%2Fb",
		"/as/shop/people/lin/sessions/s1/end": "/as/shop/people/lin",
		"/as/shop/keys/7/enable":              "/as/shop/keys/7",
		"/invitations/abc/resend":             "/",
		"/as/shop/invitations/abc/resend":     "/as/shop",
		"/access/add":                         "/access",
		"/settings/email":                     "/settings",
		"/people/invite?x=1":                  "/people/invite?x=1",
		"/people/lin/do/disable":              "/people/lin/do/disable",
		"/":                                   "/",
		"/no/such/page":                       "/",
	} {
		w := newWorld(t)
		if got := w.console.opens(path); got != back {
			t.Errorf("%s leads back to %s, want %s", path, got, back)
		}
	}
	w := newPages(t, sampleAnswers())
	w.people.signOns = []SignOn{{ID: "a", Issuer: "Corp", Live: true}}
	w.api.on("POST /v3/whitelabel/domains/7/disable", relay.E(relay.Forbidden, textReauth))
	r := w.post("/domains/7/disable").want(403)
	if next := attribute(r.find("form[action=/login/sso/Corp] input[name=next]"), "value"); next != "/domains/7" {
		t.Errorf("the issuer leads back to %q", next)
	}
	if next := attribute(r.find("form[action=/confirm] input[name=next]"), "value"); next != "/domains/7/disable" {
		t.Errorf("the kept form goes to %q", next)
	}
	w.get("/domains/7").want(200)
}
