package sender

import (
	"context"
	"fmt"
	"time"

	"postern/internal/dkim"
	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/smtp"
	"postern/internal/store"
)

// DomainStore keeps domains and their keys; *store.Store does. CreateDomain is
// one transaction with the keys that it is given.
type DomainStore interface {
	CreateDomain(ctx context.Context, by store.By, d relay.Domain, keys ...relay.DKIMKey) error
	Domains(ctx context.Context, account relay.AccountID) ([]relay.Domain, error)
	DKIMKeys(ctx context.Context, id relay.DomainID) ([]relay.DKIMKey, error)
	SetDomainDisabled(ctx context.Context, by store.By, id relay.DomainID, at time.Time) error
	SetDKIMKeyActive(ctx context.Context, by store.By, id relay.DomainID, selector string, active bool) error
}

// Domains makes and keeps sending domains.
type Domains struct {
	Store  DomainStore
	Sealer *secret.Sealer
	Now    func() time.Time // nil: time.Now
}

// NewDomain is what a domain is made of.
type NewDomain struct {
	Account    relay.AccountID
	Name       string
	Assert     bool   // usable at once, by the operator's word
	Subdomains bool   // names below it too
	ReturnPath string // host of its return path; empty: the system's
	Ed25519    bool   // its Ed25519 key signs from the start, because the operator says that its record is published
	System     bool   // postern's own domain
}

// The selectors of a new domain: s2 and s2e are for the rotation after.
const (
	SelectorRSA     = "s1"
	SelectorEd25519 = "s1e"
)

// Add makes a domain with an RSA-2048 key and an Ed25519 key. The RSA key signs
// at once; the Ed25519 key when its record was seen, or by d.Ed25519.
func (s *Domains) Add(ctx context.Context, by store.By, d NewDomain) (relay.Domain, []relay.DKIMKey, error) {
	name, err := cleanHost("domain", d.Name)
	if err != nil {
		return relay.Domain{}, nil, err
	}
	at := s.now()
	row := relay.Domain{
		ID: relay.DomainID{ID: relay.NewID(at)}, Account: d.Account, Name: name, State: relay.DomainPending,
		Subdomains: d.Subdomains, System: d.System, CreatedAt: at,
	}
	if d.Assert {
		row.State, row.AssertedBy = relay.DomainAsserted, by.Who
	}
	if d.ReturnPath != "" {
		if row.ReturnPath, err = cleanHost("return_path", d.ReturnPath); err != nil {
			return relay.Domain{}, nil, err
		}
	}
	keys := make([]relay.DKIMKey, 0, 2)
	for _, k := range []struct {
		selector  string
		algorithm relay.DKIMAlgorithm
		active    bool
	}{{SelectorRSA, relay.DKIMRSA, true}, {SelectorEd25519, relay.DKIMEd25519, d.Ed25519}} {
		key, err := s.newKey(row.ID, k.selector, k.algorithm, at)
		if err != nil {
			return relay.Domain{}, nil, fmt.Errorf("make key %s of %s: %w", k.selector, name, err)
		}
		key.Active = k.active
		keys = append(keys, key)
	}
	if err := s.Store.CreateDomain(ctx, by, row, keys...); err != nil {
		return relay.Domain{}, nil, err
	}
	return row, keys, nil
}

func (s *Domains) now() time.Time {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	return now().UTC().Truncate(time.Microsecond)
}

// cleanHost is a domain name as the store keeps it: A-labels, lower case, at
// least two labels.
func cleanHost(field, name string) (string, error) {
	a, err := smtp.ParseAddress("x@"+name, true)
	if err != nil || a.IsLiteral() {
		return "", &relay.Error{Kind: relay.Invalid, Field: field, Public: "not a domain name", Err: err}
	}
	if d := a.ASCIIDomain(); !singleLabel(d) {
		return d, nil
	}
	return "", &relay.Error{Kind: relay.Invalid, Field: field, Public: "a domain name has at least two labels"}
}

func singleLabel(d string) bool {
	for i := range d {
		if d[i] == '.' {
			return false
		}
	}
	return true
}

// newKey makes one selector's key, sealed to its place.
func (s *Domains) newKey(id relay.DomainID, selector string, alg relay.DKIMAlgorithm, at time.Time) (relay.DKIMKey, error) {
	der, err := dkim.GenerateKey(dkim.Algorithm(alg))
	if err != nil {
		return relay.DKIMKey{}, err
	}
	defer clear(der)
	private, _, err := dkim.ParseKey(der)
	if err != nil {
		return relay.DKIMKey{}, err
	}
	record, err := dkim.Record(private.Public())
	if err != nil {
		return relay.DKIMKey{}, err
	}
	sealed, err := s.Sealer.Seal(der, keyPlace(id, selector))
	if err != nil {
		return relay.DKIMKey{}, err
	}
	return relay.DKIMKey{Domain: id, Selector: selector, Algorithm: alg, Sealed: sealed, Record: record, CreatedAt: at}, nil
}

// keyPlace binds a sealed private key to where it belongs, so that nobody can
// make one domain sign with another's key by moving a row.
func keyPlace(id relay.DomainID, selector string) []byte {
	return []byte("dkim_keys/" + id.String() + "/" + selector + "/private")
}

// Domains lists all domains.
func (s *Domains) Domains(ctx context.Context) ([]relay.Domain, error) {
	return s.Store.Domains(ctx, relay.AccountID{})
}

// DKIMKeys lists a domain's keys.
func (s *Domains) DKIMKeys(ctx context.Context, id relay.DomainID) ([]relay.DKIMKey, error) {
	return s.Store.DKIMKeys(ctx, id)
}

// SetDomainDisabled switches a domain off or on.
func (s *Domains) SetDomainDisabled(ctx context.Context, by store.By, id relay.DomainID, disabled bool) error {
	var at time.Time
	if disabled {
		at = s.now()
	}
	return s.Store.SetDomainDisabled(ctx, by, id, at)
}

// SetDKIMKeyActive makes a selector sign or stops it.
func (s *Domains) SetDKIMKeyActive(ctx context.Context, by store.By, id relay.DomainID, selector string, active bool) error {
	return s.Store.SetDKIMKeyActive(ctx, by, id, selector, active)
}
