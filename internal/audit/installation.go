package audit

import (
	"fmt"
	"slices"
)

var trailChecks = []Check{
	{
		Code: "trail_broken", Section: SectionTrail, Severity: Critical, Weight: 100, Practice: Monitoring, Standards: []string{cisLogs, "CIS Controls v8 8.5"},
		Title: "The record of changes does not fit", Doc: "A chain of changes (the account's; in the first account's report the installation's, too) that was altered outside of postern.",
		run: func(f *Facts, yield func(flaw)) {
			broken := func(id, whose, of string, t Trail) {
				if !t.Valid {
					yield(flaw{
						subject: Subject{Kind: "account", ID: id, Name: whose}, href: "/changes", evidence: some(t.Problem),
						text: "The record of changes of " + whose + " was altered, or something was taken out or put in: somebody who can write the database did it. Treat the host as taken over.",
						fix:  "postern audit verify" + of,
					})
				}
			}
			broken("trail", "the account", f.ofAccount(), f.Trail)
			if f.Installation != nil {
				// Without an account all chains are checked, the installation's among them.
				broken("trail of the installation", "the installation", "", f.Installation.Trail)
			}
		},
	},
	{
		Code: "export_missing", Section: SectionTrail, Severity: Medium, Weight: 8, Practice: Monitoring, Standards: []string{cisCentral},
		Title: "Records stay on this host alone", Doc: "An account whose login and change records are sent to no other system.",
		run: func(f *Facts, yield func(flaw)) {
			if f.Exported != nil && !*f.Exported {
				yield(flaw{
					subject: Subject{Kind: "account", ID: "export", Name: f.Account.Name},
					text:    "Logins and changes are recorded here and nowhere else: who takes over the host takes them over, too. Whoever runs the relay has them sent to a log server or a webhook, by [[export]] in its configuration file.",
				})
			}
		},
	},
	{
		Code: "audit_unscheduled", Section: SectionTrail, Severity: Low, Weight: 3, Practice: RegularAudit, Standards: []string{cisReview},
		Title: "No regular audit", Doc: "An account whose report is mailed to nobody.",
		run: func(f *Facts, yield func(flaw)) {
			if f.Schedule.Every == Never || len(f.Schedule.To) == 0 {
				yield(flaw{
					subject: Subject{Kind: "account", ID: "schedule", Name: f.Account.Name}, href: "/audit/schedule",
					text: "Nobody gets this report regularly. Have it mailed each month to somebody who acts on it.",
					fix:  "postern audit schedule --every monthly --to " + argument(orText(f.Account.OwnerEmail, "ADDRESS")) + f.ofAccount(),
				})
			}
		},
	},
}

var installationChecks = []Check{
	{
		Code: "setting_weak", Section: SectionSettings, Severity: Medium, Weight: 10, Practice: RegularAudit, Standards: []string{cisConfig},
		Title: "Setting that is weaker than recommended", Doc: "A setting of the configuration file that is weaker than recommended; the list is below.",
		run: func(f *Facts, yield func(flaw)) {
			if f.Installation == nil {
				return
			}
			for _, s := range f.Installation.Settings {
				yield(flaw{
					subject: Subject{Kind: "setting", ID: s.Name, Name: s.Name}, standards: s.Standards,
					text: fmt.Sprintf("The setting %s is %s; %s is recommended. %s", s.Name, quote(s.Value), quote(s.Recommended), s.Why) +
						" Change it in the configuration file, have the file checked, and restart.",
					evidence: []string{s.Name + " = " + s.Value}, fix: "postern config check",
				})
			}
		},
	},
	{
		Code: "component_old", Section: SectionVersions, Severity: Medium, Weight: 10, Practice: Updated, Standards: []string{cisSupported, cisPatch},
		Title: "Old version", Doc: "postern built from sources of more than 180 days ago; its Go, its database or the system's libcrypto past the end of its support, or, where that is not known, more than 3 years old.",
		run: func(f *Facts, yield func(flaw)) {
			if f.Installation == nil {
				return
			}
			for _, c := range f.Installation.Components {
				if why := f.old(&c); why != "" {
					yield(flaw{
						subject: Subject{Kind: "component", ID: c.Name, Name: c.Name}, fix: "postern version",
						text:     fmt.Sprintf("%s %s %s. Install a newer one: what is found in old versions is mended in new ones only.", c.Name, quote(c.Version), why),
						evidence: some(c.Version),
					})
				}
			}
		},
	},
}

// old says why a component is old; "" if it is not, or nothing is known of it.
func (f *Facts) old(c *Component) string {
	limit := componentOld
	if c.Name == ComponentSelf {
		limit = versionOld
	}
	switch {
	case !c.SupportedUntil.IsZero() && f.At.After(c.SupportedUntil):
		return "is not supported since " + on(c.SupportedUntil)
	case c.SupportedUntil.IsZero() && !c.Released.IsZero() && f.older(c.Released, limit):
		return "is from " + on(c.Released) + ", " + f.ago(c.Released)
	}
	return ""
}

func some(s string) []string {
	return slices.DeleteFunc([]string{s}, func(s string) bool { return s == "" })
}

func orText(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}
