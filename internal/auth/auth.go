// Package auth decides who is behind a session: it takes what a client offers
// as its proof, on any protocol and mechanism, and returns a relay.Principal or
// a refusal, and writes one login record with the true reason either way. Its
// Guard makes guessing not pay, and its Hosts knows the host names that keys and
// access lists let in.
//
// It never reads SQL: keys are in memory (identity.Directory). Its one
// invariant: a client that does not hold the right secret learns nothing from
// the answer, neither from its bytes nor from what was looked up to make it.
// DESIGN.md beside this file has the table.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"net/netip"
	"sync/atomic"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// Directory is what auth needs to know of keys; *identity.Directory has it. What
// it returns is never changed.
type Directory interface {
	Key(id relay.KeyID) (*relay.Key, bool)
	KeyByLogin(login string) (*relay.Key, bool)
	KeysByFingerprint(fp string) []*relay.Key
	KeysByName(name string) []*relay.Key
	// KeysByClaims are the keys of an issuer that a token can be for, and perhaps
	// some that it is not for. values gives the texts of one of its claims.
	KeysByClaims(issuer string, values func(claim string) []string) []*relay.Key
	Alive(k *relay.Key, now time.Time) relay.LoginResult
	Account(id relay.AccountID) (relay.Account, bool)
	Subuser(id relay.SubuserID) (relay.Subuser, bool)
	// AccessLists are those of a tenant's account and subuser; nil: none.
	AccessLists(t relay.Tenant) (account, subuser *relay.AccessList)
	TokenRevoked(id relay.TokenID) bool
	Fresh(ctx context.Context, now time.Time) bool
}

// Recorder takes login records; *store.Store has it. Neither call blocks.
type Recorder interface {
	RecordLogin(relay.Login)
	// previous: the key's old secret was used, within its overlap.
	RecordKeyUse(id relay.KeyID, at time.Time, addr netip.Addr, mechanism, helo string, previous bool)
}

// Config sets an Authenticator up.
type Config struct {
	Directory Directory
	Recorder  Recorder
	Activity  Activity         // nil: not kept
	Prefix    string           // of keys; "SG"
	Now       func() time.Time // the wall clock: expiry follows it
	Observer  func(protocol string, result relay.LoginResult)

	// Sealer opens CRAM secrets and makes the keys of access tokens and of made-up
	// salts. Without it there are no tokens and no CRAM-MD5.
	Sealer *secret.Sealer
	// Outside judges tokens of other issuers; nil: there are none.
	Outside Outside
	// Guard counts failures; nil: nobody does.
	Guard *Guard
	// Hosts knows host names of allow-lists; nil: they let nobody in.
	Hosts HostSet
	// AppPasswords lets them in (config auth.app_passwords) until SetAppPasswords
	// says otherwise.
	AppPasswords bool
	// Exhausted says whether a tenant has no credit left at all: nil lets it in. Of
	// its errors relay.Unavailable is "cannot tell"; any other is "exhausted".
	Exhausted func(context.Context, *relay.Principal) error
	// Alert tells a person that a canary key was tried. It must not block.
	Alert func(relay.Tenant, relay.KeyID, relay.Alert)
}

// Authenticator checks credentials. It may be used from any goroutine.
type Authenticator struct {
	cfg       Config
	tokenKeys [][]byte // MAC keys of access tokens, the current one first
	saltKey   []byte   // makes up salts for users that do not exist
	dummyCRAM *dummyCRAM
	canaries  *table[canarySeen, int64] // when an alert was last raised
	plainOnly *table[dropIn, int64]     // until when

	appPasswords atomic.Bool
}

// New makes an Authenticator. It starts nothing.
func New(cfg Config) *Authenticator {
	if cfg.Prefix == "" {
		cfg.Prefix = secret.DefaultPrefix
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Observer == nil {
		cfg.Observer = func(string, relay.LoginResult) {}
	}
	if cfg.Hosts == nil {
		cfg.Hosts = noHosts{}
	}
	if cfg.Alert == nil {
		cfg.Alert = func(relay.Tenant, relay.KeyID, relay.Alert) {}
	}
	a := &Authenticator{
		cfg: cfg, canaries: newTable[canarySeen, int64](4096, nil), plainOnly: newTable[dropIn, int64](16_384, nil),
	}
	a.appPasswords.Store(cfg.AppPasswords)
	if cfg.Sealer == nil {
		a.saltKey = make([]byte, 32)
		_, _ = rand.Read(a.saltKey) // never fails
		return a
	}
	a.tokenKeys = cfg.Sealer.DeriveAll("access token")
	// The oldest key, so that a new sealing key does not change the made-up salts
	// while the true ones stay.
	salts := cfg.Sealer.DeriveAll("made-up SCRAM salt")
	a.saltKey = salts[len(salts)-1]
	a.dummyCRAM = newDummyCRAM(cfg.Sealer, cfg.Prefix)
	return a
}

// SetAppPasswords lets app passwords in from now on, or no longer. Sessions that
// are open stay: disable the keys to end them.
func (a *Authenticator) SetAppPasswords(on bool) { a.appPasswords.Store(on) }

// Attempt is one try to log in, with everything its record needs.
type Attempt struct {
	Protocol  string // smtp, http
	Listener  string
	Mechanism string // of SASL; BEARER or BASIC on HTTP
	Authzid   string
	User      string
	Secret    secret.Redacted
	Addr      netip.Addr
	Helo      string // on HTTP the user agent
	TLS       string
	// Certificates are the client's, its own first: not verified, but TLS has proven
	// that the client has the key of the first.
	Certificates []*x509.Certificate
}

// userWord is the user name that goes with any key.
const userWord = "apikey"

// The replies. Clients in the field match on the first two; their bytes are part
// of the contract.
var (
	ReplyMalformed   = smtp.R(535, 5, 7, 8, "Authentication failed: Bad username / password")
	ReplyRefused     = smtp.R(535, 5, 7, 8, "Authentication failed: The provided authorization grant is invalid, expired, or revoked")
	ReplyUnavailable = smtp.R(454, 4, 7, 0, "Temporary authentication failure")
	// ReplyThrottled says nothing of the credential, which was not looked at.
	ReplyThrottled = smtp.R(454, 4, 7, 0, "Too many failed logins from your address; try again later")
	// The rest goes only to a client that has shown the right secret from an allowed
	// network.
	ReplyNoScope   = smtp.R(535, 5, 7, 8, "Authentication failed: This key may not send mail (scope mail.send)")
	ReplyExhausted = smtp.R(451, 4, 7, 1, "Authentication failed: Maximum credits exceeded")
	// ReplyEnded goes to a session whose key is no longer good.
	ReplyEnded = smtp.R(454, 4, 7, 0, "The key of this session is no longer valid; log in again")
)

// Login checks an attempt by PLAIN or LOGIN: an API key, or an app password. The
// error, if any, is the smtp.Reply to send, perhaps with a HoldBack.
//
// A secret that is not well-formed is refused without looking anything up.
// Everything that a client may not learn (no such key, wrong secret, expired,
// revoked, disabled, outside its networks) is one reply. What the policy forbids
// is said only after a right secret from an allowed network.
func (a *Authenticator) Login(ctx context.Context, at Attempt) (*relay.Principal, error) {
	t := a.begin(at)
	t.password(ctx)
	return t.end()
}

// Cleartext records an AUTH that came before TLS: whatever credential went with
// it is exposed. The credential itself was not looked at.
func (a *Authenticator) Cleartext(at Attempt) { a.Ended(at, relay.LoginCleartext) }

// Ended records an exchange that had nothing to judge: given up, or no exchange
// at all. It counts as a failure of the address.
func (a *Authenticator) Ended(at Attempt, result relay.LoginResult) {
	t := a.begin(at)
	t.refuse(result, ReplyMalformed)
	t.finish()
}

// printable cuts a client's text to n octets and replaces what is not printable
// ASCII, for records.
func printable(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] <= '~'
	}
	if clean {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
