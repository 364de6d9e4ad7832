package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"postern/internal/relay"
)

func TestAuditReports(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a, other := c.account(), c.account()
		put := func(account relay.AccountID, at time.Time, score int64) AuditReport {
			t.Helper()
			r := AuditReport{ID: relay.NewID(at), Account: account, At: at, Score: score, Findings: 2, Body: []byte("body " + at.String())}
			if err := s.PutAuditReport(ctx, testBy, r); err != nil {
				t.Fatal(err)
			}
			return r
		}
		head := func(r AuditReport) AuditReport { r.Body = nil; return r }
		first := put(a, c.now.Add(-500*24*time.Hour), -20)
		second, third := put(a, c.now.Add(-time.Hour), 900), put(a, c.now, 1000)
		foreign := put(other, c.now, 5)
		all, err := s.AuditReports(ctx, a, 10)
		same(t, "reports", []AuditReport{head(third), head(second), head(first)}, all, err)
		all, err = s.AuditReports(ctx, a, 1)
		same(t, "the newest", []AuditReport{head(third)}, all, err)
		got, err := s.AuditReport(ctx, a, second.ID)
		same(t, "report", second, got, err)
		// Another account's is as absent as one that there is not.
		for _, id := range []relay.ID{foreign.ID, relay.NewID(c.now)} {
			if _, err := s.AuditReport(ctx, a, id); relay.KindOf(err) != relay.NotFound {
				t.Errorf("%s: %v", id, err)
			}
		}
		if n, err := s.PruneAuditReports(ctx, c.now); n != 1 || err != nil {
			t.Errorf("pruned %d, %v", n, err)
		}
		if _, err := s.AuditReport(ctx, a, first.ID); relay.KindOf(err) != relay.NotFound {
			t.Errorf("pruned one: %v", err)
		}
		for name, test := range map[string]struct {
			r    AuditReport
			kind relay.Kind
		}{
			"twice":      {second, relay.Conflict},
			"too large":  {AuditReport{ID: relay.NewID(c.now), Account: a, Body: make([]byte, maxAuditReport+1)}, relay.TooLarge},
			"no account": {AuditReport{ID: relay.NewID(c.now), Account: relay.AccountID{ID: relay.NewID(c.now)}}, relay.NotFound},
		} {
			if err := s.PutAuditReport(ctx, testBy, test.r); relay.KindOf(err) != test.kind {
				t.Errorf("%s: %v", name, err)
			}
		}
		changes, err := s.Changes(ctx, ChangeFilter{Account: a, Action: "audit.report"})
		if err != nil || len(changes) != 3 || changes[0].Subject != "report "+first.ID.String() || bytes.Contains(changes[0].After, []byte("body")) {
			t.Errorf("changes %+v, %v", changes, err)
		}
		if _, err := s.VerifyChanges(ctx, a); err != nil {
			t.Error(err)
		}
	})
}

// An account has its newest 500 reports, and another's are left alone.
func TestAuditReportsAreBounded(t *testing.T) {
	t.Parallel()
	s := newTest(t, Config{})
	ctx, c := context.Background(), newClaimant(t, s)
	a, other := c.account(), c.account()
	insert := func(account relay.AccountID, n int) {
		at := c.now.Add(time.Duration(n) * time.Second)
		err := s.eng.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, insertAuditReport, blob(relay.NewID(at)), blob(account.ID), micros(at), 1, 1, []byte("x"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range mostAuditReports + 5 {
		insert(a, n)
	}
	insert(other, 0)
	if err := s.PutAuditReport(ctx, testBy, AuditReport{ID: relay.NewID(c.now), Account: a, At: c.now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	all, err := s.AuditReports(ctx, a, 1<<30)
	if err != nil || len(all) != mostAuditReports || !all[len(all)-1].At.Equal(c.now.Add(6*time.Second)) {
		t.Errorf("%d reports, %v", len(all), err)
	}
	if all, err := s.AuditReports(ctx, other, 10); len(all) != 1 || err != nil {
		t.Errorf("another account's: %d, %v", len(all), err)
	}
}

func TestAuditSchedule(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, c := context.Background(), newClaimant(t, s)
		a, b := c.account(), c.account()
		got, err := s.AuditSchedule(ctx, a)
		same(t, "of nobody", AuditSchedule{Account: a}, got, err)
		want := AuditSchedule{Account: a, Every: "weekly", To: []string{"o@example.test"}, Options: json.RawMessage(`{"unused_days": 30}`), NextAt: c.now}
		later := AuditSchedule{Account: b, Every: "monthly", To: []string{"p@example.test"}, NextAt: c.now.Add(time.Minute)}
		for _, v := range []AuditSchedule{later, want} {
			if err := editSchedule(s, v); err != nil {
				t.Fatal(err)
			}
		}
		got, err = s.AuditSchedule(ctx, a)
		same(t, "schedule", want, got, err)

		claim := func(now time.Time, want ...AuditSchedule) {
			t.Helper()
			got, err := s.ClaimAuditSchedules(ctx, now, now.Add(10*time.Minute), 10)
			same(t, "due", want, got, err)
		}
		claim(c.now.Add(-time.Second))
		claim(c.now, want)
		claim(c.now)                                  // somebody is at it
		claim(c.now.Add(11*time.Minute), want, later) // and died
		next := c.now.Add(7 * 24 * time.Hour)
		if err := s.FinishAuditSchedule(ctx, want, c.now, next); err != nil {
			t.Fatal(err)
		}
		claim(c.now.Add(30*time.Minute), later)
		got, err = s.AuditSchedule(ctx, a)
		done := want
		done.NextAt, done.LastAt = next, c.now
		same(t, "made", done, got, err)

		// What was changed while a report was made counts; when it was made is kept.
		changed := AuditSchedule{Account: a, Every: "off"}
		if err := editSchedule(s, changed); err != nil {
			t.Fatal(err)
		}
		if err := s.FinishAuditSchedule(ctx, done, c.now, next.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		changed.LastAt = c.now
		got, err = s.AuditSchedule(ctx, a)
		same(t, "switched off", changed, got, err)
		claim(next.Add(time.Hour), later)
		if err := editSchedule(s, AuditSchedule{Account: relay.AccountID{ID: relay.NewID(c.now)}}); relay.KindOf(err) != relay.NotFound {
			t.Errorf("of no account: %v", err)
		}
		changes, err := s.Changes(ctx, ChangeFilter{Account: a, Action: "audit.schedule"})
		if err != nil || len(changes) != 2 || len(changes[0].Before) > 0 || !bytes.Contains(changes[1].Before, []byte("weekly")) {
			t.Errorf("changes %+v, %v", changes, err)
		}
	})
}

func TestKeyClients(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, w := context.Background(), newWorld(t, s)
		now := time.Now().UTC().Truncate(time.Microsecond)
		login := func(key relay.KeyID, at time.Time, addr, mechanism string, result relay.LoginResult) {
			s.RecordLogin(relay.Login{At: at, Key: key, Protocol: "smtp", Addr: netip.MustParseAddr(addr), Helo: "h.test", Mechanism: mechanism, TLS: "TLSv1.3", Result: result})
		}
		ago := func(days int) time.Time { return now.AddDate(0, 0, -days) }
		login(w.key.ID, ago(40), "192.0.2.1", "PLAIN", relay.LoginOK) // before the time that is asked for
		login(w.key.ID, ago(20), "192.0.2.1", "PLAIN", relay.LoginOK)
		login(w.key.ID, ago(1), "192.0.2.1", "PLAIN", relay.LoginOK)
		login(w.key.ID, ago(2), "192.0.2.1", "CRAM-MD5", relay.LoginOK)
		login(w.key.ID, ago(2), "192.0.2.1", "CRAM-MD5", relay.LoginWrong)
		login(relay.KeyID{ID: relay.NewID(now)}, ago(1), "192.0.2.2", "PLAIN", relay.LoginOK) // another account's
		flushed(t, s)
		use := func(mechanism string, first, last time.Time, n int64) KeyClientUse {
			return KeyClientUse{KeyClient: KeyClient{Key: w.key.ID, Protocol: "smtp", Addr: "192.0.2.1", Helo: "h.test", Mechanism: mechanism, TLS: "TLSv1.3"}, First: first, Last: last, Logins: n}
		}
		got, since, err := s.KeyClients(ctx, w.account.ID, ago(30))
		same(t, "programs", []KeyClientUse{use("PLAIN", ago(20), ago(1), 2), use("CRAM-MD5", ago(2), ago(2), 1)}, got, err)
		if !since.Equal(ago(30)) {
			t.Errorf("since %s", since)
		}
		got, _, err = s.KeyClients(ctx, relay.AccountID{ID: relay.NewID(now)}, ago(30))
		same(t, "of nobody", []KeyClientUse{}, got, err)
	})
}

func TestAccountChecksAndKeys(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, cfg Config) {
		s := newTest(t, cfg)
		ctx, w := context.Background(), newWorld(t, s)
		other := newWorld(t, s)
		at := time.Now().UTC().Truncate(time.Microsecond)
		for _, d := range []relay.Domain{w.domain, other.domain} {
			if err := s.PutDomainCheck(ctx, relay.DomainCheck{Domain: d.ID, At: at, Policy: "none", DKIMAligned: "strict"}); err != nil {
				t.Fatal(err)
			}
		}
		var got []relay.DomainCheck
		err := s.AccountChecks(ctx, w.account.ID, func(c relay.DomainCheck) { got = append(got, c) })
		if err != nil || len(got) != 1 || got[0].Domain != w.domain.ID || !got[0].At.Equal(at) || got[0].Policy != "none" || got[0].DKIMAligned != "strict" {
			t.Errorf("checks %+v, %v", got, err)
		}
		keys, err := s.AccountDKIMKeys(ctx, w.account.ID)
		want := w.dkim
		want.Sealed = nil // no private key leaves for this
		same(t, "DKIM keys", []relay.DKIMKey{want}, keys, err)
		name, version, source, err := s.EngineVersion(ctx)
		if err != nil || version == "" || (name == "SQLite") != (cfg.URL == "") || (source == "") != (cfg.URL != "") {
			t.Errorf("engine %s %s %s, %v", name, version, source, err)
		}
	})
}

// A report of an account with 10,000 keys out of 400 days of logins reads the days
// that it is about.
func BenchmarkKeyClients(b *testing.B) {
	s, _ := openTest(b, Config{})
	ctx := context.Background()
	c := newClaimant(b, s)
	a := c.account()
	const keys, days, perDay = 10_000, 400, 2_000
	ids := make([]relay.ID, keys)
	write := func(fn func(ctx context.Context, tx *sql.Tx) error) {
		if err := s.eng.transact(ctx, fn); err != nil {
			b.Fatal(err)
		}
	}
	write(func(ctx context.Context, tx *sql.Tx) error {
		for i := range ids {
			ids[i] = relay.NewID(c.now)
			k := relay.Key{ID: relay.KeyID{ID: ids[i]}, Account: a, Kind: relay.KeyAPI, Name: fmt.Sprint(i), Mode: relay.KeyLive, CreatedAt: c.now}
			args, err := keyArgs(&k, 1)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, insertKey, args...); err != nil {
				return err
			}
		}
		return nil
	})
	for d := range days {
		at := c.now.AddDate(0, 0, -d)
		if _, err := s.days.make(s, &loginFamily, dayOf(micros(at))); err != nil {
			b.Fatal(err)
		}
		query := fmt.Sprintf(loginFamily.insert, fmt.Sprintf("logins_%d", dayOf(micros(at))))
		write(func(ctx context.Context, tx *sql.Tx) error {
			for i := range perDay {
				_, err := tx.ExecContext(ctx, query, int64(d*perDay+i+1), micros(at), 1, "ok", blob(a.ID), noBlob, blob(ids[(d*perDay+i)%keys]),
					"192.0.2.1", "192.0.2.0/24", "smtp", "submission", "PLAIN", "", "h.test", "TLSv1.3 TLS_AES_128_GCM_SHA256", "")
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.ResetTimer()
	for b.Loop() {
		all, _, err := s.KeyClients(ctx, a, c.now.AddDate(0, 0, -30))
		if err != nil || len(all) != keys {
			b.Fatalf("%d programs, %v", len(all), err)
		}
	}
}
