package console

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// denyChanges takes everything from the person that changes something, as from an auditor.
func (w *world) denyChanges() {
	for _, p := range w.console.pages {
		for _, need := range p.Needs {
			if !strings.HasPrefix(need, "GET ") {
				w.api.deny(need)
			}
		}
	}
}

const mendReport = `{"score":1,"full_score":2,"findings":[
	{"title":"a key","href":"/keys/k1","fix":"postern key revoke k1"},{"title":"a list","href":"/access"},{"title":"a domain","href":"/domains/7?x=1"},{"title":"a person","href":"/people/bert"},
	{"title":"a trail","href":"/changes"},{"title":"a page of none","href":"/export","fix":"postern export"},{"title":"a stranger","href":"//evil.example/keys/k1"},
	{"title":"a setting","href":"","fix":"postern config check"},{"title":"of the host","href":""},{"title":"of an older version","href":"/export"}]}`

// Who may change nothing is not told to mend it, but whom to ask.
func TestFindingsAreMendedByWhoMay(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/audit/report", json.RawMessage(mendReport))
	cells := func(r *reply) (out []string) {
		for _, c := range r.all("#findings td") {
			if attribute(c, "data-label") == "What to do" {
				out = append(out, strings.Join(strings.Fields(text(c)), " "))
			}
		}
		return out
	}
	same := func(got []string, want ...string) {
		t.Helper()
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q instead of %q", got, want)
		}
	}
	mend, host := "Mend it on its page", "Ask who runs the relay to mend it."
	r := w.get("/audit").want(200)
	same(cells(r), mend+"or on the host: postern key revoke k1", mend, mend, mend, "Changes", "on the host: postern export", "", "on the host: postern config check", host, host)
	r.shows("#findings a[href=/domains/7?x=1]", mend).shows("#findings a[href=/changes]", "Changes")

	w.api.deny("GET " + apiPerson)
	w.denyChanges()
	r = w.get("/audit").want(200)
	ask := "Ask an owner or admin to mend it."
	same(cells(r), "Key"+ask+"or on the host: postern key revoke k1", "IP access"+ask, "Domain"+ask, "Person"+ask, "Changes", "on the host: postern export", "", "on the host: postern config check", host, host)
	r.never(mend).shows("#findings a[href=/keys/k1]", "Key").lacks("#findings a[href=/people/bert]").lacks("#findings a[href=/export]")
}

// What is a subuser's is mended on the subuser's pages, and its keys are shown there.
func TestFindingsOfSubusers(t *testing.T) {
	t.Parallel()
	w := newPages(t, sampleAnswers())
	w.api.on("GET /v3/audit/report", json.RawMessage(`{"score":1,"full_score":2,"findings":[{"title":"a key","href":"/as/shop/keys/k1"},{"title":"the report","href":"/as/shop/audit"}],
		"senders":[{"api_key_id":"k1","name":"till","subuser":"shop"},{"api_key_id":"k2","name":"web"}],
		"clients":[{"api_key_id":"k1","key_name":"till"},{"api_key_id":"k2","key_name":"web"}]}`))
	w.get("/audit").want(200).shows("#findings a[href=/as/shop/keys/k1]", "Mend it on its page").lacks("#findings a[href=/as/shop/audit]").
		shows("#senders a[href=/as/shop/keys/k1]", "till").shows("#senders a[href=/keys/k2]", "web").
		shows("#clients a[href=/as/shop/keys/k1]", "till").shows("#clients a[href=/keys/k2]", "web")
}

func TestPageAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for href, want := range map[string]string{
		"/keys/k1": "/keys/{key}", "/keys/new": "/keys/new", "/keys": "/keys", "/people/a%2Fb": "/people/{person}", "/audit?x=/y": "/audit", "/keys/": "", "/nothing": "", "/keys/k1/nothing": "", "": "",
		"/as/shop/keys/k1": "/keys/{key}", "/as/a%2Fb/people/bert": "/people/{person}", "/as/shop/audit": "", "/as/shop": "", "/as": "", "/as/shop/as/shop/access": "",
	} {
		got := ""
		if pg := w.console.pageAt(href); pg != nil {
			got = pg.Pattern
		}
		if got != want {
			t.Errorf("%s leads to %q instead of %q", href, got, want)
		}
	}
}

// Every page that a finding names is one of the console's; all but the record of
// changes have forms that mend, so that the button leads its reader somewhere.
func TestPagesOfFindings(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../audit/testdata/pages.txt")
	if err != nil {
		t.Fatal(err)
	}
	v := newPages(t, sampleAnswers()).console
	for _, href := range strings.Fields(string(text)) {
		pg := v.pageAt(href)
		if pg == nil {
			t.Errorf("%s is no page", href)
			continue
		}
		if anybody, _ := (&desk{visit: &visit{Console: v}}).changesOn(pg); !anybody && href != "/changes" {
			t.Errorf("%s changes nothing", href)
		}
	}
}
