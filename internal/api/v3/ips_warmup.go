package v3

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// WarmupStore keeps which addresses are being warmed up; *store.Store is one.
type WarmupStore interface {
	// StartWarmup: relay.NotFound where no pool has the address, relay.Conflict where
	// it is being warmed up already.
	StartWarmup(ctx context.Context, by store.By, address netip.Addr, since, now time.Time) error
	// StopWarmup: relay.NotFound where it is not.
	StopWarmup(ctx context.Context, by store.By, address netip.Addr) error
}

const warmupPath = "/v3/ips/warmup"

// A warm-up belongs to an address, whichever pools have it. An account sees those
// of its own and of the shared pools, and changes those of addresses that only
// its own have; the others are the operator's.
var warmupRoutes = []Route{
	{
		Method: http.MethodGet, Pattern: warmupPath, Scope: "ips.warmup.read", ParentOnly: true, AnyAccount: true,
		Summary: "List the addresses that are being warmed up",
		Answers: map[int]any{200: []warmupView{}}, Handler: (*API).listWarmups,
	},
	{
		Method: http.MethodPost, Pattern: warmupPath, Scope: "ips.warmup.create", ParentOnly: true, AnyAccount: true,
		Summary: "Warm an address up: for 41 days it sends only so much an hour to each destination. An address that is being warmed up goes on as it is",
		Body:    warmupRequest{}, Answers: map[int]any{200: []warmupView{}}, Handler: (*API).startWarmup,
	},
	{
		Method: http.MethodGet, Pattern: warmupPath + "/{ip_address}", Scope: "ips.warmup.read", ParentOnly: true, AnyAccount: true,
		Summary: "Show how far the warm-up of an address is",
		Answers: map[int]any{200: []warmupView{}}, Handler: (*API).showWarmup,
	},
	{
		Method: http.MethodDelete, Pattern: warmupPath + "/{ip_address}", Scope: "ips.warmup.delete", ParentOnly: true, AnyAccount: true,
		Summary: "End the warm-up of an address: from now on it sends without a limit of its own",
		Answers: map[int]any{204: nil}, Handler: (*API).stopWarmup,
	},
}

type warmupRequest struct {
	IP        string `json:"ip" v3:"required"`
	StartDate int64  `json:"start_date,omitempty" doc:"Unix seconds, for an address that began elsewhere; none: now"`
}

// earliestWarmup is how long ago a warm-up may be said to have begun.
const earliestWarmup = 365 * 24 * time.Hour

type warmupView struct {
	IP        string `json:"ip"`
	StartDate int64  `json:"start_date" doc:"Unix seconds"`
	warmupStage
	Pools    []string `json:"pools" doc:"names"`
	Warnings []string `json:"warnings,omitempty"`
}

// warmupStage is how far a warm-up is.
type warmupStage struct {
	Day     int       `json:"day" doc:"from 0; the days that were held are not counted"`
	Days    int       `json:"days" doc:"when it is over"`
	PerHour int       `json:"per_hour" doc:"recipients for each destination site"`
	Held    int       `json:"held_days" doc:"on which it did not grow, because receivers had refused too much on the day before"`
	Until   time.Time `json:"until" doc:"if every day goes well"`
}

func stageOf(w relay.Warmup, now time.Time) warmupStage {
	return warmupStage{Day: w.Day(now), Days: relay.WarmupDays, PerHour: w.Allowance(now), Held: w.Held, Until: w.Until().UTC()}
}

// placed is an address with the pools that have it.
type placed struct {
	addr   netip.Addr
	warmup relay.Warmup
	pools  []relay.Pool // that the caller may see
	// foreign: a pool has it that is not the account's own.
	foreign bool
}

// addressesInPools are the addresses of the pools that the caller may see, in
// order.
func (a *API) addressesInPools(c *Call) ([]placed, error) {
	all, err := a.Subusers.Pools(c.R.Context())
	if err != nil {
		return nil, err
	}
	at := map[netip.Addr]*placed{}
	for _, p := range all {
		for _, x := range p.Addresses {
			addr := x.Address.Unmap()
			if at[addr] == nil {
				at[addr] = &placed{addr: addr, warmup: x.Warmup}
			}
			f := at[addr]
			own := p.Account == c.Tenant.Account && !p.Account.IsZero()
			f.foreign = f.foreign || !own
			if own || p.Account.IsZero() || c.Operator && c.Tenant.Account.IsZero() {
				f.pools = append(f.pools, p)
			}
		}
	}
	var out []placed
	for _, f := range at {
		if len(f.pools) > 0 {
			out = append(out, *f)
		}
	}
	slices.SortFunc(out, func(x, y placed) int { return x.addr.Compare(y.addr) })
	return out, nil
}

// findAddress finds an address that the caller may see. What is no address is
// answered like one that nobody has.
func (a *API) findAddress(c *Call, text string) (placed, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return placed{}, notFound()
	}
	all, err := a.addressesInPools(c)
	if err != nil {
		return placed{}, err
	}
	i := slices.IndexFunc(all, func(f placed) bool { return f.addr == addr.Unmap() })
	if i < 0 {
		return placed{}, notFound()
	}
	return all[i], nil
}

// mayWarm refuses to let an account change what others depend on.
func (c *Call) mayWarm(f *placed) error {
	if c.Operator || !f.foreign {
		return nil
	}
	return refused("ip", "Others send from this address, too. Its warm-up is for the operator to begin and to end.")
}

func (f *placed) view(now time.Time) warmupView {
	v := warmupView{IP: f.addr.String(), StartDate: f.warmup.Since.Unix(), warmupStage: stageOf(f.warmup, now), Pools: []string{}}
	for _, p := range f.pools {
		v.Pools = append(v.Pools, p.Name)
	}
	return v
}

// warnings are the pools in which no warm address is left beside this one.
func (f *placed) warnings(now time.Time) []string {
	var names []string
	for _, p := range f.pools {
		if !slices.ContainsFunc(p.Addresses, func(x relay.PoolAddress) bool {
			return x.Address.Unmap() != f.addr && x.DisabledAt.IsZero() && !x.Warmup.Warming(now) && x.Address.Unmap().Is4() == f.addr.Is4()
		}) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	family := "IPv4"
	if f.addr.Is6() {
		family = "IPv6"
	}
	return []string{fmt.Sprintf("No warm %s address is left in %s. Mail beyond what %s may send in an hour waits for another hour, and is returned to its sender if it waits longer than its life.",
		family, strings.Join(names, ", "), f.addr)}
}

func (a *API) listWarmups(c *Call) error {
	all, err := a.addressesInPools(c)
	if err != nil {
		return err
	}
	out := []warmupView{}
	for _, f := range all {
		if f.warmup.Warming(c.Now) {
			out = append(out, f.view(c.Now))
		}
	}
	return c.JSON(http.StatusOK, out)
}

func (a *API) showWarmup(c *Call) error {
	f, err := a.findAddress(c, c.R.PathValue("ip_address"))
	if err != nil {
		return err
	}
	if !f.warmup.Warming(c.Now) {
		return notFound()
	}
	return c.JSON(http.StatusOK, []warmupView{f.view(c.Now)})
}

func (a *API) startWarmup(c *Call) error {
	var in warmupRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.IP == "" {
		return invalid("ip", "This is required: the address to warm up.")
	}
	since := c.Now.UTC().Truncate(time.Microsecond)
	if in.StartDate != 0 {
		// The bounds are checked as numbers: any others would wrap as times.
		if in.StartDate > c.Now.Unix() || in.StartDate < c.Now.Add(-earliestWarmup).Unix() {
			return invalid("start_date", "A warm-up begins now, or began within the last %d days.", earliestWarmup/(24*time.Hour))
		}
		since = time.Unix(in.StartDate, 0).UTC()
	}
	f, err := a.findAddress(c, in.IP)
	if err != nil {
		return err
	}
	if err := c.mayWarm(&f); err != nil {
		return err
	}
	if !f.warmup.Warming(c.Now) {
		if f.warmup = (relay.Warmup{Since: since}); !f.warmup.Warming(c.Now) {
			return invalid("start_date", "A warm-up that began then is over: the address is warm.")
		}
		if err := a.Warmups.StartWarmup(c.R.Context(), c.By, f.addr, since, c.Now); err != nil {
			return hidden(err)
		}
	}
	v := f.view(c.Now)
	v.Warnings = f.warnings(c.Now)
	return c.JSON(http.StatusOK, []warmupView{v})
}

func (a *API) stopWarmup(c *Call) error {
	f, err := a.findAddress(c, c.R.PathValue("ip_address"))
	if err != nil {
		return err
	}
	if !f.warmup.Warming(c.Now) {
		return notFound()
	}
	if err := c.mayWarm(&f); err != nil {
		return err
	}
	if err := a.Warmups.StopWarmup(c.R.Context(), c.By, f.addr); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}
