package v3

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/auth"
	"postern/internal/relay"
	"postern/internal/store"
)

// fakeBans is a list of bans; the real guard is behind it where what it takes
// matters.
type fakeBans struct {
	bans     []relay.Ban
	recorded []relay.Change
	*auth.Guard
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeBans{Guard: auth.NewGuard(auth.GuardConfig{Now: w.clock})}
		w.extra["bans"], s.Bans = f, f
		s.RecordChange = func(_ context.Context, by store.By, c relay.Change) error {
			f.recorded = append(f.recorded, c)
			return w.noted(by, c.Action+" "+c.Subject)
		}
	})
	ban := func(w *world, of relay.Tenant) ask {
		k, _ := w.addKey(of, "mail.send")
		bansOf(w).add(relay.BanKey, k.ID.String())
		return ask{Path: banPath + "/key/" + k.ID.String()}
	}
	addFixtures(map[string]fixture{
		"GET " + banPath: {Status: 200, Make: func(w *world, of relay.Tenant) ask {
			ban(w, of)
			return ask{Path: banPath}
		}},
		"POST " + banPath:                          plain(201, banPath, `{"scope":"address","subject":"198.51.100.7","seconds":60}`),
		"DELETE " + banPath + "/{scope}/{subject}": {Status: 204, Make: ban, Absent: ask{Path: banPath + "/key/" + absentID}},
		"DELETE " + banPath + "/{scope}/{subject}/{bits}": {Status: 204, Make: func(w *world, _ relay.Tenant) ask {
			bansOf(w).add(relay.BanNetwork, "198.51.100.0/24")
			return ask{Path: banPath + "/network/198.51.100.0/24"}
		}},
	})
}

func bansOf(w *world) *fakeBans { return w.extra["bans"].(*fakeBans) }

func (f *fakeBans) add(scope relay.BanScope, subject string) {
	f.bans = append(f.bans, relay.Ban{Scope: scope, Subject: subject, Failures: 50, Since: t0, Until: t0.Add(time.Hour)})
}

func (f *fakeBans) Bans(now time.Time) []relay.Ban {
	return append(slices.Clone(f.bans), f.Guard.Bans(now)...)
}

func (f *fakeBans) Lift(scope relay.BanScope, subject string) bool {
	n := len(f.bans)
	f.bans = slices.DeleteFunc(f.bans, func(b relay.Ban) bool { return b.Scope == scope && b.Subject == subject })
	return len(f.bans) < n || f.Guard.Lift(scope, subject)
}

// AP-01, AP-02: a tenant sees and lifts the bans on its own account and keys; of
// addresses, and of others' keys, it learns nothing.
func TestBansAreTheTenantsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := map[relay.Tenant]string{}
	for _, of := range []relay.Tenant{w.acme, w.staging, w.globex} {
		k, _ := w.addKey(of, "mail.send")
		keys[of] = k.ID.String()
		bansOf(w).add(relay.BanKey, k.ID.String())
	}
	for _, of := range []relay.Tenant{w.acme, w.globex} {
		bansOf(w).add(relay.BanAccount, of.Account.String())
	}
	bansOf(w).add(relay.BanAddress, "198.51.100.7")
	bansOf(w).add(relay.BanNetwork, "198.51.100.0/24")
	sees := func(c *client) string {
		var out []string
		for _, b := range decode[banAnswer](t, c.want("GET", banPath, "", 200, nil)).Result {
			out = append(out, string(b.Scope)+" "+b.Subject)
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	scopes := []string{"access_settings.activity.read", "access_settings.whitelist.update", "subusers.read"}
	acme, staging, receipts := w.as(w.acme, scopes...), w.as(w.staging, scopes...), w.as(w.receipts, scopes...)
	for _, x := range []struct {
		c    *client
		want string
	}{
		{acme, "account " + w.acme.Account.String() + ", key " + keys[w.acme]},
		{staging, "key " + keys[w.staging]},
		{acme.with("on-behalf-of", "staging"), "key " + keys[w.staging]},
		{receipts, ""},
	} {
		if got := sees(x.c); got != x.want {
			t.Errorf("sees %q, want %q", got, x.want)
		}
	}
	if got := sees(w.operator("")); strings.Count(got, ",") != 6 {
		t.Errorf("the operator sees %q", got)
	}
	absent := acme.want("DELETE", banPath+"/key/"+absentID, "", 404, nil).Body
	for _, subject := range []string{"key/" + keys[w.staging], "key/" + keys[w.globex], "account/" + w.globex.Account.String(), "address/198.51.100.7", "nonsense/x"} {
		a := acme.want("DELETE", banPath+"/"+subject, "", 404, nil)
		if strip(a) != strip(answer{Header: a.Header, Body: absent}) {
			t.Errorf("%s: %s", subject, a.Body)
		}
	}
	acme.want("DELETE", banPath+"/network/198.51.100.0/24", "", 404, nil)
	staging.want("DELETE", banPath+"/account/"+w.acme.Account.String(), "", 404, nil)
	if len(bansOf(w).bans) != 7 {
		t.Errorf("%d bans left", len(bansOf(w).bans))
	}
	acme.want("DELETE", banPath+"/account/"+w.acme.Account.String(), "", 204, nil)
	acme.want("DELETE", banPath+"/key/"+keys[w.acme], "", 204, nil)
	acme.with("on-behalf-of", "staging").want("DELETE", banPath+"/key/"+keys[w.staging], "", 204, nil)
	acme.want("DELETE", banPath+"/key/"+keys[w.acme], "", 404, nil) // no longer there
	if r := bansOf(w).recorded; len(r) != 3 || r[0].Account != w.acme.Account || r[0].By != "key "+acme.key.ID.String() || r[0].Action != "ban.lift" {
		t.Errorf("recorded %+v", r)
	}
	w.operator("").want("DELETE", banPath+"/network/198.51.100.0/24", "", 204, nil)
	w.operator("").want("DELETE", banPath+"/address/198.51.100.7", "", 204, nil)
	w.operator("").want("DELETE", banPath+"/address/198.51.100.7", "", 404, nil)
	if got := sees(w.operator("")); got != "account "+w.globex.Account.String()+", key "+keys[w.globex] {
		t.Errorf("left: %q", got)
	}
}

// strip is an answer without its request id.
func strip(a answer) string { return strings.ReplaceAll(a.Body, a.Header.Get("X-Request-Id"), "") }

// The operator shuts addresses and networks out; the guard has the last word.
func TestSetBan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.operator("")
	for in, want := range map[string]string{
		`{"scope":"address","subject":"198.51.100.7","seconds":60}`:         "198.51.100.7",
		`{"scope":"address","subject":"::ffff:198.51.100.8","seconds":60}`:  "198.51.100.8",
		`{"scope":"network","subject":"203.0.113.0/24","seconds":3600}`:     "203.0.113.0/24",
		`{"scope":"network","subject":"2001:db8:5::/48","seconds":86400}`:   "2001:db8:5::/48",
		`{"scope":"network","subject":"192.0.2.128/25","seconds":31622400}`: "192.0.2.128/25",
	} {
		b := decode[relay.Ban](t, c.want("POST", banPath, in, 201, nil))
		if b.Subject != want || !b.Manual || b.By != "uid 0" || !b.Since.Equal(t0) {
			t.Errorf("%s: %+v", in, b)
		}
	}
	six := decode[relay.Ban](t, c.want("POST", banPath, `{"scope":"address","subject":"2001:db8::1","seconds":60}`, 201, nil))
	if p := netip.MustParsePrefix("2001:db8::/64"); !strings.Contains(six.Subject, p.Addr().String()) {
		t.Errorf("%+v", six)
	}
	c.want("DELETE", banPath+"/address/198.51.100.7", "", 204, nil)
	c.want("DELETE", banPath+"/network/2001:db8:5::/48", "", 204, nil)
	for in, field := range map[string]string{
		`{"scope":"address","subject":"198.51.100.7"}`:                        "seconds",
		`{"scope":"address","subject":"198.51.100.7","seconds":-1}`:           "seconds",
		`{"scope":"address","subject":"198.51.100.7","seconds":99999999999}`:  "seconds",
		`{"scope":"address","subject":"198.51.100.0/24","seconds":60}`:        "subject",
		`{"scope":"address","subject":"here","seconds":60}`:                   "subject",
		`{"scope":"network","subject":"0.0.0.0/0","seconds":60}`:              "subject",
		`{"scope":"key","subject":"` + absentID + `","seconds":60}`:           "subject",
		`{"scope":"network","subject":"203.0.113.0/24","seconds":1,"by":"x"}`: "by", // AP-04
	} {
		c.refused("POST", banPath, in, 400, "", field)
	}
	// Who shut whom out, and who let them in again, stands in the installation's record.
	var record []string
	for _, r := range bansOf(w).recorded {
		record = append(record, fmt.Sprint(r.Action, " ", r.Subject, " ", r.By, " ", r.Account.IsZero(), len(r.Before) > 0, len(r.After) > 0))
	}
	if len(record) != 8 || !slices.Contains(record, "ban.set network 203.0.113.0/24 uid 0 true false true") || !slices.Contains(record, "ban.lift network 2001:db8:5::/48 uid 0 true true false") {
		t.Errorf("recorded %q", record)
	}
	w.pass(2 * time.Minute)
	if all := decode[banAnswer](t, c.want("GET", banPath, "", 200, nil)); len(all.Result) != 2 {
		t.Errorf("after two minutes: %+v", all.Result)
	}
}
