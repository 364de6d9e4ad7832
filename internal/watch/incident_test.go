package watch

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// atlas is a database of places for tests: by wide network.
type atlas map[string]Place

func (a atlas) Look(addr netip.Addr) (Place, bool) {
	p, _ := addr.Unmap().Prefix(16)
	v, ok := a[p.String()]
	return v, ok
}

var testAtlas = atlas{
	"192.0.0.0/16":   {Country: "DE", City: "Berlin", Lat: 52.5, Lon: 13.4, Located: true, ASN: 64496},
	"198.51.0.0/16":  {Country: "DE", City: "Hamburg", Lat: 53.6, Lon: 10.0, Located: true, ASN: 64497},
	"203.0.0.0/16":   {Country: "NG", City: "Lagos", Lat: 6.5, Lon: 3.4, Located: true, ASN: 64500},
	"198.18.0.0/16":  {Country: "FR", City: "Paris", Lat: 48.9, Lon: 2.4, Located: true, ASN: 64501},
	"198.19.0.0/16":  {Country: "US", City: "Ashburn", Lat: 39.0, Lon: -77.5, Located: true, ASN: 64496},
	"192.168.0.0/16": {Country: "IT", City: "Milano", Lat: 45.5, Lon: 9.2, Located: true, ASN: 64502},
	"100.64.0.0/16":  {Country: "DE", City: "Köln", Lat: 50.9, Lon: 7.0, Located: true, ASN: 64496},
	"169.254.0.0/16": {Country: "ES", ASN: 64503},
	"172.16.0.0/16":  {Country: "PL", ASN: 64504},
}

func withAtlas(c *Config) { c.Places = testAtlas }

// says checks that a finding's text has all of some words.
func (w *world) says(f relay.WatchFinding, words ...string) {
	w.t.Helper()
	for _, word := range words {
		if !strings.Contains(f.Text, word) {
			w.t.Errorf("the text has no %q: %s", word, f.Text)
		}
	}
	if f.Title == "" || f.Fix == "" || len(f.Title) > 160 || f.Evidence.Unit == "" && f.Rule != relay.WatchNetwork || f.Severity == "" || f.State != relay.WatchOpen || f.Answer == "" || f.ID.IsZero() {
		w.t.Errorf("incomplete: %+v", f)
	}
}

// incidents are things that must be found, each in an otherwise quiet history.
var incidents = []struct {
	name   string
	shape  string
	rule   relay.WatchRule
	atlas  bool
	happen func(w *world, p *program)
	words  []string
}{
	{"new network", "office", relay.WatchNetwork, false, func(w *world, p *program) {
		w.login(p, w.at(80, 10.5), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	}, []string{"203.0.113.9", "203.0.113.0/24", "192.0.0.0/16"}},
	{"new network of the same country", "office", relay.WatchNetwork, true, func(w *world, p *program) {
		w.login(p, w.at(80, 10.5), netip.MustParseAddr("198.51.100.9"), relay.LoginOK)
	}, []string{"Hamburg, DE, AS64497", "AS64497 before"}},
	{"new country", "office", relay.WatchNetwork, true, func(w *world, p *program) {
		w.login(p, w.at(82.8, 0), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	}, []string{"Lagos, NG", "from NG before", "DE"}},
	{"burst", "office", relay.WatchBurst, false, func(w *world, p *program) {
		w.send(p, w.at(80, 11), 400)
	}, []string{"recipients within the hour", "Thursdays between 11:00 and 12:00"}},
	{"burst at night", "diurnal", relay.WatchBurst, false, func(w *world, p *program) {
		w.send(p, w.at(80, 20.2), 150)
	}, []string{"largest hour"}},
	{"burst of a small key", "small", relay.WatchBurst, false, func(w *world, p *program) {
		w.send(p, w.at(80, 11), 60)
	}, nil},
	{"burst of a key that sends in batches", "weekly", relay.WatchBurst, false, func(w *world, p *program) {
		w.send(p, w.at(100, 11), 3000)
	}, nil},
	{"new recipients", "diurnal", relay.WatchRecipients, false, func(w *world, p *program) {
		p.Fresh = 1
		for i := range 6 {
			w.send(p, w.at(80, 9.2+float64(i)), 25)
		}
	}, []string{"never had mail from it before"}},
	{"bounces", "diurnal", relay.WatchBounces, false, func(w *world, p *program) {
		p.Bounce = 0.6
		for i := range 4 {
			w.send(p, w.at(80, 9.2+float64(i)), 25)
		}
	}, []string{"bounced"}},
	{"unknown recipients", "diurnal", relay.WatchUnknown, false, func(w *world, p *program) {
		p.Unknown = 0.5
		for i := range 4 {
			w.send(p, w.at(80, 9.2+float64(i)), 25)
		}
	}, []string{"do not exist"}},
	{"odd hours", "office", relay.WatchHours, false, func(w *world, p *program) {
		for i := range 7 {
			w.send(p, w.at(80, 3+float64(i)/10), 1)
		}
	}, []string{"08:00 and 18:00", "03:24"}},
	{"too many places", "pool", relay.WatchPlaces, false, func(w *world, p *program) {
		for i := range 60 {
			w.login(p, w.at(80, 10+float64(i)/100), netip.AddrFrom4([4]byte{100, byte(i), 1, 1}), relay.LoginOK)
			w.login(p, w.at(80, 10+float64(i)/100), netip.AddrFrom4([4]byte{101, byte(i), 1, 1}), relay.LoginOK)
		}
	}, []string{"different places"}},
	{"travel between places it knows", "steady", relay.WatchTravel, true, func(w *world, p *program) {
		w.logins = w.logins[:0]
		for d := range 80 {
			a := []string{"192.0.2.7", "203.0.113.9"}[d/2%2]
			w.login(p, w.at(float64(d), 9), netip.MustParseAddr(a), relay.LoginOK)
		}
		w.events = nil
		w.login(p, w.at(80.4, 0), netip.MustParseAddr("192.0.2.7"), relay.LoginOK)
		w.login(p, w.at(80.4, 0.5), netip.MustParseAddr("203.0.113.9"), relay.LoginOK)
	}, []string{"Lagos, NG", "Berlin", "30 minutes"}},
	{"spread", "office", relay.WatchSpread, false, func(w *world, p *program) {
		for i := range 12 {
			w.login(p, w.at(80, 10+float64(i)/60), netip.AddrFrom4([4]byte{100, byte(i), 1, 1}), relay.LoginWrong)
		}
	}, []string{"different addresses in an hour"}},
	{"canary", "office", relay.WatchCanary, false, func(w *world, p *program) {
		w.login(p, w.at(80, 10), netip.MustParseAddr("203.0.113.9"), relay.LoginCanary)
		w.alert(p, w.at(80, 10.001), relay.Alert{Kind: relay.AlertCanary, Addr: "203.0.113.9", Text: "the canary sang"})
	}, []string{"203.0.113.9", "nobody has a use"}},
	{"old TLS", "office", relay.WatchDowngrade, false, func(w *world, p *program) {
		p.TLS = "TLSv1.0 TLS_RSA_WITH_AES_128_CBC_SHA"
		w.send(p, w.at(80, 11), 2)
	}, []string{"TLS 1.0", "always had TLS 1.3"}},
	{"weak mechanism", "office", relay.WatchDowngrade, false, func(w *world, p *program) {
		p.Mech = "CRAM-MD5"
		w.send(p, w.at(80, 11), 2)
	}, []string{"CRAM-MD5", "always had PLAIN", "192.0.2.7"}},
	{"TLS 1.2 after years of 1.3", "office", relay.WatchDowngrade, false, func(w *world, p *program) {
		p.TLS = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
		w.send(p, w.at(80, 11), 2)
	}, []string{"TLS 1.2"}},
}

func (w *world) alert(p *program, at time.Time, a relay.Alert) {
	data, err := json.Marshal(relay.EventData{Reason: a.Text, Alert: &a})
	if err != nil {
		w.t.Fatal(err)
	}
	w.events = append(w.events, relay.Event{Epoch: 1, Seq: int64(len(w.events) + 1), At: at, Kind: relay.EventAlert, Tenant: p.Tenant, Key: p.Key, N: -1, Data: data})
}

// TestIncidents: each is found, once, and named.
func TestIncidents(t *testing.T) {
	t.Parallel()
	for _, c := range incidents {
		for seed := range uint64(2) {
			t.Run(fmt.Sprint(c.name, " ", seed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, seed)
				p := w.program("shop", "192.0.2.7")
				days := 80
				if c.shape == "weekly" {
					days = 100
				}
				w.run(p, shapes[c.shape], 0, days)
				c.happen(w, p)
				var change []func(*Config)
				if c.atlas {
					change = append(change, withAtlas)
				}
				fs := w.watch(change...)
				f := w.only(fs, c.rule, p.Key)
				w.says(f, append(c.words, "“shop” ("+p.Key.String()+")")...)
			})
		}
	}
}

// TestSweep: one address over many accounts is the operator's to know.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var all []*program
	for i := range 60 {
		all = append(all, w.program(fmt.Sprint("key ", i), "192.0.2.7"))
	}
	for i, p := range all {
		if i%10 != 0 {
			continue
		}
		w.login(p, w.at(1, float64(i)/60), netip.MustParseAddr("203.0.113.9"), relay.LoginWrong)
	}
	f := w.only(w.watch(withAtlas), relay.WatchSweep, relay.KeyID{})
	w.says(f, "203.0.113.9", "Lagos", "on 4 accounts")
	if !f.Account.IsZero() {
		t.Error("an account's people see what happens to others")
	}
}

// TestDomainRecordsVanish: the finding gets worse, and ends when they are back.
func TestDomainRecordsVanish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p := &program{Tenant: w.program("x").Tenant}
	state := func(hours float64, state string) {
		w.alert(p, w.at(10, hours), relay.Alert{Kind: relay.AlertDomain, Domain: "example.test", State: state, Text: "the records …"})
	}
	state(1, "failing")
	f := w.only(w.watch(), relay.WatchDomain, relay.KeyID{})
	w.says(f, "example.test", "Mail still goes")
	state(80, "paused")
	e := w.engine()
	if _, err := e.Observe(t.Context(), w.events, nil); err != nil {
		t.Fatal(err)
	}
	open := e.Open()
	if len(open) != 1 || open[0].Severity != relay.WatchCritical || open[0].Count != 2 {
		t.Errorf("paused: %+v", open)
	}
	w.events = nil
	state(90, "recovered")
	if _, err := e.Observe(t.Context(), w.events, nil); err != nil {
		t.Fatal(err)
	}
	c, err := e.Changes()
	if err != nil || len(e.Open()) != 0 || len(c.Findings) != 1 || c.Findings[0].State != relay.WatchEnded {
		t.Errorf("recovered: %+v, %v", c.Findings, err)
	}
}

// quietUses are new things that say nothing.
func TestQuietUses(t *testing.T) {
	t.Parallel()
	for name, happen := range map[string]func(w *world, p *program){
		"another /24 in the same /16": func(w *world, p *program) {
			w.login(p, w.at(80, 10), netip.MustParseAddr("192.0.99.7"), relay.LoginOK)
		},
		"another network of the same provider": func(w *world, p *program) {
			w.login(p, w.at(80, 10), netip.MustParseAddr("100.64.0.9"), relay.LoginOK)
		},
		"an expired key on many servers": func(w *world, p *program) {
			for i := range 40 {
				w.login(p, w.at(80, 10+float64(i)/60), netip.AddrFrom4([4]byte{100, byte(i), 1, 1}), relay.LoginExpired)
			}
		},
		"an old secret on its own servers": func(w *world, p *program) {
			for i := range 40 {
				w.login(p, w.at(80, 10+float64(i)/60), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), relay.LoginWrong)
			}
		},
		"one address that fails a thousand times": func(w *world, p *program) {
			for i := range 1000 {
				w.login(p, w.at(80, 10+float64(i)/1000), netip.MustParseAddr("203.0.113.9"), relay.LoginWrong)
			}
		},
		"SCRAM instead of PLAIN": func(w *world, p *program) {
			p.Mech = "SCRAM-SHA-256"
			w.send(p, w.at(80, 10), 2)
		},
		"one mail at night":                           func(w *world, p *program) { w.send(p, w.at(80, 3), 1) },
		"a batch to known recipients, twice as large": func(w *world, p *program) { w.send(p, w.at(80, 10.5), 30) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 3)
			p := w.program("shop", "192.0.2.7")
			w.run(p, shapes["office"], 0, 80)
			happen(w, p)
			w.none(w.watch(withAtlas))
		})
	}
}

// TestFindingsAreNotWatched: an alert that tells of a finding, whatever its rule, is
// read like any event and makes no finding again.
func TestFindingsAreNotWatched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	p := w.program("x")
	for i, rule := range relay.WatchRules {
		a := relay.Alert{Kind: relay.AlertWatch, Rule: rule, Severity: relay.WatchCritical, Text: "it sang", Addr: "203.0.113.9", Domain: "example.test", State: "failing"}
		w.alert(p, w.at(10, float64(i)), a)
		if i := (item{event: &w.events[len(w.events)-1]}); i.urgent() {
			t.Errorf("%s: an alert of a finding is urgent", rule)
		}
	}
	if found := w.watch(withAtlas); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}
