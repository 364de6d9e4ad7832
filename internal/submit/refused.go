package submit

import (
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/smtp"
)

// Refused is the refusal of a message for whom it says it is from. Paused domains
// heal by themselves: the reply is a temporary one.
type Refused struct {
	Reply    smtp.Reply
	Decision sender.Decision
}

func (r *Refused) Error() string { return r.Reply.Error() }
func (r *Refused) Unwrap() error { return r.Reply }

// May decides whether a principal may send a message, as sender.May does. A
// refusal is a *Refused; it is logged and recorded as an event, so that its owner
// can find out why.
func (s *Service) May(p *relay.Principal, m sender.Mail, src relay.Source) (sender.Decision, error) {
	d := sender.May(s.cfg.Directory, p, m)
	if d.Allowed {
		return d, nil
	}
	r := &Refused{Reply: refusalOf(d), Decision: d}
	key := relay.KeyID{}
	if p.Key != nil { // the operator has none
		key = p.Key.ID
	}
	s.cfg.Logger.Info("submit: sender refused", "account", p.Account.String(), "subuser", p.Subuser.String(),
		"key", key.String(), "field", d.Field, "address", d.Address, "rule", string(d.Rule))
	s.refusals.note(relay.Event{At: s.now(), Kind: relay.EventRefused, Tenant: p.Tenant, Key: key, N: -1}, relay.EventData{
		EnvelopeFrom: m.Envelope.String(), From: m.Header.From.Address.String(), Source: &src,
		Code: r.Reply.Code, Reply: r.Reply.String(), Rule: string(d.Rule), Field: d.Field, Address: d.Address,
	})
	return d, r
}

// refusalOf is what the client is told. Nobody learns what other accounts have;
// what can be mended by changing the message is said.
func refusalOf(d sender.Decision) smtp.Reply {
	switch d.Rule {
	case sender.Paused:
		return replyPaused
	case sender.ForeignName:
		return smtp.R(550, 5, 7, 1, "The display name in "+d.Field+" shows an address that this account may not send as")
	case sender.TrickyName:
		return smtp.R(550, 5, 7, 1, d.Field+" holds hidden characters, or some that turn text round")
	case sender.UnreadName:
		return smtp.R(550, 5, 7, 1, "The display name in "+d.Field+" is encoded so that not every program can read it; use UTF-8")
	case sender.ForeignReply:
		return smtp.R(550, 5, 7, 1, "The policy of this account binds Reply-To to addresses that it may send as")
	}
	return replyIdentity
}

var replyPaused = smtp.R(450, 4, 7, 1, "The records of the sender's domain are missing in DNS. Mail from it is taken again when they are back.")
