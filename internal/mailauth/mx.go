package mailauth

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"postern/internal/dns"
	"postern/internal/finding"
)

// MX is where mail for the domain goes.
type MX struct {
	Hosts []Host `json:"hosts,omitempty"` // lowest preference first; the first 10 are looked at
	Null  bool   `json:"null"`            // RFC 7505: the domain takes no mail
	// Implicit: there is no MX record, and mail goes to the domain's own address
	// (RFC 5321 §5.1).
	Implicit bool              `json:"implicit"`
	Findings []finding.Finding `json:"findings"`

	missing bool // the name does not exist
	secure  bool
}

// Host is one mail exchanger.
type Host struct {
	Name       string       `json:"name"`
	Preference uint16       `json:"preference"`
	Addresses  []netip.Addr `json:"addresses,omitempty"`
	Alias      string       `json:"alias,omitempty"` // what it is a CNAME of
	Problem    string       `json:"problem,omitempty"`

	secure bool
}

// DANE is what the mail exchangers publish about their certificates, RFC 7672.
type DANE struct {
	Hosts    []HostTLSA        `json:"hosts,omitempty"`
	Findings []finding.Finding `json:"findings"`
}

// HostTLSA is one exchanger's TLSA records.
type HostTLSA struct {
	Host    string   `json:"host"`
	Records []string `json:"records,omitempty"` // "3 1 1 hex"
	Secure  bool     `json:"secure"`            // validated by DNSSEC, without which they do not count
	Problem string   `json:"problem,omitempty"`
}

func (m *MX) add(f finding.Finding) {
	f.Record = "mx"
	m.Findings = append(m.Findings, f)
}

func (l *looker) mx() (MX, DANE) {
	var m MX
	list, secure, err := limited{l}.MX(l.ctx, l.domain)
	m.secure = secure
	switch {
	case errors.Is(err, dns.ErrNotFound):
		m.missing = true
		m.add(finding.Finding{Severity: finding.Error, Code: "domain_missing", Where: l.domain,
			Text: fmt.Sprintf("%s does not exist in the DNS.", l.domain), Fix: "See that the name is written right and that the registration has not lapsed."})
		return m, DANE{}
	case errors.Is(err, dns.ErrNoData):
		l.implicit(&m)
		return m, DANE{}
	case err != nil:
		m.add(unknown("mx", "MX", l.domain))
		return m, DANE{}
	case len(list) == 1 && list[0].Host == ".":
		m.Null = true
		m.add(finding.Finding{Severity: finding.Info, Code: "mx_null", Where: l.domain,
			Text: fmt.Sprintf("%s says that it takes no mail (null MX): bounces and replies cannot be delivered.", l.domain)})
		return m, DANE{}
	}
	usable := 0
	for _, one := range list[:min(len(list), maxHosts)] {
		h := Host{Name: one.Host, Preference: one.Preference}
		l.host(&m, &h)
		if h.Problem == "" {
			usable++
		}
		m.Hosts = append(m.Hosts, h)
	}
	if len(list) > maxHosts {
		m.add(finding.Finding{Severity: finding.Info, Code: "mx_many", Where: l.domain, Text: fmt.Sprintf("There are %d mail exchangers; the first %d were looked at.", len(list), maxHosts)})
	}
	if usable > 0 && finding.Worst(m.Findings) == finding.OK {
		text := "Its mail exchanger has public addresses."
		if usable > 1 {
			text = fmt.Sprintf("Its %d mail exchangers have public addresses.", usable)
		}
		m.add(finding.Finding{Severity: finding.OK, Code: "mx_ok", Where: l.domain, Text: text})
	}
	return m, l.dane(&m)
}

// implicit judges a domain without MX records.
func (l *looker) implicit(m *MX) {
	addrs, _, err := limited{l}.Addr(l.ctx, l.domain)
	switch {
	case err == nil:
		m.Implicit = true
		m.Hosts = []Host{{Name: l.domain, Addresses: addrs}}
		m.add(finding.Finding{Severity: finding.Warning, Code: "mx_implicit", Where: l.domain,
			Text: fmt.Sprintf("%s has no MX record: mail for it goes to its own address, which is often only a web server.", l.domain),
			Fix:  "Publish an MX record with the name of the server that takes its mail, or “MX 0 .” if it takes none."})
	case absent(err):
		m.add(finding.Finding{Severity: finding.Warning, Code: "mx_missing", Where: l.domain,
			Text: fmt.Sprintf("%s has neither an MX record nor an address: it cannot take mail, and many receivers refuse mail from a domain that cannot be answered.", l.domain),
			Fix:  "Publish an MX record with the name of the server that takes its mail."})
	default:
		m.add(unknown("mx", "address", l.domain))
	}
}

// host looks at one exchanger.
func (l *looker) host(m *MX, h *Host) {
	if addr, err := netip.ParseAddr(h.Name); err == nil {
		h.Problem = "an address, not a name"
		m.add(finding.Finding{Severity: finding.Error, Code: "mx_address", Where: l.domain, Found: h.Name,
			Text: fmt.Sprintf("The MX record names %s, an address; only a host name may stand there.", addr), Fix: "Give the server a name with an address record, and name that."})
		return
	}
	addrs, secure, err := limited{l}.Addr(l.ctx, h.Name)
	h.Addresses, h.secure = addrs, secure
	switch {
	case absent(err):
		h.Problem = "no address"
		m.add(finding.Finding{Severity: finding.Error, Code: "mx_unresolvable", Where: l.domain, Found: h.Name,
			Text: fmt.Sprintf("The mail exchanger %s has no address: mail cannot be delivered to it.", h.Name), Fix: "Correct the MX record, or publish the host's address."})
		return
	case err != nil:
		h.Problem = "the DNS did not answer"
		m.add(unknown("mx", "address", h.Name))
		return
	}
	if target, _, err := (limited{l}).CNAME(l.ctx, h.Name); err == nil {
		h.Alias = cut(target)
		m.add(finding.Finding{Severity: finding.Warning, Code: "mx_alias", Where: h.Name, Found: h.Alias,
			Text: fmt.Sprintf("The mail exchanger %s is an alias (CNAME) of %s, which RFC 2181 §10.3 forbids: some senders refuse it.", h.Name, finding.Quote(target)),
			Fix:  fmt.Sprintf("Name %s in the MX record, or give %s addresses of its own.", finding.Quote(target), h.Name)})
	}
	private := 0
	for _, a := range addrs {
		if notPublic(a) {
			private++
		}
	}
	if private == 0 {
		return
	}
	f := finding.Finding{Severity: finding.Warning, Code: "mx_private", Where: h.Name, Found: fmt.Sprint(addrs),
		Text: fmt.Sprintf("Some addresses of the mail exchanger %s are not of the Internet: delivery to them fails or goes astray.", h.Name),
		Fix:  "Publish public addresses only."}
	if private == len(addrs) {
		h.Problem = "only private addresses"
		f.Severity = finding.Error
		f.Text = fmt.Sprintf("The mail exchanger %s has no address that the Internet can reach.", h.Name)
	}
	m.add(f)
}

// shared is the range of RFC 6598, and zero what no host may have.
var (
	shared = netip.MustParsePrefix("100.64.0.0/10")
	zero   = netip.MustParsePrefix("0.0.0.0/8")
)

func notPublic(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() || shared.Contains(a) || zero.Contains(a)
}

// dane looks for TLSA records at the exchangers.
func (l *looker) dane(m *MX) DANE {
	var d DANE
	with := 0
	for _, h := range m.Hosts {
		name := "_25._tcp." + h.Name
		list, secure, err := limited{l}.TLSA(l.ctx, name)
		t := HostTLSA{Host: h.Name, Secure: secure && err == nil}
		switch {
		case absent(err):
			t.Problem = "none published"
		case err != nil:
			t.Problem = "the DNS did not answer"
			d.Findings = append(d.Findings, unknown("dane", "TLSA", name))
		default:
			with++
			l.tlsa(&d, &t, list, m.secure && h.secure && secure)
		}
		d.Hosts = append(d.Hosts, t)
	}
	add := func(f finding.Finding) {
		f.Record, f.Where = "dane", l.domain
		d.Findings = append(d.Findings, f)
	}
	switch {
	case with == 0 && len(d.Findings) == 0 && len(d.Hosts) > 0:
		add(finding.Finding{Severity: finding.Info, Code: "dane_missing", Text: "No mail exchanger publishes TLSA records (DANE): senders cannot tell its real certificate from another by the DNS."})
	case with > 0 && with < len(d.Hosts):
		add(finding.Finding{Severity: finding.Warning, Code: "dane_partial", Text: fmt.Sprintf("%d of %d mail exchangers publish TLSA records (DANE); who wants to listen in uses the others.", with, len(d.Hosts)),
			Fix: "Publish them for all."})
	case with > 0 && finding.Worst(d.Findings) == finding.OK:
		add(finding.Finding{Severity: finding.OK, Code: "dane_ok", Text: "All mail exchangers publish TLSA records (DANE), validated by DNSSEC."})
	}
	return d
}

func (l *looker) tlsa(d *DANE, t *HostTLSA, list []dns.TLSA, secure bool) {
	t.Secure = secure
	usable := 0
	for _, r := range list[:min(len(list), maxShown)] {
		t.Records = append(t.Records, cut(fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.MatchingType, hex.EncodeToString(r.Data[:min(len(r.Data), 64)]))))
		if (r.Usage == 2 || r.Usage == 3) && r.Selector <= 1 && r.MatchingType <= 2 {
			usable++
		}
	}
	where := "_25._tcp." + t.Host
	if !secure {
		t.Problem = "not validated by DNSSEC"
		d.Findings = append(d.Findings, finding.Finding{Severity: finding.Info, Code: "dane_insecure", Record: "dane", Where: where,
			Text: fmt.Sprintf("The TLSA records of %s count only where DNSSEC vouches for the MX record, the address and them; the resolver that was asked does not say so.", t.Host)})
	}
	if usable == 0 {
		t.Problem = "no usable record"
		d.Findings = append(d.Findings, finding.Finding{Severity: finding.Warning, Code: "dane_usage", Record: "dane", Where: where, Found: strings.Join(t.Records, ", "),
			Text: fmt.Sprintf("No TLSA record of %s is of a kind that mail servers use (RFC 7672 §3.1: usage 2 or 3).", t.Host), Fix: "Publish “3 1 1” with the hash of the server's public key."})
	}
}
