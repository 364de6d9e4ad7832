package v3

import (
	"encoding/base64"
	"slices"
	"strconv"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

var changeFilters = append([]Param{
	{Name: "action", Type: "string", Doc: "only this action, such as key.create"},
	{Name: "by", Type: "string", Doc: "only by these: \"user anna\", \"key <id>\", or the name or id alone. Whole words from the beginning: user is every person, key every key"},
	{Name: "subject", Type: "string", Doc: "only of what begins with these words, whole ones: \"key <id>\", \"user <id>\", \"domain example.com\", \"subuser shop\", or domain for all of them"},
}, recordParams...)

var changePaging = append([]Param{
	{Name: "before", Type: "string", Doc: "with newest: those before the record with this cursor, to walk back"},
}, recordPaging...)

// The record of changes is the account's, one chain for all its subusers, so it
// is for keys of the account only.
var changeRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/changes", Scope: scopeRecords, ParentOnly: true, AnyAccount: true, Also: []string{"text/csv"},
		Summary: "List administrative changes of the account and its subusers, oldest first: who, what, before, after, from where, and their place in the chain of hashes. Not for keys of subusers",
		Query:   slices.Concat(changeFilters, changePaging), Answers: map[int]any{200: changeList{}}, Handler: (*API).listChanges,
	},
	{
		Method: "GET", Pattern: "/v3/changes/export", Scope: scopeRecords, ParentOnly: true, AnyAccount: true, Also: []string{"text/csv"},
		Summary: "Write all administrative changes, oldest first, as they are read",
		Query:   changeFilters, Answers: map[int]any{200: changeList{}}, Handler: (*API).exportChanges,
	},
}

// changeList is the shape of the answer, which is written record by record.
type changeList struct {
	Result []changeRecord `json:"result"`
	After  string         `json:"after" doc:"cursor of the last record"`
	More   bool           `json:"more" doc:"there may be records behind it; with newest, before the first one"`
}

// changeRecord has octets in base64, as StoredChange.Sum takes them.
type changeRecord struct {
	Cursor   string `json:"cursor"`
	Seq      int64  `json:"seq" doc:"within the account, from 1, without gaps"`
	PrevHash []byte `json:"prev_hash"`
	Hash     []byte `json:"hash"`
	relay.Change
}

var changeColumns = []string{"cursor", "seq", "at", "account_id", "by", "from", "action", "subject", "before", "after", "prev_hash", "hash"}

func (a *API) listChanges(c *Call) error {
	w, err := a.recordWindow(c, cursorChange)
	if err != nil {
		return err
	}
	var before int64
	if c.Text("before") != "" {
		if !w.newest {
			return invalid("before", "It is for walking back: send newest=true with it, or after instead.")
		}
		if before, err = a.parseCursor(c, "before", cursorChange); err != nil {
			return err
		}
	}
	return a.writeChanges(c, w, before)
}

func (a *API) exportChanges(c *Call) error { return a.writeChanges(c, recordWindow{}, 0) }

// writeChanges writes a window of the changes that are asked for; before is the record
// that the newest ones end at, 0: the last.
func (a *API) writeChanges(c *Call, w recordWindow, before int64) error {
	f := store.ChangeFilter{Account: c.Tenant.Account, Action: c.Text("action"), By: c.Text("by"), Subject: c.Text("subject"), Before: before, Newest: w.newest}
	var err error
	if f.Since, f.Until, err = recordSpan(c); err != nil {
		return err
	}
	out, err := recordFormat(c, "changes", changeColumns)
	if err != nil {
		return err
	}
	cursor := func(id int64) string { return a.cursor(cursorChange, c.Tenant, id) }
	l := listing[store.StoredChange]{
		recordWindow: w, cursor: cursor,
		id:   func(s *store.StoredChange) int64 { return s.ID },
		show: func(s *store.StoredChange) (row, bool) { return changeRow(s, cursor(s.ID)), true },
	}
	l.read = func(after int64, n int, _ *store.StoredChange) ([]store.StoredChange, time.Time, error) {
		f.After, f.Limit = after, n
		if w.newest {
			f.Limit++ // one more tells whether there are older ones
		}
		list, err := a.Records.Changes(c.R.Context(), f)
		if w.newest && len(list) > n {
			l.older, list = true, list[len(list)-n:]
		}
		return list, time.Time{}, err
	}
	return l.run(c, out)
}

// notNil keeps octets that are not there from being written as null.
func notNil(b []byte) []byte { return append([]byte{}, b...) }

func changeRow(s *store.StoredChange, cursor string) row {
	hash := base64.StdEncoding.EncodeToString
	return row{
		v: changeRecord{Cursor: cursor, Seq: s.Seq, PrevHash: notNil(s.PrevHash), Hash: notNil(s.Hash), Change: s.Change},
		cells: []string{
			cursor, strconv.FormatInt(s.Seq, 10), s.At.Format(time.RFC3339Nano), idText(s.Account.ID), s.By, s.From, s.Action, s.Subject,
			string(s.Before), string(s.After), hash(s.PrevHash), hash(s.Hash),
		},
	}
}
