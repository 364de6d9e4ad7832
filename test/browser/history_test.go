package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postern/internal/dmarc"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// historyDays is how far back the invented history of the demo's account reaches: less
// than events are kept.
const historyDays = 27

// program is something that sends with a key of its own, as it did for weeks.
type program struct {
	name, from, helo string
	addrs            []string
	mechanism, tls   string
	subjects         []string
	mean             func(at time.Time) float64 // messages an hour
	key              relay.KeyID
}

const (
	tls13 = "TLSv1.3 TLS_AES_128_GCM_SHA256"
	tls12 = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
)

func working(at time.Time) bool {
	return at.Weekday() != time.Saturday && at.Weekday() != time.Sunday
}

// programs are those of the account whose pages are looked at.
func programs() []program {
	return []program{
		{name: "web shop", from: "shop@acme.test", helo: "web-1.acme.test", addrs: []string{"203.0.113.20", "203.0.113.21"}, mechanism: "SCRAM-SHA-256-PLUS", tls: tls13,
			subjects: []string{"Your order %d", "Your invoice %d", "Your order %d is on its way", "How was order %d?"},
			mean: func(at time.Time) float64 {
				return 0.8 + 8*math.Max(0, math.Sin(float64(at.Hour()-5)/24*2*math.Pi))
			}},
		{name: "newsletter", from: "news@acme.test", helo: "crm.acme.test", addrs: []string{"198.51.100.8"}, mechanism: "PLAIN", tls: tls13,
			subjects: []string{"What is new this week"},
			mean: func(at time.Time) float64 {
				if at.Weekday() == time.Tuesday && at.Hour() == 9 {
					return 70
				}
				return 0
			}},
		{name: "office printer", from: "scan@acme.test", helo: "printer-3", addrs: []string{"203.0.113.77"}, mechanism: "LOGIN", tls: tls12,
			subjects: []string{"Scan %d"},
			mean: func(at time.Time) float64 {
				if working(at) && at.Hour() >= 7 && at.Hour() < 17 {
					return 0.5
				}
				return 0
			}},
		{name: "monitoring", from: "alerts@acme.test", helo: "mon.acme.test", addrs: []string{"2001:db8:7::5"}, mechanism: "PLAIN", tls: tls13,
			subjects: []string{"Disk of web-%d is filling up", "web-%d is well again"},
			mean:     func(time.Time) float64 { return 0.15 }},
	}
}

// past writes a history into the store of a demo that does not run.
type past struct {
	st      *store.Store
	rng     *rand.Rand
	account relay.AccountID
	domains []relay.Domain
	waiting int
	last    relay.MessageID // of the events that wait to be written
	order   int
}

// writeHistory invents weeks of mail, logins and reports of receivers, so that the
// pages have something to show. keys are those of the programs, by name. The same day
// always gets the same history.
func writeHistory(ctx context.Context, dir, account string, keys map[string]apiKey) (err error) {
	sealer, err := secret.OpenSealer(filepath.Join(dir, "sealing.key"))
	if err != nil {
		return err
	}
	st, _, err := store.Open(ctx, store.Config{Path: filepath.Join(dir, "postern.db"), Sealer: sealer, Logger: slog.New(slog.DiscardHandler), MinFree: -1})
	if err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- st.Run(run) }()
	defer func() {
		stop()
		err = errors.Join(err, <-done, st.Close())
	}()
	p := &past{st: st, rng: rand.New(rand.NewPCG(7, 11)), order: 9000}
	if err := p.find(ctx, account); err != nil {
		return err
	}
	now := time.Now().UTC()
	for at := now.Truncate(time.Hour).AddDate(0, 0, -historyDays); at.Before(now.Add(-time.Hour)); at = at.Add(time.Hour) {
		for _, g := range programs() {
			if g.key.ID, err = relay.ParseID(keys[g.name].ID); err != nil {
				return fmt.Errorf("key of %s: %w", g.name, err)
			}
			if err := p.hour(ctx, &g, at); err != nil {
				return err
			}
		}
		p.strangers(at)
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	if err := p.reports(ctx, now); err != nil {
		return err
	}
	if s, err := st.Stats(ctx); err != nil || s.LoginsDropped > 0 {
		return fmt.Errorf("%d records found no room (%w)", s.LoginsDropped, err)
	}
	return nil
}

func (p *past) find(ctx context.Context, account string) error {
	all, err := p.st.Accounts(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(a relay.Account) bool { return a.Name == account })
	if i < 0 {
		return fmt.Errorf("no account %s", account)
	}
	p.account = all[i].ID
	p.domains, err = p.st.Domains(ctx, p.account)
	return err
}

func (p *past) tenant() relay.Tenant { return relay.Tenant{Account: p.account} }

// times is how often something happens that happens mean times on average.
func (p *past) times(mean float64) int {
	n := int(mean)
	if p.rng.Float64() < mean-float64(n) {
		n++
	}
	if mean > 1 {
		n = max(0, n+int(math.Round(p.rng.NormFloat64()*math.Sqrt(mean)/2)))
	}
	return n
}

// hour is what a program sent in one: a login for some messages at once.
func (p *past) hour(ctx context.Context, g *program, start time.Time) error {
	n := p.times(g.mean(start))
	for i := range n {
		at := start.Add(time.Duration(float64(time.Hour) * (float64(i) + p.rng.Float64()) / float64(n))).Truncate(time.Millisecond)
		addr := netip.MustParseAddr(g.addrs[p.rng.IntN(len(g.addrs))])
		if i%10 == 0 {
			p.login(relay.Login{At: at, Mechanism: g.mechanism, Tried: g.key.String(), Key: g.key, Tenant: p.tenant(), Addr: addr, Helo: g.helo, TLS: g.tls, Result: relay.LoginOK})
			p.st.RecordKeyUse(g.key, at, addr, g.mechanism, g.helo, false)
		}
		p.message(g, at, relay.Source{Addr: addr, Helo: g.helo, Protocol: "ESMTPSA", TLS: g.tls, Mechanism: g.mechanism})
		if p.waiting > 900 { // the store keeps a thousand in memory
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// message is one with its end: most are taken at once, some later, a few never.
func (p *past) message(g *program, at time.Time, src relay.Source) {
	id := relay.MessageID{ID: relay.NewID(at)}
	p.order++
	subject := g.subjects[p.rng.IntN(len(g.subjects))]
	if strings.Contains(subject, "%d") {
		subject = fmt.Sprintf(subject, p.order)
	}
	site := []string{"inbox.test", "mail.example.com", "post.example.net", "contoso.example"}[p.rng.IntN(4)]
	to := fmt.Sprintf("customer%d@%s", p.rng.IntN(400), site)
	p.event(g.key, relay.EventReceived, at, id, -1, "", relay.EventData{
		EnvelopeFrom: g.from, From: g.from, Subject: subject, Size: 3000 + p.rng.Int64N(40_000), Recipients: []string{to}, Source: &src,
	})
	end := at.Add(time.Duration(200+p.rng.IntN(1500)) * time.Millisecond)
	d := relay.EventData{Attempt: 1, Host: "mx1." + site, IP: "192.0.2.130", TLS: tls13, Code: 250, Enhanced: "2.0.0", Reply: "250 2.0.0 OK, queued"}
	switch chance := p.rng.Float64(); {
	case chance < 0.015:
		d.Code, d.Enhanced, d.Reply = 550, "5.1.1", "550 5.1.1 No such user here"
		p.event(g.key, relay.EventBounced, end, id, 0, to, d)
		return
	case chance < 0.07:
		later := d
		later.Code, later.Enhanced, later.Reply, later.NextAt = 451, "4.7.1", "451 4.7.1 Too much mail, try again later", end.Add(5*time.Minute)
		p.event(g.key, relay.EventDeferred, end, id, 0, to, later)
		end, d.Attempt = end.Add(5*time.Minute), 2
	}
	p.event(g.key, relay.EventDelivered, end, id, 0, to, d)
}

func (p *past) event(key relay.KeyID, kind relay.EventKind, at time.Time, id relay.MessageID, n int, to string, d relay.EventData) {
	data, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings and numbers
	}
	p.waiting, p.last = p.waiting+1, id
	p.st.RecordEvent(relay.Event{At: at, Kind: kind, Tenant: p.tenant(), Key: key, Message: id, N: n, Recipient: to, Data: data})
}

func (p *past) login(l relay.Login) {
	l.Protocol, l.Listener = "smtp", "submission"
	bits := 24
	if l.Addr.Is6() {
		bits = 48
	}
	network, _ := l.Addr.Prefix(bits)
	l.Network = network.String()
	p.st.RecordLogin(l)
}

// far is from where strangers come: networks that are nobody's (RFC 5737, RFC 2544,
// RFC 6598), of which months knows places.
var far = [][3]byte{{192, 0, 2}, {198, 18, 7}, {198, 19, 44}, {100, 68, 9}, {100, 84, 3}}

// strangers guess, as at every open port; and now and then a program of one's own has
// an old secret.
func (p *past) strangers(start time.Time) {
	for range p.times(0.3) {
		n := p.rng.IntN(50)
		net := far[n%len(far)]
		addr := netip.AddrFrom4([4]byte{net[0], net[1], net[2], byte(200 + n)})
		p.login(relay.Login{At: start.Add(time.Duration(p.rng.IntN(3600)) * time.Second), Tenant: p.tenant(), Mechanism: "LOGIN", Tried: "info@acme.test", Addr: addr, Helo: "ylmf-pc", TLS: tls12,
			Result: relay.LoginPassword, Count: int64(1 + p.rng.IntN(3))})
	}
	if p.rng.IntN(60) == 0 {
		p.login(relay.Login{At: start, Tenant: p.tenant(), Mechanism: "PLAIN", Tried: "an old secret", Addr: netip.MustParseAddr("203.0.113.90"), Helo: "old-server.acme.test", TLS: tls12, Result: relay.LoginWrong})
	}
}

// flush waits until what was recorded is written.
func (p *past) flush(ctx context.Context) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if found, err := p.st.MessageHistory(ctx, p.last); err == nil && len(found) > 0 {
			p.waiting = 0
			return nil
		} else if err != nil && relay.KindOf(err) != relay.NotFound {
			return err
		}
	}
	return errors.New("the history is not written")
}

// reports are what three receivers said each day of mail as the account's domain: a
// forgotten sender failed until somebody found it.
func (p *past) reports(ctx context.Context, now time.Time) error {
	i := slices.IndexFunc(p.domains, func(d relay.Domain) bool { return d.Name == "acme.test" })
	if i < 0 {
		return errors.New("no domain acme.test")
	}
	for back := historyDays; back > 0; back-- {
		day := now.Truncate(24*time.Hour).AddDate(0, 0, -back)
		for n, org := range []string{"Receiver Inc", "Post Example", "contoso.example"} {
			report := dmarc.Aggregate{Org: org, Email: "dmarc@" + []string{"receiver.example", "post.example.net", "contoso.example"}[n], ReportID: fmt.Sprintf("%s-%d", day.Format(time.DateOnly), n), Begin: day, End: day.Add(24*time.Hour - time.Second)}
			report.Published.Policy, report.Published.Domain = "none", "acme.test"
			weight := int64(60 - 18*n)
			if !working(day) {
				weight /= 2
			}
			report.Rows = append(report.Rows, row("127.0.0.1", weight+p.rng.Int64N(20), true, true))
			if back > historyDays/2 && n != 1 {
				report.Rows = append(report.Rows, row("198.51.100.200", 6+p.rng.Int64N(9), false, false))
			}
			if p.rng.IntN(3) == 0 {
				report.Rows = append(report.Rows, row("192.0.2.214", 1+p.rng.Int64N(3), false, true))
			}
			if _, err := p.st.AddAggregate(ctx, p.domains[i].ID, report.Keep(netip.AddrFrom4([4]byte{192, 0, byte(2 + n), 130}), day.Add(30*time.Hour))); err != nil {
				return err
			}
		}
	}
	return nil
}

// row is what a receiver counted of one address.
func row(addr string, n int64, spf, dkim bool) dmarc.Row {
	return dmarc.Row{Addr: netip.MustParseAddr(addr), Count: n, HeaderFrom: "acme.test", Disposition: "none", SPF: spf, DKIM: dkim}
}
