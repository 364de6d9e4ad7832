// Package auth decides who is behind a session: it takes what a client offers
// as its proof, on any protocol and mechanism, and returns a relay.Principal or
// a refusal, and writes one login record with the true reason either way.
//
// It never reads SQL: keys are in memory (identity.Directory). Its one
// invariant: a client that does not hold the right secret learns nothing from
// the answer, neither from its bytes nor from what was looked up to make it.
// DESIGN.md beside this file has the table.
package auth

import (
	"context"
	"net/netip"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
	"postern/internal/smtp"
)

// Directory is what auth needs to know of keys; *identity.Directory has it.
type Directory interface {
	Key(id relay.KeyID) (*relay.Key, bool)
	Alive(k *relay.Key, now time.Time) relay.LoginResult
	Account(id relay.AccountID) (relay.Account, bool)
	Subuser(id relay.SubuserID) (relay.Subuser, bool)
	Fresh(ctx context.Context, now time.Time) bool
}

// Recorder takes login records; *store.Store has it. Neither call blocks.
type Recorder interface {
	RecordLogin(relay.Login)
	RecordKeyUse(id relay.KeyID, at time.Time, addr netip.Addr, mechanism, helo string)
}

// Config sets an Authenticator up.
type Config struct {
	Directory Directory
	Recorder  Recorder
	Prefix    string           // of keys; "SG"
	Now       func() time.Time // the wall clock: expiry follows it
	Observer  func(protocol string, result relay.LoginResult)
}

// Authenticator checks credentials.
type Authenticator struct{ cfg Config }

// New makes an Authenticator.
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
	return &Authenticator{cfg: cfg}
}

// Attempt is one try to log in, with everything its record needs.
type Attempt struct {
	Protocol  string // smtp, http
	Listener  string
	Mechanism string
	Authzid   string
	User      string
	Secret    secret.Redacted
	Addr      netip.Addr
	Helo      string
	TLS       string
}

// The two refusals that clients in the field match on, and the one for a
// moment in which nobody can be let in. Bytes are part of the contract.
var (
	ReplyMalformed   = smtp.R(535, 5, 7, 8, "Authentication failed: Bad username / password")
	ReplyRefused     = smtp.R(535, 5, 7, 8, "Authentication failed: The provided authorization grant is invalid, expired, or revoked")
	ReplyUnavailable = smtp.R(454, 4, 7, 0, "Temporary authentication failure")
	ReplyNoScope     = smtp.R(535, 5, 7, 8, "Authentication failed: This key may not send mail (scope mail.send)")
)

// Login checks an attempt. The error, if any, is the smtp.Reply to send.
//
// A secret that is not a well-formed key is refused without looking anything
// up. Everything that a client may not learn (no such key, wrong secret,
// expired, revoked, disabled, outside its networks) is one reply. What the
// policy forbids is said only after a right secret from an allowed network.
func (a *Authenticator) Login(ctx context.Context, at Attempt) (*relay.Principal, error) {
	now := a.cfg.Now()
	f, result, reply := a.check(ctx, at, now)
	a.record(at, f, result, now)
	if result != relay.LoginOK {
		return nil, reply
	}
	return f.principal(a.cfg.Directory, at.Mechanism), nil
}

// found is what check learnt, for the record.
type found struct {
	tried string
	key   *relay.Key
}

func (f found) principal(d Directory, mechanism string) *relay.Principal {
	p := &relay.Principal{
		Tenant: relay.Tenant{Account: f.key.Account, Subuser: f.key.Subuser},
		Key:    f.key, Mechanism: mechanism,
	}
	if acct, ok := d.Account(f.key.Account); ok {
		p.AccountName = acct.Name
	}
	if s, ok := d.Subuser(f.key.Subuser); ok {
		p.SubuserName = s.Name
	}
	return p
}

func (a *Authenticator) check(ctx context.Context, at Attempt, now time.Time) (found, relay.LoginResult, smtp.Reply) {
	f := found{tried: tried(at.User)}
	k, err := secret.ParseKey(at.Secret.Reveal(), a.cfg.Prefix)
	if err != nil {
		return f, relay.LoginMalformed, ReplyMalformed
	}
	f.tried = k.IDText()
	// The user is the word apikey, or the key's own id; an authorization identity
	// must be absent or the same (RFC 4616 §2: nobody acts for another here).
	if (at.User != userWord && at.User != k.IDText()) || (at.Authzid != "" && at.Authzid != at.User) {
		return f, relay.LoginMalformed, ReplyMalformed
	}
	if !a.cfg.Directory.Fresh(ctx, now) {
		return f, relay.LoginUnavailable, ReplyUnavailable
	}
	stored, known := a.cfg.Directory.Key(relay.KeyID{ID: k.ID})
	if !known {
		// The same work as for a known key; the result is thrown away.
		secret.VerifySHA256(k, [32]byte{})
		return f, relay.LoginUnknown, ReplyRefused
	}
	if stored.Canary {
		return found{f.tried, stored}, relay.LoginCanary, ReplyRefused
	}
	if !matches(stored, k, now) {
		f.key = stored
		return f, relay.LoginWrong, ReplyRefused
	}
	f.key = stored
	if r := a.cfg.Directory.Alive(stored, now); r != relay.LoginOK {
		return f, r, ReplyRefused
	}
	if !inNetworks(stored.Networks, at.Addr) {
		return f, relay.LoginNetwork, ReplyRefused
	}
	if !stored.Allows(relay.ScopeMailSend) && at.Protocol == "smtp" {
		return f, relay.LoginScope, ReplyNoScope
	}
	return f, relay.LoginOK, smtp.Reply{}
}

// userWord is the user name that goes with any key.
const userWord = "apikey"

// matches compares with the present secret and, within its overlap, with the
// previous one.
func matches(k *relay.Key, given secret.Key, now time.Time) bool {
	present := secret.VerifySHA256(given, k.Verifier.SHA256)
	previous := false
	if k.Previous != nil {
		previous = secret.VerifySHA256(given, k.Previous.SHA256) && now.Before(k.PreviousUntil)
	}
	return present || previous
}

func inNetworks(nets []netip.Prefix, addr netip.Addr) bool {
	if len(nets) == 0 {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, n := range nets {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

func (a *Authenticator) record(at Attempt, f found, result relay.LoginResult, now time.Time) {
	l := relay.Login{
		At: now, Protocol: at.Protocol, Listener: at.Listener, Mechanism: at.Mechanism, Tried: f.tried,
		Addr: at.Addr.Unmap(), Helo: printable(at.Helo, 255), TLS: at.TLS, Result: result, Count: 1,
	}
	if f.key != nil {
		l.Key = f.key.ID
		l.Tenant = relay.Tenant{Account: f.key.Account, Subuser: f.key.Subuser}
	}
	a.cfg.Recorder.RecordLogin(l)
	a.cfg.Observer(at.Protocol, result)
	if result == relay.LoginOK {
		a.cfg.Recorder.RecordKeyUse(f.key.ID, now, l.Addr, at.Mechanism, l.Helo)
	}
}

// Cleartext records an AUTH that came before TLS: whatever credential went with
// it is exposed. The credential itself was not looked at.
func (a *Authenticator) Cleartext(at Attempt) {
	a.record(at, found{}, relay.LoginCleartext, a.cfg.Now())
}

// Ended records an exchange that had nothing to judge: given up, or no exchange at all.
func (a *Authenticator) Ended(at Attempt, result relay.LoginResult) {
	a.record(at, found{tried: tried(at.User)}, result, a.cfg.Now())
}

// Check judges a logged-in principal again, at the next MAIL and at the end of
// data: a key that was revoked, disabled, narrowed or has expired meanwhile
// stops there. It returns the principal as it is now, or the smtp.Reply to send.
func (a *Authenticator) Check(ctx context.Context, p *relay.Principal, addr netip.Addr) (*relay.Principal, error) {
	now := a.cfg.Now()
	if !a.cfg.Directory.Fresh(ctx, now) {
		return nil, ReplyUnavailable
	}
	k, ok := a.cfg.Directory.Key(p.Key.ID)
	if !ok || a.cfg.Directory.Alive(k, now) != relay.LoginOK || !inNetworks(k.Networks, addr) || !k.Allows(relay.ScopeMailSend) {
		return nil, ReplyEnded
	}
	if k == p.Key {
		return p, nil
	}
	q := *p
	q.Key = k
	return &q, nil
}

// ReplyEnded goes to a session whose key is no longer good.
var ReplyEnded = smtp.R(454, 4, 7, 0, "The key of this session is no longer valid; log in again")

// printable cuts a client's text to n octets and replaces what is not printable
// ASCII, for records.
func printable(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
