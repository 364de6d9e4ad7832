package audit

import (
	"slices"
	"strings"

	"postern/internal/relay"
)

var policyChecks = []Check{
	{
		Code: "policy_key_life", Section: SectionPolicy, Severity: Medium, Weight: 10, Practice: Rotation, Standards: []string{"NIST SP 800-57 Part 1 §5.3"},
		Title: "Keys may live for ever", Doc: "An account whose policy has no longest life of keys, or one above a year.",
		run: ofPolicy(func(f *Facts, p *relay.Policy) (string, string) {
			if p.MaxKeyLife > 0 && p.MaxKeyLife <= longestLife {
				return "", ""
			}
			// The proposal is what keys are measured against already.
			return "The account's policy sets no longest life for keys, or one above a year; 30 to 90 days are recommended.",
				"--max-key-life " + spelled(days(f.Options.RotateDays))
		}),
	},
	{
		Code: "policy_full_access", Section: SectionPolicy, Severity: Low, Weight: 5, Practice: LeastRights, Standards: []string{cisRoles},
		Title: "Keys with full access are allowed", Doc: "An account whose policy lets keys have every scope.",
		run: ofPolicy(func(_ *Facts, p *relay.Policy) (string, string) {
			if p.ForbidFullAccess {
				return "", ""
			}
			return "The account's policy lets somebody make a key that may do everything.", "--forbid-full-access"
		}),
	},
	{
		Code: "policy_networks", Section: SectionPolicy, Severity: Low, Weight: 5, Practice: AllowListing, Standards: []string{cisACL},
		Title: "Keys without networks are allowed", Doc: "An account whose policy does not demand that a key says from where it works.",
		run: ofPolicy(func(_ *Facts, p *relay.Policy) (string, string) {
			if p.RequireNetworks {
				return "", ""
			}
			return "The account's policy lets somebody make a key that works from anywhere.", "--require-networks"
		}),
	},
	{
		Code: "policy_mechanisms", Section: SectionPolicy, Severity: Low, Weight: 5, Practice: Updated, Standards: []string{nistMD5},
		Title: "CRAM-MD5 is allowed by name", Doc: "An account whose policy lists CRAM-MD5 among its mechanisms.",
		run: ofPolicy(func(_ *Facts, p *relay.Policy) (string, string) {
			if !slices.Contains(p.Mechanisms, "CRAM-MD5") {
				return "", ""
			}
			return "The account's policy names CRAM-MD5 among the mechanisms that its keys may use.", "--mechanisms " + strings.Join(withoutCRAM(p.Mechanisms), ",")
		}),
	},
	{
		Code: "policy_foreign_names", Section: SectionPolicy, Severity: Low, Weight: 3, Practice: LeastRights, Standards: []string{cisDMARC},
		Title: "Display names may show foreign addresses", Doc: "An account whose policy lets the name beside a sender's address show an address that the sender may not use.",
		run: ofPolicy(func(_ *Facts, p *relay.Policy) (string, string) {
			if !p.ForeignNames {
				return "", ""
			}
			return "The account's policy lets the name beside a sender's address show an address of somebody else, which many mail programs show alone.", "--foreign-names=false"
		}),
	},
	{
		Code: "policy_second_factor", Section: SectionPolicy, Severity: High, Weight: 25, Practice: SecondFactor, Standards: []string{cisMFA, nistAAL2},
		Title: "The second factor is optional", Doc: "An account whose policy lets people log in with a password alone.",
		run: ofPolicy(func(_ *Facts, p *relay.Policy) (string, string) {
			if !p.SecondFactorOptional {
				return "", ""
			}
			return "The account's policy lets people log in with a password alone.", "--second-factor-optional=false"
		}),
	},
}

// withoutCRAM are the other mechanisms of a policy; where there is none, good ones:
// an empty list would allow everything.
func withoutCRAM(all []string) []string {
	rest := slices.DeleteFunc(slices.Clone(all), func(m string) bool { return m == "CRAM-MD5" })
	if len(rest) == 0 {
		return []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN"}
	}
	return rest
}

// ofPolicy makes a check of the account's policy: what it says is wrong, and the
// flags that mend it.
func ofPolicy(look func(f *Facts, p *relay.Policy) (text, flags string)) func(*Facts, func(flaw)) {
	return func(f *Facts, yield func(flaw)) {
		if text, flags := look(f, &f.Account.Policy); text != "" {
			yield(flaw{subject: Subject{Kind: "account", ID: "policy", Name: f.Account.Name}, text: text, fix: "postern policy " + flags + f.ofAccount(), href: "/policy"})
		}
	}
}
