package months

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"time"

	"postern/internal/relay"
)

const (
	tls13 = "TLSv1.3 TLS_AES_128_GCM_SHA256"
	tls12 = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
)

// shape is how much mail a key sends at an hour, in messages on average, without
// chance. day counts from the start.
type shape func(s *sender, day int, at time.Time) float64

// sender is one key and what stands behind it.
type sender struct {
	key       relay.Key
	name      string
	shape     shape
	volume    float64 // the shape's size
	growth    float64 // a day, as a factor
	spread    float64 // of chance beyond Poisson's
	perMail   int     // recipients a message at most
	audience  int     // people it writes to
	regular   float64 // share of mail to the first fiftieth of them
	turnover  float64 // new people a message
	hard      float64 // share that bounces for ever, of it unknownShare for unknown people
	soft      float64
	addrs     func(w *World, at time.Time) netip.Addr
	home      region
	helo      string
	tls, mech string
	domain    string
	next      int  // of new people
	from      int  // first day that it is used on
	days      bool // works by day only, on working days
	phase     float64
}

func weekday(at time.Time) bool { return at.Weekday() != time.Saturday && at.Weekday() != time.Sunday }

// holiday: two public holidays in the months, and a long weekend.
func holiday(day int) bool { return day == 33 || day == 36 || day == 60 || day == 61 || day == 84 }

func diurnal(s *sender, day int, at time.Time) float64 {
	h := float64(at.Hour()) + s.phase
	v := 0.15 + 0.85*math.Max(0, math.Sin((h-5)/24*2*math.Pi))
	if !weekday(at) {
		v *= 0.7
	}
	if holiday(day) {
		v *= 0.6
	}
	return v
}

func office(_ *sender, day int, at time.Time) float64 {
	if !weekday(at) || holiday(day) || at.Hour() < 7 || at.Hour() > 17 {
		return 0
	}
	return [...]float64{0.4, 0.9, 1.2, 1.2, 0.9, 0.6, 1, 1.2, 1, 0.8, 0.4}[at.Hour()-7]
}

func nightly(s *sender, _ int, at time.Time) float64 {
	if at.Hour() != 2+s.key0()%4 {
		return 0
	}
	return 1
}

func weekly(s *sender, _ int, at time.Time) float64 {
	if int(at.Weekday()) != 1+s.key0()%4 || at.Hour() != 9+s.key0()%3 {
		return 0
	}
	return 1
}

func monthly(s *sender, day int, at time.Time) float64 {
	first := at.Day() == 1 && weekday(at) || at.Day() <= 3 && at.Weekday() == time.Monday
	if first && (at.Hour() == 6 || at.Hour() == 7) {
		return 1
	}
	return 0.01 * office(s, day, at)
}

func alwaysOn(*sender, int, time.Time) float64 { return 1 }

func (s *sender) key0() int { return int(s.key.ID.ID[15]) }

// newSender makes the i-th key: its trade, its size, its place.
func (w *World) newSender(i int) *sender {
	r := w.rng
	account := w.accounts[i%len(w.accounts)]
	home := homes[(i+r.IntN(2))%len(homes)]
	s := &sender{
		home: home, growth: 1 + r.NormFloat64()*0.002, spread: 0.15 + r.Float64()*0.3, perMail: 1, tls: tls13, mech: "PLAIN",
		domain: fmt.Sprintf("shop%d.test", i%len(w.accounts)), hard: 0.004 + r.Float64()*0.01, soft: 0.02, regular: 0.2, phase: float64(r.IntN(3)) - 1,
	}
	s.key = relay.Key{ID: relay.KeyID{ID: w.id(w.cfg.From)}, Account: account.ID, Kind: relay.KeyAPI, CreatedAt: w.cfg.From, Scopes: []string{relay.ScopeMailSend}}
	base := randomIn(r, home.net)
	near, _ := base.Prefix(24)
	s.addrs = func(w *World, _ time.Time) netip.Addr { return base }
	trade := []string{"shop", "crm", "printer", "invoices", "newsletter", "alerts", "lambda", "laptop", "backup", "digest"}[i%10]
	s.helo = fmt.Sprintf("%s-%d.internal", trade, i)
	big := math.Exp(r.NormFloat64() * 0.7)
	switch trade {
	case "shop":
		s.shape, s.volume, s.audience, s.turnover = diurnal, 4*big, 2000, 0.6
		second := randomIn(r, near)
		deploy := 20 + r.IntN(60)
		s.addrs = func(w *World, at time.Time) netip.Addr { // two servers; one is replaced in its network
			if w.rng.IntN(2) == 0 {
				return base
			}
			if w.day(at) > deploy {
				return randomIn(w.rng, netip.PrefixFrom(near.Addr(), 28))
			}
			return second
		}
	case "crm":
		s.shape, s.volume, s.audience, s.turnover, s.regular, s.days = office, 5*big, 600, 0.08, 0.3, true
	case "printer":
		s.shape, s.volume, s.audience, s.regular, s.days, s.tls, s.mech = office, 0.7*big, 25, 0.8, true, tls12, "LOGIN"
	case "invoices":
		s.shape, s.volume, s.audience, s.turnover, s.regular = monthly, 90*big, 500, 0.03, 0
	case "newsletter":
		s.shape, s.volume, s.audience, s.turnover, s.regular, s.perMail, s.hard = weekly, 120*big, 1500, 0.03, 0, 1, 0.012
	case "alerts":
		s.shape, s.volume, s.audience, s.regular, s.spread = alwaysOn, 0.8*big, 8, 0.9, 1.2
	case "lambda":
		s.shape, s.volume, s.audience, s.turnover = diurnal, 3*big, 800, 0.4
		pool, _ := base.Prefix(20)
		s.addrs = func(w *World, _ time.Time) netip.Addr { return randomIn(w.rng, pool) }
	case "laptop":
		s.shape, s.volume, s.audience, s.turnover, s.days = office, 0.8*big, 60, 0.05, true
		other := randomIn(r, homes[(i+1)%len(homes)].net)
		s.addrs = func(w *World, at time.Time) netip.Addr { // the office, and at home two days a week
			if at.Weekday() == time.Monday || at.Weekday() == time.Friday {
				return other
			}
			return base
		}
	case "backup":
		s.shape, s.volume, s.audience, s.regular, s.spread = nightly, 6*big, 4, 1, 0.05
	case "digest":
		s.shape, s.volume, s.audience, s.turnover, s.regular = nightly, 80*big, 400, 0.01, 0
	}
	if i%17 == 16 { // some come later
		s.from = 10 + r.IntN(w.cfg.Quiet)
		s.key.CreatedAt = w.cfg.From.AddDate(0, 0, s.from)
	}
	s.name = fmt.Sprintf("%s %d", trade, i)
	s.key.Name = s.name
	s.next = s.audience
	return s
}

func (w *World) day(at time.Time) int { return int(at.Sub(w.cfg.From) / (24 * time.Hour)) }

// poisson is a number of things that happen by chance, mean on average.
func (w *World) poisson(mean float64) int {
	if mean <= 0 {
		return 0
	}
	if mean > 50 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*w.rng.NormFloat64())))
	}
	n, p, limit := 0, 1.0, math.Exp(-mean)
	for {
		if p *= w.rng.Float64(); p <= limit {
			return n
		}
		n++
	}
}

// mean is how much a key sends at an hour on average.
func (w *World) mean(s *sender, start time.Time) float64 {
	day := w.day(start)
	if day < s.from {
		return 0
	}
	return s.volume * s.shape(s, day, start) * math.Pow(s.growth, float64(day))
}

// normal is an hour of a key's usual business.
func (w *World) normal(s *sender, start time.Time) {
	mean := w.mean(s, start)
	if mean == 0 {
		return
	}
	n := w.poisson(mean * math.Exp(s.spread*w.rng.NormFloat64()-s.spread*s.spread/2))
	w.send(s, start, n, options{})
}

// options change an hour of sending.
type options struct {
	addr     func() netip.Addr
	fresh    bool    // to people it never wrote to
	hard     float64 // share that bounces; 0: as always
	unknown  bool    // all of them as unknown people
	tls      string
	mech     string
	from, to time.Duration // within the hour
}

// send is n messages of a key with their logins, and what becomes of them.
func (w *World) send(s *sender, start time.Time, n int, o options) {
	if n == 0 {
		return
	}
	if o.to == 0 {
		o.to = time.Hour
	}
	tls, mech := s.tls, s.mech
	if o.tls != "" {
		tls = o.tls
	}
	if o.mech != "" {
		mech = o.mech
	}
	left := 0
	var addr netip.Addr
	for i := range n {
		at := start.Add(o.from + time.Duration(float64(o.to-o.from)*(float64(i)+w.rng.Float64())/float64(n))).Truncate(time.Millisecond)
		if left == 0 { // a connection carries some messages
			addr, left = s.addrs(w, at), 1+w.rng.IntN(20)
			if o.addr != nil {
				addr = o.addr()
			}
			w.login(relay.Login{
				At: at, Mechanism: mech, Tried: s.key.ID.String(), Key: s.key.ID, Tenant: relay.Tenant{Account: s.key.Account}, Addr: addr, Helo: s.helo,
				TLS: tls, Result: relay.LoginOK,
			})
		}
		left--
		w.message(s, at.Add(30*time.Millisecond), relay.Source{Addr: addr, Helo: s.helo, Protocol: "ESMTPSA", TLS: tls, Mechanism: mech}, o)
	}
}

// message is one message and its end.
func (w *World) message(s *sender, at time.Time, src relay.Source, o options) {
	id := relay.MessageID{ID: w.id(at)}
	rcpt := w.recipient(s, o)
	w.event(s, relay.EventReceived, at, id, -1, "", relay.EventData{
		EnvelopeFrom: "bounce@" + s.domain, From: "hello@" + s.domain, Subject: "news", Size: 4000, Recipients: []string{rcpt}, Source: &src,
	})
	end := at.Add(400 * time.Millisecond)
	hard := s.hard
	if o.hard > 0 {
		hard = o.hard
	}
	d := relay.EventData{Attempt: 1, Host: "mx." + rcpt[len(rcpt)-9:], Code: 250, Enhanced: "2.0.0", TLS: tls13, Reply: "250 2.0.0 OK"}
	kind := relay.EventDelivered
	switch p := w.rng.Float64(); {
	case p < hard:
		kind, d.Code, d.Enhanced, d.Reply = relay.EventBounced, 554, "5.7.1", "554 5.7.1 refused by policy"
		if o.unknown || o.hard == 0 && w.rng.Float64() < 0.6 {
			d.Code, d.Enhanced, d.Reply = 550, "5.1.1", "550 5.1.1 user unknown"
		}
	case p < hard+s.soft:
		later := d
		later.Code, later.Enhanced, later.Reply, later.NextAt = 451, "4.7.1", "451 4.7.1 try again later", end.Add(5*time.Minute)
		w.event(s, relay.EventDeferred, end, id, 0, rcpt, later)
		end, d.Attempt = end.Add(5*time.Minute), 2
	}
	w.event(s, kind, end, id, 0, rcpt, d)
}

// recipient chooses whom a message goes to.
func (w *World) recipient(s *sender, o options) string {
	n := w.rng.IntN(max(s.audience, 1))
	switch {
	case o.fresh:
		return fmt.Sprintf("x%d.%d@dest%d.test", w.rng.Uint32(), n, w.rng.IntN(40))
	case w.rng.Float64() < s.regular:
		n = w.rng.IntN(s.audience/50 + 1)
	case w.rng.Float64() < s.turnover:
		n, s.next = s.next, s.next+1
	}
	return fmt.Sprintf("p%d.%d@dest%d.test", s.key0(), n, n%10)
}

func (w *World) event(s *sender, kind relay.EventKind, at time.Time, id relay.MessageID, n int, rcpt string, d relay.EventData) {
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings and numbers
	}
	w.out.Events = append(w.out.Events, relay.Event{
		At: at, Kind: kind, Tenant: relay.Tenant{Account: s.key.Account}, Key: s.key.ID, Message: id, N: n, Recipient: rcpt, Data: text,
	})
}
