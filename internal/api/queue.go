package api

import (
	"context"
	"net/http"
	"strings"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// QueueAction is a request to do something to queued messages: to those named,
// or to all that the filter finds.
type QueueAction struct {
	Messages []string     `json:"messages"`
	Filter   *QueueFilter `json:"filter"`
	Reason   string       `json:"reason"` // of hold and bounce, in words
	Off      bool         `json:"off"`    // of drain: take mail again
}

// QueueFilter selects messages. Account, Subuser and Pool are ids or names.
type QueueFilter struct {
	All       bool   `json:"all"` // without it, an empty filter is an error
	Account   string `json:"account"`
	Subuser   string `json:"subuser"`
	Key       string `json:"key"`
	Pool      string `json:"pool"`
	Site      string `json:"site"` // recipients' domain
	Recipient string `json:"recipient"`
	Sender    string `json:"sender"`
	State     string `json:"state"` // queued, held, quarantined
}

// Affected says how many messages an action applied to.
type Affected struct {
	Messages int64 `json:"messages"`
}

const (
	maxPage     = 1000
	defaultPage = 100
	maxReason   = 200
)

// queuePage is a page of the queue with the cursor of the next.
type queuePage struct {
	Result []store.Queued  `json:"result"`
	Next   relay.MessageID `json:"next,omitzero"` // for ?after=; absent at the end
}

func (a *admin) listQueue(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	in := QueueFilter{
		All: true, Account: q.text("account"), Subuser: q.text("subuser"), Key: q.text("key"), Pool: q.text("pool"),
		Site: q.text("site"), Recipient: q.text("recipient"), Sender: q.text("sender"), State: q.text("state"),
	}
	after, limit := relay.MessageID{ID: q.id("after")}, q.number("limit", maxPage)
	if err := q.end(); err != nil {
		return err
	}
	f, err := a.filter(r.Context(), in)
	if err != nil {
		return err
	}
	f.After, f.Limit = after, int(limit)
	if f.Limit == 0 {
		f.Limit = defaultPage
	}
	found, err := a.Queue.Messages(r.Context(), f)
	if err != nil {
		return err
	}
	page := queuePage{Result: listOf(found).Result}
	if len(found) == f.Limit {
		page.Next = found[len(found)-1].Message.ID
	}
	return reply(w, page)
}

func (a *admin) showMessage(w http.ResponseWriter, r *http.Request) error {
	id, err := messageID(r)
	if err != nil {
		return err
	}
	m, err := a.Queue.Message(r.Context(), id)
	if err != nil {
		return err
	}
	return reply(w, m)
}

func (a *admin) why(w http.ResponseWriter, r *http.Request) error {
	id, err := messageID(r)
	if err != nil {
		return err
	}
	e, err := a.Queue.Why(r.Context(), id)
	if err != nil {
		return err
	}
	return reply(w, e)
}

// actOnQueue handles POST /queue/{verb}.
func (a *admin) actOnQueue(w http.ResponseWriter, r *http.Request) error {
	verb := r.PathValue("verb")
	act := a.actions()[verb]
	if act == nil && verb != "drain" {
		return relay.E(relay.NotFound, "not found")
	}
	who, err := by(r)
	if err != nil {
		return err
	}
	var in QueueAction
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	if len(in.Reason) > maxReason || strings.ContainsFunc(in.Reason, unprintable) {
		return invalid("reason", "A reason is one line of at most %d octets.", maxReason)
	}
	if verb == "drain" {
		if err := a.Queue.Drain(r.Context(), who, !in.Off); err != nil {
			return err
		}
		return reply(w, empty{})
	}
	n, err := a.apply(r.Context(), in, func(ctx context.Context, ids []relay.MessageID) (int64, error) {
		return act(ctx, who, ids, in.Reason)
	})
	if err != nil {
		return err
	}
	return reply(w, Affected{Messages: n})
}

type action func(ctx context.Context, by store.By, ids []relay.MessageID, reason string) (int64, error)

func (a *admin) actions() map[string]action {
	return map[string]action{
		"hold":   a.Queue.Hold,
		"bounce": a.Queue.Bounce,
		"release": func(ctx context.Context, by store.By, ids []relay.MessageID, _ string) (int64, error) {
			return a.Queue.Release(ctx, by, ids)
		},
		"retry": func(ctx context.Context, by store.By, ids []relay.MessageID, _ string) (int64, error) {
			return a.Queue.Retry(ctx, by, ids)
		},
	}
}

// apply calls do for the messages of the action, a page at a time. What the
// filter found before an error is done and stays done.
func (a *admin) apply(ctx context.Context, in QueueAction, do func(context.Context, []relay.MessageID) (int64, error)) (int64, error) {
	switch {
	case len(in.Messages) > 0 && in.Filter != nil:
		return 0, invalid("filter", "Name messages or give a filter, not both.")
	case len(in.Messages) > maxPage:
		return 0, invalid("messages", "More than %d messages; use a filter.", maxPage)
	case len(in.Messages) > 0:
		ids, err := each("messages", in.Messages, func(field, s string) (relay.MessageID, error) {
			id, err := relay.ParseID(s)
			if err != nil {
				return relay.MessageID{}, invalid(field, "Not an id of 22 characters.")
			}
			return relay.MessageID{ID: id}, nil
		})
		if err != nil {
			return 0, err
		}
		return do(ctx, ids)
	case in.Filter == nil:
		return 0, invalid("messages", "Name messages, or give a filter.")
	}
	if *in.Filter == (QueueFilter{}) {
		return 0, invalid("filter", "The filter is empty; set all to mean every message.")
	}
	f, err := a.filter(ctx, *in.Filter)
	if err != nil {
		return 0, err
	}
	return a.applyAll(ctx, f, do)
}

func (a *admin) applyAll(ctx context.Context, f store.MessageFilter, do func(context.Context, []relay.MessageID) (int64, error)) (int64, error) {
	f.Limit = maxPage
	var total int64
	for {
		found, err := a.Queue.Messages(ctx, f)
		if err != nil {
			return total, err
		}
		if len(found) == 0 {
			return total, nil
		}
		ids := make([]relay.MessageID, len(found))
		for i, m := range found {
			ids[i] = m.Message.ID
		}
		n, err := do(ctx, ids)
		if relay.KindOf(err) == relay.NotFound {
			n, err = oneByOne(ctx, ids, do) // some have left the queue since they were listed
		}
		total += n
		if err != nil {
			return total, err
		}
		if len(found) < f.Limit {
			return total, nil
		}
		f.After = ids[len(ids)-1]
	}
}

// oneByOne calls do for each message that is still there. Whoever named a filter
// and no ids means those.
func oneByOne(ctx context.Context, ids []relay.MessageID, do func(context.Context, []relay.MessageID) (int64, error)) (total int64, err error) {
	for _, id := range ids {
		n, err := do(ctx, []relay.MessageID{id})
		if err != nil && relay.KindOf(err) != relay.NotFound {
			return total, err
		}
		total += n
	}
	return total, nil
}

// filter resolves names.
func (a *admin) filter(ctx context.Context, in QueueFilter) (f store.MessageFilter, err error) {
	f = store.MessageFilter{Site: strings.ToLower(in.Site), Recipient: in.Recipient, Sender: in.Sender, State: relay.MessageState(in.State)}
	switch f.State {
	case "", relay.MessageQueued, relay.MessageHeld, relay.MessageQuarantined:
	default:
		return f, invalid("state", "A state is queued, held or quarantined.")
	}
	if in.Account != "" {
		account, err := a.account(ctx, "account", in.Account)
		if err != nil {
			return f, err
		}
		f.Account = account.ID
	}
	if in.Subuser != "" {
		s, err := a.subuser(ctx, "subuser", in.Subuser)
		if err != nil {
			return f, err
		}
		f.Subuser = s.ID
	}
	if in.Key != "" {
		k, err := a.key(ctx, in.Key)
		if err != nil {
			return f, err
		}
		f.Key = k.ID
	}
	if in.Pool != "" {
		p, err := a.pool(ctx, "pool", in.Pool, f.Account)
		if err != nil {
			return f, err
		}
		f.Pool = p.ID
	}
	return f, nil
}
