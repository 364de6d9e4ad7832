package identity

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// state is one view. It is never changed once it can be seen, and shares with
// the view before it all that did not change.
type state struct {
	revision        int64
	domainsRevision int64 // the last one that changed domains, dkim or pools

	accounts *table[relay.AccountID, *relay.Account]
	subusers *table[relay.SubuserID, *relay.Subuser]
	keys     *table[relay.KeyID, *relay.Key]
	pools    *table[relay.PoolID, *relay.Pool]
	domains  *table[relay.DomainID, *relay.Domain]
	dkim     *table[relay.DomainID, []relay.DKIMKey] // by selector
	access   *table[relay.Tenant, *relay.AccessList]
	revoked  *table[relay.TokenID, time.Time] // until when it has to be remembered

	// Indexes. Deleted subusers are in none, revoked keys only where a login may
	// name them.
	accountNames *table[string, relay.AccountID]
	subuserNames *table[string, relay.SubuserID]
	numbers      *table[int64, relay.Tenant]
	subusersOf   *table[relay.AccountID, list[*relay.Subuser]]
	keysOf       *table[relay.Tenant, list[*relay.Key]]
	logins       *table[string, list[*relay.Key]] // revoked ones too
	fingerprints *table[string, list[*relay.Key]] // revoked ones too
	names        *table[string, list[*relay.Key]] // revoked ones too
	issuers      *table[string, list[*relay.Key]] // revoked ones too
	claims       *table[claim, list[*relay.Key]]  // revoked ones too
	claimNames   *table[string, map[string]int]   // issuer → claims that keys are filed under
	poolNames    *table[string, list[*relay.Pool]]
	domainNames  *table[string, list[*relay.Domain]]  // every account that has it, disabled ones too; without deleted ones
	holders      *table[string, *relay.Domain]        // name → the one that keeps other accounts from it
	domainTokens *table[string, *relay.Domain]        // deleted ones too
	returnPaths  *table[string, int]                  // host → how many domains use it
	senders      *table[int64, *relay.SingleSender]   // deleted and unproven ones too
	addresses    *table[mailbox, *relay.SingleSender] // proven ones

	shared     relay.PoolID // the pool of those who name none
	sysDomain  *relay.Domain
	sysAccount *relay.Account
	swept      time.Time // when ended tokens were last dropped from revoked
}

func emptyState() *state {
	return &state{
		accounts: newTable[relay.AccountID, *relay.Account](func(id relay.AccountID) uint8 { return idPart(id.ID) }),
		subusers: newTable[relay.SubuserID, *relay.Subuser](func(id relay.SubuserID) uint8 { return idPart(id.ID) }),
		keys:     newTable[relay.KeyID, *relay.Key](func(id relay.KeyID) uint8 { return idPart(id.ID) }),
		pools:    newTable[relay.PoolID, *relay.Pool](func(id relay.PoolID) uint8 { return idPart(id.ID) }),
		domains:  newTable[relay.DomainID, *relay.Domain](func(id relay.DomainID) uint8 { return idPart(id.ID) }),
		dkim:     newTable[relay.DomainID, []relay.DKIMKey](func(id relay.DomainID) uint8 { return idPart(id.ID) }),
		access:   newTable[relay.Tenant, *relay.AccessList](tenantPart),
		revoked:  newTable[relay.TokenID, time.Time](func(id relay.TokenID) uint8 { return idPart(id.ID) }),

		accountNames: newTable[string, relay.AccountID](stringPart),
		subuserNames: newTable[string, relay.SubuserID](stringPart),
		numbers:      newTable[int64, relay.Tenant](numberPart),
		subusersOf:   newTable[relay.AccountID, list[*relay.Subuser]](func(id relay.AccountID) uint8 { return idPart(id.ID) }),
		keysOf:       newTable[relay.Tenant, list[*relay.Key]](tenantPart),
		logins:       newTable[string, list[*relay.Key]](stringPart),
		fingerprints: newTable[string, list[*relay.Key]](stringPart),
		names:        newTable[string, list[*relay.Key]](stringPart),
		issuers:      newTable[string, list[*relay.Key]](stringPart),
		claims:       newTable[claim, list[*relay.Key]](claimPart),
		claimNames:   newTable[string, map[string]int](stringPart),
		poolNames:    newTable[string, list[*relay.Pool]](stringPart),
		domainNames:  newTable[string, list[*relay.Domain]](stringPart),
		holders:      newTable[string, *relay.Domain](stringPart),
		domainTokens: newTable[string, *relay.Domain](stringPart),
		senders:      newTable[int64, *relay.SingleSender](numberPart),
		addresses:    newTable[mailbox, *relay.SingleSender](mailboxPart),
		returnPaths:  newTable[string, int](stringPart),
	}
}

// Orders of the lists. Each ends with the id, so that no two members are equal.
func byCreation(a, b *relay.Key) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), slices.Compare(a.ID.ID[:], b.ID.ID[:]))
}

// byUse puts keys that are not revoked first, the youngest of them first.
func byUse(a, b *relay.Key) int {
	if x, y := a.RevokedAt.IsZero(), b.RevokedAt.IsZero(); x != y {
		if x {
			return -1
		}
		return 1
	}
	return byCreation(b, a)
}

func byName(a, b *relay.Subuser) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), slices.Compare(a.ID.ID[:], b.ID.ID[:]))
}

func byPoolAge(a, b *relay.Pool) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), slices.Compare(a.ID.ID[:], b.ID.ID[:]))
}

func byDomainID(a, b *relay.Domain) int { return slices.Compare(a.ID.ID[:], b.ID.ID[:]) }

// byOwner puts the domains of one account side by side: of a name that many
// claim, the few of one account are found at once.
func byOwner(a, b *relay.Domain) int {
	return cmp.Or(slices.Compare(a.Account.ID[:], b.Account.ID[:]), byDomainID(a, b))
}

// change is a view in the making: a copy of the one before, and what of it has
// been made its own.
type change struct {
	*state
	in     *interner
	system bool // a system account or domain was or is among what changed

	accounts *edit[relay.AccountID, *relay.Account]
	subusers *edit[relay.SubuserID, *relay.Subuser]
	keys     *edit[relay.KeyID, *relay.Key]
	pools    *edit[relay.PoolID, *relay.Pool]
	domains  *edit[relay.DomainID, *relay.Domain]
	dkim     *edit[relay.DomainID, []relay.DKIMKey]
	access   *edit[relay.Tenant, *relay.AccessList]
	revoked  *edit[relay.TokenID, time.Time]

	accountNames *edit[string, relay.AccountID]
	subuserNames *edit[string, relay.SubuserID]
	numbers      *edit[int64, relay.Tenant]
	subusersOf   *edit[relay.AccountID, list[*relay.Subuser]]
	keysOf       *edit[relay.Tenant, list[*relay.Key]]
	logins       *edit[string, list[*relay.Key]]
	fingerprints *edit[string, list[*relay.Key]]
	names        *edit[string, list[*relay.Key]]
	issuers      *edit[string, list[*relay.Key]]
	claims       *edit[claim, list[*relay.Key]]
	claimNames   *edit[string, map[string]int]
	poolNames    *edit[string, list[*relay.Pool]]
	domainNames  *edit[string, list[*relay.Domain]]
	holders      *edit[string, *relay.Domain]
	domainTokens *edit[string, *relay.Domain]
	returnPaths  *edit[string, int]
	senders      *edit[int64, *relay.SingleSender]
	addresses    *edit[mailbox, *relay.SingleSender]
}

func begin(from *state, in *interner) *change {
	st := *from
	return &change{
		state: &st, in: in,
		accounts: editing(&st.accounts), subusers: editing(&st.subusers), keys: editing(&st.keys),
		pools: editing(&st.pools), domains: editing(&st.domains), dkim: editing(&st.dkim),
		access: editing(&st.access), revoked: editing(&st.revoked),
		accountNames: editing(&st.accountNames), subuserNames: editing(&st.subuserNames), numbers: editing(&st.numbers),
		subusersOf: editing(&st.subusersOf), keysOf: editing(&st.keysOf), logins: editing(&st.logins),
		fingerprints: editing(&st.fingerprints), names: editing(&st.names), issuers: editing(&st.issuers),
		claims: editing(&st.claims), claimNames: editing(&st.claimNames),
		poolNames: editing(&st.poolNames), domainNames: editing(&st.domainNames), returnPaths: editing(&st.returnPaths),
		holders: editing(&st.holders), domainTokens: editing(&st.domainTokens), senders: editing(&st.senders), addresses: editing(&st.addresses),
	}
}

// with is the view that from becomes by the rows of a snapshot. Rows may come in
// any order, and may be those that the view already has.
func (st *state) with(s *store.Snapshot, in *interner, now time.Time) *state {
	c := begin(st, in)
	for i := range s.Accounts {
		c.account(&s.Accounts[i])
	}
	for i := range s.Subusers {
		c.subuser(&s.Subusers[i])
	}
	for i := range s.Keys {
		c.key(in.key(&s.Keys[i]))
	}
	for i := range s.Pools {
		c.pool(&s.Pools[i])
	}
	for i := range s.Domains {
		c.domain(&s.Domains[i])
	}
	c.dkimKeys(s.DKIMKeys)
	for i := range s.Senders {
		c.sender(&s.Senders[i])
	}
	for i := range s.Access {
		c.accessList(&s.Access[i])
	}
	c.tokens(s.RevokedTokens, now)
	c.chosen(s)
	c.state.revision = s.Revision
	if c.domains.begun || c.dkim.begun || c.pools.begun {
		c.state.domainsRevision = s.Revision
	}
	return c.state
}
