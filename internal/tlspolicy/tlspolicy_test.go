package tlspolicy

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
)

func TestLevelRoundTrip(t *testing.T) {
	t.Parallel()
	for _, l := range []Level{Opportunistic, Required, Verified} {
		got, err := ParseLevel(l.String())
		if err != nil || got != l {
			t.Errorf("ParseLevel(%q) = %v, %v", l, got, err)
		}
	}
	if got, err := ParseLevel(""); got != Opportunistic || err != nil {
		t.Errorf("ParseLevel of nothing = %v, %v", got, err)
	}
	for _, bad := range []string{"REQUIRED", "none", "verified ", "level 3"} {
		if _, err := ParseLevel(bad); err == nil {
			t.Errorf("ParseLevel(%q) accepted", bad)
		}
	}
	if got := Level(9).String(); got != "level 9" {
		t.Errorf("unknown level prints as %q", got)
	}
}

func TestStrongestNeverWeakens(t *testing.T) {
	t.Parallel()
	all := []Level{Opportunistic, Required, Verified}
	for _, a := range all {
		for _, b := range all {
			for _, c := range all {
				got := Strongest(a, b, c)
				if got < a || got < b || got < c || (got != a && got != b && got != c) {
					t.Errorf("Strongest(%v, %v, %v) = %v", a, b, c, got)
				}
			}
		}
	}
	if Strongest() != Opportunistic {
		t.Error("Strongest of nothing is not opportunistic")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	table, err := NewTable(map[string]Level{
		"bank.test":          Verified,
		".bank.test":         Required,
		".Old.Bank.test.":    Opportunistic,
		"xn--bcher-kva.test": Required,
	})
	if err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[string]string{
		"bank.test":          "verified",
		"mail.bank.test":     "required",
		"a.b.bank.test":      "required",
		"x.old.bank.test":    "opportunistic",
		"old.bank.test":      "required",
		"notbank.test":       "none",
		"test":               "none",
		"":                   "none",
		"xn--bcher-kva.test": "required",
	} {
		got := "none"
		if l, ok := table.Lookup(domain); ok {
			got = l.String()
		}
		if got != want {
			t.Errorf("Lookup(%q) = %s, want %s", domain, got, want)
		}
	}
	var empty *Table
	if _, ok := empty.Lookup("bank.test"); ok {
		t.Error("a nil table knows a destination")
	}
}

func TestTableRefuses(t *testing.T) {
	t.Parallel()
	for name, levels := range map[string]map[string]Level{
		"empty":          {"": Required},
		"only a dot":     {".": Required},
		"a U-label":      {"bücher.test": Required},
		"a wildcard":     {"*.bank.test": Required},
		"an address":     {"a@bank.test": Required},
		"an empty label": {"a..test": Required},
		"a long label":   {strings.Repeat("a", 64) + ".test": Required},
		"unknown level":  {"bank.test": Level(3)},
		"twice":          {"bank.test": Required, "BANK.test": Verified},
	} {
		if _, err := NewTable(levels); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type publisher struct {
	r   Requirement
	err error
}

func (p publisher) Published(context.Context, string) (Requirement, error) { return p.r, p.err }

func TestDecide(t *testing.T) {
	t.Parallel()
	table, err := NewTable(map[string]Level{"required.test": Required, "verified.test": Verified})
	if err != nil {
		t.Fatal(err)
	}
	refuse := errors.New("not listed")
	published := publisher{r: Requirement{Level: Verified, Source: "mta-sts", AllowHost: func(string) error { return refuse }}}
	for _, tc := range []struct {
		name, domain string
		publishers   []Publisher
		asked        []Level
		level        Level
		source       string
	}{
		{"nobody asks", "other.test", nil, nil, Opportunistic, "default"},
		{"pool or account asks", "other.test", nil, []Level{Opportunistic, Required}, Required, "request"},
		{"the destination's level stands against a weaker one", "verified.test", nil, []Level{Required}, Verified, "destination"},
		{"a stronger request wins over the destination's level", "required.test", nil, []Level{Verified}, Verified, "request"},
		{"equal: the destination is named", "required.test", nil, []Level{Required}, Required, "destination"},
		{"published wins over weaker", "required.test", []Publisher{publisher{}, published}, nil, Verified, "mta-sts"},
	} {
		d := Decider{Destinations: table, Publishers: tc.publishers}
		got, err := d.Decide(t.Context(), tc.domain, tc.asked...)
		if err != nil || got.Level != tc.level || got.Source != tc.source {
			t.Errorf("%s: %v from %s, %v", tc.name, got.Level, got.Source, err)
		}
		if (got.AllowHost != nil) != (tc.source == "mta-sts") {
			t.Errorf("%s: the published judgement of hosts got lost or came from nowhere", tc.name)
		}
	}
	floor := Decider{Default: Required, Destinations: table}
	for domain, level := range map[string]Level{"other.test": Required, "required.test": Required, "verified.test": Verified} {
		if got, err := floor.Decide(t.Context(), domain, Opportunistic); err != nil || got.Level != level {
			t.Errorf("default required, %s: %v, %v", domain, got.Level, err)
		}
	}
	var none *Decider
	if got, err := none.Decide(t.Context(), "other.test", Required); err != nil || got.Level != Required {
		t.Errorf("a nil Decider: %v, %v", got.Level, err)
	}
}

func TestDecideKeepsPublishedJudgementUnderStrongerRequest(t *testing.T) {
	t.Parallel()
	d := Decider{Publishers: []Publisher{publisher{r: Requirement{Level: Required, AllowHost: func(string) error { return nil }}}}}
	got, err := d.Decide(t.Context(), "a.test", Verified)
	if err != nil || got.Level != Verified || got.AllowHost == nil {
		t.Errorf("got %v, AllowHost set: %v, %v", got.Level, got.AllowHost != nil, err)
	}
}

func TestDecideWaitsWhenPolicyCannotBeHad(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	d := Decider{Publishers: []Publisher{publisher{err: gone}}}
	if _, err := d.Decide(t.Context(), "a.test", Verified); !errors.Is(err, gone) {
		t.Errorf("error = %v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		r    Requirement
		skip bool
	}{
		{Requirement{}, true},
		{Requirement{Level: Required}, true},
		{Requirement{Level: Verified}, false},
		{Requirement{Level: Verified, Verify: func(string, tls.ConnectionState) error { return nil }}, true},
	} {
		c := tc.r.Config("mx.test", nil, nil)
		if c.InsecureSkipVerify != tc.skip || c.ServerName != "mx.test" || c.MinVersion != tls.VersionTLS12 {
			t.Errorf("%v: skip %v, name %q, floor %x", tc.r.Level, c.InsecureSkipVerify, c.ServerName, c.MinVersion)
		}
		if (c.VerifyConnection != nil) != (tc.r.Verify != nil) {
			t.Errorf("%v: the judge of certificates is not asked", tc.r.Level)
		}
	}
	refuse := errors.New("no")
	r := Requirement{Level: Verified, Verify: func(host string, _ tls.ConnectionState) error {
		if host != "mx.test" {
			t.Errorf("judged for %q", host)
		}
		return refuse
	}}
	if err := r.Config("mx.test", nil, nil).VerifyConnection(tls.ConnectionState{}); !errors.Is(err, refuse) {
		t.Errorf("the judge's word was %v", err)
	}
}
