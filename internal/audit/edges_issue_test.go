package audit

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"postern/internal/relay"
)

// Where the checks draw their lines, from both sides: one step on this side is a
// finding, one on the other is none.
func TestEdges(t *testing.T) {
	t.Parallel()
	network := func(text string) func(f *Facts) {
		return func(f *Facts) { f.Keys[1].Networks = []netip.Prefix{netip.MustParsePrefix(text)} }
	}
	openSince := func(d time.Duration, problem string) func(f *Facts) { // a finding of the watch
		return func(f *Facts) {
			v := &f.Watch.Open[0]
			v.FirstAt, v.AnsweredAt, v.AnswerError = t0.Add(-d), t0.Add(-d), problem
		}
	}
	triedSince := func(d time.Duration, problem string) func(f *Facts) { // it cannot be told yet
		return func(f *Facts) {
			openSince(d, problem)(f)
			f.Watch.Open[0].AnsweredAt = time.Time{}
		}
	}
	for name, c := range map[string]struct {
		change func(f *Facts)
		code   string // that is found; "": none
	}{
		"half of IPv4":               {network("128.0.0.0/1"), "key_networks"},
		"a /7":                       {network("10.0.0.0/7"), "key_networks"},
		"a /8":                       {network("10.0.0.0/8"), ""},
		"an IPv6 /19":                {network("2001::/19"), "key_networks"},
		"an IPv6 /20":                {network("2001::/20"), ""},
		"seen 90 days ago":           {func(f *Facts) { f.Users[1].SeenAt = ago(90) }, ""},
		"seen 91 days ago":           {func(f *Facts) { f.Users[1].SeenAt = ago(91) }, "person_unseen"},
		"used 91 days ago":           {func(f *Facts) { f.Keys[1].LastUsedAt = ago(91) }, "key_unused"},
		"a secret of 89 days":        {func(f *Facts) { f.Keys[1].RotatedAt, f.Keys[1].CreatedAt = ago(89), ago(100) }, ""},
		"a secret of 91 days":        {func(f *Facts) { f.Keys[1].RotatedAt, f.Keys[1].CreatedAt = ago(91), ago(100) }, "key_rotation"},
		"an old secret that ended":   {func(f *Facts) { f.Keys[1].PreviousUntil, f.Keys[1].PreviousUsedAt = t0, ago(1) }, ""},
		"an old secret, unused":      {func(f *Facts) { f.Keys[1].PreviousUntil, f.Keys[1].PreviousUsedAt = t0.Add(day), ago(40) }, ""},
		"TLS 1.1":                    {func(f *Facts) { f.Clients[1].TLS = "TLSv1.1 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA" }, "client_tls"},
		"TLS 1.2 without secrecy":    {func(f *Facts) { f.Clients[1].TLS = "TLSv1.2 TLS_RSA_WITH_AES_128_GCM_SHA256" }, "client_cipher"},
		"quarantine":                 {func(f *Facts) { f.Domains[0].Check.Policy = "quarantine" }, ""},
		"none":                       {func(f *Facts) { f.Domains[0].Check.Policy = "none" }, "domain_dmarc"},
		"an RSA key of 2047 bits":    {func(f *Facts) { f.Domains[0].Keys[0].Bits = 2047 }, "dkim_short"},
		"single sign-on, no factor":  {func(f *Facts) { f.Users[0].Password, f.Users[0].TOTP = "", nil }, ""},
		"an invitation of 8 days":    {func(f *Facts) { f.Links[0].CreatedAt = ago(8) }, "invitation_open"},
		"one that was used":          {func(f *Facts) { f.Links[0].CreatedAt, f.Links[0].UsedAt = ago(8), ago(7) }, ""},
		"an owner with a passkey":    {func(f *Facts) { f.Users[0].TOTP, f.Users[0].Passkeys = nil, 1 }, ""},
		"an owner without a factor":  {func(f *Facts) { f.Users[0].TOTP = nil }, "owner_no_second_factor"},
		"an admin without a factor":  {func(f *Facts) { f.Users[1].Role, f.Users[1].TOTP = relay.RoleAdmin, nil }, "owner_no_second_factor"},
		"an auditor without one":     {func(f *Facts) { f.Users[1].Role, f.Users[1].TOTP = relay.RoleAuditor, nil }, "person_no_second_factor"},
		"recovery codes are none":    {func(f *Facts) { f.Users[1].TOTP, f.Users[1].RecoveryCodes = nil, 10 }, "person_no_second_factor"},
		"open for 7 days":            {openSince(7*day, ""), ""},
		"open for longer":            {openSince(7*day+time.Second, ""), "watch_open"},
		"not told 30 days ago":       {openSince(30*day, "full"), "watch_undelivered"},
		"not told before":            {openSince(30*day+time.Second, "full"), "watch_open"},
		"tried for a day":            {triedSince(day, "full"), ""},
		"tried for longer":           {triedSince(day+time.Second, "full"), "watch_undelivered"},
		"tried for 60 days":          {triedSince(60*day, "full"), "watch_undelivered"},
		"not tried for 6 days":       {triedSince(6*day, ""), ""},
		"a chain of another account": {func(f *Facts) { f.Trail.Valid, f.Trail.Problem = false, "record 3" }, "trail_broken"},
	} {
		f := sound()
		c.change(f)
		var codes []string
		for _, v := range Judge(f).Findings {
			codes = append(codes, v.Code)
		}
		if want := slices.DeleteFunc([]string{c.code}, func(s string) bool { return s == "" }); !slices.Equal(codes, want) {
			t.Errorf("%s: %q, want %q", name, codes, want)
		}
	}
}

// Two reports are compared as time went, whichever is named first.
func TestComparisonHasNoOrder(t *testing.T) {
	t.Parallel()
	f := sound()
	f.Keys[1].Networks = nil
	before := Judge(f)
	mended := sound()
	mended.At = t0.Add(day)
	after := Judge(mended)
	for _, c := range []Comparison{Compare(before, after), Compare(after, before)} {
		if len(c.Mended) != 1 || len(c.New) != 0 || c.Difference != before.Findings[0].Weight || !c.A.At.Before(c.B.At) {
			t.Errorf("%+v", c)
		}
	}
}

// Another account's report has not even the headings of the host's parts.
func TestOthersSeeNothingOfTheHost(t *testing.T) {
	t.Parallel()
	f := sound()
	f.Installation = nil
	r := Judge(f)
	for _, s := range r.Summary {
		if s.Section == SectionSettings || s.Section == SectionVersions {
			t.Errorf("it has %s", s.Title)
		}
	}
	if r.Installation || len(r.Components) > 0 {
		t.Errorf("%v, %+v", r.Installation, r.Components)
	}
}
