package console

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	apiMessages = "/v3/messages"
	apiMessage  = apiMessages + "/{msg_id}"
)

// mailPages are the pages of mail.
var mailPages = []page{
	{Method: "GET", Pattern: "/mail", Title: "Mail", Group: "Mail", Nav: "Mail", Needs: []string{"GET " + apiMessages}, Handler: onDesk(showMail)},
	{Method: "GET", Pattern: "/mail/{message}", Title: "Message", Needs: []string{"GET " + apiMessage}, Handler: onDesk(showMessage)},
	{Method: "GET", Pattern: "/mail/{message}/body", Title: "What it says", Needs: []string{"GET " + apiMessage + "/body"}, Handler: onDesk(showBody)},
	{Method: "GET", Pattern: "/mail/{message}/body.html", Title: "What it says", Needs: []string{"GET " + apiMessage + "/body"}, Handler: onDesk(serveBody)},
	{Method: "GET", Pattern: "/mail/{message}/do/{action}", Title: "Message", Needs: []string{"GET " + apiMessage}, Handler: onDesk(showMailAction)},
	{Method: "POST", Pattern: "/mail/{message}/do/{action}", Title: "Message", Needs: []string{"GET " + apiMessage}, Handler: onDesk(doMailAction)},
}

// mailLine is one recipient of one message, as a search finds it.
type mailLineView struct {
	ID       string    `json:"msg_id"`
	From     string    `json:"from_email"`
	To       string    `json:"to_email"`
	Subject  string    `json:"subject"`
	State    string    `json:"state"`
	Status   string    `json:"status"`
	Key      string    `json:"api_key_id"`
	Subuser  string    `json:"subuser"`
	Accepted time.Time `json:"accepted_at"`
	LastAt   time.Time `json:"last_event_time"`
	Reply    string    `json:"last_reply"`
	Attempts int64     `json:"attempts"`
	Count    int64     `json:"count"` // of refusals
	NextAt   time.Time `json:"next_attempt_at"`
}

// mailStates are the states in words, as a search has them.
var mailStates = []option{
	{Value: "", Text: "any"}, {Value: "processed", Text: "on its way"}, {Value: "deferred", Text: "put off"}, {Value: "held", Text: "held"},
	{Value: "delivered", Text: "delivered"}, {Value: "bounced", Text: "bounced"}, {Value: "dropped", Text: "dropped"}, {Value: "refused", Text: "refused"},
}

// moreStates are those of one message that no search has.
var moreStates = []option{{Value: "queued", Text: "on its way"}, {Value: "quarantined", Text: "in quarantine"}, {Value: "mixed", Text: "differs by recipient"}}

func mailState(state string) badge {
	tone := map[string]string{"delivered": toneOK, "bounced": toneBad, "dropped": toneBad, "refused": toneBad, "deferred": toneWarn, "held": toneWarn,
		"quarantined": toneBad, "queued": toneInfo, "processed": toneInfo}[state]
	for _, o := range slices.Concat(mailStates[1:], moreStates) {
		if o.Value == state {
			return badge{o.Text, tone}
		}
	}
	return badge{orNone(state, "unknown"), tone}
}

// mailFilters are the parameters of a search.
var mailFilters = []string{"to", "from", "id", "key", "domain", "to_domain", "state", "subject", "since", "until", "match"}

// mailPage finds mail.
type mailPage struct {
	Search form
	Held   []link
	Mail   table
}

func (v *desk) mailForm() form {
	return form{Name: "search", Get: true, Action: v.path("/mail"), Do: "Search", Fields: []field{
		{Name: "to", Label: "Recipient", Value: v.sent("to")}, {Name: "from", Label: "Sender", Value: v.sent("from")},
		{Name: "id", Label: "Message id", Value: v.sent("id")}, {Name: "key", Label: "Key (name or id)", Value: v.sent("key")},
		{Name: "to_domain", Label: "Domain of the recipient", Value: v.sent("to_domain")}, {Name: "domain", Label: "Domain of the recipient or the sender", Value: v.sent("domain")},
		{Name: "state", Label: "State", Kind: "select", Options: pick(v.sent("state"), mailStates...)},
		{Name: "since", Label: "From (UTC)", Value: v.sent("since")}, {Name: "until", Label: "To (UTC)", Value: v.sent("until")},
		{Name: "subject", Label: "Words of the subject", Value: v.sent("subject"), Help: "Of the last seven days, unless you say from when."},
		{Name: "match", Label: "Addresses and domains", Kind: "select", Options: pick(v.sent("match"), option{Value: "exact", Text: "whole"}, option{Value: "prefix", Text: "begin so"})},
	}}
}

func showMail(v *desk) error {
	p := mailPage{Search: v.mailForm()}
	pairs, searched, err := v.mailCriteria()
	var list mailListView
	if err == nil {
		list, err = v.findMail(append([]string{"limit", "50"}, pairs...))
	}
	f, refused := v.refused(p.Search, err)
	if refused {
		p.Search, err = f, nil
	}
	if err != nil {
		return err
	}
	empty := "No mail has been handed in yet. Make a key and send a first message."
	switch {
	case refused:
		empty = "" // nothing was looked for
	case list.Next != "":
		empty = "Nothing has been found yet. There is more to look through."
	case searched:
		empty = "Nothing fits. Search by less, or by a longer time."
	}
	p.Mail, p.Held = v.mailTable(list.Messages, empty), v.heldLinks(&list)
	if list.Next != "" {
		q := v.R.URL.Query()
		q.Set("after", list.Next)
		p.Mail.Older = v.R.URL.Path + "?" + q.Encode()
		p.Mail.Next = []link{{"Look further", p.Mail.Older}}
	}
	return v.Render(http.StatusOK, "page_mail", "Mail", p)
}

// mailCriteria are the criteria of this search, name and value, as the API wants them;
// searched: there are some.
func (v *desk) mailCriteria() (pairs []string, searched bool, err error) {
	for _, name := range mailFilters {
		value := v.sent(name)
		if value == "" {
			continue
		}
		searched = searched || name != "match"
		switch {
		case name == "since" || name == "until":
			if value, err = v.moment(name); err != nil {
				return nil, searched, err
			}
		case name == "state" && value == "quarantined":
			value = "held" // a search has both as one
		}
		pairs = append(pairs, name, value)
	}
	return pairs, searched, nil
}

type mailListView struct {
	Messages []mailLineView `json:"messages"`
	Next     string         `json:"next"`
}

// mostLooks bounds how many empty parts of a search one page looks through.
const mostLooks = 5

// findMail asks for a page of mail. The API answers with parts, which may be empty
// though there is more.
func (v *desk) findMail(pairs []string) (list mailListView, err error) {
	after := v.sent("after")
	for range mostLooks {
		list, err = ask[mailListView](v, query(apiMessages, slices.Concat(pairs, []string{"after", after})...))
		if err != nil || len(list.Messages) > 0 || list.Next == "" {
			return list, err
		}
		after = list.Next
	}
	return list, nil
}

func (v *desk) mailTable(list []mailLineView, empty string) table {
	t := table{ID: "mail", Caption: "Mail, the latest first", Head: []string{"Subject", "To", "State", "Accepted", "Last word"}, Empty: empty,
		Next: v.linkIf("Make a key", "/keys/new", "POST", apiKeys)}
	for _, m := range list {
		subject := words(orNone(m.Subject, "(no subject)"))
		if m.ID != "" {
			subject.Href = v.path("/mail", m.ID)
		}
		if m.Subuser != "" {
			subject.Note = "of " + m.Subuser
		}
		state := cell{Badges: []badge{mailState(m.State)}}
		if !m.NextAt.IsZero() {
			state.Note = "next try " + momentOf(v.Now, m.NextAt).Words
		}
		if m.Count > 1 {
			state.Note = things(m.Count, "time")
		}
		recipient := words(orNone(m.To, "nobody"))
		recipient.Note = "from " + m.From
		last := v.at(m.LastAt)
		last.Note = m.Reply
		t.Rows = append(t.Rows, row{Cells: []cell{subject, recipient, state, v.at(m.Accepted), last}})
	}
	return t
}

// messageView is one message and all that is known of its way.
type messageView struct {
	ID           string            `json:"msg_id"`
	From         string            `json:"from_email"`
	EnvelopeFrom string            `json:"envelope_from"`
	HeaderFrom   string            `json:"from"`
	Subject      string            `json:"subject"`
	HeaderID     string            `json:"message_id"`
	State        string            `json:"state"`
	Reason       string            `json:"reason"`
	Size         int64             `json:"size"`
	Accepted     time.Time         `json:"accepted_at"`
	Expires      time.Time         `json:"expires_at"`
	Categories   []string          `json:"categories"`
	UniqueArgs   map[string]string `json:"unique_args"`
	Subuser      string            `json:"subuser"`
	Source       struct {
		Addr      string `json:"addr"`
		Helo      string `json:"helo"`
		TLS       string `json:"tls"`
		Mechanism string `json:"mechanism"`
		Protocol  string `json:"protocol"`
	} `json:"source"`
	Key struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"key"`
	Recipients []struct {
		N        int       `json:"n"`
		Address  string    `json:"address"`
		State    string    `json:"state"`
		Attempts int64     `json:"attempts"`
		NextAt   time.Time `json:"next_attempt_at"`
		Reply    string    `json:"last_reply"`
		Host     string    `json:"last_host"`
	} `json:"recipients"`
	Events  []mailEvent `json:"events"`
	Left    bool        `json:"events_left_out"`
	Why     plainWords  `json:"why"`
	Queued  bool        `json:"queued"`
	Kept    string      `json:"kept"`          // why the person may not release it
	Anew    bool        `json:"may_hold_anew"` // they stand above those who hold it
	Preview bool        `json:"body_preview"`
}

// mailEvent is a step on a message's way.
type mailEvent struct {
	At        time.Time `json:"at"`
	Event     string    `json:"event"`
	Recipient string    `json:"recipient"`
	Data      struct {
		Attempt   int       `json:"attempt"`
		Code      int       `json:"code"`
		Enhanced  string    `json:"enhanced"`
		Reply     string    `json:"reply"`
		Host      string    `json:"host"`
		IP        string    `json:"ip"`
		LocalIP   string    `json:"local_ip"`
		TLS       string    `json:"tls"`
		NextAt    time.Time `json:"next_attempt_at"`
		Reason    string    `json:"reason"`
		By        string    `json:"by"`
		Duplicate bool      `json:"possibly_delivered"`
		Ambiguous bool      `json:"ambiguous"`
	} `json:"data"`
}

// messagePage is one message's journey.
type messagePage struct {
	Notices    []notice
	Next       []link
	Is         facts
	Source     facts
	Why        []string
	Recipients table
	Journey    []step
	LeftOut    bool // steps in the middle
	Live       bool
}

// step is one point of the journey.
type step struct {
	Tone  string
	Title string
	Time  moment
	Lines []string
	Reply string // the remote's words
}

// message is the one of the path. What cannot be done to it is barred.
func (v *desk) message() (messageView, error) {
	m, err := ask[messageView](v, under(apiMessages, v.id("message")))
	if err == nil {
		v.barMessage(&m)
	}
	return m, err
}

func showMessage(v *desk) error {
	m, err := v.message()
	if err != nil {
		return err
	}
	p := messagePage{Notices: v.whyNot(), Is: messageFacts(v, &m), Source: sourceFacts(v, &m), Why: m.Why, LeftOut: m.Left, Live: m.Queued}
	here := v.path("/mail", v.id("message"))
	for _, a := range mailActions {
		if a.fits(&m) {
			p.Next = append(p.Next, v.linkAt(a.title, here+"/do/"+a.name, "POST", apiMessage+"/"+a.name)...)
		}
	}
	if m.Preview {
		p.Next = append(p.Next, v.linkAt("What it says", here+"/body", "GET", apiMessage+"/body")...)
	}
	p.Recipients = table{ID: "recipients", Caption: "Recipients", Head: []string{"To", "State", "Tries", "Next try", "Last word"}}
	for _, r := range m.Recipients {
		last := words(r.Reply)
		last.Note = r.Host
		p.Recipients.Rows = append(p.Recipients.Rows, row{Cells: []cell{words(r.Address), {Badges: []badge{mailState(r.State)}}, number(r.Attempts), v.at(r.NextAt), last}})
	}
	events := slices.Clone(m.Events)
	slices.SortStableFunc(events, func(a, b mailEvent) int { return a.At.Compare(b.At) })
	for i := range events {
		p.Journey = append(p.Journey, events[i].step(v.Now, len(m.Recipients) > 1))
	}
	return v.Render(http.StatusOK, "page_message", orNone(m.Subject, "(no subject)"), p)
}

func messageFacts(v *desk, m *messageView) facts {
	var f facts
	if m.State != "" {
		f.add("State", cell{Badges: []badge{mailState(m.State)}, Note: m.Reason})
	}
	f.add("From", words(orNone(m.HeaderFrom, m.From)))
	if m.EnvelopeFrom != "" && m.EnvelopeFrom != orNone(m.HeaderFrom, m.From) {
		f.add("Bounces to", words(m.EnvelopeFrom))
	}
	f.add("Accepted", v.at(m.Accepted))
	if m.Queued {
		f.add("Given up", v.at(m.Expires))
	}
	if m.Size > 0 {
		f.add("Size", words(size(m.Size)))
	}
	f.add("Id", cell{Text: orNone(m.ID, v.id("message")), ID: "message-id"})
	f.add("Message-ID", code(m.HeaderID))
	f.add("Subuser", words(m.Subuser))
	f.add("Categories", cell{Lines: m.Categories})
	var args []string
	for _, name := range slices.Sorted(mapKeys(m.UniqueArgs)) {
		args = append(args, name+": "+m.UniqueArgs[name])
	}
	f.add("Unique arguments", cell{Lines: args})
	return f
}

func sourceFacts(v *desk, m *messageView) facts {
	f := facts{Title: "Who handed it in"}
	f.add("Key", v.keyCellOf(m.Subuser, m.Key.ID, m.Key.Name))
	f.add("From", words(m.Source.Addr))
	f.add("Calls itself", words(m.Source.Helo))
	f.add("By", words(strings.TrimSpace(m.Source.Protocol+" "+m.Source.Mechanism)))
	f.add("TLS", words(m.Source.TLS))
	return f
}

// eventTitles are the kinds of steps in words.
var eventTitles = map[string]string{
	"received": "Accepted", "deferred": "Put off", "delivered": "Delivered", "bounced": "Bounced", "dropped": "Dropped", "held": "Held",
	"released": "Released", "retried": "Tried again by hand", "quarantined": "Taken out", "recovered": "Found again after a crash",
	"notified": "The sender was told", "relayed": "Handed to a host that tells nothing back", "refused": "Refused",
}

func (e *mailEvent) step(now time.Time, several bool) step {
	d := &e.Data
	s := step{Title: orNone(eventTitles[e.Event], e.Event), Time: momentOf(now, e.At), Reply: d.Reply}
	switch e.Event {
	case "delivered", "relayed":
		s.Tone = toneOK
	case "bounced", "dropped", "refused", "quarantined":
		s.Tone = toneBad
	case "deferred", "held":
		s.Tone = toneWarn
	}
	if several && e.Recipient != "" {
		s.Title += ": " + e.Recipient
	}
	if d.Host != "" || d.IP != "" {
		line := "At " + strings.TrimSpace(d.Host+" "+d.IP)
		if d.LocalIP != "" {
			line += " from " + d.LocalIP
		}
		if d.TLS != "" {
			line += ", " + d.TLS
		} else {
			line += ", without TLS"
		}
		s.Lines = append(s.Lines, line)
	}
	if d.Reason != "" {
		s.Lines = append(s.Lines, d.Reason)
	}
	if d.By != "" {
		s.Lines = append(s.Lines, "By "+d.By)
	}
	if !d.NextAt.IsZero() {
		m := momentOf(now, d.NextAt)
		s.Lines = append(s.Lines, "Next try at "+m.Human()+" ("+m.Words+")")
	}
	if d.Duplicate || d.Ambiguous {
		s.Lines = append(s.Lines, "The line broke after the message was sent: the other side may have it already.")
	}
	return s
}
