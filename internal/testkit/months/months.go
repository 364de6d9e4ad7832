// Package months makes months of traffic of many keys, with incidents planted in
// it, so that whoever watches can be judged by somebody who does not know how it
// watches. It imports no rule and nothing of the watch: it knows how mail is sent
// by shops, printers, invoice runs and laptops, and what thieves and accidents do.
//
// Its one invariant: the same seed makes the same traffic.
package months

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Config says how much. Zero members: 90 days from 2026-03-02, a Monday, 200 keys
// of 12 accounts, 12 incidents.
type Config struct {
	Seed      uint64
	From      time.Time
	Days      int
	Keys      int
	Accounts  int
	Incidents int
	// Quiet is how many days at the start have no incident; 0: a third of all.
	Quiet int
}

// Kind names an incident.
type Kind string

// The kinds.
const (
	NewNetwork   Kind = "new network"    // a thief tries a key from a country where it never was
	Travel       Kind = "travel"         // a person's key is in two far places within the hour
	ManyPlaces   Kind = "many places"    // a leaked key is used from dozens of networks
	Burst        Kind = "burst"          // far more than ever at that hour
	NewPeople    Kind = "new recipients" // as much as always, to people it never wrote to
	Bounces      Kind = "bounces"        // a content or reputation fault: refused all over
	Unknown      Kind = "unknown people" // a bought or rotten list
	SprayAccount Kind = "many addresses, one account"
	SprayAddress Kind = "one address, many accounts"
	Canary       Kind = "canary"
	WeakTLS      Kind = "weak login" // an old TLS version or a weak mechanism where there was none
	OddHours     Kind = "odd hours"  // by night, by a key that works by day only
	DomainGone   Kind = "domain"
)

// Kinds are all of them.
var Kinds = []Kind{
	NewNetwork, Travel, ManyPlaces, Burst, NewPeople, Bounces, Unknown, SprayAccount, SprayAddress, Canary, WeakTLS, OddHours, DomainGone,
}

// Incident is what was planted.
type Incident struct {
	Kind     Kind
	Key      relay.KeyID // zero where it is about no key
	Name     string      // of the key
	Account  relay.AccountID
	From, To time.Time
	// Place is what a finding should name: a country, network, address or domain, any
	// of them; none: nothing of that kind.
	Place []string
}

// Hour is what happened in one hour, in the order of time.
type Hour struct {
	Start  time.Time
	Events []relay.Event
	Logins []store.StoredLogin
}

// World is one run of the generator.
type World struct {
	cfg       Config
	rng       *rand.Rand
	accounts  []relay.Account
	keys      []*sender
	canary    relay.Key
	incidents []Incident
	acts      []act
	hour      int
	seq       int64
	out       Hour
}

// New makes a world; nothing has happened in it yet.
func New(c Config) *World {
	if c.From.IsZero() {
		c.From = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	}
	c.Days, c.Keys = cmp.Or(c.Days, 90), cmp.Or(c.Keys, 200)
	c.Accounts, c.Incidents = cmp.Or(c.Accounts, 12), cmp.Or(c.Incidents, 12)
	c.Quiet = cmp.Or(c.Quiet, c.Days/3)
	w := &World{cfg: c, rng: rand.New(rand.NewPCG(c.Seed, 0x706f737465726e))}
	for i := range c.Accounts {
		w.accounts = append(w.accounts, relay.Account{
			ID: relay.AccountID{ID: w.id(c.From)}, Name: fmt.Sprintf("account-%02d", i+1), OwnerEmail: fmt.Sprintf("owner%d@example.net", i+1), TimeZone: "UTC",
		})
	}
	for i := range c.Keys {
		w.keys = append(w.keys, w.newSender(i))
	}
	w.canary = relay.Key{ID: relay.KeyID{ID: w.id(c.From)}, Account: w.accounts[0].ID, Name: "canary", Canary: true, Kind: relay.KeyAPI, CreatedAt: c.From}
	w.plant()
	return w
}

// id is a made-up id, the same for the same seed.
func (w *World) id(at time.Time) relay.ID {
	id := relay.NewID(at)
	for i := 6; i < len(id); i++ {
		id[i] = byte(w.rng.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

// Accounts are those of the world.
func (w *World) Accounts() []relay.Account { return w.accounts }

// Keys are those of the world, the canary last.
func (w *World) Keys() []relay.Key {
	var all []relay.Key
	for _, s := range w.keys {
		all = append(all, s.key)
	}
	return append(all, w.canary)
}

// Incidents are those that were planted, by time.
func (w *World) Incidents() []Incident { return w.incidents }

// Next is the next hour; ok is false at the end.
func (w *World) Next() (h Hour, ok bool) {
	if w.hour >= w.cfg.Days*24 {
		return Hour{}, false
	}
	start := w.cfg.From.Add(time.Duration(w.hour) * time.Hour)
	w.out = Hour{Start: start}
	for _, s := range w.keys {
		w.normal(s, start)
	}
	for i := range w.acts {
		if a := &w.acts[i]; !start.Before(a.from) && start.Before(a.to) {
			a.do(start)
		}
	}
	w.noise(start)
	w.hour++
	slices.SortStableFunc(w.out.Events, func(a, b relay.Event) int { return a.At.Compare(b.At) })
	slices.SortStableFunc(w.out.Logins, func(a, b store.StoredLogin) int { return a.At.Compare(b.At) })
	for i := range w.out.Events {
		w.seq++
		w.out.Events[i].Epoch, w.out.Events[i].Seq = 1, w.seq
	}
	for i := range w.out.Logins {
		w.seq++
		w.out.Logins[i].ID = 1<<40 | w.seq
	}
	return w.out, true
}

// noise is what every open port sees: strangers who guess, a few an hour.
func (w *World) noise(start time.Time) {
	for range w.poisson(3) {
		addr := randomIn(w.rng, strangers[w.rng.IntN(len(strangers))].net)
		w.login(relay.Login{
			At: w.within(start, 0, time.Hour), Mechanism: "LOGIN", Tried: fmt.Sprintf("user%d", w.rng.IntN(50)), Addr: addr, Helo: "ylmf-pc",
			TLS: tls13, Result: relay.LoginMalformed, Count: int64(1 + w.rng.IntN(4)),
		})
	}
}

func (w *World) within(start time.Time, from, to time.Duration) time.Time {
	return start.Add(from + time.Duration(w.rng.Int64N(int64(to-from)))).Truncate(time.Millisecond)
}

func (w *World) login(l relay.Login) {
	if l.Protocol == "" {
		l.Protocol, l.Listener = "smtp", "submission"
	}
	l.Network = networkOf(l.Addr)
	l.Count = max(l.Count, 1)
	w.out.Logins = append(w.out.Logins, store.StoredLogin{Login: l})
}

func networkOf(a netip.Addr) string {
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits)
	return p.String()
}
