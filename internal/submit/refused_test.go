package submit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/smtp"
)

// recording keeps the events of no message.
type recording struct {
	Store
	events *[]relay.Event
}

func (r recording) RecordEvent(e relay.Event) { *r.events = append(*r.events, e) }

// Who was refused finds in the events why.
func TestRefusalIsRecorded(t *testing.T) {
	var found []relay.Event
	w := newWorld(t, func(c *Config) { c.Store = recording{c.Store, &found} })
	env := envelope("b@one.test")
	env.Source = relay.Source{Protocol: "ESMTPSA", Helo: "client.example"}
	_, err := w.send(env, "From: sender@acme.test\r\nSender: ceo@globex.test\r\n\r\nx\r\n", 100)
	var refused *Refused
	if !errors.As(err, &refused) || refused.Decision.Rule != sender.NotOwned || !errors.Is(err, replyIdentity) {
		t.Fatalf("%v", err)
	}
	if len(found) != 1 || found[0].Kind != relay.EventRefused || found[0].Account != acme || found[0].Key != w.key.ID || found[0].N != -1 {
		t.Fatalf("%+v", found)
	}
	var d relay.EventData
	if err := json.Unmarshal(found[0].Data, &d); err != nil {
		t.Fatal(err)
	}
	if d.Rule != "domain not proven" || d.Field != "Sender" || d.Address != "ceo@globex.test" || d.From != "sender@acme.test" || d.Count != 1 ||
		d.Code != 550 || !strings.HasPrefix(d.Reply, "550 5.7.1 The from address") || d.Source == nil || d.Source.Helo != "client.example" || d.EnvelopeFrom != "sender@acme.test" {
		t.Errorf("%s", found[0].Data)
	}
}

// log collects what refusals write.
type refusalLog []relay.EventData

func (l *refusalLog) take(e relay.Event) {
	var d relay.EventData
	if json.Unmarshal(e.Data, &d) == nil {
		*l = append(*l, d)
	}
}

func TestRefusalsAreCountedTogether(t *testing.T) {
	t.Parallel()
	var got refusalLog
	r := newRefusals(got.take)
	now := time.Date(2026, 11, 5, 0, 0, 0, 0, time.UTC)
	note := func(key byte, address string) {
		r.note(relay.Event{At: now, Key: relay.KeyID{ID: relay.ID{key}}}, relay.EventData{Rule: "domain not proven", Field: "From", Address: address})
	}
	for range 100 {
		note(1, "a@x.test")
	}
	note(1, "b@x.test")
	note(2, "a@x.test")
	if len(got) != 3 || got[0].Count != 1 || got[1].Address != "b@x.test" {
		t.Fatalf("%+v", got)
	}
	now = now.Add(59 * time.Second)
	note(1, "a@x.test")
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	now = now.Add(time.Second)
	note(2, "c@x.test") // whoever comes next writes what was counted
	if len(got) != 5 || got[3].Count != 100 || got[3].Address != "a@x.test" || got[4].Address != "c@x.test" {
		t.Fatalf("%+v", got[3:])
	}
	now = now.Add(time.Hour)
	note(1, "a@x.test")
	if len(got) != 6 || got[5].Count != 1 || len(r.open) != 1 || len(r.of) != 1 {
		t.Errorf("%+v, %d open", got[5:], len(r.open))
	}
	now = now.Add(-2 * time.Hour) // a clock that was set back holds nothing up
	note(1, "a@x.test")
	if len(got) != 7 {
		t.Errorf("%d", len(got))
	}
}

// A key that tries a million addresses fills neither the log nor memory.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	var got refusalLog
	r := newRefusals(got.take)
	now := time.Date(2026, 11, 5, 0, 0, 0, 0, time.UTC)
	for i := range 20000 {
		r.note(relay.Event{At: now, Key: relay.KeyID{ID: relay.ID{1}}}, relay.EventData{Rule: "r", Address: fmt.Sprint(i), From: fmt.Sprint(i)})
	}
	if len(got) != refusedAddresses+1 || got[refusedAddresses].Address != "" || got[refusedAddresses].From != "" {
		t.Errorf("%d events", len(got))
	}
	for i := range 100000 {
		id := relay.ID{2, byte(i), byte(i >> 8), byte(i >> 16)}
		r.note(relay.Event{At: now, Key: relay.KeyID{ID: id}}, relay.EventData{Rule: "r", Address: "a"})
	}
	if len(r.open) > 2*refusedRoom || len(r.of) > 2*refusedRoom {
		t.Errorf("%d open of %d", len(r.open), len(r.of))
	}
	now = now.Add(time.Minute)
	r.note(relay.Event{At: now}, relay.EventData{Rule: "r"})
	if len(r.open) != 1 || len(r.of) != 1 || got[len(got)-2].Count != 20000-refusedAddresses-1 && !hasCount(got, 20000-refusedAddresses-1) {
		t.Errorf("%d open of %d", len(r.open), len(r.of))
	}
}

func hasCount(l refusalLog, n int64) bool {
	for _, d := range l {
		if d.Count == n {
			return true
		}
	}
	return false
}

// What a single sender writes is signed as the system's domain and returns to it,
// and the record says so.
func TestSingleSender(t *testing.T) {
	w := newWorld(t, nil)
	id, err := w.send(envelope("b@one.test"), "From: Ann <ann@mail.test>\r\n\r\nx\r\n", 100)
	if err != nil {
		t.Fatal(err)
	}
	q, err := w.store.Message(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if q.Message.Domain.ID != (relay.ID{8}) || !strings.HasSuffix(q.Message.ReturnPath, "@relay.test") {
		t.Errorf("domain %v, return path %q", q.Message.Domain, q.Message.ReturnPath)
	}
	ev := w.events(id, relay.EventReceived)
	if len(ev) != 1 || !strings.Contains(string(ev[0].Data), `"sender_rule":"single sender"`) {
		t.Errorf("%s", ev[0].Data)
	}
	if id, err = w.send(envelope("b@one.test"), plain, 100); err != nil {
		t.Fatal(err)
	}
	if ev := w.events(id, relay.EventReceived); strings.Contains(string(ev[0].Data), "sender_") {
		t.Errorf("the usual case is not worth a word: %s", ev[0].Data)
	}
}

// The policy of the account binds where answers go, and opens names.
func TestPolicyOfSenders(t *testing.T) {
	w := newWorld(t, nil)
	const bound = "From: sender@acme.test\r\nReply-To: x@evil.test\r\n\r\nx\r\n"
	const named = "From: \"ceo@bank.test via us\" <sender@acme.test>\r\n\r\nx\r\n"
	if _, err := w.send(envelope("b@one.test"), bound, 100); err != nil {
		t.Error(err)
	}
	w.dir.accounts = map[relay.AccountID]relay.Account{acme: {ID: acme, Policy: relay.Policy{BindReplyTo: true, ForeignNames: true}}}
	_, err := w.send(envelope("b@one.test"), bound, 100)
	if r, ok := errors.AsType[smtp.Reply](err); !ok || !strings.HasPrefix(r.String(), "550 5.7.1 The policy of this account binds Reply-To") {
		t.Error(err)
	}
	if _, err := w.send(envelope("b@one.test"), named, 100); err != nil {
		t.Error(err)
	}
}
