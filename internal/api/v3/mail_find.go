package v3

import (
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/relay"
	"postern/internal/store"
)

const pathMessage = "/v3/messages/{msg_id}"

// mailFindRoutes find mail and tell its story.
var mailFindRoutes = []Route{
	{
		Method: http.MethodGet, Pattern: "/v3/messages", Scope: scopeMail,
		Summary: "Find mail by recipient, a line a recipient, the latest first. An account's caller with " + scopeBehalf + " finds its subusers', too",
		Query: []Param{
			{Name: "to", Type: "string", Doc: "recipient"},
			{Name: "from", Type: "string", Doc: "sender, in the envelope or in From"},
			{Name: "id", Type: "string", Doc: "msg_id, or how it begins"},
			{Name: "key", Type: "string", Doc: "id or name of the key that handed it in"},
			{Name: "domain", Type: "string", Doc: "of the recipient or the author"},
			{Name: "to_domain", Type: "string", Doc: "of the recipient"},
			{Name: "state", Type: "string", Doc: "processed, deferred, held, delivered, dropped, bounced or refused"},
			{Name: "subject", Type: "string", Doc: "words of the subject; without since, of the last seven days"},
			{Name: "since", Type: "string", Doc: "accepted not before this time: RFC 3339, or Unix seconds"},
			{Name: "until", Type: "string", Doc: "accepted before this time"},
			{Name: "match", Type: "string", Doc: "exact, which is usual, or prefix: of to, from, domain and to_domain"},
			{Name: "limit", Type: "integer", Doc: "1 to 500; 50 if it is not given"},
			{Name: "after", Type: "string", Doc: "next of the answer before; a page may be short, or empty, and there is more all the same"},
		},
		Answers: map[int]any{200: mailList{}}, Handler: (*API).findMail,
	},
	{
		Method: http.MethodGet, Pattern: pathMessage, Scope: scopeMail,
		Summary: "Show one message's journey: who handed it in, every attempt, what it waits for",
		Answers: map[int]any{200: journeyView{}}, Handler: (*API).showJourney,
	},
	{
		Method: http.MethodGet, Pattern: pathMessage + "/body", Scope: scopeMail,
		Summary: "Show what a message says, while it is stored and if the account's policy lets it (preview_bodies); it is recorded who looked",
		Answers: map[int]any{200: mailBody{}}, Handler: (*API).showBody,
	},
}

// mailStates are those that can be asked for.
var mailStates = []store.MailState{
	store.MailProcessed, store.MailDeferred, store.MailHeld, store.MailDelivered, store.MailDropped, store.MailBounced, store.MailRefused,
}

// The bounds of a search.
const (
	usualFound  = 50
	mostFound   = 500
	maxSearch   = 320 // octets of one criterion
	subjectSpan = 7 * 24 * time.Hour
)

type mailList struct {
	Messages []mailLine `json:"messages"`
	Next     string     `json:"next,omitempty" doc:"for after; absent at the end"`
}

// mailLine is one recipient of one message. The first five members, and
// last_event_time, are SendGrid's.
type mailLine struct {
	ID       relay.MessageID `json:"msg_id" doc:"empty: it was refused and never was a message here"`
	From     string          `json:"from_email"`
	Envelope string          `json:"envelope_from"`
	To       string          `json:"to_email"`
	Subject  string          `json:"subject"`
	Status   string          `json:"status" doc:"processed, delivered or not_delivered"`
	State    string          `json:"state"`
	N        int             `json:"n" doc:"the recipient's place in the envelope"`
	Key      relay.KeyID     `json:"api_key_id,omitzero"`
	Subuser  string          `json:"subuser,omitempty"`
	Accepted time.Time       `json:"accepted_at"`
	LastAt   time.Time       `json:"last_event_time"`
	Reply    string          `json:"last_reply,omitempty"`
	Attempts int             `json:"attempts"`
	NextAt   time.Time       `json:"next_attempt_at,omitzero"`
	Code     int             `json:"last_code,omitempty"`
	Host     string          `json:"last_host,omitempty"`
	Size     int64           `json:"size"`
	Count    int64           `json:"count,omitempty" doc:"how many refusals that are alike it stands for"`
}

// mailStatus is a state in SendGrid's words.
func mailStatus(state string) string {
	switch state {
	case "delivered":
		return state
	case "bounced", "dropped", "refused":
		return "not_delivered"
	}
	return "processed"
}

func (a *API) findMail(c *Call) error {
	q, err := a.mailFilter(c, c.Text)
	if err != nil {
		return err
	}
	limit, err := c.Int("limit", usualFound, 1, mostFound)
	if err != nil {
		return err
	}
	q.Limit = int(limit)
	rows, next, err := a.Index.FindMail(c.R.Context(), q)
	if err != nil {
		return err
	}
	out := mailList{Messages: []mailLine{}, Next: next}
	for i := range rows {
		r := &rows[i]
		if !c.visible(r.Tenant) {
			continue // the index says so already; nothing of others leaves here in any case
		}
		out.Messages = append(out.Messages, mailLine{
			ID: r.Message, From: r.From, Envelope: r.EnvelopeFrom, To: r.Recipient, Subject: shownSubject(r.Subject), Status: mailStatus(string(r.State)),
			State: string(r.State), N: r.N, Key: r.Key, Subuser: a.subuserName(c, r.Tenant), Accepted: r.AcceptedAt, LastAt: r.StateAt, Reply: r.Reply,
			Attempts: r.Attempts, NextAt: r.NextAt, Code: r.Code, Host: r.Host, Size: r.Size, Count: r.Count,
		})
	}
	return c.JSON(http.StatusOK, out)
}

// subuserName names the subuser that a thing is of, to its account.
func (a *API) subuserName(c *Call, t relay.Tenant) string {
	if t.Subuser == c.Tenant.Subuser {
		return ""
	}
	s, _ := a.Directory.Subuser(t.Subuser)
	return s.Name
}

// mailFilter is what a search asks for; text has its criteria by name.
func (a *API) mailFilter(c *Call, text func(name string) string) (store.MailFilter, error) {
	q := store.MailFilter{
		Tenant: c.Tenant, Subusers: c.wide(), Recipient: text("to"), Sender: text("from"), ID: bareID(text("id")),
		Domain: strings.ToLower(text("domain")), ToDomain: strings.ToLower(text("to_domain")), State: store.MailState(text("state")), Subject: text("subject"), After: text("after"),
	}
	for name, v := range map[string]string{"to": q.Recipient, "from": q.Sender, "id": q.ID, "domain": q.Domain, "to_domain": q.ToDomain, "subject": q.Subject, "key": text("key"), "after": q.After} {
		if len(v) > maxSearch || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return q, invalid(name, "Longer than %d octets, or no text.", maxSearch)
		}
	}
	switch text("match") {
	case "", "exact":
	case "prefix":
		q.Prefix = true
	default:
		return q, invalid("match", "Write exact or prefix.")
	}
	if q.State != "" && !slices.Contains(mailStates, q.State) {
		return q, invalid("state", "Not a state; choose of %v.", mailStates)
	}
	var err error
	if q.Since, err = parseMoment("since", text("since")); err != nil {
		return q, err
	}
	if q.Until, err = parseMoment("until", text("until")); err != nil {
		return q, err
	}
	if q.Subject != "" && q.Since.IsZero() {
		end := q.Until
		if end.IsZero() {
			end = c.Now
		}
		q.Since = end.Add(-subjectSpan)
	}
	if ref := text("key"); ref != "" {
		q.Key, err = a.keyRef(c, ref)
	}
	return q, err
}

// bareID is the id in what clients keep of it: the answer's X-Message-Id, a
// Message-ID with brackets and host, SendGrid's id with a suffix.
func bareID(s string) string {
	s = strings.TrimPrefix(strings.TrimSpace(s), "<")
	s, _, _ = strings.Cut(s, "@")
	s, _, _ = strings.Cut(s, ".")
	return s
}

// keyRef finds a key by id or name. A key of somebody else's and one that does not
// exist both find nothing.
func (a *API) keyRef(c *Call, ref string) (relay.KeyID, error) {
	if id, err := relay.ParseID(ref); err == nil && !id.IsZero() {
		return relay.KeyID{ID: id}, nil // the index looks for it among the tenant's mail only
	}
	keys, err := a.Keys.Keys(c.R.Context(), c.Tenant.Account)
	if err != nil {
		return relay.KeyID{}, err
	}
	var found []relay.KeyID
	for i := range keys {
		if keys[i].Name == ref && c.visible(relay.Tenant{Account: keys[i].Account, Subuser: keys[i].Subuser}) {
			found = append(found, keys[i].ID)
		}
	}
	switch len(found) {
	case 0:
		return relay.KeyID{}, invalid("key", "There is no key of this name or id.")
	case 1:
		return found[0], nil
	}
	return relay.KeyID{}, invalid("key", "%d keys have this name; give the id.", len(found))
}
