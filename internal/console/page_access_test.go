package console

import (
	"strings"
	"testing"

	"postern/internal/relay"
)

func init() {
	for what, s := range map[string]string{
		"GET /v3/access_settings/whitelist": `{"result":[{"id":3,"ip":"127.0.0.0/8","note":"the office","created_at":1772600000},{"id":4,"ip":"","host":"vpn.example.com","created_at":1772600000}]}`,
		"GET /v3/access_settings/mode":      `{"monitor":false,"trial_until":"2026-03-04T12:10:00Z"}`,
		"GET /v3/access_settings/activity": `{"result":[{"allowed":true,"auth_method":"SMTP PLAIN","first_at":1772500000,"ip":"127.0.0.1","last_at":1772600000,"location":"","count":9},
			{"allowed":true,"auth_method":"API","first_at":1772500000,"ip":"198.51.100.7","last_at":1772600000,"count":2},{"allowed":false,"auth_method":"API","first_at":1772500000,"ip":"203.0.113.7","last_at":1772600000,"count":2}]}`,
		"GET /v3/access_settings/bans": `{"result":[{"scope":"key","subject":"k1","failures":9,"since":"2026-03-04T11:00:00Z","until":"2026-03-04T13:00:00Z"}]}`,
	} {
		samples[what] = s
	}
}

func TestAccessMarksTheCaller(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/access").want(200)
	r.shows("#rules tr.mark", "you are here").shows("#rules tr.mark", "127.0.0.0/8").shows("#activity tr.mark", "127.0.0.1")
	r.says("You come from 127.0.0.1, which the list lets in.", "A change is on trial.", "in 10 minutes", "Keep it", "Undo it now", "Only watch for now", "vpn.example.com").
		shows("#bans", "key k1")
	w.api.on("GET /v3/access_settings/whitelist", map[string]any{})
	w.get("/access").says("Everybody may try to log in.", "The list is empty")
}

func TestAccessChangeIsShownBeforeItIsMade(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/access/preview?ips=198.51.100.0/24&note=shop").want(200)
	r.shows("#effect tr.mark", "let in").shows("#effect", "198.51.100.7").lacks("#mine")
	r.never("203.0.113.7") // it is shut out already
	if len(w.api.made("POST /v3/access_settings/whitelist")) != 0 {
		t.Fatal("a preview changed the list")
	}

	// Who has only just come in does not stand in the record yet, and is shown all the same.
	w.api.on("GET /v3/access_settings/activity", map[string]any{})
	w.get("/access/preview?ips=198.51.100.0/24").want(200).shows("#effect tr.mark", "127.0.0.1").shows("#effect tr.mark", "this session").shows("#effect tr.mark", "let in")

	// An empty list becomes one without the caller.
	w.api.on("GET /v3/access_settings/whitelist", map[string]any{})
	r = w.get("/access/preview?ips=198.51.100.0/24%0avpn.example.com").want(200)
	r.says("You would shut yourself out.", "shut out, unless a host name has it").shows("#mine button", "Add my own address 127.0.0.1, too")
	if got := attribute(r.find("#mine input[name=ips]"), "value"); !strings.HasSuffix(got, "\n127.0.0.1") {
		t.Errorf("adds %q", got)
	}

	// The API refuses what would lock the caller out, and the page says the way out.
	w.api.on("POST /v3/access_settings/whitelist", &relay.Error{Kind: relay.Conflict, Field: "confirm", Public: "After this change your own address, 127.0.0.1, would be shut out."})
	w.post("/access/add", "ips", "198.51.100.0/24").want(409).shows(".wrong", "your own address, 127.0.0.1, would be shut out").
		shows("#mine button", "Add my own address").shows("label", "I mean it, even if it shuts me out")

	// An entry that is none can be mended there: the list is not typed again.
	w.api.on("POST /v3/access_settings/whitelist", &relay.Error{Kind: relay.Invalid, Field: "ips.1.ip", Public: "That is no network."})
	w.post("/access/add", "ips", "198.51.100.0/24\n10.0.0.0/33").want(409).shows("#change-ips-error", "That is no network.").shows("textarea[name=ips]", "198.51.100.0/24 10.0.0.0/33")

	w.api.on("POST /v3/access_settings/whitelist", nil)
	w.post("/access/add", "ips", "198.51.100.0/24", "note", "shop", "trial_seconds", "600", "confirm", "on").goes("/access")
	if body := w.asked("POST /v3/access_settings/whitelist"); body != `{"ips":[{"ip":"198.51.100.0/24","note":"shop"}],"confirm":true,"trial_seconds":600}` {
		t.Errorf("asked for %s", body)
	}
}

func TestAccessRemoval(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/access/3/remove").want(200).says("Remove 127.0.0.0/8", "You would shut yourself out.")
	w.get("/access/9/remove").want(404)
	w.api.on("DELETE /v3/access_settings/whitelist/3", relay.E(relay.Conflict, "You would be shut out."))
	w.post("/access/3/remove").want(409).says("You would be shut out.")
	w.api.on("DELETE /v3/access_settings/whitelist/3", nil)
	w.post("/access/3/remove", "confirm", "on", "trial_seconds", "600").goes("/access")
	calls := w.api.made("DELETE /v3/access_settings/whitelist/3")
	if path := calls[len(calls)-1].Path; path != "/v3/access_settings/whitelist/3?trial_seconds=600&confirm=true" {
		t.Errorf("asked for %s", path)
	}
}

func TestAccessModeAndTrial(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	for _, call := range []string{"PATCH /v3/access_settings/mode", "POST /v3/access_settings/confirm", "POST /v3/access_settings/revert", "DELETE /v3/access_settings/bans/key/k1"} {
		w.api.on(call, nil)
	}
	w.post("/access/mode", "monitor", "on").goes("/access")
	if body := w.asked("PATCH /v3/access_settings/mode"); body != `{"monitor":true}` {
		t.Errorf("asked for %s", body)
	}
	w.post("/access/keep").goes("/access")
	w.post("/access/revert").goes("/access")
	w.post("/access/lift", "scope", "key", "subject", "k1").goes("/access")
	if len(w.api.made("DELETE /v3/access_settings/bans/key/k1")) != 1 {
		t.Error("the ban was not lifted")
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		entry, addr string
		want        bool
	}{
		{"192.0.2.0/24", "192.0.2.7", true}, {"192.0.2.0/24", "192.0.3.7", false}, {"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.*", "192.0.2.7", true}, {"192.0.*.*", "192.0.9.7", true}, {"192.0.*.*", "192.1.9.7", false}, {"192.0.*.*", "::1", false},
		{"vpn.example.com", "192.0.2.7", false}, {"2001:db8::/32", "2001:db8::1", true}, {"*", "192.0.2.7", true}, {"192.0.2.0/24", "", false},
	} {
		if got := holds(test.entry, test.addr); got != test.want {
			t.Errorf("%s has %s: %v", test.entry, test.addr, got)
		}
	}
}
