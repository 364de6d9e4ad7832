package watch

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// guesses are the results of those who do not have the secret. One that is right
// and expired, or used from the wrong network, is an owner's mistake.
var guesses = []relay.LoginResult{
	relay.LoginWrong, relay.LoginUnknown, relay.LoginThrottled, relay.LoginPassword, relay.LoginToken,
}

// failure runs the rules about failed logins.
func (s *scene) failure(l *relay.Login) {
	if !l.Addr.IsValid() || !slices.Contains(guesses, l.Result) {
		return
	}
	// A key's own networks do not count: they have an old secret.
	if k := s.e.keys[l.Key]; k != nil {
		o := s.e.origin(l.Addr)
		if m := k.Networks.find(o.wide.String()); m != nil && !m.Odd {
			return
		}
	}
	s.e.share.dirty = true
	addr := hostOf(l.Addr)
	s.spread(l, addr)
	s.sweep(l, addr)
}

// hostOf is the address as far as one party is taken to hold it: an IPv4 address,
// an IPv6 /64.
func hostOf(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}

const (
	spreadHour = 8  // addresses in an hour
	spreadDay  = 20 // and in a day
)

// spread looks for failures on one account from many addresses: many machines
// guess together, so that each stays below what shuts it out.
func (s *scene) spread(l *relay.Login, addr string) {
	if l.Account.IsZero() {
		return
	}
	f := s.e.share.account(l.Account, s.clock)
	if !note(&f.InDay, addr, maxAddrs) && !note(&f.InHour, addr, maxAddrs) {
		return
	}
	note(&f.InHour, addr, maxAddrs)
	if !l.Key.IsZero() && len(f.Keys) < 8 && !slices.Contains(f.Keys, l.Key) {
		f.Keys = append(f.Keys, l.Key)
	}
	set, on := s.set(relay.WatchSpread)
	own := floor(set, spreadHour)
	hour, whole := math.Max(own, set.Margin*(3*float64(f.Hours.Max)+5)), math.Max(own*spreadDay/spreadHour, set.Margin*(3*float64(f.Days.Max)+10))
	n, limit, span := len(f.InHour), hour, "an hour"
	if float64(n) < hour {
		n, limit, span = len(f.InDay), whole, "a day"
	}
	if !on || float64(n) < limit {
		return
	}
	f.Odd = true
	s.reportSpread(l, f, n, limit, span)
}

func (s *scene) reportSpread(l *relay.Login, f *failing, n int, limit float64, span string) {
	about := *s
	about.tenant, about.key = relay.Tenant{Account: l.Account}, relay.KeyID{}
	on := "on its keys"
	if len(f.Keys) == 1 {
		about.key = f.Keys[0]
		about.tenant = l.Tenant
		on = "on " + lowerFirst(about.theKey())
	}
	// The finding of the account grows, whichever key it was opened for.
	var grows *relay.WatchFinding
	for k, old := range s.e.open {
		if k.rule == relay.WatchSpread && k.tenant.Account == l.Account && s.at.Sub(old.LastAt) < day && (grows == nil || old.ID.String() > grows.ID.String()) {
			about.key, about.tenant, grows = k.key, k.tenant, old
		}
	}
	o := s.e.origin(l.Addr)
	p := o.show()
	tried := ""
	if l.Tried != "" {
		tried = " (tried: " + printable(l.Tried, 60) + ")"
	}
	about.report(relay.WatchFinding{
		Rule: relay.WatchSpread, Severity: relay.WatchWarning,
		Title: fmt.Sprintf("Logins on account %s fail from %d addresses", s.e.accountName(l.Account), n),
		Text: fmt.Sprintf("Logins on the account %s failed from %d different addresses in %s until %s, %s%s; the last was %s. Usually there are %s. So many do not mistype: somebody guesses with many machines.",
			s.e.accountName(l.Account), n, span, s.when(), on, tried, placeWords(p), number(math.Ceil(float64(f.Days.Mean)))),
		Fix: "No login has succeeded by this. Restrict keys to your networks, or the account by IP access; rotate a key whose id was tried again and again.",
		Evidence: relay.WatchEvidence{Expected: math.Ceil(limit), Seen: float64(n), Unit: "addresses in " + span, Places: []relay.WatchPlace{p},
			Times: []time.Time{s.at.UTC()}, Samples: sampleOf(l)},
	})
}

const (
	sweepAccounts = 4
	sweepTried    = 15
)

// sweep looks for one address that fails on many accounts.
func (s *scene) sweep(l *relay.Login, addr string) {
	share := &s.e.share
	src := share.source(addr, s.at.Unix())
	src.Count += max(l.Count, 1)
	fresh := false
	if !l.Account.IsZero() && note(&src.Accounts, l.Account.String(), maxTargets) {
		fresh = true
		if len(src.Names) < maxSamples {
			src.Names = append(src.Names, s.e.accountName(l.Account))
		}
	}
	if l.Tried != "" && note(&src.Tried, l.Tried, maxTargets) {
		fresh = true
		if l.Account.IsZero() && len(src.Names) < maxSamples {
			src.Names = append(src.Names, printable(l.Tried, 60))
		}
	}
	if !fresh || slices.Contains(share.Allowed, addr) {
		return
	}
	operator := *s
	operator.tenant, operator.key, operator.account = relay.Tenant{}, relay.KeyID{}, relay.WatchSettings{}
	if s.e.cfg.Settings != nil {
		operator.account = s.e.cfg.Settings(relay.AccountID{})
	}
	set, on := operator.set(relay.WatchSweep)
	accounts, tried := float64(len(src.Accounts)), float64(len(src.Tried))
	if !on || accounts < floor(set, sweepAccounts)*set.Margin && tried < floor(set, sweepTried)*set.Margin {
		return
	}
	o := s.e.origin(l.Addr)
	p := o.show()
	operator.report(relay.WatchFinding{
		Rule: relay.WatchSweep, Subject: addr, Severity: relay.WatchWarning,
		Title: fmt.Sprintf("Address %s tries logins of %d accounts", addr, max(len(src.Accounts), len(src.Tried))),
		Text: fmt.Sprintf("From the address %s %s logins failed within a day until %s, on %d accounts and with %d different ids: %s. One address has no business with so many.",
			placeWords(p), number(float64(src.Count)), s.when(), len(src.Accounts), len(src.Tried), strings.Join(src.Names, ", ")),
		Fix: "It is shut out by itself when it goes on. `postern access ban` shuts it out at once; look whether it ever logged in.",
		Evidence: relay.WatchEvidence{Expected: sweepAccounts, Seen: math.Max(accounts, tried), Unit: "accounts or ids in a day", Places: []relay.WatchPlace{p},
			Times: []time.Time{s.at.UTC()}, Samples: slices.Clone(src.Names), Values: map[string]float64{"accounts": accounts, "tried": tried, "failures": float64(src.Count)}},
	})
}

func sampleOf(l *relay.Login) []string {
	if l.Tried == "" {
		return nil
	}
	return []string{printable(l.Tried, 100)}
}
