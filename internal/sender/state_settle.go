package sender

import (
	"context"
	"math/rand/v2"
	"strings"

	"postern/internal/relay"
	"postern/internal/store"
)

// settle keeps a check, moves the domain's state by it, and tells those whom it
// concerns. c gets the time of the next check.
func (s *Domains) settle(ctx context.Context, by store.By, c *relay.DomainCheck) error {
	if err := s.unknownSince(ctx, c); err != nil {
		return err
	}
	was, err := s.live(ctx, c.Domain) // it may have changed while the DNS was asked
	if err != nil {
		return err
	}
	d, turn, err := s.move(ctx, by, was, *c)
	if err != nil {
		return err
	}
	c.NextAt = schedule(d, *c, s.Settings, rand.Float64())
	if err := s.Store.PutDomainCheck(ctx, *c); err != nil {
		return err
	}
	s.announce(ctx, d, turn)
	return nil
}

// unknownSince carries on for how long the DNS has not answered.
func (s *Domains) unknownSince(ctx context.Context, c *relay.DomainCheck) error {
	if !c.Unknown {
		return nil
	}
	last, err := s.Store.DomainCheck(ctx, c.Domain)
	switch {
	case relay.KindOf(err) == relay.NotFound:
	case err != nil:
		return err
	case last.Unknown && !last.UnknownSince.IsZero():
		c.UnknownSince = last.UnknownSince
		return nil
	}
	c.UnknownSince = c.At
	return nil
}

// move writes what a check means for a domain's state, and returns the domain as
// it is then.
func (s *Domains) move(ctx context.Context, by store.By, was relay.Domain, c relay.DomainCheck) (relay.Domain, Turn, error) {
	v := Judge(was, c, s.Settings)
	switch {
	case v.Prove:
		rivals := s.rivals(was)
		d, err := s.Store.ProveDomain(ctx, by, was.ID, c.At)
		if err != nil {
			return was, TurnNone, err
		}
		switch {
		case d.State == relay.DomainVerified:
			s.lapsed(ctx, rivals)
			return d, v.Turn, nil
		case d.Disputed && !was.Disputed:
			return d, TurnDisputed, nil
		}
		return d, TurnNone, nil
	case v.Change != nil:
		d, err := s.Store.SetDomainState(ctx, by, was.ID, *v.Change)
		if err != nil {
			return was, TurnNone, err
		}
		return d, v.Turn, nil
	}
	return was, TurnNone, nil
}

// rivals are domains of other accounts that a proof of d may end.
func (s *Domains) rivals(d relay.Domain) (out []relay.Domain) {
	if s.Directory == nil || d.Holds() {
		return nil
	}
	for name := d.Name; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		for _, o := range s.Directory.DomainsNamed(name) {
			if o.Account != d.Account && o.Holds() && (name == d.Name || o.Subdomains) {
				out = append(out, o)
			}
		}
	}
	return out
}

// lapsed tells the owners of those whose proof another one's has ended.
func (s *Domains) lapsed(ctx context.Context, rivals []relay.Domain) {
	for _, o := range rivals {
		d, err := s.Store.Domain(ctx, o.ID)
		if err == nil && d.State == relay.DomainFailed {
			s.announce(ctx, d, TurnFailed)
		}
	}
}

// announce tells of a turn: an alert always, and a letter unless the owner wants
// none.
func (s *Domains) announce(ctx context.Context, d relay.Domain, turn Turn) {
	if turn == TurnNone {
		return
	}
	t := relay.Tenant{Account: d.Account, Subuser: d.Subuser}
	if s.Alert != nil {
		s.Alert(t, relay.Alert{Kind: relay.AlertDomain, Domain: d.Name, State: string(turn), Text: turnText(d, turn, s.Settings)})
	}
	s.log().Info("sender: a domain's state has changed", "domain", d.Name, "turn", string(turn), "state", string(d.State))
	subject, text := turnLetter(d, turn, s.Settings)
	s.letter(ctx, d, subject, text)
}
