package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// From where an account's programs may come, in the real binary: one after the
// other, because the list is the account's.
func TestIPAccess(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "")
	scopes := "mail.send,user.username.read,access_settings.whitelist.create,access_settings.whitelist.read,access_settings.whitelist.update,access_settings.whitelist.delete,access_settings.activity.read"
	admin := r.addKey(t, "admin", "--scope", scopes).APIKey
	t.Run("lock-out refused", func(t *testing.T) { r.testLockOut(t, admin) })
	t.Run("trial", func(t *testing.T) { r.testTrial(t, admin) })
	t.Run("monitor only", func(t *testing.T) { r.testMonitor(t, admin) })
	t.Run("subuser", r.testSubuserAccess)
}

// isIn reports whether a key gets in from an address, on both protocols alike.
func (r *identityRelay) isIn(t testing.TB, key, from string) bool {
	t.Helper()
	s := r.talk(t, from, "client.example")
	bySMTP := s.login("apikey", key)
	byHTTP := r.api(t, apiRequest{from: from, key: key, path: "/v3/user/username"})
	in := strings.HasPrefix(bySMTP, "235 ")
	if !in {
		wantReply(t, "SMTP", bySMTP, "535 5.7.8 Authentication failed: The provided authorization grant is invalid, expired, or revoked")
	}
	if in != (byHTTP.status == 200) || !in && byHTTP.status != 401 {
		t.Errorf("from %s: SMTP %q, HTTP %d %s", from, bySMTP, byHTTP.status, byHTTP.body)
	}
	return in
}

func (r *identityRelay) rules(t testing.TB) (ids []string) {
	t.Helper()
	var list struct{ Result []struct{ ID json.Number } }
	r.read(t, &list, "access", "list")
	for _, e := range list.Result {
		ids = append(ids, e.ID.String())
	}
	return ids
}

// A change that would shut its maker out is refused unless confirmed; the host's
// socket always works.
func (r *identityRelay) testLockOut(t *testing.T, admin string) {
	list := func(members map[string]any) apiReply {
		members["ips"] = []map[string]string{{"ip": "127.0.50.0/24"}}
		return r.api(t, apiRequest{key: admin, method: http.MethodPost, path: "/v3/access_settings/whitelist", body: members})
	}
	wantStatus(t, "a list without the caller", list(map[string]any{}), 409, "")
	if n := len(r.rules(t)); n != 0 {
		t.Fatalf("%d entries after a refused change", n)
	}
	if !r.isIn(t, admin, "127.0.0.1") {
		t.Error("locked out by a refused change")
	}
	wantStatus(t, "the same, confirmed", list(map[string]any{"confirm": true}), 201, "127.0.50.0/24")
	until(t, "the list counts", func() bool { return r.api(t, apiRequest{key: admin, path: "/v3/user/username"}).status == 401 })
	if r.isIn(t, admin, "127.0.51.1") || !r.isIn(t, admin, "127.0.50.7") {
		t.Error("the list is not followed")
	}
	ids := r.rules(t) // over admin.sock
	if len(ids) != 1 {
		t.Fatalf("entries %v", ids)
	}
	r.postern(t, append([]string{"access", "remove"}, ids...)...)
	until(t, "everybody may try again", func() bool { return r.api(t, apiRequest{key: admin, path: "/v3/user/username"}).status == 200 })
}

// A change on trial takes itself back.
func (r *identityRelay) testTrial(t *testing.T, admin string) {
	open := r.talk(t, "127.0.0.1", "client.example").in(admin)
	r.postern(t, "access", "add", "127.0.50.0/24", "--trial", "30s")
	begun := time.Now() // or a little earlier
	until(t, "the trial counts", func() bool { return r.api(t, apiRequest{key: admin, path: "/v3/user/username"}).status == 401 })
	wantReply(t, "an open session", open.say("MAIL FROM:<"+r.From+">"), "454 4.7.0")
	if text := r.postern(t, "access", "list"); !strings.Contains(text, "On trial until") {
		t.Errorf("access list: %s", text)
	}
	time.Sleep(time.Until(begun.Add(31 * time.Second)))
	if !r.isIn(t, admin, "127.0.0.1") {
		t.Error("the trial has not ended by itself")
	}
	for deadline := time.Now().Add(20 * time.Second); len(r.alerts(t, "access_trial")) == 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody was told that the trial ended")
		}
	}
	if n := len(r.rules(t)); n != 0 {
		t.Errorf("%d entries after the trial", n)
	}
}

// Monitor-only lets everybody in and reports who would have been refused.
func (r *identityRelay) testMonitor(t *testing.T, admin string) {
	r.postern(t, "access", "mode", "monitor")
	r.postern(t, "access", "add", "127.0.50.0/24")
	until(t, "a would-be refusal is in the log", func() bool {
		if !r.isIn(t, admin, "127.0.52.1") {
			t.Fatal("refused though only watching")
		}
		return strings.Contains(r.postern(t, "log", "--addr", "127.0.52.1", "--json"), "access list of the account")
	})
	for _, l := range lines[loginSeen](t, r, "log", "--addr", "127.0.52.1") {
		if l.Result != "ok" {
			t.Errorf("record %+v", l)
		}
	}
	r.postern(t, "access", "mode", "enforce")
	until(t, "the list counts", func() bool {
		return r.api(t, apiRequest{from: "127.0.52.1", key: admin, path: "/v3/user/username"}).status == 401
	})
	if !r.isIn(t, admin, "127.0.50.1") {
		t.Error("who is on the list is refused")
	}
	// Both stand in the list of activity.
	type seen struct {
		Allowed bool
		Method  string `json:"auth_method"`
		IP      string
		Count   int64
	}
	until(t, "activity", func() bool {
		var list struct{ Result []seen }
		r.read(t, &list, "access", "activity", "--limit", "1000")
		var in, out bool
		for _, s := range list.Result {
			in = in || s.IP == "127.0.50.1" && s.Allowed && s.Count > 0 && s.Method != ""
			out = out || s.IP == "127.0.52.1" && !s.Allowed && s.Count > 0
		}
		return in && out
	})
	r.postern(t, append([]string{"access", "remove"}, r.rules(t)...)...)
}

// A subuser's list binds its keys, and nobody else's.
func (r *identityRelay) testSubuserAccess(t *testing.T) {
	k := r.addSubuser(t, "fenced", "--scope", "mail.send,user.username.read")
	other := r.addKey(t, "outside the fence", "--scope", "mail.send,user.username.read")
	r.postern(t, "access", "add", "127.0.53.0/24", "--subuser", "fenced")
	until(t, "the list counts", func() bool {
		return r.api(t, apiRequest{from: "127.0.54.1", key: k.APIKey, path: "/v3/user/username"}).status == 401
	})
	if r.isIn(t, k.APIKey, "127.0.54.2") || !r.isIn(t, k.APIKey, "127.0.53.2") || !r.isIn(t, other.APIKey, "127.0.54.3") {
		t.Error("the subuser's list is not followed")
	}
}
