package v3

import (
	"context"
	"net/netip"
	"slices"

	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/store"
)

// DomainServices is what the authentication of domains needs.
type DomainServices struct {
	Domains     DomainKeeper
	DomainStore DomainReader
	// Letter mails a text from postern itself; nil: records are not mailed.
	Letter func(ctx context.Context, to, subject, text string) error
}

// DomainKeeper makes and keeps domains and their keys; *sender.Domains is one.
// Each change is one transaction with its change record. Errors say their field
// in the words of the API.
type DomainKeeper interface {
	Add(ctx context.Context, by store.By, n sender.NewDomain) (relay.Domain, []relay.DKIMKey, error)
	Update(ctx context.Context, by store.By, id relay.DomainID, u sender.DomainUpdate) (relay.Domain, error)
	Remove(ctx context.Context, by store.By, id relay.DomainID) error
	// EditIPs and EditSharing run edit again where somebody else was faster.
	EditIPs(ctx context.Context, by store.By, id relay.DomainID, edit func([]netip.Addr) ([]netip.Addr, error)) (relay.Domain, error)
	EditSharing(ctx context.Context, by store.By, id relay.DomainID, edit func(*sender.Sharing)) error
	SetDomainDisabled(ctx context.Context, by store.By, id relay.DomainID, disabled bool) error
	// Check asks the domain's name servers now, and moves its state. What the DNS says
	// is never an error.
	Check(ctx context.Context, by store.By, id relay.DomainID) (relay.DomainCheck, error)
	// Records are what is to be published.
	Records(ctx context.Context, id relay.DomainID) (relay.Domain, []relay.DNSRecord, error)

	Rotate(ctx context.Context, by store.By, id relay.DomainID, o sender.RotateOptions) (sender.Rotation, error)
	Cancel(ctx context.Context, by store.By, id relay.DomainID) error // a rotation; relay.Conflict: none is under way
	ImportKey(ctx context.Context, by store.By, id relay.DomainID, selector string, pem []byte) error
	ExportKey(ctx context.Context, by store.By, id relay.DomainID, selector string) ([]byte, error)
	SetDKIMKeyActive(ctx context.Context, by store.By, id relay.DomainID, selector string, active bool) error
}

// DomainReader reads domains; *store.Store is one. Absent and deleted ones are
// relay.NotFound.
type DomainReader interface {
	// Domains are an account's and its subusers', without deleted ones.
	Domains(ctx context.Context, account relay.AccountID) ([]relay.Domain, error)
	DomainNumbered(ctx context.Context, number int64) (relay.Domain, error)
	// DomainCheck is the last check's result; relay.NotFound: there was none.
	DomainCheck(ctx context.Context, id relay.DomainID) (relay.DomainCheck, error)
	DKIMKeys(ctx context.Context, id relay.DomainID) ([]relay.DKIMKey, error)
}

const (
	pathDomains = "/v3/whitelabel/domains"
	pathDomain  = pathDomains + "/{domain_id}"

	scopeDomainMake   = "whitelabel.create"
	scopeDomainRead   = "whitelabel.read"
	scopeDomainChange = "whitelabel.update"
	scopeDomainDelete = "whitelabel.delete"
)

var domainRoutes = slices.Concat(domainBaseRoutes, domainShareRoutes, domainAddressRoutes, domainCheckRoutes, domainKeyRoutes, domainRotateRoutes)

// A domain is its owner's, and the account's whose subuser the owner is. Whom it
// is shared with may see it.
var domainBaseRoutes = []Route{
	{
		Method: "POST", Pattern: pathDomains, Scope: scopeDomainMake, StepUp: true,
		Summary: "Authenticate a domain: answers with the DNS records to publish. It cannot be sent from before they are there and validated",
		Body:    newDomain{}, Answers: map[int]any{201: domainView{}}, Handler: (*API).createDomain,
	},
	{
		Method: "GET", Pattern: pathDomains, Scope: scopeDomainRead,
		Summary: "List domains: the tenant's own, those shared with it, and, for a parent's key that has " + scopeBehalf + ", those of its subusers",
		Query: append([]Param{
			{Name: "exclude_subusers", Type: "boolean", Doc: "without those that subusers own"},
			{Name: "username", Type: "string", Doc: "only those that this account or subuser owns, or that are shared with it by name"},
			{Name: "domain", Type: "string", Doc: "only those with this in their name"},
		}, paging...),
		Answers: map[int]any{200: []domainView{}}, Handler: (*API).listDomains,
	},
	{
		Method: "GET", Pattern: pathDomains + "/default", Scope: scopeDomainRead,
		Summary: "Show the domain that the tenant calls its default, or the one of a name",
		Query:   []Param{{Name: "domain", Type: "string", Doc: "the default if it has this name; otherwise the domain of this name"}},
		Answers: map[int]any{200: domainView{}}, Handler: (*API).showDefaultDomain,
	},
	{
		Method: "GET", Pattern: pathDomain, Scope: scopeDomainRead, Summary: "Show a domain",
		Answers: map[int]any{200: domainView{}}, Handler: (*API).showDomain,
	},
	{
		Method: "PATCH", Pattern: pathDomain, Scope: scopeDomainChange, StepUp: true, Summary: "Change a domain's settings",
		Body: domainPatch{}, Answers: map[int]any{200: domainView{}}, Handler: (*API).patchDomain,
	},
	{
		Method: "DELETE", Pattern: pathDomain, Scope: scopeDomainDelete, StepUp: true,
		Summary: "Delete a domain: nobody sends as it from now on, and what is queued is not signed any more",
		Answers: map[int]any{204: nil}, Handler: (*API).deleteDomain,
	},
	{
		Method: "POST", Pattern: pathDomain + "/disable", Scope: scopeDomainChange, StepUp: true, Summary: "Switch a domain off: mail as it is refused",
		Answers: map[int]any{200: domainView{}}, Handler: (*API).disableDomain,
	},
	{
		Method: "POST", Pattern: pathDomain + "/enable", Scope: scopeDomainChange, StepUp: true, Summary: "Switch a domain on again",
		Answers: map[int]any{200: domainView{}}, Handler: (*API).enableDomain,
	},
}
