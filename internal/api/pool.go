package api

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// NewPool is a request for a pool.
type NewPool struct {
	Account                string       `json:"account"` // id or name; "": any account may use it
	Name                   string       `json:"name"`
	Addresses              []NewAddress `json:"addresses"` // empty: the system chooses
	TLS                    string       `json:"tls"`
	ReturnPathPerRecipient bool         `json:"return_path_per_recipient"`
	// Warmup: addresses that no pool has are warmed up from now on.
	Warmup bool `json:"warmup"`
}

// NewAddress is one source address of a pool.
type NewAddress struct {
	Address string `json:"address"`
	Helo    string `json:"helo"` // "": the relay's host name
}

// Addresses is a request to give a pool other addresses.
type Addresses struct {
	Addresses []NewAddress `json:"addresses"`
	// Warmup: addresses that no pool has are warmed up from now on.
	Warmup bool `json:"warmup"`
}

func (a *admin) listPools(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	ref := q.text("account")
	if err := q.end(); err != nil {
		return err
	}
	pools, err := a.Pools.Pools(r.Context())
	if err != nil {
		return err
	}
	if ref != "" {
		account, err := a.account(r.Context(), "account", ref)
		if err != nil {
			return err
		}
		pools = slices.DeleteFunc(pools, func(p relay.Pool) bool { return p.Account != account.ID && !p.Account.IsZero() })
	}
	return reply(w, listOf(pools))
}

func (a *admin) addPool(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in NewPool
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	if err := checkName("name", in.Name); err != nil {
		return err
	}
	now := a.Now().UTC()
	pool := relay.Pool{ID: relay.PoolID{ID: relay.NewID(now)}, Name: in.Name, ReturnPathPerRecipient: in.ReturnPathPerRecipient, CreatedAt: now}
	if in.Account != "" {
		account, err := a.account(r.Context(), "account", in.Account)
		if err != nil {
			return err
		}
		pool.Account = account.ID
	}
	if pool.TLS, err = tlsLevel("tls", in.TLS); err != nil {
		return err
	}
	if pool.Addresses, err = a.addresses(in.Addresses, in.Warmup); err != nil {
		return err
	}
	if err := a.Pools.CreatePool(r.Context(), who, pool); err != nil {
		return err
	}
	if in.Warmup { // an address that has a pool stays as it is
		if pool, err = a.pool(r.Context(), "pool", pool.ID.String(), relay.AccountID{}); err != nil {
			return err
		}
	}
	return created(w, pool)
}

// addresses checks the addresses of a pool. warmup: those that are new are to be
// warmed up.
func (a *admin) addresses(in []NewAddress, warmup bool) ([]relay.PoolAddress, error) {
	if len(in) > maxEntries {
		return nil, invalid("addresses", "More than %d addresses.", maxEntries)
	}
	var up relay.Warmup
	if warmup {
		up.Since = a.Now().UTC().Truncate(time.Microsecond)
	}
	var out []relay.PoolAddress
	for i, x := range in {
		field := "addresses." + strconv.Itoa(i)
		addr, err := netip.ParseAddr(x.Address)
		switch {
		case err != nil || addr.Zone() != "":
			return nil, invalid(field+".address", "%q is not an IP address.", x.Address)
		case addr.Is4In6():
			return nil, invalid(field+".address", "%q is an IPv4 address in IPv6 form; write it as IPv4.", x.Address)
		case addr.IsUnspecified() || addr.IsMulticast():
			return nil, invalid(field+".address", "%q is no address to send from.", x.Address)
		}
		helo := x.Helo
		if helo == "" {
			helo = a.Hostname
		}
		if !ehlo.MatchString(helo) || len(helo) > 253 {
			return nil, invalid(field+".helo", "%q is not a full host name.", helo)
		}
		if slices.ContainsFunc(out, func(o relay.PoolAddress) bool { return o.Address == addr }) {
			return nil, invalid(field+".address", "%s is there twice.", addr)
		}
		out = append(out, relay.PoolAddress{Address: addr, Helo: helo, Warmup: up})
	}
	return out, nil
}

func (a *admin) showPool(w http.ResponseWriter, r *http.Request) error {
	p, err := a.pool(r.Context(), "pool", r.PathValue("pool"), relay.AccountID{})
	if err != nil {
		return err
	}
	return reply(w, p)
}

func (a *admin) setPoolAddresses(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in Addresses
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	addresses, err := a.addresses(in.Addresses, in.Warmup)
	if err != nil {
		return err
	}
	if err := a.editPool(r, who, func(p *relay.Pool) { p.Addresses = addresses }); err != nil {
		return err
	}
	return a.showPool(w, r)
}

// editPool changes the pool that the path names, on what another node has made of it
// where that was faster.
func (a *admin) editPool(r *http.Request, who store.By, edit func(*relay.Pool)) error {
	return store.Again(func() error {
		was, err := a.pool(r.Context(), "pool", r.PathValue("pool"), relay.AccountID{})
		if err != nil {
			return err
		}
		p := was
		edit(&p)
		return a.Pools.SwapPool(r.Context(), who, was, p)
	})
}

func (a *admin) switchPool(w http.ResponseWriter, r *http.Request) error {
	disabled, err := onOff(r)
	if err != nil {
		return err
	}
	who, err := by(r)
	if err != nil {
		return err
	}
	p, err := a.pool(r.Context(), "pool", r.PathValue("pool"), relay.AccountID{})
	if err != nil {
		return err
	}
	if err := a.Pools.SetPoolDisabled(r.Context(), who, p.ID, disabled); err != nil {
		return err
	}
	return a.showPool(w, r)
}

// pool finds a pool by id or name. With an owner only its own and shared pools
// exist, its own first; without, a name that several accounts use is ambiguous.
func (a *admin) pool(ctx context.Context, field, ref string, owner relay.AccountID) (relay.Pool, error) {
	all, err := a.Pools.Pools(ctx)
	if err != nil {
		return relay.Pool{}, err
	}
	var found []relay.Pool
	for _, p := range all {
		if !owner.IsZero() && p.Account != owner && !p.Account.IsZero() {
			continue
		}
		if p.ID.String() == ref {
			return p, nil
		}
		if p.Name == ref {
			found = append(found, p)
		}
	}
	if len(found) > 1 && !owner.IsZero() {
		found = slices.DeleteFunc(found, func(p relay.Pool) bool { return p.Account != owner })
	}
	switch len(found) {
	case 0:
		return relay.Pool{}, notFound(field, "pool", ref)
	case 1:
		return found[0], nil
	}
	return relay.Pool{}, &relay.Error{Kind: relay.Conflict, Field: field, Public: "Several accounts have a pool " + quoteRef(ref) + "; use the id."}
}
