package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/store"
)

// seedStore is what seeding writes to; *store.Store is one.
type seedStore interface {
	CreateAccount(ctx context.Context, by store.By, a relay.Account) error
	Accounts(ctx context.Context) ([]relay.Account, error)
	CreatePool(ctx context.Context, by store.By, p relay.Pool) error
	Pools(ctx context.Context) ([]relay.Pool, error)
	sender.DomainStore
}

// tenantDomain is a domain with its DKIM keys.
type tenantDomain struct {
	relay.Domain
	keys []relay.DKIMKey
}

// by is who the change log names.
var by = store.By{Who: "postern demo", From: "command line"}

// seed makes the accounts and domains, or those that an earlier attempt did not
// come to.
func seed(ctx context.Context, st seedStore, domains *sender.Domains, now time.Time) (out []tenantDomain, err error) {
	if err := seedPool(ctx, st, now); err != nil {
		return nil, fmt.Errorf("make pool: %w", err)
	}
	for _, t := range []struct {
		account string
		domain  sender.NewDomain
	}{
		{"postern", sender.NewDomain{Name: hostname, System: true}},
		{customerAccount, sender.NewDomain{Name: customer, ReturnPath: "bounces." + customer}},
		{"globex", sender.NewDomain{Name: stranger, ReturnPath: "bounces." + stranger}},
	} {
		id, err := seedAccount(ctx, st, relay.Account{
			Name: t.account, OwnerEmail: operator, TimeZone: "UTC", System: t.domain.System, CreatedAt: now,
		})
		if err != nil {
			return nil, fmt.Errorf("make account %s: %w", t.account, err)
		}
		t.domain.Account, t.domain.Assert, t.domain.Ed25519 = id, true, true
		d, err := seedDomain(ctx, domains, t.domain)
		if err != nil {
			return nil, fmt.Errorf("make domain %s: %w", t.domain.Name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// seedPool makes the pool that those use who name none; its addresses are the
// system's.
func seedPool(ctx context.Context, st seedStore, now time.Time) error {
	pools, err := st.Pools(ctx)
	if err != nil || len(pools) > 0 {
		return err
	}
	return st.CreatePool(ctx, by, relay.Pool{ID: relay.PoolID{ID: relay.NewID(now)}, Name: "default", CreatedAt: now})
}

func seedAccount(ctx context.Context, st seedStore, a relay.Account) (relay.AccountID, error) {
	all, err := st.Accounts(ctx)
	if err != nil {
		return relay.AccountID{}, err
	}
	if i := slices.IndexFunc(all, func(x relay.Account) bool { return x.Name == a.Name }); i >= 0 {
		return all[i].ID, nil
	}
	a.ID = relay.AccountID{ID: relay.NewID(a.CreatedAt)}
	return a.ID, st.CreateAccount(ctx, by, a)
}

func seedDomain(ctx context.Context, domains *sender.Domains, n sender.NewDomain) (tenantDomain, error) {
	all, err := domains.Domains(ctx)
	if err != nil {
		return tenantDomain{}, err
	}
	if i := slices.IndexFunc(all, func(d relay.Domain) bool { return d.Name == n.Name }); i >= 0 {
		keys, err := domains.DKIMKeys(ctx, all[i].ID)
		return tenantDomain{all[i], keys}, err
	}
	d, keys, err := domains.Add(ctx, by, n)
	return tenantDomain{d, keys}, err
}
