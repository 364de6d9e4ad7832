package sender

import (
	"postern/internal/message"
	"postern/internal/message/shown"
	"postern/internal/relay"
)

// judgeShown decides on what the fields would show beside the addresses that
// judge has allowed: names that imitate an address, characters that deceive.
func judgeShown(d Directory, p *relay.Principal, id *message.Identity) (Decision, bool) {
	v := &id.Values
	own := func(local, domain string) bool { return uses(d, p.Tenant, local+"@"+domain, domain) }
	names := func(field string, value []byte) (Decision, bool) {
		fault, address := shown.Check(value, own)
		if fault == shown.Foreign && policyOf(d, p).ForeignNames {
			fault = shown.None
		}
		return Decision{Field: field, Address: address, Rule: rules[fault]}, fault == shown.None
	}
	if dec, ok := names("From", v.From); !ok {
		return dec, false
	}
	if v.Sender != nil {
		if dec, ok := names("Sender", v.Sender); !ok {
			return dec, false
		}
	}
	for _, r := range v.Resent {
		if dec, ok := names("Resent-From", r); !ok {
			return dec, false
		}
	}
	if v.ReplyTo == nil {
		return Decision{}, true
	}
	return judgeReplyTo(d, p, v.ReplyTo)
}

var rules = map[shown.Fault]Rule{
	shown.None: Allowed, shown.Foreign: ForeignName, shown.Tricks: TrickyName, shown.Unreadable: UnreadName,
}

func policyOf(d Directory, p *relay.Principal) relay.Policy {
	a, _ := d.Account(p.Account)
	return a.Policy
}

// judgeReplyTo: answers may go anywhere, but where the account's policy binds
// them. A field that cannot be read for certain is bound to nobody.
func judgeReplyTo(d Directory, p *relay.Principal, value []byte) (Decision, bool) {
	const field = "Reply-To"
	if fault, _ := shown.Check(value, nil); fault == shown.Tricks {
		return Decision{Field: field, Rule: TrickyName}, false
	}
	if !policyOf(d, p).BindReplyTo {
		return Decision{}, true
	}
	ms, err := message.ParseMailboxes(value, message.AddressLimits{Mailboxes: maxReplyTo, UTF8: true})
	if err != nil {
		return Decision{Field: field, Rule: ForeignReply}, false
	}
	for _, m := range ms {
		if dec := judge(d, p, field, m.Address); !dec.Allowed {
			dec.Rule = ForeignReply
			return dec, false
		}
	}
	return Decision{}, true
}

// maxReplyTo bounds the mailboxes of a bound Reply-To.
const maxReplyTo = 100
