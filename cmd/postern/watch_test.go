package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// watchServer answers as the API does about one finding.
func watchServer(t *testing.T, asked *[]string) *httptest.Server {
	t.Helper()
	finding := `{"id":"AAECAwQFBgcICQoLDA0ODw","rule":"network","severity":"warning","state":"open","title":"Key evil\u001b[2J is used from NG","text":"The key …","fix":"Rotate it.","count":3,
		"api_key_id":"BBECAwQFBgcICQoLDA0ODw","api_key_name":"shop","account":"acme","username":"staging","first_at":"2026-11-20T00:00:00Z","last_at":"2026-11-21T00:00:00Z","answer":"tell","answer_error":"webhook: 503",
		"evidence":{"seen":5,"expected":2,"unit":"places","places":[{"addr":"203.0.113.9","city":"Lagos","country":"NG"}],"samples":["a@example.test"]}}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*asked = append(*asked, r.Method+" "+r.URL.String()+" "+string(body))
		switch path := strings.ReplaceAll(r.URL.Path, "AAECAwQFBgcICQoLDA0ODw", "X"); path {
		case "/v3/watch/findings":
			_, _ = w.Write([]byte(`{"result":[` + finding + `],"next":"c2"}`))
		case "/v3/watch/findings/X", "/v3/watch/findings/X/dismiss", "/v3/watch/findings/X/confirm":
			_, _ = w.Write([]byte(finding))
		case "/v3/watch/settings":
			_, _ = w.Write([]byte(`{"rules":[{"rule":"burst","what":"a key sends far more","answer":"hold","margin":2,"floor":50},{"rule":"travel","what":"x","off":true,"answer":"tell","margin":1}],
				"mail_to":["ops@example.test"],"webhook":"https://hooks.example.com/","webhook_secrets":1,"webhook_secret":"whsec_new"}`))
		case "/v3/watch/replay":
			_, _ = w.Write([]byte(`{"progress":{"at":"2026-11-20T00:00:00Z","events":7}}` + "\n" + `{"finding":` + strings.ReplaceAll(finding, "\n", "") + "}\n" + `{"done":{"events":9,"logins":4,"findings":1}}` + "\n"))
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"errors":[{"message":"not found","field":null}]}`))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestWatchCommands(t *testing.T) {
	t.Setenv(keyVariable, "SG.id.secret")
	var asked []string
	s := watchServer(t, &asked)
	id := "AAECAwQFBgcICQoLDA0ODw"
	for _, tt := range []struct {
		args  []string
		code  int
		want  []string
		asked string
	}{
		{[]string{"list", "--rule", "network"}, exitOK, []string{"2026-11-21 00:00:00Z", "warning", "evil?[2J", id, "ACCOUNT  SUBUSER", "acme     staging", "There are more: --after c2"}, "GET /v3/watch/findings?limit=100&rule=network&state=open "},
		{[]string{"list", "--after", "c2"}, exitOK, nil, "GET /v3/watch/findings?after=c2&limit=100&state=open "},
		{[]string{"list", "--since", "soon"}, exitFailed, []string{"neither a time"}, ""},
		{[]string{"show", id}, exitOK, []string{"What to do: Rotate it.", "5 places", "at most 2", "203.0.113.9 Lagos NG", "a@example.test", "account           acme", "subuser           staging", "shop BBECAwQFBgcICQoLDA0ODw", "not answered yet  webhook: 503"}, "GET /v3/watch/findings/" + id + " "},
		{[]string{"show", "x"}, exitFailed, []string{"not found"}, ""},
		{[]string{"dismiss", id, "--teach"}, exitOK, []string{"evil?[2J"}, "POST /v3/watch/findings/" + id + `/dismiss {"teach":true}`},
		{[]string{"confirm", id}, exitOK, []string{"open: "}, "POST /v3/watch/findings/" + id + "/confirm {}"},
		{[]string{"settings"}, exitOK, []string{"burst   hold    2       50", "travel  off", "ops@example.test"}, "GET /v3/watch/settings "},
		{[]string{"settings", "--answer", "burst=hold", "--margin", "burst=2", "--off", "travel", "--webhook", "https://hooks.example.com/"}, exitOK, []string{"shown once: whsec_new"},
			`PATCH /v3/watch/settings {"rules":{"burst":{"answer":"hold","margin":2},"travel":{"off":true}},"webhook":"https://hooks.example.com/"}`},
		{[]string{"settings", "--margin", "burst"}, exitUsage, []string{"RULE=VALUE"}, ""},
		{[]string{"replay", "--only", "network", "--floor", "burst=9", "--margin", "travel=1.5"}, exitOK, []string{"1 findings in 9 events and 4 logins", "evil?[2J", "7 events"}, `POST /v3/watch/replay {"only":["network"],"rules":{"burst":{"floor":9},"travel":{"margin":1.5}}}`},
		{[]string{"replay", "--json"}, exitOK, []string{`"events": 9`, id}, ""},
		{[]string{}, exitUsage, []string{"confirm, dismiss, list, replay, settings, show"}, ""},
	} {
		asked = nil
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"watch", "--url", s.URL}, tt.args...), streams{in: strings.NewReader(""), out: &out, err: &errs})
		text := out.String() + errs.String()
		if code != tt.code {
			t.Errorf("%v: code %d, want %d\n%s", tt.args, code, tt.code, text)
		}
		for _, w := range tt.want {
			if !strings.Contains(text, w) {
				t.Errorf("%v: no %q in\n%s", tt.args, w, text)
			}
		}
		if tt.asked != "" && !slices.Contains(asked, tt.asked) {
			t.Errorf("%v: asked %q, want %q", tt.args, asked, tt.asked)
		}
	}
}
