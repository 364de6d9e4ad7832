package v3

import (
	"bufio"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
	"postern/internal/watch"
	"postern/internal/webhook"
)

// The services themselves are what the routes need.
var (
	_ WatchStore    = (*store.Store)(nil)
	_ WatchReplayer = (*watch.Replayer)(nil)
)

// fakeWatch keeps findings and settings as the store does.
type fakeWatch struct {
	w        *world
	findings []relay.WatchFinding
	settings map[relay.AccountID]relay.WatchSettings
	replayed []watch.ReplayConfig
	other    func()
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeWatch{w: w, settings: map[relay.AccountID]relay.WatchSettings{}}
		w.extra["watch"] = f
		s.Watch, s.Replays = f, f
	})
	one := func(path, body string) func(w *world, of relay.Tenant) ask {
		return func(w *world, of relay.Tenant) ask {
			return ask{Path: "/v3/watch/findings/" + watchOf(w).add(of, t0, relay.WatchBurst).ID.String() + path, Body: body}
		}
	}
	addFixtures(map[string]fixture{
		"GET /v3/watch/findings":           {Status: 200, Make: func(w *world, of relay.Tenant) ask { one("", "")(w, of); return ask{Path: "/v3/watch/findings"} }},
		"GET " + pathFinding:               {Status: 200, Make: one("", ""), Absent: ask{Path: "/v3/watch/findings/" + absentID}},
		"POST " + pathFinding + "/dismiss": {Status: 200, Make: one("/dismiss", `{"teach":true}`), Absent: ask{Path: "/v3/watch/findings/" + absentID + "/dismiss", Body: `{"teach":true}`}},
		"POST " + pathFinding + "/confirm": {Status: 200, Make: one("/confirm", ""), Absent: ask{Path: "/v3/watch/findings/" + absentID + "/confirm"}},
		"GET /v3/watch/settings":           plain(200, "/v3/watch/settings", ""),
		"PATCH /v3/watch/settings":         plain(200, "/v3/watch/settings", `{"rules":{"burst":{"answer":"hold"}}}`),
		"POST /v3/watch/replay":            plain(200, "/v3/watch/replay", `{"rules":{"burst":{"margin":2}}}`),
	})
}

func watchOf(w *world) *fakeWatch { return w.extra["watch"].(*fakeWatch) }

func (f *fakeWatch) add(of relay.Tenant, at time.Time, rule relay.WatchRule) relay.WatchFinding {
	v := relay.WatchFinding{ID: relay.WatchID{ID: relay.NewID(at)}, Rule: rule, Tenant: of, Severity: relay.WatchWarning, State: relay.WatchOpen, Title: "title", Text: "text", Fix: "fix",
		FirstAt: at, LastAt: at, Count: 1, Answer: relay.WatchTell}
	f.findings = append(f.findings, v)
	return v
}

func (f *fakeWatch) WatchFindings(_ context.Context, q store.WatchFilter) (out []relay.WatchFinding, err error) {
	for _, v := range slices.Backward(f.findings) {
		if (q.Account.IsZero() || v.Account == q.Account) && (!q.Own && q.Subuser.IsZero() || v.Subuser == q.Subuser) && (q.Rule == "" || v.Rule == q.Rule) &&
			(len(q.States) == 0 || slices.Contains(q.States, v.State)) && (q.Before.IsZero() || v.ID.String() < q.Before.String()) && !v.LastAt.Before(q.Since) && len(out) < q.Limit {
			out = append(out, v)
		}
	}
	return out, f.w.fail
}

func (f *fakeWatch) find(id relay.WatchID) (*relay.WatchFinding, error) {
	for i := range f.findings {
		if f.findings[i].ID == id {
			return &f.findings[i], f.w.fail
		}
	}
	return nil, relay.E(relay.NotFound, "There is no such finding.")
}

func (f *fakeWatch) WatchFinding(_ context.Context, id relay.WatchID) (relay.WatchFinding, error) {
	v, err := f.find(id)
	if err != nil {
		return relay.WatchFinding{}, err
	}
	return *v, nil
}

func (f *fakeWatch) DecideWatch(_ context.Context, by store.By, id relay.WatchID, state relay.WatchState, teach bool) (relay.WatchFinding, error) {
	v, err := f.find(id)
	if err != nil {
		return relay.WatchFinding{}, err
	}
	if v.State != relay.WatchOpen {
		return *v, relay.E(relay.Conflict, "This finding is decided already.")
	}
	v.State, v.DecidedBy, v.Teach, v.DecidedAt = state, by.Who, teach, f.w.clock()
	f.w.changes = append(f.w.changes, "decide "+id.String())
	return *v, nil
}

func (f *fakeWatch) WatchSettings(_ context.Context, account relay.AccountID) (relay.WatchSettings, error) {
	return f.settings[account], f.w.fail
}

func (f *fakeWatch) SwapWatchSettings(_ context.Context, _ store.By, account relay.AccountID, was, s relay.WatchSettings) error {
	if other := f.other; other != nil { // once, in the moment before
		f.other = nil
		other()
	}
	if !reflect.DeepEqual(f.settings[account], was) {
		return meanwhile()
	}
	f.settings[account] = s
	f.w.changes = append(f.w.changes, "watch settings")
	return f.w.fail
}

func (f *fakeWatch) Replay(_ context.Context, cfg watch.ReplayConfig) (watch.Progress, error) {
	f.replayed = append(f.replayed, cfg)
	for _, v := range f.findings {
		if cfg.Tenant == nil || cfg.Tenant(v.Tenant) {
			if err := cfg.Finding(v); err != nil {
				return watch.Progress{}, err
			}
		}
	}
	cfg.Progress(watch.Progress{Events: 1})
	return watch.Progress{Events: 2, Findings: len(f.findings)}, f.w.fail
}

func TestFindings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := watchOf(w)
	first, second := f.add(w.acme, t0.Add(-time.Hour), relay.WatchNetwork), f.add(w.staging, t0, relay.WatchBurst)
	sweep := f.add(relay.Tenant{}, t0.Add(time.Second), relay.WatchSweep)
	f.add(w.globex, t0.Add(2*time.Second), relay.WatchBurst)
	ids := func(c *client, query string) (out []relay.WatchID) {
		t.Helper()
		var list findingList
		c.want("GET", "/v3/watch/findings"+query, "", 200, &list)
		for _, v := range list.Result {
			out = append(out, v.ID)
		}
		return out
	}
	reader, wide := w.as(w.acme, scopeWatch), w.as(w.acme, scopeWatch, scopeBehalf)
	for _, c := range []struct {
		name  string
		who   *client
		query string
		want  []relay.WatchID
	}{
		{"own", reader, "", []relay.WatchID{first.ID}},
		{"with subusers", wide, "", []relay.WatchID{second.ID, first.ID}},
		{"a subuser", w.as(w.staging, scopeWatch), "", []relay.WatchID{second.ID}},
		{"rule", wide, "?rule=burst", []relay.WatchID{second.ID}},
		{"since", wide, "?since=2026-03-01T08:30:00Z", []relay.WatchID{second.ID}},
		{"page", wide, "?limit=1&after=" + second.ID.String(), []relay.WatchID{first.ID}},
		{"decided", wide, "?state=decided", nil},
	} {
		if got := ids(c.who, c.query); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := ids(w.operator(""), ""); len(got) != 4 || !slices.Contains(got, sweep.ID) {
		t.Errorf("the operator sees %v", got)
	}
	var everybodys findingList
	w.operator("").want("GET", "/v3/watch/findings", "", 200, &everybodys)
	var whose []string
	for _, v := range everybodys.Result {
		whose = append(whose, v.Name+"/"+v.Username)
	}
	if !slices.Equal(whose, []string{"globex/", "/", "acme/staging", "acme/"}) {
		t.Errorf("the operator is told that they are of %q", whose)
	}
	for query, field := range map[string]string{"?rule=x": "rule", "?state=x": "state", "?severity=x": "severity", "?key=x": "key", "?after=x": "after", "?since=x": "since", "?limit=0": "limit"} {
		if a := reader.do("GET", "/v3/watch/findings"+query, ""); a.Status != 400 || !strings.Contains(a.Body, field) {
			t.Errorf("%s: %d %s", query, a.Status, a.Body)
		}
	}
	// To the account it is said whose a subuser's is; nobody else needs that.
	for _, c := range []struct {
		who  *client
		id   relay.WatchID
		want string
	}{{wide, second.ID, "staging"}, {wide, first.ID, ""}, {w.as(w.staging, scopeWatch), second.ID, ""}} {
		var got findingView
		c.who.want("GET", "/v3/watch/findings/"+c.id.String(), "", 200, &got)
		if got.Name != "" || got.Username != c.want || got.ID != c.id {
			t.Errorf("%s is %q's, want %q's", got.ID, got.Username, c.want)
		}
	}
	editor := w.as(w.acme, scopeWatchChange)
	var got relay.WatchFinding
	editor.want("POST", "/v3/watch/findings/"+first.ID.String()+"/dismiss", `{"teach":true}`, 200, &got)
	if got.State != relay.WatchDismissed || !got.Teach {
		t.Errorf("dismissed: %+v", got)
	}
	if a := editor.do("POST", "/v3/watch/findings/"+first.ID.String()+"/confirm", ""); a.Status != 409 {
		t.Errorf("decided twice: %d %s", a.Status, a.Body)
	}
	// What is of no account is the operator's.
	if a := wide.do("GET", "/v3/watch/findings/"+sweep.ID.String(), ""); a.Status != 404 {
		t.Errorf("a sweep: %d", a.Status)
	}
}

func TestWatchSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := watchOf(w)
	c := w.as(w.acme, scopeWatch, scopeWatchChange)
	var v watchSettingsView
	c.want("GET", "/v3/watch/settings", "", 200, &v)
	if len(v.Rules) != len(relay.WatchRules) || v.Rules[0].What == "" || v.Rules[0].Answer != relay.WatchTell || v.WebhookSecret != "" {
		t.Errorf("%+v", v)
	}
	for i := range v.Rules { // nothing stops mail that nobody asked to be stopped
		if a := v.Rules[i].Answer; a != relay.WatchTell && a != relay.WatchRecord {
			t.Errorf("%s: %s", v.Rules[i].Rule, a)
		}
	}
	c.want("PATCH", "/v3/watch/settings", `{"rules":{"burst":{"answer":"hold","margin":2,"floor":50},"travel":{"off":true}},"mail_to":["a@example.test"],"webhook":"https://hooks.example.com/x"}`, 200, &v)
	first, err := webhook.ParseSecret(v.WebhookSecret)
	if err != nil || v.WebhookSecrets != 1 || v.Webhook != "https://hooks.example.com/x" || v.SecretUntil != nil {
		t.Errorf("webhook: %+v, %v", v, err)
	}
	set := f.settings[w.acme.Account]
	if set.Rules[relay.WatchBurst] != (relay.WatchRuleSetting{Answer: relay.WatchHold, Margin: 2, Floor: 50}) || !set.Rules[relay.WatchTravel].Off {
		t.Errorf("%+v", set)
	}
	// AP-18: the secret is shown once, and two sign while it is changed.
	if a := c.do("GET", "/v3/watch/settings", ""); strings.Contains(a.Body, "whsec_") || strings.Contains(a.Body, webhook.SecretText(first)) {
		t.Error("the secret is shown again")
	}
	v = watchSettingsView{}
	c.want("PATCH", "/v3/watch/settings", `{"rotate_secret":true}`, 200, &v)
	second, err := webhook.ParseSecret(v.WebhookSecret)
	set = f.settings[w.acme.Account]
	if err != nil || v.WebhookSecrets != 2 || v.SecretUntil == nil || !slices.Equal(set.Secrets[0], second) || !slices.Equal(set.Secrets[1], first) {
		t.Errorf("rotated: %+v, %v", v, err)
	}
	w.pass(25 * time.Hour)
	v = watchSettingsView{}
	c.want("GET", "/v3/watch/settings", "", 200, &v)
	if v.WebhookSecrets != 1 {
		t.Errorf("a day later %d sign", v.WebhookSecrets)
	}
	// Another receiver gets another secret.
	v = watchSettingsView{}
	c.want("PATCH", "/v3/watch/settings", `{"webhook":"https://other.example.com/"}`, 200, &v)
	if v.WebhookSecret == "" || len(f.settings[w.acme.Account].Secrets) != 1 {
		t.Errorf("another receiver: %+v", v)
	}
	for body, field := range map[string]string{
		`{"rules":{"x":{}}}`:                       "rules",
		`{"rules":{"burst":{"answer":"explode"}}}`: "rules.burst",
		`{"rules":{"canary":{"answer":"stop"}}}`:   "rules.canary",
		`{"rules":{"burst":{"margin":0.1}}}`:       "rules.burst",
		`{"rules":{"burst":{"floor":-1}}}`:         "rules.burst",
		`{"mail_to":["nobody"]}`:                   "mail_to",
		`{"webhook":"http://hooks.example.com/"}`:  "webhook",
		`{"webhook":"https://169.254.169.254/"}`:   "webhook", // AP-17
		`{"webhook":"https://u:p@example.com/"}`:   "webhook",
		`{"webhook":"https://example.com:25/"}`:    "webhook",
		`{"webhook":"","rotate_secret":true}`:      "rotate_secret",
		`{"secrets":["x"]}`:                        "secrets",
		`{"mail_to":["a@b.c","a@b.c","a@b.c","a@b.c","a@b.c","a@b.c","a@b.c","a@b.c","a@b.c","a@b.c","a@b.c"]}`: "mail_to",
	} {
		if a := c.do("PATCH", "/v3/watch/settings", body); a.Status != 400 || !strings.Contains(a.Body, field) {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
}

func TestWatchReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := watchOf(w)
	own := f.add(w.acme, t0, relay.WatchBurst)
	f.add(w.staging, t0, relay.WatchBurst)
	f.add(w.globex, t0, relay.WatchBurst)
	f.settings[w.acme.Account] = relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchHours: {Off: true}}}
	a := w.as(w.acme, scopeWatchChange).do("POST", "/v3/watch/replay", `{"since":"2026-02-01T00:00:00Z","only":["burst"],"rules":{"burst":{"margin":2}}}`)
	if a.Status != 200 || a.Header.Get("Content-Type") != typeNDJSON {
		t.Fatalf("%d %v %s", a.Status, a.Header, a.Body)
	}
	var found []relay.WatchID
	var done *watch.Progress
	for lines := bufio.NewScanner(strings.NewReader(a.Body)); lines.Scan(); {
		var l replayLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Finding != nil {
			found = append(found, l.Finding.ID)
		}
		if l.Done != nil {
			done = l.Done
		}
	}
	if !slices.Equal(found, []relay.WatchID{own.ID}) || done == nil || done.Events != 2 {
		t.Errorf("%v, %+v", found, done)
	}
	cfg := f.replayed[0]
	set := cfg.Engine.Settings(w.acme.Account)
	if cfg.Account != w.acme.Account || !cfg.Since.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) || cfg.Until.IsZero() || set.Rule(relay.WatchBurst).Margin != 2 || !set.Rule(relay.WatchHours).Off ||
		!slices.Equal(cfg.Engine.Only, []relay.WatchRule{relay.WatchBurst}) {
		t.Errorf("%+v", cfg)
	}
	if len(w.changes) != 0 {
		t.Errorf("a replay changed %q", w.changes)
	}
	for _, body := range []string{`{"since":"x"}`, `{"rules":{"x":{}}}`, `{"only":["x"]}`} {
		if a := w.as(w.acme, scopeWatchChange).do("POST", "/v3/watch/replay", body); a.Status != 400 {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
}
