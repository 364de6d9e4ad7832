package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// world makes a history: logins and events, in the order of time.
type world struct {
	t      testing.TB
	rnd    *rand.Rand
	start  time.Time
	events []relay.Event
	logins []store.StoredLogin
	keys   map[relay.KeyID]relay.Key
	zone   string
}

// began is a Monday.
var began = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, seed uint64) *world {
	return &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), start: began, keys: map[relay.KeyID]relay.Key{}}
}

// program is a key with the habits of what uses it.
type program struct {
	relay.Tenant
	Key   relay.KeyID
	Addrs []string
	Helo  string
	Mech  string
	TLS   string
	// Known recipients, and the chance that one is new.
	Known int
	Fresh float64
	// Bounce and Unknown are chances.
	Bounce, Unknown float64
	serial          int
}

func (w *world) program(name string, addrs ...string) *program {
	n := len(w.keys) + 1
	id := func(kind byte, n int) (id relay.ID) { id[0], id[14], id[15] = kind, byte(n>>8), byte(n); return id }
	p := &program{Tenant: relay.Tenant{Account: relay.AccountID{ID: id(1, (n+9)/10)}}, Key: relay.KeyID{ID: id(2, n)}, Addrs: addrs,
		Helo: "app.test", Mech: "PLAIN", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256", Known: 200, Fresh: 0.02, Bounce: 0.01, Unknown: 0.005}
	w.keys[p.Key] = relay.Key{ID: p.Key, Account: p.Account, Name: name}
	return p
}

func (w *world) at(days, hours float64) time.Time {
	return w.start.Add(time.Duration(days*24*float64(time.Hour)) + time.Duration(hours*float64(time.Hour)))
}

func (w *world) addr(p *program) netip.Addr {
	return netip.MustParseAddr(p.Addrs[w.rnd.IntN(len(p.Addrs))])
}

// login records one login.
func (w *world) login(p *program, at time.Time, addr netip.Addr, result relay.LoginResult) {
	w.logins = append(w.logins, store.StoredLogin{ID: int64(len(w.logins) + 1), Login: relay.Login{At: at, Protocol: "smtp", Mechanism: p.Mech, Tried: p.Key.String(), Key: p.Key,
		Tenant: p.Tenant, Addr: addr, TLS: p.TLS, Helo: p.Helo, Result: result, Count: 1}})
}

func (w *world) recipient(p *program) string {
	if w.rnd.Float64() < p.Fresh {
		p.serial++
		return fmt.Sprintf("new%d@%x.test", p.serial, p.Key.ID[14:])
	}
	return fmt.Sprintf("known%d@%x.test", w.rnd.IntN(p.Known), p.Key.ID[14:])
}

// send hands in n recipients in an hour, some at a time, with their ends.
func (w *world) send(p *program, at time.Time, n int) {
	addr := w.addr(p)
	w.login(p, at, addr, relay.LoginOK)
	per := max(1, n/20)
	for sent := 0; sent < n; {
		k := min(per, n-sent)
		when := at.Add(time.Duration(float64(sent) / float64(n) * 50 * float64(time.Minute)))
		d := relay.EventData{Source: &relay.Source{Addr: addr, Protocol: "ESMTPSA", TLS: p.TLS, Mechanism: p.Mech}}
		for range k {
			d.Recipients = append(d.Recipients, w.recipient(p))
		}
		w.event(p, relay.EventReceived, when, "", d)
		for _, r := range d.Recipients {
			switch x := w.rnd.Float64(); {
			case x < p.Unknown:
				w.event(p, relay.EventBounced, when.Add(time.Second), r, relay.EventData{Code: 550, Enhanced: "5.1.1", Reply: "550 5.1.1 user unknown"})
			case x < p.Unknown+p.Bounce:
				w.event(p, relay.EventBounced, when.Add(time.Second), r, relay.EventData{Code: 554, Enhanced: "5.7.1", Reply: "554 5.7.1 rejected"})
			default:
				w.event(p, relay.EventDelivered, when.Add(time.Second), r, relay.EventData{})
			}
		}
		sent += k
	}
}

func (w *world) event(p *program, kind relay.EventKind, at time.Time, rcpt string, d relay.EventData) {
	data, err := json.Marshal(d)
	if err != nil {
		w.t.Fatal(err)
	}
	w.events = append(w.events, relay.Event{Epoch: 1, Seq: int64(len(w.events) + 1), At: at, Kind: kind, Tenant: p.Tenant, Key: p.Key, N: -1, Recipient: rcpt, Data: data})
}

// spread draws a number around a mean: Poisson, with its variance times over.
func (w *world) spread(mean, over float64) int {
	if mean <= 0 {
		return 0
	}
	x := mean + w.rnd.NormFloat64()*math.Sqrt(mean*over)
	if mean < 20 { // Knuth
		l, k, p := math.Exp(-mean), 0, w.rnd.Float64()
		for p > l {
			k++
			p *= w.rnd.Float64()
		}
		return k
	}
	return max(0, int(x))
}

// engine makes one that knows the world's names.
func (w *world) engine(change ...func(*Config)) *Engine {
	cfg := Config{Key: func(id relay.KeyID) (relay.Key, bool) { k, ok := w.keys[id]; return k, ok }}
	if w.zone != "" {
		cfg.Account = func(relay.AccountID) (relay.Account, bool) { return relay.Account{TimeZone: w.zone}, true }
	}
	for _, f := range change {
		f(&cfg)
	}
	return New(cfg)
}

// watch runs an engine over the history and returns all findings.
func (w *world) watch(change ...func(*Config)) []relay.WatchFinding {
	w.t.Helper()
	fs, err := w.engine(change...).Observe(context.Background(), w.events, w.logins)
	if err != nil {
		w.t.Fatal(err)
	}
	return fs
}

// only checks that there is exactly one finding, of a rule and a key.
func (w *world) only(fs []relay.WatchFinding, rule relay.WatchRule, key relay.KeyID) relay.WatchFinding {
	w.t.Helper()
	if len(fs) != 1 || fs[0].Rule != rule || fs[0].Key != key {
		for _, f := range fs {
			w.t.Logf("%s %s: %s", f.FirstAt, f.Rule, f.Text)
		}
		w.t.Fatalf("%d findings, want one of %s about %s", len(fs), rule, key)
	}
	return fs[0]
}

func (w *world) none(fs []relay.WatchFinding) {
	w.t.Helper()
	for _, f := range fs {
		w.t.Errorf("%s %s: %s", f.FirstAt.Format(time.DateTime), f.Rule, f.Text)
	}
}
