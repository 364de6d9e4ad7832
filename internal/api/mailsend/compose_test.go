package mailsend

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const eml = "From: a@x.test\r\nSubject: inner\r\n\r\nhello ä\r\n"

// rich is a request with a bit of everything.
func rich() object {
	return object{
		"from":     object{"email": "jörg@bücher.test", "name": `Jörg "the" Müller`},
		"reply_to": object{"email": "r@a.test", "name": "Reply, please"},
		"subject":  "Grüße an alle", "headers": object{"X-One": "eins", "X-Two": "zwei ä"},
		"personalizations": []object{
			{
				"to":  []object{{"email": "one@x.test", "name": "Eins"}, {"email": "two@bücher.test", "name": `"Zwei, Drei"`}},
				"cc":  []object{{"email": "cc@x.test"}},
				"bcc": []object{{"email": "bcc@x.test"}},
			},
			{"to": []object{{"email": "one@x.test"}}, "subject": "own", "headers": object{"x-one": "own"}, "from": object{"email": "other@a.test"}},
		},
		"content": []object{
			{"type": "text/plain", "value": "Grüße\r\n.\nFrom me\nlast"}, {"type": "text/html", "value": "<html><body>" + strings.Repeat("long ", 400) + "</BODY></html>"},
			{"type": "text/calendar", "value": "BEGIN:VCALENDAR\r\n"},
		},
		"attachments": []object{
			{"content": b64("\x00\x01\xff\r\n"), "filename": "größe.bin", "type": "application/x-thing"},
			{"content": b64("GIF89a"), "filename": "logo.gif", "type": "image/gif", "disposition": "inline", "content_id": "logo"},
			{"content": b64(eml), "filename": "mail.eml", "type": "message/rfc822"},
			{"content": b64("a\n"), "filename": "../../" + strings.Repeat("very long name ", 12) + `"x".txt`, "type": "pdf", "disposition": "attachment"},
		},
		"mail_settings": object{"footer": object{"enable": true, "text": "foot", "html": "<p>foot</p>"}},
	}
}

func richSeen() []seen {
	contents := []leaf{
		{Type: "text/plain", Body: "Grüße\r\n.\r\nFrom me\r\nlast\r\n\r\nfoot\r\n"},
		{Type: "text/html", Body: "<html><body>" + strings.Repeat("long ", 400) + "<p>foot</p></BODY></html>\r\n"},
		{Type: "text/calendar", Body: "BEGIN:VCALENDAR\r\n"},
	}
	related := []leaf{{Type: "image/gif", Name: "logo.gif", Disposition: "inline", ContentID: "<logo>", Body: "GIF89a"}}
	mixed := []leaf{
		{Type: "application/x-thing", Name: "größe.bin", Disposition: "attachment", Body: "\x00\x01\xff\r\n"},
		{Type: "message/rfc822", Name: "mail.eml", Disposition: "attachment", Body: eml},
		{Type: "application/octet-stream", Name: strings.Repeat("very long name ", 12) + `"x".txt`, Disposition: "attachment", Body: "a\n"},
	}
	reply := []box{{"Reply, please", "r@a.test"}}
	const date = "Thu, 05 Nov 2026 07:08:09 +0000"
	return []seen{
		{
			From: []box{{`Jörg "the" Müller`, "jörg@bücher.test"}}, To: []box{{"Eins", "one@x.test"}, {"Zwei, Drei", "two@xn--bcher-kva.test"}},
			Cc: []box{{"", "cc@x.test"}}, ReplyTo: reply, Subject: "Grüße an alle", MessageID: "<1@relay.test>", Date: date,
			Headers: map[string]string{"X-One": "eins", "X-Two": "zwei ä"}, Contents: contents, Related: related, Mixed: mixed,
		},
		{
			From: []box{{"", "other@a.test"}}, To: []box{{"", "one@x.test"}}, ReplyTo: reply, Subject: "own", MessageID: "<1@relay.test>", Date: date,
			Headers: map[string]string{"X-One": "own", "X-Two": "zwei ä"}, Contents: contents, Related: related, Mixed: mixed,
		},
	}
}

func TestComposeReadBack(t *testing.T) {
	t.Parallel()
	r := parsed(t, toJSON(t, rich()))
	for i, want := range richSeen() {
		raw := composed(t, r, i)
		if diff := cmp.Diff(want, readBack(t, raw)); diff != "" {
			t.Errorf("message %d: %s", i, diff)
		}
		if bytes.Contains(raw, []byte("bcc@x.test")) {
			t.Error("Bcc is in the message")
		}
	}
	if m := r.Message(0); len(m.Recipients()) != 4 || m.Bcc[0].Address.String() != "bcc@x.test" || !r.SMTPUTF8(0) {
		t.Errorf("%+v", m)
	}
	if m := r.Message(1); r.SMTPUTF8(1) || m.From.Field != "personalizations.1.from" {
		t.Errorf("%+v", m)
	}
}

// The plainest message has no more structure than it needs.
func TestComposePlain(t *testing.T) {
	t.Parallel()
	got := string(composed(t, parsed(t, []byte(good)), 0))
	want := "From: from@a.test\r\nTo: to@x.test\r\nSubject: s\r\nDate: Thu, 05 Nov 2026 07:08:09 +0000\r\nMessage-ID: <1@relay.test>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nv\r\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// An inline file without an id that HTML could name is an attachment shown in
// place, and a client's Message-ID, Date and encoded-words stay its own.
func TestComposeOwn(t *testing.T) {
	t.Parallel()
	o := goodObject()
	o["attachments"] = []object{{"content": b64("x"), "filename": "a", "disposition": "inline"}}
	o["headers"] = object{"Message-ID": "<own@a.test>", "date": "Fri, 06 Nov 2026 00:00:00 +0100", "X-W": "=?utf-8?q?=C3=A4?=", "MIME-Version": "1.0"}
	raw := composed(t, parsed(t, toJSON(t, o)), 0)
	s := readBack(t, raw)
	if s.MessageID != "<own@a.test>" || s.Date != "Fri, 06 Nov 2026 00:00:00 +0100" || s.Headers["X-W"] != "ä" {
		t.Errorf("%+v", s)
	}
	if len(s.Related) != 0 || len(s.Mixed) != 1 || s.Mixed[0].Disposition != "inline" {
		t.Errorf("%+v", s)
	}
}

// A message that cannot stand in another as it is goes as a file.
func TestComposeMessageAsFile(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"From: a@x.test\n\nbare\n", "From: a@x.test\r\n\r\nno end", strings.Repeat("x", 999) + "\r\n", "a\x00\r\n"} {
		o := goodObject()
		o["attachments"] = []object{{"content": b64(content), "filename": "m.eml", "type": "message/rfc822"}}
		s := readBack(t, composed(t, parsed(t, toJSON(t, o)), 0))
		if len(s.Mixed) != 1 || s.Mixed[0].Type != "application/octet-stream" || s.Mixed[0].Body != content {
			t.Errorf("%.20q: %+v", content, s.Mixed)
		}
	}
}

func TestSubstitutions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		subject, content, value string
		sections, tags          object
		wantSubject, want       string
	}{
		"in both":      {"Hi -n-", "Dear -n-, -n-!", "", nil, object{"-n-": "Eva"}, "Hi Eva", "Dear Eva, Eva!"},
		"longest":      {"s", "-nn- -n", "", nil, object{"-n": "1", "-nn-": "2"}, "s", "2 1"},
		"not again":    {"s", "-a-", "", nil, object{"-a-": "-b-", "-b-": "x"}, "s", "-b-"}, // AP-12: recursion
		"sections":     {"s", "-hi-", "", object{"-male-": "Mr -n-", "-x-": "unused"}, object{"-hi-": "-male-", "-n-": "Kuhn"}, "s", "Mr Kuhn"},
		"self":         {"s", "-a-", "", object{"-a-": "-a-"}, object{"-b-": ""}, "s", "-a-"},
		"no new field": {"-s-", "c", "", nil, object{"-s-": "a\r\nBcc: evil@x.test"}, "a  Bcc: evil@x.test", "c"}, // AP-09
	} {
		o := goodObject()
		o["subject"], o["content"] = c.subject, []object{{"type": "text/plain", "value": c.content}}
		o["personalizations"].([]object)[0]["substitutions"] = c.tags
		if c.sections != nil {
			o["sections"] = c.sections
		}
		s := readBack(t, composed(t, parsed(t, toJSON(t, o)), 0))
		if s.Subject != c.wantSubject || s.Contents[0].Body != c.want+"\r\n" {
			t.Errorf("%s: %q, %q", name, s.Subject, s.Contents[0].Body)
		}
	}
}

func TestSubstitutedReplyTo(t *testing.T) {
	t.Parallel()
	o := goodObject()
	o["reply_to"] = object{"email": "case-ID@a.test", "name": "Case ID"}
	o["personalizations"] = []object{
		{"to": []object{{"email": "a@x.test"}}, "substitutions": object{"ID": "7"}},
		{"to": []object{{"email": "b@x.test"}}, "substitutions": object{"ID": "7@x.test, evil"}},
	}
	r := parsed(t, toJSON(t, o))
	if s := readBack(t, composed(t, r, 0)); s.ReplyTo[0] != (box{"Case 7", "case-7@a.test"}) {
		t.Errorf("%+v", s.ReplyTo)
	}
	_, _, err := r.Compose(1, stamp)
	if refused, ok := errors.AsType[*Refusal](err); !ok || refused.Status != http.StatusBadRequest || refused.Faults[0].Field != "reply_to" {
		t.Errorf("%v", err)
	}
}

// AP-12: a tag that is everywhere cannot make a message without end.
func TestSubstitutionBomb(t *testing.T) {
	t.Parallel()
	o := goodObject()
	o["content"] = []object{{"type": "text/plain", "value": strings.Repeat("a", 10000)}}
	o["personalizations"].([]object)[0]["substitutions"] = object{"a": strings.Repeat("b", 9000)}
	_, _, err := parsed(t, toJSON(t, o)).Compose(0, stamp)
	if refused, ok := errors.AsType[*Refusal](err); !ok || refused.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("%v", err)
	}
	o["content"] = []object{{"type": "text/plain", "value": "a"}}
	o["sections"] = object{"b": strings.Repeat("a", 9000)}
	if _, _, err := parsed(t, toJSON(t, o)).Compose(0, stamp); err == nil {
		t.Error("sections and substitutions that feed each other are written")
	}
}
