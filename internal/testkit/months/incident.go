package months

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// act is something that happens in the hours of [from, to).
type act struct {
	from, to time.Time
	do       func(start time.Time)
}

// plant chooses incidents, each of another kind while there are kinds, on keys
// that have none yet, at times when it can be told from the key's usual business.
func (w *World) plant() {
	kinds := slices.Clone(Kinds)
	w.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	used := map[relay.KeyID]bool{}
	for i := range w.cfg.Incidents {
		kind := kinds[i%len(kinds)]
		day := w.cfg.Quiet + w.rng.IntN(w.cfg.Days-w.cfg.Quiet-2)
		for holiday(day) || !weekday(w.cfg.From.AddDate(0, 0, day)) {
			day = w.cfg.Quiet + w.rng.IntN(w.cfg.Days-w.cfg.Quiet-2)
		}
		w.happen(kind, w.cfg.From.AddDate(0, 0, day), used)
	}
	slices.SortFunc(w.incidents, func(a, b Incident) int { return a.From.Compare(b.From) })
}

// pick finds a key of one of the trades that is in use and has no incident.
func (w *World) pick(used map[relay.KeyID]bool, trades ...string) *sender {
	var fit []*sender
	for _, s := range w.keys {
		trade, _, _ := strings.Cut(s.name, " ")
		if !used[s.key.ID] && s.from == 0 && (len(trades) == 0 || slices.Contains(trades, trade)) && s.volume >= 0.5 {
			fit = append(fit, s)
		}
	}
	s := fit[w.rng.IntN(len(fit))]
	used[s.key.ID] = true
	return s
}

func (w *World) note(kind Kind, s *sender, from, to time.Time, place ...string) {
	in := Incident{Kind: kind, From: from, To: to, Place: place}
	if s != nil {
		in.Key, in.Name, in.Account = s.key.ID, s.name, s.key.Account
	}
	w.incidents = append(w.incidents, in)
}

func (w *World) during(from time.Time, hours int, do func(start time.Time)) time.Time {
	to := from.Add(time.Duration(hours) * time.Hour)
	w.acts = append(w.acts, act{from, to, do})
	return to
}

// happen plants one incident on a day.
func (w *World) happen(kind Kind, day time.Time, used map[relay.KeyID]bool) {
	noon := day.Add(11 * time.Hour)
	foreign := strangers[w.rng.IntN(len(strangers))]
	addr := randomIn(w.rng, foreign.net)
	there := func() netip.Addr { return addr }
	switch kind {
	case NewNetwork:
		s := w.pick(used, "shop", "crm", "printer", "backup", "alerts")
		to := w.during(noon, 2, func(start time.Time) { w.send(s, start, 2, options{addr: there}) })
		w.note(kind, s, noon, to, foreign.Country, networkOf(addr), addr.String())
	case Travel:
		s := w.pick(used, "laptop")
		to := w.during(noon, 1, func(start time.Time) {
			w.send(s, start, 3, options{to: 10 * time.Minute})
			w.send(s, start, 3, options{addr: there, from: 25 * time.Minute, to: 40 * time.Minute})
		})
		w.note(kind, s, noon, to, foreign.Country, networkOf(addr), addr.String())
	case ManyPlaces:
		s := w.pick(used, "shop", "crm", "alerts")
		to := w.during(noon, 6, func(start time.Time) {
			for range 8 {
				a := randomIn(w.rng, strangers[w.rng.IntN(len(strangers))].net)
				w.send(s, start, 1, options{addr: func() netip.Addr { return a }})
			}
		})
		w.note(kind, s, noon, to)
	case Burst:
		s := w.pick(used, "shop", "crm", "lambda")
		to := w.during(noon, 2, func(start time.Time) {
			w.send(s, start, int(12*max(w.mean(s, start), 3))+60, options{})
		})
		w.note(kind, s, noon, to)
	case NewPeople: // a thief who stays within the usual volume, at the usual place
		s := w.pick(used, "crm", "digest")
		from := noon
		if strings.HasPrefix(s.name, "digest") {
			from = day.Add(time.Duration(2+s.key0()%4) * time.Hour)
		}
		to := w.during(from, 5, func(start time.Time) { w.send(s, start, max(int(w.mean(s, start)*0.9), 12), options{fresh: true}) })
		w.note(kind, s, from, to)
	case Bounces:
		s := w.pick(used, "shop", "crm", "lambda")
		to := w.during(noon, 5, func(start time.Time) { w.send(s, start, max(int(w.mean(s, start)), 10), options{hard: 0.7}) })
		w.note(kind, s, noon, to)
	case Unknown:
		s := w.pick(used, "shop", "crm", "lambda")
		to := w.during(noon, 5, func(start time.Time) {
			w.send(s, start, max(int(w.mean(s, start)), 12), options{hard: 0.5, unknown: true, fresh: true})
		})
		w.note(kind, s, noon, to)
	case SprayAccount:
		w.sprayAccount(noon)
	case SprayAddress:
		w.sprayAddress(noon, addr, foreign)
	case Canary:
		from := noon.Add(17 * time.Minute)
		to := w.during(noon, 1, func(time.Time) {
			w.login(relay.Login{
				At: from, Mechanism: "PLAIN", Tried: w.canary.ID.String(), Key: w.canary.ID, Tenant: relay.Tenant{Account: w.canary.Account}, Addr: addr,
				Helo: "kali", TLS: tls13, Result: relay.LoginCanary,
			})
		})
		w.incidents = append(w.incidents, Incident{Kind: kind, Key: w.canary.ID, Name: w.canary.Name, Account: w.canary.Account, From: noon, To: to, Place: []string{foreign.Country, networkOf(addr), addr.String()}})
	case WeakTLS:
		s := w.pick(used, "shop", "crm", "lambda")
		o := options{tls: tls12}
		place := "1.2"
		if w.rng.IntN(2) == 0 {
			o, place = options{mech: "CRAM-MD5"}, "CRAM-MD5"
		}
		to := w.during(noon, 4, func(start time.Time) { w.send(s, start, 3, o) })
		w.note(kind, s, noon, to, place)
	case OddHours:
		s := w.pick(used, "crm", "laptop")
		night := day.Add(26 * time.Hour)
		to := w.during(night, 2, func(start time.Time) { w.send(s, start, 15, options{}) })
		w.note(kind, s, night, to)
	case DomainGone:
		w.domainGone(noon)
	}
}

func (w *World) sprayAccount(noon time.Time) {
	account := w.accounts[w.rng.IntN(len(w.accounts))]
	var ids []relay.Key
	for _, s := range w.keys {
		if s.key.Account == account.ID {
			ids = append(ids, s.key)
		}
	}
	to := w.during(noon, 3, func(start time.Time) {
		for range 60 {
			k := ids[w.rng.IntN(len(ids))]
			w.login(relay.Login{
				At: w.within(start, 0, time.Hour), Mechanism: "PLAIN", Tried: k.ID.String(), Key: k.ID, Tenant: relay.Tenant{Account: account.ID},
				Addr: randomIn(w.rng, strangers[w.rng.IntN(len(strangers))].net), Helo: "localhost", TLS: tls13, Result: relay.LoginWrong,
			})
		}
	})
	w.incidents = append(w.incidents, Incident{Kind: SprayAccount, Account: account.ID, Name: account.Name, From: noon, To: to})
}

func (w *World) sprayAddress(noon time.Time, addr netip.Addr, _ region) {
	to := w.during(noon, 2, func(start time.Time) {
		for i := range 40 {
			s := w.keys[(i*7+start.Hour())%len(w.keys)]
			w.login(relay.Login{
				At: w.within(start, 0, time.Hour), Mechanism: "LOGIN", Tried: s.key.ID.String(), Key: s.key.ID, Tenant: relay.Tenant{Account: s.key.Account},
				Addr: addr, Helo: "localhost", TLS: tls12, Result: relay.LoginWrong,
			})
		}
	})
	w.incidents = append(w.incidents, Incident{Kind: SprayAddress, From: noon, To: to, Place: []string{addr.String(), networkOf(addr)}})
}

func (w *World) domainGone(noon time.Time) {
	i := w.rng.IntN(len(w.accounts))
	domain := fmt.Sprintf("shop%d.test", i)
	to := w.during(noon, 1, func(start time.Time) {
		alert := relay.Alert{Kind: relay.AlertDomain, Text: "The records of " + domain + " are gone.", Domain: domain, State: "failing"}
		text, err := json.Marshal(relay.EventData{Reason: alert.Text, Alert: &alert})
		if err != nil {
			panic(err) // strings
		}
		w.out.Events = append(w.out.Events, relay.Event{At: w.within(start, 0, time.Hour), Kind: relay.EventAlert, Tenant: relay.Tenant{Account: w.accounts[i].ID}, N: -1, Data: text})
	})
	w.incidents = append(w.incidents, Incident{Kind: DomainGone, Account: w.accounts[i].ID, Name: w.accounts[i].Name, From: noon, To: to, Place: []string{domain}})
}
