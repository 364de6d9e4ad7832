package console

import (
	"testing"

	"postern/internal/relay"
)

func TestWhoIsBehindTheAccount(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/settings").says("Who is behind it", "1 Main Street", "Springfield").shows("a[href=/settings/profile]", "Change who is behind it")
	r := w.get("/settings/profile").want(200)
	for _, in := range profileInputs {
		r.shows("label[for=profile-"+in.name+"]", in.label).find("#profile-" + in.name + "[autocomplete=" + in.auto + "]")
	}
	w.api.on("PATCH /v3/user/profile", nil)
	w.post("/settings/profile", "company", " Acme Ltd ", "phone", "", "role", "owner").goes("/settings")
	if body := w.asked("PATCH /v3/user/profile"); body != `{"company":"Acme Ltd","phone":""}` { // nothing that the page did not offer
		t.Errorf("asked for %s", body)
	}
	w.api.on("PATCH /v3/user/profile", &relay.Error{Kind: relay.Invalid, Field: "website", Public: "Longer than 255 octets, or not printable."})
	r = w.post("/settings/profile", "website", `"><script>`, "company", "Acme").want(422)
	r.shows("#profile-website-error", "Longer than 255 octets").shows("#profile input[autofocus]", "").lacks("main script")
	if v := attribute(r.find("#profile-website"), "value"); v != `"><script>` {
		t.Errorf("what was typed became %q", v)
	}

	w.api.on("GET /v3/user/profile", map[string]any{"first_name": ""})
	w.get("/settings").says("nobody has said")
	w.api.deny("PATCH /v3/user/profile")
	w.get("/settings").says("nobody has said").lacks("a[href=/settings/profile]")
	w.get("/settings/profile").want(404)
	w.post("/settings/profile", "company", "x").want(404)
	w.api.deny("GET /v3/user/profile")
	if r := w.get("/settings"); r.status != 200 || len(r.all("a[href=/settings/profile]")) != 0 {
		t.Error("who may not see who is behind it is shown it")
	}
}
