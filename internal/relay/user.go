package relay

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Role is a set of scopes with a name.
type Role string

// The roles. Each is narrower than the one before it; custom is what its scopes say.
const (
	RoleOwner     Role = "owner"     // everything; an account has at least one
	RoleAdmin     Role = "admin"     // everything but billing, and what only owners change
	RoleDeveloper Role = "developer" // keys, domains, senders, mail and what became of it
	RoleAuditor   Role = "auditor"   // reads all, changes nothing
	RoleCustom    Role = "custom"    // the scopes that were chosen
)

// Roles are all of them.
var Roles = []Role{RoleOwner, RoleAdmin, RoleDeveloper, RoleAuditor, RoleCustom}

// developerAreas start the scopes of a developer.
var developerAreas = []string{
	"api_keys.", "mail.", "messages.", "email_activity.", "stats.", "whitelabel.", "templates.", "user.scheduled_sends.", "ips.pools.read", "ips.read",
	"user.profile.read", "user.account.read", "user.credits.read", "user.email.read", "user.username.read", "user.timezone.read",
}

// roleScopes are the scopes of each role but custom, sorted.
var roleScopes = map[Role][]string{
	RoleOwner: Scopes,
	RoleAdmin: FullAccess(),
	RoleDeveloper: scopesThat(func(s string) bool {
		return slices.ContainsFunc(developerAreas, func(area string) bool { return strings.HasPrefix(s, area) })
	}),
	RoleAuditor: scopesThat(func(s string) bool { return strings.HasSuffix(s, ".read") && !BillingScope(s) }),
}

func scopesThat(ok func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(Scopes), func(s string) bool { return !ok(s) })
}

// Scopes are what a role may do, sorted; nil for custom. The caller does not
// change them.
func (r Role) Scopes() []string { return roleScopes[r] }

// User is a person: an owner, an administrator, a developer, an auditor. A
// person belongs to one account, or to one subuser of it.
type User struct {
	ID      UserID    `json:"id"`
	Account AccountID `json:"account_id"`
	// Subuser: the person sees that subuser only. Zero: a person of the account.
	Subuser SubuserID `json:"subuser_id,omitzero"`
	// Username and Email each find the person at login. Both are unique in the
	// installation among those that are not deleted, Email by its lower-case form.
	Username  string   `json:"username"`
	Email     string   `json:"email"`
	FirstName string   `json:"first_name,omitempty"`
	LastName  string   `json:"last_name,omitempty"`
	Role      Role     `json:"role"`
	Scopes    []string `json:"scopes,omitempty"` // of RoleCustom, sorted
	// Restricted: a person of the account who sees only the subusers in Subusers, and
	// of the account's own mail, keys and settings nothing.
	Restricted bool        `json:"restricted,omitempty"`
	Subusers   []SubuserID `json:"subusers,omitempty"`

	// Password is the Argon2id hash in PHC form; empty: has none (passkey or single
	// sign-on only).
	Password   string    `json:"-"`
	PasswordAt time.Time `json:"password_at,omitzero"`
	// TOTP is the sealed secret of the authenticator app; nil: none. TOTPStep is the
	// last time step that was used: it and those before it are refused.
	TOTP     []byte    `json:"-"`
	TOTPStep int64     `json:"-"`
	TOTPAt   time.Time `json:"totp_at,omitzero"`
	// Passkeys and RecoveryCodes count what is there; both live in rows of their own.
	Passkeys      int `json:"passkeys"`
	RecoveryCodes int `json:"recovery_codes"`

	CreatedAt  time.Time `json:"created_at"`
	InvitedBy  string    `json:"invited_by,omitempty"`
	DisabledAt time.Time `json:"disabled_at,omitzero"`
	// DisabledRank is who switched them off.
	DisabledRank Rank       `json:"disabled_by,omitzero"`
	DeletedAt    time.Time  `json:"deleted_at,omitzero"`
	SeenAt       time.Time  `json:"last_seen_at,omitzero"`
	SeenFrom     netip.Addr `json:"last_seen_from,omitzero"`
}

// Allows reports whether the person has a scope.
func (u *User) Allows(scope string) bool {
	_, ok := slices.BinarySearch(u.Granted(), scope)
	return ok
}

// Granted are the person's scopes, sorted. The caller does not change them.
func (u *User) Granted() []string {
	if u.Role == RoleCustom {
		return u.Scopes
	}
	return u.Role.Scopes()
}

// SecondFactor reports whether the person has one: an authenticator app or a
// passkey.
func (u *User) SecondFactor() bool { return len(u.TOTP) > 0 || u.Passkeys > 0 }

// Sees reports whether the person may look at a tenant at all.
func (u *User) Sees(t Tenant) bool {
	switch {
	case t.Account != u.Account:
		return false
	case !u.Subuser.IsZero():
		return t.Subuser == u.Subuser
	case u.Restricted:
		return slices.Contains(u.Subusers, t.Subuser)
	}
	return true
}

// SessionLevel is how far a person has come in logging in.
type SessionLevel string

// The levels. Only a full session has any scope.
const (
	SessionPassword SessionLevel = "password" // the second factor is missing
	SessionEnrol    SessionLevel = "enrol"    // has no second factor yet and must set one up
	SessionFull     SessionLevel = "full"
)

// Session is one login of a person at one browser.
type Session struct {
	ID    SessionID    `json:"id"`
	User  UserID       `json:"user_id"`
	Level SessionLevel `json:"level"`
	// Method is how it was made: "password", "password+totp", "password+passkey",
	// "password+recovery", "passkey", or "oidc" with the name of the issuer, and "+none"
	// where that is trusted for a second factor and said that there was none.
	Method    string     `json:"method"`
	Addr      netip.Addr `json:"addr"`
	Agent     string     `json:"user_agent"`
	CreatedAt time.Time  `json:"created_at"`
	SeenAt    time.Time  `json:"last_seen_at"`
	// ExpiresAt is its absolute end; it ends before it where it is idle too long.
	ExpiresAt time.Time `json:"expires_at"`
	// FreshUntil: until then it counts as having just shown both factors.
	FreshUntil time.Time `json:"fresh_until,omitzero"`
	// Tries counts wrong codes of the second factor in a row.
	Tries int `json:"-"`
	// Pending is sealed: what an enrolment that is under way has to remember.
	Pending []byte `json:"-"`
}

// Passkey is one WebAuthn credential of a person.
type Passkey struct {
	ID         []byte    `json:"id"` // the credential's id, from the authenticator
	User       UserID    `json:"user_id"`
	Name       string    `json:"name"`
	Credential []byte    `json:"-"` // its record: public key, counter, flags (JSON)
	CreatedAt  time.Time `json:"created_at"`
	UsedAt     time.Time `json:"last_used_at,omitzero"`
}

// LinkKind says what a one-time link is for.
type LinkKind string

// The kinds.
const (
	LinkSetup  LinkKind = "setup"  // the first owner of an account, made by the operator
	LinkInvite LinkKind = "invite" // a person who was invited
	LinkReset  LinkKind = "reset"  // a new password; never a way around the second factor
	LinkEmail  LinkKind = "email"  // proves a person's new address
)

// Link is a one-time link. The store knows the SHA-256 of its token only. A
// setup or invite link is a person to be: what they will be is fixed in it.
type Link struct {
	Hash    [32]byte  `json:"-"`
	Kind    LinkKind  `json:"kind"`
	Account AccountID `json:"account_id"`
	Subuser SubuserID `json:"subuser_id,omitzero"`
	User    UserID    `json:"user_id,omitzero"` // of reset and email
	Email   string    `json:"email"`            // who it goes to, or the address that it proves

	Role       Role        `json:"role,omitempty"`
	Scopes     []string    `json:"scopes,omitempty"`
	Restricted bool        `json:"restricted,omitempty"`
	Subusers   []SubuserID `json:"subusers,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	ExpiresAt time.Time `json:"expires_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
}

// Issuance is a person's identity at an issuer of single sign-on: the pair is
// the key, never the e-mail address.
type Issuance struct {
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	User      UserID    `json:"user_id"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"last_used_at,omitzero"`
}
