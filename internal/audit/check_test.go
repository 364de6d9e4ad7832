package audit

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

func ids(r *Report) []string {
	var out []string
	for _, v := range r.Findings {
		out = append(out, v.ID)
	}
	return slices.Sorted(slices.Values(out))
}

// A sound account has no finding and the full score.
func TestSound(t *testing.T) {
	t.Parallel()
	r := Judge(sound())
	if len(r.Findings) != 0 || r.Score != FullScore {
		t.Errorf("score %d, findings %v", r.Score, ids(r))
	}
}

// Each flaw is found, by itself, once, and by nothing else.
func TestEachFlaw(t *testing.T) {
	t.Parallel()
	planted, pages := map[string]bool{}, pagesOf(t)
	for _, p := range plants {
		f := sound()
		p.make(f)
		r := Judge(f)
		if got := ids(r); !slices.Equal(got, []string{p.id}) {
			t.Errorf("%s: %q, want %q", p.name, got, p.id)
			continue
		}
		v := r.Findings[0]
		if r.Score != FullScore-v.Weight || v.Text == "" || !pages.names(v) {
			t.Errorf("%s: score %d, finding %+v", p.name, r.Score, v)
		}
		planted[v.Code] = true
	}
	for _, c := range Checks() {
		if !planted[c.Code] {
			t.Errorf("nothing proves that %s finds something", c.Code)
		}
	}
}

// exclusive are flaws that one thing cannot have at once.
func exclusive(a, b string) bool {
	of := func(id string) string { // the fact that they are about
		code, subject, _ := strings.Cut(id, " ")
		switch code {
		case "key_never_used", "key_unused":
			return "use " + subject
		case "key_rotation":
			return "age " + subject
		case "client_tls", "client_cipher", "client_stale":
			return "tls " + subject
		case "owner_no_second_factor", "person_no_second_factor":
			return "factor " + subject
		case "domain_unverified", "domain_asserted", "domain_failing":
			return "state " + subject
		}
		return id
	}
	// A key that was never used is of a date, and so is one that was not rotated.
	dates := []string{"key_never_used", "key_rotation"}
	codeOf := func(id string) string { c, _, _ := strings.Cut(id, " "); return c }
	return of(a) == of(b) || slices.Contains(dates, codeOf(a)) && slices.Contains(dates, codeOf(b)) || strings.HasPrefix(a, "access_") && strings.HasPrefix(b, "access_")
}

// The score is 1,000 less the weights: of any set of flaws, mending one raises it by
// exactly its weight and changes no other finding.
func TestScoreProperty(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		var chosen []plant
		for _, i := range rng.Perm(len(plants)) {
			p := plants[i]
			if rng.IntN(3) > 0 && !slices.ContainsFunc(chosen, func(o plant) bool { return exclusive(o.id, p.id) }) {
				chosen = append(chosen, p)
			}
		}
		build := func(without int) *Report {
			f := sound()
			for i, p := range chosen {
				if i != without {
					p.make(f)
				}
			}
			return Judge(f)
		}
		all := build(-1)
		var want []string
		for _, p := range chosen {
			want = append(want, p.id)
		}
		slices.Sort(want)
		if got := ids(all); !slices.Equal(got, want) {
			t.Fatalf("found %q, planted %q", got, want)
		}
		sum := 0
		for i, p := range chosen {
			weight := all.Findings[slices.IndexFunc(all.Findings, func(v Finding) bool { return v.ID == p.id })].Weight
			sum += weight
			mended := build(i)
			if mended.Score != all.Score+weight {
				t.Fatalf("mending %s: from %d to %d, its weight is %d", p.id, all.Score, mended.Score, weight)
			}
			c := Compare(all, mended)
			if len(c.Mended) != 1 || c.Mended[0].ID != p.id || len(c.New) != 0 || c.Difference != weight {
				t.Fatalf("mending %s: %+v", p.id, c)
			}
		}
		if all.Score != FullScore-sum || all.Lost() != sum {
			t.Fatalf("score %d, sum %d", all.Score, sum)
		}
	}
}

// Nothing else moves the score: sound things more or less, and things that cannot do
// harm any more.
func TestScoreIsNotMoved(t *testing.T) {
	t.Parallel()
	flawed := func() *Facts {
		f := sound()
		f.Keys[1].Networks = nil
		f.Users[1].TOTP = nil
		return f
	}
	base := Judge(flawed())
	for name, change := range map[string]func(f *Facts){
		"a sound key more":      func(f *Facts) { f.Keys = append(f.Keys, soundKey(3)) },
		"a thousand sound keys": func(f *Facts) { f.Keys = append(f.Keys, slices.Repeat([]relay.Key{soundKey(3)}, 1000)...) },
		"a sound key less":      func(f *Facts) { f.Keys = f.Keys[1:] },
		"a person more":         func(f *Facts) { f.Users = append(f.Users, soundPerson(12, "eve", relay.RoleAdmin)) },
		"a domain more":         func(f *Facts) { f.Domains = append(f.Domains, soundDomain(21, "b.test")) },
		"no domain":             func(f *Facts) { f.Domains = nil },
		"a login more":          func(f *Facts) { f.Clients = append(f.Clients, soundClient(1)) },
		"a revoked key":         func(f *Facts) { f.Keys = append(f.Keys, relay.Key{CreatedAt: ago(900), RevokedAt: ago(1)}) },
		"a disabled key":        func(f *Facts) { f.Keys = append(f.Keys, relay.Key{CreatedAt: ago(900), DisabledAt: ago(1)}) },
		"an expired key":        func(f *Facts) { f.Keys = append(f.Keys, relay.Key{CreatedAt: ago(900), ExpiresAt: t0}) },
		"a canary":              func(f *Facts) { f.Keys = append(f.Keys, relay.Key{CreatedAt: ago(900), Canary: true}) },
		"a key of a deleted subuser": func(f *Facts) {
			id := relay.SubuserID{ID: testID(101)}
			f.Subusers = append(f.Subusers, relay.Subuser{ID: id, DeletedAt: ago(1)})
			f.Keys = append(f.Keys, relay.Key{Subuser: id, CreatedAt: ago(900)})
			f.Lists = append(f.Lists, relay.AccessList{Tenant: relay.Tenant{Subuser: id}, Monitor: true})
		},
		"a disabled person": func(f *Facts) {
			f.Users = append(f.Users, relay.User{Username: "x", Role: relay.RoleOwner, Password: "x", DisabledAt: ago(1), CreatedAt: ago(900)})
		},
		"somebody of single sign-on": func(f *Facts) {
			f.Users = append(f.Users, relay.User{Username: "x", Role: relay.RoleOwner, SeenAt: ago(1), CreatedAt: ago(900)})
		},
		"a disabled domain": func(f *Facts) {
			f.Domains = append(f.Domains, DomainFacts{Domain: relay.Domain{State: relay.DomainFailed, DisabledAt: ago(1)}})
		},
		"a withdrawn DKIM key": func(f *Facts) {
			f.Domains[0].Keys = append(f.Domains[0].Keys, relay.DKIMKey{Algorithm: relay.DKIMRSA, Bits: 512, CreatedAt: ago(900), WithdrawnAt: ago(1)})
		},
		"a domain by the operator's word that the DNS proves": func(f *Facts) {
			d := soundDomain(21, "b.test")
			d.State, d.AssertedBy = relay.DomainAsserted, "uid 0"
			f.Domains = append(f.Domains, d)
		},
		"a person of a subuser that is shut out": func(f *Facts) {
			id := relay.SubuserID{ID: testID(101)}
			f.Subusers = append(f.Subusers, relay.Subuser{ID: id, ConsoleDisabledAt: ago(1)})
			f.Users = append(f.Users, relay.User{Username: "x", Role: relay.RoleOwner, Password: "x", Subuser: id, CreatedAt: ago(900)})
		},
		"a DNS that did not answer": func(f *Facts) { f.Domains[0].Check = &DomainCheck{Unknown: true} },
		"a key that cannot send": func(f *Facts) {
			k := soundKey(3)
			k.Senders, k.Scopes = nil, []string{"stats.read"}
			f.Keys = append(f.Keys, k)
		},
		"a certificate of old": func(f *Facts) {
			k := soundKey(3)
			k.Kind, k.CreatedAt, k.RotatedAt = relay.KeyCertificate, ago(900), time.Time{}
			f.Keys = append(f.Keys, k)
		},
		"a weak login of before": func(f *Facts) {
			c := soundClient(1)
			c.TLS, c.Mechanism, c.First, c.Last = "TLSv1.0 x", "CRAM-MD5", ago(29), ago(21)
			f.Clients = append(f.Clients, c)
		},
		"HTTP on loopback": func(f *Facts) { c := soundClient(1); c.TLS, c.Protocol = "", "http"; f.Clients = append(f.Clients, c) },
		"an open finding that is not critical": func(f *Facts) {
			v := soundFinding(40)
			v.Severity, v.FirstAt = relay.WatchWarning, ago(50)
			f.Watch.Open = append(f.Watch.Open, v)
		},
		"findings that were decided": func(f *Facts) {
			for i, state := range []relay.WatchState{relay.WatchDismissed, relay.WatchConfirmed, relay.WatchEnded} {
				v, failed := soundFinding(byte(41+i)), soundFinding(byte(51+i))
				v.State, v.FirstAt, failed.State, failed.AnswerError = state, ago(50), state, "mail: full"
				f.Watch.Open = append(f.Watch.Open, v, failed)
			}
		},
		"the sweep that is the operator's": func(f *Facts) {
			setRule(f, relay.WatchSweep, func(s *relay.WatchRuleSetting) { s.Off, s.Answer = true, relay.WatchRecord })
		},
		"a rule that records": func(f *Facts) {
			setRule(f, relay.WatchHours, func(s *relay.WatchRuleSetting) { s.Answer = relay.WatchRecord })
		},
		"a webhook alone": func(f *Facts) { f.Watch.Settings.NoMail = true },
		"mail alone":      func(f *Facts) { f.Watch.Settings.Webhook = "" },
		"mail to others": func(f *Facts) {
			f.Watch.Settings.Webhook, f.Account.OwnerEmail, f.Watch.Settings.MailTo = "", "", []string{"soc@acme.example"}
		},
		"nobody knows exports":  func(f *Facts) { f.Exported = nil },
		"not the first account": func(f *Facts) { f.Installation = nil },
	} {
		f := flawed()
		change(f)
		r := Judge(f)
		if r.Score != base.Score || !slices.Equal(ids(r), ids(base)) {
			t.Errorf("%s: score %d, findings %q; before %d, %q", name, r.Score, ids(r), base.Score, ids(base))
		}
	}
}

// A policy that is set as the report advises changes no finding about a key.
func TestPolicyAsAdvised(t *testing.T) {
	t.Parallel()
	f := sound()
	f.Account.Policy.MaxKeyLife = 0
	f.Keys[0].RotatedAt, f.Keys[0].CreatedAt = ago(89), ago(100)
	f.Keys[1].RotatedAt, f.Keys[1].CreatedAt = ago(91), ago(100)
	before := Judge(f)
	i := slices.IndexFunc(before.Findings, func(v Finding) bool { return v.Code == "policy_key_life" })
	if !strings.Contains(before.Findings[i].Fix, "--max-key-life 90d ") {
		t.Fatalf("advice: %s", before.Findings[i].Fix)
	}
	f.Account.Policy.MaxKeyLife = 2160 * time.Hour
	if c := Compare(before, Judge(f)); len(c.Mended) != 1 || len(c.New) != 0 || c.Difference != before.Findings[i].Weight {
		t.Errorf("%+v", c)
	}
	f.Account.Policy.MaxKeyLife = 30 * day // narrower: now both are too old
	if got := Judge(f); got.Counts[High] != 2 {
		t.Errorf("by a policy of 30 days: %q", ids(got))
	}
}

// The table of checks is complete, and every command is one of ours with the id.
func TestChecks(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	used := map[Practice]bool{}
	for _, c := range Checks() {
		if seen[c.Code] || c.Title == "" || c.Doc == "" || c.Weight <= 0 || len(c.Standards) == 0 || !slices.Contains(Severities, c.Severity) || !slices.Contains(Practices, c.Practice) {
			t.Errorf("%s: incomplete or twice: %+v", c.Code, c)
		}
		if !slices.ContainsFunc(Sections, func(s SectionTitle) bool { return s.Section == c.Section }) {
			t.Errorf("%s: section %q", c.Code, c.Section)
		}
		seen[c.Code], used[c.Practice] = true, true
	}
	for _, p := range Practices {
		if !used[p] {
			t.Errorf("no check belongs to the practice %q", p)
		}
	}
	command := regexp.MustCompile(`^postern (key (revoke|rotate|update|users) [\w-]{22}( --[a-z-]+ \S+)*|(policy|access|domain|dmarc|user|audit|watch|config check|version).*)$`)
	for _, p := range plants {
		f := sound()
		p.make(f)
		for _, v := range Judge(f).Findings {
			if v.Fix != "" && !command.MatchString(v.Fix) {
				t.Errorf("%s: fix %q", p.name, v.Fix)
			}
		}
	}
}

// A key's networks are proposed from where it was used, so that nobody is cut off.
func TestNetworksProposed(t *testing.T) {
	t.Parallel()
	f := sound()
	f.Keys[1].Networks = nil
	other := soundClient(2)
	other.Addr = "2001:db8::1"
	f.Clients = append(f.Clients, other)
	if fix := Judge(f).Findings[0].Fix; !strings.HasSuffix(fix, " --network 192.0.2.7,2001:db8::1") {
		t.Errorf("fix %q", fix)
	}
	f.Clients = nil
	if fix := Judge(f).Findings[0].Fix; !strings.HasSuffix(fix, " --network 192.0.2.7") {
		t.Errorf("without records: %q", fix)
	}
	f.Keys[1].LastUsedFrom = ""
	if fix := Judge(f).Findings[0].Fix; !strings.HasSuffix(fix, " --network ADDRESS-OR-NETWORK") {
		t.Errorf("unused: %q", fix)
	}
}
