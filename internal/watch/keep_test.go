package watch

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/relay"
	"postern/internal/store"
)

// eventful is a history with many programs and things that happen.
func eventful(t testing.TB, seed uint64) *world {
	w := newWorld(t, seed)
	names := slices.Sorted(maps.Keys(shapes))
	var all []*program
	for i, name := range names {
		p := w.program(name, fmt.Sprintf("192.0.%d.7", i))
		w.run(p, shapes[name], 0, 60)
		all = append(all, p)
	}
	for i, p := range all {
		at := 45 + float64(i)/3
		w.login(p, w.at(at, 1), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
		w.login(p, w.at(at, 2), netip.AddrFrom4([4]byte{100, byte(i), 1, 1}), relay.LoginWrong)
		w.login(p, w.at(50, 2), netip.AddrFrom4([4]byte{100, byte(i), 1, 1}), relay.LoginWrong)
		p.Fresh, p.Bounce = 1, 0.7
		w.send(p, w.at(at+1, 3), 400)
	}
	return w
}

// memory keeps what an engine wants kept.
type memory struct {
	keys     map[relay.KeyID][]byte
	shared   []byte
	findings map[relay.WatchID]relay.WatchFinding
}

func (m *memory) load(_ context.Context, ids []relay.KeyID) (map[relay.KeyID][]byte, error) {
	out := map[relay.KeyID][]byte{}
	for _, id := range ids {
		if text, ok := m.keys[id]; ok {
			out[id] = text
		}
	}
	return out, nil
}

func (m *memory) keep(t testing.TB, e *Engine) {
	c, err := e.Changes()
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(m.keys, c.Keys)
	if c.Shared != nil {
		m.shared = c.Shared
	}
	for _, f := range c.Findings {
		m.findings[f.ID] = f
	}
	e.Saved()
}

func (m *memory) all() []relay.WatchFinding {
	out := slices.Collect(maps.Values(m.findings))
	sortFindings(out)
	return out
}

// inBatches runs a history through engines: a new one, from what was kept, with
// the chance restart after each batch.
func inBatches(t testing.TB, w *world, rnd *rand.Rand, restart float64, maxKeys int) []relay.WatchFinding {
	t.Helper()
	m := &memory{keys: map[relay.KeyID][]byte{}, findings: map[relay.WatchID]relay.WatchFinding{}}
	begin := func() *Engine {
		e := w.engine(withAtlas, func(c *Config) { c.Load, c.MaxKeys = m.load, maxKeys })
		open := slices.DeleteFunc(m.all(), func(f relay.WatchFinding) bool { return f.State != relay.WatchOpen })
		e.Restore(m.shared, open)
		return e
	}
	e := begin()
	items := merge(w.events, w.logins)
	for len(items) > 0 {
		n := min(len(items), 1+rnd.IntN(5000))
		var events []relay.Event
		var logins []store.StoredLogin
		for _, i := range items[:n] {
			if i.event != nil {
				events = append(events, *i.event)
			} else {
				logins = append(logins, *i.login)
			}
		}
		items = items[n:]
		if _, err := e.Observe(t.Context(), events, logins); err != nil {
			t.Fatal(err)
		}
		m.keep(t, e)
		if rnd.Float64() < restart {
			e = begin()
		}
	}
	for id, text := range m.keys {
		if len(text) > maxBaseline {
			t.Errorf("%s has %d octets", w.keys[id].Name, len(text))
		}
	}
	return m.all()
}

// TestRestartsChangeNothing: whether the process lived on, was started anew at
// any place, or had no room for all keys, the findings are the same.
func TestRestartsChangeNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		w := eventful(t, seed)
		rnd := rand.New(rand.NewPCG(seed, 1))
		want := inBatches(t, w, rnd, 0, 0)
		if len(want) < 20 {
			t.Fatalf("%d findings: the history is too quiet to say anything", len(want))
		}
		for name, restart := range map[string]float64{"restarts": 0.5, "no restart": 0} {
			if d := cmp.Diff(want, inBatches(t, w, rnd, restart, 3)); d != "" {
				t.Errorf("%s, seed %d: %s", name, seed, d)
			}
		}
	}
}

// TestBounded: what a stranger can make a key, an account and an address
// remember has an end.
func TestBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p := w.program("loud", "192.0.2.7")
	e := w.engine(func(c *Config) { c.Places = everywhere{} })
	for i := range 40000 {
		at := w.at(float64(i)/400, 0)
		addr := netip.AddrFrom4([4]byte{byte(i), byte(i >> 8), byte(i >> 16), 1})
		d := relay.EventData{Source: &relay.Source{Addr: addr, Protocol: "ESMTPSA", TLS: "TLSv1.3", Mechanism: fmt.Sprint("SCRAM-", i)}}
		for j := range 5 {
			d.Recipients = append(d.Recipients, fmt.Sprintf("r%d.%d@example.test", i, j))
		}
		w.event(p, relay.EventReceived, at, "", d)
		w.login(p, at, addr, relay.LoginOK)
		q := *p
		q.Account.ID[3], q.Account.ID[4], q.Account.ID[5] = byte(i), byte(i>>8), byte(i>>16)
		q.Key = relay.KeyID{}
		w.login(&q, at, addr, relay.LoginWrong)
	}
	if _, err := e.Observe(t.Context(), w.events, w.logins); err != nil {
		t.Fatal(err)
	}
	text, err := e.keys[p.Key].encode()
	if err != nil || len(text) > maxBaseline {
		t.Errorf("a baseline of %d octets, %v", len(text), err)
	}
	if len(e.share.Accounts) > maxFailing || len(e.share.Sources) > maxSources || len(e.open) > maxOpen {
		t.Errorf("%d accounts, %d addresses, %d findings", len(e.share.Accounts), len(e.share.Sources), len(e.open))
	}
	back, err := decodeBaseline(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.encode(); err != nil || string(again) != string(text) {
		t.Error("a baseline is another one when it was read back")
	}
}

// everywhere has an own place for every address.
type everywhere struct{}

func (everywhere) Look(a netip.Addr) (Place, bool) {
	b := a.As4()
	return Place{Country: fmt.Sprintf("%c%c", 'A'+b[0]%26, 'A'+b[1]%26), City: fmt.Sprint("City with a long name of its own ", b[0]), Lat: float64(b[0]) - 90, Lon: float64(b[1]), Located: true,
		ASN: uint(b[0])<<16 | uint(b[1])}, true
}

// TestDecide: dismissing teaches, or does not; confirming keeps strange what is.
func TestDecide(t *testing.T) {
	t.Parallel()
	for _, c := range incidents {
		if c.rule == relay.WatchCanary || c.rule == relay.WatchTravel || c.shape == "weekly" || c.shape == "pool" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			p := w.program("shop", "192.0.2.7")
			w.run(p, shapes[c.shape], 0, 80)
			before := *p
			c.happen(w, p)
			var change []func(*Config)
			if c.atlas {
				change = append(change, withAtlas)
			}
			e := w.engine(change...)
			fs, err := e.Observe(t.Context(), w.events, w.logins)
			if err != nil {
				t.Fatal(err)
			}
			f := w.only(fs, c.rule, p.Key)
			f.State, f.Teach = relay.WatchDismissed, true
			if err := e.Decide(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if n := len(e.Open()); n != 0 {
				t.Errorf("%d findings are open", n)
			}
			// The same, once more, on the next day: nothing to say.
			serial := p.serial
			*p = before
			p.serial = serial // new recipients are other ones than last time
			w.events, w.logins = nil, nil
			w.start = w.start.Add(2 * 24 * time.Hour)
			c.happen(w, p)
			again, err := e.Observe(t.Context(), w.events, w.logins)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range again {
				if f.Rule == c.rule {
					t.Errorf("again: %s", f.Text)
				}
			}
		})
	}
}

// TestConfirmedStaysStrange: what was real is reported again when it comes back.
func TestConfirmedStaysStrange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p := w.program("shop", "192.0.2.7")
	w.run(p, shapes["office"], 0, 60)
	w.login(p, w.at(60, 10), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	e := w.engine(withAtlas)
	fs, _ := e.Observe(t.Context(), w.events, w.logins)
	f := w.only(fs, relay.WatchNetwork, p.Key)
	f.State = relay.WatchConfirmed
	if err := e.Decide(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	w.logins = nil
	w.login(p, w.at(61, 10), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	fs, _ = e.Observe(t.Context(), nil, w.logins)
	w.only(fs, relay.WatchNetwork, p.Key)
}

// TestSettings: a rule that is off says nothing; a margin and a floor count.
func TestSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  relay.WatchRuleSetting
		want int
	}{
		"default": {relay.WatchRuleSetting{}, 1},
		"off":     {relay.WatchRuleSetting{Off: true}, 0},
		"wider":   {relay.WatchRuleSetting{Margin: 10}, 0},
		"floor":   {relay.WatchRuleSetting{Floor: 500}, 0},
		"stop":    {relay.WatchRuleSetting{Answer: relay.WatchStop}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			p := w.program("shop", "192.0.2.7")
			w.run(p, shapes["office"], 0, 60)
			w.send(p, w.at(60, 11), 300)
			fs := w.watch(func(cfg *Config) {
				cfg.Settings = func(relay.AccountID) relay.WatchSettings {
					return relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchBurst: c.set}}
				}
			})
			if len(fs) != c.want {
				t.Errorf("%d findings, want %d", len(fs), c.want)
			}
			for _, f := range fs {
				if want := (&relay.WatchSettings{Rules: map[relay.WatchRule]relay.WatchRuleSetting{relay.WatchBurst: c.set}}).Rule(relay.WatchBurst).Answer; f.Answer != want {
					t.Errorf("answer %s, want %s", f.Answer, want)
				}
			}
		})
	}
}
