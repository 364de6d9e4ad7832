package mailauth

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"postern/internal/dns"
	"postern/internal/finding"
)

// commonSelectors are those that mail services and software use. The DNS gives
// no list of the selectors that a domain has.
var commonSelectors = []string{
	"s1", "s2", "s1e", "s2e", "default", "google", "selector1", "selector2", "k1", "k2", "k3", "mail", "dkim", "smtp", "mandrill",
	"pm", "mxvault", "zoho", "protonmail", "protonmail2", "protonmail3", "fm1", "fm2", "fm3", "everlytickey1", "everlytickey2",
	"mx", "email", "key1", "key2", "dkim1", "dkim2", "sig1", "m1", "m2", "zmail", "mailjet", "mte1", "mte2", "krs", "cm", "hs1", "hs2",
	"scph0620", "turbo-smtp", "amazonses", "20230601", "20161025", "2024", "2025", "2026", "rsa", "ed25519",
}

// DKIM is the domain's published keys, as far as their selectors are known.
type DKIM struct {
	Asked    int               `json:"asked"`          // how many selectors were looked up
	Guessed  bool              `json:"guessed"`        // those that are common, for want of the real ones
	Wildcard bool              `json:"wildcard"`       // any selector gets an answer
	Keys     []Key             `json:"keys,omitempty"` // of selectors that publish something, by name
	Findings []finding.Finding `json:"findings"`
}

// Usable reports whether a key was found whose signatures verify.
func (d *DKIM) Usable() bool {
	return slices.ContainsFunc(d.Keys, func(k Key) bool { return k.Usable })
}

// probe is a selector that nobody has.
const probe = "postern-asks-for-a-selector-that-is-not-there"

func (l *looker) dkim(selectors []string) DKIM {
	d := DKIM{}
	selectors = chosen(selectors)
	if d.Guessed = len(selectors) == 0; d.Guessed {
		selectors = commonSelectors
	}
	d.Asked = len(selectors)
	wild, _, err := limited{l}.TXT(l.ctx, probe+"._domainkey."+l.domain)
	if d.Wildcard = err == nil; d.Wildcard {
		d.add(finding.Finding{Severity: finding.Warning, Code: "dkim_wildcard", Where: "*._domainkey." + l.domain, Found: cut(strings.Join(wild, "\n")),
			Text: fmt.Sprintf("Any selector below _domainkey.%s gets an answer: a wildcard record stands there or above.", l.domain), Fix: "Take the wildcard away, or publish only keys below _domainkey."})
	}
	if d.Guessed && err != nil && !absent(err) { // not worth the wait for all of them
		d.Asked = 0
		d.add(unknown("dkim", "TXT", "_domainkey."+l.domain))
		return d
	}
	looks := make([]look, len(selectors))
	var all sync.WaitGroup
	for i, s := range selectors {
		all.Go(func() { looks[i] = l.selector(s) })
	}
	all.Wait()
	silent := 0
	for i := range looks {
		one := &looks[i]
		same := d.Wildcard && slices.Equal(one.txts, wild)
		switch {
		case one.err != nil && !absent(one.err):
			silent++
			if !d.Guessed || silent == 1 {
				d.add(unknown("dkim", "TXT", one.key.Name))
			}
		case d.Guessed && (same || absent(one.err) && one.key.Alias == ""):
		default:
			d.judge(one, same)
		}
	}
	l.summary(&d, silent)
	return d
}

// chosen are the selectors that were given: in lower case, each once, bounded.
func chosen(given []string) []string {
	var out []string
	for _, s := range given {
		if s = strings.ToLower(strings.TrimSpace(s)); s != "" && !slices.Contains(out, s) && len(out) < maxSelectors {
			out = append(out, s)
		}
	}
	return out
}

// look is what one selector's name answers.
type look struct {
	key  Key
	txts []string
	err  error
}

func (l *looker) selector(s string) look {
	one := look{key: Key{Selector: cut(s), Name: cut(s) + "._domainkey." + l.domain}}
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		one.err = dns.ErrBadName
		return one
	}
	one.txts, _, one.err = limited{l}.TXT(l.ctx, one.key.Name)
	if one.err == nil || absent(one.err) {
		// An alias whose target is gone has no TXT record either: it is asked about anyway.
		if target, _, err := (limited{l}).CNAME(l.ctx, one.key.Name); err == nil {
			one.key.Alias = cut(target)
		}
	}
	return one
}

func (d *DKIM) add(f finding.Finding) {
	f.Record = "dkim"
	d.Findings = append(d.Findings, f)
}

// judge makes findings of one selector.
func (d *DKIM) judge(one *look, wildcard bool) {
	k := &one.key
	switch {
	case absent(one.err) && k.Alias != "":
		d.add(finding.Finding{Severity: finding.Error, Code: "dkim_dangling", Where: k.Name, Found: k.Alias,
			Text: fmt.Sprintf("Selector %s is an alias of %s, where there is no key: nothing signed with it passes, and whoever gets hold of that name can sign as this domain.", k.Selector, finding.Quote(k.Alias)),
			Fix:  "Delete the alias, or have the service that it leads to publish the key."})
	case absent(one.err) || wildcard:
		d.add(finding.Finding{Severity: finding.Error, Code: "dkim_missing", Where: k.Name,
			Text: fmt.Sprintf("Selector %s publishes no key.", finding.Quote(k.Selector)), Fix: fmt.Sprintf("Publish the key's TXT record at %s, or give the selector that is really used.", finding.Quote(k.Name))})
		return
	case len(one.txts) > 1:
		k.Record = cut(strings.Join(one.txts, "\n"))
		d.add(finding.Finding{Severity: finding.Error, Code: "dkim_several", Where: k.Name, Found: k.Record,
			Text: fmt.Sprintf("Selector %s has %d TXT records; which one a receiver takes is chance.", k.Selector, len(one.txts)), Fix: "Delete all but the key's."})
	default:
		fs := parseKey(k, strings.Join(one.txts, ""))
		for _, f := range fs {
			f.Where = k.Name
			d.add(f)
		}
		if k.Usable && finding.Worst(fs) == finding.OK {
			d.add(finding.Finding{Severity: finding.OK, Code: "dkim_ok", Where: k.Name, Text: fmt.Sprintf("Selector %s has %s.", k.Selector, k.describe())})
		}
	}
	d.Keys = append(d.Keys, *k)
}

func (k *Key) describe() string {
	if k.Type == "ed25519" {
		return "an Ed25519 key"
	}
	return fmt.Sprintf("an RSA key of %d bits", k.Bits)
}

// summary judges the area as a whole.
func (l *looker) summary(d *DKIM, silent int) {
	where := "_domainkey." + l.domain
	rsaKey := slices.ContainsFunc(d.Keys, func(k Key) bool { return k.Usable && k.Type == "rsa" })
	switch {
	case d.Guessed && len(d.Keys) == 0 && silent == 0:
		d.add(finding.Finding{Severity: finding.Info, Code: "dkim_not_found", Where: where,
			Text: fmt.Sprintf("No key was found under the %d selectors that are common. The DNS gives no list of them: the domain may use another.", d.Asked),
			Fix:  "Look into the DKIM-Signature field of a message from this domain; the selector stands after s=."})
	case d.Usable() && !rsaKey:
		f := finding.Finding{Severity: finding.Warning, Code: "dkim_ed25519_only", Where: where,
			Text: "Only Ed25519 keys were found: many receivers cannot verify them.", Fix: "Sign with an RSA key too."}
		if d.Guessed {
			f.Severity = finding.Info // an RSA key may be under a selector that is not common
		}
		d.add(f)
	}
}
