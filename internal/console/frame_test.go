package console

import (
	"net/http"
	"strings"
	"testing"

	"postern/internal/relay"
)

var samplePages = []page{
	{Method: "GET", Pattern: "/sample", Title: "Sample", Needs: []string{"GET /v3/sample"}, Group: "Sending", Nav: "Samples", Handler: func(_ *Console, v *visit) error {
		return v.render("ask", &Ask{Text: []string{v.Behalf}, Button: "Go"})
	}},
	{Method: "POST", Pattern: "/sample", Title: "Sample", Handler: func(_ *Console, v *visit) error {
		if err := v.call("POST", "/v3/sample", nil, nil); err != nil {
			return v.fail(err, "ask", &Ask{Button: "Go", Confirm: "x"})
		}
		return v.redirect("/sample", "Done.")
	}},
	{Method: "GET", Pattern: "/fresh", Title: "Fresh", StepUp: true, Handler: func(_ *Console, v *visit) error { return v.render("ask", &Ask{Button: "Go"}) }},
	{Method: "GET", Pattern: "/broken", Title: "Broken", Handler: func(_ *Console, v *visit) error { return v.render("no such", &Ask{}) }},
	{Method: "GET", Pattern: "/panics", Title: "Broken", Handler: func(_ *Console, v *visit) error { panic("secret detail") }},
}

func TestFrame(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.get("/sample").want(200).shows("h1", "Sample").shows("nav.nav a[aria-current=page]", "Samples").
		shows(".topbar .me a", "Anna Smith").shows(".topbar .account", "Example <b>& Co")

	// What a person may not do is not shown, and refused if tried.
	w.api.denied = []string{"GET /v3/sample"}
	w.get("/sample").want(404).shows("h1", "Page not found")
}

func TestNotLoggedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.cookies = map[string]string{}
	w.get("/sample?x=1").goes("/login?next=%2Fsample%3Fx%3D1")
	w.get("/login").want(200).lacks("#told")
	w.post("/sample").goes("/login") // what was sent is gone, and that is said
	w.get("/login").want(200).shows("#told", "nothing was changed")

	// AC-05: a session that is not full opens nothing.
	w.visit().Session.Level = relay.SessionPassword
	w.cookies["postern"] = "token"
	w.get("/sample").goes("/login/factor?next=%2Fsample")
	w.visit().Session.Level = relay.SessionEnrol
	w.get("/sample").goes("/welcome")
	if len(w.api.calls) > 0 {
		t.Errorf("calls of the API: %v", w.api.calls)
	}

	// AC-11: a session that has ended is taken out of the browser.
	delete(w.people.visits, "token")
	w.get("/sample").goes("/login?next=%2Fsample")
	if _, there := w.cookies["postern"]; there {
		t.Error("the cookie of a dead session stays")
	}
}

func TestSubusers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.tenants.subs["shop"] = relay.SubuserID{ID: relay.NewID(clock)}
	w.api.on("POST /v3/sample", nil)
	w.get("/as/shop/sample").want(200).shows("main", "shop").shows(".behalf", "shop").shows(".behalf a[href=/]", "Back to").shows("nav a[href=/as/shop/sample]", "Samples")
	w.get("/as/other/sample").want(404)
	w.post("/as/shop/sample").goes("/as/shop/sample")
	if calls := w.api.made("POST /v3/sample"); len(calls) != 1 || calls[0].Behalf != "shop" {
		t.Errorf("calls: %+v", calls)
	}
	w.get("/switch?to=shop&next=/sample/1").goes("/as/shop/sample")
	w.get("/switch?to=&next=/as/shop/sample").goes("/sample")
	w.get("/switch?to=shop&next=//evil.example").goes("/as/shop")
	w.get("/switch?to=other&next=/sample").want(404)
	// Where a subuser has no such page, or it is not for the person, there is its first.
	for _, own := range []string{"/subusers", "/subusers/shop", "/policy/edit", "/profile", "/welcome", "/nowhere"} {
		w.get("/switch?to=shop&next=" + own).goes("/as/shop")
	}
	w.api.denied = []string{"GET /v3/sample"}
	w.get("/switch?to=shop&next=/sample").goes("/as/shop")
	w.api.denied = nil

	// A person who looks after subusers only never sees the account's own.
	u := &w.visit().User
	u.Restricted, u.Subusers = true, []relay.SubuserID{w.tenants.subs["shop"]}
	w.get("/sample?q=1").goes("/as/shop/sample?q=1")
	w.post("/sample").want(404)
	w.get("/as/shop/sample").want(200).lacks(".behalf a")
	// Nor are they offered it: no domain of the account's in a first run, and where a
	// page is their own, the ways lead to what they may see.
	w.get("/welcome").goes("/")
	w.get("/welcome/domain").want(404)
	w.post("/welcome/domain", "domain", "example.com").want(404)
	w.get("/profile").want(200).shows("nav a[href=/sample]", "Samples")
}

func TestNotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.api.on("POST /v3/sample", nil)
	w.post("/sample").goes("/sample")
	w.get("/sample").shows("[role=status]", "Done.")
	w.get("/sample").lacks("[role=status]")
	w.post("/sample").goes("/sample")
	w.cookies["postern-notice"] = strings.Replace(w.cookies["postern-notice"], ".", ".QQ", 1)
	w.get("/sample").lacks("[role=status]")
	w.post("/sample").goes("/sample")
	w.now = w.now.Add(2 * flashLife)
	w.get("/sample").lacks("[role=status]")
}

// A change that was not made is not told as one that was.
func TestRefusalIsNoNotice(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("POST /v3/whitelabel/domains/7/disable", relay.E(relay.Conflict, "It is the system's <own> domain."))
	w.post("/domains/7/disable").goes("/domains/7")
	r := w.get("/domains/7").lacks("[role=status]").shows("#told", "It is the system's <own> domain.")
	if attribute(r.find("#told"), "tabindex") != "-1" {
		t.Error("scripts cannot move the focus there")
	}
	w.get("/domains/7").lacks("#told")
	w.api.on("POST /v3/whitelabel/domains/7/disable", nil)
	w.post("/domains/7/disable").goes("/domains/7")
	w.get("/domains/7").lacks("#told").shows(".notice.ok[role=status]", "switched off")
}

// Who sent a form that was refused goes on at its first field that was: without
// scripts, too.
func TestFocusAtWhatWasRefused(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]form{
		"b": {Fields: []field{{Name: "a"}, {Name: "b", Error: "No."}, {Name: "c", Error: "No."}}},
		"":  {Errors: []string{"No."}, Fields: []field{{Name: "a"}}},
	} {
		got := ""
		for _, in := range f.Inputs() {
			if in.Focus {
				got += in.Name
			}
		}
		if got != name {
			t.Errorf("the focus is at %q, want %q", got, name)
		}
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	w.api.on("POST /v3/sample", &relay.Error{Kind: relay.Invalid, Field: "confirm", Public: "That is <not> it."})
	w.post("/sample").want(400).shows("[role=alert] a[href=#f-confirm]", "That is <not> it.").shows(".wrong", "That is <not> it.").
		shows("label[for=f-confirm]", "Type").lacks("not")
	w.api.on("POST /v3/sample", relay.E(relay.Conflict, "It is taken."))
	w.post("/sample").want(409).shows("[role=alert] li", "It is taken.")

	// Nothing internal is shown.
	w.api.on("POST /v3/sample", http.ErrBodyNotAllowed)
	r := w.post("/sample").want(500).shows("h1", "Something went wrong")
	if strings.Contains(r.body, "allowed") {
		t.Error("an internal error is shown")
	}
	w.get("/broken").want(500).shows("code", "")
	if r := w.get("/panics").want(500); strings.Contains(r.body, "secret") {
		t.Error("a panic is shown")
	}
	w.get("/nowhere").want(404).shows("h1", "Page not found")
	w.post("/nowhere").want(404)
}

// TestNavHere: one entry is the page's, and of two that fit the longer.
func TestNavHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.get("/profile/sessions").want(200)
	if marked := r.all("nav.nav a[aria-current=page]"); len(marked) != 1 || text(marked[0]) != "Your sessions" {
		t.Errorf("%d are marked: %q", len(marked), text(marked[0]))
	}
	if marked := w.get("/profile/password").all("nav.nav a[aria-current=page]"); len(marked) != 1 || text(marked[0]) != "Your profile" {
		t.Errorf("%d are marked", len(marked))
	}
}

// TestFirstPage: who may not see the overview is led to what they may see.
func TestFirstPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, samplePages...)
	for i := range w.console.pages {
		p := &w.console.pages[i]
		if p.Pattern == "/{$}" {
			p.Needs = []string{"GET /v3/overview"}
		}
		if p.Pattern != "/sample" {
			w.api.denied = append(w.api.denied, p.Needs...)
		}
	}
	w.get("/").goes("/sample")
	w.api.deny("GET /v3/sample")
	w.get("/").goes("/profile")
}

// A form that was refused has an address that nobody can open: what leads back to the page
// leads to the one that has the form.
func TestRefusedFormLeadsBack(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	wrong := &relay.Error{Kind: relay.Invalid, Field: "timezone", Public: "No such zone."}
	w.api.on("PATCH /v3/user/timezone", wrong)
	w.api.on("POST /v3/whitelabel/domains", wrong)
	w.post("/settings/timezone", "timezone", "x").want(422).shows("form.theme input[name=next][value=/settings]", "")
	w.post("/domains/new", "domain", "x").want(422).shows("form.theme input[name=next][value=/domains/new]", "")
}
