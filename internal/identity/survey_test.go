package identity

import (
	"slices"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestSurvey(t *testing.T) {
	t.Parallel()
	gone := relay.SubuserID{ID: relay.ID{21}}
	s := source()
	s.snap.Full = true
	s.snap.Subusers = append(s.snap.Subusers, relay.Subuser{ID: gone, Account: acme, DeletedAt: t0})
	s.snap.Keys = append(s.snap.Keys,
		relay.Key{ID: relay.KeyID{ID: relay.ID{31}}, Account: acme, Hosts: []string{"b.test", "a.test"}},
		relay.Key{ID: relay.KeyID{ID: relay.ID{32}}, Account: acme, Hosts: []string{"old.test"}, RevokedAt: t0})
	trial := relay.AccessList{
		Tenant: relay.Tenant{Account: acme}, Rules: []relay.AccessRule{{ID: 1, Host: "a.test"}, {ID: 2, Host: "c.test"}},
		TrialUntil: t0.Add(time.Minute), Before: &relay.AccessList{},
	}
	s.snap.Access = []relay.AccessList{trial}
	d := open(t, s)
	if got := d.HostNames(); !slices.Equal(got, []string{"a.test", "b.test", "c.test"}) {
		t.Errorf("host names %q", got)
	}
	if got := d.DeletedTenants(); len(got) != 1 || got[0].Subuser != gone {
		t.Errorf("deleted %v", got)
	}
	if got := d.EndedTrials(t0.Add(time.Minute - 1)); len(got) != 0 {
		t.Errorf("a running trial has ended: %v", got)
	}
	if got := d.EndedTrials(t0.Add(time.Minute)); len(got) != 1 || got[0].Account != acme {
		t.Errorf("ended trials %v", got)
	}
}
