// Package sender decides as whom a principal may send, keeps the domains that
// make it so, and signs what leaves in their name.
//
// The decision is made in one place, May, on addresses that one strict parser
// read from the exact octets that will leave. Its one invariant: an address that
// is not under a usable domain of the principal's own account is never allowed.
// DESIGN.md beside this file has the rules.
package sender

import (
	"strings"

	"postern/internal/message"
	"postern/internal/relay"
	"postern/internal/smtp"
)

// Directory is what sender needs to know; *identity.Directory has it.
type Directory interface {
	DomainFor(t relay.Tenant, name string) (relay.Domain, bool)
	Domain(id relay.DomainID) (relay.Domain, bool)
	System() (relay.Account, relay.Domain, bool)
	DKIMKeys(id relay.DomainID) []relay.DKIMKey
}

// Rule names why a decision came out as it did. A closed set, for records.
type Rule string

// The rules.
const (
	Allowed       Rule = "allowed"
	NotOwned      Rule = "domain not proven" // no usable domain of the account covers it
	KeyRestricted Rule = "outside the key's senders"
)

// Decision is what May says, and why.
type Decision struct {
	Allowed bool
	Domain  relay.Domain // whose keys sign the message: that of From
	Rule    Rule
	Field   string // From, Sender, Resent-From: the one that decided
	Address string
}

// May decides whether a principal may send a message whose header says what id
// says. Every mailbox in it must be allowed: From, Sender, and the Resent- ones.
// The envelope sender plays no part: it is rewritten, and where the account may
// not use it, no DSN goes there (see MayNotify).
func May(d Directory, p *relay.Principal, id message.Identity) Decision {
	from := judge(d, p, "From", id.From.Address)
	if !from.Allowed {
		return from
	}
	if !id.Sender.Address.IsZero() {
		if s := judge(d, p, "Sender", id.Sender.Address); !s.Allowed {
			return s
		}
	}
	for _, m := range id.Resent {
		if r := judge(d, p, "Resent-From", m.Address); !r.Allowed {
			return r
		}
	}
	return from
}

func judge(d Directory, p *relay.Principal, field string, a smtp.Address) Decision {
	dec := Decision{Field: field, Address: a.String(), Rule: NotOwned}
	domain, ok := d.DomainFor(p.Tenant, a.ASCIIDomain())
	if !ok {
		return dec
	}
	if p.Key != nil && !listed(p.Key.Senders, a) {
		dec.Rule = KeyRestricted
		return dec
	}
	dec.Allowed, dec.Rule, dec.Domain = true, Allowed, domain
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
// under a usable domain of the tenant. Anything else would be backscatter.
func MayNotify(d Directory, t relay.Tenant, addr string) bool {
	a, err := smtp.ParseAddress(addr, true)
	if err != nil {
		return false
	}
	_, ok := d.DomainFor(t, a.ASCIIDomain())
	return ok
}
