package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"postern/internal/relay"
)

// countLogins brings the login counts up to date.
func countLogins(t testing.TB, s *Store, settled time.Time) {
	t.Helper()
	ctx := context.Background()
	for {
		c, err := s.Consumer(ctx, LoginCountConsumer)
		if err != nil {
			t.Fatal(err)
		}
		logins, next, err := s.ReadLogins(ctx, c, settled, 50)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ApplyLogins(ctx, logins, next); err != nil {
			t.Fatal(err)
		}
		if len(logins) == 0 {
			return
		}
		if err := s.ApplyLogins(ctx, logins, next); !errors.Is(err, ErrLeaseLost) {
			t.Fatalf("counted twice: %v", err)
		}
	}
}

// TestLoginCounts by result, mechanism, TLS version and network, for each tenant.
func TestLoginCounts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		at := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
		account, sub := testTenant, relay.Tenant{Account: testTenant.Account, Subuser: testSubuser}
		for i, l := range []relay.Login{
			{Tenant: account, Result: relay.LoginOK, Mechanism: "PLAIN", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256", Network: "192.0.2.0/24"},
			{Tenant: account, Result: relay.LoginOK, Mechanism: "PLAIN", TLS: "TLSv1.2 X", Network: "192.0.2.0/24"},
			{Tenant: sub, Result: relay.LoginWrong, Mechanism: "LOGIN", TLS: "TLSv1.3 Y", Network: "198.51.100.0/24", Count: 5},
			{Result: relay.LoginUnknown, Mechanism: "PLAIN", Network: "203.0.113.0/24"},
		} {
			l.At = at.Add(time.Duration(i) * 30 * time.Minute)
			s.RecordLogin(l)
		}
		if _, err := s.rec.flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.SetConsumer(context.Background(), "behind the records", Cursor{}); err != nil {
			t.Fatal(err)
		}
		countLogins(t, s, time.Now())
		for what, c := range map[string]struct {
			f    CountFilter
			want string
		}{
			"with subusers": {CountFilter{Tenant: account, Subusers: true},
				"mechanism LOGIN 0 5; mechanism PLAIN 2 0; network 192.0.2.0/24 2 0; network 198.51.100.0/24 0 5; result ok 2 0; result wrong 0 5; tls TLSv1.2 1 0; tls TLSv1.3 1 5; "},
			"account alone": {CountFilter{Tenant: account}, "mechanism PLAIN 2 0; network 192.0.2.0/24 2 0; result ok 2 0; tls TLSv1.2 1 0; tls TLSv1.3 1 0; "},
			"subuser":       {CountFilter{Tenant: sub}, "mechanism LOGIN 0 5; network 198.51.100.0/24 0 5; result wrong 0 5; tls TLSv1.3 0 5; "},
			"installation": {CountFilter{}, "mechanism LOGIN 0 5; mechanism PLAIN 2 1; network 192.0.2.0/24 2 0; network 198.51.100.0/24 0 5; network 203.0.113.0/24 0 1; " +
				"result ok 2 0; result unknown 0 1; result wrong 0 5; tls  0 1; tls TLSv1.2 1 0; tls TLSv1.3 1 5; "},
		} {
			got, err := s.LoginCounts(context.Background(), c.f)
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			for _, n := range got {
				text += fmt.Sprintf("%s %s %d %d; ", n.Dimension, n.Name, n.OK, n.Refused)
			}
			if text != c.want {
				t.Errorf("%s: %s\nwant %s", what, text, c.want)
			}
		}
		hours, err := s.LoginCounts(context.Background(), CountFilter{Tenant: account, Since: at, Until: at.Add(2 * time.Hour), By: time.Hour})
		if err != nil || len(hours) == 0 || !hours[0].At.Equal(at) {
			t.Errorf("by hour: %+v, %v", hours, err)
		}
	})
}

// TestLoginNamesAreBounded: whoever tries from ten thousand networks takes fifty
// rows an hour, and no place of those who are let in. Nothing goes uncounted.
func TestLoginNamesAreBounded(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	at := time.Now().Add(-time.Hour).Truncate(time.Hour)
	ctx := context.Background()
	var c Cursor
	for batch := range 10 {
		var logins []StoredLogin
		for i := range 1000 {
			logins = append(logins, StoredLogin{Login: relay.Login{At: at, Tenant: testTenant, Result: relay.LoginWrong, Count: 2,
				Mechanism: fmt.Sprint("M", i), Network: fmt.Sprintf("10.%d.%d.0/24", batch, i%250+i/250)}})
		}
		logins = append(logins, StoredLogin{Login: relay.Login{At: at, Tenant: testTenant, Result: relay.LoginOK, Count: 1, Network: fmt.Sprintf("192.0.%d.0/24", batch)}})
		next := c.next()
		next.set(1, int64(batch+1), 1)
		if err := s.ApplyLogins(ctx, logins, next); err != nil {
			t.Fatal(err)
		}
		c = next
	}
	got, err := s.LoginCounts(ctx, CountFilter{Tenant: testTenant, Since: at, Until: at.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	names, ok, refused := map[string]int{}, map[string]int64{}, map[string]int64{}
	own := 0
	for _, n := range got {
		names[n.Dimension]++
		ok[n.Dimension] += n.OK
		refused[n.Dimension] += n.Refused
		if n.Dimension == ByNetwork && n.OK > 0 {
			own++
		}
	}
	for _, d := range []string{ByResult, ByMechanism, ByTLS, ByNetwork} {
		if ok[d] != 10 || refused[d] != 20_000 || names[d] > maxNamesRefused+maxNamesOK+1 {
			t.Errorf("%s: %d names, %d and %d", d, names[d], ok[d], refused[d])
		}
	}
	if own != 10 || names[ByNetwork] > maxNamesRefused+11 {
		t.Errorf("%d of our ten networks, of %d", own, names[ByNetwork])
	}
}
