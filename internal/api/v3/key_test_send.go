package v3

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"postern/internal/api/mailsend"
	"postern/internal/auth"
	"postern/internal/httpx"
	"postern/internal/relay"
)

var keyTestRoutes = []Route{{
	Method: http.MethodPost, Pattern: keyPath + "/test", Scope: "api_keys.update",
	Summary: "Send a small test message as a key would: all of its restrictions hold. It takes the scope mail.send, too",
	Body:    keyTest{}, Answers: map[int]any{202: keyTested{}}, Handler: (*API).testKey,
}}

type keyTest struct {
	To   string `json:"to" v3:"required"`
	From string `json:"from" v3:"required"`
}

type keyTested struct {
	ID relay.MessageID `json:"message_id"`
}

const (
	testSubject = "Test message"
	testText    = "This is a test message. Somebody asked for it to see whether mail sent with one of their API keys arrives.\n"
)

func (a *API) testKey(c *Call) error {
	var in keyTest
	if err := c.Decode(&in); err != nil {
		return err
	}
	k, err := a.readKey(c)
	if err != nil {
		return err
	}
	if err := a.mayTest(c, &k); err != nil {
		return err
	}
	r, err := a.testMail(c, &in)
	if err != nil {
		return testRefusal(err)
	}
	p := &relay.Principal{Tenant: c.Tenant, Key: &k, Mechanism: "TEST"}
	if s, ok := a.Directory.Subuser(c.Tenant.Subuser); ok && !c.Tenant.Subuser.IsZero() {
		p.SubuserName = s.Name
	}
	if err := a.keyWorks(c, p); err != nil {
		return err
	}
	s := &sending{api: a, call: c, request: r, principal: p, judged: true}
	defer s.release()
	if err := s.check(); err != nil {
		return testRefusal(err)
	}
	if err := s.begin(); err != nil {
		s.abort()
		return testRefusal(err)
	}
	id := relay.MessageID{ID: s.ins[0].ID().ID}
	if err := s.handIn(nil); err != nil {
		return testRefusal(err)
	}
	return c.JSON(http.StatusAccepted, keyTested{id})
}

// mayTest: the key can send at all, and its caller may, too: else a caller without
// mail.send would send by way of a key that has it.
func (a *API) mayTest(c *Call, k *relay.Key) error {
	switch {
	case !k.RevokedAt.IsZero():
		return notFound()
	case !k.DisabledAt.IsZero():
		return conflict("", "The key is switched off.")
	case !k.ExpiresAt.IsZero() && !c.Now.Before(k.ExpiresAt):
		return conflict("", "The key has expired.")
	case k.Canary:
		return conflict("", "A canary key never sends.")
	case !slices.Contains(k.Scopes, relay.ScopeMailSend):
		return conflict("", "The key does not have the scope %s.", relay.ScopeMailSend)
	}
	sends := *k
	sends.Scopes = []string{relay.ScopeMailSend}
	return c.covers(&sends)
}

// keyWorks asks what a login would: networks, hosts, allow-list. The operator's
// socket has no address to ask about.
func (a *API) keyWorks(c *Call, p *relay.Principal) error {
	if c.Operator {
		return nil
	}
	_, err := a.Recheck.Check(c.R.Context(), p, c.Addr)
	if errors.Is(err, auth.ReplyEnded) {
		return &relay.Error{Kind: relay.Conflict, Err: err, Public: "The key may not be used from your address, " + printAddr(c.Addr) + ": its own networks or the account's list do not have it."}
	}
	if err != nil {
		return &relay.Error{Kind: relay.Unavailable, Err: err}
	}
	return nil
}

func (a *API) testMail(c *Call, in *keyTest) (*mailsend.Request, error) {
	type address struct {
		Email string `json:"email"`
	}
	type content struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	body, err := json.Marshal(map[string]any{
		"personalizations": []any{map[string]any{"to": []address{{in.To}}}},
		"from":             address{in.From}, "subject": testSubject, "content": []content{{"text/plain", testText}},
	})
	if err != nil {
		return nil, err
	}
	r, err := mailsend.Parse(body, mailsend.Options{Now: c.Now})
	if err != nil {
		return nil, mailRefusal(err)
	}
	return r, nil
}

// testRefusal names the members of this request, not those of mail/send.
func testRefusal(err error) error {
	r, ok := errors.AsType[*httpx.Refusal](err)
	if !ok {
		return err
	}
	out := *r
	out.Items = slices.Clone(r.Items)
	for i := range out.Items {
		field := out.Items[i].Field
		if field == nil {
			continue
		}
		name := ""
		switch {
		case strings.HasPrefix(*field, "personalizations"):
			name = "to"
		case strings.HasPrefix(*field, "from"):
			name = "from"
		default:
			continue
		}
		out.Items[i].Field = &name
	}
	return &out
}
