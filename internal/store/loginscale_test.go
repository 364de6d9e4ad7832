package store

import (
	"context"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// putLogins writes n logins of the last days, the accounts in turn: every rare-th one
// over TLS 1.2.
func putLogins(t testing.TB, s *Store, accounts []relay.AccountID, n, days, rare int) {
	t.Helper()
	from := time.Now().UTC().AddDate(0, 0, -days)
	step := time.Duration(days) * 24 * time.Hour / time.Duration(n)
	for i := 0; i < n; {
		o := newOp("logins")
		for ; i < n && len(o.events) < 250; i++ {
			l := relay.Login{At: from.Add(time.Duration(i) * step), Protocol: "smtp", Listener: "submission", Mechanism: "PLAIN", Count: 1, Result: relay.LoginOK,
				Tenant: relay.Tenant{Account: accounts[i%len(accounts)]}, Key: relay.KeyID{ID: relay.ID{byte(i % 200), 1}}, Tried: "SG.0123456789abcdefghij",
				Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Network: "192.0.2.0/24", Helo: "client.example.test", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256"}
			if i%rare == 0 {
				l.TLS = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
			}
			o.events = append(o.events, loginRow(&loginRecord{Login: l, id: position(s.epoch, s.rec.seq.Add(1))}))
		}
		if err := s.w.do(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyLogins measures searching login records: what is rare costs a look at all of
// them. It runs on many with POSTERN_TEST_LOGINS=300000 only; a few thousand are always
// tried.
func TestManyLogins(t *testing.T) {
	t.Parallel()
	n, rounds := 3000, 2
	if v := os.Getenv("POSTERN_TEST_LOGINS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
		rounds = 20
	}
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		var accounts []relay.AccountID
		for range 20 {
			accounts = append(accounts, relay.AccountID{ID: relay.NewID(time.Now())})
		}
		putLogins(t, s, accounts, n, 30, n/5)
		for _, m := range []struct {
			name string
			f    LoginFilter
			want int
		}{
			{"newest", LoginFilter{}, 100},
			{"of an account", LoginFilter{Account: accounts[3]}, 100},
			{"TLS 1.3", LoginFilter{TLS: "TLSv1.3"}, 100},
			{"TLS 1.2, which is rare", LoginFilter{TLS: "TLSv1.2"}, 5},
			{"TLS 1.2 of an account without", LoginFilter{TLS: "TLSv1.2", Account: accounts[3]}, 0},
			{"in the clear, which nobody is", LoginFilter{TLS: LoginNone}, 0},
			{"by a mechanism that nobody uses", LoginFilter{Mechanism: "LOGIN"}, 0},
		} {
			m.f.Limit = 100
			var times []time.Duration
			cpu := cpuTime()
			for range rounds {
				began := time.Now()
				got, since, err := s.LatestLogins(context.Background(), m.f, time.Minute)
				if err != nil || len(got) != m.want || !since.IsZero() {
					t.Fatalf("%s: %d, want %d; since %v, %v", m.name, len(got), m.want, since, err)
				}
				times = append(times, time.Since(began))
			}
			t.Logf("%-32s p50 %v, p95 %v, CPU %v", m.name, middle(times, 50), middle(times, 95), (cpuTime()-cpu)/time.Duration(rounds))
		}
	})
}

// TestLatestLogins: the newest that fit come from as far back as they are, each once;
// without time to look for more there are those of the last day only, and it is said.
func TestLatestLogins(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
		cfg.Now = func() time.Time { return now }
		s := newTest(t, cfg)
		midnight := now.Truncate(24 * time.Hour)
		for i, at := range []time.Time{
			now.AddDate(0, 0, -300), midnight.AddDate(0, 0, -3).Add(-time.Microsecond), midnight.AddDate(0, 0, -3), midnight.Add(-time.Microsecond), midnight, now, now.Add(time.Hour),
		} {
			l := relay.Login{At: at, Tried: strconv.Itoa(i), Result: relay.LoginOK, Mechanism: "PLAIN", TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256"}
			switch i % 3 {
			case 0:
				l.TLS = "TLSv1.2 X"
			case 1:
				l.TLS, l.Mechanism = "", ""
			}
			s.RecordLogin(l)
		}
		flushed(t, s)
		for name, c := range map[string]struct {
			f     LoginFilter
			spent bool
			want  string
			since time.Time
		}{
			"all":                   {LoginFilter{}, false, "0 1 2 3 4 5 6", time.Time{}},
			"as many as are wanted": {LoginFilter{Limit: 4}, false, "3 4 5 6", time.Time{}},
			"TLS 1.2":               {LoginFilter{TLS: "TLSv1.2"}, false, "0 3 6", time.Time{}},
			"TLS 1.3":               {LoginFilter{TLS: "TLSv1.3"}, false, "2 5", time.Time{}},
			"in the clear":          {LoginFilter{TLS: LoginNone}, false, "1 4", time.Time{}},
			"no version":            {LoginFilter{TLS: "TLSv1"}, false, "", time.Time{}},
			"no mechanism":          {LoginFilter{Mechanism: LoginNone}, false, "1 4", time.Time{}},
			"PLAIN":                 {LoginFilter{Mechanism: "PLAIN"}, false, "0 2 3 5 6", time.Time{}},
			"since":                 {LoginFilter{Since: midnight.AddDate(0, 0, -3)}, false, "2 3 4 5 6", time.Time{}},
			"since today":           {LoginFilter{Since: midnight.Add(time.Hour)}, true, "5 6", time.Time{}},
			"until":                 {LoginFilter{Until: midnight.Add(-time.Microsecond)}, false, "0 1 2 3", time.Time{}},
			"until and since":       {LoginFilter{Until: midnight, Since: midnight.AddDate(0, 0, -3)}, false, "2 3 4", time.Time{}},
			"no time":               {LoginFilter{}, true, "4 5 6", midnight},
			"no time, until":        {LoginFilter{Until: midnight.Add(-time.Microsecond)}, true, "3", midnight.AddDate(0, 0, -1)},
			"no time, but enough":   {LoginFilter{Limit: 2}, true, "5 6", time.Time{}},
			"an empty span":         {LoginFilter{Since: now, Until: midnight}, false, "", time.Time{}},
		} {
			budget := time.Minute
			if c.spent {
				budget = -1
			}
			got, since, err := s.LatestLogins(context.Background(), c.f, budget)
			text := ""
			for _, l := range got {
				text += " " + l.Tried
			}
			if text = strings.TrimSpace(text); err != nil || text != c.want || !since.Equal(c.since) {
				t.Errorf("%s: %q since %v, want %q since %v; %v", name, text, since, c.want, c.since, err)
			}
		}
	})
}
