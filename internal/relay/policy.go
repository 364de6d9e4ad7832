package relay

import (
	"net/netip"
	"time"
)

// Policy is what an account demands of its keys. It holds for its subusers too.
type Policy struct {
	// MaxKeyLife is the longest life of a new key, and of a key's secret: 0 is no
	// limit; 30 to 90 days are recommended.
	MaxKeyLife       time.Duration `json:"max_key_life,omitempty"`
	ForbidFullAccess bool          `json:"forbid_full_access,omitempty"` // no key may have every scope
	RequireNetworks  bool          `json:"require_networks,omitempty"`   // every key says from where
	// Mechanisms are those that its keys may log in with on SMTP; empty: all that
	// the listener offers.
	Mechanisms []string `json:"mechanisms,omitempty"`
	// BindReplyTo: answers too may go only to addresses that the sender may use.
	BindReplyTo bool `json:"bind_reply_to,omitempty"`
	// ForeignNames allows display names that show an address which the sender may
	// not use ("ann@partner.example via us").
	ForeignNames bool `json:"foreign_names,omitempty"`
	// SecondFactorOptional: people may log in with a password alone. Only the
	// operator or an owner of the account sets it, never a subuser.
	SecondFactorOptional bool `json:"second_factor_optional,omitempty"`
	// PreviewBodies lets people with messages.read see bodies that are still stored.
	PreviewBodies bool `json:"preview_bodies,omitempty"`
}

// Plan is how much a tenant may send. Zero members do not limit.
type Plan struct {
	Hour        int64 `json:"hour,omitempty"` // credits in any 60 minutes
	Day         int64 `json:"day,omitempty"`  // in the account's time zone
	Month       int64 `json:"month,omitempty"`
	Recipients  int   `json:"recipients,omitempty"`  // of one message
	Size        int64 `json:"size,omitempty"`        // octets of one message
	Connections int   `json:"connections,omitempty"` // at once, logged in
	Over        Over  `json:"over,omitempty"`
	// Credits is the allowance as the v3 API has it (subusers/{name}/credits).
	Credits Credits `json:"credits,omitzero"`
}

// Over says what becomes of a message over a limit.
type Over string

// The ways.
const (
	OverRefuse Over = ""      // 451, HTTP 429
	OverDefer  Over = "defer" // accepted, and sent when the limit has room again
)

// CreditType says how an allowance is filled.
type CreditType string

// The types. The zero value is unlimited.
const (
	CreditsUnlimited    CreditType = "unlimited"
	CreditsRecurring    CreditType = "recurring"    // Total every period
	CreditsNonrecurring CreditType = "nonrecurring" // Total, once
)

// Credits is an allowance.
type Credits struct {
	Type  CreditType `json:"type,omitempty"`
	Reset string     `json:"reset_frequency,omitempty"` // daily, weekly (from Monday), monthly
	Total int64      `json:"total,omitempty"`
	// Base is what the tenant had used in all when a nonrecurring allowance was
	// given, or when the remaining credits were last changed within a period.
	Base int64 `json:"base,omitempty"`
}

// UsageDelta adds to what a subject (an account, a subuser or a key, by its ID)
// has used. It commits with the message that used it.
type UsageDelta struct {
	Subject ID
	Minute  int64 // Unix time in minutes
	Day     int64 // days since 1970-01-01 of the date in the account's time zone
	N       int64 // credits
}

// AccessRule lets an address range, or the addresses of a host name, in.
type AccessRule struct {
	ID        int64        `json:"id"` // unique in the installation
	Network   netip.Prefix `json:"network,omitzero"`
	Host      string       `json:"host,omitempty"`
	Note      string       `json:"note,omitempty"`
	CreatedAt time.Time    `json:"created_at"`
	UpdatedAt time.Time    `json:"updated_at"`
}

// AccessList is from where a tenant's programs and people may come: SMTP and
// HTTP alike. Without rules: from anywhere. A subuser's key must be let in by its
// account's list and by its own.
type AccessList struct {
	Tenant
	Rules []AccessRule `json:"rules"`
	// Monitor: nobody is refused; what would have been stands in the login records.
	Monitor bool `json:"monitor,omitempty"`
	// TrialUntil: until then this list is on trial; if nobody confirms it by then,
	// Before counts again, from that moment on.
	TrialUntil time.Time   `json:"trial_until,omitzero"`
	Before     *AccessList `json:"before,omitempty"`
}

// At is the list that counts at a moment.
func (l *AccessList) At(now time.Time) *AccessList {
	if l.Before != nil && !l.TrialUntil.IsZero() && !now.Before(l.TrialUntil) {
		return l.Before
	}
	return l
}

// AccessSeen is one line of the activity list: an address that tried.
type AccessSeen struct {
	Tenant
	Addr    netip.Addr `json:"addr"`
	Method  string     `json:"method"` // "SMTP PLAIN", "API"
	Allowed bool       `json:"allowed"`
	FirstAt time.Time  `json:"first_at"`
	LastAt  time.Time  `json:"last_at"`
	Count   int64      `json:"count"`
}

// BanScope says what a ban is on.
type BanScope string

// The scopes.
const (
	BanAddress BanScope = "address" // an IPv4 address, an IPv6 /64
	BanNetwork BanScope = "network" // an IPv4 /24, an IPv6 /48
	BanAccount BanScope = "account" // an account, from places it has not been seen
	BanKey     BanScope = "key"     // a key id, from places it has not been seen
)

// Ban is a refusal that stands until a time because of failed logins.
type Ban struct {
	Scope    BanScope  `json:"scope"`
	Subject  string    `json:"subject"` // address, network, account id or key id
	Failures int64     `json:"failures"`
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	// Manual: set by a person, who is in By.
	Manual bool   `json:"manual,omitempty"`
	By     string `json:"by,omitempty"`
}

// Usage is what one limit has left. Credits are recipients of accepted messages.
type Usage struct {
	Subject   string    `json:"subject"` // account, subuser or api_key
	Name      string    `json:"name"`
	Window    Window    `json:"window"`
	Limit     int64     `json:"limit"` // 0: none
	Used      int64     `json:"used"`
	Remaining int64     `json:"remaining"`          // -1: no limit
	ResetsAt  time.Time `json:"resets_at,omitzero"` // when the window is next empty, or has room
}

// Window is the span that a limit counts over.
type Window string

// The windows. Day, week and month follow the account's time zone.
const (
	WindowMinute Window = "minute" // any 60 seconds
	WindowHour   Window = "hour"   // any 60 minutes
	WindowDay    Window = "day"
	WindowWeek   Window = "week" // from Monday
	WindowMonth  Window = "month"
	WindowEver   Window = "ever" // since the allowance was given
)
