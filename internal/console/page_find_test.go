package console

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// many are n things in JSON, as item writes the one of a number.
func many(n int, item string) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(item, i+1)
	}
	return strings.Join(out, ",")
}

// Long lists are searched: what was typed goes to the API and stays in the form, what was
// chosen besides stays chosen, and where nothing is found a link leads back. A short list
// has no such form.
func TestLongListsAreSearched(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, api, param  string
		one, list         string
		more, asks, back  string // what else is chosen, what the API is asked for it, and the way back
		says, all, others string
	}{
		{"/keys", "/v3/api_keys", "name", `{"api_key_id":"k%d","name":"shop"}`, `{"result":[%s]}`, "revoked=1&subusers=1", "revoked=true", "/keys?subusers=1&revoked=1",
			"No key has this in its name.", "Show all keys", "input[type=hidden][name=revoked][value=1]"},
		{"/subusers", "/v3/subusers", "name", `{"username":"shop%d"}`, `[%s]`, "", "", "/subusers", "No subuser has this in its name or address.", "Show all subusers", "input[name=name]"},
		{"/domains", "/v3/whitelabel/domains", "domain", `{"id":%d,"domain":"shop.example"}`, `[%s]`, "", "", "/domains", "No domain has this in its name.", "Show all domains", "input[name=domain]"},
	} {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			listed := func(n int) string { return fmt.Sprintf(c.list, many(n, c.one)) }
			input := "input[name=" + c.param + "]"
			w := newPages(t, map[string]any{"GET " + c.api: listed(9)})
			w.get(c.path + "?" + c.more).want(200).lacks("#search")
			w = newPages(t, map[string]any{"GET " + c.api: listed(10)})
			w.get(c.path+"?"+c.more).want(200).shows("#search", "Search").shows("#search "+c.others, "")
			w = newPages(t, map[string]any{"GET " + c.api: listed(0)})
			w.get(c.path).want(200).lacks("#search").never(c.says)
			r := w.get(c.path+"?"+c.param+"=%3Cb%3Ea+b&"+c.more).want(200).says(c.says).shows("a[href="+c.back+"]", c.all)
			if got := attribute(r.find("#search "+input), "value"); got != "<b>a b" {
				t.Errorf("the form has %q", got)
			}
			calls := w.api.made("GET " + c.api)
			asked := calls[len(calls)-1].Path
			if !strings.Contains(asked, c.param+"="+url.QueryEscape("<b>a b")) || !strings.Contains(asked, c.asks) {
				t.Errorf("asked for %s", asked)
			}
			w = newPages(t, map[string]any{"GET " + c.api: listed(200)})
			w.get(c.path+"?"+c.param+"=shop").shows("a[href="+c.path+"?"+c.param+"=shop&offset=200]", "Next page")
			w.get(c.path+"?offset=400").shows("#search", "Search")
			w = newPages(t, map[string]any{"GET " + c.api: listed(0)})
			w.get(c.path+"?offset=200").says("The list ends before here.").shows("a[href="+c.path+"]", c.all).never("There is no")
		})
	}
}

// Single senders go on behind the last one of a page.
func TestSingleSendersPageOn(t *testing.T) {
	t.Parallel()
	const one = `{"id":%d,"nickname":"n"}`
	w := newPages(t, map[string]any{"GET /v3/verified_senders": `{"results":[` + many(199, one) + `]}`})
	w.get("/single-senders").want(200).lacks(".pager")
	w = newPages(t, map[string]any{"GET /v3/verified_senders": `{"results":[` + many(200, one) + `]}`})
	w.get("/single-senders").want(200).shows("a[href=/single-senders?after=200]", "Next page")
	w.get("/single-senders?after=200").want(200)
	calls := w.api.made("GET /v3/verified_senders")
	if got := calls[len(calls)-1].Path; got != "/v3/verified_senders?limit=200&lastSeenID=200" {
		t.Errorf("asked for %s", got)
	}
}
