package audit

import (
	"fmt"
	"strconv"

	"postern/internal/relay"
)

var domainChecks = []Check{
	{
		Code: "domain_unverified", Section: SectionDomains, Severity: Medium, Weight: 8, Practice: LeastRights, Standards: []string{cisInventory},
		Title: "Domain that is not proven", Doc: "A domain that was added and never verified.",
		run: eachDomain(func(f *Facts, d *DomainFacts) *flaw {
			if d.State != relay.DomainPending {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("The domain %s was added %s and is not verified. Publish its records, or delete it.", quote(d.Name), f.ago(d.CreatedAt)),
				fix:  "postern domain validate " + argument(d.Name) + f.ofAccount(),
			}
		}),
	},
	{
		Code: "domain_asserted", Section: SectionDomains, Severity: Medium, Weight: 8, Practice: LeastRights, Standards: []string{cisDMARC},
		Title: "Domain by the operator's word", Doc: "A domain that may be used because the operator said so, and that the DNS did not prove at its last check.",
		run: eachDomain(func(f *Facts, d *DomainFacts) *flaw {
			if d.State != relay.DomainAsserted || d.Check != nil && d.Check.Valid {
				return nil
			}
			return &flaw{
				text:     fmt.Sprintf("No DNS record proves the domain %s; somebody's word stands for it. Publish its records and have it looked at.", quote(d.Name)),
				evidence: []string{"by " + d.AssertedBy}, fix: "postern domain validate " + argument(d.Name) + f.ofAccount(),
			}
		}),
	},
	{
		Code: "domain_failing", Section: SectionDomains, Severity: High, Weight: 20, Practice: Monitoring, Standards: []string{cisDMARC},
		Title: "Domain whose records are gone", Doc: "A domain that was verified and whose records are missing now: in its grace, paused or failed.",
		run: eachDomain(func(f *Facts, d *DomainFacts) *flaw {
			if d.FailingSince.IsZero() && d.State != relay.DomainPaused && d.State != relay.DomainFailed {
				return nil
			}
			w := &flaw{text: fmt.Sprintf("The records of the domain %s are gone; it is %s.", quote(d.Name), d.State), fix: "postern domain validate " + argument(d.Name) + f.ofAccount()}
			if !d.FailingSince.IsZero() {
				w.evidence = append(w.evidence, "since "+on(d.FailingSince))
			}
			if d.Reason != "" {
				w.evidence = append(w.evidence, d.Reason)
			}
			return w
		}),
	},
	{
		Code: "domain_alignment", Section: SectionDomains, Severity: High, Weight: 15, Practice: Monitoring, Standards: []string{cisDMARC, rfcDMARC},
		Title: "Domain that does not align", Doc: "A domain whose mail would pass DMARC by neither DKIM nor SPF, or not by DKIM, at its last check.",
		run: eachDomain(func(f *Facts, d *DomainFacts) *flaw {
			if d.Check == nil || d.Check.Unknown || d.Check.DKIMAligned != "" {
				return nil
			}
			how := "by neither DKIM nor SPF, so that receivers take it for forged"
			if d.Check.SPFAligned != "" {
				how = "by SPF alone, which ends where somebody forwards it"
			}
			return &flaw{text: fmt.Sprintf("Mail as %s would pass DMARC %s.", quote(d.Name), how), fix: "postern domain show " + argument(d.Name) + f.ofAccount()}
		}),
	},
	{
		Code: "domain_dmarc", Section: SectionDomains, Severity: Medium, Weight: 12, Practice: Monitoring, Standards: []string{cisDMARC, rfcDMARC},
		Title: "Domain without an enforced DMARC policy", Doc: "A domain without a DMARC record, or with p=none, at its last check.",
		run: eachDomain(func(f *Facts, d *DomainFacts) *flaw {
			if d.Check == nil || d.Check.Unknown || d.Check.Policy == "quarantine" || d.Check.Policy == "reject" {
				return nil
			}
			what := "has no DMARC record"
			if d.Check.Policy != "" {
				what = "has the DMARC policy " + shown(d.Check.Policy)
			}
			return &flaw{
				text: fmt.Sprintf("The domain %s %s: mail that others forge as it is delivered. The reports say when quarantine, and then reject, loses nothing.", quote(d.Name), what),
				fix:  "postern dmarc show " + argument(d.Name) + f.ofAccount(),
			}
		}),
	},
	{
		Code: "dkim_short", Section: SectionDomains, Severity: High, Weight: 15, Practice: Updated, Standards: []string{rfcDKIMBits},
		Title: "Short DKIM key", Doc: "An RSA key of fewer than 2048 bits that signs.",
		run: eachDKIMKey(func(f *Facts, d *DomainFacts, k *relay.DKIMKey) *flaw {
			if k.Algorithm != relay.DKIMRSA || k.Bits == 0 || k.Bits >= dkimBits {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("%s signs with an RSA key of %d bits (selector %s). Fewer than 2048 can be broken by those who want to.", quote(d.Name), k.Bits, quote(k.Selector)),
				fix:  "postern domain rotate " + argument(d.Name) + f.ofAccount(),
			}
		}),
	},
	{
		Code: "dkim_old", Section: SectionDomains, Severity: Low, Weight: 4, Practice: Rotation, Standards: []string{"M3AAWG DKIM Key Rotation Best Common Practices"},
		Title: "Old DKIM key", Doc: "A DKIM key that has been signing for more than 365 days.",
		run: eachDKIMKey(func(f *Facts, d *DomainFacts, k *relay.DKIMKey) *flaw {
			since := k.ActivatedAt
			if since.IsZero() {
				since = k.CreatedAt
			}
			if !f.older(since, dkimOld) {
				return nil
			}
			return &flaw{
				text: fmt.Sprintf("%s has been signing with the same DKIM key (selector %s) since %s.", quote(d.Name), quote(k.Selector), on(since)),
				fix:  "postern domain rotate " + argument(d.Name) + f.ofAccount(),
			}
		}),
	},
}

func (f *Facts) domainPage(d *DomainFacts) string {
	return f.pageOf(d.Subuser, "/domains/"+strconv.FormatInt(d.Number, 10))
}

func (d *DomainFacts) counts() bool {
	return d.DisabledAt.IsZero() && d.DeletedAt.IsZero() && !d.System
}

// eachDomain makes a check that looks at one domain in use after the other. The
// checks of one do not look at what another one does: a domain that is not proven
// may lack DMARC, too.
func eachDomain(look func(f *Facts, d *DomainFacts) *flaw) func(*Facts, func(flaw)) {
	return func(f *Facts, yield func(flaw)) {
		for i := range f.Domains {
			d := &f.Domains[i]
			if !d.counts() {
				continue
			}
			if w := look(f, d); w != nil {
				w.subject, w.href = Subject{Kind: "domain", ID: d.ID.String(), Name: d.Name}, f.domainPage(d)
				yield(*w)
			}
		}
	}
}

func eachDKIMKey(look func(f *Facts, d *DomainFacts, k *relay.DKIMKey) *flaw) func(*Facts, func(flaw)) {
	return func(f *Facts, yield func(flaw)) {
		for i := range f.Domains {
			d := &f.Domains[i]
			for j := range d.Keys {
				k := &d.Keys[j]
				if !d.counts() || !k.Active || !k.RetiredAt.IsZero() || !k.WithdrawnAt.IsZero() {
					continue
				}
				if w := look(f, d, k); w != nil {
					w.subject = Subject{Kind: "dkim_key", ID: d.ID.String() + "/" + k.Selector, Name: k.Selector + "._domainkey." + d.Name}
					w.href = f.domainPage(d)
					yield(*w)
				}
			}
		}
	}
}
