package relay

import (
	"net/netip"
	"time"

	"postern/internal/finding"
)

// DomainState says how far a domain's proof has come.
type DomainState string

// The states.
const (
	DomainPending  DomainState = "pending"  // not usable yet
	DomainAsserted DomainState = "asserted" // usable by the operator's word
	DomainVerified DomainState = "verified" // proven by DNS; with FailingSince: its records are gone, and there is grace
	DomainPaused   DomainState = "paused"   // the grace is over: mail is answered 450 and queued mail waits
	DomainFailed   DomainState = "failed"   // was proven, is no longer: mail is answered 550
)

// Domain is a domain that a tenant sends as.
type Domain struct {
	ID      DomainID  `json:"id"`
	Number  int64     `json:"number,omitempty"` // its id in the v3 API: unique, given by the store
	Account AccountID `json:"account_id"`
	// Subuser owns it; zero: the account itself.
	Subuser SubuserID `json:"subuser_id,omitzero"`
	Name    string    `json:"domain"` // A-label form, lower case

	State      DomainState `json:"state"`
	AssertedBy string      `json:"asserted_by,omitempty"` // whose word it is, where no DNS proves it
	// Reason says in words why the state is not verified, or will not be for long.
	Reason string `json:"reason,omitempty"`
	// Disputed: the DNS proves it, and another account has it. It becomes verified
	// when the other's proof is gone.
	Disputed bool `json:"disputed,omitempty"`
	// VerifiedAt is when the DNS last began to prove it. FailingSince is set from the
	// first check that found records gone until one finds them again.
	VerifiedAt   time.Time `json:"verified_at,omitzero"`
	FailingSince time.Time `json:"failing_since,omitzero"`

	// Token is in the names or values that prove ownership: 26 characters of
	// lower-case base32, 130 random bits, new for every domain of every account, so
	// that records left behind by one prove nothing for another.
	Token string `json:"token,omitempty"`
	// Automatic: the customer publishes aliases into our zone, and keys and SPF
	// change without touching the customer's DNS. Otherwise: TXT and MX records.
	Automatic bool `json:"automatic_security"`
	// Label is the host of the return path below the domain: "em1234".
	Label      string `json:"subdomain,omitempty"`
	ReturnPath string `json:"return_path,omitempty"` // Label + "." + Name; empty: the system's
	Selector   string `json:"custom_dkim_selector,omitempty"`
	KeyBits    int    `json:"key_bits,omitempty"` // of new RSA keys: 2048 (also 0) or 4096
	// Rotate is how often its DKIM keys change by themselves: 0 as the installation
	// says, below 0 never.
	Rotate time.Duration `json:"rotate_every,omitempty"`
	// Reveal publishes the private keys of withdrawn selectors.
	Reveal    bool         `json:"reveal_retired_keys,omitempty"`
	CustomSPF bool         `json:"custom_spf,omitempty"`
	Default   bool         `json:"default,omitempty"` // of its owner
	IPs       []netip.Addr `json:"ips,omitempty"`     // of its SPF record; empty: those of the pools

	Subdomains bool `json:"subdomains,omitempty"` // names below it may be used too
	// Who may use it beside its owner: named subusers of the account, or all of them.
	Subusers    []SubuserID `json:"subusers,omitempty"`
	AllSubusers bool        `json:"all_subusers,omitempty"`
	// Quiet: its owner gets no mail about it.
	Quiet bool `json:"quiet,omitempty"`

	// System marks the domain of postern's own mail.
	System     bool      `json:"system,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// DisabledRank is who switched it off.
	DisabledRank Rank      `json:"disabled_by,omitzero"`
	DeletedAt    time.Time `json:"deleted_at,omitzero"` // disabled too; the row stays for its queued mail and records
}

// Usable reports whether mail may be sent as the domain.
func (d *Domain) Usable() bool {
	return d.DisabledAt.IsZero() && (d.State == DomainAsserted || d.State == DomainVerified)
}

// Holds reports whether the domain keeps other accounts from its name: it is
// usable, or would be if its records were back.
func (d *Domain) Holds() bool { return d.Usable() || d.DisabledAt.IsZero() && d.State == DomainPaused }

// OpenTo reports whether a tenant of the domain's account may use it.
func (d *Domain) OpenTo(t Tenant) bool {
	if t.Account != d.Account {
		return false
	}
	if t.Subuser == d.Subuser || d.AllSubusers && d.Subuser.IsZero() {
		return true
	}
	for _, s := range d.Subusers {
		if s == t.Subuser && !s.IsZero() {
			return true
		}
	}
	return false
}

// Coverage says how a name stands with a tenant.
type Coverage string

// The ways. Only the first lets mail out.
const (
	CoverUsable    Coverage = "allowed"
	CoverNone      Coverage = "domain not proven"          // no domain covers it
	CoverOther     Coverage = "domain of another account"  // not to be told: to the tenant it is as CoverNone
	CoverPending   Coverage = "domain not verified yet"    // the account's, waits for its DNS records
	CoverPaused    Coverage = "domain paused"              // its DNS records are gone
	CoverFailed    Coverage = "domain no longer proven"    // gone for too long
	CoverDisabled  Coverage = "domain disabled"            // switched off
	CoverNotShared Coverage = "domain not shared with you" // the account's, for others in it
)

// DKIMAlgorithm names a signing algorithm.
type DKIMAlgorithm string

// The algorithms (RFC 6376, RFC 8463).
const (
	DKIMRSA     DKIMAlgorithm = "rsa-sha256"
	DKIMEd25519 DKIMAlgorithm = "ed25519-sha256"
)

// DKIMKey is one selector of a domain with its sealed private key. A selector is
// a slot: once its key is withdrawn, the next rotation puts a new one there.
//
// Its life: made (CreatedAt), its record published and waited for (until SeenAt),
// signing (Active), retired (RetiredAt: signs no more, the record stays for mail
// on its way), withdrawn (WithdrawnAt: the record says that it is revoked).
type DKIMKey struct {
	Domain    DomainID      `json:"domain_id"`
	Selector  string        `json:"selector"`
	Algorithm DKIMAlgorithm `json:"algorithm"`
	Bits      int           `json:"bits,omitempty"` // of an RSA key
	// Generation counts the keys that the selector has had, from 1.
	Generation int64  `json:"generation,omitempty"`
	Sealed     []byte `json:"-"`      // PKCS #8 DER under the sealing key; empty once withdrawn
	Record     string `json:"record"` // the TXT value to publish
	// Active keys sign. An Ed25519 key becomes active when its record is seen or
	// the operator says so.
	Active      bool      `json:"active"`
	Imported    bool      `json:"imported,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	SeenAt      time.Time `json:"seen_at,omitzero"` // when every name server answered with it
	ActivatedAt time.Time `json:"activated_at,omitzero"`
	RetiredAt   time.Time `json:"retired_at,omitzero"`
	WithdrawnAt time.Time `json:"withdrawn_at,omitzero"`
	// Revealed is the private key of a withdrawn one (PKCS #8 DER, base64), where its
	// owner wants it published: then a signature with it proves nothing to thieves.
	Revealed string `json:"revealed,omitempty"`
}

// DNSRecord is one record that somebody is to publish.
type DNSRecord struct {
	// Key names it as the v3 API does: mail_cname, dkim1, dkim2, dkim1_ed25519,
	// dkim2_ed25519, ownership, mail_server, subdomain_spf, dkim, …
	Key  string `json:"key"`
	For  string `json:"for"`  // what it does, in words
	Type string `json:"type"` // CNAME, TXT, MX: upper case
	Host string `json:"host"` // A-labels, whole, without the last dot
	// Data is the value: a host name, the whole text of a TXT record, "10 host".
	Data     string `json:"data"`
	Required bool   `json:"required"` // without it the domain is not valid
}

// RecordCheck is what a check found of one record.
type RecordCheck struct {
	DNSRecord
	Valid  bool     `json:"valid"`
	Found  []string `json:"found,omitempty"`
	Reason string   `json:"reason,omitempty"` // why it is not valid, in words
}

// DomainCheck is the result of a domain's last check.
type DomainCheck struct {
	Domain DomainID  `json:"domain_id"`
	At     time.Time `json:"at"`
	NextAt time.Time `json:"next_at,omitzero"`
	// Valid: every required record is there. Unknown: the DNS did not answer, so
	// nothing is known; Valid is false then.
	Valid   bool `json:"valid"`
	Unknown bool `json:"unknown,omitempty"`
	// UnknownSince is when the DNS first did not answer, of all checks since the last
	// that got an answer.
	UnknownSince time.Time `json:"unknown_since,omitzero"`
	// Secure: DNSSEC vouches for the domain's records, by a resolver that is trusted.
	Secure   bool              `json:"dnssec"`
	Servers  []string          `json:"servers,omitempty"` // the name servers that were asked
	Records  []RecordCheck     `json:"records"`
	Findings []finding.Finding `json:"findings"`
	// Policy is the DMARC policy that applies: none, quarantine, reject; "": there is
	// none. SPFAligned and DKIMAligned say how mail would align: "strict", "relaxed", "".
	Policy      string `json:"dmarc_policy"`
	SPFAligned  string `json:"spf_aligned"`
	DKIMAligned string `json:"dkim_aligned"`
	// Recommended is the next DMARC record to publish, at Where; "" where all is well.
	Recommended string `json:"recommended,omitempty"`
	Why         string `json:"recommended_because,omitempty"`
}

// SingleSender is one address that a tenant may send as, proven by a link that
// was mailed to it.
type SingleSender struct {
	Number int64 `json:"id"` // unique in the installation, given by the store
	Tenant
	Nickname    string `json:"nickname"`
	FromEmail   string `json:"from_email"`  // as it was given
	Address     string `json:"address_key"` // canonical: unquoted local part, "@", A-label domain in lower case
	FromName    string `json:"from_name,omitempty"`
	ReplyTo     string `json:"reply_to"`
	ReplyToName string `json:"reply_to_name,omitempty"`
	Street      string `json:"street,omitempty"`
	Street2     string `json:"street2,omitempty"`
	City        string `json:"city,omitempty"`
	State       string `json:"state,omitempty"`
	Zip         string `json:"zip,omitempty"`
	Country     string `json:"country,omitempty"`

	VerifiedAt time.Time `json:"verified_at,omitzero"`
	// Secret is the SHA-256 of the link's one-time token; empty once it was used.
	Secret     []byte    `json:"-"`
	MailedAt   time.Time `json:"mailed_at,omitzero"` // when the last link was sent
	ValidUntil time.Time `json:"link_valid_until,omitzero"`
	CreatedAt  time.Time `json:"created_at"`
	DeletedAt  time.Time `json:"deleted_at,omitzero"`
}

// DomainStateChange moves a domain's state.
type DomainStateChange struct {
	State        DomainState
	FailingSince time.Time // zero: its records are there
	Reason       string
}
