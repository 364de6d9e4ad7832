package v3

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/store"
)

func TestFindMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	id := f.addMail(w.acme, "ann@dest.test", "bob@dest.test")
	f.addMail(w.staging, "ann@dest.test")
	f.addMail(w.globex, "ann@dest.test")
	narrow, wide := w.as(w.acme, scopeMail), w.as(w.acme, scopeMail, scopeBehalf)
	var got mailList
	narrow.want("GET", "/v3/messages?to=ann@dest.test", "", 200, &got)
	if len(got.Messages) != 1 {
		t.Fatalf("%+v", got)
	}
	if l := got.Messages[0]; l.ID != id || l.Subject != "Grüße" || l.Status != "processed" || l.State != "processed" || !l.NextAt.Equal(t0.Add(time.Minute)) || l.Subuser != "" {
		t.Errorf("%+v", l)
	}
	got = mailList{}
	wide.want("GET", "/v3/messages", "", 200, &got)
	if len(got.Messages) != 3 || got.Messages[2].Subuser != "staging" {
		t.Errorf("%+v", got)
	}
	narrow.want("GET", "/v3/messages?subject=hello&id=%3CAAECAwQFBgcICQoLDA0ODw@relay.test%3E&match=prefix&domain=DEST.test&to_domain=TO.test&until=2026-03-01T00:00:00Z&limit=7&after=x&state=bounced", "", 200, nil)
	until := t0.Add(-9 * time.Hour)
	if q := f.queries[len(f.queries)-1]; q.Tenant != w.acme || q.Subusers || !q.Prefix || q.Domain != "dest.test" || q.ToDomain != "to.test" || q.ID != absentID || q.Limit != 7 || q.After != "x" || !q.Until.Equal(until) || !q.Since.Equal(until.Add(-subjectSpan)) {
		t.Errorf("asked for %+v", q)
	}
	for path, field := range map[string]string{
		"?match=like": "match", "?state=lost": "state", "?limit=501": "limit", "?limit=0": "limit", "?since=yesterday": "since", "?key=none": "key",
		"?to=" + strings.Repeat("x", 321): "to", "?subject=%00": "subject", "?to_domain=%00": "to_domain", "?from=%ff": "from",
	} {
		var e struct{ Errors []struct{ Field *string } }
		narrow.want("GET", "/v3/messages"+path, "", 400, &e)
		if e.Errors[0].Field == nil || *e.Errors[0].Field != field {
			t.Errorf("%s: %+v", path, e)
		}
	}
}

// AP-01: a key's name finds the tenant's own, and two of a name are not guessed.
func TestFindMailByKeyName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, scopeMail)
	name := func(i int, to string) relay.KeyID { w.keys[i].Name = to; return w.keys[i].ID }
	w.addKey(w.acme)
	mine := name(len(w.keys)-1, "site")
	w.addKey(w.staging)
	name(len(w.keys)-1, "site")
	w.addKey(w.globex)
	name(len(w.keys)-1, "site")
	c.want("GET", "/v3/messages?key=site", "", 200, nil)
	if q := consoleOf(w).queries[0]; q.Key != mine {
		t.Errorf("asked for %v", q.Key)
	}
	c.want("GET", "/v3/messages?key="+mine.String(), "", 200, nil)
	w.as(w.acme, scopeMail, scopeBehalf).refused("GET", "/v3/messages?key=site", "", 400, "2 keys have this name", "key")
}

func TestJourney(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	id := f.addMail(w.acme, "ann@dest.test", "bob@dest.test", "eve@dest.test")
	f.happen(id, relay.EventDelivered, 0, relay.EventData{Attempt: 1, Reply: "250 ok", Host: "mx.dest.test"})
	f.happen(id, relay.EventDeferred, 1, relay.EventData{Attempt: 2, Reply: "451 later", Host: "mx.dest.test"})
	f.lanes = []queue.LaneStatus{{Lane: relay.Lane{Pool: fakePool, Site: "dest.test"}, Until: t0.Add(time.Minute), Reason: "the destination asked to slow down: 421 go away carl@globex.test"}}
	c := w.as(w.acme, scopeMail)
	var v journeyView
	a := c.want("GET", "/v3/messages/"+id.String(), "", 200, &v)
	if v.Key == nil || v.Key.Name != "key" || v.Source.Helo != "client.test" || v.Subject != "Grüße" || !v.Queued || !v.BodyStored || v.Preview || v.State != "queued" {
		t.Errorf("%+v", v)
	}
	if len(v.Recipients) != 3 || v.Recipients[0].State != "delivered" || v.Recipients[0].Reply != "250 ok" || v.Recipients[1].State != "deferred" || v.Recipients[1].Attempts != 2 ||
		v.Recipients[2].State != "queued" || v.Recipients[2].NextAt.IsZero() {
		t.Errorf("%+v", v.Recipients)
	}
	if len(v.Events) != 3 || v.Events[2].Data.Reply != "451 later" {
		t.Errorf("%+v", v.Events)
	}
	// What a destination said about somebody else's mail is nobody's business.
	if strings.Contains(a.Body, "carl@") || !strings.Contains(v.Recipients[1].Why, "asked to slow down") {
		t.Errorf("%s", a.Body)
	}
	if strings.Contains(strings.Join(v.Why, " "), "postern queue") {
		t.Errorf("why: %q", v.Why)
	}
	f.happen(id, relay.EventDelivered, 1, relay.EventData{Attempt: 3})
	f.happen(id, relay.EventBounced, 2, relay.EventData{Attempt: 1, Reply: "550 no"})
	v = journeyView{}
	c.want("GET", "/v3/messages/"+id.String(), "", 200, &v)
	if v.Queued || v.BodyStored || v.State != "mixed" || v.Status != "processed" || len(v.Recipients) != 3 || v.Recipients[1].State != "delivered" {
		t.Errorf("%+v", v)
	}
	c.refused("POST", "/v3/messages/"+id.String()+"/hold", "", 403, textNoScope, "")
	w.as(w.acme, scopeMailAct).refused("POST", "/v3/messages/"+id.String()+"/hold", "", 409, "has left the queue", "")
	c.refused("GET", "/v3/messages/x", "", 404, textNotFound, "")
}

// A long journey tells that its middle is left out, and nothing of a recipient whose end
// may be in it.
func TestJourneyOfManyEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	id := f.addMail(w.acme, "ann@dest.test", "bob@dest.test", "eve@dest.test")
	f.happen(id, relay.EventDelivered, 0, relay.EventData{})
	f.happen(id, relay.EventDelivered, 1, relay.EventData{})
	f.events[id] = slices.DeleteFunc(f.events[id], func(e relay.Event) bool { return e.N == 1 })
	for i, want := range []string{"queued", ""} {
		n := store.MaxHistory - 1 + i
		f.events[id] = append(f.events[id], slices.Repeat(f.events[id][1:2], n-len(f.events[id]))...)
		var v journeyView
		w.as(w.acme, scopeMail).want("GET", "/v3/messages/"+id.String(), "", 200, &v)
		if v.EventsLeft != (want == "") || len(v.Events) != n || v.Recipients[0].State != "delivered" || v.Recipients[1].State != want || v.Recipients[2].State != "queued" {
			t.Errorf("of %d: %d, %v, %+v", n, len(v.Events), v.EventsLeft, v.Recipients)
		}
	}
}

// A subuser does not learn the names of its account's people from its mail.
func TestJourneyHidesTheAccountsPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := consoleOf(w).addMail(w.staging, "ann@dest.test")
	boss := w.addUser(w.acme, relay.RoleOwner)
	path := "/v3/messages/" + id.String()
	w.person(boss, true).with("on-behalf-of", "staging").want("POST", path+"/hold", `{"reason":"look"}`, 200, nil)
	own := w.addUser(w.staging, relay.RoleOwner)
	w.person(own, true).want("POST", path+"/release", "", 403, nil)
	w.person(boss, true).with("on-behalf-of", "staging").want("POST", path+"/release", "", 200, nil)
	w.operator("acme").want("POST", path+"/hold", "", 200, nil)
	w.operator("acme").want("POST", path+"/release", "", 200, nil)
	w.person(own, true).want("POST", path+"/hold", "", 200, nil)
	a := w.as(w.staging, scopeMail).want("GET", path, "", 200, nil)
	for _, by := range []string{"account", "operator", "user " + own.Username} {
		if !strings.Contains(a.Body, `"by":"`+by) {
			t.Errorf("%s is not told: %s", by, a.Body)
		}
	}
	if strings.Contains(a.Body, boss.Username) || strings.Contains(a.Body, `"uid `) {
		t.Errorf("%s", a.Body)
	}
	if a := w.person(boss, true).with("on-behalf-of", "staging").want("GET", path, "", 200, nil); !strings.Contains(a.Body, boss.Username) {
		t.Errorf("the account on behalf of its subuser does not see who it was: %s", a.Body)
	}
	if a := w.person(boss, true).want("GET", path, "", 200, nil); !strings.Contains(a.Body, boss.Username) {
		t.Errorf("the account does not see who it was: %s", a.Body)
	}
}

// Who is higher has the last word: what the operator or the account holds, a
// tenant below does not release.
func TestReleaseOfOthersHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	own := w.as(w.staging, scopeMailAct)
	held := func(by *client) string {
		id := f.addMail(w.staging, "ann@dest.test")
		by.want("POST", "/v3/messages/"+id.String()+"/hold", "", 200, nil)
		return "/v3/messages/" + id.String() + "/release"
	}
	own.refused("POST", held(w.operator("acme")), "", 403, "The operator", "")
	w.as(w.acme, scopeMailAct, scopeBehalf).refused("POST", held(w.operator("acme")), "", 403, "The operator", "")
	w.operator("acme").want("POST", held(w.operator("acme")), "", 200, nil)
	own.refused("POST", held(w.person(w.addUser(w.acme, relay.RoleOwner), true)), "", 403, "The account holds", "")
	own.refused("POST", held(w.as(w.acme, scopeMailAct, scopeBehalf)), "", 403, "The account holds", "")
	boss := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	boss.with("on-behalf-of", "staging").want("POST", held(boss), "", 200, nil)
	w.as(w.acme, scopeMailAct, scopeBehalf).with("on-behalf-of", "staging").want("POST", held(boss), "", 200, nil)
	own.want("POST", held(own), "", 200, nil)
	own.want("POST", held(w.person(w.addUser(w.staging, relay.RoleOwner), true)), "", 200, nil)
	w.as(w.acme, scopeMailAct, scopeBehalf).want("POST", held(own), "", 200, nil)

	// Nothing of the account's own is a restricted person's, nor is it theirs to know.
	temp := w.person(w.restrict(w.addUser(w.acme, relay.RoleAdmin), w.staging), true).with("on-behalf-of", "staging")
	path := held(boss)
	temp.refused("POST", path, "", 403, "The account holds", "")
	if a := temp.want("GET", strings.TrimSuffix(path, "/release"), "", 200, nil); !strings.Contains(a.Body, `"by":"account"`) {
		t.Errorf("%s", a.Body)
	}
	temp.want("POST", held(own), "", 200, nil)
	kept := func(c *client, path string) leftCode {
		var v journeyView
		c.want("GET", strings.TrimSuffix(path, "/release"), "", 200, &v)
		return v.Kept
	}
	if got := kept(temp, path); got != leftAccount {
		t.Errorf("kept %q", got)
	}
	// What they hold themselves they release, and the subuser, which is not told their name.
	mine := held(temp)
	a := w.as(w.staging, scopeMail).want("GET", strings.TrimSuffix(mine, "/release"), "", 200, nil)
	if got := kept(temp, mine); got != "" || !strings.Contains(a.Body, `"by":"account"`) {
		t.Errorf("kept %q: %s", got, a.Body)
	}
	temp.want("POST", mine, "", 200, nil)
	own.want("POST", held(temp), "", 200, nil)
	if got := kept(temp, mine); got != "" {
		t.Errorf("what goes is kept: %q", got)
	}

	// A name that is somebody else's by now changes nothing.
	left := w.addUser(w.acme, relay.RoleOwner)
	path = held(w.person(left, true))
	gone := w.addUser(w.staging, relay.RoleOwner)
	theirs := held(w.person(gone, true))
	for i := range w.users {
		switch w.users[i].ID {
		case left.ID:
			w.users[i].Subuser = w.staging.Subuser
		case gone.ID:
			w.users[i].Username = "renamed"
		}
	}
	own.refused("POST", path, "", 403, "The account holds", "")
	if a := w.as(w.staging, scopeMail).want("GET", strings.TrimSuffix(path, "/release"), "", 200, nil); strings.Contains(a.Body, left.Username) {
		t.Errorf("%s", a.Body)
	}
	own.want("POST", theirs, "", 200, nil)

	id := f.addMail(w.acme, "ann@dest.test")
	f.setState(id, relay.MessageQuarantined)
	w.as(w.acme, relay.Scopes...).refused("POST", "/v3/messages/"+id.String()+"/release", "", 403, "quarantined", "")
	f.setState(id, relay.MessageHeld)
	holding := w.as(w.acme, scopeMailAct)
	w.keys[len(w.keys)-1].Mode = relay.KeyHold
	holding.refused("POST", "/v3/messages/"+id.String()+"/release", "", 403, "held for release by others", "")
}

func TestActOnMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	id := f.addMail(w.acme, "ann@dest.test")
	c := w.as(w.acme, scopeMailAct)
	path := "/v3/messages/" + id.String()
	var did mailActed
	c.want("POST", path+"/release", "", 200, &did)
	if did.Changed {
		t.Error("released what was not held")
	}
	c.refused("POST", path+"/hold", `{"reason":"a\nb"}`, 400, "one line", "reason")
	c.refused("POST", path+"/hold", `{"by":"x"}`, 400, "no such member", "by")
	c.want("POST", path+"/cancel", `{"reason":"oops"}`, 200, &did)
	if !did.Changed || !strings.Contains(strings.Join(w.changes, "\n"), "queue.cancel message "+id.String()) {
		t.Errorf("%+v %q", did, w.changes)
	}
}

// A body is shown only where the policy lets it, and who looked is recorded first.
func TestBodyPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	id := f.addMail(w.acme, "ann@dest.test")
	c := w.person(w.addUser(w.acme, relay.RoleCustom, scopeMail), true)
	path := "/v3/messages/" + id.String() + "/body"
	c.refused("GET", path, "", 403, "lets nobody read mail", "")
	w.operator("acme").refused("GET", path, "", 403, "lets nobody read mail", "")
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
	f.allowPreview(w.acme)
	// A key reads none, whatever its scopes.
	w.as(w.acme, relay.Scopes...).refused("GET", path, "", 403, "Only people read mail", "")
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
	var b mailBody
	c.want("GET", path, "", 200, &b)
	if b.Text != "Hello\r\n" || b.Headers[2] != [2]string{"Subject", "Grüße"} || !strings.Contains(w.changes[0], "message.read message "+id.String()) {
		t.Errorf("%+v %q", b, w.changes)
	}
	w.fail = errors.New("disk full")
	if a := c.do("GET", path, ""); a.Status != 500 || strings.Contains(a.Body, "Hello") {
		t.Errorf("read without a record: %+v", a)
	}
	w.fail = nil
	f.happen(id, relay.EventDelivered, 0, relay.EventData{})
	c.refused("GET", path, "", 409, "not stored any more", "")
}

func TestReadBody(t *testing.T) {
	t.Parallel()
	deep := "Content-Type: text/plain\r\n\r\nbottom\r\n"
	for i := range 30 {
		b := string(rune('a'+i%26)) + strings.Repeat("x", i)
		deep = "Content-Type: multipart/mixed; boundary=" + b + "\r\n\r\n--" + b + "\r\n" + deep + "\r\n--" + b + "--\r\n"
	}
	many := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nContent-Type: application/pdf\r\n\r\nx\r\n", 300) + "--b--\r\n"
	for name, tt := range map[string]struct {
		in    string
		check func(b mailBody) bool
	}{
		"plain": {"Subject: x\r\n\r\nhi", func(b mailBody) bool { return b.Text == "hi" && b.HTML == "" }},
		"both": {"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=FC=DF\r\n" +
			"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+aGk8L2I+\r\n--b--\r\n",
			func(b mailBody) bool { return b.Text == "grüß" && b.HTML == "<b>hi</b>" }},
		"attachment": {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/pdf; name=\"..\\\\..\\\\evil\x1b.pdf\"\r\n" +
			"Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n",
			func(b mailBody) bool {
				return b.Text == "text" && len(b.Attachments) == 1 && b.Attachments[0] == attachment{"evil.pdf", "application/pdf", 3}
			}},
		"encoded name": {"Content-Type: application/x\r\nContent-Disposition: attachment; filename=\"=?utf-8?q?M=C3=A4rz.pdf?=\"\r\n\r\nx", func(b mailBody) bool {
			return len(b.Attachments) == 1 && b.Attachments[0].Name == "März.pdf"
		}},
		"deep":       {deep, func(b mailBody) bool { return b.Truncated && b.Text == "" }},
		"many":       {many, func(b mailBody) bool { return b.Truncated && len(b.Attachments) <= maxShownParts }},
		"large":      {"\r\n" + strings.Repeat("x", maxShownText+9), func(b mailBody) bool { return b.Truncated && len(b.Text) == maxShownText }},
		"utf-7":      {"Content-Type: text/html; charset=utf-7\r\n\r\n+ADw-script+AD4-", func(b mailBody) bool { return !strings.Contains(b.HTML, "<script") }},
		"charset":    {"Content-Type: text/plain; charset=no-such\r\n\r\nab\xff", func(b mailBody) bool { return b.Text == "ab\ufffd" }},
		"encoding":   {"Content-Transfer-Encoding: rot13\r\n\r\nab", func(b mailBody) bool { return b.Text == "ab" }},
		"bad base64": {"Content-Transfer-Encoding: base64\r\n\r\n!!!!", func(b mailBody) bool { return b.Text == "" }},
		"no header":  {"\r\n\r\n", func(b mailBody) bool { return true }},
		"nothing":    {"", func(b mailBody) bool { return true }},
		"garbage":    {"\x00\x01 no header at all\r\n: x\r\n", func(b mailBody) bool { return true }},
		"no end":     {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext", func(b mailBody) bool { return strings.HasPrefix(b.Text, "text") }},
		"fields":     {strings.Repeat("X: y\r\n", 500) + "\r\nhi", func(b mailBody) bool { return len(b.Headers) == maxShownFields && b.Truncated && b.Text == "hi" }},
		"nul":        {"\r\na\x00b", func(b mailBody) bool { return b.Text == "ab" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := readBody(strings.NewReader(tt.in))
			if err != nil || !tt.check(b) {
				t.Errorf("%.300s, %v", fmt.Sprintf("%+v", b), err)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("disk is gone") }

// A body that cannot be read is an error, and not an empty message.
func TestReadBodyFault(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "Subject: x\r\n", "Subject: x\r\n\r\nhel"} {
		if _, err := readBody(io.MultiReader(strings.NewReader(in), brokenReader{})); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
}

func FuzzReadBody(f *testing.F) {
	f.Add(fakeBody)
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=gb18030\r\n\r\nx\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		b, err := readBody(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Text) > 2*maxShownText || len(b.HTML) > 2*maxShownText || len(b.Attachments) > maxShownParts || len(b.Headers) > maxShownFields {
			t.Errorf("%d octets of text, %d of html, %d attachments, %d fields", len(b.Text), len(b.HTML), len(b.Attachments), len(b.Headers))
		}
		for _, a := range b.Attachments {
			if strings.ContainsAny(a.Name, "/\\\x00\r\n") {
				t.Errorf("name %q", a.Name)
			}
		}
	})
}
