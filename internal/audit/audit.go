// Package audit writes the audit report: who can send from an account, as whom,
// with what and from where; what is wrong with that, by which standard, and the
// command or page that mends it.
//
// Collect reads facts, Judge is pure: the same facts give the same report. Every
// check is a row of one table (Checks) and looks at its own facts alone, so that
// the score is 1,000 minus the weights of the findings: mending one raises it by
// exactly that finding's weight, and nothing else moves it. It is not divided by
// the number of keys, people or domains, and it may fall below zero.
package audit

import (
	"net/netip"
	"time"

	"postern/internal/relay"
)

// FullScore is the score of a report without findings.
const FullScore = 1000

// Severity says how much a finding matters.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical" // somebody may send in your name today
	High     Severity = "high"     // one more mistake and somebody does
	Medium   Severity = "medium"   // wider open than it has to be
	Low      Severity = "low"      // tidy up
)

// Severities are all of them, worst first.
var Severities = []Severity{Critical, High, Medium, Low}

// Practice is one of the eight practices of SMTP authentication.
type Practice string

// The eight practices.
const (
	Rotation     Practice = "rotation"
	AllowListing Practice = "allow-listing"
	Monitoring   Practice = "monitoring"
	LeastRights  Practice = "least privilege"
	SecondFactor Practice = "second factor"
	Updated      Practice = "updated clients"
	TransportTLS Practice = "TLS"
	RegularAudit Practice = "regular audit"
)

// Practices are all eight, in the order in which a report counts them.
var Practices = []Practice{Rotation, AllowListing, Monitoring, LeastRights, SecondFactor, Updated, TransportTLS, RegularAudit}

// Section is a part of the report.
type Section string

// The sections, in their order.
const (
	SectionKeys     Section = "keys"
	SectionPeople   Section = "people"
	SectionClients  Section = "clients"
	SectionDomains  Section = "domains"
	SectionAccess   Section = "access"
	SectionPolicy   Section = "policy"
	SectionTrail    Section = "trail"
	SectionWatch    Section = "watch"
	SectionSettings Section = "settings"
	SectionVersions Section = "versions"
)

// Sections are all of them, with their titles.
var Sections = []SectionTitle{
	{SectionKeys, "Keys"}, {SectionPeople, "People"}, {SectionClients, "Mechanisms, TLS and client software"}, {SectionDomains, "Domains"},
	{SectionAccess, "IP access"}, {SectionPolicy, "Policy"}, {SectionTrail, "Records and audits"}, {SectionWatch, "The watch"}, {SectionSettings, "Settings of the installation"},
	{SectionVersions, "Versions"},
}

// SectionTitle is what a section is called.
type SectionTitle struct {
	Section Section `json:"section"`
	Title   string  `json:"title"`
}

// Subject is what a finding is about.
type Subject struct {
	Kind string `json:"kind"` // api_key, user, invitation, domain, dkim_key, access_list, account, watch_rule, watch_finding, setting, component
	ID   string `json:"id"`
	Name string `json:"name,omitempty"` // as its owner calls it: a stranger's text
}

// Finding is one flaw of one thing.
type Finding struct {
	// ID is the same in every report while the flaw is there: code and subject.
	ID        string   `json:"id"`
	Code      string   `json:"code"`
	Section   Section  `json:"section"`
	Severity  Severity `json:"severity"`
	Weight    int      `json:"weight"` // what mending it adds to the score
	Practice  Practice `json:"practice"`
	Standards []string `json:"standards"`
	Subject   Subject  `json:"subject"`
	Title     string   `json:"title"`
	Text      string   `json:"text"` // one or two sentences for a person, complete without the rest
	Evidence  []string `json:"evidence"`
	Fix       string   `json:"fix"`  // a command line; "" where only a page or a hand helps
	Href      string   `json:"href"` // the console's page, a path; "" where no page mends it
}

// Report is what was found at a moment.
type Report struct {
	Version   int             `json:"version"` // of this form; 1
	ID        string          `json:"id,omitempty"`
	Account   relay.AccountID `json:"account_id"`
	Name      string          `json:"account"`
	At        time.Time       `json:"at"`
	Score     int             `json:"score"`
	FullScore int             `json:"full_score"`
	// Installation: this account's report speaks of the installation's settings and
	// versions, too: the first account's does, which is the operator's own.
	Installation bool              `json:"installation"`
	Options      Options           `json:"options"`
	Counts       map[Severity]int  `json:"counts"`
	Practices    []PracticeSummary `json:"practices"`
	Summary      []SectionSummary  `json:"sections"`
	Findings     []Finding         `json:"findings"`
	// Omitted counts findings beyond MaxFindings: they are in score and counts.
	Omitted int `json:"omitted,omitempty"`

	Senders    []SenderRow    `json:"senders"`
	People     []PersonRow    `json:"people"`
	Clients    []ClientRow    `json:"clients"`
	Domains    []DomainRow    `json:"domains"`
	Lists      []ListRow      `json:"access_lists"`
	Components []ComponentRow `json:"components"`
	// Cut counts rows of the tables above beyond their bounds.
	Cut int `json:"cut,omitempty"`
	// LoginsSince is from when on login records were looked at.
	LoginsSince time.Time `json:"logins_since"`
	// Trail says how far the record of changes was proven whole.
	Trail Trail `json:"trail"`
}

// Lost is the sum of the weights of all findings.
func (r *Report) Lost() int { return r.FullScore - r.Score }

// PracticeSummary is how one of the eight practices stands.
type PracticeSummary struct {
	Practice Practice `json:"practice"`
	Findings int      `json:"findings"`
	Weight   int      `json:"weight"`
}

// SectionSummary is how a section stands.
type SectionSummary struct {
	Section  Section `json:"section"`
	Title    string  `json:"title"`
	Findings int     `json:"findings"`
	Weight   int     `json:"weight"`
}

// Bounds of a report.
const (
	MaxFindings = 20_000
	MaxRows     = 10_000 // of each table
	maxEvidence = 10     // lines of one finding
)

// SenderRow is one credential: who can send, as whom, with what, from where.
type SenderRow struct {
	Key           relay.KeyID   `json:"api_key_id"`
	Name          string        `json:"name"`
	Kind          relay.KeyKind `json:"kind"`
	Subuser       string        `json:"subuser,omitempty"`
	Active        bool          `json:"active"` // it can log in now
	CanSend       bool          `json:"can_send"`
	Senders       []string      `json:"senders"` // none: all of the tenant's
	From          []string      `json:"from"`    // networks and hosts; none: anywhere
	FullAccess    bool          `json:"full_access"`
	Scopes        int           `json:"scopes"`
	CRAM          bool          `json:"cram_md5,omitempty"`
	CreatedAt     time.Time     `json:"created_at"`
	RotatedAt     time.Time     `json:"rotated_at,omitzero"`
	ExpiresAt     time.Time     `json:"expires_at,omitzero"`
	LastUsedAt    time.Time     `json:"last_used_at,omitzero"`
	LastUsedFrom  string        `json:"last_used_from,omitempty"`
	LastUsedHelo  string        `json:"last_used_helo,omitempty"`
	LastMechanism string        `json:"last_used_mechanism,omitempty"`
	Findings      int           `json:"findings"`
}

// PersonRow is one person.
type PersonRow struct {
	Username     string     `json:"username"`
	Name         string     `json:"name,omitempty"`
	Email        string     `json:"email"`
	Role         relay.Role `json:"role"`
	Subuser      string     `json:"subuser,omitempty"`
	SecondFactor bool       `json:"second_factor"`
	Password     bool       `json:"password"`
	Disabled     bool       `json:"disabled,omitempty"`
	SeenAt       time.Time  `json:"last_seen_at,omitzero"`
	SeenFrom     netip.Addr `json:"last_seen_from,omitzero"`
	Findings     int        `json:"findings"`
}

// ClientRow is one program, as far as login records tell one from another.
type ClientRow struct {
	Client
	KeyName string   `json:"key_name"`
	Weak    []string `json:"weak"` // codes of the checks that its last login of this kind fails
}

// DomainRow is one domain.
type DomainRow struct {
	Number      int64             `json:"id"`
	Name        string            `json:"domain"`
	Subuser     string            `json:"subuser,omitempty"`
	State       relay.DomainState `json:"state"`
	Policy      string            `json:"dmarc_policy"`
	SPFAligned  string            `json:"spf_aligned"`
	DKIMAligned string            `json:"dkim_aligned"`
	CheckedAt   time.Time         `json:"checked_at,omitzero"`
	Findings    int               `json:"findings"`
}

// ListRow is one IP access list.
type ListRow struct {
	Subuser string   `json:"subuser,omitempty"` // "": the account's
	Entries []string `json:"entries"`
	Monitor bool     `json:"monitor,omitempty"`
}

// ComponentRow is one part of the program.
type ComponentRow struct {
	Component
	Old bool `json:"old,omitempty"`
}
