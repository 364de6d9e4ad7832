package auth

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"net/netip"
	"slices"
	"time"

	"postern/internal/relay"
)

// What a Guard knows survives a restart as one small file: a word that names the
// format, five tables, the bans that people set, the table of persons, a checksum.
// All numbers are big-endian; times are Unix seconds.
const (
	guardMagic = "pgrd\x02"
	// guardMagic1 is the format without the table of persons.
	guardMagic1 = "pgrd\x01"
	maxSaved    = 8192   // entries of each table of failures: those that count most
	maxKnown    = 32_768 // places that are known good: the newest
	maxState    = 4 << 20

	tallySize = 4 + 8 + 8 + 8 + 4 + 1
	placeSize = 1 + 8
	idSize    = 16
)

// ErrGuardState: what was saved cannot be read. The Guard then knows nobody.
var ErrGuardState = errors.New("saved state of the login guard is damaged")

// Save returns what Load reads, at most 4 MiB: who is refused, who has failed
// lately, which places are known good, and the bans that people set.
func (g *Guard) Save() []byte {
	now := g.cfg.Now().UnixNano()
	b := []byte(guardMagic)
	b = saveTallies(b, g.addresses, now, g.byAddress, appendPlace)
	b = saveTallies(b, g.networks, now, g.byNetwork, appendPlace)
	b = saveTallies(b, g.keys, now, g.byKey, appendID)
	b = saveTallies(b, g.accounts, now, g.byAccount, appendID)
	b = g.saveKnown(b)
	b = g.saveManual(b)
	b = g.savePeople(b, now)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

type saved[K any] struct {
	key   K
	tally tally
}

func saveTallies[K comparable](b []byte, tab *table[K, tally], now int64, bud budget, key func([]byte, K) []byte) []byte {
	var all []saved[K]
	tab.each(func(k K, t *tally) {
		if t.refused(now) || t.level(now, bud.halfLife) >= 1 {
			all = append(all, saved[K]{k, *t})
		}
	})
	if len(all) > maxSaved {
		slices.SortFunc(all, func(a, b saved[K]) int {
			return cmp.Or(cmp.Compare(b.tally.until, a.tally.until), cmp.Compare(b.tally.worth(bud.halfLife), a.tally.worth(bud.halfLife)))
		})
		all = all[:maxSaved]
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
	for _, s := range all {
		b = appendTally(key(b, s.key), &s.tally)
	}
	return b
}

func appendTally(b []byte, t *tally) []byte {
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(t.score)))
	for _, at := range [...]int64{t.at, t.since, t.until} {
		b = binary.BigEndian.AppendUint64(b, uint64(at/int64(time.Second)))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(min(t.failures, math.MaxUint32)))
	return append(b, t.strikes)
}

func appendPlace(b []byte, p place) []byte {
	return binary.BigEndian.AppendUint64(append(b, byte(p.kind)), p.bits)
}

func appendID(b []byte, id relay.ID) []byte { return append(b, id[:]...) }

func (g *Guard) saveKnown(b []byte) []byte {
	type met struct {
		acquaintance
		at int64
	}
	var all []met
	g.known.each(func(a acquaintance, f *familiar) { all = append(all, met{a, f.at}) })
	if len(all) > maxKnown {
		slices.SortFunc(all, func(a, b met) int { return cmp.Compare(b.at, a.at) })
		all = all[:maxKnown]
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
	for _, m := range all {
		b = appendID(appendPlace(b, m.place), m.id)
		b = binary.BigEndian.AppendUint64(b, uint64(m.at/int64(time.Second)))
	}
	return b
}

func (g *Guard) saveManual(b []byte) []byte {
	list := []relay.Ban{}
	for _, ban := range g.manual.Load().bans {
		list = append(list, ban)
	}
	text, err := json.Marshal(list)
	if err != nil {
		text = nil // a ban is text and times: this cannot happen, and must not lose the rest
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

// Load replaces what the Guard knows by what Save returned. nil is what was never
// saved: nobody is known. After an error, which wraps ErrGuardState, nobody is
// known either.
func (g *Guard) Load(data []byte) error {
	g.forget()
	if data == nil {
		return nil
	}
	if err := g.load(data); err != nil {
		g.forget()
		return fmt.Errorf("%w: %w", ErrGuardState, err)
	}
	return nil
}

func (g *Guard) forget() {
	g.addresses.clear()
	g.networks.clear()
	g.keys.clear()
	g.accounts.clear()
	g.known.clear()
	g.people.clear()
	g.manualMu.Lock()
	g.manual.Store(&manualBans{})
	g.manualMu.Unlock()
}

func (g *Guard) load(data []byte) error {
	if len(data) > maxState || len(data) < len(guardMagic)+4 {
		return errors.New("not a state of this version")
	}
	magic := string(data[:len(guardMagic)])
	if magic != guardMagic && magic != guardMagic1 {
		return errors.New("not a state of this version")
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return errors.New("wrong checksum")
	}
	r := &stateReader{b: body[len(guardMagic):], now: g.cfg.Now().UnixNano(), longest: int64(g.cfg.LongestBan)}
	loadTallies(r, g.addresses, placeSize, func() (place, bool) { return r.place(address4, address6) })
	loadTallies(r, g.networks, placeSize, func() (place, bool) { return r.place(network4, network6) })
	loadTallies(r, g.keys, idSize, r.id)
	loadTallies(r, g.accounts, idSize, r.id)
	for n := r.count(maxKnown, placeSize+idSize+8); n > 0; n-- {
		p, ok := r.place(address4, address6, network4, network6)
		id, _ := r.id()
		if at := r.moment(r.now); ok {
			g.known.touch(acquaintance{p, id}, func(f *familiar) { f.at = at })
		}
	}
	manual := r.take(r.count(maxState, 1))
	if magic == guardMagic {
		g.loadPeople(r)
	}
	if r.bad || len(r.b) != 0 {
		return errors.New("cut, or longer than its tables")
	}
	return g.loadManual(manual)
}

func loadTallies[K comparable](r *stateReader, tab *table[K, tally], keySize int, key func() (K, bool)) {
	for n := r.count(maxSaved, keySize+tallySize); n > 0; n-- {
		k, ok := key()
		t := r.tally()
		if ok {
			tab.touch(k, func(into *tally) { *into = t })
		}
	}
}

func (g *Guard) loadManual(text []byte) error {
	var list []relay.Ban
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	bans := map[netip.Prefix]relay.Ban{}
	for _, b := range list[:min(len(list), maxManual)] {
		p, err := banned(b.Scope, b.Subject)
		if err != nil {
			return err
		}
		b.Subject, b.Manual = subjectOf(b.Scope, p), true
		bans[p] = b
	}
	g.manualMu.Lock()
	g.manual.Store(manualOf(bans))
	g.manualMu.Unlock()
	return nil
}

// stateReader takes a state apart. After the first fault everything it returns
// is zero, and bad is set.
type stateReader struct {
	b            []byte
	bad          bool
	now, longest int64
}

var zeros [idSize]byte

// take returns the next n octets.
func (r *stateReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return zeros[:min(n, len(zeros))]
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

// count reads how many entries of a size follow: no more than there are octets.
func (r *stateReader) count(most, size int) int {
	n := binary.BigEndian.Uint32(r.take(4))
	if r.bad || int64(n) > int64(most) || int64(n)*int64(size) > int64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

// moment reads a time, and cuts it to what is possible: nothing happened later
// than latest, whatever the clock showed when it was saved.
func (r *stateReader) moment(latest int64) int64 {
	s := int64(binary.BigEndian.Uint64(r.take(8)))
	if s <= 0 {
		return 0
	}
	return min(min(s, math.MaxInt64/int64(time.Second))*int64(time.Second), latest)
}

func (r *stateReader) tally() tally {
	score := float64(math.Float32frombits(binary.BigEndian.Uint32(r.take(4))))
	if math.IsNaN(score) || score < 0 {
		score = 0
	}
	t := tally{score: min(score, 1e6), at: r.moment(r.now), since: r.moment(r.now), until: r.moment(r.now + r.longest)}
	t.failures = int64(binary.BigEndian.Uint32(r.take(4)))
	t.strikes = min(r.take(1)[0], 30)
	return t
}

func (r *stateReader) place(kinds ...placeKind) (place, bool) {
	p := place{kind: placeKind(r.take(1)[0])}
	p.bits = binary.BigEndian.Uint64(r.take(8))
	return p, !r.bad && p.valid() && slices.Contains(kinds, p.kind)
}

func (r *stateReader) id() (relay.ID, bool) {
	id := relay.ID(r.take(idSize))
	return id, !r.bad
}
