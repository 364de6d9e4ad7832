package sender

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/store"
)

// domainMemory is a DomainStore in memory that keeps the store's promises, as far
// as sender relies on them.
type domainMemory struct {
	mu      sync.Mutex
	domains map[relay.DomainID]relay.Domain
	keys    map[relay.DomainID][]relay.DKIMKey
	checks  map[relay.DomainID]relay.DomainCheck
	due     map[relay.DomainID]time.Time
	numbers int64
	fail    error // of everything
	failed  int   // how often
	changes []string
	other   func(*relay.Domain) // another node's edit, once, in the moment before a swap
}

func newDomainMemory() *domainMemory {
	return &domainMemory{
		domains: map[relay.DomainID]relay.Domain{}, keys: map[relay.DomainID][]relay.DKIMKey{},
		checks: map[relay.DomainID]relay.DomainCheck{}, due: map[relay.DomainID]time.Time{},
	}
}

func (m *domainMemory) lock() (func(), error) {
	m.mu.Lock()
	if m.fail != nil {
		m.failed++
	}
	return m.mu.Unlock, m.fail
}

func (m *domainMemory) CreateDomainWithin(_ context.Context, _ store.By, d relay.Domain, most int, keys ...relay.DKIMKey) (relay.Domain, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return d, err
	}
	have := 0
	for _, o := range m.domains {
		if o.Name == d.Name && o.Account == d.Account && o.DeletedAt.IsZero() {
			return d, relay.E(relay.Conflict, "The account has this domain already.")
		}
		if o.Account == d.Account && o.Subuser == d.Subuser && o.DeletedAt.IsZero() {
			have++
		}
	}
	if most > 0 && have >= most {
		return d, relay.E(relay.Conflict, "There are as many as there can be.")
	}
	m.numbers++
	d.Number = m.numbers
	if d.ReturnPath == AutoReturnPath {
		d.Label = fmt.Sprintf("em%d", d.Number)
		d.ReturnPath = d.Label + "." + d.Name
	}
	m.domains[d.ID], m.keys[d.ID], m.due[d.ID] = d, slices.Clone(keys), d.CreatedAt
	return d, nil
}

func (m *domainMemory) change(id relay.DomainID, what string, edit func(*relay.Domain)) (relay.Domain, error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return relay.Domain{}, err
	}
	d, ok := m.domains[id]
	if !ok {
		return d, relay.E(relay.NotFound, "There is no such domain.")
	}
	edit(&d)
	m.domains[id] = d
	m.changes = append(m.changes, what+" "+d.Name)
	return d, nil
}

func (m *domainMemory) SwapDomain(_ context.Context, _ store.By, was, n relay.Domain) error {
	if m.meanwhile(n.ID, func(d relay.Domain) bool {
		return slices.Equal(d.IPs, was.IPs) && d.Quiet == was.Quiet && d.Default == was.Default && d.Rotate == was.Rotate
	}) {
		return &relay.Error{Kind: relay.Conflict, Public: "too late", Err: store.ErrMeanwhile}
	}
	_, err := m.change(n.ID, "update", func(d *relay.Domain) {
		d.Default, d.CustomSPF, d.Subdomains, d.Reveal, d.Quiet, d.Rotate, d.KeyBits, d.IPs = n.Default, n.CustomSPF, n.Subdomains, n.Reveal, n.Quiet, n.Rotate, n.KeyBits, n.IPs
	})
	return err
}

// meanwhile lets another node change a domain once, if a test wants that, and
// reports whether it is another one than was read then.
func (m *domainMemory) meanwhile(id relay.DomainID, same func(relay.Domain) bool) bool {
	unlock, _ := m.lock()
	defer unlock()
	d := m.domains[id]
	if other := m.other; other != nil {
		m.other = nil
		other(&d)
		m.domains[id] = d
	}
	return !same(d)
}

func (m *domainMemory) Domain(_ context.Context, id relay.DomainID) (relay.Domain, error) {
	unlock, err := m.lock()
	defer unlock()
	d, ok := m.domains[id]
	if err == nil && !ok {
		err = relay.E(relay.NotFound, "There is no such domain.")
	}
	return d, err
}

func (m *domainMemory) Domains(_ context.Context, account relay.AccountID) (out []relay.Domain, err error) {
	unlock, err := m.lock()
	defer unlock()
	for _, d := range m.domains {
		if (account.IsZero() || d.Account == account) && d.DeletedAt.IsZero() {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b relay.Domain) int { return cmp.Compare(a.Number, b.Number) })
	return out, err
}

func (m *domainMemory) DeleteDomain(_ context.Context, _ store.By, id relay.DomainID, at time.Time) error {
	_, err := m.change(id, "delete", func(d *relay.Domain) { d.DeletedAt, d.DisabledAt = at, at })
	return err
}

func (m *domainMemory) SwapDomainSharing(_ context.Context, _ store.By, was relay.Domain, subs []relay.SubuserID, all bool) error {
	if m.meanwhile(was.ID, func(d relay.Domain) bool {
		return slices.Equal(d.Subusers, was.Subusers) && d.AllSubusers == was.AllSubusers
	}) {
		return &relay.Error{Kind: relay.Conflict, Public: "too late", Err: store.ErrMeanwhile}
	}
	_, err := m.change(was.ID, "share", func(d *relay.Domain) { d.Subusers, d.AllSubusers = subs, all })
	return err
}

func (m *domainMemory) SetDomainDisabled(_ context.Context, _ store.By, id relay.DomainID, at time.Time) error {
	_, err := m.change(id, "disable", func(d *relay.Domain) { d.DisabledAt = at })
	return err
}

// ProveDomain implements DomainStore: first proven owner wins, and a later proof
// waits until the other's records are gone.
func (m *domainMemory) ProveDomain(_ context.Context, _ store.By, id relay.DomainID, at time.Time) (relay.Domain, error) {
	unlock, err := m.lock()
	defer unlock()
	d, ok := m.domains[id]
	if err != nil || !ok {
		return d, err
	}
	for oid, o := range m.domains {
		if oid == id || o.Account == d.Account || !o.Holds() || o.Name != d.Name && !(o.Subdomains && within(d.Name, o.Name)) {
			continue
		}
		if o.FailingSince.IsZero() || o.State == relay.DomainAsserted {
			d.Disputed = true
			m.domains[id] = d
			return d, nil
		}
		o.State = relay.DomainFailed
		m.domains[oid] = o
	}
	d.State, d.Disputed, d.VerifiedAt, d.FailingSince, d.Reason = relay.DomainVerified, false, at, time.Time{}, ""
	m.domains[id] = d
	m.changes = append(m.changes, "prove "+d.Name)
	return d, nil
}

func (m *domainMemory) SetDomainState(_ context.Context, _ store.By, id relay.DomainID, c relay.DomainStateChange) (relay.Domain, error) {
	return m.change(id, "state "+string(c.State), func(d *relay.Domain) { d.State, d.FailingSince, d.Reason = c.State, c.FailingSince, c.Reason })
}

func (m *domainMemory) PutDomainCheck(_ context.Context, c relay.DomainCheck) error {
	unlock, err := m.lock()
	defer unlock()
	if err == nil {
		m.checks[c.Domain], m.due[c.Domain] = c, c.NextAt
	}
	return err
}

func (m *domainMemory) DomainCheck(_ context.Context, id relay.DomainID) (relay.DomainCheck, error) {
	unlock, err := m.lock()
	defer unlock()
	c, ok := m.checks[id]
	if err == nil && !ok {
		err = relay.E(relay.NotFound, "never checked")
	}
	return c, err
}

func (m *domainMemory) ClaimChecks(_ context.Context, now, until time.Time, n int) (out []relay.DomainID, err error) {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return nil, err
	}
	for id, at := range m.due {
		if len(out) < n && !at.After(now) {
			out = append(out, id)
			m.due[id] = until
		}
	}
	return out, nil
}

func (m *domainMemory) CheckDue(_ context.Context, id relay.DomainID, at time.Time) error {
	unlock, err := m.lock()
	defer unlock()
	m.due[id] = at
	return err
}

func (m *domainMemory) DKIMKeys(_ context.Context, id relay.DomainID) ([]relay.DKIMKey, error) {
	unlock, err := m.lock()
	defer unlock()
	return slices.Clone(m.keys[id]), err
}

func (m *domainMemory) ChangeDKIMKeys(_ context.Context, _ store.By, id relay.DomainID, action string, edit func([]relay.DKIMKey) ([]relay.DKIMKey, error)) error {
	unlock, err := m.lock()
	defer unlock()
	if err != nil {
		return err
	}
	keys, err := edit(slices.Clone(m.keys[id]))
	if err == nil {
		m.keys[id] = keys
		m.changes = append(m.changes, action)
	}
	return err
}

func (m *domainMemory) SetDKIMKeyActive(_ context.Context, _ store.By, id relay.DomainID, selector string, active bool) error {
	unlock, err := m.lock()
	defer unlock()
	for i, k := range m.keys[id] {
		if k.Selector == selector {
			m.keys[id][i].Active = active
		}
	}
	return err
}

// testHost and testZone are ours in these tests.
const (
	testHost = "relay.postern.test"
	testZone = "mail.postern.test"
)

var testBy = store.By{Who: "tester", From: "test"}

// newDomains is a Domains over memory that serves a zone.
func newDomains(tb testing.TB) (*Domains, *domainMemory) {
	tb.Helper()
	sealer, err := secret.NewSealer(secret.NewSealingKey())
	if err != nil {
		tb.Fatal(err)
	}
	m := newDomainMemory()
	return &Domains{Store: m, Sealer: sealer, Zone: Zone{Name: testZone, Hostname: testHost}}, m
}
