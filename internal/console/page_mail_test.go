package console

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"postern/internal/relay"
)

const oneLine = `{"msg_id":"m1","from_email":"shop@example.com","to_email":"joe@example.org","subject":"Your order","state":"deferred","status":"processed","api_key_id":"k1",
	"accepted_at":"2026-03-04T11:00:00Z","last_event_time":"2026-03-04T11:30:00Z","last_reply":"451 4.7.1 try later","attempts":2,"next_attempt_at":"2026-03-04T12:30:00Z"}`

func init() {
	for what, s := range map[string]string{
		"GET /v3/messages": `{"messages":[` + oneLine + `],"next":"c2"}`,
		"GET /v3/messages/m1": `{"msg_id":"m1","from_email":"shop@example.com","subject":"Your order","message_id":"<1@example.com>","state":"queued","size":2048,
			"accepted_at":"2026-03-04T11:00:00Z","expires_at":"2026-03-06T11:00:00Z","categories":["orders"],"unique_args":{"order":"17"},
			"source":{"addr":"192.0.2.7","helo":"shop.example.com","tls":"TLSv1.3","mechanism":"PLAIN","protocol":"ESMTPSA"},"key":{"id":"k1","name":"shop"},
			"recipients":[{"n":0,"address":"joe@example.org","state":"deferred","attempts":2,"next_attempt_at":"2026-03-04T12:30:00Z","last_reply":"451 4.7.1 try later","last_host":"mx.example.org"},
				{"n":1,"address":"ann@example.org","state":"delivered","attempts":1}],
			"events":[{"at":"2026-03-04T11:30:00Z","event":"deferred","recipient":"joe@example.org","data":{"attempt":2,"code":451,"reply":"451 4.7.1 try later","host":"mx.example.org","ip":"198.51.100.1","local_ip":"192.0.2.1","tls":"TLSv1.3","next_attempt_at":"2026-03-04T12:30:00Z"}},
				{"at":"2026-03-04T11:00:00Z","event":"received","data":{"reason":""}},
				{"at":"2026-03-04T11:31:00Z","event":"delivered","recipient":"ann@example.org","data":{"reply":"250 ok","host":"mx.example.org","ambiguous":true}}],
			"why":{"text":["The host asked for patience."],"recipients":[{"text":"joe is tried again in half an hour."}]},"queued":true,"body_stored":true,"body_preview":true}`,
		"GET /v3/messages/m1/body": `{"html":"<p>Hello</p>","text":"Hello","headers":[["Subject","Your order"]],"attachments":[{"name":"bill.pdf","type":"application/pdf","size":4096}]}`,
		"GET /v3/queue":            `{"lanes":[` + oneLane + `],"held":2,"quarantined":1,"waiting":7,"oldest_at":"2026-03-04T10:00:00Z"}`, "GET /v3/queue/example.org": oneLane,
		"GET /v3/pools": `{"result":[{"name":"main","waiting":7,"addresses":[{"address":"192.0.2.1","helo":"mail.example.com","state":"in use"},{"address":"192.0.2.2","helo":"mail2.example.com","disabled":true}],
			"backing_off":[{"site":"example.org","until":"2026-03-04T12:30:00Z","reason":"451 try later"}]}]}`,
		"GET /v3/overview": `{"series":[{"at":"2026-03-04T10:00:00Z","received":10,"delivered":8,"deferred":1,"bounced":1},{"at":"2026-03-04T11:00:00Z","received":1200,"delivered":1200,"refused":3}],
			"logins":[{"at":"2026-03-04T11:00:00Z","ok":20,"refused":4}],"queue":{"waiting":7,"held":2,"oldest_at":"2026-03-04T10:00:00Z"},
			"attention":[{"severity":"info","code":"x","text":"A key ends in a week.","fix":"Rotate it.","href":"/keys/k1"},
				{"severity":"critical","code":"y","text":"A decoy was tried.","fix":"Look where it lay.","href":"/watch"},{"severity":"warning","code":"z","text":"Elsewhere","fix":"Go","href":"//evil.example/"}]}`,
	} {
		samples[what] = s
	}
}

const oneLane = `{"pool":"main","site":"example.org","waiting":7,"due":2,"leased":1,"oldest_at":"2026-03-04T10:00:00Z","next_at":"2026-03-04T12:30:00Z","limit":4,"why":"451 try later"}`

func TestMailSearch(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/mail?to=joe&match=prefix&since=2026-03-01").want(200).says("Your order", "put off", "next try in 30 minutes", "451 4.7.1 try later")
	r.shows("a[href=/mail/m1]", "Your order").shows("a[rel=next]", "Next page")
	if calls := w.api.made("GET /v3/messages"); calls[0].Path != "/v3/messages?limit=50&match=prefix&since=2026-03-01T00%3A00%3A00Z&to=joe" {
		t.Errorf("asked for %s", calls[0].Path)
	}
	if href := attribute(r.find("a[rel=next]"), "href"); !strings.Contains(href, "after=c2") || !strings.Contains(href, "to=joe") {
		t.Errorf("the next page is %s", href)
	}
	w.get("/mail?to_domain=x.test&domain=y.test").shows("input[name=to_domain]", "").shows("input[name=domain]", "").says("Domain of the recipient or the sender")
	if path := w.api.made("GET /v3/messages")[1].Path; path != "/v3/messages?domain=y.test&limit=50&to_domain=x.test" {
		t.Errorf("asked for %s", path)
	}
	w.get("/mail?since=now").want(200).shows(".wrong", "Write a day").never("Nothing fits")
	w.get("/mail?state=quarantined")
	if path := w.api.made("GET /v3/messages")[2].Path; path != "/v3/messages?limit=50&state=held" {
		t.Errorf("asked for %s", path)
	}
	w.api.on("GET /v3/messages", map[string]any{"next": "c9"})
	w.get("/mail?to=x").says("There is more to look through.").shows("a[href=/mail?after=c9&to=x]", "Look further")
	if n := len(w.api.made("GET /v3/messages")); n != 3+mostLooks {
		t.Errorf("%d looks", n)
	}
	w.api.on("GET /v3/messages", map[string]any{})
	w.get("/mail").says("No mail has been handed in yet.")
	w.get("/mail?to=x").says("Nothing fits.")
}

func TestMessageJourney(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/mail/m1").want(200)
	steps := r.all("ol.journey li")
	if len(steps) != 3 || !strings.HasPrefix(text(steps[0]), "Accepted") || attribute(steps[1], "class") != "warn" || attribute(steps[2], "class") != "ok" {
		t.Errorf("%d steps", len(steps))
	}
	r.says("Put off: joe@example.org", "At mx.example.org 198.51.100.1 from 192.0.2.1, TLSv1.3", "451 4.7.1 try later", "Next try at 2026-03-04 12:30 UTC (in 30 minutes)",
		"The host asked for patience.", "joe is tried again", "shop.example.com", "ESMTPSA PLAIN", "order: 17", "the other side may have it already")
	r.shows("a[href=/keys/k1]", "shop").shows("a[href=/mail/m1/do/retry]", "Try now").shows("[data-live]", "Its way").lacks("a[href=/mail/m1/do/release]")
	w.api.denied = []string{"POST /v3/messages/{msg_id}/cancel", "GET /v3/messages/{msg_id}/body"}
	r = w.get("/mail/m1")
	r.lacks("a[href=/mail/m1/do/cancel]").lacks("a[href=/mail/m1/body]")
	w.get("/mail/m1/do/cancel").want(404)
	w.post("/mail/m1/do/cancel").want(404)
	w.get("/mail/m1/body").want(404)
}

// A journey of which the API has left out the middle says so.
func TestJourneyWithoutItsMiddle(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	const said = "what happened between them is left out"
	if strings.Contains(w.get("/mail/m1").want(200).body, said) {
		t.Error("it is said of a journey that is whole")
	}
	w.api.on("GET /v3/messages/m1", json.RawMessage(strings.Replace(samples["GET /v3/messages/m1"], `"queued":true`, `"queued":true,"events_left_out":true`, 1)))
	w.get("/mail/m1").want(200).says(said)
}

func TestMailActionsAreConfirmed(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	for _, a := range mailActions {
		call := "POST /v3/messages/m1/" + a.name
		r := w.get("/mail/m1/do/"+a.name).want(200).says(a.text, a.why)
		if told := strings.Contains(r.body, "The sender reads it in the bounce."); told != (a.name == "cancel") {
			t.Errorf("%s: that its reason is mailed is told: %v", a.name, told)
		}
		if len(w.api.made(call)) != 0 {
			t.Fatalf("asking did %s", a.name)
		}
		w.api.on(call, relay.E(relay.Conflict, "It has gone."))
		w.post("/mail/m1/do/" + a.name).want(422).says("It has gone.")
		w.api.on(call, nil)
		w.post("/mail/m1/do/"+a.name, "reason", "on the phone").goes("/mail/m1")
		want := `{}` // the API records reasons of these two only, and so only they ask for one
		if a.name == "hold" || a.name == "cancel" {
			want = `{"reason":"on the phone"}`
		}
		if body := w.asked(call); body != want {
			t.Errorf("asked for %s", body)
		}
	}
	w.get("/mail/m1/do/erase").want(404)
}

// WB-02: a stranger's HTML is a document of its own origin that can load nothing.
func TestBodyIsShownInASandbox(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/mail/m1/body").want(200).says("Hello", "bill.pdf", "4.0 KiB", "It is recorded that you looked.").lacks("iframe")
	if n := len(w.api.made("GET /v3/messages/m1/body")); n != 1 {
		t.Errorf("one look asks for the body %d times", n)
	}
	r := w.get("/mail/m1/body?html=1").want(200)
	frame := r.find("iframe")
	if attribute(frame, "sandbox") != "" || !hasAttribute(frame, "sandbox") || attribute(frame, "src") != "/mail/m1/body.html" {
		t.Errorf("frame: %v", frame)
	}
	if !strings.Contains(r.header.Get("Content-Security-Policy"), "frame-src 'self'") {
		t.Error("the page may not show its frame")
	}
	if n := len(w.api.made("GET /v3/messages/m1/body")); n != 1 {
		t.Error("the page of the frame asks for the body, too")
	}
	rec := w.do(request("GET", "/mail/m1/body.html", nil))
	policy := rec.Header().Get("Content-Security-Policy")
	for _, want := range []string{"sandbox;", "default-src 'none'", "form-action 'none'", "frame-ancestors 'self'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	for _, no := range []string{"allow-", "unsafe", "script-src", "style-src", "http"} {
		if strings.Contains(policy, no) {
			t.Errorf("the policy %q has %s", policy, no)
		}
	}
	if rec.Body.String() != "<p>Hello</p>" || rec.Header().Get("X-Frame-Options") != "SAMEORIGIN" {
		t.Errorf("%v %s", rec.Header(), rec.Body)
	}
}

func TestQueueAndPools(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.get("/queue").want(200).says("example.org", "7", "2 due now", "451 try later", "pool main", "In quarantine").shows("a[href=/mail?state=held]", "2")
	q := w.get("/queue/example.org").want(200)
	if path := w.api.made("GET /v3/messages")[0].Path; path != "/v3/messages?limit=50&state=deferred&to_domain=example.org" { // not what it sends itself
		t.Errorf("asked for %s", path)
	}
	q.says("Queue to", "451 try later").shows("#mail", "Your order").shows("h1", "Queue to example.org")
	w.get("/pools").want(200).says("main", "192.0.2.1", "switched off", "451 try later")
	w.api.on("GET /v3/queue", map[string]any{})
	w.api.on("GET /v3/pools", map[string]any{})
	w.get("/queue").says("Nothing waits.")
	w.get("/pools").says("There is no pool")
}

func TestOverview(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	r := w.get("/").want(200).shows("#mail tbody", "1200").shows("#logins", "Let in")
	r.shows(".figure", "1 210").shows("a[href=/watch]", "Look where it lay.").shows("a[href=/keys/k1]", "Rotate it.").says("Elsewhere", "Go")
	rows := r.all("#attention tbody tr")
	if len(rows) != 3 || !strings.Contains(text(rows[0]), "decoy") || !strings.Contains(text(rows[2]), "ends in a week") {
		t.Error("what matters most is not first")
	}
	calls := w.api.made("GET /v3/overview")
	if calls[0].Path != "/v3/overview?by=hour&since=2026-03-03T12%3A00%3A00Z&until=2026-03-04T12%3A00%3A00Z" {
		t.Errorf("asked for %s", calls[0].Path)
	}
	w.get("/?span=month").want(200).says("about two minutes after they happened", "in the list of logins")
	w.api.denied = []string{"GET /v3/logins"} // who has no such list is not told of it
	w.get("/").says("about two minutes after they happened").never("list of logins")
	w.api.denied = nil
	w.api.on("GET /v3/overview", map[string]any{})
	w.get("/").want(200).says("Nothing needs your attention.")
	w.api.denied = []string{"GET /v3/overview"}
	w.get("/").want(200).says("Choose a page.")
}

func TestPlainWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		json string
		want []string
	}{
		{`"a"`, []string{"a"}}, {`""`, nil}, {`["a","b"]`, []string{"a", "b"}}, {`{"text":["a"],"recipients":[{"text":"b"}]}`, []string{"a", "b"}},
		{`{"text":"a"}`, []string{"a"}}, {`null`, nil}, {`7`, nil},
	} {
		var w plainWords
		if err := json.Unmarshal([]byte(test.json), &w); err != nil || !slices.Equal(w, test.want) {
			t.Errorf("%s: %q %v", test.json, w, err)
		}
	}
}
