package audit

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// The operator has reset somebody's second factors, or they never had any, and
// the policy demands one: setting the policy mends nothing then, their own login does.
func TestFixOfNoSecondFactor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		role     relay.Role
		optional bool
		fix      string // after "postern "
	}{
		{relay.RoleOwner, true, "policy --second-factor-optional=false"},
		{relay.RoleOwner, false, "user reset-password ben"},
		{relay.RoleDeveloper, true, "policy --second-factor-optional=false"},
		{relay.RoleDeveloper, false, "user reset-password ben"},
	} {
		f := sound()
		f.Account.Policy.SecondFactorOptional = c.optional
		u := &f.Users[1]
		u.Role, u.TOTP = c.role, nil
		found := 0
		for _, v := range Judge(f).Findings {
			if v.Subject.ID != u.ID.String() {
				continue
			}
			found++
			if want := "postern " + c.fix + " --account " + f.Account.ID.String(); v.Fix != want {
				t.Errorf("%s, optional %v: fix %q, want %q", c.role, c.optional, v.Fix, want)
			}
			if demanded := strings.Contains(v.Text, "policy demands a second factor"); demanded == c.optional {
				t.Errorf("%s, optional %v: %s", c.role, c.optional, v.Text)
			}
		}
		if found != 1 {
			t.Errorf("%s, optional %v: %d findings", c.role, c.optional, found)
		}
	}
}

// only is the one finding of some facts.
func only(t *testing.T, what string, f *Facts) Finding {
	t.Helper()
	r := Judge(f)
	if len(r.Findings) != 1 {
		t.Fatalf("%s: findings %q, want one", what, ids(r))
	}
	return r.Findings[0]
}

// What is proposed has to be possible as things are, and to mend.
func TestFixesThatMend(t *testing.T) {
	t.Parallel()
	key := soundKey(2).ID.String()
	account := " --account " + sound().Account.ID.String()
	staging := account + " --subuser staging"
	wide := []relay.AccessRule{{ID: 4, Network: netip.MustParsePrefix("0.0.0.0/0")}, {ID: 5, Network: netip.MustParsePrefix("::/0")}}
	for name, c := range map[string]struct {
		plant func(f *Facts)
		fix   string // after "postern "
		text  string // in the finding's
	}{
		"a list with nothing else on it": {func(f *Facts) { f.Lists[0].Rules = wide }, "access add NETWORK" + account, "; then remove what is wide"},
		"a list with more on it":         {func(f *Facts) { f.Lists[0].Rules = append(f.Lists[0].Rules, wide...) }, "access remove 4 5" + account, ""},
		"a subuser's list":               {func(f *Facts) { f.Lists[1].Rules = wide }, "access remove 4 5" + staging, ""},

		"the last owner":    {func(f *Facts) { f.Users[0].SeenAt = ago(91) }, "user invite EMAIL --role owner" + account, "the last owner"},
		"one of two owners": {func(f *Facts) { f.Users[0].SeenAt, f.Users[1].Role = ago(91), relay.RoleOwner }, "user disable ann" + account, ""},
		"an owner beside one of a subuser's": {func(f *Facts) {
			f.Users[0].SeenAt, f.Users[1].Role, f.Users[1].Subuser = ago(91), relay.RoleOwner, f.Subusers[0].ID
		}, "user invite EMAIL --role owner" + account, "the last owner"},
		"a subuser's person":                 {func(f *Facts) { f.Users[1].SeenAt, f.Users[1].Subuser = ago(91), f.Subusers[0].ID }, "user disable ben" + staging, ""},
		"a subuser's person with a password": {func(f *Facts) { f.Users[1].TOTP, f.Users[1].Subuser = nil, f.Subusers[0].ID }, "user reset-password ben" + staging, ""},
		"a subuser's invitation":             {func(f *Facts) { f.Links[0].CreatedAt, f.Links[0].Subuser = ago(9), f.Subusers[0].ID }, "user withdraw new@example.test" + staging, ""},

		"no end and no policy":  {func(f *Facts) { f.Account.Policy.MaxKeyLife, f.Keys[1].ExpiresAt = 300*day, time.Time{} }, "key update " + key + " --expires-in 90d", ""},
		"no end, and a policy":  {func(f *Facts) { f.Keys[1].ExpiresAt = time.Time{} }, "key update " + key + " --expires-in 54d", ""}, // 60 days are left
		"no end, an old secret": {func(f *Facts) { f.Keys[1].ExpiresAt, f.Keys[1].RotatedAt = time.Time{}, ago(46) }, "key rotate " + key + " --overlap 1d", "rotate it, then give it an end"},
		"no end, and a short life": {func(f *Facts) {
			f.Account.Policy.MaxKeyLife = 20 * time.Hour
			f.Keys = f.Keys[1:]
			f.Keys[0].RotatedAt, f.Keys[0].ExpiresAt = t0.Add(-time.Hour), time.Time{}
		}, "key update " + key + " --expires-in 17h6m0s", ""},
		"no end, no secret": {func(f *Facts) {
			f.Keys[1].Kind, f.Keys[1].ExpiresAt, f.Keys[1].RotatedAt = relay.KeyCertificate, time.Time{}, time.Time{}
		}, "key revoke " + key, "make another one with an end"},

		"CRAM-MD5 beside others": {func(f *Facts) { f.Account.Policy.Mechanisms = []string{"PLAIN", "CRAM-MD5"} }, "policy --mechanisms PLAIN" + account, ""},
		"CRAM-MD5 alone":         {func(f *Facts) { f.Account.Policy.Mechanisms = []string{"CRAM-MD5"} }, "policy --mechanisms SCRAM-SHA-256,SCRAM-SHA-256-PLUS,PLAIN" + account, ""},

		"a rule that is off": {func(f *Facts) { setRule(f, relay.WatchHours, func(s *relay.WatchRuleSetting) { s.Off = true }) }, "watch settings --on hours" + account, ""},
		"no mail":            {func(f *Facts) { f.Watch.Settings.NoMail, f.Watch.Settings.Webhook = true, "" }, "watch settings --no-mail=false" + account, "no webhook"},
		"no mail to nobody": {func(f *Facts) {
			f.Watch.Settings.NoMail, f.Watch.Settings.Webhook, f.Account.OwnerEmail = true, "", ""
		}, "watch settings --no-mail=false --mail-to ADDRESS" + account, ""},
		"a finding that waits":        {func(f *Facts) { f.Watch.Open[0].FirstAt = ago(8) }, "watch confirm " + testID(30).String() + account, "8 days ago"},
		"a finding that was not told": {func(f *Facts) { f.Watch.Open[0].AnswerError = "x" }, "watch confirm " + testID(30).String() + account, "could not tell"},
		"one that is tried":           {func(f *Facts) { f.Watch.Open[0].AnswerError, f.Watch.Open[0].AnsweredAt = "x", time.Time{} }, "watch confirm " + testID(30).String() + account, "It still tries to."},

		"the account's chain":      {func(f *Facts) { f.Trail.Valid = false }, "audit verify" + account, ""},
		"the installation's chain": {func(f *Facts) { f.Installation.Trail.Valid = false }, "audit verify", ""},
		"a long name": {func(f *Facts) {
			f.Domains[0].Name, f.Domains[0].State = strings.Repeat("a.", 100)+"test", relay.DomainPending
		}, "domain validate " + strings.Repeat("a.", 100) + "test" + account, ""},
	} {
		f := sound()
		c.plant(f)
		if v := only(t, name, f); v.Fix != "postern "+c.fix || !strings.Contains(v.Text, c.text) {
			t.Errorf("%s: %q, %s; want %q, … %s", name, v.Fix, v.Text, c.fix, c.text)
		}
	}
}

// The advice of a longest life of keys mends, whatever the account calls too old.
func TestAdvisedLifeMends(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 365, 366, MaxDays} {
		f := sound()
		f.Options.RotateDays, f.Account.Policy.MaxKeyLife = n, 0
		f.Keys = nil
		_, advice, ok := strings.Cut(only(t, "no longest life", f).Fix, "--max-key-life ")
		advice, _, _ = strings.Cut(advice, "d ")
		advised, err := strconv.Atoi(advice)
		if !ok || err != nil {
			t.Fatalf("advice %q", advice)
		}
		f.Account.Policy.MaxKeyLife = days(advised)
		if r := Judge(f); len(r.Findings) != 0 {
			t.Errorf("%d days: with a life of %d: %q", n, advised, ids(r))
		}
	}
}

// A page about something of a subuser's is the subuser's.
func TestPagesOfSubusers(t *testing.T) {
	t.Parallel()
	for page, plant := range map[string]func(f *Facts){
		"/as/staging/keys/" + soundKey(2).ID.String(): func(f *Facts) { f.Keys[1].Subuser, f.Keys[1].Networks = f.Subusers[0].ID, nil },
		"/as/staging/people/ben":                      func(f *Facts) { f.Users[1].Subuser, f.Users[1].TOTP = f.Subusers[0].ID, nil },
		"/as/staging/people":                          func(f *Facts) { f.Links[0].Subuser, f.Links[0].CreatedAt = f.Subusers[0].ID, ago(9) },
		"/as/staging/domains/20":                      func(f *Facts) { f.Domains[0].Subuser, f.Domains[0].State = f.Subusers[0].ID, relay.DomainPending },
		"/as/staging/access":                          func(f *Facts) { f.Lists[1].Monitor = true },
		"/access":                                     func(f *Facts) { f.Lists[0].Monitor = true },
	} {
		f := sound()
		plant(f)
		if v := only(t, page, f); v.Href != page {
			t.Errorf("%s: %s, want %s", v.Code, v.Href, page)
		}
	}
}

// The advice about a watch that tells nobody mends it, whatever the reasons.
func TestAdvisedWatchMends(t *testing.T) {
	t.Parallel()
	f := sound()
	onlyRecord(f)
	f.Watch.Settings.NoMail, f.Watch.Settings.Webhook, f.Account.OwnerEmail = true, "", ""
	fix := only(t, "nobody is told", f).Fix
	s := &f.Watch.Settings
	for flag := range strings.SplitSeq(strings.TrimPrefix(fix, "postern watch settings --"), " --") {
		name, value, _ := strings.Cut(flag, "=")
		switch rule, ok := strings.CutPrefix(name, "answer "); {
		case ok:
			setRule(f, relay.WatchRule(rule), func(s *relay.WatchRuleSetting) { s.Answer = relay.WatchAnswer(value) })
		case flag == "no-mail=false":
			s.NoMail = false
		case flag == "mail-to ADDRESS":
			s.MailTo = []string{"soc@acme.example"}
		case !strings.HasPrefix(flag, "account "):
			t.Errorf("flag %q", flag)
		}
	}
	if r := Judge(f); len(r.Findings) != 0 {
		t.Errorf("after %s: %q", fix, ids(r))
	}
}

func TestSpelled(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		day: "1d", 90 * day: "90d", 3650 * day: "3650d", 36 * time.Hour: "36h0m0s", 90 * time.Minute: "1h30m0s", 0: "0s",
	} {
		if got := spelled(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
