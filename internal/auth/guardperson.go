package auth

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"postern/internal/relay"
)

// People choose their passwords, so guessing at one of them is worth more than at
// a key, and has limits of its own: fewer failures until only known places may
// try, and never more than a hundred in a row (SP 800-63B-4 §3.2.2).

const (
	// mostInARow are wrong passwords without a right one between them, whatever time
	// is between them: from then on only known places may try, until a right one or a
	// reset by mail.
	mostInARow = 100
	// codesPerHour are wrong codes of one person's second factor in 60 minutes (AC-04):
	// from known places and from all others, each for itself, so that a thief of the
	// password cannot use up the person's own.
	codesPerHour = 10
	codesSpan    = time.Hour
)

// personTally counts what failed on one person.
type personTally struct {
	tally
	streak uint32 // wrong passwords in a row
	codes  [2]codeWindow
}

// codeWindow are the last codes that were tried, as Unix nanoseconds; 0: none.
type codeWindow [codesPerHour]int64

func which(known bool) int {
	if known {
		return 1
	}
	return 0
}

// take counts a try, unless the window is full: then it says for how long.
func (w *codeWindow) take(now int64) (after time.Duration) {
	oldest := 0
	for i, at := range w {
		if at < w[oldest] {
			oldest = i
		}
	}
	if end := w[oldest] + int64(codesSpan); w[oldest] != 0 && end > now {
		return time.Duration(end - now)
	}
	w[oldest] = now
	return 0
}

// give takes the newest try back.
func (w *codeWindow) give() {
	newest := 0
	for i, at := range w {
		if at > w[newest] {
			newest = i
		}
	}
	w[newest] = 0
}

// knowsPerson reports whether a person has logged in from a place or its network,
// and no more than a few wrong secrets came from there since.
func (g *Guard) knowsPerson(from place, id relay.UserID, at time.Time) bool {
	now := at.UnixNano()
	for _, p := range [...]place{from, from.network()} {
		met, good := false, false
		g.known.see(acquaintance{p, id.ID}, func(f *familiar) {
			met, good = now-f.at < int64(g.cfg.KnownFor), !f.wrong.refused(now)
		})
		if met {
			return good
		}
	}
	return false
}

// personShut reports whether a person may be tried from known places only.
func (g *Guard) personShut(id relay.UserID, now time.Time) (shut bool) {
	g.people.see(id.ID, func(p *personTally) { shut = p.streak >= mostInARow || p.refused(now.UnixNano()) })
	return shut
}

// takeCode counts a try of a code, or says when the next one may come.
func (g *Guard) takeCode(id relay.UserID, known bool, now time.Time) (after time.Duration) {
	g.people.touch(id.ID, func(p *personTally) { after = p.codes[which(known)].take(now.UnixNano()) })
	return after
}

// giveCode takes the count of a code back.
func (g *Guard) giveCode(s standing, t PersonTry, now time.Time) {
	if s.exempt || t.User.IsZero() || t.Mechanism != PersonTOTP && t.Mechanism != PersonRecovery {
		return
	}
	known := g.knowsPerson(s.from, t.User, now)
	g.people.see(t.User.ID, func(p *personTally) { p.codes[which(known)].give() })
}

// personIn remembers a success. A place is known only after a whole login: a
// stolen password alone must not make it so.
func (g *Guard) personIn(s standing, t PersonTry, now time.Time) {
	g.giveCode(s, t, now)
	if s.from.kind == nowhere || t.User.IsZero() {
		return
	}
	if t.Mechanism == PersonPassword {
		g.people.see(t.User.ID, func(p *personTally) { p.streak = 0 })
	}
	if t.Partial {
		return
	}
	nano := now.UnixNano()
	g.known.touch(acquaintance{s.from, anybody}, func(f *familiar) { f.at = nano })
	for _, p := range [...]place{s.from, s.from.network()} {
		g.known.touch(acquaintance{p, t.User.ID}, func(f *familiar) { *f = familiar{at: nano} })
	}
	if s.level > 0 {
		g.addresses.see(s.from, func(t *tally) { t.succeed(nano, g.byAddress.halfLife) })
	}
}

// personFailed counts a failure against its address and network, and a wrong
// password against the person: from a known place against that place only, but it
// is one more in a row.
func (g *Guard) personFailed(s standing, t PersonTry, result relay.LoginResult, now time.Time) {
	if s.exempt {
		return
	}
	if !t.User.IsZero() && t.Mechanism == PersonPassword && result == relay.LoginWrong {
		g.wrongPassword(s, t, now)
	}
	g.failed(s, nil, now)
}

func (g *Guard) wrongPassword(s standing, t PersonTry, now time.Time) {
	nano := now.UnixNano()
	known := g.knowsPerson(s.from, t.User, now)
	for _, p := range [...]place{s.from, s.from.network()} {
		g.known.see(acquaintance{p, t.User.ID}, func(f *familiar) { f.wrong.fail(nano, wrongFromKnown) })
	}
	var told []notice
	g.people.touch(t.User.ID, func(p *personTally) {
		p.streak++
		shut := p.streak == mostInARow
		if !known && p.fail(nano, g.byPerson) {
			shut = true
		}
		if shut {
			until := p.until
			if p.streak >= mostInARow {
				until = 0
			}
			told = append(told, notice{tenant: t.Tenant, subject: "person " + printable(t.Tried, 64), failures: int64(p.streak), until: until, person: true})
		}
	})
	if len(told) > 0 {
		g.change()
	}
	g.tell(told, s.from, now)
}

const (
	personSize     = idSize + tallySize + 4 + 2*codesPerHour*8
	maxSavedPeople = 2048
)

// savePeople appends those of whom something counts.
func (g *Guard) savePeople(b []byte, now int64) []byte {
	type kept struct {
		id relay.ID
		personTally
	}
	var all []kept
	g.people.each(func(id relay.ID, p *personTally) {
		if p.streak > 0 || p.refused(now) || p.codes[0].counts(now) || p.codes[1].counts(now) {
			all = append(all, kept{id, *p})
		}
	})
	if len(all) > maxSavedPeople {
		slices.SortFunc(all, func(a, b kept) int { return cmp.Compare(b.streak, a.streak) })
		all = all[:maxSavedPeople]
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
	for i := range all {
		p := &all[i]
		b = binary.BigEndian.AppendUint32(appendTally(appendID(b, p.id), &p.tally), p.streak)
		for _, w := range p.codes {
			for _, at := range w {
				b = binary.BigEndian.AppendUint64(b, uint64(at/int64(time.Second)))
			}
		}
	}
	return b
}

func (w *codeWindow) counts(now int64) bool {
	return slices.ContainsFunc(w[:], func(at int64) bool { return at != 0 && now-at < int64(codesSpan) })
}

func (g *Guard) loadPeople(r *stateReader) {
	for n := r.count(maxSavedPeople, personSize); n > 0; n-- {
		id, ok := r.id()
		p := personTally{tally: r.tally()}
		p.streak = binary.BigEndian.Uint32(r.take(4))
		for i := range p.codes {
			for j := range p.codes[i] {
				p.codes[i][j] = r.moment(r.now)
			}
		}
		if ok {
			g.people.touch(id, func(into *personTally) { *into = p })
		}
	}
}
