package auth

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/relay"
)

// GuardConfig sets a Guard up. Zero members take the default in brackets.
type GuardConfig struct {
	// Failures of one address [20] until it is refused for a while, longer each
	// time. Its network gets eight times as many.
	Failures int
	// KeyFailures are wrong secrets for one key's id [50] until only places that the
	// key is known from may try it. An account gets ten times as many, a person half.
	KeyFailures int
	// HalfLife is how fast an address's failures are forgotten [15 min]; those of
	// keys and accounts take four times as long.
	HalfLife time.Duration
	// FirstBan is how long the first refusal lasts [1 min]; each one doubles, up to
	// LongestBan [24 h]. For keys and accounts the longest is an hour.
	FirstBan, LongestBan time.Duration
	// KnownFor is how long after a success a place is known good [90 days].
	KnownFor time.Duration
	// Entries of the tables of addresses and of known places [65,536]; that of
	// networks has half as many, those of keys and accounts a quarter. All of them
	// full take about 25 MB. A full table forgets what was failed with longest ago.
	Entries int
	// Exempt are networks that are never slowed, counted or refused.
	Exempt []netip.Prefix

	Now func() time.Time // the wall clock; time.Now if nil
	// Alert tells a person: an address or network was shut out (tenant and key are
	// zero), or a key or account is being guessed at. It must not block. Nil: nobody.
	Alert func(relay.Tenant, relay.KeyID, relay.Alert)
}

// Guard makes guessing not pay. It counts failed logins per address, network,
// account and key id in tables of bounded size, slows down who fails and refuses
// who goes on, and remembers which places are known good. It may be used from
// any goroutine; each attempt locks a few shards for well under a microsecond.
type Guard struct {
	cfg       GuardConfig
	addresses *table[place, tally]
	networks  *table[place, tally]
	keys      *table[relay.ID, tally]
	accounts  *table[relay.ID, tally]
	people    *table[relay.ID, personTally]
	known     *table[acquaintance, familiar]

	byAddress, byNetwork, byKey, byAccount, byPerson budget

	manual   atomic.Pointer[manualBans]
	manualMu sync.Mutex // of those who change it
	alerts   brake
	changed  chan struct{}
}

// Slowness: an address is held back from a quarter of the failures on that get it
// refused: the 5th of 20.
const (
	slowSteps   = 5 // doublings from there to the last failure
	longestHold = 16 * time.Second
	longestTar  = 10 * time.Second
	// longestShared is for how long an address is refused from which others log in:
	// somebody who is new there is let in soon, whatever a broken client does.
	longestShared = 5 * time.Minute
	// minHold is what every refusal takes, whatever its reason.
	minHold = 250 * time.Millisecond
)

// NewGuard makes a Guard that knows nobody. It starts nothing.
func NewGuard(cfg GuardConfig) *Guard {
	def(&cfg.Failures, 20)
	def(&cfg.KeyFailures, 50)
	def(&cfg.HalfLife, 15*time.Minute)
	def(&cfg.FirstBan, time.Minute)
	def(&cfg.LongestBan, 24*time.Hour)
	def(&cfg.KnownFor, 90*24*time.Hour)
	def(&cfg.Entries, 65_536)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Alert == nil {
		cfg.Alert = func(relay.Tenant, relay.KeyID, relay.Alert) {}
	}
	g := &Guard{cfg: cfg, changed: make(chan struct{}, 1)}
	g.byAddress = budget{float64(cfg.Failures), cfg.HalfLife, cfg.FirstBan, cfg.LongestBan}
	g.byNetwork = g.byAddress
	g.byNetwork.most *= 8
	g.byKey = budget{float64(cfg.KeyFailures), 4 * cfg.HalfLife, cfg.FirstBan, min(cfg.LongestBan, time.Hour)}
	g.byAccount = g.byKey
	g.byAccount.most *= 10
	g.byPerson = g.byKey
	g.byPerson.most /= 2
	g.addresses = newTable[place](cfg.Entries, worthOf(g.byAddress))
	g.networks = newTable[place](cfg.Entries/2, worthOf(g.byNetwork))
	g.keys = newTable[relay.ID](cfg.Entries/4, worthOf(g.byKey))
	g.accounts = newTable[relay.ID](cfg.Entries/4, worthOf(g.byAccount))
	g.people = newTable[relay.ID](cfg.Entries/16, func(p *personTally) float64 { return float64(p.streak) + p.worth(g.byPerson.halfLife) })
	g.known = newTable[acquaintance, familiar](cfg.Entries, nil)
	g.manual.Store(&manualBans{})
	return g
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func worthOf(b budget) func(*tally) float64 {
	return func(t *tally) float64 { return t.worth(b.halfLife) }
}

// standing is how an address stands before an attempt.
type standing struct {
	from   place
	until  time.Time // refused until then; zero: not refused
	manual bool      // by a person: nothing lets it pass
	level  float64   // failures of the address that still count
	exempt bool
}

func (s standing) refused() bool { return !s.until.IsZero() }

// stand looks an address up.
func (g *Guard) stand(addr netip.Addr, now time.Time) standing {
	addr = normal(addr)
	s := standing{from: placeOf(addr)}
	if s.from.kind == nowhere || g.exempt(addr) {
		s.exempt = true
		return s
	}
	if ban, ok := g.manual.Load().find(addr, now); ok {
		s.until, s.manual = ban.Until, true
		return s
	}
	until := int64(0)
	nano := now.UnixNano()
	g.addresses.see(s.from, func(t *tally) { s.level, until = t.level(nano, g.byAddress.halfLife), t.until })
	g.networks.see(s.from.network(), func(t *tally) { until = max(until, t.until) })
	if until > nano {
		s.until = time.Unix(0, until)
	}
	return s
}

func (g *Guard) exempt(addr netip.Addr) bool {
	return len(g.cfg.Exempt) > 0 && inNetworks(g.cfg.Exempt, addr)
}

// admits reports whether a key may be tried from where an attempt stands: the
// address is not refused, neither the key's id nor its account is being guessed
// at, or the place is known good to it.
func (g *Guard) admits(s standing, k *relay.Key, now time.Time) bool {
	if s.exempt {
		return true
	}
	if s.manual {
		return false
	}
	closed, nano := s.refused(), now.UnixNano()
	if !closed {
		g.keys.see(k.ID.ID, func(t *tally) { closed = t.refused(nano) })
	}
	if !closed {
		g.accounts.see(k.Account.ID, func(t *tally) { closed = t.refused(nano) })
	}
	return !closed || g.knows(s.from, k, now)
}

// failed counts a refused attempt against its address and network and, where k
// is not nil, a truly wrong secret against the key and its account. It returns
// how long the refusal is to be held back at least; 0: no longer than any other.
func (g *Guard) failed(s standing, k *relay.Key, now time.Time) time.Duration {
	if s.exempt {
		return 0
	}
	nano := now.UnixNano()
	var told []notice
	if k != nil {
		told = g.wrong(s, k, nano)
	}
	if !s.refused() { // what is refused unseen does not prolong its refusal
		b := g.byAddress
		if g.welcome(s.from, now) {
			b.longest = min(b.longest, longestShared)
		}
		g.addresses.touch(s.from, func(t *tally) {
			if t.fail(nano, b) {
				told = append(told, banNotice(s.from.String(), t))
			}
			s.level = t.score
		})
		g.networks.touch(s.from.network(), func(t *tally) {
			if t.fail(nano, g.byNetwork) {
				told = append(told, banNotice(s.from.network().String(), t))
			}
		})
	}
	if len(told) > 0 {
		g.change()
	}
	g.tell(told, s.from, now)
	return g.holdFor(s.level)
}

// Changed receives when somebody was shut out or let in again since it last did:
// what Save returns is then worth keeping before long.
func (g *Guard) Changed() <-chan struct{} { return g.changed }

func (g *Guard) change() {
	select {
	case g.changed <- struct{}{}:
	default: // it is known already
	}
}

// wrong counts a wrong secret. From a place that is known good it counts against
// that place only.
func (g *Guard) wrong(s standing, k *relay.Key, nano int64) []notice {
	g.blunder(s.from, k, nano)
	if g.knows(s.from, k, time.Unix(0, nano)) {
		return nil
	}
	var told []notice
	tenant := relay.Tenant{Account: k.Account, Subuser: k.Subuser}
	g.keys.touch(k.ID.ID, func(t *tally) {
		if t.fail(nano, g.byKey) {
			told = append(told, notice{tenant, k.ID, "key " + k.ID.String(), t.failures, t.until, false})
		}
	})
	g.accounts.touch(k.Account.ID, func(t *tally) {
		if t.fail(nano, g.byAccount) {
			told = append(told, notice{relay.Tenant{Account: k.Account}, relay.KeyID{}, "account " + k.Account.String(), t.failures, t.until, false})
		}
	})
	return told
}

// succeeded remembers a login, and takes one failure off its address.
func (g *Guard) succeeded(s standing, k *relay.Key, now time.Time) {
	if s.from.kind == nowhere {
		return
	}
	nano := now.UnixNano()
	g.meet(s.from, k, nano)
	if s.level > 0 {
		g.addresses.see(s.from, func(t *tally) { t.succeed(nano, g.byAddress.halfLife) })
	}
}

// holdFor is how long a refusal is held back at a score: half a second where
// slowness begins, 16 s with the failure that gets the address refused.
func (g *Guard) holdFor(level float64) time.Duration {
	n, from := int(level+0.5), g.slowFrom()
	if n < from {
		return 0
	}
	step := (n - from) * slowSteps / (g.cfg.Failures - from)
	return min(minHold<<min(step+1, 10), longestHold)
}

func (g *Guard) slowFrom() int { return g.cfg.Failures / 4 }

// Delay is how long a new connection from an address is kept waiting before the
// greeting: 0 for one that has not failed, 10 s for one that is refused. Where
// somebody has logged in within a day nobody waits: the failures are perhaps one
// broken client's, and its neighbours behind the same address (NAT) are not to
// pay for it. What fails there is held back and refused all the same.
func (g *Guard) Delay(addr netip.Addr) time.Duration {
	now := g.cfg.Now()
	s := g.stand(addr, now)
	wait := min(g.holdFor(s.level), longestTar)
	if s.refused() {
		wait = longestTar
	}
	if wait > 0 && !s.manual && g.welcome(s.from, now) {
		return 0
	}
	return wait
}
