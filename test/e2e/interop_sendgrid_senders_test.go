package e2e

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// senderAnswer is what SendGrid's clients read of a verified sender.
type senderAnswer struct {
	ID        int64  `json:"id"`
	FromEmail string `json:"from_email"`
	Nickname  string `json:"nickname"`
	Verified  bool   `json:"verified"`
	Locked    bool   `json:"locked"`
}

var senderLink = regexp.MustCompile(`http://localhost:\d+/senders/verify/([A-Za-z0-9_-]+)`)

// SendGrid's own clients verify a sender: they make it, the link comes by mail,
// opening it proves nothing, and its token does.
func TestSendgridClientsVerifySenders(t *testing.T) {
	t.Parallel()
	d := theDemo(t)
	for _, c := range []struct {
		name, address string
		via           apiClient
	}{
		{"sendgrid-go", "dora@inbox.test", d.sendgridGo},
		{"@sendgrid/client", "emil@inbox.test", d.nodeClient},
	} {
		t.Run(c.name, func(t *testing.T) { verifySender(t, d, c.via, c.address) })
	}
}

func verifySender(t *testing.T, d *demo, via apiClient, address string) {
	const path = "/v3/verified_senders"
	key := d.APIKey
	var made senderAnswer
	want(t, via(t, key, "POST", path, "", nil, map[string]any{
		"nickname": "Orders", "from_email": address, "from_name": "Dora", "reply_to": address, "reply_to_name": "Dora",
		"address": "1 Way", "address2": "", "state": "CO", "city": "Denver", "zip": "80202", "country": "USA",
	}), 201, "make a sender").decode(t, &made)
	if made.ID == 0 || made.FromEmail != address || made.Verified || made.Locked {
		t.Fatalf("made %+v", made)
	}
	message := map[string]any{
		"personalizations": []any{map[string]any{"to": []any{map[string]any{"email": d.To}}}}, "from": map[string]any{"email": address},
		"subject": "as " + address, "content": []any{map[string]any{"type": "text/plain", "value": "Hello"}},
	}
	want(t, via(t, key, "POST", "/v3/mail/send", "", nil, message), 403, "send before the proof")

	link, token := d.senderLink(t, address)
	for range 2 { // as programs do that open every link of a mail
		resp, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("the link's page: %s", resp.Status)
		}
	}
	want(t, via(t, key, "POST", "/v3/mail/send", "", nil, message), 403, "send after the link was only opened")
	want(t, via(t, key, "GET", path+"/verify/"+token, "", nil, nil), 204, "verify")
	var list struct{ Results []senderAnswer }
	want(t, via(t, key, "GET", path, "", map[string]string{"id": strconv.FormatInt(made.ID, 10)}, nil), 200, "list").decode(t, &list)
	if len(list.Results) != 1 || !list.Results[0].Verified {
		t.Fatalf("listed %+v", list)
	}
	want(t, via(t, key, "GET", path+"/verify/"+token, "", nil, nil), 404, "verify again")
	want(t, via(t, key, "POST", "/v3/mail/send", "", nil, message), 202, "send")
	message["from"] = map[string]any{"email": "x" + address}
	want(t, via(t, key, "POST", "/v3/mail/send", "", nil, message), 403, "send as a neighbour")
	var steps struct {
		Results struct {
			Sender bool `json:"sender_verified"`
			Domain bool `json:"domain_verified"`
		}
	}
	want(t, via(t, key, "GET", path+"/steps_completed", "", nil, nil), 200, "steps").decode(t, &steps)
	if !steps.Results.Sender || !steps.Results.Domain {
		t.Errorf("steps %+v", steps)
	}
	want(t, via(t, key, "PATCH", path+"/"+strconv.FormatInt(made.ID, 10), "", nil, map[string]any{"nickname": "Other", "from_email": address, "reply_to": address}), 200, "change")
	want(t, via(t, key, "DELETE", path+"/"+strconv.FormatInt(made.ID, 10), "", nil, nil), 204, "delete")
	message["from"] = map[string]any{"email": address}
	want(t, via(t, key, "POST", "/v3/mail/send", "", nil, message), 403, "send after the end")
}

// senderLink waits for the letter to an address and returns its link.
func (d *demo) senderLink(t testing.TB, address string) (link, token string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		all, err := d.inbox()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if len(m.RcptTo) != 1 || m.RcptTo[0] != address {
				continue
			}
			letter, err := mail.ReadMessage(bytes.NewReader(m.Raw))
			if err != nil {
				t.Fatal(err)
			}
			body := letter.Body
			if strings.EqualFold(letter.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
				body = quotedprintable.NewReader(body)
			}
			text, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			if found := senderLink.FindSubmatch(text); found != nil {
				return string(found[0]), string(found[1])
			}
			t.Fatalf("no link in\n%s", m.Raw)
		}
	}
	t.Fatalf("no letter to %s", address)
	return "", ""
}
