package v3

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/sender"
)

// newDomain is SendGrid's request, and behind it what postern adds.
type newDomain struct {
	Domain    string   `json:"domain" v3:"required"`
	Subdomain string   `json:"subdomain,omitempty" doc:"host of the return path below the domain; none: em and a number"`
	Username  string   `json:"username,omitempty" doc:"the subuser that is to own it; needs subusers.read"`
	IPs       []string `json:"ips,omitempty" doc:"addresses of the SPF record; none: those of the pools"`
	CustomSPF bool     `json:"custom_spf,omitempty" doc:"the SPF record of the return path is the owner's own; only without automatic_security"`
	Default   bool     `json:"default,omitempty"`
	Automatic *bool    `json:"automatic_security,omitempty" doc:"aliases into the relay's zone instead of TXT and MX records; none: where the relay serves a zone"`
	Selector  string   `json:"custom_dkim_selector,omitempty"`
	Region    string   `json:"region,omitempty" doc:"global"`

	Subdomains bool  `json:"subdomains,omitempty" doc:"names below it may be used too"`
	AllShared  bool  `json:"all_subusers,omitempty" doc:"all subusers may use it"`
	Notify     *bool `json:"notify,omitempty" doc:"false: its owner gets no mail about it"`
	KeyBits    int   `json:"key_bits,omitempty" doc:"2048 or 4096"`

	Assert     bool   `json:"assert,omitempty" doc:"usable at once without proof; the operator's only"`
	ReturnPath string `json:"return_path,omitempty" doc:"host below the domain; the same as subdomain, whole"`
	Ed25519    bool   `json:"ed25519,omitempty" doc:"the Ed25519 key signs from the start, because its record is published; the operator's only"`
}

func (a *API) createDomain(c *Call) error {
	var in newDomain
	if err := c.Decode(&in); err != nil {
		return err
	}
	n, err := a.draftDomain(c, &in)
	if err != nil {
		return err
	}
	defer a.edits.lock(c.Tenant.Account)()
	d, _, err := a.Domains.Add(c.R.Context(), c.byFor(n.Subuser), n)
	if err != nil {
		return a.asSendGrid(c, in.Domain, err)
	}
	return a.replyDomain(c, http.StatusCreated, d.Number)
}

// draftDomain checks what this layer knows: who is to own it, and what only the
// operator may ask for. The rest is the service's to check.
func (a *API) draftDomain(c *Call, in *newDomain) (sender.NewDomain, error) {
	n := sender.NewDomain{
		Account: c.Tenant.Account, Name: in.Domain, Label: in.Subdomain, ReturnPath: in.ReturnPath, Selector: in.Selector, Automatic: in.Automatic,
		Subdomains: in.Subdomains, CustomSPF: in.CustomSPF, Default: in.Default, KeyBits: in.KeyBits, AllSubusers: in.AllShared,
		Quiet: in.Notify != nil && !*in.Notify, Assert: in.Assert, Ed25519: in.Ed25519,
	}
	switch {
	case in.Domain == "":
		return n, invalid("domain", "A domain is required.")
	case in.Assert && !c.Operator:
		return n, invalid("assert", "Only the operator of this installation can vouch for a domain. Leave it out, publish the records and validate.")
	case in.Ed25519 && !c.Operator:
		return n, invalid("ed25519", "An Ed25519 key signs once its record was found. Leave it out, publish the record and validate.")
	case in.Region != "" && in.Region != theRegion:
		return n, invalid("region", "This installation has one region, global.")
	}
	if a.isSystem(c.Tenant.Account) {
		return n, refused("", "This account sends postern's own mail, as the one domain that it has.")
	}
	var err error
	if n.Subuser, err = a.newOwner(c, in.Username); err != nil {
		return n, err
	}
	n.IPs, err = a.domainIPs(c, in.IPs)
	return n, err
}

func (a *API) isSystem(id relay.AccountID) bool {
	x, ok := a.Directory.Account(id)
	return ok && x.System
}

// newOwner is whom a new domain is for: the tenant, or the subuser that its
// parent names.
func (a *API) newOwner(c *Call, username string) (relay.SubuserID, error) {
	own := c.Tenant.Subuser
	if username == "" {
		return own, nil
	}
	if _, name := a.ownerOf(&relay.Domain{Account: c.Tenant.Account, Subuser: own}); username == name {
		return own, nil
	}
	if !own.IsZero() || !c.Allows(scopeBehalf) {
		return own, forbidden()
	}
	s, err := a.findSubuser(c.R.Context(), c.Tenant.Account, username)
	if relay.KindOf(err) == relay.NotFound {
		field := "username"
		return own, Fail(http.StatusBadRequest, httpx.ErrorItem{Message: textNoUser, Field: &field})
	}
	return s.ID, err
}

// domainIPs reads the addresses of an SPF record.
func (a *API) domainIPs(c *Call, texts []string) ([]netip.Addr, error) {
	if len(texts) > maxEntries {
		return nil, invalid("ips", "More than %d addresses.", maxEntries)
	}
	var out []netip.Addr
	for i, s := range texts {
		addr, err := a.domainIP(c, "ips."+strconv.Itoa(i), s)
		if err != nil {
			return nil, err
		}
		out = append(out, addr)
	}
	return out, nil
}

// domainIP reads an address that the tenant's mail can leave from. Any other in
// its SPF record would let somebody else's host pass.
func (a *API) domainIP(c *Call, field, text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return addr, invalid(field, "Not an IP address.")
	}
	addr = addr.Unmap()
	pools, err := a.usablePools(c)
	if err != nil {
		return addr, err
	}
	known := false
	for i := range pools {
		have := addressesOf(&pools[i])
		if have[addr] {
			return addr, nil
		}
		known = known || len(have) > 0
	}
	if known && !c.Operator {
		return addr, invalid(field, "The account's mail does not leave from this address.")
	}
	return addr, nil
}

// asSendGrid gives a clash with what is there the status that SendGrid's clients
// know, 400, and says which domain it is, if it is the account's.
func (a *API) asSendGrid(c *Call, name string, err error) error {
	var e *relay.Error
	if !errors.As(err, &e) || e.Kind != relay.Conflict {
		return err
	}
	field := "domain"
	item := httpx.ErrorItem{Message: e.Public, Field: &field}
	all, failed := a.DomainStore.Domains(c.R.Context(), c.Tenant.Account)
	if failed != nil {
		return failed
	}
	for _, d := range all {
		if ascii, bad := checkDomain("domain", name); bad == nil && d.Name == ascii {
			item.Message = d.Name + " is a domain of this account already."
			if c.maySee(&d) {
				item.Message = fmt.Sprintf("%s is a domain of this account already, with the id %d.", d.Name, d.Number)
			}
		}
	}
	return Fail(http.StatusBadRequest, item)
}
