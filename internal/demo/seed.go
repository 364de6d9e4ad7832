package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/internal/api"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/sender"
	"postern/internal/store"
)

// seedStore is what seeding writes to; *store.Store is one.
type seedStore interface {
	CreateAccount(ctx context.Context, by store.By, a relay.Account) error
	Accounts(ctx context.Context) ([]relay.Account, error)
	CreatePool(ctx context.Context, by store.By, p relay.Pool) error
	Pools(ctx context.Context) ([]relay.Pool, error)
	CreateKey(ctx context.Context, by store.By, k relay.Key) error
	sender.DomainStore
}

// seeded is who lives in the demo's world.
type seeded struct {
	domains []tenantDomain
	key     string // a key of the customer, in the clear
}

// tenantDomain is a domain with its DKIM keys.
type tenantDomain struct {
	relay.Domain
	keys []relay.DKIMKey
}

// by is who the change log names.
var by = store.By{Who: "postern demo", From: "command line"}

// seed makes the accounts, domains and a key, or those that are missing: a
// directory may be a demo's from before. The key is always new, because the
// secret of an old one is known to nobody.
func seed(ctx context.Context, st seedStore, domains *sender.Domains, now time.Time) (seeded, error) {
	if err := seedPool(ctx, st, now); err != nil {
		return seeded{}, fmt.Errorf("make pool: %w", err)
	}
	var out seeded
	var owner relay.AccountID
	for _, t := range []struct {
		account string
		system  bool
		domain  sender.NewDomain
	}{
		{"postern", true, sender.NewDomain{Name: hostname, System: true}},
		{"acme", false, sender.NewDomain{Name: customer, ReturnPath: "bounces." + customer}},
		{"globex", false, sender.NewDomain{Name: stranger, ReturnPath: "bounces." + stranger}},
	} {
		id, err := seedAccount(ctx, st, relay.Account{
			Name: t.account, OwnerEmail: "operator@" + inbox, TimeZone: "UTC", System: t.system, CreatedAt: now,
		})
		if err != nil {
			return seeded{}, fmt.Errorf("make account %s: %w", t.account, err)
		}
		t.domain.Account, t.domain.Assert, t.domain.Ed25519 = id, true, true
		d, err := seedDomain(ctx, domains, t.domain)
		if err != nil {
			return seeded{}, fmt.Errorf("make domain %s: %w", t.domain.Name, err)
		}
		out.domains = append(out.domains, d)
		if t.domain.Name == customer {
			owner = id
		}
	}
	key, err := api.GenerateKey(api.NewKey{Name: "demo " + now.Format(time.RFC3339)}, relay.Tenant{Account: owner}, secret.DefaultPrefix, now)
	if err != nil {
		return seeded{}, err
	}
	if err := st.CreateKey(ctx, by, key.Key); err != nil {
		return seeded{}, fmt.Errorf("make key: %w", err)
	}
	out.key = key.APIKey
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
