package console

import (
	"cmp"
	"net/http"
	"slices"
)

// manyPages ask before all held mail of a search is released or cancelled, and do it.
var manyPages = []page{
	{Method: "GET", Pattern: "/held/{action}", Title: "Held mail", Needs: []string{"GET " + apiMessages}, Handler: onDesk(showHeld)},
	{Method: "POST", Pattern: "/held/{action}", Title: "Held mail", Needs: []string{"GET " + apiMessages}, Handler: onDesk(doHeld)},
}

// The API takes 500 lines of a search at a time, and says where to go on.
const (
	partsCounted = 10 // up to 5,000 messages: what is behind them is told as more
	partsDone    = 4  // up to 2,000 at one press of the button
	mostOwners   = 20 // keys and senders that are listed
)

// heldAction is what a person can do to held mail.
type heldAction struct {
	name, title, text, done string
	danger                  bool
	why                     bool // a reason is recorded
}

var heldActions = []heldAction{
	{name: "release", title: "Release", text: "Each message goes on its way to all of its recipients, also to those that this search is not about.", done: "released"},
	{name: "cancel", title: "Cancel", text: "It is never delivered: each message goes back to its sender as a bounce, for all of its recipients, also for those that this search is not about. This cannot be undone.", done: "cancelled", danger: true, why: true},
}

// manyView is what the API says of one part.
type manyView struct {
	Messages int64  `json:"messages"`
	Rcpts    int64  `json:"recipients"`
	Counted  string `json:"counted_at"`
	Next     string `json:"next"`
	Left     []struct {
		Code     string `json:"code"`
		Why      string `json:"why"`
		Messages int64  `json:"messages"`
	} `json:"left"`
	Keys []manyKey `json:"keys"`
	From []struct {
		From     string `json:"from_email"`
		Messages int64  `json:"messages"`
	} `json:"from"`
}

type manyKey struct {
	ID       string `json:"api_key_id"`
	Name     string `json:"name"`
	Subuser  string `json:"subuser"`
	Messages int64  `json:"messages"`
}

// tally is a number of messages of one kind.
type tally struct {
	what     cell
	messages int64
}

// heldSum is what several parts come to.
type heldSum struct {
	messages int64
	rcpts    int64 // to whom they are to go
	once     int64 // of them, those that one press of the button reaches
	left     int64
	counted  string
	next     string // where more is; "": that was all

	why, keys, from map[string]*tally
}

func (s *heldSum) add(v *desk, part *manyView) {
	s.messages, s.rcpts, s.next = s.messages+part.Messages, s.rcpts+part.Rcpts, part.Next
	if s.counted == "" {
		s.counted = part.Counted
	}
	put := func(into *map[string]*tally, id string, what cell, n int64) {
		if *into == nil {
			*into = map[string]*tally{}
		}
		if (*into)[id] == nil {
			(*into)[id] = &tally{what: what}
		}
		(*into)[id].messages += n
	}
	for _, l := range part.Left {
		s.left += l.Messages
		put(&s.why, l.Code, words(l.Why), l.Messages)
	}
	for _, k := range part.Keys {
		c := v.keyCellOf(k.Subuser, k.ID, k.Name)
		if k.ID == "" {
			c = words("no key")
		}
		put(&s.keys, k.ID, c, k.Messages)
	}
	for _, f := range part.From {
		put(&s.from, f.From, words(orNone(f.From, "nobody")), f.Messages)
	}
}

// ranked are numbers of messages, most first.
func ranked(of map[string]*tally) (list []*tally) {
	for _, id := range slices.SortedFunc(mapKeys(of), func(a, b string) int {
		return cmp.Or(cmp.Compare(of[b].messages, of[a].messages), cmp.Compare(a, b))
	}) {
		list = append(list, of[id])
	}
	return list
}

func tallyTable(id, caption, head string, of map[string]*tally) table {
	t := table{ID: id, Caption: caption, Head: []string{head, "Messages"}}
	var others int64
	for i, x := range ranked(of) {
		if i < mostOwners {
			t.Rows = append(t.Rows, row{Cells: []cell{x.what, number(x.messages)}})
			continue
		}
		others += x.messages
	}
	if others > 0 {
		t.Rows = append(t.Rows, row{Cells: []cell{words("others"), number(others)}})
	}
	return t
}

// heldLinks lead from a search in which held mail is shown to what can be done to all
// of it. How much that is is known where the list ends.
func (v *desk) heldLinks(list *mailListView) (links []link) {
	held := map[string]bool{}
	for _, m := range list.Messages {
		if m.State == "held" {
			held[m.ID] = true
		}
	}
	if len(held) == 0 {
		return nil
	}
	all := "all that is held"
	if list.Next == "" && v.sent("after") == "" {
		all = "all " + count(int64(len(held))) + " held"
		if len(held) == 1 {
			all = "the one that is held"
		}
	}
	for _, a := range heldActions {
		links = append(links, v.linkAt(a.title+" "+all, v.heldPath(a.name), "POST", apiMessages+"/"+a.name)...)
	}
	return links
}

// heldPath is the page that asks about all held mail of this search.
func (v *desk) heldPath(action string, more ...string) string {
	return query(v.path("/held", action), append(v.searchPairs(), more...)...)
}

// searchPairs are the parameters of this search, but for the state.
func (v *desk) searchPairs() (pairs []string) {
	for _, name := range mailFilters {
		if name != "state" {
			pairs = append(pairs, name, v.sent(name))
		}
	}
	return pairs
}

func (v *desk) heldAction() (*heldAction, error) {
	for i := range heldActions {
		if a := &heldActions[i]; a.name == v.id("action") && v.May("POST", apiMessages+"/"+a.name) {
			return a, nil
		}
	}
	return nil, notHere()
}

// held asks the API for an action on the held mail of this search, part by part.
func (v *desk) held(a *heldAction, dry bool, parts int, sum *heldSum) error {
	pairs, _, err := v.mailCriteria()
	if err != nil {
		return err
	}
	filter := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		filter[pairs[i]] = pairs[i+1]
	}
	filter["state"] = "held"
	counted := v.sent("counted") // what came in since is not asked about
	sum.next = v.sent("after")
	for i := range parts {
		body := map[string]any{"filter": filter, "dry_run": dry}
		if counted != "" {
			body["counted_at"] = counted
		}
		if sum.next != "" {
			body["after"] = sum.next
		}
		if a.why && !dry {
			body["reason"] = v.sent("reason")
		}
		var part manyView
		if err := v.Call("POST", apiMessages+"/"+a.name, body, &part); err != nil {
			return err
		}
		counted = orNone(counted, part.Counted) // all parts are counted up to one moment
		sum.add(v, &part)
		if i < partsDone {
			sum.once = sum.messages
		}
		if sum.next == "" {
			break
		}
	}
	return nil
}

// heldPage asks about held mail.
type heldPage struct {
	Notice notice
	Sum    facts
	Tables []table
	Form   form
	Back   string
}

func (v *desk) heldForm(a *heldAction, sum *heldSum) form {
	f := form{Name: "do", Action: v.path("/held", a.name), Cancel: query(v.path("/mail"), append(v.searchPairs(), "state", "held")...), Do: a.title + " it"}
	switch {
	case sum.once == 0: // it was not counted, or begins with what is left alone
	case sum.messages > sum.once || sum.next != "":
		f.Do = a.title + " the first " + count(sum.once)
	default:
		f.Do = a.title + " " + things(sum.messages, "message")
	}
	if a.danger {
		f.Tone = toneDanger
	}
	if a.why {
		f.Fields = []field{{Name: "reason", Label: "Why", Help: "Every sender reads it in the bounce. It stands in the record of changes, too."}}
	}
	pairs := append(v.searchPairs(), "counted", orNone(v.sent("counted"), sum.counted), "after", v.sent("after"))
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			f.Fields = append(f.Fields, field{Name: pairs[i], Kind: "hidden", Value: pairs[i+1]})
		}
	}
	return f
}

func showHeld(v *desk) error {
	a, err := v.heldAction()
	if err != nil {
		return err
	}
	back := query(v.path("/mail"), append(v.searchPairs(), "state", "held")...)
	var sum heldSum
	if err := v.held(a, true, partsCounted, &sum); err != nil {
		return err
	}
	p := heldPage{Back: back, Tables: []table{
		tallyTable("keys", "Which keys it came by", "Key", sum.keys), tallyTable("senders", "Whom it is from", "Sender", sum.from),
		tallyTable("left", "What is left alone", "Why", sum.why),
	}}
	number := words(things(sum.messages, "message"))
	if sum.next != "" {
		number.Note = "and more behind them, which are counted when these are done"
	}
	p.Sum.add("To "+a.name, number)
	if sum.messages > 0 {
		p.Sum.add("Their recipients", words(count(sum.rcpts)))
	}
	if sum.left > 0 {
		p.Sum.add("Left alone", words(things(sum.left, "message")))
	}
	switch {
	case sum.messages > 0:
		p.Form = v.heldForm(a, &sum)
		p.Form.Lead = a.text
		if sum.messages > sum.once || sum.next != "" {
			p.Notice = notice{Tone: toneInfo, Text: "Not all of it is done at once. Afterwards this page asks again, about the rest."}
		}
	case sum.next == "":
		p.Notice = notice{Tone: toneInfo, Text: "There is nothing to " + a.name + " in this search."}
	default:
		p.Notice = notice{Tone: toneInfo, Text: "None of this can be " + a.done + ". There is more to look through.",
			Next: []link{{"Look further", v.heldPath(a.name, "counted", orNone(v.sent("counted"), sum.counted), "after", sum.next)}}}
	}
	return v.Render(http.StatusOK, "page_mail_many", a.title+" held mail", p)
}

func doHeld(v *desk) error {
	a, err := v.heldAction()
	if err != nil {
		return err
	}
	var sum heldSum
	err = v.held(a, false, partsDone, &sum)
	said := plural(sum.messages, "message was ", "messages were ") + a.done + "."
	rest := v.heldPath(a.name, "counted", v.sent("counted"), "after", sum.next)
	switch text, ok := refusedText(err); {
	case ok && sum.messages > 0: // some were done before
		return v.Refuse(rest, said+" Then it was refused: "+text)
	case err != nil:
		return v.again(err, v.heldForm(a, &heldSum{}), a.title+" held mail")
	}
	if sum.left > 0 {
		said += " " + plural(sum.left, "was ", "were ") + "left alone."
		for _, t := range ranked(sum.why) {
			said += " " + t.what.Text
		}
	}
	if sum.next != "" {
		return v.Warn(rest, said+" The rest is counted below.")
	}
	return v.Redirect(query(v.path("/mail"), v.searchPairs()...), said)
}
