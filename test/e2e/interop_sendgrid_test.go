package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sendgrid/rest"
	"github.com/sendgrid/sendgrid-go"
	"github.com/sendgrid/sendgrid-go/helpers/mail"
)

// apiAnswer is what a client of the HTTP API got.
type apiAnswer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
	ID     string
}

func (a apiAnswer) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("%v in %d %s", err, a.Status, a.Body)
	}
}

// apiClient makes one request of the HTTP API; subuser is on whose behalf.
type apiClient func(t testing.TB, key, method, path, subuser string, query map[string]string, body any) apiAnswer

// sendgridGo is the official Go client, with only its host changed.
func (d *demo) sendgridGo(t testing.TB, key, method, path, subuser string, query map[string]string, body any) apiAnswer {
	t.Helper()
	req := sendgrid.GetRequest(key, path, "http://"+d.HTTP)
	if subuser != "" {
		req = sendgrid.GetRequestSubuser(key, path, "http://"+d.HTTP, subuser)
	}
	req.Method, req.QueryParams = rest.Method(method), query
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req.Body = b
	}
	resp, err := sendgrid.API(req)
	if err != nil {
		t.Fatal(err)
	}
	return apiAnswer{Status: resp.StatusCode, Body: json.RawMessage(resp.Body)}
}

// sendgridNode runs testdata/sendgrid/client.js.
func (d *demo) sendgridNode(t testing.TB, conf map[string]any) apiAnswer {
	t.Helper()
	node := external(t, "node", "nodejs")
	installed, err := filepath.Abs("../../.cache/sendgrid")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(installed, "node_modules", "@sendgrid", "client")); err != nil {
		if mustHaveAll() {
			t.Fatal("@sendgrid/client is not installed (tools/testdeps installs it)")
		}
		t.Skip("@sendgrid/client is not installed")
	}
	conf["base_url"] = "http://" + d.HTTP + "/"
	b, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	r := command{args: []string{node, "testdata/sendgrid/client.js", installed}, stdin: string(b)}.run(t)
	if r.code != 0 {
		t.Fatal(r.out)
	}
	var a struct {
		apiAnswer
		Headers map[string]string `json:"headers"`
	}
	if err := json.Unmarshal([]byte(r.out), &a); err != nil {
		t.Fatalf("%v in %q", err, r.out)
	}
	a.ID = a.Headers["x-message-id"]
	return a.apiAnswer
}

// nodeClient is @sendgrid/client, with only its host changed.
func (d *demo) nodeClient(t testing.TB, key, method, path, subuser string, query map[string]string, body any) apiAnswer {
	t.Helper()
	// A path that starts with a slash makes "//v3" of it, as it does in the field.
	request := map[string]any{"method": method, "url": path, "qs": query}
	if body != nil {
		request["body"] = body
	}
	if subuser != "" {
		request["headers"] = map[string]string{"on-behalf-of": subuser}
	}
	return d.sendgridNode(t, map[string]any{"api_key": key, "request": request})
}

// sendgridClients are SendGrid's own, as a test uses them.
var sendgridClients = []struct {
	name string
	via  func(d *demo) apiClient
}{
	{"sendgrid-go", func(d *demo) apiClient { return d.sendgridGo }},
	{"@sendgrid/client", func(d *demo) apiClient { return d.nodeClient }},
}

// SendGrid's own clients, of which only the host is changed, manage keys,
// scopes, subusers and IP access.
func TestSendgridClientsManage(t *testing.T) {
	t.Parallel()
	for _, c := range sendgridClients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t, relayOptions{domains: []string{"sender.test"}})
			admin := r.addKey(t, "admin", "--scope", strings.Join(manage, ",")).APIKey
			via := c.via(&r.demo)
			manageKeys(t, via, admin)
			manageSubusers(t, via, admin)
			manageAccess(t, via, admin)
		})
	}
}

var manage = []string{
	"mail.send", "api_keys.create", "api_keys.read", "api_keys.update", "api_keys.delete",
	"subusers.create", "subusers.read", "subusers.update", "subusers.delete", "subusers.credits.read", "subusers.credits.update", "subusers.credits.remaining.update",
	"access_settings.activity.read", "access_settings.whitelist.create", "access_settings.whitelist.read", "access_settings.whitelist.update", "access_settings.whitelist.delete",
	"user.account.read", "user.credits.read", "user.email.read", "user.username.read", "user.settings.enforced_tls.read", "user.settings.enforced_tls.update",
}

func want(t testing.TB, a apiAnswer, status int, what string) apiAnswer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("%s: %d %s, want %d", what, a.Status, a.Body, status)
	}
	return a
}

type keyAnswer struct {
	APIKey string   `json:"api_key"`
	ID     string   `json:"api_key_id"`
	Name   string   `json:"name"`
	Scopes []string `json:"scopes"`
}

func manageKeys(t *testing.T, via apiClient, admin string) {
	t.Helper()
	var scopes struct{ Scopes []string }
	want(t, via(t, admin, "GET", "/v3/scopes", "", nil, nil), 200, "scopes").decode(t, &scopes)
	slices.Sort(scopes.Scopes)
	if wanted := slices.Sorted(slices.Values(manage)); !slices.Equal(scopes.Scopes, wanted) {
		t.Errorf("scopes %v, want %v", scopes.Scopes, wanted)
	}
	var k keyAnswer
	want(t, via(t, admin, "POST", "/v3/api_keys", "", nil, map[string]any{"name": "web", "scopes": []string{"mail.send", "user.account.read"}}), 201, "make a key").decode(t, &k)
	if !keyPattern.MatchString(k.APIKey) || k.ID == "" || k.Name != "web" || len(k.Scopes) != 2 {
		t.Fatalf("made %+v", k)
	}
	want(t, via(t, k.APIKey, "GET", "/v3/user/account", "", nil, nil), 200, "the new key's scope")
	want(t, via(t, k.APIKey, "GET", "/v3/api_keys", "", nil, nil), 403, "a scope that the key lacks")
	want(t, via(t, admin, "POST", "/v3/api_keys", "", nil, map[string]any{"name": "more", "scopes": []string{"billing.read"}}), 403, "a key with more than its creator")
	var one keyAnswer
	want(t, via(t, admin, "GET", "/v3/api_keys/"+k.ID, "", nil, nil), 200, "one key").decode(t, &one)
	if one.Name != "web" || one.APIKey != "" {
		t.Errorf("one key: %+v", one)
	}
	want(t, via(t, admin, "PATCH", "/v3/api_keys/"+k.ID, "", nil, map[string]any{"name": "shop"}), 200, "rename")
	want(t, via(t, admin, "PUT", "/v3/api_keys/"+k.ID, "", nil, map[string]any{"name": "shop", "scopes": []string{"mail.send"}}), 200, "take a scope")
	want(t, via(t, k.APIKey, "GET", "/v3/user/account", "", nil, nil), 403, "the scope that was taken")
	var list struct{ Result []keyAnswer }
	want(t, via(t, admin, "GET", "/v3/api_keys", "", map[string]string{"limit": "100"}, nil), 200, "list").decode(t, &list)
	if !slices.ContainsFunc(list.Result, func(x keyAnswer) bool { return x.ID == k.ID && x.Name == "shop" }) {
		t.Errorf("the key is not in the list: %+v", list)
	}
	want(t, via(t, admin, "DELETE", "/v3/api_keys/"+k.ID, "", nil, nil), 204, "revoke")
	want(t, via(t, k.APIKey, "GET", "/v3/scopes", "", nil, nil), 401, "a revoked key")
	want(t, via(t, admin, "GET", "/v3/api_keys/AAAAAAAAAAAAAAAAAAAAAA", "", nil, nil), 404, "a key that is not there")
}

func manageSubusers(t *testing.T, via apiClient, admin string) {
	t.Helper()
	var made struct {
		Username string `json:"username"`
		UserID   int64  `json:"user_id"`
		Email    string `json:"email"`
	}
	want(t, via(t, admin, "POST", "/v3/subusers", "", nil, map[string]any{"username": "staging", "email": "ops@sender.test", "password": "not used at all", "ips": []string{}}), 200, "make a subuser").decode(t, &made)
	if made.Username != "staging" || made.UserID == 0 {
		t.Fatalf("made %+v", made)
	}
	var all []struct {
		Username string `json:"username"`
		Disabled bool   `json:"disabled"`
	}
	want(t, via(t, admin, "GET", "/v3/subusers", "", map[string]string{"limit": "10"}, nil), 200, "list subusers").decode(t, &all)
	if len(all) != 1 || all[0].Username != "staging" || all[0].Disabled {
		t.Errorf("subusers %+v", all)
	}
	var k keyAnswer
	want(t, via(t, admin, "POST", "/v3/api_keys", "staging", nil, map[string]any{"name": "theirs", "scopes": []string{"mail.send", "user.username.read"}}), 201, "a key on behalf of the subuser").decode(t, &k)
	var who struct{ Username string }
	want(t, via(t, k.APIKey, "GET", "/v3/user/username", "", nil, nil), 200, "who the subuser's key is").decode(t, &who)
	if who.Username != "staging" {
		t.Errorf("the subuser's key is of %q", who.Username)
	}
	want(t, via(t, admin, "PUT", "/v3/subusers/staging/credits", "", nil, map[string]any{"type": "recurring", "reset_frequency": "monthly", "total": 200}), 200, "credits")
	var credits struct {
		Type          string
		Total, Remain *int64
	}
	want(t, via(t, admin, "GET", "/v3/subusers/staging/credits", "", nil, nil), 200, "credits").decode(t, &credits)
	if credits.Type != "recurring" || credits.Total == nil || *credits.Total != 200 || credits.Remain == nil || *credits.Remain != 200 {
		t.Errorf("credits %+v", credits)
	}
	want(t, via(t, admin, "PATCH", "/v3/subusers/staging", "", nil, map[string]any{"disabled": true}), 204, "disable")
	want(t, via(t, k.APIKey, "GET", "/v3/scopes", "", nil, nil), 401, "a disabled subuser's key")
	want(t, via(t, admin, "PATCH", "/v3/subusers/staging", "", nil, map[string]any{"disabled": false}), 204, "enable")
	want(t, via(t, k.APIKey, "GET", "/v3/scopes", "", nil, nil), 200, "an enabled subuser's key")
	want(t, via(t, admin, "DELETE", "/v3/subusers/staging", "", nil, nil), 204, "delete")
	want(t, via(t, k.APIKey, "GET", "/v3/scopes", "", nil, nil), 401, "a deleted subuser's key")
}

func manageAccess(t *testing.T, via apiClient, admin string) {
	t.Helper()
	type rules struct {
		Result []struct {
			ID int64
			IP string
		}
	}
	// A list without the caller would shut it out.
	want(t, via(t, admin, "POST", "/v3/access_settings/whitelist", "", nil, map[string]any{"ips": []map[string]string{{"ip": "192.0.2.0/24"}}}), 409, "a list that shuts the caller out")
	var list rules
	want(t, via(t, admin, "POST", "/v3/access_settings/whitelist", "", nil, map[string]any{"ips": []map[string]string{{"ip": "192.*.*.*"}, {"ip": "127.0.0.1"}, {"ip": "::1"}}}), 201, "a list").decode(t, &list)
	var ips []string
	for _, e := range list.Result {
		ips = append(ips, e.IP)
	}
	slices.Sort(ips)
	if fmt.Sprint(ips) != "[127.0.0.1/32 192.0.0.0/8 ::1/128]" {
		t.Errorf("entries %v", ips)
	}
	for _, e := range list.Result {
		if e.IP == "192.0.0.0/8" {
			want(t, via(t, admin, "DELETE", "/v3/access_settings/whitelist", "", nil, map[string]any{"ids": []int64{e.ID}}), 204, "remove an entry")
		}
	}
	want(t, via(t, admin, "GET", "/v3/access_settings/whitelist", "", nil, nil), 200, "the list").decode(t, &list)
	if len(list.Result) != 2 {
		t.Errorf("%d entries, want 2", len(list.Result))
	}
	want(t, via(t, admin, "GET", "/v3/access_settings/activity", "", map[string]string{"limit": "20"}, nil), 200, "activity")
}

// Mail that SendGrid's clients hand in arrives, signed and as it was written.
func TestSendgridClientsSend(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	t.Run("sendgrid-go", func(t *testing.T) {
		t.Parallel()
		tok := token("sendgrid-go")
		m := mail.NewSingleEmail(mail.NewEmail("J\u00fcrgen Gro\u00df", d.From), tok+" gr\u00fc\u00dfe", mail.NewEmail("", d.To), "plain\n.dot\n", "<p>h\u00e9 "+strings.Repeat("x", 3000)+"</p>")
		m.AddAttachment(mail.NewAttachment().SetContent("AP8NCi4NCg==").SetType("application/octet-stream").SetFilename("\u00ff.bin").SetDisposition("attachment"))
		m.SetHeader("X-Own", "kept")
		m.AddCategories("receipts")
		client := sendgrid.NewSendClient(d.APIKey)
		client.BaseURL = "http://" + d.HTTP + "/v3/mail/send"
		resp, err := client.Send(m)
		if err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatalf("%v %+v", err, resp)
		}
		got := d.one(t, tok)
		if id := resp.Headers["X-Message-Id"]; len(id) != 1 || len(id[0]) != 22 {
			t.Errorf("X-Message-Id %q", id)
		}
		if got.DKIM != "pass" || got.SPF != "pass" || got.DMARC != "pass" {
			t.Errorf("dkim %s, spf %s, dmarc %s", got.DKIM, got.SPF, got.DMARC)
		}
		if !strings.Contains(string(got.Raw), "X-Own: kept") {
			t.Error("the own header is missing")
		}
		if string(attachment(t, got)) != "\x00\xff\r\n.\r\n" {
			t.Errorf("the attachment changed: %q", attachment(t, got))
		}
	})
	t.Run("@sendgrid/mail", func(t *testing.T) {
		t.Parallel()
		tok := token("sendgrid-mail")
		a := d.sendgridNode(t, map[string]any{"api_key": d.APIKey, "mail": map[string]any{
			"from": d.From, "to": d.To, "subject": tok, "text": "plain", "html": "<b>html</b>",
		}})
		want(t, a, 202, "send")
		if len(a.ID) != 22 {
			t.Errorf("X-Message-Id %q", a.ID)
		}
		if got := d.one(t, tok); got.DKIM != "pass" {
			t.Errorf("dkim %s", got.DKIM)
		}
	})
	t.Run("forged From", func(t *testing.T) {
		t.Parallel()
		tok := token("sendgrid-forged")
		a := d.sendgridNode(t, map[string]any{"api_key": d.APIKey, "mail": map[string]any{
			"from": d.UnverifiedFrom, "to": d.To, "subject": tok, "text": "plain",
		}})
		want(t, a, 403, "forged From")
		if !strings.Contains(string(a.Body), "does not match a verified Sender Identity") {
			t.Errorf("%s", a.Body)
		}
		d.none(t, tok)
	})
}
