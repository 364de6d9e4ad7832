package console

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const apiChanges = "/v3/changes"

// changePages are the pages of the record of changes.
var changePages = []page{
	{Method: "GET", Pattern: "/changes", Title: "Changes", Group: "Security", Nav: "Changes", Needs: []string{"GET " + apiChanges}, Handler: onDesk(showChanges)},
	{Method: "GET", Pattern: "/changes/proof", Title: "Proof of the changes", Needs: []string{"GET " + apiChanges + "/verify"}, Handler: onDesk(showProof)},
	{Method: "GET", Pattern: "/changes/export", Title: "Changes", Needs: []string{"GET " + apiChanges + "/export"}, Handler: onDesk(exportChanges)},
	{Method: "GET", Pattern: "/domains/{domain}/history", Title: "History", Needs: []string{"GET " + apiDomain, "GET " + apiChanges}, Handler: onDesk(showDomainHistory)},
}

type changeView struct {
	Cursor  string          `json:"cursor"`
	Seq     int64           `json:"seq"`
	Hash    []byte          `json:"hash"`
	At      time.Time       `json:"at"`
	By      string          `json:"by"`
	From    string          `json:"from"`
	Action  string          `json:"action"`
	Subject string          `json:"subject"`
	Before  json.RawMessage `json:"before"`
	After   json.RawMessage `json:"after"`
}

type changeListView struct {
	Result []changeView `json:"result"`
	After  string       `json:"after"`
	More   bool         `json:"more"`
}

// changesPage is the audit trail.
type changesPage struct {
	Search  form
	Next    []link
	Changes table
}

func showChanges(v *desk) error {
	p := changesPage{Search: form{Name: "search", Get: true, Action: v.path("/changes"), Do: "Search", Fields: []field{
		{Name: "since", Label: "From (UTC)", Value: v.sent("since")}, {Name: "until", Label: "To (UTC)", Value: v.sent("until")},
		{Name: "action", Label: "Action", Value: v.sent("action"), Help: "Such as key.create."},
	}}}
	p.Next = append(v.linkIf("Prove that nothing was altered", "/changes/proof", "GET", apiChanges+"/verify"),
		v.linkIf("As a file (CSV)", "/changes/export", "GET", apiChanges+"/export")...)
	pairs, err := v.changeQuery()
	var list changeListView
	if err == nil {
		err = v.Call("GET", query(apiChanges, append(pairs, "newest", "true", "limit", "200")...), nil, &list)
	}
	if f, ok := v.refused(p.Search, err); ok {
		p.Search, err = f, nil
	}
	if err != nil {
		return err
	}
	p.Changes = changeTable(v, list.Result, "Changes, the latest first", "Nothing was changed in this time.")
	return v.Render(http.StatusOK, "page_changes", "Changes", p)
}

func (v *desk) changeQuery() (pairs []string, err error) {
	for _, name := range []string{"since", "until"} {
		if v.sent(name) == "" {
			continue
		}
		at, err := v.moment(name)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, name, at)
	}
	return append(pairs, "action", v.sent("action")), nil
}

func changeTable(v *desk, list []changeView, caption, empty string) table {
	slices.SortStableFunc(list, func(a, b changeView) int { return int(b.Seq - a.Seq) })
	t := table{ID: "changes", Caption: caption, Head: []string{"When", "Who", "What", "What became different"}, Empty: empty}
	for _, c := range list {
		when, who, what := v.at(c.At), words(c.By), code(c.Action)
		when.Note, who.Note, what.Note = "No. "+strconv.FormatInt(c.Seq, 10), c.From, c.Subject
		t.Rows = append(t.Rows, row{Cells: []cell{when, who, what, {Lines: differences(c.Before, c.After)}}})
	}
	return t
}

// proofPage says whether the chain of changes is whole.
type proofPage struct {
	Notices []notice
	Chains  []facts
	Head    facts
	Back    link
}

func showProof(v *desk) error {
	proofs, err := ask[struct {
		Result []struct {
			Username string `json:"username"`
			Valid    bool   `json:"valid"`
			Problem  string `json:"problem"`
			Records  int64  `json:"records"`
			From     int64  `json:"from"`
			To       int64  `json:"to"`
			Head     []byte `json:"head"`
		} `json:"result"`
	}](v, apiChanges+"/verify")
	if err != nil {
		return err
	}
	p := proofPage{Back: link{"Back to the changes", v.path("/changes")}}
	for _, x := range proofs.Result {
		n := notice{Tone: toneOK, Title: "The record is whole.", Text: "Each change fits the one before it, and the signed head fits the last: nothing was altered, removed or put in."}
		if !x.Valid {
			n = notice{Tone: toneBad, Title: "The record does not fit.", Text: orNone(x.Problem, "A change was altered, removed or put in.") + " Keep a copy of the database and ask the operator."}
		}
		p.Notices = append(p.Notices, n)
		f := facts{Title: x.Username}
		f.add("Changes", number(x.Records))
		f.add("From number", number(x.From))
		f.add("To number", number(x.To))
		f.add("Hash of the last", cell{Text: hex.EncodeToString(x.Head), Code: true})
		p.Chains = append(p.Chains, f)
	}
	p.head(v)
	return v.Render(http.StatusOK, "page_proof", "Proof of the changes", p)
}

// head shows the signed head, to be kept elsewhere.
func (p *proofPage) head(v *desk) {
	heads := askIf[struct {
		Result []struct {
			Seq       int64     `json:"seq"`
			Hash      []byte    `json:"hash"`
			At        time.Time `json:"at"`
			Signature []byte    `json:"signature"`
		} `json:"result"`
		Key []byte `json:"public_key"`
	}](v, apiChanges+"/head", apiChanges+"/head")
	if len(heads.Result) == 0 {
		return
	}
	h := heads.Result[0]
	p.Head.Title = "Signed head: keep it elsewhere"
	p.Head.add("Number", number(h.Seq))
	p.Head.add("At", v.at(h.At))
	p.Head.add("Hash", cell{Text: hex.EncodeToString(h.Hash), ID: "head-hash"})
	p.Head.add("Signature (Ed25519)", cell{Text: hex.EncodeToString(h.Signature), ID: "head-signature"})
	p.Head.add("Public key", cell{Text: hex.EncodeToString(heads.Key), ID: "head-key"})
}

func exportChanges(v *desk) error {
	pairs, err := v.changeQuery()
	if err != nil {
		return err
	}
	return v.download(query(apiChanges+"/export?format=csv", pairs...), "changes.csv")
}

// historyPage are the changes of one thing.
type historyPage struct {
	Changes table
	Back    link
}

// historyReach is how many changes of the account are looked through: the most
// that the API gives from the end.
const historyReach = "1000"

func showDomainHistory(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	list, err := ask[changeListView](v, query(apiChanges, "newest", "true", "limit", historyReach))
	if err != nil {
		return err
	}
	about := "domain " + d.Name
	list.Result = slices.DeleteFunc(list.Result, func(c changeView) bool { return c.Subject != about && !strings.HasPrefix(c.Subject, about+" ") })
	return v.Render(http.StatusOK, "page_history", "History of "+d.title(), historyPage{
		Changes: changeTable(v, list.Result, "What happened to it", "Nothing happened to it lately: none of the account's last 1 000 changes is about it."),
		Back:    link{"Back to the domain", v.domainPath(d.Number)},
	})
}
