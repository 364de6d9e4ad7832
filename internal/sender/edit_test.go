package sender

import (
	"net/netip"
	"slices"
	"testing"

	"postern/internal/relay"
)

// Another node changes a domain in the moment before: both edits are kept.
func TestDomainEditsOnTwoNodes(t *testing.T) {
	t.Parallel()
	s, m := newDomains(t)
	ctx := t.Context()
	d, _, err := s.Add(ctx, testBy, NewDomain{Account: acme, Name: "acme.test"})
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	first, second := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	m.other = func(d *relay.Domain) { d.IPs = []netip.Addr{first} }
	if got, err := s.Update(ctx, testBy, d.ID, DomainUpdate{Quiet: &yes}); err != nil || !got.Quiet || !slices.Equal(got.IPs, []netip.Addr{first}) {
		t.Errorf("settings: %+v, %v", got, err)
	}
	m.other = func(d *relay.Domain) { d.IPs = append(slices.Clone(d.IPs), second) }
	third := netip.MustParseAddr("192.0.2.3")
	add := func(ips []netip.Addr) ([]netip.Addr, error) { return append(ips, third), nil }
	if got, err := s.EditIPs(ctx, testBy, d.ID, add); err != nil || !slices.Equal(got.IPs, []netip.Addr{first, second, third}) {
		t.Errorf("addresses: %v, %v", got.IPs, err)
	}
	one, two := relay.SubuserID{ID: relay.ID{1}}, relay.SubuserID{ID: relay.ID{2}}
	m.other = func(d *relay.Domain) { d.Subusers = []relay.SubuserID{one} }
	if err := s.EditSharing(ctx, testBy, d.ID, func(to *Sharing) { to.Subusers = append(to.Subusers, two) }); err != nil {
		t.Fatal(err)
	}
	if got := m.domains[d.ID].Subusers; !slices.Equal(got, []relay.SubuserID{one, two}) {
		t.Errorf("shared with %v", got)
	}
	changes := len(m.changes)
	if _, err := s.Update(ctx, testBy, d.ID, DomainUpdate{Quiet: &yes}); err != nil || len(m.changes) != changes {
		t.Errorf("what changes nothing is stored: %v, %q", err, m.changes)
	}
}
