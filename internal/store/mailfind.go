package store

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

// Limits of one search. What is beyond them is found by going on after next.
const (
	maxFound = 1000
	// searchRows is how many rows a request looks at for what no index answers.
	searchRows = 4000
	// searchDays is how many days it looks at.
	searchDays = 100
	// narrow is up to how many rows of a day a prefix is looked up by its own index;
	// of more, the newest mail is looked through.
	narrow = 1000
	// firstLook is how many rows of a day are looked at first, mostLook at once then.
	firstLook = 250
	mostLook  = 1000
)

// MailFilter selects mail. Zero members do not restrict.
type MailFilter struct {
	relay.Tenant                   // zero: everybody's
	Subusers     bool              // an account with its subusers; without it the account alone
	Only         []relay.SubuserID // these subusers of the account, and nothing else; at most 100

	Recipient string      // address
	Sender    string      // the author's address, or the envelope's
	ID        string      // the message's, as clients see it, or the beginning of it
	Key       relay.KeyID // it was handed in with
	Domain    string      // of the recipient or the author
	ToDomain  string      // of the recipient
	State     MailState
	Since     time.Time // accepted then or later
	Until     time.Time // and before
	Subject   string    // all of its words occur
	Prefix    bool      // Recipient, Sender, Domain and ToDomain are beginnings

	Limit int    // at most 1,000; 0: 100
	After string // next of the search before
}

// FindMail returns mail that matches, newest first, and where to go on; "" where
// there is nothing more. Comparing goes without case, as Unicode folds it. A search
// that no index answers (words of the subject, a beginning that much mail has) looks
// at a bounded number of rows: the page may then be short, or empty, and next says
// where it goes on. Mail that is accepted meanwhile moves nothing. An ID, State or
// After that cannot be is relay.Invalid.
func (s *Store) FindMail(ctx context.Context, f MailFilter) ([]MailRow, string, error) {
	q, err := s.mailSearch(ctx, &f)
	if err != nil || q == nil {
		return nil, "", err
	}
	days, err := s.mailDays(ctx, q)
	if err != nil {
		return nil, "", fmt.Errorf("find mail: %w", s.readError(err))
	}
	for i, day := range days {
		if i >= searchDays || q.looked >= searchRows {
			return q.found, placeText(day, maxRef), nil
		}
		more, err := q.searchDay(ctx, day)
		if err != nil {
			return nil, "", fmt.Errorf("find mail: %w", s.readError(err))
		}
		switch {
		case len(q.found) >= q.limit:
			last := &q.found[len(q.found)-1]
			return q.found, placeText(last.day, last.ref), nil
		case more != 0:
			return q.found, placeText(day, more), nil
		}
	}
	return q.found, "", nil
}

// maxRef is after all places of a day.
const maxRef = int64(1) << (refTimeBits + refTieBits)

// placeText is a place as next says it.
func placeText(day int, ref int64) string {
	return strconv.Itoa(day) + "." + strconv.FormatInt(ref, 36)
}

func parsePlace(text string) (day int, ref int64, err error) {
	d, r, _ := strings.Cut(text, ".")
	day, errDay := strconv.Atoi(d)
	ref, errRef := strconv.ParseInt(r, 36, 64)
	if err := cmp.Or(errDay, errRef); err != nil || day < 19700101 || day > 99991231 || ref < 0 || placeText(day, ref) != text {
		return 0, 0, relay.E(relay.Invalid, "That is not where a search can go on.")
	}
	return day, ref, nil
}

// mailSearch is a search under way.
type mailSearch struct {
	s            *Store
	limit        int
	since, until int64 // stored times; until is exclusive, 0: none
	afterDay     int   // where it goes on; 0: at the newest
	afterRef     int64
	days         [2]int // the first and last one that an id leaves; 0: any
	owner        leg    // rows of the tenants, or all
	owned        bool
	drivers      []term // what an index may answer, the best first
	words        []string

	found  []MailRow
	looked int
}

// term is one criterion: rows of any of its legs match.
type term struct {
	legs   leg
	prefix bool // legs are ranges: an index gives them in another order
}

// leg is a list of alternatives, each answered by one index.
type leg []condition

// condition selects rows by the columns of an index.
type condition struct {
	index string // "" for the table itself
	text  string // with ? for each argument
	args  []any
}

// mailSearch prepares a search; nil: nothing can match.
func (s *Store) mailSearch(ctx context.Context, f *MailFilter) (*mailSearch, error) {
	q := &mailSearch{s: s, limit: page(f.Limit, maxFound), since: micros(f.Since), until: micros(f.Until), words: searchWords(f.Subject)}
	if !f.Until.IsZero() {
		q.until = max(q.until, 1) // 0 is no end; before the epoch is nothing
	}
	if f.After != "" {
		var err error
		if q.afterDay, q.afterRef, err = parsePlace(f.After); err != nil {
			return nil, err
		}
	}
	if err := q.tenants(ctx, f); err != nil {
		return nil, err
	}
	if q.owned && len(q.owner) == 0 {
		return nil, nil //nolint:nilnil // a set of subusers that has none
	}
	if err := q.terms(f); err != nil {
		return nil, err
	}
	return q, nil
}

// tenants says whose rows are searched.
func (q *mailSearch) tenants(ctx context.Context, f *MailFilter) error {
	owner := func(id relay.ID) condition { return condition{"owner", "owner_id = ?", []any{blob(id)}} }
	q.owned = true
	switch {
	case f.Account.IsZero():
		q.owned = false
	case f.Only != nil:
		mine, err := q.s.ownSubusers(ctx, f.Account, f.Only)
		for _, id := range mine {
			q.owner = append(q.owner, owner(id.ID))
		}
		return err
	case !f.Subuser.IsZero():
		c := owner(f.Subuser.ID)
		c.text, c.args = c.text+" AND account_id = ?", append(c.args, blob(f.Account.ID))
		q.owner = leg{c}
	case f.Subusers:
		q.owner = leg{owner(f.Account.ID), {"account", "account_id = ? AND owner_id <> account_id", []any{blob(f.Account.ID)}}}
	default:
		q.owner = leg{owner(f.Account.ID)}
	}
	return nil
}

// terms turns the criteria into conditions.
func (q *mailSearch) terms(f *MailFilter) error {
	if f.ID != "" {
		c, first, last, err := idCondition(f.ID)
		if err != nil {
			return err
		}
		q.days = [2]int{eventDay(first), eventDay(last)}
		q.drivers = append(q.drivers, term{legs: leg{c}, prefix: true})
	}
	text := func(column, value string) condition {
		if !f.Prefix {
			return condition{column, column + " = ?", []any{value}}
		}
		return condition{column, column + " >= ? AND " + column + " < ?", []any{value, value + "\U0010ffff"}}
	}
	if f.Recipient != "" {
		value, _ := foldAddress(f.Recipient)
		q.drivers = append(q.drivers, term{leg{text("rcpt", value)}, f.Prefix})
	}
	if f.Sender != "" {
		value, _ := foldAddress(f.Sender)
		envelope := text("envelope", value)
		envelope.text += " AND envelope <> ''"
		q.drivers = append(q.drivers, term{leg{text("sender", value), envelope}, f.Prefix})
	}
	if !f.Key.IsZero() {
		q.drivers = append(q.drivers, term{legs: leg{{"key", "key_id = ?", []any{blob(f.Key.ID)}}}})
	}
	if f.Domain != "" {
		value := foldDomain(strings.TrimPrefix(clip(f.Domain), "@"))
		q.drivers = append(q.drivers, term{leg{text("rdomain", value), text("sdomain", value)}, f.Prefix})
	}
	if f.ToDomain != "" {
		q.drivers = append(q.drivers, term{leg{text("rdomain", foldDomain(strings.TrimPrefix(clip(f.ToDomain), "@")))}, f.Prefix})
	}
	if f.State != "" {
		legs := stateLegs(f.State)
		if legs == nil {
			return relay.E(relay.Invalid, "There is no such state of mail.")
		}
		q.drivers = append(q.drivers, term{legs: legs})
	}
	return nil
}

// stateLegs are the rows of a state. That of nearly all mail is in no index.
func stateLegs(state MailState) leg {
	var legs leg
	for _, code := range sortedKeys(mailStates, cmp.Compare[int64]) {
		if mailStates[code] != state {
			continue
		}
		c := condition{index: "state", text: "state = " + strconv.FormatInt(code, 10) + " AND state <> 20"}
		if code == codeDelivered {
			c = condition{text: "state = 20"}
		}
		legs = append(legs, c)
	}
	return legs
}

// idCondition selects messages by id or the beginning of one, and tells the first
// and last id there can be. 22 characters of base64url are 128 bits, so the
// beginning of the text is that of the octets.
func idCondition(text string) (c condition, first, last relay.ID, err error) {
	bad := relay.E(relay.Invalid, "That is not a message's id, nor the beginning of one.")
	const size = 22
	if len(text) > size || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return c, first, last, bad
	}
	if len(text) == size {
		if first, err = relay.ParseID(text); err != nil {
			return c, first, last, bad
		}
		return condition{"message", "message_id = ?", []any{blob(first)}}, first, first, nil
	}
	lo, err1 := base64.RawURLEncoding.DecodeString(text + strings.Repeat("A", size-len(text)))
	hi, err2 := base64.RawURLEncoding.DecodeString(text + strings.Repeat("_", size-len(text)))
	if err1 != nil || err2 != nil {
		return c, first, last, bad
	}
	return condition{"message", "message_id >= ? AND message_id <= ?", []any{lo, hi}}, idOf(lo), idOf(hi), nil
}

// mailDays are the days to search, newest first.
func (s *Store) mailDays(ctx context.Context, q *mailSearch) ([]int, error) {
	until := int64(endOfTime)
	if q.until != 0 {
		until = q.until
	}
	// A message's day is that of its id, which it had before it was accepted.
	since := q.since - microsPerDay
	var days []int
	if s.eng.dialect() == dSQLite {
		days = s.days.list(mailFamily, since, until)
	} else {
		names, err := column[string](ctx, s.db, `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			JOIN pg_class p ON p.oid = i.inhparent WHERE p.relname = 'mail' AND p.relkind = 'p'`)
		if err != nil {
			return nil, err
		}
		for _, n := range names { // other nodes make some, too
			if day, err := strconv.Atoi(strings.TrimPrefix(n, mailFamily.name+"_")); err == nil && dayStart(day)+microsPerDay > since && dayStart(day) <= until {
				days = append(days, day)
			}
		}
		slices.Sort(days)
	}
	slices.Reverse(days)
	return slices.DeleteFunc(days, func(day int) bool {
		return q.afterDay != 0 && day > q.afterDay || q.days[1] != 0 && (day < q.days[0] || day > q.days[1])
	}), nil
}

// bounds is the range of a day's places that a search looks at: [lo, hi).
func (q *mailSearch) bounds(day int) (lo, hi int64) {
	hi = maxRef
	if q.since != 0 {
		lo = refTime(day, q.since)
	}
	if q.until != 0 {
		hi = refTime(day, q.until)
		if q.until <= dayStart(day) {
			hi = 0
		}
	}
	if day == q.afterDay {
		hi = min(hi, q.afterRef)
	}
	return lo, hi
}

// searchDay appends what a day has. A non-zero more says where to go on: the rows
// that a request may look at are used up.
func (q *mailSearch) searchDay(ctx context.Context, day int) (more int64, err error) {
	lo, hi := q.bounds(day)
	if hi <= lo {
		return 0, nil
	}
	p, err := q.plan(ctx, day, lo, hi)
	if err != nil {
		return 0, q.gone(ctx, day, err)
	}
	for n := max(firstLook, q.limit-len(q.found)); ; n = mostLook {
		if len(p.filter)+len(q.words) == 0 {
			n = q.limit - len(q.found) // all of them match
		}
		refs, err := p.places(ctx, hi, n)
		if err == nil && len(refs) > 0 {
			err = p.look(ctx, refs)
		}
		if err != nil {
			return 0, q.gone(ctx, day, err)
		}
		q.looked += len(refs)
		if len(q.found) >= q.limit || len(refs) < n {
			return 0, nil
		}
		if hi = refs[len(refs)-1]; q.looked >= searchRows {
			return hi, nil
		}
	}
}

// gone is nil if an error means that retention has dropped the day meanwhile.
func (q *mailSearch) gone(ctx context.Context, day int, err error) error {
	if err == nil {
		return nil
	}
	query := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`
	if q.s.eng.dialect() == dPostgres {
		query = `SELECT count(*) FROM pg_class WHERE relname = $1`
	}
	var n int
	if e := q.s.db.QueryRowContext(ctx, query, mailTable(day)).Scan(&n); e == nil && n == 0 {
		return nil
	}
	return err
}
