package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

// ChangeFilter selects change records, oldest first. Zero members do not restrict.
type ChangeFilter struct {
	Account relay.AccountID
	Action  string
	// By is who made the change, as By.Who has it ("user anna", "key <id>"), or the name
	// or id alone. Like Subject it stands for whole words from the beginning: "user" is
	// every person.
	By string
	// Subject is what was changed: "key <id>" finds "key <id> (name)".
	Subject string
	Since   time.Time
	Until   time.Time
	After   int64 // cursor: the id of the last record seen
	Before  int64 // cursor: the id of the first record seen, for who walks back with Newest
	Newest  bool
	Limit   int // at most 10,000; 0: 100
}

// Changes returns the records that match, oldest first: what an export pages
// through with After.
func (s *Store) Changes(ctx context.Context, f ChangeFilter) ([]StoredChange, error) {
	query, args := changeQuery(&f)
	var all []StoredChange
	err := eachRow(ctx, s.db, query, args, func(r *sql.Rows) error {
		c, err := scanChange(r)
		all = append(all, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", s.readError(err))
	}
	if f.Newest {
		slices.Reverse(all)
	}
	return all, nil
}

// changeQuery is one statement, so that no record that is committed meanwhile is
// passed over.
func changeQuery(f *ChangeFilter) (query string, args []any) {
	order := " ORDER BY id"
	if !f.Account.IsZero() && f.By == "" && f.Subject == "" {
		order = " ORDER BY seq" // the same, and there is an index
	}
	if f.Newest {
		order += " DESC"
	}
	order += " LIMIT " + strconv.Itoa(page(f.Limit, maxEventsPage))
	w := changeWhere(f)
	if f.By == "" && f.Subject == "" {
		return selectChanges + w.String() + order, w.args
	}
	// changes_who and changes_subject know all that is asked for, so only the rows of one
	// page are read. They are by account.
	if f.Account.IsZero() {
		w.and("account_id IN (SELECT account_id FROM change_heads)")
	}
	var legs []string
	for _, who := range changeAuthors(f.By) {
		leg := &where{cond: slices.Clone(w.cond), args: w.args}
		leg.words("who", who)
		w.args = leg.args
		legs = append(legs, "SELECT id FROM (SELECT id FROM changes"+leg.String()+order+") AS leg")
	}
	return selectChanges + " WHERE id IN (" + strings.Join(legs, " UNION ") + ")" + order, w.args
}

func changeWhere(f *ChangeFilter) *where {
	w := &where{}
	if !f.Account.IsZero() {
		w.and("account_id = ?", blob(f.Account.ID))
	}
	if f.Action != "" {
		w.and("action = ?", f.Action)
	}
	w.words("subject", f.Subject)
	if !f.Since.IsZero() {
		w.and("at >= ?", micros(f.Since))
	}
	if !f.Until.IsZero() {
		w.and("at <= ?", micros(f.Until))
	}
	if f.After != 0 {
		w.and("id > ?", f.After)
	}
	if f.Before != 0 {
		w.and("id < ?", f.Before)
	}
	if !f.Account.IsZero() && f.By == "" && f.Subject == "" {
		w.seek(f)
	}
	return w
}

// seek starts at the place of a cursor within its account, instead of walking there.
// Where its record was pruned, the rest begins or ends with what is left.
func (w *where) seek(f *ChangeFilter) {
	const place = "(SELECT seq FROM changes WHERE id = ? AND account_id = ?)"
	if f.After != 0 {
		w.and("seq > COALESCE("+place+", 0)", f.After, blob(f.Account.ID))
	}
	if f.Before != 0 {
		w.and("seq < COALESCE("+place+", 9223372036854775807)", f.Before, blob(f.Account.ID))
	}
}

// authorKinds are the first words of those who make changes and have a name behind
// them; of these, a name alone may mean a person or a key.
var authorKinds = []string{"user", "key", "uid", "sso", "postern"}

// changeAuthors are the beginnings that a name may stand for; one that is empty
// restricts nothing.
func changeAuthors(by string) []string {
	kind, _, _ := strings.Cut(by, " ")
	if by == "" || slices.Contains(authorKinds, kind) {
		return []string{by}
	}
	return []string{by, "user " + by, "key " + by}
}

// words asks that a column begins with these words, whole ones. Its text is compared
// by octets on either engine; what may follow is a space, and '!' is next to it.
func (w *where) words(column, begin string) {
	if begin = text(begin); begin != "" {
		w.and(column+" >= ? AND "+column+" < ?", begin, begin+"!")
	}
}
