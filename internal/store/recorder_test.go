package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// flushed waits until everything that was recorded is written.
func flushed(t testing.TB, s *Store) {
	t.Helper()
	last, err := s.rec.flush()
	if err != nil {
		t.Fatal(err)
	}
	if last != nil {
		<-last.done
		if last.err != nil {
			t.Fatal(last.err)
		}
	}
}

func TestAccessActivity(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		sub := relay.Tenant{Account: testTenant.Account, Subuser: testSubuser}
		a := relay.AccessSeen{Tenant: testTenant, Addr: netip.MustParseAddr("192.0.2.1"), Method: "SMTP PLAIN", Allowed: true, LastAt: now}
		for i := range 5 {
			a.LastAt = now.Add(time.Duration(i) * time.Second)
			s.RecordAccess(a)
		}
		refused, other, nobody := a, a, a
		refused.Allowed, refused.LastAt = false, now.Add(time.Minute)
		other.Tenant, nobody.Tenant = sub, relay.Tenant{}
		s.RecordAccess(refused)
		s.RecordAccess(other)
		s.RecordAccess(nobody)
		flushed(t, s)
		a.LastAt = now.Add(10 * time.Second)
		s.RecordAccess(a)
		flushed(t, s)
		all, err := s.AccessActivity(ctx, testTenant, 0)
		a.FirstAt, a.Count, refused.FirstAt, refused.Count = now, 6, refused.LastAt, 1
		same(t, "activity", []relay.AccessSeen{refused, a}, all, err)
		other.FirstAt, other.Count = other.LastAt, 1
		all, err = s.AccessActivity(ctx, sub, 10)
		same(t, "a subuser's", []relay.AccessSeen{other}, all, err)
		if n := rows(t, s, "access_seen"); n != 3 {
			t.Errorf("%d rows", n)
		}
	})
}

// A botnet that tries one tenant from everywhere leaves a list of a thousand,
// the newest, and its neighbours' lists alone.
func TestAccessActivityStaysShort(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		quiet := relay.Tenant{Account: testTenant.Account, Subuser: testSubuser}
		s.RecordAccess(relay.AccessSeen{Tenant: quiet, Addr: netip.MustParseAddr("192.0.2.1"), LastAt: now.Add(-time.Hour)})
		const n = 2*keepSeen + 50
		for i := range n {
			at := now.Add(time.Duration(i/500) * time.Second) // many in the same moment
			s.RecordAccess(relay.AccessSeen{Tenant: testTenant, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Method: "API", LastAt: at})
		}
		flushed(t, s)
		if n := rows(t, s, "access_seen"); n > keepSeen+pruneSeen+1 {
			t.Errorf("%d rows before the sweep", n)
		}
		if err := s.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.PutState(ctx, "barrier", nil); err != nil { // the store's own sweep may have been first
			t.Fatal(err)
		}
		if n := rows(t, s, "access_seen"); n != keepSeen+1 {
			t.Errorf("%d rows", n)
		}
		all, err := s.AccessActivity(ctx, testTenant, n)
		if err != nil || len(all) != keepSeen || !all[0].LastAt.Equal(now.Add(n/500*time.Second)) {
			t.Errorf("%d lines, %v", len(all), err)
		}
		s.rec.mu.Lock()
		defer s.rec.mu.Unlock()
		if len(s.rec.added) != 0 {
			t.Errorf("%d tenants are remembered", len(s.rec.added))
		}
	})
}

// TestRecordsAreBounded: nothing runs, and what strangers can make grow does not.
func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	s, _ := openTest(t, Config{})
	long := strings.Repeat("ä", 4000)
	for i := range recorderRoom + 10 {
		s.RecordAccess(relay.AccessSeen{Tenant: testTenant, Addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Method: long})
	}
	for range eventRoom + 5 {
		s.RecordEvent(relay.Event{Kind: relay.EventAlert, Data: json.RawMessage(`{}`)})
	}
	s.RecordEvent(relay.Event{Kind: relay.EventAlert, Data: json.RawMessage(`{`)})
	for i := range 3 {
		s.RecordLogin(relay.Login{Result: relay.LoginToken, Tried: long, Detail: long, Helo: long, Network: long, Mechanism: fmt.Sprint(i)})
	}
	st, err := s.Stats(context.Background())
	if err != nil || st.LoginsDropped != 10+5+1 || len(s.rec.seen) != recorderRoom || len(s.rec.events) != eventRoom {
		t.Errorf("dropped %d; %d seen, %d events, %v", st.LoginsDropped, len(s.rec.seen), len(s.rec.events), err)
	}
	l := s.rec.logins[0]
	for _, v := range []string{l.Tried, l.Detail, l.Helo, l.Network} {
		if len(v) > clipped || len(v) < clipped-1 || strings.Trim(v, "ä") != "" {
			t.Errorf("kept %d octets: %q", len(v), v)
		}
	}
}

// TestRefusalsDifferByAllTheySay: refusals add up only where network and detail
// agree too.
func TestRefusalsDifferByAllTheySay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s, _ := openTest(t, cfg)
		stop := runTest(t, s)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		base := relay.Login{At: now, Protocol: "smtp", Mechanism: "PLAIN", Tried: "a", Addr: netip.MustParseAddr("192.0.2.1"), Network: "192.0.2.0/24",
			Result: relay.LoginToken, Detail: "expired", Tenant: relay.Tenant{Account: testTenant.Account, Subuser: testSubuser}}
		detail, network := base, base
		detail.Detail, network.Network = "wrong audience", "192.0.2.0/25"
		for range 3 {
			s.RecordLogin(base)
			s.RecordLogin(detail)
			s.RecordLogin(network)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		all, err := s.Logins(ctx, LoginFilter{})
		if err != nil || len(all) != 3 {
			t.Fatalf("%d records, %v", len(all), err)
		}
		base.Count = 3
		same(t, "record", base, all[0].Login, nil)
		for name, c := range map[string]struct {
			f    LoginFilter
			want int
		}{
			"subuser": {LoginFilter{Subuser: testSubuser}, 3}, "no subuser": {LoginFilter{Subuser: relay.SubuserID{ID: relay.ID{1}}}, 0},
			"mechanism": {LoginFilter{Mechanism: "PLAIN"}, 3}, "other mechanism": {LoginFilter{Mechanism: "LOGIN"}, 0},
			"tried": {LoginFilter{Tried: "a"}, 3}, "other id": {LoginFilter{Tried: "b"}, 0},
			"network": {LoginFilter{Network: "192.0.2.0/25"}, 1}, "all": {LoginFilter{Network: "192.0.2.0/24", Tried: "a", Result: relay.LoginToken, Limit: 1}, 1},
		} {
			if got, err := s.Logins(ctx, c.f); err != nil || len(got) != c.want {
				t.Errorf("%s: %d, want %d (%v)", name, len(got), c.want, err)
			}
		}
	})
}

// TestAlertsAreEvents: they are in the log, numbered without gaps among the rest.
func TestAlertsAreEvents(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx := context.Background()
		key := relay.KeyID{ID: relay.NewID(time.Now())}
		accept(t, s, mail(t, s, 1, 0, false))
		data, err := json.Marshal(relay.EventData{Alert: &relay.Alert{Kind: relay.AlertCanary, Text: "A canary key was tried.", Addr: "192.0.2.1"}})
		if err != nil {
			t.Fatal(err)
		}
		s.RecordEvent(relay.Event{Kind: relay.EventAlert, N: -1, Tenant: testTenant, Key: key, Data: data})
		flushed(t, s)
		accept(t, s, mail(t, s, 1, 0, false))
		all, err := s.Events(ctx, EventFilter{Kinds: []relay.EventKind{relay.EventAlert}})
		if err != nil || len(all) != 1 || all[0].Key != key || all[0].Tenant != testTenant || string(all[0].Data) != string(data) || all[0].At.IsZero() {
			t.Errorf("alerts %+v, %v", all, err)
		}
		checkInvariants(t, s)
	})
}

func TestKeyUsers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, now := context.Background(), time.Now().UTC().Truncate(time.Microsecond)
		key := relay.KeyID{ID: relay.NewID(now)}
		login := func(at time.Time, addr string, result relay.LoginResult) {
			s.RecordLogin(relay.Login{At: at, Key: key, Addr: netip.MustParseAddr(addr), Helo: "h.test", Mechanism: "PLAIN", TLS: "TLSv1.3", Result: result})
		}
		login(now.AddDate(0, 0, -40), "192.0.2.1", relay.LoginOK) // before the time that is asked for
		for _, days := range []int{20, 3, 0} {
			login(now.AddDate(0, 0, -days), "192.0.2.1", relay.LoginOK)
		}
		login(now.AddDate(0, 0, -2), "192.0.2.2", relay.LoginOK)
		login(now, "192.0.2.3", relay.LoginWrong)
		s.RecordLogin(relay.Login{At: now, Key: relay.KeyID{ID: relay.NewID(now)}, Addr: netip.MustParseAddr("192.0.2.4"), Result: relay.LoginOK})
		flushed(t, s)
		users, err := s.KeyUsers(ctx, key, now.AddDate(0, 0, -30))
		want := []KeyUser{
			{Addr: "192.0.2.1", Helo: "h.test", Mechanism: "PLAIN", TLS: "TLSv1.3", First: now.AddDate(0, 0, -20), Last: now, Logins: 3},
			{Addr: "192.0.2.2", Helo: "h.test", Mechanism: "PLAIN", TLS: "TLSv1.3", First: now.AddDate(0, 0, -2), Last: now.AddDate(0, 0, -2), Logins: 1},
		}
		same(t, "users", want, users, err)
	})
}

// TestKeyUsersAreBounded: a key that is used from everywhere fills no memory.
func TestKeyUsersAreBounded(t *testing.T) {
	t.Parallel()
	users := map[KeyUser]*KeyUser{}
	now := time.Now()
	for i := range maxKeyUsers + 500 {
		addKeyUser(users, KeyUser{Addr: fmt.Sprint(i), Logins: 1}, now, now)
	}
	addKeyUser(users, KeyUser{Addr: "0", Logins: 2}, now.Add(-time.Hour), now.Add(-time.Minute))
	if u := users[KeyUser{Addr: "0"}]; len(users) != maxKeyUsers || u.Logins != 3 || !u.First.Equal(now.Add(-time.Hour)) || !u.Last.Equal(now) {
		t.Errorf("%d users, %+v", len(users), u)
	}
}
