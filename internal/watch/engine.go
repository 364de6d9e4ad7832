package watch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Config is what an engine knows of the world. Every member may be zero.
type Config struct {
	// Places knows where addresses are; nil: places are networks.
	Places Places
	// Settings of an account; nil: the defaults.
	Settings func(relay.AccountID) relay.WatchSettings
	// Key and Account are for names, and for the time zone in which hours are; nil:
	// ids, and UTC. A key that is not found is named by its id.
	Key     func(relay.KeyID) (relay.Key, bool)
	Account func(relay.AccountID) (relay.Account, bool)
	// Load returns what was kept of keys (Changes.Keys); nil: everything is in memory.
	Load func(ctx context.Context, keys []relay.KeyID) (map[relay.KeyID][]byte, error)
	// Damaged is told of what was kept and cannot be read: what it stood for is
	// learned anew, as of a new key. The zero key is what is known of failed logins.
	// nil: nobody is told.
	Damaged func(key relay.KeyID, err error)
	// MaxKeys is how many keys are kept in memory where Load is set; 0: 4,096, which
	// is some 32 MB.
	MaxKeys int
	// Only are the rules that run; empty: all.
	Only []relay.WatchRule
	// Ahead: what cannot wait is given to Urgent, and Observe leaves it out.
	Ahead bool
}

// defaultKeys bounds the baselines in memory.
const defaultKeys = 4096

// Engine is the rules with what they learned. It is used by one goroutine.
type Engine struct {
	cfg   Config
	keys  map[relay.KeyID]*learned
	turn  int64 // counts calls of Observe
	share shared

	open    map[findingKey]*relay.WatchFinding
	changed map[findingKey]bool
	ended   []relay.WatchFinding  // closed since the last Saved
	fresh   []*relay.WatchFinding // of the call of Observe that runs
}

// learned is a key's baseline in memory.
type learned struct {
	*baseline
	used  int64 // the turn
	dirty bool
}

// New makes an engine that has learned nothing.
func New(cfg Config) *Engine {
	if cfg.MaxKeys == 0 {
		cfg.MaxKeys = defaultKeys
	}
	return &Engine{cfg: cfg, keys: map[relay.KeyID]*learned{}, open: map[findingKey]*relay.WatchFinding{}, changed: map[findingKey]bool{}, share: newShared()}
}

// Observe takes in what happened, merged by time, and returns the findings that
// are new, oldest first. What adds to an open finding is in Changes and Open. The
// batches of a history follow each other in time; what comes a little late counts
// for the hour that is open. An error is one of Load: then nothing was taken in.
func (e *Engine) Observe(ctx context.Context, events []relay.Event, logins []store.StoredLogin) ([]relay.WatchFinding, error) {
	if err := e.load(ctx, events, logins); err != nil {
		return nil, err
	}
	e.turn++
	for _, i := range merge(events, logins) {
		if !e.cfg.Ahead || !i.urgent() {
			e.take(i)
		}
	}
	return e.found(), nil
}

// Urgent takes in what cannot wait until the logs have settled, the tries of canary
// keys, and leaves out everything else. It is Observe otherwise, for an engine with
// Ahead.
func (e *Engine) Urgent(events []relay.Event, logins []store.StoredLogin) []relay.WatchFinding {
	for _, i := range merge(events, logins) {
		if i.urgent() {
			e.take(i)
		}
	}
	return e.found()
}

func (e *Engine) take(i item) {
	if i.login != nil {
		e.login(&i.login.Login)
	} else {
		e.event(i.event)
	}
}

// found returns the findings that are new since the last call.
func (e *Engine) found() []relay.WatchFinding {
	out := make([]relay.WatchFinding, 0, len(e.fresh))
	for _, f := range e.fresh {
		out = append(out, copyFinding(f))
	}
	e.fresh = e.fresh[:0]
	return out
}

// load makes sure that the baselines of all keys of a batch are in memory.
func (e *Engine) load(ctx context.Context, events []relay.Event, logins []store.StoredLogin) error {
	if e.cfg.Load == nil {
		return nil
	}
	missing := map[relay.KeyID]bool{}
	want := func(id relay.KeyID) {
		if !id.IsZero() && e.keys[id] == nil {
			missing[id] = true
		}
	}
	for i := range events {
		want(events[i].Key)
	}
	for i := range logins {
		want(logins[i].Key)
	}
	return e.fetch(ctx, missing)
}

func (e *Engine) fetch(ctx context.Context, missing map[relay.KeyID]bool) error {
	if len(missing) == 0 || e.cfg.Load == nil {
		return nil
	}
	ids := make([]relay.KeyID, 0, len(missing))
	for id := range missing {
		ids = append(ids, id)
	}
	kept, err := e.cfg.Load(ctx, ids)
	if err != nil {
		return fmt.Errorf("watch: read what was learned: %w", err)
	}
	for id, text := range kept {
		b, err := decodeBaseline(text)
		if err != nil {
			// One key's damage must not blind the watch to all the others.
			e.damaged(id, err)
			b = &baseline{}
		}
		e.keys[id] = &learned{baseline: b, used: e.turn, dirty: err != nil}
	}
	return nil
}

func (e *Engine) damaged(id relay.KeyID, err error) {
	if e.cfg.Damaged != nil {
		e.cfg.Damaged(id, err)
	}
}

// of is a key's baseline, rolled on to a moment.
func (e *Engine) of(id relay.KeyID, c clock) *baseline {
	l := e.keys[id]
	if l == nil {
		l = &learned{baseline: &baseline{}}
		e.keys[id] = l
	}
	l.used, l.dirty = e.turn, true
	l.roll(c)
	return l.baseline
}

// clock is a moment in the time zone of an account.
func (e *Engine) clock(account relay.AccountID, at time.Time) clock {
	zone := time.UTC
	if e.cfg.Account != nil {
		if a, ok := e.cfg.Account(account); ok {
			zone = relay.Zone(a.TimeZone)
		}
	}
	return clockAt(at, zone)
}

// scene is what a rule looks at beside the baseline.
type scene struct {
	clock
	e       *Engine
	tenant  relay.Tenant
	key     relay.KeyID
	account relay.WatchSettings
}

func (e *Engine) scene(t relay.Tenant, key relay.KeyID, at time.Time) scene {
	s := scene{clock: e.clock(t.Account, at), e: e, tenant: t, key: key}
	if e.cfg.Settings != nil {
		s.account = e.cfg.Settings(t.Account)
	}
	return s
}

// set is how the account wants a rule; on is false where it is switched off.
func (s *scene) set(r relay.WatchRule) (set relay.WatchRuleSetting, on bool) {
	set = s.account.Rule(r)
	return set, !set.Off && (len(s.e.cfg.Only) == 0 || slices.Contains(s.e.cfg.Only, r))
}

// floor is the least number of a rule: the account's, or the rule's own.
func floor(set relay.WatchRuleSetting, own float64) float64 {
	if set.Floor > 0 {
		return float64(set.Floor)
	}
	return own
}

// event takes one event in.
func (e *Engine) event(ev *relay.Event) {
	s := e.scene(ev.Tenant, ev.Key, ev.At)
	if ev.Kind == relay.EventAlert {
		if d := read(ev); d.Alert != nil {
			s.alert(d.Alert)
		}
		return
	}
	if ev.Key.IsZero() {
		return // mail of our own, and of the operator
	}
	switch ev.Kind {
	case relay.EventReceived:
		d := read(ev)
		b := e.of(ev.Key, s.clock)
		if d.Source != nil && d.Source.Addr.IsValid() {
			s.use(b, &use{at: ev.At, addr: d.Source.Addr, protocol: d.Source.Protocol, mechanism: d.Source.Mechanism, tls: d.Source.TLS})
		}
		s.mail(b, ev, &d)
	case relay.EventDelivered:
		s.end(e.of(ev.Key, s.clock), ev, nil)
	case relay.EventBounced:
		d := read(ev)
		s.end(e.of(ev.Key, s.clock), ev, &d)
	}
}

// login takes one login record in.
func (e *Engine) login(l *relay.Login) {
	s := e.scene(l.Tenant, l.Key, l.At)
	if l.Result == relay.LoginCanary {
		s.canary(l.Addr.Unmap().String(), l.Protocol, l.Mechanism, "")
		return
	}
	if l.Result != relay.LoginOK {
		s.failure(l)
		return
	}
	if l.Key.IsZero() {
		return // a person
	}
	b := e.of(l.Key, s.clock)
	if b.Logins < 1<<31 {
		b.Logins++
	}
	s.use(b, &use{at: l.At, addr: l.Addr, protocol: l.Protocol, mechanism: l.Mechanism, tls: l.TLS, login: true})
}

// use runs the rules about from where and how a key is used.
func (s *scene) use(b *baseline, u *use) {
	if u.addr.IsValid() {
		o := s.e.origin(u.addr)
		s.travel(b, &o)
		s.network(b, &o)
		s.places(b, &o)
	}
	s.downgrade(b, u)
}

// mail runs the rules about what a key sends.
func (s *scene) mail(b *baseline, ev *relay.Event, d *detail) {
	n := max(len(d.Recipients), 1)
	b.Mails++
	b.send(n, s.slot)
	s.late(b)
	s.burst(b)
	s.recipients(b, d.Recipients)
}

// end runs the rules about what becomes of it; d is nil for a delivery.
func (s *scene) end(b *baseline, ev *relay.Event, d *detail) {
	bounced, unknown := d != nil, d != nil && d.noSuchUser()
	for _, r := range []*ratio{&b.BounceHour, &b.BounceDay} {
		r.All++
		if bounced {
			r.Kind++
		}
	}
	for _, r := range []*ratio{&b.UnknownHour, &b.UnknownDay} {
		r.All++
		if unknown {
			r.Kind++
		}
	}
	if bounced {
		s.unknown(b, ev, d)
		s.bounces(b, ev, d)
	}
}
