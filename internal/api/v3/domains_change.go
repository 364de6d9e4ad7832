package v3

import (
	"net/http"
	"net/netip"
	"slices"
	"time"

	"postern/internal/sender"
)

// domainPatch changes what is given.
type domainPatch struct {
	Default   *bool `json:"default,omitempty"`
	CustomSPF *bool `json:"custom_spf,omitempty"`

	Subdomains *bool  `json:"subdomains,omitempty" doc:"names below it may be used too"`
	AllShared  *bool  `json:"all_subusers,omitempty" doc:"all subusers may use it"`
	Notify     *bool  `json:"notify,omitempty" doc:"its owner gets mail when it fails and recovers"`
	RotateDays *int64 `json:"rotate_every_days,omitempty" doc:"0: as the installation says; -1: never"`
	Reveal     *bool  `json:"reveal_retired_keys,omitempty" doc:"publish the private keys of withdrawn selectors, so that signatures with them prove nothing to thieves"`
	KeyBits    *int   `json:"key_bits,omitempty" doc:"of new RSA keys: 2048 or 4096"`
}

// mostRotateDays is as good as never.
const mostRotateDays = 3650

func (in *domainPatch) update() (sender.DomainUpdate, error) {
	u := sender.DomainUpdate{Default: in.Default, CustomSPF: in.CustomSPF, Subdomains: in.Subdomains, Reveal: in.Reveal, KeyBits: in.KeyBits}
	if in.Notify != nil {
		quiet := !*in.Notify
		u.Quiet = &quiet
	}
	if in.RotateDays != nil {
		if *in.RotateDays < -1 || *in.RotateDays > mostRotateDays {
			return u, invalid("rotate_every_days", "Not a number from -1 (never) to %d; 0 is as the installation says.", mostRotateDays)
		}
		every := time.Duration(*in.RotateDays) * day
		u.Rotate = &every
	}
	return u, nil
}

func (a *API) patchDomain(c *Call) error {
	var in domainPatch
	if err := c.Decode(&in); err != nil {
		return err
	}
	u, err := in.update()
	if err != nil {
		return err
	}
	defer a.edits.lock(c.Tenant.Account)()
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	if in.AllShared != nil && d.AllSubusers != *in.AllShared {
		if !c.Tenant.Subuser.IsZero() {
			return refused("all_subusers", "A subuser's domain is shared by its parent.")
		}
		if err := a.Domains.EditSharing(c.R.Context(), c.By, d.ID, func(s *sender.Sharing) { s.All = *in.AllShared }); err != nil {
			return hidden(err)
		}
	}
	if u != (sender.DomainUpdate{}) {
		if _, err := a.Domains.Update(c.R.Context(), c.By, d.ID, u); err != nil {
			return hidden(err)
		}
	}
	return a.replyDomain(c, http.StatusOK, d.Number)
}

func (a *API) deleteDomain(c *Call) error {
	defer a.edits.lock(c.Tenant.Account)()
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	if err := a.Domains.Remove(c.R.Context(), c.byFor(d.Subuser), d.ID); err != nil {
		return hidden(err)
	}
	return c.Empty(http.StatusNoContent)
}

func (a *API) disableDomain(c *Call) error { return a.switchDomain(c, true) }
func (a *API) enableDomain(c *Call) error  { return a.switchDomain(c, false) }

func (a *API) switchDomain(c *Call, disabled bool) error {
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	if d.System {
		return conflict("", "This domain signs postern's own mail; it cannot be switched off.")
	}
	by := c.byFor(d.Subuser)
	if disabled != !d.DisabledAt.IsZero() || disabled && d.DisabledRank < by.Rank {
		if err := a.Domains.SetDomainDisabled(c.R.Context(), by, d.ID, disabled); err != nil {
			return hidden(err)
		}
	}
	return a.replyDomain(c, http.StatusOK, d.Number)
}

var domainAddressRoutes = []Route{
	{
		Method: "POST", Pattern: pathDomain + "/ips", Scope: scopeDomainChange, StepUp: true, Summary: "Add an address to a domain's SPF record",
		Body: domainIPRequest{}, Answers: map[int]any{200: domainView{}}, Handler: (*API).addDomainIP,
	},
	{
		Method: "DELETE", Pattern: pathDomain + "/ips/{ip}", Scope: scopeDomainChange, StepUp: true, Summary: "Take an address out of a domain's SPF record",
		Answers: map[int]any{200: domainView{}}, Handler: (*API).removeDomainIP,
	},
}

type domainIPRequest struct {
	IP string `json:"ip" v3:"required"`
}

func (a *API) addDomainIP(c *Call) error {
	var in domainIPRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	addr, err := a.domainIP(c, "ip", in.IP)
	if err != nil {
		return err
	}
	return a.editIPs(c, func(ips []netip.Addr) ([]netip.Addr, error) {
		if slices.Contains(ips, addr) {
			return ips, nil
		}
		return append(ips, addr), nil
	})
}

func (a *API) removeDomainIP(c *Call) error {
	addr, err := netip.ParseAddr(c.R.PathValue("ip"))
	if err != nil {
		return notFound()
	}
	return a.editIPs(c, func(ips []netip.Addr) ([]netip.Addr, error) {
		i := slices.Index(ips, addr.Unmap())
		if i < 0 {
			return nil, notFound()
		}
		return slices.Delete(ips, i, i+1), nil
	})
}

// editIPs changes the addresses of the domain that the path names.
func (a *API) editIPs(c *Call, edit func([]netip.Addr) ([]netip.Addr, error)) error {
	defer a.edits.lock(c.Tenant.Account)()
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	if _, err := a.Domains.EditIPs(c.R.Context(), c.By, d.ID, edit); err != nil {
		return hidden(err)
	}
	return a.replyDomain(c, http.StatusOK, d.Number)
}
