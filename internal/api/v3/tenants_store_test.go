package v3

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/credit"
	"postern/internal/httpx"
	"postern/internal/identity"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// What the routes ask for is what the services have.
var (
	_ SubuserStore  = (*store.Store)(nil)
	_ AccessStore   = (*store.Store)(nil)
	_ RecordStore   = (*store.Store)(nil)
	_ RevokedTokens = (*store.Store)(nil)
	_ Tokens        = (*auth.Authenticator)(nil)
	_ BanList       = (*auth.Guard)(nil)
)

// installation is a store, a directory and an authenticator as in production,
// with one account and its clock in the test's hand.
type installation struct {
	*world
	store     *store.Store
	directory *identity.Directory
	root      relay.Key
	text      string
}

// freshDirectory does not mind that the test's clock runs ahead of the store's.
type freshDirectory struct{ *identity.Directory }

func (freshDirectory) Fresh(context.Context, time.Time) bool { return true }

func install(t *testing.T) *installation {
	t.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{world: &world{t: t, now: time.Now().UTC().Truncate(time.Second)}}
	quiet := slog.New(slog.DiscardHandler)
	if in.store, _, err = store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "postern.db"), Sealer: sealer, Logger: quiet, Now: in.clock}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.store.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
		_ = in.store.Close()
	})
	in.seed()
	if in.directory, err = identity.Open(ctx, in.store, quiet); err != nil {
		t.Fatal(err)
	}
	guard := auth.NewGuard(auth.GuardConfig{Now: in.clock})
	who := auth.New(auth.Config{Directory: freshDirectory{in.directory}, Recorder: in.store, Activity: in.store, Now: in.clock, Sealer: sealer, Guard: guard})
	s := Services{Auth: who, Directory: in.directory, Accounts: in.store, Answers: in.store, Listener: "http", Now: in.clock}
	s.Keys, s.Settings, s.Ledger = in.store, in.store, credit.New(credit.Config{Store: in.store, Now: in.clock})
	s.DomainStore, s.SenderRows, s.Users = in.store, in.store, in.store
	s.TenantServices = TenantServices{
		Subusers: in.store, AccessLists: in.store, Bans: guard, Records: in.store, CursorKey: sealer.Derive("api cursor"), Tokens: who, Revoked: in.store,
		ShutsOut: func(ctx context.Context, list *relay.AccessList, addr netip.Addr) bool {
			return auth.ShutsOut(ctx, list, addr, nil)
		},
	}
	in.handler = httpx.New(httpx.Options{Local: true, Logger: quiet, Now: in.clock}, New(s))
	return in
}

// seed makes the account and a key with every scope.
func (in *installation) seed() {
	in.t.Helper()
	account := relay.Account{ID: relay.AccountID{ID: relay.NewID(in.now)}, Name: "acme", OwnerEmail: "ops@acme.example", TimeZone: "UTC", CreatedAt: in.now}
	if err := in.store.CreateAccount(in.t.Context(), by("seed"), account); err != nil {
		in.t.Fatal(err)
	}
	in.acme = relay.Tenant{Account: account.ID}
	in.root, in.text = in.makeKey(in.acme, relay.Scopes...)
}

func (in *installation) makeKey(of relay.Tenant, scopes ...string) (relay.Key, string) {
	in.t.Helper()
	made, err := secret.GenerateKey("SG")
	if err != nil {
		in.t.Fatal(err)
	}
	v, err := secret.NewVerifier(made)
	if err != nil {
		in.t.Fatal(err)
	}
	k := relay.Key{ID: relay.KeyID{ID: made.ID}, Account: of.Account, Subuser: of.Subuser, Kind: relay.KeyAPI, Name: "key", Scopes: scopes, Mode: relay.KeyLive, CreatedAt: in.now}
	k.Verifier = relay.Verifier{SHA256: v.SHA256, SCRAMSalt: v.SCRAMSalt, SCRAMIterations: v.SCRAMIterations, SCRAMStoredKey: v.SCRAMStoredKey, SCRAMServerKey: v.SCRAMServerKey}
	if err := in.store.CreateKey(in.t.Context(), by("seed"), k); err != nil {
		in.t.Fatal(err)
	}
	return k, made.Text().Reveal()
}

// reload brings the directory up to date, as its own loop does within a second.
func (in *installation) reload() {
	in.t.Helper()
	if err := in.directory.Reload(in.t.Context()); err != nil {
		in.t.Fatal(err)
	}
}

func (in *installation) client(text string) *client {
	return &client{w: in.world, handler: in.handler, header: http.Header{"Authorization": {"Bearer " + text}}}
}

// The life of a subuser, over everything that is behind the routes.
func TestSubusersOverTheStore(t *testing.T) {
	t.Parallel()
	in := install(t)
	c := in.client(in.text)
	made := decode[createdSubuser](t, c.want("POST", "/v3/subusers", `{"username":"staging","email":"a@example.test","password":"x","ips":[]}`, 200, nil))
	if made.Number == 0 {
		t.Errorf("%+v", made)
	}
	c.refused("POST", "/v3/subusers", `{"username":"staging","email":"a@example.test","password":"x","ips":[]}`, 400, "username exists", "username")
	c.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil) // at once, though the directory has not followed
	c.want("PATCH", "/v3/subusers/staging", `{"disabled":false}`, 204, nil)
	c.want("PATCH", "/v3/subusers/staging/website_access", `{"disabled":true}`, 204, nil)
	c.want("PUT", "/v3/subusers/staging/credits", `{"type":"recurring","reset_frequency":"daily","total":10}`, 200, nil)
	c.want("PATCH", "/v3/subusers/staging/plan", `{"hour":5}`, 200, nil)
	if v := decode[creditView](t, c.want("GET", "/v3/subusers/staging/credits", "", 200, nil)); *v.Remain != 10 || *v.Reset != "daily" {
		t.Errorf("%+v", v)
	}
	if u := decode[usageView](t, c.want("GET", "/v3/subusers/staging/usage", "", 200, nil)); len(u.Result) == 0 {
		t.Errorf("%+v", u)
	}
	all := decode[[]subuserView](t, c.want("GET", "/v3/subusers", "", 200, nil))
	if len(all) != 1 || all[0].Number != made.Number || !all[0].WebsiteDisabled || all[0].Disabled {
		t.Fatalf("%+v", all)
	}
	in.reload()
	_, sub := in.makeKey(relay.Tenant{Account: in.acme.Account, Subuser: all[0].ID}, "api_keys.read")
	in.reload()
	in.client(sub).want("GET", "/v3/scopes", "", 200, nil)
	if d := decode[deletion](t, c.want("DELETE", "/v3/subusers/staging?dry_run=true", "", 200, nil)); d.Keys != 1 || d.Queued != 0 {
		t.Errorf("%+v", d)
	}
	c.want("DELETE", "/v3/subusers/staging", "", 204, nil)
	c.refused("DELETE", "/v3/subusers/staging", "", 404, "No user found", "")
	in.reload()
	in.client(sub).want("GET", "/v3/scopes", "", 401, nil)
	again := decode[createdSubuser](t, c.want("POST", "/v3/subusers", `{"username":"staging","email":"a@example.test","password":"x","ips":[]}`, 200, nil))
	if again.Number == made.Number {
		t.Errorf("a number is given twice: %+v", again)
	}
	c.want("PATCH", "/v3/subusers/staging", `{"disabled":true}`, 204, nil) // the new one, not the deleted

	var actions []string
	for _, r := range decode[changeList](t, c.want("GET", "/v3/changes?limit=1000", "", 200, nil)).Result {
		actions = append(actions, r.Action)
	}
	for _, want := range []string{"subuser.create", "subuser.disable", "subuser.enable", "subuser.update", "subuser.delete"} {
		if !strings.Contains(strings.Join(actions, " "), want) {
			t.Errorf("%s is not in the record: %q", want, actions)
		}
	}
	if p := decode[proofList](t, c.want("GET", "/v3/changes/verify", "", 200, nil)).Result[0]; !p.Valid || p.Records != int64(len(actions)) {
		t.Errorf("%+v of %d", p, len(actions))
	}
	if h := decode[headList](t, c.want("GET", "/v3/changes/head", "", 200, nil)); len(h.Result) != 1 || !h.Result[0].Signed(in.store.AuditKey()) {
		t.Errorf("%+v", h)
	}
}

// A list, its trial and its return, as the next login meets them.
func TestAccessOverTheStore(t *testing.T) {
	t.Parallel()
	in := install(t)
	c := in.client(in.text)
	const path = "/v3/access_settings/whitelist"
	rules := decode[accessRules](t, c.want("POST", path, `{"ips":[{"ip":"192.0.2.0/24","note":"here"},{"ip":"10.*.*.*"},{"host":"build.example.com"}]}`, 201, nil)).Result
	if len(rules) != 3 || rules[0].ID == 0 || rules[1].IP != "10.0.0.0/8" || rules[2].Host != "build.example.com" {
		t.Fatalf("%+v", rules)
	}
	c.refused("DELETE", path, `{"ids":[`+itoa(rules[0].ID)+`]}`, 409, "192.0.2.1", "confirm")
	// Shut out on trial, knowing it: nobody gets in, until the trial ends.
	c.want("DELETE", path, `{"ids":[`+itoa(rules[0].ID)+`],"confirm":true,"trial_seconds":60}`, 204, nil)
	in.reload()
	c.want("GET", path, "", 401, nil)
	in.pass(time.Minute)
	back := decode[accessRules](t, c.want("GET", path, "", 200, nil)).Result
	if len(back) != 3 || back[0] != rules[0] {
		t.Errorf("after the trial: %+v", back)
	}
	c.want("POST", path, `{"ips":[{"ip":"198.51.100.0/24"}],"trial_seconds":60}`, 201, nil)
	c.want("POST", "/v3/access_settings/confirm", "", 200, nil)
	in.pass(time.Hour)
	if l := decode[accessRules](t, c.want("GET", path, "", 200, nil)); len(l.Result) != 4 {
		t.Errorf("kept: %+v", l)
	}
	c.want("PATCH", "/v3/access_settings/mode", `{"monitor":true}`, 200, nil)
	c.want("POST", path, `{"ips":[{"ip":"203.0.113.9"}],"trial_seconds":60}`, 201, nil)
	c.want("POST", "/v3/access_settings/revert", "", 200, nil)
	for _, r := range decode[accessRules](t, c.want("GET", path, "", 200, nil)).Result {
		c.want("DELETE", path+"/"+itoa(r.ID), "", 204, nil)
	}
	in.reload()
	if l := decode[accessRules](t, c.want("GET", path, "", 200, nil)); len(l.Result) != 0 {
		t.Errorf("emptied: %+v", l)
	}
}

// A token is made, used and ended.
func TestTokensOverTheStore(t *testing.T) {
	t.Parallel()
	in := install(t)
	client := in.nobody().with("Authorization", basicOf(in.root.ID.String(), in.text))
	token := decode[tokenAnswer](t, client.want("POST", "/oauth/token", "grant_type=client_credentials&scope=subusers.read", 200, nil))
	bearer := in.client(token.AccessToken)
	bearer.want("GET", "/v3/subusers", "", 200, nil)
	bearer.want("POST", "/v3/subusers", `{"username":"x","email":"a@example.test"}`, 403, nil)
	in.nobody().with("Authorization", basicOf(in.root.ID.String(), token.AccessToken)).want("POST", "/oauth/token", "grant_type=client_credentials", 401, nil)
	in.nobody().with("Authorization", basicOf(absentID, in.text)).want("POST", "/oauth/token", "grant_type=client_credentials", 401, nil)
	client.want("POST", "/oauth/revoke", "token="+token.AccessToken, 200, nil)
	in.reload()
	bearer.want("GET", "/v3/subusers", "", 401, nil)
}
