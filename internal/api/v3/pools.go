package v3

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
)

var poolRoutes = []Route{{
	Method: http.MethodGet, Pattern: "/v3/pools", Scope: "ips.pools.read",
	Summary: "List the pools that mail may leave from, with what waits in them and the destinations that are given a rest",
	Answers: map[int]any{200: poolList{}}, Handler: (*API).listPools,
}}

type poolList struct {
	Result []poolView `json:"result"`
}

type poolView struct {
	Name       string        `json:"name"`
	Shared     bool          `json:"shared" doc:"any account may use it"`
	Default    bool          `json:"default" doc:"of the account or subuser"`
	Disabled   bool          `json:"disabled"`
	TLS        string        `json:"tls" doc:"required, verified, or empty: as the destination has it"`
	Addresses  []poolAddress `json:"addresses" doc:"none: the system chooses"`
	Waiting    int64         `json:"waiting" doc:"recipients of the tenant"`
	BackingOff []backingOff  `json:"backing_off" doc:"destinations that the tenant has mail for"`
}

type poolAddress struct {
	Address  netip.Addr `json:"address"`
	Helo     string     `json:"helo"`
	Disabled bool       `json:"disabled"`
	State    string     `json:"state" doc:"active, warming or disabled"`
	// Warmup is there while the address is being warmed up.
	Warmup *warmupStage `json:"warmup,omitempty"`
}

type backingOff struct {
	Site   string    `json:"site"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

func (a *API) listPools(c *Call) error {
	pools, err := a.knownPools(c)
	if err != nil {
		return err
	}
	q, err := a.queues.get(c.R.Context(), a.Messages, c.Tenant, c.wide(), c.Now)
	if err != nil {
		return err
	}
	waiting, mine := map[relay.PoolID]int64{}, map[relay.Lane]bool{}
	for i := range q.Lanes {
		waiting[q.Lanes[i].Pool] += q.Lanes[i].Waiting
		mine[q.Lanes[i].Lane] = true
	}
	resting := a.resting(c, mine)
	usual := a.defaultPool(c.Tenant)
	out := poolList{Result: []poolView{}}
	for _, p := range pools {
		v := poolView{
			Name: p.Name, Shared: p.Account.IsZero(), Default: p.ID == usual, Disabled: !p.DisabledAt.IsZero(), TLS: string(p.TLS), Addresses: []poolAddress{},
			Waiting: waiting[p.ID], BackingOff: resting[p.ID],
		}
		for _, x := range p.Addresses {
			v.Addresses = append(v.Addresses, addressView(&x, c.Now))
		}
		if v.BackingOff == nil {
			v.BackingOff = []backingOff{}
		}
		out.Result = append(out.Result, v)
	}
	slices.SortFunc(out.Result, func(x, y poolView) int { return strings.Compare(x.Name, y.Name) })
	return c.JSON(http.StatusOK, out)
}

func addressView(x *relay.PoolAddress, now time.Time) poolAddress {
	v := poolAddress{Address: x.Address, Helo: x.Helo, Disabled: !x.DisabledAt.IsZero(), State: "active"}
	switch {
	case v.Disabled:
		v.State = "disabled"
	case x.Warmup.Warming(now):
		v.State = "warming"
	}
	if x.Warmup.Warming(now) {
		stage := stageOf(x.Warmup, now)
		v.Warmup = &stage
	}
	return v
}

// resting are the destinations of the tenant's lanes that are given a rest.
func (a *API) resting(c *Call, mine map[relay.Lane]bool) map[relay.PoolID][]backingOff {
	out := map[relay.PoolID][]backingOff{}
	lanes := a.Queue.Lanes()
	slices.SortFunc(lanes, func(x, y queue.LaneStatus) int { return strings.Compare(x.Lane.Site, y.Lane.Site) })
	for _, l := range lanes {
		if mine[l.Lane] && l.Until.After(c.Now) {
			out[l.Lane.Pool] = append(out[l.Lane.Pool], backingOff{Site: l.Lane.Site, Until: l.Until, Reason: restReason(l.Reason)})
		}
	}
	return out
}

// defaultPool is where a tenant's mail leaves from if nothing else is said.
func (a *API) defaultPool(t relay.Tenant) relay.PoolID {
	if s, ok := a.Directory.Subuser(t.Subuser); ok && !t.Subuser.IsZero() && !s.DefaultPool.IsZero() {
		return s.DefaultPool
	}
	account, _ := a.Directory.Account(t.Account)
	return account.DefaultPool
}

// knownPools are all that the tenant's mail may have left from: disabled ones, too.
func (a *API) knownPools(c *Call) ([]relay.Pool, error) {
	all, err := a.Subusers.Pools(c.R.Context())
	return slices.DeleteFunc(slices.Clone(all), func(p relay.Pool) bool { return !p.Account.IsZero() && p.Account != c.Tenant.Account }), err
}
