// Package sender decides as whom a principal may send, keeps the domains that
// make it so, and signs what leaves in their name.
//
// The decision is made in one place, May, on addresses that one strict parser
// read from the exact octets that will leave. Its one invariant: an address that
// is neither under a usable domain of the principal's own account nor a proven
// single sender of the principal's is never allowed. DESIGN.md beside this file
// has the rules.
package sender

import (
	"strings"

	"postern/internal/message"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// Directory is what the decision needs to know, from memory; *identity.Directory
// has it.
type Directory interface {
	// Covering says how a name (A-label, lower case) stands with a tenant.
	Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage)
	// SenderFor finds the proven single sender of a tenant by its canonical address.
	SenderFor(t relay.Tenant, address string) (relay.SingleSender, bool)
	Domain(id relay.DomainID) (relay.Domain, bool)
	DKIMKeys(id relay.DomainID) []relay.DKIMKey
	System() (relay.Account, relay.Domain, bool)
	Account(id relay.AccountID) (relay.Account, bool)
}

// Rule names why a decision came out as it did. A closed set, for records: those
// here, and the ways of relay.Coverage.
type Rule string

// The rules.
const (
	Allowed       Rule = Rule(relay.CoverUsable)
	AsSingle      Rule = "single sender" // allowed; of records, where Decision.Single
	NotOwned      Rule = Rule(relay.CoverNone)
	Paused        Rule = Rule(relay.CoverPaused)
	KeyRestricted Rule = "outside the key's senders"
	ForeignName   Rule = "name shows another's address"
	TrickyName    Rule = "name holds hidden characters"
	UnreadName    Rule = "name cannot be read"
	ForeignReply  Rule = "Reply-To is bound"
)

// Mail is what a decision is made on.
type Mail struct {
	// Envelope is the sender of the envelope. It may be anything: it never leaves,
	// and a DSN goes to it only where MayNotify says so. It stands in records.
	Envelope smtp.Address
	Header   message.Identity
}

// Decision is what May says, and why.
type Decision struct {
	Allowed bool
	// Domain is that whose keys sign the message and whose return path it has: that
	// of From; the system's for a single sender.
	Domain  relay.Domain
	Single  bool // From is a single sender
	Rule    Rule
	Field   string // From, Sender, Resent-From, Reply-To: the one that decided
	Address string // in it
}

// May decides whether a principal may send a message. Every mailbox that says who
// it is from must be allowed: From, Sender, and the Resent- ones, with what they
// would show beside their addresses. Reply-To is free, unless the account's policy
// binds it; no field may hold characters that hide or turn round text. It asks
// memory only.
func May(d Directory, p *relay.Principal, m Mail) Decision {
	id := &m.Header
	from := judge(d, p, "From", id.From.Address)
	if !from.Allowed {
		return from
	}
	for _, a := range id.CoAuthors {
		c := judge(d, p, "From", a.Address)
		if c.Allowed && (c.Single || from.Single) {
			// One signature must stand for all of them, and a single sender has none.
			c = Decision{Field: c.Field, Address: c.Address, Rule: NotOwned}
		}
		if !c.Allowed {
			return c
		}
	}
	if !id.Sender.Address.IsZero() {
		if s := judge(d, p, "Sender", id.Sender.Address); !s.Allowed {
			return s
		}
	}
	for _, r := range id.Resent {
		if r := judge(d, p, "Resent-From", r.Address); !r.Allowed {
			return r
		}
	}
	if refused, ok := judgeShown(d, p, id); !ok {
		return refused
	}
	return from
}

// judge decides on one mailbox.
func judge(d Directory, p *relay.Principal, field string, a smtp.Address) Decision {
	dec := Decision{Field: field, Address: a.String()}
	domain, cover := d.Covering(p.Tenant, a.ASCIIDomain())
	switch cover {
	case relay.CoverUsable:
		dec.Domain = domain
	case relay.CoverPaused, relay.CoverNotShared, relay.CoverDisabled:
		// The account has this domain: its word is before that of a mailbox in it.
		dec.Rule = Rule(cover)
		return dec
	case relay.CoverOther:
		// ID-14: the domain's owner decides, not who has a mailbox in it. That there is
		// an owner is not for others to know.
		dec.Rule = NotOwned
		return dec
	default:
		if _, ok := d.SenderFor(p.Tenant, a.Key()); !ok {
			dec.Rule = Rule(cover)
			return dec
		}
		_, dec.Domain, _ = d.System()
		dec.Single = true
	}
	if p.Key != nil && !listed(p.Key.Senders, a) {
		dec.Rule, dec.Domain, dec.Single = KeyRestricted, relay.Domain{}, false
		return dec
	}
	dec.Allowed, dec.Rule = true, Allowed
	return dec
}

// listed reports whether a list of addresses and domains covers an address. An
// entry with "@" is exactly that address, case of the local part included; one
// without is exactly that domain. An empty list covers everything.
func listed(list []string, a smtp.Address) bool {
	if len(list) == 0 {
		return true
	}
	for _, e := range list {
		if local, domain, ok := cutLast(e, "@"); ok {
			if local == a.Local() && strings.EqualFold(domain, a.ASCIIDomain()) {
				return true
			}
		} else if strings.EqualFold(e, a.ASCIIDomain()) {
			return true
		}
	}
	return false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// MayNotify reports whether a DSN may go to an envelope sender: it must be
// under a usable domain of the tenant, or a single sender of it. Anything else
// would be backscatter.
func MayNotify(d Directory, t relay.Tenant, addr string) bool {
	a, err := smtp.ParseAddress(addr, true)
	return err == nil && uses(d, t, a.Key(), a.ASCIIDomain())
}

// uses reports whether an address is one of a tenant's own, whatever a key says.
func uses(d Directory, t relay.Tenant, canonical, domain string) bool {
	switch _, cover := d.Covering(t, domain); cover {
	case relay.CoverUsable:
		return true
	case relay.CoverOther:
		return false
	}
	_, ok := d.SenderFor(t, canonical)
	return ok
}
