package relay

import (
	"net/netip"
	"slices"
	"time"
)

// TLSLevel says how much TLS a delivery must have.
type TLSLevel string

// The levels, weakest first. The strongest of destination, pool and account wins.
const (
	TLSOpportunistic TLSLevel = ""         // use TLS when offered, any certificate; fall back to plain
	TLSRequired      TLSLevel = "required" // TLS or defer; the certificate is not judged
	TLSVerified      TLSLevel = "verified" // TLS with a certificate valid for the MX name, or defer
)

// Retry is a delivery schedule. The zero value means "the next one up": pool,
// then account, then the product's default.
type Retry struct {
	// Intervals are the waits after the 1st, 2nd, … attempt; the last repeats.
	// Each is jittered by ±20 %.
	Intervals []time.Duration `json:"intervals,omitempty"`
	// Lifetime is how long after acceptance a recipient may stay queued.
	Lifetime time.Duration `json:"lifetime,omitempty"`
	// DelayNotice is when a delay DSN is due, if one was asked for (RFC 3461 NOTIFY=DELAY).
	DelayNotice time.Duration `json:"delay_notice,omitempty"`
}

// Account is a customer of the relay.
type Account struct {
	ID          AccountID `json:"id"`
	Name        string    `json:"name"` // unique
	OwnerEmail  string    `json:"owner_email"`
	TimeZone    string    `json:"time_zone"` // IANA name; credits and hours count in it
	DefaultPool PoolID    `json:"default_pool,omitzero"`
	TLS         TLSLevel  `json:"tls"`
	Retry       Retry     `json:"retry"`
	// Number is the account's user_id in the v3 API: unique over accounts and
	// subusers, given by the store.
	Number  int64   `json:"user_id,omitempty"`
	Policy  Policy  `json:"policy,omitzero"`
	Plan    Plan    `json:"plan,omitzero"`
	Profile Profile `json:"profile,omitzero"`
	// System marks the account that owns postern's own mail (DSNs, notices).
	System     bool      `json:"system,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	DisabledAt time.Time `json:"disabled_at,omitzero"`
}

// Subuser is a separate stream under an account.
type Subuser struct {
	ID          SubuserID `json:"id"`
	Account     AccountID `json:"account_id"`
	Number      int64     `json:"user_id,omitempty"` // as Account.Number
	Name        string    `json:"name"`              // unique in the installation
	Email       string    `json:"email"`
	DefaultPool PoolID    `json:"default_pool,omitzero"`
	TLS         TLSLevel  `json:"tls,omitempty"` // at least the account's
	Plan        Plan      `json:"plan,omitzero"`
	Profile     Profile   `json:"profile,omitzero"`
	CreatedAt   time.Time `json:"created_at"`
	// DisabledAt: its keys do not work, and its queued mail waits until it is
	// enabled again or expires.
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// DisabledRank is who switched it off. It is of its account, which is RankOwn here.
	DisabledRank Rank `json:"disabled_by,omitzero"`
	// ConsoleDisabledAt: its people may not log in to the console (website_access).
	ConsoleDisabledAt time.Time `json:"console_disabled_at,omitzero"`
	// DeletedAt: its keys are revoked and its queued mail is dropped, each
	// recipient with an event that says so. The row stays, so that its records keep
	// their name; the name is free again.
	DeletedAt time.Time `json:"deleted_at,omitzero"`
}

// Profile is what the v3 API keeps of a person or company. postern does not use it.
type Profile struct {
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	Company   string `json:"company,omitempty"`
	Address   string `json:"address,omitempty"`
	Address2  string `json:"address2,omitempty"`
	City      string `json:"city,omitempty"`
	State     string `json:"state,omitempty"`
	Zip       string `json:"zip,omitempty"`
	Country   string `json:"country,omitempty"`
	Phone     string `json:"phone,omitempty"`
	Website   string `json:"website,omitempty"`
}

// KeyMode says what becomes of mail that a key hands in.
type KeyMode string

// The modes.
const (
	KeyLive KeyMode = "live" // delivered
	KeyTest KeyMode = "test" // accepted, recorded, never delivered
	KeyHold KeyMode = "hold" // accepted, waits for release
)

// Verifier is what the store knows of a key's secret: enough to check it, not
// to use it.
type Verifier struct {
	SHA256          [32]byte // of the secret part (28 random bytes + CRC)
	SCRAMSalt       []byte
	SCRAMIterations int
	SCRAMStoredKey  []byte
	SCRAMServerKey  []byte
	SealedCRAM      []byte // nil unless CRAM-MD5 is switched on for the key
}

// KeyKind says how the holder of a key proves itself. Everything else about a
// key (scopes, networks, limits, life, last use) is the same for all kinds.
type KeyKind string

// The kinds.
const (
	KeyAPI         KeyKind = "api_key"      // the secret SG.<id>.<secret>
	KeyAppPassword KeyKind = "app_password" // a generated password for old devices: weak
	KeyCertificate KeyKind = "certificate"  // a client certificate (SASL EXTERNAL): no secret here
	KeyFederated   KeyKind = "federated"    // a token of an outside issuer: no stored secret at all
)

// KeyMatch says which certificates or tokens are a key's, for the kinds that
// have no secret.
type KeyMatch struct {
	// A certificate is known by its SHA-256 (lower-case hex of the DER), or by a CA
	// (PEM) that it chains to and one of its subject alternative names: a DNS name,
	// an e-mail address or a URI, compared exactly.
	Fingerprint string `json:"fingerprint,omitempty"`
	CA          string `json:"ca,omitempty"`
	Name        string `json:"name,omitempty"`
	// A token is known by its issuer (one that the operator trusts), its audience,
	// and claims that must have these values; a "*" at the end of a value matches
	// any rest. At least one claim.
	Issuer   string            `json:"issuer,omitempty"`
	Audience string            `json:"audience,omitempty"`
	Claims   map[string]string `json:"claims,omitempty"`
}

// Key is a credential of a program. The secret itself exists only in the answer
// that made it.
type Key struct {
	ID       KeyID     `json:"api_key_id"`
	Account  AccountID `json:"account_id"`
	Subuser  SubuserID `json:"subuser_id,omitzero"`
	Kind     KeyKind   `json:"kind"`
	Name     string    `json:"name"`
	Login    string    `json:"login,omitempty"` // user name of an app password; unique
	Match    *KeyMatch `json:"match,omitempty"`
	Scopes   []string  `json:"scopes"`
	Verifier Verifier  `json:"-"`
	// Previous stays valid until PreviousUntil after a rotation. The last use of the
	// old secret tells who has not switched over.
	Previous         *Verifier `json:"-"`
	PreviousUntil    time.Time `json:"previous_valid_until,omitzero"`
	PreviousUsedAt   time.Time `json:"previous_last_used_at,omitzero"`
	PreviousUsedFrom string    `json:"previous_last_used_from,omitempty"`
	PreviousUsedHelo string    `json:"previous_last_used_helo,omitempty"`
	PreviousUseCount int64     `json:"previous_use_count,omitempty"`
	RotatedAt        time.Time `json:"rotated_at,omitzero"`

	Mode             KeyMode        `json:"mode"`
	Networks         []netip.Prefix `json:"networks,omitempty"`          // with Hosts both empty: anywhere
	Hosts            []string       `json:"hosts,omitempty"`             // names whose addresses count as Networks
	Senders          []string       `json:"senders,omitempty"`           // addresses or domains; empty: all of the tenant's
	RecipientDomains []string       `json:"recipient_domains,omitempty"` // empty: all
	PerMinute        int64          `json:"per_minute,omitempty"`        // recipients; 0: no limit of its own
	PerHour          int64          `json:"per_hour,omitempty"`
	PerDay           int64          `json:"per_day,omitempty"`
	PerMonth         int64          `json:"per_month,omitempty"`
	Hours            string         `json:"hours,omitempty"` // hours of the week, e.g. "mon-fri 08-18"; empty: always
	Canary           bool           `json:"canary,omitempty"`

	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	RemindedAt time.Time `json:"reminded_at,omitzero"` // of its expiry
	CreatedAt  time.Time `json:"created_at"`
	CreatedBy  string    `json:"created_by,omitempty"`
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// DisabledRank is who switched it off.
	DisabledRank Rank      `json:"disabled_by,omitzero"`
	RevokedAt    time.Time `json:"revoked_at,omitzero"`

	LastUsedAt        time.Time `json:"last_used_at,omitzero"`
	LastUsedFrom      string    `json:"last_used_from,omitempty"`
	LastUsedMechanism string    `json:"last_used_mechanism,omitempty"`
	LastUsedHelo      string    `json:"last_used_helo,omitempty"`
	UseCount          int64     `json:"use_count"`
}

// Allows reports whether the key has a scope.
func (k *Key) Allows(scope string) bool { return slices.Contains(k.Scopes, scope) }

// Pool is a set of source addresses that mail leaves from.
type Pool struct {
	ID        PoolID        `json:"id"`
	Account   AccountID     `json:"account_id,omitzero"` // zero: any account may use it
	Name      string        `json:"name"`                // unique in its account
	Addresses []PoolAddress `json:"addresses,omitempty"` // empty: the system chooses
	Retry     Retry         `json:"retry"`
	TLS       TLSLevel      `json:"tls"`
	// ReturnPathPerRecipient makes the return path name the recipient too, at
	// the price of one transaction per recipient.
	ReturnPathPerRecipient bool      `json:"return_path_per_recipient,omitempty"`
	CreatedAt              time.Time `json:"created_at"`
	DisabledAt             time.Time `json:"disabled_at,omitzero"`
}

// PoolAddress is one source address of a pool, with the name it says in EHLO.
type PoolAddress struct {
	Address    netip.Addr `json:"address"`
	Helo       string     `json:"helo"`
	DisabledAt time.Time  `json:"disabled_at,omitzero"`
	// Warmup is the address's own: the same in every pool that has it.
	Warmup Warmup `json:"warmup,omitzero"`
}

// Principal is who is behind a session after AUTH: what every login ends in. It
// has a Key or a User, never both.
type Principal struct {
	Tenant
	AccountName string
	SubuserName string
	Key         *Key // immutable snapshot; a change makes a new one
	Mechanism   string
	// User is the person who is logged in at the console. Session is theirs, and
	// until FreshUntil it counts as having just shown both factors.
	User       *User
	Session    SessionID
	FreshUntil time.Time
	// Token is set where the login was by a token of postern's own: it may do what
	// both the key and the token's scopes allow, and ends with either.
	Token *Token
	// Previous: the login was by the key's old secret, within its overlap.
	Previous bool
}

// Allows reports whether the principal has a scope.
func (p *Principal) Allows(scope string) bool {
	if p.User != nil {
		return p.User.Allows(scope)
	}
	if p.Key == nil || !p.Key.Allows(scope) {
		return false
	}
	return p.Token == nil || slices.Contains(p.Token.Scopes, scope)
}

// Token is one short-lived access token that POST /oauth/token gave to a key.
// It is not stored: a MAC under the sealing key proves it.
type Token struct {
	ID        TokenID
	Key       KeyID
	Secret    [8]byte  // start of the SHA-256 of the secret that it was given for: it dies with it
	Scopes    []string // narrower than the key's, or the same
	IssuedAt  time.Time
	ExpiresAt time.Time
}
