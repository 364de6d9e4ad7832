package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

// countKind is a column of the hourly counts.
type countKind int

const (
	countReceived countKind = iota
	countDelivered
	countDeferred
	countBounced
	countDropped
	countHeld
	countRefused
	countKinds
	countNothing countKind = -1
)

// subjectKind says what a row of hourly counts is about.
type subjectKind int64

const (
	aboutAll      subjectKind = 0 // the installation
	aboutAccount  subjectKind = 1 // an account, without its subusers
	aboutSubusers subjectKind = 2 // an account's subusers together
	aboutSubuser  subjectKind = 3
	aboutKey      subjectKind = 4
)

// countSubject is what a row of hourly counts is about.
type countSubject struct {
	kind subjectKind
	id   relay.ID
}

// subjectsOf are those that something of a tenant and key counts for.
func subjectsOf(t relay.Tenant, key relay.KeyID) []countSubject {
	all := make([]countSubject, 1, 4)
	switch {
	case !t.Subuser.IsZero():
		all = append(all, countSubject{aboutSubusers, t.Account.ID}, countSubject{aboutSubuser, t.Subuser.ID})
	case !t.Account.IsZero():
		all = append(all, countSubject{aboutAccount, t.Account.ID})
	}
	if !key.IsZero() {
		all = append(all, countSubject{aboutKey, key.ID})
	}
	return all
}

const mailHourColumns = `kind, subject, at, received, delivered, deferred, bounced, dropped, held, refused`

var mailHourFamily = family{
	name: "mailhours",
	sqlite: []string{`CREATE TABLE IF NOT EXISTS mailhours_%s (kind INTEGER NOT NULL, subject BLOB NOT NULL, at INTEGER NOT NULL,
		received INTEGER NOT NULL, delivered INTEGER NOT NULL, deferred INTEGER NOT NULL, bounced INTEGER NOT NULL, dropped INTEGER NOT NULL,
		held INTEGER NOT NULL, refused INTEGER NOT NULL, PRIMARY KEY (kind, subject, at)) STRICT, WITHOUT ROWID`},
	insert: `INSERT INTO %s AS m (` + mailHourColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (kind, subject, at) DO UPDATE SET received = m.received + excluded.received, delivered = m.delivered + excluded.delivered,
		deferred = m.deferred + excluded.deferred, bounced = m.bounced + excluded.bounced, dropped = m.dropped + excluded.dropped,
		held = m.held + excluded.held, refused = m.refused + excluded.refused`,
	columns: mailHourColumns,
}

// mailHour names a row of hourly counts.
type mailHour struct {
	countSubject
	at int64 // the hour's beginning
}

const microsPerHour = int64(time.Hour / time.Microsecond)

// hourOf is the beginning of a time's hour.
func hourOf(us int64) int64 { return us - ((us%microsPerHour)+microsPerHour)%microsPerHour }

// mailCounts sums up what a part of the events adds to the hourly counts.
type mailCounts map[mailHour]*[countKinds]int64

func (m mailCounts) add(e *relay.Event, kind countKind, n int64) {
	if kind == countNothing {
		return
	}
	hour := hourOf(micros(e.At))
	for _, subject := range subjectsOf(e.Tenant, e.Key) {
		k := mailHour{subject, hour}
		if m[k] == nil {
			m[k] = &[countKinds]int64{}
		}
		m[k][kind] += n
	}
}

// write puts the sums into an operation. Days past retention are not made again.
func (m mailCounts) write(s *Store, o *op) error {
	oldest := dayOf(s.now() - s.cfg.KeepEvents.Microseconds())
	for _, k := range sortedKeys(m, func(a, b mailHour) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), bytes.Compare(a.id[:], b.id[:]))
	}) {
		day := dayOf(k.at)
		if day < oldest {
			continue
		}
		st, err := s.days.make(s, &mailHourFamily, day)
		if err != nil {
			return err
		}
		args := []any{int64(k.kind), blob(k.id), k.at}
		for _, n := range m[k] {
			args = append(args, n)
		}
		o.add(st, args...)
	}
	return nil
}

// CountFilter selects hourly counts.
type CountFilter struct {
	relay.Tenant                   // zero: the whole installation
	Subusers     bool              // an account with its subusers; without it the account alone
	Only         []relay.SubuserID // these subusers of the account together, and nothing else
	Key          relay.KeyID       // one of the tenant's
	// Since and Until bound the span; whole hours, or days, count. Zero: 30 days ago, now.
	Since, Until time.Time
	// By is a step of the result: an hour, or 24 hours for UTC days; 0: one for all.
	By time.Duration
}

// MailCount is what happened in a step: recipients, of refusals messages.
type MailCount struct {
	At        time.Time `json:"at"`
	Received  int64     `json:"received"`
	Delivered int64     `json:"delivered"`
	Deferred  int64     `json:"deferred"` // attempts: one recipient may be deferred many times
	Bounced   int64     `json:"bounced"`
	Dropped   int64     `json:"dropped"`
	Held      int64     `json:"held"` // a hold of a message counts once
	Refused   int64     `json:"refused"`
}

// maxCountSteps bounds the steps of a result.
const maxCountSteps = 10_000

// defaultSpan is what is counted without a beginning.
const defaultSpan = 30 * 24 * time.Hour

// countSpan is what a filter asks for, in stored times.
type countSpan struct {
	since, until int64 // until is exclusive
	by           int64 // 0: one step
}

func (s *Store) countSpan(f *CountFilter) (countSpan, error) {
	until := f.Until
	if until.IsZero() {
		until = s.cfg.Now()
	}
	since := f.Since
	if since.IsZero() {
		since = until.Add(-defaultSpan)
	}
	p := countSpan{since: hourOf(micros(since)), until: hourOf(micros(until)-1) + microsPerHour, by: f.By.Microseconds()}
	switch f.By {
	case 0, time.Hour:
	case 24 * time.Hour:
		p.since, p.until = dayStart(dayOf(p.since)), dayStart(dayOf(p.until-1))+microsPerDay
	default:
		return p, relay.E(relay.Invalid, "Counts come by hour or by day.")
	}
	if p.by > 0 && (p.until-p.since)/p.by > maxCountSteps {
		return p, relay.E(relay.Invalid, "That span is too long for this step.")
	}
	return p, nil
}

// step is the index of the step that a time belongs to.
func (p *countSpan) step(at int64) int {
	if p.by == 0 {
		return 0
	}
	return int((at - p.since) / p.by)
}

func (p *countSpan) steps() int {
	if p.by == 0 {
		return 1
	}
	return int(max(0, (p.until-p.since)/p.by))
}

// countSubjects are those whose rows a filter adds up; none: it selects nothing.
func (s *Store) countSubjects(ctx context.Context, f *CountFilter) ([]countSubject, error) {
	if !f.Key.IsZero() {
		return s.keySubject(ctx, f)
	}
	switch {
	case f.Account.IsZero():
		return []countSubject{{kind: aboutAll}}, nil
	case f.Only != nil:
		mine, err := s.ownSubusers(ctx, f.Account, f.Only)
		var all []countSubject
		for _, id := range mine {
			all = append(all, countSubject{aboutSubuser, id.ID})
		}
		return all, err
	case !f.Subuser.IsZero():
		return []countSubject{{aboutSubuser, f.Subuser.ID}}, nil
	case f.Subusers:
		return []countSubject{{aboutAccount, f.Account.ID}, {aboutSubusers, f.Account.ID}}, nil
	}
	return []countSubject{{aboutAccount, f.Account.ID}}, nil
}

// keySubject is the key, if it is one of the filter's tenants'.
func (s *Store) keySubject(ctx context.Context, f *CountFilter) ([]countSubject, error) {
	k, err := s.Key(ctx, f.Key)
	if relay.KindOf(err) == relay.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := []countSubject{{aboutKey, f.Key.ID}}
	switch {
	case f.Account.IsZero():
		return all, nil
	case k.Account != f.Account:
		return nil, nil
	case f.Only != nil:
		if !slices.Contains(f.Only, k.Subuser) {
			return nil, nil
		}
	case !f.Subuser.IsZero() || !f.Subusers:
		if k.Subuser != f.Subuser {
			return nil, nil
		}
	}
	return all, nil
}

// maxOnly bounds a set of subusers.
const maxOnly = 100

// ownSubusers are those of a set that belong to an account.
func (s *Store) ownSubusers(ctx context.Context, account relay.AccountID, only []relay.SubuserID) ([]relay.SubuserID, error) {
	if len(only) > maxOnly {
		return nil, relay.E(relay.Invalid, "At most 100 subusers can be selected.")
	}
	if len(only) == 0 {
		return nil, nil
	}
	w := &where{}
	w.and("account_id = ?", blob(account.ID))
	marks, args := make([]string, len(only)), make([]any, len(only))
	for i, id := range only {
		marks[i], args[i] = "?", blob(id.ID)
	}
	w.and("id IN ("+strings.Join(marks, ", ")+")", args...)
	ids, err := column[[]byte](ctx, s.db, `SELECT id FROM subusers`+w.String(), w.args...)
	if err != nil {
		return nil, fmt.Errorf("read subusers: %w", s.readError(err))
	}
	var mine []relay.SubuserID
	for _, id := range ids {
		mine = append(mine, relay.SubuserID{ID: idOf(id)})
	}
	return mine, nil
}

// MailCounts sums up the hourly counts, oldest first: each step of the span, those
// without mail too. They are as new as the index is. A span of more than 10,000
// steps is relay.Invalid.
func (s *Store) MailCounts(ctx context.Context, f CountFilter) ([]MailCount, error) {
	p, err := s.countSpan(&f)
	if err != nil {
		return nil, err
	}
	out := make([]MailCount, p.steps())
	for i := range out {
		out[i].At = timeOf(p.since + int64(i)*p.by)
	}
	subjects, err := s.countSubjects(ctx, &f)
	if err != nil || len(subjects) == 0 {
		return out, err
	}
	err = s.eachHour(ctx, &mailHourFamily, `at, received, delivered, deferred, bounced, dropped, held, refused`, subjects, p, func(r *sql.Rows) error {
		var at int64
		var c MailCount
		if err := r.Scan(&at, &c.Received, &c.Delivered, &c.Deferred, &c.Bounced, &c.Dropped, &c.Held, &c.Refused); err != nil {
			return err
		}
		out[p.step(at)].sum(&c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count mail: %w", s.readError(err))
	}
	return out, nil
}

func (c *MailCount) sum(o *MailCount) {
	c.Received += o.Received
	c.Delivered += o.Delivered
	c.Deferred += o.Deferred
	c.Bounced += o.Bounced
	c.Dropped += o.Dropped
	c.Held += o.Held
	c.Refused += o.Refused
}

// eachHour calls fn for the rows of subjects within a span, day by day.
func (s *Store) eachHour(ctx context.Context, f *family, columns string, subjects []countSubject, p countSpan, fn func(*sql.Rows) error) error {
	w := &where{}
	w.and("at >= ?", p.since)
	w.and("at < ?", p.until)
	w.cond = append(w.cond, subjectCond(w, subjects))
	return s.reading(ctx, func(tx *sql.Tx) error {
		for _, t := range s.tables(*f, p.since, p.until-1) {
			err := eachRow(ctx, tx, "SELECT "+columns+" FROM "+t+w.String(), w.args, fn)
			if err != nil {
				if s.eng.dialect() == dSQLite {
					if gone, e := noTable(ctx, tx, t); e == nil && gone {
						continue // dropped meanwhile
					}
				}
				return err
			}
		}
		return nil
	})
}

// subjectCond selects the rows of subjects, all of one kind or two of different ones.
func subjectCond(w *where, subjects []countSubject) string {
	var alternatives []string
	for i := 0; i < len(subjects); {
		kind := subjects[i].kind
		var marks []string
		for ; i < len(subjects) && subjects[i].kind == kind; i++ {
			w.args = append(w.args, blob(subjects[i].id))
			marks = append(marks, "$"+strconv.Itoa(len(w.args)))
		}
		alternatives = append(alternatives, "kind = "+strconv.FormatInt(int64(kind), 10)+" AND subject IN ("+strings.Join(marks, ", ")+")")
	}
	return "(" + strings.Join(alternatives, " OR ") + ")"
}
