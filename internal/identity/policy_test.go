package identity

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// field is the member that a *relay.Error of the given kind is about; "" for no error.
func field(t *testing.T, err error, kind relay.Kind) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*relay.Error](err)
	if !ok || e.Kind != kind || e.Field == "" || e.Public == "" {
		t.Fatalf("%#v is not an error of kind %v with field and words", err, kind)
	}
	return e.Field
}

func nets(s ...string) (out []netip.Prefix) {
	for _, n := range s {
		out = append(out, netip.MustParsePrefix(n))
	}
	return out
}

func TestCheckNewKey(t *testing.T) {
	strict := relay.Policy{MaxKeyLife: 30 * day, ForbidFullAccess: true, RequireNetworks: true}
	good := relay.Key{Scopes: []string{relay.ScopeMailSend}, Networks: nets("192.0.2.0/24"), ExpiresAt: t0.Add(30 * day)}
	tests := []struct {
		name   string
		policy relay.Policy
		edit   func(*relay.Key)
		want   string
		words  string
	}{
		{name: "within all", policy: strict},
		{name: "no policy, no end", edit: func(k *relay.Key) { k.ExpiresAt, k.Networks, k.Scopes = time.Time{}, nil, relay.FullAccess() }},
		{name: "ended already", edit: func(k *relay.Key) { k.ExpiresAt = t0 }, want: "expires_at"},
		{name: "no end", policy: strict, edit: func(k *relay.Key) { k.ExpiresAt = time.Time{} }, want: "expires_at", words: "30 days"},
		{name: "too long", policy: strict, edit: func(k *relay.Key) { k.ExpiresAt = t0.Add(30*day + 1) }, want: "expires_at", words: "2026-12-01T00:00:00Z"},
		{name: "full access", policy: strict, edit: func(k *relay.Key) { k.Scopes = relay.FullAccess() }, want: "scopes"},
		{name: "no networks", policy: strict, edit: func(k *relay.Key) { k.Networks = nil }, want: "networks"},
		{name: "hosts instead", policy: strict, edit: func(k *relay.Key) { k.Networks, k.Hosts = nil, []string{"ci.acme.test"} }},
		// AU-32: a slip that lets everybody in is not a restriction.
		{name: "all of IPv4", policy: strict, edit: func(k *relay.Key) { k.Networks = nets("0.0.0.0/0") }, want: "networks"},
		{name: "all of IPv4 in halves", policy: strict, edit: func(k *relay.Key) { k.Networks = nets("0.0.0.0/1", "128.0.0.0/1") }, want: "networks"},
		{name: "all of IPv4 as IPv6", policy: strict, edit: func(k *relay.Key) { k.Networks = nets("::ffff:0.0.0.0/96") }, want: "networks"},
		{name: "all of IPv6", policy: strict, edit: func(k *relay.Key) { k.Networks = nets("192.0.2.0/24", "::/0") }, want: "networks"},
		{name: "a canary opens nothing", policy: strict, edit: func(k *relay.Key) { *k = relay.Key{Canary: true, Scopes: relay.FullAccess()} }},
	}
	for _, tt := range tests {
		k := good
		if tt.edit != nil {
			tt.edit(&k)
		}
		err := CheckNewKey(tt.policy, k, t0)
		if got := field(t, err, relay.Invalid); got != tt.want || err != nil && !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %q (%v), want %q with %q", tt.name, got, err, tt.want, tt.words)
		}
	}
}

// AP-03: what the creator may not do, its key may not either.
func TestNarrower(t *testing.T) {
	parent := relay.Key{
		Account: acme, Subuser: sub, Scopes: []string{"api_keys.create", relay.ScopeMailSend}, Mode: relay.KeyHold,
		Networks: nets("192.0.2.0/25", "192.0.2.128/25", "2001:db8::/48"), Hosts: []string{"ci.acme.test"},
		Senders: []string{"acme.test", "News@shop.test"}, RecipientDomains: []string{"one.test"},
		PerMinute: 1, PerHour: 2, PerDay: 3, PerMonth: 4, Hours: "mon-fri 08-18", ExpiresAt: t0.Add(day),
	}
	tests := []struct {
		name string
		edit func(c *relay.Key)
		want string
	}{
		{"the same", func(*relay.Key) {}, ""},
		{"less of all", func(c *relay.Key) {
			c.Scopes, c.Mode, c.Networks, c.Hosts = []string{relay.ScopeMailSend}, relay.KeyTest, nets("192.0.2.7/32"), nil
			c.Senders, c.PerMonth, c.Hours, c.ExpiresAt = []string{"a@ACME.test", "News@SHOP.test"}, 1, "tue 09:30-10", t0
		}, ""},
		{"another account", func(c *relay.Key) { c.Account = other }, "subuser_id"},
		{"a sibling", func(c *relay.Key) { c.Subuser = sub2 }, "subuser_id"},
		{"its parent", func(c *relay.Key) { c.Subuser = relay.SubuserID{} }, "subuser_id"},
		{"a scope more", func(c *relay.Key) { c.Scopes = append([]string{"api_keys.read"}, c.Scopes...) }, "scopes"},
		{"from anywhere", func(c *relay.Key) { c.Networks, c.Hosts = nil, nil }, "networks"},
		{"two networks that are one", func(c *relay.Key) { c.Networks = nets("192.0.2.0/24") }, ""},
		{"the same in IPv6 clothes", func(c *relay.Key) { c.Networks = nets("::ffff:192.0.2.0/120") }, ""},
		{"a bit too wide", func(c *relay.Key) { c.Networks = nets("192.0.2.0/23") }, "networks"},
		{"everything in IPv6", func(c *relay.Key) { c.Networks = nets("::/0") }, "networks"},
		{"another network", func(c *relay.Key) { c.Networks = nets("192.0.2.7/32", "198.51.100.7/32") }, "networks"},
		{"another host", func(c *relay.Key) { c.Hosts = []string{"CI.acme.test", "evil.test"} }, "hosts"},
		{"any sender", func(c *relay.Key) { c.Senders = nil }, "senders"},
		{"all of a domain", func(c *relay.Key) { c.Senders = []string{"shop.test"} }, "senders"},
		{"a subdomain", func(c *relay.Key) { c.Senders = []string{"a@mail.acme.test"} }, "senders"},
		{"another spelling of a local part", func(c *relay.Key) { c.Senders = []string{"news@shop.test"} }, "senders"},
		{"an @ in a local part", func(c *relay.Key) { c.Senders = []string{`"x@acme.test"@evil.test`} }, "senders"},
		{"any recipient", func(c *relay.Key) { c.RecipientDomains = nil }, "recipient_domains"},
		{"another recipient", func(c *relay.Key) { c.RecipientDomains = []string{"one.test", "two.test"} }, "recipient_domains"},
		{"without end", func(c *relay.Key) { c.ExpiresAt = time.Time{} }, "expires_at"},
		{"longer", func(c *relay.Key) { c.ExpiresAt = t0.Add(day + 1) }, "expires_at"},
		{"live", func(c *relay.Key) { c.Mode = relay.KeyLive }, "mode"},
		{"live by default", func(c *relay.Key) { c.Mode = "" }, "mode"},
		{"per minute without limit", func(c *relay.Key) { c.PerMinute = 0 }, "per_minute"},
		{"per hour", func(c *relay.Key) { c.PerHour = 3 }, "per_hour"},
		{"per day below zero", func(c *relay.Key) { c.PerDay = -1 }, "per_day"},
		{"per month", func(c *relay.Key) { c.PerMonth = 5 }, "per_month"},
		{"at any time", func(c *relay.Key) { c.Hours = "" }, "hours"},
		{"a minute too long", func(c *relay.Key) { c.Hours = "mon 08-18:01" }, "hours"},
	}
	for _, tt := range tests {
		c := parent
		tt.edit(&c)
		if got := field(t, Narrower(parent, c), relay.Forbidden); got != tt.want {
			t.Errorf("%s: refused for %q, want %q", tt.name, got, tt.want)
		}
	}
	if err := Narrower(relay.Key{Account: acme}, relay.Key{Account: acme, Subuser: sub}); err != nil {
		t.Errorf("an account's key for its subuser: %v", err)
	}
	if err := Narrower(relay.Key{Mode: relay.KeyTest}, relay.Key{Mode: relay.KeyHold}); err == nil {
		t.Error("a test key made one whose mail can be released")
	}
}

func TestExpiring(t *testing.T) {
	long := relay.Key{Name: "k", CreatedAt: t0.Add(-90 * day), ExpiresAt: t0}
	at := func(days float64) time.Time { return t0.Add(-time.Duration(days * float64(day))) }
	tests := []struct {
		name string
		edit func(*relay.Key)
		now  time.Time
		want []int
	}{
		{"not yet", nil, at(14.01), nil},
		{"14 days before", nil, at(14), []int{14}},
		{"told then", func(k *relay.Key) { k.RemindedAt = at(14) }, at(3.01), nil},
		{"3 days before", func(k *relay.Key) { k.RemindedAt = at(14) }, at(3), []int{3}},
		{"1 day before", func(k *relay.Key) { k.RemindedAt = at(3) }, at(1), []int{1}},
		{"the last one, once", func(k *relay.Key) { k.RemindedAt = at(1) }, at(0.1), nil},
		{"missed ones come as one", nil, at(0.5), []int{1}},
		{"ended", nil, t0, nil},
		{"no end", func(k *relay.Key) { k.ExpiresAt = time.Time{} }, at(1), nil},
		{"made with less life than that", func(k *relay.Key) { k.CreatedAt = at(2) }, at(1.9), nil},
		{"but its last day is told", func(k *relay.Key) { k.CreatedAt = at(2) }, at(1), []int{1}},
		{"given more life, told again", func(k *relay.Key) { k.RemindedAt = at(30) }, at(14), []int{14}},
		{"revoked", func(k *relay.Key) { k.RevokedAt = at(20) }, at(1), nil},
		{"disabled", func(k *relay.Key) { k.DisabledAt = at(20) }, at(1), nil},
		{"canary", func(k *relay.Key) { k.Canary = true }, at(1), nil},
	}
	for _, tt := range tests {
		k := long
		if tt.edit != nil {
			tt.edit(&k)
		}
		var got []int
		for _, r := range Expiring([]*relay.Key{&k}, tt.now) {
			got = append(got, r.Days)
			if a := r.Alert(); r.Ending != EndingKey || a.Kind != relay.AlertExpiry || !strings.Contains(a.Text, "2026-11-01T00:00:00Z") {
				t.Errorf("%s: %+v", tt.name, a)
			}
		}
		if len(got) != len(tt.want) || len(got) > 0 && got[0] != tt.want[0] {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestExpiringPrevious: the end of an old secret is told only while somebody
// still uses it.
func TestExpiringPrevious(t *testing.T) {
	k := relay.Key{Name: "k", CreatedAt: t0.Add(-90 * day), RotatedAt: t0, Previous: &relay.Verifier{}, PreviousUntil: t0.Add(7 * day)}
	now := t0.Add(6 * day)
	if r := Expiring([]*relay.Key{&k}, now); len(r) != 0 {
		t.Errorf("nobody uses it: %v", r)
	}
	k.PreviousUsedAt, k.PreviousUsedFrom = t0.Add(day), "192.0.2.7"
	if r := Expiring([]*relay.Key{&k}, now.Add(-1)); len(r) != 0 {
		t.Errorf("too early: %v", r)
	}
	r := Expiring([]*relay.Key{&k}, now)
	if len(r) != 1 || r[0].Ending != EndingPrevious || !strings.Contains(r[0].Alert().Text, "192.0.2.7") {
		t.Fatalf("%v", r)
	}
	k.RemindedAt = now
	if r := Expiring([]*relay.Key{&k}, now.Add(time.Hour)); len(r) != 0 {
		t.Errorf("told twice: %v", r)
	}
}

func TestPreviousSecret(t *testing.T) {
	k := &relay.Key{CreatedAt: t0, ExpiresAt: t0.Add(20 * day)}
	now := t0.Add(10 * day)
	for name, tt := range map[string]struct {
		policy  relay.Policy
		overlap time.Duration
		want    time.Time
	}{
		"as asked":                     {overlap: day, want: now.Add(day)},
		"at once":                      {want: now},
		"never before now":             {overlap: -day, want: now},
		"not longer than the key":      {overlap: 30 * day, want: k.ExpiresAt},
		"not longer than a secret may": {policy: relay.Policy{MaxKeyLife: 12 * day}, overlap: 7 * day, want: t0.Add(12 * day)},
		"already too old":              {policy: relay.Policy{MaxKeyLife: day}, overlap: day, want: now},
	} {
		if got := PreviousEnd(tt.policy, k, now, tt.overlap); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	r := &relay.Key{Previous: &relay.Verifier{}, PreviousUntil: t0}
	if PreviousValid(r, t0) || !PreviousValid(r, t0.Add(-1)) || PreviousValid(&relay.Key{PreviousUntil: t0}, t0.Add(-1)) {
		t.Error("the old secret's life is wrong")
	}
}
