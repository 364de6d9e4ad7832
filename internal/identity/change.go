package identity

import (
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// put and take keep an index of lists; an empty list leaves no entry behind.
func put[K comparable, T any](e *edit[K, list[T]], k K, v T, order func(a, b T) int) {
	l, _ := e.get(k)
	e.set(k, l.with(v, order))
}

func take[K comparable, T any](e *edit[K, list[T]], k K, v T, order func(a, b T) int) {
	l, ok := e.get(k)
	if !ok {
		return
	}
	if l = l.without(v, order); l.empty() {
		e.drop(k)
		return
	}
	e.set(k, l)
}

// release drops a name unless another row has taken it in the meantime: rows of
// one change come in no order, and a name may go from one to the next in it.
func release[K, V comparable](e *edit[K, V], k K, v V) {
	if got, ok := e.get(k); ok && got == v {
		e.drop(k)
	}
}

func (c *change) account(row *relay.Account) {
	a := *row
	c.system = c.system || a.System
	if old, ok := c.accounts.get(a.ID); ok {
		c.system = c.system || old.System
		release(c.accountNames, old.Name, old.ID)
		release(c.numbers, old.Number, relay.Tenant{Account: old.ID})
	}
	c.accounts.set(a.ID, &a)
	c.accountNames.set(a.Name, a.ID)
	if a.Number != 0 {
		c.numbers.set(a.Number, relay.Tenant{Account: a.ID})
	}
}

func (c *change) subuser(row *relay.Subuser) {
	s := *row
	if old, ok := c.subusers.get(s.ID); ok && old.DeletedAt.IsZero() {
		release(c.subuserNames, old.Name, old.ID)
		release(c.numbers, old.Number, relay.Tenant{Account: old.Account, Subuser: old.ID})
		take(c.subusersOf, old.Account, old, byName)
	}
	c.subusers.set(s.ID, &s)
	if !s.DeletedAt.IsZero() {
		return // the name is free again, the row stays for the records
	}
	c.subuserNames.set(s.Name, s.ID)
	if s.Number != 0 {
		c.numbers.set(s.Number, relay.Tenant{Account: s.Account, Subuser: s.ID})
	}
	put(c.subusersOf, s.Account, &s, byName)
}

func (c *change) key(k *relay.Key) {
	if old, ok := c.keys.get(k.ID); ok {
		c.index(old, take[string, *relay.Key], take[relay.Tenant, *relay.Key])
		if m := old.Match; m != nil && m.Issuer != "" {
			c.claimed(old, take[claim, *relay.Key], -1)
		}
	}
	c.keys.set(k.ID, k)
	c.index(k, put[string, *relay.Key], put[relay.Tenant, *relay.Key])
	if m := k.Match; m != nil && m.Issuer != "" {
		c.claimed(k, put[claim, *relay.Key], 1)
	}
}

// filing is put or take.
type filing[K comparable] func(*edit[K, list[*relay.Key]], K, *relay.Key, func(a, b *relay.Key) int)

// index puts a key into the indexes that it belongs in, or takes it out of them.
func (c *change) index(k *relay.Key, named filing[string], owned filing[relay.Tenant]) {
	if k.RevokedAt.IsZero() {
		owned(c.keysOf, relay.Tenant{Account: k.Account, Subuser: k.Subuser}, k, byCreation)
	}
	if k.Login != "" {
		named(c.logins, k.Login, k, byUse)
	}
	m := k.Match
	if m == nil {
		return
	}
	if m.Fingerprint != "" {
		named(c.fingerprints, m.Fingerprint, k, byUse)
	}
	if m.Name != "" {
		named(c.names, m.Name, k, byUse)
	}
	if m.Issuer != "" {
		named(c.issuers, m.Issuer, k, byUse)
	}
}

func (c *change) pool(row *relay.Pool) {
	p := *row
	if old, ok := c.pools.get(p.ID); ok {
		take(c.poolNames, old.Name, old, byPoolAge)
	}
	c.pools.set(p.ID, &p)
	put(c.poolNames, p.Name, &p, byPoolAge)
}

func (c *change) domain(row *relay.Domain) {
	d := *row
	c.system = c.system || d.System
	if old, ok := c.domains.get(d.ID); ok {
		c.system = c.system || old.System
		take(c.domainNames, old.Name, old, byOwner)
		release(c.holders, old.Name, old)
		release(c.domainTokens, old.Token, old)
		c.returnPath(old.ReturnPath, -1)
	}
	c.domains.set(d.ID, &d)
	if d.DeletedAt.IsZero() {
		put(c.domainNames, d.Name, &d, byOwner)
	}
	if d.Holds() {
		c.holders.set(d.Name, &d)
	}
	if d.Token != "" {
		c.domainTokens.set(d.Token, &d)
	}
	c.returnPath(d.ReturnPath, 1)
}

// sender files a single sender under its address if it is proven.
func (c *change) sender(row *relay.SingleSender) {
	v := *row
	if old, ok := c.senders.get(v.Number); ok {
		release(c.addresses, mailbox{old.Tenant, old.Address}, old)
	}
	c.senders.set(v.Number, &v)
	if v.DeletedAt.IsZero() && !v.VerifiedAt.IsZero() {
		c.addresses.set(mailbox{v.Tenant, v.Address}, &v)
	}
}

func (c *change) returnPath(host string, by int) {
	if host == "" {
		return
	}
	n, _ := c.returnPaths.get(host)
	if n += by; n > 0 {
		c.returnPaths.set(host, n)
		return
	}
	c.returnPaths.drop(host)
}

// dkimKeys files keys by selector. Of a full reading those of one domain come side
// by side, and make one piece of memory of the right size.
func (c *change) dkimKeys(rows []relay.DKIMKey) {
	for len(rows) > 0 {
		id, n := rows[0].Domain, 1
		for n < len(rows) && rows[n].Domain == id {
			n++
		}
		old, _ := c.dkim.get(id)
		keys := append(make([]relay.DKIMKey, 0, len(old)+n), old...)
		for _, k := range rows[:n] {
			at, found := slices.BinarySearchFunc(keys, k, func(a, b relay.DKIMKey) int { return strings.Compare(a.Selector, b.Selector) })
			if found {
				keys[at] = k
			} else {
				keys = slices.Insert(keys, at, k)
			}
		}
		c.dkim.set(id, keys)
		rows = rows[n:]
	}
}

// accessList keeps a list as long as it says anything: an emptied one may still
// be on trial, with the rules of before waiting behind it.
func (c *change) accessList(row *relay.AccessList) {
	if len(row.Rules) == 0 && row.Before == nil && !row.Monitor {
		c.access.drop(row.Tenant)
		return
	}
	l := *row
	c.access.set(l.Tenant, &l)
}

// tokens adds revoked tokens, and once a minute forgets those that have ended by
// themselves.
func (c *change) tokens(add map[relay.TokenID]time.Time, now time.Time) {
	for id, until := range add {
		if now.Before(until) {
			c.revoked.set(id, until)
		}
	}
	if now.Sub(c.swept) < time.Minute {
		return
	}
	c.swept = now
	var ended []relay.TokenID
	for id, until := range c.state.revoked.all() {
		if !now.Before(until) {
			ended = append(ended, id)
		}
	}
	for _, id := range ended {
		c.revoked.drop(id)
	}
}

// chosen finds the rows that stand for the whole installation anew, where one of
// them may have changed.
func (c *change) chosen(s *store.Snapshot) {
	if c.system { // the one reason to look at all of them
		c.sysAccount, c.sysDomain = nil, nil
		for _, a := range c.state.accounts.all() {
			if a.System && (c.sysAccount == nil || slices.Compare(a.ID.ID[:], c.sysAccount.ID.ID[:]) > 0) {
				c.sysAccount = a
			}
		}
		for _, d := range c.state.domains.all() {
			if d.System && d.DeletedAt.IsZero() && (c.sysDomain == nil || byDomainID(d, c.sysDomain) > 0) {
				c.sysDomain = d
			}
		}
	}
	if len(s.Pools) > 0 {
		// The default is the oldest usable pool that belongs to nobody in particular.
		var oldest *relay.Pool
		for _, p := range c.state.pools.all() {
			if p.Account.IsZero() && p.DisabledAt.IsZero() && (oldest == nil || byPoolAge(p, oldest) < 0) {
				oldest = p
			}
		}
		c.shared = relay.PoolID{}
		if oldest != nil {
			c.shared = oldest.ID
		}
	}
}
