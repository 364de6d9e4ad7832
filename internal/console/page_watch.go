package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

const (
	apiFindings = "/v3/watch/findings"
	apiFinding  = apiFindings + "/{finding_id}"
	apiWatch    = "/v3/watch/settings"
)

// watchPages are the pages of the watch.
var watchPages = []page{
	{Method: "GET", Pattern: "/watch", Title: "Watch", Group: "Security", Nav: "Watch", Needs: []string{"GET " + apiFindings}, Handler: onDesk(showFindings)},
	{Method: "GET", Pattern: "/watch/settings", Title: "Settings of the watch", Own: true, Needs: []string{"GET " + apiWatch}, Handler: onDesk(showWatchSettings)},
	{Method: "POST", Pattern: "/watch/settings", Title: "Settings of the watch", Own: true, Needs: []string{"PATCH " + apiWatch}, Handler: onDesk(setWatchSettings)},
	{Method: "GET", Pattern: "/watch/{finding}", Title: "Finding", Needs: []string{"GET " + apiFinding}, Handler: onDesk(showFinding)},
	{Method: "POST", Pattern: "/watch/{finding}/dismiss", Title: "Finding", Needs: []string{"POST " + apiFinding + "/dismiss"}, Handler: onDesk(dismissFinding)},
	{Method: "POST", Pattern: "/watch/{finding}/confirm", Title: "Finding", Needs: []string{"POST " + apiFinding + "/confirm"}, Handler: onDesk(confirmFinding)},
}

// ruleWords say what a rule looks for.
var ruleWords = map[relay.WatchRule]string{
	relay.WatchCanary: "A decoy key is tried", relay.WatchNetwork: "A key is used from a network or country where it never was",
	relay.WatchTravel: "A key is in two places that are too far apart", relay.WatchPlaces: "A key is used from too many places at once",
	relay.WatchBurst: "A key sends far more than it ever did at that hour", relay.WatchHours: "A key sends at hours at which it never did",
	relay.WatchRecipients: "A key writes to many whom it never wrote to", relay.WatchBounces: "Bounces jump",
	relay.WatchUnknown: "Recipients that do not exist jump", relay.WatchSpread: "Logins to one account fail from many addresses",
	relay.WatchSweep: "Logins from one address fail on many accounts", relay.WatchDowngrade: "An old TLS version or a weak mechanism is newly used",
	relay.WatchDomain: "The DNS records of a domain vanish",
}

// answerOptions are the answers in words, mildest first.
var answerOptions = []option{
	{Value: string(relay.WatchRecord), Text: "record only"}, {Value: string(relay.WatchTell), Text: "tell me"},
	{Value: string(relay.WatchSlow), Text: "slow down"}, {Value: string(relay.WatchHold), Text: "hold for release"},
	{Value: string(relay.WatchStop), Text: "stop the key"},
}

func answerWord(answer string) string {
	for _, o := range answerOptions {
		if o.Value == answer {
			return o.Text
		}
	}
	return answer
}

// stateOptions are what can become of a finding.
var stateOptions = []option{
	{Value: string(relay.WatchOpen), Text: "open"}, {Value: string(relay.WatchConfirmed), Text: "real"}, {Value: string(relay.WatchDismissed), Text: "dismissed"},
	{Value: string(relay.WatchEnded), Text: "ended by itself"}, {Value: "all", Text: "all"},
}

type findingView struct {
	ID       string          `json:"id"`
	Rule     relay.WatchRule `json:"rule"`
	Key      string          `json:"api_key_id"`
	KeyName  string          `json:"api_key_name"`
	Subuser  string          `json:"username"`
	Subject  string          `json:"subject"`
	Severity string          `json:"severity"`
	State    string          `json:"state"`
	Title    string          `json:"title"`
	Text     string          `json:"text"`
	Fix      string          `json:"fix"`
	Evidence struct {
		Expected float64 `json:"expected"`
		Seen     float64 `json:"seen"`
		Unit     string  `json:"unit"`
		Places   []struct {
			Addr    string `json:"addr"`
			Network string `json:"network"`
			Country string `json:"country"`
			City    string `json:"city"`
			ASN     int64  `json:"asn"`
		} `json:"places"`
		Times   []time.Time        `json:"times"`
		Samples []string           `json:"samples"`
		Values  map[string]float64 `json:"values"`
		Was     string             `json:"was"`
		Now     string             `json:"now"`
	} `json:"evidence"`
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
	Count       int64     `json:"count"`
	Answer      string    `json:"answer"`
	AnsweredAt  time.Time `json:"answered_at"`
	AnswerError string    `json:"answer_error"`
	DecidedAt   time.Time `json:"decided_at"`
	DecidedBy   string    `json:"decided_by"`
	Teach       bool      `json:"teach"`
}

func (f *findingView) state() badge {
	tone := map[string]string{string(relay.WatchOpen): toneWarn, string(relay.WatchConfirmed): toneBad}[f.State]
	for _, o := range stateOptions {
		if o.Value == f.State {
			return badge{o.Text, tone}
		}
	}
	return badge{orNone(f.State, "open"), tone}
}

// watchPage lists findings.
type watchPage struct {
	Next     []link
	Search   form
	Findings table
}

func showFindings(v *desk) error {
	state := orNone(v.sent("state"), string(relay.WatchOpen))
	p := watchPage{}
	if v.Behalf == "" { // the settings are the account's
		p.Next = v.linkIf("Settings of the watch", "/watch/settings", "GET", apiWatch)
	}
	p.Search = form{Name: "search", Get: true, Action: v.path("/watch"), Do: "Show", Fields: []field{
		{Name: "state", Label: "State", Kind: "select", Options: pick(state, stateOptions...)}, {Name: "key", Label: "Key (id)", Value: v.sent("key")},
		{Name: "since", Label: "From (UTC)", Value: v.sent("since")},
	}}
	asked, since, err := state, "", error(nil)
	if asked == "all" {
		asked = ""
	}
	if v.sent("since") != "" {
		since, err = v.moment("since")
	}
	var list struct {
		Result []findingView `json:"result"`
		Next   string        `json:"next"`
	}
	if err == nil {
		err = v.Call("GET", query(apiFindings, "state", asked, "key", v.sent("key"), "since", since, "after", v.sent("after")), nil, &list)
	}
	if f, ok := v.refused(p.Search, err); ok {
		p.Search, err = f, nil
	}
	if err != nil {
		return err
	}
	p.Findings = table{ID: "findings", Caption: "What the watch noticed", Head: []string{"How bad", "What", "Key", "Last seen", "Answer", "State"},
		Empty: "The watch has noticed nothing here. It learns by itself what is usual, and tells when something is not."}
	for _, f := range list.Result {
		what := to(f.Title, v.path("/watch", f.ID))
		what.Note = f.Text
		seen := v.at(f.LastAt)
		if f.Count > 1 {
			seen.Note = things(f.Count, "time") + " since " + momentOf(v.Now, f.FirstAt).Human()
		}
		p.Findings.Rows = append(p.Findings.Rows, row{Cells: []cell{{Badges: []badge{severityBadge(f.Severity)}}, what, v.keyCellOf(f.Subuser, f.Key, f.KeyName), seen,
			words(answerWord(f.Answer)), {Badges: []badge{f.state()}}}})
	}
	if list.Next != "" {
		q := v.R.URL.Query()
		q.Set("after", list.Next)
		p.Findings.Older = v.R.URL.Path + "?" + q.Encode()
	}
	return v.Render(http.StatusOK, "page_watch", "Watch", p)
}

// keyCell leads to a key, if the person may see it.
func (v *desk) keyCell(id, name string) cell {
	c := words(orNone(name, id))
	if id != "" && v.May("GET", apiKey) {
		c.Href = v.path("/keys", id)
	}
	return c
}

// findingPage shows one finding.
type findingPage struct {
	Notice   notice
	Is       facts
	Evidence facts
	Places   table
	Dismiss  form
	Confirm  []button
	Next     []link
}

func showFinding(v *desk) error {
	f, err := ask[findingView](v, under(apiFindings, v.id("finding")))
	if err != nil {
		return err
	}
	here := v.path("/watch", v.id("finding"))
	p := findingPage{Notice: notice{Tone: severityBadge(f.Severity).Tone, Text: f.Text}, Next: []link{{"All findings", v.path("/watch")}}}
	p.Is.add("How bad", cell{Badges: []badge{severityBadge(f.Severity)}})
	p.Is.add("State", cell{Badges: []badge{f.state()}, Time: momentOf(v.Now, f.DecidedAt), Note: f.DecidedBy})
	p.Is.add("What to do", words(f.Fix))
	p.Is.add("Rule", words(orNone(ruleWords[f.Rule], string(f.Rule))))
	p.Is.add("Key", v.keyCellOf(f.Subuser, f.Key, f.KeyName))
	p.Is.add("Subuser", words(f.Subuser))
	p.Is.add("About", words(f.Subject))
	p.Is.add("First seen", v.at(f.FirstAt))
	p.Is.add("Last seen", v.at(f.LastAt))
	p.Is.add("Times", number(f.Count))
	answer := cell{Text: answerWord(f.Answer), Time: momentOf(v.Now, f.AnsweredAt), Note: f.AnswerError}
	if f.AnsweredAt.IsZero() && f.AnswerError != "" && (f.State == string(relay.WatchOpen) || f.State == "") {
		answer.Note = "Not done yet, and tried again: " + f.AnswerError
	}
	p.Is.add("Answer", answer)
	p.evidence(v, &f)
	if f.Key != "" && (f.Answer == string(relay.WatchHold) || f.Answer == string(relay.WatchStop)) {
		p.Next = append(p.Next, v.linkAt("What is held of the key", query(v.path("/mail"), "key", f.Key, "state", "held"), "GET", apiMessages)...)
	}
	if f.State == string(relay.WatchOpen) || f.State == "" {
		p.Dismiss = v.offer(form{Name: "dismiss", Title: "Nothing is wrong", Action: here + "/dismiss", Do: "Dismiss it", Lead: "What the answer changed is put back.",
			Fields: []field{{Name: "teach", Label: "It is usual from now on", Kind: "check", On: f.Rule != relay.WatchCanary, Help: "The watch learns it, and does not tell of the same again."}}},
			"POST", apiFinding+"/dismiss")
		p.Confirm = v.do(button{Text: "It is real", Action: here + "/confirm", Tone: toneDanger}, "POST", apiFinding+"/confirm")
	}
	return v.Render(http.StatusOK, "page_finding", f.Title, p)
}

func (p *findingPage) evidence(v *desk, f *findingView) {
	e := &f.Evidence
	p.Evidence.Title = "What it rests on"
	if e.Seen != 0 || e.Expected != 0 {
		p.Evidence.add("Seen", words(measure(e.Seen, e.Unit)))
		p.Evidence.add("At most to be expected", words(measure(e.Expected, e.Unit)))
	}
	p.Evidence.add("Was", words(e.Was))
	p.Evidence.add("Is now", words(e.Now))
	for _, name := range slices.Sorted(mapKeys(e.Values)) {
		p.Evidence.add(strings.ReplaceAll(name, "_", " "), words(figure(e.Values[name])))
	}
	p.Evidence.add("Examples", cell{Lines: e.Samples})
	var times []string
	for _, t := range e.Times {
		times = append(times, stamp(t))
	}
	p.Evidence.add("At", cell{Lines: times})
	p.Places = table{ID: "places", Caption: "Places", Head: []string{"Address", "Network", "Country", "City", "Provider (AS)"}}
	for _, x := range e.Places {
		asn := ""
		if x.ASN > 0 {
			asn = "AS" + strconv.FormatInt(x.ASN, 10)
		}
		p.Places.Rows = append(p.Places.Rows, row{Cells: []cell{words(x.Addr), words(x.Network), words(x.Country), words(x.City), words(asn)}})
	}
	p.Places.slim() // without files of places there are networks only
}

// measure is a figure with its unit: "1 attempt", "2 attempts", "0.5 km/h".
func measure(f float64, unit string) string {
	if f == 1 && strings.HasSuffix(unit, "s") {
		unit = strings.TrimSuffix(unit, "s")
	}
	return figure(f) + " " + unit
}

// figure is a number with at most one decimal.
func figure(f float64) string {
	if f == float64(int64(f)) {
		return count(int64(f))
	}
	return strconv.FormatFloat(f, 'f', 1, 64)
}

func dismissFinding(v *desk) error {
	id := v.id("finding")
	return v.change("POST", under(apiFindings, id, "dismiss"), map[string]bool{"teach": v.on("teach")}, v.path("/watch", id), "It was dismissed.")
}

func confirmFinding(v *desk) error {
	id := v.id("finding")
	return v.change("POST", under(apiFindings, id, "confirm"), nil, v.path("/watch", id), "It is marked as real. Do what the page says.")
}
