package v3

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// mailManyRoutes do to many messages what those of mail_act.go do to one: each is
// judged as there, and what may not be done to one is left alone and counted.
var mailManyRoutes = []Route{
	mailMany(&manyAction{verb: "hold", states: append([]store.MailState{store.MailHeld}, onTheWay...), judge: holdable, do: QueueKeeper.Hold},
		"Keep queued messages from further attempts until they are released"),
	mailMany(&manyAction{verb: "release", states: []store.MailState{store.MailHeld}, judge: releasable, do: withoutReason(QueueKeeper.Release)},
		"Let held messages go on"),
	mailMany(&manyAction{verb: "retry", states: onTheWay, judge: onTheirWay, do: withoutReason(QueueKeeper.Retry)},
		"Try waiting messages' recipients now"),
	mailMany(&manyAction{verb: "cancel", states: append([]store.MailState{store.MailHeld}, onTheWay...), judge: whatever, do: QueueKeeper.Bounce},
		"End queued messages now: they bounce, and their senders are told as of any bounce"),
}

var onTheWay = []store.MailState{store.MailProcessed, store.MailDeferred}

const (
	// mostMany is how many messages a call takes by their ids, and how many lines of a
	// search.
	mostMany = 500
	// manyStep is how many are judged before they are acted on: what is judged is soon
	// done. They stand in one record.
	manyStep = 100
)

// manyAction is what is done to many messages.
type manyAction struct {
	verb   string
	states []store.MailState // those that a search may ask for
	// judge is why a queued message is left alone; "": it is not.
	judge func(*API, *Call, *found) (leftCode, error)
	do    manyFunc
}

type manyFunc func(q QueueKeeper, ctx context.Context, by store.By, ids []relay.MessageID, reason string) (int64, error)

func withoutReason(do func(q QueueKeeper, ctx context.Context, by store.By, ids []relay.MessageID) (int64, error)) manyFunc {
	return func(q QueueKeeper, ctx context.Context, by store.By, ids []relay.MessageID, _ string) (int64, error) {
		return do(q, ctx, by, ids)
	}
}

func mailMany(act *manyAction, summary string) Route {
	return Route{
		Method: http.MethodPost, Pattern: "/v3/messages/" + act.verb, Scope: scopeMailAct,
		Summary: summary + ": up to " + strconv.Itoa(mostMany) + " by their ids, or those that a search finds, which needs " + scopeMail + ", too",
		Body:    mailManyBody{}, Answers: map[int]any{200: mailManyDone{}},
		Handler: func(a *API, c *Call) error { return a.actOnMany(c, act) },
	}
}

type mailManyBody struct {
	IDs    []string    `json:"ids,omitempty" doc:"up to 500 msg_ids; or filter"`
	Filter *mailSought `json:"filter,omitempty" doc:"those that this search finds, the latest first: up to 500 of its lines in a call"`
	After  string      `json:"after,omitempty" doc:"with filter: next of the answer before"`
	DryRun bool        `json:"dry_run,omitempty" doc:"count, and change nothing"`
	// CountedAt is another time than the search's own until, which is about what was
	// accepted, however late it was held.
	CountedAt string `json:"counted_at,omitempty" doc:"with filter; required without dry_run, which answers it: what came in since, and of held mail what was held since, is left alone"`
	Reason    string `json:"reason,omitempty" doc:"of hold and cancel, in words: one line; who sent a message that is cancelled reads it in the bounce"`
}

// mailSought are the criteria of a search, as GET /v3/messages has them.
type mailSought struct {
	To       string `json:"to,omitempty"`
	From     string `json:"from,omitempty"`
	ID       string `json:"id,omitempty" doc:"how it begins"`
	Key      string `json:"key,omitempty" doc:"id or name"`
	Domain   string `json:"domain,omitempty" doc:"of the recipient or the author"`
	ToDomain string `json:"to_domain,omitempty" doc:"of the recipient"`
	State    string `json:"state" doc:"held (quarantined mail, too), of hold, release and cancel; processed or deferred, of hold, retry and cancel"`
	Subject  string `json:"subject,omitempty"`
	Since    string `json:"since,omitempty"`
	Until    string `json:"until,omitempty"`
	Match    string `json:"match,omitempty"`
}

func (s *mailSought) text(name string) string {
	return map[string]string{"to": s.To, "from": s.From, "id": s.ID, "key": s.Key, "domain": s.Domain, "to_domain": s.ToDomain, "state": s.State, "subject": s.Subject,
		"since": s.Since, "until": s.Until, "match": s.Match}[name]
}

// mailManyDone says what was done, or would be.
type mailManyDone struct {
	DryRun   bool  `json:"dry_run"`
	Messages int64 `json:"messages" doc:"changed, or with dry_run those that would be"`
	// Recipients are more than the lines that a search finds: what is done is done to all
	// of a message.
	Recipients int64      `json:"recipients,omitempty" doc:"with dry_run: to whom these messages still are to go, all of them, also those that the search is not about"`
	Left       []leftMail `json:"left" doc:"those that were left alone, by why"`
	CountedAt  time.Time  `json:"counted_at,omitzero" doc:"of a search: for the call that acts"`
	More       bool       `json:"more" doc:"the search goes on: ask again with after"`
	Next       string     `json:"next,omitempty" doc:"for after; a call may do little, or nothing, and there is more all the same"`
	Keys       []manyKey  `json:"keys,omitempty" doc:"of a search with dry_run: whose messages they are, most first"`
	From       []manyFrom `json:"from,omitempty" doc:"of a search with dry_run: the authors, most first"`
}

type manyKey struct {
	ID       relay.KeyID `json:"api_key_id,omitzero"`
	Name     string      `json:"name"`
	Subuser  string      `json:"subuser,omitempty"`
	Messages int64       `json:"messages"`
}

type manyFrom struct {
	From     string `json:"from_email"`
	Messages int64  `json:"messages"`
}

// leftCode is why a message was left alone.
type leftCode string

const (
	leftQuarantined leftCode = "quarantined"
	leftKey         leftCode = "key_holds"
	leftOperator    leftCode = "operator_holds"
	leftAccount     leftCode = "account_holds"
	leftGoing       leftCode = "not_held"
	leftHeld        leftCode = "held"
	leftGone        leftCode = "gone"
	leftAbsent      leftCode = "absent"
	leftMeanwhile   leftCode = "meanwhile"
)

// leftOrder is the order in which they are told.
var leftOrder = []leftCode{leftQuarantined, leftOperator, leftAccount, leftKey, leftHeld, leftGoing, leftGone, leftMeanwhile, leftAbsent}

var leftTexts = map[leftCode]string{
	leftQuarantined: "Only the operator of this relay releases quarantined mail.",
	leftKey:         "This key's mail is held for release by others.",
	leftOperator:    "The operator of this relay holds this message.",
	leftAccount:     "The account holds this message.",
	leftGoing:       "It is not held.",
	leftHeld:        "It is held: release it first.",
	leftGone:        "The message has left the queue: nothing can be done to it any more.",
	leftMeanwhile:   "It is being delivered, or changed meanwhile.",
	leftAbsent:      "There is no such message.",
}

type leftMail struct {
	Code     leftCode `json:"code" doc:"quarantined, operator_holds, account_holds, key_holds, held, not_held, gone, meanwhile or absent"`
	Why      string   `json:"why"`
	Messages int64    `json:"messages"`
}

func releasable(a *API, c *Call, f *found) (leftCode, error) {
	if f.queued.Message.State == relay.MessageQueued {
		return leftGoing, nil
	}
	return a.keptBy(c, f)
}

// holdable: what is held is held anew by whoever stands above those who hold it.
func holdable(a *API, c *Call, f *found) (leftCode, error) {
	switch f.queued.Message.State {
	case relay.MessageQueued:
		return "", nil
	case relay.MessageHeld:
		if h, err := a.holdOf(c, f); err != nil || c.By.RankOver(f.tenant.Subuser) > h.rank {
			return "", err
		}
	}
	return leftHeld, nil
}

func onTheirWay(_ *API, _ *Call, f *found) (leftCode, error) {
	if f.queued.Message.State != relay.MessageQueued {
		return leftHeld, nil
	}
	return "", nil
}

func whatever(*API, *Call, *found) (leftCode, error) { return "", nil }

// many is one call: what it asks for, and what has become of it.
type many struct {
	*API
	c    *Call
	act  *manyAction
	in   mailManyBody
	left map[leftCode]int64
	keys map[relay.KeyID]*manyKey
	from map[string]int64
	done mailManyDone
}

// actOnMany does what may be done to each of some messages. An error in the middle
// leaves done what is done: asked again, the call does the rest.
func (a *API) actOnMany(c *Call, act *manyAction) error {
	m := &many{API: a, c: c, act: act, left: map[leftCode]int64{}, keys: map[relay.KeyID]*manyKey{}, from: map[string]int64{}}
	if err := m.decode(); err != nil {
		return err
	}
	ids, err := m.messages()
	if err != nil {
		return err
	}
	for step := range slices.Chunk(ids, manyStep) {
		if err := m.step(step); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusOK, m.answer())
}

func (m *many) decode() error {
	in := &m.in
	if err := m.c.Decode(in); err != nil {
		return err
	}
	m.done.DryRun = in.DryRun
	switch {
	case len(in.IDs) == 0 && in.Filter == nil:
		return invalid("ids", "Name messages in ids, or say in filter which to search for.")
	case len(in.IDs) > 0 && in.Filter != nil:
		return invalid("filter", "Name messages in ids or search for them with filter, not both.")
	case len(in.IDs) > mostMany:
		return invalid("ids", "At most %d messages at a time.", mostMany)
	case in.Filter == nil && in.After != "":
		return invalid("after", "Only a search goes on.")
	}
	return checkReason(in.Reason)
}

// messages are those that are asked for, each once, in their order.
func (m *many) messages() ([]relay.MessageID, error) {
	if m.in.Filter != nil {
		return m.search()
	}
	var ids []relay.MessageID
	seen := map[relay.MessageID]bool{}
	for _, text := range m.in.IDs {
		id, err := relay.ParseID(text)
		if err != nil || id.IsZero() {
			m.left[leftAbsent]++
			continue
		}
		if id := (relay.MessageID{ID: id}); !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// search finds the messages of the filter. What it tells is told to those only who
// may search.
func (m *many) search() ([]relay.MessageID, error) {
	c := m.c
	if !c.Allows(scopeMail) {
		return nil, forbidden()
	}
	f := m.in.Filter
	if !slices.Contains(m.act.states, store.MailState(f.State)) {
		return nil, invalid("filter.state", "Say which mail to %s: one of %v.", m.act.verb, m.act.states)
	}
	counted, err := m.countedAt()
	if err != nil {
		return nil, err
	}
	if m.done.CountedAt = counted; f.Until == "" {
		f.Until = counted.Format(time.RFC3339Nano) // before the search: of words of the subject it is the end of seven days
	}
	q, err := m.mailFilter(c, m.in.Filter.text)
	if err != nil {
		return nil, ofFilter(err)
	}
	if len(m.in.After) > maxSearch {
		return nil, invalid("after", "That is not where a search can go on.")
	}
	if q.Until.After(counted) {
		q.Until = counted
	}
	place, last, _ := strings.Cut(m.in.After, "~")
	q.Limit, q.After = mostMany, place
	rows, next, err := m.Index.FindMail(c.R.Context(), q)
	if err != nil {
		return nil, err
	}
	var ids []relay.MessageID
	for i := range rows {
		// The lines of a message stand together; those of one that the call before ended
		// with were dealt with.
		if id := rows[i].Message; !id.IsZero() && id.String() != last && c.visible(rows[i].Tenant) {
			ids, last = append(ids, id), id.String()
		}
	}
	if next != "" {
		m.done.More, m.done.Next = true, next+"~"+last
	}
	return ids, nil
}

// countedAt is when the messages of a search were counted; of a count it is now, or when
// the part before it was.
func (m *many) countedAt() (time.Time, error) {
	if m.in.CountedAt == "" && !m.in.DryRun {
		return time.Time{}, invalid("counted_at", "Count first, with dry_run, and send the counted_at that it answers: what comes in after the count is left alone.")
	}
	at, err := parseMoment("counted_at", m.in.CountedAt)
	if err != nil {
		return time.Time{}, err
	}
	if at.IsZero() || at.After(m.c.Now) {
		at = m.c.Now
	}
	return at.UTC(), nil
}

// ofFilter names the member of filter that an error is about.
func ofFilter(err error) error {
	e, ok := errors.AsType[*relay.Error](err)
	if !ok || e.Field == "" {
		return err
	}
	own := *e
	own.Field = "filter." + e.Field
	return &own
}

// step judges some messages and acts on those that may be acted on.
func (m *many) step(ids []relay.MessageID) error {
	var may []relay.MessageID
	for _, id := range ids {
		f, why, err := m.judged(id)
		if err != nil {
			return err
		}
		if why != "" {
			m.left[why]++
			continue
		}
		m.count(f)
		may = append(may, id)
	}
	if m.in.DryRun || len(may) == 0 {
		m.done.Messages += int64(len(may))
		return nil
	}
	n, err := m.change(may)
	m.done.Messages += n
	m.left[leftMeanwhile] += int64(len(may)) - n
	return err
}

// judged finds a message, and why it is left alone; "": it is not.
func (m *many) judged(id relay.MessageID) (*found, leftCode, error) {
	f, err := m.mailOf(m.c, id)
	switch {
	case err != nil && relay.KindOf(err) == relay.NotFound:
		return nil, leftAbsent, nil
	case err != nil:
		return nil, "", err
	case f.queued == nil:
		return f, leftGone, nil
	}
	why, err := m.act.judge(m.API, m.c, f)
	if err == nil && why == "" {
		why, err = m.changed(f)
	}
	return f, why, err
}

// changed reports what was stopped after it was counted: to release it, or to let it
// bounce, was not asked for.
func (m *many) changed(f *found) (leftCode, error) {
	if m.in.Filter == nil || m.in.DryRun || store.MailState(m.in.Filter.State) != store.MailHeld {
		return "", nil
	}
	h, err := m.holdOf(m.c, f)
	if err == nil && h.at.After(m.done.CountedAt) {
		return leftMeanwhile, nil
	}
	return "", err
}

// count notes whose a message is, and to how many it goes.
func (m *many) count(f *found) {
	msg := &f.queued.Message
	if m.in.DryRun {
		m.done.Recipients += int64(len(f.queued.Recipients))
	}
	if m.keys[msg.Key] == nil {
		m.keys[msg.Key] = &manyKey{ID: msg.Key, Subuser: m.subuserName(m.c, msg.Tenant)}
	}
	m.keys[msg.Key].Messages++
	m.from[cmp.Or(msg.HeaderFrom, msg.EnvelopeFrom)]++
}

// change acts on messages, and says how many have changed. The record comes first,
// and one for all of them: 5,000 of their own would bury everything else that was
// done, and a crash in between leaves a record of what was asked.
func (m *many) change(ids []relay.MessageID) (int64, error) {
	if err := m.record(ids); err != nil {
		return 0, err
	}
	var n int64
	for {
		k, err := m.act.do(m.Queue, m.c.R.Context(), m.c.By, ids, m.in.Reason)
		n += k
		if err == nil || relay.KindOf(err) != relay.NotFound {
			return n, err
		}
		// One of them has left the queue since it was judged, and so nothing was done: it is
		// done to the others. One call is one record of the installation's, too.
		rest, err := m.queued(ids)
		if err != nil || len(rest) == 0 || len(rest) == len(ids) {
			return n, err
		}
		ids = rest
	}
}

// queued are those of some messages that are still in the queue.
func (m *many) queued(ids []relay.MessageID) (rest []relay.MessageID, err error) {
	for _, id := range ids {
		switch _, err := m.Messages.Message(m.c.R.Context(), id); {
		case err == nil:
			rest = append(rest, id)
		case relay.KindOf(err) != relay.NotFound:
			return nil, err
		}
	}
	return rest, nil
}

// subuserOf names the subuser that the call is for: the record is the account's. "": it
// is for the account, with or without its subusers.
func (m *many) subuserOf() string {
	s, _ := m.Directory.Subuser(m.c.Tenant.Subuser)
	return s.Name
}

// record puts what is done into the account's record.
func (m *many) record(ids []relay.MessageID) error {
	if m.RecordChange == nil {
		return relay.E(relay.Unavailable, "Changes are not recorded here.")
	}
	c := m.c
	text, err := json.Marshal(struct {
		Verb     string            `json:"verb"`
		Subuser  string            `json:"subuser,omitempty"`
		Messages []relay.MessageID `json:"messages"`
		Reason   string            `json:"reason,omitempty"`
	}{m.act.verb, m.subuserOf(), ids, m.in.Reason})
	if err != nil {
		return err
	}
	return m.RecordChange(c.R.Context(), c.By, relay.Change{
		At: c.Now, Account: c.Tenant.Account, By: c.By.Who, From: c.By.From, Action: "queue." + m.act.verb, Subject: fmt.Sprintf("%d messages", len(ids)), After: text,
	})
}

func (m *many) answer() *mailManyDone {
	out := &m.done
	out.Left = []leftMail{}
	for _, code := range leftOrder {
		if n := m.left[code]; n > 0 {
			why := leftTexts[code]
			if code == leftHeld && m.act.verb == "hold" {
				why = "It is held already."
			}
			out.Left = append(out.Left, leftMail{Code: code, Why: why, Messages: n})
		}
	}
	if m.in.Filter == nil || !m.in.DryRun {
		return out
	}
	for _, k := range m.keys {
		if key, err := m.Keys.Key(m.c.R.Context(), k.ID); err == nil && m.c.visible(relay.Tenant{Account: key.Account, Subuser: key.Subuser}) {
			k.Name = key.Name
		}
		out.Keys = append(out.Keys, *k)
	}
	slices.SortFunc(out.Keys, func(x, y manyKey) int {
		return cmp.Or(cmp.Compare(y.Messages, x.Messages), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID.String(), y.ID.String()))
	})
	for from, n := range m.from {
		out.From = append(out.From, manyFrom{From: from, Messages: n})
	}
	slices.SortFunc(out.From, func(x, y manyFrom) int {
		return cmp.Or(cmp.Compare(y.Messages, x.Messages), cmp.Compare(x.From, y.From))
	})
	return out
}
