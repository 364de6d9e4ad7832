package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"postern/internal/relay"
)

const counted = `{"dry_run":true,"messages":30,"recipients":401,"left":[{"code":"operator_holds","why":"The operator of this relay holds this message.","messages":2}],"counted_at":"2026-03-04T12:00:00.5Z","more":false,
	"keys":[{"api_key_id":"k1","name":"shop","messages":20},{"api_key_id":"k2","name":"web","subuser":"outlet","messages":9},{"name":"","messages":1}],"from":[{"from_email":"shop@example.com","messages":30}]}`

func init() {
	samples["POST /v3/messages/release"], samples["POST /v3/messages/cancel"] = counted, counted
}

func heldLine(id string) string {
	return strings.NewReplacer(`"m1"`, `"`+id+`"`, `"deferred"`, `"held"`).Replace(oneLine)
}

// manyAsked is what a page asked the API for.
type manyAsked struct {
	Filter map[string]string `json:"filter"`
	After  string            `json:"after"`
	DryRun bool              `json:"dry_run"`
	At     string            `json:"counted_at"`
	Reason *string           `json:"reason"`
}

// parted answers as if the held mail were so many parts of 500.
func (w *world) parted(action string, parts int) (asked *[]manyAsked) {
	asked = &[]manyAsked{}
	w.api.on("POST /v3/messages/"+action, func(r Request) (any, error) {
		var in manyAsked
		if b, err := json.Marshal(r.Body); err != nil || json.Unmarshal(b, &in) != nil {
			return nil, errors.Join(errors.New("no body"), err)
		}
		*asked = append(*asked, in)
		n := 1
		if in.After != "" {
			if _, err := fmt.Sscanf(in.After, "part%d", &n); err != nil {
				return nil, err
			}
		}
		out := map[string]any{"messages": 500, "counted_at": "2026-03-04T12:00:00.5Z"}
		if n < parts {
			out["next"] = fmt.Sprintf("part%d", n+1)
		}
		return out, nil
	})
	return asked
}

// A search in which held mail is shown leads to what can be done to all of it, and to
// nothing that the person may not do.
func TestHeldMailIsOffered(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	list := func(next string, lines ...string) {
		w.api.on("GET /v3/messages", json.RawMessage(`{"messages":[`+strings.Join(lines, ",")+`],"next":"`+next+`"}`))
	}
	w.get("/mail").lacks("a[href=/held/release]")
	list("", oneLine, heldLine("m2"), heldLine("m2"), heldLine("m3"))
	w.get("/mail?key=shop&state=held&match=prefix").shows("a[href=/held/release?key=shop&match=prefix]", "Release all 2 held").shows("a[href=/held/cancel?key=shop&match=prefix]", "Cancel all 2 held")
	w.get("/mail?after=c1").shows("a[href=/held/release]", "Release all that is held")
	list("", heldLine("m2"))
	w.get("/mail").shows("a[href=/held/cancel]", "Cancel the one that is held")
	list("c2", heldLine("m2"))
	w.get("/mail").shows("a[href=/held/release]", "Release all that is held")
	w.api.denied = []string{"POST /v3/messages/release"}
	w.get("/mail").lacks("a[href=/held/release]").shows("a[href=/held/cancel]", "Cancel all that is held")
	w.get("/held/release").want(404)
	w.post("/held/release", "counted", "2026-03-04T12:00:00Z").want(404)
	w.get("/held/hold").want(404)
	if n := len(w.api.made("POST /v3/messages/release")); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// The question says how many, whose, and what is left alone; only its button does
// anything, up to the moment of the count.
func TestHeldMailIsConfirmed(t *testing.T) {
	t.Parallel()
	for _, a := range heldActions {
		w := newPages(t, sampleAnswers())
		call := "POST /v3/messages/" + a.name
		r := w.get("/held/"+a.name+"?key=shop&since=2026-03-01&state=delivered").want(200).says(a.text, "30 messages", "Their recipients401", "also", "that this search is not about", "2 messages", "The operator of this relay holds this message.", "shop@example.com", "no key")
		if told := strings.Contains(r.body, "Every sender reads it in the bounce."); told != (a.name == "cancel") {
			t.Errorf("%s: that its reason is mailed is told: %v", a.name, told)
		}
		r.shows("#keys a[href=/keys/k1]", "shop").shows("#do button", a.title+" 30 messages").shows("a[href=/mail?key=shop&since=2026-03-01&state=held]", "Back")
		if n := len(w.api.made(call)); n != 1 {
			t.Fatalf("%s was asked %d times", a.name, n)
		}
		if got := w.asked(call); got != `{"dry_run":true,"filter":{"key":"shop","since":"2026-03-01T00:00:00Z","state":"held"}}` {
			t.Errorf("counted %s", got)
		}
		for name, want := range map[string]string{"key": "shop", "since": "2026-03-01", "counted": "2026-03-04T12:00:00.5Z"} {
			if got := attribute(r.find("#do input[name="+name+"]"), "value"); got != want {
				t.Errorf("%s is %q", name, got)
			}
		}
		w.api.on(call, relay.E(relay.RateLimited, "Too many requests."))
		w.post("/held/"+a.name, "key", "shop", "counted", "2026-03-04T12:00:00.5Z").want(422).says("Too many requests.").shows("#do button", a.title+" it")
		w.api.on(call, json.RawMessage(strings.Replace(counted, `"dry_run":true`, `"dry_run":false`, 1)))
		r = w.post("/held/"+a.name, "key", "shop", "since", "2026-03-01", "until", "2026-03-02T08:00", "counted", "2026-03-04T12:00:00.5Z", "reason", "a false alarm")
		r.goes("/mail?key=shop&since=2026-03-01&until=2026-03-02T08%3A00")
		want := `{"counted_at":"2026-03-04T12:00:00.5Z","dry_run":false,"filter":{"key":"shop","since":"2026-03-01T00:00:00Z","state":"held","until":"2026-03-02T08:00:00Z"}}`
		if a.why {
			want = strings.Replace(want, `}}`, `},"reason":"a false alarm"}`, 1)
		}
		if got := w.asked(call); got != want {
			t.Errorf("asked for %s", got)
		}
		w.get("/mail").says("30 messages were " + a.done + ". 2 were left alone. The operator of this relay holds this message.")
	}
}

// More than one press of the button reaches is done press by press, and what still
// waits is said.
func TestHeldMailInParts(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	asked := w.parted("release", partsDone+1)
	r := w.get("/held/release").want(200).says("2 500 messages", "Not all of it is done at once.").shows("#do button", "Release the first 2 000")
	if len(*asked) != partsDone+1 || (*asked)[1].After != "part2" || (*asked)[0].At != "" || (*asked)[1].At != "2026-03-04T12:00:00.5Z" {
		t.Errorf("%+v", *asked)
	}
	*asked = nil
	until := attribute(r.find("#do input[name=counted]"), "value")
	w.post("/held/release", "counted", until).goes("/held/release?after=part5&counted=2026-03-04T12%3A00%3A00.5Z")
	if len(*asked) != partsDone || (*asked)[0].DryRun || (*asked)[0].At != "2026-03-04T12:00:00.5Z" {
		t.Errorf("%+v", *asked)
	}
	r = w.get("/held/release?after=part5&counted="+until).says("2 000 messages were released.", "The rest is counted below.", "500 messages").shows("#do button", "Release 500 messages")
	if got := attribute(r.find("#do input[name=after]"), "value"); got != "part5" {
		t.Errorf("it goes on at %q", got)
	}
	w.post("/held/release", "counted", until, "after", "part5").goes("/mail")

	*asked = nil
	asked = w.parted("cancel", 100)
	w.get("/held/cancel").says("5 000 messages", "and more behind them").shows("#do button", "Cancel the first 2 000")
	if len(*asked) != partsCounted {
		t.Errorf("counted in %d parts", len(*asked))
	}
}

// What was done before a refusal is told with it, and the way goes on from there.
func TestHeldMailThatIsRefusedInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	n := 0
	w.api.on("POST /v3/messages/release", func(Request) (any, error) {
		if n++; n > 1 {
			return nil, relay.E(relay.RateLimited, "Too many requests.")
		}
		return map[string]any{"messages": 1, "next": "part2"}, nil
	})
	w.post("/held/release", "counted", "2026-03-04T12:00:00Z").goes("/held/release?after=part2&counted=2026-03-04T12%3A00%3A00Z")
	w.get("/mail").says("1 message was released. Then it was refused: Too many requests.")
	w.get("/held/release?since=now").want(400).says("Write a day")
}

func TestHeldMailThatIsNone(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("POST /v3/messages/release", map[string]any{"messages": 0})
	w.get("/held/release").want(200).says("There is nothing to release in this search.").lacks("#do").shows("a[href=/mail?state=held]", "Back to the search")
	w.api.on("POST /v3/messages/release", map[string]any{"messages": 0, "counted_at": "2026-03-04T12:00:00Z", "next": "c9"})
	w.get("/held/release?key=k1").says("None of this can be released.").lacks("#do").shows("a[href=/held/release?after=c9&counted=2026-03-04T12%3A00%3A00Z&key=k1]", "Look further")
}

// Who sent by very many keys is not listed whole.
func TestHeldMailOfManyKeys(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	var from []map[string]any
	for i := range mostOwners + 3 {
		from = append(from, map[string]any{"from_email": fmt.Sprintf("a%02d@example.com", i), "messages": 2})
	}
	w.api.on("POST /v3/messages/release", map[string]any{"messages": 2 * len(from), "from": from})
	r := w.get("/held/release").says("a00@example.com", "others")
	if rows := r.all("#senders tbody tr"); len(rows) != mostOwners+1 || !strings.Contains(text(rows[mostOwners]), "6") {
		t.Errorf("%d rows", len(rows))
	}
}

// What is held of a key is a step from where it is told that it is held.
func TestHeldMailOfAKey(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	const link = "a[href=/mail?key=k1&state=held]"
	w.get("/keys/k1").lacks(link)
	var k map[string]any
	if err := json.Unmarshal([]byte(samples["GET /v3/api_keys/k1"]), &k); err != nil {
		t.Fatal(err)
	}
	k["mode"] = "hold"
	w.api.on("GET /v3/api_keys/k1", k)
	w.get("/keys/k1").shows(link, "Its held mail")
	var f map[string]any
	if err := json.Unmarshal([]byte(samples["GET /v3/watch/findings/f1"]), &f); err != nil {
		t.Fatal(err)
	}
	f["api_key_id"] = "k1"
	for answer, shown := range map[string]bool{"record": false, "tell": false, "slow": false, "hold": true, "stop": true} {
		f["answer"] = answer
		w.api.on("GET /v3/watch/findings/f1", f)
		if got := len(w.get("/watch/f1").all(link)) > 0; got != shown {
			t.Errorf("%s: %v", answer, got)
		}
	}
}
