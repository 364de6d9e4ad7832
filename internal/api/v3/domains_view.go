package v3

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"postern/internal/finding"
	"postern/internal/relay"
)

// domainView is SendGrid's, and behind it what postern adds.
type domainView struct {
	Number    int64                `json:"id"`
	User      int64                `json:"user_id"`
	Label     string               `json:"subdomain"`
	Name      string               `json:"domain"`
	Username  string               `json:"username"`
	IPs       []netip.Addr         `json:"ips" doc:"of the SPF record; none: those of the pools"`
	CustomSPF bool                 `json:"custom_spf"`
	Default   bool                 `json:"default"`
	Legacy    bool                 `json:"legacy"`
	Automatic bool                 `json:"automatic_security"`
	Valid     bool                 `json:"valid" doc:"the DNS proves it"`
	DNS       map[string]dnsRecord `json:"dns" doc:"automatic: mail_cname, dkim1, dkim2, dkim1_ed25519, dkim2_ed25519; otherwise ownership, mail_server, subdomain_spf, domain_spf, dkim, dkim1_ed25519, and dkim2, dkim2_ed25519 while keys change"`
	Subusers  []domainUser         `json:"subusers,omitempty" doc:"with whom it is shared by name; told to the owner only"`
	Attempted int64                `json:"last_validation_attempt_at,omitempty" doc:"unix seconds"`
	Unknown   bool                 `json:"unknown,omitempty" doc:"the DNS did not answer at that attempt, so nothing is known of records that are not valid"`

	ID         relay.DomainID    `json:"domain_id"`
	Unicode    string            `json:"domain_unicode,omitempty" doc:"where it differs from domain"`
	State      relay.DomainState `json:"state" doc:"pending, asserted, verified, paused, failed"`
	Reason     string            `json:"reason,omitempty" doc:"why the state is not verified, or will not be for long"`
	Disputed   bool              `json:"disputed,omitempty" doc:"the DNS proves it, and another account has it"`
	AssertedBy string            `json:"asserted_by,omitempty" doc:"whose word it is, where no DNS proves it"`
	Token      string            `json:"token,omitempty" doc:"in the names or values that prove ownership"`
	ReturnPath string            `json:"return_path,omitempty" doc:"none: the system's"`
	Selector   string            `json:"custom_dkim_selector,omitempty"`
	Selectors  []string          `json:"selectors" doc:"that sign now"`
	KeyBits    int               `json:"key_bits,omitempty"`
	Subdomains bool              `json:"subdomains" doc:"names below it may be used too"`
	AllShared  bool              `json:"all_subusers" doc:"all subusers may use it"`
	Notify     bool              `json:"notify" doc:"its owner gets mail when it fails and recovers"`
	RotateDays int64             `json:"rotate_every_days" doc:"0: as the installation says; -1: never"`
	Reveal     bool              `json:"reveal_retired_keys"`
	System     bool              `json:"system,omitempty" doc:"the domain of postern's own mail"`

	VerifiedAt   time.Time  `json:"verified_at,omitzero"`
	FailingSince time.Time  `json:"failing_since,omitzero"`
	CreatedAt    time.Time  `json:"created_at"`
	DisabledAt   time.Time  `json:"disabled_at,omitzero"`
	DisabledBy   relay.Rank `json:"disabled_by,omitzero" doc:"account or operator: somebody above switched it off, and nobody else switches it on again; empty: its own people"`

	Keys     []domainKey       `json:"dkim"`
	Records  []domainRecord    `json:"records" doc:"all that is to be published"`
	Findings []finding.Finding `json:"findings" doc:"of the last check"`
	DMARC    dmarcView         `json:"dmarc"`
}

// dnsRecord is a record as SendGrid tells of it.
type dnsRecord struct {
	Valid bool   `json:"valid"`
	Type  string `json:"type" doc:"cname, txt, mx"`
	Host  string `json:"host"`
	Data  string `json:"data" doc:"of an MX record the host; its preference is 10"`
}

// domainRecord is a record as a zone has it.
type domainRecord struct {
	Key      string   `json:"key"`
	For      string   `json:"for"`
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Value    string   `json:"value" doc:"the whole text of a TXT record, without quotes"`
	Required bool     `json:"required"`
	Valid    bool     `json:"valid" doc:"by the last check"`
	Reason   string   `json:"reason,omitempty"`
	Found    []string `json:"found,omitempty"`
}

type domainUser struct {
	Number   int64  `json:"user_id"`
	Username string `json:"username"`
}

// dmarcView is what the last check found of DMARC.
type dmarcView struct {
	Policy      string `json:"policy" doc:"none, quarantine, reject; empty: there is no record"`
	SPF         string `json:"spf_aligned" doc:"strict, relaxed, or empty"`
	DKIM        string `json:"dkim_aligned" doc:"strict, relaxed, or empty"`
	Recommended string `json:"recommended,omitempty" doc:"the next record to publish"`
	Why         string `json:"recommended_because,omitempty"`
}

// viewDomain reads what is to be said of a domain.
func (a *API) viewDomain(c *Call, d *relay.Domain) (domainView, error) {
	ctx := c.R.Context()
	_, records, err := a.Domains.Records(ctx, d.ID)
	if err != nil {
		return domainView{}, err
	}
	keys, err := a.DomainStore.DKIMKeys(ctx, d.ID)
	if err != nil {
		return domainView{}, err
	}
	check, err := a.lastCheck(c, d.ID)
	if err != nil {
		return domainView{}, err
	}
	v := a.describeDomain(c, d)
	v.Keys, v.Selectors = viewDomainKeys(d, keys), []string{}
	for _, k := range keys {
		if k.Active && k.RetiredAt.IsZero() {
			v.Selectors = append(v.Selectors, k.Selector)
		}
	}
	v.Records = viewRecords(records, check)
	v.DNS = dnsOf(d, v.Records)
	v.Findings = append([]finding.Finding{}, check.Findings...)
	v.DMARC = viewDMARC(check)
	// SendGrid's word for "may be sent from, by its DNS". Of a domain that is asserted
	// it tells what the DNS would prove.
	v.Valid = d.State == relay.DomainVerified && d.FailingSince.IsZero() || d.State == relay.DomainAsserted && check.Valid
	if !check.At.IsZero() {
		v.Attempted, v.Unknown = check.At.Unix(), check.Unknown
	}
	return v, nil
}

// lastCheck is zero where there was none.
func (a *API) lastCheck(c *Call, id relay.DomainID) (relay.DomainCheck, error) {
	check, err := a.DomainStore.DomainCheck(c.R.Context(), id)
	if relay.KindOf(err) == relay.NotFound {
		return relay.DomainCheck{}, nil
	}
	return check, err
}

// describeDomain fills in what the row says.
func (a *API) describeDomain(c *Call, d *relay.Domain) domainView {
	v := domainView{
		Number: d.Number, Label: d.Label, Name: d.Name, IPs: append([]netip.Addr{}, d.IPs...), CustomSPF: d.CustomSPF, Default: d.Default,
		Automatic: d.Automatic, ID: d.ID, State: d.State, Reason: d.Reason, Disputed: d.Disputed, AssertedBy: d.AssertedBy, Token: d.Token,
		ReturnPath: d.ReturnPath, Selector: d.Selector, KeyBits: d.KeyBits, Subdomains: d.Subdomains, AllShared: d.AllSubusers, Notify: !d.Quiet,
		Reveal: d.Reveal, System: d.System, VerifiedAt: d.VerifiedAt, FailingSince: d.FailingSince, CreatedAt: d.CreatedAt, DisabledAt: d.DisabledAt, DisabledBy: d.DisabledRank,
		RotateDays: daysOf(d.Rotate),
	}
	v.User, v.Username = a.ownerOf(d)
	v.Unicode = unicodeOf(d.Name)
	if c.mayChange(d) {
		for _, id := range d.Subusers {
			if s, ok := a.Directory.Subuser(id); ok && s.DeletedAt.IsZero() {
				v.Subusers = append(v.Subusers, domainUser{s.Number, s.Name})
			}
		}
	}
	return v
}

const day = 24 * time.Hour

// daysOf is a span in days, rounded up so that a short one is not "as usual".
func daysOf(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return int64((d + day - 1) / day)
}

// viewRecords joins what is to be published with what the last check found. A
// record that has changed since counts as not there.
func viewRecords(records []relay.DNSRecord, check relay.DomainCheck) []domainRecord {
	out := make([]domainRecord, 0, len(records))
	for _, r := range records {
		v := domainRecord{Key: r.Key, For: r.For, Name: r.Host, Type: r.Type, Value: r.Data, Required: r.Required}
		i := slices.IndexFunc(check.Records, func(x relay.RecordCheck) bool {
			return x.Type == r.Type && x.Host == r.Host && x.Data == r.Data
		})
		if i >= 0 {
			v.Valid, v.Reason, v.Found = check.Records[i].Valid, check.Records[i].Reason, check.Records[i].Found
		}
		out = append(out, v)
	}
	return out
}

// dnsOf names records as SendGrid does.
func dnsOf(d *relay.Domain, records []domainRecord) map[string]dnsRecord {
	out := map[string]dnsRecord{}
	for _, r := range records {
		if strings.HasPrefix(r.Key, "dmarc") {
			continue // the owner's policy and not a part of the proof
		}
		data := r.Value
		if r.Type == "MX" {
			_, data, _ = strings.Cut(data, " ")
		}
		out[dnsKey(d, r.Key)] = dnsRecord{Valid: r.Valid, Type: strings.ToLower(r.Type), Host: r.Name, Data: strings.TrimSuffix(data, ".")}
	}
	// SendGrid recommends it too: nothing here depends on it, since the return path
	// has a record of its own.
	if _, ok := out["domain_spf"]; !ok && !d.Automatic && d.ReturnPath != "" && !d.System {
		out["domain_spf"] = dnsRecord{Type: "txt", Host: d.Name, Data: "v=spf1 include:" + d.ReturnPath + " -all"}
	}
	return out
}

// dnsKey is SendGrid's name of a record.
func dnsKey(d *relay.Domain, key string) string {
	if key == "dkim1" && !d.Automatic {
		return "dkim"
	}
	return key
}

func viewDMARC(check relay.DomainCheck) dmarcView {
	return dmarcView{Policy: check.Policy, SPF: check.SPFAligned, DKIM: check.DKIMAligned, Recommended: check.Recommended, Why: check.Why}
}

// unicodeOf is a domain's name as people write it, where that differs.
func unicodeOf(name string) string {
	if !strings.Contains(name, "xn--") {
		return ""
	}
	u, err := idna.Display.ToUnicode(name)
	if err != nil || u == name {
		return ""
	}
	return u
}
