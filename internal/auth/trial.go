package auth

import (
	"context"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/smtp"
)

// trial is one attempt being judged: what is known of it so far, and in the end
// what it came to.
type trial struct {
	a     *Authenticator
	at    Attempt
	now   time.Time
	stand standing

	tried    string
	key      *relay.Key // whose key it is, whether or not the secret was right
	token    *relay.Token
	previous bool
	notes    string

	result relay.LoginResult
	reply  smtp.Reply       // to a refusal
	who    *relay.Principal // after LoginOK
	uncounted
}

// uncounted says what a refusal does not count against.
type uncounted struct {
	address bool // policy told to the holder of the secret, or no fault of the client's
	key     bool // the secret was not judged, or was right
}

func (a *Authenticator) begin(at Attempt) *trial {
	at.Addr = normal(at.Addr)
	t := &trial{a: a, at: at, now: a.cfg.Now(), tried: tried(at.User)}
	if a.cfg.Guard != nil {
		t.stand = a.cfg.Guard.stand(at.Addr, t.now)
	}
	return t
}

// refuse is a refusal that the client learns nothing from.
func (t *trial) refuse(result relay.LoginResult, reply smtp.Reply) {
	t.result, t.reply = result, reply
	t.uncounted.key = result != relay.LoginWrong
}

// tell is a refusal by policy, to a client that has proven itself.
func (t *trial) tell(result relay.LoginResult, reply smtp.Reply) {
	t.result, t.reply = result, reply
	t.uncounted = uncounted{true, true}
}

// note adds to the record's detail.
func (t *trial) note(text string) {
	switch {
	case text == "":
	case t.notes == "":
		t.notes = text
	default:
		t.notes += "; " + text
	}
}

// fresh reports whether the directory can be relied on; if not, nobody is let in.
func (t *trial) fresh(ctx context.Context) bool {
	if t.a.cfg.Directory.Fresh(ctx, t.now) {
		return true
	}
	t.tell(relay.LoginUnavailable, ReplyUnavailable)
	return false
}

// lookup finds a key by its id; nil: there is none. A canary raises its alert
// whatever becomes of the attempt.
func (t *trial) lookup(id relay.KeyID) *relay.Key {
	k, ok := t.a.cfg.Directory.Key(id)
	if !ok {
		return nil
	}
	if k.Canary {
		t.a.sing(k, t)
	}
	return k
}

// lookupText is lookup by an id's text.
func (t *trial) lookupText(id string) *relay.Key {
	parsed, err := relay.ParseID(id)
	if err != nil {
		return nil
	}
	return t.lookup(relay.KeyID{ID: parsed})
}

// open asks the guard whether a credential for k (nil: of nobody) may be looked
// at. Where the address is refused, that is told. Where the key or its account
// is being guessed at, the answer is that of a wrong secret: another one would
// say that the key exists.
func (t *trial) open(k *relay.Key) bool {
	switch {
	case t.a.cfg.Guard == nil, k == nil && !t.stand.refused():
		return true
	case k != nil && t.a.cfg.Guard.admits(t.stand, k, t.now):
		return true
	case t.stand.refused():
		if k == nil {
			// Nobody's, and not looked at: what the stranger calls themselves is left out, so
			// that all of an address are one record a minute, and no flood fills the disk.
			t.tried, t.at.Helo = "", ""
		}
		t.tell(relay.LoginThrottled, ReplyThrottled)
	default:
		t.key = k
		t.refuse(relay.LoginThrottled, ReplyRefused)
	}
	return false
}

// openProven is open for what cannot be guessed: certificates and signed tokens.
// How the key stands does not matter then.
func (t *trial) openProven(k *relay.Key) bool { return !t.stand.refused() || t.open(k) }

// fit says which of a key's secrets a client has shown.
type fit int

const (
	fitNone fit = iota
	fitPresent
	fitPrevious
)

// overlaps reports whether a key's previous secret is still good at a moment.
func overlaps(k *relay.Key, now time.Time) bool {
	return k.Previous != nil && now.Before(k.PreviousUntil)
}

// judge decides about a key (nil: there is none) after its secret was compared.
func (t *trial) judge(ctx context.Context, k *relay.Key, f fit) {
	t.key = k
	switch {
	case k == nil:
		t.refuse(relay.LoginUnknown, ReplyRefused)
		return
	case k.Canary:
		t.refuse(relay.LoginCanary, ReplyRefused)
		return
	case f == fitNone:
		t.refuse(relay.LoginWrong, ReplyRefused)
		return
	}
	t.previous = f == fitPrevious
	if r := t.a.cfg.Directory.Alive(k, t.now); r != relay.LoginOK {
		t.refuse(r, ReplyRefused)
		return
	}
	// However many host names are new, what they take must not show.
	ask, cancel := context.WithTimeout(ctx, hostFirstWait)
	defer cancel()
	if !t.a.atHome(ask, k, t.at.Addr) {
		t.seen(false)
		t.refuse(relay.LoginNetwork, ReplyRefused)
		return
	}
	ok, would := t.a.accessFrom(ask, k, t.at.Addr, t.now)
	t.seen(ok)
	if !ok {
		t.refuse(relay.LoginAccess, ReplyRefused)
		return
	}
	if would != "" {
		t.note("monitor: the " + would + " would refuse")
	}
	t.admit(ctx, k)
}

// admit decides by policy, which may be told from here on.
func (t *trial) admit(ctx context.Context, k *relay.Key) {
	account, _ := t.a.cfg.Directory.Account(k.Account)
	p := &relay.Principal{
		Tenant: relay.Tenant{Account: k.Account, Subuser: k.Subuser}, AccountName: account.Name,
		Key: k, Mechanism: t.at.Mechanism, Token: t.token, Previous: t.previous,
	}
	if !k.Subuser.IsZero() {
		s, _ := t.a.cfg.Directory.Subuser(k.Subuser)
		p.SubuserName = s.Name
	}
	if t.at.Protocol == "smtp" {
		allowed := account.Policy.Mechanisms
		switch {
		case !mechanismAllowed(allowed, t.at.Mechanism):
			t.tell(relay.LoginMechanism, smtp.R(534, 5, 7, 9, "Authentication failed: This account does not allow "+t.at.Mechanism+"; use "+alternatives(allowed)))
			return
		case !p.Allows(relay.ScopeMailSend):
			t.tell(relay.LoginScope, ReplyNoScope)
			return
		case !t.credit(ctx, p):
			return
		}
	}
	t.result, t.who = relay.LoginOK, p
}

// credit asks whether the tenant has any left.
func (t *trial) credit(ctx context.Context, p *relay.Principal) bool {
	if t.a.cfg.Exhausted == nil {
		return true
	}
	err := t.a.cfg.Exhausted(ctx, p)
	switch {
	case err == nil:
		return true
	case relay.KindOf(err) == relay.Unavailable:
		t.tell(relay.LoginUnavailable, ReplyUnavailable)
	default:
		t.note("maximum credits exceeded")
		t.tell(relay.LoginScope, ReplyExhausted)
	}
	return false
}

// mechanismAllowed: an empty policy allows all; the one with channel binding is
// never weaker than the one without.
func mechanismAllowed(policy []string, mechanism string) bool {
	return len(policy) == 0 || slices.Contains(policy, mechanism) ||
		mechanism == sasl.SCRAMSHA256Plus.Name && slices.Contains(policy, sasl.SCRAMSHA256.Name)
}

// alternatives is a policy in words: "A, B or C".
func alternatives(policy []string) string {
	last := len(policy) - 1
	if last == 0 {
		return policy[0]
	}
	return strings.Join(policy[:last], ", ") + " or " + policy[last]
}

// seen notes an address that came with the right secret, for the tenant's list
// of who tried. Strangers do not get into it.
func (t *trial) seen(allowed bool) {
	if t.a.cfg.Activity == nil {
		return
	}
	method := "API"
	if t.at.Protocol == "smtp" {
		method = "SMTP " + t.at.Mechanism
	}
	t.a.cfg.Activity.RecordAccess(relay.AccessSeen{
		Tenant: relay.Tenant{Account: t.key.Account, Subuser: t.key.Subuser},
		Addr:   t.at.Addr, Method: method, Allowed: allowed, FirstAt: t.now, LastAt: t.now, Count: 1,
	})
}
