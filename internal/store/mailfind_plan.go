package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"postern/internal/relay"
)

// dayPlan is how a day is searched: one term's index gives places, newest first,
// and the other terms are looked at row by row.
type dayPlan struct {
	*mailSearch
	day    int
	lo     int64
	legs   leg     // give the places; nil: all of the table
	ranges []int64 // or these do, newest first: they were all of a beginning's
	ranged bool
	filter []leg  // what else must hold: one of each
	table  string // of the day
}

// plan chooses the term whose index is asked: the first one, as they come with the
// best first. A beginning that many rows have is not asked for.
func (q *mailSearch) plan(ctx context.Context, day int, lo, hi int64) (*dayPlan, error) {
	p := &dayPlan{mailSearch: q, day: day, lo: lo, table: mailTable(day)}
	chosen := -1
	for i, t := range q.drivers {
		if t.legs[0].index == "" {
			continue
		}
		if t.prefix {
			few, err := p.readRanges(ctx, t.legs, hi)
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

// readRanges reads the places of ranges, if they are few.
func (p *dayPlan) readRanges(ctx context.Context, legs leg, hi int64) (few bool, err error) {
	p.ranges = p.ranges[:0]
	for _, c := range legs {
		b := &query{}
		b.write("SELECT ref FROM " + p.from(c) + " WHERE ")
		b.cond(c.text, c.args)
		b.cond(" AND ref < ? AND ref >= ?", []any{hi, p.lo})
		b.write(" LIMIT " + strconv.Itoa(narrow+1))
		refs, err := column[int64](ctx, p.s.db, b.String(), b.args...)
		if err != nil {
			return false, err
		}
		if p.ranges = append(p.ranges, refs...); len(p.ranges) > narrow {
			return false, nil
		}
	}
	slices.SortFunc(p.ranges, func(a, b int64) int { return cmp.Compare(b, a) })
	p.ranges, p.ranged = slices.Compact(p.ranges), true
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

// places returns the newest n places before hi that the legs give.
func (p *dayPlan) places(ctx context.Context, hi int64, n int) ([]int64, error) {
	if p.ranged {
		i, _ := slices.BinarySearchFunc(p.ranges, hi-1, func(ref, hi int64) int { return cmp.Compare(hi, ref) })
		return p.ranges[i:min(len(p.ranges), i+n)], nil
	}
	legs := p.legs
	if legs == nil {
		legs = leg{{text: "1 = 1"}}
	}
	b := &query{}
	limit := " ORDER BY ref DESC LIMIT " + strconv.Itoa(n)
	one := func(c condition) {
		b.write("SELECT ref FROM " + p.from(c) + " WHERE ")
		b.cond(c.text, c.args)
		b.cond(" AND ref < ? AND ref >= ?", []any{hi, p.lo})
		b.write(limit)
	}
	if len(legs) == 1 {
		one(legs[0])
		return column[int64](ctx, p.s.db, b.String(), b.args...)
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
	return column[int64](ctx, p.s.db, b.String(), b.args...)
}

// in writes that ref is one of some places.
func (p *dayPlan) in(b *query, refs []int64) {
	if p.s.eng.dialect() == dPostgres {
		b.cond("ref = ANY(?)", []any{refs})
		return
	}
	list := make([]byte, 0, 20*len(refs))
	for i, ref := range refs {
		list = strconv.AppendInt(append(list, "[,"[min(i, 1)]), ref, 10)
	}
	b.cond("ref IN (SELECT value FROM json_each(?))", []any{string(append(list, ']'))})
}

// look appends those of some places that match, until the page is full.
func (p *dayPlan) look(ctx context.Context, refs []int64) (err error) {
	if len(p.words) > 0 {
		if refs, err = p.withWords(ctx, refs); err != nil || len(refs) == 0 {
			return err
		}
	}
	b := &query{}
	b.write("SELECT " + mailColumns + " FROM " + p.table + " AS m WHERE ")
	p.in(b, refs)
	for _, l := range p.filter {
		b.write(" AND ")
		b.any(l)
	}
	b.write(" ORDER BY ref DESC LIMIT " + strconv.Itoa(p.limit-len(p.found)))
	return eachRow(ctx, p.s.db, b.String(), b.args, p.scan)
}

// withWords selects places whose subjects have the words. They are folded here, as
// no index could.
func (p *dayPlan) withWords(ctx context.Context, refs []int64) ([]int64, error) {
	b := &query{}
	b.write("SELECT ref, subject FROM " + p.table + " AS m WHERE ")
	p.in(b, refs)
	for _, l := range p.filter {
		b.write(" AND ")
		b.any(l)
	}
	var with []int64
	err := eachRow(ctx, p.s.db, b.String(), b.args, func(r *sql.Rows) error {
		var ref int64
		var subject string
		err := r.Scan(&ref, &subject)
		if err == nil && hasWords(subject, p.words) {
			with = append(with, ref)
		}
		return err
	})
	return with, err
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
