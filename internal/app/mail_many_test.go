package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// heldBatch is how many messages a key in the mode hold hands in.
const heldBatch = 30

// heldKey makes a key whose mail waits for release, and gives its id and secret.
func (x *installation) heldKey() (id, secret string) {
	x.t.Helper()
	var made struct {
		ID  string `json:"api_key_id"`
		Key string `json:"api_key"`
	}
	x.parse(x.ask("POST", "/v3/api_keys", map[string]any{"name": "newsletter", "scopes": []string{"mail.send"}, "mode": "hold"}), &made)
	return made.ID, made.Key
}

func (x *installation) parse(text string, into any) {
	x.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		x.t.Fatalf("%v: %s", err, text)
	}
}

// handIn sends the batch in one session; each subject is its own.
func (x *installation) handIn(key, subject, from string) {
	x.t.Helper()
	c := x.secure()
	c.say("AUTH PLAIN "+plain("apikey", key), "235")
	for i := range heldBatch {
		c.say("MAIL FROM:<"+from+">", "250")
		c.say("RCPT TO:<"+reader+">", "250")
		c.say("DATA", "354")
		c.say(fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s %d.\r\n\r\nNews\r\n.", from, reader, subject, i), "250")
	}
	c.say("QUIT", "221")
}

// manyDone is what the routes that act on many messages answer.
type manyDone struct {
	Messages int    `json:"messages"`
	Counted  string `json:"counted_at"`
	More     bool   `json:"more"`
	Left     []any  `json:"left"`
}

// countHeld counts what is held of a key until all of it is found, and says when.
func (x *installation) countHeld(verb, key string) (at string) {
	x.t.Helper()
	x.eventually("the held mail is found", func() bool {
		var n manyDone
		x.parse(x.ask("POST", "/v3/messages/"+verb, map[string]any{"dry_run": true, "filter": map[string]string{"state": "held", "key": key}}), &n)
		at = n.Counted
		return n.Messages == heldBatch && len(n.Left) == 0 && !n.More
	})
	return at
}

// actOnHeld does it.
func (x *installation) actOnHeld(verb, key string) {
	x.t.Helper()
	var n manyDone
	x.parse(x.ask("POST", "/v3/messages/"+verb, map[string]any{"reason": "a false alarm", "filter": map[string]string{"state": "held", "key": key}, "counted_at": x.countHeld(verb, key)}), &n)
	if n.Messages != heldBatch || len(n.Left) != 0 || n.More {
		x.t.Fatalf("%s: %+v", verb, n)
	}
}

// arrived counts the messages of a batch that have come to an address: as they were
// sent, or as bounces.
func (x *installation) arrived(subject, to string, bounced bool) (n int) {
	for i := range heldBatch {
		want := fmt.Sprintf("Subject: %s %d.\r\n", subject, i)
		for _, m := range x.inbox.List() {
			if strings.Contains(string(m.Raw), want) && (m.MailFrom == "") == bounced && strings.Contains(strings.Join(m.RcptTo, " "), to) {
				n++
				break
			}
		}
	}
	return n
}

// Mail of a key in the mode hold goes nowhere by itself. Released in one go, all of
// it arrives; cancelled in one go, each message comes back to its sender.
func TestHeldMailInBulk(t *testing.T) {
	t.Parallel()
	const sender = "news@inbox.test" // at the receiving server, so that bounces are seen
	x := install(t)
	x.ask("POST", "/v3/whitelabel/domains", map[string]any{"domain": "inbox.test", "assert": true})
	id, key := x.heldKey()
	x.handIn(key, "Winter", sender)
	x.countHeld("release", id)
	if n := x.inbox.Total(); n != 0 {
		t.Fatalf("%d messages have left before they were released", n)
	}
	x.actOnHeld("release", id)
	x.eventually("all that was released arrives", func() bool { return x.arrived("Winter", reader, false) == heldBatch })
	x.handIn(key, "Phishing", sender)
	x.actOnHeld("cancel", id)
	x.eventually("all that was cancelled comes back", func() bool { return x.arrived("Phishing", sender, true) == heldBatch })
	if n := x.arrived("Phishing", reader, false); n != 0 {
		t.Errorf("%d messages that were cancelled have arrived", n)
	}
	if n := x.inbox.Total(); n != 2*heldBatch {
		t.Errorf("%d messages, want each once", n)
	}
	changes := x.ask("GET", "/v3/changes", nil)
	for _, action := range []string{`"queue.release"`, `"queue.cancel"`} {
		if !strings.Contains(changes, action) {
			t.Errorf("%s is not recorded: %s", action, changes)
		}
	}
}
