package e2e

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// usageSeen is one limit as `postern usage --json` shows it.
type usageSeen struct {
	Result []struct {
		Subject, Name, Window  string
		Limit, Used, Remaining int64
		ResetsAt               time.Time `json:"resets_at"`
	}
}

// addSubuser makes a subuser and a key of it.
func (r *identityRelay) addSubuser(t testing.TB, name string, keyArgs ...string) madeKey {
	t.Helper()
	r.postern(t, "subuser", "add", name, "--email", name+"@sender.test")
	return r.addKey(t, append([]string{name + " key", "--subuser", name}, keyArgs...)...)
}

// How much may be sent, in the real binary.
func TestLimits(t *testing.T) {
	t.Parallel()
	// What may be sent in a day may be sent anew when the date changes.
	if left := 24*time.Hour - time.Since(time.Now().UTC().Truncate(24*time.Hour)); left < 3*time.Minute {
		time.Sleep(left + time.Second)
	}
	r := newIdentityRelay(t, "")
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"exact over parallel connections", r.testExactCount},
		{"put off by a plan", r.testPutOff},
		{"goes on when the window opens", r.testGoesOn},
		{"451 at every step", r.testWordsOfLimits},
		{"alerts at 80 and 100 %", r.testUsageAlerts},
		{"notices are not limited", r.testNoticesAreFree},
		{"recipients, size, connections", r.testOtherLimits},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

// 20 connections and HTTP requests together try 200 times: exactly 50 get in.
func (r *identityRelay) testExactCount(t *testing.T) {
	k := r.addKey(t, "fifty", "--per-day", "50", "--recipient-domain", "rcpt.test")
	const workers, tries = 20, 10
	var bySMTP, byHTTP, refused atomic.Int64
	var wg sync.WaitGroup
	var start sync.WaitGroup // all are in before the first sends
	start.Add(1)
	for w := range workers {
		if w%2 == 0 {
			wg.Go(func() {
				start.Wait()
				for range tries {
					switch a := r.post(t, k.APIKey, "fifty", r.From, r.To); {
					case a.status == 202:
						byHTTP.Add(1)
					case a.status == 401 && strings.Contains(a.body, "Maximum credits exceeded"):
						refused.Add(1)
					default:
						t.Errorf("HTTP: %d %s", a.status, a.body)
					}
				}
			})
			continue
		}
		s := r.talk(t, "127.0.0.1", fmt.Sprintf("client%d.example", w)).in(k.APIKey)
		wg.Go(func() {
			start.Wait()
			for range tries {
				switch got := s.send("fifty", r.From, r.To); {
				case strings.HasPrefix(got, "250 "):
					bySMTP.Add(1)
				case strings.HasPrefix(got, "451 4.7.1 Maximum credits exceeded"):
					refused.Add(1)
				default:
					t.Errorf("SMTP: %q", got)
				}
			}
		})
	}
	start.Done()
	wg.Wait()
	if in := bySMTP.Load() + byHTTP.Load(); in != 50 || refused.Load() != workers*tries-50 {
		t.Errorf("%d by SMTP and %d by HTTP got in, %d were refused; want 50 and %d", bySMTP.Load(), byHTTP.Load(), refused.Load(), workers*tries-50)
	}
	var report struct{ Messages int64 }
	r.read(t, &report, "key", "users", k.ID)
	if report.Messages != 50 {
		t.Errorf("%d are counted, want 50", report.Messages)
	}
}

// over = defer: accepted, and `queue why` says why it waits and until when.
func (r *identityRelay) testPutOff(t *testing.T) {
	k := r.addSubuser(t, "patient")
	r.postern(t, "plan", "--subuser", "patient", "--per-hour", "2", "--over", "defer")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	tok := token("put-off")
	for range 2 {
		wantReply(t, "within the plan", s.send(tok, r.From, r.To), "250 ")
	}
	late := idOf(t, s.send(tok+"-late", r.From, r.To))
	wantStatus(t, "HTTP over the plan", r.post(t, k.APIKey, tok+"-late", r.From, r.To), 202, "")
	r.arrives(t, tok)
	why := r.postern(t, "queue", "why", late)
	for _, want := range []string{"over the limit of", "patient", "2 ", "hour", "it goes on at"} {
		if !strings.Contains(why, want) {
			t.Errorf("queue why does not say %q:\n%s", want, why)
		}
	}
	var q struct {
		Recipients []struct {
			DueAt    time.Time `json:"due_at"`
			Attempts int
		}
	}
	r.read(t, &q, "queue", "show", late)
	if len(q.Recipients) != 1 || q.Recipients[0].Attempts != 0 {
		t.Fatalf("queued: %+v", q)
	}
	if wait := time.Until(q.Recipients[0].DueAt); wait < 55*time.Minute || wait > 65*time.Minute {
		t.Errorf("due in %v, want about an hour", wait)
	}
	if e := r.history(t, late, "deferred")["deferred"]; !strings.Contains(e.Data.Reason, "over the limit of") {
		t.Errorf("events: %+v", e)
	}
	if n := r.copies(tok + "-late"); n != 0 {
		t.Errorf("%d of the deferred were sent", n)
	}
}

// What was put off for a minute goes on by itself.
func (r *identityRelay) testGoesOn(t *testing.T) {
	k := r.addSubuser(t, "minutely", "--per-minute", "1")
	r.postern(t, "plan", "--subuser", "minutely", "--over", "defer")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	tok := token("goes-on")
	start := time.Now()
	wantReply(t, "first", s.send(tok+"-1", r.From, r.To), "250 ")
	wantReply(t, "second", s.send(tok+"-2", r.From, r.To), "250 ")
	if m := r.arrives(t, tok+"-2"); m.ReceivedAt.Sub(start) < 58*time.Second {
		t.Errorf("the second left after %v, want a minute", m.ReceivedAt.Sub(start))
	}
	r.arrives(t, tok+"-1")
}

// The words are those that clients of SendGrid match, wherever the limit is met:
// at AUTH, at MAIL, after the text.
func (r *identityRelay) testWordsOfLimits(t *testing.T) {
	k := r.addKey(t, "three", "--per-day", "3")
	early := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	second := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	wantReply(t, "two recipients", early.send(token("three"), r.From, r.To, "two@rcpt.test"), "250 ")
	// One is left, which MAIL lets pass; the second recipient is found out at the end.
	s := second
	s.want("MAIL FROM:<"+r.From+">", "250")
	s.want("RCPT TO:<one@rcpt.test>", "250")
	s.want("RCPT TO:<two@rcpt.test>", "250")
	s.want("DATA", "354")
	wantReply(t, "after the text", s.say("From: "+r.From+"\r\nSubject: x\r\n\r\nx\r\n."), "451 4.7.1 Maximum credits exceeded")
	wantReply(t, "the last one", second.send(token("three"), r.From, r.To), "250 ")
	wantReply(t, "MAIL", early.say("MAIL FROM:<"+r.From+">"), "451 4.7.1 Maximum credits exceeded")
	wantReply(t, "AUTH", r.talk(t, "127.0.0.1", "client.example").login("apikey", k.APIKey), "451 4.7.1 Authentication failed: Maximum credits exceeded")
	// Only the right secret is told.
	unknown := r.talk(t, "127.0.10.1", "client.example").login("apikey", unknownKey(t))
	if got := r.talk(t, "127.0.10.1", "client.example").login(k.ID, unknownKey(t)); !strings.HasPrefix(got, "535 ") || !strings.HasPrefix(unknown, "535 ") {
		t.Errorf("without the secret: %q, %q", got, unknown)
	}
	wantStatus(t, "HTTP", r.post(t, k.APIKey, "x", r.From, r.To), 401, "Maximum credits exceeded")
}

// 80 % and 100 % of a limit are told once each.
func (r *identityRelay) testUsageAlerts(t *testing.T) {
	k := r.addSubuser(t, "warned")
	r.postern(t, "plan", "--subuser", "warned", "--per-day", "10")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	of := func(kind string) (found []alertSeen) {
		for _, a := range r.alerts(t, kind) {
			if a.Data.Alert.Limit == "subuser day" && a.Data.Alert.Total == 10 {
				found = append(found, a)
			}
		}
		return found
	}
	for n := range 12 {
		if got, ok := s.send(token("warned"), r.From, r.To), n < 10; strings.HasPrefix(got, "250 ") != ok {
			t.Fatalf("message %d: %q", n+1, got)
		}
		if n == 6 {
			if got := of("usage_80"); len(got) != 0 {
				t.Errorf("told at 70 %%: %+v", got)
			}
		}
	}
	until(t, "both are told", func() bool { return len(of("usage_80")) == 1 && len(of("usage_100")) == 1 })
	if a := of("usage_80")[0].Data.Alert; a.Used != 8 || a.Text == "" {
		t.Errorf("at 80 %%: %+v", a)
	}
	var u usageSeen
	r.read(t, &u, "usage", "--subuser", "warned")
	found := false
	for _, x := range u.Result {
		if x.Subject == "subuser" && x.Window == "day" {
			found = true
			if x.Limit != 10 || x.Used != 10 || x.Remaining != 0 || time.Until(x.ResetsAt) <= 0 || time.Until(x.ResetsAt) > 25*time.Hour {
				t.Errorf("usage %+v", x)
			}
		}
	}
	if !found {
		t.Errorf("usage %+v", u)
	}
}

// A bounce of the last message that a plan allows is written all the same.
func (r *identityRelay) testNoticesAreFree(t *testing.T) {
	k := r.addSubuser(t, "bouncy")
	r.postern(t, "plan", "--subuser", "bouncy", "--per-day", "1")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	tok := token("bounce")
	id := idOf(t, s.send(tok, "postmaster@sender.test", "nobody@rcpt.test"))
	wantReply(t, "over the plan", s.send(tok, r.From, r.To), "451 ")
	m := r.arrives(t, "nobody@rcpt.test")
	if m.MailFrom != "" || !strings.Contains(string(m.Raw), "Subject: ") {
		t.Errorf("the notice: from %q\n%s", m.MailFrom, m.Raw)
	}
	r.history(t, id, "bounced", "notified")
	var u usageSeen
	r.read(t, &u, "usage", "--subuser", "bouncy")
	for _, x := range u.Result {
		if x.Subject == "subuser" && x.Window == "day" && x.Used != 1 {
			t.Errorf("the notice was counted: %+v", x)
		}
	}
}

// What a plan says of one message, and of connections at once.
func (r *identityRelay) testOtherLimits(t *testing.T) {
	k := r.addSubuser(t, "small")
	r.postern(t, "plan", "--subuser", "small", "--recipients", "2", "--size", "64KiB", "--connections", "2")
	s := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	s.want("MAIL FROM:<"+r.From+"> SIZE=70000", "552 5.3.4")
	s.want("MAIL FROM:<"+r.From+">", "250")
	for n := range 3 {
		want := "250"
		if n == 2 {
			want = "452 4.5.3"
		}
		s.want(fmt.Sprintf("RCPT TO:<r%d@rcpt.test>", n), want)
	}
	s.want("RSET", "250")
	if a := r.post(t, k.APIKey, "x", r.From, "a@rcpt.test", "b@rcpt.test", "c@rcpt.test"); a.status < 400 {
		t.Errorf("HTTP, three recipients: %d %s", a.status, a.body)
	}
	other := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	other.want("MAIL FROM:<"+r.From+">", "250")
	third := r.talk(t, "127.0.0.1", "client.example").in(k.APIKey)
	third.want("MAIL FROM:<"+r.From+">", "421 4.7.0")
	other.want("QUIT", "221")
	until(t, "a connection is free again", func() bool {
		return strings.HasPrefix(r.talk(t, "127.0.0.1", "client.example").in(k.APIKey).say("MAIL FROM:<"+r.From+">"), "250")
	})
}
