package v3

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"postern/internal/httpx"
	"postern/internal/relay"
)

type subuserIPs struct {
	IPs []string `json:"ips"`
}

// setSubuserIPs is the one route whose body is an array.
func (a *API) setSubuserIPs(c *Call) error {
	if err := httpx.WantJSON(c.R); err != nil {
		return err
	}
	body, err := c.Body()
	if err != nil {
		return err
	}
	// As a member of an object it meets the checks that every body meets.
	var in subuserIPs
	if err := httpx.ParseJSON([]byte(`{"ips":`+string(body)+`}`), &in); err != nil {
		return err
	}
	if in.IPs == nil {
		return invalid("ips", "A list of addresses is expected.")
	}
	var pool relay.Pool
	if len(in.IPs) > 0 {
		if pool, err = a.poolWith(c, in.IPs); err != nil {
			return err
		}
	}
	err = a.editSubuser(c, func(s *relay.Subuser) error {
		s.DefaultPool = pool.ID
		return nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, in)
}

// usablePools are those that the account's mail may leave from: its own first.
func (a *API) usablePools(c *Call) ([]relay.Pool, error) {
	all, err := a.Subusers.Pools(c.R.Context())
	if err != nil {
		return nil, err
	}
	var own, shared []relay.Pool
	for _, p := range all {
		switch {
		case !p.DisabledAt.IsZero():
		case p.Account == c.Tenant.Account:
			own = append(own, p)
		case p.Account.IsZero():
			shared = append(shared, p)
		}
	}
	return append(own, shared...), nil
}

// poolWith finds the pool that has exactly these addresses. An address of nobody's
// pool and one of another account's are answered alike.
func (a *API) poolWith(c *Call, ips []string) (relay.Pool, error) {
	if len(ips) > maxEntries {
		return relay.Pool{}, invalid("ips", "More than %d addresses.", maxEntries)
	}
	wanted := make(map[netip.Addr]string, len(ips))
	for i, s := range ips {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return relay.Pool{}, invalid("ips."+strconv.Itoa(i), "Not an IP address.")
		}
		wanted[addr.Unmap()] = s
	}
	pools, err := a.usablePools(c)
	if err != nil {
		return relay.Pool{}, err
	}
	var names []string
	for _, p := range pools {
		have := addressesOf(&p)
		if sameAddresses(have, wanted) {
			return p, nil
		}
		if len(have) > 0 && len(names) < 10 {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return relay.Pool{}, invalid("ips", "The account has no pool with addresses. Leave ips empty; mail then leaves from the account's own pool.")
	}
	return relay.Pool{}, invalid("ips", "No pool of the account has exactly these addresses. Its pools with addresses are: %s. Leave ips empty for the account's own pool.", strings.Join(names, ", "))
}

// addressesOf are the addresses that a pool's mail may leave from now.
func addressesOf(p *relay.Pool) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, x := range p.Addresses {
		if x.DisabledAt.IsZero() {
			out[x.Address] = true
		}
	}
	return out
}

// addressTexts are those addresses as they are written, in order.
func addressTexts(p *relay.Pool) (out []string) {
	for _, addr := range slices.SortedFunc(maps.Keys(addressesOf(p)), netip.Addr.Compare) {
		out = append(out, addr.String())
	}
	return out
}

func sameAddresses(have map[netip.Addr]bool, wanted map[netip.Addr]string) bool {
	for addr := range wanted {
		if !have[addr] {
			return false
		}
	}
	return len(have) == len(wanted)
}
