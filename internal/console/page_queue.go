package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

const apiQueue = "/v3/queue"

// queuePages are the pages of what waits.
var queuePages = []page{
	{Method: "GET", Pattern: "/queue", Title: "Queue", Group: "Mail", Nav: "Queue", Needs: []string{"GET " + apiQueue}, Handler: onDesk(showQueue)},
	{Method: "GET", Pattern: "/queue/{site}", Title: "Queue", Needs: []string{"GET " + apiQueue + "/{site}"}, Handler: onDesk(showSite)},
}

type laneView struct {
	Pool    string     `json:"pool"`
	Site    string     `json:"site"`
	Waiting int64      `json:"waiting"`
	Due     int64      `json:"due"`
	Leased  int64      `json:"leased"`
	Oldest  time.Time  `json:"oldest_at"`
	Next    time.Time  `json:"next_at"`
	Limit   int64      `json:"limit"`
	Why     plainWords `json:"why"`
	Until   time.Time  `json:"backing_off_until"`
	Reason  string     `json:"reason"`
}

type queueView struct {
	Lanes       []laneView `json:"lanes"`
	Held        int64      `json:"held"`
	Quarantined int64      `json:"quarantined"`
	Waiting     int64      `json:"waiting"`
	Oldest      time.Time  `json:"oldest_at"`
}

// queuePage is what waits, for what and why.
type queuePage struct {
	Sum   facts
	Lanes table
	Mail  table
	Back  []link
}

func (q *queueView) facts(v *desk) facts {
	var f facts
	f.add("Waiting recipients", number(q.Waiting))
	f.add("The oldest since", v.at(q.Oldest))
	held := number(q.Held)
	if q.Held > 0 {
		held.Href = query(v.path("/mail"), "state", "held")
	}
	f.add("Held messages", held)
	if q.Quarantined > 0 {
		f.add("In quarantine", cell{Text: count(q.Quarantined), Href: query(v.path("/mail"), "state", "held")})
	}
	return f
}

func (v *desk) laneTable(lanes []laneView) table {
	t := table{ID: "lanes", Caption: "What waits, by destination", Head: []string{"To", "Waiting", "On its way now", "The oldest since", "Next try", "Why"},
		Empty: "Nothing waits. All mail that was accepted has been delivered or has ended."}
	for _, l := range lanes {
		site := to(l.Site, v.path("/queue", l.Site))
		if l.Pool != "" {
			site.Note = "pool " + l.Pool
		}
		why := cell{Lines: l.Why}
		if len(l.Why) == 0 && l.Reason != "" {
			why.Lines = []string{l.Reason}
		}
		if !l.Until.IsZero() {
			why.Note = "backing off until " + momentOf(v.Now, l.Until).Human()
		}
		waiting := number(l.Waiting)
		if l.Due > 0 {
			waiting.Note = count(l.Due) + " due now"
		}
		t.Rows = append(t.Rows, row{Cells: []cell{site, waiting, number(l.Leased), v.at(l.Oldest), v.at(l.Next), why}})
	}
	return t
}

func showQueue(v *desk) error {
	q, err := ask[queueView](v, apiQueue)
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_queue", "Queue", queuePage{Sum: q.facts(v), Lanes: v.laneTable(q.Lanes)})
}

// showSite is the queue of one destination: its lanes, and the mail that waits.
func showSite(v *desk) error {
	site := v.id("site")
	raw, err := ask[json.RawMessage](v, under(apiQueue, site))
	if isNotFound(err) { // it has been empty since the link was made
		raw, err = json.RawMessage("{}"), nil
	}
	if err != nil {
		return err
	}
	// One lane, or the lanes of several pools.
	var q queueView
	var one laneView
	if err := errors.Join(json.Unmarshal(raw, &q), json.Unmarshal(raw, &one)); err != nil {
		return err
	}
	lanes := q.Lanes
	if len(lanes) == 0 && one.Site != "" {
		lanes = []laneView{one}
	}
	p := queuePage{Lanes: v.laneTable(lanes), Back: []link{{"The whole queue", v.path("/queue")}}}
	list := askIf[struct {
		Messages []mailLineView `json:"messages"`
	}](v, apiMessages, query(apiMessages, "to_domain", site, "state", "deferred", "limit", "50"))
	if v.May("GET", apiMessages) {
		p.Mail = v.mailTable(list.Messages, "No message to it was put off.")
		p.Mail.Caption, p.Mail.Next = "Mail to it that was put off", nil
	}
	return v.Render(http.StatusOK, "page_queue", "Queue to "+site, p)
}
