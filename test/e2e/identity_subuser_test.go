package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// A disabled subuser's mail waits and goes on; a deleted one's is dropped, held
// mail too, each with an event.
func TestSubuserLife(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "")
	t.Run("disable and enable", r.testDisabledSubuser)
	t.Run("delete", r.testDeletedSubuser)
	t.Run("strangers to each other", r.testForeignSubuser)
}

func (r *identityRelay) testDisabledSubuser(t *testing.T) {
	k := r.addSubuser(t, "paused", "--mode", "hold", "--scope", "mail.send,user.account.read")
	tok := token("paused")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	id := idOf(t, s.send(tok, r.From, r.To))
	r.postern(t, "subuser", "disable", "paused")
	until(t, "the open session ends", func() bool { return !strings.HasPrefix(s.say("MAIL FROM:<"+r.From+">"), "250") })
	wantReply(t, "AUTH", r.talk(t, "127.0.11.1", "client.example").login("apikey", k.APIKey), "535 5.7.8")
	wantStatus(t, "HTTP", r.api(t, apiRequest{from: "127.0.11.2", key: k.APIKey, path: "/v3/user/account"}), 401, "")
	r.postern(t, "queue", "release", id)
	after := token("after")
	if err := r.send(after, "x\r\n"); err != nil {
		t.Fatal(err)
	}
	r.arrives(t, after) // others go on
	if why := r.postern(t, "queue", "why", id); !strings.Contains(why, "the subuser is disabled") {
		t.Errorf("queue why: %s", why)
	}
	if r.copies(tok) != 0 {
		t.Error("mail of a disabled subuser was sent")
	}
	r.postern(t, "subuser", "enable", "paused")
	r.arrives(t, tok)
	r.talk(t, "127.0.11.3", "client.example").in(k.APIKey)
}

func (r *identityRelay) testDeletedSubuser(t *testing.T) {
	k := r.addSubuser(t, "doomed", "--mode", "hold")
	r.postern(t, "plan", "--subuser", "doomed", "--per-hour", "2", "--over", "defer")
	live := r.addKey(t, "doomed live", "--subuser", "doomed")
	tok := token("doomed")
	held := idOf(t, r.talk(t, "127.0.0.1", "client.example").in(k.APIKey).send(tok, r.From, r.To, "two@rcpt.test"))
	waiting := idOf(t, r.talk(t, "127.0.0.1", "client.example").in(live.APIKey).send(tok, r.From, r.To)) // over the plan: put off
	if text := r.postern(t, "subuser", "delete", "doomed", "--dry-run"); !strings.Contains(text, "2 keys") || !strings.Contains(text, "2 queued messages") {
		t.Errorf("dry run: %s", text)
	}
	r.talk(t, "127.0.0.1", "client.example").in(k.APIKey) // nothing has happened yet
	r.postern(t, "subuser", "delete", "doomed")
	for _, id := range []string{held, waiting} {
		if e := r.history(t, id, "dropped")["dropped"]; !strings.Contains(e.Data.Reason, "deleted") || e.Recipient == "" {
			t.Errorf("event %+v", e)
		}
		if res := r.tries(t, "queue", "show", id); res.code == 0 {
			t.Errorf("still queued: %s", res.out)
		}
	}
	for _, key := range []madeKey{k, live} {
		wantReply(t, "AUTH", r.talk(t, "127.0.11.4", "client.example").login("apikey", key.APIKey), "535 5.7.8")
	}
	// The name is free again, and what is made under it has nothing of the old one.
	again := r.addSubuser(t, "doomed")
	wantReply(t, "the new one", r.talk(t, "127.0.0.1", "client.example").in(again.APIKey).send(tok+"-new", r.From, r.To), "250 ")
	r.arrives(t, tok+"-new")
	if n := r.copies(tok); n != 1 {
		t.Errorf("%d messages were sent, want the new one's only", n)
	}
}

// AP-01, AP-02: a subuser's key reaches neither its parent nor its siblings; the
// parent acts for it by name.
func (r *identityRelay) testForeignSubuser(t *testing.T) {
	scopes := "mail.send,api_keys.read,api_keys.delete,subusers.read,user.username.read,access_settings.activity.read"
	one := r.addSubuser(t, "sibling-one", "--scope", scopes)
	two := r.addSubuser(t, "sibling-two", "--scope", scopes)
	parent := r.addKey(t, "parent", "--scope", scopes)
	absent := r.api(t, apiRequest{key: one.APIKey, path: "/v3/api_keys/AAAAAAAAAAAAAAAAAAAAAA"})
	if absent.status != 404 {
		t.Fatalf("a key that is not there: %d %s", absent.status, absent.body)
	}
	for _, foreign := range []string{two.ID, parent.ID} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			a := r.api(t, apiRequest{key: one.APIKey, method: method, path: "/v3/api_keys/" + foreign})
			if a.status != absent.status || a.body != absent.body {
				t.Errorf("%s of a foreign key: %d %s, of an absent one %d %s", method, a.status, a.body, absent.status, absent.body)
			}
		}
	}
	for _, path := range []string{"/v3/api_keys", "/v3/logins"} {
		if a := r.api(t, apiRequest{key: one.APIKey, path: path}); a.status != 200 || strings.Contains(a.body, two.ID) || strings.Contains(a.body, parent.ID) {
			t.Errorf("%s shows others: %d %s", path, a.status, a.body)
		}
	}
	who := func(key, behalf string) apiReply {
		return r.api(t, apiRequest{key: key, path: "/v3/user/username", header: map[string]string{"on-behalf-of": behalf}})
	}
	wantStatus(t, "the parent for its subuser", who(parent.APIKey, "sibling-two"), 200, "sibling-two")
	for _, behalf := range []string{"sibling-two", "main"} {
		if a := who(one.APIKey, behalf); a.status < 400 {
			t.Errorf("a subuser on behalf of %s: %d %s", behalf, a.status, a.body)
		}
	}
	r.talk(t, "127.0.0.1", "client.example").in(two.APIKey) // it lives
}
