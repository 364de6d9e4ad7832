package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"postern/internal/relay"
)

// dayPlan is how a day is searched: one term's index gives rows, newest first, and
// the other terms are looked at row by row.
type dayPlan struct {
	*mailSearch
	day    int
	lo     int64
	legs   leg    // give the rows; nil: all of the table
	filter []leg  // what else must hold: one of each
	table  string // of the day
}

// plan chooses the term whose index is asked. A term of few rows is the best; a
// beginning is one if it has few, which is counted.
func (q *mailSearch) plan(ctx context.Context, day int, lo, hi int64) (*dayPlan, error) {
	p := &dayPlan{mailSearch: q, day: day, lo: lo, table: mailTable(day)}
	chosen := -1
	for i, t := range q.drivers {
		if t.legs[0].index == "" {
			continue
		}
		if t.prefix {
			few, err := p.few(ctx, t.legs, hi)
			if err != nil {
				return nil, err
			}
			if !few {
				continue
			}
		}
		chosen = i
		break
	}
	for i, t := range q.drivers {
		if i != chosen {
			p.filter = append(p.filter, t.legs)
		}
	}
	switch {
	case chosen >= 0:
		p.legs = q.drivers[chosen].legs
		if q.owned {
			p.filter = append(p.filter, q.owner)
		}
	case q.owned:
		p.legs = q.owner
	}
	return p, nil
}

// few counts whether the rows of ranges are few.
func (p *dayPlan) few(ctx context.Context, legs leg, hi int64) (bool, error) {
	left := narrow
	for _, c := range legs {
		b := &query{}
		b.write("SELECT count(*) FROM (SELECT 1 AS x FROM " + p.from(c) + " WHERE ")
		b.cond(c.text, c.args)
		b.cond(" AND ref < ? AND ref >= ?", []any{hi, p.lo})
		b.write(" LIMIT " + strconv.Itoa(left+1) + ") AS few")
		var n int
		if err := p.s.db.QueryRowContext(ctx, b.String(), b.args...).Scan(&n); err != nil {
			return false, err
		}
		if left -= n; left < 0 {
			return false, nil
		}
	}
	return true, nil
}

// from is the table, with the index to be used: SQLite would guess, and it has no
// statistics.
func (p *dayPlan) from(c condition) string {
	switch {
	case p.s.eng.dialect() == dPostgres:
		return p.table
	case c.index == "":
		return p.table + " NOT INDEXED"
	}
	return p.table + " INDEXED BY " + p.table + "_" + c.index
}

// query is a statement under way.
type query struct {
	strings.Builder
	args []any
}

func (b *query) write(text string) { b.WriteString(text) }

// cond writes a condition in which each ? stands for the next argument.
func (b *query) cond(text string, args []any) {
	for _, a := range args {
		before, after, _ := strings.Cut(text, "?")
		b.args = append(b.args, a)
		b.WriteString(before + "$" + strconv.Itoa(len(b.args)))
		text = after
	}
	b.WriteString(text)
}

// any writes that one of the alternatives holds.
func (b *query) any(l leg) {
	b.write("(")
	for i, c := range l {
		if i > 0 {
			b.write(" OR ")
		}
		b.write("(")
		b.cond(c.text, c.args)
		b.write(")")
	}
	b.write(")")
}

// places writes a statement that selects the newest n places before hi that the
// legs give.
func (p *dayPlan) places(b *query, hi int64, n int) {
	legs := p.legs
	if legs == nil {
		legs = leg{{text: "1 = 1"}}
	}
	limit := " ORDER BY ref DESC LIMIT " + strconv.Itoa(n)
	one := func(c condition) {
		b.write("SELECT ref FROM " + p.from(c) + " WHERE ")
		b.cond(c.text, c.args)
		b.cond(" AND ref < ? AND ref >= ?", []any{hi, p.lo})
		b.write(limit)
	}
	if len(legs) == 1 {
		one(legs[0])
		return
	}
	b.write("SELECT ref FROM (")
	for i, c := range legs {
		if i > 0 {
			b.write(" UNION ")
		}
		b.write("SELECT ref FROM (")
		one(c)
		b.write(") AS leg" + strconv.Itoa(i))
	}
	b.write(") AS legs" + limit)
}

// look looks at the newest n rows before hi and appends those that match. It
// returns how many there were, and the place of the last one it looked at.
func (p *dayPlan) look(ctx context.Context, hi int64, n int) (looked int, last int64, err error) {
	if len(p.words) > 0 {
		return p.lookAtSubjects(ctx, hi, n)
	}
	if err := p.fetch(ctx, hi, n); err != nil || len(p.found) >= p.limit {
		return 0, 0, err
	}
	b := &query{}
	b.write("SELECT count(*), COALESCE(MIN(ref), 0) FROM (")
	p.places(b, hi, n)
	b.write(") AS looked")
	err = p.s.db.QueryRowContext(ctx, b.String(), b.args...).Scan(&looked, &last)
	return looked, last, err
}

// fetch appends what matches of the newest n rows before hi, until the page is full.
func (p *dayPlan) fetch(ctx context.Context, hi int64, n int) error {
	b := &query{}
	b.write("SELECT " + mailColumns + " FROM " + p.table + " AS m WHERE ref IN (")
	p.places(b, hi, n)
	b.write(")")
	for _, l := range p.filter {
		b.write(" AND ")
		b.any(l)
	}
	b.write(" ORDER BY ref DESC LIMIT " + strconv.Itoa(p.limit-len(p.found)))
	return eachRow(ctx, p.s.db, b.String(), b.args, p.scan)
}

// lookAtSubjects is look where words are searched: the subjects are folded here, as
// no index could.
func (p *dayPlan) lookAtSubjects(ctx context.Context, hi int64, n int) (looked int, last int64, err error) {
	b := &query{}
	b.write("SELECT ref, subject")
	if len(p.filter) > 0 {
		b.write(", CASE WHEN ")
		for i, l := range p.filter {
			if i > 0 {
				b.write(" AND ")
			}
			b.any(l)
		}
		b.write(" THEN 1 ELSE 0 END")
	} else {
		b.write(", 1")
	}
	b.write(" FROM " + p.table + " AS m WHERE ref IN (")
	p.places(b, hi, n)
	b.write(") ORDER BY ref DESC")
	var refs []any
	err = eachRow(ctx, p.s.db, b.String(), b.args, func(r *sql.Rows) error {
		var ref int64
		var subject string
		var ok bool
		if err := r.Scan(&ref, &subject, &ok); err != nil {
			return err
		}
		if len(p.found)+len(refs) >= p.limit {
			return nil
		}
		looked, last = looked+1, ref
		if ok && hasWords(subject, p.words) {
			refs = append(refs, ref)
		}
		return nil
	})
	if err != nil || len(refs) == 0 {
		return looked, last, err
	}
	b = &query{}
	b.write("SELECT " + mailColumns + " FROM " + p.table + " AS m WHERE ref IN (")
	b.cond(strings.TrimSuffix(strings.Repeat("?, ", len(refs)), ", "), refs)
	b.write(") ORDER BY ref DESC")
	return looked, last, eachRow(ctx, p.s.db, b.String(), b.args, p.scan)
}

// scan appends a row.
func (p *dayPlan) scan(r *sql.Rows) error {
	v := MailRow{day: p.day}
	var id, account, owner, key []byte
	var n, accepted, state, stateAt, attempts, next, code int64
	var rdomain, sdomain, shown string
	if err := r.Scan(&v.ref, &id, &n, &account, &owner, &key, &v.Recipient, &rdomain, &v.From, &sdomain, &v.EnvelopeFrom, &v.Subject, &shown, &v.Size,
		&accepted, &state, &stateAt, &attempts, &next, &code, &v.Reply, &v.Host, &v.Count); err != nil {
		return err
	}
	if state != codeRefused {
		v.Message.ID = idOf(id)
	}
	v.N, v.Attempts, v.Code = int(n), int(attempts), int(code)
	v.Account.ID, v.Key.ID = idOf(account), idOf(key)
	if o := idOf(owner); o != v.Account.ID {
		v.Subuser = relay.SubuserID{ID: o}
	}
	v.AcceptedAt, v.StateAt, v.NextAt, v.State = timeOf(accepted), timeOf(stateAt), timeOf(next), mailStates[state]
	showAs(&v, shown)
	p.found = append(p.found, v)
	return nil
}
