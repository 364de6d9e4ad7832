package v3

import (
	"encoding/json"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// journeyView is all that is known of one message.
type journeyView struct {
	ID         relay.MessageID   `json:"msg_id"`
	From       string            `json:"from_email"`
	Envelope   string            `json:"envelope_from"`
	Subject    string            `json:"subject"`
	HeaderID   string            `json:"message_id" doc:"Message-ID with its brackets"`
	Status     string            `json:"status"`
	State      string            `json:"state" doc:"queued, held or quarantined while it is in the queue, then what became of its recipients: delivered, bounced, dropped or mixed"`
	Reason     string            `json:"reason,omitempty"`
	Size       int64             `json:"size"`
	Subuser    string            `json:"subuser,omitempty"`
	Pool       string            `json:"pool,omitempty"`
	Categories []string          `json:"categories"`
	UniqueArgs map[string]string `json:"unique_args,omitempty"`
	AcceptedAt time.Time         `json:"accepted_at"`
	ExpiresAt  time.Time         `json:"expires_at,omitzero"`
	SignedWith []string          `json:"signed_with,omitempty"`

	Source     sourceView      `json:"source"`
	Key        *journeyKey     `json:"key"`
	Recipients []recipientView `json:"recipients"`
	Events     []journeyEvent  `json:"events"`
	EventsLeft bool            `json:"events_left_out,omitempty" doc:"of 20,000 events and more, the first and the last 10,000 are here"`
	Why        []string        `json:"why" doc:"what it waits for, in words"`
	Kept       leftCode        `json:"kept,omitempty" doc:"why the asker may not release it: quarantined, operator_holds, account_holds or key_holds"`
	Anew       bool            `json:"may_hold_anew,omitempty" doc:"it is held, and the asker stands above those who hold it: held anew, it is not theirs to release"`
	Queued     bool            `json:"queued"`
	BodyStored bool            `json:"body_stored"`
	Preview    bool            `json:"body_preview" doc:"the body is stored and the account's policy lets it be shown"`
}

type sourceView struct {
	Addr      netip.Addr `json:"addr,omitzero"`
	Helo      string     `json:"helo,omitempty"`
	TLS       string     `json:"tls,omitempty"`
	Mechanism string     `json:"mechanism,omitempty"`
	Protocol  string     `json:"protocol"`
}

type journeyKey struct {
	ID   relay.KeyID `json:"id"`
	Name string      `json:"name"`
}

type recipientView struct {
	N        int       `json:"n"`
	Address  string    `json:"address"`
	State    string    `json:"state"`
	Attempts int       `json:"attempts"`
	NextAt   time.Time `json:"next_attempt_at,omitzero"`
	Reply    string    `json:"last_reply,omitempty"`
	Host     string    `json:"last_host,omitempty"`
	LastAt   time.Time `json:"last_attempt_at,omitzero"`
	Why      string    `json:"why,omitempty"`
	// Duplicate: perhaps it arrived already.
	Duplicate bool `json:"possibly_delivered,omitempty"`
}

type journeyEvent struct {
	At        time.Time       `json:"at"`
	Event     relay.EventKind `json:"event"`
	N         int             `json:"n" doc:"-1: the whole message"`
	Recipient string          `json:"recipient,omitempty"`
	Data      relay.EventData `json:"data"`
}

// found is a message: its row while it is queued, or else its events.
type found struct {
	id     relay.MessageID
	tenant relay.Tenant
	events []relay.Event
	queued *store.Queued
}

// pathMail finds the message of the path. What is not the tenant's does not exist.
func (a *API) pathMail(c *Call) (*found, error) {
	id, err := relay.ParseID(c.R.PathValue("msg_id"))
	if err != nil || id.IsZero() {
		return nil, notFound()
	}
	return a.mailOf(c, relay.MessageID{ID: id})
}

// mailOf finds a message of the caller's, queued or not. What is not the tenant's
// does not exist.
func (a *API) mailOf(c *Call, id relay.MessageID) (*found, error) {
	f := &found{id: id}
	switch qd, err := a.Messages.Message(c.R.Context(), f.id); {
	case err == nil:
		f.queued, f.tenant = &qd, qd.Message.Tenant
	case relay.KindOf(err) != relay.NotFound:
		return nil, err
	default:
		if err := a.history(c, f); err != nil {
			return nil, err
		}
		f.tenant = f.events[0].Tenant
	}
	if !c.visible(f.tenant) {
		return nil, notFound()
	}
	return f, nil
}

// history reads the events of a message, which one that is queued may have none of.
func (a *API) history(c *Call, f *found) (err error) {
	f.events, err = a.Messages.MessageHistory(c.R.Context(), f.id)
	if err != nil && f.queued != nil && relay.KindOf(err) == relay.NotFound {
		return nil
	}
	return hidden(err)
}

func (a *API) showJourney(c *Call) error {
	f, err := a.pathMail(c)
	if err != nil {
		return err
	}
	if f.queued != nil {
		if err := a.history(c, f); err != nil {
			return err
		}
	}
	v := journeyView{ID: f.id, Subuser: a.subuserName(c, f.tenant), Queued: f.queued != nil, Why: []string{}, Categories: []string{}, AcceptedAt: f.id.Time()}
	key := v.tell(c, f)
	v.recipients(f)
	if f.queued != nil {
		if err := a.explain(c, f, &v); err != nil {
			return err
		}
		if v.Kept, err = a.kept(c, f); err != nil {
			return err
		}
		why, err := holdable(a, c, f)
		if err != nil {
			return err
		}
		v.Anew = why == "" && f.queued.Message.State == relay.MessageHeld
	} else {
		v.State = endState(v.Recipients)
	}
	v.Status = mailStatus(v.State)
	if !key.IsZero() {
		v.Key = &journeyKey{ID: key}
		if k, err := a.Keys.Key(c.R.Context(), key); err == nil && c.visible(relay.Tenant{Account: k.Account, Subuser: k.Subuser}) {
			v.Key.Name = k.Name
		}
	}
	if v.BodyStored, err = a.bodyStored(c, f.id); err != nil {
		return err
	}
	account, _ := a.Directory.Account(f.tenant.Account)
	v.Preview = v.BodyStored && account.Policy.PreviewBodies
	return c.JSON(http.StatusOK, v)
}

// tell fills in the message itself and its events, and returns the key.
func (v *journeyView) tell(c *Call, f *found) (key relay.KeyID) {
	v.Events, v.EventsLeft = []journeyEvent{}, len(f.events) >= store.MaxHistory
	for _, e := range f.events {
		var d relay.EventData
		_ = json.Unmarshal(e.Data, &d) // what cannot be read is shown as an event without details
		if e.Kind == relay.EventReceived {
			key = e.Key
			v.AcceptedAt, v.From, v.Envelope, v.Subject, v.HeaderID, v.Size = e.At, d.From, d.EnvelopeFrom, shownSubject(d.Subject), d.HeaderID, d.Size
			v.Pool, v.UniqueArgs = d.Pool, d.UniqueArgs
			if d.Categories != nil {
				v.Categories = d.Categories
			}
			if s := d.Source; s != nil {
				v.Source = sourceView{s.Addr, s.Helo, s.TLS, s.Mechanism, s.Protocol}
			}
		}
		d.By = c.shownBy(&d, f.tenant.Subuser)
		v.Events = append(v.Events, journeyEvent{At: e.At, Event: e.Kind, N: e.N, Recipient: e.Recipient, Data: d})
	}
	if f.queued == nil {
		return key
	}
	m := &f.queued.Message
	v.AcceptedAt, v.ExpiresAt, v.State, v.Reason, v.From, v.Envelope = m.AcceptedAt, m.ExpiresAt, string(m.State), m.Reason, m.HeaderFrom, m.EnvelopeFrom
	v.Subject, v.HeaderID, v.Size, v.UniqueArgs, v.SignedWith = shownSubject(m.Subject), m.HeaderID, m.Size, m.UniqueArgs, m.SignedWith
	v.Source = sourceView{m.Source.Addr, m.Source.Helo, m.Source.TLS, m.Source.Mechanism, m.Source.Protocol}
	return m.Key
}

// shownBy is who did something to mail, as the asker may know it: a subuser need
// not learn who its account's people are, nor who works at the installation; nor need
// somebody of the account who may see nothing of its own.
func (c *Call) shownBy(d *relay.EventData, of relay.SubuserID) string {
	rank, _ := d.Stood()
	if d.ByRank == relay.ByRestricted {
		rank = relay.RankAccount // whose person they are
	}
	if rank == relay.RankOwn || c.standsOver(of) || d.By == c.By.Who || strings.HasPrefix(d.By, c.By.Who+" ") {
		return d.By
	}
	return rank.Name()
}

// recipients puts together each recipient's state from the events, and, of those
// that are still queued, from their rows.
func (v *journeyView) recipients(f *found) {
	byN := map[int]*recipientView{}
	unknown := "queued"
	if v.EventsLeft {
		unknown = "" // what became of it may be in what is left out
	}
	at := func(n int, address string) *recipientView {
		if byN[n] == nil {
			byN[n] = &recipientView{N: n, Address: address, State: unknown}
		}
		return byN[n]
	}
	for i := range v.Events {
		e := &v.Events[i]
		for n, address := range e.Data.Recipients {
			if e.Event == relay.EventReceived {
				at(n, address)
			}
		}
		if e.N < 0 {
			continue
		}
		r := at(e.N, e.Recipient)
		switch e.Event {
		case relay.EventDelivered, relay.EventBounced, relay.EventDropped, relay.EventDeferred:
			r.State, r.LastAt = string(e.Event), e.At
			r.Attempts, r.Duplicate = max(r.Attempts, e.Data.Attempt), e.Data.Duplicate
			if e.Data.Reply != "" {
				r.Reply, r.Host = e.Data.Reply, e.Data.Host
			}
		}
	}
	if f.queued != nil {
		for _, q := range f.queued.Recipients {
			r := at(q.N, q.Address)
			r.State, r.Attempts, r.Reply, r.Host, r.LastAt, r.Duplicate = "queued", q.Attempts, q.LastReply, q.LastHost, q.LastAt, q.PossiblyDelivered
			if q.Attempts > 0 {
				r.State = string(relay.EventDeferred)
			}
			if f.queued.Message.State == relay.MessageQueued {
				r.NextAt = q.DueAt
			} else {
				r.State = string(f.queued.Message.State)
			}
		}
	}
	v.Recipients = []recipientView{}
	for _, r := range byN {
		v.Recipients = append(v.Recipients, *r)
	}
	slices.SortFunc(v.Recipients, func(x, y recipientView) int { return x.N - y.N })
}

// endState sums up what became of a message that has left the queue.
func endState(all []recipientView) string {
	state := ""
	for _, r := range all {
		if state != "" && r.State != state {
			return "mixed"
		}
		state = r.State
	}
	return state
}

// explain asks the queue why the message waits. What a destination said to others
// is not told: only that it needs a rest.
func (a *API) explain(c *Call, f *found, v *journeyView) error {
	e, err := a.Queue.Why(c.R.Context(), f.id)
	if relay.KindOf(err) == relay.NotFound {
		return nil // it has left meanwhile
	}
	if err != nil {
		return err
	}
	for _, text := range e.Text {
		text, _, _ = strings.Cut(text, " It goes on ")
		v.Why = append(v.Why, text)
	}
	for _, w := range e.Recipients {
		text := w.Text
		if short := restReason(w.Lane.Reason); short != w.Lane.Reason {
			text = strings.ReplaceAll(text, w.Lane.Reason, short)
		}
		for i := range v.Recipients {
			if v.Recipients[i].N == w.Recipient.N {
				v.Recipients[i].Why = text
			}
		}
	}
	return nil
}

// restReason is why a destination is given a rest, without the words that it had
// for somebody's mail.
func restReason(reason string) string {
	short, _, _ := strings.Cut(reason, ": ")
	return short
}

func (a *API) bodyStored(c *Call, id relay.MessageID) (bool, error) {
	_, err := a.Messages.Content(c.R.Context(), id)
	switch {
	case err == nil:
		return true, nil
	case relay.KindOf(err) == relay.NotFound || relay.KindOf(err) == relay.Internal: // a damaged one cannot be shown
		return false, nil
	}
	return false, err
}

// shownSubject decodes a subject as it stands in the header (RFC 2047).
func shownSubject(raw string) string {
	d := mime.WordDecoder{CharsetReader: charsetReader}
	if text, err := d.DecodeHeader(raw); err == nil {
		raw = text
	}
	return printable(raw, 512)
}
