package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"postern/internal/relay"
)

// LoginCountConsumer is the name of the consumer that ApplyLogins moves on.
const LoginCountConsumer = "login counts"

// What logins are counted by.
const (
	ByResult    = "result"
	ByMechanism = "mechanism"
	ByTLS       = "tls"     // the version only
	ByNetwork   = "network" // the /24 or /48
)

const (
	// OtherName is what the rest is counted as where an hour has too many names.
	OtherName = "other"
	// A stranger chooses where refused logins come from, and the mechanism's name: of
	// those an hour has this many names of each subject; of those that were let in, as
	// many more.
	maxNamesRefused = 50
	maxNamesOK      = 200
)

const loginHourColumns = `kind, subject, at, dimension, name, ok, refused`

var loginHourFamily = family{
	name: "loginhours",
	sqlite: []string{`CREATE TABLE IF NOT EXISTS loginhours_%s (kind INTEGER NOT NULL, subject BLOB NOT NULL, at INTEGER NOT NULL,
		dimension TEXT NOT NULL, name TEXT NOT NULL, ok INTEGER NOT NULL, refused INTEGER NOT NULL,
		PRIMARY KEY (kind, subject, at, dimension, name)) STRICT, WITHOUT ROWID`},
	insert: `INSERT INTO %s AS m (` + loginHourColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (kind, subject, at, dimension, name) DO UPDATE SET ok = m.ok + excluded.ok, refused = m.refused + excluded.refused`,
	columns: loginHourColumns,
}

// loginHour names what names are counted within: their number is bounded.
type loginHour struct {
	mailHour
	dimension string
}

// okRefused are two sums.
type okRefused struct{ ok, refused int64 }

// loginCounts sums up what a batch adds, by name.
type loginCounts map[loginHour]map[string]okRefused

// ApplyLogins brings login records into the hourly counts and moves
// LoginCountConsumer on to c, as ApplyIndex does with events.
func (s *Store) ApplyLogins(ctx context.Context, logins []StoredLogin, c Cursor) error {
	if s.low.Load() {
		return fmt.Errorf("count logins: %w", ErrFull)
	}
	sums := loginCounts{}
	oldest := dayOf(s.now() - s.cfg.KeepLogins.Microseconds())
	for i := range logins {
		if l := &logins[i].Login; dayOf(micros(l.At)) >= oldest {
			sums.add(l)
		}
	}
	o := newOp("count logins")
	o.grows = true
	s.moveConsumer(o, LoginCountConsumer, c)
	var hour mailHour
	var known map[string]map[string]okRefused
	var err error
	for _, k := range sortedKeys(sums, func(a, b loginHour) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), bytes.Compare(a.id[:], b.id[:]), strings.Compare(a.dimension, b.dimension))
	}) {
		var st *stmt
		if st, err = s.days.make(s, &loginHourFamily, dayOf(k.at)); err != nil {
			return err
		}
		if k.mailHour != hour {
			if known, err = s.loginNames(ctx, k.mailHour); err != nil {
				return fmt.Errorf("count logins: %w", s.readError(err))
			}
			hour = k.mailHour
		}
		names := bound(sums[k], known[k.dimension])
		for _, name := range sortedKeys(names, strings.Compare) {
			n := names[name]
			o.add(st, int64(k.kind), blob(k.id), k.at, k.dimension, name, n.ok, n.refused)
			o.bytes += 128
		}
	}
	return s.w.doLow(ctx, o)
}

func (m loginCounts) add(l *relay.Login) {
	var n okRefused
	if l.Result == relay.LoginOK {
		n.ok = l.Count
	} else {
		n.refused = l.Count
	}
	hour := hourOf(micros(l.At))
	for _, subject := range subjectsOf(l.Tenant, l.Key) {
		for _, d := range [...]struct{ dimension, name string }{
			{ByResult, string(l.Result)}, {ByMechanism, l.Mechanism}, {ByTLS, tlsVersion(l.TLS)}, {ByNetwork, l.Network},
		} {
			k := loginHour{mailHour{subject, hour}, d.dimension}
			if m[k] == nil {
				m[k] = map[string]okRefused{}
			}
			was := m[k][d.name]
			m[k][d.name] = okRefused{was.ok + n.ok, was.refused + n.refused}
		}
	}
}

// tlsVersion is the version of "TLSv1.3 TLS_AES_128_GCM_SHA256".
func tlsVersion(s string) string {
	version, _, _ := strings.Cut(s, " ")
	return version
}

// loginNames reads which names an hour has by dimension, and whether they were let in.
func (s *Store) loginNames(ctx context.Context, k mailHour) (map[string]map[string]okRefused, error) {
	w := &where{}
	w.and("kind = ?", int64(k.kind))
	w.and("subject = ?", blob(k.id))
	w.and("at = ?", k.at)
	known := map[string]map[string]okRefused{}
	for _, t := range s.tables(loginHourFamily, k.at, k.at) {
		err := eachRow(ctx, s.db, "SELECT dimension, name, ok, refused FROM "+t+w.String(), w.args, func(r *sql.Rows) error {
			var dimension, name string
			var n okRefused
			err := r.Scan(&dimension, &name, &n.ok, &n.refused)
			if known[dimension] == nil {
				known[dimension] = map[string]okRefused{}
			}
			known[dimension][name] = n
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return known, nil
}

// bound gives new names a place while there is one, and puts the rest together.
// Strangers cannot take the places of those who are let in.
func bound(sums, known map[string]okRefused) map[string]okRefused {
	ok, refused := 0, 0
	for _, n := range known {
		if n.ok > 0 {
			ok++
		} else {
			refused++
		}
	}
	out := make(map[string]okRefused, len(sums))
	for _, name := range sortedKeys(sums, func(a, b string) int {
		return cmp.Or(cmp.Compare(total(sums[b]), total(sums[a])), strings.Compare(a, b))
	}) {
		n := sums[name]
		if _, there := known[name]; !there {
			room, most := &refused, maxNamesRefused
			if n.ok > 0 {
				room, most = &ok, maxNamesOK
			}
			if *room >= most {
				name = OtherName
			} else {
				*room++
			}
		}
		was := out[name]
		out[name] = okRefused{was.ok + n.ok, was.refused + n.refused}
	}
	return out
}

func total(n okRefused) int64 { return n.ok + n.refused }

// LoginCount is how many logins a step had, of one name.
type LoginCount struct {
	At        time.Time `json:"at"`
	Dimension string    `json:"dimension"` // ByResult, …: each login counts in all of them
	Name      string    `json:"name"`      // "ok", "PLAIN", "TLSv1.3", a network; "": it had none
	OK        int64     `json:"ok"`
	Refused   int64     `json:"refused"`
}

// LoginCounts sums up the hourly counts of logins, oldest first, then by dimension
// and name; steps without logins have none. They are as new as their consumer,
// which waits until a record's count no longer rises: LoginSettle.
func (s *Store) LoginCounts(ctx context.Context, f CountFilter) ([]LoginCount, error) {
	p, err := s.countSpan(&f)
	if err != nil {
		return nil, err
	}
	subjects, err := s.countSubjects(ctx, &f)
	if err != nil || len(subjects) == 0 {
		return nil, err
	}
	type key struct {
		step            int
		dimension, name string
	}
	sums := map[key]okRefused{}
	err = s.eachHour(ctx, &loginHourFamily, `at, dimension, name, ok, refused`, subjects, p, func(r *sql.Rows) error {
		var at int64
		var k key
		var n okRefused
		if err := r.Scan(&at, &k.dimension, &k.name, &n.ok, &n.refused); err != nil {
			return err
		}
		k.step = p.step(at)
		was := sums[k]
		sums[k] = okRefused{was.ok + n.ok, was.refused + n.refused}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count logins: %w", s.readError(err))
	}
	out := make([]LoginCount, 0, len(sums))
	for _, k := range sortedKeys(sums, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.step, b.step), strings.Compare(a.dimension, b.dimension), strings.Compare(a.name, b.name))
	}) {
		n := sums[k]
		out = append(out, LoginCount{At: timeOf(p.since + int64(k.step)*p.by), Dimension: k.dimension, Name: k.name, OK: n.ok, Refused: n.refused})
	}
	return out, nil
}
