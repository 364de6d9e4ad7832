package auth

import (
	"context"
	"net/netip"
	"time"

	"postern/internal/relay"
)

// protocolConsole is where people log in.
const protocolConsole = "console"

// The mechanisms of people.
const (
	PersonPassword = "PASSWORD"
	PersonTOTP     = "TOTP"
	PersonRecovery = "RECOVERY"
	PersonPasskey  = "PASSKEY"
	PersonOIDC     = "OIDC"
)

// PersonTry is one try of a person to log in at the console.
type PersonTry struct {
	Addr      netip.Addr
	Agent     string
	TLS       string
	Listener  string
	Mechanism string
	Tried     string       // the user name as it was typed; the person's own where it is known
	Tenant    relay.Tenant // zero while unknown
	User      relay.UserID // zero: nobody by that name
	// Partial: the login goes on with a second factor.
	Partial bool
}

var errPersonThrottled = &relay.Error{Kind: relay.Unauthenticated, Public: textRefused}

// PersonAllowed asks the guard, before anything is computed, whether a try may be
// looked at. A refusal is recorded here. relay.RateLimited: the address is refused
// (RetryAfter tells for how long), which is no secret, or there were ten wrong
// codes within an hour. relay.Unauthenticated: the person is being guessed at;
// answer as to a wrong password, after the same work.
//
// A try of a code is counted here already, so that no number of tries at once
// gets past the limit; PersonDone takes it back when the code was right.
func (a *Authenticator) PersonAllowed(_ context.Context, t PersonTry) error {
	g := a.cfg.Guard
	if g == nil {
		return nil
	}
	now := a.cfg.Now()
	s := g.stand(t.Addr, now)
	if s.exempt {
		return nil
	}
	known := !t.User.IsZero() && !s.manual && g.knowsPerson(s.from, t.User, now)
	if s.refused() && !known {
		a.refusedUnseen(t, now)
		return refusal(s, now)
	}
	switch {
	case t.User.IsZero():
		return nil
	case t.Mechanism == PersonTOTP || t.Mechanism == PersonRecovery:
		if after := g.takeCode(t.User, known, now); after > 0 {
			a.recordPerson(t, now, relay.LoginThrottled, "too many wrong codes")
			return tooMuch(after)
		}
	case t.Mechanism == PersonPassword && !known && g.personShut(t.User, now):
		a.recordPerson(t, now, relay.LoginThrottled, "too many wrong passwords of this person")
		return errPersonThrottled
	}
	return nil
}

// refusedUnseen records a try that was not looked at. What the stranger typed, and
// how their browser is named, is left out: all of an address are one record a
// minute, however they differ, so that who is refused cannot fill the disk.
func (a *Authenticator) refusedUnseen(t PersonTry, now time.Time) {
	t.Tried, t.Agent, t.User, t.Tenant = "", "", relay.UserID{}, relay.Tenant{}
	a.recordPerson(t, now, relay.LoginThrottled, "too many failed logins from there")
}

// PersonStanding is how a try stands before a password is compared, which is work
// that others wait for.
type PersonStanding struct {
	// Address is an IPv4 address or IPv6 /64, Network the /24 or /48 around it; both
	// are zero for who comes from this machine's socket.
	Address, Network netip.Prefix
	Known            bool // the person has logged in from there, or from the network
	Failed           bool // failures of the address or the network still count
}

// PersonStanding looks up how a try stands. It decides nothing, and counts nothing.
func (a *Authenticator) PersonStanding(t PersonTry) PersonStanding {
	from := placeOf(normal(t.Addr))
	if from.kind == nowhere {
		return PersonStanding{Known: !t.User.IsZero()}
	}
	out := PersonStanding{Address: from.prefix(), Network: from.network().prefix()}
	g := a.cfg.Guard
	if g == nil {
		return out
	}
	now := a.cfg.Now()
	s := g.stand(t.Addr, now)
	out.Known = !s.manual && !t.User.IsZero() && g.knowsPerson(s.from, t.User, now)
	out.Failed = s.refused() || s.level >= 0.5
	g.networks.see(from.network(), func(n *tally) {
		out.Failed = out.Failed || n.level(now.UnixNano(), g.byNetwork.halfLife) >= float64(g.slowFrom())
	})
	return out
}

// PersonAdmitted judges an address by the access lists of a person's account and
// subuser. note names a list that only watches and would have refused.
func (a *Authenticator) PersonAdmitted(ctx context.Context, t PersonTry) (ok bool, note string) {
	ok, would := a.accessFrom(ctx, &relay.Key{Account: t.Tenant.Account, Subuser: t.Tenant.Subuser}, t.Addr, a.cfg.Now())
	if would != "" {
		note = "monitor: the " + would + " would refuse"
	}
	return ok, note
}

// PersonDone counts what a try came to and writes its record. A refusal by policy
// after the right secret (LoginAccess, LoginDisabled, LoginUnavailable) counts
// against nobody.
//
// From a refused address, only people who are known there were looked at. Whether
// somebody is must not show: the error is then the refusal of the address, to be
// answered instead; otherwise nil.
func (a *Authenticator) PersonDone(_ context.Context, t PersonTry, result relay.LoginResult, detail string) (instead error) {
	now := a.cfg.Now()
	if g := a.cfg.Guard; g != nil {
		s := g.stand(t.Addr, now)
		if result != relay.LoginOK && s.refused() {
			instead = refusal(s, now)
		}
		switch result {
		case relay.LoginOK:
			g.personIn(s, t, now)
		case relay.LoginAccess, relay.LoginDisabled, relay.LoginUnavailable:
			g.giveCode(s, t, now)
		default:
			g.personFailed(s, t, result, now)
		}
	}
	a.recordPerson(t, now, result, detail)
	if seen := result == relay.LoginOK && !t.Partial; a.cfg.Activity != nil && !t.Tenant.Account.IsZero() && (seen || result == relay.LoginAccess) {
		a.cfg.Activity.RecordAccess(relay.AccessSeen{
			Tenant: t.Tenant, Addr: normal(t.Addr), Method: "Console", Allowed: seen, FirstAt: now, LastAt: now, Count: 1,
		})
	}
	return instead
}

// refusal is what a refused address is told.
func refusal(s standing, now time.Time) error { return tooMuch(s.until.Sub(now)) }

func tooMuch(after time.Duration) error {
	return &throttled{told: relay.Error{Kind: relay.RateLimited, Public: textThrottled}, after: max(after.Round(time.Second), time.Second)}
}

// PersonKnown reports whether a person has logged in from there, or from the
// network around it, in the last 90 days. Without a guard everybody has.
func (a *Authenticator) PersonKnown(t PersonTry) bool {
	g := a.cfg.Guard
	if g == nil {
		return true
	}
	s := g.stand(t.Addr, a.cfg.Now())
	return s.from.kind == nowhere || g.knowsPerson(s.from, t.User, a.cfg.Now())
}

// PersonForgiven forgets the wrong passwords of a person who has shown in another
// way that they are themselves: a new password by a mailed link.
func (a *Authenticator) PersonForgiven(id relay.UserID) {
	if g := a.cfg.Guard; g != nil {
		g.people.see(id.ID, func(p *personTally) { p.streak, p.tally = 0, tally{} })
	}
}

func (a *Authenticator) recordPerson(t PersonTry, now time.Time, result relay.LoginResult, detail string) {
	name := tried(t.Tried)
	if !t.User.IsZero() {
		name = printable(t.Tried, 64) // a name that exists is no secret that was typed by mistake
	}
	if t.Partial && result == relay.LoginOK {
		detail = joined(detail, "the second factor follows")
	}
	a.cfg.Recorder.RecordLogin(relay.Login{
		At: now, Protocol: protocolConsole, Listener: t.Listener, Mechanism: t.Mechanism, Tried: name, Detail: printable(detail, 200),
		Tenant: t.Tenant, Addr: normal(t.Addr), Network: placeOf(t.Addr).network().String(), Helo: printable(t.Agent, 255), TLS: t.TLS,
		Result: result, Count: 1,
	})
	a.cfg.Observer(protocolConsole, result)
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
