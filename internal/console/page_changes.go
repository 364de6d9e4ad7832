package console

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
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
		{Name: "by", Label: "Who", Value: v.sent("by"), Help: "A name, or user or key for all of them."},
		{Name: "subject", Label: "What was changed", Value: v.sent("subject"), Help: "Whole words from the beginning, such as domain example.com."},
		{Name: "action", Label: "Action", Value: v.sent("action"), Help: "Such as key.create."},
	}}}
	pairs, searched, err := v.changeQuery()
	p.Next = append(v.linkIf("Prove that nothing was altered", "/changes/proof", "GET", apiChanges+"/verify"),
		v.linkAt("As a file (CSV)", query(v.path("/changes/export"), pairs...), "GET", apiChanges+"/export")...)
	if err == nil {
		p.Changes, err = v.changes(pairs, "Changes, the latest first")
	}
	f, refused := v.refused(p.Search, err)
	if refused {
		p.Search, err = f, nil
	}
	if err != nil {
		return err
	}
	if searched && !refused {
		p.Changes.Empty, p.Changes.Next = "No change fits this search.", []link{{"Show all changes", v.path("/changes")}}
	}
	return v.Render(http.StatusOK, "page_changes", "Changes", p)
}

// changeQuery are the parameters that were chosen, for the API.
func (v *desk) changeQuery() (pairs []string, searched bool, err error) {
	for _, name := range []string{"since", "until", "by", "subject", "action"} {
		value := v.sent(name)
		if value == "" {
			continue
		}
		searched = true
		if name == "since" || name == "until" {
			if value, err = v.moment(name); err != nil {
				return nil, true, err
			}
		}
		pairs = append(pairs, name, value)
	}
	return pairs, searched, nil
}

// changesAtOnce is how many changes a page has at most.
const changesAtOnce = 200

// changes asks for the newest changes that match, or those before the one where the
// page before has ended.
func (v *desk) changes(pairs []string, caption string) (table, error) {
	pairs = append(pairs, "newest", "true", "limit", strconv.Itoa(changesAtOnce), "before", v.sent("before"))
	list, err := ask[changeListView](v, query(apiChanges, pairs...))
	if err != nil {
		return table{}, err
	}
	t := changeTable(v, list.Result, caption)
	if list.More && len(list.Result) > 0 {
		q := v.R.URL.Query()
		q.Set("before", list.Result[0].Cursor)
		t.Older = v.R.URL.Path + "?" + q.Encode()
	}
	return t, nil
}

// changesOf leads to the changes of what begins with these words, for who may see them.
func (v *desk) changesOf(subject string) []link {
	return v.linkAt("Changes", query(v.path("/changes"), "subject", subject), "GET", apiChanges)
}

// changeTable shows changes, the latest first; they come oldest first.
func changeTable(v *desk, list []changeView, caption string) table {
	t := table{ID: "changes", Caption: caption, Head: []string{"When", "Who", "What", "What became different"}, Empty: "Nothing was changed yet."}
	for _, c := range slices.Backward(list) {
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
	pairs, _, err := v.changeQuery()
	if err != nil {
		return err
	}
	return v.download(query(apiChanges+"/export?format=csv", pairs...), "changes.csv")
}

// historyPage are the changes of one thing.
type historyPage struct {
	Changes table
	Next    []link
	Back    link
}

func showDomainHistory(v *desk) error {
	d, err := v.domain()
	if err != nil {
		return err
	}
	t, err := v.changes([]string{"subject", "domain " + d.Name}, "What happened to it")
	if err != nil {
		return err
	}
	t.Empty = "Nothing happened to it that the record still has."
	return v.Render(http.StatusOK, "page_history", "History of "+d.title(), historyPage{
		Changes: t,
		Next:    []link{{"Changes of its keys", query(v.path("/changes"), "subject", "DKIM keys of "+d.Name)}},
		Back:    link{"Back to the domain", v.domainPath(d.Number)},
	})
}
