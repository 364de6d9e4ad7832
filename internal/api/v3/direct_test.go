package v3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
)

// inside is a request of a person who has just shown both factors.
func (w *world) inside(u relay.User, method, path string, body any) Request {
	return Request{
		Principal: &relay.Principal{Tenant: relay.Tenant{Account: u.Account, Subuser: u.Subuser}, User: &u, FreshUntil: w.clock().Add(time.Minute)},
		Method:    method, Path: path, Body: body, Addr: netip.MustParseAddr("203.0.113.5"), Agent: "Browser/1",
	}
}

func TestDirectCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser(w.acme, relay.RoleDeveloper)
	var made keyMade
	if err := w.direct.Call(t.Context(), w.inside(u, "POST", "/v3/api_keys", map[string]any{"name": "site"}), &made); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(made.APIKey, "SG.") || made.CreatedBy != "user "+u.Username {
		t.Errorf("made %+v", made)
	}
	// AP-03: without naming scopes it has those of the person, and no other.
	for _, s := range made.Scopes {
		if !u.Allows(s) {
			t.Errorf("the key has %s", s)
		}
	}
	if got, want := w.changes[0], "user "+u.Username+" 203.0.113.5: key.create site"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if err := w.direct.Call(t.Context(), w.inside(u, "DELETE", "/v3/api_keys/"+made.ID.String(), nil), nil); err != nil {
		t.Error(err)
	}
}

// Errors are those of HTTP: status, words, field.
func TestDirectErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, auditor := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.acme, relay.RoleAuditor)
	theirs, _ := w.addKey(w.globex)
	for name, tt := range map[string]struct {
		q       Request
		status  int
		message string
		field   string
	}{
		"field":       {w.inside(owner, "POST", "/v3/api_keys", map[string]any{"name": ""}), 400, "A name is required.", "name"},
		"member":      {w.inside(owner, "POST", "/v3/api_keys", map[string]any{"name": "x", "account_id": "y"}), 400, "There is no such member", "account_id"},
		"scope":       {w.inside(auditor, "POST", "/v3/api_keys", map[string]any{"name": "x"}), 403, textNoScope, ""},
		"foreign":     {w.inside(owner, "GET", "/v3/api_keys/"+theirs.ID.String(), nil), 404, textNotFound, ""},
		"no route":    {w.inside(owner, "GET", "/v3/nothing", nil), 404, "not found", ""},
		"method":      {w.inside(owner, "DELETE", "/v3/scopes", nil), 405, "method not allowed", ""},
		"slash":       {w.inside(owner, "GET", "/v3/api_keys/a%2Fb", nil), 404, "not found", ""},
		"other host":  {w.inside(owner, "GET", "http://127.0.0.1/v3/scopes", nil), 404, "not found", ""},
		"bad path":    {w.inside(owner, "GET", "/v3/\x00", nil), 404, "not found", ""},
		"parameter":   {w.inside(owner, "GET", "/v3/api_keys?limit=0", nil), 400, "Not a number", "limit"},
		"nobody":      {Request{Method: "GET", Path: "/v3/scopes"}, 401, textNoKey, ""},
		"too large":   {w.inside(owner, "POST", "/v3/api_keys", map[string]any{"name": strings.Repeat("x", defaultMaxBody)}), 413, "content too large", ""},
		"operator's":  {w.inside(owner, "PATCH", "/v3/user/plan", map[string]any{"day": 1}), 404, textNotFound, ""},
		"two behalfs": {func() Request { q := w.inside(owner, "GET", "/v3/scopes", nil); q.Behalf = "branch"; return q }(), 404, textNotFound, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := w.direct.Call(t.Context(), tt.q, nil)
			refusal, ok := errors.AsType[*httpx.Refusal](err)
			if !ok || refusal.Status != tt.status || len(refusal.Items) != 1 || !strings.Contains(refusal.Items[0].Message, tt.message) {
				t.Fatalf("%v", err)
			}
			if f := refusal.Items[0].Field; f != nil && *f != tt.field || f == nil && tt.field != "" {
				t.Errorf("field %v, want %q", f, tt.field)
			}
		})
	}
	if len(w.changes) > 0 {
		t.Errorf("changed %q", w.changes)
	}
}

// A fault of ours is no refusal: whoever called shows an id and logs the rest.
func TestDirectFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser(w.acme, relay.RoleOwner)
	w.fail = errors.New("disk is gone")
	err := w.direct.Call(t.Context(), w.inside(u, "GET", "/v3/user/email", nil), nil)
	if _, refusal := errors.AsType[*httpx.Refusal](err); refusal || err == nil || !strings.Contains(err.Error(), "disk is gone") {
		t.Errorf("%v", err)
	}
}

func TestDirectReauth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.inside(w.addUser(w.acme, relay.RoleOwner), "PUT", "/v3/user/email", map[string]any{"email": "new@example.test"})
	q.Principal.FreshUntil = time.Time{}
	if err := w.direct.Call(t.Context(), q, nil); !errors.Is(err, ErrReauth) {
		t.Errorf("%v", err)
	}
	q.Principal.FreshUntil = w.clock().Add(time.Second)
	if err := w.direct.Call(t.Context(), q, nil); err != nil {
		t.Error(err)
	}
}

// What the session says of its tenant does not count: the person's own does.
func TestDirectTenantIsThePersons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.inside(w.addUser(w.staging, relay.RoleOwner), "GET", "/v3/user/username", nil)
	q.Principal.Tenant = w.acme
	var got usernameView
	if err := w.direct.Call(t.Context(), q, &got); err != nil || got.Username != "staging" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDirectStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser(w.acme, relay.RoleAuditor)
	var out bytes.Buffer
	if err := w.direct.Stream(t.Context(), w.inside(u, "GET", "/v3/logins/export?format=csv", nil), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "cursor,at,") {
		t.Errorf("%q", out.String())
	}
}

// A person is counted as a key is, and by themselves.
func TestDirectRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) { s.KeyRate = 2 })
	one, two := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.acme, relay.RoleOwner)
	for i := range 3 {
		err := w.direct.Call(t.Context(), w.inside(one, "GET", "/v3/scopes", nil), nil)
		if refusal, ok := errors.AsType[*httpx.Refusal](err); (i < 2) != (err == nil) || err != nil && (!ok || refusal.Status != 429) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if err := w.direct.Call(t.Context(), w.inside(two, "GET", "/v3/scopes", nil), nil); err != nil {
		t.Error(err)
	}
}

// A person gives no key what they do not have, and edits none into more.
func TestKeysOfPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dev := w.addUser(w.acme, relay.RoleDeveloper)
	strong, _ := w.addKey(w.acme, "subusers.create", "mail.send")
	path := "/v3/api_keys/" + strong.ID.String()
	for name, q := range map[string]Request{
		"create":      w.inside(dev, "POST", "/v3/api_keys", map[string]any{"name": "x", "scopes": []string{"subusers.create"}}),
		"widen":       w.inside(dev, "PATCH", path, map[string]any{"scopes": []string{"subusers.create", "mail.send", "teammates.create"}}),
		"rotate":      w.inside(dev, "POST", path+"/rotate", map[string]any{}),
		"new network": w.inside(dev, "PATCH", path, map[string]any{"canary": false, "expires_at": ""}),
	} {
		err := w.direct.Call(t.Context(), q, nil)
		if name == "new network" { // nothing is widened: the key is as it was
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if refusal, ok := errors.AsType[*httpx.Refusal](err); !ok || refusal.Status != 403 || *refusal.Items[0].Field != "scopes" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.direct.Call(t.Context(), w.inside(dev, "PATCH", path, map[string]any{"scopes": []string{"mail.send"}}), nil); err != nil {
		t.Errorf("narrow: %v", err)
	}
}

func TestMayFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, auditor := w.addUser(w.acme, relay.RoleOwner), w.addUser(w.acme, relay.RoleAuditor)
	subs := w.addUser(w.staging, relay.RoleOwner)
	for _, tt := range []struct {
		u                       *relay.User
		behalf, method, pattern string
		want                    bool
	}{
		{&owner, "", "POST", "/v3/subusers", true},
		{&owner, "staging", "POST", "/v3/subusers", false},
		{&owner, "staging", "POST", "/v3/api_keys", true},
		{&auditor, "", "POST", "/v3/api_keys", false},
		{&auditor, "", "GET", "/v3/api_keys", true},
		{&subs, "", "GET", "/v3/subusers", false},
		{&owner, "", "GET", "/v3/none", false},
		{nil, "", "GET", "/v3/scopes", false},
	} {
		if got := w.direct.MayFor(&relay.Principal{User: tt.u}, tt.behalf, tt.method, tt.pattern); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// A body that is JSON already goes as it is, and a context that ends is heard.
func TestDirectBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.addUser(w.acme, relay.RoleOwner)
	if err := w.direct.Call(t.Context(), w.inside(u, "PUT", "/v3/user/email", json.RawMessage(`{"email":"raw@example.test"}`)), nil); err != nil {
		t.Error(err)
	}
	if err := w.direct.Call(t.Context(), w.inside(u, "POST", "/v3/api_keys", func() {}), nil); err == nil {
		t.Error("a body that is no JSON was sent")
	}
	if callerOf(context.Background()) != nil {
		t.Error("nobody calls, and is somebody")
	}
}
