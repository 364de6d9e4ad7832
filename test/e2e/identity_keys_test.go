package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// keySeen is what `postern key show --json` says, as far as it is looked at here.
type keySeen struct {
	Mode              string
	LastUsedFrom      string    `json:"last_used_from"`
	LastUsedHelo      string    `json:"last_used_helo"`
	LastUsedMechanism string    `json:"last_used_mechanism"`
	UseCount          int64     `json:"use_count"`
	RotatedAt         time.Time `json:"rotated_at"`
	PreviousUntil     time.Time `json:"previous_valid_until"`
	PreviousUsedAt    time.Time `json:"previous_last_used_at"`
	PreviousUsedFrom  string    `json:"previous_last_used_from"`
	PreviousUsedHelo  string    `json:"previous_last_used_helo"`
	PreviousUseCount  int64     `json:"previous_use_count"`
}

func (r *identityRelay) key(t testing.TB, id string) keySeen {
	t.Helper()
	var k keySeen
	r.read(t, &k, "key", "show", id)
	return k
}

// What a key may do, in the real binary: each restriction refuses the same on
// SMTP and HTTP.
func TestKeyRestrictions(t *testing.T) {
	t.Parallel()
	r := newIdentityRelay(t, "")
	t.Run("rotation", r.testRotation)
	t.Run("canary", r.testCanary)
	t.Run("hours", r.testHours)
	t.Run("senders and recipients", r.testSendersAndRecipients)
	t.Run("networks", r.testNetworks)
	t.Run("test mode", r.testTestMode)
	t.Run("hold mode", r.testHoldMode)
	t.Run("last use and dry-run revoke", r.testLastUse)
}

// Both secrets work through the overlap, and `key show` says who still uses the
// old one and from where.
func (r *identityRelay) testRotation(t *testing.T) {
	old := r.addKey(t, "rotated")
	r.talk(t, "127.0.5.1", "early.example").in(old.APIKey)
	var fresh madeKey
	r.read(t, &fresh, "key", "rotate", old.ID, "--overlap", "1h")
	if fresh.ID != old.ID || fresh.APIKey == old.APIKey || !keyPattern.MatchString(fresh.APIKey) {
		t.Fatalf("rotated %+v to %+v", old, fresh)
	}
	k := r.key(t, old.ID)
	if left := time.Until(k.PreviousUntil); left < 50*time.Minute || left > time.Hour || k.PreviousUseCount != 0 || k.RotatedAt.IsZero() {
		t.Errorf("after the rotation: %+v", k)
	}
	r.talk(t, "127.0.5.2", "new.example").in(fresh.APIKey)
	r.talk(t, "127.0.5.3", "straggler.example").in(old.APIKey)
	r.talk(t, "127.0.5.3", "straggler.example").in(old.APIKey)
	until(t, "the old secret's use is counted", func() bool { return r.key(t, old.ID).PreviousUseCount == 2 })
	k = r.key(t, old.ID)
	if k.PreviousUsedFrom != "127.0.5.3" || k.PreviousUsedHelo != "straggler.example" || k.PreviousUsedAt.IsZero() {
		t.Errorf("who still uses the old secret: %+v", k)
	}
	text := r.postern(t, "key", "show", old.ID)
	for _, want := range []string{"old secret works until", "old secret used from", "127.0.5.3", "straggler.example"} {
		if !strings.Contains(text, want) {
			t.Errorf("key show does not say %q:\n%s", want, text)
		}
	}
	// A rotation without overlap ends both.
	var last madeKey
	r.read(t, &last, "key", "rotate", old.ID, "--overlap", "0s")
	for _, dead := range []string{old.APIKey, fresh.APIKey} {
		wantReply(t, "a secret of before", r.talk(t, "127.0.5.4", "late.example").login("apikey", dead), "535 5.7.8")
	}
	r.talk(t, "127.0.5.2", "new.example").in(last.APIKey)
}

// A canary is refused like any other wrong key and raises an alert at once, on
// both protocols.
func (r *identityRelay) testCanary(t *testing.T) {
	trap := r.addKey(t, "trap", "--canary")
	refused := r.talk(t, "127.0.6.1", "thief.example").login("apikey", trap.APIKey)
	if other := r.talk(t, "127.0.6.2", "thief.example").login("apikey", unknownKey(t)); refused != other {
		t.Errorf("a canary is told apart: %q, others %q", refused, other)
	}
	until(t, "the alert is there", func() bool { return len(r.alerts(t, "canary")) > 0 })
	if a := r.alerts(t, "canary")[0]; a.Key != trap.ID || a.Data.Alert.Addr != "127.0.6.1" || a.Data.Alert.Text == "" {
		t.Errorf("alert %+v", a)
	}
	wantStatus(t, "a canary on HTTP", r.api(t, apiRequest{from: "127.0.6.3", key: trap.APIKey, path: "/v3/scopes"}), 401, "")
	until(t, "both tries are on record", func() bool {
		got := lines[loginSeen](t, r, "log", "--key", trap.ID)
		return len(got) == 2 && got[0].Result == "canary" && got[1].Result == "canary" && got[1].Protocol == "http"
	})
}

// Outside its hours a key logs in and is told at MAIL, and by HTTP, from when it
// may send.
func (r *identityRelay) testHours(t *testing.T) {
	days := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	elsewhen := days[(int(time.Now().UTC().Weekday())+3)%7] // three days off, whatever the hour turns to meanwhile
	k := r.addKey(t, "night shift", "--hours", elsewhen+" 02-03")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	got := s.send("hours", r.From, r.To)
	wantReply(t, "MAIL outside its hours", got, "450 4.7.1 This key may not send at this hour; it may again from ")
	if !strings.Contains(strings.ToLower(got), elsewhen) || !strings.Contains(got, "02:00 UTC") {
		t.Errorf("the reply does not say when: %q", got)
	}
	a := r.post(t, k.APIKey, "hours", r.From, r.To)
	wantStatus(t, "HTTP outside its hours", a, 429, "may not send at this hour")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 24*3600 || wait > 7*24*3600 {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	// An open session follows the change within a second.
	r.postern(t, "key", "update", k.ID, "--hours", "")
	until(t, "the hours are gone", func() bool { return strings.HasPrefix(s.send(token("hours"), r.From, r.To), "250 ") })
}

func (r *identityRelay) testSendersAndRecipients(t *testing.T) {
	k := r.addKey(t, "narrow", "--sender", "shop@sender.test", "--recipient-domain", "rcpt.test")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	for _, c := range []struct {
		name, from, to, smtp string
		status               int
	}{
		{"another sender", "news@sender.test", "a@rcpt.test", "550 5.7.1", 403},
		{"another recipient domain", "shop@sender.test", "a@other.test", "550 5.7.1", 403},
		{"a domain below", "shop@sender.test", "a@sub.rcpt.test", "550 5.7.1", 403},
		{"what it is for", "shop@sender.test", "a@rcpt.test", "250 2.0.0", 202},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantReply(t, "SMTP", s.send(token("narrow"), c.from, c.to), c.smtp)
			wantStatus(t, "HTTP", r.post(t, k.APIKey, token("narrow"), c.from, c.to), c.status, "")
		})
	}
	t.Run("one recipient of two", func(t *testing.T) {
		s.want("MAIL FROM:<shop@sender.test>", "250")
		s.want("RCPT TO:<a@rcpt.test>", "250")
		s.want("RCPT TO:<a@other.test>", "550 5.7.1")
		s.want("RSET", "250")
		wantStatus(t, "HTTP takes all or none", r.post(t, k.APIKey, token("narrow"), "shop@sender.test", "a@rcpt.test", "a@other.test"), 403, "")
	})
}

// AU-32, AP-06: the right secret from elsewhere is refused as a wrong one is, on both.
func (r *identityRelay) testNetworks(t *testing.T) {
	k := r.addKey(t, "at home", "--network", "127.0.7.0/24")
	r.talk(t, "127.0.7.9", "home.example").in(k.APIKey)
	refused := r.talk(t, "127.0.8.1", "away.example").login("apikey", k.APIKey)
	if other := r.talk(t, "127.0.8.2", "away.example").login("apikey", unknownKey(t)); refused != other {
		t.Errorf("refused %q, an unknown key %q", refused, other)
	}
	q := apiRequest{from: "127.0.8.1", key: k.APIKey, path: "/v3/mail/send", method: http.MethodPost, body: mailSend("x", r.From, r.To)}
	q.header = map[string]string{"X-Forwarded-For": "127.0.7.9", "Forwarded": "for=127.0.7.9"}
	wantStatus(t, "HTTP from elsewhere", r.api(t, q), 401, "")
	q.from = "127.0.7.9"
	wantStatus(t, "HTTP from home", r.api(t, q), 202, "")
	for _, l := range lines[loginSeen](t, r, "log", "--key", k.ID, "--result", "network") {
		if l.Addr != "127.0.8.1" {
			t.Errorf("refused for the network: %+v", l)
		}
	}
}

// A test key's mail is accepted, recorded and never sent.
func (r *identityRelay) testTestMode(t *testing.T) {
	k := r.addKey(t, "try-out", "--mode", "test")
	tok := token("test-mode")
	bySMTP := idOf(t, r.talk(t, "127.0.0.1", "client.example").in(k.APIKey).send(tok, r.From, r.To))
	a := r.post(t, k.APIKey, tok, r.From, r.To)
	wantStatus(t, "HTTP", a, 202, "")
	after := token("after")
	if err := r.send(after, "x\r\n"); err != nil {
		t.Fatal(err)
	}
	r.arrives(t, after)
	for _, id := range []string{bySMTP, a.header.Get("X-Message-Id")} {
		if h := r.history(t, id, "received", "dropped"); h["dropped"].Data.Reason == "" {
			t.Errorf("events of %s: %+v", id, h)
		}
	}
	if n := r.copies(tok); n != 0 {
		t.Errorf("%d messages of a test key were sent", n)
	}
}

// A hold key's mail waits until a person releases it.
func (r *identityRelay) testHoldMode(t *testing.T) {
	k := r.addKey(t, "held", "--mode", "hold")
	bySMTP, byHTTP := token("hold-smtp"), token("hold-http")
	id := idOf(t, r.talk(t, "127.0.0.1", "client.example").in(k.APIKey).send(bySMTP, r.From, r.To))
	a := r.post(t, k.APIKey, byHTTP, r.From, r.To)
	wantStatus(t, "HTTP", a, 202, "")
	for _, id := range []string{id, a.header.Get("X-Message-Id")} {
		if why := r.postern(t, "queue", "why", id); !strings.Contains(why, "It is held") {
			t.Errorf("queue why: %s", why)
		}
	}
	after := token("after")
	if err := r.send(after, "x\r\n"); err != nil {
		t.Fatal(err)
	}
	r.arrives(t, after)
	if r.copies(bySMTP)+r.copies(byHTTP) != 0 {
		t.Error("held mail was sent")
	}
	r.postern(t, "queue", "release", "--key", k.ID)
	r.arrives(t, bySMTP)
	r.arrives(t, byHTTP)
	r.history(t, id, "held", "released", "delivered")
}

// A dry run says what used the key, and revokes nothing; the revoke does at once,
// in an open session too.
func (r *identityRelay) testLastUse(t *testing.T) {
	k := r.addKey(t, "used", "--scope", "mail.send,user.account.read")
	s := r.talk(t, "127.0.9.1", "app1.example").in(k.APIKey)
	wantReply(t, "send", s.send(token("used"), r.From, r.To, "two@rcpt.test"), "250 ")
	r.talk(t, "127.0.9.1", "app1.example").in(k.APIKey)
	r.talk(t, "127.0.9.2", "app2.example").in(k.APIKey)
	until(t, "uses are counted", func() bool { return r.key(t, k.ID).UseCount == 3 })
	if got := r.key(t, k.ID); got.LastUsedFrom != "127.0.9.2" || got.LastUsedHelo != "app2.example" || got.LastUsedMechanism != "PLAIN" {
		t.Errorf("last use: %+v", got)
	}
	var report struct {
		Users []struct {
			Addr, Helo, Mechanism, TLS string
			Logins                     int64
		}
		Messages int64
	}
	r.read(t, &report, "key", "revoke", k.ID, "--dry-run", "--days", "7")
	if len(report.Users) != 2 || report.Messages != 2 {
		t.Fatalf("report %+v", report)
	}
	for _, u := range report.Users {
		if want := map[string]int64{"127.0.9.1": 2, "127.0.9.2": 1}[u.Addr]; u.Logins != want || u.Mechanism != "PLAIN" || !strings.HasPrefix(u.TLS, "TLSv1.3 TLS_") {
			t.Errorf("user %+v, want %d logins", u, want)
		}
	}
	wantReply(t, "after the dry run", s.send(token("used"), r.From, r.To), "250 ")
	r.postern(t, "key", "revoke", k.ID)
	start, good := time.Now(), time.Duration(0)
	until(t, "the session ends", func() bool {
		asked := time.Since(start)
		if !strings.HasPrefix(s.send(token("used"), r.From, r.To), "250 ") {
			return true
		}
		good = asked
		return false
	})
	if good > revokedWithin {
		t.Errorf("a revoked key worked for %v", good)
	}
	wantStatus(t, "HTTP", r.api(t, apiRequest{from: "127.0.9.3", key: k.APIKey, path: "/v3/user/account"}), 401, "")
	if text := r.postern(t, "key", "users", k.ID); !strings.Contains(text, "app2.example") {
		t.Errorf("who used a revoked key is not shown:\n%s", text)
	}
}
