package v3

import (
	"context"
	"testing"

	"postern/internal/people"
	"postern/internal/relay"
	"postern/internal/store"
)

// The services are what the routes ask for.
var (
	_ MailIndex    = (*store.Store)(nil)
	_ MessageStore = (*store.Store)(nil)
	_ Users        = (*store.Store)(nil)
	_ People       = (*people.Service)(nil)
)

// storedMail is the store that the world's submission writes to.
type storedMail struct{ w *world }

func (s *storedMail) at() *store.Store { mailOf(s.w).service(); return mailOf(s.w).store }

func (s *storedMail) Message(ctx context.Context, id relay.MessageID) (store.Queued, error) {
	return s.at().Message(ctx, id)
}

func (s *storedMail) MessageHistory(ctx context.Context, id relay.MessageID) ([]relay.Event, error) {
	return s.at().MessageHistory(ctx, id)
}

func (s *storedMail) LastHold(ctx context.Context, id relay.MessageID) (relay.Event, error) {
	return s.at().LastHold(ctx, id)
}

func (s *storedMail) Content(ctx context.Context, id relay.MessageID) (store.Content, error) {
	return s.at().Content(ctx, id)
}

func (s *storedMail) TenantQueue(ctx context.Context, t relay.Tenant, wide bool) (store.TenantQueue, error) {
	return s.at().TenantQueue(ctx, t, wide)
}

// A message that was handed in with a key is found again as it was: by its owner,
// and by nobody else.
func TestJourneyOfStoredMail(t *testing.T) {
	t.Parallel()
	stored := &storedMail{}
	w := newWorld(t, func(s *Services) { s.Messages = stored })
	stored.w = w
	k, _ := w.addKey(w.acme, "mail.send")
	dev := w.person(w.addUser(w.acme, relay.RoleDeveloper), true)
	var sent keyTested
	dev.want("POST", "/v3/api_keys/"+k.ID.String()+"/test", `{"to":"ann@dest.test","from":"ops@acme.test"}`, 202, &sent)
	path := "/v3/messages/" + sent.ID.String()
	var v journeyView
	dev.want("GET", path, "", 200, &v)
	if !v.Queued || !v.BodyStored || v.Subject != testSubject || v.From != "ops@acme.test" || v.Key == nil || v.Key.ID != k.ID || v.Source.Protocol != "HTTP" ||
		len(v.Recipients) != 1 || v.Recipients[0].Address != "ann@dest.test" || len(v.Events) == 0 || v.Events[0].Event != relay.EventReceived {
		t.Errorf("%+v", v)
	}
	consoleOf(w).allowPreview(w.acme)
	var b mailBody
	dev.want("GET", path+"/body", "", 200, &b)
	if b.Text != "This is a test message. Somebody asked for it to see whether mail sent with one of their API keys arrives.\r\n" || b.Truncated {
		t.Errorf("%+v", b)
	}
	// Its own attempt may hold it meanwhile: it waits or is worked on.
	var q queueView
	dev.want("GET", "/v3/queue/dest.test", "", 200, nil)
	dev.want("GET", "/v3/queue", "", 200, &q)
	if q.Waiting+q.Leased != 1 {
		t.Errorf("%+v", q)
	}
	// AP-01: ids of messages are no secret, and open nothing.
	for _, other := range []relay.Tenant{w.staging, w.globex, w.branch} {
		c := w.as(other, relay.Scopes...)
		for _, suffix := range []string{"", "/body"} {
			c.refused("GET", path+suffix, "", 404, textNotFound, "")
		}
		for _, verb := range []string{"/hold", "/release", "/retry", "/cancel"} {
			c.refused("POST", path+verb, "", 404, textNotFound, "")
		}
		c.refused("GET", "/v3/queue/dest.test", "", 404, textNotFound, "")
	}
}
