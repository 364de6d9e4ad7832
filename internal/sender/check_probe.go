package sender

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/internal/finding"
	"postern/internal/relay"
)

// diagnose finds out where a record went that is missing, by asking for the
// places in which it ends up by mistake. It returns p where there is no trace.
func (x *examiner) diagnose(ctx context.Context, r relay.DNSRecord, asked dns.Asked, p problem) problem {
	if p.code != codeMissing && p.code != codeNoKey && p.code != codeNoSPF && p.code != codeWrongTarget {
		return p
	}
	if r.Type == "CNAME" && p.code == codeMissing {
		if found, ok := x.asText(ctx, r); ok {
			return found
		}
	}
	for _, name := range x.misplaced(r, asked.Zone) {
		if x.standsAt(ctx, r, name.host) {
			p := problem{code: name.code, where: name.host, found: name.host}
			if name.code == codeNameTwice {
				p.text = fmt.Sprintf("The record stands at %s: your DNS host added the domain to a name that had it already.", name.host)
				p.fix = fmt.Sprintf("In its form enter only %s as the name.", strings.TrimSuffix(r.Host, "."+asked.Zone))
			} else {
				p.text = fmt.Sprintf("The record stands at %s, and it must be at %s.", name.host, r.Host)
				p.fix = "Change its name. " + publish(r)
			}
			return p
		}
	}
	return p
}

// spot is a name where a record may have got by mistake.
type spot struct{ host, code string }

// misplaced are the likely ones. asked names the zone that the host edits.
func (x *examiner) misplaced(r relay.DNSRecord, zone string) (out []spot) {
	add := func(host, code string) {
		if host != r.Host && len(host) <= 253 {
			for _, p := range out {
				if p.host == host {
					return
				}
			}
			out = append(out, spot{host, code})
		}
	}
	if zone != "" && within(r.Host, zone) {
		add(r.Host+"."+zone, codeNameTwice)
	}
	add(r.Host+"."+x.d.Name, codeNameTwice)
	local := strings.TrimSuffix(r.Host, "."+x.d.Name)
	switch {
	case strings.HasSuffix(local, "._domainkey"):
		selector := strings.TrimSuffix(local, "._domainkey")
		add(selector+".domainkey."+x.d.Name, codeWrongName)
		add(selector+"."+x.d.Name, codeWrongName)
	case r.Key == recordOwnership:
		add(strings.TrimPrefix(r.Host, "_"), codeWrongName)
		add(x.d.Name, codeWrongName)
	case r.Key == recordSPF:
		add(x.d.Name, codeWrongName)
	}
	return out
}

// standsAt reports whether a record is to be found at another name, exactly.
func (x *examiner) standsAt(ctx context.Context, r relay.DNSRecord, host string) bool {
	asked, err := x.s.Authority.Ask(ctx, host, r.Type)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(asked.Told, func(t dns.Told) bool {
		switch {
		case t.Err != nil:
			return false
		case r.Type == "CNAME":
			return t.CNAME == r.Data
		case r.Type == "MX":
			return readMX(r, t).verdict == isValid
		}
		return slices.ContainsFunc(joined(t), func(s string) bool { return unspaced(s) == unspaced(r.Data) })
	})
}

// asText finds the target of a missing alias as the text of a TXT record.
func (x *examiner) asText(ctx context.Context, r relay.DNSRecord) (problem, bool) {
	asked, err := x.s.Authority.Ask(ctx, r.Host, "TXT")
	if err != nil {
		return problem{}, false
	}
	for _, t := range asked.Told {
		for _, s := range joined(t) {
			if strings.Contains(strings.ToLower(s), r.Data) {
				return problem{
					code: codeTXTInstead, found: "TXT " + s,
					text: fmt.Sprintf("At %s stands a TXT record with the target as its text. It must be a CNAME record.", r.Host), fix: "Remove the TXT record. " + publish(r),
				}, true
			}
		}
	}
	return problem{}, false
}

// proof looks twice at what a domain is proven by. ID-17: where any other name
// gives the same answer, a wildcard does, and it is no proof. While a domain is
// not proven, an alias is also looked at for records beside it.
func (x *examiner) proof(ctx context.Context, records []relay.DNSRecord, checks []relay.RecordCheck) {
	for i, r := range records {
		if !checks[i].Valid || !r.Required || r.Type == "MX" {
			continue
		}
		if r.Key == recordMailCNAME || r.Key == recordOwnership || r.Key == "dkim1" && r.Type == "CNAME" {
			if p, v := x.wildcard(ctx, r, checks[i].Found); v != isValid {
				checks[i].Valid, checks[i].Reason = false, p.text
				x.setVerdict(r, v)
				x.add(p.finding(r, ""))
			}
		}
		if r.Type == "CNAME" && !x.d.Holds() {
			x.beside(ctx, r)
		}
	}
}

// wildcard asks for a name that nobody can have published. isValid: it is not there.
// found is what stood at the record: an alias of the same name is a wildcard too,
// though it ends elsewhere now, for whoever has that name changes its answers at
// will. Without any answer nothing is proven for the first time.
func (x *examiner) wildcard(ctx context.Context, r relay.DNSRecord, found []string) (problem, verdict) {
	label, rest, _ := strings.Cut(r.Host, ".")
	random := strings.ToLower(rand.Text())
	if strings.HasPrefix(label, "_") {
		random = "_" + random
	}
	name := random + "." + rest
	asked, err := x.s.Authority.Ask(ctx, name, r.Type)
	there, match, answered, follow := r, false, false, x.follower(ctx)
	there.Host = name
	for _, t := range asked.Told {
		if silent(t.Err) {
			continue
		}
		answered = true
		same := t.CNAME != "" && slices.Contains(found, clean(strings.ToLower(strings.TrimSuffix(t.CNAME, ".")), maxFound))
		match = match || same || x.read(there, t, follow).verdict == isValid
	}
	switch {
	case match:
	case err == nil && answered || x.d.Holds():
		return problem{}, isValid
	default:
		return problem{
			severity: finding.Unknown, code: codeUnknown, text: fmt.Sprintf("Whether any name below %s gives this answer could not be found out: no name server answered.", rest),
			fix: "Nothing to do if this passes; it is looked at again.",
		}, isUnknown
	}
	return problem{
		code: codeWildcard, found: "*." + rest,
		text: fmt.Sprintf("Any name below %s gives this answer, because of a wildcard record (*.%s). A wildcard proves nothing.", rest, rest),
		fix:  fmt.Sprintf("Publish the record at %s itself, and remove the wildcard or give it another value.", r.Host),
	}, isInvalid
}

// beside tells of an alias with other records at its name (RFC 1034 §3.6.2).
func (x *examiner) beside(ctx context.Context, r relay.DNSRecord) {
	asked, err := x.s.Authority.Ask(ctx, r.Host, "TXT")
	if err != nil {
		return
	}
	for _, t := range asked.Told {
		// Servers that allow it answer with the text and without the alias, or with both.
		if t.Err == nil && len(t.TXT) > 0 {
			x.add(problem{
				severity: finding.Warning, code: codeBeside, found: "TXT " + strings.Join(joined(t), " | "),
				text: fmt.Sprintf("Beside the CNAME at %s stands a TXT record. A CNAME must be the only record at its name: some receivers will see the one, some the other.", r.Host),
				fix:  "Remove the TXT record at " + r.Host + ".",
			}.finding(r, t.Server))
			return
		}
	}
}
