package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/dns"
	"postern/internal/finding"
)

// ZoneHealth looks at our own zone from outside: is it delegated, to the name
// servers that are configured, and do at least two of them answer? A zone that
// does not answer takes the signatures and the SPF of all automatic domains with
// it. name servers are host names.
func ZoneHealth(ctx context.Context, ask interface {
	Ask(ctx context.Context, name, typ string) (dns.Asked, error)
}, zone string, nameServers []string) []finding.Finding {
	zone = strings.ToLower(strings.TrimSuffix(zone, "."))
	f := finding.Finding{Record: "zone", Where: zone}
	asked, err := ask.Ask(ctx, zone, "NS")
	switch {
	case errors.Is(err, dns.ErrTemporary):
		f.Severity, f.Code = finding.Unknown, "zone_unknown"
		f.Text = "The name servers of " + zone + " could not be found out; nothing is known about it."
		return []finding.Finding{f}
	case err != nil || asked.Zone != zone:
		f.Severity, f.Code = finding.Error, "zone_not_delegated"
		f.Text = "The zone " + zone + " is not delegated: nobody on the internet asks its name servers, and the records of automatic domains cannot be found."
		f.Fix = fmt.Sprintf("In the zone above it, publish: %s.", delegation(zone, nameServers))
		return []finding.Finding{f}
	}
	out := differ(f, zone, asked.Servers, nameServers)
	answering, silent := map[string]bool{}, []string{}
	for _, t := range asked.Told {
		if t.Err == nil && t.Authoritative {
			answering[t.Server] = true
		}
	}
	for _, s := range asked.Servers {
		if !answering[s] {
			silent = append(silent, s)
		}
	}
	if len(silent) > 0 {
		s := f
		s.Severity, s.Code, s.Found = finding.Warning, "zone_server_silent", strings.Join(silent, ", ")
		s.Text = fmt.Sprintf("Of the name servers of %s these do not answer for it: %s.", zone, s.Found)
		s.Fix = "Let them transfer the zone from here (dns.secondaries), and open UDP and TCP port 53 to them."
		if len(answering) == 0 {
			s.Severity, s.Code = finding.Error, "zone_silent"
		}
		out = append(out, s)
	}
	if len(answering) == 1 {
		s := f
		s.Severity, s.Code = finding.Warning, "zone_one_server"
		s.Text = "Only one name server answers for " + zone + ": while it is away, receivers cannot verify the mail of any automatic domain."
		s.Fix = "Add a second name server on another network: name it in dns.name_servers and dns.secondaries, let it transfer the zone, and add it to the delegation."
		out = append(out, s)
	}
	if len(out) == 0 {
		f.Severity, f.Code = finding.OK, "zone_ok"
		f.Text = fmt.Sprintf("%d name servers answer for %s.", len(answering), zone)
		out = append(out, f)
	}
	return out
}

func delegation(zone string, nameServers []string) string {
	lines := make([]string, len(nameServers))
	for i, n := range nameServers {
		lines[i] = zone + ". NS " + strings.TrimSuffix(n, ".") + "."
	}
	return strings.Join(lines, ", ")
}

// differ compares the delegation with the configuration.
func differ(f finding.Finding, zone string, delegated, configured []string) []finding.Finding {
	want := make([]string, len(configured))
	for i, n := range configured {
		want[i] = strings.ToLower(strings.TrimSuffix(n, "."))
	}
	have := slices.Clone(delegated)
	slices.Sort(want)
	slices.Sort(have)
	if slices.Equal(want, have) {
		return nil
	}
	f.Severity, f.Code, f.Expected, f.Found = finding.Warning, "zone_servers_differ", strings.Join(want, ", "), strings.Join(have, ", ")
	f.Text = fmt.Sprintf("The zone above %s delegates it to %s; dns.name_servers says %s.", zone, f.Found, f.Expected)
	f.Fix = "Make both say the same."
	return []finding.Finding{f}
}
