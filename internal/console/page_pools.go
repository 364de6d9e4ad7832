package console

import (
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	apiPools  = "/v3/pools"
	apiWarmup = "/v3/ips/warmup"
	// oneWarmup is the route of one address.
	oneWarmup = apiWarmup + "/{ip_address}"
)

// poolPages are the pages of where mail leaves from.
var poolPages = []page{
	{Method: "GET", Pattern: "/pools", Title: "Pools", Group: "Sending", Nav: "Pools", Needs: []string{"GET " + apiPools}, Handler: onDesk(showPools)},
	{Method: "GET", Pattern: "/pools/{address}/warm-up", Title: "Warm an address up", Needs: []string{"GET " + apiPools, "POST " + apiWarmup}, Handler: onDesk(askWarmup)},
	{Method: "POST", Pattern: "/pools/{address}/warm-up", Title: "Warm an address up", Needs: []string{"POST " + apiWarmup}, Handler: onDesk(startWarmup)},
	{Method: "GET", Pattern: "/pools/{address}/warm", Title: "End a warm-up", Needs: []string{"GET " + apiPools, "DELETE " + oneWarmup}, Handler: onDesk(askWarm)},
	{Method: "POST", Pattern: "/pools/{address}/warm", Title: "End a warm-up", Needs: []string{"DELETE " + oneWarmup}, Handler: onDesk(endWarmup)},
}

type poolView struct {
	Name       string            `json:"name"`
	Shared     bool              `json:"shared"`
	Waiting    int64             `json:"waiting"`
	Addresses  []poolAddressView `json:"addresses"`
	BackingOff []struct {
		Site   string    `json:"site"`
		Until  time.Time `json:"until"`
		Reason string    `json:"reason"`
	} `json:"backing_off"`
}

type poolAddressView struct {
	Address  string `json:"address"`
	Helo     string `json:"helo"`
	Disabled bool   `json:"disabled"`
	State    string `json:"state"`
	Warmup   *struct {
		Day     int       `json:"day"`
		Days    int       `json:"days"`
		PerHour int       `json:"per_hour"`
		Held    int       `json:"held_days"`
		Until   time.Time `json:"until"`
	} `json:"warmup"`
}

// poolsPage is where mail leaves from.
type poolsPage struct {
	Pools []poolPart
	None  table
}

// poolPart is one pool.
type poolPart struct {
	Is        facts
	Addresses table
	Sites     table
}

func (v *desk) pools() ([]poolView, error) {
	list, err := ask[struct {
		Result []poolView `json:"result"`
	}](v, apiPools)
	return list.Result, err
}

func showPools(v *desk) error {
	pools, err := v.pools()
	if err != nil {
		return err
	}
	p := poolsPage{None: table{Empty: "There is no pool: the system chooses the address that mail leaves from. The operator makes pools."}}
	for i := range pools {
		x := &pools[i]
		part := poolPart{Is: facts{Title: x.Name}, Addresses: v.addressTable(x)}
		part.Is.add("Waiting recipients", number(x.Waiting))
		if x.Shared {
			part.Is.add("Shared", words("Every account may send from it. The operator changes it, and warms its addresses up: postern pool warmup start"))
		}
		part.Sites = table{Caption: "Destinations that asked " + x.Name + " for patience", Head: []string{"To", "Until", "Why"}}
		for _, b := range x.BackingOff {
			site := words(b.Site)
			if v.May("GET", apiQueue+"/{site}") {
				site = to(b.Site, v.path("/queue", b.Site))
			}
			part.Sites.Rows = append(part.Sites.Rows, row{Cells: []cell{site, v.at(b.Until), words(b.Reason)}})
		}
		p.Pools = append(p.Pools, part)
		p.None.Empty = ""
	}
	return v.Render(http.StatusOK, "page_pools", "Pools", p)
}

// addressTable lists a pool's addresses; with links to their warm-up where the
// person may change it.
func (v *desk) addressTable(p *poolView) table {
	t := table{Caption: "Addresses of " + p.Name, Head: []string{"Address", "Calls itself", "State"}, Empty: "The system chooses the address."}
	mayStart, mayEnd := v.May("POST", apiWarmup) && !p.Shared, v.May("DELETE", oneWarmup) && !p.Shared
	if mayStart || mayEnd {
		t.Head = append(t.Head, "Warm-up")
	}
	for i := range p.Addresses {
		a := &p.Addresses[i]
		r := row{Cells: []cell{code(a.Address), words(a.Helo), a.state()}}
		if mayStart || mayEnd {
			var do cell
			switch {
			case a.Warmup != nil && mayEnd:
				do = to("End the warm-up of "+a.Address, v.path("/pools", a.Address)+"/warm")
			case a.Warmup == nil && !a.Disabled && mayStart:
				do = to("Warm "+a.Address+" up", v.path("/pools", a.Address)+"/warm-up")
			}
			r.Cells = append(r.Cells, do)
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

// state is how an address is.
func (a *poolAddressView) state() cell {
	c := tagged("in use", toneOK)
	switch {
	case a.Disabled:
		c = tagged("switched off", toneMute)
	case a.Warmup != nil:
		c = tagged("warming up", toneInfo)
	case a.State != "active":
		c = tagged(orNone(a.State, "in use"), toneOK)
	}
	if w := a.Warmup; w != nil {
		c.Note = "day " + count(w.Day) + " of " + count(w.Days) + ", " + count(w.PerHour) + " an hour to each destination"
		if w.Held > 0 {
			c.Note += "; it did not grow on " + plural(w.Held, "day", "days") + ", because receivers refused too much"
		}
		if w.Days > 0 {
			c.Bar = min(100, max(1, 100*w.Day/w.Days))
		}
	}
	return c
}

// poolsOf finds the pools that have the address of the page.
func (v *desk) poolsOf() (addr netip.Addr, with []poolView, err error) {
	addr, err = netip.ParseAddr(v.id("address"))
	if err != nil {
		return addr, nil, notHere()
	}
	pools, err := v.pools()
	if err != nil {
		return addr, nil, err
	}
	for _, p := range pools {
		for i := range p.Addresses {
			if p.Addresses[i].Address == addr.String() {
				with = append(with, p)
			}
		}
	}
	if len(with) == 0 {
		return addr, nil, notHere()
	}
	return addr, with, nil
}

// takesOver reports whether the pool has a warm address beside this one, of its
// family, that mail can leave from.
func (p *poolView) takesOver(addr netip.Addr) bool {
	for i := range p.Addresses {
		a := &p.Addresses[i]
		other, err := netip.ParseAddr(a.Address)
		if err == nil && other != addr && other.Is4() == addr.Is4() && !a.Disabled && a.Warmup == nil {
			return true
		}
	}
	return false
}

func askWarmup(v *desk) error {
	addr, with, err := v.poolsOf()
	if err != nil {
		return err
	}
	var alone []string
	for i := range with {
		if !with[i].takesOver(addr) {
			alone = append(alone, with[i].Name)
		}
	}
	n := notice{Tone: toneInfo, Title: "For 41 days it sends only so much an hour to each destination.",
		Text: "It begins with 20 recipients an hour and may send 1.4 times as much on each day. Mail beyond that leaves from the other addresses of the pool."}
	if len(alone) > 0 {
		n.Tone = toneWarn
		n.Text = "It begins with 20 recipients an hour and may send 1.4 times as much on each day. No other warm address is left in " + strings.Join(alone, ", ") +
			": mail beyond that waits for another hour, and is returned to its sender if it waits longer than its life."
	}
	return v.sure(surePage{Notice: n, Button: button{Text: "Warm it up", Action: v.path("/pools", addr.String()) + "/warm-up", Tone: "primary"}, Back: v.path("/pools")}, "Warm "+addr.String()+" up")
}

func startWarmup(v *desk) error {
	return v.change("POST", apiWarmup, map[string]string{"ip": v.id("address")}, v.path("/pools"), "The address is being warmed up from now on.")
}

func askWarm(v *desk) error {
	addr, _, err := v.poolsOf()
	if err != nil {
		return err
	}
	return v.sure(surePage{
		Notice: notice{Tone: toneWarn, Title: "It sends without a limit of its own afterwards.", Text: "Receivers that do not know an address well put much mail from it off, or into spam. A warm-up that is begun again starts at its first day."},
		Button: button{Text: "End it", Action: v.path("/pools", addr.String()) + "/warm", Tone: toneDanger}, Back: v.path("/pools"),
	}, "End the warm-up of "+addr.String())
}

func endWarmup(v *desk) error {
	return v.change("DELETE", under(apiWarmup, v.id("address")), nil, v.path("/pools"), "The address counts as warm from now on.")
}
