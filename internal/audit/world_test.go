package audit

import (
	"net/netip"
	"slices"
	"time"

	"postern/internal/relay"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func ago(n int) time.Time { return t0.Add(-days(n)) }

func testID(n byte) relay.ID {
	id := relay.ID{0: 1, 15: n}
	return id
}

// soundKey has nothing to find.
func soundKey(n byte) relay.Key {
	return relay.Key{
		ID: relay.KeyID{ID: testID(n)}, Kind: relay.KeyAPI, Name: "web", Scopes: []string{relay.ScopeMailSend}, Mode: relay.KeyLive,
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Senders: []string{"shop.example.test"},
		CreatedAt: ago(60), RotatedAt: ago(30), ExpiresAt: t0.Add(days(60)), CreatedBy: "ann",
		LastUsedAt: ago(1), LastUsedFrom: "192.0.2.7", LastUsedHelo: "web.example.test", LastUsedMechanism: "SCRAM-SHA-256", UseCount: 10,
	}
}

func soundPerson(n byte, name string, role relay.Role) relay.User {
	return relay.User{
		ID: relay.UserID{ID: testID(n)}, Username: name, Email: name + "@example.test", Role: role, Password: "$argon2id$", TOTP: []byte("sealed"),
		CreatedAt: ago(400), SeenAt: ago(2), SeenFrom: netip.MustParseAddr("192.0.2.9"),
	}
}

func soundDomain(n byte, name string) DomainFacts {
	return DomainFacts{
		Domain: relay.Domain{ID: relay.DomainID{ID: testID(n)}, Number: int64(n), Name: name, State: relay.DomainVerified, VerifiedAt: ago(300), CreatedAt: ago(300)},
		Check:  &DomainCheck{At: ago(0), Valid: true, Policy: "reject", SPFAligned: "relaxed", DKIMAligned: "relaxed"},
		Keys:   []relay.DKIMKey{{Selector: "s1", Algorithm: relay.DKIMRSA, Bits: 2048, Active: true, CreatedAt: ago(30), ActivatedAt: ago(29)}},
	}
}

func soundClient(k byte) Client {
	return Client{
		Key: relay.KeyID{ID: testID(k)}, Protocol: "smtp", Addr: "192.0.2.7", Helo: "web.example.test", Mechanism: "SCRAM-SHA-256",
		TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256", First: ago(20), Last: ago(1), Logins: 20,
	}
}

// sound is an account with nothing to find.
func sound() *Facts {
	yes := true
	return &Facts{
		Account: relay.Account{ID: relay.AccountID{ID: testID(200)}, Name: "acme", OwnerEmail: "ops@acme.example", TimeZone: "UTC", Policy: relay.Policy{
			MaxKeyLife: 90 * day, ForbidFullAccess: true, RequireNetworks: true, Mechanisms: []string{"SCRAM-SHA-256"}}},
		At: t0, LoginsSince: ago(30),
		Subusers: []relay.Subuser{{ID: relay.SubuserID{ID: testID(100)}, Name: "staging"}},
		Keys:     []relay.Key{soundKey(1), soundKey(2)},
		Users:    []relay.User{soundPerson(10, "ann", relay.RoleOwner), soundPerson(11, "ben", relay.RoleDeveloper)},
		Links:    []relay.Link{{Kind: relay.LinkInvite, Email: "new@example.test", Role: relay.RoleAuditor, CreatedAt: ago(2), CreatedBy: "ann"}},
		Clients:  []Client{soundClient(1), soundClient(2)},
		Domains:  []DomainFacts{soundDomain(20, "shop.example.test")},
		Lists: []relay.AccessList{
			{Rules: []relay.AccessRule{{ID: 1, Network: netip.MustParsePrefix("192.0.2.0/24")}}},
			{Tenant: relay.Tenant{Subuser: relay.SubuserID{ID: testID(100)}}},
		},
		Trail: Trail{Valid: true, Records: 5}, Exported: &yes, Schedule: Schedule{Every: Monthly, To: []string{"ops@acme.example"}},
		Watch: WatchFacts{Settings: relay.WatchSettings{Webhook: "https://hooks.acme.example/postern"}, Open: []relay.WatchFinding{soundFinding(30)}},
		Installation: &Installation{Trail: Trail{Valid: true}, Components: []Component{
			{Name: ComponentSelf, Version: "1.0", Released: ago(10)}, GoComponent("go1.26.1"), {Name: ComponentSQLite, Version: "3.50.4", Released: ago(500)}}},
	}
}

// soundFinding is one of the watch's that there is time for yet.
func soundFinding(n byte) relay.WatchFinding {
	return relay.WatchFinding{
		ID: relay.WatchID{ID: testID(n)}, Rule: relay.WatchCanary, Severity: relay.WatchCritical, State: relay.WatchOpen, Title: "Canary key was tried from 198.51.100.7",
		FirstAt: ago(3), LastAt: ago(2), Answer: relay.WatchTell, AnsweredAt: ago(3),
	}
}

// setRule changes how the account wants a rule, and nothing else.
func setRule(f *Facts, r relay.WatchRule, change func(s *relay.WatchRuleSetting)) {
	s := &f.Watch.Settings
	if s.Rules == nil {
		s.Rules = map[relay.WatchRule]relay.WatchRuleSetting{}
	}
	v := s.Rules[r]
	change(&v)
	s.Rules[r] = v
}

// onlyRecord has all rules of the watch record what they find, and no more.
func onlyRecord(f *Facts) {
	for _, r := range relay.WatchRules {
		setRule(f, r, func(s *relay.WatchRuleSetting) { s.Answer = relay.WatchRecord })
	}
}

// found plants an open finding of the watch.
func found(name, code string, n byte, spoil func(v *relay.WatchFinding)) plant {
	return on1(name, code+" "+testID(n).String(), func(f *Facts) {
		v := soundFinding(n)
		spoil(&v)
		f.Watch.Open = append(f.Watch.Open, v)
	})
}

// plant is one flaw: what makes it, what mends it, and what it is about.
type plant struct {
	name, id   string
	make, mend func(f *Facts)
}

// onKey plants a flaw in the second key; mending is putting back what it was.
func onKey(name, code string, spoil func(k *relay.Key)) plant {
	sound := soundKey(2)
	return plant{name, code + " " + sound.ID.String(), func(f *Facts) { spoil(&f.Keys[1]) }, nil}
}

func onPerson(name, code string, i int, spoil func(u *relay.User)) plant {
	id := testID(byte(10 + i)).String()
	return plant{name, code + " " + id, func(f *Facts) { spoil(&f.Users[i]) }, nil}
}

func onClient(name, code string, spoil func(c *Client)) plant {
	return plant{name, code + " " + testID(2).String(), func(f *Facts) { spoil(&f.Clients[1]) }, nil}
}

func onDomain(name, code string, spoil func(d *DomainFacts)) plant {
	return plant{name, code + " " + testID(20).String(), func(f *Facts) { spoil(&f.Domains[0]) }, nil}
}

func onDKIM(name, code string, spoil func(k *relay.DKIMKey)) plant {
	return plant{name, code + " " + testID(20).String() + "/s1", func(f *Facts) { spoil(&f.Domains[0].Keys[0]) }, nil}
}

func on1(name, id string, spoil func(f *Facts)) plant { return plant{name, id, spoil, nil} }

// plants are every flaw that there is a check of, at least once.
var plants = slices.Concat(plantsOfKeys, plantsOfPeople, plantsOfDomains, plantsOfOthers, plantsOfWatch)

var plantsOfKeys = []plant{
	onKey("never used", "key_never_used", func(k *relay.Key) { k.LastUsedAt, k.UseCount, k.CreatedAt = time.Time{}, 0, ago(8) }),
	onKey("unused", "key_unused", func(k *relay.Key) { k.LastUsedAt = ago(91) }),
	onKey("not rotated", "key_rotation", func(k *relay.Key) { k.CreatedAt, k.RotatedAt = ago(120), ago(91) }),
	onKey("never rotated", "key_rotation", func(k *relay.Key) { k.CreatedAt, k.RotatedAt = ago(91), time.Time{} }),
	onKey("without end", "key_no_expiry", func(k *relay.Key) { k.ExpiresAt = time.Time{} }),
	onKey("without networks", "key_networks", func(k *relay.Key) { k.Networks = nil }),
	onKey("with half of everything", "key_networks", func(k *relay.Key) {
		k.Networks = append(k.Networks, netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("::/0"))
	}),
	onKey("without senders", "key_senders", func(k *relay.Key) { k.Senders = nil }),
	onKey("full access", "key_full_access", func(k *relay.Key) { k.Scopes = relay.FullAccess() }),
	onKey("app password", "key_app_password", func(k *relay.Key) { k.Kind = relay.KeyAppPassword }),
	onKey("CRAM-MD5", "key_cram", func(k *relay.Key) { k.Verifier.SealedCRAM = []byte{1} }),
	onKey("old secret used", "key_old_secret", func(k *relay.Key) { k.PreviousUntil, k.PreviousUsedAt = t0.Add(day), ago(1) }),
	onClient("CRAM-MD5 used", "client_mechanism", func(c *Client) { c.Mechanism = "CRAM-MD5" }),
	onClient("TLS 1.1", "client_tls", func(c *Client) { c.TLS = "TLSv1.1 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA" }),
	onClient("SSL", "client_tls", func(c *Client) { c.TLS = "SSLv3 x" }),
	onClient("CBC", "client_cipher", func(c *Client) { c.TLS = "TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256" }),
	onClient("RSA key exchange", "client_cipher", func(c *Client) { c.TLS = "TLSv1.2 TLS_RSA_WITH_AES_128_GCM_SHA256" }),
	onClient("TLS 1.2", "client_stale", func(c *Client) { c.TLS = "TLSv1.2 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" }),
}

var plantsOfPeople = []plant{
	onPerson("owner with a password", "owner_no_second_factor", 0, func(u *relay.User) { u.TOTP = nil }),
	onPerson("administrator with a password", "owner_no_second_factor", 1, func(u *relay.User) { u.TOTP, u.Role = nil, relay.RoleAdmin }),
	onPerson("developer with a password", "person_no_second_factor", 1, func(u *relay.User) { u.TOTP = nil }),
	onPerson("unseen", "person_unseen", 1, func(u *relay.User) { u.SeenAt = ago(91) }),
	onPerson("never seen", "person_unseen", 1, func(u *relay.User) { u.SeenAt = time.Time{} }),
	on1("never came", "invitation_open invite/20261113T120000.000000Z/new@example.test", func(f *Facts) { f.Links[0].CreatedAt = ago(9) }),
}

var plantsOfDomains = []plant{
	onDomain("pending", "domain_unverified", func(d *DomainFacts) { d.State = relay.DomainPending }),
	onDomain("asserted", "domain_asserted", func(d *DomainFacts) { d.State, d.AssertedBy, d.Check.Valid = relay.DomainAsserted, "uid 0", false }),
	onDomain("failing", "domain_failing", func(d *DomainFacts) { d.FailingSince = ago(1) }),
	onDomain("paused", "domain_failing", func(d *DomainFacts) { d.State = relay.DomainPaused }),
	onDomain("failed", "domain_failing", func(d *DomainFacts) { d.State, d.Reason = relay.DomainFailed, "gone" }),
	onDomain("SPF alone", "domain_alignment", func(d *DomainFacts) { d.Check.DKIMAligned = "" }),
	onDomain("not aligned", "domain_alignment", func(d *DomainFacts) { d.Check.DKIMAligned, d.Check.SPFAligned = "", "" }),
	onDomain("no DMARC", "domain_dmarc", func(d *DomainFacts) { d.Check.Policy = "" }),
	onDomain("p=none", "domain_dmarc", func(d *DomainFacts) { d.Check.Policy = "none" }),
	onDKIM("short", "dkim_short", func(k *relay.DKIMKey) { k.Bits = 1024 }),
	onDKIM("old", "dkim_old", func(k *relay.DKIMKey) { k.ActivatedAt = ago(366) }),
}

var plantsOfOthers = []plant{
	on1("no list", "access_open account", func(f *Facts) { f.Lists[0].Rules = nil }),
	on1("no list at all", "access_open account", func(f *Facts) { f.Lists = nil }),
	on1("wide list", "access_open account", func(f *Facts) { f.Lists[0].Rules[0].Network = netip.MustParsePrefix("0.0.0.0/0") }),
	on1("wide list of a subuser", "access_open "+testID(100).String(), func(f *Facts) {
		f.Lists[1].Rules = []relay.AccessRule{{ID: 2, Network: netip.MustParsePrefix("2000::/3")}}
	}),
	on1("monitor", "access_monitor account", func(f *Facts) { f.Lists[0].Monitor = true }),
	on1("monitor of a subuser", "access_monitor "+testID(100).String(), func(f *Facts) { f.Lists[1].Monitor = true }),
	on1("no longest life", "policy_key_life policy", func(f *Facts) { f.Account.Policy.MaxKeyLife = 0 }),
	on1("ten years", "policy_key_life policy", func(f *Facts) { f.Account.Policy.MaxKeyLife = 3650 * day }),
	on1("full access allowed", "policy_full_access policy", func(f *Facts) { f.Account.Policy.ForbidFullAccess = false }),
	on1("networks not asked for", "policy_networks policy", func(f *Facts) { f.Account.Policy.RequireNetworks = false }),
	on1("CRAM-MD5 by name", "policy_mechanisms policy", func(f *Facts) { f.Account.Policy.Mechanisms = []string{"CRAM-MD5"} }),
	on1("foreign names", "policy_foreign_names policy", func(f *Facts) { f.Account.Policy.ForeignNames = true }),
	on1("second factor optional", "policy_second_factor policy", func(f *Facts) { f.Account.Policy.SecondFactorOptional = true }),
	on1("chain broken", "trail_broken trail", func(f *Facts) { f.Trail = Trail{Problem: "change 3 does not follow"} }),
	on1("installation's chain broken", "trail_broken trail of the installation", func(f *Facts) { f.Installation.Trail.Valid = false }),
	on1("no export", "export_missing export", func(f *Facts) { no := false; f.Exported = &no }),
	on1("not scheduled", "audit_unscheduled schedule", func(f *Facts) { f.Schedule.Every = Never }),
	on1("scheduled to nobody", "audit_unscheduled schedule", func(f *Facts) { f.Schedule.To = nil }),
	on1("weak setting", "setting_weak people.password_classes", func(f *Facts) {
		f.Installation.Settings = []Setting{{Name: "people.password_classes", Value: "true", Recommended: "false", Why: "NIST advises against it.", Standards: []string{nistSecrets}}}
	}),
	on1("old build", "component_old postern", func(f *Facts) { f.Installation.Components[0].Released = ago(181) }),
	on1("old Go", "component_old Go", func(f *Facts) { f.Installation.Components[1] = GoComponent("go1.24.3") }),
	on1("old SQLite", "component_old SQLite", func(f *Facts) { f.Installation.Components[2].Released = ago(1100) }),
}

var plantsOfWatch = []plant{
	on1("a rule off", "watch_rule_off burst", func(f *Facts) { setRule(f, relay.WatchBurst, func(s *relay.WatchRuleSetting) { s.Off = true }) }),
	on1("another rule off", "watch_rule_off hours", func(f *Facts) { setRule(f, relay.WatchHours, func(s *relay.WatchRuleSetting) { s.Off = true }) }),
	on1("no mail and no webhook", "watch_untold watch", func(f *Facts) { f.Watch.Settings.NoMail, f.Watch.Settings.Webhook = true, "" }),
	on1("nobody to mail to", "watch_untold watch", func(f *Facts) { f.Account.OwnerEmail, f.Watch.Settings.Webhook = "", "" }),
	on1("rules that record", "watch_untold watch", onlyRecord),
	found("not told", "watch_undelivered", 31, func(v *relay.WatchFinding) { v.AnswerError = "webhook: 503" }),
	found("not told, and open", "watch_undelivered", 32, func(v *relay.WatchFinding) { v.AnswerError, v.FirstAt, v.AnsweredAt = "mail: full", ago(9), ago(8) }),
	found("open", "watch_open", 33, func(v *relay.WatchFinding) { v.FirstAt = ago(8) }),
	found("open, and not told long ago", "watch_open", 34, func(v *relay.WatchFinding) { v.AnswerError, v.FirstAt, v.AnsweredAt = "mail: full", ago(33), ago(31) }),
}
