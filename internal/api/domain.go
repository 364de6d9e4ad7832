package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/sender"
)

// NewDomain is a request for a domain.
type NewDomain struct {
	Account    string `json:"account"` // id or name; "" where there is only one
	Name       string `json:"domain"`
	Assert     bool   `json:"assert"` // usable by the operator's word, without proof
	Subdomains bool   `json:"subdomains"`
	ReturnPath string `json:"return_path"` // host under the domain; "": the system's
	// Ed25519 lets the Ed25519 key sign from the start: its record is published.
	// Without it, it signs once it is enabled.
	Ed25519 bool `json:"ed25519"`
}

// DomainAnswer is a domain with its selectors and what to publish in DNS.
type DomainAnswer struct {
	relay.Domain
	DKIM    []relay.DKIMKey `json:"dkim"`
	Records []Record        `json:"records"`
}

func (a *admin) listDomains(w http.ResponseWriter, r *http.Request) error {
	q := query(r)
	ref := q.text("account")
	if err := q.end(); err != nil {
		return err
	}
	domains, err := a.Domains.Domains(r.Context())
	if err != nil {
		return err
	}
	if ref != "" {
		account, err := a.account(r.Context(), "account", ref)
		if err != nil {
			return err
		}
		domains = slices.DeleteFunc(domains, func(d relay.Domain) bool { return d.Account != account.ID })
	}
	return reply(w, listOf(domains))
}

func (a *admin) addDomain(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in NewDomain
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	account, err := a.account(r.Context(), "account", in.Account)
	if err != nil {
		return err
	}
	n := sender.NewDomain{Account: account.ID, Assert: in.Assert, Subdomains: in.Subdomains, Ed25519: in.Ed25519}
	if n.Name, err = domainName("domain", in.Name); err != nil {
		return err
	}
	if in.ReturnPath != "" {
		if n.ReturnPath, err = domainName("return_path", in.ReturnPath); err != nil {
			return err
		}
		// RFC 7208 and DMARC look at the organisation: a return path elsewhere would
		// pass SPF and never align.
		if !strings.HasSuffix(n.ReturnPath, "."+n.Name) {
			return invalid("return_path", "The return path must be a host below %s, such as bounces.%s.", n.Name, n.Name)
		}
	}
	d, keys, err := a.Domains.Add(r.Context(), who, n)
	if err != nil {
		return err
	}
	return created(w, DomainAnswer{Domain: d, DKIM: keys, Records: Records(a.Hostname, d, keys)})
}

func (a *admin) showDomain(w http.ResponseWriter, r *http.Request) error {
	d, err := a.domain(r.Context(), r.PathValue("domain"))
	if err != nil {
		return err
	}
	keys, err := a.Domains.DKIMKeys(r.Context(), d.ID)
	if err != nil {
		return err
	}
	return reply(w, DomainAnswer{Domain: d, DKIM: listOf(keys).Result, Records: Records(a.Hostname, d, keys)})
}

func (a *admin) switchDomain(w http.ResponseWriter, r *http.Request) error {
	disabled, err := onOff(r)
	if err != nil {
		return err
	}
	who, err := by(r)
	if err != nil {
		return err
	}
	d, err := a.domain(r.Context(), r.PathValue("domain"))
	if err != nil {
		return err
	}
	if d.System {
		return relay.E(relay.Conflict, "This domain signs postern's own mail; it cannot be switched off.")
	}
	if err := a.Domains.SetDomainDisabled(r.Context(), who, d.ID, disabled); err != nil {
		return err
	}
	return a.showDomain(w, r)
}

// switchSelector lets a DKIM selector sign, or stops it.
func (a *admin) switchSelector(w http.ResponseWriter, r *http.Request) error {
	disabled, err := onOff(r)
	if err != nil {
		return err
	}
	who, err := by(r)
	if err != nil {
		return err
	}
	d, err := a.domain(r.Context(), r.PathValue("domain"))
	if err != nil {
		return err
	}
	keys, err := a.Domains.DKIMKeys(r.Context(), d.ID)
	if err != nil {
		return err
	}
	selector := r.PathValue("selector")
	active := 0
	known := false
	for _, k := range keys {
		if k.Selector == selector {
			known = true
		} else if k.Active && k.RetiredAt.IsZero() {
			active++
		}
	}
	if !known {
		return notFound("selector", "selector", selector)
	}
	if disabled && active == 0 {
		return relay.E(relay.Conflict, "This is the only selector that signs for the domain; mail never leaves unsigned. Enable another first.")
	}
	if err := a.Domains.SetDKIMKeyActive(r.Context(), who, d.ID, selector, !disabled); err != nil {
		return err
	}
	return a.showDomain(w, r)
}

// domain finds a domain by id or name. Of several of one name the usable one is
// meant, or the only one that is not disabled.
func (a *admin) domain(ctx context.Context, ref string) (relay.Domain, error) {
	all, err := a.Domains.Domains(ctx)
	if err != nil {
		return relay.Domain{}, err
	}
	var found []relay.Domain
	for _, d := range all {
		if d.ID.String() == ref {
			return d, nil
		}
		if d.Name == strings.ToLower(ref) {
			found = append(found, d)
		}
	}
	for _, better := range []func(relay.Domain) bool{
		func(d relay.Domain) bool { return d.Usable() },
		func(d relay.Domain) bool { return d.DisabledAt.IsZero() },
	} {
		if len(found) > 1 && slices.ContainsFunc(found, better) {
			found = slices.DeleteFunc(found, func(d relay.Domain) bool { return !better(d) })
		}
	}
	switch len(found) {
	case 0:
		return relay.Domain{}, notFound("domain", "domain", ref)
	case 1:
		return found[0], nil
	}
	return relay.Domain{}, &relay.Error{Kind: relay.Conflict, Field: "domain", Public: "Several domains have the name " + quoteRef(ref) + "; use the id."}
}
